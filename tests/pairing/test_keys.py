"""Each key that pairs runs, on real servers: what the tool left there, or a restored database, decides which."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.pairs import Migration
from support.seed import EPOCH, Seeder
from support.servers import FreshServer
from support.tool import begin_import, export, import_, migrate

from mlflow_parity.standin.servers import Server, stop_group

RUNS = {"sweep", "sweep-0", "sweep-1", "sweep-2", "failed", "killed", "running"}


@dataclass(frozen=True, slots=True)
class Exported:
    """A source and what the tool exported of it."""

    server: Server
    folder: Path


@pytest.fixture(scope="module")
def exported(servers: tuple[Server, Server], migration: Migration) -> Exported:
    """The seeded source, exported once."""
    return Exported(servers[0], migration.exported)


@pytest.fixture(scope="module")
def once(servers: tuple[Server, Server]) -> Server:
    """A target that the tool filled, with source tags."""
    return servers[1]


def _presence(done: AuditRun) -> set[tuple[str, str]]:
    return {(f["name"], f["state"]) for f in done.report["findings"] if f["facet"] == "presence"}


def test_source_tags(exported: Exported, once: Server, tmp_path: Path) -> None:
    """After an import with source tags every run is paired by its tag."""
    done = audit(tmp_path, exported.server.uri, once.uri)
    assert done.status == 0, done.output
    assert done.report["paired_by"] == {"source-tag": len(RUNS)}


@pytest.mark.long
def test_without_source_tags(exported: Exported, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Name and content pair the runs; what the import lost for ever is red, and nothing else is."""
    target = fresh_server()
    import_(target.uri, exported.folder, source_tags=False)
    done = audit(tmp_path, exported.server.uri, target.uri, "--parity-max-findings", "1000")
    assert done.status == 1, done.output
    paired = done.report["paired_by"]
    assert sum(paired.values()) == len(RUNS)
    assert set(paired) <= {"content", "name", "natural-key"}
    assert _presence(done) == set()
    red = {(row.kind, row.facet, row.state.value) for row in done.red_rows()}
    # times, and the users that only the tags would keep; the tags themselves
    assert red <= {
        ("run", "times", "mismatch"),
        ("run", "source_tags", "missing"),
        ("run", "source_tags", "mismatch"),
        ("run", "user", "mismatch"),
        ("run", "status", "mismatch"),
        ("experiment", "source_tags", "missing"),
        ("experiment", "source_tags", "mismatch"),
        ("experiment", "times", "mismatch"),
    }
    assert {row.name for row in done.red_rows() if row.facet == "times" and row.kind == "run"} == RUNS
    assert {row.name for row in done.red_rows() if row.facet == "source_tags" and row.kind == "run"} == RUNS


@pytest.mark.long
def test_imported_twice(exported: Exported, migration: Migration, fresh_server: FreshServer, tmp_path: Path) -> None:
    """A second import doubles every run, and every one of them is named."""
    target = fresh_server()
    migration.lay("target", target)
    import_(target.uri, exported.folder)
    done = audit(tmp_path, exported.server.uri, target.uri, "--parity-max-findings", "1000")
    assert done.status == 1, done.output
    assert _presence(done) == {(name, "duplicate") for name in RUNS}
    assert done.failed() == {"test_runs_arrived_once"}
    assert {row.state.value for row in done.red_rows()} == {"duplicate"}


@pytest.mark.long
def test_restored_database(exported: Exported, migration: Migration, fresh_server: FreshServer, tmp_path: Path) -> None:
    """A copy of database and artifacts keeps its ids: paired by them, deleted ones too; one param changed is red."""
    target = fresh_server()
    migration.lay("source", target)
    options = ("--parity-include-deleted", "--parity-two-servers")
    done = audit(tmp_path / "equal", exported.server.uri, target.uri, *options)
    assert done.status == 0, done.output
    assert done.report["paired_by"] == {"same-id": len(RUNS) + 2}
    with closing(sqlite3.connect(target.database_path, timeout=30, isolation_level=None)) as database:
        assert database.execute("UPDATE params SET value = '9' WHERE key = 'depth' AND value = '1'").rowcount == 1
    done = audit(tmp_path / "changed", exported.server.uri, target.uri, *options)
    assert done.status == 1, done.output
    assert done.findings() == {("params", "depth", "mismatch", "sweep-1")}


def _begun(database: sqlite3.Connection) -> tuple[int, int]:
    """Runs with source tags, and those without but with params already."""
    tagged = "EXISTS (SELECT * FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = 'mlflow_exim.run_info.run_id')"
    params = "EXISTS (SELECT * FROM params WHERE params.run_uuid = runs.run_uuid)"
    query = f"SELECT COALESCE(SUM({tagged}), 0), COALESCE(SUM(NOT {tagged} AND {params}), 0) FROM runs"
    [(done, half)] = database.execute(query)
    return int(done), int(half)


@pytest.mark.long
def test_killed_import(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The real import, killed midway: what it left half done is extra and called so, what it did not do is missing."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("long")
    names = {f"run {number}" for number in range(6)}
    for number, name in enumerate(sorted(names)):
        run = seed.run(experiment, name, start=EPOCH + number)
        seed.log(run, params={"p": name}, metrics=[("m", 0.5, EPOCH, step) for step in range(3)])
        for file in range(25):
            seed.artifact(run, f"files/{file}.txt", f"{name} {file}".encode())
        seed.end(run)
    export(source.uri, tmp_path / "export")
    killed = begin_import(target.uri, tmp_path / "export")
    try:
        with closing(sqlite3.connect(target.database_path, timeout=30)) as database:
            limit = time.monotonic() + 120
            while time.monotonic() < limit:
                assert killed.poll() is None, "the import came to its end"
                # two runs are done, a third is at work: hold it there and look again, for it may just have ended
                if _begun(database) == (2, 1):
                    os.kill(killed.pid, signal.SIGSTOP)
                    time.sleep(0.5)
                    if _begun(database) == (2, 1):
                        break
                    os.kill(killed.pid, signal.SIGCONT)
                time.sleep(0.01)
    finally:
        stop_group(killed, grace=0)
    done = audit(tmp_path, source.uri, target.uri)
    assert done.status == 1, done.output
    presence = [finding for finding in done.report["findings"] if finding["facet"] == "presence"]
    [half] = [finding for finding in presence if finding["state"] == "extra"]
    missing = {finding["name"] for finding in presence if finding["state"] == "missing"}
    assert "half a run left by an interrupted import" in half["explanation"]
    # the tool gives the run its name only with its tags: until then it has the one that the server invented
    assert half["name"] not in names - missing
    assert len(missing) + done.report["paired_by"]["source-tag"] == len(names)
    assert missing < names
    # the tool does not go on: what is there stays, half a run too, and everything is made once more
    import_(target.uri, tmp_path / "export")
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database:
        assert database.execute("SELECT count(*) FROM runs").fetchone() == (2 + 1 + len(names),)


@pytest.mark.long
def test_chained_migration(exported: Exported, once: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """From A to B to C: C is a copy of B in full, and also tells where A's runs went."""
    third = fresh_server()
    migrate(once.uri, third.uri, tmp_path / "export")
    done = audit(tmp_path / "b-c", once.uri, third.uri)
    assert done.status == 0, done.output
    assert done.report["paired_by"] == {"source-tag": len(RUNS)}
