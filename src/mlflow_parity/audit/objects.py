"""The part of an audit beside experiments and runs: pairs all objects first, then compares item by item.

Links go across items (a model version names a run and a logged model of some experiment), so everything is paired
before anything is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_parity.audit import concurrent_changes as changes
from mlflow_parity.audit.concurrent_changes import Changes
from mlflow_parity.audit.side import SIDES, Side, SideName
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.object_links import ObjectLinks
from mlflow_parity.comparing.objects import ObjectComparison, compare_objects, unread_rows
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.comparing.tie_breakers import Likeness
from mlflow_parity.comparing.unknown import ALIKE, Told
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.keys import ObjectKey
from mlflow_parity.core.records import Resolved
from mlflow_parity.core.scope import Depth, Profile
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds import FILES, KINDS, of_family
from mlflow_parity.kinds.base import Family, Kind
from mlflow_parity.kinds.check_registry import Selection
from mlflow_parity.pairing.objects import ObjectPairing, pair_objects
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.pairing.same_store import same_objects
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
}
#: Facets that are judged by files alone.
_ON_FILES = frozenset({*FILES.values(), "access", "loads"})
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


@dataclass(frozen=True, slots=True)
class Place:
    """Where objects of a pair of containers are: experiment ids or :data:`SERVER`; target ``None``: no copy."""

    source: str
    target: str | None
    container: str = ""
    """Name of the registered model or prompt; empty: all that is there."""
    deleted: bool = False
    """Whether the experiment is deleted on either side: no server lists the scorers of such a one."""


@dataclass(slots=True)
class Objects:
    """Everything that is known of the objects of both sides."""

    sides: Mapping[SideName, Side]
    selection: Selection
    depth: Depth
    scratch: Path
    links: ObjectLinks
    hashed: bool
    profile: Profile = "export-import"
    moved: Relocation = field(default_factory=Relocation)
    told: Told = ALIKE
    load: Callable[[str, int], list[Difference]] | None = None
    notes: list[str] = field(default_factory=list)
    changes: Changes = field(default_factory=Changes)
    answers: dict[str, list[Resolved]] | None = None
    """What the target said of the aliases of registered models and prompts, by name; ``None``: not asked yet."""
    _views: dict[tuple[SideName, str], PlaceObjects] = field(default_factory=dict)
    _fresh: dict[tuple[SideName, str, Part], PlaceObjects | None] = field(default_factory=dict)
    _renewed: dict[tuple[SideName, str, frozenset[Part]], PlaceObjects] = field(default_factory=dict)
    _grouped: dict[tuple[PlaceObjects, str], dict[str, list[ObjectKey]]] = field(default_factory=dict)

    @property
    def facets(self) -> dict[str, frozenset[str]]:
        """Facets in scope of each kind."""
        return {name: self.selection.facets(name) for name in KINDS}

    def view(self, side: SideName, place: str) -> PlaceObjects:
        """Return the objects of a place as they were first read."""
        found = self._views.get((side, place))
        if found is None:
            found = self._views[side, place] = self.sides[side].snapshot.objects(place)
        return found

    def keys(self, view: PlaceObjects, kind: str, container: str) -> list[ObjectKey]:
        """Return the keys of a kind, only those of a model or prompt when one is named."""
        if not container:
            return view.keys(kind)
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
                    copies = self.keys(theirs, kind.name, place.container)
                    self.links.remember(kind.name, self._pair(keys, copies, ours, theirs))
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

    def _pair(
        self,
        source: Sequence[ObjectKey],
        target: Sequence[ObjectKey],
        ours: PlaceObjects,
        theirs: PlaceObjects | None,
    ) -> ObjectPairing:
        if self.profile == "same-store":
            return same_objects(source, target)
        evidence = None if theirs is None else (Likeness(ours, self.links), Likeness(theirs))
        return pair_objects(source, target, self.links.of("run"), evidence)

    # --- comparing

    def compare(self, label: str, family: Family, place: Place) -> Iterator[Outcome]:
        """Yield the rows of every kind of a family in one place, suspects read once more."""
        for kind in of_family(family):
            if not self.facets[kind.name] or (place.deleted and kind.part == "scorers"):
                continue
            first = list(self._rows(label, kind, place, fresh=False))
            red = {outcome.row.facet for outcome in first if not outcome.row.state.green}
            # files are read again only where nothing else explains: they may be large
            again: list[Part] = [kind.part]
            if red and red <= _ON_FILES:
                again = [FILES_PART[kind.name]]
            if not red or not self._refresh(kind, place, again):
                yield from first
            else:
                again_rows = list(self._rows(label, kind, place, fresh=True))
                self._notice(label, kind, place, [*first, *again_rows])
                yield from map(self.changes.settle, again_rows)
                if all(_ids(outcome.row) for outcome in again_rows):
                    yield from self._unseen(first, again_rows)

    def _unseen(self, first: Sequence[Outcome], again: Sequence[Outcome]) -> Iterator[Outcome]:
        """Yield what was red at first and is neither judged again nor known to have gone: it stays red."""
        judged = {(side, one) for row in (outcome.row for outcome in again) for side, one in _ids(row)}
        for outcome in first:
            row = outcome.row
            gone = any((side, row.kind, one) in self.changes.found for side, one in _ids(row))
            if _ids(row) and not row.state.green and not gone and judged.isdisjoint(_ids(row)):
                yield outcome

    def _notice(self, label: str, kind: Kind, place: Place, outcomes: Sequence[Outcome]) -> None:
        """Remember which of the suspects are not what they were when they were first read."""
        for side, where in (("source", place.source), ("target", place.target)):
            if where is None:
                continue
            name: SideName = "source" if side == "source" else "target"
            views = self.view(name, where), self._now(name, where, fresh=True)
            if views[0] is views[1] or any(view.problem(kind.part) for view in views):
                continue
            known = [{key.entity_id for key in view.keys(kind.name)} for view in views]
            red = [outcome.row for outcome in outcomes if not outcome.row.state.green]
            suspects = {row.source_id if name == "source" else row.target_id for row in red} - {None}
            part = FILES_PART.get(kind.name)
            read = part is not None and not any(view.problem(part) for view in views)
            for identity in sorted(one for one in suspects if one is not None):
                before, now = (
                    view.entities(kind.name, [identity])[0] if identity in ids else None
                    for view, ids in zip(views, known, strict=True)
                )
                trees = [view.files(kind.name, identity) for view in views] if read and before and now else []
                for change in changes.of_entity(name, label, before, now, trees):
                    self.changes.add(change)

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

    def _rows(self, label: str, kind: Kind, place: Place, *, fresh: bool) -> Iterator[Outcome]:
        views: dict[SideName, PlaceObjects | None] = {
            "source": self._now("source", place.source, fresh=fresh),
            "target": None if place.target is None else self._now("target", place.target, fresh=fresh),
        }
        for side, view in views.items():
            problem = None if view is None else view.problem(kind.part)
            if problem is not None:
                reason = f"the {side}'s {kind.plural} could not be read: {problem}"
                yield from unread_rows(label, kind.name, self.facets[kind.name], reason)
                return
        ours, theirs = views["source"], views["target"]
        assert ours is not None
        keys = self.keys(ours, kind.name, place.container)
        copies = [] if theirs is None else self.keys(theirs, kind.name, place.container)
        pairing = self._pair(keys, copies, ours, theirs)
        if fresh:
            self.links.remember(kind.name, pairing)
        same = self.profile == "same-store"
        comparison = ObjectComparison(
            self.facets,
            self.links,
            self.hashed,
            same_store=same,
            moved=self.moved,
            releases=(self._release("source"), self._release("target")),
            told=self.told,
            load=self.load,
            resolve=self._ask if fresh else self._resolve,
        )
        cannot = theirs is not None and kind.name in theirs.unsupported(kind.part)
        rows = compare_objects(label, kind.name, pairing, ours, theirs, comparison, cannot=cannot)
        yield from refuse(rows, self.profile)

    def _release(self, side: SideName) -> tuple[int, int]:
        return release(self.sides[side].snapshot.origin.version)

    def _ask(self, name: str, aliases: Iterable[str]) -> list[Resolved]:
        """Ask the target for aliases now; nothing where a snapshot stands for it."""
        reader = self.sides["target"].reader
        return [] if reader is None else list(reader.resolve([(name, alias) for alias in sorted(aliases)]))

    def _resolve(self, name: str, aliases: Iterable[str]) -> list[Resolved]:
        """Ask the target for the aliases of one registered model or prompt; those of all are asked for at once."""
        if self.answers is None:
            wanted: set[tuple[str, str]] = set()
            for side in SIDES:
                view = self.view(side, SERVER)
                for kind in ("registered_model", "prompt") if view.problem("registry") is None else ():
                    for entity in view.entities(kind, [key.entity_id for key in view.keys(kind)]):
                        wanted.update((entity.entity_id, alias) for alias in entity.facets.get("aliases") or {})
            reader = self.sides["target"].reader
            self.answers = {}
            for answer in reader.resolve(sorted(wanted)) if reader is not None else ():
                self.answers.setdefault(answer.name, []).append(answer)
        return self.answers.get(name, [])

    def _now(self, side: SideName, place: str, *, fresh: bool) -> PlaceObjects:
        view = self.view(side, place)
        if not fresh:
            return view
        again = {
            part: found
            for (name, where, part), found in self._fresh.items()
            if (name, where) == (side, place) and found is not None
        }
        key = side, place, frozenset(again)
        if key not in self._renewed:
            self._renewed[key] = view.renewed(again)
        return self._renewed[key]

    def looks(self, side: SideName, place: str) -> list[PlaceObjects]:
        """Return the objects of a place as they were first read and, where they were read again, as they are now."""
        first, now = self.view(side, place), self._now(side, place, fresh=True)
        return [first] if now is first else [first, now]

    def _refresh(self, kind: Kind, place: Place, parts: Sequence[Part]) -> bool:
        """Read parts of a place once more, once per audit; false when neither side could be read again."""
        anew = False
        for side, where in (("source", place.source), ("target", place.target)):
            name: SideName = "source" if side == "source" else "target"
            if where is None or not self.sides[name].live:
                continue
            for part in parts:
                if (name, where, part) not in self._fresh:
                    folder = self.scratch / "again" / name / part
                    try:
                        found = self.sides[name].objects_again(folder, where, part, self.depth)
                    except ReadError as error:
                        self.notes.append(f"suspect {kind.plural} could not be read again from the {name}: {error}")
                        found = None
                    self._fresh[name, where, part] = found
                anew |= self._fresh[name, where, part] is not None
        return anew

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


def _ids(row: Row) -> list[tuple[SideName, str]]:
    sides: tuple[tuple[SideName, str | None], ...] = (("source", row.source_id), ("target", row.target_id))
    return [(side, identity) for side, identity in sides if identity is not None]


def _in_order() -> list[Kind]:
    """Kinds in an order in which links can be followed: models before what is made of them."""
    first = ("logged_model", "model_version", "prompt_version", "trace")
    return sorted(KINDS.values(), key=lambda kind: first.index(kind.name) if kind.name in first else len(first))
