"""Classes of faults in what a server tells of an object and nothing here knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_parity.kinds.base import OTHER
from mlflow_parity.kinds.contract import FACETS
from mlflow_parity.self_test.changes import altered, without
from mlflow_parity.self_test.fault import Fault, Scene

_Other = Mapping[str, Any]


def _sides(scene: Scene) -> tuple[_Other, _Other]:
    if scene.kind in ("experiment", "run"):
        ours, theirs = scene.record
        return ours.other, theirs.other
    mine, copy = scene.facet(OTHER)
    return mine or {}, copy or {}


def _put(scene: Scene, other: _Other) -> bool:
    plain = scene.kind in ("experiment", "run")
    return scene.change(other=dict(other)) if plain else scene.set_facet(OTHER, dict(other))


def _of_one(change: Callable[[_Other, str], _Other]) -> Callable[[Scene], bool]:
    """Alter one of those that both sides have."""

    def plant(scene: Scene) -> bool:
        ours, theirs = _sides(scene)
        key = next(iter(scene.keys(OTHER, ours.keys() & theirs.keys())), None)
        return key is not None and _put(scene, change(theirs, key))

    return plant


def _extra(scene: Scene) -> bool:
    return _put(scene, {**_sides(scene)[1], "parity-self-test": "x"})


UNKNOWN_FAULTS: tuple[Fault, ...] = tuple(
    fault
    for kind, facets in FACETS.items()
    if OTHER in facets
    for fault in (
        Fault(kind, OTHER, "one too many", _extra),
        Fault(kind, OTHER, "one lost", _of_one(without), "a field of a newer MLflow"),
        Fault(kind, OTHER, "one value altered", _of_one(lambda other, key: {**other, key: altered(other[key])}),
              "a field of a newer MLflow"),
    )
)  # fmt: skip
