"""Compares the objects of one kind in one container with their copies and yields ledger rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_parity.comparing.access import compare_access, compare_resolved
from mlflow_parity.comparing.difference import Difference, Outcome, facet_state, outcome
from mlflow_parity.comparing.object_fields import compare_facet, wrong_place
from mlflow_parity.comparing.object_links import ObjectLinks
from mlflow_parity.comparing.registry_fields import version_of_hop
from mlflow_parity.comparing.same_store import UNKNOWN, Releases, bare, object_facet, place
from mlflow_parity.comparing.trees import ModelIds, compare_trees
from mlflow_parity.comparing.unknown import ALIKE, Told, compare_other
from mlflow_parity.core.keys import ObjectKey
from mlflow_parity.core.locations import VARIABLE
from mlflow_parity.core.records import STORAGE, ArtifactTree, Entity, Resolved
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import FILES, KINDS
from mlflow_parity.kinds.base import OTHER
from mlflow_parity.pairing.objects import ObjectPair, ObjectPairing
from mlflow_parity.pairing.relocation import Relocation

_CHUNK = 200


@dataclass(frozen=True, slots=True)
class _Owner:
    run_id: str
    artifact_uri: str


class ObjectView(Protocol):
    """The objects of one experiment, or of the server, on one side."""

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Whole records, in the order asked for."""
        ...

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """The files of a logged model or model version, the attachments of a trace."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectComparison:
    """What to compare: facets in scope per kind, the links, and whether files were hashed."""

    facets: dict[str, frozenset[str]]
    links: ObjectLinks
    hashed: bool
    load: Callable[[str, int], list[Difference]] | None = None
    resolve: Callable[[str, Iterable[str]], Iterable[Resolved]] | None = None
    same_store: bool = False
    moved: Relocation = field(default_factory=Relocation)
    releases: Releases = UNKNOWN
    told: Told = ALIKE


def compare_objects(
    label: str,
    kind: str,
    pairing: ObjectPairing,
    source: ObjectView,
    target: ObjectView | None,
    comparison: ObjectComparison,
    *,
    cannot: bool = False,
) -> Iterator[Outcome]:
    """Yield every row of one kind; ``label`` names the item (experiment, model, prompt, server) in the ledger.

    ``cannot``: the target's MLflow has no such kind of object.
    """
    wanted = comparison.facets.get(kind, frozenset())
    facets = [facet for facet in KINDS[kind].facets if facet in wanted]
    if not facets:
        return
    yield from _unpaired(label, kind, pairing, facets, comparison.links, cannot=cannot)
    if target is None:
        return
    pairs = sorted(pairing.pairs, key=lambda pair: _order(pair.source))
    out_of_order = _out_of_order(pairs) if "order" in facets else set()
    models = ModelIds(comparison.links.of("logged_model"))
    for start in range(0, len(pairs), _CHUNK):
        some = pairs[start : start + _CHUNK]
        ours = source.entities(kind, [pair.source.entity_id for pair in some])
        theirs = target.entities(kind, [pair.target.entity_id for pair in some])
        for pair, mine, copy in zip(some, ours, theirs, strict=True):
            if kind == "model_version" and not comparison.same_store:
                copy = version_of_hop(mine, copy)
            for facet in facets:
                rule = f"{kind}.{facet}"
                unread = [
                    Difference("", State.UNVERIFIED, rule, note=f"could not be read from the {side}: {one.error}")
                    for side, one in (("source", mine), ("target", copy))
                    if one.error is not None
                ]
                if facet == "presence":
                    found: list[Difference] = []
                elif facet == OTHER:
                    found = compare_other(kind, mine.facets.get(OTHER), copy.facets.get(OTHER), comparison.told)
                elif unread and _is_incomplete(facet, mine, copy):
                    # what is there may differ all the same, which says more; nothing at all was never read
                    known = facet in mine.facets and facet in copy.facets
                    known = known and all(one.facets[facet] for one in (mine, copy) if one.error is not None)
                    differing = compare_facet(facet, mine, copy, comparison.links) if known else []
                    found = [one for one in differing if not one.state.green] or unread
                elif facet == "order":
                    found = _too_early(pair) if pair.source.entity_id in out_of_order else []
                elif facet == "access":
                    found = compare_access(source.files(kind, mine.entity_id), target.files(kind, copy.entity_id))
                elif facet == "loads":
                    found = comparison.load(copy.container, int(copy.facets["number"])) if comparison.load else [
                        Difference("", State.UNVERIFIED, rule, note="not asked for")
                    ]  # fmt: skip
                elif facet == "resolves":
                    asked = {*(mine.facets.get("aliases") or {}), *(copy.facets.get("aliases") or {})}
                    answers = comparison.resolve(copy.entity_id, asked) if comparison.resolve else ()
                    found = compare_resolved(mine, copy, answers)
                elif facet in FILES.values():
                    trees = source.files(kind, mine.entity_id), target.files(kind, copy.entity_id)
                    if comparison.same_store:
                        trees = bare(trees[0]), bare(trees[1])
                    # a version's MLmodel may name the place of the logged model that it was made of
                    place_of_model = comparison.links.places.get(mine.facets.get("logged_model") or "")
                    places = (place_of_model,) if place_of_model else ()
                    found = compare_trees(*trees, _owner(mine), _owner(copy), comparison.links.of("run"), models,
                                          hashed=comparison.hashed, rule=rule, places=places)  # fmt: skip
                    found += _stands(mine, copy, comparison) if kind == "logged_model" else []
                else:
                    strict = (
                        object_facet(facet, mine, copy, comparison.moved, comparison.releases)
                        if comparison.same_store
                        else None
                    )
                    found = compare_facet(facet, mine, copy, comparison.links) if strict is None else strict
                row = _row(label, kind, pair.source, pair.target, facet, facet_state(found), pair.by)
                yield outcome(row, found)


#: Facets that an error of a kind leaves incomplete; the others were read before it.
_INCOMPLETE = {
    "trace": ("spans",),
    "evaluation_dataset": ("records", "experiments"),
    "model_version": (STORAGE,),
}


def _is_incomplete(facet: str, *entities: Entity) -> bool:
    """Whether an entity's error touches a facet."""
    return any(
        entity.error is not None and (facet not in entity.facets or facet in _INCOMPLETE.get(entity.kind, (facet,)))
        for entity in entities
    )


def unread_rows(label: str, kind: str, facets: frozenset[str], problem: str) -> Iterator[Outcome]:
    """Yield one unverified row per facet for a kind that could not be listed."""
    for facet in (facet for facet in KINDS[kind].facets if facet in facets):
        row = Row(label, kind, f"(all {KINDS[kind].plural})", None, None, facet, State.UNVERIFIED)
        yield outcome(row, [Difference("", State.UNVERIFIED, f"{kind}.{facet}", note=problem)])


def _stands(source: Entity, target: Entity, comparison: ObjectComparison) -> list[Difference]:
    """A logged model's copy keeps its files in a place of its own; the model itself, where the store put it."""
    ours, theirs = source.artifact_uri or "", target.artifact_uri or ""
    if comparison.same_store:
        return place("artifact_uri", ours, theirs, comparison.moved, source.kind, "files")
    note = wrong_place(source, target, ours, theirs, comparison.links)
    return [Difference("artifact_uri", State.MISMATCH, "logged_model.id", ours, theirs, note)] if note else []


def _owner(entity: Entity) -> _Owner:
    return _Owner(entity.facets.get("run") or "", entity.artifact_uri or "")


def _row(
    label: str,
    kind: str,
    source: ObjectKey | None,
    target: ObjectKey | None,
    facet: str,
    state: State,
    by: str = "",
    note: str = "",
) -> Row:
    shown = source or target
    return Row(
        label,
        kind,
        (shown.name or shown.entity_id) if shown else "",
        source.entity_id if source else None,
        target.entity_id if target else None,
        facet,
        state,
        by,
        note=note,
    )


def _unpaired(
    label: str, kind: str, pairing: ObjectPairing, facets: Sequence[str], links: ObjectLinks, *, cannot: bool
) -> Iterator[Outcome]:
    title, rule = KINDS[kind].singular, f"{kind}.presence"
    presence = "presence" in facets
    others = [facet for facet in facets if facet != "presence"]
    for item in sorted(pairing.missing, key=_order):
        if presence:
            why = _why_missing(item, links)
            if cannot and kind != "workspace":
                why = f"the target's MLflow cannot hold {KINDS[kind].plural} (they came with {KINDS[kind].since})"
            gone = Difference("", State.MISSING, rule, source=_described(item), note=why)
            yield outcome(_row(label, kind, item, None, "presence", State.MISSING), [gone])
        for facet in others:
            yield Outcome(_row(label, kind, item, None, facet, State.MISSING, note=f"the {title} is missing"))
    for sources, targets, by in pairing.ambiguous:
        names = ", ".join(item.entity_id for item in targets)
        note = f"{len(sources)} source and {len(targets)} target {KINDS[kind].plural} have the same {by}: {names}"
        for item in sources:
            if presence:
                difference = Difference("", State.AMBIGUOUS, rule, source=_described(item), note=note)
                yield outcome(_row(label, kind, item, None, "presence", State.AMBIGUOUS), [difference])
            for facet in others:
                row = _row(label, kind, item, None, facet, State.AMBIGUOUS, note=f"the {title} is ambiguous")
                yield Outcome(row)
        for item in targets if presence else ():
            difference = Difference("", State.AMBIGUOUS, rule, target=_described(item), note=f"one of {len(targets)}")
            yield outcome(_row(label, kind, None, item, "presence", State.AMBIGUOUS), [difference])
    if not presence:
        return
    kept = {pair.source.entity_id: pair.target.entity_id for pair in pairing.pairs}
    for pair in pairing.duplicates:
        note = f"a further copy ({pair.by}); it is paired with {kept.get(pair.source.entity_id, 'none')}"
        difference = Difference("", State.DUPLICATE, rule, _described(pair.source), _described(pair.target), note)
        yield outcome(_row(label, kind, pair.source, pair.target, "presence", State.DUPLICATE, pair.by), [difference])
    numbers = {item.number for item in [*pairing.missing, *(pair.source for pair in pairing.pairs)]}
    highest = max((number or 0 for number in numbers), default=0)
    for item, why in sorted(pairing.extra, key=lambda extra: _order(extra[0])):
        if item.number is not None and item.number not in numbers and item.number < highest:
            why = f"{why}; the source has a gap at number {item.number}: that version was deleted there"
        difference = Difference("", State.EXTRA, rule, target=_described(item), note=why)
        yield outcome(_row(label, kind, None, item, "presence", State.EXTRA), [difference])


def _order(item: ObjectKey) -> tuple[object, ...]:
    return (item.number or 0, item.created or 0, item.entity_id)


def _described(item: ObjectKey) -> str:
    made = "" if item.created is None else f", made at {item.created} ms"
    return f"{KINDS[item.kind].singular} {item.name or '(unnamed)'}{made}"


def _why_missing(item: ObjectKey, links: ObjectLinks) -> str:
    if item.kind == "workspace":
        fix = f"audit each workspace by itself: set SOURCE_{VARIABLE} and TARGET_{VARIABLE}"
        return f"nothing of it was read; {fix}"
    note = "no target object has its id, its source tags, its natural key or its content"
    if item.run is None:
        return f"{note}; it has no run" if item.kind in ("model_version", "logged_model") else note
    stage = links.stage("run", item.run)
    if stage == "deleted":
        return f"{note}; its run {item.run} is deleted at the source"
    if stage == "gone":
        return f"{note}; its run {item.run} is not on the source any more"
    if stage != "unknown" and item.run not in links.of("run"):
        return f"{note}; its run {item.run} has no copy either"
    return note


def _out_of_order(pairs: Sequence[ObjectPair]) -> set[str]:
    """Return the versions whose copy comes before that of an earlier version."""
    wrong: set[str] = set()
    highest = -1
    for pair in pairs:
        number = pair.target.number if pair.target.number is not None else -1
        if number < highest:
            wrong.add(pair.source.entity_id)
        highest = max(highest, number)
    return wrong


def _too_early(pair: ObjectPair) -> list[Difference]:
    """Say that a version comes too early on the target."""
    note = "its copy comes before the copy of an earlier version"
    rule = f"{pair.source.kind}.order"
    return [Difference("order", State.MISMATCH, rule, pair.source.number, pair.target.number, note)]
