"""``--parity-estimate``: reads lists and a few probes, compares and writes nothing, and never ends as a pass."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.audits import PYTEST, AuditRun, audit
from support.proxy import Fault, proxying, status
from support.seed import EPOCH, Seeder
from support.servers import FreshServer, copy_database
from support.terminal import pieces

from mlflow_parity.audit.staged.estimating import foreseeable
from mlflow_parity.cli import main
from mlflow_parity.options import resolve
from mlflow_parity.snapshot.store import MANIFEST
from mlflow_parity.standin.servers import Server, clean_environment

SAME = ("--parity-profile", "same-store", "--parity-two-servers")
RUNS, STEPS = 60, 300
#: What reads the contents of files and spans, or run by run.
_CONTENT = re.compile(r"get-artifact|mlflow-artifacts/artifacts/.|batchGet|get-trace-artifact|traces/get|runs/get")
_SIDE = re.compile(r"^mlflow-parity: (source|target): about ([\d.]+k?) requests, (.+?), (.+?); it has (.+)$", re.M)


@pytest.fixture(scope="module")
def pair(module_server: FreshServer) -> tuple[Server, Server]:
    """A store and its copy."""
    source, target = module_server(), module_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("curves")
    for number in range(RUNS):
        run = seed.run(experiment, f"run {number}", start=EPOCH + number)
        seed.log(run, metrics=[("loss", float(step), EPOCH + step, step) for step in range(STEPS)])
        seed.artifact(run, "a/b.bin", b"12345")
        seed.end(run)
    copy_database(source.database_path, target.database_path)
    return source, target


def estimated(done: AuditRun) -> dict[str, tuple[str, str]]:
    """Assert that this was an estimate and no audit; return requests and contents by side."""
    assert done.status == 5, done.output
    assert "no verdict: this was an estimate (--parity-estimate): nothing was compared" in done.output
    assert "GREEN" not in done.output
    assert " passed" not in done.output
    assert "Traceback" not in done.output
    assert not done.reports.exists()
    return {found[1]: (found[2], found[5]) for found in _SIDE.finditer(done.output)}


@pytest.mark.long
def test_it_reads_lists_and_probes_alone(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """No byte of a file, few histories, far fewer requests than the audit; counts and requests are near the truth."""
    source, target = pair
    with proxying(source.uri) as ours, proxying(target.uri) as theirs:
        done = audit(tmp_path, ours.uri, theirs.uri, *SAME, "--parity-estimate")
        probes = [*ours.seen], [*theirs.seen]
        sides = estimated(done)
        for seen in probes:
            # whether it has that endpoint at all is asked for a file that is not there
            assert [one.path for one in seen if _CONTENT.search(one.path)] in ([], ["/get-artifact"])
            assert not [one for one in seen if one.method != "GET" and not one.path.endswith("/search")]
            assert sum("get-history" in one.path for one in seen) <= 3
            assert len(seen) < 180
        assert list(tmp_path.iterdir()) == []
        for proxy in (ours, theirs):
            proxy.seen.clear()
        whole = audit(tmp_path / "whole", ours.uri, theirs.uri, *SAME)
        assert whole.status == 1, whole.output  # the copy has no files
        for name, proxy in (("source", ours), ("target", theirs)):
            requests, held = sides[name]
            assert f"{RUNS} runs" in held
            assert f"{RUNS * STEPS / 1000:.1f}k points" in held
            assert 0.5 < float(requests) / len(proxy.seen) < 2.0, (requests, len(proxy.seen))
        assert f"{RUNS} files" in sides["source"][1]
    assert re.search(r"^mlflow-parity: time: about \d+ s, reading and comparing: an estimate", done.output, re.M)
    assert "not in the estimate: what is read again because it differs" in done.output


def test_an_earlier_report_stays_where_it_is(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """An estimate takes no report's place, green or red, also when it is asked for by a variable."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "-k", "test_params")
    before = {path: path.read_bytes() for path in done.reports.iterdir()}
    assert json.loads(before[done.reports / "report.json"])["verdict"] == "green"
    again = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, env={"MLFLOW_PARITY_ESTIMATE": "true"})
    assert again.status == 5, again.output
    assert {path: path.read_bytes() for path in done.reports.iterdir()} == before


def test_only_what_is_selected_is_estimated(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Checks of params need no histories and no files; where nothing is selected nothing is estimated."""
    sides = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "--parity-estimate", "-k", "test_params")
    assert "points" not in estimated(sides)["source"][1]
    assert "metric histories" not in sides.output
    nothing = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "--parity-estimate", "-k", "no_such_check")
    assert nothing.status == 5, nothing.output
    assert "it has" not in nothing.output


def test_a_snapshot_takes_no_request(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Nothing of it is read from a server, and it is said."""
    assert main(["snapshot", "--source-uri", pair[0].uri, "--to", str(tmp_path / "kept")]) == 0
    done = audit(tmp_path / "audit", str(tmp_path / "kept" / "source"), pair[1].uri, *SAME, "--parity-estimate")
    sides = estimated(done)
    assert list(sides) == ["target"]
    assert "mlflow-parity: source: a snapshot, no requests" in done.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--parity-subset", "1/2"), "--parity-estimate and --parity-subset exclude each other"),
        (("--parity-stop-after", "1"), "--parity-estimate and --parity-stop-after exclude each other"),
        (("--parity-self-test",), "--parity-estimate and --parity-self-test exclude each other"),
        (("-n", "2"), "--parity-estimate runs no check, so there is nothing for workers: leave out -n"),
    ],
)
def test_what_it_does_not_go_with(
    pair: tuple[Server, Server], tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """One line and exit status 4."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, "--parity-estimate", *options)
    assert done.status == 4, done.output
    assert next(line for line in done.output.splitlines() if line.startswith("ERROR: ")).startswith(f"ERROR: {says}")
    assert "Traceback" not in done.output


def test_a_value_that_is_none_and_a_server_that_fails(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """One line each, and no estimate; what could not be probed is named."""
    done = audit(tmp_path, pair[0].uri, pair[1].uri, *SAME, env={"MLFLOW_PARITY_ESTIMATE": "perhaps"})
    assert done.status == 4, done.output
    assert "--parity-estimate: 'perhaps' is neither true nor false" in done.output

    wrong = status(200, body=b'{"runs": {"no": "list"}, "next_page_token": 3}')
    with proxying(pair[0].uri) as ours:
        # the first are those that tell whether both are one server
        ours.faults.append(Fault("/runs/search", wrong, times=10_000, after=1))
        done = audit(tmp_path, ours.uri, pair[1].uri, *SAME, "--parity-estimate")
    assert done.status == 4, done.output
    assert len([line for line in done.output.splitlines() if line.startswith("ERROR: ")]) == 1
    assert "Traceback" not in done.output


def on_a_terminal(folder: Path, source: str, target: str) -> tuple[int, str]:
    """Run an audit on a terminal; return its exit status and what it wrote there."""
    folder.mkdir()
    controller, terminal = pty.openpty()
    command = [sys.executable, *PYTEST, "--source-uri", source, "--target-uri", target, *SAME]
    environment = {**clean_environment(), "COLUMNS": "200", "TERM": "dumb"}
    text = b""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ) as run:
        os.close(terminal)
        for piece in pieces(controller, 120):
            text += piece
        status = run.wait(60)
    os.close(controller)
    return status, text.decode()


@pytest.mark.long
def test_who_looks_at_it_pays_for_the_time_left(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Lists are probed where there is a terminal alone; that they cannot be changes nothing of the audit."""
    with proxying(pair[0].uri) as ours:
        whole = audit(tmp_path / "whole", ours.uri, pair[1].uri, *SAME)
        asked = ours.paths().count("/api/2.0/mlflow/runs/search")
        ours.heal()
        ended, text = on_a_terminal(tmp_path / "terminal", ours.uri, pair[1].uri)
        assert ended == whole.status == 1
        assert ours.paths().count("/api/2.0/mlflow/runs/search") > asked + 10
        assert "Traceback" not in text
        ours.heal()
        # the first are those that tell whether both are one server, then comes the probe's
        ours.faults.append(Fault("/runs/search", status(200, body=b'{"runs": 1}'), times=1, after=1))
        ended, text = on_a_terminal(tmp_path / "spoilt", ours.uri, pair[1].uri)
        assert ended == whole.status
        assert sum(ours.spoilt.values()) == 1
        assert ours.paths().count("/api/2.0/mlflow/runs/search") < asked + 10
    reports = [folder / "reports" / "report.json" for folder in (tmp_path / "terminal", tmp_path / "spoilt")]
    for report in [json.loads(path.read_text()) for path in reports]:
        assert report["verdict"] == whole.report["verdict"]
        assert report["coverage"] == whole.report["coverage"]
        assert len(report["findings"]) == len(whole.report["findings"])


@pytest.mark.parametrize(
    "values",
    [{"subset": "1/2"}, {"stop-after": "3"}, {"load-models": "true"}, {"usable": "true"}],
    ids=["a part", "may stop", "loads models", "asks as people do"],
)
def test_no_time_left_where_no_list_tells_it(values: dict[str, str]) -> None:
    """Better no number than a wrong one."""
    base = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}
    assert foreseeable(resolve(base), ("source", "target"))
    assert not foreseeable(resolve(base), ())
    assert not foreseeable(resolve({**base, **values}), ("source", "target"))


def test_no_time_left_where_an_interrupted_audit_is_taken_up(tmp_path: Path) -> None:
    """What it left was not read now, and would be taken for work to come."""
    base = {"source-uri": "http://a", "target-uri": "http://b", "workers": "8", "max-findings": "20", "report-dir": "r"}
    settings = resolve({**base, "snapshot-dir": str(tmp_path)})
    assert foreseeable(settings, ("source", "target"))
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / MANIFEST).write_text("{}")
    assert not foreseeable(settings, ("source", "target"))
    assert foreseeable(settings, ("source",))
