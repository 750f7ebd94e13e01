"""Migrating 200 runs with ``migrate.py run`` and with the plain tool: `python -m benchmarks.migrating [--quick]`.

Both move the same source to an empty server, in turn; the plain tool with its threads. What arrived is counted on
the targets, so that a quick loss does not pass for speed.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.postgres import Postgres, postgres  # noqa: E402

from benchmarks.contenders import contender  # noqa: E402
from benchmarks.results import write_part  # noqa: E402
from benchmarks.seed_sql import fill  # noqa: E402
from mlflow_parity.standin.servers import clean_environment, serving  # noqa: E402

HEADING = "## Migrating"
_FILES = 3


def _add_files(dsn: str, artifacts: Path) -> None:
    """Put small files where the server's proxy keeps each run's artifacts."""
    import psycopg2

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT run_uuid, artifact_uri FROM runs")
        for run, uri in cursor.fetchall():
            folder = artifacts / str(uri).removeprefix("mlflow-artifacts:").strip("/")
            folder.mkdir(parents=True)
            for number in range(_FILES):
                (folder / f"file-{number}.txt").write_text(f"{run} {number}\n" * 50)


def _counts(dsn: str, artifacts: Path) -> tuple[int, int, int]:
    """Return runs, metric points and files of a target."""
    import psycopg2

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics)")
        runs, points = cursor.fetchone() or (0, 0)
    return int(runs), int(points), sum(1 for file in artifacts.rglob("file-*") if file.is_file())


def _command(arguments: list[str], folder: Path, uri: str | None = None) -> float:
    env = clean_environment({"MLFLOW_TRACKING_URI": uri} if uri else {})
    began = time.monotonic()
    with (folder / "output.log").open("ab") as log:
        subprocess.run(
            [sys.executable, *arguments], env=env, cwd=folder, stdout=log, stderr=log, check=True, timeout=3600
        )
    return time.monotonic() - began


def _target(
    cluster: Postgres, folder: Path, name: str, source: str, log: Path | None = None
) -> tuple[float, tuple[int, int, int]]:
    """Migrate into an empty server; return the seconds and what arrived. ``log`` gets what ours wrote.

    Who is named ``ours…`` is ``migrate.py``, ``memory…`` sends what ``log`` holds, all others are the plain tool.
    """
    work = folder / name
    work.mkdir()
    with serving(work / "server", database=cluster.create_database(name), workers=2) as target:
        ends = ["--source-uri", source, "--target-uri", target.uri]
        if name.startswith("ours") and log is not None:
            more = ["--no-verify", "--work-dir", str(work / "migration")]
            seconds = float(contender("moving", "run", *ends, *more, target=target.uri, log=log)["seconds"])
        elif name.startswith("ours"):
            command = [str(_ROOT / "migrate.py"), "run", *ends, "--no-verify", "--work-dir", str(work / "migration")]
            seconds = _command(command, work)
        elif name.startswith("memory"):
            seconds = float(contender("writing", target.uri, log=log)["seconds"])
        else:
            threads = ["--use-threads", "True"]
            export = ["-m", "mlflow_export_import.bulk.export_all", "--output-dir", str(work / "export"), *threads]
            bring = ["-m", "mlflow_export_import.bulk.import_all", "--input-dir", str(work / "export"), *threads]
            seconds = _command(export, work, source)
            seconds += _command([*bring, "--import-source-tags", "True"], work, target.uri)
        return seconds, _counts(cluster.dsn(name), Path(target.artifacts_root))


def measure(runs: int, rounds: int) -> list[str]:
    """Measure; return the lines of the table."""
    with tempfile.TemporaryDirectory() as scratch, postgres() as cluster:
        folder = Path(scratch)
        log = folder / "written.json"
        with serving(folder / "source", database=cluster.create_database("source"), workers=2) as source:
            fill(
                cluster.dsn("source"), experiments=4, runs=runs, metrics=20, steps=50, artifact_root="mlflow-artifacts:"
            )
            _add_files(cluster.dsn("source"), Path(source.artifacts_root))
            expected = (runs, runs * 1000, runs * _FILES)
            # what is recorded is not measured
            _target(cluster, folder, "ours", source.uri, log)
            own, plain, memory, most = [], [], [], []
            for number in range(rounds):
                times = {}
                for who in ("ours", "memory", "tool"):
                    times[who], moved = _target(
                        cluster, folder, f"{who}{number}", source.uri, log if who == "memory" else None
                    )
                    if who != "tool" and moved != expected:
                        raise RuntimeError(f"{who}: {moved} of {expected} arrived")
                own.append(times["ours"])
                most.append(times["tool"] / times["memory"])
                plain.append(times["tool"] / times["ours"])
                memory.append(times["ours"] / times["memory"])
                print(f"{times}, the tool moved {moved}", flush=True)
    return [
        f"| {expected[0]:,} runs, {expected[1]:,} points, {expected[2]:,} files | {sorted(own)[rounds // 2]:.1f} s | "
        f"**{_middle(plain)}** | **{_middle(memory)}** | {_middle(most)} | "
        f"{moved[0]:,} runs, {moved[1]:,} points, {moved[2]:,} files |"
    ]


def _middle(ratios: list[float]) -> str:
    return f"{sorted(ratios)[len(ratios) // 2]:.2f} × ({min(ratios):.2f}–{max(ratios):.2f})"


def main() -> None:
    """Measure, and rewrite the part of RESULTS.md that begins with :data:`HEADING`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one round; writes nothing")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rounds = 1 if given.quick else given.rounds
    rows = measure(20 if given.quick else 200, rounds)
    text = "\n".join(
        [
            HEADING,
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.migrating` on {os.cpu_count()} "
            f"cores ({platform.machine()}), Python {platform.python_version()}, PostgreSQL 15, two workers each for source "
            "and target. *Ours* is `migrate.py run` without the audit, *tool* is `export-all` and `import-all` with "
            "threads, *memory* a client that sends the writing requests of ours again from memory, eight runs at once; "
            f"all in turn, ratios are those of neighbours (rounds: {rounds}).",
            "",
            "| moved by ours | ours | tool / ours | ours / memory | tool / memory | moved by the tool |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    if not given.quick:
        write_part(HEADING, text)


if __name__ == "__main__":
    main()
