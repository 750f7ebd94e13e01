"""The honest end of a migration: what was not moved is listed with reason and retry, and the contract is held to."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.migrations import Migrated, migrate_py
from support.proxy import Fault, Proxy, proxying, status
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.kinds.rules.contract import BY_ID
from mlflow_parity.migrating.known_losses import UNMOVABLE, by_contract, is_by_contract
from mlflow_parity.migrating.outcome import Outcome, outcome_text
from mlflow_parity.standin.servers import Server

REFUSED = b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "no scorers today"}'
#: What the contract lets differ: kind, name, facet, rule.
EXPECTED = {
    ("run", "renamed", "tags", "run.name.tag"),
    ("logged_model", "broken", "status", "logged_model.status.message"),
    ("model_version", "churn version 1", "status", "model_version.status.ready"),
}


def sql(server: Server, *statements: str) -> None:
    """Write to a server's database what its API refuses."""
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
        for statement in statements:
            assert database.execute(statement).rowcount > 0, statement


def _seed(server: Server) -> None:
    seed = Seeder(server.uri)
    one = seed.experiment("one")
    runs = {name: seed.run(one, name) for name in ("renamed", "untagged", "long", "odd file", "unreadable")}
    seed.log(runs["long"], params={"text": "x" * 6_000}, metrics=[("m", 1.0, EPOCH, 0)])
    seed.artifact(runs["odd file"], "plain.txt", b"plain")
    seed.artifact(runs["unreadable"], "big.bin", bytes(5_000))
    made = seed.call("POST", "logged-models", {"experiment_id": one, "name": "broken", "source_run_id": runs["long"]})
    model = made["model"]["info"]["model_id"]
    seed.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": "LOGGED_MODEL_UPLOAD_FAILED"})
    seed.call("POST", "registered-models/create", {"name": "churn"})
    seed.call("POST", "model-versions/create", {"name": "churn", "source": f"models:/{model}", "model_id": model})
    body = {"experiment_id": one, "name": "judge", "serialized_scorer": json.dumps({"name": "judge"})}
    seed.call("POST", "scorers/register", body, version="3.0")
    for run in runs.values():
        seed.end(run)
    sql(
        server,
        f"UPDATE tags SET value = 'old name' WHERE key = 'mlflow.runName' AND run_uuid = '{runs['renamed']}'",
        f"DELETE FROM tags WHERE key = 'mlflow.runName' AND run_uuid = '{runs['untagged']}'",
        "UPDATE logged_models SET status_message = 'out of disk'",
        "UPDATE model_versions SET status = 'FAILED_REGISTRATION', status_message = 'no such file'",
        f"UPDATE params SET value = value || 'yz' WHERE run_uuid = '{runs['long']}'",
    )
    [file] = Path(server.artifacts_root).rglob("plain.txt")
    file.rename(file.with_name("100%25 #1.txt"))


class _Moved:
    """A migration in which much goes wrong, and the servers' front doors."""

    def __init__(self, source: Server, target: Server, ours: Proxy, theirs: Proxy, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.ours, self.theirs = ours, theirs
        ends = ["--source-uri", ours.uri, "--target-uri", theirs.uri, "--work-dir", "my work"]
        self.planned = migrate_py(folder, "plan", *ends)
        self.plan = json.loads((folder / "reports" / "plan.json").read_text())
        ours.faults.append(Fault("big.bin", status(404), 99))
        theirs.faults.append(Fault("scorers/register", status(400, body=REFUSED), 99, early=True))
        self.done = migrate_py(folder, "run", *ends)
        self.audit = AuditRun(self.done.status, self.done.output, folder / "reports")
        self.outcome = json.loads((folder / "my work" / "outcome.json").read_text())
        # kept apart: the next audit writes again
        self.red = {(row.kind, row.name, row.facet) for row in self.audit.red_rows()}
        self.expected = self.rules(self.audit)

    @staticmethod
    def rules(found: AuditRun) -> set[tuple[str, str, str, str]]:
        """Rows that the contract lets differ by one of its rules for what cannot be written."""
        named = {rule for *_, rule in EXPECTED}
        rows = [row for row in found.rows() if row.state.value == "expected"]
        return {(row.kind, row.name, row.facet, rule) for row in rows for rule in row.rules if rule in named}


@pytest.fixture(scope="module")
def moved(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Moved]:
    """The migration, before anything is fixed."""
    source, target = module_server(), module_server()
    _seed(source)
    with proxying(source.uri) as ours, proxying(target.uri) as theirs:
        yield _Moved(source, target, ours, theirs, tmp_path_factory.mktemp("moved"))


@pytest.mark.long
def test_the_plan_names_what_cannot_be_moved(moved: _Moved) -> None:
    """Object by object, where there are any, each with what the audit will make of it."""
    assert moved.planned.status == 0, moved.planned.output
    found = {one["code"]: one["what"] for one in moved.plan["findings"] if one["level"] == "warning"}
    for code, name in (
        ("limit.run-name", "'one / renamed'"),
        ("limit.status-message", "'broken'"),
        ("limit.version-status", "'churn version 1'"),
        ("limit.param-value", "'one / long / param text'"),
        ("limit.file-name", "'one / odd file / 100%25 #1.txt'"),
    ):
        assert name in found[code], found
    told = {(one["kind"], one["what"]): one["reason"] for one in moved.plan["unmovable"]}
    assert told["model_version", "a status that is not READY"] == "MLflow's API makes versions READY"
    odd = "files with # or %xx in their names, into a target with proxied artifacts"
    assert told["run", odd] == "the proxy stores them under other names; the findings name them"
    # the terminal names what the audit will report
    assert f"  run: {odd} (the audit reports it)" in moved.planned.output


@pytest.mark.long
def test_every_object_that_was_not_moved_is_listed(moved: _Moved) -> None:
    """Exit status 1; kind, name, place, reason, and the command that tries again; nothing else is red."""
    assert moved.done.status == 1
    unmoved = {one["name"]: one for one in moved.outcome["unmoved"]}
    fates = {"unreadable": "unread", "judge": "failed", "long": "unmovable", "odd file": "unread"}
    assert {name: one["fate"] for name, one in unmoved.items()} == fates
    for name, reason in (
        ("unreadable", "file 'big.bin' could not be read"),
        ("judge", "no scorers today"),
        # such a name cannot be asked for at a proxied source either
        ("odd file", "file '100%25 #1.txt' could not be read"),
        ("long", "param 'text'"),
    ):
        assert reason in unmoved[name]["reason"]
        assert f"{name!r}" in moved.done.output
        assert reason in moved.done.output
    # a run without the tag stays without it
    assert {one["name"] for one in moved.outcome["noted"]} == {"renamed", "broken", "churn version 1"}
    assert moved.red == {
        ("run", "unreadable", "artifacts"), ("run", "odd file", "artifacts"), ("run", "long", "params"),
        ("scorer", "judge", "presence"), ("scorer", "judge", "number"), ("scorer", "judge", "definition"),
        ("scorer", "judge", "times"), ("scorer", "judge", "other"),
    }  # fmt: skip
    assert moved.expected == EXPECTED


@pytest.mark.long
def test_the_tools_own_output_is_in_a_log(moved: _Moved) -> None:
    """The terminal shows ours alone."""
    logs = {file.name: file.read_text() for file in (moved.folder / "my work" / "logs").iterdir()}
    assert set(logs) == {"export.log", "import.log"}
    assert "runs succesfully exported" in logs["export.log"]
    assert "succesfully" not in moved.done.output
    assert "Traceback" not in moved.done.output


def _again(moved: _Moved) -> Migrated:
    """Run the command that the migration itself named."""
    [line] = [line for line in moved.done.output.splitlines() if line.startswith("To try again")]
    command = shlex.split(line.partition(": ")[2])
    assert command[0] == "migrate.py"
    return migrate_py(moved.folder, *command[1:])


@pytest.mark.long
def test_mended_the_named_command_ends_green(moved: _Moved) -> None:
    """Causes fixed, the command as it was printed: exit status 0, audit green; what differs is named once more."""
    moved.ours.faults.clear()
    moved.theirs.faults.clear()
    [file] = Path(moved.source.artifacts_root).rglob("100*#1.txt")
    file.rename(file.with_name("plain.txt"))
    sql(moved.source, "UPDATE params SET value = 'short' WHERE key = 'text'")
    sql(moved.target, "UPDATE params SET value = 'short' WHERE key = 'text'")
    done = _again(moved)
    assert done.status == 0, done.output[-4000:]
    assert "Moved but for what the contract lets differ: 3" in done.output
    assert "Nothing was left behind." in done.output
    assert moved.rules(AuditRun(0, "", moved.folder / "reports")) == EXPECTED

    # the same differences without their evidence are no longer expected
    sql(
        moved.target,
        "UPDATE tags SET value = 'another' WHERE key = 'mlflow_exim.mlflow_tag.runName' AND value = 'old name'",
        "DELETE FROM model_version_tags WHERE key = 'mlflow_exim.field.status'",
        "UPDATE logged_models SET status = 2",
    )
    found = audit(moved.folder / "altered", moved.source.uri, moved.target.uri)
    red = {(row.kind, row.name, row.facet) for row in found.red_rows()}
    assert red >= {(kind, name, facet) for kind, name, facet, _ in EXPECTED}
    assert not moved.rules(found)


def test_everything_unmovable_is_in_the_contract() -> None:
    """Each has a rule; what the audit expects says under which condition."""
    for one in UNMOVABLE:
        rule = BY_ID[one.rule]
        assert rule.kind == one.kind
        assert rule.treatment != "expected" or rule.when


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (by_contract("run.name.tag", "its tag"), True),
        ("; ".join([by_contract("run.name.tag", "a"), by_contract("run.inputs.repeated", "b")]), True),
        ("; ".join([by_contract("run.name.tag", "a"), "file 'x': lost"]), False),
        (by_contract("run.tags", "a rule that lets nothing differ"), False),
        (by_contract("no.such.rule", "a"), False),
        ("", False),
    ],
)
def test_only_the_contract_excuses(reason: str, expected: bool) -> None:
    """An object is whole only if each thing that it lacks is the contract's."""
    assert is_by_contract(reason) is expected


def test_what_a_repair_leaves_alone_is_not_nothing() -> None:
    """The end of the account is true beside the objects that are named below it."""

    def last(alone: int = 0) -> str:
        return outcome_text(Outcome(Counter(run=3)), Redactor(), alone=alone)[-1]

    assert last() == "Nothing was left behind."
    assert last(alone=1) == "Everything but 1 object that is left alone, see below."
    assert last(alone=2) == "Everything but 2 objects that are left alone, see below."
