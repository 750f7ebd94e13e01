"""``migrate.py repair``: what a red audit names is moved again, in place or again; what is not ours is left alone."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun
from support.migrations import Migrated, migrate_py
from support.seed import Seeder, pairs, seed_small
from support.seed_objects import seed_objects
from support.servers import FreshServer

from mlflow_parity.migrating.journal import Journal
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long


class Moved:
    """A source with every kind of object, its migration, and a way to damage what came of it."""

    def __init__(self, source: Server, target: Server, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        seed_small(source.uri)
        # ids of the two servers must not happen to be the same
        Seeder(target.uri).experiment("of the target's own")
        seed_objects(source.uri, Seeder(source.uri).experiment("every kind"))
        done = self.migrate("run", "--into-existing")
        # what is only on the target is extra
        self.report = folder / "reports" / "report.json"
        assert "of the target's own" in done.output

    def migrate(self, step: str, *more: str, deleted: bool = True) -> Migrated:
        """Run a step of migrate.py between the two."""
        ends = ["--source-uri", self.source.uri, "--target-uri", self.target.uri]
        ends += ["--include-deleted"] if deleted else []
        return migrate_py(self.folder, step, *ends, "--work-dir", "work", "--report-dir", "reports", *more)

    def found(self, folder: str = "reports") -> AuditRun:
        """The newest report in a folder."""
        return AuditRun(0, "", self.folder / folder)

    def judged(self, **scope: str) -> str:
        """Make the newest report one of an audit with another scope; return its path."""
        report = self.found().report
        self.report.write_text(json.dumps({**report, "scope": {**report["scope"], **scope}}))
        return "reports/report.json"

    def ids(self, kind: str) -> dict[str, str]:
        """Target ids by source ids, from the journal."""
        journal = Journal(next((self.folder / "work").rglob("journal*.sqlite")))
        try:
            return journal.ids(kind)
        finally:
            journal.close()

    @contextmanager
    def database(self) -> Iterator[sqlite3.Connection]:
        """The target's database."""
        with closing(sqlite3.connect(self.target.database_path, timeout=30)) as database, database:
            yield database


@pytest.fixture
def moved(fresh_server: FreshServer, tmp_path: Path) -> Moved:
    """A finished migration."""
    return Moved(fresh_server(), fresh_server(), tmp_path)


def _runs(uri: str, run: str) -> dict[str, Any]:
    answer = Seeder(uri).call("GET", "runs/get", {"run_id": run})["run"]
    assert isinstance(answer, dict)
    return answer


def _model(uri: str, model: str) -> dict[str, Any]:
    info = Seeder(uri).call("GET", f"logged-models/{model}", {})["model"]["info"]
    assert isinstance(info, dict)
    return info


def test_every_kind_is_mended_and_what_is_not_ours_is_left(moved: Moved) -> None:
    """One object of each kind is lost or altered: all come back; a second copy and a foreign experiment stay."""
    seed, ids = Seeder(moved.target.uri), moved.ids
    every = {kind: ids(kind) for kind in ("experiment", "run", "logged_model", "trace", "evaluation_dataset")}
    copies = {_runs(moved.target.uri, run)["info"]["run_name"]: run for run in every["run"].values()}
    # made by somebody else: a second copy of a run, as the tool makes it when it is run twice
    kept = copies["sweep-0"]
    original = next(source for source, copy in every["run"].items() if copy == kept)
    tags = {"mlflow_exim.run_info.run_id": original, "mlflow.runName": "sweep-0"}
    body = {"experiment_id": _runs(moved.target.uri, kept)["info"]["experiment_id"], "tags": pairs(tags)}
    foreign = seed.call("POST", "runs/create", body)["run"]["info"]["run_id"]
    seed.delete_run(copies["train"])
    seed.call("POST", "runs/set-tag", {"run_id": copies["use"], "key": "mlflow.note.content", "value": "altered"})
    seed.call("DELETE", "model-versions/delete", {"name": "churn", "version": "4"})
    seed.call("POST", "registered-models/alias", {"name": "churn", "alias": "champion", "version": "1"})
    seed.call("POST", "registered-models/set-tag", {"name": "price", "key": "new", "value": "extra"})
    prompts = sorted(ids("prompt").values())
    seed.call("DELETE", "registered-models/delete", {"name": prompts[0]})
    seed.call("DELETE", "registered-models/delete", {"name": "price"})
    [orphan] = [copy for copy in every["logged_model"].values() if _model(moved.target.uri, copy)["name"] == "forest"]
    seed.call("DELETE", f"logged-models/{orphan}", {})
    with moved.database() as database:
        lost = sorted(every["trace"].values())[0]
        for table in ("spans", "assessments", "trace_tags", "trace_request_metadata"):
            database.execute(
                f"DELETE FROM {table} WHERE {'trace_id' if table == 'spans' else 'request_id'} = ?"
                if table != "assessments"
                else "DELETE FROM assessments WHERE trace_id = ?",
                (lost,),
            )
        database.execute("DELETE FROM trace_info WHERE request_id = ?", (lost,))
        changed = database.execute("UPDATE evaluation_dataset_records SET inputs = '{\"altered\": 1}'").rowcount
        assert changed > 0
        assert database.execute("DELETE FROM scorer_versions WHERE scorer_version = 2").rowcount == 1
        # both tables: a history that contradicts its last value is unverified, and so left
        for table in ("metrics", "latest_metrics"):
            change = f"UPDATE {table} SET value = value + 1 WHERE key = 'loss' AND run_uuid = ?"
            assert database.execute(change, (copies["sweep-1"],)).rowcount
        database.execute("DELETE FROM webhooks")
    verified = moved.migrate("verify")
    assert verified.status == 1
    damaged = {row.kind for row in moved.found().red_rows()}
    assert damaged >= {"run", "registered_model", "model_version", "prompt", "prompt_version", "logged_model", "trace",
                       "evaluation_dataset", "scorer", "webhook"}  # fmt: skip
    done = moved.migrate("repair", "--report", "reports/report.json")
    red = {(row.kind, row.name, row.facet, row.state.value) for row in moved.found("reports/repair").red_rows()}
    assert {row[0] for row in red} <= {"run", "experiment"}, sorted(red)
    assert all(row[1] == "sweep-0" or "of the target's own" in row[1] for row in red), sorted(red)
    assert done.status == 1
    assert f"left alone: run sweep-0 ({foreign})" in done.output
    # one verdict, never beside words that nothing is left, and how a human ends the rest
    assert done.output.count("parity: RED") == 1
    assert "Nothing was left behind" not in done.output
    assert "accept it: mlflow-parity waive --from reports/repair/report.json" in done.output
    assert _runs(moved.target.uri, foreign)["info"]["lifecycle_stage"] == "active"
    # ours was whole: it was neither deleted nor made again
    assert ids("run")[original] == kept
    assert _runs(moved.target.uri, kept)["info"]["lifecycle_stage"] == "active"
    assert seed.call("GET", "experiments/get-by-name", {"experiment_name": "of the target's own"})
    # without the second copy nothing of ours is red any more
    seed.call("POST", "runs/delete-tag", {"run_id": foreign, "key": "mlflow_exim.run_info.run_id"})
    seed.call("POST", "runs/set-tag", {"run_id": foreign, "key": "mlflow_parity.replaced", "value": original})
    seed.delete_run(foreign)
    assert moved.migrate("verify").status == 1
    assert {row.experiment for row in moved.found().red_rows()} == {"of the target's own"}


def test_versions_that_are_not_ours_are_not_deleted_with_their_model(moved: Moved) -> None:
    """Somebody made a version on the target since, and one of ours is lost: both are named, theirs stays."""
    seed = Seeder(moved.target.uri)
    version = {"name": "churn", "version": "1"}
    copy = seed.call("GET", "model-versions/get", version)["model_version"]
    body = {"name": "churn", "source": copy["source"], "run_id": copy["run_id"], "description": "theirs"}
    assert seed.call("POST", "model-versions/create", body)["model_version"]["version"] == "5"
    seed.call("DELETE", "model-versions/delete", version)
    assert moved.migrate("verify").status == 1
    snapshot = moved.folder / "work" / "export" / "snapshot" / "source" / "manifest.json"
    before = snapshot.read_bytes()
    other = moved.source.uri.replace("127.0.0.1", "localhost")
    wrong = ["--source-uri", other, "--target-uri", moved.target.uri, "--include-deleted"]
    refused = migrate_py(moved.folder, "repair", *wrong, "--work-dir", "work", "--report", str(moved.report))
    assert (refused.status, "holds an export of" in refused.output) == (2, True), refused.output
    assert snapshot.read_bytes() == before
    refused = moved.migrate("repair", "--report", moved.judged(profile="same-store"))
    assert (refused.status, "audit by export-import" in refused.output) == (2, True), refused.output
    told = moved.judged(profile="export-import", depth="full")
    refused = moved.migrate("repair", "--report", told, deleted=False)
    assert (refused.status, "add --include-deleted" in refused.output) == (2, True), refused.output
    # the repair's own audit looks at least as closely as the one whose report it is
    done = moved.migrate("repair", "--report", told)
    assert done.status == 1
    assert moved.found("reports/repair").report["scope"]["depth"] == "full"
    assert "left alone: registered_model churn (churn): not ours are its versions 5" in done.output
    theirs = seed.call("GET", "model-versions/get", {"name": "churn", "version": "5"})["model_version"]
    assert theirs["description"] == "theirs"
