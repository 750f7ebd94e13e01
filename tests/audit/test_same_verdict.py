"""One verdict, however it is reached: page order and size, concurrency, depth, and a snapshot instead of a server."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.copied import Outcome, audited, copied_pair, kept
from support.proxy import Exchange, Fault, proxying
from support.servers import FreshServer, ServerPool

from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long

_RUN = "(SELECT run_uuid FROM runs WHERE name = '{}')"
_TRACE = "(SELECT min(request_id) FROM trace_info WHERE status = 'OK')"
#: One statement for each kind of difference: altered, missing, extra; each hits one object.
PLANTED = (
    f"UPDATE params SET value = '0.10' WHERE key = 'lr' AND run_uuid = {_RUN.format('child 1')}",
    f"DELETE FROM metrics WHERE key = 'loss' AND step = 7 AND run_uuid = {_RUN.format('child 2')}",
    f"INSERT INTO tags (key, value, run_uuid) VALUES ('new', '1', {_RUN.format('parent')})",
    "UPDATE registered_models SET description = 'other' WHERE name = 'churn'",
    "UPDATE model_versions SET description = 'other' WHERE name = 'price' AND version = 1",
    f"UPDATE trace_info SET status = 'ERROR' WHERE request_id = {_TRACE}",
    "UPDATE evaluation_dataset_tags SET value = 'other' WHERE key = 'team'",
)
#: Lists in which the order is part of what is said.
_ORDERED = {"records", "spans", "content", "messages"}


@pytest.fixture(scope="module", params=["equal", "planted"])
def pair(request: pytest.FixtureRequest, server_pool: ServerPool, module_server: FreshServer) -> tuple[Server, Server]:
    """A server and its copy, as it is or with differences; only read."""
    source, target = copied_pair(server_pool, module_server)
    if request.param == "planted":
        with closing(sqlite3.connect(target.database_path)) as database, database:
            for statement in PLANTED:
                assert database.execute(statement).rowcount == 1, statement
    return source, target


@pytest.fixture(scope="module")
def plain(pair: tuple[Server, Server]) -> Outcome:
    """The audit as it is mostly run."""
    return audited(pair[0].uri, pair[1].uri)


def verdict(outcome: Outcome) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    """Every row with its state, and every finding."""
    assert not outcome.failed, outcome.failed
    rows = [
        (row.kind, row.name, str(row.source_id), str(row.target_id), row.facet, str(row.state)) for row in outcome.rows
    ]
    assert len(set(rows)) == len(rows)
    found: set[tuple[str, ...]] = {
        (one.kind, one.name, one.facet, one.key, str(one.state), str(one.source), str(one.target))
        for one in outcome.findings
    }
    return set(rows), found


def test_what_there_is_to_find(request: pytest.FixtureRequest, plain: Outcome) -> None:
    """Green, or exactly the differences that were planted."""
    rows, found = verdict(plain)
    planted = {"equal": 0, "planted": len(PLANTED)}[request.node.callspec.params["pair"]]
    assert len({one[:2] for one in found}) == planted
    assert plain.green is (planted == 0)
    assert len(rows) > 300


@pytest.mark.parametrize("workers", [1, 16])
def test_concurrency(pair: tuple[Server, Server], plain: Outcome, workers: int) -> None:
    """One connection, or many."""
    assert verdict(audited(pair[0].uri, pair[1].uri, workers=workers)) == verdict(plain)


@pytest.mark.parametrize("page", [1, 5, 1000])
def test_size_of_pages(pair: tuple[Server, Server], plain: Outcome, page: int) -> None:
    """Pages of one object, of some, and all in one."""
    assert verdict(audited(pair[0].uri, pair[1].uri, page=page)) == verdict(plain)


def backwards(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Give every list of objects of an answer in the reverse order."""
    try:
        content: Any = json.loads(body)
    except ValueError:
        content = None
    if code != 200 or not isinstance(content, dict):
        exchange.answer(code, headers, body)
        return
    turned = {k: v[::-1] if isinstance(v, list) and k not in _ORDERED else v for k, v in content.items()}
    exchange.answer(code, [("Content-Type", "application/json")], json.dumps(turned).encode())


def test_order_of_pages(pair: tuple[Server, Server], plain: Outcome) -> None:
    """Each page the other way round, on one side only."""
    with proxying(pair[0].uri) as proxy:
        fault = Fault("/mlflow/", backwards, times=10**9)
        proxy.faults.append(fault)
        turned = audited(proxy.uri, pair[1].uri, page=2)
        assert any("page_token" in seen.query for seen in proxy.seen)
        assert fault.came[""] > 20
    assert verdict(turned) == verdict(plain)


def test_depth(pair: tuple[Server, Server], plain: Outcome) -> None:
    """``full`` says the same; ``listing`` the same of all that it looks at, which is all here but hashes."""
    assert verdict(audited(pair[0].uri, pair[1].uri, depth="full")) == verdict(plain)
    rows, found = verdict(audited(pair[0].uri, pair[1].uri, depth="listing"))
    assert found == verdict(plain)[1]
    assert rows == verdict(plain)[0]


def test_a_snapshot_for_a_server(pair: tuple[Server, Server], plain: Outcome, tmp_path: Path) -> None:
    """For either side, and for both; how aliases resolve only a server tells."""
    source, target = (
        kept(server.uri, tmp_path / name) for server, name in zip(pair, ("source", "target"), strict=True)
    )
    rows, found = verdict(plain)
    untold = {row for row in rows if row[4] == "resolves"}
    assert verdict(audited(source, pair[1].uri)) == (rows, found)
    for one in (pair[0].uri, source):
        assert verdict(audited(one, target)) == (rows - untold, found)
