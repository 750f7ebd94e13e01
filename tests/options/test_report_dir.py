"""No report of an earlier run stands in ``--parity-report-dir`` as if it were that of a run that came to no verdict."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.audits import PYTEST, AuditRun, audit
from support.migrations import migrate_py
from support.proxy import Fault, proxying
from support.report_samples import cell, report
from support.seed import Seeder

from mlflow_parity.cli import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.migrating.repair.audit_findings import read_damage
from mlflow_parity.reporting.json_report import schema
from mlflow_parity.reporting.page.html_report import render as render_html
from mlflow_parity.reporting.report import CoverageRow, Report, unfinished
from mlflow_parity.reporting.write import FILES, ReportFolder
from mlflow_parity.standin.servers import Server, clean_environment, free_port

NOTHING = unfinished("0", "2026-11-26T10:00:00Z")


@pytest.fixture(scope="module")
def first(servers: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """A green audit, whose reports the tests lay into folders of their own."""
    done = audit(tmp_path_factory.mktemp("first"), servers[0].uri, servers[1].uri)
    assert done.status == 0, done.output
    return done


@pytest.fixture
def folder(first: AuditRun, tmp_path: Path) -> Path:
    """A working folder with the green report of the earlier audit in its ``reports``."""
    shutil.copytree(first.reports, tmp_path / "reports")
    return tmp_path


def _content(folder: Path) -> Any:
    content = json.loads((folder / "reports" / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(content)
    return content


def _without_verdict(folder: Path, first: AuditRun, *says: str) -> None:
    """Assert that no verdict stands there, why, and that the earlier report is whole in the folder that is named."""
    content, reports = _content(folder), folder / "reports"
    assert content["verdict"] == "none"
    [reason] = content["reasons"]
    assert reason.startswith("no verdict: ")
    for words in says:
        assert words in reason
    page = (reports / "report.html").read_text(encoding="utf-8")
    assert "<h1>No verdict</h1>" in page
    assert "GREEN" not in page
    assert "Sign" not in page
    assert not (reports / "ledger.parquet").exists()
    earlier = reports / content["earlier"]
    assert earlier.name.startswith("earlier-20")
    for name in FILES:
        assert (earlier / name).read_bytes() == (first.reports / name).read_bytes()
    left = {path.name for path in reports.iterdir()}
    assert left == {"report.json", "report.html", earlier.name}


@pytest.mark.long
def test_whatever_ends_a_run_before_its_verdict(
    servers: tuple[Server, Server], first: AuditRun, tmp_path: Path
) -> None:
    """Unreachable, no match, nothing selected, a test that cannot be collected, bad options: no verdict, and why."""
    source, target = servers[0].uri, servers[1].uri
    broken = tmp_path / "test_broken.py"
    broken.write_text("import nothing_that_is_there\n")
    ends: dict[str, tuple[tuple[str, ...], int, str]] = {
        "unreachable": (("--target-uri", f"http://127.0.0.1:{free_port()}"), 4, "127.0.0.1"),
        "no match": (("--parity-experiments", "nope*"), 4, "no experiment of the source matches 'nope*'"),
        "nothing selected": (("-k", "nosuchcheck"), 5, "no check was selected"),
        "nothing selected by two": (("-k", "nosuchcheck", "-n", "2"), 5, "no check was selected"),
        "collection": ((str(broken),), 2, "interrupted"),
        "options": (("--parity-workers", "many"), 4, "--parity-workers: 'many' is not a whole number"),
    }
    for name, (arguments, code, says) in ends.items():
        folder = tmp_path / name
        shutil.copytree(first.reports, folder / "reports")
        done = audit(folder, source, target, *arguments)
        assert done.status == code, done.output
        _without_verdict(folder, first, says)
        assert _content(folder)["exit_status"] == code
        if code != 4:
            assert done.output.rstrip().splitlines()[-1].startswith("mlflow-parity: no verdict: ")
    # what the folder holds now is no result to be kept; the pointer to the last one stays
    again = audit(folder, source, f"http://127.0.0.1:{free_port()}")
    assert again.status == 4
    _without_verdict(folder, first)


@pytest.mark.long
def test_what_pytest_itself_refuses(servers: tuple[Server, Server], first: AuditRun, folder: Path) -> None:
    """An option that pytest does not know, a broken ``conftest.py``: both end before it asks us; no verdict."""
    unknown = audit(folder, servers[0].uri, servers[1].uri, "--no-such-option")
    assert unknown.status == 4, unknown.output
    _without_verdict(folder, first, "did not finish")
    shutil.rmtree(folder / "reports")
    shutil.copytree(first.reports, folder / "reports")
    (folder / "conftest.py").write_text("import nothing_that_is_there\n")
    broken = audit(folder, servers[0].uri, servers[1].uri, "-n", "2")
    assert broken.status == 4, broken.output
    _without_verdict(folder, first, "did not finish")


@contextmanager
def _reading(servers: tuple[Server, Server], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An audit in a process of its own that is held up while it reads."""
    with proxying(servers[1].uri) as proxy:
        # the list that is asked for when everything else was: until then all is as it always is
        proxy.faults.append(Fault("/runs/search", lambda *_: time.sleep(60), times=10_000))
        command = [sys.executable, *PYTEST, "--source-uri", servers[0].uri, "--target-uri", proxy.uri]
        with subprocess.Popen(
            command, cwd=folder, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                limit = time.monotonic() + 120
                while not any("/runs/search" in seen.path for seen in proxy.seen) and time.monotonic() < limit:
                    assert process.poll() is None
                    time.sleep(0.05)
                yield process
            finally:
                process.kill()
                proxy.faults.clear()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_a_run_that_is_killed(servers: tuple[Server, Server], first: AuditRun, folder: Path, sent: int) -> None:
    """Ctrl-C, SIGTERM and kill -9 while it reads: the earlier report was gone before, and stays so."""
    with _reading(servers, folder) as process:
        _without_verdict(folder, first, "did not finish")
        process.send_signal(sent)
        if sent != signal.SIGKILL:
            # they wait for the request that is under way
            time.sleep(1)
            process.kill()
        process.wait()
    _without_verdict(folder, first)


def test_looking_moves_nothing(servers: tuple[Server, Server], first: AuditRun, folder: Path) -> None:
    """``--collect-only`` and ``--fixtures`` are no runs: the report stays where it is."""
    before = {path: path.read_bytes() for path in (folder / "reports").iterdir()}
    for arguments in (("--collect-only", "-q"), ("--fixtures",)):
        assert audit(folder, servers[0].uri, servers[1].uri, *arguments).status == 0
        assert {path: path.read_bytes() for path in (folder / "reports").iterdir()} == before


def test_a_run_that_ends(servers: tuple[Server, Server], first: AuditRun, folder: Path) -> None:
    """With workers too: its own report, with its ledger's digest, beside the earlier one; an evil name stays text."""
    done = audit(folder, servers[0].uri, servers[1].uri, "-k", "params", "-n", "2")
    assert done.status == 0, done.output
    content = _content(folder)
    ledger = (done.reports / "ledger.parquet").read_bytes()
    assert (content["verdict"], content["ledger_digest"]) == ("green", hashlib.sha256(ledger).hexdigest())
    assert (done.reports / content["earlier"] / "report.json").read_bytes() == (
        first.reports / "report.json"
    ).read_bytes()
    assert f"the report of an earlier run is in {done.reports / content['earlier']}" in done.output
    assert len(list(done.reports.iterdir())) == 4


@pytest.mark.long
def test_the_report_that_is_rechecked_may_stand_there(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """``--parity-recheck reports/report.json``: it is moved aside, and is what is rechecked, by workers too."""
    seed = Seeder(servers[1].uri)
    experiment = seed.experiment("one too many")
    try:
        red = audit(tmp_path, servers[0].uri, servers[1].uri, "-k", "experiment_arrived")
        assert red.status == 1, red.output
        for number in range(2):
            more = ("--parity-recheck", "reports/report.json", *["-n", "2"][: 2 * number])
            again = audit(tmp_path, servers[0].uri, servers[1].uri, *more)
            assert again.status == 1, again.output
            assert again.report["not_green"] == red.report["not_green"]
            earlier = f"reports/{again.report['earlier']}/report.json"
            assert str(tmp_path / earlier) in again.report["command"]
            assert (tmp_path / earlier).exists()
    finally:
        seed.delete_experiment(experiment)


def _limited(room: int) -> Callable[[], None]:
    """Give a process no more room for a file than that, as a disk that is full has."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


@pytest.mark.long
def test_a_full_disk(servers: tuple[Server, Server], first: AuditRun, folder: Path) -> None:
    """No room for the report: the verdict is printed all the same, is not green, and nothing of the report is left."""
    waiver = (
        '[[waiver]]\nobject = ["churn model", "run", "{}"]\nfacet = "artifacts"\nreason = "{}"\nowner = "ana"\n'
        "expires = 2999-01-01\n"
    )
    # not looked at, so the audit is green; but they make the report larger than anything that is written before it
    (folder / "waivers.toml").write_text("".join(waiver.format(number, "long " * 100) for number in range(200)))
    uris = ("--source-uri", servers[0].uri, "--target-uri", servers[1].uri)
    done = subprocess.run(
        [sys.executable, *PYTEST, *uris, "-k", "params", "--parity-waivers", "waivers.toml"],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=_limited(60_000),
    )
    output = done.stdout + done.stderr
    assert done.returncode == 4, output
    assert "parity: RED (partial) · compared " in output
    assert "  - no report could be written: no space left on the disk" in output
    assert "  - everything that was compared is green" in output
    assert "report: none was written" in output
    assert "sign" not in output
    assert "Traceback" not in output
    _without_verdict(folder, first, "did not finish")


def test_a_disk_that_is_full_from_the_first(folder: Path, first: AuditRun) -> None:
    """Not even the report without a verdict fits: the earlier one is gone from there, and what is wrong is known."""
    code = (
        "from mlflow_parity.core.redaction import Redactor\n"
        "from mlflow_parity.reporting.write import ReportFolder\n"
        "from mlflow_parity.reporting.report import unfinished\n"
        "made = ReportFolder('reports', unfinished('0', ''), Redactor()); print(made.earlier); print(made.problem)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, preexec_fn=_limited(64)
    )
    assert done.returncode == 0, done.stderr
    earlier, problem = done.stdout.splitlines()
    assert problem.startswith("no space left on the disk")
    assert {path.name for path in (folder / "reports").iterdir()} == {earlier}
    assert {path.name for path in (folder / "reports" / earlier).iterdir()} == set(FILES)


def _made(**changes: Any) -> Report:
    coverage = (CoverageRow("churn", "run params", cell(match=1)),)
    return report(**{"verdict": "green", "reasons": (), "coverage": coverage, "findings": (), **changes})


def test_one_folder_after_another(tmp_path: Path) -> None:
    """Each result is kept under the time at which it was written, what was none is not; foreign files are moved too."""
    place, ledger = tmp_path / "reports", tmp_path / "ledger"
    ledger.write_bytes(b"rows")
    for number in range(3):
        folder = ReportFolder(place, NOTHING, Redactor())
        ReportFolder(place, NOTHING, Redactor()).ends("nothing", 5)
        folder = ReportFolder(place, NOTHING, Redactor())
        written = folder.finish(_made(tool_version=str(number)), ledger)
        assert set(written) == set(FILES)
        for path in written.values():
            os.utime(path, (1_790_000_000, 1_790_000_000))
    kept = sorted(path.name for path in place.iterdir() if path.is_dir())
    assert kept == ["earlier-2026-09-21T14-13-20Z", "earlier-2026-09-21T14-13-20Z-2"]
    versions = [json.loads((place / name / "report.json").read_text())["tool_version"] for name in kept]
    assert versions == ["0", "1"]
    (place / "report.json").write_text("somebody's own")
    (place / "ledger.parquet").unlink()
    folder = ReportFolder(place, NOTHING, Redactor())
    assert (place / str(folder.earlier) / "report.json").read_text() == "somebody's own"


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    """The report of the one that another began beside does not stand where the other's is awaited."""
    ledger = tmp_path / "ledger"
    ledger.write_bytes(b"rows")
    one, other = (ReportFolder(tmp_path / "reports", NOTHING, Redactor()) for _ in range(2))
    one.ends("too late to say so")
    written = one.finish(_made(), ledger)
    assert written["report.json"].parent.parent == tmp_path / "reports"
    assert json.loads((tmp_path / "reports" / "report.json").read_text())["reasons"] == ["no verdict: did not finish"]
    assert other.finish(_made(), ledger)["report.json"] == tmp_path / "reports" / "report.json"


def test_a_report_without_a_verdict_claims_nothing() -> None:
    """It cannot hold a figure, and its page has neither one nor a place to sign."""
    with pytest.raises(ValueError, match="no verdict although"):
        report(verdict="none")
    with pytest.raises(ValueError, match="no verdict although"):
        unfinished("", "").__class__(**{**_fields(unfinished("", "")), "ledger_digest": "1"})
    page = render_html(unfinished("0", "", command=("pytest", "<b>")))
    assert "<b>&lt;" not in page
    assert "&lt;b&gt;" in page
    assert "%" not in page


def _fields(made: Report) -> dict[str, Any]:
    return {name: getattr(made, name) for name in made.__dataclass_fields__}


def test_evidence_without_a_verdict_or_with_anothers_ledger_is_refused(
    servers: tuple[Server, Server], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``waive``, ``repair`` and ``--parity-recheck`` take neither; the message says what is wrong and what to give."""
    target = parse_location(servers[1].uri, option="--target-uri")
    path = folder / "reports" / "report.json"
    recheck = ("--parity-recheck", str(path), "--parity-report-dir", str(folder / "again"))

    def refused(says: str) -> None:
        assert main(["waive", "--from", str(path), "-o", str(folder / "waivers.toml")]) == 4
        assert says in capsys.readouterr().err
        with pytest.raises(UsageProblem) as caught:
            read_damage(path, target)
        assert says in str(caught.value)
        done = audit(folder, servers[0].uri, servers[1].uri, *recheck)
        assert done.status == 4
        assert says in done.output

    (folder / "reports" / "ledger.parquet").write_bytes(b"another")
    refused("is not the ledger of")
    earlier = ReportFolder(folder / "reports", NOTHING, Redactor()).earlier
    refused(f"or give the report before it: {folder / 'reports' / str(earlier) / 'report.json'}")


@pytest.mark.long
@pytest.mark.parametrize("step", ["run", "verify"])
def test_a_migration_that_dies_before_its_audit(folder: Path, first: AuditRun, step: str) -> None:
    """``migrate.py``, too: from its first moment on, whatever stops it, no earlier audit passes for its own."""
    ends = ("--source-uri", f"http://127.0.0.1:{free_port()}", "--target-uri", f"http://127.0.0.1:{free_port()}")
    done = migrate_py(folder, step, *ends, "--work-dir", "work", "--report-dir", "reports")
    assert done.status != 0, done.output
    assert "Traceback" not in done.output
    _without_verdict(folder, first)
