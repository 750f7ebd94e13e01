"""Listing the files of 10,000 runs in S3: `python -m benchmarks.listings [--quick]`; a part of RESULTS.md.

A stand-in App with its artifacts in moto's S3; every tenth run has 30 files. Counted are the calls that list, by each
page, of a reading as an audit does it, and of one that lists each run by itself.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.postgres import postgres  # noqa: E402

from benchmarks.load_data import Load, fill_rows, run_id  # noqa: E402
from benchmarks.results import write_part  # noqa: E402
from mlflow_parity.core.locations import parse_arn  # noqa: E402
from mlflow_parity.reading.artifacts import shared_listings  # noqa: E402
from mlflow_parity.reading.server import ServerReader  # noqa: E402
from mlflow_parity.reading.transport.auth import credentials  # noqa: E402
from mlflow_parity.reading.transport.session import Session  # noqa: E402
from mlflow_parity.snapshot.capture import capture  # noqa: E402
from mlflow_parity.snapshot.origin import Origin  # noqa: E402
from mlflow_parity.snapshot.store import Snapshot  # noqa: E402
from mlflow_parity.standin.sagemaker import StandIn, stand_in  # noqa: E402

HEADING = "## Listing in S3"
_EXPERIMENTS, _FILES = 20, 30


class _Read:
    """What one reading found and asked for."""

    def __init__(self, app: StandIn, folder: Path) -> None:
        location = parse_arn(app.arn, custom_endpoint=app.gateway.endpoint)
        found = credentials(location, "source", app.environment("SOURCE_"))
        self.lists = self.files = self.runs = 0
        found.aws.s3.meta.events.register("provide-client-params.s3.ListObjectsV2", self._listed)
        reader = ServerReader(Session(location, found), found)
        began = time.monotonic()
        experiments = reader.experiments()
        snapshot = Snapshot.create(folder, Origin(location.display, "app", None, {}), experiments)
        capture(
            reader, snapshot, experiments, ("runs", "artifacts"), "listing", include_deleted=True, count=self._count
        )
        self.seconds = time.monotonic() - began

    def _listed(self, params: Mapping[str, Any], **_: Any) -> None:
        self.lists += 1

    def _count(self, *, runs: int = 0, artifacts: int = 0, **_: int) -> None:
        self.runs += runs
        self.files += artifacts


@contextmanager
def _one_by_one() -> Iterator[None]:
    fewest = shared_listings.FEWEST
    shared_listings.FEWEST = sys.maxsize
    try:
        yield
    finally:
        shared_listings.FEWEST = fewest


def main() -> None:
    """Measure, and rewrite the part of RESULTS.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="1,000 runs; RESULTS.md stays as it is")
    quick = parser.parse_args().quick
    load = Load(1_000 if quick else 10_000, _EXPERIMENTS)
    files = len(range(0, load.runs, 10)) * _FILES
    with (
        tempfile.TemporaryDirectory(prefix="parity-bench-") as temporary,
        postgres() as cluster,
        stand_in(Path(temporary) / "app", database=cluster.create_database("listings"), workers=2) as app,
    ):
        root = app.server.artifacts_root
        fill_rows(cluster.dsn("listings"), "source", load, root)
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        client = app.s3.client(app.credentials, app.location.region)

        def put(number: int) -> None:
            folder = f"{prefix}/load-{number % load.experiments}/{run_id('source', number)}/artifacts"
            for file in range(_FILES):
                client.put_object(Bucket=bucket, Key=f"{folder}/{file}.txt", Body=b"a file")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(0, load.runs, 10)))
        shared = _Read(app, Path(temporary) / "shared")
        with _one_by_one():
            alone = _Read(app, Path(temporary) / "alone")
    for one in (shared, alone):
        assert (one.runs, one.files) == (load.runs, files), (one.runs, one.files)
    most = files // 1000 + 3 * _EXPERIMENTS
    assert shared.lists <= most, (shared.lists, most)
    text = "\n".join(
        [
            HEADING,
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.listings` "
            f"({platform.machine()}), Python {platform.python_version()}, moto's S3, an App on PostgreSQL 15, all on one "
            f"machine. {load.runs:,} runs in {load.experiments} experiments, of which each tenth has {_FILES} files; the "
            "files are listed, and not read.",
            "",
            "| | files | calls that list | seconds |",
            "|---|---|---|---|",
            f"| an experiment's place is walked once | {files:,} | {shared.lists:,} | {shared.seconds:.0f} |",
            f"| each run is listed by itself | {files:,} | {alone.lists:,} | {alone.seconds:.0f} |",
            "",
        ]
    )
    print(text)
    if not quick:
        write_part(HEADING, text)


if __name__ == "__main__":
    main()
