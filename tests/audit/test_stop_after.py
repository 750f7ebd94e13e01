"""``--parity-stop-after``: nothing is read or compared any more, all that is left is named, and it is never green."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.joined import counted, coverage
from support.seed import EPOCH, Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.core.verdict import State
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long

SAME = ("--parity-profile", "same-store", "--parity-two-servers")
EXPERIMENTS, RUNS, POINTS = 4, 3, 5


@pytest.fixture(scope="module")
def pair(module_server: FreshServer) -> tuple[Server, Server]:
    """A store and its restored copy, in which every run of every experiment but the first has another param."""
    source, target = module_server(), module_server()
    seed = Seeder(source.uri)
    for number in range(EXPERIMENTS):
        experiment = seed.experiment(f"experiment {number}")
        for one in range(RUNS):
            run = seed.run(experiment, f"run {number}{one}", start=EPOCH + one)
            points = [("loss", float(step), EPOCH + step, step) for step in range(POINTS)]
            seed.log(run, params={"lr": "1"}, metrics=points)
            seed.end(run)
    copy_database(source.database_path, target.database_path)
    with closing(sqlite3.connect(target.database_path)) as database, database:
        query = (
            "UPDATE params SET value = '2' WHERE run_uuid IN (SELECT run_uuid FROM runs WHERE name NOT LIKE 'run 0%')"
        )
        assert database.execute(query).rowcount == (EXPERIMENTS - 1) * RUNS
    return source, target


@pytest.fixture(scope="module")
def whole(pair: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit of everything."""
    return audit(tmp_path_factory.mktemp("whole"), pair[0].uri, pair[1].uri, *SAME)


def test_it_ends_early_and_says_what_is_left(pair: tuple[Server, Server], whole: AuditRun, tmp_path: Path) -> None:
    """Else stopping would cost as much as going on, or what nobody looked at would pass for equal."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "--parity-stop-after", "2")
    assert done.status == whole.status == 1
    report, told = done.report, whole.report
    assert report["verdict"] == "red"
    assert report["verified"] < report["objects"] == told["objects"]
    assert counted([replace(row, state=State.MATCH, findings=0, rules=(), note="") for row in done.rows()]) == counted(
        [replace(row, state=State.MATCH, findings=0, rules=(), note="") for row in whole.rows()]
    )
    left = [row for row in done.rows() if "--parity-stop-after" in row.note]
    assert {row.state for row in left} == {State.UNVERIFIED}
    assert {row.experiment for row in left} >= {"experiment 2", "experiment 3"}
    assert {row.experiment for row in left}.isdisjoint({"experiment 0"})
    # the kind of object in which the last one failed is compared to its end
    assert {row.name for row in done.rows() if row.facet == "params" and row.state is State.MISMATCH} == {
        "run 10",
        "run 11",
        "run 12",
    }
    assert report["reasons"][0].startswith("stopped at 3 failed objects (--parity-stop-after 2): ")
    assert '"experiment 2"' in report["reasons"][0]
    assert report["scope"]["partial"]
    for side in ("source", "target"):
        assert report["sides"][side]["points"] == 2 * RUNS * POINTS
        assert told["sides"][side]["points"] == EXPERIMENTS * RUNS * POINTS


def test_what_never_stops_is_the_whole(pair: tuple[Server, Server], whole: AuditRun, tmp_path: Path) -> None:
    """Else an audit that could have stopped would judge otherwise than one that could not."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "--parity-stop-after", "1000")
    assert counted(done.rows()) == counted(whole.rows())
    assert coverage(done.report) == coverage(whole.report)
    same = ("verdict", "reasons", "totals", "findings", "paired_by")
    assert {name: done.report[name] for name in same} == {name: whole.report[name] for name in same}
    for side in ("source", "target"):
        assert done.report["sides"][side]["points"] == whole.report["sides"][side]["points"]
        assert done.report["sides"][side]["snapshot_digest"] == whole.report["sides"][side]["snapshot_digest"]


def test_with_workers_and_kept_snapshots_it_stops_too(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """xdist's workers only read what the main process found; a snapshot that is kept is of everything."""
    done = audit(tmp_path / "xdist", pair[0].uri, pair[1].uri, *SAME, "--parity-stop-after", "2", "-n", "2")
    kept = ("--parity-stop-after", "2", "--parity-snapshot-dir", str(tmp_path / "kept"))
    other = audit(tmp_path / "snapshots", pair[0].uri, pair[1].uri, *SAME, *kept)
    assert done.status == other.status == 1
    assert counted(done.rows()) == counted(other.rows())
    assert other.report["sides"]["source"]["points"] == EXPERIMENTS * RUNS * POINTS
    assert done.report["sides"]["source"]["points"] < EXPERIMENTS * RUNS * POINTS
