"""Classes of faults in traces: their fields, spans and assessments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlflow_parity.comparing.object_fields import PLACE_TAGS
from mlflow_parity.self_test.changes import altered
from mlflow_parity.self_test.common_faults import (
    file_faults,
    link_faults,
    mapping_faults,
    presence_faults,
    value_faults,
)
from mlflow_parity.self_test.fault import MADE_UP, Fault, Scene
from mlflow_parity.self_test.model_faults import items_faults

_KIND = "trace"
_Item = dict[str, Any]


def _time(name: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        ours = dict(scene.facet("times")[0] or {})
        return isinstance(ours.get(name), int) and scene.set_facet("times", {**ours, name: ours[name] + 1})

    return plant


def _preview(name: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        ours = dict(scene.facet("previews")[0] or {})
        return bool(ours.get(name)) and scene.set_facet("previews", {**ours, name: ours[name][:-1]})

    return plant


def _one(facet: str, change: Callable[[_Item], _Item | None], *, fits: Callable[[_Item], bool] = bool,
         ) -> Callable[[Scene], bool]:  # fmt: skip
    """Alter the first span or assessment that fits."""

    def plant(scene: Scene) -> bool:
        items = list(scene.facet(facet)[1] or [])
        place = next((number for number, item in enumerate(items) if fits(item)), None)
        new = None if place is None else change(items[place])
        if place is None or new is None or new == items[place]:
            return False
        items[place] = new
        scene.set_facet(facet, items)
        return True

    return plant


def _field(facet: str, name: str) -> Callable[[Scene], bool]:
    return _one(facet, lambda item: {**item, name: altered(item.get(name))}, fits=lambda item: name in item)


def _new_span(scene: Scene) -> bool:
    spans = list(scene.facet("spans")[1] or [])
    return bool(spans) and scene.set_facet("spans", [*spans, {**spans[0], "span_id": "c0ffee" * 2 + "c0ff"}])


def _linked(change: Callable[[list[str]], list[str]]) -> Callable[[Scene], bool]:
    """Alter the links to prompt versions: the associations, or the tag's where one side tells no others."""

    def plant(scene: Scene) -> bool:
        told = "prompts" if None in scene.facet("linked_prompts") else "linked_prompts"
        before = list(scene.facet(told)[1] or [])
        after = change(before)
        return after != before and scene.set_facet(told, after)

    return plant


def _runs(change: Callable[[list[str]], list[str]]) -> Callable[[Scene], bool]:
    """Alter the runs that a trace was linked to afterwards; links to runs without a copy may go."""

    def plant(scene: Scene) -> bool:
        pairs, linked = scene.links.of("run"), list(scene.facet("run_links")[1] or [])
        known = [pairs[run] for run in scene.facet("run_links")[0] or [] if run in pairs]
        before = [run for run in linked if run in known]
        after = change(before)
        rest = [run for run in linked if run not in known]
        return after != before and scene.set_facet("run_links", sorted([*rest, *after]))

    return plant


_LINKED_RUN = "a run that it was linked to afterwards"
_LINKED = "a linked prompt version"
_SPAN = "a span"
_JUDGED = "an assessment"
_SPAN_FIELDS = {"its name": "name", "its type": "type", "its inputs": "inputs", "its outputs": "outputs",
                "its status": "status", "its start by one nanosecond": "start_ns",
                "its end by one nanosecond": "end_ns"}  # fmt: skip
_ASSESSMENT_FIELDS = {"its name": "name", "its value": "value", "its source": "source", "its rationale": "rationale",
                      "its metadata": "metadata"}  # fmt: skip
TRACE_FAULTS: tuple[Fault, ...] = (
    *presence_faults(_KIND, duplicate=True),
    *value_faults(_KIND, "state"),
    Fault(_KIND, "times", "request one millisecond later", _time("request"), "a request time"),
    Fault(_KIND, "times", "duration longer by one millisecond", _time("duration"), "a duration"),
    *value_faults(_KIND, "client_request_id"),
    Fault(_KIND, "previews", "request cut short by one character", _preview("request"), "a request preview"),
    Fault(_KIND, "previews", "response cut short by one character", _preview("response"), "a response preview"),
    *mapping_faults(_KIND, "tags", lambda scene: scene.tags, lambda scene, tags: scene.set_tags(tags),
                    lambda scene, key: key not in PLACE_TAGS),
    *mapping_faults(_KIND, "metadata",
                    lambda scene: (scene.facet("metadata")[0] or {}, scene.facet("metadata")[1] or {}),
                    lambda scene, items: scene.set_facet("metadata", dict(items)), lambda scene, key: True),
    *link_faults(_KIND, "run", "run"),
    Fault(_KIND, "run_links", "one lost", _runs(lambda runs: runs[1:]), _LINKED_RUN),
    Fault(_KIND, "run_links", "to another one", _runs(lambda runs: [MADE_UP, *runs[1:]] if runs else []), _LINKED_RUN),
    Fault(_KIND, "run_links", "one too many", _runs(lambda runs: [*runs, MADE_UP])),
    *link_faults(_KIND, "logged_model", "logged_model"),
    Fault(_KIND, "prompts", "one lost", _linked(lambda linked: linked[1:]), _LINKED),
    Fault(_KIND, "prompts", "one there twice", _linked(lambda linked: [*linked, *linked[:1]]), _LINKED),
    Fault(_KIND, "prompts", "one altered", _linked(lambda linked: altered(linked) if linked else []), _LINKED),
    Fault(_KIND, "prompts", "one too many", _linked(lambda linked: [*linked, f"{MADE_UP}/1"])),
    Fault(_KIND, "spans", "one lost", lambda scene: bool(scene.facet("spans")[1])
          and scene.set_facet("spans", scene.facet("spans")[1][:-1]), _SPAN),
    Fault(_KIND, "spans", "one there twice", _new_span, _SPAN),
    *(Fault(_KIND, "spans", name, _field("spans", field), _SPAN) for name, field in _SPAN_FIELDS.items()),
    Fault(_KIND, "spans", "one attribute", _field("spans", "attributes"), _SPAN),
    Fault(_KIND, "spans", "one event lost",
          _one("spans", lambda one: {**one, "events": one["events"][1:]}, fits=lambda one: bool(one.get("events"))),
          "a span with an event"),
    Fault(_KIND, "spans", "below no other any more",
          _one("spans", lambda span: {**span, "parent_id": None}, fits=lambda span: bool(span.get("parent_id"))),
          "a span below another"),
    *(fault for fault in file_faults(_KIND, "attachments") if "MLmodel" not in fault.name),
    *(fault for fault in items_faults(_KIND, "assessments", _JUDGED) if fault.name != "one altered"),
    *(Fault(_KIND, "assessments", name, _field("assessments", field), _JUDGED)
      for name, field in _ASSESSMENT_FIELDS.items()),
    Fault(_KIND, "assessments", "what it overrides is forgotten",
          _one("assessments", lambda one: {**one, "overrides": None}, fits=lambda one: bool(one.get("overrides"))),
          "an assessment that overrides another"),
)  # fmt: skip
