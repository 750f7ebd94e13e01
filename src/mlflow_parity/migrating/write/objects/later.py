"""What the importers of issues, review queues, the AI gateway and the MCP registry share.

All of an object that can be read is one definition, and most of it can only be written when the object is made. So each
is made, gone on with where it is ours, and then read back: only what is equal is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.digests import digest
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.export.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.objects.run_writing import NotMoved
from mlflow_parity.migrating.write.objects.runs import noted
from mlflow_parity.snapshot import SERVER

API = "/api/3.0/mlflow"
#: Kinds of which an object may name objects of experiments.
_LINKS = ("experiment", "run")


class Copies:
    """The target's objects of a kind: by their ids, and those that are nobody's copy by name and experiment."""

    def __init__(self, found: Iterable[Entity], known: Mapping[str, str]) -> None:
        """``known`` are source id → target id of the copies that the journal knows."""
        self._known = known
        self._by_id = {one.entity_id: one for one in found}
        self._free: dict[tuple[str, Any], list[Entity]] = {}
        taken = set(known.values())
        for one in self._by_id.values():
            if one.entity_id not in taken:
                self._free.setdefault((one.name, one.facets.get("experiment")), []).append(one)

    def take(self, entity: Entity, wanted: Mapping[str, Any]) -> Entity | None:
        """Return the copy of an object, which is no other's from now on."""
        known = self._by_id.get(self._known.get(entity.entity_id, ""))
        if known is not None:
            return known
        free = self._free.get((entity.name, wanted.get("experiment")))
        return free.pop(0) if free else None


@dataclass(slots=True)
class There:
    """What the target holds of these kinds; each list is read when it is first asked for, and again on demand."""

    context: Import
    _found: dict[str, list[Entity]] = field(default_factory=dict)
    _copies: dict[str, Copies] = field(default_factory=dict)

    def all(self, kind: str, *, again: bool = False) -> list[Entity]:
        """Return every object of a kind that the target has."""
        if again or kind not in self._found:
            self._found[kind] = [one for batch in self.context.reader.server_objects(kind) for one in batch]
        return self._found[kind]

    def forget(self, kind: str) -> None:
        """Have a list read again when it is asked for next."""
        self._found.pop(kind, None)
        self._copies.pop(kind, None)

    def identity(self, kind: str, name: str) -> str:
        """Return the target's id of an object of this name.

        Raises:
            NotMoved: there is none.
        """
        for again in (False, True):
            for one in self.all(kind, again=again):
                if one.name == name:
                    return one.entity_id
        raise NotMoved(f"its {KINDS[kind].plural[:-1]} {name!r} is not on the target")

    def copy(self, entity: Entity, wanted: dict[str, Any]) -> Entity | None:
        """Return the copy of an object: the one that the journal knows, else one of its name and place that is free."""
        found = self._copies.get(entity.kind)
        if found is None:
            found = self._copies[entity.kind] = Copies(self.all(entity.kind), self.context.journal.ids(entity.kind))
        return found.take(entity, wanted)

    def made(self, entity: Entity, wanted: dict[str, Any]) -> Entity | None:
        """Look on the target whether the copy of an object was made."""
        found = self.all(entity.kind, again=True)
        return Copies(found, self.context.journal.ids(entity.kind)).take(entity, wanted)


@dataclass(frozen=True, slots=True)
class Moving:
    """One object on its way: as it is on the source, as it is to be read from the target, and its copy so far.

    ``copy`` is ``None`` where there is none, and where it is somebody else's, which is not written to.
    """

    context: Import
    there: There
    source: Entity
    wanted: dict[str, Any]
    copy: Entity | None

    @property
    def definition(self) -> dict[str, Any]:
        """What is to be written, by the names of MLflow's API."""
        found: dict[str, Any] = self.wanted["definition"]
        return found

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Write; ``path`` is below the API."""
        return self.context.writer.call(method, f"{API}/{path}", body)

    def make(self, path: str, body: dict[str, Any], made: Callable[[dict[str, Any]], object]) -> str:
        """Make the copy exactly once and return its id; ``made`` takes that from the answer."""
        journal, key = self.context.journal, (self.source.kind, self.source.entity_id)

        def find() -> str | None:
            found = self.there.made(self.source, self.wanted)
            return None if found is None else found.entity_id

        with journal.making(*key):
            identity = self.context.writer.create(
                f"{API}/{path}", without_none(body), find=find, made=lambda answer: str(made(answer))
            )
        journal.created(*key, identity)
        return identity


def without_none(body: dict[str, Any]) -> dict[str, Any]:
    """Return a request's body without what is not to be said."""
    return {key: value for key, value in body.items() if value is not None}


def bring(there: There, kind: str, move: Callable[[Moving], object], *, check: bool = True) -> None:
    """Bring every object of a kind; without ``check`` they are begun, and left for a second call."""
    context = there.context
    moved: list[tuple[Entity, dict[str, Any], str]] = []
    for entity in every(context.export.snapshot.objects(SERVER), kind):
        with noted(context, entity):
            entry = context.journal.entry(kind, entity.entity_id)
            wanted = as_wanted(context, entity)
            state = digest([entity.entity_id, dict(entity.facets), wanted]).hex()
            if entry is not None and entry.state in ("done", "unmovable") and entry.digest == state:
                continue
            context.journal.begin(kind, entity.entity_id, place=entity.container, name=entity.name)
            context.journal.digested(kind, entity.entity_id, state)
            if entity.error is not None:
                raise NotMoved(f"it could not be read at the source: {entity.error}")
            _links(context, entity)
            copy = there.copy(entity, wanted)
            if copy is not None:
                context.journal.found(kind, entity.entity_id, copy.entity_id)
            if copy is None or context.journal.ours(kind, entity.entity_id):
                move(Moving(context, there, entity, wanted, copy))
            moved.append((entity, wanted, state))
    if moved and check:
        _check(there, kind, moved)
    # what was written on them is to be seen by the next call
    there.forget(kind)


def _check(there: There, kind: str, moved: Iterable[tuple[Entity, dict[str, Any], str]]) -> None:
    """Read back what was written, and note what is equal as done."""
    journal = there.context.journal
    found = {one.entity_id: one for one in there.all(kind, again=True)}
    for entity, wanted, state in moved:
        with noted(there.context, entity):
            copy = found.get(journal.target(kind, entity.entity_id) or "")
            if copy is None:
                raise NotMoved("it was written, and the target does not list it")
            told = copy.facets
            wrong = [facet for facet in wanted if told.get(facet) != wanted[facet]]
            if "definition" in wrong:
                ours, theirs = wanted["definition"], told["definition"]
                keys = sorted(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
                wrong = [", ".join(keys) if facet == "definition" else facet for facet in wrong]
            if wrong:
                whose = "the copy" if journal.ours(kind, entity.entity_id) else "another one of this name, not ours,"
                raise NotMoved(f"{whose} on the target differs in its {', '.join(wrong)}: make it equal by hand")
            journal.done(kind, entity.entity_id, state)
            there.context.told(objects=1)


def as_wanted(context: Import, entity: Entity) -> dict[str, Any]:
    """Return the facets of an object as they are to be read from the target."""
    wanted = dict(entity.facets)
    for kind in _LINKS:
        if wanted.get(kind):
            wanted[kind] = context.journal.target(kind, wanted[kind])
    return wanted


def _links(context: Import, entity: Entity) -> None:
    """Refuse what names something of the source that is not on the target (a run that is gone there is no loss)."""
    for kind in _LINKS:
        identity = entity.facets.get(kind)
        if not identity or context.journal.target(kind, identity) is not None:
            continue
        if kind == "experiment" or context.journal.state(kind, identity) is not None:
            more = "" if context.include_deleted else "; if it is deleted on the source, --include-deleted moves it"
            raise NotMoved(f"its {kind} {identity} is not on the target{more}")
