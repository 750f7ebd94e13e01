"""Facets of one pair of objects, by the rules of the contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from mlflow_parity.comparing import fields
from mlflow_parity.comparing.difference import Difference, compare_json, compare_mappings, compare_multisets
from mlflow_parity.comparing.fields import FIELD
from mlflow_parity.comparing.histories import stored
from mlflow_parity.comparing.links import ObjectLinks, guardrails, link, run_models, run_parent, untold
from mlflow_parity.comparing.registry_fields import (
    EXPERIMENTS_TAG,
    VERSIONS_TAG,
    compare_aliases,
    compare_number,
    compare_source,
    compare_source_tags,
    compare_storage,
    experiments_tag,
    versions_tag,
)
from mlflow_parity.comparing.trace_fields import compare_assessments, compare_metadata, compare_spans
from mlflow_parity.core.identity.digests import encode
from mlflow_parity.core.records import STORAGE, Entity
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import BY_NAME, plain_tags
from mlflow_parity.kinds.conventions.copy_places import is_relative, same_place
from mlflow_parity.kinds.schema.base import Facet, Strategy
from mlflow_parity.kinds.schema.listing import STAMPS
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION

_SERVER_TIMES = ("creation", "update")
#: Where a server keeps a trace's spans and files; the first two are places, in its store and in its archive.
PLACE_TAGS = ("mlflow.artifactLocation", "mlflow.trace.archiveLocation", SPANS_LOCATION)


def _value(facet: Facet, source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    ours, theirs = source.facets.get(facet.name), target.facets.get(facet.name)
    return compare_json("", ours, theirs, f"{source.kind}.{facet.name}")


def _items(facet: Facet, source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare a list as a multiset; ids of the kind that the facet names, through the pairing."""
    pairs = links.of(facet.of) if facet.of else {}
    ours = [through(one, pairs) for one in source.facets.get(facet.name) or []]
    theirs = list(target.facets.get(facet.name) or [])
    return compare_multisets(facet.what, ours, theirs, f"{source.kind}.{facet.name}")


def _link(facet: Facet, source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    ours, theirs = source.facets.get(facet.name), target.facets.get(facet.name)
    return link(facet.name, ours, theirs, facet.of, links, f"{source.kind}.{facet.name}")


def _times(_: Facet, source: Entity, target: Entity, __: ObjectLinks) -> list[Difference]:
    """The API sets creation and update times."""
    ours, theirs = source.facets.get("times") or {}, target.facets.get("times") or {}
    rule = f"{source.kind}.times"
    found = [
        Difference(key, State.EXPECTED, rule, ours.get(key), theirs.get(key))
        for key in _SERVER_TIMES
        if ours.get(key) != theirs.get(key)
    ]
    mine, copy = ({key: value for key, value in one.items() if key not in _SERVER_TIMES} for one in (ours, theirs))
    return found + compare_json("", mine, copy, rule)


def _stamps(_: Facet, source: Entity, target: Entity, __: ObjectLinks) -> list[Difference]:
    """Times and users of a kind of which nothing sets any, in the object and in its parts."""
    ours, theirs = (one.facets.get("times") or {} for one in (source, target))
    found = compare_json("", ours, theirs, f"{source.kind}.times")
    return [replace(one, state=State.EXPECTED) if _is_stamp(one) else one for one in found]


def _is_stamp(found: Difference) -> bool:
    """Whether nothing but times and users differs, be it those of a whole part."""
    told = [one for one in (found.source, found.target) if one is not None]
    return all(_stamped(found.key.rpartition(": ")[2], one) for one in told)


def _stamped(key: str, value: object) -> bool:
    return all(_stamped(*one) for one in value.items()) if isinstance(value, Mapping) else key in STAMPS


def _owner(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """Compare who may change a review queue."""
    ours, theirs = source.facets.get("owner"), target.facets.get("owner")
    if ours is None and theirs is not None:
        return [Difference("owner", State.EXPECTED, f"{source.kind}.owner.unset", None, theirs)]
    return compare_json("", ours, theirs, f"{source.kind}.owner")


def _digest(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """A dataset's digest is made of its server's own ids: it says nothing beside the records."""
    ours, theirs = source.facets.get("digest"), target.facets.get("digest")
    rule = f"{source.kind}.digest"
    if ours and not theirs:
        return [Difference("digest", State.MISSING, rule, ours)]
    return [] if ours == theirs else [Difference("digest", State.EXPECTED, rule, ours, theirs)]


def _last_updated_by(source: Entity, target: Entity, _: ObjectLinks) -> list[Difference]:
    """Who wrote to a dataset last is the import's user where it was created on the target."""
    ours, theirs = (one.facets.get("last_updated_by") for one in (source, target))
    state = State.MISMATCH if source.entity_id == target.entity_id else State.EXPECTED
    rule = f"{source.kind}.last_updated_by"
    return [] if ours == theirs else [Difference("last_updated_by", state, rule, ours, theirs)]


def _tags(_: Facet, source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    rule = f"{source.kind}.tags"
    ours, theirs = dict(source.facets.get("tags") or {}), dict(target.facets.get("tags") or {})
    if source.kind == "model_version":
        ours, theirs = plain_tags(ours), plain_tags(theirs)
    found: list[Difference] = []
    if source.kind == "logged_model":
        found += versions_tag(ours.pop(VERSIONS_TAG, None), theirs.pop(VERSIONS_TAG, None), links, rule)
    if source.kind in ("prompt", "prompt_version"):
        found += experiments_tag(ours.pop(EXPERIMENTS_TAG, None), theirs.pop(EXPERIMENTS_TAG, None), links, rule)
    if source.kind == "trace":
        for key in PLACE_TAGS:
            mine, copy = ours.pop(key, None), theirs.pop(key, None)
            note = wrong_place(source, target, mine, copy, links) if key in PLACE_TAGS[:2] else ""
            if note:
                found.append(Difference(key, State.MISMATCH, "trace.tags.place", mine, copy, note))
            elif key == PLACE_TAGS[0] and mine and not copy:
                note = "without it no client finds the trace's files"
                found.append(Difference(key, State.MISSING, "trace.tags.place", mine, copy, note))
            elif key == SPANS_LOCATION and mine == IN_STORE != copy and source.facets.get("spans") != []:
                found.append(_unsearchable(mine, copy, links))
            elif mine != copy:
                found.append(Difference(key, State.EXPECTED, "trace.tags.place", mine, copy))
    return found + compare_mappings(ours, theirs, rule)


def _unsearchable(mine: str, copy: str | None, links: ObjectLinks) -> Difference:
    """Return what became of spans that searches find on the source; a target that keeps such could have them."""
    note = "its spans are in a file: no search by span name, type, attribute or text finds them"
    if links.keeps_spans():
        note += ". Run the migration again: the target's database can hold them"
        return Difference(SPANS_LOCATION, State.MISMATCH, "trace.tags.spans", mine, copy, note)
    return Difference(SPANS_LOCATION, State.EXPECTED, "trace.tags.spans", mine, copy, note)


def wrong_place(source: Entity, target: Entity, mine: str | None, copy: str | None, links: ObjectLinks) -> str:
    """Say what is wrong with where a copy keeps its files; by its id it may be the object itself, in its own place."""
    ids = source.entity_id, target.entity_id
    if mine and copy and same_place(mine, copy) and not is_relative(copy):
        return links.copy_places.kept(copy, itself=ids[0] == ids[1])
    return links.copy_places.wrong(source.kind, ids, mine, copy)


def _run_links(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Runs that a trace was linked to after it was made, through the pairing."""
    rule = "trace.run_links"
    ours, theirs = source.facets.get("run_links"), target.facets.get("run_links")
    if ours is None or theirs is None:
        side = "source" if ours is None else "target"
        return [Difference("", State.UNVERIFIED, rule, note=f"the {side}'s were not read")]
    left = set(theirs)
    found: list[Difference] = []
    for run in ours:
        wanted = links.of("run").get(run)
        fitting = {wanted, *links.runs.copies.get(run, ())} & left
        copied = next(iter(sorted(one for one in fitting if one)), None)
        # a dead link may lead to the same id
        copied = run if copied is None and wanted is None and run in left else copied
        if copied is None and wanted is not None and wanted == target.facets.get("run"):
            # made in that run, it is listed with its traces: no search tells of a link beside
            continue
        left.discard(copied or "")
        found += link(run, run, copied, "run", links, rule)
    own = {*ours, source.facets.get("run")}
    for run in sorted(left):
        was_copy = run in links.runs.replaced and links.runs.replaced[run] in own
        state, reason = (State.EXPECTED, f"{rule}.replaced") if was_copy else (State.EXTRA, rule)
        found.append(Difference(run, state, reason, target=run))
    return found


def _metrics(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Metrics of a logged model, as a multiset, their runs through the pairing."""
    pairs, rule = links.of("run"), "logged_model.metrics"
    theirs = list(target.facets.get("metrics") or [])
    ours, left_out = [], Counter[str]()
    for point in source.facets["metrics"]:
        run = point.get("run") or ""
        copied = {**point, "run": pairs.get(run, point.get("run"))}
        dead = run and run not in pairs and links.stage("run", run) in ("deleted", "gone")
        if dead and not links.include_deleted and copied not in theirs:
            left_out[run] += 1
        else:
            ours.append(copied)
    found = [
        Difference(run, State.EXPECTED, f"{rule}.left-out", source=f"{count} points", note="its run is deleted")
        for run, count in sorted(left_out.items())
    ]
    return found + _as_stored(ours, theirs, rule) + compare_multisets("", ours, theirs, rule, "key")


def _as_stored(ours: list[Any], theirs: list[Any], rule: str) -> list[Difference]:
    """Put into ``ours`` what a SQL store makes of its points, where the other side has that and not the point."""
    # of a logged model it has no column that tells NaN from nought
    images = [("nan", 0.0) if value != value else stored(value) for value in (one.get("value", 1.0) for one in ours)]
    left = Counter(map(encode, theirs if any(images) else ()))
    found: list[Difference] = []
    for place, (point, image) in enumerate(zip(ours, images, strict=True)):
        if image is None or left[encode(point)]:
            continue
        name, value = image
        copy = {**point, "value": value}
        if left[encode(copy)]:
            left[encode(copy)] -= 1
            ours[place] = copy
            found.append(Difference(point["key"], State.EXPECTED, f"{rule}.{name}", point["value"], value))
    return found


def _status(facet: Facet, source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """A status must be equal; what no request of MLflow writes is expected to be what it makes."""
    ours, theirs = source.facets.get("status") or {}, target.facets.get("status") or {}
    if source.kind == "logged_model":
        if ours.get("message") and not theirs.get("message") and ours.get("status") == theirs.get("status"):
            return [Difference("message", State.EXPECTED, "logged_model.status.message", ours["message"])]
    elif source.kind == "model_version" and (ours.get("status") != "READY" or ours.get("message")):
        kept = (target.facets.get("tags") or {}).get(FIELD + "status")
        ready = theirs.get("status") == "READY" and not theirs.get("message")
        if ready and kept is not None and kept == ours.get("status"):
            note = f"original kept in {FIELD}status"
            return [Difference("", State.EXPECTED, "model_version.status.ready", ours, theirs, note)]
    elif (source.kind, ours, theirs) == ("webhook", "ACTIVE", "DISABLED") and source.entity_id != target.entity_id:
        # one with the source's id was not made by an import
        return [Difference("", State.EXPECTED, "webhook.status.disabled", ours, theirs, "to be enabled by hand")]
    return _value(facet, source, target, links)


def _experiments(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """An evaluation dataset must hang on the copies of its experiments."""
    rule = "evaluation_dataset.experiments"
    ours, theirs = set(source.facets.get("experiments") or []), set(target.facets.get("experiments") or [])
    found, matched = [], set()
    for experiment in sorted(ours):
        wanted = links.experiments.get(experiment)
        if wanted is not None and wanted in theirs:
            matched.add(wanted)
        elif links.is_untold("experiment", experiment):
            note = "the experiment is outside this audit's scope"
            found.append(Difference(experiment, State.UNVERIFIED, rule, source=experiment, note=note))
            matched.add(experiment)
        elif (stage := links.stage("experiment", experiment)) in ("gone", "deleted"):
            note = f"the experiment is {'not on' if stage == 'gone' else 'deleted on'} the source"
            found.append(Difference(experiment, State.EXPECTED, f"{rule}.dangling", source=experiment, note=note))
        else:
            note = "its experiment has no copy" if wanted is None else f"its experiment's copy is {wanted}"
            found.append(Difference(experiment, State.MISSING, rule, source=experiment, note=note))
    extra = theirs - matched
    return found + [Difference(experiment, State.EXTRA, rule, target=experiment) for experiment in sorted(extra)]


def through(value: Any, pairs: Mapping[str, str]) -> Any:
    """Return a JSON value in which each text that is a source id is that of its copy."""
    if isinstance(value, dict):
        return {key: through(item, pairs) for key, item in value.items()}
    if isinstance(value, list):
        return [through(item, pairs) for item in value]
    return pairs.get(value, value) if isinstance(value, str) else value


def _prompts(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Associations where both servers tell them, else what the tag says, which is all that older ones have."""
    pairs = links.of("prompt_version")
    mine, copies = source.facets.get("linked_prompts"), target.facets.get("linked_prompts")
    ours, theirs = source.facets.get("prompts"), target.facets.get("prompts")
    found: list[Difference] = []
    if mine is not None and copies is not None:
        ours, theirs = mine, copies
    elif copies is not None:
        told = {pairs.get(name, name) for name in ours or ()}
        found = [Difference(name, State.EXTRA, "trace.prompts", target=name) for name in sorted({*copies} - told)]
    elif mine is not None:
        left = {pairs.get(name, name) for name in mine} - {*(theirs or ())}
        if left:
            note = "the target cannot tell links that stand in no tag"
            return [Difference("", State.UNVERIFIED, "trace.prompts", sorted(mine), theirs, note)]
    if ours is None or theirs is None:
        if found or not (ours or theirs):
            return found
        return [Difference("", State.UNVERIFIED, "trace.prompts", ours, theirs, "one of the servers cannot tell them")]
    # what is not in scope was not read, and need not be on the target
    wanted = [name for name in ours if links.is_wanted(name.rpartition("/")[0])]
    if open_ones := untold("", wanted, "prompt_version", (ours, theirs), links, "trace.prompts"):
        return found + open_ones
    both = sorted(set(ours) & set(theirs))
    lone = [name for name in both if name not in pairs and links.stage("prompt_version", name) == "active"]
    note = "the prompt's version has no copy on the target"
    found += [Difference(name, State.MISMATCH, "trace.prompts", name, name, note) for name in lone]
    copied = sorted(pairs.get(name, name) for name in ours)
    return found + compare_multisets("", copied, sorted(theirs), "trace.prompts")


def _schema(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare the schema that servers derive from the records."""
    ours, theirs = source.facets.get("schema"), target.facets.get("schema")
    rule = "evaluation_dataset.schema"
    if isinstance(ours, dict) and isinstance(theirs, dict) and ("outputs" in ours) != ("outputs" in theirs):
        rest = [{key: value for key, value in side.items() if key != "outputs"} for side in (ours, theirs)]
        if not (ours.get("outputs") or theirs.get("outputs")) and rest[0] == rest[1]:
            sides = (ours.get("outputs"), theirs.get("outputs"))
            return [Difference("outputs", State.EXPECTED, f"{rule}.outputs", *sides)]
    return compare_json("", ours, theirs, rule)


Comparer = Callable[[Any, Any, ObjectLinks], list[Difference]]


def _alone(compare: Callable[[Any, Any], list[Difference]]) -> Comparer:
    """Return a comparer that asks for no links."""
    return lambda source, target, _: compare(source, target)


#: Facets with a comparer of their own.
_OWN: Mapping[tuple[str, str], Comparer] = {
    ("experiment", "name"): _alone(fields.experiment_name),
    ("experiment", "lifecycle"): _alone(fields.experiment_lifecycle),
    ("experiment", "tags"): _alone(fields.experiment_tags),
    ("experiment", "note"): _alone(fields.experiment_note),
    ("experiment", "source_tags"): _alone(fields.experiment_source_tags),
    ("experiment", "times"): _alone(fields.experiment_times),
    ("experiment", "artifact_location"): lambda a, b, links: fields.experiment_location(a, b, links.copy_places),
    ("run", "name"): _alone(fields.run_name),
    ("run", "status"): _alone(fields.run_status),
    ("run", "times"): _alone(fields.run_times),
    ("run", "lifecycle"): _alone(fields.run_lifecycle),
    ("run", "user"): _alone(fields.run_user),
    ("run", "params"): _alone(fields.run_params),
    ("run", "tags"): _alone(fields.run_tags),
    ("run", "note"): _alone(fields.run_note),
    ("run", "source_tags"): _alone(fields.run_source_tags),
    ("run", "inputs"): _alone(fields.run_inputs),
    ("run", "parent"): lambda a, b, links: run_parent(a, b, links.runs),
    ("run", "model_inputs"): partial(run_models, "model_inputs"),
    ("run", "model_outputs"): partial(run_models, "model_outputs"),
    ("run", "artifact_uri"): lambda a, b, links: fields.run_artifact_uri(a, b, links.copy_places),
    ("model_version", "source_tags"): compare_source_tags,
    ("model_version", "source"): compare_source,
    ("model_version", STORAGE): compare_storage,
    ("logged_model", "metrics"): _metrics,
    ("review_queue", "owner"): _owner,
    ("gateway_endpoint", "guardrails"): guardrails,
    ("evaluation_dataset", "digest"): _digest,
    ("evaluation_dataset", "last_updated_by"): _last_updated_by,
    ("evaluation_dataset", "schema"): _schema,
    ("evaluation_dataset", "experiments"): _experiments,
    ("trace", "run_links"): _run_links,
    ("trace", "prompts"): _prompts,
    ("trace", "spans"): compare_spans,
    ("trace", "assessments"): compare_assessments,
    ("trace", "metadata"): compare_metadata,
}
_BY_STRATEGY: Mapping[Strategy, Callable[[Facet, Entity, Entity, ObjectLinks], list[Difference]]] = {
    "value": _value,
    "definition": _value,
    "items": _items,
    "link": _link,
    "times": _times,
    "stamps": _stamps,
    "status": _status,
    "tags": _tags,
    "aliases": lambda _, source, target, links: compare_aliases(source, target, links),
    "number": lambda _, source, target, links: compare_number(source, target, links),
    "own": lambda facet, source, target, links: _OWN[source.kind, facet.name](source, target, links),
}


def compare_facet(facet: str, source: Any, target: Any, links: ObjectLinks) -> list[Difference]:
    """Compare one facet of a pair (not ``presence``, ``order`` and ``files``, which need more than the pair)."""
    side = BY_NAME[source.kind].side(facet)
    return _BY_STRATEGY[side.strategy](side, source, target, links)
