"""Evaluation datasets and scorers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.json_text import bounded, or_text, text, whole
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds.schema.unknown import claims, facet
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.reading.transport.listing import Entry, Turning, each_once, list_in, made, pages
from mlflow_parity.reading.transport.session import Session

_DATASETS = 1_000
_RECORDS = 1_000
_DATASET = claims(
    "dataset_id name tags schema profile digest created_time last_update_time created_by last_updated_by experiment_ids"
)
_RECORD = claims(
    "dataset_record_id dataset_id inputs outputs expectations tags source_id source_type created_time last_update_time "
    "created_by last_updated_by",
    source=claims("source_type source_data"),
)
_SCORER = claims("experiment_id scorer_id scorer_name scorer_version serialized_scorer creation_time")
#: What MLflow says of a list that it gives for active experiments only.
_NOT_ACTIVE = "active"


def read_datasets(
    session: Session, pool: ThreadPoolExecutor, at_once: int, redact: Callable[[str], str], page: int | None = None
) -> Iterator[list[Entity]]:
    """Yield every evaluation dataset with its records and links, each once.

    Raises:
        ReadError: the list cannot be read in full, or the server refuses the records.
    """
    query = {"max_results": page or _DATASETS, "order_by": ["created_time ASC"]}

    def filled(dataset: Entity) -> Entity:
        try:
            records = sorted(read_records(session, dataset.entity_id, page).values(), key=_canonical)
            answer = session.get(endpoints.DATASET, below=f"{quote(dataset.entity_id, safe='')}/experiment-ids")
            experiments = sorted(str(one) for one in list_in(answer, "experiment_ids"))
        except ReadError as error:
            if isinstance(error, RequestRefused) and error.status in (401, 403):
                raise
            return replace(dataset, error=redact(f"its records cannot be read: {error}"))
        return replace(dataset, facets={**dataset.facets, "records": records, "experiments": experiments})

    listed = each_once(
        lambda: pages(session, endpoints.DATASETS, query, "datasets"),
        _dataset,
        lambda dataset: dataset.entity_id,
        "the evaluation datasets",
    )
    for found in listed:
        yield list(drained(pool, filled, found, at_once))


def _dataset(entry: Entry) -> Entity:
    created = whole(entry.get("created_time"))
    return Entity(
        kind="evaluation_dataset",
        entity_id=entry["dataset_id"],
        name=entry.get("name", ""),
        container="",
        created=created,
        facets={
            "name": entry.get("name", ""),
            "tags": _json(entry.get("tags")) or {},
            "schema": _json(entry.get("schema")),
            "profile": _json(entry.get("profile")),
            "digest": text(entry.get("digest")),
            "user": text(entry.get("created_by")),
            "last_updated_by": text(entry.get("last_updated_by")),
            "experiments": sorted(str(one) for one in entry.get("experiment_ids", [])),
            "times": {"creation": created, "update": whole(entry.get("last_update_time"))},
            "records": [],
            **facet(entry, _DATASET),
        },
    )


def read_records(session: Session, dataset_id: str, page: int | None = None) -> dict[str, dict[str, Any]]:
    """Return the records of an evaluation dataset by their ids.

    Raises:
        ReadError: they cannot be read in full.
    """
    found: dict[str, dict[str, Any]] = {}
    token: str | None = None
    turning = Turning("the list of a dataset's records")
    while True:
        query = {"max_results": page or _RECORDS, **({"page_token": token} if token else {})}
        answer = session.get(endpoints.DATASET, query, below=f"{quote(dataset_id, safe='')}/records")
        # the list is a text within the JSON
        entries = _records(answer["records"] if "records" in answer else list_in(answer, "records"))
        if not isinstance(entries, list):
            raise MalformedAnswer("the records of a dataset are not a list")
        for entry in entries:
            key, record = made(lambda one: (str(one["dataset_record_id"]), _record(one)), entry)
            if key in found:
                raise MalformedAnswer("a record of a dataset came twice: rows moved while they were read")
            found[key] = record
        token = turning.after(answer, entries)
        if token is None:
            return found


def _records(text: object) -> Any:
    """Return the list of records that a text within an answer holds; each of them may go deep."""
    try:
        return json.loads(text) if isinstance(text, str) and text else text or []
    except (ValueError, RecursionError):
        raise MalformedAnswer("the records of a dataset are not JSON") from None


def _record(entry: Entry) -> dict[str, Any]:
    source, outputs = entry.get("source") or {}, entry.get("outputs")
    record = {
        "inputs": entry["inputs"],
        # newer servers give an empty object where there are none, and so cannot tell the two apart; 0 and "" are some
        "outputs": None if outputs == {} else outputs,
        "expectations": entry.get("expectations") or {},
        "tags": entry.get("tags") or {},
        "source": {
            "type": source.get("source_type") or entry.get("source_type"),
            "data": source.get("source_data"),
        },
        "user": text(entry.get("created_by")),
        **facet(entry, _RECORD),
    }
    return {field: bounded(value) for field, value in record.items()}


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True)


def read_scorers(session: Session, experiment_id: str) -> Iterator[list[Entity]]:
    """Yield every version of every scorer of an experiment; those of a deleted experiment cannot be listed.

    Raises:
        ReadError: the list cannot be read.
    """
    query = {"experiment_id": experiment_id}
    try:
        answer = session.get(endpoints.SCORERS, query)
    except RequestRefused as error:
        if error.status == 400 and _NOT_ACTIVE in str(error):
            return
        raise
    for latest in list_in(answer, "scorers"):
        name = made(lambda one: str(one["scorer_name"]), latest)
        try:
            versions = list_in(session.get(endpoints.SCORER_VERSIONS, {**query, "name": name}), "scorers")
        except RequestRefused as error:
            if is_absent(error):
                # not the same as a server without scorers
                raise MalformedAnswer(f"scorers are listed, but not their versions: {error}") from None
            raise
        # the list names the latest version only; it must be among all of them
        found = {scorer.entity_id: scorer for scorer in (made(_scorer, entry) for entry in versions)}
        if made(_scorer, latest).entity_id not in found or len(found) != len(versions):
            raise MalformedAnswer("the versions of a scorer are not those of the list")
        yield sorted(found.values(), key=lambda scorer: int(scorer.facets["number"]))


def _scorer(entry: Entry) -> Entity:
    experiment, name, number = str(entry["experiment_id"]), entry["scorer_name"], int(entry["scorer_version"])
    created = whole(entry.get("creation_time"))
    return Entity(
        kind="scorer",
        entity_id=f"{experiment}/{name}/{number}",
        name=name,
        container=experiment,
        created=created,
        facets={
            "number": number,
            "definition": _json(entry.get("serialized_scorer")),
            "times": {"creation": created},
            **facet(entry, _SCORER),
        },
    )


def _json(value: object) -> Any:
    """Return what a JSON text says; nothing for an empty one."""
    return or_text(value) or None
