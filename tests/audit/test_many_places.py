"""What an audit holds of each experiment as long as it goes on: no open file."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from support.memory_store import RunData, Store, audited, experiment, run_id, same_ids

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.records import Entity
from mlflow_parity.snapshot.objects import ObjectsTable, ObjectsWriter
from mlflow_parity.snapshot.writer import Home

EXPERIMENTS, FILES = 60, 100


@pytest.mark.long
def test_no_file_stays_open_for_each_experiment(tmp_path: Path) -> None:
    """60 experiments with three tables of objects a side are audited with 100 files more than are open before."""
    store = Store({str(number): experiment(number, f"e{number}") for number in range(1, EXPERIMENTS + 1)})
    for number in range(1, EXPERIMENTS + 1):
        store.add(RunData(run_id(number), str(number), f"run {number}", artifact_uri=f"mlflow-artifacts:/{number}"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + FILES, before[1]))
    try:
        done = audited(tmp_path, store, same_ids(store))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert done.result.source_runs == EXPERIMENTS
    assert done.result.green, done.result.findings[:3]


def test_a_part_that_was_replaced_is_not_read_on(tmp_path: Path) -> None:
    """Rows are found by their numbers: in another file they would be other objects."""

    def written(*names: str) -> None:
        writer = ObjectsWriter(Home(tmp_path, "1", "x"), "traces")
        writer.add(Entity("trace", name, name, "1", 1, {}) for name in names)
        writer.finish()

    written("tr-1", "tr-2")
    table = ObjectsTable(tmp_path / "traces.parquet")
    assert [one.entity_id for one in table.entities("trace", ["tr-2", "tr-1"])] == ["tr-2", "tr-1"]
    written("tr-2", "tr-1")
    # what is in memory is of the file as it was
    assert [one.entity_id for one in table.entities("trace", ["tr-2"])] == ["tr-2"]
    table.rest()
    with pytest.raises(SnapshotError, match=r"traces\.parquet was replaced while it was compared"):
        table.entities("trace", ["tr-2"])
