"""``--parity-usable``: what people search for is found on the target; what is not is named as they would miss it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.seed import EPOCH, Seeder
from support.seed_spans import EXPERIMENT, written
from support.servers import FreshServer

from mlflow_parity.audit.usable import _newest, of_runs, of_traces
from mlflow_parity.core.records import Entity, MetricPoint, Run
from mlflow_parity.standin.servers import Server

USABLE = ("--parity-usable", "-k", "experiment_is_usable")


def seeded(uri: str) -> None:
    """Write traces with searchable spans, and runs in the same experiment."""
    written(uri)
    seed = Seeder(uri)
    listed = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    [experiment] = [one["experiment_id"] for one in listed if one["name"] == EXPERIMENT]
    for number in range(4):
        run = seed.run(experiment, f"run {number}", start=EPOCH + number)
        seed.log(run, params={"lr": f"0.{number % 3}"}, tags={"team": f"t{number}"},
                 metrics=[("loss", 0.5 + number, EPOCH, 0)])  # fmt: skip
        seed.end(run)
    seed.call("POST", "datasets/create", {"name": "questions", "experiment_ids": [experiment]}, version="3.0")


@pytest.fixture
def migrated(fresh_server: FreshServer, tmp_path: Path) -> tuple[Server, Server]:
    """A source with runs and traces, and its migrated copy."""
    source, target = fresh_server(), fresh_server()
    seeded(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
    done = migrate_py(tmp_path, "run", *ends)
    assert done.status == 0, done.output[-3000:]
    return source, target


def findings(done: AuditRun) -> dict[str, str]:
    """Return state by question."""
    return {one["key"]: one["state"] for one in done.report["findings"] if one["facet"] == "usable"}


def test_what_is_not_found_any_more_is_named(migrated: tuple[Server, Server], tmp_path: Path) -> None:
    """A copy may hold everything and yet answer nothing: each search that fails is named, with what it misses."""
    source, target = migrated
    done = audit(tmp_path / "green", source.uri, target.uri, *USABLE)
    rows = [row for row in done.rows() if row.facet == "usable"]
    assert (done.status, {str(row.state) for row in rows}) == (0, {"match"}), done.output[-3000:]
    with closing(sqlite3.connect(target.database_path, timeout=30)) as connection, connection:
        # what a search looks at, and no other answer tells
        connection.execute("UPDATE spans SET name = 'other', type = 'LLM' WHERE name = 'lookup weather'")
        connection.execute("UPDATE params SET value = '0.7' WHERE key = 'lr' AND value = '0.1'")
        connection.execute("UPDATE latest_metrics SET value = 9 WHERE key = 'loss' AND value = 0.5")
        connection.execute("DELETE FROM tags WHERE key = 'team' AND value = 't0'")
    done = audit(tmp_path / "red", source.uri, target.uri, *USABLE)
    found = findings(done)
    assert done.status == 1
    assert {key.split(" AND ")[0]: state for key, state in found.items()} == {
        "params.`lr` = '0.1'": "missing",
        "tags.`team` = 't0'": "missing",
        "metrics.`loss` > 3.0": "extra",
        "metrics.`loss` DESC": "mismatch",
        "span.name = 'lookup weather'": "missing",
        "span.type = 'TOOL'": "missing",
        "number of spans by name: lookup weather": "mismatch",
        "number of spans by name: other": "mismatch",
    }, found
    assert "3 traces not found by this search on the target" in done.output


@pytest.mark.long
def test_an_older_target_answers_less_and_says_so(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Searches that it cannot answer are expected by name, never silently green."""
    source, target = fresh_server(), fresh_server("3.4.0")
    seeded(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
    migrate_py(tmp_path, "run", *ends)
    done = audit(tmp_path / "audit", source.uri, target.uri, *USABLE)
    [row] = [row for row in done.rows() if row.facet == "usable" and row.name == EXPERIMENT]
    assert (done.status, str(row.state)) == (0, "expected"), done.output[-3000:]
    assert set(row.rules) == {"experiment.usable.spans", "experiment.usable.release"}


@pytest.mark.long
def test_a_snapshot_cannot_be_asked(migrated: tuple[Server, Server], tmp_path: Path) -> None:
    """Nobody knows what the server behind it would answer: unverified, and not green."""
    source, target = migrated
    done = audit(tmp_path / "first", source.uri, target.uri, "--parity-snapshot-dir", str(tmp_path / "kept"))
    assert done.status == 0, done.output[-3000:]
    done = audit(tmp_path / "audit", str(tmp_path / "kept" / "source"), target.uri, *USABLE)
    assert done.status == 1
    assert {str(row.state) for row in done.rows() if row.facet == "usable"} == {"unverified"}


def test_values_that_cannot_stand_in_a_search_are_left_out() -> None:
    """A quote in a value must not make a question that every server refuses; numbers that are none ask nothing."""
    point = MetricPoint(0, 0, float("nan"))
    run = Run("1" * 32, "1", "it's", "FINISHED", 5, 6, "u", "active", "", {"q'": "1", "a": "x'y"}, {"mlflow.x": "1"},
              {"m": point}, ())  # fmt: skip
    assert [one.text for one in of_runs([run])] == ["attributes.start_time >= 5"]
    facets = {"tags": {"a": "1%"}, "metadata": {}, "spans": []}
    assert list(of_traces([Entity("trace", "t", "", "1", 1, facets)])) == []
    named = replace(run, params={"lr": "1"}, name="plain", metrics={})
    assert [one.text for one in of_runs([named], 5)][:2] == [
        "params.`lr` = '1' AND attributes.start_time >= 5",
        "attributes.run_name = 'plain' AND attributes.start_time >= 5",
    ]


def test_of_many_objects_the_newest_are_asked_for() -> None:
    """An answer is one page, however much there is; a sample of it makes the questions."""
    some, since = _newest({str(number): number for number in range(1000)})
    assert (len(some), min(map(int, some)), since) == (200, 600, 600)
    assert _newest({"1": 1, "2": None}) == (["2", "1"], None)
