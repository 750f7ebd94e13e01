"""Metric histories of a pair of runs: digests first, then the points of the suspects as multisets."""

from __future__ import annotations

import hashlib
import math
import struct
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.identity.digests import series_matrix
from mlflow_parity.core.identity.keys import HistoryKey
from mlflow_parity.core.records import MetricPoint, Run, Series
from mlflow_parity.core.verdict import State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RULE = "run.metrics"
_LARGEST = 1.7976931348623157e308
#: Points of one history that are shown as a difference; all are counted.
_SHOWN = 20

_Point = tuple[int, int, int]


class HistoryView(Protocol):
    """The metric histories of the runs of one experiment on one side."""

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        """Size and digest of each metric history of a run."""
        ...

    def points(self, run_id: str, key: str) -> Series:
        """One whole history."""
        ...


def compare_histories(source: HistoryView, target: HistoryView, source_run: Run, target_run: Run) -> list[Difference]:
    """Compare every metric history of a pair."""
    ours, theirs = source.histories(source_run.run_id), target.histories(target_run.run_id)
    found = _unread(source_run, ours, "source") + _unread(target_run, theirs, "target")
    unread = {difference.key for difference in found}
    for key in sorted((ours.keys() | theirs.keys()) - unread):
        mine, copy = ours.get(key), theirs.get(key)
        if mine is not None and copy is not None:
            points = []
            if mine.points != copy.points or mine.digest != copy.digest:
                points = _compare_points(source, target, source_run.run_id, target_run.run_id, key)
            found += points
            if all(one.state.green for one in points):
                found += _compare_latest(key, source_run, target_run, target)
        elif mine is not None:
            counted, bound = f"{mine.points} points", (_whole(mine), None)
            found.append(Difference(key, State.MISSING, RULE, source=counted, note=_gone(mine), bound=bound))
        elif copy is not None:
            extra = f"{copy.points} points"
            found.append(Difference(key, State.EXTRA, RULE, target=extra, bound=(None, _whole(copy))))
    return found


def _whole(history: HistoryKey) -> str:
    return f"{history.points} points, blake2b {history.digest.hex()}"


def _gone(history: HistoryKey) -> str:
    return f"the whole metric is not on the target ({history.points} points)"


def _compare_latest(key: str, source_run: Run, target_run: Run, target: HistoryView) -> list[Difference]:
    """Compare the latest point: a server keeps it beside the history, and pages and searches show that one.

    Of points with one step and time MLflow takes the greatest value, so that value is compared as well.
    """
    ours, theirs = source_run.metrics.get(key), target_run.metrics.get(key)
    if ours is None or theirs is None or _is_same_point(ours, theirs):
        return []
    if (ours.step, ours.timestamp) == (theirs.step, theirs.timestamp):
        matrix = series_matrix(target.points(target_run.run_id, key))
        tied = matrix[(matrix[:, 0] == ours.step) & (matrix[:, 1] == ours.timestamp), 2]
        if _is_taken([value_of(bits) for bits in tied.tolist()], ours.value, theirs.value):
            return [Difference(key, State.EXPECTED, f"{RULE}.latest", ours.value, theirs.value)]
    shown = [f"step {point.step} at {point.timestamp} ms: {point.value!r}" for point in (ours, theirs)]
    note = "the histories are equal, but not what stands as the latest point"
    return [Difference(key, State.MISMATCH, RULE, shown[0], shown[1], note)]


def _is_taken(tied: list[float], ours: float, theirs: float) -> bool:
    """Whether a SQL store takes ``theirs`` for the latest of tied values, among them NaN, which counts as 0 there."""

    def rank(value: float) -> float:
        return 0.0 if math.isnan(value) else value

    image = stored(ours)
    known = {rank(value) for value in tied if not math.isnan(value)}
    held = all(math.isnan(one) or one in known for one in (ours if image is None else image[1], theirs))
    return held and any(map(math.isnan, tied)) and rank(theirs) == max(map(rank, tied))


def _is_same_point(ours: MetricPoint, theirs: MetricPoint) -> bool:
    """Whether a point is another's copy, with what a SQL store makes of its value."""
    if math.isnan(ours.value) or math.isnan(theirs.value):
        same = math.isnan(ours.value) and math.isnan(theirs.value)
        return same and (ours.step, ours.timestamp) == (theirs.step, theirs.timestamp)
    mine, copy = ((point.step, point.timestamp, _bits(point.value)) for point in (ours, theirs))
    image = _image(mine)
    return copy == mine or (image is not None and copy == image[1])


def _unread(run: Run, histories: Mapping[str, HistoryKey], side: str) -> list[Difference]:
    """Name every history that was not read in full: its absence or its error is not an empty history."""
    found = [
        Difference(key, State.UNVERIFIED, RULE, note=f"the {side}'s history could not be read: {history.error}")
        for key, history in histories.items()
        if history.error is not None
    ]
    found += [
        Difference(key, State.UNVERIFIED, RULE, note=f"the {side}'s history was not read")
        for key in run.metrics
        if key not in histories
    ]
    return found


def differing_points(ours: Series, theirs: Series) -> tuple[Counter[_Point], Counter[_Point]]:
    """Return the points (step, time in ms, bits of the value) that only one side has, but for what rules allow."""
    only_ours, only_theirs, _ = _judged(series_matrix(ours), series_matrix(theirs))
    return only_ours, only_theirs


def _judged(
    ours: NDArray[np.int64], theirs: NDArray[np.int64]
) -> tuple[Counter[_Point], Counter[_Point], Counter[str]]:
    """Return the points that only one side has, but for what rules allow, and how many each rule covers."""
    only_ours, only_theirs, kept = _multiset_difference(ours, theirs)
    rules = _apply_rules(only_ours, only_theirs, kept)
    return only_ours, only_theirs, rules


def _compare_points(
    source: HistoryView, target: HistoryView, source_id: str, target_id: str, key: str
) -> list[Difference]:
    ours = series_matrix(source.points(source_id, key))
    theirs = series_matrix(target.points(target_id, key))
    only_ours, only_theirs, rules = _judged(ours, theirs)
    found = [
        Difference(key, State.EXPECTED, rule, note=f"{count} point{'s' * (count != 1)}")
        for rule, count in sorted(rules.items())
    ]
    missing, extra = sum(only_ours.values()), sum(only_theirs.values())
    if missing or extra:
        where = sorted({point[:2] for point in [*only_ours, *only_theirs]})
        cut = len(where) > _SHOWN or max([*only_ours.values(), *only_theirs.values()]) > _SHOWN
        found.append(
            Difference(
                key,
                State.MISMATCH,
                RULE,
                _shown(only_ours, where),
                _shown(only_theirs, where),
                f"{len(ours)} points on the source, {len(theirs)} on the target; {missing} only on the source, "
                f"{extra} only on the target, at {len(where)} (step, time)",
                (_told(only_ours), _told(only_theirs)) if cut else None,
            )
        )
    return found


def _told(points: Counter[_Point]) -> str:
    """Return how many points these are, and a digest of all of them."""
    whole = hashlib.sha256()
    for point, count in sorted(points.items()):
        whole.update(b"%d %d %d %d\n" % (*point, count))
    return f"{sum(points.values())} points, sha256 {whole.hexdigest()}"


def _multiset_difference(
    ours: NDArray[np.int64], theirs: NDArray[np.int64]
) -> tuple[Counter[_Point], Counter[_Point], Counter[_Point]]:
    """Return what only one side has, and how often the target has what a rule may be asked about."""
    import numpy as np

    both = np.concatenate([ours, theirs])
    unique, inverse = np.unique(both, axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    left = np.bincount(inverse[: len(ours)], minlength=len(unique))
    right = np.bincount(inverse[len(ours) :], minlength=len(unique))
    only_ours: Counter[_Point] = Counter()
    only_theirs: Counter[_Point] = Counter()
    kept: Counter[_Point] = Counter()
    for row in np.nonzero(left != right)[0]:
        point = (int(unique[row, 0]), int(unique[row, 1]), int(unique[row, 2]))
        surplus = int(left[row]) - int(right[row])
        (only_ours if surplus > 0 else only_theirs)[point] = abs(surplus)
        kept[point] = int(right[row])
    if any(_image(point) is not None for point in only_ours):
        for row in np.nonzero(np.isin(unique[:, 2], _IMAGES) & (left == right))[0]:
            kept[int(unique[row, 0]), int(unique[row, 1]), int(unique[row, 2])] = int(right[row])
    return only_ours, only_theirs, kept


def _apply_rules(only_ours: Counter[_Point], only_theirs: Counter[_Point], kept: Mapping[_Point, int]) -> Counter[str]:
    """Take out of both what the contract lets differ; return how many points each rule covers."""
    used: Counter[str] = Counter()
    for point in list(only_ours):
        image = _image(point)
        if image is None:
            continue
        rule, twin = image
        count = min(only_ours[point], only_theirs.get(twin, 0))
        if count:
            used[rule] += count
            for side, taken in ((only_ours, point), (only_theirs, twin)):
                side[taken] -= count
                if not side[taken]:
                    del side[taken]
        if only_ours.get(point) and kept.get(twin) == 1:
            # rewritten, it repeats a point that is there already
            used[rule] += only_ours[point]
            used["run.metrics.repeated"] += only_ours.pop(point)
    for point in list(only_ours):
        if kept.get(point) == 1:
            used["run.metrics.repeated"] += only_ours.pop(point)
    return used


def _image(point: _Point) -> tuple[str, _Point] | None:
    """Return what a SQL store makes of a point, and by which rule; ``None`` where it keeps it as it is."""
    step, timestamp, bits = point
    made = stored(value_of(bits))
    return None if made is None else (f"{RULE}.{made[0]}", (step, timestamp, _bits(made[1])))


def stored(value: float) -> tuple[str, float] | None:
    """Return by which rule a SQL store keeps a value otherwise, and as what; ``None`` where it keeps it as it is."""
    if value in (float("inf"), float("-inf")):
        return "infinity", _LARGEST if value > 0 else -_LARGEST
    if value == 0.0 and _bits(value) != 0:
        return "negative-zero", 0.0
    return None


def _shown(points: Counter[_Point], where: list[tuple[int, int]]) -> dict[str, object]:
    """Return the first differing points keyed by step, time and occurrence, as deepdiff explains best."""
    first = set(where[:_SHOWN])
    shown: dict[str, object] = {}
    seen: Counter[tuple[int, int]] = Counter()
    for (step, timestamp, bits), count in sorted(points.items()):
        if (step, timestamp) in first:
            for _ in range(min(count, _SHOWN)):
                occurrence = seen[step, timestamp]
                seen[step, timestamp] += 1
                name = f"step {step} at {timestamp} ms" + (f" #{occurrence + 1}" if occurrence else "")
                shown[name] = value_of(bits)
    return shown


def value_of(bits: int) -> float:
    """Return the value that a point's bits stand for."""
    value: float = struct.unpack("<d", struct.pack("<q", bits))[0]
    return value


def _bits(value: float) -> int:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits


#: What rules turn values into, as bits.
_IMAGES = (0, _bits(_LARGEST), _bits(-_LARGEST))
