"""What an export holds: its objects one after the other, single columns of its runs, points that models share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import PARENT_TAG, Entity, Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.exim.drafts import Point
from mlflow_parity.migrating.write.batches import place, stored
from mlflow_parity.migrating.write.importing import Import

if TYPE_CHECKING:
    from mlflow_parity.snapshot.store import PlaceObjects


_CHUNK = 500


def every(
    objects: PlaceObjects, kind: str, *, only: Collection[str] | None = None, chunk: int = _CHUNK, oldest: bool = False
) -> Iterator[Entity]:
    """Yield every object of a kind, or ``only`` those of these ids; nothing where their list was not read.

    ``oldest``: in the order in which they were made, else as they were listed.
    """
    if objects.problem(KINDS[kind].part) is not None:
        return
    keys: Sequence[ObjectKey] = objects.keys(kind)
    if oldest:
        keys = sorted(keys, key=lambda key: key.order)
    ids = [key.entity_id for key in keys if only is None or key.entity_id in only]
    for first in range(0, len(ids), chunk):
        yield from objects.entities(kind, ids[first : first + chunk])


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


#: Key, timestamp, step, and the value as a SQL store keeps it.
Place = tuple[str, int, int, float | str]


def logged_models(context: Import, experiment: Experiment) -> Iterator[Entity]:
    """Yield the logged models of an experiment, in the order in which they were made."""
    objects = context.export.snapshot.objects(experiment.experiment_id)
    if objects.problem("logged_models") is not None:
        return
    keys = sorted(objects.keys("logged_model"), key=lambda key: (key.created or 0, key.entity_id))
    for first in range(0, len(keys), _CHUNK):
        yield from objects.entities("logged_model", [key.entity_id for key in keys[first : first + _CHUNK]])


class ModelPoints:
    """The points that the logged models of one experiment have, by run."""

    def __init__(self, context: Import, experiment: Experiment) -> None:
        self._places: dict[str, set[Place]] = defaultdict(set)
        self._models: dict[str, set[str]] = defaultdict(set)
        for model in logged_models(context, experiment):
            for point in model.facets.get("metrics") or ():
                if point["run"]:
                    self._places[point["run"]].add(_place(point))
                    self._models[point["run"]].add(model.entity_id)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._places

    def models(self, run_id: str) -> set[str]:
        """Return the models that share points with a run."""
        return self._models.get(run_id, set())

    def without(self, run_id: str, points: Sequence[Point]) -> list[Point]:
        """Return the points of a run that no model has."""
        held = self._places.get(run_id)
        return list(points) if not held else [point for point in points if not _is_held(point, held, points)]


def _place(point: Mapping[str, Any]) -> Place:
    return point["key"], point["timestamp"], point["step"], stored(point["value"])


def _is_held(point: Point, held: set[Place], points: Sequence[Point]) -> bool:
    if place(point) in held:
        return True
    # a model keeps NaN as 0.0
    key, value, timestamp, step = point
    zero = (key, timestamp, step, 0.0)
    return value != value and zero in held and all(place(other) != zero for other in points)


def run_value(point: Mapping[str, Any], points: Sequence[Point]) -> float:
    """Return the value that a model's point has in its run, whose points are given."""
    value = float(point["value"])
    if value != 0.0:
        return value
    here = [one for one in points if (one[0], one[2], one[3]) == (point["key"], point["timestamp"], point["step"])]
    return float("nan") if here and all(one[1] != one[1] for one in here) else value
