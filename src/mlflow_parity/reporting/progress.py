"""A progress line while the two sides are read: shown on a terminal, silent everywhere else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from shutil import get_terminal_size
from types import TracebackType
from typing import TypeVar

from mlflow_parity.core.forecast import Amount, Expected, Forecast, time_left
from mlflow_parity.core.text import crop, duration, short, visible
from mlflow_parity.reporting.report import SIDES

_P = TypeVar("_P", bound="Progress")
#: Steps by which a line is made to fit.
_TERSE = 5
#: Seconds of a phase before the time left is told.
_SOON = 2.0


@dataclass(slots=True)
class SideCounts:
    """What was read of a side, or written to it; ``total``: the experiments in scope, where that is known."""

    total: int | None = None
    experiments: int = 0
    runs: int = 0
    points: int = 0
    artifacts: int = 0
    size: int = 0
    objects: int = 0
    first: float | None = None
    """When the first thing was counted, by the clock."""
    latest: float = 0.0
    """When the latest was."""


class Progress:
    """Counts what was read per side and shows it with rates, at most five times a second.

    ``write`` gets text for the terminal (a carriage return and blanks clear the line, so any terminal will
    do); unless ``isatty`` no thread is started, and a whole line is written at the ``sparse`` seconds when something
    has changed (``None``: never). Safe to call from any thread.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        *,
        isatty: bool,
        columns: Callable[[], int] | None = None,
        interval: float = 0.2,
        sparse: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._isatty = isatty
        self._columns = columns or (lambda: get_terminal_size((80, 24)).columns)
        self._interval = max(interval, 0.2)
        self._clock = clock
        self._started = clock()
        self._sides: dict[str, SideCounts] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown = 0
        self._sparse = sparse
        self._said, self._said_at = "", clock()
        self._read: dict[str, Forecast] = {}
        self._expected: dict[str, Expected] = {}
        self._reading = self._started
        self._phase, self._done, self._of, self._since = "", 0, 0, self._started
        self._count: Callable[[], str] | None = None

    def __enter__(self: _P) -> _P:
        self._started = self._reading = self._clock()
        if self._isatty:
            self._thread = threading.Thread(target=self._show, name="parity-progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def expect(self, side: str, experiments: int) -> None:
        """Say how many experiments ``side`` has in scope."""
        with self._lock:
            self._sides.setdefault(side, SideCounts()).total = experiments

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
        """Count what was read of ``side``; ``size``: bytes of artifacts; ``objects``: all but experiments and runs."""
        with self._lock:
            found = self._sides.setdefault(side, SideCounts())
            found.latest = self._clock()
            if side in self._expected:
                # an owner without files says nothing, and took its time all the same
                trees = not (experiments or runs or points or objects)
                amount = Amount(experiments, runs, points, float(trees), artifacts, size, objects)
                reading = self._read.setdefault(side, Forecast(self._reading))
                reading.add(threading.get_ident(), found.latest, amount)
            found.first = found.latest if found.first is None else found.first
            found.experiments += experiments
            found.runs += runs
            found.points += points
            found.artifacts += artifacts
            found.size += size
            found.objects += objects
        if self._sparse is not None and not self._isatty:
            self._say(self._sparse)

    def foresee(self, expected: Mapping[str, Expected]) -> None:
        """Say what is to be read of each side that is read: from then on the time left is told, once it is known."""
        with self._lock:
            self._expected, self._reading = dict(expected), self._clock()

    def phase(self, name: str, total: int = 0, count: Callable[[], str] | None = None) -> None:
        """Say what is done from now on, when all was read: ``total`` steps of it, 0: nobody knows how many.

        ``count`` says beside the steps how far it is: one of them may take long.
        """
        with self._lock:
            self._phase, self._done, self._of, self._since = name, 0, total, self._clock()
            self._count = count

    def step(self) -> None:
        """Count one step of the phase."""
        with self._lock:
            self._done += 1

    def left(self) -> float | None:
        """Return the seconds that are left; ``None``: not known yet, or not foreseen."""
        with self._lock:
            if not self._expected.keys() <= self._read.keys():
                return None
            return time_left({side: (self._read[side], one) for side, one in self._expected.items()}, self._clock())

    def line(self, columns: int | None = None) -> str:
        """Return the current line: ASCII, both sides, counts and the rate that says most, as far as there is room."""
        if self._phase:
            return self._phase_line()
        seconds = max(self._clock() - self._started, 1e-3)
        left = self.left()
        # first, as the end of a long line is cut off
        head = "reading " if left is None else f"reading, {_told(left)} left: "
        with self._lock:
            names = [*(name for name in SIDES if name in self._sides), *(n for n in self._sides if n not in SIDES)]
            sides = [(visible(name), self._sides[name]) for name in names]
            line = ""
            for terse in range(_TERSE + 1):
                line = head + " | ".join(f"{name} {_of(side, seconds, terse)}" for name, side in sides)
                if columns is None or len(line) <= columns:
                    break
            return line

    def _phase_line(self) -> str:
        with self._lock:
            if not self._of:
                return f"{self._phase}, {_told(self._clock() - self._since)} so far"
            done, seconds = min(self._done, self._of), self._clock() - self._since
            # too little was done to tell
            left = seconds * (self._of - done) / done if done and seconds >= _SOON else None
            counted = "" if self._count is None else f", {self._count()}"
            told = "" if left is None else f", {_told(left)} left"
            return f"{self._phase} {done:,}/{self._of:,}{counted}{told}"

    def close(self) -> None:
        """Stop, and clear the line."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _say(self, sparse: float) -> None:
        with self._lock:
            due = self._clock() - self._said_at >= sparse
            if due:
                self._said_at = self._clock()
        if due and (line := self.line()) != self._said:
            self._said = line
            self._write(f"{line}\n")

    def _show(self) -> None:
        try:
            ended = False
            while not ended:
                ended = self._stop.wait(self._interval)
                # once more at the end, so that the last counts are never missed by a program that records the terminal;
                # one column is left free: a terminal wraps when the last one is written
                columns = max(self._columns() - 1, 1)
                line = crop(self.line(columns), columns).replace("…", "~")
                self._write("\r" + line.ljust(self._shown))
                self._shown = len(line)
            self._write("\r" + " " * self._shown + "\r")
        except (OSError, ValueError):
            # the terminal is gone or closed; progress is no reason to end an audit
            return


def _told(left: float) -> str:
    """Return a time so near that one sees it get shorter."""
    if not 90 <= left < 600:
        return duration(left)
    minutes, seconds = divmod(round(left), 60)
    return f"{minutes} min {seconds:02} s"


def _of(side: SideCounts, seconds: float, terse: int) -> str:
    """Return the counts of a side; the more ``terse``, the less of them: experiments are left in the end."""
    done = f"{side.experiments:,}" + (f"/{side.total:,}" if side.total is not None else "")
    if terse == _TERSE:
        return f"{done} exp"
    parts = [f"{done} exp" if terse < _TERSE - 1 else done]
    parts.append(f"{side.runs:,} runs" if terse < 2 else f"{short(side.runs)} runs")
    if side.points and terse < 3:
        parts.append(f"{short(side.points)} points")
    if side.objects and terse < 2:
        parts.append(f"{short(side.objects)} objects")
    if side.artifacts and terse < 3:
        size = f" {side.size / 1e6:,.1f} MB" if terse < 2 else ""
        parts.append(f"{short(side.artifacts) if size == '' else f'{side.artifacts:,}'} files{size}")
    if terse:
        return ", ".join(parts)
    if side.points:
        parts.append(f"{short(side.points / seconds)} points/s")
    elif side.artifacts:
        parts.append(f"{side.size / 1e6 / seconds:,.1f} MB/s")
    else:
        parts.append(f"{short(side.runs / seconds)} runs/s")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where progress is shown: how to write to it, whether it is one, and how wide."""

    write: Callable[[str], object]
    isatty: bool
    columns: int
    bar: Callable[[], Progress] | None = None
    """Shows it in another way than by a line."""

    def progress(self) -> Progress:
        """Return what shows it there."""
        if self.bar is not None:
            return self.bar()
        return Progress(self.write, isatty=self.isatty, columns=lambda: int(self.columns))
