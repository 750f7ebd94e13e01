"""SQLite, through Python's own module: the file is opened read-only, and a copy of it is read.

A reader of the file itself would keep the server from writing until it is done. The copy is made under one lock, so it
is one instant of the database, and is gone with the connection.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.reading.database.batches import ROWS, DatabaseError, batch_of, refused
from mlflow_parity.reading.database.urls import DatabaseUrl

#: Times that a file is read of which somebody begins to write meanwhile.
_TRIES = 3


class SqliteConnection:
    """A copy of an SQLite file, read-only as well.

    Raises:
        UsageProblem: it cannot be opened.
    """

    def __init__(self, url: DatabaseUrl) -> None:
        self._url = url
        self._scratch: Scratch | None = None
        self._connection: sqlite3.Connection | None = None
        try:
            self._scratch = Scratch()
            copy = self._scratch.folder / "database"
            # a write-ahead log lies beside the file itself, not beside a link to it
            file = Path(url.database).resolve()
            if (size := file.stat().st_size) > shutil.disk_usage(tempfile.gettempdir()).free:
                raise OSError(f"no room for a copy of {size:,} bytes among the temporary files; set TMPDIR")
            _copy(file, copy)
            self._connection = _opened(copy, _rests(copy))
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise UsageProblem(
                f"{url.option}: cannot be opened: {refused(url, error)}; give a file that this user may read"
            ) from None

    def columns(self) -> dict[str, set[str]]:
        """Return the columns of each table, by table."""
        found: dict[str, set[str]] = {}
        query = "SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'"
        for table, column in self._rows(query):
            found.setdefault(str(table), set()).add(str(column))
        return found

    def batches(self, query: str, schema: pa.Schema) -> Generator[pa.RecordBatch, None, None]:
        """Yield what a query gives."""
        rows: list[tuple[object, ...]] = []
        for row in self._rows(query):
            rows.append(row)
            if len(rows) == ROWS:
                yield batch_of(rows, schema)
                rows = []
        if rows:
            yield batch_of(rows, schema)

    def _rows(self, query: str) -> Iterator[tuple[object, ...]]:
        if self._connection is None:
            raise DatabaseError(f"the database is closed: {self._url.display}")
        try:
            with closing(self._connection.cursor()) as cursor:
                yield from cursor.execute(query)
        except (sqlite3.Error, UnicodeError) as error:
            raise DatabaseError(f"the database cannot be read: {refused(self._url, error)}") from None

    def close(self) -> None:
        """Drop the copy."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._scratch is not None:
            self._scratch.close()


def _copy(file: Path, copy: Path) -> None:
    """Copy a database as it is at one instant.

    Raises:
        OSError: it rested each time, and was written to all the same.
        sqlite3.Error: it cannot be read.
    """
    for _ in range(_TRIES):
        before, rests = _state(file), _rests(file)
        copy.unlink(missing_ok=True)
        try:
            with closing(_opened(file, rests)) as source, closing(sqlite3.connect(copy)) as target:
                # waits for a writer no longer than the time-out, as copying would for ever
                source.execute("BEGIN")
                source.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
                source.backup(target)
        except sqlite3.Error:
            # where nobody holds its lock, half of what somebody writes may be read
            if not rests or _state(file) == before:
                raise
        else:
            if not rests or _state(file) == before:
                return
    raise OSError("it was written to each time that it was read; try again, or give a copy of it")


def _state(file: Path) -> tuple[object, ...]:
    """Return what is another one when a file was written to, or is about to be by way of its write-ahead log."""
    now = file.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, _log(file).exists()


def _log(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _opened(path: Path, rests: bool) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if rests else ''}"
    return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=30)


def _rests(path: Path) -> bool:
    """Whether it is a file with a write-ahead log that nobody has open: opened as others are, it would get one."""
    with path.open("rb") as file:
        head = file.read(20)
    return head[18:20] == b"\x02\x02" and not _log(path).exists()
