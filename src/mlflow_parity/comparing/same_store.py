"""Facets where the store itself went on: everything is equal, but for one prefix of all places.

Each function returns the differences of one facet of one object that was paired with itself.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from mlflow_parity.comparing import fields
from mlflow_parity.comparing.difference import (
    Difference,
    compare_json,
    compare_mappings,
    compare_values,
    facet_state,
    outcome,
)
from mlflow_parity.comparing.object_fields import PLACE_TAGS
from mlflow_parity.comparing.unknown import compare_other
from mlflow_parity.core.records import (
    EXIM_PREFIX,
    NOTE_TAG,
    PARENT_TAG,
    STORAGE,
    ArtifactTree,
    Entity,
)
from mlflow_parity.core.scope import Profile
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import plain_tags
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import OTHER
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


def _attributes(*names: str) -> Callable[[Any], Mapping[str, Any]]:
    return lambda record: {name: getattr(record, name) for name in names}


def _tags(wanted: Callable[[str], bool]) -> Callable[[Any], Mapping[str, Any]]:
    return lambda record: {key: value for key, value in record.tags.items() if wanted(key)}


#: What an experiment or a run holds under a facet, by MLflow's own names.
_HELD: Mapping[tuple[str, str], Callable[[Any], Mapping[str, Any]]] = {
    ("experiment", "name"): _attributes("name"),
    ("experiment", "lifecycle"): _attributes("lifecycle_stage"),
    ("experiment", "times"): _attributes("creation_time", "last_update_time"),
    ("experiment", "tags"): _tags(lambda key: key != NOTE_TAG and not key.startswith(EXIM_PREFIX)),
    ("experiment", "note"): _tags(NOTE_TAG.__eq__),
    ("experiment", "source_tags"): _tags(lambda key: key.startswith(EXIM_PREFIX)),
    ("run", "name"): lambda run: {"run_name": run.name},
    ("run", "status"): _attributes("status"),
    ("run", "lifecycle"): _attributes("lifecycle_stage"),
    ("run", "times"): _attributes("start_time", "end_time"),
    ("run", "user"): lambda run: {"user_id": run.user_id, **_tags(fields.USER_TAG.__eq__)(run)},
    ("run", "params"): lambda run: run.params,
    ("run", "tags"): _tags(lambda key: key not in fields.RUN_SPECIAL and not key.startswith(EXIM_PREFIX)),
    ("run", "note"): _tags(NOTE_TAG.__eq__),
    ("run", "source_tags"): _tags(lambda key: key.startswith(EXIM_PREFIX)),
    ("run", "parent"): _tags(PARENT_TAG.__eq__),
}


def compare_facet(
    facet: str, source: Any, target: Any, moved: Relocation, releases: Releases = UNKNOWN
) -> list[Difference] | None:
    """Compare one facet of an object with itself; ``None`` for those compared as for every move."""
    kind = source.kind
    held = _HELD.get((kind, facet))
    if held is not None:
        return compare_mappings(held(source), held(target), rule_of(kind, facet))
    if kind not in ("experiment", "run"):
        return _object_facet(facet, source, target, moved, releases)
    if facet == OTHER:
        return compare_other(kind, source.other, target.other)
    if facet == "inputs":
        return fields.run_inputs(source, target)
    ours, theirs = getattr(source, facet), getattr(target, facet)
    if facet in ("artifact_uri", "artifact_location"):
        return place(facet, ours, theirs, moved, kind, facet)
    for side, links in (("source", ours), ("target", theirs)):
        if links is None:
            return [Difference("", State.UNVERIFIED, rule_of(kind, facet), note=f"the {side}'s were not read")]
    return compare_values(facet, sorted(ours), sorted(theirs), rule_of(kind, facet))


def bare(tree: ArtifactTree) -> ArtifactTree:
    """Return a tree whose ``MLmodel`` files are files like all others: compared byte by byte, not as YAML."""
    files = (replace(file, content=None) if posixpath.basename(file.path) == "MLmodel" else file for file in tree.files)
    return replace(tree, files=tuple(files))


def _object_facet(
    facet: str, source: Entity, target: Entity, moved: Relocation, releases: Releases = UNKNOWN
) -> list[Difference] | None:
    if facet in _AS_EVER:
        return None
    ours, theirs = source.facets.get(facet), target.facets.get(facet)
    kind = source.kind
    if kind == "model_version" and facet == STORAGE and not (ours and theirs):
        return None
    if kind == "trace" and facet == "run_links" and None in (ours, theirs):
        # not asked for is not equal
        return None
    if kind == "gateway_endpoint" and facet == "guardrails" and None in (ours, theirs):
        # what was read before they were told knows their ids alone
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
