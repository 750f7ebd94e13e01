"""What runs that differ have in common: said where it sets them apart, with honest figures, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from support.audits import audit
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.records import Artifact, ArtifactTree, Experiment, MetricPoint, Run, Series
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.reporting.attribution import in_common
from mlflow_parity.reporting.ledger import LedgerWriter
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.writer import ArtifactsWriter, MetricsWriter, RunsWriter

#: 2026-01-01 in milliseconds; each run is started a day after the one before.
_FIRST, _DAY = 1_767_225_600_000, 86_400_000
_EXPERIMENTS = tuple(Experiment(str(one), f"exp {one}", "active", "", 1, 2, {}) for one in range(4))


def _run(number: int) -> Run:
    """Of 200 runs, 50 in each experiment in turn; every tenth is of a team of its own."""
    tags = {"team": "growth" if number % 10 == 3 else "core", "mlflow.runName": f"run {number}", "all": "the same"}
    point = MetricPoint(0, 1, 1.0)
    return Run(
        f"{number:032x}", str(number % 4), f"run {number}", "FINISHED", _FIRST + _DAY * number, None, "u", "active", "",
        {}, tags, {"m": point}, (),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot of 200 runs; those that can be divided by 20 have a file of 20 MiB, by 40 a long history."""

    snapshot: Snapshot
    folder: Path

    def told(self, red: Callable[[int], bool], facet: str = "params", only: Collection[str] = "") -> list[str]:
        """What is said where those runs are red in a facet, and all others green."""
        with LedgerWriter(self.folder / "ledger.parquet") as ledger:
            for number in range(200):
                run = _run(number)
                state = State.MISMATCH if red(number) else State.MATCH
                name = f"exp {run.experiment_id}"
                ledger.add(Row(name, "run", run.name, run.run_id, "copy", facet, state))
                ledger.add(Row(name, "run", run.name, run.run_id, "copy", "presence", State.MATCH))
            # objects of other kinds, and runs of the target alone, are none of these
            ledger.add(Row("exp 0", "trace", "t", "t" * 32, None, "presence", State.MISSING))
            ledger.add(Row("exp 0", "run", "r", None, "x" * 32, "presence", State.EXTRA))
        chosen = [one for one in _EXPERIMENTS if not only or one.name in only]
        return list(in_common(self.folder / "ledger.parquet", self.snapshot, chosen))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The snapshot, written as an audit writes it."""
    folder = tmp_path_factory.mktemp("source")
    snapshot = Snapshot.create(folder / "snapshot", Origin("http://here", "http", "3.17.2", {}), _EXPERIMENTS)
    for experiment in _EXPERIMENTS:
        home = snapshot.home(experiment.experiment_id)
        home.folder.mkdir(parents=True)
        runs = [_run(number) for number in range(200) if str(number % 4) == experiment.experiment_id]
        writer = RunsWriter(home)
        writer.add(runs)
        writer.finish()
        metrics, files = MetricsWriter(home, deleted=False), ArtifactsWriter(home, "digest", deleted=False)
        for run in runs:
            number = int(run.run_id, 16)
            many = np.arange(30_000 if number % 40 == 0 else 3, dtype=np.int64)
            metrics.add([Series(run.run_id, "m", many, many, many.astype(np.float64))])
            size = 20 << 20 if number % 20 == 0 else 1
            files.add(ArtifactTree(run.run_id, (Artifact("small", 1, "0" * 64), Artifact("x", size, "1" * 64))))
        metrics.finish()
        files.finish()
    return Source(snapshot, folder)


def test_a_day(source: Source) -> None:
    """What began late, or early, is said by the day; one straggler of many does not hide it."""
    assert source.told(lambda n: n >= 150) == [
        "all 50 runs that differ were started on or after 2026-05-31 (25 % of all 200 runs that were read)"
    ]
    assert source.told(lambda n: n < 20) == [
        "all 20 runs that differ were started on or before 2026-01-20 (10 % of all 200 runs that were read)"
    ]
    [line] = source.told(lambda n: n >= 140 or n == 3)
    assert line == (
        "98 % of the 61 runs that differ were started on or after 2026-05-21 (30 % of all 200 runs that were read)"
    )


def test_a_tag(source: Source) -> None:
    """The tag that these have and others have not; what all have is no hint."""
    [line] = source.told(lambda n: n % 10 == 3)
    assert line == 'all 20 runs that differ have the tag "team" = "growth" (10 % of all 200 runs that were read)'


def test_an_experiment(source: Source) -> None:
    """Where all of them are; of an audit of one experiment nobody needs to hear that."""
    [line] = source.told(lambda n: n % 4 == 2)
    assert line == 'all 50 runs that differ are in the experiment "exp 2" (25 % of all 200 runs that were read)'
    assert source.told(lambda n: n % 4 == 2, only=["exp 2"]) == []


def test_sizes_of_files_and_histories(source: Source) -> None:
    """Where a proxy takes no large body, or histories were cut: told by the largest size that fits."""
    lines = source.told(lambda n: n % 20 == 0, "artifacts")
    assert (
        "all 10 runs whose artifacts differ have a file of more than 10 MiB (5 % of all 200 runs that were read)"
        in lines
    )
    lines = source.told(lambda n: n % 40 == 0, "metrics")
    assert (
        "all 5 runs whose metrics differ have a metric of more than 25,000 points (2 % of all 200 runs that were read)"
        in lines
    )
    # of another facet their files say nothing
    assert not [line for line in source.told(lambda n: n % 20 == 0) if "MiB" in line]


@pytest.mark.parametrize("red", [lambda n: False, lambda n: n < 4, lambda n: True, lambda n: n % 3 == 0])
def test_nothing_in_common(source: Source, red: Callable[[int], bool]) -> None:
    """None, too few, all, and those that are spread over everything: no line is made up."""
    assert source.told(red) == []


@pytest.mark.parametrize("start", [2**63 - 1, -(2**63), None])
def test_a_time_that_is_no_date(source: Source, tmp_path: Path, start: int | None) -> None:
    """A run may be said to have been started at any number, or at none: no date, and no verdict lost for it."""
    snapshot = Snapshot.create(tmp_path / "snapshot", Origin("http://here", "http", "3.17.2", {}), _EXPERIMENTS[:1])
    home = snapshot.home("0")
    home.folder.mkdir(parents=True)
    writer = RunsWriter(home)
    writer.add([replace(_run(number), start_time=start if number < 10 else _FIRST) for number in range(40)])
    writer.finish()
    with LedgerWriter(tmp_path / "ledger.parquet") as ledger:
        for number in range(10):
            ledger.add(Row("exp 0", "run", "r", f"{number:032x}", None, "presence", State.MISSING))
    [line] = in_common(tmp_path / "ledger.parquet", snapshot, _EXPERIMENTS[:1])
    assert line.startswith("all 10 runs that differ were started on or ")


def test_what_could_not_be_read_is_not_counted(source: Source, tmp_path: Path) -> None:
    """Runs of an experiment whose list was not read are in no figure; without any nothing is said."""
    gone = replace(_EXPERIMENTS[0], experiment_id="99", name="unread")
    with LedgerWriter(tmp_path / "ledger.parquet") as ledger:
        for number in range(20):
            ledger.add(Row("unread", "run", "r", f"{number:032x}", None, "presence", State.UNVERIFIED))
    assert in_common(tmp_path / "ledger.parquet", source.snapshot, [gone]) == ()


@pytest.mark.long
def test_an_audit_says_it_everywhere(fresh_server: FreshServer, tmp_path: Path) -> None:
    """In the terminal, in report.json and in report.html, of a real migration that went wrong for one team."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("shop")
    for number in range(20):
        run = seed.run(experiment, f"run {number}")
        seed.log(run, params={"lr": "1"}, tags={"team": "growth" if number % 3 == 0 else "core"})
        seed.end(run)
    ends = ["--source-uri", source.uri, "--target-uri", target.uri]
    assert migrate_py(tmp_path, "run", *ends, "--no-verify").status == 0
    there = Seeder(target.uri)
    found = there.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    ids = [one["experiment_id"] for one in found]
    for run in there.call("POST", "runs/search", {"experiment_ids": ids})["runs"]:
        if {"key": "team", "value": "growth"} in run["data"]["tags"]:
            there.log(run["info"]["run_id"], tags={"added": "later"})
    done = audit(tmp_path, source.uri, target.uri)
    assert done.status == 1, done.output
    line = 'all 7 runs that differ have the tag "team" = "growth" (35 % of all 20 runs that were read)'
    assert done.report["in_common"] == [line]
    assert f"in common: {line}" in done.output
    assert line.replace('"', "&#34;") in (done.reports / "report.html").read_text()
