"""The end of a large migration: memory does not grow with the number of objects."""

from __future__ import annotations

import argparse
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from mlflow_parity.core.records import Experiment, Run
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.outcome import settle
from mlflow_parity.migrating.settings import add_arguments, settings_of
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.writer import RunsWriter

EXPERIMENTS, RUNS = 20, 300


def _peak_mb(work: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_the_account_of_many_runs_is_small(tmp_path: Path) -> None:
    """Six thousand runs are held against the journal, in some megabytes; one that is not moved is found."""
    experiments = [Experiment(str(n), f"e{n}", "active", "", None, None, {}) for n in range(EXPERIMENTS)]
    snapshot = Snapshot.create(tmp_path / "snapshot", Origin("http://source", "server", None, {}), experiments)
    journal = Journal(tmp_path / "journal")
    journal._file.execute("BEGIN")
    for experiment in experiments:
        place = experiment.experiment_id
        journal.begin("experiment", place)
        journal.done("experiment", place)
        snapshot.folder(place).mkdir(parents=True)
        writer = RunsWriter(snapshot.home(place))
        for number in range(RUNS):
            identity = f"{place:0>16}{number:016x}"
            writer.add([Run(identity, place, f"run {number}", "FINISHED", 0, 1, "ada", "active", "", {}, {}, {}, ())])
            journal.begin("run", identity, place=place, name=f"run {number}")
            journal.created("run", identity, identity[::-1])
            if (place, number) != ("7", 77):
                journal.done("run", identity, "d" * 128)
        writer.finish()
    journal._file.execute("COMMIT")
    parser = argparse.ArgumentParser()
    add_arguments(parser, source=True, target=True)
    settings = settings_of(parser.parse_args([]), {})

    def account() -> None:
        outcome = settle(settings, "run", [], snapshot, journal)
        assert outcome.moved["run"] == EXPERIMENTS * RUNS - 1
        [one] = [one for one in outcome.unmoved if one.kind == "run"]
        assert (one.name, one.place, one.fate) == ("run 77", "e7", "waiting")

    peak = _peak_mb(account)
    journal.close()
    print(f"peak {peak:.1f} MB")
    assert peak < 4, f"{peak:.1f} MB"
