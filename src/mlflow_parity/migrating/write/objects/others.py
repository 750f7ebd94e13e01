"""Scorers, evaluation datasets and webhooks, by MLflow's public API.

The tool moves neither scorers nor webhooks; evaluation datasets it links to the *source's* experiments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.digests import digest
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.json_text import written
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.migrating.export.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.objects.dataset_records import update_records
from mlflow_parity.migrating.write.objects.run_writing import NotMoved
from mlflow_parity.migrating.write.objects.runs import noted
from mlflow_parity.reading.others import read_scorers
from mlflow_parity.snapshot import SERVER

_THREE = "/api/3.0/mlflow/"
_WEBHOOKS = "/api/2.0/mlflow/webhooks"
_ACTIVE, _DISABLED = "ACTIVE", "DISABLED"


def _each(
    context: Import, entities: Iterator[Entity], move: Callable[[Entity], None], *linked: Callable[[Entity], Any]
) -> None:
    """Move each that is not moved yet; ``move`` notes its id on the target, ``linked`` tells what it hangs on."""
    journal = context.journal
    for entity in entities:
        with noted(context, entity):
            entry = journal.entry(entity.kind, entity.entity_id)
            state = digest([entity.entity_id, dict(entity.facets), *(link(entity) for link in linked)]).hex()
            if entry is not None and entry.state in ("done", "unmovable") and entry.digest == state:
                continue
            journal.begin(entity.kind, entity.entity_id, place=entity.container, name=entity.name)
            journal.digested(entity.kind, entity.entity_id, state)
            if entity.error is not None:
                raise NotMoved(f"it could not be read at the source: {entity.error}")
            move(entity)
            journal.done(entity.kind, entity.entity_id, state)
            context.told(objects=1)


class _Named:
    """The target's objects of a kind whose names need not be unique: each serves for one of the source's."""

    def __init__(self, context: Import, kind: str) -> None:
        self._context = context
        self._kind = kind
        self._found: list[Entity] | None = None

    def _read(self) -> list[Entity]:
        return [one for batch in self._context.reader.server_objects(self._kind) for one in batch]

    def of(self, entity: Entity, *, again: bool = False) -> Entity | None:
        """Return the copy of an object: the one that the journal knows, else one of its name that is no other's."""
        if self._found is None or again:
            self._found = self._read()
        ids = self._context.journal.ids(self._kind)
        known = ids.pop(entity.entity_id, None)
        taken = set(ids.values())
        named = [one for one in self._found if one.name == entity.name and one.entity_id not in taken]
        return next((one for one in self._found if one.entity_id == known), named[0] if named else None)

    def find(self, entity: Entity) -> str | None:
        """Look on the target whether an object was made."""
        found = self.of(entity, again=True)
        return None if found is None else found.entity_id


# --- scorers


def import_scorers(context: Import, experiment: Experiment) -> None:
    """Bring every version of every scorer of an experiment, in the order of their numbers."""
    target = context.journal.target("experiment", experiment.experiment_id)
    objects = context.export.snapshot.objects(experiment.experiment_id)
    if target is None or objects.problem("scorers") is not None:
        return
    found = sorted(every(objects, "scorer", chunk=1), key=lambda one: (one.name, int(one.facets["number"])))
    own: dict[str, dict[int, Any]] = {}
    for one in found:
        own.setdefault(one.name, {})[int(one.facets["number"])] = one.facets["definition"]
    there: dict[str, dict[int, Any]] | None = None

    ours, made = context.journal.ours("experiment", experiment.experiment_id), set[tuple[str, int]]()

    def move(scorer: Entity) -> None:
        nonlocal there
        if there is None:
            there = _scorers(context, target)
        known, wanted = there.setdefault(scorer.name, {}), int(scorer.facets["number"])
        definition = scorer.facets["definition"]
        # numbers go on from the highest that is there: what the source has a gap for is made first, and deleted last
        while max(known, default=0) < wanted:
            number = _register(context, target, scorer, known)
            known[number] = definition
            made.add((scorer.name, number))
        if known.get(wanted) != definition:
            raise NotMoved("the target has another scorer of this name and version, or had one")
        for number in [one for one in known if one < wanted and one not in own[scorer.name]]:
            # in an experiment of others it may be theirs
            if (ours or (scorer.name, number) in made) and known[number] in own[scorer.name].values():
                body = {"experiment_id": target, "name": scorer.name, "version": number}
                context.writer.call("DELETE", f"{_THREE}scorers/delete", body)
                del known[number]
        note = context.journal.created if ours or (scorer.name, wanted) in made else context.journal.found
        note(scorer.kind, scorer.entity_id, f"{target}/{scorer.name}/{wanted}")

    _each(context, iter(found), move)


def _scorers(context: Import, experiment: str) -> dict[str, dict[int, Any]]:
    there: dict[str, dict[int, Any]] = {}
    for batch in read_scorers(context.reader.session, experiment):
        for one in batch:
            there.setdefault(one.name, {})[int(one.facets["number"])] = one.facets["definition"]
    return there


def _register(context: Import, experiment: str, scorer: Entity, known: dict[int, Any]) -> int:
    definition = scorer.facets["definition"]
    text = definition if isinstance(definition, str) else written(definition)

    def find() -> int | None:
        there = _scorers(context, experiment).get(scorer.name, {})
        return max((number for number in there if number > max(known, default=0)), default=None)

    return context.writer.create(
        f"{_THREE}scorers/register",
        {"experiment_id": experiment, "name": scorer.name, "serialized_scorer": text},
        find=find,
        made=lambda answer: int(answer["version"]),
    )


# --- evaluation datasets


def import_datasets(context: Import) -> None:
    """Bring every evaluation dataset with its records, linked to the copies of its experiments."""
    objects, there = context.export.snapshot.objects(SERVER), _Named(context, "evaluation_dataset")

    def experiments(dataset: Entity) -> list[str | None]:
        return [context.journal.target("experiment", one) for one in dataset.facets["experiments"]]

    def move(dataset: Entity) -> None:
        _dataset(context, dataset, there, sorted(filter(None, experiments(dataset))))

    _each(context, every(objects, "evaluation_dataset", chunk=1), move, experiments)


def _dataset(context: Import, dataset: Entity, there: _Named, experiments: list[str]) -> None:
    facets, writer, journal = dataset.facets, context.writer, context.journal
    present = there.of(dataset)
    if present is None:
        body: dict[str, Any] = {"name": dataset.name, "experiment_ids": experiments}
        if facets["tags"]:
            body["tags"] = written(facets["tags"])
        with journal.making(dataset.kind, dataset.entity_id):
            identity = writer.create(
                f"{_THREE}datasets/create",
                body,
                find=lambda: there.find(dataset),
                made=lambda answer: str(answer["dataset"]["dataset_id"]),
            )
        journal.created(dataset.kind, dataset.entity_id, identity)
    else:
        identity = present.entity_id
        journal.found(dataset.kind, dataset.entity_id, identity)
        ours = journal.ours(dataset.kind, dataset.entity_id)
        path, has = f"{_THREE}datasets/{quote(identity, safe='')}", present.facets
        changed = {key: value for key, value in facets["tags"].items() if has["tags"].get(key) != value}
        if changed:
            writer.call("PATCH", f"{path}/tags", {"dataset_id": identity, "tags": written(changed)})
        more = sorted(set(experiments) - set(has["experiments"]))
        if more:
            writer.call("POST", f"{path}/add-experiments", {"dataset_id": identity, "experiment_ids": more})
        # what the target has by itself stays, unless all of it is ours
        for key in has["tags"].keys() - facets["tags"].keys() if ours else ():
            writer.call("DELETE", f"{path}/tags/{quote(key, safe='')}")
        less = sorted(set(has["experiments"]) - set(experiments))
        if less and ours:
            writer.call("POST", f"{path}/remove-experiments", {"dataset_id": identity, "experiment_ids": less})
    ours = journal.ours(dataset.kind, dataset.entity_id)
    update_records(context, identity, facets["records"], facets["schema"], ours=ours, new=present is None)
    lost = [one for one in facets["experiments"] if context.journal.target("experiment", one) is None]
    if lost:
        raise NotMoved(f"its experiments {', '.join(lost)} are not on the target")


# --- webhooks


class PausedWebhooks:
    """Webhooks of this migration that somebody has enabled since: disabled while it writes, and enabled again."""

    def __init__(self, context: Import) -> None:
        self._context = context
        self._ids: list[str] = []

    def __enter__(self) -> None:
        ids = set(self._context.journal.ids("webhook").values())
        if not ids:
            return
        for batch in self._context.reader.server_objects("webhook"):
            for one in batch:
                if one.entity_id in ids and one.facets["status"] == _ACTIVE:
                    _set_status(self._context, one.entity_id, _DISABLED)
                    self._ids.append(one.entity_id)

    def __exit__(self, *_: object) -> None:
        still = _active_copies(self._context)
        for identity in self._ids:
            if identity not in still:
                continue
            # where the target does not answer it stays disabled, which the account at the end tells
            with suppress(ReadError):
                _set_status(self._context, identity, _ACTIVE)


def _set_status(context: Import, identity: str, status: str) -> None:
    path = f"{_WEBHOOKS}/{quote(identity, safe='')}"
    context.writer.call("PATCH", path, {"webhook_id": identity, "status": status})


def _active_copies(context: Import) -> set[str]:
    """Return the ids of copies of webhooks that are active on the source."""
    objects, copies = context.export.snapshot.objects(SERVER), context.journal.ids("webhook")
    if not copies or objects.problem("webhooks") is not None:
        return set()
    active = (one for one in every(objects, "webhook", chunk=100) if one.facets["status"] == _ACTIVE)
    return {copies[one.entity_id] for one in active if one.entity_id in copies}


def disabled_webhooks(context: Import) -> int:
    """Count the webhooks of this migration that are disabled on the target, and active on the source.

    Raises:
        ReadError: the target does not tell.
    """
    active = _active_copies(context)
    if not active:
        return 0
    there = (one for batch in context.reader.server_objects("webhook") for one in batch)
    return sum(one.entity_id in active and one.facets["status"] == _DISABLED for one in there)


def import_webhooks(context: Import) -> None:
    """Bring every webhook; its secret cannot be read anywhere, and has to be set again.

    Until it has one, its receiver would get unsigned events, and it gets them for what a later run writes: so it is
    disabled, unless that is not wanted. One that is there already keeps the status that its owner gave it.
    """
    objects, there = context.export.snapshot.objects(SERVER), _Named(context, "webhook")

    def move(webhook: Entity) -> None:
        present, facets = there.of(webhook), webhook.facets
        events = [one.partition(".") for one in facets["events"]]
        kept = _DISABLED if present is None else present.facets["status"]
        status = kept if facets["status"] == _ACTIVE and not context.enable_webhooks else facets["status"]
        body = {
            "name": webhook.name,
            "url": facets["url"],
            "description": facets["description"],
            "status": status,
            "events": [{"entity": entity.upper(), "action": action.upper()} for entity, _, action in events],
        }
        if present is None:
            with context.journal.making(webhook.kind, webhook.entity_id):
                made = context.writer.create(
                    _WEBHOOKS,
                    body,
                    find=lambda: there.find(webhook),
                    made=lambda answer: str(answer["webhook"]["webhook_id"]),
                )
            context.journal.created(webhook.kind, webhook.entity_id, made)
            return
        context.journal.found(webhook.kind, webhook.entity_id, present.entity_id)
        wanted = {**facets, "status": status}
        if any(present.facets[key] != wanted[key] for key in ("url", "description", "status", "events")):
            context.writer.call("PATCH", f"{_WEBHOOKS}/{quote(present.entity_id, safe='')}", body)

    _each(context, every(objects, "webhook", chunk=1), move, lambda _: context.enable_webhooks)
