"""Classes of faults in scorers, evaluation datasets and webhooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow_parity.self_test.changes import altered
from mlflow_parity.self_test.common_faults import facet_text_faults, name_faults, presence_faults, value_faults
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
