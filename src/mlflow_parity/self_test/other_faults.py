"""Classes of faults in scorers, datasets and webhooks, in kinds of later releases, and in unknown fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules.contract import FACETS
from mlflow_parity.kinds.schema.base import OTHER, Facet, Strategy
from mlflow_parity.self_test.changes import altered, without
from mlflow_parity.self_test.common_faults import (
    facet_text_faults,
    link_faults,
    name_faults,
    presence_faults,
    value_faults,
)
from mlflow_parity.self_test.fault import Fault, Scene
from mlflow_parity.self_test.model_faults import items_faults, tags_faults, times_fault, version_presence

_SCORER, _DATASET, _WEBHOOK = "scorer", "evaluation_dataset", "webhook"
_UNKNOWN = "9" * 18


def _number(scene: Scene) -> bool:
    theirs = scene.entity[1]
    return scene.set_facet("number", int(theirs.facets["number"]) + 10**6)


def _experiments(change: Callable[[list[str]], list[str]]) -> Callable[[Scene], bool]:
    """Alter the links, of which the first is to the copy of an experiment."""

    def plant(scene: Scene) -> bool:
        ours, theirs = (list(one or []) for one in scene.facet("experiments"))
        copies = [scene.links.experiments.get(one) for one in ours]
        first = next((one for one in theirs if one in copies), None)
        rest = [one for one in theirs if one != first]
        return first is not None and scene.set_facet("experiments", change([first, *rest]))

    return plant


def _record(field: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        records = list(scene.facet("records")[1] or [])
        place = next((number for number, record in enumerate(records) if field in record), None)
        if place is None:
            return False
        record: dict[str, Any] = records[place]
        records[place] = {**record, field: altered(record[field])}
        return scene.set_facet("records", records)

    return plant


OTHER_FAULTS: tuple[Fault, ...] = (
    *version_presence(_SCORER, twice=False),
    Fault(_SCORER, "number", "another one", _number),
    *value_faults(_SCORER, "definition"),
    times_fault(_SCORER),
    *presence_faults(_DATASET, duplicate=True),
    *name_faults(_DATASET),
    *tags_faults(_DATASET),
    *value_faults(_DATASET, "schema"),
    *value_faults(_DATASET, "profile"),
    Fault(_DATASET, "digest", "lost",
          lambda scene: bool(scene.facet("digest")[0]) and scene.set_facet("digest", None), "a digest"),
    *(fault for fault in value_faults(_DATASET, "digest", same_store_only=True) if fault.name != "lost"),
    *value_faults(_DATASET, "user"),
    *value_faults(_DATASET, "last_updated_by", same_store_only=True),
    Fault(_DATASET, "experiments", "one lost", _experiments(lambda ids: ids[1:]), "a linked experiment"),
    Fault(_DATASET, "experiments", "another one", _experiments(lambda ids: [_UNKNOWN, *ids[1:]]),
          "a linked experiment"),
    Fault(_DATASET, "experiments", "one too many", _experiments(lambda ids: [*ids, _UNKNOWN]), "a linked experiment"),
    *(fault for fault in items_faults(_DATASET, "records", "a record") if fault.name != "one altered"),
    *(Fault(_DATASET, "records", f"one value in the {field} of a record", _record(field), "a record")
      for field in ("inputs", "outputs", "expectations", "tags", "source")),
    times_fault(_DATASET),
    *presence_faults(_WEBHOOK, duplicate=True),
    *name_faults(_WEBHOOK),
    *facet_text_faults(_WEBHOOK, "description"),
    *facet_text_faults(_WEBHOOK, "url"),
    *value_faults(_WEBHOOK, "events"),
    *value_faults(_WEBHOOK, "status"),
    times_fault(_WEBHOOK),
)  # fmt: skip


#: What each strategy of a facet can do wrong.
_BASE: Mapping[Strategy, Callable[[str, Facet], list[Fault]]] = {
    "presence": lambda kind, _: presence_faults(kind, duplicate=kind != "workspace"),
    "value": lambda kind, facet: value_faults(kind, facet.name),
    "definition": lambda kind, facet: value_faults(kind, facet.name),
    "link": lambda kind, facet: link_faults(kind, facet.name, facet.of),
    "stamps": lambda kind, _: [times_fault(kind)],
    "own": lambda kind, facet: facet_text_faults(kind, facet.name),
    "items": lambda kind, facet: items_faults(kind, facet.name, f"one of its {facet.name}"),
}


def _guardrails(change: Callable[[dict[str, Any], str], dict[str, Any]]) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        found = dict(scene.facet("guardrails")[1] or {})
        return bool(found) and scene.set_facet("guardrails", change(found, next(iter(found))))

    return plant


_GUARDRAILS = (
    ("one lost", lambda found, one: without(found, one)),
    ("another one of its name", lambda found, one: {**without(found, one), _UNKNOWN: altered(found[one])}),
    ("one too many", lambda found, one: {**found, _UNKNOWN: found[one]}),
    ("another order", lambda found, one: {**found, one: {**found[one], "execution_order": 99}}),
)
LATER_FAULTS: tuple[Fault, ...] = (
    *(
        fault
        for kind in KINDS.values()
        if kind.whole or kind.name == "workspace"
        for facet in kind.sides
        if facet.name != "guardrails"
        for fault in _BASE[facet.strategy](kind.name, facet)
    ),
    *(Fault("gateway_endpoint", "guardrails", name, _guardrails(change), "a guardrail on an endpoint")
      for name, change in _GUARDRAILS),
)  # fmt: skip


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
