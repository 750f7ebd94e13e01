"""Scorers, evaluation datasets and webhooks, by MLflow's public API.

The tool moves neither scorers nor webhooks; evaluation datasets it links to the *source's* experiments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from mlflow_parity.digests import digest
from mlflow_parity.errors import ParityError, RequestRefused
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.importing import Import
from mlflow_parity.migrating.run_writing import NotMoved
from mlflow_parity.model import Entity, Experiment
from mlflow_parity.reading.others import read_scorers
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import PlaceObjects

_THREE = "/api/3.0/mlflow/"
_WEBHOOKS = "/api/2.0/mlflow/webhooks"
#: Records of a dataset that go into one request.
_RECORDS = 200


def _entities(objects: PlaceObjects, kind: str) -> Iterator[Entity]:
    if objects.problem(KINDS[kind].part) is None:
        for key in objects.keys(kind):
            yield from objects.entities(kind, [key.entity_id])


def _state(entity: Entity) -> str:
    return digest([entity.entity_id, dict(entity.facets)]).hex()


def _each(context: Import, entities: Iterator[Entity], move: Callable[[Entity], str]) -> None:
    """Move each that is not moved yet; ``move`` returns its id on the target."""
    journal = context.journal
    for entity in entities:
        entry = journal.entry(entity.kind, entity.entity_id)
        state = _state(entity)
        if entry is not None and entry.state in ("done", "unmovable") and entry.digest == state:
            continue
        journal.begin(entity.kind, entity.entity_id, place=entity.container, name=entity.name)
        try:
            if entity.error is not None:
                raise NotMoved(f"it could not be read at the source: {entity.error}")
            journal.created(entity.kind, entity.entity_id, move(entity))
            journal.done(entity.kind, entity.entity_id, state)
            context.told(objects=1)
        except NotMoved as error:
            (journal.unmovable if error.for_good else journal.failed)(entity.kind, entity.entity_id, str(error))
            journal.digested(entity.kind, entity.entity_id, state)
        except RequestRefused as error:
            why = f"the target cannot hold it: {error}" if error.status == 404 else str(error)
            journal.failed(entity.kind, entity.entity_id, why)
        except ParityError as error:
            journal.failed(entity.kind, entity.entity_id, str(error))


# --- scorers


def import_scorers(context: Import, experiment: Experiment) -> None:
    """Bring every version of every scorer of an experiment, in the order of their numbers."""
    target = context.journal.target("experiment", experiment.experiment_id)
    objects = context.export.snapshot.objects(experiment.experiment_id)
    if target is None or objects.problem("scorers") is not None:
        return
    there: dict[str, dict[int, Any]] | None = None

    def move(scorer: Entity) -> str:
        nonlocal there
        if there is None:
            there = {}
            for batch in read_scorers(context.reader.session, target):
                for one in batch:
                    there.setdefault(one.name, {})[int(one.facets["number"])] = one.facets["definition"]
        known = there.setdefault(scorer.name, {})
        wanted = int(scorer.facets["number"])
        while wanted not in known:
            number = _register(context, target, scorer, known)
            known[number] = scorer.facets["definition"]
            if number < wanted:
                # the source has a gap there
                body = {"experiment_id": target, "name": scorer.name, "version": number}
                context.writer.call("DELETE", f"{_THREE}scorers/delete", body)
            elif number > wanted:
                raise NotMoved(f"its version is {number}: the target gave higher ones before, and gives none twice")
        if known[wanted] != scorer.facets["definition"]:
            raise NotMoved("the target has another scorer of this name and version")
        return f"{target}/{scorer.name}/{wanted}"

    found = sorted(_entities(objects, "scorer"), key=lambda one: (one.name, int(one.facets["number"])))
    _each(context, iter(found), move)


def _register(context: Import, experiment: str, scorer: Entity, known: Mapping[int, Any]) -> int:
    definition = scorer.facets["definition"]
    text = definition if isinstance(definition, str) else json.dumps(definition)

    def find() -> int | None:
        for batch in read_scorers(context.reader.session, experiment):
            for one in batch:
                if one.name == scorer.name and int(one.facets["number"]) not in known:
                    return int(one.facets["number"])
        return None

    return context.writer.create(
        f"{_THREE}scorers/register",
        {"experiment_id": experiment, "name": scorer.name, "serialized_scorer": text},
        find=find,
        made=lambda answer: int(answer["version"]),
    )


# --- evaluation datasets


def import_datasets(context: Import) -> None:
    """Bring every evaluation dataset with its records, linked to the copies of its experiments."""
    objects = context.export.snapshot.objects(SERVER)
    there: dict[str, Entity] | None = None

    def move(dataset: Entity) -> str:
        nonlocal there
        if there is None:
            there = _server_objects(context, "evaluation_dataset")
        return _dataset(context, dataset, there)

    _each(context, _entities(objects, "evaluation_dataset"), move)


def _server_objects(context: Import, kind: str) -> dict[str, Entity]:
    return {one.name: one for batch in context.reader.server_objects() for one in batch if one.kind == kind}


def _dataset(context: Import, dataset: Entity, there: Mapping[str, Entity]) -> str:
    facets, journal = dataset.facets, context.journal
    ids = journal.ids("experiment")
    experiments = sorted(ids[one] for one in facets["experiments"] if one in ids)
    lost = [one for one in facets["experiments"] if one not in ids]
    present = there.get(dataset.name)
    if present is None:
        body: dict[str, Any] = {"name": dataset.name, "experiment_ids": experiments}
        if facets["tags"]:
            body["tags"] = json.dumps(facets["tags"])

        def find() -> str | None:
            found = _server_objects(context, "evaluation_dataset").get(dataset.name)
            return None if found is None else found.entity_id

        identity = context.writer.create(
            f"{_THREE}datasets/create", body, find=find, made=lambda answer: str(answer["dataset"]["dataset_id"])
        )
        has: list[Any] = []
    else:
        identity, has = present.entity_id, list(present.facets["records"])
        path = f"{_THREE}datasets/{quote(identity, safe='')}"
        changed = {key: value for key, value in facets["tags"].items() if present.facets["tags"].get(key) != value}
        if changed:
            context.writer.call("PATCH", f"{path}/tags", {"dataset_id": identity, "tags": json.dumps(changed)})
        more = sorted(set(experiments) - set(present.facets["experiments"]))
        if more:
            body = {"dataset_id": identity, "experiment_ids": more}
            context.writer.call("POST", f"{path}/add-experiments", body)
    records = [record for record in facets["records"] if record not in has]
    for first in range(0, len(records), _RECORDS):
        sent = [_record(context, one) for one in records[first : first + _RECORDS]]
        path = f"{_THREE}datasets/{quote(identity, safe='')}/records"
        # records are known by their inputs: sending them twice makes none twice
        context.writer.call("POST", path, {"dataset_id": identity, "records": json.dumps(sent)})
    if lost:
        raise NotMoved(f"its experiments {', '.join(lost)} are not on the target")
    return identity


def _record(context: Import, record: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": record["inputs"]}
    for key in ("outputs", "expectations", "tags"):
        if record[key]:
            body[key] = record[key]
    source = record["source"]
    if source["type"]:
        data = source["data"]
        if isinstance(data, Mapping) and isinstance(data.get("trace_id"), str):
            copy = context.journal.target("trace", data["trace_id"])
            data = {**data, "trace_id": copy or data["trace_id"]}
        body["source"] = {"source_type": source["type"], "source_data": data or {}}
    return body


# --- webhooks


def import_webhooks(context: Import) -> None:
    """Bring every webhook; its secret cannot be read anywhere, so an active one is made, and the secret is lost."""
    objects = context.export.snapshot.objects(SERVER)
    there: dict[str, Entity] | None = None

    def move(webhook: Entity) -> str:
        nonlocal there
        if there is None:
            there = _server_objects(context, "webhook")
        present = there.get(webhook.name)
        facets = webhook.facets
        events = [one.partition(".") for one in facets["events"]]
        body = {
            "name": webhook.name,
            "url": facets["url"],
            "description": facets["description"],
            "status": facets["status"],
            "events": [{"entity": entity.upper(), "action": action.upper()} for entity, _, action in events],
        }
        if present is not None:
            if any(present.facets[key] != facets[key] for key in ("url", "description", "status", "events")):
                context.writer.call("PATCH", f"{_WEBHOOKS}/{quote(present.entity_id, safe='')}", body)
            return present.entity_id

        def find() -> str | None:
            found = _server_objects(context, "webhook").get(webhook.name)
            return None if found is None else found.entity_id

        return context.writer.create(
            _WEBHOOKS, body, find=find, made=lambda answer: str(answer["webhook"]["webhook_id"])
        )

    _each(context, _entities(objects, "webhook"), move)
