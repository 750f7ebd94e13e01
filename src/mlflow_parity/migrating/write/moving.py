"""The one road to the target, which every object takes; what is odd about a kind stands in its :class:`Writing`.

:func:`carry` takes one object along it: its state (its content and what its links resolve to) is compared with what
the journal says was written; a new one is begun, written and noted as done, or why it is not. :func:`bring` does so
for all objects of a kind of which MLflow's API can write all that it tells: the copy is looked for, made exactly once
or gone on with, and read back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

from mlflow_parity.core.errors import NotMoved, ParityError, RequestRefused, no_space
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.writing import without_none
from mlflow_parity.migrating.journal import Entry
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.importing import Import, Problems
from mlflow_parity.migrating.write.link_state import WAITS, is_settled, is_stale, joined
from mlflow_parity.snapshot import SERVER

API = "/api/3.0/mlflow"
#: Said of links: the kind comes after all others.
ALL = "*"
#: How an object came out: it was there as it is, it was written, or it was not and the journal says why.
Came = Literal["settled", "written", "failed"]
_ONE: Mapping[str, int] = MappingProxyType({"objects": 1})


@dataclass(frozen=True, slots=True)
class Writing:
    """How a kind is written.

    ``links``: the kinds that its objects name; these are written first. ``again``: kinds that they name as well, or
    that are written on them, and that name them in turn: once these are there, each object is visited a second time.
    A name followed by ``again`` is the second visit of a kind. :mod:`.ordering` makes the order of it all.

    Most kinds say ``write``, which makes the copy (:meth:`Task.make`) or brings ``task.copy`` up to date. Then

    * ``theirs``: what somebody else made under the same name is brought up to date as well; else it is only compared;
    * ``read_back``: what was written is read again, and only what is equal is done;
    * ``linked``: what beside its facets tells an object's state; by default what its links resolve to;
    * ``named``: facets that hold further ids, as they are to be read from the target.

    A kind with more to it says ``visit``, which is called for each experiment, or once for a kind of the server, and
    takes its objects through :func:`carry`.
    """

    kinds: tuple[str, ...]
    links: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    write: Callable[[Task], object] | None = None
    visit: Callable[[Visit], object] | None = None
    theirs: bool = False
    read_back: bool = True
    linked: Callable[[Task], tuple[Any, ...]] = lambda task: (task.wanted,)
    named: Callable[[Import, Entity], Mapping[str, Any]] = lambda context, entity: {}
    chunk: int = 500

    @property
    def kind(self) -> str:
        """The kind, or the first of those that are written together."""
        return self.kinds[0]


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit: ``again`` is the second; ``last``: every experiment was imported, so what is absent does not come."""

    context: Import
    index: TargetIndex
    experiment: Experiment | None = None
    again: bool = False
    last: bool = False

    @property
    def here(self) -> Experiment:
        """The experiment of a kind that is in one."""
        assert self.experiment is not None
        return self.experiment


# --- one object


@dataclass(frozen=True, slots=True)
class Key:
    """What the journal calls an object: ``place`` is the source id of what it is in."""

    kind: str
    source_id: str
    place: str
    name: str


def key_of(source: Entity | Run) -> Key:
    """Return the key of an object."""
    if isinstance(source, Run):
        return Key("run", source.run_id, source.experiment_id, source.name)
    return Key(source.kind, source.entity_id, source.container, source.name)


@dataclass(slots=True)
class Ending:
    """What comes of a writing: what was refused, and whether the object ``waits`` for what it points at."""

    before: Entry | None
    problems: Problems = field(default_factory=Problems)
    waits: bool = False


def carry(
    context: Import,
    key: Key,
    state_of: Callable[[], str],
    write: Callable[[Ending], object],
    *,
    links: Callable[[], str] = lambda: "",
    stale: Callable[[Entry, str], object] | None = None,
    counts: Mapping[str, int] = _ONE,
    may_lack: bool = False,
    finish: bool = True,
) -> Came:
    """Take one object to the target, unless it is there in this state; whatever goes wrong is noted in the journal.

    ``links`` tells what its links resolve to: where only that is another, ``stale`` is called, else the object is
    written again. ``may_lack``: servers may not know the kind. ``finish`` false leaves it open, for a second visit.

    Raises:
        NoSpace: the disk is full; so will all the others be, and nothing can be noted of them.
    """
    journal, which = context.journal, (key.kind, key.source_id)
    came: Came = "failed"
    with noted(context, key, may_lack=may_lack):
        entry = journal.entry(*which)
        state = state_of()
        if entry is not None and is_settled(entry, state):
            if not is_stale(entry, now := links()):
                return "settled"
            if stale is not None:
                stale(entry, joined(state, now))
                return "settled"
        journal.begin(*which, place=key.place, name=key.name)
        journal.digested(*which, state)
        ending = Ending(entry)
        write(ending)
        came = "written"
        if finish:
            context.told(**counts)
            _finish(context, key, state, links, ending)
    return came


def _finish(context: Import, key: Key, state: str, links: Callable[[], str], ending: Ending) -> None:
    journal, problems, which = context.journal, ending.problems, (key.kind, key.source_id)
    if ending.waits and not problems.failed:
        journal.failed(*which, "; ".join([WAITS, *problems.impossible]))
        return
    whole = joined(state, links())
    journal.digested(*which, state if problems.failed else whole)
    problems.check()
    journal.done(*which, whole)


@contextmanager
def noted(context: Import, key: Key, *, may_lack: bool = False) -> Iterator[None]:
    """Note in the journal why an object was not moved, and go on with the next: one that is odd keeps back no other.

    Raises:
        NoSpace: the disk is full; so will all the others be, and nothing can be noted of them.
    """
    journal, which = context.journal, (key.kind, key.source_id)
    try:
        yield
    except Exception as error:
        if full := no_space(error):
            raise full from None
        if journal.entry(*which) is None:
            journal.begin(*which, place=key.place, name=key.name)
        if isinstance(error, NotMoved) and error.for_good:
            journal.unmovable(*which, str(error))
        elif may_lack and isinstance(error, RequestRefused) and error.status == 404:
            journal.failed(*which, f"the target cannot hold it: {error}")
        elif isinstance(error, ParityError):
            journal.failed(*which, str(error))
        else:
            journal.failed(*which, f"{type(error).__name__}: {' '.join(str(error).split())[:600]}")


# --- all objects of a kind


@dataclass(slots=True)
class TargetIndex:
    """What the target holds of the server's kinds; a list is read when it is first asked for, and again on demand."""

    context: Import
    _found: dict[str, dict[str, Entity]] = field(default_factory=dict)
    #: Of each kind, those that are nobody's copy yet, by name and experiment.
    _free: dict[str, dict[tuple[str, Any], list[Entity]]] = field(default_factory=dict)

    def all(self, kind: str, *, again: bool = False) -> dict[str, Entity]:
        """Return every object of a kind that the target has, by its id."""
        if again or kind not in self._found:
            read = self.context.reader.server_objects(kind)
            self._found[kind] = {one.entity_id: one for batch in read for one in batch}
        return self._found[kind]

    def forget(self, kind: str) -> None:
        """Have a list read again when it is asked for next."""
        self._found.pop(kind, None)
        self._free.pop(kind, None)

    def identity(self, kind: str, name: str) -> str:
        """Return the target's id of an object of a kind of which no two have one name.

        Raises:
            NotMoved: there is none.
        """
        for again in (False, True):
            for one in self.all(kind, again=again).values():
                if one.name == name:
                    return one.entity_id
        raise NotMoved(f"its {KINDS[kind].singular} {name!r} is not on the target")

    def copy(self, entity: Entity, experiment: str | None, *, again: bool = False) -> Entity | None:
        """Return the copy of an object: that which the journal knows, else one of its name and place that is free.

        Among several of one name it is one of its definition. A free one is no other's from then on. ``again``: look
        on the target whether one was made.
        """
        kind, journal = entity.kind, self.context.journal
        found, known = self.all(kind, again=again), journal.target(kind, entity.entity_id)
        if known in found:
            return found[known]
        if again or kind not in self._free:
            taken, free = set(journal.ids(kind).values()), dict[tuple[str, Any], list[Entity]]()
            for one in found.values():
                if one.entity_id not in taken:
                    free.setdefault((one.name, one.facets.get("experiment")), []).append(one)
            self._free[kind] = free
        same = self._free[kind].get((entity.name, experiment))
        if not same:
            return None
        told = entity.facets.get("definition")
        return same.pop(next((place for place, one in enumerate(same) if one.facets.get("definition") == told), 0))


@dataclass(slots=True)
class Task:
    """One object on its way: as it is on the source, as it is to be read from the target, and its copy so far.

    ``copy`` is ``None`` where there is none.
    """

    context: Import
    index: TargetIndex
    source: Entity
    wanted: dict[str, Any]
    copy: Entity | None = None
    state: str = ""

    @property
    def definition(self) -> dict[str, Any]:
        """What is to be written, by the names of MLflow's API."""
        found: dict[str, Any] = self.wanted["definition"]
        return found

    @property
    def ours(self) -> bool:
        """Whether this migration made the copy."""
        return self.context.journal.ours(self.source.kind, self.source.entity_id)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write; ``path`` is below the API, or a whole one."""
        return self.context.writer.call(method, _whole(path), body)

    def make(self, path: str, body: dict[str, Any], made: Callable[[dict[str, Any]], object]) -> str:
        """Make the copy exactly once and return its id; ``made`` takes that from the answer."""
        journal, which = self.context.journal, (self.source.kind, self.source.entity_id)

        def find() -> str | None:
            found = self.index.copy(self.source, self.wanted.get("experiment"), again=True)
            return None if found is None else found.entity_id

        with journal.making(*which):
            identity = self.context.writer.create(
                _whole(path), without_none(body), find=find, made=lambda answer: str(made(answer))
            )
        journal.created(*which, identity)
        return identity


def _whole(path: str) -> str:
    return path if path.startswith("/") else f"{API}/{path}"


def bring(how: Writing, visit: Visit) -> None:
    """Bring every object of a kind of the server; those with a second visit are only begun at the first."""
    context, index, kind = visit.context, visit.index, how.kind
    finish = visit.again or not how.again
    moved: list[Task] = []
    # the order in which they were made is all that tells identical ones apart, and some are listed newest first
    for entity in every(context.export.snapshot.objects(SERVER), kind, chunk=how.chunk, oldest=True):
        task = Task(context, index, entity, _wanted(context, how, entity))
        task.state = digest([entity.entity_id, _written(entity), *how.linked(task)]).hex()
        came = carry(
            context,
            key_of(entity),
            lambda task=task: task.state,  # type: ignore[misc]
            partial(_bring, how, task),
            may_lack=True,
            finish=finish and not how.read_back,
        )
        if came == "written" and how.read_back:
            moved.append(task)
    if moved and finish:
        _read_back(visit, kind, moved)
    # what was written on them is to be seen by the next that asks
    index.forget(kind)


def _bring(how: Writing, task: Task, _: Ending) -> None:
    context, entity = task.context, task.source
    assert how.write is not None
    if entity.error is not None:
        raise NotMoved(f"it could not be read at the source: {entity.error}")
    _check_links(context, how, entity)
    task.copy = task.index.copy(entity, task.wanted.get("experiment"))
    if task.copy is not None:
        context.journal.found(entity.kind, entity.entity_id, task.copy.entity_id)
    if task.copy is None or how.theirs or task.ours:
        how.write(task)


def _read_back(visit: Visit, kind: str, moved: list[Task]) -> None:
    """Read what was written, and note what is equal as done."""
    context, journal = visit.context, visit.context.journal
    found = visit.index.all(kind, again=True)
    for task in moved:
        with noted(context, key_of(task.source), may_lack=True):
            copy = found.get(journal.target(kind, task.source.entity_id) or "")
            if copy is None:
                raise NotMoved("it was written, and the target does not list it")
            told, wanted = copy.facets, task.wanted
            wrong = [facet for facet in wanted if told.get(facet) != wanted[facet]]
            if "definition" in wrong:
                ours, theirs = task.definition, told["definition"]
                keys = sorted(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
                wrong = [", ".join(keys) if facet == "definition" else facet for facet in wrong]
            if wrong:
                whose = "the copy" if task.ours else "another one of this name, not ours,"
                raise NotMoved(f"{whose} on the target differs in its {', '.join(wrong)}: make it equal by hand")
            journal.done(kind, task.source.entity_id, task.state)
            context.told(objects=1)


def _named(how: Writing, entity: Entity) -> Iterator[tuple[str, str]]:
    """Yield kind and id of what an object names in a facet of its own."""
    yield from ((kind, entity.facets[kind]) for kind in how.links if entity.facets.get(kind))


def _wanted(context: Import, how: Writing, entity: Entity) -> dict[str, Any]:
    """Return the facets of an object as they are to be read from the target."""
    copies = {kind: context.journal.target(kind, identity) for kind, identity in _named(how, entity)}
    return {**_written(entity), **copies, **how.named(context, entity)}


def _written(entity: Entity) -> dict[str, Any]:
    """Return the facets of an object but times and users, which the server sets."""
    return {
        facet.name: entity.facets[facet.name]
        for facet in KINDS[entity.kind].sides
        if facet.strategy != "stamps" and facet.name in entity.facets
    }


def _check_links(context: Import, how: Writing, entity: Entity) -> None:
    """Refuse what names something of the source that is not on the target (a run that is gone there is no loss)."""
    for kind, identity in _named(how, entity):
        if context.journal.target(kind, identity) is not None:
            continue
        if kind == "experiment" or context.journal.state(kind, identity) is not None:
            more = "" if context.include_deleted else "; if it is deleted on the source, --include-deleted moves it"
            raise NotMoved(f"its {kind} {identity} is not on the target{more}")
