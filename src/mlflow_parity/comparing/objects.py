"""Compares the objects of one kind in one place with their copies, facet by facet, and yields ledger rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mlflow_parity.comparing import same_store
from mlflow_parity.comparing.difference import Difference, Outcome, facet_state, outcome
from mlflow_parity.comparing.file_evidence import FileEvidence
from mlflow_parity.comparing.histories import compare_histories
from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.comparing.object_fields import compare_facet, wrong_place
from mlflow_parity.comparing.registry_fields import compare_access, compare_resolved, version_of_hop
from mlflow_parity.comparing.trees import ModelIds, compare_trees
from mlflow_parity.comparing.unknown import ALIKE, Told, compare_other
from mlflow_parity.comparing.unpaired import in_scope, row, unpaired
from mlflow_parity.core.identity.keys import (
    SOURCE_EXPERIMENT_NAME_TAG,
    SOURCE_EXPERIMENT_TAG,
    SOURCE_RUN_TAG,
    RunKey,
    as_copy_of,
)
from mlflow_parity.core.records import REPLACED_TAG, STORAGE, ArtifactTree, Resolved, Run
from mlflow_parity.core.scope import Evidence, Profile
from mlflow_parity.core.subset import Share
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import BY_NAME, FILES
from mlflow_parity.kinds.schema.base import OTHER
from mlflow_parity.pairing.matching import Pair, Pairing
from mlflow_parity.pairing.relocation import Relocation

#: Pairs whose records are in memory at once.
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class _Owner:
    run_id: str
    artifact_uri: str


class View(Protocol):
    """The objects of one experiment, or of the server, on one side."""

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Any]:
        """Whole records, in the order asked for."""
        ...

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """The files of a run, logged model or model version, the attachments of a trace."""
        ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare: facets in scope per kind, the links, and whether files were hashed."""

    facets: Mapping[str, frozenset[str]]
    links: ObjectLinks
    hashed: bool
    include_deleted: bool = True
    profile: Profile = "export-import"
    moved: Relocation = field(default_factory=Relocation)
    """Where the whole store moved to (``same-store`` only)."""
    releases: same_store.Releases = same_store.UNKNOWN
    told: Told = ALIKE
    evidence: Evidence = "stores"
    """What may prove that files are equal."""
    load: Callable[[str, int], list[Difference]] | None = None
    ask: Callable[[Any, Any], list[Difference]] | None = None
    """What both servers answer about an object and its copy."""
    resolve: Callable[[str, Iterable[str]], Iterable[Resolved]] | None = None
    skip: bool = False
    """Name every object and facet, and compare nothing."""
    share: Share | None = None
    """What one part of several takes; ``None``: all."""

    @property
    def same_store(self) -> bool:
        """Whether objects are compared with themselves."""
        return self.profile == "same-store"


@dataclass(slots=True)
class _Case:
    """One pair under comparison; ``source`` and ``target`` are the views that hold it."""

    kind: str
    source: Any
    target: Any
    comparison: Comparison
    models: ModelIds
    too_early: Collection[str]
    pair: Pair[Any]
    mine: Any
    copy: Any
    evidence: FileEvidence

    def unread(self, facet: str, why: Callable[[Any, Any], str | None], what: str = "") -> list[Difference]:
        """Return that a facet could not be read of one side, by ``why`` (given its view and record); empty: it was."""
        for side, view, record in (("source", self.source, self.mine), ("target", self.target, self.copy)):
            reason = why(view, record)
            if reason is not None:
                note = f"the {side}'s {what}could not be read: {reason}"
                return [Difference("", State.UNVERIFIED, f"{self.kind}.{facet}", note=note)]
        return []


def compare_objects(
    label: str,
    kind: str,
    pairing: Pairing[Any],
    source: View,
    target: View | None,
    comparison: Comparison,
    *,
    cannot: bool = False,
) -> Iterator[Outcome]:
    """Yield every row of one kind; ``label`` names the item (experiment, model, prompt, server) in the ledger.

    ``cannot``: the target's MLflow has no such kind of object.
    """
    wanted = comparison.facets.get(kind, frozenset())
    facets = [facet for facet in BY_NAME[kind].facets if facet in wanted]
    if not facets:
        return
    if kind == "run" and not comparison.include_deleted:
        pairing = in_scope(pairing)
    alike = comparison.same_store

    def replaced(run: RunKey) -> str | None:
        [found] = target.entities("run", [run.entity_id]) if target is not None else (None,)
        return None if found is None else found.tags.get(REPLACED_TAG)

    alone = unpaired(label, kind, pairing, facets, comparison.links, cannot=cannot, same_store=alike, replaced=replaced)
    share = comparison.share
    yield from alone if share is None else share.rows(alone)
    if target is None:
        return
    # in one order whatever order the pages came in: ids that must map one to one blame the later run
    pairs = sorted(pairing.pairs, key=lambda pair: pair.source.order)
    too_early = _too_early(pairs) if "order" in facets else ()
    if share is not None:
        # all are counted, and only these compared
        pairs = [one for one in pairs if share.count(kind, facets, one.source.entity_id, one.target.entity_id)]
    if comparison.skip:
        for one in pairs:
            for facet in facets:
                yield Outcome(row(label, kind, one.source, one.target, facet, State.UNVERIFIED, one.by))
        return
    models = ModelIds(comparison.links.of("logged_model"))
    comparers = [(facet, _comparer(kind, facet)) for facet in facets]
    for start in range(0, len(pairs), _CHUNK):
        some = pairs[start : start + _CHUNK]
        ours = source.entities(kind, [pair.source.entity_id for pair in some])
        theirs = target.entities(kind, [pair.target.entity_id for pair in some])
        for pair, mine, copy in zip(some, ours, theirs, strict=True):
            copy = copy if alike else _of_hop(mine, copy)
            evidence = FileEvidence(comparison.evidence)
            case = _Case(kind, source, target, comparison, models, too_early, pair, mine, copy, evidence)
            broken = kind not in ("experiment", "run") and (mine.error, copy.error) != (None, None)
            for facet, compare in comparers:
                found = _of_broken(facet, case) if broken else None
                evidence.found = {}
                found = compare(facet, case) if found is None else found
                compared = row(label, kind, pair.source, pair.target, facet, facet_state(found), pair.by)
                yield outcome(evidence.on(compared), found)
    if share is not None:
        share.learn(label, kind, models.learned)


def _of_hop(source: Any, copy: Any) -> Any:
    """Return a copy with those of its source tags that speak of this source: a copy of a copy has older ones beside."""
    if source.kind == "experiment":
        named = {SOURCE_EXPERIMENT_TAG: source.experiment_id, SOURCE_EXPERIMENT_NAME_TAG: source.name}
    elif source.kind == "run":
        named = {SOURCE_RUN_TAG: source.run_id}
    else:
        return version_of_hop(source, copy) if source.kind == "model_version" else copy
    tags = as_copy_of(copy.tags, source.tags, named)
    return copy if tags is copy.tags else replace(copy, tags=tags)


_Comparer = Callable[[str, _Case], list[Difference]]


def _comparer(kind: str, facet: str) -> _Comparer:
    """Return what compares a facet: more than the two records, or what the facet's strategy says."""
    return _MORE.get((kind, facet)) or _MORE.get(("", facet)) or (_files if facet in FILES.values() else _values)


def _values(facet: str, case: _Case) -> list[Difference]:
    if case.comparison.same_store:
        strict = same_store.compare_facet(facet, case.mine, case.copy, case.comparison.moved, case.comparison.releases)
        if strict is not None:
            return strict
    return compare_facet(facet, case.mine, case.copy, case.comparison.links)


def _other(_: str, case: _Case) -> list[Difference]:
    mine, copy = (one.other if case.kind in ("experiment", "run") else one.facets.get(OTHER) for one in _both(case))
    return compare_other(case.kind, mine, copy, case.comparison.told)


def _histories(facet: str, case: _Case) -> list[Difference]:
    unread = case.unread(facet, lambda view, _: view.problem("metrics"), "metrics ")
    return unread or compare_histories(case.source, case.target, case.mine, case.copy)


def _files(facet: str, case: _Case) -> list[Difference]:
    comparison, links = case.comparison, case.comparison.links
    # of other objects the tree itself says so
    if case.kind == "run" and (unread := case.unread(facet, lambda view, _: view.problem("artifacts"), "artifacts ")):
        return unread
    trees = _trees(case)
    if comparison.same_store:
        trees = same_store.bare(trees[0]), same_store.bare(trees[1])
    place = None
    if case.kind == "model_version":
        # its MLmodel may name the place of the logged model that it was made of
        place = links.places.get(case.mine.facets.get("logged_model") or "")
    owners = [_owner(one) for one in _both(case)]
    found = compare_trees(*trees, owners[0], owners[1], links.of("run"), case.models,
                          hashed=comparison.hashed, rule=f"{case.kind}.{facet}",
                          images=case.kind == "run" and not comparison.same_store,
                          places=(place,) if place else (), evidence=case.evidence)  # fmt: skip
    return found + _stands(case) if case.kind == "logged_model" else found


def _trees(case: _Case) -> tuple[ArtifactTree, ArtifactTree]:
    ours = case.source.files(case.kind, case.mine.entity_id)
    return ours, case.target.files(case.kind, case.copy.entity_id)


def _access(_: str, case: _Case) -> list[Difference]:
    return compare_access(*_trees(case))


def _loads(facet: str, case: _Case) -> list[Difference]:
    load = case.comparison.load
    return _not_asked(facet, case) if load is None else load(case.copy.container, int(case.copy.facets["number"]))


def _usable(facet: str, case: _Case) -> list[Difference]:
    ask = case.comparison.ask
    return _not_asked(facet, case) if ask is None else ask(case.mine, case.copy)


def _not_asked(facet: str, case: _Case) -> list[Difference]:
    return [Difference("", State.UNVERIFIED, f"{case.kind}.{facet}", note="not asked for")]


def _resolves(_: str, case: _Case) -> list[Difference]:
    resolve = case.comparison.resolve
    asked = {alias for one in _both(case) for alias in one.facets.get("aliases") or {}}
    return compare_resolved(case.mine, case.copy, () if resolve is None else resolve(case.copy.entity_id, asked))


def _order(facet: str, case: _Case) -> list[Difference]:
    """Say that a version comes too early on the target."""
    if case.pair.source.entity_id not in case.too_early:
        return []
    note = "its copy comes before the copy of an earlier version"
    numbers = case.pair.source.number, case.pair.target.number
    return [Difference("order", State.MISMATCH, f"{case.kind}.{facet}", *numbers, note)]


def _model_links(facet: str, case: _Case) -> list[Difference]:
    """Links of a run to logged models; say why they are not there, where it is known."""

    def why(view: Any, run: Any) -> str | None:
        problem: str | None = view.links_problem() if getattr(run, facet) is None else None
        return problem

    return case.unread(facet, why) or _values(facet, case)


_MORE: Mapping[tuple[str, str], _Comparer] = {
    ("", "presence"): lambda _, __: [],
    ("", OTHER): _other,
    ("", "order"): _order,
    ("", "access"): _access,
    ("", "loads"): _loads,
    ("", "resolves"): _resolves,
    ("", "usable"): _usable,
    ("run", "metrics"): _histories,
    ("run", "artifacts"): _files,
    ("run", "model_inputs"): _model_links,
    ("run", "model_outputs"): _model_links,
}


def _both(case: _Case) -> tuple[Any, Any]:
    return case.mine, case.copy


#: Facets that an error of a kind leaves incomplete; the others were read before it.
_INCOMPLETE = {
    "trace": ("spans",),
    "evaluation_dataset": ("records", "experiments"),
    "model_version": (STORAGE,),
}


def _of_broken(facet: str, case: _Case) -> list[Difference] | None:
    """Compare a facet of what could not be read in full; ``None``: the error does not touch the facet."""
    broken = [one for one in _both(case) if one.error is not None]
    touched = facet not in ("presence", OTHER) and any(
        facet not in one.facets or facet in _INCOMPLETE.get(case.kind, (facet,)) for one in broken
    )
    if not touched:
        return None
    # what is there may differ all the same, which says more; nothing at all was never read
    known = all(facet in one.facets for one in _both(case)) and all(one.facets[facet] for one in broken)
    differing = compare_facet(facet, case.mine, case.copy, case.comparison.links) if known else []
    return [one for one in differing if not one.state.green] or [
        Difference("", State.UNVERIFIED, f"{case.kind}.{facet}", note=f"could not be read from the {side}: {one.error}")
        for side, one in (("source", case.mine), ("target", case.copy))
        if one.error is not None
    ]


def _stands(case: _Case) -> list[Difference]:
    """A logged model's copy keeps its files in a place of its own; the model itself, where the store put it."""
    ours, theirs = (one.artifact_uri or "" for one in _both(case))
    if case.comparison.same_store:
        return same_store.place("artifact_uri", ours, theirs, case.comparison.moved, case.kind, "files")
    note = wrong_place(case.mine, case.copy, ours, theirs, case.comparison.links)
    return [Difference("artifact_uri", State.MISMATCH, "logged_model.id", ours, theirs, note)] if note else []


def _owner(record: Any) -> Any:
    return record if isinstance(record, Run) else _Owner(record.facets.get("run") or "", record.artifact_uri or "")


def _too_early(pairs: Sequence[Pair[Any]]) -> set[str]:
    """Return the versions whose copy comes before that of an earlier version."""
    wrong: set[str] = set()
    highest = -1
    for pair in pairs:
        number = pair.target.number if pair.target.number is not None else -1
        if number < highest:
            wrong.add(pair.source.entity_id)
        highest = max(highest, number)
    return wrong
