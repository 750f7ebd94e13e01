"""Classes of faults in logged models, in the model registry and in prompts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlflow_parity.comparing.fields import FIELD
from mlflow_parity.comparing.registry_fields import EXPERIMENTS_TAG, VERSIONS_TAG
from mlflow_parity.core.json_text import parsed
from mlflow_parity.core.records import EXIM_PREFIX, STORAGE, ArtifactTree
from mlflow_parity.core.scope import SAME_STORE
from mlflow_parity.self_test.changes import altered, ulp, without
from mlflow_parity.self_test.common_faults import (
    facet_text_faults,
    file_faults,
    link_faults,
    mapping_faults,
    name_faults,
    presence_faults,
    value_faults,
)
from mlflow_parity.self_test.fault import MADE_UP, Fault, Scene

_MODEL, _NAMED, _VERSION = "logged_model", "registered_model", "model_version"
_PROMPT, _PROMPT_VERSION = "prompt", "prompt_version"
#: What a facet of logged models' metrics may be called in reports, with the field that is altered.
_POINT = {"a value by one ulp": "value", "a time by one millisecond": "timestamp", "a step by one": "step",
          "another dataset": "dataset_name", "another digest of the dataset": "dataset_digest"}  # fmt: skip


def tags_faults(kind: str) -> list[Fault]:
    """Tags but those that servers and the tool write."""
    return mapping_faults(
        kind,
        "tags",
        lambda scene: scene.tags,
        lambda scene, tags: scene.set_tags(tags),
        lambda _, key: not key.startswith(EXIM_PREFIX) and key not in (VERSIONS_TAG, EXPERIMENTS_TAG),
    )


def times_fault(kind: str) -> Fault:
    """Times that every server sets itself: only where the store went on is another one a fault."""

    def plant(scene: Scene) -> bool:
        ours = scene.facet("times")[0] or {}
        return bool(ours) and scene.set_facet("times", altered(ours))

    return Fault(kind, "times", "one millisecond later", plant, "a time", profiles=SAME_STORE)


def items_faults(kind: str, facet: str, what: str) -> list[Fault]:
    """A list whose members are told apart by all that they hold."""

    def of(change: Callable[[list[Any]], list[Any]]) -> Callable[[Scene], bool]:
        def plant(scene: Scene) -> bool:
            items = list(scene.facet(facet)[1] or [])
            return bool(items) and scene.set_facet(facet, change(items))

        return plant

    return [
        Fault(kind, facet, "one lost", of(lambda items: items[1:]), what),
        Fault(kind, facet, "one there twice", of(lambda items: [*items, items[0]]), what),
        Fault(kind, facet, "one altered", of(lambda items: [altered(items[0]), *items[1:]]), what),
    ]


def _point(field: str) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        points = list(scene.facet("metrics")[1] or [])
        if not points:
            return False
        value = points[0].get(field)
        new = ulp(value) if field == "value" else altered(value)
        return scene.set_facet("metrics", [{**points[0], field: new}, *points[1:]])

    return plant


def _point_of_run(scene: Scene) -> bool:
    points = list(scene.facet("metrics")[1] or [])
    return bool(points) and scene.set_facet("metrics", [{**points[0], "run": MADE_UP}, *points[1:]])


def _source_place(scene: Scene) -> bool:
    ours, theirs = scene.entity
    if scene.profile == "same-store":
        return scene.change(artifact_uri=f"{theirs.artifact_uri}/elsewhere")
    place = ours.artifact_uri or ""
    if ours.entity_id == theirs.entity_id or not place or place.startswith("mlflow-artifacts:"):
        return False
    scene.change(artifact_uri=place)
    return True


def _versions_tag(scene: Scene) -> bool:
    theirs = scene.tags[1]
    try:
        entries = parsed(theirs.get(VERSIONS_TAG, ""))
        # one that is not in scope may be named or not
        named = next(entry for entry in entries if scene.links.is_wanted(entry["name"]))
        named["name"] += "x"
    except (ValueError, TypeError, KeyError, StopIteration):
        return False
    return scene.set_tags({**theirs, VERSIONS_TAG: json.dumps(entries)})


def _experiments_tag(scene: Scene) -> bool:
    ours, theirs = scene.tags
    listed = theirs.get(EXPERIMENTS_TAG)
    return bool(ours.get(EXPERIMENTS_TAG)) and scene.set_tags(
        {**theirs, EXPERIMENTS_TAG: f"{listed or ','}{'9' * 18},"}
    )


def _name_missing(scene: Scene) -> bool:
    scene.gone()
    for key in [key for key, one in scene.target.entities.items() if one.container == scene.copy]:
        del scene.target.entities[key]
    return True


def _name_extra(scene: Scene) -> bool:
    theirs = scene.entity[1]
    name = f"{theirs.name} (parity-self-test)"
    # what --parity-models does not name is none of the audit's business
    if not scene.in_scope(name):
        return False
    scene.target.entities[scene.kind, name] = replace(theirs, entity_id=name, name=name)
    return True


def _alias(change: Callable[[dict[str, str]], dict[str, str]], *, some: bool = True) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        theirs = dict(scene.facet("aliases")[1] or {})
        return (bool(theirs) or not some) and scene.set_facet("aliases", change(theirs))

    return plant


def _moved(aliases: dict[str, str]) -> dict[str, str]:
    first = next(iter(aliases))
    number = aliases[first]
    return {**aliases, first: str(int(number) + 1) if number.isdigit() else f"{number}x"}


def _answer(**fields: Any) -> Callable[[Scene], bool]:
    """The target answers for the first alias that both have with something else."""

    def plant(scene: Scene) -> bool:
        ours, theirs = scene.facet("aliases")
        answers = scene.target.answers.get(scene.copy, [])
        told = next((one for one in answers if one.alias in (ours or {}) and one.alias in (theirs or {})), None)
        rest = [one for one in answers if one is not told]
        if told is not None:
            scene.target.answers[scene.copy] = [*rest, replace(told, **fields)]
        return told is not None

    return plant


def _names_faults(kind: str) -> list[Fault]:
    return [
        Fault(kind, "presence", "lost", _name_missing),
        Fault(kind, "presence", "one too many", _name_extra, "a scope that names others"),
        *facet_text_faults(kind, "description"),
        *tags_faults(kind),
        Fault(kind, "aliases", "one lost", _alias(lambda one: without(one, next(iter(one)))), "an alias"),
        Fault(kind, "aliases", "one at another version", _alias(_moved), "an alias"),
        Fault(kind, "aliases", "one too many", _alias(lambda one: {**one, "parity-self-test": "1"}, some=False)),
        Fault(kind, "resolves", "an alias to another version", _answer(version=f"{10**6}"), "an alias"),
        Fault(kind, "resolves", "an alias to nothing", _answer(version=None), "an alias"),
        Fault(
            kind, "resolves", "an alias that cannot be asked for", _answer(error="the self-test says so"), "an alias"
        ),
        times_fault(kind),
    ]


def version_presence(kind: str, *, twice: bool) -> list[Fault]:
    """A version lost; one too many, with a number of its own; one there twice."""

    def missing(scene: Scene) -> bool:
        scene.gone()
        return True

    def clone(scene: Scene, **facets: Any) -> bool:
        theirs = scene.entity[1]
        number = 10**6
        head = theirs.entity_id.rpartition("/")[0]
        new = replace(theirs, entity_id=f"{head}/{number}", name=f"{theirs.name} again",
                      facets={**theirs.facets, "number": number, **facets})  # fmt: skip
        scene.target.entities[kind, new.entity_id] = new
        scene.target.stands_for[new.entity_id] = theirs.entity_id
        return True

    def extra(scene: Scene) -> bool:
        theirs = scene.entity[1]
        name = {"model_version": "description", "prompt_version": "template", "scorer": "definition"}[kind]
        tags = {key: text for key, text in scene.tags[1].items() if not key.startswith(EXIM_PREFIX)}
        return clone(scene, **{name: altered(theirs.facets.get(name)), "tags": tags})

    faults = [Fault(kind, "presence", "lost", missing), Fault(kind, "presence", "one too many", extra)]
    return [*faults, Fault(kind, "presence", "there twice", clone)] if twice else faults


def _renumbered(scene: Scene) -> bool:
    theirs = scene.entity[1]
    number = theirs.facets.get("number")
    if not isinstance(number, int):
        return False
    tags = {key: text for key, text in scene.tags[1].items() if not key.startswith(EXIM_PREFIX)}
    more = {"tags": tags} if theirs.facets.get("tags") is not None else {}
    return scene.change(facets={**theirs.facets, **more, "number": number + 10**6})


def _reordered(scene: Scene) -> bool:
    if scene.other is None or scene.entity[0].container != scene.source.entities[_VERSION, scene.other[0]].container:
        return False
    mine, other = scene.entity[1], scene.target.entities[_VERSION, scene.other[1]]
    numbers = mine.facets["number"], other.facets["number"]
    scene.target.entities[_VERSION, scene.copy] = replace(mine, facets={**mine.facets, "number": numbers[1]})
    scene.target.entities[_VERSION, scene.other[1]] = replace(other, facets={**other.facets, "number": numbers[0]})
    return True


def _version_tag(change: Callable[[dict[str, str]], dict[str, str] | None]) -> Callable[[Scene], bool]:
    def plant(scene: Scene) -> bool:
        ours, theirs = scene.tags
        own = any(key.startswith(EXIM_PREFIX) for key in theirs)
        mine = any(key.startswith(EXIM_PREFIX) for key in ours)
        new = change(dict(theirs)) if own and not mine else None
        return new is not None and new != theirs and scene.set_tags(new)

    return plant


def _forge(tags: dict[str, str]) -> dict[str, str] | None:
    key = next((FIELD + name for name in ("status", "creation_timestamp", "source") if FIELD + name in tags), None)
    return None if key is None else {**tags, key: "forged"}


def _made_up_tag(scene: Scene) -> bool:
    tags = scene.tags[1]
    return not any(key.startswith(EXIM_PREFIX) for key in tags) and scene.set_tags({**tags, FIELD + "status": "forged"})


def _no_source(scene: Scene) -> bool:
    return bool(scene.facet("source")[0]) and scene.set_facet("source", "")


def _wrong_source(scene: Scene) -> bool:
    """The source's own: where it names a run or model that has another id on the target."""
    ours = scene.facet("source")[0] or ""
    if scene.profile == "same-store":
        return scene.set_facet("source", f"{ours}/elsewhere")
    for facet in ("run", "logged_model"):
        mine, copy = scene.facet(facet)
        if mine and copy and mine != copy and mine in ours:
            scene.set_facet("source", ours)
            return True
    return False


def _wrong_storage(scene: Scene) -> bool:
    """The source's own place: where it names a run or model that has another id on the target."""
    ours = scene.facet(STORAGE)[0] or ""
    if not ours or scene.profile == "same-store":
        return bool(ours) and scene.set_facet(STORAGE, f"{ours}/elsewhere")
    for facet in ("run", "logged_model"):
        mine, copy = scene.facet(facet)
        if mine and copy and mine != copy and mine in ours:
            scene.set_facet(STORAGE, ours)
            return True
    return False


def _mlmodel(content: bytes | None) -> Callable[[Scene], bool]:
    """The copy's ``MLmodel`` gone (``None``), or with other bytes in it."""

    def plant(scene: Scene) -> bool:
        theirs = scene.target.tree(_VERSION, scene.copy)
        model = next((file for file in theirs.files if file.path == "MLmodel" and file.content is not None), None)
        if model is None or theirs.error is not None or model.error is not None:
            return False
        rest = tuple(file for file in theirs.files if file is not model)
        new = () if content is None else (replace(model, content=content),)
        scene.target.trees[_VERSION, scene.copy] = ArtifactTree(scene.copy, (*rest, *new))
        return True

    return plant


def _no_access(scene: Scene) -> bool:
    theirs = scene.target.tree(_VERSION, scene.copy)
    if theirs.error is not None or not theirs.files:
        return False
    files = (replace(theirs.files[0], error="the self-test says so"), *theirs.files[1:])
    scene.target.trees[_VERSION, scene.copy] = replace(theirs, files=files)
    return True


def _unloadable(scene: Scene) -> bool:
    """A version that the target does not have: loading it must fail, as that of a broken one does."""
    return scene.set_facet("number", 10**9)


MODEL_FAULTS: tuple[Fault, ...] = (
    *presence_faults(_MODEL, duplicate=True),
    *name_faults(_MODEL),
    *value_faults(_MODEL, "type"),
    *value_faults(_MODEL, "status", lost=False),
    *tags_faults(_MODEL),
    Fault(_MODEL, "tags", "another registered version in mlflow.modelVersions", _versions_tag, "a version in scope"),
    *mapping_faults(_MODEL, "params", lambda scene: (scene.facet("params")[0] or {}, scene.facet("params")[1] or {}),
                    lambda scene, params: scene.set_facet("params", dict(params)), lambda scene, key: True),
    *(Fault(_MODEL, "metrics", name, _point(field), "a metric") for name, field in _POINT.items()),
    *(fault for fault in items_faults(_MODEL, "metrics", "a metric") if fault.name != "one altered"),
    Fault(_MODEL, "metrics", "of another run", _point_of_run, "a metric"),
    *link_faults(_MODEL, "run", "run"),
    times_fault(_MODEL),
    *file_faults(_MODEL, "files"),
    Fault(_MODEL, "files", "in another place, or the source's", _source_place, "a place that is not each server's own"),
    *_names_faults(_NAMED),
    *version_presence(_VERSION, twice=True),
    Fault(_VERSION, "number", "another one", _renumbered, "a number"),
    Fault(_VERSION, "order", "two in another order", _reordered, "a model with two versions"),
    *value_faults(_VERSION, "status", lost=False),
    *facet_text_faults(_VERSION, "description"),
    *tags_faults(_VERSION),
    Fault(_VERSION, "source_tags", "one lost", _version_tag(lambda tags: without(tags, FIELD + "version")),
          "source tags"),
    Fault(_VERSION, "source_tags", "one forged", _version_tag(_forge), "source tags"),
    Fault(_VERSION, "source_tags", "one made up", _made_up_tag, "a version that was not made by the tool"),
    *value_faults(_VERSION, "user", lost=False),
    *value_faults(_VERSION, "run_link"),
    *value_faults(_VERSION, "stage", lost=False),
    *link_faults(_VERSION, "run", "run"),
    *link_faults(_VERSION, "logged_model", "logged_model"),
    Fault(_VERSION, "source", "lost", _no_source, "a source"),
    Fault(_VERSION, "source", "another one, or the source's", _wrong_source,
          "a source that names a run or a model with a new id"),
    Fault(_VERSION, STORAGE, "not read", lambda scene: scene.set_facet(STORAGE, None), "a place that was read"),
    Fault(_VERSION, STORAGE, "another one, or the source's", _wrong_storage,
          "a place that names a run or a model with a new id"),
    times_fault(_VERSION),
    *file_faults(_VERSION, "files"),
    Fault(_VERSION, "access", "no MLmodel", _mlmodel(None), "an MLmodel"),
    Fault(_VERSION, "access", "an MLmodel that does not parse", _mlmodel(b"\0["), "an MLmodel"),
    Fault(_VERSION, "access", "a file that cannot be had", _no_access, "a file"),
    Fault(_VERSION, "loads", "a version that cannot be loaded", _unloadable),
    *_names_faults(_PROMPT),
    Fault(_PROMPT, "tags", "another experiment in which it was used", _experiments_tag, "a prompt that was used"),
    *version_presence(_PROMPT_VERSION, twice=False),
    Fault(_PROMPT_VERSION, "number", "another one", _renumbered, "a number"),
    *facet_text_faults(_PROMPT_VERSION, "template"),
    Fault(_PROMPT_VERSION, "template", "one message altered",
          lambda scene: isinstance(scene.facet("template")[0], list)
          and scene.set_facet("template", altered(scene.facet("template")[0])), "a chat prompt"),
    *facet_text_faults(_PROMPT_VERSION, "commit_message"),
    *tags_faults(_PROMPT_VERSION),
    Fault(_PROMPT_VERSION, "tags", "another experiment in which it was used", _experiments_tag,
          "a version that was used"),
    *value_faults(_PROMPT_VERSION, "model_config"),
    *value_faults(_PROMPT_VERSION, "response_format"),
    *value_faults(_PROMPT_VERSION, "type", lost=False),
    times_fault(_PROMPT_VERSION),
)  # fmt: skip
