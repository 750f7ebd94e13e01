"""Comparing of two stores of every kind of object in memory, through the functions that the audit uses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mlflow_parity.comparing import Comparison, compare_objects
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.links import Links, ObjectLinks
from mlflow_parity.comparing.same_store import UNKNOWN, Releases, refuse
from mlflow_parity.comparing.tie_breakers import Likeness
from mlflow_parity.core.scope import Profile
from mlflow_parity.kinds import KINDS, LIVE, OPTIONAL
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces
from mlflow_parity.pairing.by_kind import pair_objects
from mlflow_parity.pairing.relocation import Relocation
from support.entities import Store, families


@dataclass
class Known:
    """What an audit knows beside the objects: pairs of runs and experiments, stages of runs, the source's stores."""

    runs: Mapping[str, str]
    experiments: Mapping[str, str]
    stages: Mapping[str, str] | None = None
    unread: Collection[str] = ()
    """Kinds (and ``run``, ``experiment``) of which not everything was read."""
    stores: frozenset[str] = frozenset()
    moved: Relocation = field(default_factory=Relocation)
    source_experiments: Collection[str] = ()
    deleted_experiments: Collection[str] = ()
    """Those of the source that were not read, being deleted."""
    include_deleted: bool = True
    replaced: Mapping[str, str] = field(default_factory=dict)
    """Deleted target runs that a repair replaced, and the source runs of which they were the copies."""
    releases: Releases = UNKNOWN
    keeps_spans: bool = False
    """Whether the target can hold spans in its database."""


def in_scope(kind: str) -> frozenset[str]:
    """Facets that every audit judges, without those for which a server is asked once more."""
    return frozenset(facet for facet in KINDS[kind].facets if (kind, facet) not in OPTIONAL | LIVE)


def links_of(known: Known) -> ObjectLinks:
    """Return the links with nothing but runs and experiments."""
    stages = dict.fromkeys(known.runs, "active") if known.stages is None else known.stages
    return ObjectLinks(
        Links(dict(known.runs), stages, {}, "run" not in known.unread, known.replaced),
        experiments=known.experiments,
        known={"experiment": {*known.experiments, *known.source_experiments} - set(known.deleted_experiments)},
        deleted=known.deleted_experiments,
        whole={*KINDS, "experiment"} - set(known.unread),
        copy_places=CopyPlaces(known.stores),
        include_deleted=known.include_deleted,
        keeps_spans=lambda: known.keeps_spans,
    )


def compare_stores(
    source: Store, target: Store, known: Known, profile: Profile = "export-import", *, hashed: bool = True
) -> list[Outcome]:
    """Return every row of every kind, as the audit makes them."""
    links, same = links_of(known), profile == "same-store"
    pairings = {}
    for kind in families():
        ours, theirs = source.keys(kind), target.keys(kind)
        evidence = (Likeness(source, links), Likeness(target))
        pairings[kind] = pair_objects(ours, theirs, links.runs.pairs, evidence, same_store=same)
        links.remember(kind, pairings[kind])
        links.known[kind] = {key.entity_id for key in ours}
    comparison = Comparison(
        {name: in_scope(name) for name in KINDS},
        links,
        hashed=hashed,
        profile=profile,
        moved=known.moved,
        releases=known.releases,
    )
    return [
        outcome
        for kind, pairing in pairings.items()
        for outcome in refuse(compare_objects("here", kind, pairing, source, target, comparison), profile)
    ]


def red(outcomes: list[Outcome]) -> set[tuple[str, str, str]]:
    """What is not green: kind, facet and state."""
    return {(one.row.kind, one.row.facet, one.row.state.value) for one in outcomes if not one.row.state.green}
