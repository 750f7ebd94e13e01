"""Servers of any MLflow version, for tests; a used one is made empty again instead of starting another."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import PROXIED, Server, empty_database, serving
from support.environments import python_of

#: ``fresh_server(version="newest")`` → an empty server, the asking test's own until it ends.
FreshServer = Callable[..., Server]


@contextmanager
def server_of(version: str, folder: Path, **options: Any) -> Iterator[Server]:
    """Run a server of MLflow ``version`` (``"newest"``: the running environment's) in ``folder``.

    ``options`` are those of :func:`mlflow_parity.standin.servers.start_server`.
    """
    with serving(folder, python=python_of(version), **options) as server:
        yield server


@dataclass(slots=True)
class ServerPool:
    """Lends empty SQLite servers with proxied artifacts and takes them back; all end with :meth:`close`.

    A start costs a second or more, emptying a running server 50 ms: its database is overwritten through SQLite's own
    backup, which is a transaction like any other to the server. Logs and artifacts go to ``folder``, databases to
    where temporary files are (see :mod:`support.sharing`).
    """

    folder: Path
    _databases: Path = field(default_factory=lambda: Path(tempfile.mkdtemp()))
    _idle: dict[str, list[Server]] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _count: int = 0

    def take(self, version: str = "newest") -> Server:
        """Return an empty server (nothing in it but the experiment ``Default``)."""
        idle = self._idle.setdefault(version, [])
        if idle:
            server = idle.pop()
            self._empty(server)
            return server
        self._count += 1
        folder = self.folder / f"{version}-{self._count}"
        database = self._databases / f"{folder.name}.db"
        shutil.copyfile(empty_database(python_of(version)), database)
        server = self._stack.enter_context(
            server_of(version, folder, database=f"sqlite:///{database}", artifacts=PROXIED)
        )
        keep_pristine(server)
        return server

    def give_back(self, version: str, server: Server) -> None:
        """Make a server available again."""
        self._idle[version].append(server)

    def close(self) -> None:
        """End all servers."""
        self._stack.close()
        shutil.rmtree(self._databases)

    @staticmethod
    def _empty(server: Server) -> None:
        copy_database(_pristine(server), server.database_path)
        shutil.rmtree(server.artifacts_root, ignore_errors=True)


@contextmanager
def emptied(server: Server) -> Iterator[None]:
    """Make a shared server empty for the length of a ``with`` block; :func:`keep_pristine` was called at its start."""
    kept = server.database_path.with_suffix(".kept")
    copy_database(server.database_path, kept)
    empty(server)
    try:
        yield
    finally:
        copy_database(kept, server.database_path)


def empty(server: Server) -> None:
    """Make a shared server empty; :func:`keep_pristine` was called at its start."""
    copy_database(_pristine(server), server.database_path)


def keep_pristine(server: Server) -> None:
    """Keep a copy of a new server's database, for :func:`empty`."""
    copy_database(server.database_path, _pristine(server))


def _pristine(server: Server) -> Path:
    return server.database_path.with_suffix(".pristine")


def copy_database(source: Path, target: Path) -> None:
    """Overwrite the SQLite database ``target`` with ``source``; servers may be running on both."""
    with closing(sqlite3.connect(source, timeout=30)) as old, closing(sqlite3.connect(target, timeout=30)) as new:
        old.backup(new)


def keep_content(server: Server, folder: Path) -> None:
    """Keep what a server holds in a new folder: its database and its files."""
    folder.mkdir(parents=True)
    copy_database(server.database_path, folder / "database.db")
    if Path(server.artifacts_root).exists():
        shutil.copytree(server.artifacts_root, folder / "files")


def lay_content(folder: Path, server: Server) -> None:
    """Give an empty server what :func:`keep_content` has kept; ids, times and files are those that were made once."""
    copy_database(folder / "database.db", server.database_path)
    if (folder / "files").exists():
        shutil.copytree(folder / "files", server.artifacts_root)


#: Tables of a server in which a second run would leave traces, if it made anything twice.
_TABLES = ("experiments", "runs", "metrics", "params", "tags", "inputs", "logged_models", "registered_models",
           "model_versions", "trace_info", "assessments", "scorer_versions", "evaluation_dataset_records",
           "webhooks")  # fmt: skip


def counts_of(server: Server) -> dict[str, int]:
    """Return how many rows there are in each table of a server with SQLite."""
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES}
