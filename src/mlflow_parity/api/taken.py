"""``snapshot(source=…, folder=…)``: what ``mlflow-parity snapshot`` reads, and what it has read as an object."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from mlflow_parity.api.errors import Saying, in_one_line
from mlflow_parity.api.given import Parser, parsed, text_of
from mlflow_parity.api.shown import terminal
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import Redactor, guard_logs
from mlflow_parity.core.text import crop, visible
from mlflow_parity.pytest_api.snapshot_command import Taken, add_arguments, location_of, take
from mlflow_parity.reporting.page.notebook_block import lines_block

_COLUMNS = 120


class SnapshotTaken:
    """What was read of a server. Its folder, or the object itself, is a ``source`` or ``target`` of later audits.

    It has no truth value: ask :attr:`complete`.
    """

    def __init__(self, taken: Taken) -> None:
        self._taken = taken

    @property
    def complete(self) -> bool:
        """Whether everything was read."""
        return not self.unread

    @property
    def location(self) -> str:
        """Which server, without credentials."""
        return self._taken.location

    @property
    def path(self) -> Path:
        """The folder that stands for the server."""
        return self._taken.root.absolute()

    @property
    def digest(self) -> str:
        """That of the whole snapshot."""
        return self._taken.digest

    @property
    def counts(self) -> dict[str, int]:
        """How much there is, by what is counted: experiments, runs, metric points, files, other objects."""
        return dict(self._taken.counts)

    @property
    def unread(self) -> tuple[str, ...]:
        """What could not be read, one line each: unverified in every later audit."""
        return self._taken.unread

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known beside, one line each."""
        return self._taken.notes

    def __fspath__(self) -> str:
        return str(self.path)

    def __bool__(self) -> NoReturn:
        raise TypeError("a snapshot is neither true nor false; ask its .complete")

    def _lines(self) -> list[str]:
        state = "complete" if self.complete else f"INCOMPLETE: {len(self.unread):,} not read: {self.unread[0]}"
        return [self._taken.summary, f"{state} · digest {self.digest[:16]} · {self.path}"]

    def __repr__(self) -> str:
        """Return two lines: what was read, and whether that is all."""
        first, second = (crop(visible(line), _COLUMNS) for line in self._lines())
        return f"{first}\n  {second}"

    def _repr_html_(self) -> str:
        title, state = self._lines()
        return lines_block("green" if self.complete else "red", title, [state, *self.notes, *self.unread])


def snapshot(
    source: str | os.PathLike[str] | None = None, folder: str | os.PathLike[str] | None = None, **given: Any
) -> SnapshotTaken:
    """Read one server whole into ``folder/source``, which can stand for it in later audits; return what was read.

    All else are the options of ``mlflow-parity snapshot`` by their names, with underscores and without ``--parity-``:
    ``workers=4``, ``depth="listing"``, ``allow_place=[…]``. An interrupted snapshot is taken up again.

    Raises:
        UsageProblem: one line for the first thing that is wrong with what was given.
        ParityError: one line why there is no snapshot: the server cannot be read, or a disk is full.
    """
    parser = Parser(prog="snapshot", add_help=False)
    add_arguments(parser)
    say = Saying(["to", *(name for one in parser._actions for name in (one.dest, one.dest.removeprefix("parity_")))])

    def read() -> SnapshotTaken:
        if folder is None:
            raise UsageProblem("no folder is given; add folder=, where the snapshot is to be")
        args = parsed(parser, {"source": source, **given})
        say.redact = Redactor.from_environment(also=location_of(args).secrets)
        end = guard_logs(say.redact)
        try:
            with terminal().progress() as progress:
                return SnapshotTaken(take(args, text_of("folder", folder), partial(progress.add, "source")))
        finally:
            end()

    return in_one_line(say, read)
