"""Whole audits with a database beside the API: the verdict and the ledger of the API alone, also where it is red."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.pairs import Migration
from support.proxy import Exchange, Fault, proxying
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long


def _beside(source: Server, target: Server) -> tuple[str, ...]:
    return "--source-db", source.database_uri, "--target-db", target.database_uri


def _both_ways(folder: Path, source: Server, target: Server, *options: str) -> tuple[AuditRun, AuditRun]:
    by_api = audit(folder / "api", source.uri, target.uri, *options)
    return by_api, audit(folder / "database", source.uri, target.uri, *_beside(source, target), *options)


@pytest.fixture
def pair(migration: Migration, fresh_server: FreshServer) -> tuple[Server, Server]:
    """A source and its copy, which are altered."""
    source, target = fresh_server(), fresh_server()
    migration.lay("source", source)
    migration.lay("target", target)
    return source, target


def test_the_verdict_is_that_of_the_api(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Green where it is green and red where it is red, row for row: whoever signs need not know how it was read."""
    source, target = pair
    by_api, by_database = _both_ways(tmp_path / "clean", source, target, "--parity-include-deleted")
    assert by_api.rows() == by_database.rows()
    assert (by_api.status, by_database.status) == (1, 1)  # the tool leaves deleted ones behind
    assert by_database.report["verdict"] == by_api.report["verdict"]
    clean = audit(tmp_path / "green", source.uri, target.uri, *_beside(source, target))
    assert clean.status == 0, clean.output
    # what the report says of it is known when all was read
    told = [note for note in clean.report["notes"] if "were read from its database" in note]
    counts = [re.search(r"([0-9]+) histor\w+ of ([0-9]+) experiments? were read by the API too", note) for note in told]
    assert [[int(count) > 0 for count in found.groups()] for found in counts if found] == [[True, True]] * 2
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        database.execute("UPDATE params SET value = '9' WHERE key = 'depth' AND value = '1'")
        database.execute("UPDATE metrics SET value = value + 1e-12 WHERE key = 'loss' AND step = 3")
        database.execute("UPDATE latest_metrics SET step = step + 1 WHERE key = 'constant'")
        database.execute("DELETE FROM tags WHERE key = 'reason'")
        database.execute("UPDATE runs SET status = 'FAILED' WHERE name = 'sweep'")
    by_api, by_database = _both_ways(tmp_path / "broken", source, target)
    assert by_api.status == by_database.status == 1
    assert by_database.rows() == by_api.rows()
    assert by_database.findings() == by_api.findings()
    assert {"params", "metrics", "tags", "status"} <= {facet for facet, *_ in by_database.findings()}
    assert "disagree" not in by_database.output
    assert not by_database.report["changed"]


def test_an_old_copy_of_the_database_is_never_green(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """A replica that lags, or a backup: the runs in which it differs from the server are named, and nothing passes."""
    source, target = pair
    old = tmp_path / "old.db"
    copy_database(source.database_path, old)
    with closing(sqlite3.connect(source.database_path, timeout=30)) as database, database:
        database.execute("UPDATE tags SET value = 'newer' WHERE key = 'stage'")
        [(run,)] = database.execute("SELECT run_uuid FROM tags WHERE key = 'stage'")
        [(came,)] = database.execute("SELECT experiment_id FROM runs WHERE name = 'failed'")
    fresh = Seeder(source.uri).run(str(came), "since")
    run_of_copy = audit(tmp_path / "audit", source.uri, target.uri, "--source-db", f"sqlite:///{old}")
    assert run_of_copy.status == 1
    told = [row.note + str(row) for row in run_of_copy.red_rows()]
    findings = str(run_of_copy.report["findings"])
    for one in (run, fresh):
        assert f"the database and the server disagree on run {one}" in findings + str(told)
    assert run_of_copy.report["verdict"] != "green"


def test_a_source_in_use_is_told_as_one(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """What is written after the instant that was read is named as changed, and is no contradiction of the database."""
    source, target = pair
    seed = Seeder(source.uri)
    found = seed.call("POST", "experiments/search", {"max_results": 10, "filter": "name = 'churn model'"})
    experiment = found["experiments"][0]["experiment_id"]
    runs = seed.call("POST", "runs/search", {"experiment_ids": [experiment]})["runs"]
    run = next(one["info"]["run_id"] for one in runs if one["info"]["run_name"] == "sweep-1")
    came: list[str] = []

    def write(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        # what is asked of the registry comes while the first reading is under way
        seed.log(run, tags={"late": "yes"})
        came.append(seed.run(experiment, "late"))
        exchange.answer(code, headers, body)

    with proxying(source.uri) as proxy:
        proxy.faults.append(Fault("mlflow-artifacts", write, times=1))
        done = audit(tmp_path, proxy.uri, target.uri, *_beside(source, target))
    assert len(came) == 1
    assert done.status == 1
    assert "disagree" not in done.output
    told = " ".join(done.report["changed"])
    assert f"({run}): tags" in told
    assert f"({came[0]}): came" in told
    assert {row.state.value for row in done.red_rows()} == {"unverified"}, [str(row) for row in done.red_rows()]
