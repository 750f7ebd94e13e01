"""Facets of one pair of objects beside experiments and runs, by the rules of the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.comparing.difference import Difference, compare_mappings
from mlflow_parity.comparing.fields import FIELD, Links
from mlflow_parity.comparing.json_values import compare_json, compare_multisets
from mlflow_parity.comparing.trace_fields import compare_assessments, compare_spans
from mlflow_parity.kinds import KINDS, plain_tags
from mlflow_parity.model import EXIM_PREFIX, Entity, Run
from mlflow_parity.verdict import State

VERSIONS_TAG = "mlflow.modelVersions"
#: In it the server lists the experiments in which a prompt was used, as ``,1,2,``.
EXPERIMENTS_TAG = "_mlflow_experiment_ids"
PLACE_TAGS = ("mlflow.artifactLocation", "mlflow.trace.spansLocation")


@dataclass(slots=True)
class ObjectLinks:
    """What is known of objects all over the server, so that links between them can be followed.

    ``entities`` maps, for each kind, source ids to those of their copies; ``known`` holds the source ids that were
    read, and ``whole`` the kinds (and ``run``) of which every object of the source was read.
    """

    runs: Links
    experiments: Mapping[str, str] = field(default_factory=dict)
    entities: dict[str, dict[str, str]] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    copies: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)

    def of(self, kind: str) -> Mapping[str, str]:
        """Return the pairs of a kind, runs and experiments included."""
        if kind == "run":
            return self.runs.pairs
        return self.experiments if kind == "experiment" else self.entities.get(kind, {})

    def stage(self, kind: str, source_id: str) -> str:
        """Say what became of a source object: ``active``, ``deleted``, ``gone``, or ``unknown`` (not in scope)."""
        if kind == "run":
            found = self.runs.known.get(source_id)
            return found or ("gone" if self.runs.complete else "unknown")
        if source_id in self.known.get(kind, ()):
            return "active"
        return "gone" if kind in self.whole else "unknown"


def link(key: str, ours: str | None, theirs: str | None, kind: str, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare a link to an object of ``kind`` through the pairing."""
    if not ours:
        return [] if not theirs else [Difference(key, State.EXTRA, rule, target=theirs)]
    wanted = links.of(kind).get(ours)
    if wanted is not None:
        further = links.runs.copies.get(ours, ()) if kind == "run" else links.copies.get(kind, {}).get(ours, ())
        if theirs == wanted or (theirs and theirs in further):
            return []
        note = "still the source's id" if theirs == ours else f"the {_said(kind)}'s copy is {wanted}"
        return [Difference(key, State.MISSING if not theirs else State.MISMATCH, rule, ours, theirs, note)]
    stage = links.stage(kind, ours)
    if stage == "unknown":
        note = f"the {_said(kind)} is outside this audit's scope"
        return [Difference(key, State.UNVERIFIED, rule, ours, theirs, note)]
    if stage in ("gone", "deleted") and theirs in (ours, None, ""):
        note = f"the {_said(kind)} is {'not on' if stage == 'gone' else 'deleted on'} the source"
        return [Difference(key, State.EXPECTED, f"{rule}.dangling", ours, theirs, note)]
    return [Difference(key, State.MISMATCH, rule, ours, theirs, f"the {_said(kind)} has no copy on the target")]


def _said(kind: str) -> str:
    return KINDS[kind].plural[:-1] if kind in KINDS else kind


def run_models(facet: str, source: Run, target: Run, links: ObjectLinks) -> list[Difference]:
    """Compare the logged models that a run used or made, with their steps, through the pairing."""
    rule = f"run.{facet}"
    ours: tuple[tuple[str, int], ...] | None = getattr(source, facet)
    theirs: tuple[tuple[str, int], ...] | None = getattr(target, facet)
    if ours is None or theirs is None:
        side = "source" if ours is None else "target"
        return [Difference("", State.UNVERIFIED, rule, note=f"the {side}'s were not read")]
    left = list(theirs)
    found: list[Difference] = []
    open_ends: list[tuple[str, int]] = []
    for model, step in ours:
        wanted = links.of("logged_model").get(model)
        fitting = {wanted, *links.copies.get("logged_model", {}).get(model, ())}
        twin = next((other for other in left if other[0] in fitting and other[1] == step), None)
        if twin is not None:
            left.remove(twin)
        else:
            open_ends.append((model, step))
    for model, step in open_ends:
        wanted = links.of("logged_model").get(model)
        same = next((other for other in left if wanted is not None and other[0] == wanted), None)
        key = f"{model} at step {step}"
        if same is not None:
            left.remove(same)
            found.append(Difference(key, State.MISMATCH, rule, step, same[1], "another step"))
            continue
        dead = next((other for other in left if other == (model, step)), None)
        if dead is not None and wanted is None:
            left.remove(dead)
        found += link(key, model, dead and dead[0], "logged_model", links, rule)
    return found + [
        Difference(f"{model} at step {step}", State.EXTRA, rule, target=f"{model} at step {step}")
        for model, step in left
    ]


def _equal(facet: str) -> Callable[[Entity, Entity, ObjectLinks], list[Difference]]:
    def compare(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
        return compare_json("", source.facets.get(facet), target.facets.get(facet), f"{source.kind}.{facet}")

    return compare


def _times(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """The API sets creation and update times; a trace's own times are its content."""
    ours, theirs = source.facets.get("times") or {}, target.facets.get("times") or {}
    if source.kind == "trace":
        return compare_json("", ours, theirs, "trace.times")
    return [
        Difference(key, State.EXPECTED, f"{source.kind}.times", ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key)
    ]


def _digest(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """A dataset's digest is made of its server's own ids: it says nothing beside the records."""
    ours, theirs = source.facets.get("digest"), target.facets.get("digest")
    rule = f"{source.kind}.digest"
    return [] if ours == theirs else [Difference("digest", State.EXPECTED, rule, ours, theirs)]


def _tags(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    rule = f"{source.kind}.tags"
    ours, theirs = dict(source.facets.get("tags") or {}), dict(target.facets.get("tags") or {})
    if source.kind == "model_version":
        ours, theirs = plain_tags(ours), plain_tags(theirs)
    found: list[Difference] = []
    if source.kind == "logged_model":
        found += _versions_of(ours.pop(VERSIONS_TAG, None), theirs.pop(VERSIONS_TAG, None), links, rule)
    if source.kind in ("prompt", "prompt_version"):
        found += _experiments_tag(ours.pop(EXPERIMENTS_TAG, None), theirs.pop(EXPERIMENTS_TAG, None), links, rule)
    if source.kind == "trace":
        for key in PLACE_TAGS:
            mine, copy = ours.pop(key, None), theirs.pop(key, None)
            if mine != copy:
                found.append(Difference(key, State.EXPECTED, "trace.tags.place", mine, copy))
            elif mine and source.entity_id != target.entity_id and key == PLACE_TAGS[0]:
                note = "the copy keeps its spans in the source's place: they go when the source goes"
                if not mine.startswith("mlflow-artifacts:"):
                    found.append(Difference(key, State.MISMATCH, "trace.tags.place", mine, copy, note))
    return found + compare_mappings(ours, theirs, rule)


def _experiments_tag(ours: str | None, theirs: str | None, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare the experiments in which a prompt was used, through the pairing."""
    if ours == theirs:
        return []
    mine, copies = ({one for one in (text or "").split(",") if one} for text in (ours, theirs))
    if {links.experiments.get(one, one) for one in mine} == copies:
        return [Difference(EXPERIMENTS_TAG, State.EXPECTED, f"{rule}.experiments", ours, theirs)]
    return [Difference(EXPERIMENTS_TAG, State.MISMATCH, rule, ours, theirs, "not the copies of these experiments")]


def _versions_of(ours: str | None, theirs: str | None, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare the tag in which a logged model names its registered versions, through the pairing."""
    if ours == theirs:
        return []
    try:
        mine = {f"{entry['name']}/{entry['version']}" for entry in json.loads(ours or "[]")}
        copies = {f"{entry['name']}/{entry['version']}" for entry in json.loads(theirs or "[]")}
    except (ValueError, TypeError, KeyError):
        return [Difference(VERSIONS_TAG, State.MISMATCH, rule, ours, theirs)]
    pairs = links.of("model_version")
    if {pairs.get(name, name) for name in mine} == copies:
        return [Difference(VERSIONS_TAG, State.EXPECTED, "logged_model.tags.versions", ours, theirs)]
    return [Difference(VERSIONS_TAG, State.MISMATCH, rule, ours, theirs, "not the copies of these versions")]


def _aliases(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """An alias must point at the copy of the version that it points at on the source."""
    rule = f"{source.kind}.aliases"
    pairs = links.of("prompt_version" if source.kind == "prompt" else "model_version")
    ours, theirs = source.facets.get("aliases") or {}, target.facets.get("aliases") or {}
    found = []
    for alias in sorted(ours.keys() | theirs.keys()):
        mine, copy = ours.get(alias), theirs.get(alias)
        if mine is None:
            found.append(Difference(alias, State.EXTRA, rule, target=copy))
        elif copy is None:
            found.append(Difference(alias, State.MISSING, rule, source=mine))
        else:
            wanted = pairs.get(f"{source.entity_id}/{mine}")
            if wanted is None:
                note = f"version {mine}, which it points at, has no copy"
                found.append(Difference(alias, State.MISMATCH, rule, mine, copy, note))
            elif wanted != f"{target.entity_id}/{copy}":
                note = f"points at the wrong copy: that of version {mine} is {wanted.rpartition('/')[2]}"
                found.append(Difference(alias, State.MISMATCH, rule, mine, copy, note))
    return found


def _number(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    ours, theirs = source.facets.get("number"), target.facets.get("number")
    if ours == theirs:
        return []
    kept = (target.facets.get("tags") or {}).get(FIELD + "version")
    if source.kind == "model_version" and kept == str(ours):
        note = f"original kept in {FIELD}version"
        return [Difference("number", State.EXPECTED, "model_version.number.import", ours, theirs, note)]
    note = "renumbered, and no source tag keeps the original" if kept is None else f"source tag says {kept}"
    return [Difference("number", State.MISMATCH, f"{source.kind}.number", ours, theirs, note)]


def _version_source_tags(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """Source tags on a version: each that is there must be true; name, version and run id say which it was."""
    rule = "model_version.source_tags"
    own = {key: value for key, value in (target.facets.get("tags") or {}).items() if key.startswith(EXIM_PREFIX)}
    earlier = {key: value for key, value in (source.facets.get("tags") or {}).items() if key.startswith(EXIM_PREFIX)}
    if own == earlier:
        same = source.facets.get("number") == target.facets.get("number")
        rule = "model_version.source_tags.not-created"
        return [Difference("", State.EXPECTED, rule)] if same and not own else []
    facets = source.facets
    truth = {
        "name": source.container,
        "version": str(facets.get("number")),
        "description": facets.get("description") or "",
        "current_stage": str(facets.get("stage")),
        "source": str(facets.get("source")),
        "run_id": str(facets.get("run")),
        "status": str((facets.get("status") or {}).get("status")),
        "creation_timestamp": str((facets.get("times") or {}).get("creation")),
    }
    found = []
    for name in ("name", "version", "run_id"):
        if FIELD + name not in own and not (name == "run_id" and not facets.get("run")):
            found.append(Difference(FIELD + name, State.MISSING, rule, source=truth[name]))
    for name, value in truth.items():
        given = own.get(FIELD + name)
        if given is not None and given != value and not (value in ("", "None") and given in ("", "None")):
            found.append(Difference(FIELD + name, State.MISMATCH, rule, value, given))
    return found


def _run(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    return link("run", source.facets.get("run"), target.facets.get("run"), "run", links, f"{source.kind}.run")


def _logged_model(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    rule = f"{source.kind}.logged_model"
    ours, theirs = source.facets.get("logged_model"), target.facets.get("logged_model")
    return link("logged_model", ours, theirs, "logged_model", links, rule)


def _version_source(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """The copy's source must be its own place: never the source server's run, model or store."""
    rule = "model_version.source"
    ours, theirs = source.facets.get("source") or "", target.facets.get("source") or ""
    if source.entity_id == target.entity_id and ours == theirs and _same_ids(source, target, links):
        return []
    if ours.startswith("models:/m-") or theirs.startswith("models:/m-"):
        wanted = links.of("logged_model").get(ours.removeprefix("models:/").split("/")[0])
        if wanted is not None and theirs.removeprefix("models:/").split("/")[0] == wanted:
            return []
    for kind in ("run", "logged_model"):
        mine = source.facets.get(kind)
        if mine and mine in theirs and links.of(kind).get(mine) != mine:
            note = f"names the source's {_said(kind)}: it goes when the source goes"
            return [Difference("source", State.MISMATCH, rule, ours, theirs, note)]
    if ours and ours == theirs and "://" in ours:
        note = "the copy's files are in the source's place: they go when the source goes"
        return [Difference("source", State.MISMATCH, rule, ours, theirs, note)]
    return [] if ours == theirs else [Difference("source", State.EXPECTED, f"{rule}.own-place", ours, theirs)]


def _same_ids(source: Entity, target: Entity, links: ObjectLinks) -> bool:
    return all(
        not source.facets.get(kind) or links.of(kind).get(source.facets[kind]) == source.facets[kind]
        for kind in ("run", "logged_model")
    )


def _metrics(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Metrics of a logged model, as a multiset, their runs through the pairing."""
    pairs = links.of("run")
    ours = [{**point, "run": pairs.get(point.get("run") or "", point.get("run"))} for point in source.facets["metrics"]]
    return compare_multisets("", ours, list(target.facets.get("metrics") or []), "logged_model.metrics", "key")


def _experiments(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """An evaluation dataset must hang on the copies of its experiments."""
    rule = "evaluation_dataset.experiments"
    ours, theirs = set(source.facets.get("experiments") or []), set(target.facets.get("experiments") or [])
    found, matched = [], set()
    for experiment in sorted(ours):
        wanted = links.experiments.get(experiment)
        if wanted is not None and wanted in theirs:
            matched.add(wanted)
        elif wanted is None and links.stage("experiment", experiment) == "unknown":
            note = "the experiment is outside this audit's scope"
            found.append(Difference(experiment, State.UNVERIFIED, rule, source=experiment, note=note))
            matched.add(experiment)
        else:
            note = "its experiment has no copy" if wanted is None else f"its experiment's copy is {wanted}"
            found.append(Difference(experiment, State.MISSING, rule, source=experiment, note=note))
    extra = theirs - matched
    return found + [Difference(experiment, State.EXTRA, rule, target=experiment) for experiment in sorted(extra)]


def _records(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Records of an evaluation dataset, as a multiset; ids of traces in them through the pairing."""
    pairs = links.of("trace")
    ours = [through(record, pairs) for record in source.facets.get("records") or []]
    return compare_multisets("record", ours, list(target.facets.get("records") or []), "evaluation_dataset.records")


def through(value: Any, pairs: Mapping[str, str]) -> Any:
    """Return a JSON value in which each text that is a source id is that of its copy."""
    if isinstance(value, dict):
        return {key: through(item, pairs) for key, item in value.items()}
    if isinstance(value, list):
        return [through(item, pairs) for item in value]
    return pairs.get(value, value) if isinstance(value, str) else value


def _prompts(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    pairs = links.of("prompt_version")
    ours, theirs = source.facets.get("prompts"), target.facets.get("prompts")
    if ours is None or theirs is None:
        if not (ours or theirs):
            return []
        return [Difference("", State.UNVERIFIED, "trace.prompts", ours, theirs, "one of the servers cannot tell them")]
    return compare_multisets("", sorted(pairs.get(name, name) for name in ours), sorted(theirs), "trace.prompts")


def _metadata(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    ours, theirs = dict(source.facets.get("metadata") or {}), dict(target.facets.get("metadata") or {})
    return compare_mappings(ours, theirs, "trace.metadata")


_OWN: Mapping[tuple[str, str], Callable[[Entity, Entity, ObjectLinks], list[Difference]]] = {
    ("model_version", "source_tags"): _version_source_tags,
    ("model_version", "source"): _version_source,
    ("logged_model", "metrics"): _metrics,
    ("evaluation_dataset", "digest"): _digest,
    ("evaluation_dataset", "experiments"): _experiments,
    ("evaluation_dataset", "records"): _records,
    ("trace", "prompts"): _prompts,
    ("trace", "spans"): compare_spans,
    ("trace", "assessments"): compare_assessments,
    ("trace", "metadata"): _metadata,
}
_SHARED: Mapping[str, Callable[[Entity, Entity, ObjectLinks], list[Difference]]] = {
    "times": _times,
    "tags": _tags,
    "aliases": _aliases,
    "number": _number,
    "run": _run,
    "logged_model": _logged_model,
}


def compare_facet(facet: str, source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare one facet of a pair (not ``presence``, ``order`` and ``files``, which need more than the pair)."""
    own = _OWN.get((source.kind, facet)) or _SHARED.get(facet) or _equal(facet)
    return own(source, target, links)
