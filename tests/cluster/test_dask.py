"""An audit by the workers of a Dask cluster: the same ledger as by one process, or no verdict."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from support import warm
from support.audits import PYTEST, AuditRun, audit
from support.certificates import certificate
from support.dask_processes import DaskProcesses
from support.forwarder import Forwarder
from support.namespaces import guest_address, namespace, own_address
from support.proxy import Exchange, Fault, Proxy, meanwhile, proxying
from support.seed import EPOCH, Seeder

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server, clean_environment

pytestmark = pytest.mark.long

#: Many shards, however small the experiments are, and short patience.
SPLIT = """
from mlflow_parity.audit.shards import gathering
from mlflow_parity.cluster import dask_cluster

gathering.LARGE = 1
dask_cluster._NOBODY = 3.0
dask_cluster._CONNECT = 3
"""


@pytest.fixture(scope="module")
def broken(servers: tuple[Server, Server]) -> tuple[Server, Server]:
    """A pair in which a run of the target lost a tag and another one was altered."""
    client = mlflow.MlflowClient(servers[1].uri)
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = [run for one in ids for run in client.search_runs([one])]
    client.delete_tag(runs[0].info.run_id, "mlflow.user")
    client.set_tag(runs[-1].info.run_id, "team", "another")
    return servers


@pytest.fixture(scope="module")
def whole(broken: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """What one process says of it."""
    done = audit(tmp_path_factory.mktemp("whole"), broken[0].uri, broken[1].uri)
    assert done.status == 1
    return done


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "conftest.py").write_text(SPLIT)
    return path


def _options(address: str, place: Path | str) -> list[str]:
    return ["--parity-engine", "dask", "--parity-dask-scheduler", address, "--parity-dask-dir", str(place)]


def _started(folder: Path, ends: tuple[Server, Server], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, *PYTEST, "--source-uri", ends[0].uri, "--target-uri", ends[1].uri, *options]
    return subprocess.Popen(
        command, cwd=folder, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _parts(place: Path) -> int:
    return len([one for one in place.glob("*/*") if one.name != "lists.zip" and not one.name.startswith(".")])


def _until(done: object, process: subprocess.Popen[str]) -> None:
    began = time.monotonic()
    while not done():  # type: ignore[operator]
        assert time.monotonic() - began < 120
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def _ended(process: subprocess.Popen[str], folder: Path) -> AuditRun:
    output, _ = process.communicate(timeout=180)
    return AuditRun(process.returncode, output, folder / "reports")


def test_workers_say_what_one_process_says(
    broken: tuple[Server, Server], whole: AuditRun, cluster: DaskProcesses, tmp_path: Path
) -> None:
    """Row by row, finding by finding; what was in the shared place is gone then."""
    place = tmp_path / "place"
    done = audit(_folder(tmp_path / "a"), broken[0].uri, broken[1].uri, *_options(cluster.address, place))
    assert done.status == 1, done.output
    assert done.rows() == whole.rows()
    assert done.report["findings"] == whole.report["findings"]
    assert done.failed() == whole.failed()
    assert [*place.iterdir()] == []
    # workers that are kept are used again, with other lists
    again = audit(_folder(tmp_path / "b"), broken[0].uri, broken[1].uri, *_options(cluster.address, place))
    assert again.rows() == whole.rows()


def test_own_checks_are_told_what_was_not_read(broken: tuple[Server, Server], tmp_path: Path) -> None:
    """Histories stay with the workers: a check that asks for them is no pass. Lists and the ledger are there."""
    (tmp_path / "test_own.py").write_text(
        "def test_points(parity_pairs):\n"
        "    for pair in parity_pairs:\n"
        "        [pair.source.points(key) for key in pair.source.metrics]\n"
        "def test_lists(parity_pairs, parity_audit):\n"
        "    assert {pair.source.run_id for pair in parity_pairs} <= {row.source_id for row in parity_audit.rows()}\n"
    )
    ends = ("--source-uri", broken[0].uri, "--target-uri", broken[1].uri, "--parity-report-dir", "reports")
    command = [*PYTEST, *ends, "--parity-engine", "dask", "test_own.py"]
    done = warm.run(command, kind="audit", cwd=tmp_path, env=clean_environment(), timeout=300)
    assert done.returncode == 1, done.stdout
    assert "NotRead" in done.stdout
    assert re.search(r"FAILED test_own.py::test_points\[", done.stdout)
    assert not re.search(r"FAILED test_own.py::test_lists", done.stdout)


def test_workers_that_are_started_here(broken: tuple[Server, Server], whole: AuditRun, tmp_path: Path) -> None:
    """Without a scheduler."""
    done = audit(tmp_path, broken[0].uri, broken[1].uri, "--parity-engine", "dask")
    assert done.status == 1, done.output
    assert done.rows() == whole.rows()


def test_a_worker_that_is_killed_and_one_that_is_slow(
    broken: tuple[Server, Server], whole: AuditRun, tmp_path: Path
) -> None:
    """One is stopped in a shard and killed, the other one rests for a while: no row is lost, none is there twice."""
    place = tmp_path / "place"
    with DaskProcesses(tmp_path / "cluster") as processes:
        doomed, slow = processes.worker(), processes.worker()
        folder = _folder(tmp_path / "audit")
        process = _started(folder, broken, *_options(processes.address, place))
        _until(lambda: _parts(place) >= 1, process)
        os.kill(doomed.pid, signal.SIGSTOP)
        seen = _parts(place)
        _until(lambda: _parts(place) > seen, process)
        os.kill(slow.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(slow.pid, signal.SIGCONT)
        processes.kill(doomed)
        done = _ended(process, folder)
    assert done.status == 1, done.output
    assert done.rows() == whole.rows()


@pytest.mark.parametrize("what", ["scheduler", "workers"])
def test_without_scheduler_or_workers_there_is_no_verdict(
    broken: tuple[Server, Server], tmp_path: Path, what: str
) -> None:
    """They are killed in the middle: one line, exit status 4, and a report that says so."""
    place = tmp_path / "place"
    with DaskProcesses(tmp_path / "cluster") as processes:
        workers = [processes.worker(), processes.worker()]
        folder = _folder(tmp_path / "audit")
        process = _started(folder, broken, *_options(processes.address, place))
        _until(lambda: _parts(place) >= 1, process)
        for one in [processes.scheduler] if what == "scheduler" else workers:
            processes.kill(one)
        done = _ended(process, folder)
    assert done.status == 4, done.output
    assert "Traceback" not in done.output, done.output
    assert ("the scheduler is gone" if what == "scheduler" else "no worker has been there") in done.output
    assert done.report["verdict"] == "none"


def test_a_cluster_that_cannot_be_used_is_one_line(
    broken: tuple[Server, Server], cluster: DaskProcesses, tmp_path: Path
) -> None:
    """No scheduler, none without workers, another version, a place that cannot be written."""
    ends = (broken[0].uri, broken[1].uri)

    def refused(name: str, options: list[str], *words: str) -> None:
        done = audit(_folder(tmp_path / name), *ends, *options)
        assert done.status == 4, done.output
        assert "Traceback" not in done.output, done.output
        lines = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
        assert len(lines) == 1
        assert all(word in lines[0] for word in words), lines

    refused("nobody", _options("tcp://127.0.0.1:9", tmp_path), "--parity-dask-scheduler", "no Dask scheduler answers")
    refused("odd", _options("odd://x", tmp_path), "--parity-dask-scheduler", "no Dask scheduler answers")
    (tmp_path / "no folder").write_text("")
    refused("file", _options(cluster.address, tmp_path / "no folder"), "--parity-dask-dir", "cannot be written")
    with DaskProcesses(tmp_path / "lone") as lone:
        refused("lone", _options(lone.address, tmp_path), "has no workers", "dask worker")
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "sitecustomize.py").write_text(
            "import mlflow_parity\nmlflow_parity.__version__ = '0.0.1'\n"
        )
        lone.worker({"PYTHONPATH": str(tmp_path / "site")})
        refused("old", _options(lone.address, tmp_path), "0.0.1", "install the same version")


def test_no_secret_passes_the_scheduler(servers: tuple[Server, Server], sagemaker_app: StandIn, tmp_path: Path) -> None:
    """Signed requests and files in S3, all with keys of the workers' own environment; the place is in S3 as well."""
    app, secret = sagemaker_app, "hunter2-of-the-source"
    env = {**app.environment(), "SOURCE_MLFLOW_TRACKING_USERNAME": "u", "SOURCE_MLFLOW_TRACKING_PASSWORD": secret}
    env |= {"AWS_ENDPOINT_URL_S3": app.s3.endpoint, "AWS_REGION": app.location.region}
    app.s3.create_bucket("cluster-place", app.credentials, app.location.region)
    whole = audit(tmp_path / "whole", servers[0].uri, app.arn, env=env)
    assert whole.status == 1, whole.output
    with DaskProcesses(tmp_path / "cluster") as processes:
        for _ in range(2):
            processes.worker(env)
        with Forwarder(processes.address.removeprefix("tcp://"), keep=True) as way:
            options = _options(f"tcp://{way.address}", "s3://cluster-place/audits")
            done = audit(_folder(tmp_path / "audit"), servers[0].uri, app.arn, *options, env=env)
            told = way.seen
        printed = processes.log() + done.output + (done.reports / "report.json").read_text()
    assert done.status == 1, done.output
    assert done.rows() == whole.rows()
    answered = [{name: one["s3_endpoint"] for name, one in run.report["sides"].items()} for run in (done, whole)]
    assert answered[0] == answered[1] != {"source": "", "target": ""}
    # what passes can be read, and no secret is in it
    assert b"churn" in told
    keys = app.credentials
    for hidden in (secret, base64.b64encode(f"u:{secret}".encode()).decode(), keys.secret_key, keys.token or secret):
        assert hidden.encode() not in told
        assert hidden not in printed
    left = app.s3.client(app.credentials, app.location.region).list_objects_v2(Bucket="cluster-place")
    # the mark of a folder at most, which pyarrow makes
    assert [one["Key"] for one in left.get("Contents", []) if one["Size"] or not one["Key"].endswith("/")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_workers_on_machines_of_their_own(broken: tuple[Server, Server], whole: AuditRun, tmp_path: Path) -> None:
    """Two network namespaces, each with its own loopback: nothing is reached but by an address of a network."""
    with contextlib.ExitStack() as stack:
        names = [stack.enter_context(namespace(number)) for number in range(2)]
        hosts = [own_address(number) for number in range(2)]
        # both servers, and the scheduler, under an address that this process and both namespaces have
        ways = [stack.enter_context(Forwarder(server.uri.removeprefix("http://"), host=hosts[0])) for server in broken]
        ends = [f"http://{way.address}" for way in ways]
        processes = stack.enter_context(DaskProcesses(tmp_path / "cluster", host=hosts[0]))
        for number, name in enumerate(names):
            processes.worker(within=["ip", "netns", "exec", name], host=guest_address(number))
        done = audit(_folder(tmp_path / "audit"), *ends, *_options(processes.address, tmp_path / "place"))
    assert done.status == 1, done.output
    assert [replace(row, note="") for row in done.rows()] == [replace(row, note="") for row in whole.rows()]


def test_workers_behind_tls(broken: tuple[Server, Server], whole: AuditRun, tmp_path: Path) -> None:
    """With Dask's own configuration of certificates; who has none is refused in one line."""
    file = str(certificate(tmp_path))
    names = ("CA_FILE", "CLIENT__CERT", "SCHEDULER__CERT", "WORKER__CERT")
    config = {f"DASK_DISTRIBUTED__COMM__TLS__{name}": file for name in names}
    with DaskProcesses(tmp_path / "cluster", protocol="tls", config=config) as processes:
        for _ in range(2):
            processes.worker()
        assert processes.address.startswith("tls://")
        options = _options(processes.address, tmp_path / "place")
        done = audit(_folder(tmp_path / "audit"), broken[0].uri, broken[1].uri, *options, env=config)
        plain = audit(_folder(tmp_path / "plain"), broken[0].uri, broken[1].uri, *options)
        lost = {**config, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": str(tmp_path / "gone.pem")}
        gone = audit(_folder(tmp_path / "gone"), broken[0].uri, broken[1].uri, *options, env=lost)
    assert done.rows() == whole.rows()
    for refused in (plain, gone):
        assert refused.status == 4, refused.output
        assert "no Dask scheduler answers" in refused.output
        assert "Traceback" not in refused.output
    assert "no certificates are configured" in plain.output


def _runs_told(proxy: Proxy) -> list[int]:
    """Have a proxy count the runs of each answer to a search."""
    told: list[int] = []

    def count(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        told.append(len(json.loads(body).get("runs", ())))
        exchange.answer(code, headers, body)

    proxy.faults.append(Fault("runs/search", count, times=1_000))
    return told


def test_each_part_looks_again_at_its_own_runs(
    broken: tuple[Server, Server], whole: AuditRun, cluster: DaskProcesses, tmp_path: Path
) -> None:
    """All parts together ask for the runs of an experiment once more, and not each part for all of them."""
    with proxying(broken[0].uri) as one, proxying(broken[0].uri) as several:
        alone, told = _runs_told(one), _runs_told(several)
        audit(tmp_path / "alone", one.uri, broken[1].uri)
        done = audit(
            _folder(tmp_path / "parts"), several.uri, broken[1].uri, *_options(cluster.address, tmp_path / "place")
        )
    assert [replace(row, note="") for row in done.rows()] == [replace(row, note="") for row in whole.rows()]
    # the lists, and all of them once more; beside that suspects, of which each is asked for alone
    twice = sum(alone)
    assert twice < sum(told) <= 1.5 * twice + 2


def test_what_moves_while_parts_are_judged(
    broken: tuple[Server, Server], cluster: DaskProcesses, tmp_path: Path
) -> None:
    """A run that is altered once its part was read, and one that came, are unverified; all else is as it was."""
    seed = Seeder(broken[0].uri)
    client = mlflow.MlflowClient(broken[0].uri)
    runs = [run for one in client.search_experiments() for run in client.search_runs([one.experiment_id])]
    altered = next(run for run in runs if run.data.metrics and run.info.status == "FINISHED")
    place = altered.info.experiment_id

    def act() -> None:
        seed.log(altered.info.run_id, tags={"moved": "1"})
        seed.end(seed.run(place, "late", start=EPOCH + 99))

    def red(done: AuditRun) -> set[tuple[str, str, str]]:
        return {(row.name, row.facet, row.state.value) for row in done.rows() if not row.state.green}

    options = _options(cluster.address, tmp_path / "place")
    before = red(audit(_folder(tmp_path / "before"), broken[0].uri, broken[1].uri, *options))
    with proxying(broken[0].uri) as proxy:
        # once by this process, before it reads the lists; then by a worker, before it reads anything
        proxy.faults.append(Fault("mlflow-artifacts/artifacts", meanwhile(act), after=1))
        done = audit(_folder(tmp_path / "moving"), proxy.uri, broken[1].uri, *options)
        assert sum(proxy.spoilt.values()) == 1
    new = red(done) - before
    assert (altered.info.run_name, "tags", "unverified") in new, done.output
    assert {name for name, _, _ in new} == {altered.info.run_name, "late"}
    assert {state for _, _, state in new} == {"unverified"}
