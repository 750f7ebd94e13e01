"""Measures reading and comparing, and writes RESULTS.md: `python -m benchmarks.run [--quick]`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))  # the throwaway PostgreSQL is the tests'

from support.postgres import postgres  # noqa: E402

from benchmarks.contenders import contender  # noqa: E402
from benchmarks.objects import HEADING  # noqa: E402
from benchmarks.seed_sql import fill  # noqa: E402
from mlflow_parity.standin.servers import serving  # noqa: E402

_CONNECTIONS = 8


def measure(workers: int, given: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """Measure one server; return lines for the report and the comparing figures."""
    with tempfile.TemporaryDirectory() as scratch, postgres() as cluster:
        folder = Path(scratch)
        database = cluster.create_database(f"bench{workers}")
        with serving(folder / "server", database=database, workers=workers) as server:
            points = fill(
                cluster.dsn(f"bench{workers}"),
                experiments=given.experiments,
                runs=given.runs,
                metrics=20,
                steps=50,
                artifact_root="mlflow-artifacts:",
            )
            log = folder / "requests.json"
            contender("ours", server.uri, folder / "warm", workers=_CONNECTIONS, log=log)
            ratios, own, floor = [], [], []
            for number in range(given.rounds):
                floor.append(contender("discard", workers=_CONNECTIONS, log=log)["seconds"])
                read = contender("ours", server.uri, folder / f"snapshot-{number}", workers=_CONNECTIONS)
                if read["points"] != points:
                    raise RuntimeError(f"{read['points']} of {points} points were read")
                own.append(read["seconds"])
                ratios.append(own[-1] / floor[-1])
            pool = contender("client", server.uri, workers=8, share=given.share)
            serial = contender("client", server.uri, workers=1, share=given.share / 5)
            mine = statistics.median(own)
            lines = [
                f"| {workers} | {mine:.1f} s | {statistics.median(floor):.1f} s | "
                f"{statistics.median(ratios):.2f} × ({min(ratios):.2f}–{max(ratios):.2f}) | "
                f"{pool['scaled']:.0f} s | **{pool['scaled'] / mine:.1f} ×** | "
                f"{serial['scaled']:.0f} s | **{serial['scaled'] / mine:.1f} ×** | {read['peak_mb']:.0f} MB |"
            ]
        # the same records under another location: an upgrade in place that lost nothing
        shutil.copytree(folder / "snapshot-0", folder / "copy")
        compared = [contender("compare", folder / "snapshot-0", folder / "copy") for _ in range(3)]
        return lines, min(compared, key=lambda figures: float(figures["seconds"]))


def main() -> None:
    """Measure, and write RESULTS.md beside this file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--parity-experiments", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.05, help="share of the runs that the client contenders read")
    parser.add_argument("--quick", action="store_true", help="a tenth of the data, one round; writes nothing")
    given = parser.parse_args()
    if given.quick:
        given.runs, given.rounds = 200, 1
    rows: list[str] = []
    compared: dict[str, Any] = {}
    for workers in (2, 4):
        lines, compared = measure(workers, given)
        rows += lines
    points = given.runs * 20 * 50
    text = "\n".join(
        [
            "# Results",
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `make bench` on {os.cpu_count()} cores "
            f"({platform.machine()}), Python {platform.python_version()}, PostgreSQL 15, MLflow "
            f"{_version()} (uvicorn), all on one machine over loopback, so server, database and client share the cores.",
            "",
            f"## Reading {given.runs:,} runs × 20 metrics × 50 steps ({points:,} points)",
            "",
            "*Ours* reads runs, params, tags, latest metrics and every history into a finished snapshot (Parquet, digests, "
            f"fsync), on {_CONNECTIONS} connections. *Floor* sends the same requests from as many connections and throws the "
            "bytes away; both were run in turn, the ratio is that of neighbours (median, least and most of "
            f"{given.rounds}). *Pool* is eight threads with an `MlflowClient` each, *serial* one, both calling "
            f"`get_metric_history` per run and key on {given.share:.0%} and {given.share / 5:.0%} of the runs, scaled to all: "
            "their time is proportional to the number of calls.",
            "",
            "| server workers | ours | floor | ours / floor | pool of 8 | pool / ours | serial | serial / ours | our peak memory |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"## Comparing 2 × {points:,} equal points, after reading",
            "",
            f"{compared['seconds']:.1f} s for {compared['points']:,} points on each side and {compared['rows']:,} ledger rows, "
            f"peak memory {compared['peak_mb']:.0f} MB, verdict {'green' if compared['green'] else 'RED'}, deepdiff was called "
            f"{compared['deepdiff']} times.",
            "",
        ]
    )
    print(text)
    if not given.quick:
        path = Path(__file__).parent / "RESULTS.md"
        # the part of the other benchmark stays
        _, found, rest = path.read_text(encoding="utf-8").partition(HEADING) if path.exists() else ("", "", "")
        path.write_text(f"{text}\n{found}{rest}" if found else text, encoding="utf-8")


def _version() -> str:
    import importlib.metadata

    return importlib.metadata.version("mlflow")


if __name__ == "__main__":
    main()
