"""How right the time left and `--parity-estimate` are: `python -m benchmarks.estimate [--rounds N]`; it prints, and writes nothing.

Two real servers with mixed work: runs with many points, runs with files, traces, each in experiments of their own, so
that no tenth of the work is like the next. The audit runs on a terminal of its own, whose line is read.
"""

from __future__ import annotations

import argparse
import os
import pty
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))

from support.audits import PYTEST  # noqa: E402
from support.seed import EPOCH, Seeder  # noqa: E402
from support.seed_traces import trace  # noqa: E402
from support.servers import copy_database  # noqa: E402
from support.terminal import pieces  # noqa: E402

from mlflow_parity.standin.servers import Server, clean_environment, serving  # noqa: E402

_METRICS, _STEPS, _FILES, _SIZE = 5, 400, 4, 20_000
_LEFT = re.compile(r"reading, (\d+(?:\.\d+)?) (s|min|h)(?: (\d\d) s)? left")
_TIME = re.compile(r"^mlflow-parity: time: about (\d+(?:\.\d+)?) (s|min|h),", re.MULTILINE)
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def _rows(connection: sqlite3.Connection, experiment: str, runs: int, *, points: bool) -> Iterator[str]:
    for number in range(runs):
        run = uuid.uuid4().hex
        place = f"mlflow-artifacts:/{experiment}/{run}/artifacts"
        connection.execute(
            "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
            " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
            " VALUES (?, ?, 'LOCAL', '', '', 'bench', 'FINISHED', ?, ?, '', 'active', ?, ?)",
            (run, f"run {number}", EPOCH + number, EPOCH + number + 1000, place, int(experiment)),
        )
        for metric in range(_METRICS if points else 0):
            rows = [(f"metric {metric}", step * 0.5, EPOCH + step, run, step) for step in range(_STEPS)]
            connection.executemany(
                "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)", rows
            )
            connection.execute(
                "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, 0)",
                rows[-1],
            )
        yield run


def fill(source: Server, target: Server, runs: int) -> None:
    """Fill the source by SQL, files on its disk and traces by REST; the target is its copy."""
    seed = Seeder(source.uri)
    ids = {name: seed.experiment(name) for name in ("curves a", "curves b", "files a", "files b", "plain", "traced")}
    with closing(sqlite3.connect(source.database_path, timeout=60)) as connection, connection:
        for name, experiment in ids.items():
            for run in _rows(connection, experiment, runs, points=name.startswith("curves")):
                folder = Path(source.artifacts_root) / experiment / run / "artifacts"
                for number in range(_FILES if name.startswith("files") else 0):
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / f"file {number}").write_bytes(os.urandom(_SIZE))
    for number in range(runs // 2):
        trace(seed, ids["traced"], f"trace {number}", inputs={"number": number})
    copy_database(source.database_path, target.database_path)
    shutil.copytree(source.artifacts_root, target.artifacts_root, dirs_exist_ok=True)


def _command(source: Server, target: Server, folder: Path) -> list[str]:
    return [
        sys.executable, *PYTEST, "--source-uri", source.uri, "--target-uri", target.uri, "--parity-profile",
        "same-store", "--parity-two-servers", "--parity-report-dir", str(folder / "reports"),
    ]  # fmt: skip


def watched(command: list[str], folder: Path) -> tuple[list[tuple[float, float]], float, float]:
    """Run an audit on a terminal; return what it said is left and when, when its line began, and when it ended."""
    controller, terminal = pty.openpty()
    environment = {**clean_environment(), "COLUMNS": "300", "TERM": "dumb"}
    said: list[tuple[float, float]] = []
    began = ended = 0.0
    text = ""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
    ) as run:
        os.close(terminal)
        for piece in pieces(controller, 300):
            now = time.monotonic()
            line = piece.decode("utf-8", "replace")
            text += line
            if "reading" in line and "source" in line:
                began, ended = began or now, now
                if found := _LEFT.search(line):
                    said.append((now, float(found[1]) * _SECONDS[found[2]] + float(found[3] or 0)))
        status = run.wait(60)
    os.close(controller)
    if status != 0 or not began:
        raise RuntimeError(f"the audit ended with {status}:\n{text[-3000:]}")
    return said, began, ended


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=200, help="runs in each of six experiments")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--show", action="store_true", help="show what was said, and when")
    given = parser.parse_args()
    left, estimated = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with serving(folder / "source") as source, serving(folder / "target") as target:
            fill(source, target, given.runs)
            command = _command(source, target, folder)
            for _ in range(given.rounds):
                told = subprocess.run(
                    [*command, "--parity-estimate"], cwd=folder, env=clean_environment(), capture_output=True, text=True
                )
                found = _TIME.search(told.stdout)
                if told.returncode != 5 or found is None:
                    raise RuntimeError(f"no estimate: {told.returncode}\n{told.stdout[-3000:]}{told.stderr[-3000:]}")
                said, began, ended = watched(command, folder)
                took = ended - began
                estimated.append(float(found[1]) * _SECONDS[found[2]] / took)
                if given.show:
                    print(told.stdout)
                    for now, seconds in said[:: max(len(said) // 25, 1)]:
                        print(f"  at {(now - began) / took:5.0%}: {seconds:6.1f} s, in truth {ended - now:6.1f} s")
                after = [(now, seconds) for now, seconds in said if now - began >= took / 10]
                if not after:
                    raise RuntimeError(f"nothing was said of the time left; the audit took {took:.1f} s")
                left.append(after[0][1] / (ended - after[0][0]))
                worst = max(
                    max(s / (ended - t), (ended - t) / s)
                    for t, s in after
                    if t - began < took * 0.8 or t == after[0][0]
                )
                print(
                    f"audit {took:.1f} s; time left at {(after[0][0] - began) / took:.0%}: {left[-1]:.2f} × the truth, "
                    f"off by {worst:.2f} at most until 80 %; --parity-estimate: {estimated[-1]:.2f} × the truth",
                    flush=True,
                )
    print(f"median: time left {statistics.median(left):.2f}, --parity-estimate {statistics.median(estimated):.2f}")


if __name__ == "__main__":
    main()
