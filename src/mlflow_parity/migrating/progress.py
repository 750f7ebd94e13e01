"""Progress of a migration: one line that is rewritten on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlflow_parity.core.text import duration, short
from mlflow_parity.migrating.survey import Work, work_of
from mlflow_parity.reporting.progress import Progress, SideCounts

if TYPE_CHECKING:
    from mlflow_parity.migrating.survey import Survey

_VERBS = {"source": "read", "target": "written"}
#: Seconds between two lines where there is no terminal.
_SPARSE = 30.0


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
        super().__init__(write, isatty=isatty, columns=columns, interval=interval, sparse=sparse, clock=clock)
        self._total: Work | None = None
        self._there = 0

    def whole(self, survey: Survey, there: int = 0) -> None:
        """Say how much there is in all, to read and to write; ``there``: runs that an earlier call has written."""
        self._total = work_of(survey)
        self._there = min(there, self._total.runs)
        for side in _VERBS:
            self.expect(side, len(survey.extents))

    def line(self, columns: int | None = None) -> str:
        """Return the current line: the side that is under way, then the other one, if it has begun."""
        with self._lock:
            sides = [(verb, self._sides[side]) for side, verb in _VERBS.items() if side in self._sides]
            begun = [(verb, found) for verb, found in sides if found.first is not None]
            begun.sort(key=lambda one: -one[1].latest)
            # who waits for the other does not get slower
            times = [self._clock(), *(found.latest for _, found in begun[1:])]
            told = [
                f"{verb} {_line(found, now, self._total, self._there if verb == _VERBS['target'] else 0)}"
                for (verb, found), now in zip(begun, times, strict=False)
            ]
            return " | ".join(told) or "beginning"


def _line(found: SideCounts, now: float, total: Work | None, there: int) -> str:
    seconds = max(now - (now if found.first is None else found.first), 1e-3)
    parts = []
    if found.experiments:
        parts.append(f"{found.experiments:,}{'' if not found.total else f'/{found.total:,}'} exp")
    rate = "" if found.points or found.size else f" {short(found.runs / seconds)}/s"
    # a run that was written in part is written again, and was there before
    runs = found.runs if total is None else max(found.runs, min(found.runs + there, total.runs))
    parts.append(f"{runs:,}{'' if total is None else f'/{total.runs:,}'} runs{rate}")
    if found.points:
        parts.append(f"{short(found.points)} points {short(found.points / seconds)}/s")
    if found.artifacts or found.size:
        of = f"/{total.size / 1e6:,.1f}" if total is not None and total.size else ""
        size = f"{found.size / 1e6:,.1f}{of} MB {found.size / 1e6 / seconds:,.1f}/s"
        parts.append(f"{found.artifacts:,} files {size}")
    left = None if total is None else _left(found, total, seconds, there)
    if left is not None:
        parts.append(f"{duration(left)} left")
    if found.objects:
        parts.append(f"{short(found.objects)} objects")
    return ", ".join(parts)


def _left(found: SideCounts, total: Work, seconds: float, there: int) -> float | None:
    """Return the seconds that are left if it goes on like this; ``None`` where that cannot be told yet."""
    # of the files and objects as much is taken to be there as of the runs
    runs = total.runs - there
    share = runs / total.runs if total.runs else 1.0
    files, size, objects = (int(share * count) for count in (total.files, total.size, total.objects))
    # how many points there are is known from those that came so far
    points = found.points * runs // found.runs if found.runs else 0
    done = Work(found.runs, found.points, found.artifacts, found.size, found.objects).cost
    whole = Work(runs, max(points, found.points), files, size, objects).cost
    # too little was done to tell, or more than was known of
    if whole <= 0 or done < whole / 100 or done > whole or seconds < 1:
        return None
    return seconds * (whole - done) / done
