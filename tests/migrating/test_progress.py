"""Progress of a migration: counts, bytes, rates and the time left, on a terminal and elsewhere."""

from __future__ import annotations

import pytest

from mlflow_parity.core.records import Experiment
from mlflow_parity.core.text import duration
from mlflow_parity.migrating.progress import MigrationProgress
from mlflow_parity.migrating.survey import Extent, Survey


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _survey() -> Survey:
    survey = Survey()
    for number in range(4):
        experiment = Experiment(str(number), f"e{number}", "active", "s3://x", 0, 0, {})
        survey.extents[str(number)] = Extent(experiment, runs=50, points=5_000, files=100, size=50_000_000)
    return survey


def test_counts_bytes_rates_and_time_left() -> None:
    """Half of it after a minute: a minute is left; the side under way comes first, the other keeps its rate."""
    clock, written = _Clock(), list[str]()
    progress = MigrationProgress(written.append, isatty=False, clock=clock)
    assert progress.line() == "beginning"
    progress.whole(_survey())
    progress.add("source", experiments=0)
    clock.now += 0.5
    assert "left" not in progress.line()  # too early to tell
    clock.now += 59.5
    progress.add("source", experiments=2, runs=100, points=10_000, artifacts=200, size=100_000_000, objects=3)
    line = progress.line()
    assert (
        line == "read 2/4 exp, 100/200 runs, 10.0k points 167/s, 200 files 100.0/200.0 MB 1.7/s, 58 s left, 3 objects"
    )
    clock.now += 60
    progress.add("source", experiments=2, runs=100, points=10_000, artifacts=200, size=100_000_000)
    read = progress.line()
    assert "left" not in read
    clock.now += 1
    progress.add("target", runs=20, points=2_000, artifacts=40, size=20_000_000)
    clock.now += 30
    # a tenth took 30 s; what was read is not slower for that
    assert progress.line() == (
        f"written 20/200 runs, 2,000 points 67/s, 40 files 20.0/200.0 MB 0.7/s, 4 min left | {read}"
    )
    # no terminal: a line now and then, not at each count
    assert len(written) == 2
    assert all(line.endswith("\n") for line in written)


def test_what_is_there_already_counts() -> None:
    """A run that goes on after an interruption begins with what it has written, and its rate is of what it writes."""
    clock = _Clock()
    progress = MigrationProgress(lambda _: None, isatty=False, clock=clock)
    progress.whole(_survey(), 150)
    progress.add("target", experiments=0)
    clock.now += 10
    progress.add("target", runs=25, points=2_500, artifacts=50, size=25_000_000)
    # half of what was left took 10 s
    assert progress.line().startswith("written 175/200 runs, 2,500 points 250/s, 50 files 25.0/200.0 MB")
    assert progress.line().endswith(", 10 s left")


def test_without_a_survey_there_is_no_time_left() -> None:
    """A plain export knows how many experiments there are, and no more."""
    clock = _Clock()
    progress = MigrationProgress(lambda _: None, isatty=False, clock=clock)
    progress.expect("source", 3)
    progress.add("source", experiments=1)
    clock.now += 10
    progress.add("source", runs=20)
    assert progress.line() == "read 1/3 exp, 20 runs 2/s"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.1, "1 s"), (89, "89 s"), (600, "10 min"), (5_399, "90 min"), (9_000, "2.5 h")]
)
def test_durations(seconds: float, said: str) -> None:
    """As people say them."""
    assert duration(seconds) == said
