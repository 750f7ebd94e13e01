"""What is said to be told by no answer is told by none: all of it is altered, and all that is read stays the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from support.opened import everything, opened
from support.seed import Seeder
from support.seed_later import seed_later
from support.seed_objects import seed_objects
from support.servers import FreshServer

from completeness.claims import COLUMNS, INTERNAL, NOT_COMPARED, columns_of, read
from completeness.releases import NEWEST
from mlflow_parity.kinds.contract import LATER

#: Reasons of the table of claims that say so.
UNTOLD = {f"{NOT_COMPARED}: {one}" for one in ("before tags", "deleted time", "sums of spans", "span columns",
                                               "link time", "nothing tells")}  # fmt: skip
UNTOLD |= {f"{INTERNAL}: {one}" for one in ("derived", "state of storing", "rollup", "lock")}
#: Columns that the database makes of others.
MADE = {("spans", "duration_ns")}
#: A column that MLflow's own constraint lets be a few words only.
WORDS = {"runs.source_type": "'PROJECT'"}


def untold() -> list[tuple[str, str]]:
    """Return table and column of what no answer of the newest release tells."""
    found, there = read(COLUMNS), columns_of(NEWEST)
    return [
        (table, column)
        for table in found.sections()
        for column, claim in found[table].items()
        if claim in UNTOLD and f"{table}.{column}" in there and (table, column) not in MADE
    ]


def told(uri: str, experiment: str) -> dict[Any, Any]:
    """Return all that is read of a server, what nothing knows included."""
    reader = opened(uri)
    try:
        found: dict[Any, Any] = {one.experiment_id: one for one in reader.experiments()}
        found |= {run.run_id: run for page in reader.runs(experiment) for run in reader.with_model_links(page)}
        later = [one for kind in LATER for batch in reader.server_objects(kind) for one in batch]
        return found | {(one.kind, one.entity_id): one for one in [*everything(reader, experiment), *later]}
    finally:
        reader.close()


def altered(database: sqlite3.Connection, table: str, column: str) -> int:
    """Alter every value of a column; return how many."""
    value = WORDS.get(
        f"{table}.{column}",
        f"CASE WHEN {column} IS NULL THEN 7 WHEN typeof({column}) = 'text' THEN {column} || '7' ELSE {column} + 1 END",
    )
    return database.execute(f"UPDATE {table} SET {column} = {value}").rowcount


@pytest.mark.long
def test_what_no_answer_tells_is_told_by_none(fresh_server: FreshServer) -> None:
    """A column that is told after all and that no facet compares would be lost without a word."""
    server = fresh_server()
    experiment = Seeder(server.uri).experiment("everything")
    seed_objects(server.uri, experiment, version="newest")
    seed_later(server.uri, experiment)
    before = told(server.uri, experiment)
    assert {one.kind for one in before.values() if hasattr(one, "kind")} > set(LATER) - {"skill"}
    with closing(sqlite3.connect(server.database_path, isolation_level=None)) as database:
        database.execute("PRAGMA busy_timeout = 30000")
        changed = {(table, column): altered(database, table, column) for table, column in untold()}
    assert len([one for one in changed.values() if one]) >= 30
    assert told(server.uri, experiment) == before
