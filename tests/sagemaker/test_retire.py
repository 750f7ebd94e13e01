"""``migrate.py retire``: the old managed server is stopped on proof only, and every refusal says why."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.attested import keys
from support.aws_names import under_own_names, without_endpoint
from support.migrations import migrate_py
from support.seed import EPOCH, Seeder
from support.seed_objects import seed_objects
from support.servers import copy_database, emptied

from mlflow_parity.__main__ import main as parity
from mlflow_parity.audit.renames import load_renames
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.reporting.kept.evidence import evidence_of
from mlflow_parity.reporting.ledger import LedgerWriter, read_rows
from mlflow_parity.sagemaker import app_command
from mlflow_parity.sagemaker.retire_evidence import judge, parse_age
from mlflow_parity.standin.sagemaker import StandIn

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Proof:
    """An old managed server, the App that holds its copy, and the report of the migration's audit."""

    old: StandIn
    new: StandIn
    report: Path
    names: Mapping[str, str]
    """Environment in which both ARNs lead to their own endpoints."""

    @property
    def environment(self) -> dict[str, str]:
        """What a client of both needs."""
        own = {**self.old.environment("SOURCE_"), **self.new.environment("TARGET_")}
        return {**without_endpoint(own), **self.names}

    @property
    def name(self) -> str:
        """Name of the old server."""
        return self.old.arn.rsplit("/", 1)[-1]

    def content(self) -> Any:
        """The report."""
        return json.loads(self.report.read_text(encoding="utf-8"))

    def edited(self, folder: Path, edit: Callable[[Any], object]) -> Path:
        """Return a copy of the report with something else in it."""
        content = self.content()
        edit(content)
        copy = folder / "report.json"
        copy.write_text(json.dumps(content), encoding="utf-8")
        shutil.copy(self.report.with_name("ledger.parquet"), folder)
        return copy


def _seed(running: StandIn) -> None:
    """Write two runs with a file, a deleted run, a deleted experiment, and everything else that a server can hold."""
    seed = Seeder(running.server.uri)
    client = running.s3.client(running.credentials, running.location.region)

    def upload(root: str, path: str, content: bytes) -> None:
        bucket, _, key = root.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=content)

    experiment = seed.experiment("shop")
    runs = {}
    for number, name in enumerate(("first", "second", "deleted")):
        run = runs[name] = seed.run(experiment, name, start=EPOCH + number)
        seed.log(run, params={"lr": f"0.{number}"}, metrics=[("loss", 1.5, EPOCH, 0)])
        root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        upload(root, "notes.txt", name.encode())
        seed.end(run)
    seed.run(experiment, "at work", start=EPOCH + 9)
    seed.delete_run(runs["deleted"])
    seed.delete_experiment(seed.experiment("given up"))
    objects = seed.experiment("objects")
    seed_objects(running.server.uri, objects, upload=upload, environment=running.environment(), traces=False)


@pytest.fixture(scope="module")
def proof(
    sagemaker_server: StandIn, sagemaker_app: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proof]:
    """What ``migrate.py run --create-app`` leaves: the old server, a new App with its copy, a green report.

    The control plane has no App at first, and gives the one that is created the ARN of the stand-in.
    """
    folder, plane = tmp_path_factory.mktemp("migration"), sagemaker_app.plane
    held = plane.apps.pop(sagemaker_app.arn)
    plane.next_arns.append(sagemaker_app.arn)
    with ExitStack() as stack:
        stack.callback(plane.apps.update, {sagemaker_app.arn: held})
        for running in (sagemaker_server, sagemaker_app):
            stack.enter_context(emptied(running.server))
        _seed(sagemaker_server)
        names = stack.enter_context(under_own_names(folder, (sagemaker_server, sagemaker_app)))
        made = Proof(sagemaker_server, sagemaker_app, folder / "reports" / "report.json", names)
        new = ["--create-app", "new", "--artifact-store", held.artifact_store, "--role-arn", held.role]
        done = migrate_py(folder, "run", "--source-arn", sagemaker_server.arn, *new, env=made.environment)
        assert done.status == 0, done.output[-4000:]
        assert f"App new: {sagemaker_app.arn}, ordered" in done.output
        yield made


Retire = Callable[..., tuple[int, str]]


@pytest.fixture
def retire(proof: Proof, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Retire]:
    """Run ``retire`` on the old server; gives exit status and all output. The server is started again afterwards."""
    for name, value in proof.environment.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str, report: Path | None = None, arn: str | None = None) -> tuple[int, str]:
        where = ["--source-arn", arn or proof.old.arn, "--report", str(report or proof.report)]
        status = app_command.main(["retire", *where, *arguments])
        said = capsys.readouterr()
        output = said.out + said.err
        for running in (proof.old, proof.new):
            assert running.credentials.secret_key not in output
        return status, output

    plane = proof.old.plane
    held = plane.servers[proof.name]
    # the stand-in serves other modules too
    plane.calls.clear()
    yield run
    plane.servers[proof.name] = held
    held.status, held.then = "Created", ""
    plane.failing.clear()
    plane.describes = 0


@pytest.mark.long
def test_it_is_stopped_on_proof_and_yes_only(proof: Proof, retire: Retire) -> None:
    """Without ``--yes`` all is examined and nothing done; with it the server is stopped; again is no error."""
    plane = proof.old.plane
    status, output = retire()
    assert status == 3, output
    assert f"all preconditions met; run again with --yes to stop the tracking server {proof.name}" in output
    assert "are green in a report" in output
    [running] = [line for line in output.splitlines() if line.startswith("note: still RUNNING on the source: ")]
    assert "shop / at work (" in running, running
    assert "note: in its trash: 1 experiment and 1 run, of which" in output
    assert plane.servers[proof.name].status == "Created"
    assert not [name for name, _ in plane.calls if name.startswith(("Stop", "Delete"))]
    plane.describes = 2
    status, output = retire("--yes")
    assert status == 0, output
    assert "Stopping" in output
    assert "can be started again" in output
    assert plane.servers[proof.name].status == "Stopped"
    status, output = retire("--yes")
    assert status == 0
    assert "nothing to do" in output


@pytest.mark.long
def test_deleting_wants_to_know_of_the_trash(proof: Proof, retire: Retire) -> None:
    """``--delete`` is refused while something deleted was not compared; ``--leave-deleted`` is a decision."""
    status, output = retire("--delete", "--yes")
    assert status == 1
    assert "refused: something would be lost: in its trash: 1 experiment and 1 run" in output
    assert proof.name in proof.old.plane.servers
    status, output = retire("--delete", "--leave-deleted", "--yes")
    assert status == 0, output
    assert "deleted; its files in S3 are left" in output
    assert proof.name not in proof.old.plane.servers
    status, output = retire("--delete", "--yes")
    assert status == 2
    assert "there is no tracking server" in output


@pytest.mark.long
def test_a_server_that_does_not_stop_is_told(proof: Proof, retire: Retire) -> None:
    """A stop that fails is an error with the status in it."""
    proof.old.plane.failing.add("stop")
    status, output = retire("--yes")
    assert status == 2
    assert "ended as StopFailed" in output


def _set(*keys: str | int, to: object) -> Callable[[Any], object]:
    """Return an edit that sets one value of a report."""

    def edit(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = to

    return edit


def _made(hours: float) -> str:
    """Return the time so many hours ago, as reports write it."""
    return (datetime.now(timezone.utc) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _unverified(content: Any) -> None:
    """Make one facet unverified everywhere in a report, as an audit would that could not read it."""
    row = content["coverage"][0]
    row["counts"] = {"unverified": row["total"]}
    states = [state for row in content["coverage"] for state in row["counts"]]
    content["totals"] = {
        state: sum(row["counts"].get(state, 0) for row in content["coverage"])
        for state in (*content["totals"], *states)
    }
    content["verified"] = content["objects"] - row["total"]
    content.update(verdict="red", reasons=["presence of 1 experiment: not verified"], exit_status=1)


def _other_target(content: Any) -> None:
    content["sides"]["target"].update(kind="snapshot", location="/backup/target")


EDITS: dict[str, tuple[Callable[[Any], object], str]] = {
    "red": (lambda content: content.update(verdict="red", reasons=["1 run is missing", "and more"], exit_status=1),
            "the report is not green: 1 run is missing (and 1 more)"),
    "ended badly": (_set("exit_status", to=1), "the report is not green: exit status 1"),
    "painted green": (_set("coverage", 0, "counts", to={"missing": 2}), "the report is not green: 2 missing"),
    "does not add up": (_set("totals", "match", to=1), "the report contradicts itself"),
    "unverified": (_unverified, "coverage is not 100 %: 1 of "),
    "empty": (lambda content: content.update(coverage=[], objects=0, verified=0, totals={}), "nothing was compared"),
    "stale": (_set("created", to=_made(25)), "the report is too old: it was made 25."),
    "of tomorrow": (_set("created", to=_made(-2)), "the report's age cannot be told"),
    "other server": (_set("sides", "source", "location", to="arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/b"),
                     "the report is of another server: its source is arn:aws"),
    "source is a folder": (_set("sides", "source", "kind", to="snapshot"), "the report is not of this server"),
    "target is a folder": (_other_target, "the report is not of the new server: its target is the folder /backup"),
    "some experiments": (_set("scope", "experiments", to=["shop"]), "is partial: --parity-experiments shop;"),
    "not all": (_set("scope", "excluded", to=["s*"]), "the report is partial: --parity-exclude-experiments s*"),
    "-k": (_set("scope", "checks", to=["params"]), "checks were not selected (test_artifact"),
    "recheck": (lambda content: content["scope"].update(partial=True, left_out=["everything that was green in r"]),
                "the report is partial: everything that was green in r; audit all of it"),
    "no bytes": (_set("scope", "depth", to="listing"), "depth listing compares no bytes"),
    "other contract": (_set("contract_digest", to="0" * 64), "the report is of another version"),
    "no digest of the target": (_set("sides", "target", "snapshot_digest", to=""), "has no digest of the target"),
    "endpoint": (_set("sides", "target", "endpoint", to="http://127.0.0.1:5000"),
                 "it is not sure that the target itself answered: the report has the target answered by http:"),
    "TLS": (_set("sides", "source", "tls_not_verified", to=["S3"]), "the source did not prove who it is: the report"),
    "waivers": (_set("waivers_digest", to="a" * 64), "judged with waivers: 0 differences are waived by a file with"),
    "known hashes": (_set("evidence", to={"SHA-256 of the bytes known since 2026-11-20": 3}),
                     "the report rests on what was not read for it: SHA-256 of the bytes known since 2026-11-20"),
    "a report": (_set("evidence", to={"SHA-256 stated by a checksum report": 3}), "without --parity-known-hashes and"),
    "no digest": (_set("sides", "source", "snapshot_digest", to=""), "the report has no digest of the source"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("edit", EDITS)
def test_a_report_that_proves_less_is_refused(proof: Proof, edit: str) -> None:
    """The green report itself is no reason against it; with one thing changed it is exactly one, said in one line."""
    change, words = EDITS[edit]
    content = proof.content()
    now = datetime.now(timezone.utc)

    def refusals() -> list[str]:
        evidence = evidence_of(content, "report.json")
        return [str(one) for one in judge(evidence, proof.old.location, now=now, max_age=DAY, delete=False)]

    assert refusals() == []
    change(content)
    found = refusals()
    assert [text for text in found if words in text], found
    assert all("\n" not in text and text.count("; ") >= 1 for text in found)
    # what is not read contradicts more than one promise
    assert len(found) == 1 or edit in ("unverified", "painted green", "empty"), found


@pytest.mark.long
def test_deleting_wants_a_target_that_was_read_in_one_go(proof: Proof) -> None:
    """Parts of the target that an interrupted audit left are of unknown age: enough for a stop, not for the end."""
    content = proof.content()
    content["sides"]["target"]["resumed_parts"] = 3
    evidence, now = evidence_of(content, "report.json"), datetime.now(timezone.utc)
    judged = [judge(evidence, proof.old.location, now=now, max_age=DAY, delete=delete) for delete in (False, True)]
    assert [len(found) for found in judged] == [0, 1]
    assert "older readings" in str(judged[1][0])


@pytest.mark.long
@pytest.mark.parametrize("path", [("sides",), ("scope", "checks"), ("coverage",), ("totals", "waived"), ("created",)])
def test_a_damaged_report_is_refused(proof: Proof, tmp_path: Path, retire: Retire, path: tuple[str, ...]) -> None:
    """A part of another type is one clear line, never a traceback and never a pass."""
    status, output = retire("--yes", report=proof.edited(tmp_path, _set(*path, to="?")))
    assert status == 2, output
    assert "--report: " in output
    assert "audit again" in output or "run the audit again" in output


@pytest.mark.long
def test_a_report_without_its_ledger_or_a_verdict_is_refused(proof: Proof, tmp_path: Path, retire: Retire) -> None:
    """The figures are worth what the ledger beside them is; and a run that did not finish proves nothing."""
    report = proof.edited(tmp_path, lambda content: None)
    ledger = report.with_name("ledger.parquet")
    ledger.unlink()
    status, output = retire("--yes", report=report)
    assert status == 1, output
    assert "refused: the report is without its ledger: " in output
    ledger.write_bytes(b"another")
    status, output = retire("--yes", report=report)
    assert status == 2, output
    assert f"--report: {ledger} is not the ledger of {report}" in output
    status, output = retire("--yes", report=proof.edited(tmp_path, _set("verdict", to="none")))
    assert status == 2, output
    assert "has no verdict, as that audit did not finish" in output


@pytest.mark.long
def test_a_target_that_lost_something_is_refused(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """An App emptied after a green audit, a run in its trash, one that went for good: refused; more on it is a note."""
    there = proof.new.server
    seed = Seeder(there.uri)
    kept = tmp_path / "kept.db"
    copy_database(there.database_path, kept)
    found = seed.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    shop = next(one["experiment_id"] for one in found if one["name"] == "shop")
    copies = seed.call("POST", "runs/search", {"experiment_ids": [shop]})["runs"]
    run = next(one["info"]["run_id"] for one in copies if one["info"]["run_name"] == "first")
    try:
        seed.run(shop, "of the new team")
        status, output = retire()
        assert status == 3, output
        assert "note: the target holds more than the report says: +1 run" in output
        seed.delete_run(run)
        status, output = retire("--yes")
        assert status == 1, output
        assert (
            f"what the report found is deleted or restored since: 1 run of the report: run 'first' ({run});" in output
        )
        # a fresh report saves reading all of the target, and not looking at what it lists
        with emptied(there):
            status, output = retire("--delete", "--leave-deleted", "--yes")
        assert status == 1, output
        assert "refused: what the report found is not on the target any more: " in output
        assert " runs" in output
        assert "was not touched" in output
    finally:
        copy_database(kept, there.database_path)
    assert proof.old.plane.servers[proof.name].status == "Created"


@pytest.mark.long
def test_what_a_deletion_reads_of_the_target(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """With a report older than an hour all of it: one value altered is refused; a stop looks at the lists alone."""
    aged = proof.edited(tmp_path, _set("created", to=_made(2)))
    status, output = retire("--delete", "--leave-deleted", report=aged)
    assert status == 3, output
    assert f"reading {proof.new.arn}: all of it" in output
    there = proof.new.server
    kept = tmp_path / "kept.db"
    copy_database(there.database_path, kept)
    try:
        with closing(sqlite3.connect(there.database_path, timeout=30)) as database, database:
            assert database.execute("UPDATE params SET value = '9' WHERE key = 'lr'").rowcount
        status, output = retire("--delete", "--leave-deleted", report=aged)
        assert status == 1, output
        assert "refused: the target has changed since the report: no object came or went, but one has an" in output
        status, output = retire(report=aged)
        assert (status, "what it lists" in output) == (3, True), output
    finally:
        copy_database(kept, there.database_path)


@pytest.mark.long
def test_a_target_of_ones_own_and_new_names(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """A target by HTTP is read again like an App; one under new names with the file by which the report was made."""
    there = proof.new.server
    own = proof.edited(tmp_path, lambda one: one["sides"]["target"].update(kind="http", location=there.uri))
    status, output = retire(report=own)
    assert (status, f"reading {there.uri}: what it lists" in output) == (3, True), output
    file, kept = tmp_path / "names.toml", tmp_path / "kept.db"
    file.write_text('[models]\nchurn = "churn of the shop"\n')
    copy_database(there.database_path, kept)
    try:
        Seeder(there.uri).call("POST", "registered-models/rename", {"name": "churn", "new_name": "churn of the shop"})
        status, output = retire()
        assert (status, "what the report found is not on the target any more: " in output) == (1, True), output
        renamed = proof.edited(tmp_path, lambda one: one["notes"].append(load_renames(str(file)).note))
        status, output = retire(report=renamed)
        assert (status, "pass the file of that audit with --rename" in output) == (1, True), output
        status, output = retire("--rename", str(file), report=renamed)
        assert status == 3, output
    finally:
        copy_database(kept, there.database_path)
    status, output = retire("--rename", str(file))
    assert (status, "the report was made without new names; leave --rename out" in output) == (1, True), output


@pytest.mark.long
def test_a_target_that_cannot_be_described_is_refused(proof: Proof, retire: Retire) -> None:
    """Nobody knows what became of it then."""
    proof.new.plane.denied.add("DescribeMlflowApp")
    try:
        status, output = retire("--yes")
    finally:
        proof.new.plane.denied.clear()
    assert status == 1, output
    assert f"refused: the App {proof.new.arn} could not be described: it could not be asked for its state: " in output


@pytest.mark.long
def test_who_answers_is_looked_at_again(proof: Proof, retire: Retire, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint of one's own, and S3 whose certificate nobody looks at, in the environment of this very step."""
    monkeypatch.setenv("TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT", proof.new.gateway.endpoint)
    monkeypatch.setenv("SOURCE_MLFLOW_S3_IGNORE_TLS", "TRUE")
    status, output = retire("--yes")
    assert status == 1, output
    where = "refused: it is not sure that the target itself answered: this environment has the target answered by "
    assert where + proof.new.gateway.endpoint in output
    assert (
        "refused: the source did not prove who it is: this environment has TLS not verified on the source (S3)"
        in output
    )
    assert len([line for line in output.splitlines() if line.startswith("refused: ")]) == 3


def _with_ledger(proof: Proof, folder: Path, change: Callable[[Row], Row]) -> Path:
    """Return a copy of the report with another ledger, whose digest it says."""
    rows = [change(row) for row in read_rows(proof.report.with_name("ledger.parquet"))]
    report = proof.edited(folder, lambda content: None)
    ledger = report.with_name("ledger.parquet")
    with LedgerWriter(ledger) as writer:
        writer.extend(rows)
    content = json.loads(report.read_text())
    report.write_text(json.dumps({**content, "ledger_digest": file_sha256(ledger)}))
    return report


@pytest.mark.long
def test_a_report_is_counted_again(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """A red audit whose report was edited to green, all of it: the ledger beside it says otherwise."""

    def lost(row: Row) -> Row:
        return (
            replace(row, state=State.MISSING) if (row.kind, row.facet, row.name) == ("run", "params", "first") else row
        )

    status, output = retire("--yes", report=_with_ledger(proof, tmp_path, lost))
    assert status == 1, output
    assert "refused: the report is not what its ledger says: its ledger says otherwise (" in output
    assert " rows, the report " in output
    assert "): run params; audit again" in output


@pytest.mark.long
@pytest.mark.parametrize("what", ["source", "target", "ledger"])
def test_an_emptied_count_is_refused(proof: Proof, retire: Retire, tmp_path: Path, what: str) -> None:
    """A report that counts no runs on a side, and a ledger that names no copy of any: held against the servers."""
    if what == "ledger":
        report = _with_ledger(proof, tmp_path, lambda row: replace(row, target_id=None) if row.kind == "run" else row)
        words = " runs that the server holds it names no copy"
    else:
        report = proof.edited(tmp_path, _set("sides", what, "runs", to=0))
        words = "refused: the report contradicts itself: it"
    status, output = retire("--yes", report=report)
    assert status == 1, output
    assert words in output
    assert what != "ledger" or "refused: the ledger does not name everything: of " in output


@pytest.mark.long
def test_waivers_are_named_here_too(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """What was accepted for the audit: the very file must be given, and none of it may have expired."""
    entry = '[[waiver]]\nobject = ["*", "run", "*"]\nfacet = "note"\nreason = "agreed"\nowner = "ada"\nexpires = {}\n'
    file, late = tmp_path / "waivers.toml", tmp_path / "late.toml"
    file.write_text(entry.format("2999-01-01"))
    late.write_text(entry.format("2020-01-01"))
    used = {"object": "x", "facet": "note", "status": "used", "covered": "1"}

    def told(content: Any) -> Any:
        content.update(waivers=[used], waivers_digest=load_waivers(str(file)).digest)

    report = proof.edited(tmp_path, told)
    status, output = retire(report=report)
    assert status == 1, output
    assert "refused: the report was judged with waivers: " in output
    assert "name it with --waivers FILE" in output
    status, output = retire("--waivers", str(late), report=report)
    assert (status, "refused: --waivers is not the file of the report" in output) == (1, True), output
    assert retire("--waivers", str(file), report=report)[0] == 3
    status, output = retire("--waivers", str(file))
    assert (status, "the report was judged without waivers" in output) == (1, True), output
    report = proof.edited(
        tmp_path, lambda content: content.update(waivers=[used], waivers_digest=load_waivers(str(late)).digest)
    )
    status, output = retire("--waivers", str(late), report=report)
    assert (status, "a waiver has expired: its last day was 2020-01-01" in output) == (1, True), output


@pytest.mark.long
def test_an_attestation_can_be_demanded(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """Then only a report that the key signed, byte for byte, lets the server be stopped."""
    private, public = keys(tmp_path)
    reports = tmp_path / "reports"
    shutil.copytree(proof.report.parent, reports)
    report, envelope = reports / "report.json", reports / "attestation.json"
    demand = ("--attestation", str(envelope), "--attestation-key", str(public))
    status, output = retire(*demand, "--yes", report=report)
    assert (status, "refused: the report is not proved by --attestation: --attestation: " in output) == (1, True), (
        output
    )
    assert parity(["attest", "--report-dir", str(reports), "--key", str(private)]) == 0
    status, output = retire(*demand, report=report)
    assert status == 3, output
    # what says the same is not what was signed
    whole = report.read_bytes()
    for path, content in ((report, whole + b"\n"), (reports / "report.html", b"green")):
        before = path.read_bytes()
        path.write_bytes(content)
        status, output = retire(*demand, "--yes", report=report)
        assert (status, "is not the file that was attested" in output) == (1, True), output
        path.write_bytes(before)
    (tmp_path / "other").mkdir()
    _, stranger = keys(tmp_path / "other")
    status, output = retire(*demand[:3], str(stranger), "--yes", report=report)
    assert (status, "is signed by the key" in output) == (1, True), output
    status, output = retire(*demand[:2], "--yes", report=report)
    assert (status, "give both" in output) == (2, True), output
    assert proof.old.plane.servers[proof.name].status == "Created"


@pytest.mark.long
def test_all_refusals_come_at_once(proof: Proof, retire: Retire, tmp_path: Path) -> None:
    """Report, server and target are each looked at; the server is not read while anything of that is wrong."""

    def spoil(content: Any) -> None:
        for change in (EDITS["red"][0], EDITS["stale"][0], EDITS["some experiments"][0]):
            change(content)

    app = proof.new.plane.apps[proof.new.arn]
    proof.old.plane.servers[proof.name].status = "MaintenanceInProgress"
    app.status = "Deleting"
    before, asked = len(proof.old.gateway.recorded), len(proof.old.plane.calls)
    try:
        status, output = retire("--yes", report=proof.edited(tmp_path, spoil))
    finally:
        app.status = "Created"
    lines = [line for line in output.splitlines() if line.startswith("refused: ")]
    assert status == 1
    assert len(lines) == 5, output
    for words in (
        "not green",
        "too old",
        "partial",
        "the server is MaintenanceInProgress",
        f"{proof.new.arn} is Deleting",
    ):
        assert [line for line in lines if words in line], words
    assert "was not touched" in output
    assert len(proof.old.gateway.recorded) == before
    assert {name for name, _ in proof.old.plane.calls[asked:]} == {"DescribeMlflowTrackingServer"}


@pytest.mark.long
def test_only_managed_servers_are_retired(proof: Proof, retire: Retire) -> None:
    """An App and an http server are refused, and so is a server that is not there, or that nobody may see."""
    status, output = retire(arn=proof.new.arn)
    assert (status, "is an App; only managed tracking servers" in output) == (2, True)
    status, output = retire(arn="http://127.0.0.1:5000")
    assert (status, "stop any other server where it runs" in output) == (2, True)
    status, output = retire(arn=proof.old.arn + "x")
    assert (status, "there is no tracking server" in output) == (2, True)
    status, output = retire("--max-age", "soon")
    assert (status, "--max-age: 'soon' is not an age" in output) == (2, True)
    proof.old.plane.denied.add("DescribeMlflowTrackingServer")
    try:
        status, output = retire("--yes")
    finally:
        proof.old.plane.denied.clear()
    assert status == 2
    assert "give this identity the right to sagemaker:DescribeMlflowTrackingServer" in output


@pytest.mark.long
def test_ages() -> None:
    """Minutes, hours and days; nothing else."""
    assert [parse_age(text) for text in ("30m", "24h", "2d")] == [timedelta(minutes=30), DAY, 2 * DAY]
    for text in ("", "24", "0h", "-1h", "1w"):
        with pytest.raises(UsageProblem, match="give for instance"):
            parse_age(text)


@pytest.mark.long
def test_a_changed_server_is_refused(proof: Proof, retire: Retire) -> None:
    """One tag written after the audit, or one run more, and the report is no proof any more."""
    seed = Seeder(proof.old.server.uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    shop = next(item["experiment_id"] for item in experiments if item["name"] == "shop")
    run = seed.call("POST", "runs/search", {"experiment_ids": [shop]})["runs"][0]["info"]["run_id"]
    seed.log(run, tags={"late": "yes"})
    status, output = retire("--yes")
    assert status == 1
    assert "refused: the server has changed since the report: no object came or went" in output
    seed.run(shop, "late", start=EPOCH + 9)
    status, output = retire("--yes")
    assert status == 1
    assert "refused: the server has changed since the report: +1 run;" in output
    assert proof.old.plane.servers[proof.name].status == "Created"
