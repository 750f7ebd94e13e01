"""``migrate.py run --engine dask``: workers move the experiments, one journal knows all of it."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from support import warm
from support.dask_processes import DaskProcesses
from support.forwarder import Forwarder
from support.migrations import ROOT, migrate_py
from support.seed import Seeder
from support.seed_objects import HOOK
from support.seed_traps import seed_traps
from support.servers import FreshServer, counts_of

from mlflow_parity.standin.servers import Server, clean_environment

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Server:
    """Every kind of object, in several experiments, with links between them."""
    server = module_server()
    seed_traps(server.uri)
    events = [{"entity": "MODEL_VERSION", "action": "CREATED"}]
    hook = {"name": "hook", "url": HOOK, "events": events, "status": "DISABLED"}
    Seeder(server.uri).call("POST", "webhooks", hook)
    return server


@pytest.fixture(scope="module")
def alone(source: Server, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """What one process makes of it: rows of each table of the target."""
    target = module_server()
    done = migrate_py(tmp_path_factory.mktemp("alone"), *_run(source, target), "--no-verify")
    assert done.status == 0, done.output
    return counts_of(target)


def _run(source: Server, target: Server, *more: str) -> list[str]:
    arguments = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--include-deleted"]
    return [*arguments, "--discard-export", "--work-dir", "work", "--report-dir", "reports", *more]


def _workers(address: str, place: Path) -> list[str]:
    return ["--engine", "dask", "--dask-scheduler", address, "--dask-dir", str(place)]


def _entries(work: Path) -> list[tuple[str, ...]]:
    """What the one journal says of each object, but for ids and times of the target."""
    [file] = work.glob("journal-*.sqlite")
    with closing(sqlite3.connect(file)) as database:
        return database.execute("SELECT kind, source_id, state, place, name, origin FROM objects").fetchall()


def test_workers_move_what_one_process_moves(
    source: Server, alone: dict[str, int], cluster: DaskProcesses, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Every kind of object, green; the journal is here, the shared place is empty; a further run changes nothing."""
    target, place = fresh_server(), tmp_path / "place"
    done = migrate_py(tmp_path, *_run(source, target, *_workers(cluster.address, place)))
    assert done.status == 0, done.output
    assert "GREEN" in done.output
    assert counts_of(target) == alone
    assert [*place.iterdir()] == []
    assert {state for _, _, state, *_ in _entries(tmp_path / "work")} <= {"done", "unmovable"}
    assert not [*(tmp_path / "work" / "export" / "files").glob("??/*")]
    again = migrate_py(tmp_path, *_run(source, target, "--no-verify", *_workers(cluster.address, place)))
    assert again.status == 0, again.output
    assert counts_of(target) == alone


def _done(work: Path) -> int:
    """How many objects the journal calls done."""
    for journal in work.glob("journal-*.sqlite"):
        # killed before it had made its tables
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(journal, timeout=30)) as database:
            return int(database.execute("SELECT count(*) FROM objects WHERE state = 'done'").fetchone()[0])
    return 0


def test_killed_workers_and_commands(
    source: Server, alone: dict[str, int], fresh_server: FreshServer, tmp_path: Path
) -> None:
    """SIGKILL at random moments, now of a worker, now of the command: nothing is lost, and nothing is there twice."""
    target, place, chance = fresh_server(), tmp_path / "place", random.Random(20261128)
    work = tmp_path / "work"
    with DaskProcesses(tmp_path / "cluster") as processes:
        living = [processes.worker() for _ in range(2)]
        command = [*_run(source, target, "--no-verify"), *_workers(processes.address, place)]
        killed = {"worker": 0, "command": 0}
        while killed["command"] < 2:
            process = warm.begin(
                [str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=tmp_path, env=clean_environment()
            )
            for what in ("worker", "command"):
                before = _done(work)
                while process.poll() is None and _done(work) < before + chance.randint(1, 3):
                    time.sleep(0.005)
                time.sleep(chance.uniform(0, 0.03))
                assert process.poll() is None
                if what == "worker":
                    # what it was at is gone on with by the other one
                    processes.kill(living.pop(chance.randrange(2)))
                    living.append(processes.worker())
                else:
                    os.kill(process.pid, signal.SIGKILL)
                    process.wait(60)
                killed[what] += 1
        done = migrate_py(tmp_path, *command)
    assert done.status == 0, done.output
    assert counts_of(target) == alone
    checked = migrate_py(tmp_path, "verify", *_run(source, target)[1:])
    assert checked.status == 0, checked.output


@pytest.mark.parametrize("what", ["scheduler", "workers"])
def test_a_cluster_that_is_lost(
    source: Server, alone: dict[str, int], fresh_server: FreshServer, tmp_path: Path, what: str
) -> None:
    """One line and an account of what came so far, exit status 1; the same command goes on from there."""
    target, place = fresh_server(), tmp_path / "place"
    (tmp_path / "sitecustomize.py").write_text(
        "from mlflow_parity.cluster import dask_cluster\ndask_cluster._NOBODY = 3.0\n"
    )
    with DaskProcesses(tmp_path / "cluster") as processes:
        living = [processes.worker() for _ in range(2)]
        command = [*_run(source, target, "--no-verify"), *_workers(processes.address, place)]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "migrate.py"), *command], cwd=tmp_path, text=True,
            env=clean_environment({"PYTHONPATH": str(tmp_path)}), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        while process.poll() is None and _done(tmp_path / "work") < 3:
            time.sleep(0.01)
        assert process.poll() is None
        for one in [processes.scheduler] if what == "scheduler" else living:
            processes.kill(one)
        output = process.communicate(timeout=240)[0]
    assert process.returncode == 1, output
    assert "Traceback" not in output
    outcome = json.loads((tmp_path / "work" / "outcome.json").read_text())
    why = " ".join(one["reason"] for one in outcome["unmoved"] if one["kind"] == "server")
    assert ("the scheduler is gone" if what == "scheduler" else "no worker has been there") in why
    assert "run the same command again" in why
    # without a cluster, too
    done = migrate_py(tmp_path, *_run(source, target, "--no-verify"))
    assert done.status == 0, done.output
    assert counts_of(target) == alone


def test_no_secret_passes_the_scheduler(source: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Passwords are in the environment of the workers; what they note and return holds none."""
    secret = "hunter2-of-the-target"
    env = {"TARGET_MLFLOW_TRACKING_USERNAME": "u", "TARGET_MLFLOW_TRACKING_PASSWORD": secret}
    target = fresh_server()
    with DaskProcesses(tmp_path / "cluster") as processes:
        for _ in range(2):
            processes.worker(env)
        with Forwarder(processes.address.removeprefix("tcp://"), keep=True) as way:
            command = [*_run(source, target, "--no-verify"), *_workers(f"tcp://{way.address}", tmp_path / "place")]
            done = migrate_py(tmp_path, *command, env=env)
            told = way.seen
        printed = processes.log() + done.output
    assert done.status == 0, done.output
    # notes pass it, and can be read
    assert b"registry" in told
    for hidden in (secret, base64.b64encode(f"u:{secret}".encode()).decode()):
        assert hidden.encode() not in told
        assert hidden not in printed


def test_workers_that_are_started_here(
    source: Server, alone: dict[str, int], fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Without a scheduler."""
    target = fresh_server()
    done = migrate_py(tmp_path, *_run(source, target, "--no-verify", "--engine", "dask"))
    assert done.status == 0, done.output
    assert counts_of(target) == alone
