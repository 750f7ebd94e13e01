"""What comparing says of one experiment, until it is known whether that is its last word.

Suspects are read again before anything of a place is recorded. An experiment may have a hundred thousand runs, each
with fifteen rows: so but for the first of them, and for all that differ, they wait on disk.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.core.errors import no_space
from mlflow_parity.core.verdict import Row, State

#: Outcomes that stay in memory, and those that are written together.
MOST, _TOGETHER = 20_000, 1_000


#: The fields of both, in their order; as they are, each object would take ten times as long to write.
_ROW_FIELDS, _FIELDS = (tuple(one.name for one in fields(kind) if one.name != "state") for kind in (Row, Difference))
_ROW, _DIFFERENCE = attrgetter(*_ROW_FIELDS), attrgetter(*_FIELDS)


def _told(one: Outcome) -> tuple[Any, ...]:
    return one.row.state.value, _ROW(one.row), [(each.state.value, _DIFFERENCE(each)) for each in one.differences]


def _outcome(state: str, row: tuple[Any, ...], differences: list[tuple[str, tuple[Any, ...]]]) -> Outcome:
    found = tuple(Difference(state=State(of), **dict(zip(_FIELDS, told, strict=True))) for of, told in differences)
    return Outcome(Row(state=State(state), **dict(zip(_ROW_FIELDS, row, strict=True))), found)


class Outcomes:
    """Outcomes in their order, to be gone through again and again; the file has no name, and goes with the process.

    Raises:
        NoSpace: the disk is full.
    """

    def __init__(self, outcomes: Iterable[Outcome], folder: Path) -> None:
        self.red: list[Outcome] = []
        """Those that are not green."""
        self._first: list[Outcome] = []
        self._file: IO[bytes] | None = None
        self._places: list[int] = []
        self._folder = folder
        waiting: list[Any] = []
        for one in outcomes:
            if not one.row.state.green:
                self.red.append(one)
            if len(self._first) < MOST:
                self._first.append(one)
                continue
            # of one that is here anyway, only which it is
            waiting.append(_told(one) if one.row.state.green else len(self.red) - 1)
            if len(waiting) == _TOGETHER:
                self._write(waiting)
                waiting = []
        if waiting:
            self._write(waiting)

    def __iter__(self) -> Iterator[Outcome]:
        yield from self._first
        for at in self._places:
            assert self._file is not None
            self._file.seek(at)
            # nobody else can write to it
            some: list[Any] = pickle.load(self._file)  # noqa: S301
            yield from (self.red[one] if isinstance(one, int) else _outcome(*one) for one in some)

    def _write(self, outcomes: list[Any]) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            self._places.append(self._file.tell())
            pickle.dump(outcomes, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError as error:
            raise no_space(error) or error from error
