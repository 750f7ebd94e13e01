"""How an audit ends: exit status and last words, whatever is in its way; a traceback never."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support import warm
from support.audits import AuditRun, audit
from support.proxy import Exchange, Fault, Proxy, proxying, status
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.standin.servers import Server, clean_environment, free_port

APP = "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL"
RUN_CHECKS = {"test_runs_arrived_once", "test_params", "test_metric_histories", "test_artifacts"}


@contextmanager
def refusing(server: Server, path: str, code: int = 403) -> Iterator[Proxy]:
    """A proxy in front of a server that refuses every request to ``path``."""
    with proxying(server.uri) as proxy:
        body = b'{"error_code": "PERMISSION_DENIED", "message": "not for you"}'
        proxy.faults.append(Fault(path, status(code, body=body), times=10_000))
        yield proxy


def refused(done: AuditRun, *says: str) -> None:
    """Assert exit status 4, one line with all of ``says``, nothing tested, no report, no traceback."""
    assert done.status == 4, done.output
    errors = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 1, done.output
    for words in says:
        assert words in errors[0], errors[0]
    assert "Traceback" not in done.output
    assert " passed" not in done.output
    assert done.report["verdict"] == "none"


def unverified(done: AuditRun, checks: set[str], *says: str) -> None:
    """Assert exit status 1, with ``checks`` as errors, nothing failed, and every red object unverified."""
    assert done.status == 1, done.output
    assert {row.state.value for row in done.red_rows()} == {"unverified"}
    assert done.failed() == checks, done.output
    assert [line for line in done.output.splitlines() if line.startswith("FAILED ")] == []
    assert done.report["verdict"] == "red"
    assert {finding["state"] for finding in done.report["findings"]} == {"unverified"}
    assert any("not verified (" in reason or "could not be read" in reason for reason in done.report["reasons"])
    assert "Traceback" not in done.output
    for words in says:
        assert any(words in str(finding) for finding in done.report["findings"]), done.report["findings"]


def test_green_is_0_and_a_difference_is_1(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The two verdicts, in exit status, report and last lines alike."""
    source, target = servers
    green = audit(tmp_path / "green", source.uri, target.uri)
    assert (green.status, green.report["verdict"], green.report["exit_status"]) == (0, "green", 0), green.output
    assert "parity: GREEN" in green.output
    seed = Seeder(source.uri)
    [found] = seed.call("POST", "experiments/search", {"max_results": 9, "filter": "name = 'churn model'"})[
        "experiments"
    ]
    seed.set_experiment_tag(found["experiment_id"], "later", "1")
    red = audit(tmp_path / "red", source.uri, target.uri)
    body = {"experiment_id": found["experiment_id"], "key": "later"}
    seed.call("POST", "experiments/delete-experiment-tag", body)
    assert (red.status, red.report["verdict"], red.report["exit_status"]) == (1, "red", 1), red.output
    assert red.findings() == {("tags", "later", "missing", "churn model")}
    assert "parity: RED" in red.output
    for done in (green, red):
        assert "Traceback" not in done.output


def test_without_pytest_s_terminal(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """``-p no:terminal``: nothing is shown, and the verdict is the same; an estimate is printed all the same."""
    command = ["-m", "pytest", "-p", "no:cacheprovider", "-p", "no:terminal", "-k", "params"]
    command += ["--source-uri", servers[0].uri, "--target-uri", servers[1].uri]
    runs = []
    for more in ((), ("--parity-estimate",)):
        done = warm.run([*command, *more], kind="audit", cwd=tmp_path, env=clean_environment())
        runs.append(AuditRun(done.returncode, done.stdout + done.stderr, tmp_path / "reports"))
    shown, estimate = runs
    assert shown.status == 0, shown.output
    assert shown.report["verdict"] == "green"
    assert "Traceback" not in shown.output
    assert estimate.status == 5, estimate.output
    assert "mlflow-parity: " in estimate.output


def test_a_file_that_the_store_lists_but_does_not_give(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Listed, but refused by each way to read it: unverified, an error of the artifacts' check alone."""
    source, target = servers
    with refusing(target, "/deep/er/values.bin") as proxy, refusing(target, "/get-artifact") as other:
        proxy.faults += other.faults
        done = audit(tmp_path, source.uri, proxy.uri)
    unverified(done, {"test_artifacts"}, "values.bin")
    assert [(row.name, row.facet) for row in done.red_rows()] == [("sweep-0", "artifacts")]


@pytest.mark.long
def test_a_file_that_goes_between_list_and_read(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Deleted under the audit's hands: red for that one file, whatever else is said of it."""
    source, target = servers
    [file] = Path(target.artifacts_root).glob("*/*/artifacts/plots/deep/er/values.bin")
    kept = file.read_bytes()

    def deleting(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        file.unlink(missing_ok=True)
        exchange.answer(404, [], b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone"}')

    with proxying(target.uri) as proxy:
        proxy.faults.append(Fault("/deep/er/values.bin", deleting))
        done = audit(tmp_path, source.uri, proxy.uri, "-k", "artifacts")
    file.write_bytes(kept)
    assert done.status == 1, done.output
    assert {(finding["name"], finding["facet"], finding["key"]) for finding in done.report["findings"]} == {
        ("sweep-0", "artifacts", "plots/deep/er/values.bin")
    }
    assert "Traceback" not in done.output


def test_a_store_that_cannot_be_reached(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Artifacts of one run in a store that neither server nor audit can read: unverified, with the reason."""
    source, target = servers
    with closing(sqlite3.connect(target.database_path, timeout=30, isolation_level=None)) as database:
        found = database.execute("SELECT run_uuid, artifact_uri FROM runs WHERE name = 'sweep-1'")
        [(run, uri)] = found.fetchall()
        change = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?"
        database.execute(change, ("hdfs://nowhere.invalid/here", run))
        done = audit(tmp_path, source.uri, target.uri, "-k", "artifacts and not artifact_uri")
        database.execute(change, (uri, run))
    unverified(done, {"test_artifacts"}, "artifacts could not be listed")
    assert [(row.name, row.facet) for row in done.red_rows()] == [("sweep-1", "artifacts")]


@pytest.mark.long
def test_a_folder_that_the_server_cannot_open(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The target's store fails inside the server: red for that run, and it is said what was not found or read."""
    source, target = servers
    [folder] = Path(target.artifacts_root).glob("*/*/artifacts/plots/deep")
    aside = folder.parents[3] / "aside"
    folder.rename(aside)
    folder.symlink_to("deep")  # a loop: nobody can open it, not even an administrator
    try:
        done = audit(tmp_path, source.uri, target.uri, "-k", "artifacts")
    finally:
        folder.unlink()
        aside.rename(folder)
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    assert {(row.name, row.facet) for row in done.red_rows()} == {("sweep-0", "artifacts")}


def test_metric_histories_that_are_refused(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Both history endpoints refused by something on the way: metrics unverified, all else judged and green."""
    source, target = servers
    with refusing(source, "/metrics/get-history") as proxy:
        done = audit(tmp_path, proxy.uri, target.uri)
    unverified(done, {"test_metric_histories"}, "status 403 not for you")
    assert {row.facet for row in done.red_rows()} == {"metrics"}
    assert "repeat the audit" in done.output


def test_runs_that_are_refused(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """No list of runs: every check of runs is an error, the experiments' own checks still pass."""
    source, target = servers
    with refusing(target, "/runs/search") as proxy:
        done = audit(tmp_path, source.uri, proxy.uri)
    assert done.failed() >= RUN_CHECKS
    unverified(done, done.failed(), "status 403 not for you")
    assert "test_experiment_arrived" not in done.failed()


@pytest.mark.long
def test_an_empty_source(fresh_server: FreshServer, tmp_path: Path, servers: tuple[Server, Server]) -> None:
    """Nothing to lose proves nothing: without runs, and without anything but a deleted run."""
    empty = fresh_server()
    refused(
        audit(tmp_path / "a", empty.uri, servers[1].uri),
        "no run, trace, model or other object in scope",
        "empty source",
    )
    seed = Seeder(empty.uri)
    seed.delete_run(seed.run(seed.experiment("trash only"), "gone"))
    refused(audit(tmp_path / "b", empty.uri, servers[1].uri), "no run, trace, model or other object in scope")


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_that_is_not_there(servers: tuple[Server, Server], tmp_path: Path, side: str) -> None:
    """Unreachable: one line with its address, soon."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    uris = {"source": servers[0].uri, "target": servers[1].uri, side: nowhere}
    refused(audit(tmp_path, uris["source"], uris["target"]), nowhere)


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("{source}", "arn:aws:sagemaker:eu-central-1:1234:mlflow-app/app-X", "--target-arn"),
        ("{source}", "arn:aws:s3:::bucket", "--target-arn"),
        (APP.replace("mlflow-app", "pipeline"), "{target}", "--source-arn"),
        ("{source}", "{source}", "same location"),
        ("{source}", "{source}/", "same location"),
        ("{source}", "/no/such/snapshot", "--target-uri"),
        ("ftp://host/x", "{target}", "--source-uri"),
    ],
)
def test_locations_that_cannot_be(
    servers: tuple[Server, Server], tmp_path: Path, source: str, target: str, says: str
) -> None:
    """A malformed ARN, a server compared with itself, a folder that is not there: one line each."""
    place = {"source": servers[0].uri, "target": servers[1].uri}
    refused(audit(tmp_path, source.format(**place), target.format(**place)), says)


@pytest.mark.parametrize("side", ["source", "target"])
def test_one_side_only(servers: tuple[Server, Server], tmp_path: Path, side: str) -> None:
    """Half a question is refused, and the missing option named."""
    given = {"source": "", "target": "", side: servers[0].uri}
    other = "target" if side == "source" else "source"
    done = audit(tmp_path, given["source"], given["target"])
    refused(done, f"--{other}-uri")


@pytest.mark.long(but=("workers0",))
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_nothing_collected(servers: tuple[Server, Server], tmp_path: Path, workers: tuple[str, ...]) -> None:
    """An expression that selects nothing: exit status 5, nothing read, and no report that says green."""
    with proxying(servers[0].uri) as source:
        done = audit(tmp_path, source.uri, servers[1].uri, "-k", "nonsense", *workers)
        assert not any("runs/search" in path for path in source.paths())
    assert done.status == 5, done.output
    assert "no verdict: no check was selected" in done.output
    assert "GREEN" not in done.output
    assert done.report["verdict"] == "none"
    assert "Traceback" not in done.output


@pytest.mark.long(but=("workers0",))
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_nothing_to_compare(servers: tuple[Server, Server], tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Checks of a kind of which neither side has any prove nothing: no verdict, exit status 5, and why."""
    done = audit(tmp_path, servers[0].uri, servers[1].uri, "-k", "test_scorers", *workers)
    assert done.status == 5, done.output
    assert "no verdict: nothing was compared; on neither side: scorers; select more" in done.output
    assert "GREEN" not in done.output
    assert done.report["verdict"] == "none"


def test_tests_that_are_not_ours(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Somebody's own test passes, but no check ran: that is no verdict and not 0."""
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = audit(tmp_path, servers[0].uri, servers[1].uri, "test_own.py")
    assert done.status == 5, done.output
    assert "no verdict: no check was selected" in done.output
    assert "GREEN" not in done.output


def test_a_server_that_is_no_mlflow(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """A web page with status 200 for every address is not an empty server."""
    with proxying(servers[1].uri) as target:
        page = b"<!doctype html><title>Welcome</title>"
        target.faults.append(Fault("", status(200, {"Content-Type": "text/html"}, page), times=10_000))
        refused(audit(tmp_path, servers[0].uri, target.uri), target.uri)
