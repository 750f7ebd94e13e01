"""Changes in a real server's SQLite database while it runs: made by SQL, and taken back afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from faults.later import Change

from support.memory import Store, run_audit


@contextmanager
def altered(path: Path | str, statements: Iterable[str]) -> Iterator[None]:
    """Hold a database changed for the length of a ``with`` block; each statement has to change something."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database, closing(sqlite3.connect(":memory:")) as kept:
        database.execute("PRAGMA busy_timeout = 30000")
        database.backup(kept)
        try:
            assert all(database.execute(statement).rowcount for statement in statements)
            yield
        finally:
            kept.backup(database)


Told = dict[tuple[str, str], set[str]]


def told_and_expected(
    rounds: Iterable[Mapping[str, Change]],
    path: Path | str,
    before: Store,
    again: Callable[[], Store],
    checks: Collection[str],
) -> tuple[Told, Told]:
    """Alter columns, some at a time; return which facets of their objects went red in both directions, and should."""
    told: Told = {}
    expected: Told = {}
    for planted in rounds:
        with altered(path, [change.statement for change in planted.values()]):
            changed = again()
        for way, ours, theirs in (("there", before, changed), ("back", changed, before)):
            result = run_audit(ours, theirs, checks=tuple(checks), profile="same-store").result
            for name, change in planted.items():
                told[name, way] = {one.facet for one in result.findings if one.kind == change.kind}
                expected[name, way] = {change.facet} | {facet for _, facet in change.also}
    return told, expected
