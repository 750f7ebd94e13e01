"""What comparing says of one experiment, until it is known whether that is its last word.

Suspects are read again before anything of a place is recorded. An experiment may have a hundred thousand runs, each
with fifteen rows: so but for the first of them, and for all that differ, they wait on disk.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.core.errors import no_space

#: Outcomes that stay in memory, and those that are written together.
MOST, _TOGETHER = 20_000, 1_000


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
        waiting: list[Outcome | int] = []
        for one in outcomes:
            if not one.row.state.green:
                self.red.append(one)
            if len(self._first) < MOST:
                self._first.append(one)
                continue
            # of one that is here anyway, only which it is
            waiting.append(one if one.row.state.green else len(self.red) - 1)
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
            some: list[Outcome | int] = pickle.load(self._file)  # noqa: S301
            yield from (self.red[one] if isinstance(one, int) else one for one in some)

    def _write(self, outcomes: list[Outcome | int]) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            self._places.append(self._file.tell())
            pickle.dump(outcomes, self._file, pickle.HIGHEST_PROTOCOL)
            self._file.flush()
        except OSError as error:
            raise no_space(error) or error from error
