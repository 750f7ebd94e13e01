"""An audit of up to 1,000,000 runs with 50,000,000 metric points: `python -m benchmarks.load [--databases] [RUNS ...]`.

Two real servers on PostgreSQL, read by their API or, with `--databases`, with their databases beside it; the target is a migrated copy in which faults are planted. The verdict's counts must be
exactly those of what was written and planted, or nothing is measured. A part of RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT / "tests"))

from support.browser import load_seconds  # noqa: E402
from support.memory_peak import PYTEST, peak_mb  # noqa: E402
from support.postgres import Postgres, postgres  # noqa: E402

from benchmarks.load_data import Load, fill, plant  # noqa: E402
from benchmarks.results import write_part  # noqa: E402
from mlflow_parity.standin.servers import clean_environment, serving  # noqa: E402

HEADING = "## Load"
MEMORY_MB, ITEMS, PAGE_MB, OPEN_SECONDS = 1024, 5_000, 10, 3.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One audit: seconds, MB, seconds until Chromium has started and loaded the report, test items, and requests to both sides."""

    load: Load
    way: str
    seconds: float
    peak: float
    page: float
    opens: float
    items: int
    requests: int

    @property
    def row(self) -> str:
        """The line of the table."""
        return (
            f"| {self.load.runs:,} | {self.way} | {self.load.experiments} | {self.load.points:,} | {self.seconds:.0f} s | "
            f"{1000 * self.seconds / self.load.runs:.1f} ms | {self.peak:.0f} MB | {self.requests:,} | {self.items:,} | "
            f"{self.page:.2f} MB | {self.opens:.2f} s |"
        )


def measure(cluster: Postgres, load: Load, scratch: Path, *, databases: bool) -> Measured:
    """Fill two servers, audit them and check every count; ``databases``: with their databases beside the API.

    What ``scratch`` holds already, with its databases in ``cluster``, is not filled again.

    Raises:
        AssertionError: a count of the verdict is not what was written, or a limit does not hold.
    """
    name = f"load{load.runs}"
    filled = scratch / "filled"
    there = filled.exists()
    uris = [cluster.uri(one) if there else cluster.create_database(one) for one in (f"{name}s", f"{name}t")]
    with (
        serving(scratch / "source", database=uris[0], workers=2) as source,
        serving(scratch / "target", database=uris[1], workers=2) as target,
    ):
        if not there:
            ends = (("source", f"{name}s", source), ("target", f"{name}t", target))
            with ThreadPoolExecutor(2) as both:
                list(both.map(lambda end: fill(cluster.dsn(end[1]), end[0], load, Path(end[2].artifacts_root)), ends))
            plant(cluster.dsn(f"{name}t"), load, Path(target.artifacts_root))
            filled.write_text(f"{load.runs} runs\n", encoding="utf-8")
        command = [
            sys.executable,
            "-c",
            PYTEST,
            "-p",
            "no:cacheprovider",
            "-q",
            "--parity-report-dir",
            str(scratch / "reports"),
            # both are filled alike, ids included
            "--parity-two-servers",
        ]
        command += ["--source-uri", source.uri, "--target-uri", target.uri]
        if databases:
            command += ["--source-db", cluster.uri(f"{name}s"), "--target-db", cluster.uri(f"{name}t")]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=scratch, env=clean_environment(), capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - began
    # an audit of an hour whose count is wrong is not run again to see what it said
    (scratch / "output.txt").write_text(f"{seconds:.0f} s\n{done.stdout}{done.stderr}", encoding="utf-8")
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((scratch / "reports" / "report.json").read_text(encoding="utf-8"))
    check_counts(load, report)
    # pytest's own last line; the verdict stands below it
    last = [
        line for line in done.stdout.splitlines() if re.search(r"\d (?:failed|passed|skipped|error).* in \d", line)
    ][-1]
    summary = re.findall(r"(\d+) (?:failed|passed|skipped|error)", last)
    page = scratch / "reports" / "report.html"
    made = Measured(
        load,
        "databases" if databases else "API",
        seconds,
        peak_mb(done.stdout),
        page.stat().st_size / 1e6,
        load_seconds(page, scratch),
        sum(map(int, summary)),
        sum(report["sides"][side]["requests"] for side in ("source", "target")),
    )
    print(made.row, flush=True)
    assert made.peak < MEMORY_MB, made
    assert 0 < made.items < ITEMS, made
    assert made.page < PAGE_MB, made
    assert made.opens < OPEN_SECONDS, made
    return made


def check_counts(load: Load, report: dict[str, Any]) -> None:
    """Compare what the report counts with what was written and planted."""
    source, target = (report["sides"][side] for side in ("source", "target"))
    lost, extra = len(load.lost), load.extra
    assert (source["runs"], target["runs"]) == (load.runs, load.runs - lost + extra)
    kept = load.points - lost * load.points // load.runs
    assert (source["points"], target["points"]) == (load.points, kept)
    lost_files = sum(number % 10 == 0 for number in load.lost)
    assert (source["artifacts"], target["artifacts"]) == (load.files, load.files - lost_files)
    assert source["experiments"] == load.experiments + 1  # Default
    found: Counter[tuple[str, str]] = Counter()
    for row in report["coverage"]:
        if row["facet"].startswith("run "):
            found.update({(row["facet"][4:], state): count for state, count in row["counts"].items() if count})
    here = load.runs - lost
    planted = {"params": load.params, "metrics": load.metrics, "tags": load.tags, "artifacts": load.altered}
    for facet in {facet for facet, _ in found}:
        harmed = len(planted.get(facet, ()))
        counts = {state: count for (name, state), count in found.items() if name == facet}
        green = counts.get("match", 0) + counts.get("expected", 0)
        assert (green, counts.get("mismatch", 0), counts.get("missing", 0)) == (here - harmed, harmed, lost), (
            facet,
            counts,
        )
        assert counts.get("extra", 0) == extra if facet == "presence" else counts.get("extra", 0) in (0, extra)
        assert set(counts) <= {"match", "expected", "mismatch", "missing", "extra"}, (facet, counts)
    assert {facet for facet, state in found if state == "mismatch"} == set(planted)
    told = sum(row["findings"] for row in report["coverage"])
    assert told == sum(map(len, planted.values())) + lost + extra, told


def main() -> None:
    """Measure each size in turn, and rewrite the part of RESULTS.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int, nargs="*", help="numbers of runs (default: 1000 10000 100000)")
    parser.add_argument("--databases", action="store_true", help="read the databases beside the API")
    parser.add_argument("--data", type=Path, help="keep what was filled in this folder, and use what it holds")
    given = parser.parse_args()
    sizes = given.runs
    kept: Path | None = given.data
    done: list[Measured] = []
    with postgres(None if kept is None else kept.absolute() / "postgresql") as cluster:
        for runs in sizes or (1_000, 10_000, 100_000):
            # with more of them there would be more test items than anybody wants
            load = Load(runs, min(500, max(2, runs // 500)))
            if kept is not None:
                done.append(measure(cluster, load, kept.absolute() / str(runs), databases=given.databases))
                continue
            with tempfile.TemporaryDirectory(prefix="parity-bench-") as temporary:
                done.append(measure(cluster, load, Path(temporary), databases=given.databases))
                shutil.rmtree(temporary, ignore_errors=True)
    text = "\n".join(
        [
            HEADING,
            "",
            f"Measured on {datetime.now(timezone.utc):%Y-%m-%d} by `python -m benchmarks.load` on {os.cpu_count()} cores "
            f"({platform.machine()}), Python {platform.python_version()}, PostgreSQL 15, two workers each for source and "
            "target, all on one machine. Each run has 5 metrics of 10 points, 5 params, 3 tags (13 on the target), every "
            "tenth a file; of 1,000 runs 7 have another param on the target, 5 another point, 3 another tag, 1 another "
            "file, 2 are lost and 1 is extra. The verdict's counts were exactly these.",
            "",
            "| runs | read by | experiments | points per side | audit | per run | peak memory | requests | test items | report.html | "
            "Chromium starts and opens it in |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *(one.row for one in done),
            "",
        ]
    )
    print(text)
    if not sizes:
        write_part(HEADING, text)


if __name__ == "__main__":
    main()
