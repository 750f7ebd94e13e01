"""Metric points that runs share with logged models: written once, with both.

A point that is logged with a model becomes one of its run as well. Written with the run first, it would have to be
written again with the model, and MLflow before 3.17 refuses that for NaN and for long histories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.migrating.exim.drafts import Point
from mlflow_parity.migrating.write.batches import place, stored
from mlflow_parity.migrating.write.importing import Import

_CHUNK = 500
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
