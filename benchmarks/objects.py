"""Reading 10,000 traces and 5,000 model versions: `python -m benchmarks.objects [--quick]`; a part of RESULTS.md.

One trace and one model version are written by the client; the others are copies of their rows, made by SQL.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.postgres import postgres  # noqa: E402

from benchmarks.results import write_part  # noqa: E402
from mlflow_parity.core.locations import parse_location  # noqa: E402
from mlflow_parity.reading import open_reader  # noqa: E402
from mlflow_parity.standin.servers import clean_environment, serving  # noqa: E402

HEADING = "## Reading traces and model versions"
_SPANS = 5
_VERSIONS_EACH = 100
_SEED = """
import sys, mlflow
from mlflow import MlflowClient
mlflow.set_tracking_uri(sys.argv[1]); mlflow.set_registry_uri(sys.argv[1])
client = MlflowClient()
experiment = client.create_experiment("benchmark")
mlflow.set_experiment("benchmark")
with mlflow.start_span("root") as root:
    root.set_inputs({"question": "how many?"})
    for number in range(4):
        with mlflow.start_span(f"step {number}") as span:
            span.set_outputs({"answer": number, "text": "x" * 200})
mlflow.flush_trace_async_logging()
client.create_registered_model("model 0")
run = client.create_run(experiment).info
client.create_model_version("model 0", run.artifact_uri + "/model", run_id=run.run_id, tags={"a": "1"})
print(experiment)
"""


Change = Callable[[dict[str, Any], int], dict[str, Any]]


def _clone(cursor: Any, table: str, where: str, change: Change, copies: int) -> None:
    """Copy the rows of ``table`` that fit ``where``, ``copies`` times, each changed by its number."""
    from psycopg2.extras import execute_values

    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND is_generated = 'ALWAYS'", (table,)
    )
    generated = {name for (name,) in cursor.fetchall()}
    cursor.execute(f"SELECT * FROM {table} WHERE {where}")
    every = [column.name for column in cursor.description]
    names = [name for name in every if name not in generated]
    rows = [dict(zip(every, row, strict=True)) for row in cursor.fetchall()]
    made = [tuple(change(row, number)[name] for name in names) for number in range(1, copies + 1) for row in rows]
    quoted = ", ".join(f'"{name}"' for name in names)
    execute_values(cursor, f"INSERT INTO {table} ({quoted}) VALUES %s", made, page_size=1_000)


def _fill(dsn: str, traces: int, versions: int) -> None:
    import psycopg2

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT request_id FROM trace_info")
        [(first,)] = cursor.fetchall()

        def trace(row: dict[str, Any], number: int) -> dict[str, Any]:
            other = f"tr-{number:032x}"
            changed: dict[str, Any] = {
                name: value.replace(first, other) if isinstance(value, str) else value for name, value in row.items()
            }
            if "timestamp_ms" in changed:
                changed["timestamp_ms"] += number
            return changed

        for table, column in (("trace_info", "request_id"), ("trace_tags", "request_id"),
                              ("trace_request_metadata", "request_id"), ("spans", "trace_id")):  # fmt: skip
            _clone(cursor, table, f"{column} = '{first}'", trace, traces - 1)

        def model(row: dict[str, Any], number: int) -> dict[str, Any]:
            return {**row, "name": f"model {number}"}

        def version(row: dict[str, Any], number: int) -> dict[str, Any]:
            name, place = f"model {(number - 1) // _VERSIONS_EACH + 1}", (number - 1) % _VERSIONS_EACH + 1
            return {**row, "name": name, "version": place}

        _clone(cursor, "registered_models", "name = 'model 0'", model, versions // _VERSIONS_EACH)
        _clone(cursor, "model_versions", "name = 'model 0'", version, versions)
        _clone(cursor, "model_version_tags", "name = 'model 0'", version, versions)
        cursor.execute("ANALYZE")


def measure(traces: int, versions: int, share: float) -> list[str]:
    """Measure one server of two workers; return the lines of the table."""
    import mlflow

    with tempfile.TemporaryDirectory() as scratch, postgres() as cluster:
        database = cluster.create_database("objects")
        with serving(Path(scratch) / "server", database=database, workers=2) as server:
            seed = subprocess.run([sys.executable, "-c", _SEED, server.uri], env=clean_environment(), cwd=scratch,
                                  capture_output=True, text=True, check=True)  # fmt: skip
            experiment = seed.stdout.splitlines()[-1]
            _fill(cluster.dsn("objects"), traces, versions)
            reader = open_reader(parse_location(server.uri, option="--source-uri"), "source", 8)
            _ = reader.capabilities
            began = time.monotonic()
            read = [one for batch in reader.experiment_objects(experiment, ["trace"]) for one in batch]
            own_traces = time.monotonic() - began
            spans = sum(len(one.facets["spans"]) for one in read)
            if (len(read), spans) != (traces, traces * _SPANS) or any(one.error for one in read):
                raise RuntimeError(f"{len(read)} of {traces} traces with {spans} spans were read")
            began = time.monotonic()
            found = [one for batch in reader.registry() for one in batch if one.kind == "model_version"]
            own_versions = time.monotonic() - began
            if len(found) != versions + 1:
                raise RuntimeError(f"{len(found)} of {versions + 1} versions were read")
            requests = reader.requests
            reader.close()
            mlflow.set_tracking_uri(server.uri)
            client = mlflow.MlflowClient(server.uri, server.uri)
            some = read[:: max(int(1 / share), 1)]
            began = time.monotonic()
            for one in some:
                client.get_trace(one.entity_id)
            client_traces = (time.monotonic() - began) / len(some) * traces
            few = found[:: max(int(1 / share), 1)]
            began = time.monotonic()
            for one in few:
                client.get_model_version(one.container, str(one.facets["number"]))
            client_versions = (time.monotonic() - began) / len(few) * versions
    return [
        f"| {traces:,} traces of {_SPANS} spans | {own_traces:.1f} s | {client_traces:.0f} s | "
        f"**{client_traces / own_traces:.1f} ×** |",
        f"| {versions:,} model versions of {versions // _VERSIONS_EACH} models | {own_versions:.1f} s | "
        f"{client_versions:.0f} s | **{client_versions / own_versions:.1f} ×** |",
        "",
        f"{requests} requests in all.",
    ]


def main() -> None:
    """Measure, and rewrite the part of RESULTS.md that begins with :data:`HEADING`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the data; writes nothing")
    given = parser.parse_args()
    size = 10 if given.quick else 1
    rows = measure(10_000 // size, 5_000 // size, 0.02 * size)
    text = "\n".join(
        [
            HEADING,
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.objects` on {os.cpu_count()} "
            f"cores ({platform.machine()}), Python {platform.python_version()}, PostgreSQL 15, two server workers. "
            "*Client* is a loop over `MlflowClient.get_trace` and `get_model_version` on 2 % of them, scaled to all.",
            "",
            "| | ours | client, one after another | client / ours |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    if not given.quick:
        write_part(HEADING, text)


if __name__ == "__main__":
    main()
