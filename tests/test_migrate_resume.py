"""``migrate.py run`` killed at random moments of export and import, again and again; run twice; run for what is new."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from support import warm
from support.migrations import ROOT, migrate_py
from support.seed import EPOCH, Seeder
from support.seed_traps import seed_traps
from support.servers import FreshServer

from mlflow_parity.standin.servers import Server, clean_environment

KILLS = 50
#: Tables of a server in which a second run would leave traces, if it made anything twice.
_TABLES = ("experiments", "runs", "metrics", "params", "tags", "inputs", "logged_models", "registered_models",
           "model_versions", "trace_info", "assessments", "scorer_versions", "evaluation_dataset_records")  # fmt: skip


def _counts(server: Server) -> dict[str, int]:
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in _TABLES}


def _run(source: Server, target: Server) -> list[str]:
    arguments = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--include-deleted"]
    return [*arguments, "--work-dir", "work", "--report-dir", "reports"]


def test_killed_fifty_times(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every kind of object, SIGKILL at random moments; then green, nothing twice, and a further run changes nothing."""
    source, target, undisturbed = fresh_server(), fresh_server(), fresh_server()
    seed_traps(source.uri)
    assert migrate_py(tmp_path / "undisturbed", *_run(source, undisturbed), "--no-verify").status == 0
    chance = random.Random(20261123)
    folder = tmp_path / "killed"
    folder.mkdir()
    killed = 0
    while killed < KILLS:
        process = warm.begin(
            [str(ROOT / "migrate.py"), *_run(source, target), "--no-verify"],
            kind="mlflow",
            cwd=folder,
            env=clean_environment(),
        )
        # most of them early, because each begins with reading what is there; every third far into the import
        time.sleep(chance.uniform(0.3, 1.2) if killed % 3 else chance.uniform(1.2, 3.5))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait(60)
    done = migrate_py(folder, *_run(source, target))
    assert done.status == 0, done.output[-4000:]
    assert "GREEN" in done.output
    assert _counts(target) == _counts(undisturbed)
    again = migrate_py(folder, *_run(source, target), "--no-verify")
    assert again.status == 0, again.output[-4000:]
    assert _counts(target) == _counts(undisturbed)


def test_what_is_new(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A run that went on, one that came and a file that changed since: a further run moves these, and ends green."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("growing")
    going = seed.run(experiment, "going on")
    seed.log(going, metrics=[("loss", 1.0, EPOCH, 0)])
    seed.artifact(going, "notes.txt", b"first\n")
    assert migrate_py(tmp_path, *_run(source, target)).status == 0
    before = _counts(target)
    seed.log(going, params={"late": "1"}, metrics=[("loss", 0.5, EPOCH + 1, 1)])
    seed.artifact(going, "notes.txt", b"second\n")
    seed.end(going)
    seed.end(seed.run(experiment, "came later"))
    done = migrate_py(tmp_path, *_run(source, target))
    assert done.status == 0, done.output[-4000:]
    after = _counts(target)
    assert {name: after[name] - before[name] for name in ("runs", "metrics", "params")} == {
        "runs": 1,
        "metrics": 1,
        "params": 1,
    }
