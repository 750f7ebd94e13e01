"""Reading 2,000,000 points from the database beside the API: `python -m benchmarks.database`; a part of RESULTS.md."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.memory_peak import peak_mb  # noqa: E402
from support.postgres import Postgres, postgres  # noqa: E402

from benchmarks.results import write_part  # noqa: E402
from benchmarks.seed_sql import fill  # noqa: E402
from mlflow_parity.core.identity.digests import combine, series_digest  # noqa: E402
from mlflow_parity.core.locations import parse_location  # noqa: E402
from mlflow_parity.core.records import Series  # noqa: E402
from mlflow_parity.reading import Reader, open_reader  # noqa: E402
from mlflow_parity.reading.database.urls import parse_database  # noqa: E402
from mlflow_parity.standin.servers import clean_environment, serving  # noqa: E402

HEADING = "## Reading the database beside the API"
_METRICS, _STEPS = 20, 50


def _read(reader: Reader, keep: Callable[[list[Series]], None]) -> dict[str, float]:
    """Read runs, then histories; return the seconds of both and what was read."""
    figures = {"runs": 0.0, "histories": 0.0, "points": 0.0, "series": 0.0}
    experiments = reader.experiments()
    for experiment in experiments:
        began = time.monotonic()
        pages = list(reader.runs(experiment.experiment_id))
        figures["runs"] += time.monotonic() - began
        for page in pages:
            began = time.monotonic()
            for batch in reader.histories(page):
                figures["points"] += sum(len(series.values) for series in batch)
                figures["series"] += len(batch)
                figures["histories"] += time.monotonic() - began
                keep(batch)
                began = time.monotonic()
            figures["histories"] += time.monotonic() - began
    return figures


def one(uri: str, database: str | None, digests: bool) -> None:
    """Read a server in this process and print the figures; ``digests``: and what was read, which takes its time."""
    location = parse_location(uri, option="--source-uri")
    url = None if database is None else parse_database(database, "source")
    if url is not None:
        # what is imported on the way is no growth
        import mlflow_parity.reading.database.postgresql
        import mlflow_parity.reading.database.reader
    else:
        import mlflow_parity.reading.server  # noqa: F401
    imported = peak_mb()
    reader = open_reader(location, "source", 8, database=url)
    found: list[bytes] = []
    own: list[str] = []

    def keep(batch: list[Series]) -> None:
        if digests:
            found.extend(
                series.run_id.encode() + series.key.encode() + series_digest(series) + (series.error or "").encode()
                for series in batch
            )
            own.extend(map(_own_digest, batch))

    figures = _read(reader, keep)
    reader.close()
    print(json.dumps({**figures, "memory": peak_mb() - imported, "digest": combine(found).hex(), "own": _lines(own)}))


def _contender(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.database", "--one", *arguments]
    answer = subprocess.run(command, cwd=_ROOT, env=clean_environment(), capture_output=True, text=True, timeout=3600)
    if answer.returncode:
        raise RuntimeError(f"{arguments} failed:\n{answer.stderr[-3000:]}")
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    print(arguments, figures, flush=True)
    return figures


def _copy(cluster: Postgres) -> float:
    command = [str(cluster.bin / "psql"), "-q", cluster.dsn(), "-c", "COPY metrics TO STDOUT"]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=600)
    return time.monotonic() - began


#: One digest for each history, inside PostgreSQL; :func:`_own_digest` is the same in Python.
_DIGESTS = """
SELECT run_uuid, key, count(*), sha256(string_agg(int8send(step) || int8send(timestamp) || float8send(value), ''::bytea
    ORDER BY step, timestamp, value)) FROM metrics GROUP BY run_uuid, key
"""


def _own_digest(series: Series) -> str:
    # they are in this order: of one step and time no history here has two values
    rows = np.empty(len(series.values), dtype=[("step", ">i8"), ("timestamp", ">i8"), ("value", ">f8")])
    rows["step"], rows["timestamp"], rows["value"] = series.steps, series.timestamps, series.values
    return f"{series.run_id}\t{series.key}\t{len(rows)}\t\\\\x{hashlib.sha256(rows.tobytes()).hexdigest()}\n"


def _lines(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _digests(cluster: Postgres, output: Path | None = None) -> float:
    command = [str(cluster.bin / "psql"), "-q", cluster.dsn(), "-c", f"COPY ({_DIGESTS}) TO STDOUT"]
    began = time.monotonic()
    with open(output or os.devnull, "wb") as file:
        subprocess.run(command, check=True, stdout=file, timeout=600)
    return time.monotonic() - began


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{statistics.median(found):.2f} × ({found[0]:.2f}–{found[-1]:.2f})"


def main() -> None:
    """Measure, and write the part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs="*")
    given = parser.parse_args()
    if given.one:
        uri, database, *more = given.one
        one(uri, database or None, bool(more))
        return
    with (
        tempfile.TemporaryDirectory() as scratch,
        postgres() as cluster,
        serving(Path(scratch), database=cluster.uri(), workers=2) as server,
    ):
        points = fill(
            cluster.dsn(),
            experiments=2,
            runs=given.runs,
            metrics=_METRICS,
            steps=_STEPS,
            artifact_root="mlflow-artifacts:",
        )
        _copy(cluster)
        rounds = [(_copy(cluster), _contender(server.uri, cluster.uri())) for _ in range(given.rounds)]
        bulk = _contender(server.uri, "")
        within = [_digests(cluster) for _ in range(given.rounds)]
        output = Path(scratch) / "digests"
        _digests(cluster, output)
        size = output.stat().st_size
        told = _lines(output.read_text().splitlines(keepends=True))
        same = [_contender(server.uri, database, "digests") for database in ("", cluster.uri())]
    assert same[0]["digest"] == same[1]["digest"], "the database and the API gave different points"
    assert told == same[0]["own"] == same[1]["own"], "the database and Python gave different digests"
    assert all(ours["points"] == points == bulk["points"] for _, ours in rounds)
    ours = [figures["histories"] for _, figures in rounds]
    stamp = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    write_part(
        HEADING,
        f"""{HEADING}

Measured on {stamp} by `python -m benchmarks.database` on {os.cpu_count()} cores ({platform.machine()}), Python \
{platform.python_version()}, PostgreSQL 15, two server workers. {given.runs:,} runs × {_METRICS} metrics × {_STEPS} \
steps: {points:,} points in {int(bulk["series"]):,} histories. *COPY* is `psql -c "COPY metrics TO STDOUT"`, run in turn \
with ours ({given.rounds} times; median, least and most); *bulk* is the fattest request of the API, by ours, once. All \
points by both ways had the same digests. *Digests in the database*: a SHA-256 for each history by PostgreSQL, of which \
Python made the same; it sends {size / 1e6:.1f} MB instead of points.

| | COPY | ours | ours / COPY | bulk | bulk / ours | memory above imports |
|---|---|---|---|---|---|---|
| metric histories | {statistics.median(copy for copy, _ in rounds):.2f} s | {statistics.median(ours):.2f} s | \
{_range(figures["histories"] / copy for copy, figures in rounds)} | {bulk["histories"]:.1f} s | \
**{bulk["histories"] / statistics.median(ours):.1f} ×** | {max(figures["memory"] for _, figures in rounds):.0f} MB |
| runs, params, tags, latest metrics | | {statistics.median(figures["runs"] for _, figures in rounds):.2f} s | | \
{bulk["runs"]:.1f} s | **{bulk["runs"] / statistics.median(figures["runs"] for _, figures in rounds):.1f} ×** | |
| digests in the database | {statistics.median(copy for copy, _ in rounds):.2f} s | {statistics.median(within):.2f} s | \
{_range(seconds / copy for seconds, (copy, _) in zip(within, rounds, strict=True))} | | | |
""",
    )


if __name__ == "__main__":
    main()
