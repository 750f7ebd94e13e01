"""Progress of a migration: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow_parity.migrating.survey import Work, work_of
from mlflow_parity.reporting.progress import Progress

if TYPE_CHECKING:
    from mlflow_parity.migrating.survey import Survey

_VERBS = {"source": "read", "target": "written"}
#: Seconds between two lines where there is no terminal.
_SPARSE = 30.0


@dataclass(slots=True)
class _Counted:
    experiments: int = 0
    runs: int = 0
    points: int = 0
    artifacts: int = 0
    size: int = 0
    objects: int = 0
    total: Work | None = None
    of_experiments: int | None = None
    first: float | None = None
    """When the first thing was counted, by the clock."""
    latest: float = 0.0
    """When the latest was."""


class MigrationProgress(Progress):
    """Counts what was read of the source and written to the target.

    Shows counts, bytes and the rate, and the time left once it is known how much there is. Without a terminal a
    line is written at the ``sparse`` seconds, when something has changed. Safe to call from any thread.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        isatty: bool,
        columns: Callable[[], int] | None = None,
        interval: float = 0.2,
        sparse: float = _SPARSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(write, isatty=isatty, columns=columns, interval=interval, clock=clock)
        self._sparse = sparse
        self._counted: dict[str, _Counted] = {}
        self._said = ""
        self._said_at = clock()

    def __enter__(self) -> MigrationProgress:
        super().__enter__()
        return self

    def whole(self, survey: Survey) -> None:
        """Say how much there is in all, to read and to write."""
        with self._lock:
            for side in _VERBS:
                found = self._of(side)
                found.total, found.of_experiments = work_of(survey), len(survey.extents)

    def expect(self, side: str, experiments: int) -> None:
        """Say how many experiments ``side`` has in scope."""
        with self._lock:
            self._of(side).of_experiments = experiments

    def add(
        self,
        side: str,
        *,
        experiments: int = 0,
        runs: int = 0,
        points: int = 0,
        artifacts: int = 0,
        size: int = 0,
        objects: int = 0,
    ) -> None:
        """Count what was read or written; ``size``: bytes of files; ``objects``: all but experiments and runs."""
        with self._lock:
            found = self._of(side)
            if found.first is None:
                found.first = self._clock()
            found.latest = self._clock()
            found.experiments += experiments
            found.runs += runs
            found.points += points
            found.artifacts += artifacts
            found.size += size
            found.objects += objects
        if not self._isatty:
            self._say_sparsely()

    def line(self) -> str:
        """Return the current line: the side that is under way, then the other one, if it has begun."""
        with self._lock:
            sides = [(verb, self._counted[side]) for side, verb in _VERBS.items() if side in self._counted]
            begun = [(verb, found) for verb, found in sides if found.first is not None]
            begun.sort(key=lambda one: -one[1].latest)
            # who waits for the other does not get slower
            times = [self._clock(), *(found.latest for _, found in begun[1:])]
            told = [f"{verb} {_line(found, now)}" for (verb, found), now in zip(begun, times, strict=False)]
            return " | ".join(told) or "beginning"

    def _of(self, side: str) -> _Counted:
        return self._counted.setdefault(side, _Counted())

    def _say_sparsely(self) -> None:
        with self._lock:
            due = self._clock() - self._said_at >= self._sparse
            if due:
                self._said_at = self._clock()
        if due:
            line = self.line()
            if line != self._said:
                self._said = line
                self._write(f"{line}\n")


def _line(found: _Counted, now: float) -> str:
    seconds = max(now - (now if found.first is None else found.first), 1e-3)
    total = found.total
    parts = []
    if found.experiments:
        parts.append(f"{found.experiments:,}{'' if not found.of_experiments else f'/{found.of_experiments:,}'} exp")
    rate = "" if found.points or found.size else f" {short(found.runs / seconds)}/s"
    parts.append(f"{found.runs:,}{'' if total is None else f'/{total.runs:,}'} runs{rate}")
    if found.points:
        parts.append(f"{short(found.points)} points {short(found.points / seconds)}/s")
    if found.artifacts or found.size:
        of = f"/{total.size / 1e6:,.1f}" if total is not None and total.size else ""
        size = f"{found.size / 1e6:,.1f}{of} MB {found.size / 1e6 / seconds:,.1f}/s"
        parts.append(f"{found.artifacts:,} files {size}")
    left = _left(found, seconds)
    if left is not None:
        parts.append(f"{duration(left)} left")
    if found.objects:
        parts.append(f"{short(found.objects)} objects")
    return ", ".join(parts)


def _left(found: _Counted, seconds: float) -> float | None:
    """Return the seconds that are left if it goes on like this; ``None`` where that cannot be told yet."""
    if found.total is None:
        return None
    total = found.total
    # how many points there are is known from those that came so far
    points = found.points * total.runs // found.runs if found.runs else 0
    done = Work(found.runs, found.points, found.artifacts, found.size, found.objects).cost
    whole = Work(total.runs, max(points, found.points), total.files, total.size, total.objects).cost
    # too little was done to tell, or more than was known of
    if whole <= 0 or done < whole / 100 or done > whole or seconds < 1:
        return None
    return seconds * (whole - done) / done


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def short(number: float) -> str:
    """Return a number with a unit, where it is large."""
    for unit, size, by in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e4, 1e3)):
        if number >= size:
            return f"{number / by:,.1f}{unit}"
    return f"{number:,.0f}"
