"""The part of an audit that compares: pairs all objects first, then compares item by item, suspects once more.

Links go across items (a model version names a run and a logged model of some experiment), so everything is paired
before anything is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from mlflow_parity.audit.looking.looks import Looks, Place, ids_of, keys_of
from mlflow_parity.audit.looking.second_look import GONE, Changes
from mlflow_parity.audit.paired.aliases import Aliases
from mlflow_parity.audit.paired.outcomes import Outcomes
from mlflow_parity.audit.paired.usable import Usable
from mlflow_parity.audit.side import SIDES
from mlflow_parity.comparing import Comparison
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.file_evidence import UNPROVED
from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.comparing.objects import compare_objects
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.comparing.stopping import Stop
from mlflow_parity.comparing.tie_breakers import Likeness
from mlflow_parity.comparing.unknown import ALIKE, Told
from mlflow_parity.comparing.unpaired import unread_rows
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.scope import Evidence, Profile
from mlflow_parity.core.subset import Share
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import BY_NAME, FILES, KINDS, of_family
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.kinds.schema.base import Family, Kind
from mlflow_parity.pairing.by_kind import DigestsOf, pair_objects, pair_runs
from mlflow_parity.pairing.matching import Pair, Pairing
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.snapshot import FILES_PART, SERVER, Part
from mlflow_parity.snapshot.store import PlaceObjects

#: Kinds whose pairs are needed to follow the links of a kind.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "run": ("logged_model",),
    "logged_model": ("model_version",),
    "model_version": ("logged_model",),
    "registered_model": ("model_version",),
    "prompt": ("prompt_version",),
    # references to issues are assessments, and metadata names the gateway's endpoint that was called
    "trace": ("logged_model", "prompt_version", "issue", "gateway_endpoint"),
    "evaluation_dataset": ("trace",),
    "review_queue": ("trace",),
    "gateway_endpoint": ("gateway_guardrail",),
}
#: What is judged of an experiment beside itself.
IN_EXPERIMENTS: tuple[Kind, ...] = (BY_NAME["run"], *of_family("experiment"))
_LINK_FACETS = frozenset({"model_inputs", "model_outputs"})


def parts_of(selection: Selection) -> frozenset[Part]:
    """Return the object parts that a selection needs, those for following links included."""
    parts: set[Part] = set()
    kinds = {name for name in KINDS if selection.facets(name)}
    for name in kinds:
        if selection.facets(name) & {*FILES.values(), "access"}:
            parts.add(FILES_PART[name])
    if selection.facets("run") & _LINK_FACETS:
        kinds.add("logged_model")
    if "usable" in selection.facets("experiment"):
        kinds |= {"trace", "evaluation_dataset"}
    for name in list(kinds):
        kinds.update(NEEDS.get(name, ()))
    parts.update(KINDS[name].part for name in kinds)
    return frozenset(parts)


@dataclass(slots=True)
class Objects:
    """Everything that is known of the objects of both sides."""

    looks: Looks
    selection: Selection
    links: ObjectLinks
    hashed: bool = True
    profile: Profile = "export-import"
    moved: Relocation = field(default_factory=Relocation)
    told: Told = ALIKE
    evidence: Evidence = "stores"
    load: Callable[[str, int], list[Difference]] | None = None
    ask: Usable | None = None
    changes: Changes = field(default_factory=Changes)
    share: Share | None = None
    """What one part of several takes; ``None``: all."""
    stop: Stop | None = None
    """What says that nothing more is to be looked at."""
    noted: set[tuple[str, str]] | None = None
    """Kinds and places in which objects are told apart by what they hold: noted before that is read, not asked."""
    pairs: Mapping[str, Pair[Experiment]] = field(default_factory=dict)
    """Experiments with their copies, by the source's id."""
    settled: int = 0
    """Differences of experiments and runs at the first look that were gone at the second."""
    aliases: Aliases = field(init=False)
    facets: Mapping[str, frozenset[str]] = field(init=False)
    """Facets in scope of each kind."""
    _comparison: Comparison = field(init=False)
    _grouped: dict[tuple[PlaceObjects, str], dict[str, list[ObjectKey]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.facets = {name: self.selection.facets(name) for name in BY_NAME}
        self.aliases = Aliases(self.looks)
        self._comparison = Comparison(
            self.facets,
            self.links,
            self.hashed,
            include_deleted=self.links.include_deleted,
            profile=self.profile,
            moved=self.moved,
            releases=(self._release("source"), self._release("target")),
            told=self.told,
            evidence=self.evidence,
            load=self.load,
            ask=self.ask,
            resolve=self.aliases.of,
            share=self.share,
        )

    @property
    def notes(self) -> list[str]:
        """What could not be read again."""
        return self.looks.notes

    def view(self, side: SideName, place: str) -> PlaceObjects:
        """Return the objects of a place, beside experiments and runs, as they were first read."""
        return self.looks.objects(side, place)

    def keys(self, view: Any, kind: str, container: str = "") -> Sequence[Any]:
        """Return the keys of a kind, only those of a model or prompt when one is named."""
        if not container:
            return keys_of(view, kind)
        groups = self._grouped.get((view, kind))
        if groups is None:
            groups = self._grouped[view, kind] = {}
            for key in view.keys(kind):
                groups.setdefault(key.container or key.entity_id, []).append(key)
        return groups.get(container, [])

    # --- before comparing: every pair, so that links can be followed

    def learn(self, places: Sequence[Place], complete: bool) -> None:
        """Pair the objects of all places; ``complete``: every experiment that the source has not deleted is there."""
        parts = parts_of(self.selection)
        for kind in _in_order():
            if kind.part not in parts:
                continue
            every = complete or kind.family != "experiment"
            for place in self._places(kind, places):
                ours = self.view("source", place.source)
                theirs = None if place.target is None else self.view("target", place.target)
                if (place.deleted and kind.part == "scorers") or ours.problem(kind.part) is not None:
                    every = False
                    continue
                keys = self.keys(ours, kind.name, place.container)
                self.links.known.setdefault(kind.name, set()).update(key.entity_id for key in keys)
                self.links.copy_places.learn(key.artifact_uri for key in keys)
                if theirs is not None and theirs.problem(kind.part) is None:
                    self.links.remember(kind.name, self._pair(kind, place, ours, theirs))
            if every:
                self.links.whole.add(kind.name)
        if complete:
            self.links.whole.add("experiment")

    def _places(self, kind: Kind, places: Sequence[Place]) -> list[Place]:
        if kind.family == "experiment":
            return [place for place in places if place.source != SERVER]
        if kind.family == "server":
            return [Place(SERVER, SERVER)]
        ours, theirs = self.view("source", SERVER), self.view("target", SERVER)
        if ours.problem(kind.part) is not None:
            return [Place(SERVER, SERVER)]
        names = {key.container or key.entity_id for key in ours.keys(kind.name)}
        if theirs.problem(kind.part) is None:
            names |= {key.container or key.entity_id for key in theirs.keys(kind.name)}
        return [Place(SERVER, SERVER, name) for name in sorted(names)]

    def _pair(self, kind: Kind, place: Place, ours: Any, theirs: Any) -> Pairing[Any]:
        same = self.profile == "same-store"
        if kind.name == "experiment":
            pair = self.pairs.get(place.source)
            if pair is None or theirs is None:
                return Pairing(missing=[ours.experiment])
            return Pairing([Pair(ours.experiment, theirs.experiment, pair.by)])
        keys = self.keys(ours, kind.name, place.container)
        copies = [] if theirs is None else self.keys(theirs, kind.name, place.container)
        if kind.name == "run":
            return pair_runs(keys, copies, same_store=same)
        evidence = None if theirs is None or same else self._evidence(kind, place, ours, theirs)
        return pair_objects(keys, copies, self.links.of("run"), evidence, same_store=same)

    def _evidence(self, kind: Kind, place: Place, ours: Any, theirs: Any) -> tuple[DigestsOf, DigestsOf]:
        if self.noted is None:
            return Likeness(ours, self.links), Likeness(theirs)
        noted = self.noted

        def note(_: ObjectKey) -> tuple[bytes, ...]:
            noted.update((kind.name, where) for _, where in (*place.sides, ("", place.container)) if where)
            return ()

        return note, note

    # --- comparing

    def compare(
        self, label: str, family: Family, place: Place, kinds: Collection[str] | None = None
    ) -> Iterator[Outcome]:
        """Yield the rows of every kind of a family (only ``kinds``) in one place, suspects read once more."""
        own = (BY_NAME["experiment"], BY_NAME["run"]) if family == "experiment" else ()
        for kind in (*own, *of_family(family)):
            if kinds is not None and kind.name not in kinds:
                continue
            if not self.facets[kind.name] or (place.deleted and kind.part == "scorers"):
                continue
            if self.share is not None:
                self.share.start()
            if self.stop is not None and self.stop.reached:
                yield from self.stop.unlooked(self._rows(label, kind, place, fresh=False, skip=True))
                if self.share is not None:
                    self.share.keep()
                continue
            first = Outcomes(self._rows(label, kind, place, fresh=False), self.looks.scratch)
            doubts: list[str] = []
            final: Iterable[Outcome] = first
            if self.looks.read_again(kind, place, first.red, doubts):
                if self.share is not None:
                    self.share.start()
                judged = _Judged(first.red)
                again = Outcomes(judged.seen(self._rows(label, kind, place, fresh=True)), self.looks.scratch)
                for change in self.looks.changed(label, kind, place, [*first.red, *again.red]):
                    self.changes.add(change)
                unseen = [*self._unseen(first.red, judged)] if judged.all_named else []
                final = chain(map(self.changes.settle, again), unseen)
                if kind in own:
                    # that a store alone did not prove it is no difference
                    settled = len(first.red) - len(again.red) - max(_unproved(first.red) - _unproved(again.red), 0)
                    self.settled += max(settled, 0)
            if self.share is not None:
                self.share.keep()
            yield from final
            doubts += self._moved(kind, place)
            if doubts:
                asked = [facet for facet in kind.facets if facet in self.facets[kind.name]][:1]
                yield from unread_rows(label, kind.name, asked, "; ".join(doubts), note=f"target {place.target}")

    def _moved(self, kind: Kind, place: Place) -> Iterator[str]:
        """Yield what moved on a server while the snapshot was read that stands for it."""
        for side, where in place.sides:
            if where is not None and not self.looks.sides[side].live:
                why = self.looks.sides[side].snapshot.moved.of.get(where, {}).get(kind.name)
                if why is not None:
                    yield f"{side}: {why}"

    def _unseen(self, red: Sequence[Outcome], judged: _Judged) -> Iterator[Outcome]:
        """Yield what was red at first and is neither judged again nor known to have gone: it stays red."""
        for outcome in red:
            row = outcome.row
            known = [self.changes.found.get((side, row.kind, one)) for side, one in ids_of(row)]
            gone = any(change is not None and GONE in change.facets for change in known)
            if ids_of(row) and not gone and judged.ids.isdisjoint(ids_of(row)):
                yield outcome

    def none(self, label: str, family: Family) -> Iterator[Outcome]:
        """Yield what contradicts that neither side has any object of a family."""
        for kind in of_family(family):
            facets = self.facets[kind.name]
            for side in SIDES if facets else ():
                view = self.view(side, SERVER)
                problem = view.problem(kind.part)
                if problem is None and view.keys(kind.name):
                    problem = f"{len(view.keys(kind.name))} came while the audit was running; repeat it"
                if problem is not None:
                    reason = f"the {side}'s {kind.plural} could not be read: {problem}"
                    yield from unread_rows(label, kind.name, facets, reason)
                    break

    def _rows(self, label: str, kind: Kind, place: Place, *, fresh: bool, skip: bool = False) -> Iterator[Outcome]:
        views = {
            side: None if where is None else self.looks.view(kind, side, where, fresh=fresh)
            for side, where in place.sides
        }
        for side, view in views.items():
            problem = None if view is None else view.problem(kind.part)
            if problem is not None:
                reason = f"the {side}'s {kind.plural} could not be read: {problem}"
                note = f"target {place.target}" if kind.name == "run" else ""
                yield from unread_rows(label, kind.name, self.facets[kind.name], reason, note=note)
                return
        ours, theirs = views["source"], views["target"]
        assert ours is not None  # the source's place is always there
        pairing = self._pair(kind, place, ours, theirs)
        if fresh:
            self.links.remember(kind.name, pairing)
        comparison = replace(self._comparison, resolve=self.aliases.ask) if fresh else self._comparison
        comparison = replace(comparison, skip=True) if skip else comparison
        cannot = kind.name in KINDS and theirs is not None and kind.name in theirs.unsupported(kind.part)
        rows = compare_objects(label, kind.name, pairing, ours, theirs, comparison, cannot=cannot)
        yield from refuse(rows, self.profile)

    def _release(self, side: SideName) -> tuple[int, int]:
        return release(self.looks.sides[side].snapshot.origin.version)

    def listed(self, place: Place) -> dict[str, set[str]]:
        """Return the ids, on either side, of all that is judged of an experiment's place beside itself, by kind."""
        found: dict[str, set[str]] = {}
        for kind in IN_EXPERIMENTS:
            if "presence" not in self.facets[kind.name] or (place.deleted and kind.part == "scorers"):
                continue
            views = [
                self.looks.view(kind, side, where, fresh=False) for side, where in place.sides if where is not None
            ]
            if any(view.problem(kind.part) is not None for view in views):
                continue
            found[kind.name] = {
                key.entity_id
                for view in views
                for key in keys_of(view, kind.name)
                if kind.name != "run" or self.links.include_deleted or not key.deleted
            }
        return found

    def is_held(self, place: Place, family: Family = "experiment") -> bool:
        """Whether the source has objects of the selected kinds in a place; a list that was not read may hold some."""
        view = self.view("source", place.source)
        kinds = [kind for kind in of_family(family) if self.facets[kind.name]]
        # no server lists the scorers of a deleted experiment
        listed = [kind for kind in kinds if not (place.deleted and kind.part == "scorers")]
        return any(view.problem(kind.part) is not None or view.keys(kind.name) for kind in listed)

    def count(self, side: SideName, places: Sequence[str]) -> Counter[str]:
        """Count the objects that were read, by the plural of their kind."""
        counts: Counter[str] = Counter()
        for place in places:
            counts.update(self.view(side, place).counts())
        return Counter({kind.plural: counts[kind.plural] for kind in KINDS.values() if counts[kind.plural]})


class _Judged:
    """Which of the suspects were judged again, told while the rows go by."""

    def __init__(self, red: Iterable[Outcome]) -> None:
        self._suspects = {one for outcome in red for one in ids_of(outcome.row)}
        self.ids: set[tuple[SideName, str]] = set()
        self.all_named = True

    def seen(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Pass rows on."""
        for outcome in outcomes:
            ids = ids_of(outcome.row)
            self.all_named &= bool(ids)
            self.ids.update(one for one in ids if one in self._suspects)
            yield outcome


def _unproved(outcomes: Sequence[Outcome]) -> int:
    return sum(
        one.row.state is State.UNVERIFIED and all(found.note.startswith(UNPROVED) for found in one.differences)
        for one in outcomes
        if one.differences
    )


def _in_order() -> list[Kind]:
    """Kinds in an order in which links can be followed: models before what is made of them."""
    first = ("logged_model", "model_version", "prompt_version", "trace")
    return sorted(KINDS.values(), key=lambda kind: first.index(kind.name) if kind.name in first else len(first))
