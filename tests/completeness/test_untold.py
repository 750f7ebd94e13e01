"""What is said to be told by no answer is told by none: all of it is altered, and every answer stays the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.recording import Recorded
from support.servers import FreshServer
from support.stocked import stock

from completeness.answers import answers
from completeness.claims import COLUMNS, INTERNAL, NOT_COMPARED, column_claims, columns_of, read
from completeness.releases import NEWEST, RELEASES

#: Reasons of the table of claims that say so.
UNTOLD = {f"{NOT_COMPARED}: {one}" for one in ("before tags", "deleted time", "sums of spans", "span columns",
                                               "link time", "nothing tells", "rule gateway_secret.value",
                                               "rule webhook.secret", "rule scorer.online")}  # fmt: skip
UNTOLD |= {f"{INTERNAL}: {one}" for one in ("derived", "state of storing", "rollup", "lock", "job state")}
#: Columns of other reasons are not altered, and why.
KEPT = {
    f"{INTERNAL}: own id": "other rows and the requests themselves name it",
    f"{INTERNAL}: owner": "the row would be another object's",
    f"{INTERNAL}: workspace": "the row would be another workspace's",
    f"{INTERNAL}: follows": "the row would be another object's",
    f"{INTERNAL}: surrogate": "the row would be another dataset's",
    f"{NOT_COMPARED}: rule evaluation_dataset.other.records": "an answer tells it",
    f"{NOT_COMPARED}: rule gateway_endpoint.bindings": "an answer tells it",
    f"{NOT_COMPARED}: rule workspace.settings": "a server with workspaces tells it",
    f"{NOT_COMPARED}: rule server.accounts": "it is in the database of MLflow's login",
}
#: Columns that the database makes of others.
MADE = {"spans.duration_ns"}
#: A column that MLflow lets be a few words only, and one that it could not decipher.
WORDS = {"runs.source_type": "'PROJECT'", "webhooks.secret": "NULL"}
_ALTERED = (
    "CASE WHEN {0} IS NULL THEN 7 WHEN typeof({0}) = 'text' THEN {0} || '7' "
    "WHEN typeof({0}) = 'blob' THEN CAST({0} || '7' AS BLOB) ELSE {0} + 1 END"
)
_JSON = """'{"altered": 7}'"""
#: What a row that nothing else writes is made of.
_VALUES = {"INT": 1, "BOOL": 1, "FLOA": 0.5, "DOUB": 0.5, "JSON": "{}", "BLOB": b"7"}


def untold(version: str) -> Iterator[tuple[str, str]]:
    """Yield table and column of what no answer of a release tells."""
    found, there = read(COLUMNS), columns_of(version)
    for table in found.sections():
        for column, claim in found[table].items():
            name = f"{table}.{column}"
            if claim in UNTOLD and name in there and name not in MADE:
                yield table, column


def fill(database: sqlite3.Connection, table: str) -> None:
    """Put a row into a table that has none: nothing but MLflow's jobs writes it, and none of them runs."""
    if database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]:
        return
    named = {row[3]: (row[2], row[4]) for row in database.execute(f"PRAGMA foreign_key_list({table})")}
    row: dict[str, object] = {}
    for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
        value: object = next((one for word, one in _VALUES.items() if word in kind.upper()), "x")
        if column in named:
            other, key = named[column]
            [value] = database.execute(f"SELECT {key} FROM {other} LIMIT 1").fetchone() or (value,)
        row[column] = value
    marks = ", ".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def alter(database: sqlite3.Connection, table: str, column: str) -> int:
    """Give a column another value in every row; return how many there are."""
    kinds = {row[1]: row[2] for row in database.execute(f"PRAGMA table_info({table})")}
    # some releases read columns that they do not tell, and JSON must be some
    value = _JSON if kinds[column] == "JSON" else _ALTERED.format(column)
    return database.execute(f"UPDATE {table} SET {column} = {WORDS.get(f'{table}.{column}', value)}").rowcount


def differing(before: Recorded, after: Recorded) -> list[str]:
    """Return the requests whose answers differ."""
    requests = before.keys() | after.keys()
    return sorted(" ".join((*one[:2], one[2].decode())) for one in requests if before.get(one) != after.get(one))


def test_every_reason_says_whether_it_is_tried() -> None:
    """A new column that is said to be told by nothing, and that nobody alters, would be believed."""
    found = read(COLUMNS)
    reasons = {claim for table in found.sections() if not table.endswith(" reasons") for claim in found[table].values()}
    reasons = {one for one in reasons if one.partition(": ")[0] in (INTERNAL, NOT_COMPARED)}
    assert (reasons - UNTOLD - KEPT.keys(), UNTOLD & KEPT.keys(), UNTOLD | KEPT.keys()) == (set(), set(), reasons)


@pytest.mark.long
@pytest.mark.parametrize("version", RELEASES)
def test_what_no_answer_tells_is_told_by_none(fresh_server: FreshServer, tmp_path: Path, version: str) -> None:
    """A column that is told after all and that no facet compares would be lost without a word.

    Every answer of an audit of everything is the same byte for byte when all these columns are others in all rows.
    """
    word = "newest" if version == NEWEST else version
    server = fresh_server(word)
    stock(server, word, version)
    with closing(sqlite3.connect(server.database_path, isolation_level=None)) as database:
        database.execute("PRAGMA busy_timeout = 30000")
        wanted = list(untold(version))
        # all that a facet compares was written by the server
        compared = {name.partition(".")[0] for name, claim in column_claims().items() if claim.by}
        for table in {table for table, _ in wanted} - compared:
            fill(database, table)
        before = answers(server.uri, tmp_path / "before")
        changed = {}
        for table, column in wanted:
            changed[f"{table}.{column}"] = alter(database, table, column)
        # what is answered to the same questions once more
        after = answers(server.uri, tmp_path / "after")
    assert [name for name, count in changed.items() if not count] == []
    assert len(before) > 50
    assert differing(before, after) == []
