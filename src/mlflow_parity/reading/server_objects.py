"""Evaluation datasets with their records, webhooks, and the scorers of an experiment."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from mlflow_parity.digests import encode
from mlflow_parity.errors import MalformedAnswer
from mlflow_parity.model import Entity
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.paging import complete, made, milliseconds
from mlflow_parity.reading.session import Session

_PAGE = 1_000
#: What a record says of itself; its ids, times and writers are the server's.
_RECORD = ("inputs", "outputs", "expectations", "tags", "source", "source_id", "source_type")


def read_datasets(session: Session) -> Iterator[list[Entity]]:
    """Yield every evaluation dataset with its records.

    Raises:
        ReadError: when a list cannot be read.
    """
    query = {"max_results": _PAGE, "order_by": ["created_time ASC"]}
    for page in complete(session, endpoints.DATASETS, query, "datasets", lambda entry: entry["dataset_id"]):
        for entry in page:
            dataset_id = str(entry["dataset_id"])
            linked = session.get(endpoints.DATASET, None, f"{dataset_id}/experiment-ids").get("experiment_ids", [])
            records = list(_records(session, dataset_id))
            yield [made(_dataset, {**entry, "experiments": linked, "records": records})]


def _records(session: Session, dataset_id: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a dataset, page by page (they come as one JSON text a page)."""
    query: dict[str, Any] = {"max_results": _PAGE}
    seen: set[str] = set()
    while True:
        answer = session.get(endpoints.DATASET, query, f"{dataset_id}/records")
        records = _json(answer.get("records", "[]"))
        if not isinstance(records, list):
            raise MalformedAnswer("the records of an evaluation dataset are not a list")
        for record in records:
            yield {key: record.get(key) for key in _RECORD}
        token = answer.get("next_page_token") or None
        if token is None:
            return
        if token in seen or not records:
            raise MalformedAnswer("datasets/records repeats a page token or gives an empty page before the end")
        seen.add(token)
        query["page_token"] = token


def _dataset(entry: Mapping[str, Any]) -> Entity:
    times = {
        "creation": milliseconds(entry.get("created_time")),
        "update": milliseconds(entry.get("last_update_time")),
    }
    facets = {
        "tags": _json(entry.get("tags") or "{}"),
        "schema": _json(entry.get("schema") or "null"),
        "profile": _json(entry.get("profile") or "null"),
        "digest": entry.get("digest", ""),
        "user": {"created": entry.get("created_by", ""), "updated": entry.get("last_updated_by", "")},
        "experiments": sorted(str(experiment) for experiment in entry["experiments"]),
        "records": sorted(entry["records"], key=encode),
        "times": times,
    }
    return Entity("evaluation_dataset", entry["dataset_id"], entry.get("name", ""), "", times["creation"], facets)


def read_webhooks(session: Session) -> Iterator[list[Entity]]:
    """Yield every webhook; no server tells its secret.

    Raises:
        ReadError: when the list cannot be read.
    """
    for page in complete(session, endpoints.WEBHOOKS, {"max_results": 100}, "webhooks", lambda one: one["webhook_id"]):
        yield [made(_webhook, entry) for entry in page]


def _webhook(entry: Mapping[str, Any]) -> Entity:
    events = [
        event if isinstance(event, str) else f"{event.get('entity', '')}.{event.get('action', '')}"
        for event in entry.get("events", [])
    ]
    facets = {
        "description": entry.get("description", ""),
        "url": entry.get("url", ""),
        "events": sorted(events),
        "status": entry.get("status", ""),
    }
    created = milliseconds(entry.get("creation_timestamp"))
    return Entity("webhook", str(entry["webhook_id"]), entry.get("name", ""), "", created, facets)


def read_scorers(session: Session, experiment_id: str) -> Iterator[list[Entity]]:
    """Yield every version of every scorer of an experiment.

    Raises:
        ReadError: when a list cannot be read.
    """
    listed = session.get(endpoints.SCORERS, {"experiment_id": experiment_id}).get("scorers", [])
    for name in sorted({str(made(lambda one: one["scorer_name"], entry)) for entry in listed}):
        query = {"experiment_id": experiment_id, "name": name}
        versions = session.get(endpoints.SCORER_VERSIONS, query).get("scorers", [])
        yield [made(lambda one: _scorer(one, experiment_id), entry) for entry in versions]


def _scorer(entry: Mapping[str, Any], experiment_id: str) -> Entity:
    number = int(entry["scorer_version"])
    name = entry["scorer_name"]
    facets = {"number": number, "definition": _json(entry.get("serialized_scorer", ""))}
    created = milliseconds(entry.get("creation_time"))
    return Entity("scorer", f"{experiment_id}/{name}/{number}", name, experiment_id, created, facets)


def _json(text: Any) -> Any:
    """Return JSON as a value, where it is JSON."""
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
