"""Each check is proved by breaking things: faults planted on a really migrated target, found one by one.

Every fault hits an object of its own, so one audit shows all of them: the findings must be exactly those planted.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.seed import EPOCH, Seeder
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.standin.servers import Server

FILES = {"notes.txt": b"first\nsecond\n", "deep/er/weights.bin": bytes(range(200)), "empty.bin": b""}
#: ``(facet, key, state)`` of one expected finding.
Found = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """The migrated server as a fault sees it."""

    server: Server
    database: sqlite3.Connection
    runs: dict[str, str]
    experiment: str

    def sql(self, statement: str, *values: object) -> None:
        """Change exactly one row of the target's database; anything else is no fault."""
        changed = self.database.execute(statement, values).rowcount
        assert changed == 1, f"{statement}: {changed} rows"

    def file(self, run: str, path: str) -> Path:
        """Return the place of an artifact in the target's store."""
        return Path(self.server.artifacts_root) / self.experiment / run / "artifacts" / path


def _params(target: Target, run: str) -> None:
    target.sql("UPDATE params SET value = '0.10' WHERE run_uuid = ? AND key = 'lr'", run)


def _param_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'lr'", run)


def _param_added(target: Target, run: str) -> None:
    target.sql("INSERT INTO params (key, value, run_uuid) VALUES ('new', '1', ?)", run)


def _point_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM metrics WHERE run_uuid = ? AND key = 'loss' AND step = 11", run)
    latest = "UPDATE latest_metrics SET (step, timestamp, value) = (SELECT step, timestamp, value FROM metrics"
    target.sql(f"{latest} WHERE run_uuid = ?1 AND step = 10) WHERE run_uuid = ?1", run)


def _history_cut(target: Target, run: str) -> None:
    target.sql("DELETE FROM metrics WHERE run_uuid = ? AND key = 'loss' AND step = 11", run)


def _point_added(target: Target, run: str) -> None:
    target.sql(
        "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES ('loss', 9.5, ?, ?, 3, 0)",
        EPOCH + 1,
        run,
    )


def _one_ulp(target: Target, run: str) -> None:
    [(value,)] = target.database.execute("SELECT value FROM metrics WHERE run_uuid = ? AND step = 5", (run,))
    bits = struct.unpack("<q", struct.pack("<d", value))[0]
    nudged = struct.unpack("<d", struct.pack("<q", bits + 1))[0]
    target.sql("UPDATE metrics SET value = ? WHERE run_uuid = ? AND step = 5", nudged, run)


def _point_moved(target: Target, run: str) -> None:
    target.sql("UPDATE metrics SET timestamp = timestamp + 1 WHERE run_uuid = ? AND step = 7", run)


def _step_moved(target: Target, run: str) -> None:
    target.sql("UPDATE metrics SET step = 400 WHERE run_uuid = ? AND step = 6", run)


def _tag(target: Target, run: str) -> None:
    target.sql("UPDATE tags SET value = 'Blue' WHERE run_uuid = ? AND key = 'colour'", run)


def _tag_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM tags WHERE run_uuid = ? AND key = 'colour'", run)


def _tag_added(target: Target, run: str) -> None:
    target.sql("INSERT INTO tags (key, value, run_uuid) VALUES ('surplus', '1', ?)", run)


def _note(target: Target, run: str) -> None:
    target.sql("UPDATE tags SET value = 'another' WHERE run_uuid = ? AND key = 'mlflow.note.content'", run)


def _source_tag_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM tags WHERE run_uuid = ? AND key = 'mlflow_exim.run_info.status'", run)


def _source_tag_forged(target: Target, run: str) -> None:
    target.sql("UPDATE tags SET value = '1' WHERE run_uuid = ? AND key = 'mlflow_exim.run_info.start_time'", run)


def _mlflow_tag_forged(target: Target, run: str) -> None:
    target.sql("INSERT INTO tags (key, value, run_uuid) VALUES ('mlflow_exim.mlflow_tag.source.name', 'x', ?)", run)


def _user_forged(target: Target, run: str) -> None:
    target.sql("UPDATE tags SET value = 'eve' WHERE run_uuid = ? AND key = 'mlflow_exim.mlflow_tag.user'", run)


def _parent_swapped(target: Target, run: str) -> None:
    other = target.runs["params"]
    target.sql("UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'mlflow.parentRunId'", other, run)


def _parent_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM tags WHERE run_uuid = ? AND key = 'mlflow.parentRunId'", run)


def _name(target: Target, run: str) -> None:
    target.sql("UPDATE runs SET name = 'renamed' WHERE run_uuid = ?", run)


def _status(target: Target, run: str) -> None:
    target.sql("UPDATE runs SET status = 'FAILED' WHERE run_uuid = ?", run)


def _in_trash(target: Target, run: str) -> None:
    target.sql("UPDATE runs SET lifecycle_stage = 'deleted' WHERE run_uuid = ?", run)


def _input_digest(target: Target, run: str) -> None:
    query = "SELECT source_id FROM inputs WHERE destination_id = ?"
    [(dataset,)] = target.database.execute(query, (run,))
    target.sql("UPDATE datasets SET digest = 'other' WHERE dataset_uuid = ?", dataset)


def _input_context(target: Target, run: str) -> None:
    query = "SELECT input_uuid FROM inputs WHERE destination_id = ?"
    [(link,)] = target.database.execute(query, (run,))
    target.sql("UPDATE input_tags SET value = 'test' WHERE input_uuid = ?", link)


def _input_lost(target: Target, run: str) -> None:
    target.sql("DELETE FROM inputs WHERE destination_id = ?", run)


def _byte(target: Target, run: str) -> None:
    file = target.file(run, "deep/er/weights.bin")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


def _truncated(target: Target, run: str) -> None:
    file = target.file(run, "notes.txt")
    file.write_bytes(file.read_bytes()[:-1])


def _file_lost(target: Target, run: str) -> None:
    target.file(run, "empty.bin").unlink()


def _file_added(target: Target, run: str) -> None:
    target.file(run, "deep/surplus.txt").write_bytes(b"x")


def _case(target: Target, run: str) -> None:
    target.file(run, "notes.txt").rename(target.file(run, "Notes.txt"))


def _artifact_uri(target: Target, run: str) -> None:
    [(uri,)] = target.database.execute(
        "SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow_exim.run_info.artifact_uri'", (run,)
    )
    target.sql("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", uri, run)


#: Fault → the facet's findings that it must cause, each under the name of the run.
FAULTS: dict[str, tuple[Callable[[Target, str], None], set[Found]]] = {
    "params": (_params, {("params", "lr", "mismatch")}),
    "param lost": (_param_lost, {("params", "lr", "missing")}),
    "param added": (_param_added, {("params", "new", "extra")}),
    "point lost": (_point_lost, {("metrics", "loss", "mismatch")}),
    # the server contradicts itself: its latest point is not in its history, so nothing is proved either way
    "history cut": (_history_cut, {("metrics", "loss", "unverified")}),
    "point added": (_point_added, {("metrics", "loss", "mismatch")}),
    "one ulp": (_one_ulp, {("metrics", "loss", "mismatch")}),
    "time moved": (_point_moved, {("metrics", "loss", "mismatch")}),
    "step moved": (_step_moved, {("metrics", "loss", "mismatch")}),
    "tag": (_tag, {("tags", "colour", "mismatch")}),
    "tag lost": (_tag_lost, {("tags", "colour", "missing")}),
    "tag added": (_tag_added, {("tags", "surplus", "extra")}),
    "note": (_note, {("note", "mlflow.note.content", "mismatch")}),
    "source tag lost": (_source_tag_lost, {("source_tags", "mlflow_exim.run_info.status", "missing")}),
    "source tag forged": (
        _source_tag_forged,
        {("source_tags", "mlflow_exim.run_info.start_time", "mismatch"), ("times", "start_time", "mismatch")},
    ),
    "mlflow tag forged": (
        _mlflow_tag_forged,
        {("source_tags", "mlflow_exim.mlflow_tag.source.name", "extra")},
    ),
    "user forged": (
        _user_forged,
        {("source_tags", "mlflow_exim.mlflow_tag.user", "mismatch"), ("user", "mlflow.user", "mismatch")},
    ),
    "parent swapped": (_parent_swapped, {("parent", "mlflow.parentRunId", "mismatch")}),
    "parent lost": (_parent_lost, {("parent", "mlflow.parentRunId", "missing")}),
    "name": (_name, {("name", "run_name", "mismatch")}),
    "status": (_status, {("status", "status", "mismatch")}),
    "in trash": (_in_trash, {("lifecycle", "lifecycle_stage", "mismatch")}),
    "input digest": (_input_digest, {("inputs", "rows (training): digest", "mismatch")}),
    "input context": (_input_context, {("inputs", "rows (training): tags", "mismatch")}),
    "input lost": (_input_lost, {("inputs", "rows (training)", "missing")}),
    "byte": (_byte, {("artifacts", "deep/er/weights.bin", "mismatch")}),
    "truncated": (_truncated, {("artifacts", "notes.txt", "mismatch")}),
    "file lost": (_file_lost, {("artifacts", "empty.bin", "missing")}),
    "file added": (_file_added, {("artifacts", "deep/surplus.txt", "extra")}),
    "artifact uri": (
        _artifact_uri,
        {("artifact_uri", "artifact_uri", "mismatch"), *(("artifacts", path, "missing") for path in FILES)},
    ),
    "case": (_case, {("artifacts", "notes.txt", "missing"), ("artifacts", "Notes.txt", "extra")}),
}


def _seed(server: Server) -> None:
    seed = Seeder(server.uri)
    experiment = seed.experiment("faults", {"team": "growth", "mlflow.note.content": "note"})
    parent = seed.run(experiment, "parent")
    seed.end(parent)
    for number, name in enumerate([*FAULTS, "intact", "lost", "twice"]):
        start = EPOCH + 1_000 * number
        run = seed.run(experiment, name, start=start, parent=parent)
        seed.log(
            run,
            params={"lr": "0.1", "fault": name},
            tags={"colour": "blue", "mlflow.note.content": f"of {name}"},
            metrics=[("loss", 1 / (step + 1.5), EPOCH + step, step) for step in range(12)],
        )
        seed.dataset(run, "rows", f"d{number}", "training")
        for path, content in FILES.items():
            seed.artifact(run, path, content)
        seed.end(run, at=start + 500)


@dataclass(frozen=True, slots=True)
class Migrated:
    """Source and target after a migration by the tool that lost nothing."""

    source: Server
    target: Target


@pytest.fixture(scope="module")
def migrated(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    """A source with one run per fault, and its copy."""
    source, server = module_server(), module_server()
    _seed(source)
    migrate(source.uri, server.uri, tmp_path_factory.mktemp("export"))
    with closing(sqlite3.connect(server.database_path, timeout=30, isolation_level=None)) as database:
        runs = dict(database.execute("SELECT name, run_uuid FROM runs"))
        [(experiment,)] = database.execute("SELECT experiment_id FROM experiments WHERE name = 'faults'")
        yield Migrated(source, Target(server, database, runs, str(experiment)))


@pytest.fixture(scope="module")
def clean(migrated: Migrated, tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit before anything was broken."""
    return audit(tmp_path_factory.mktemp("clean"), migrated.source.uri, migrated.target.server.uri)


@pytest.fixture(scope="module")
def broken(clean: AuditRun, migrated: Migrated, tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit after every fault was planted, each on a run of its own."""
    target = migrated.target
    for name, (plant, _) in FAULTS.items():
        plant(target, target.runs[name])
    lost = target.runs["lost"]
    for table in ("params", "metrics", "latest_metrics", "tags"):
        target.database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (lost,))
    target.sql("DELETE FROM runs WHERE run_uuid = ?", lost)
    seed = Seeder(target.server.uri)
    copy = seed.run(target.experiment, "twice", tags={"mlflow_exim.run_info.run_id": _source_id(target, "twice")})
    seed.end(copy)
    ghost = seed.run(target.experiment, "ghost", start=EPOCH + 1)
    seed.end(ghost)
    half = seed.run(target.experiment, "half", start=EPOCH + 2)
    seed.log(half, params={"lr": "0.1"})
    seed.set_experiment_tag(target.experiment, "team", "other")
    seed.experiment("surplus")
    return audit(tmp_path_factory.mktemp("broken"), migrated.source.uri, target.server.uri, "--max-findings", "1000")


def _source_id(target: Target, name: str) -> str:
    query = "SELECT value FROM tags WHERE run_uuid = ? AND key = 'mlflow_exim.run_info.run_id'"
    [(found,)] = target.database.execute(query, (target.runs[name],))
    return str(found)


def test_a_good_migration_is_green(clean: AuditRun) -> None:
    """Without a fault everything is a match or differs as the contract says, and deepdiff is never called."""
    assert clean.status == 0, clean.output
    report = clean.report
    assert report["verdict"] == "green"
    assert report["findings"] == []
    assert report["explained"] == 0
    assert report["paired_by"] == {"source-tag": len(FAULTS) + 4}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named(broken: AuditRun, fault: str) -> None:
    """The fault is found, under the name of its run, facet and key, and nothing else of that run is blamed."""
    name = "renamed" if fault == "name" else fault
    found = {(facet, key, state) for facet, key, state, run in broken.findings() if run in (name, fault)}
    assert found == FAULTS[fault][1]


def test_unpaired_runs_are_named_for_what_they_are(broken: AuditRun) -> None:
    """A lost run, a second copy, a ghost and half an import are told apart."""
    presence = {
        (finding["name"], finding["state"]): finding["explanation"]
        for finding in broken.report["findings"]
        if finding["facet"] == "presence" and finding["kind"] == "run"
    }
    assert set(presence) == {
        ("lost", "missing"),
        ("twice", "duplicate"),
        ("ghost", "extra"),
        ("half", "extra"),
    }
    assert "ghost run" in presence["ghost", "extra"]
    assert "half a run left by an interrupted import" in presence["half", "extra"]


def test_the_experiment_and_the_surplus_one_are_named(broken: AuditRun) -> None:
    """A changed tag of the experiment and an experiment that should not be there are found."""
    found = {
        (finding["name"], finding["facet"], finding["key"], finding["state"])
        for finding in broken.report["findings"]
        if finding["kind"] == "experiment"
    }
    assert found == {("faults", "tags", "team", "mismatch"), ("surplus", "presence", "", "extra")}


def test_nothing_else_is_blamed(broken: AuditRun) -> None:
    """Every finding belongs to a planted fault, and the intact runs are green."""
    assert broken.status == 1
    blamed = {finding["name"] for finding in broken.report["findings"]}
    assert blamed == {*FAULTS, "lost", "twice", "ghost", "half", "faults", "surplus"}
    assert {row.name for row in broken.red_rows()} == blamed


def test_each_fault_fails_the_check_that_owns_it(broken: AuditRun) -> None:
    """Every check but that of the artifact locations had a fault, so every other check failed."""
    from mlflow_parity.promises import PROMISES

    unharmed = {"test_experiment_source_tags", "test_experiment_artifact_location"}
    # the other kinds have faults of their own, in test_object_faults
    own = {f"test_{promise.name}" for promise in PROMISES if promise.kind in ("experiment", "run")}
    assert broken.failed() == own - unharmed


def test_a_failure_is_short_and_has_no_traceback(broken: AuditRun) -> None:
    """Each failure is under 40 lines, with both ids and both values, and shows no source line of ours."""
    assert "Traceback" not in broken.output
    assert "def test_" not in broken.output
    body = broken.output.partition("= FAILURES =")[2].partition("= mlflow-parity =")[0]
    sections = body.split("\n____")
    assert len(sections) > 10
    assert max(section.count("\n") for section in sections) < 42
    assert "0.10" in body
    assert "root['lr']" in body
