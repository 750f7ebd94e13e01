"""``attest`` and ``verify``: what is signed, by which keys; a valid signature over a red audit is never green."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from support.attested import Case, audited, keys

from mlflow_parity.__main__ import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.kinds.rules import contract
from mlflow_parity.reporting.ledger import LedgerWriter, read_rows
from mlflow_parity.reporting.report import unfinished
from mlflow_parity.reporting.write import ReportFolder
from mlflow_parity.signing.checking import read_audit
from mlflow_parity.signing.statement import outcome

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """A green and a red audit, not signed yet."""
    folder = tmp_path_factory.mktemp("audits")
    return {name: audited(folder / name, red=name == "red") for name in ("green", "red")}


@pytest.fixture
def green(cases: dict[str, Case], tmp_path: Path) -> Case:
    """A copy of the green one."""
    return cases["green"].copied(tmp_path / "green")


@pytest.fixture
def red(cases: dict[str, Case], tmp_path: Path) -> Case:
    """A copy of the red one."""
    return cases["red"].copied(tmp_path / "red")


def refused(arguments: list[str], said: Said) -> str:
    """Run a command that ends in one line with exit status 4; return the line."""
    said.readouterr()
    assert main(arguments) == 4
    told = said.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    assert told.err.startswith("ERROR: ")
    return told.err


def statement(case: Case) -> Any:
    """What was signed."""
    return json.loads(base64.b64decode(json.loads(case.envelope.read_bytes())["payload"]))


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rewrite(report: Path, content: Any) -> None:
    """Write another ``report.json``, as an audit would have: the page beside it says which it is of."""
    page, before = report.with_name("report.html"), sha256(report)
    report.write_text(json.dumps(content))
    page.write_text(page.read_text(encoding="utf-8").replace(before, sha256(report)), encoding="utf-8")


def test_what_is_signed_is_what_the_specifications_say(green: Case, tmp_path: Path, capsys: Said) -> None:
    """DSSE's encoding, signed as cryptography itself checks it; in-toto's statement with the digest of every file."""
    private, public = keys(tmp_path)
    assert main(green.attest(private)) == 0
    envelope = json.loads(green.envelope.read_bytes())
    payload = base64.b64decode(envelope["payload"])
    assert (sorted(envelope), envelope["payloadType"]) == (
        ["payload", "payloadType", "signatures"],
        "application/vnd.in-toto+json",
    )
    encoded = b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload)
    key: Any = load_pem_public_key(public.read_bytes())
    key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), encoded)
    told = statement(green)
    assert told["_type"] == "https://in-toto.io/Statement/v1"
    assert told["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    files = {name: green.reports / name for name in ("report.json", "report.html", "ledger.parquet")}
    files["attested-contract.md"] = green.reports / "attested-contract.md"
    files |= {f"snapshot-{side}/manifest.json": green.folder / side / "manifest.json" for side in ("source", "target")}
    assert {one["name"]: one["digest"] for one in told["subject"]} == {
        name: {"sha256": sha256(path)} for name, path in files.items()
    }
    assert files["attested-contract.md"].read_text(encoding="utf-8") == contract.markdown()
    report = json.loads(files["report.json"].read_bytes())
    facts = told["subject"][0]["annotations"]
    assert (facts["verdict"], facts["exitStatus"], facts["objects"]) == ("green", 0, report["objects"])
    assert facts["source"]["snapshot_digest"] == report["sides"]["source"]["snapshot_digest"] != ""
    predicate = told["predicate"]
    assert (predicate["result"], predicate["failedTests"], predicate["warnedTests"]) == ("PASSED", [], [])
    assert {row["facet"] for row in report["coverage"]} | {"verdict"} == set(predicate["passedTests"])
    # each resource descriptor has one of these
    assert all({"uri", "digest", "content"} & one.keys() for one in predicate["configuration"])
    assert predicate["configuration"][0]["uri"] == f"pkg:pypi/mlflow-parity@{report['tool_version']}"
    said = capsys.readouterr().out
    assert "attested as PASSED" in said


def test_a_green_audit_is_verified_offline(
    green: Case, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 0 without any connection; what was not given is named as not checked, and never as unaltered."""
    private, public = keys(tmp_path)
    assert main(green.attest(private, "--public-key", str(tmp_path / "written.pem"))) == 0
    assert (tmp_path / "written.pem").read_bytes() == public.read_bytes()

    def refuse(*_: object) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    capsys.readouterr()
    assert main(green.verify(public)) == 0
    said = capsys.readouterr().out
    assert "verdict: GREEN (PASSED)" in said
    assert "not checked" not in said
    assert "snapshot of the source, snapshot of the target" in said
    # moved elsewhere, without the snapshots
    moved = green.envelope.rename(tmp_path / "kept.json")
    assert main(["verify", str(moved), "--key", str(public), "--report-dir", str(green.reports)]) == 0
    said = capsys.readouterr().out
    assert "not checked: snapshot of the source (--snapshot-source DIR), snapshot of the target" in said
    assert "snapshot" not in said.partition("not checked")[0]


def test_a_red_audit_is_attested_as_failed(red: Case, tmp_path: Path, capsys: Said) -> None:
    """Its signature is valid, exit status 1, and no line says green."""
    private, public = keys(tmp_path)
    assert main(red.attest(private)) == 0
    predicate = statement(red)["predicate"]
    assert predicate["result"] == "FAILED"
    assert predicate["failedTests"] == ["run params", "verdict"]
    assert "run name" in predicate["passedTests"]
    assert "attested as FAILED" in capsys.readouterr().out
    assert main(red.verify(public)) == 1
    said = capsys.readouterr().out
    assert "signature: valid" in said
    assert "verdict: RED (FAILED)" in said
    assert "GREEN" not in said


def test_what_is_green_with_limits_is_warned(green: Case) -> None:
    """Waived differences and a partial audit are no PASSED; anything red is FAILED."""
    evidence = read_audit(green.reports / "report.json", "--report-dir").evidence
    assert outcome(evidence) == "PASSED"
    assert outcome(replace(evidence, partial=True)) == "WARNED"
    assert outcome(replace(evidence, counted={"match": 1, "waived": 1})) == "WARNED"
    for change in ({"verdict": "red"}, {"exit_status": 1}, {"exit_status": None}, {"reasons": ("a check",)}):
        assert outcome(replace(evidence, partial=True, **change)) == "FAILED"
    assert outcome(replace(evidence, counted={"match": 1, "unverified": 1})) == "FAILED"


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "rsa"])
def test_keys_that_sign(kind: str, green: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said) -> None:
    """Each kind signs, encrypted or not; the password is in no output; another key of the kind is refused."""
    secret = "correct horse battery"
    private, public = keys(tmp_path, kind, secret.encode())
    assert "is encrypted; set MLFLOW_PARITY_KEY_PASSWORD" in refused(green.attest(private), capsys)
    monkeypatch.setenv("MLFLOW_PARITY_KEY_PASSWORD", "wrong")
    assert "is not its password" in refused(green.attest(private), capsys)
    assert not green.envelope.exists()
    monkeypatch.setenv("MLFLOW_PARITY_KEY_PASSWORD", secret)
    assert main(green.attest(private)) == 0
    assert main(green.verify(public)) == 0
    told = capsys.readouterr()
    assert secret not in told.out + told.err
    (tmp_path / "other").mkdir()
    _, stranger = keys(tmp_path / "other", kind)
    assert "is signed by the key" in refused(green.verify(stranger), capsys)


@pytest.mark.parametrize(
    ("kind", "says"), [("ed448", "not used here"), ("k1", "not used here"), ("short", "1024 bits")]
)
def test_keys_that_do_not_sign(kind: str, says: str, green: Case, tmp_path: Path, capsys: Said) -> None:
    """One line, and nothing is written."""
    private, _ = keys(tmp_path, kind)
    assert says in refused(green.attest(private), capsys)
    assert not green.envelope.exists()
    assert not (green.reports / "attested-contract.md").exists()


def test_files_that_hold_no_key(green: Case, tmp_path: Path, capsys: Said) -> None:
    """Nothing, a folder, a text, the other half of the pair: each one line."""
    private, public = keys(tmp_path)
    text = tmp_path / "text.pem"
    text.write_text("-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n")
    for given, says in (
        (tmp_path / "none.pem", "No such file"),
        (tmp_path, "is a folder"),
        (text, "no private key"),
        (public, "is a public key"),
    ):
        assert says in refused(green.attest(given), capsys)
    assert main(green.attest(private)) == 0
    text.write_text("-----BEGIN PUBLIC KEY-----\nbm8=\n-----END PUBLIC KEY-----\n")
    for given, says in (
        (tmp_path / "none.pem", "No such file"),
        (tmp_path, "is a folder"),
        (text, "no public key"),
        (private, "is a private key"),
    ):
        assert says in refused(green.verify(given), capsys)


def test_a_report_that_contradicts_itself_is_not_signed(red: Case, tmp_path: Path, capsys: Said) -> None:
    """A red report edited to green, a ledger of another audit, no ledger, a damaged part: nothing is signed."""
    private, _ = keys(tmp_path)
    path, ledger = red.reports / "report.json", red.reports / "ledger.parquet"
    whole = path.read_text()

    def told(**changes: Any) -> str:
        rewrite(path, {**json.loads(whole), **changes})
        return refused(red.attest(private), capsys)

    assert "it says green" in told(verdict="green", exit_status=0, reasons=[])
    coverage = json.loads(whole)["coverage"]
    for row in coverage:
        row["counts"] = {"match": row["total"]}
    assert "its ledger says otherwise" in told(verdict="green", exit_status=0, reasons=[], coverage=coverage)
    assert "add up" in told(totals={"match": 1})
    assert "damaged" in told(sides={"source": {"location": "x"}, "target": {"location": "x"}})
    assert "has no verdict" in told(verdict="none")
    assert "no statement of an audit" in told(waivers_digest="x")
    (red.reports / "attested-contract.md").unlink()
    assert "another contract" in told(contract_digest="0" * 64)
    path.write_text(whole)
    rows = list(read_rows(ledger))
    with LedgerWriter(ledger) as writer:
        writer.extend(rows[1:])
    assert "is not the ledger of" in refused(red.attest(private), capsys)
    ledger.unlink()
    assert "ledger.parquet" in refused(red.attest(private), capsys)
    assert sorted(one.name for one in red.reports.iterdir()) == ["report.html", "report.json"]


def test_what_is_there_is_not_overwritten(green: Case, tmp_path: Path, capsys: Said) -> None:
    """Neither an envelope, nor a key, nor a file that has the contract's name."""
    private, public = keys(tmp_path)
    other = tmp_path / "mine"
    other.write_text("mine")
    assert "never overwritten" in refused(green.attest(private, "-o", str(other)), capsys)
    assert "never overwritten" in refused(green.attest(private, "--public-key", str(other)), capsys)
    assert other.read_text() == "mine"
    assert "cannot write" in refused(green.attest(private, "-o", str(tmp_path / "none" / "new.json")), capsys)
    assert not green.envelope.exists()
    assert main(green.attest(private, "--public-key", str(public))) == 0
    assert "never overwritten" in refused(green.attest(private), capsys)
    (green.reports / "attested-contract.md").write_text("mine")
    assert "never overwritten" in refused(green.attest(private, "-o", str(tmp_path / "new.json")), capsys)


def test_snapshots_that_are_not_of_the_report(green: Case, red: Case, tmp_path: Path, capsys: Said) -> None:
    """Another audit's snapshot is not attested; one that is gone is said; one that was not attested proves nothing."""
    private, public = keys(tmp_path)
    arguments = green.attest(private)
    arguments[-1] = str(red.folder / "target")
    assert "is not the snapshot of the report" in refused(arguments, capsys)
    assert "is no snapshot" in refused([*arguments[:-1], str(tmp_path)], capsys)
    report = green.reports / "report.json"
    content = json.loads(report.read_bytes())
    content["sides"]["source"]["snapshot_path"] = str(tmp_path / "gone")
    content["sides"]["target"]["snapshot_path"] = None
    rewrite(report, content)
    capsys.readouterr()
    assert main(arguments[:5]) == 0
    said = capsys.readouterr().out
    assert "the snapshot of the source is not at" in said
    assert "the snapshot of the target was not kept" in said
    assert "is about no snapshot of the source" in refused(green.verify(public), capsys)


def test_the_waivers_of_the_report_are_signed_too(green: Case, tmp_path: Path, capsys: Said) -> None:
    """Their digest stands in the report; the file is checked where it is given, and named where it is not."""
    private, public = keys(tmp_path)
    waivers = tmp_path / "waivers.toml"
    waivers.write_text("# none\n")
    assert main(green.attest(private)) == 0
    assert "is about no waivers" in refused(green.verify(public, "--waivers", str(waivers)), capsys)
    report = green.reports / "report.json"
    rewrite(report, {**json.loads(report.read_bytes()), "waivers_digest": sha256(waivers)})
    green.envelope.unlink()
    assert main(green.attest(private)) == 0
    capsys.readouterr()
    assert main(green.verify(public)) == 0
    assert "not checked: waivers (--waivers FILE)" in capsys.readouterr().out
    assert main(green.verify(public, "--waivers", str(waivers))) == 0
    waivers.write_text("# nine\n")
    assert "is not the file that was attested" in refused(green.verify(public, "--waivers", str(waivers)), capsys)


def test_an_attestation_goes_with_its_report(green: Case, tmp_path: Path) -> None:
    """When the next audit begins in the folder, all of it is moved aside, and is still valid there."""
    private, public = keys(tmp_path)
    assert main(green.attest(private)) == 0
    folder = ReportFolder(green.reports, unfinished("0", "2026-11-20T08:05:00Z"), str)
    assert folder.earlier is not None
    assert not green.envelope.exists()
    aside = green.reports / folder.earlier / "attestation.json"
    assert main(["verify", str(aside), "--key", str(public), *green.sides]) == 0


@pytest.mark.parametrize("module", ["securesystemslib", "cryptography"])
def test_without_the_extra_it_is_one_line(
    module: str, green: Case, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install is said, and nothing is written or believed."""
    private, public = keys(tmp_path)
    for name in [one for one in sys.modules if one.partition(".")[0] in ("securesystemslib", "cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    for arguments in (green.attest(private), green.verify(public), green.attest("awskms:alias/none")):
        assert 'run: pip install "mlflow-parity[sign]"' in refused(arguments, capsys)
    assert not green.envelope.exists()


def test_a_report_of_nothing_is_not_read(tmp_path: Path) -> None:
    """No report at all is one line."""
    with pytest.raises(UsageProblem, match="--report-dir"):
        read_audit(tmp_path / "report.json", "--report-dir")


def test_the_page_of_another_audit_is_not_signed(
    green: Case, red: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Said
) -> None:
    """People read the page: a green one beside a red report is refused, and so is one that was signed so."""
    private, public = keys(tmp_path)
    page = red.reports / "report.html"
    own, other = page.read_text(encoding="utf-8"), (green.reports / "report.html").read_text(encoding="utf-8")
    report = json.loads((red.reports / "report.json").read_bytes())
    for altered in (
        other,
        own.replace("<title>RED", "<title>GREEN"),
        own.replace(report["ledger_digest"], "0" * 64),
        own.replace(f"<dd>{report['created']}", "<dd>2020-01-01T00:00:00Z"),
        "",
    ):
        assert altered != own
        page.write_text(altered, encoding="utf-8")
        told = refused(red.attest(private), capsys)
        assert f"{page} is not the page of the report.json beside it" in told
        assert not red.envelope.exists()
    # signed by one who did not look
    page.write_text(other, encoding="utf-8")
    monkeypatch.setattr("mlflow_parity.signing.command.check_page", lambda path, *_: sha256(path))
    assert main(red.attest(private)) == 0
    assert "is not the page of the report.json beside it" in refused(red.verify(public), capsys)


def test_page_and_json_that_differ_in_anything_are_not_signed(green: Case, tmp_path: Path, capsys: Said) -> None:
    """People read the page: its figures, and what was audited, would be others than those that programs read."""
    private, public = keys(tmp_path)
    page, report = green.reports / "report.html", green.reports / "report.json"
    whole, told = page.read_text(encoding="utf-8"), report.read_text(encoding="utf-8")
    content = json.loads(told)
    figure = f"{content['verified']} of {content['objects']}"
    assert figure in whole
    assert whole.count(sha256(report)) == 1
    without = re.sub("<dt>SHA-256 of report.json</dt><dd>[0-9a-f]+</dd>", "", whole)
    bare = json.dumps({name: value for name, value in content.items() if name != "page_digest"})
    for html, text, altered in (
        (whole.replace(figure, "999 of 999"), told, "report.html"),
        (whole, json.dumps({**content, "scope": {**content["scope"], "partial": True}}), "report.json"),
        (whole, bare, "report.json"),
        (without, told, "report.json"),
    ):
        assert (html, text) != (whole, told)
        page.write_text(html, encoding="utf-8")
        report.write_text(text, encoding="utf-8")
        said = refused(green.attest(private), capsys)
        assert f"is not the page of the report.json beside it: {altered} was altered after both were written" in said
        assert not green.envelope.exists()
    # as they were written before either held the other's digest
    page.write_text(without, encoding="utf-8")
    report.write_text(bare, encoding="utf-8")
    assert main(green.attest(private)) == 0
    assert main(green.verify(public)) == 0
