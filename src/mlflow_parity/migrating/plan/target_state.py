"""What is on the target before a migration: nothing, what this migration made, or what others made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.identity.keys import SOURCE_EXPERIMENT_TAG
from mlflow_parity.core.notice import Notice, migrate_command, named
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.text import counted, listed
from mlflow_parity.kinds import of_family, plural_of
from mlflow_parity.migrating.plan.write_probe import MARKER
from mlflow_parity.migrating.survey import planned_name
from mlflow_parity.migrating.write.objects.experiments import is_known

if TYPE_CHECKING:
    from mlflow_parity.audit.renames import Renames
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.reading.server import ServerReader

_DEFAULT = "0"
#: Of these the target has those of its owners, who make them, and make them again.
_BY_HAND = "gateway_secret"
#: Kind → id on the target → name.
Present = Mapping[str, Mapping[str, str]]


def examine(
    reader: ServerReader,
    experiments: Sequence[Experiment],
    journal: Journal | None,
    planned: Mapping[str, Mapping[str, str]] | None,
    renames: Renames,
    *,
    into_existing: bool,
    whole: bool = False,
) -> list[Notice]:
    """Compare the target with what is to be moved to it.

    ``experiments`` are the target's, deleted ones included; ``planned`` is kind → source id → source name
    (``None``: not known, because the source cannot be read), ``whole``: all of the source could be listed.
    """
    present, found = _present(reader, experiments)
    made = {kind: {} if journal is None else journal.ids(kind) for kind in present}
    ours = {kind: set(ids.values()) for kind, ids in made.items()}
    others = _given_again(experiments, journal)
    marked = {one.experiment_id: one.tags.get(SOURCE_EXPERIMENT_TAG) for one in experiments}
    foreign: dict[str, dict[str, str]] = {}
    for kind, objects in present.items():
        begun = _begun(kind, journal, renames)
        foreign[kind] = {
            identity: name
            for identity, name in objects.items()
            if (identity not in ours[kind] or (kind == "experiment" and identity in others))
            and not (name in begun and (kind != "experiment" or marked[identity] == begun[name]))
        }
    # an empty ``Default`` is there, too
    there = {
        **present,
        "experiment": {one.experiment_id: one.name for one in experiments if one.experiment_id not in others},
    }
    found += _resumed(there, ours, _gone_on_both(made, there, planned if whole else None))
    trash = {one.experiment_id: one.name for one in experiments if one.lifecycle_stage == "deleted"}
    for kind, objects in foreign.items():
        if planned is None:
            continue
        wanted = {planned_name(renames, kind, name) for name in planned.get(kind, {}).values()}
        same = {i: n for i, n in objects.items() if n in wanted and kind != _BY_HAND}
        found += _collisions(kind, same, trash, into_existing)
        objects_left = {i: n for i, n in objects.items() if n not in wanted and i not in trash}
        if objects_left:
            found.append(_others(kind, objects_left))
    if planned is None and any(foreign.values()):
        counts = listed({plural_of(kind): len(objects) for kind, objects in foreign.items()})
        found.append(Notice("note", "target.others", f"the target holds {counts} that this migration did not make"))
    return found


def _given_again(experiments: Sequence[Experiment], journal: Journal | None) -> set[str]:
    """Return the ids that were those of our experiments, which are gone for good, and are those of others now."""
    if journal is None:
        return set()
    known = ((one, journal.of_target("experiment", one.experiment_id)) for one in experiments)
    return {one.experiment_id for one, entry in known if entry is not None and not is_known(one, entry)}


def _begun(kind: str, journal: Journal | None, renames: Renames) -> dict[str, str]:
    """Return new name → source id of what was being made when the migration was killed."""
    if journal is None:
        return {}
    # what was refused, or never asked for, was not made: one of that name is somebody else's
    entries = (entry for entry in journal.entries(kind=kind) if entry.target_id is None and entry.ours)
    return {planned_name(renames, kind, entry.name): entry.source_id for entry in entries}


def _present(reader: ServerReader, experiments: Sequence[Experiment]) -> tuple[dict[str, dict[str, str]], list[Notice]]:
    """Return what is there by kind, but for an empty ``Default``."""
    found: list[Notice] = []
    present: dict[str, dict[str, str]] = {"experiment": {one.experiment_id: one.name for one in experiments}}

    def failed(what: str, error: ReadError) -> None:
        found.append(
            Notice(
                "error", "target.read", f"the target's {what} cannot be read", str(error), "give the right to read them"
            )
        )

    if present["experiment"].get(_DEFAULT) == "Default":
        try:
            if reader.is_empty(_DEFAULT):
                del present["experiment"][_DEFAULT]
        except ReadError as error:
            failed("experiment Default", error)
    for kind in ("registered_model", "prompt"):
        present[kind] = {}
        try:
            if reader.supports(kind) is not False:
                names = [name for name in reader.names(kind) if not name.startswith(MARKER)]
                present[kind] = {name: name for name in names}
        except ReadError as error:
            failed(plural_of(kind), error)
    for one in of_family("server"):
        present[one.name] = {}
        try:
            for batch in reader.server_objects(one.name):
                present[one.name] |= {entity.entity_id: entity.name for entity in batch}
        except ReadError as error:
            failed(one.plural, error)
    return present, found


def _gone_on_both(
    made: Mapping[str, Mapping[str, str]], there: Present, planned: Mapping[str, Mapping[str, str]] | None
) -> dict[str, set[str]]:
    """Return what this migration made that is on neither side any more: kind → ids on the target.

    Where nothing that it made is left, nobody can tell it from another server.
    """
    if planned is None or not any(there[kind].keys() & ids.values() for kind, ids in made.items()):
        return {}
    return {
        kind: {copy for source_id, copy in ids.items() if copy not in there[kind] and source_id not in planned[kind]}
        for kind, ids in made.items()
        if kind in planned
    }


def _resumed(there: Present, ours: Mapping[str, set[str]], past: Mapping[str, set[str]]) -> list[Notice]:
    known = {kind: ids & there[kind].keys() for kind, ids in ours.items()}
    gone = {
        kind: sorted(ids - there[kind].keys() - past.get(kind, set())) for kind, ids in ours.items() if kind != _BY_HAND
    }
    found = []
    for kind, copies in past.items():
        if copies:
            found.append(
                Notice(
                    "note",
                    "target.past",
                    f"this migration made {counted(len(copies), plural_of(kind))} that neither the target has any more "
                    f"nor what is moved now: {named(sorted(copies))}",
                )
            )
    if any(known.values()):
        counts = listed({plural_of(kind): len(ids) for kind, ids in known.items()})
        found.append(Notice("note", "target.resumed", f"the migration is taken up again: {counts} are there already"))
    for kind, ids in gone.items():
        if ids:
            found.append(
                Notice(
                    "error",
                    "target.gone",
                    f"not on the target any more, though this migration made it: {counted(len(ids), plural_of(kind))}: "
                    f"{named(ids)}",
                    "they were deleted for good, or this is another server at the same address",
                    "for a new target, or one that was emptied on purpose, pass a different --work-dir; what somebody "
                    f"deleted is made again by `{migrate_command()} verify` and then `repair`",
                )
            )
    return found


def _collisions(kind: str, objects: Mapping[str, str], trash: Mapping[str, str], into_existing: bool) -> list[Notice]:
    found = []
    deleted = [name for identity, name in objects.items() if kind == "experiment" and identity in trash]
    live = [name for identity, name in objects.items() if not (kind == "experiment" and identity in trash)]
    if deleted:
        found.append(
            Notice(
                "error",
                "target.trash",
                f"the target has {len(deleted):,} deleted experiments of the same name: {named(deleted)}",
                "a deleted experiment keeps its name, and this migration did not make it",
                "purge them with `mlflow gc` on the target, or give new names with --rename",
            )
        )
    if live:
        found.append(
            Notice(
                "warning" if into_existing else "error",
                "target.same-name",
                f"the target has {counted(len(live), plural_of(kind))} of the same name that this migration did not "
                f"make: {named(live)}",
                "what is moved is put into them, and nobody can tell afterwards what was there before",
                "" if into_existing else "give an empty target, new names with --rename, or --into-existing",
            )
        )
    return found


def _others(kind: str, objects: Mapping[str, str]) -> Notice:
    names = sorted(objects.values())
    return Notice(
        "warning",
        "target.others",
        f"the target has {counted(len(names), plural_of(kind))} unknown to the source: {named(names)}",
        "they are left alone; an audit of everything calls them extra",
        "give an empty target, or audit with the names that were moved",
    )
