"""Experiments: made on the target with all their tags at once, or brought up to date where they are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.identity.keys import SOURCE_EXPERIMENT_TAG, next_tags
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import of_family
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces, stores_of
from mlflow_parity.migrating.exim.drafts import experiment_source_tags
from mlflow_parity.migrating.journal import Entry, State
from mlflow_parity.migrating.write.batches import pairs
from mlflow_parity.migrating.write.exported import every, stages
from mlflow_parity.migrating.write.importing import Import, Problems
from mlflow_parity.migrating.write.moving import Key, Writing, carry
from mlflow_parity.reading import records
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.snapshot import SERVER

_API = "/api/2.0/mlflow/experiments/"
_CHUNK = 1_000


def import_experiment(context: Import, experiment: Experiment) -> str | None:
    """Bring an experiment to the target and return its id there; ``None`` where it cannot be, as the journal says.

    One that is there already (``Default`` always is) gets the tags and the note. A deleted one that this migration
    made is restored while there is something to write to it; :func:`~.lifecycle.apply_lifecycle` deletes it again.
    """
    source_id = experiment.experiment_id
    name = context.renames.experiments.get(experiment.name, experiment.name)
    came = carry(
        context,
        Key("experiment", source_id, "", name),
        lambda: digest([asdict(experiment), name]).hex(),
        lambda ending: _write(context, experiment, name, ending.problems, ending.before),
        counts={},
    )
    target = context.journal.target("experiment", source_id)
    if came == "settled" and target and experiment.lifecycle_stage == "deleted" and work_left(context, experiment):
        _restore(context, target)
    return target


def work_left(context: Import, experiment: Experiment) -> bool:
    """Whether anything in an experiment, or of the server that belongs to it, was not moved yet."""

    def is_left(kind: str, wanted: Sequence[str]) -> bool:
        for first in range(0, len(wanted), _CHUNK):
            some = wanted[first : first + _CHUNK]
            found = context.journal.some(kind, some).values()
            if sum(one.state in ("done", "unmovable") for one in found) < len(some):
                return True
        return False

    if is_left("run", stages(context, experiment).column("run_id").to_pylist()):
        return True
    objects = context.export.snapshot.objects(experiment.experiment_id)
    return _is_named(context, experiment) or any(
        is_left(kind.name, [key.entity_id for key in objects.keys(kind.name)])
        for kind in of_family("experiment")
        if objects.problem(kind.part) is None
    )


def _is_named(context: Import, experiment: Experiment) -> bool:
    """Whether an object of the server that did not come to the target belongs to an experiment, an issue say."""
    for kind in of_family("server") if context.others else ():
        if not any(facet.name == "experiment" for facet in kind.sides):
            continue
        states: tuple[State, ...] = ("begun", "failed")
        left = {one.source_id for state in states for one in context.journal.entries(kind=kind.name, state=state)}
        if not left:
            continue
        objects = context.export.snapshot.objects(SERVER)
        # batch by batch it is read later than this is asked
        if objects.problem(kind.part) is not None:
            return True
        if experiment.experiment_id in (one.facets.get("experiment") for one in every(objects, kind.name, only=left)):
            return True
    return False


def is_known(found: Experiment, entry: Entry) -> bool:
    """Whether a target experiment is still the one that the journal knows by its id.

    SQLite gives the id of the newest again, once that was purged. Ours has a mark; where people removed that, its name
    tells. What was adopted has none.
    """
    marked = found.tags.get(SOURCE_EXPERIMENT_TAG) == entry.source_id
    return not entry.ours or marked or found.name == entry.name


def _write(context: Import, experiment: Experiment, name: str, problems: Problems, before: Entry | None = None) -> None:
    """Make the experiment or find it, and set its tags; ``before`` is what the journal knew of it."""
    tags, journal = all_tags(experiment), context.journal
    entry = before or journal.entry("experiment", experiment.experiment_id)
    known = None if entry is None else entry.target_id
    found = _find(context, known=known) if known is not None else None
    if found is not None and entry is not None and not is_known(found, entry):
        # nothing may be written to it, whatever becomes of this one now
        journal.forget("experiment", experiment.experiment_id)
        journal.begin("experiment", experiment.experiment_id, name=name)
        found = None
    if found is None:
        found, adopted = _create(context, experiment, name, tags)
        if found.lifecycle_stage == "deleted" and not _is_marked(found, experiment):
            raise NotMoved(f"the target has a deleted experiment of this name ({found.experiment_id}); purge or rename")
        if not adopted and name != "Default":
            _check_place(context, name)
        note = journal.adopted if adopted else journal.created
        note("experiment", experiment.experiment_id, found.experiment_id)
    if found.lifecycle_stage == "deleted":
        _restore(context, found.experiment_id)
    refused = problems.failed
    if found.name != name and not journal.ours("experiment", experiment.experiment_id):
        refused.append(f"its name {name!r}: the target's is {found.name!r}, and was not made by this migration")
    elif found.name != name:
        context.writer.call("POST", f"{_API}update", {"experiment_id": found.experiment_id, "new_name": name})
    for key, value in tags.items():
        if found.tags.get(key) != value:
            body = {"experiment_id": found.experiment_id, "key": key, "value": value}
            try:
                context.writer.call("POST", f"{_API}set-experiment-tag", body)
            except RequestRefused as error:
                if error.status in (401, 403, 404) or error.status >= 500:
                    raise
                refused.append(f"tag {key!r}: {error}")
    if journal.ours("experiment", experiment.experiment_id):
        refused += _remove_tags(context, found, tags)


def _remove_tags(context: Import, found: Experiment, tags: Mapping[str, str]) -> list[str]:
    """Remove the tags that the source does not have any more; return what cannot be removed."""
    refused = []
    for key in found.tags.keys() - tags.keys():
        body = {"experiment_id": found.experiment_id, "key": key}
        try:
            context.writer.call("POST", f"{_API}delete-experiment-tag", body)
        except RequestRefused as error:
            # releases before 3 have no such request, and a role may lack the right: neither keeps back the runs
            if error.status >= 500:
                raise
            refused.append(f"tag {key!r} is not on the source any more, and cannot be removed: {error}")
    return refused


def _check_place(context: Import, name: str) -> None:
    """Stop before anything is written into the source's store, or where another server looks for it.

    Raises:
        NotMoved: a new experiment of the target has such a place.
    """
    made, export = _find(context, name=name), context.export.snapshot
    places = CopyPlaces(
        stores_of(export.experiments, ()), export.origin.location.partition(" ")[0], context.writer.location.address
    )
    place = "" if made is None else made.artifact_location
    why = "that is in the source's store" if places.in_source(place) else places.another_server(place)
    if why:
        raise NotMoved(
            f"the target gave the new experiment the place {place}: {why}; start the target with a "
            "--default-artifact-root of its own, and rename this experiment there, or delete and purge it "
            "(`mlflow gc`): in the trash it keeps its name and place"
        )


def all_tags(experiment: Experiment) -> dict[str, str]:
    """Return the tags of an experiment's copy, source tags included."""
    fields = {key: value for key, value in asdict(experiment).items() if key != "tags"}
    # a source that was migrated itself has source tags of its own: the new ones win, as with the tool
    return next_tags(experiment.tags, experiment_source_tags(fields, experiment.tags))


def _create(context: Import, experiment: Experiment, name: str, tags: Mapping[str, str]) -> tuple[Experiment, bool]:
    """Make the experiment, or return the one that has its name, and whether somebody else made that."""
    entry = context.journal.entry("experiment", experiment.experiment_id)
    again = entry is not None and entry.ours

    def find() -> Experiment | None:
        return _find(context, name=name)

    if name == "Default":
        # every server has made it for itself
        there = find()
        if there is not None:
            return there, bool(there.tags) or not context.reader.is_empty(there.experiment_id)
    for some in (tags, {SOURCE_EXPERIMENT_TAG: experiment.experiment_id}):

        def made(answer: Mapping[str, Any], some: Mapping[str, str] = some) -> Experiment:
            return Experiment(str(answer["experiment_id"]), name, "active", "", None, None, dict(some))

        body = {"name": name, "tags": pairs(some)}
        try:
            with context.journal.making("experiment", experiment.experiment_id):
                found = context.writer.create(f"{_API}create", body, find=find, made=made)
            return found, not _is_marked(found, experiment)
        except RequestRefused as error:
            there = find()
            if there is not None:
                # one that was made before a kill
                return there, not (again and _is_marked(there, experiment))
            # a tag that the target does not take must not keep back all the runs: it is refused on its own
            if error.status in (401, 403, 404) or some is not tags:
                raise
    raise AssertionError("unreachable: the second try returns or raises")


def _is_marked(found: Experiment, experiment: Experiment) -> bool:
    return found.tags.get(SOURCE_EXPERIMENT_TAG) == experiment.experiment_id


def _find(context: Import, *, name: str | None = None, known: str | None = None) -> Experiment | None:
    """Find a target experiment by its name or its id, deleted ones included."""
    query: dict[str, object] = {"view_type": "ALL", "max_results": 1_000}
    quote = next((mark for mark in "'\"" if name is not None and mark not in name), None)
    if quote is not None and name is not None and "\\" not in name:
        query["filter"] = f"name = {quote}{name}{quote}"
        found = context.reader.session.post(endpoints.EXPERIMENTS, query).get("experiments", [])
        made = [records.experiment(entry) for entry in found]
    else:
        made = context.reader.experiments()
    return next((one for one in made if known == one.experiment_id or (known is None and one.name == name)), None)


def _restore(context: Import, experiment_id: str) -> None:
    found = _find(context, known=experiment_id)
    if found is not None and found.lifecycle_stage == "deleted":
        context.writer.call("POST", f"{_API}restore", {"experiment_id": experiment_id})


EXPERIMENTS = Writing(("experiment",), visit=lambda visit: import_experiment(visit.context, visit.here))
