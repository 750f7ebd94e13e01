"""Profiles on real moves: an upgraded database, a restored one, a migrated file store; and the wrong profile named."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest
from support import warm
from support.audits import AuditRun, audit
from support.postgres import postgres
from support.proxy import Fault, proxying, status
from support.seed import Seeder, seed_small
from support.seed_trace_states import AT_ONCE, seed_trace_states
from support.servers import FreshServer, server_of

from mlflow_parity.cli import main
from mlflow_parity.kinds.rules import contract
from mlflow_parity.pairing.relocation import Relocation, find
from mlflow_parity.standin.servers import Server, clean_environment

SAME = ("--parity-profile", "same-store", "--parity-include-deleted")
#: A restored copy beside its original: nothing but the user's word tells them apart.
TWO = (*SAME, "--parity-two-servers")


def snapshot(uri: str, folder: Path) -> str:
    """Take a snapshot of a server and return where it is."""
    assert main(["snapshot", "--source-uri", uri, "--to", str(folder)]) == 0
    return str(folder / "source")


def seed_store(uri: str) -> None:
    """Write runs, a registered model with two versions, a gap and an alias, and a prompt."""
    seeded = seed_small(uri, unicode_files=False)
    seed = Seeder(uri)
    tags = [{"key": "owner", "value": "growth"}]
    seed.call("POST", "registered-models/create", {"name": "churn", "description": "Who leaves", "tags": tags})
    for name in ("sweep-0", "sweep-1", "sweep-2"):
        run = seeded.runs[name]
        source = f"mlflow-artifacts:/{seeded.experiments['main']}/{run}/artifacts/plots"
        version = {"name": "churn", "source": source, "run_id": run, "description": name, "tags": tags}
        seed.call("POST", "model-versions/create", version)
    seed.call("DELETE", "model-versions/delete", {"name": "churn", "version": "2"})
    seed.call("POST", "registered-models/alias", {"name": "churn", "alias": "best", "version": "3"})
    marker = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    text = [*marker, {"key": "mlflow.prompt.text", "value": "Hello {{name}}"}]
    seed.call("POST", "registered-models/create", {"name": "greeting", "tags": marker})
    first = {"name": "greeting", "source": "dummy-source", "description": "first", "tags": text}
    seed.call("POST", "model-versions/create", first)


def mlflow(*arguments: str, folder: Path) -> None:
    """Run MLflow's own command line."""
    done = warm.run(["-m", "mlflow", *arguments], kind="mlflow", cwd=folder, env=clean_environment())
    assert done.returncode == 0, done.stdout + done.stderr


def assert_green(run: AuditRun) -> None:
    """The audit is green, and its pairs are objects with the same id."""
    assert run.status == 0, run.output
    assert run.report["verdict"] == "green"
    assert run.report["scope"]["profile"] == "same-store"
    assert run.report["warning"] == ""
    assert set(run.report["paired_by"]) == {"same-id"}
    assert run.report["paired_by"]["same-id"] == run.report["sides"]["source"]["runs"] > 0


#: What is changed in the upgraded database, each in an object of its own: statement, and the finding that names it.
PLANTED = {
    "start time": ("UPDATE runs SET start_time = start_time + 1 WHERE name = 'sweep-1'",
                   ("times", "start_time", "sweep-1")),
    "user": ("UPDATE runs SET user_id = 'unknown' WHERE name = 'sweep-2'", ("user", "user_id", "sweep-2")),
    "place": ("UPDATE runs SET artifact_uri = replace(artifact_uri, 'mlflow-artifacts:/', 'mlflow-artifacts:/x/') "
              "WHERE name = 'killed'", ("artifact_uri", "artifact_uri", "killed")),
    "param": ("UPDATE params SET value = '0.02' WHERE key = 'lr' AND value = '0.01'", ("params", "lr", "sweep-0")),
    "creation": ("UPDATE experiments SET creation_time = creation_time + 1 WHERE name = 'churn model'",
                 ("times", "creation_time", "churn model")),
    "update": ("UPDATE experiments SET last_update_time = last_update_time + 1 WHERE name = 'abandoned'",
               ("times", "last_update_time", "abandoned")),
    "alias": ("UPDATE registered_model_aliases SET version = 1 WHERE alias = 'best'", ("aliases", "best", "churn")),
    "version": ("UPDATE model_versions SET last_updated_time = last_updated_time + 1 WHERE description = 'sweep-0'",
                ("times", "update", "churn version 1")),
    "prompt": ("UPDATE model_version_tags SET value = 'Bye {{name}}' WHERE key = 'mlflow.prompt.text'",
               ("template", "", "greeting version 1")),
    "location": ("UPDATE experiments SET artifact_location = artifact_location || 'x' WHERE name = 'churn model'",
                 ("artifact_location", "artifact_location", "churn model")),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upgraded:
    """Audits of an upgraded database against the snapshot from before: as it is, and with all of ``PLANTED``."""

    green: AuditRun
    red: AuditRun


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Upgraded:
    """A 2.22 server on PostgreSQL, its snapshot, and the newest server on the upgraded database."""
    folder = tmp_path_factory.mktemp("upgrade")
    with postgres() as cluster:
        with server_of("2.22.5", folder / "server", database=cluster.uri()) as old:
            seed_store(old.uri)
            before = snapshot(old.uri, folder / "before")
        mlflow("db", "upgrade", cluster.uri(), folder=folder)
        with server_of("newest", folder / "server", database=cluster.uri()) as new:
            green = audit(folder / "green", before, new.uri, *SAME)
            with closing(psycopg2.connect(cluster.dsn())) as connection, connection, connection.cursor() as cursor:
                for statement, _ in PLANTED.values():
                    cursor.execute(statement)
                    assert cursor.rowcount == 1, statement
            return Upgraded(green, audit(folder / "red", before, new.uri, *SAME))


@pytest.mark.long
def test_an_upgraded_database_is_green(upgraded: Upgraded) -> None:
    """``mlflow db upgrade`` from 2.22 to the newest on PostgreSQL: nothing differs."""
    assert_green(upgraded.green)


@pytest.mark.long
@pytest.mark.parametrize("fault", PLANTED)
def test_one_change_in_the_upgraded_database_is_red(fault: str, upgraded: Upgraded) -> None:
    """A planted change is named, once; most of these an import is allowed."""
    facet, key, name = PLANTED[fault][1]
    assert (facet, key, "mismatch", name) in upgraded.red.findings()
    assert [(row.facet, row.name) for row in upgraded.red.red_rows()].count((facet, name)) == 1


@pytest.mark.long
def test_nothing_else_in_the_upgraded_database_is_red(upgraded: Upgraded) -> None:
    """There are as many findings and red objects as changes."""
    assert upgraded.red.status == 1, upgraded.red.output
    assert upgraded.red.report["findings_total"] == len(PLANTED)
    assert len(upgraded.red.red_rows()) == len(PLANTED)


@pytest.mark.long
def test_a_migrated_file_store(tmp_path: Path) -> None:
    """``mlflow migrate-filestore`` of a 2.22 file store is green by the contract; one planted change is red."""
    store = tmp_path / "store"
    with server_of("2.22.5", tmp_path / "server", database=str(store / "mlruns")) as old:
        seed_store(old.uri)
        seed = Seeder(old.uri)
        tied = seed.run(seed.experiment("ties"), "tied")
        for value in ("NaN", 1.0):
            point = {"key": "m", "value": value, "timestamp": 5, "step": 0}
            seed.call("POST", "runs/log-metric", {"run_id": tied, **point})
        seed.end(tied)
        before = snapshot(old.uri, tmp_path / "before")
    database = tmp_path / "migrated.db"
    mlflow("migrate-filestore", "--source", str(store), "--target", f"sqlite:///{database}", folder=tmp_path)
    with server_of("newest", tmp_path / "server", database=f"sqlite:///{database}") as new:
        run = audit(tmp_path / "green", before, new.uri, *SAME)
        assert_green(run)
        expected = {rule for row in run.rows() if row.state.value == "expected" for rule in row.rules}
        assert expected == {"run.metrics.infinity", "run.metrics.latest", "run.metrics.negative-zero"}
        with closing(sqlite3.connect(database)) as connection, connection:
            assert connection.execute("UPDATE runs SET end_time = end_time + 1 WHERE name = 'failed'").rowcount == 1
        run = audit(tmp_path / "red", before, new.uri, *SAME)
    assert run.status == 1
    assert run.findings() == {("times", "end_time", "mismatch", "failed")}


@pytest.mark.long
def test_what_migrate_filestore_loses_is_red(tmp_path: Path) -> None:
    """A line break of Windows becomes one of Unix, a duration of 0 ms none; it says that it completed successfully."""
    store = tmp_path / "store"
    with server_of("2.22.5", tmp_path / "server", database=str(store / "mlruns")) as old:
        seed = Seeder(old.uri)
        shop = seed.experiment("shop")
        run = seed.run(shop, "windows")
        seed.log(run, params={"text": "one\r\ntwo"}, tags={"text": "one\r\ntwo", "unix": "one\ntwo"})
        seed.end(run)
        seed_trace_states(old.uri, shop, [AT_ONCE])
        before = snapshot(old.uri, tmp_path / "before")
    database = tmp_path / "migrated.db"
    mlflow("migrate-filestore", "--source", str(store), "--target", f"sqlite:///{database}", folder=tmp_path)
    with server_of("newest", tmp_path / "server", database=f"sqlite:///{database}") as new:
        found = audit(tmp_path / "red", before, new.uri, *SAME)
    assert found.status == 1
    assert found.findings() == {
        ("params", "text", "mismatch", "windows"),
        ("tags", "text", "mismatch", "windows"),
        ("times", "duration", "mismatch", AT_ONCE),
    }


def _restored(source: Server, folder: Path, change: Callable[[sqlite3.Connection], None]) -> Path:
    """Copy a server's SQLite database as a restore would, and its artifacts; change something in the copy."""
    folder.mkdir()
    if Path(source.artifacts_root).exists():
        shutil.copytree(source.artifacts_root, folder / "artifacts")
    copy = folder / "mlflow.db"
    with closing(sqlite3.connect(source.database_path)) as old, closing(sqlite3.connect(copy)) as new:
        old.backup(new)
        change(new)
        new.commit()
    return copy


@pytest.mark.long
def test_a_restored_database(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """A restored SQLite database is green while the original still runs, and a lost run is red."""
    source, _ = servers
    database = _restored(source, tmp_path / "restored", lambda connection: None)
    with server_of("newest", database.parent) as target:
        assert_green(audit(tmp_path / "green", source.uri, target.uri, *TWO))
        with closing(sqlite3.connect(database)) as connection, connection:
            [run_id] = connection.execute("SELECT run_uuid FROM runs WHERE name = 'killed'").fetchone()
            for table in ("tags", "runs"):
                connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (run_id,))
        run = audit(tmp_path / "red", source.uri, target.uri, *TWO)
        assert run.status == 1
        assert run.findings() == {("presence", "", "missing", "killed")}


@pytest.mark.long
def test_a_store_restored_elsewhere(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """One new prefix for all places is expected and named; a run that stayed behind is red."""
    source, _ = servers

    def move(connection: sqlite3.Connection) -> None:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, 'mlflow-artifacts:/', 'mlflow-artifacts:/old/')"
            )

    database = _restored(source, tmp_path / "restored", move)
    artifacts = database.parent / "artifacts"
    artifacts.rename(database.parent / "old")
    artifacts.mkdir()
    (database.parent / "old").rename(artifacts / "old")
    with server_of("newest", database.parent) as target:
        run = audit(tmp_path / "green", source.uri, target.uri, *TWO)
        assert_green(run)
        rules = {rule for row in run.rows() for rule in row.rules}
        assert {"experiment.artifact_location.moved", "run.artifact_uri.moved"} <= rules
        with closing(sqlite3.connect(database)) as connection, connection:
            back = "UPDATE runs SET artifact_uri = replace(artifact_uri, '/old/', '/') WHERE name = 'killed'"
            assert connection.execute(back).rowcount == 1
        run = audit(tmp_path / "red", source.uri, target.uri, *TWO)
    assert run.status == 1
    assert run.findings() == {("artifact_uri", "artifact_uri", "mismatch", "killed")}


@pytest.mark.long
def test_the_wrong_profile_is_named_first(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """An import judged as same-store is red, a same store judged as an import is noted: by the first line of all."""
    source, target = servers
    run = audit(tmp_path / "import", source.uri, target.uri, "--parity-profile", "same-store")
    assert run.status == 1
    line = "7 of 8 runs have new ids on the target: this looks like export-import; give --parity-profile export-import"
    assert run.report["reasons"][0] == run.report["warning"] == line
    assert _after_the_verdict(run).startswith(line), run.output
    assert line in (run.reports / "report.html").read_text(encoding="utf-8").partition("<h1>")[0]
    assert audit(tmp_path / "right", source.uri, target.uri).report["warning"] == ""

    database = _restored(source, tmp_path / "restored", lambda connection: None)
    with server_of("newest", database.parent) as restored:
        run = audit(tmp_path / "same", source.uri, restored.uri, "--parity-two-servers")
    line = "the ids of 8 of 8 runs are the same: this looks like same-store; give --parity-profile same-store"
    assert run.status == 0, run.output
    assert run.report["warning"] == line
    assert _after_the_verdict(run).startswith(line), run.output


def _after_the_verdict(run: AuditRun) -> str:
    """Return what stands below the verdict, in one line."""
    below = re.split("\nparity: (?:RED|GREEN)", run.output)[-1]
    return " ".join(below.partition("\n")[2].replace("  - ", "").split())


@pytest.mark.long
def test_a_snapshot_that_is_not_whole_says_so(
    fresh_server: FreshServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Histories that the server refuses: exit status 1, and what was not read is named; nothing of it is green."""
    server = fresh_server()
    seed = Seeder(server.uri)
    run = seed.run(seed.experiment("shop"), "one")
    seed.log(run, metrics=[("loss", 1.0, 5, 0), ("gain", 2.0, 5, 0)])
    seed.end(run)
    with proxying(server.uri) as proxy:
        proxy.faults.append(Fault("/metrics/get-history", status(403, body=b"{}"), times=10_000))
        assert main(["snapshot", "--source-uri", proxy.uri, "--to", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert f'not read: run "one" ({run}): the history of \'' in told.err
    assert "(and 1 more of it)\n" in told.err
    assert "2 experiments, 1 run, 0 metric points, 0 files, 0 other objects\n" in told.out
    done = audit(tmp_path / "audit", str(tmp_path / "source"), server.uri, *SAME)
    assert done.status == 1
    assert {(row.facet, row.state.value) for row in done.red_rows()} == {("metrics", "unverified")}


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A folder is no server to take a snapshot of, and a server that is not there is told in one line."""
    assert main(["snapshot", "--source-uri", "http://127.0.0.1:9", "--to", str(tmp_path / "a")]) == 4
    assert capsys.readouterr().err.startswith("ERROR: ")
    assert main(["snapshot", "--source-uri", "http://127.0.0.1:9", "--to", str(tmp_path), "--workers", "0"]) == 4
    assert "--workers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("places", "old", "new"),
    [
        ([("s3://a/root/1", "s3://b/root/1"), ("s3://a/root/2", "s3://b/root/2")], "s3://a", "s3://b"),
        ([("mlflow-artifacts:/1", "mlflow-artifacts:/old/1")], "mlflow-artifacts:", "mlflow-artifacts:/old"),
        # one that was altered while its like stayed, or as many as stayed
        ([("s3://a/1", "s3://b/1"), ("s3://a/2", "s3://a/2"), ("s3://a/3", "s3://a/3")], "", ""),
        ([("s3://a/1", "s3://b/1"), ("s3://a/2", "s3://a/2")], "", ""),
        # the place itself has another name
        ([("s3://a/1", "s3://a/1x")], "", ""),
        # most moved; what is elsewhere stays elsewhere
        ([("/a/1", "/b/1"), ("/a/2", "/b/2"), ("/a/3", "/c/3"), ("s3://own", "s3://own")], "/a", "/b"),
        ([("same", "same"), ("", "x")], "", ""),
    ],
)
def test_one_prefix_for_all_places(places: list[tuple[str, str]], old: str, new: str) -> None:
    """A relocation is believed when most places below the old prefix moved, and one altered place is none."""
    assert find(places) == Relocation(old, new)


def test_a_prefix_ends_where_a_part_ends() -> None:
    """Only what stands below the prefix moves."""
    moved = Relocation("/a", "/b")
    assert [moved(place) for place in ("/a", "/a/1", "/ab/1", "s3://a/1")] == ["/b", "/b/1", "/ab/1", "s3://a/1"]


def test_no_rule_of_the_import_holds_for_the_same_store() -> None:
    """What an import may change is no excuse under same-store, and a rule outside the contract excuses nothing."""
    same = {rule.id for rule in contract.RULES if rule.treatment == "expected" and "same-store" in rule.profiles}
    assert same == {
        *(f"run.metrics.{name}" for name in ("infinity", "latest", "negative-zero")),
        # what a release does not know it was never asked before
        *(f"{kind}.usable.release" for kind in ("experiment", "registered_model", "prompt")),
        "experiment.artifact_location.moved",
        "run.artifact_uri.moved",
        "logged_model.files.moved",
        "model_version.source.moved",
        "model_version.storage.moved",
        "trace.tags.moved",
        "trace.times.no-end",
        "trace.previews.of-metadata",
        "trace.metadata.schema-version",
    }
    assert contract.allows("run.times.start", "export-import")
    assert not contract.allows("run.times.start", "same-store")
    assert not contract.allows("run.artifact_uri.moved", "export-import")
    assert not contract.allows("of nobody", "export-import")
