"""Which runs an export holds, from single columns of its tables: nothing else of a run is loaded for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlflow_parity.core.records import PARENT_TAG, Experiment
from mlflow_parity.migrating.write.importing import Import


def _is_read(context: Import, experiment: Experiment) -> bool:
    """Whether the runs of an experiment are in the export; their checksums are not looked at here."""
    sidecar = context.export.snapshot.sidecar(experiment.experiment_id, "runs")
    return sidecar is not None and "error" not in sidecar


def stages(context: Import, experiment: Experiment) -> pa.Table:
    """Return ``run_id`` and ``lifecycle_stage`` of every run of an experiment; nothing where they were not read."""
    columns = ["run_id", "lifecycle_stage"]
    if not _is_read(context, experiment):
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    path = context.export.snapshot.folder(experiment.experiment_id) / "runs.parquet"
    return pq.read_table(path, columns=columns)


def deleted_runs(context: Import, experiment: Experiment) -> list[str]:
    """Return the runs of an experiment that are deleted on the source."""
    table = stages(context, experiment)
    found: list[str] = table.filter(pc.equal(table.column("lifecycle_stage"), "deleted")).column("run_id").to_pylist()
    return found


def parents_within(context: Import, experiment: Experiment) -> set[str]:
    """Return the runs of an experiment that are parents of others in it, and are to be moved."""
    path = context.export.snapshot.folder(experiment.experiment_id) / "runs.parquet"
    parents: set[str] = set()
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        tags = file.read_row_group(group, columns=["tags"]).column("tags").combine_chunks()
        for chunk in [tags] if isinstance(tags, pa.Array) else tags.chunks:
            found: Any = pc.map_lookup(chunk, PARENT_TAG, "first")
            parents.update(filter(None, pc.unique(found).to_pylist()))
    return runs_among(context, [experiment], parents)


def runs_among(context: Import, experiments: Iterable[Experiment], wanted: set[str], *, all_: bool = False) -> set[str]:
    """Return those of ``wanted`` that are runs of the experiments, and to be moved (``all_``: or not)."""
    found: set[str] = set()
    for experiment in experiments if wanted else ():
        table = stages(context, experiment)
        mask = pc.is_in(table.column("run_id"), pa.array(sorted(wanted), pa.string()))
        if not (all_ or context.include_deleted):
            mask = pc.and_(mask, pc.not_equal(table.column("lifecycle_stage"), "deleted"))
        found.update(table.filter(mask).column("run_id").to_pylist())
    return found


def runs_to_come(context: Import, experiment: Experiment, absent: set[str]) -> set[str]:
    """Return those runs, which are not on the target, that may still be brought there; the others are gone for good.

    An export may be read batch by batch: while experiments are unread, a run may be in one of them.
    """
    coming = runs_among(context, [experiment], absent)
    elsewhere = absent - runs_among(context, [experiment], absent, all_=True)
    others = [one for one in context.experiments if one.experiment_id != experiment.experiment_id]
    if elsewhere and not all(_is_read(context, one) for one in others):
        return coming | elsewhere
    return coming | runs_among(context, others, elsewhere)
