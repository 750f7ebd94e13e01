"""Facets where the store itself went on: everything is equal, but for one prefix of all places.

Each function returns the differences of one facet of one object that was paired with itself.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from mlflow_parity.comparing import fields
from mlflow_parity.comparing.difference import Difference, compare_mappings, compare_values, facet_state, outcome
from mlflow_parity.comparing.json_values import compare_json
from mlflow_parity.comparing.object_fields import PLACE_TAGS
from mlflow_parity.comparing.unknown import compare_other
from mlflow_parity.core.records import (
    EXIM_PREFIX,
    NOTE_TAG,
    PARENT_TAG,
    STORAGE,
    ArtifactTree,
    Entity,
    Experiment,
    Run,
)
from mlflow_parity.core.scope import Profile
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import contract, plain_tags
from mlflow_parity.kinds.base import OTHER
from mlflow_parity.pairing.relocation import Relocation

#: Facets of other objects that are compared as for every move (some servers cannot tell all of it).
_AS_EVER = frozenset({"spans", "assessments", "prompts", "records"})
#: (major, minor) of the MLflow releases of source and target; (0, 0): not known.
Releases = tuple[tuple[int, int], tuple[int, int]]
UNKNOWN: Releases = ((0, 0), (0, 0))
#: Where a server without previews keeps what it tells as such.
_PREVIEWS = {"request": "mlflow.traceInputs", "response": "mlflow.traceOutputs"}
_SCHEMA = "mlflow.trace_schema.version"
#: What servers before MLflow 3 stored under it.
_OLD_SCHEMAS = (None, "1", "2")


def rule_of(kind: str, facet: str) -> str:
    """Return the rule that a difference breaks: the facet's own where it asks for equality, else the profile's."""
    own = contract.BY_ID.get(f"{kind}.{facet}")
    fits = own is not None and own.treatment == "equal" and "same-store" in own.profiles
    return f"{kind}.{facet}" if fits else f"{kind}.same-store"


def place(key: str, ours: str, theirs: str, moved: Relocation, kind: str, facet: str) -> list[Difference]:
    """Compare a place: the same, or where the store's one new prefix puts it."""
    if moved(ours) == theirs:
        if ours == theirs:
            return []
        note = f"everything below {moved.old} stands below {moved.new}"
        return [Difference(key, State.EXPECTED, f"{kind}.{facet}.moved", ours, theirs, note)]
    note = f"by the move of the whole store it would be {moved(ours)}" if moved(ours) != ours else ""
    return [Difference(key, State.MISMATCH, rule_of(kind, facet), ours, theirs, note)]


def experiment_facet(facet: str, source: Experiment, target: Experiment, moved: Relocation) -> list[Difference]:
    """Compare one facet of an experiment with itself."""
    rule = rule_of("experiment", facet)
    if facet == "name":
        return compare_values("name", source.name, target.name, rule)
    if facet == "lifecycle":
        return compare_values("lifecycle_stage", source.lifecycle_stage, target.lifecycle_stage, rule)
    if facet == "times":
        return _attributes(("creation_time", "last_update_time"), source, target, rule)
    if facet == "artifact_location":
        return place(facet, source.artifact_location, target.artifact_location, moved, "experiment", facet)
    if facet == "tags":
        return fields.experiment_tags(source, target)
    if facet == "note":
        return fields.experiment_note(source, target)
    if facet == OTHER:
        return compare_other("experiment", source.other, target.other)
    return compare_mappings(fields.exim_tags(source.tags), fields.exim_tags(target.tags), rule)


def run_facet(facet: str, source: Run, target: Run, moved: Relocation) -> list[Difference]:
    """Compare one facet of a run with itself (all but metrics and artifacts)."""
    rule = rule_of("run", facet)
    if facet == "name":
        return compare_values("run_name", source.name, target.name, rule)
    if facet == "status":
        return compare_values("status", source.status, target.status, rule)
    if facet == "lifecycle":
        return compare_values("lifecycle_stage", source.lifecycle_stage, target.lifecycle_stage, rule)
    if facet == "times":
        return _attributes(("start_time", "end_time"), source, target, rule)
    if facet == "user":
        found = compare_values("user_id", source.user_id, target.user_id, rule)
        return found + compare_mappings(_only(source.tags, fields.USER_TAG), _only(target.tags, fields.USER_TAG), rule)
    if facet == "params":
        return compare_mappings(source.params, target.params, rule)
    if facet == "tags":
        return compare_mappings(_plain(source.tags), _plain(target.tags), rule)
    if facet == "note":
        return compare_mappings(_only(source.tags, NOTE_TAG), _only(target.tags, NOTE_TAG), rule)
    if facet == "source_tags":
        return compare_mappings(fields.exim_tags(source.tags), fields.exim_tags(target.tags), rule)
    if facet == "parent":
        return compare_mappings(_only(source.tags, PARENT_TAG), _only(target.tags, PARENT_TAG), rule)
    if facet == "inputs":
        return fields.run_inputs(source, target)
    if facet == OTHER:
        return compare_other("run", source.other, target.other)
    if facet == "artifact_uri":
        return place(facet, source.artifact_uri, target.artifact_uri, moved, "run", facet)
    links: list[list[tuple[str, int]]] = []
    for side, run in (("source", source), ("target", target)):
        if getattr(run, facet) is None:
            return [Difference("", State.UNVERIFIED, rule, note=f"the {side}'s were not read")]
        links.append(sorted(getattr(run, facet)))
    return compare_values(facet, links[0], links[1], rule)


def bare(tree: ArtifactTree) -> ArtifactTree:
    """Return a tree whose ``MLmodel`` files are files like all others: compared byte by byte, not as YAML."""
    files = (replace(file, content=None) if posixpath.basename(file.path) == "MLmodel" else file for file in tree.files)
    return replace(tree, files=tuple(files))


def object_facet(
    facet: str, source: Entity, target: Entity, moved: Relocation, releases: Releases = UNKNOWN
) -> list[Difference] | None:
    """Compare one facet of any other object with itself; ``None`` for those compared as for every move."""
    if facet in _AS_EVER:
        return None
    ours, theirs = source.facets.get(facet), target.facets.get(facet)
    kind = source.kind
    if kind == "model_version" and facet == STORAGE and not (ours and theirs):
        return None
    if kind == "model_version" and facet in ("source", STORAGE):
        key = "storage_location" if facet == STORAGE else facet
        return place(key, ours or "", theirs or "", moved, kind, facet)
    if kind == "model_version" and facet in ("tags", "source_tags"):
        part = fields.exim_tags if facet == "source_tags" else plain_tags
        ours, theirs = part(source.facets.get("tags") or {}), part(target.facets.get("tags") or {})
    found: list[Difference] = []
    if kind == "trace" and facet == "tags":
        ours, theirs = dict(ours or {}), dict(theirs or {})
        for key in PLACE_TAGS:
            if key in ours and key in theirs:
                found += place(key, ours.pop(key), theirs.pop(key), moved, kind, facet)
    if kind == "trace" and facet in ("times", "previews", "metadata"):
        ours, theirs = dict(ours or {}), dict(theirs or {})
        found += _told_otherwise(facet, source, target, ours, theirs, releases)
    return found + compare_json("", ours, theirs, rule_of(kind, facet))


def _told_otherwise(
    facet: str, source: Entity, target: Entity, ours: dict[str, Any], theirs: dict[str, Any], releases: Releases
) -> list[Difference]:
    """Take out of a trace's facet what another release tells otherwise, though the store holds the same."""
    found: list[Difference] = []

    def told(key: str, rule: str, note: str) -> None:
        found.append(Difference(key, State.EXPECTED, f"trace.{facet}.{rule}", ours.get(key), theirs.get(key), note))
        ours.pop(key, None)
        theirs.pop(key, None)

    upgraded = (0, 0) < releases[0] < (3, 0) <= releases[1]
    if facet == "times":
        running = source.facets.get("state") == target.facets.get("state") == "IN_PROGRESS"
        if upgraded and running and ours.get("duration") == 0 and theirs.get("duration") is None:
            told("duration", "no-end", "the trace has no end")
    elif facet == "previews":
        for key, name in _PREVIEWS.items() if upgraded else ():
            kept = {one.facets.get("metadata", {}).get(name) for one in (source, target)}
            if ours.get(key) is not None and theirs.get(key) is None and kept == {ours[key]}:
                told(key, "of-metadata", f"it stands in the metadata, {name}, on both sides")
    elif ours.get(_SCHEMA) != theirs.get(_SCHEMA):
        values = ours.get(_SCHEMA), theirs.get(_SCHEMA)
        for side, other in ((0, 1), (1, 0)):
            if (3, 0) <= releases[side] < (3, 5) and values[side] == "3" and values[other] in _OLD_SCHEMAS:
                told(_SCHEMA, "schema-version", "a server of MLflow 3.0 to 3.4 says 3 of every trace")
    return found


def refuse(outcomes: Iterable[Any], profile: Profile) -> Iterator[Any]:
    """Turn what a rule lets differ into a mismatch where the rule does not hold for the profile."""
    for one in outcomes:
        excused = [
            found.state is State.EXPECTED and not contract.allows(found.rule, profile) for found in one.differences
        ]
        if not any(excused):
            yield one
            continue
        judged = [
            replace(found, state=State.MISMATCH, note=f"{found.note}; " * bool(found.note) + f"not under {profile}")
            if wrong
            else found
            for found, wrong in zip(one.differences, excused, strict=True)
        ]
        yield outcome(replace(one.row, state=_state(one.row.state, judged)), judged)


def _state(before: State, judged: list[Difference]) -> State:
    # the row of an object itself keeps its own kind of red; an excused one becomes a mismatch
    return facet_state(judged) if before.green or before is State.MISMATCH else before


def _attributes(names: Iterable[str], source: object, target: object, rule: str) -> list[Difference]:
    return [
        difference
        for name in names
        for difference in compare_values(name, getattr(source, name), getattr(target, name), rule)
    ]


def _only(tags: Any, key: str) -> dict[str, str]:
    return {key: tags[key]} if key in tags else {}


def _plain(tags: Any) -> dict[str, str]:
    return {
        key: value for key, value in tags.items() if key not in fields.RUN_SPECIAL and not key.startswith(EXIM_PREFIX)
    }
