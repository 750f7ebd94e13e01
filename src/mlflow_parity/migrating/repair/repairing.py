"""``repair``: what a red audit names is moved again; what is replaced on the target must be ours by the journal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.records import PARENT_TAG, Entity
from mlflow_parity.core.text import counted
from mlflow_parity.kinds.rules.contract import LATER
from mlflow_parity.migrating.known_losses import is_by_contract
from mlflow_parity.migrating.repair.audit_findings import CONTAINER, Damage, Damaged, Holes, Key, Left, container_of
from mlflow_parity.migrating.repair.removing import delete, mark, remove_extra_files, remove_twins
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.migrating.write.importing import Import
    from mlflow_parity.migrating.write.writing import Writer
    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.snapshot.incomplete import Unread
    from mlflow_parity.snapshot.store import Snapshot


UNMOVABLE = "MLflow's API cannot write it as it is"
IN_USE = "it may be in use, and is not deleted: make it equal by hand"
ADOPTED = "it was on the target before, or the journal of an earlier version does not say who made it"


def repair(
    context: Import,
    damaged: Damaged,
    bring: Callable[[], list[Unread]],
    audit: Callable[[], tuple[int, Damaged | None]],
    say: Callable[[str], None],
) -> tuple[int, list[Left], list[Unread]]:
    """Fix what an audit found; return the last audit's status, what was left alone, and what could not be read.

    First what is on the target is gone on with, in place. What is still not green then is replaced, if it is ours and
    the export can make it whole.

    Args:
        context: the import into the target.
        damaged: what the audit found.
        bring: imports the export, and returns what it lacks.
        audit: audits again, and returns the exit status and what is not green (``None``: nothing, or no report came).
        say: prints a line.

    Raises:
        ReadError: the target does not answer.
    """
    say(f"Repairing {counted(len(damaged.found), 'objects')}")
    remove_twins(context, damaged)
    fix(context.journal, damaged)
    unread = bring()
    remove_extra_files(context, damaged.found)
    status, again = audit()
    if again is None:
        # green, or an audit that came to no report
        return status, explained(context.journal, damaged) if status else [], unread
    if not again.found:
        return status, explained(context.journal, again), unread
    say(f"Replacing {counted(len(again.found), 'objects')}")
    hanging = Dependents(context.export.snapshot)
    holes = Holes(unread, again.unread, hanging.unknown)
    places = context.journal.ids("experiment")
    left = replace(context.journal, context.writer, context.reader, again.found, places, hanging, holes)
    unread = bring()
    status, last = audit()
    # of what was deleted with its container nothing is left to be said
    remaining = [] if last is None else explained(context.journal, last)
    return status, [*remaining, *left], unread


def explained(journal: Journal, damaged: Damaged) -> list[Left]:
    """Return what is left, and of what is only on the target whether the journal knows it."""
    known = {one: journal.of_target(one.kind, one.identity) for one in damaged.unpaired}

    def why(one: Left) -> str:
        entry = known.get(one)
        if entry is None:
            return one.why
        if not entry.ours:
            return ADOPTED
        return (
            f"this migration made it of {entry.source_id}, which the source does not have any more: it cannot be made "
            "again, so delete it on the target yourself if it is to go"
        )

    return [Left(one.kind, one.identity, one.name, why(one)) for one in damaged.left]


def fix(journal: Journal, damaged: Damaged) -> None:
    """First try: what is there is gone on with, as after a kill; what is missing is made.

    A copy that somebody deleted is not gone on with: the journal forgets it. One that only lost its source tag is.
    """
    there = {(one.kind, one.identity) for one in damaged.unpaired}
    for one in damaged.found:
        entry = journal.entry(one.kind, one.source_id)
        if entry is None:
            continue
        if one.missing and (one.kind, entry.target_id) not in there:
            journal.forget(one.kind, one.source_id)
        else:
            journal.again(one.kind, one.source_id)


def replace(
    journal: Journal,
    writer: Writer,
    reader: ServerReader,
    damage: Iterable[Damage],
    experiments: Mapping[str, str],
    dependents: Dependents,
    holes: Holes,
) -> list[Left]:
    """Second try: delete our copies of what is still not green, so that they are made again; return what stays.

    What names one of them for good (a logged model its run, a run the logged models that it made, a version both) is
    made again with it. Ours stays where somebody else's copy stands beside it, or their version in it: one
    would not become green, and the other would be lost. It stays, too, where the export cannot make all of that whole.

    Args:
        journal: of the migration.
        writer: writes to the target.
        reader: reads from the target.
        damage: what is not green.
        experiments: source experiment ids and those of the target.
        dependents: what hangs on what at the source.
        holes: what could not be read.

    Raises:
        ReadError: the target does not answer.
    """
    left: list[Left] = []
    found: dict[Key, str] = {}
    for one in damage:
        entry = journal.entry(one.kind, one.source_id)
        if entry is not None and entry.state == "unmovable" and not is_by_contract(entry.reason or ""):
            # made again it would be no better
            left.append(Left(one.kind, entry.target_id or one.source_id, one.name, f"{UNMOVABLE}: {entry.reason}"))
            continue
        key = container_of(one.kind, one.source_id)
        ours = journal.target(*key)
        foreign = {copy for copy in one.targets if key[0] == one.kind and copy != ours}
        left += [
            Left(one.kind, copy, one.name, "this copy was not made by this migration (its journal does not know it)")
            for copy in sorted(foreign)
        ]
        if ours is not None and not foreign:
            found[key] = one.name if key[0] == one.kind else key[1]
    closed = {key: {one for one in dependents.fixed([key]) if journal.target(*one) is not None} for key in found}
    containers = any(kind in CONTAINER.values() for keys in closed.values() for kind, _ in keys)
    bars = _Bars(journal, holes, _versions(reader) if containers else {})
    anew: set[Key] = set()
    for key, keys in sorted(closed.items()):
        barred = bars.first(key, keys)
        if barred is None:
            anew |= keys
        else:
            left.append(Left(key[0], str(journal.target(*key)), found[key], barred))
    # before anything is deleted: a kill must not leave it done
    for kind, identity in sorted(anew):
        for key in ((kind, identity), *_versions_of(journal, kind, identity)):
            journal.again(*key)
    for kind, identity in sorted(anew):
        _replace(journal, writer, kind, identity, experiments)
    for kind, identity in sorted(dependents.loose(anew) - anew):
        if journal.entry(kind, identity) is not None:
            journal.again(kind, identity)
    return left


class _Bars:
    """Why something must not be made again."""

    def __init__(self, journal: Journal, holes: Holes, versions: Mapping[str, set[str]]) -> None:
        self._journal = journal
        self._holes = holes
        self._versions = versions

    def first(self, key: Key, hanging: Iterable[Key]) -> str | None:
        """Return what bars an object, or else something that would have to be made again with it."""
        own = self._of(key)
        if own is not None or key[0] == "experiment":
            # an experiment is fixed in place
            return None if key[0] == "experiment" else own
        for kind, identity in sorted(set(hanging) - {key}):
            why = self._of((kind, identity))
            if why is not None:
                return (
                    f"the {kind.replace('_', ' ')} {identity} would have to be made again with it, and cannot be: {why}"
                )
        return None

    def _of(self, key: Key) -> str | None:
        entry = self._journal.entry(*key)
        if entry is None or entry.target_id is None:
            return None
        if key[0] in LATER:
            return IN_USE
        why = self._holes.why(key, entry.place) if entry.ours else ADOPTED
        if why is None and key[0] in CONTAINER.values():
            strange = self._versions.get(entry.target_id, set()) - _known(self._journal, *key)
            if strange:
                why = f"not ours are its versions {', '.join(sorted(strange))}, which would be deleted with it"
        return why


def _replace(journal: Journal, writer: Writer, kind: str, identity: str, experiments: Mapping[str, str]) -> None:
    """Delete one copy of ours, with what is in it, and have it made again."""
    entry = journal.entry(kind, identity)
    assert entry is not None
    assert entry.target_id is not None
    if kind == "experiment":
        # deleting it would take along what is in it
        return
    if kind == "run":
        mark(writer, entry.target_id, identity)
    delete(writer, kind, entry.target_id, experiments.get(entry.place, ""))
    for key in ((kind, identity), *_versions_of(journal, kind, identity)):
        journal.forget(*key)


def _versions_of(journal: Journal, kind: str, identity: str) -> list[Key]:
    """Return the versions that the journal knows of a registered model or prompt."""
    return [
        (child, version.source_id)
        for child, container in CONTAINER.items()
        if container == kind
        for version in journal.entries(kind=child)
        if version.source_id.rpartition("/")[0] == identity
    ]


def _versions(reader: ServerReader) -> dict[str, set[str]]:
    """Return the numbers of the versions of each registered model and prompt that is on the target."""
    found: dict[str, set[str]] = defaultdict(set)
    for batch in reader.registry():
        for entity in batch:
            if entity.container:
                found[entity.container].add(str(entity.facets["number"]))
    return found


def _known(journal: Journal, kind: str, identity: str) -> set[str]:
    """Return the numbers that the versions of one of ours were given on the target."""
    [child] = [child for child, container in CONTAINER.items() if container == kind]
    ours = journal.ids(child).items()
    return {copy.rpartition("/")[2] for source, copy in ours if source.rpartition("/")[0] == identity}


class Dependents:
    """The links of an export's objects, from what is named to what names it; only ids are kept."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._fixed: dict[Key, set[Key]] = defaultdict(set)
        self._loose: dict[Key, set[Key]] = defaultdict(set)
        #: Why not all links are known; ``None``: they are.
        self.unknown: str | None = None
        for experiment in snapshot.experiments:
            view, objects = snapshot.view(experiment), snapshot.objects(experiment.experiment_id)
            if self._is_read(f"runs of {experiment.name}", view.problem("runs")):
                for run in view.all_runs():
                    own = ("run", run.run_id)
                    self._is_read(
                        f"logged models of the run {run.run_id}", "unread" if run.model_inputs is None else None
                    )
                    for link, _ in (*(run.model_inputs or ()), *(run.model_outputs or ())):
                        self._fixed["logged_model", link].add(own)
                    if PARENT_TAG in run.tags:
                        self._loose["run", run.tags[PARENT_TAG]].add(own)
            for part in ("logged_models", "traces"):
                self._is_read(f"{part.replace('_', ' ')} of {experiment.name}", objects.problem(part))
            for model in every(objects, "logged_model"):
                own = ("logged_model", model.entity_id)
                points: Iterable[dict[str, Any]] = model.facets.get("metrics") or ()
                for run_id in {model.facets.get("run"), *(point["run"] for point in points)} - {None, ""}:
                    self._fixed["run", run_id].add(own)
            for trace in every(objects, "trace"):
                self._link(self._loose, trace, ("trace", trace.entity_id))
        self._is_read("registered models", snapshot.objects(SERVER).problem("registry"))
        for version in every(snapshot.objects(SERVER), "model_version"):
            # a version's number is never given twice: its registered model is made again
            self._link(self._fixed, version, ("registered_model", version.container))

    def _is_read(self, what: str, problem: str | None) -> bool:
        if problem is not None and self.unknown is None:
            self.unknown = f"what else hangs on it is not known: the {what} could not be read"
        return problem is None

    @staticmethod
    def _link(links: dict[Key, set[Key]], entity: Entity, own: Key) -> None:
        for kind in ("run", "logged_model"):
            if entity.facets.get(kind):
                links[kind, entity.facets[kind]].add(own)

    def fixed(self, replaced: Iterable[Key]) -> set[Key]:
        """Return what must be made again with these, themselves included: it names them for good."""
        found: set[Key] = set()
        left = list(replaced)
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += self._fixed.get(one, ())
        return found

    def loose(self, replaced: Iterable[Key]) -> set[Key]:
        """Return what names one of these in a way that can be written again."""
        return {own for one in replaced for own in self._loose.get(one, ())}
