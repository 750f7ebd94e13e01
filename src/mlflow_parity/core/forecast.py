"""How long a reading still takes: work done and work to do, by sort, at the pace that each sort went so far.

An hour of files is no measure for the histories that follow: so the seconds are kept apart by what was read in them,
and each sort that is left is reckoned at its own pace. What is left is what there is in all, less what was read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields

#: Sorts of work that go at a pace of their own.
SORTS = ("experiments", "runs", "points", "files", "objects")
#: What the work of reading files hangs on: owners that are looked at, files, bytes; in what one file of no size costs.
_TREE, _FILE, _BYTE = 0.1, 1.0, 1 / 1_500_000
#: Seconds for one unit of each sort, as measured with MLflow 3.17 on two cores; only what they are to each other
#: counts, and only for a sort of which nothing was read or probed yet.
_FIRST_GUESS = {"experiments": 0.01, "runs": 0.0015, "points": 0.00001, "files": 0.004, "objects": 0.004}
#: Share of the work that must be done before anything is said, and seconds that must have passed.
_ENOUGH, _SOONEST = 0.04, 1.0
#: Share of what is left that may rest on a mere guess.
_GUESSED = 0.5
#: Seconds of reading that a probe weighs as much as.
_PROBED = 2.0
#: Seconds of reading after which chance plays a small part.
_CHANCE = 10.0
#: How much slower or faster than its probes a server may be.
_FARTHEST = 5.0


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work: ``trees`` are runs and objects whose files are listed, ``size`` is bytes of files."""

    experiments: float = 0
    runs: float = 0
    points: float = 0
    trees: float = 0
    files: float = 0
    size: float = 0
    objects: float = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def less(self, done: Amount) -> Amount:
        """Return what is left of it; of what there is more than was expected, nothing."""
        return Amount(*(max(getattr(self, one.name) - getattr(done, one.name), 0) for one in fields(self)))

    def times(self, factor: float) -> Amount:
        """Return a multiple of it."""
        return Amount(*(getattr(self, one.name) * factor for one in fields(self)))

    @property
    def units(self) -> dict[str, float]:
        """The work by sort."""
        files = self.trees * _TREE + self.files * _FILE + self.size * _BYTE
        return dict(zip(SORTS, (self.experiments, self.runs, self.points, files, self.objects), strict=True))


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be read of one side in all.

    ``paces`` are seconds for one unit, by sort, as a probe measured them; ``after`` is the seconds of what follows when
    all is read.
    """

    amount: Amount
    paces: Mapping[str, float]
    after: float = 0.0


class Forecast:
    """What was read of one side, and when; what is left of it is told in seconds.

    Many threads read at once. Each says what it has read when it has read it: since it did so last, its time went
    into that. So nothing else has to take the time.
    """

    def __init__(self, began: float) -> None:
        self._began = self._latest = began
        self._last: dict[int, float] = {}
        self._longest: dict[int, float] = defaultdict(float)
        self._seconds: dict[str, float] = defaultdict(float)
        self._whole = False
        self.done = Amount()

    @property
    def latest(self) -> float:
        """When something was read last."""
        return self._latest

    @property
    def elapsed(self) -> float:
        """The seconds of reading so far."""
        return self._latest - self._began

    def add(self, thread: int, now: float, read: Amount) -> None:
        """Take in what a thread has read."""
        sort = next((name for name, units in read.units.items() if units), "files")
        # one that begins late, when experiments were read, did not wait from the beginning
        since = self._last.get(thread, self._latest if self.done.experiments else self._began)
        took = max(now - since, 0.0)
        self._seconds[sort] += took
        self._longest[thread] = max(self._longest[thread], took)
        self._last[thread] = now
        self._latest = max(self._latest, now)
        self.done += read

    @property
    def _under_way(self) -> float:
        """The seconds in which threads have read what they have not told yet; one that has ended tells nothing more."""
        return sum(min(self._latest - last, self._longest[thread]) for thread, last in self._last.items())

    def left(self, expected: Expected) -> float | None:
        """Return the seconds that are left, counted from when something was read last; ``None``: not known yet."""
        elapsed, busy = self.elapsed, sum(self._seconds.values()) + self._under_way
        if elapsed < _SOONEST or busy <= 0:
            return None
        done, todo = self.done.units, expected.amount.less(self.done).units
        at_once = busy / elapsed
        probes = self._corrected(expected.paces, done, at_once)
        paces: dict[str, float] = {}
        for sort in SORTS:
            pace = probes.get(sort)
            probed = _PROBED / pace if pace else 0.0
            if done[sort] + probed > 0:
                seconds = self._seconds[sort] / at_once + (_PROBED if pace else 0.0)
                paces[sort] = seconds / (done[sort] + probed)
        # what was read tells how fast this server and this machine are
        guess = sum(done[sort] * _FIRST_GUESS[sort] for sort in SORTS)
        scale = elapsed / guess if guess > 0 else 0.0
        guessed = sum(todo[sort] * _FIRST_GUESS[sort] * scale for sort in SORTS if sort not in paces)
        left = guessed + sum(todo[sort] * pace for sort, pace in paces.items())
        if elapsed < _ENOUGH * (elapsed + left) or guessed > _GUESSED * left:
            return None
        return left

    def _corrected(self, probed: Mapping[str, float], done: Mapping[str, float], at_once: float) -> Mapping[str, float]:
        """Return the paces of a probe, as much slower or faster as the reading showed them to be so far."""
        shown = [sort for sort, pace in probed.items() if pace and done[sort] and self._seconds[sort]]
        told = sum(probed[sort] * done[sort] for sort in shown)
        truth = sum(self._seconds[sort] for sort in shown) / at_once
        if told <= 0:
            return probed
        # a probe of moments weighs less the longer the reading is
        factor = (truth + _PROBED) / (told + _PROBED)
        return {sort: pace * min(max(factor, 1 / _FARTHEST), _FARTHEST) for sort, pace in probed.items()}


def time_left(sides: Mapping[str, tuple[Forecast, Expected]], now: float) -> float | None:
    """Return the seconds until both sides are read and what follows is done; ``None``: not known, or it is over."""
    ends: list[float] = []
    after = elapsed = 0.0
    for forecast, expected in sides.values():
        left = forecast.left(expected)
        if left is None:
            return None
        ends.append(forecast.latest + left - now)
        after += expected.after
        elapsed = max(elapsed, forecast.elapsed)
    if not ends:
        return None
    left = max(ends)
    if min(ends) * 2 > left:
        # in the first moments the later of two that are alike is later by chance
        left -= (left - sum(ends) / len(ends)) * _CHANCE / (_CHANCE + elapsed)
    left += after
    return left if left > 0 else None
