"""Which columns the faults alter, as SQLite itself sees it: what no fault tries, nobody has proved."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing

from faults.battery import altering
from faults.fault import Fault
from faults.later import CHANGES, NEWER
from faults.later_columns import COLUMNS, NEWER_COLUMNS

from completeness.claims import COLUMNS as CLAIMS
from completeness.claims import INTERNAL, column_claims, read
from completeness.of_mlflow import TRACKING
from completeness.releases import RELEASES, release
from mlflow_parity.kinds.rules.contract import LATER

#: What no fault can alter so that an audit goes on to the end.
UNTRIED: Mapping[str, str] = {
    "secrets.secret_name": "MLflow's trigger keeps it from being altered; a secret that is gone is found",
    "endpoint_bindings.resource_type": "MLflow knows one value of it",
    "budget_policies.budget_unit": "MLflow knows one value of it",
    "review_queue_items.item_type": "MLflow knows one value of it",
    "a row of label_schemas is lost": "the queue that asks it cannot be read then: all of them are unverified",
    "spans.name": "the searches of all faults would be others: tests/comparing/test_usable.py alters it",
    "spans.type": "the searches of all faults would be others: tests/comparing/test_usable.py alters it",
    "workspaces.name": "a server has to be started for them: tests/reading/test_workspaces.py",
    "a row of workspaces is lost": "a server has to be started for them: tests/reading/test_workspaces.py",
}
#: What a fault alters (``table.column``, ``+table``, ``-table``), with a facet under which it is found.
Tried = set[tuple[str, str]]


def tried(faults: Iterable[Fault], altered: Mapping[str, frozenset[str]]) -> Tried:
    """Return what the battery's faults alter, by facet, and the faults of the kinds that are planted one by one."""
    found = {
        (one, f"{said[0]}.{said[2]}")
        for fault in faults
        for one in altered.get(fault.id, ())
        for said in fault.expected
    }
    tables = {table: columns for version in RELEASES for table, columns in release(version).columns[TRACKING].items()}
    with closing(sqlite3.connect(":memory:")) as database:
        for table, columns in tables.items():
            database.execute(f"CREATE TABLE {table} ({', '.join(map(_quoted, columns))})")
        for change in {**CHANGES, **COLUMNS, **NEWER, **NEWER_COLUMNS}.values():
            with altering(database) as seen:
                # nothing is done: SQLite says what it would do
                database.execute(f"EXPLAIN {change.statement}")
            found |= {(one, f"{change.kind}.{change.facet}") for one in seen}
    return found


def _quoted(name: str) -> str:
    return f'"{name}"'


def untried(found: Tried) -> Iterator[str]:
    """Yield each claimed column that no fault alters under one of its facets, and each table without a lost row.

    And each table of details of an object without a row too many; those of the kinds that are one definition are
    audited the other way round, too.
    """
    rows: dict[str, set[str]] = {}
    details: set[str] = set()
    owner = read(CLAIMS)[f"{INTERNAL} reasons"]["owner"]
    for name, claim in column_claims().items():
        if claim.reason == owner:
            details.add(name.partition(".")[0])
        if claim.by:
            rows.setdefault(name.partition(".")[0], set()).update(claim.by)
            if not any((name, facet) in found for facet in claim.by):
                yield name
    for table, facets in rows.items():
        facets |= {f"{one.partition('.')[0]}.presence" for one in facets}
        if not any((f"-{table}", facet) in found for facet in facets):
            yield f"a row of {table} is lost"
        asked = table in details and not any(one.partition(".")[0] in LATER for one in facets)
        if asked and not any((f"+{table}", facet) in found for facet in facets):
            yield f"a row too many in {table}"
