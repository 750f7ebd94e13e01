"""What ``repair`` replaces and what it leaves; the import, the audit and the repair run in this process."""

from __future__ import annotations

import json
import sqlite3
import threading
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from support.copied import audited
from support.exported import export_from
from support.importer import Migration
from support.looking import between, look, text
from support.proxy import Exchange, Fault, proxying, status
from support.report_samples import report as sample
from support.report_samples import side as side_sample
from support.seed import Seeder, pairs
from support.seed_objects import Objects, seed_objects
from support.seed_traces import trace
from support.servers import FreshServer

from mlflow_parity.core.errors import RequestRefused, TransportError, UsageProblem
from mlflow_parity.core.identity.keys import SOURCE_RUN_TAG
from mlflow_parity.core.records import REPLACED_TAG
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.repair.audit_findings import UNREAD, Damaged, Left, as_judged, gather
from mlflow_parity.migrating.repair.repairing import ADOPTED, UNMOVABLE, repair
from mlflow_parity.migrating.write import writing
from mlflow_parity.migrating.write.objects.webhooks import PausedWebhooks
from mlflow_parity.migrating.write.ordering import import_batch, import_rest
from mlflow_parity.reporting.json_report import render
from mlflow_parity.snapshot.incomplete import Unread
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long


class Moved:
    """A source that is moved to a target."""

    def __init__(self, source: Server, target: Server, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        #: Where the import writes to.
        self.address = target.uri
        self.seed, self.there = Seeder(source.uri), Seeder(target.uri)
        # ids of the two servers must not happen to be the same
        self.there.call("POST", "experiments/delete", {"experiment_id": self.there.experiment("of the target's own")})

    def fill(self) -> None:
        """Give the source runs, logged models and a registry."""
        self.experiment = self.seed.experiment("every kind")
        self.made: Objects = seed_objects(self.source.uri, self.experiment, traces=False)
        self.alone = self.seed.run(self.experiment, "alone")
        self.seed.artifact(self.alone, "notes.txt", b"alone\n")
        self.seed.end(self.alone)

    def bring(self) -> list[Unread]:
        """Export and import everything; return what could not be read."""
        self.export, unread = export_from(self.source.uri, self.folder)
        importing = Migration(self.export, self.address, self.folder / "journal.sqlite")
        try:
            self._import(importing)
        finally:
            importing.close()
        return unread

    def _import(self, importing: Migration) -> None:
        experiments = list(self.export.snapshot.experiments)
        import_batch(importing.context, experiments)
        import_rest(importing.context, experiments)

    def judged(self) -> tuple[int, Damaged | None]:
        """Audit; what is deleted on the target from the start is not ours, and left out."""
        found = audited(self.source.uri, self.target.uri, profile="export-import", include_deleted=False)
        assert not found.failed, found.failed
        return (0, None) if found.green else (1, gather(found.rows))

    def repair(self) -> tuple[int, list[Left]]:
        """Repair what an audit finds; return the status and what was left."""
        status, damaged = self.judged()
        assert (status, damaged is None) == (1, False)
        assert damaged is not None
        self.damaged = damaged
        self.export, unread = export_from(self.source.uri, self.folder)
        importing = Migration(self.export, self.address, self.folder / "journal.sqlite")

        def bring() -> list[Unread]:
            self._import(importing)
            return unread

        try:
            status, left, _ = repair(importing.context, damaged, bring, self.judged, print)
        finally:
            importing.close()
        return status, left

    def ids(self, kind: str) -> dict[str, str]:
        """Target ids by source ids, from the journal."""
        importing = Migration(self.export, self.address, self.folder / "journal.sqlite")
        try:
            return importing.context.journal.ids(kind)
        finally:
            importing.close()

    def reasons(self, kind: str) -> dict[str, str | None]:
        """Why objects of a kind were not moved, by their source ids."""
        importing = Migration(self.export, self.address, self.folder / "journal.sqlite")
        try:
            found = importing.context.journal.entries(kind=kind)
            return {entry.source_id: entry.reason for entry in found if entry.state != "done"}
        finally:
            importing.close()

    def sql(self, server: Server, statement: str, *values: object) -> None:
        """Change a server's database."""
        with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
            assert database.execute(statement, values).rowcount

    def stage(self, run: str) -> str:
        """Lifecycle stage of a run of the target."""
        return str(self.there.call("GET", "runs/get", {"run_id": run})["run"]["info"]["lifecycle_stage"])

    def active(self) -> list[str]:
        """Runs of the target that are not deleted, in the copies of the source's experiments."""
        body = {"experiment_ids": list(self.ids("experiment").values()), "run_view_type": "ACTIVE_ONLY"}
        found = self.there.call("POST", "runs/search", {**body, "max_results": 100})["runs"]
        return sorted(str(one["info"]["run_id"]) for one in found)

    def version(self, name: str, number: int) -> Any:
        """A version of the target."""
        body = {"name": name, "version": str(number)}
        return self.there.call("GET", "model-versions/get", body)["model_version"]


@pytest.fixture
def moved(fresh_server: FreshServer, tmp_path: Path) -> Moved:
    """A source that is still to be moved."""
    return Moved(fresh_server(), fresh_server(), tmp_path)


def test_what_the_source_cannot_give_again_is_not_replaced(moved: Moved) -> None:
    """Files of one run cannot be listed any more: neither it nor what would be made again with it is touched."""
    moved.fill()
    assert moved.bring() == []
    before = {kind: moved.ids(kind) for kind in ("run", "logged_model", "registered_model")}
    version = moved.version("churn", 2)
    train, use = moved.made.runs["train"], moved.made.runs["use"]
    moved.sql(moved.source, "UPDATE runs SET artifact_uri = 'nowhere://files' WHERE run_uuid = ?", train)
    for run in (use, moved.alone):
        # no request removes a param: the run has to be made again
        moved.sql(moved.target, "INSERT INTO params VALUES ('new', 'extra', ?)", before["run"][run])
    status, left = moved.repair()
    assert status == 1
    after = {kind: moved.ids(kind) for kind in before}
    assert after["run"].pop(moved.alone) != before["run"].pop(moved.alone)
    assert after == before
    assert {moved.stage(run) for run in after["run"].values()} == {"active"}
    assert moved.version("churn", 2) == version
    why = {(one.kind, one.identity): one.why for one in left}
    assert why["run", train] == UNREAD
    assert "would have to be made again with it, and cannot be" in why["run", before["run"][use]]


def _dataset(seed: Seeder, experiment: str, *questions: str, **tags: str) -> str:
    body = {"name": "golden", "experiment_ids": [experiment], "tags": json.dumps(tags)}
    made = str(seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"])
    _add(seed, made, *questions)
    return made


def _add(seed: Seeder, dataset: str, *questions: str) -> None:
    records = json.dumps([{"inputs": {"question": one}} for one in questions])
    seed.call("POST", f"datasets/{dataset}/records", {"dataset_id": dataset, "records": records}, version="3.0")


def _questions(seed: Seeder, dataset: str) -> set[str]:
    records = json.loads(seed.call("GET", f"datasets/{dataset}/records", {}, version="3.0")["records"])
    return {str(one["inputs"]["question"]) for one in records}


def test_what_the_targets_owners_have_stays_theirs(moved: Moved) -> None:
    """Objects of the same names are merged into, at the first run and at each later one; nothing of theirs goes."""
    seed, there = moved.seed, moved.there
    one, gone = seed.experiment("one"), seed.experiment("gone")
    run = seed.run(gone, "old")
    seed.delete_experiment(gone)
    seed.end(seed.run(one, "new"))
    golden = _dataset(seed, one, "ours")
    seed.call("POST", "registered-models/create", {"name": "reg", "tags": pairs({"team": "growth"})})
    theirs = there.experiment("gone")
    owned = _dataset(there, theirs, "theirs", owner="ops")
    tags = pairs({"owner": "ops"})
    there.call("POST", "registered-models/create", {"name": "reg", "tags": tags, "description": "Of ops"})
    there.call("POST", "model-versions/create", {"name": "reg", "source": "s3://ops/model"})
    there.call("POST", "registered-models/alias", {"name": "reg", "alias": "production", "version": "1"})

    def check(*questions: str) -> None:
        model = there.call("GET", "registered-models/get", {"name": "reg"})["registered_model"]
        assert {tag["key"]: tag["value"] for tag in model["tags"]}.items() >= {"owner": "ops", "team": "growth"}.items()
        assert (model["description"], model["aliases"]) == ("Of ops", [{"alias": "production", "version": "1"}])
        assert moved.version("reg", 1)["source"] == "s3://ops/model"
        assert _questions(there, owned) == {"theirs", *questions}
        dataset = there.call("GET", f"datasets/{owned}", {}, version="3.0")["dataset"]
        assert json.loads(dataset["tags"])["owner"] == "ops"
        assert theirs in there.call("GET", f"datasets/{owned}/experiment-ids", {}, version="3.0")["experiment_ids"]
        found = there.call("GET", "experiments/get", {"experiment_id": theirs})["experiment"]
        assert found["lifecycle_stage"] == "active"

    moved.bring()
    check("ours")
    assert moved.reasons("experiment") == {
        gone: f"it could not be deleted: that of its name ({theirs}) was on the target before, "
        "with what others have in it"
    }
    # the copy of the run is ours
    assert moved.stage(moved.ids("run")[run]) == "deleted"
    _add(seed, golden, "new")
    seed.call("POST", "registered-models/set-tag", {"name": "reg", "key": "more", "value": "1"})
    moved.bring()
    check("ours", "new")
    status, left = moved.repair()
    check("ours", "new")
    assert status == 1
    assert {(item.kind, item.identity) for item in left if item.why == ADOPTED} >= {
        ("registered_model", "reg"),
        ("evaluation_dataset", owned),
    }


def test_only_what_can_be_made_whole_is_made_anew(moved: Moved) -> None:
    """What no request writes is left, what can be fixed in place is; of each that is left the true reason is told."""
    seed, there = moved.seed, moved.there
    experiment = seed.experiment("one")
    runs = {name: seed.run(experiment, name) for name in ("odd", "files", "lost", "nameless")}
    for number, (name, run) in enumerate(runs.items()):
        seed.artifact(run, "notes.txt", name.encode())
        moved.sql(moved.source, "UPDATE runs SET start_time = ? WHERE run_uuid = ?", number, run)
        seed.end(run)
    # longer than the target keeps
    moved.sql(moved.source, "INSERT INTO params VALUES ('long', ?, ?)", "x" * 7_000, runs["odd"])
    seed.log(runs["nameless"], tags={"went": "since"})
    moved.sql(moved.source, "UPDATE runs SET name = '' WHERE run_uuid = ?", runs["nameless"])
    moved.sql(moved.source, "DELETE FROM tags WHERE key = 'mlflow.runName' AND run_uuid = ?", runs["nameless"])
    root = seed.call("GET", "runs/get", {"run_id": runs["odd"]})["run"]["info"]["artifact_uri"]
    for name in ("reg", "old"):
        seed.call("POST", "registered-models/create", {"name": name})
        seed.call("POST", "model-versions/create", {"name": name, "source": root, "run_id": runs["odd"]})
    moved.bring()
    before, version = moved.ids("run"), moved.version("reg", 1)
    assert "cut its 7000 characters" in str(moved.reasons("run")[runs["odd"]])
    seed.call("POST", "runs/delete-tag", {"run_id": runs["nameless"], "key": "went"})
    seed.call("DELETE", "registered-models/delete", {"name": "old"})
    there.artifact(before[runs["files"]], "more/extra.txt", b"extra")
    # without its source tag, its name and its time nothing tells whose copy it is
    lost = before[runs["lost"]]
    there.call("POST", "runs/delete-tag", {"run_id": lost, "key": "mlflow_exim.run_info.run_id"})
    moved.sql(moved.target, "UPDATE runs SET start_time = 99, name = 'strange' WHERE run_uuid = ?", lost)
    status, left = moved.repair()
    assert status == 1
    assert ("run", lost) in {(one.kind, one.identity) for one in moved.damaged.unpaired}
    why = {(one.kind, one.identity): one.why for one in left}
    assert why.pop(("run", before[runs["odd"]])).startswith(f"{UNMOVABLE}: param 'long'")
    assert "this migration made it of old, which the source does not have any more" in why.pop(
        ("registered_model", "old")
    )
    assert "this migration made it of old/1" in why.pop(("model_version", "old/1"))
    assert why == {}
    after = moved.ids("run")
    assert moved.active() == sorted(after.values())
    del before[runs["lost"]], after[runs["lost"]]
    assert after == before
    assert moved.version("reg", 1) == version
    listed = there.call("GET", "artifacts/list", {"run_id": after[runs["files"]]})["files"]
    assert [file["path"] for file in listed if not file["is_dir"]] == ["notes.txt"]
    tags = there.call("GET", "runs/get", {"run_id": after[runs["nameless"]]})["run"]["data"]["tags"]
    assert "went" not in {tag["key"] for tag in tags}


def test_a_default_with_traces_of_others_is_theirs(moved: Moved) -> None:
    """It holds no run, and is deleted on the source: it is told before, and stays alive."""
    for server in (moved.seed, moved.there):
        trace(server, "0", "asked")
    moved.seed.call("POST", "experiments/delete", {"experiment_id": "0"})
    found = look(moved.folder, *between(moved.source.uri, moved.target.uri), "--include-deleted")
    assert "'Default'" in text(found, "target.same-name")
    moved.bring()
    assert "was on the target before" in str(moved.reasons("experiment")["0"])
    there = moved.there.call("GET", "experiments/get", {"experiment_id": "0"})["experiment"]
    assert there["lifecycle_stage"] == "active"


def test_an_id_that_was_given_again_is_not_ours(moved: Moved) -> None:
    """Our experiment was purged, and SQLite gave its id to the next one: that is told, and left as it is."""
    experiment = moved.seed.experiment("ours")
    moved.bring()
    copy = moved.ids("experiment")[experiment]
    # as `mlflow gc` does
    for table in ("experiment_tags", "experiments"):
        moved.sql(moved.target, f"DELETE FROM {table} WHERE experiment_id = ?", copy)
    assert moved.there.experiment("the team's", {"owner": "team"}) == copy
    with closing(Journal(moved.folder / "journal.sqlite")) as journal:
        found = look(moved.folder, *between(moved.source.uri, moved.target.uri), journal=journal)
    assert repr(copy) in text(found, "target.gone")
    moved.seed.call("POST", "experiments/delete", {"experiment_id": experiment})
    moved.bring()
    there = moved.there.call("GET", "experiments/get", {"experiment_id": copy})["experiment"]
    assert (there["name"], there["lifecycle_stage"]) == ("the team's", "active")
    assert there["tags"] == pairs({"owner": "team"})
    again = moved.there.call("GET", "experiments/get-by-name", {"experiment_name": "ours"})["experiment"]
    assert again["experiment_id"] == moved.ids("experiment")[experiment]
    assert again["lifecycle_stage"] == "deleted"


def test_a_run_copy_of_others_is_not_ours(moved: Moved) -> None:
    """It names the same run of the source; ours was refused at first, and is made beside it."""
    run = moved.seed.run(moved.seed.experiment("one"), "deleted")
    moved.seed.end(run)
    moved.seed.delete_run(run)
    theirs = moved.there.run(
        moved.there.experiment("one"), "deleted", tags={SOURCE_RUN_TAG: run, "approved.by": "owner"}
    )
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        line.faults.append(Fault("runs/create", status(403), early=True))
        moved.bring()
    assert "status 403" in str(moved.reasons("run")[run])
    moved.address = moved.target.uri
    moved.bring()
    copy = moved.ids("run")[run]
    assert copy != theirs
    assert (moved.stage(copy), moved.stage(theirs)) == ("deleted", "active")
    tags = moved.there.call("GET", "runs/get", {"run_id": theirs})["run"]["data"]["tags"]
    assert {"key": "approved.by", "value": "owner"} in tags


def test_an_issue_of_a_deleted_experiment_is_tried_again(moved: Moved) -> None:
    """MLflow takes none in a deleted experiment: that is restored for it, and deleted again."""
    experiment = moved.seed.experiment("one")
    body = {"experiment_id": experiment, "name": "slow", "description": "slow answers", "status": "pending"}
    issue = moved.seed.call("POST", "issues", body, version="3.0")["issue"]["issue_id"]
    moved.seed.delete_experiment(experiment)
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        # after they were searched for
        line.faults.append(Fault("/issues", status(403), early=True, after=1))
        moved.bring()
    assert "status 403" in str(moved.reasons("issue")[issue])
    copy = moved.ids("experiment")[experiment]

    def stage() -> str:
        found = moved.there.call("GET", "experiments/get", {"experiment_id": copy})["experiment"]
        return str(found["lifecycle_stage"])

    assert stage() == "deleted"
    moved.address = moved.target.uri
    moved.bring()
    assert moved.reasons("issue") == {}
    assert stage() == "deleted"


def test_an_experiment_in_a_wrong_place_is_made_anew(moved: Moved) -> None:
    """The target gave it a place of another server; what is told helps, and deleting it alone would not."""
    experiment = moved.seed.experiment("one")
    moved.sql(
        moved.target,
        "CREATE TRIGGER misplaced AFTER UPDATE OF artifact_location ON experiments WHEN NEW.name = 'one' BEGIN "
        "UPDATE experiments SET artifact_location = 'mlflow-artifacts://elsewhere.invalid:1/1' WHERE name = 'one'; END",
    )
    told = "rename this experiment there, or delete and purge it (`mlflow gc`)"
    moved.bring()
    assert told in str(moved.reasons("experiment")[experiment])
    moved.sql(moved.target, "DROP TRIGGER misplaced")
    found = moved.there.call("GET", "experiments/get-by-name", {"experiment_name": "one"})["experiment"]
    wrong = found["experiment_id"]
    moved.there.delete_experiment(wrong)
    moved.bring()
    assert told in str(moved.reasons("experiment")[experiment])
    moved.there.call("POST", "experiments/restore", {"experiment_id": wrong})
    moved.there.call("POST", "experiments/update", {"experiment_id": wrong, "new_name": "wrong"})
    moved.bring()
    assert moved.reasons("experiment") == {}
    assert moved.ids("experiment")[experiment] != wrong


def test_paused_webhooks_are_enabled_again(moved: Moved) -> None:
    """Also by a narrower attempt, which reads no webhooks, and by the next after a kill; others' are not paused."""
    hook = {"url": "https://93.184.215.14/hook", "events": [{"entity": "REGISTERED_MODEL", "action": "CREATED"}]}
    moved.there.call("POST", "webhooks", {**hook, "name": "theirs"})
    for name in ("ours", "theirs", "asleep"):
        made = moved.seed.call("POST", "webhooks", {**hook, "name": name})["webhook"]["webhook_id"]
    moved.bring()

    def hooks() -> dict[str, str]:
        found = moved.there.call("GET", "webhooks", {"max_results": 10})["webhooks"]
        return {one["name"]: one["status"] for one in found}

    assert hooks() == {"ours": "DISABLED", "theirs": "ACTIVE", "asleep": "DISABLED"}
    active = dict.fromkeys(hooks(), "ACTIVE")
    for copy in moved.ids("webhook").values():
        moved.there.call("PATCH", f"webhooks/{copy}", {"status": "ACTIVE"})
    moved.seed.call("PATCH", f"webhooks/{made}", {"status": "DISABLED"})

    def write(*, killed: bool = False) -> None:
        importing = Migration(moved.export, moved.address, moved.folder / "journal.sqlite")
        try:
            paused = PausedWebhooks(importing.context)
            paused.__enter__()
            assert hooks() == {"ours": "DISABLED", "theirs": "ACTIVE", "asleep": "DISABLED"}
            if not killed:
                paused.__exit__()
        finally:
            importing.close()

    write(killed=True)
    moved.export, _ = export_from(moved.source.uri, moved.folder, others=False)
    write()
    assert hooks() == active
    # now the source says so
    moved.export, _ = export_from(moved.source.uri, moved.folder)
    write()
    assert hooks() == {**active, "asleep": "DISABLED"}


class _Late:
    """Answers for a gateway that gave up, and lets the server hear of the request later."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self._waiting: list[threading.Thread] = []

    def __call__(self, exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        address, headers = f"{exchange.proxy.upstream}{exchange.path}", {"Content-Type": "application/json"}
        self.send = send = partial(requests.post, address, data=exchange.content, headers=headers, timeout=60)
        thread = threading.Thread(target=lambda: self.go.wait(60) and send())
        thread.start()
        self._waiting.append(thread)
        exchange.answer(504, [], b"<html>gateway timeout</html>")

    def over(self) -> None:
        """Let the server hear of what waits, and wait until it has done it."""
        self.go.set()
        for thread in self._waiting:
            thread.join(60)


def test_what_a_gateway_gave_up_on_may_be_in_the_way(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes just before the second request, which is refused for that: it is ours all the same."""
    moved.seed.experiment("one")
    late = _Late()

    def second(exchange: Exchange, *_: object) -> None:
        late.over()
        refused = late.send()
        exchange.answer(refused.status_code, [("Content-Type", "application/json")], refused.content)

    monkeypatch.setattr(writing, "LOOKS", (0.0,))
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        line.faults.append(Fault("experiments/create", late, early=True))
        line.faults.append(Fault("experiments/create", second, early=True))
        moved.bring()
        assert [fault.came[""] for fault in line.faults] == [2, 1]
    with closing(Journal(moved.folder / "journal.sqlite")) as journal:
        assert {entry.name: entry.origin for entry in journal.entries(kind="experiment")}["one"] == "made"


def test_what_a_gateway_gave_up_on_comes_after_a_refusal(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway refuses the second request for a reason of its own; what the first one made is ours to delete."""
    experiment = moved.seed.experiment("one")
    moved.seed.delete_experiment(experiment)
    late = _Late()
    monkeypatch.setattr(writing, "LOOKS", (0.0,))
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        line.faults.append(Fault("experiments/create", late, early=True))
        line.faults.append(Fault("experiments/create", status(403), early=True))
        moved.bring()
        assert "status 403" in str(moved.reasons("experiment")[experiment])
        late.over()
        moved.bring()
    assert moved.reasons("experiment") == {}
    there = moved.there.call("GET", "experiments/get-by-name", {"experiment_name": "one"})["experiment"]
    assert there["lifecycle_stage"] == "deleted"


def test_what_a_gateway_gave_up_on_is_waited_for(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked for before it is sent again; where it comes later still, the second copy is ours to remove."""
    seed = moved.seed
    experiment = seed.experiment("one")
    patient = seed.run(experiment, "patient")
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        soon, late = _Late(), _Late()
        line.faults.append(Fault("runs/create", soon, early=True))
        monkeypatch.setattr(writing, "LOOKS", (0.3,) * 60)
        threading.Timer(0.2, soon.go.set).start()
        moved.bring()
        assert line.paths().count("/api/2.0/mlflow/runs/create") == 1
        assert patient in moved.ids("run")
        # now the server takes longer than anybody waits
        monkeypatch.setattr(writing, "LOOKS", (0.0,))
        for path in ("runs/create", "/logged-models", "model-versions/create"):
            line.faults.append(Fault(path, late, early=True))
        root = seed.call("GET", "runs/get", {"run_id": patient})["run"]["info"]["artifact_uri"]
        seed.call("POST", "registered-models/create", {"name": "reg"})
        seed.call("POST", "model-versions/create", {"name": "reg", "source": root, "run_id": patient})
        seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "forest"})
        seed.end(seed.run(experiment, "hasty"))
        moved.bring()
        late.over()
    moved.address = moved.target.uri
    copies = moved.ids("run")
    assert len(moved.active()) == len(copies) + 1
    assert moved.version("reg", 2)["source"] == moved.version("reg", 1)["source"]
    assert moved.repair() == (0, [])
    assert moved.ids("run") == copies
    assert moved.active() == sorted(copies.values())


def test_a_twin_that_is_only_marked_goes_later(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its source tag is taken off before it is deleted: when that does not come to be, nothing tells whose it is."""
    seed, there, late = moved.seed, moved.there, _Late()
    experiment = seed.experiment("one")
    seed.end(seed.run(experiment, "hasty"))
    monkeypatch.setattr(writing, "LOOKS", (0.0,))
    with proxying(moved.target.uri) as line:
        moved.address = line.uri
        line.faults.append(Fault("runs/create", late, early=True))
        moved.bring()
        late.over()
        [ours] = moved.ids("run").values()
        [twin] = {*moved.active()} - {ours}
        # somebody's, who took the tags of a twin along
        theirs = there.run(moved.ids("experiment")[experiment], "theirs")
        there.log(theirs, tags={REPLACED_TAG: next(iter(moved.ids("run")))}, params={"depth": "3"})
        # the first such request takes off the tag
        line.faults.append(Fault("runs/delete", status(403), after=1, early=True))
        with pytest.raises(RequestRefused, match="403"):
            moved.repair()
    moved.address = moved.target.uri
    assert moved.active() == sorted([ours, twin, theirs])
    code, left = moved.repair()
    assert (code, [one.identity for one in left]) == (1, [theirs])
    assert moved.active() == sorted([ours, theirs])


class _Killed(BaseException):
    pass


def test_what_was_deleted_to_be_made_again_is_not_done(moved: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between both, the next run makes it again, or takes it out of the trash; a repair makes it right."""
    seed, there = moved.seed, moved.there
    experiment = seed.experiment("one")
    run = seed.run(experiment, "first")
    root = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
    seed.call("POST", "registered-models/create", {"name": "reg"})
    seed.call("POST", "model-versions/create", {"name": "reg", "source": root, "run_id": run})
    made = seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "forest"})["model"]["info"]
    seed.end(run)
    moved.bring()
    before = {kind: moved.ids(kind) for kind in ("run", "logged_model")}
    forget = Journal.forget

    def killed(kind: str, damage: str, *values: object) -> None:
        def deadly(journal: Journal, which: str, source_id: str) -> None:
            if which == kind:
                raise _Killed
            forget(journal, which, source_id)

        moved.sql(moved.target, damage, *values)
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "forget", deadly)
            with pytest.raises(_Killed):
                moved.repair()
        moved.bring()

    model = before["logged_model"][made["model_id"]]
    place = moved.ids("experiment")[experiment]
    killed("logged_model", "INSERT INTO logged_model_params VALUES (?, ?, 'new', 'extra')", model, place)
    [again] = moved.ids("logged_model").values()
    assert again != model
    assert there.call("GET", f"logged-models/{again}", {})["model"]["info"]["name"] == "forest"
    killed("registered_model", "UPDATE model_versions SET run_id = NULL")
    assert moved.version("reg", 1)["run_id"] == before["run"][run]
    killed("run", "INSERT INTO params VALUES ('new', 'extra', ?)", before["run"][run])
    assert moved.stage(before["run"][run]) == "active"
    assert moved.repair() == (0, [])
    assert moved.ids("run") != before["run"]


def test_lists_that_were_not_read_are_told_apart() -> None:
    """A whole list is neither an object that is only on the target nor lost among others of its kind."""
    rows = [
        Row(place, "run", "(all runs)", None, None, facet, State.UNVERIFIED)
        for place in ("one", "two")
        for facet in ("presence", "params")
    ]
    damaged = gather(rows)
    assert (damaged.found, damaged.unpaired) == ([], ())
    assert [one.why for one in damaged.left] == [
        f"this list of {place} could not be read or compared (presence, params): audit again"
        for place in ("one", "two")
    ]


def test_a_journal_of_an_earlier_version_opens(tmp_path: Path) -> None:
    """What was found by its name counts as somebody else's, because format 1 did not say; a newer format is refused."""
    path = tmp_path / "journal.sqlite"
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript(
            "CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "INSERT INTO about VALUES ('source', 'http://one'), ('format', '1');"
            "CREATE TABLE objects (kind TEXT NOT NULL, source_id TEXT NOT NULL, target_id TEXT, state TEXT NOT NULL,"
            "place TEXT NOT NULL, name TEXT NOT NULL, reason TEXT, digest TEXT, changed REAL NOT NULL,"
            "PRIMARY KEY (kind, source_id)) WITHOUT ROWID;"
            "INSERT INTO objects VALUES ('run', 'r', 'copy', 'done', '1', 'train', NULL, 'd', 1.0),"
            "('registered_model', 'reg', 'reg', 'done', '', 'reg', NULL, 'd', 1.0),"
            "('prompt', 'p', NULL, 'begun', '', 'p', NULL, NULL, 1.0);"
        )
    for _ in range(2):
        journal = Journal(path)
        journal.bind(source="http://one")
        origins = {entry.kind: entry.origin for entry in journal.entries()}
        assert origins == {"run": "made", "registered_model": "adopted", "prompt": ""}
        assert journal.ours("run", "r")
        journal.close()
    with closing(sqlite3.connect(path)) as newer, newer:
        newer.execute("UPDATE about SET value = '3' WHERE key = 'format'")
    journal = Journal(path)
    with pytest.raises(UsageProblem, match="its format is 3, not 2; pass a different --work-dir"):
        journal.bind(source="http://one")
    journal.close()


def test_what_was_about_to_be_made_is_ours(tmp_path: Path) -> None:
    """Found again after a kill or a doubtful answer it is ours; what was refused, or has another id, is not."""
    journal = Journal(tmp_path / "journal.sqlite")
    for name in ("killed", "refused", "strange"):
        journal.begin("webhook", name)
        with suppress(RequestRefused, TransportError), journal.making("webhook", name):
            if name == "refused":
                raise RequestRefused("exists", status=409)
            raise TransportError("no answer")
        journal.found("webhook", name, "id")
        journal.created("webhook", name, "id")
    journal.found("webhook", "strange", "another")
    # killed at its request, which came to be; the next one is refused for that, and killed in its turn
    journal.begin("webhook", "late")
    journal.note("making", "webhook", "late")
    with suppress(RequestRefused), journal.making("webhook", "late"):
        raise RequestRefused("exists", status=409)
    journal.found("webhook", "late", "id")
    assert {entry.source_id: entry.ours for entry in journal.entries()} == {
        "killed": True, "refused": False, "strange": False, "late": True,
    }  # fmt: skip
    journal.close()


def test_a_repair_looks_where_the_audit_has_looked(tmp_path: Path) -> None:
    """What only the storage showed is looked for there again; with a database it cannot be, and nothing is written."""
    path = tmp_path / "report.json"

    def judged(**target: str) -> list[str]:
        path.write_text(render(sample(sides={"source": side_sample(), "target": side_sample(**target)})))
        return as_judged(path, include_deleted=True)

    place = ["--parity-target-artifacts", "s3://bucket/x"]
    assert judged(own_artifacts=place[1]) == [*judged(), *place]
    with pytest.raises(UsageProblem, match=r"a database too \(--target-db mysql://h/d\).*without --target-db"):
        judged(database="mysql://h/d")
