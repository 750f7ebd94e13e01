"""Memory stays bounded: a million metric points, half of them on each side, are read and compared within 400 MB.

What serving them costs is nearly all of this test's time; ``test_core_verdict`` has a million on each side, in memory.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest
from support.memory_peak import PYTEST, peak_mb
from support.servers import server_of

from mlflow_parity.standin.servers import clean_environment, empty_database

pytestmark = pytest.mark.long

RUNS, KEYS, STEPS = 100, 10, 500
START = 1_700_000_000_000


def _fill(database: Path) -> None:
    """Write runs with long histories by SQL; the server has not started yet."""
    draw = random.Random(7)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "INSERT INTO experiments (name, artifact_location, lifecycle_stage, creation_time, last_update_time)"
            " VALUES ('long', 'mlflow-artifacts:/long', 'active', ?, ?)",
            (START, START),
        )
        [(experiment,)] = connection.execute("SELECT experiment_id FROM experiments WHERE name = 'long'")
        for number in range(RUNS):
            run = uuid.UUID(int=draw.getrandbits(128), version=4).hex
            connection.execute(
                "INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage,"
                " artifact_uri, experiment_id) VALUES (?, ?, 'LOCAL', 'ada', 'FINISHED', ?, ?, 'active', ?, ?)",
                (run, f"run {number}", START + number, START + number + 9, f"mlflow-artifacts:/long/{run}", experiment),
            )
            for key in range(KEYS):
                points = [(f"m{key}", draw.random(), START + step, run, step, 0) for step in range(STEPS)]
                columns = "(key, value, timestamp, run_uuid, step, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
                connection.executemany(f"INSERT INTO metrics {columns}", points)
                connection.execute(f"INSERT INTO latest_metrics {columns}", points[-1])
        connection.execute("ANALYZE")


def test_a_million_points_within_400_mb(tmp_path: Path) -> None:
    """The whole audit in one process, both sides at once, peaks below 400 MB, with every point compared."""
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
    shutil.copyfile(empty_database(), tmp_path / "source" / "mlflow.db")
    _fill(tmp_path / "source" / "mlflow.db")
    shutil.copyfile(tmp_path / "source" / "mlflow.db", tmp_path / "target" / "mlflow.db")
    with server_of("newest", tmp_path / "source") as source, server_of("newest", tmp_path / "target") as target:
        command = [
            sys.executable,
            "-c",
            PYTEST,
            "-p",
            "no:cacheprovider",
            "-k",
            "metric or arrived",
            "--parity-two-servers",
        ]
        command += ["--source-uri", source.uri, "--target-uri", target.uri]
        with (tmp_path / "output.txt").open("w+") as output:
            process = subprocess.run(
                command, cwd=tmp_path, env=clean_environment(), stdout=output, stderr=output, timeout=600, check=False
            )
    printed = (tmp_path / "output.txt").read_text()
    assert process.returncode == 0, printed
    assert printed.count(f"{RUNS * KEYS * STEPS:,} points") == 2, printed
    peak = peak_mb(printed)
    print(f"peak {peak:.0f} MB")
    assert peak < 400, f"{peak:.0f} MB"
