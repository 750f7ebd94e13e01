"""The load benchmark, made small: its data is what it says, and an audit of it counts exactly what was planted."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.postgres import postgres

from benchmarks.load import check_counts, measure
from benchmarks.load_data import Load

pytestmark = pytest.mark.long


def test_counts_are_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of each hundred runs' faults, in three experiments; a fault that was not planted is noticed."""
    load = Load(300, 3, block=100)
    told = []

    def checked(load: Load, report: dict[str, object]) -> None:
        check_counts(load, report)
        told.append(report)

    monkeypatch.setattr("benchmarks.load.check_counts", checked)
    with postgres() as cluster:
        made = measure(cluster, load, tmp_path, databases=False)
    # each file is listed and read on both sides; runs without any cost no request of their own
    assert 4 * load.files < made.requests < 2 * load.runs
    assert made.row.count("|") == 12
    [report] = told
    with pytest.raises(AssertionError):
        check_counts(Load(300, 3, block=150), report)
