"""What is known of objects all over the server, and links between them, compared through the pairing."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.records import PARENT_TAG, Entity, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import singular_of
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces
from mlflow_parity.pairing.matching import Pairing

_RUN_ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Links:
    """What is known of runs all over the server: which target run each source run became."""

    pairs: MutableMapping[str, str]
    """Source run id → target run id; a confirming reading may fix it."""
    known: Mapping[str, str]
    """Source run id → lifecycle stage, for every source run that was read."""
    copies: MutableMapping[str, set[str]]
    """Source run id → further target runs that claim to be its copy."""
    complete: bool
    """Whether the runs of every source experiment that is not deleted were read: an unknown run is gone or deleted."""
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Deleted target runs that a repair replaced → the paired source run of which they were the copies."""


class RunCopies(dict[str, str]):
    """The copies of runs by their ids; a live run without one is named so."""

    def __init__(self, runs: Links) -> None:
        super().__init__()
        self._runs = runs

    def get(self, run: str, otherwise: Any = None) -> Any:
        """Return the id of a run's copy."""
        if self._runs.known.get(run) == "active":
            otherwise = f"{run}, which has no copy"
        return self._runs.pairs.get(run, otherwise)


def take_in(pairing: Pairing[Any], pairs: MutableMapping[str, str], copies: MutableMapping[str, set[str]]) -> None:
    """Add what was paired to what is known: ``pairs`` maps source ids to target ids, ``copies`` to further ones."""
    pairs.update((pair.source.entity_id, pair.target.entity_id) for pair in pairing.pairs)
    for pair in pairing.duplicates:
        copies.setdefault(pair.source.entity_id, set()).add(pair.target.entity_id)


@dataclass(slots=True)
class ObjectLinks:
    """What is known of objects all over the server, so that links between them can be followed.

    ``entities`` maps, for each kind, source ids to those of their copies; ``known`` holds the source ids that were
    read, and ``whole`` the kinds of which every object of the source was read, but for those of deleted experiments.
    ``deleted`` are the source's experiments that were not read because they are deleted and out of scope.
    ``copy_places`` judges where copies keep their files; ``places`` maps the ids of the source's logged models to where
    their files and those of their copies are. ``is_wanted`` says which
    registered models and prompts are in scope, by name, ``include_deleted`` whether deleted runs are.
    """

    runs: Links
    experiments: Mapping[str, str] = field(default_factory=dict)
    entities: dict[str, MutableMapping[str, str]] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    deleted: Collection[str] = ()
    copies: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    copy_places: CopyPlaces = field(default_factory=CopyPlaces)
    places: MutableMapping[str, tuple[str, str]] = field(default_factory=dict)
    is_wanted: Callable[[str], bool] = lambda _: True
    include_deleted: bool = True
    keeps_spans: Callable[[], bool] = lambda: False
    """Whether the target can hold spans in its database, where searches find them; false where it is not known."""

    def remember(self, kind: str, pairing: Pairing[Any]) -> None:
        """Take in the pairs of a kind."""
        if kind == "experiment":
            return  # paired by their lists, before anything was read
        if kind == "run":
            pairs, copies = self.runs.pairs, self.runs.copies
        else:
            pairs, copies = self.entities.setdefault(kind, {}), self.copies.setdefault(kind, {})
        take_in(pairing, pairs, copies)
        for pair in pairing.pairs if kind == "logged_model" else ():
            if pair.source.artifact_uri and pair.target.artifact_uri:
                self.places[pair.source.entity_id] = (pair.source.artifact_uri, pair.target.artifact_uri)

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
        if kind == "experiment" and source_id in self.deleted:
            return "deleted"
        return "gone" if kind in self.whole else "unknown"

    def is_untold(self, kind: str, source_id: str) -> bool:
        """Whether nobody can tell what became of a source object: no copy of it is known, and it was not read."""
        return source_id not in self.of(kind) and self.stage(kind, source_id) == "unknown"


def untold(
    key: str, named: Iterable[str], kind: str, sides: tuple[object, object], links: ObjectLinks, rule: str
) -> list[Difference]:
    """Say that a list of objects cannot be compared where it names one of which nobody can tell what became of it."""
    first = next((one for one in sorted(named) if links.is_untold(kind, one)), None)
    if first is None:
        return []
    why = "is outside this audit's scope" if kind == "experiment" else "was not read on the source"
    note = f"{singular_of(kind)} {first}, which it lists, {why}"
    return [Difference(key, State.UNVERIFIED, rule, *sides, note)]


def untold_runs(found: Iterable[Difference], values: Iterable[object], links: ObjectLinks) -> list[Difference]:
    """Say of differing ids, of which the source's is one of ``values``, that it is that of a run that was not read."""
    note = "the run is outside this audit's scope"
    ids = {one for one in values if isinstance(one, str) and _RUN_ID.fullmatch(one) and links.is_untold("run", one)}
    return [
        replace(one, state=State.UNVERIFIED, note=note)
        if one.state is State.MISMATCH
        and isinstance(one.source, str)
        and one.source in ids
        and _RUN_ID.fullmatch(str(one.target))
        else one
        for one in found
    ]


def link(key: str, ours: str | None, theirs: str | None, kind: str, links: ObjectLinks, rule: str) -> list[Difference]:
    """Compare a link to an object of ``kind`` through the pairing."""
    if not ours:
        return [] if not theirs else [Difference(key, State.EXTRA, rule, target=theirs)]
    wanted = links.of(kind).get(ours)
    if wanted is not None:
        further = links.runs.copies.get(ours, ()) if kind == "run" else links.copies.get(kind, {}).get(ours, ())
        if theirs == wanted or (theirs and theirs in further):
            return []
        note = "still the source's id" if theirs == ours else f"the {singular_of(kind)}'s copy is {wanted}"
        return [Difference(key, State.MISSING if not theirs else State.MISMATCH, rule, ours, theirs, note)]
    stage = links.stage(kind, ours)
    if stage == "unknown":
        note = f"the {singular_of(kind)} is outside this audit's scope"
        return [Difference(key, State.UNVERIFIED, rule, ours, theirs, note)]
    if stage in ("gone", "deleted") and theirs in (ours, None, ""):
        # in the trash with its experiment, which was not read, it counts as gone
        where = "not on the source, or deleted there" if stage == "gone" else "deleted there"
        note = f"the {singular_of(kind)} is {where}"
        return [Difference(key, State.EXPECTED, f"{rule}.dangling", ours, theirs, note)]
    return [Difference(key, State.MISMATCH, rule, ours, theirs, f"the {singular_of(kind)} has no copy on the target")]


def guardrails(source: Entity, target: Entity, links: ObjectLinks) -> list[Difference]:
    """Compare which guardrails are on an endpoint, and when each acts: by id, through the pairing.

    One that is the same in all but its id will do: nothing says which of the two is whose copy.
    """
    kind, rule = "gateway_guardrail", "gateway_endpoint.guardrails"
    ours, theirs = (one.facets.get("guardrails") for one in (source, target))
    if ours is None or theirs is None:
        # what was read before these were told knows their ids alone
        times = (side.facets.get("times") or {} for side in (source, target))
        ours, theirs = ({one: {} for one in told.get("guardrails", ())} for told in times)
    if open_ones := untold("", ours, kind, (sorted(ours), sorted(theirs)), links, rule):
        return open_ones
    pairs, further = links.of(kind), links.copies.get(kind, {})
    fits = {one: {pairs.get(one, one), *further.get(one, ())} for one in ours}
    what = {one: _on_target(told, links) for one, told in source.facets.get("guardrail_definitions", {}).items()}
    its: Mapping[str, dict[str, Any]] = target.facets.get("guardrail_definitions", {})
    tests: tuple[Callable[[str, str], bool], ...] = (
        lambda one, other: other in fits[one] and ours[one] == theirs[other],
        lambda one, other: bool(what.get(one)) and what[one] == its.get(other) and ours[one] == theirs[other],
        lambda one, other: other in fits[one],
        lambda one, other: what.get(one, {}).get("name", one) == its.get(other, {}).get("name", other),
    )
    found: list[Difference] = []
    left, open_ends = list(theirs), list(ours)
    for number, is_it in enumerate(tests):
        for one in list(open_ends):
            other = next((other for other in left if is_it(one, other)), None)
            if other is None:
                continue
            open_ends.remove(one)
            left.remove(other)
            key = what.get(one, {}).get("name", one)
            if number == 2:
                found.append(Difference(key, State.MISMATCH, rule, ours[one], theirs[other]))
            elif number == 3:
                whose = f"the guardrail's copy is {pairs[one]}" if one in pairs else "the guardrail has no copy"
                found.append(Difference(key, State.MISMATCH, rule, one, other, f"another of the same name; {whose}"))
    found += [Difference(what.get(one, {}).get("name", one), State.MISSING, rule, source=one) for one in open_ends]
    return found + [Difference(its.get(one, {}).get("name", one), State.EXTRA, rule, target=one) for one in left]


def _on_target(guardrail: Mapping[str, Any], links: ObjectLinks) -> dict[str, Any]:
    """Return what is told of a guardrail, with the ids of copies in it."""
    named = (("experiment", "experiment"), ("action_endpoint_id", "gateway_endpoint"))
    ids = {key: links.of(kind).get(guardrail[key]) for key, kind in named if key in guardrail}
    return {**guardrail, **ids}


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


def run_parent(source: Run, target: Run, links: Links) -> list[Difference]:
    """Compare the parent link through the pairing."""
    rule = "run.parent"
    ours, theirs = source.tags.get(PARENT_TAG), target.tags.get(PARENT_TAG)
    if ours is None:
        return [] if theirs is None else [Difference(PARENT_TAG, State.EXTRA, rule, target=theirs)]
    wanted = links.pairs.get(ours)
    if wanted is not None:
        # a child of a second copy is no fault of the child's: the duplicate is reported as such
        if theirs == wanted or theirs in links.copies.get(ours, ()):
            return []
        note = "still the source's id" if theirs == ours else f"the parent's copy is {wanted}"
        state = State.MISSING if theirs is None else State.MISMATCH
        return [Difference(PARENT_TAG, state, rule, ours, theirs, note)]
    gone = links.known.get(ours, "gone" if links.complete else None)
    if gone is None:
        note = "the parent is in an experiment outside this audit's scope"
        return [Difference(PARENT_TAG, State.UNVERIFIED, rule, ours, theirs, note)]
    if gone in ("gone", "deleted") and theirs == ours:
        note = "the parent is not on the source" if gone == "gone" else "the parent is deleted on the source"
        return [Difference(PARENT_TAG, State.EXPECTED, "run.parent.dangling", ours, theirs, note)]
    note = "the parent has no copy on the target"
    return [Difference(PARENT_TAG, State.MISMATCH, rule, ours, theirs, note)]
