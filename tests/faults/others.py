"""Faults of evaluation datasets, scorers and webhooks."""

from __future__ import annotations

import json

from support.seed_objects import HOOK

from faults.fault import EXPERIMENT, Fault, Found, Plant, Target, sql

_DATASET, _SCORER, _WEBHOOK = "evaluation_dataset", "scorer", "webhook"


def _dataset(change: str) -> Plant:
    return sql(f"UPDATE evaluation_datasets SET {change} WHERE dataset_id = :dataset")


def _record(change: str) -> Plant:
    return sql(
        f"UPDATE evaluation_dataset_records SET {change} WHERE dataset_id = :dataset AND "
        "json_extract(inputs, '$.n') = 1"
    )


def _lost(target: Target, name: str) -> None:
    dataset = target.id(_DATASET, name)
    for table, column in (("evaluation_dataset_records", "dataset_id"), ("evaluation_dataset_tags", "dataset_id"),
                          ("entity_associations", "source_id")):  # fmt: skip
        target.database.execute(f"DELETE FROM {table} WHERE {column} = ?", (dataset,))
    target.sql("DELETE FROM evaluation_datasets WHERE dataset_id = :dataset", dataset=dataset)


def _made_up(target: Target, name: str) -> None:
    body = {"name": name, "experiment_ids": [target.id("experiment", EXPERIMENT)]}
    target.api.call("POST", "datasets/create", body, version="3.0")


def _record_made_up(target: Target, name: str) -> None:
    statement = (
        "INSERT INTO evaluation_dataset_records SELECT 'dr-' || lower(hex(randomblob(16))), dataset_id, "
        '\'{"question": "new", "n": 9}\', expectations, tags, source, source_id, source_type, created_time, '
        "last_update_time, created_by, last_updated_by, lower(hex(randomblob(32))), outputs "
        "FROM evaluation_dataset_records WHERE dataset_id = :dataset AND json_extract(inputs, '$.n') = 1"
    )
    target.sql(statement, dataset=target.id(_DATASET, name))


def _another_experiment(target: Target, name: str) -> None:
    change = "UPDATE entity_associations SET destination_id = :experiment WHERE source_id = :dataset"
    target.sql(change, experiment="0", dataset=target.id(_DATASET, name))


#: Records have no name: an altered one is one that is lost, and one too many.
_ALTERED = (Found("records", "record", "missing"), Found("records", "record", "extra"))
DATASETS = (
    Fault("dataset-lost", _DATASET, "the evaluation dataset is gone", _lost, (Found("presence", state="missing"),)),
    Fault("dataset-made-up", _DATASET, "one evaluation dataset too many", _made_up,
          (Found("presence", state="extra"),), stock=False),
    Fault("dataset-tag", _DATASET, "another value of a tag",
          sql("UPDATE evaluation_dataset_tags SET value = 'x' WHERE dataset_id = :dataset AND key = 'team'"),
          (Found("tags", "team"),)),
    Fault("dataset-schema", _DATASET, "one type in the schema",
          _dataset("schema = replace(schema, 'integer', 'long')"), (Found("schema", "inputs: n"),)),
    Fault("dataset-profile", _DATASET, "one number in the profile", _dataset("profile = '{\"num_records\": 4}'"),
          (Found("profile", "num_records"),)),
    Fault("dataset-user", _DATASET, "another user", _dataset("created_by = 'eve'"), (Found("user"),)),
    Fault("dataset-experiment-lost", _DATASET, "the link to the experiment is gone",
          sql("DELETE FROM entity_associations WHERE source_id = :dataset"), (Found("experiments", "2", "missing"),)),
    Fault("dataset-experiment-other", _DATASET, "the link leads to another experiment", _another_experiment,
          (Found("experiments", "2", "missing"), Found("experiments", "0", "extra"))),
    Fault("record-lost", _DATASET, "one record is gone", sql(
          "DELETE FROM evaluation_dataset_records WHERE dataset_id = :dataset AND json_extract(inputs, '$.n') = 1"),
          (Found("records", "record", "missing"),)),
    Fault("record-made-up", _DATASET, "one record too many", _record_made_up, (Found("records", "record", "extra"),)),
    Fault("record-input", _DATASET, "one input of a record, re-typed",
          _record("inputs = replace(inputs, '1', '1.0')"), _ALTERED),
    Fault("record-expectation", _DATASET, "a list in an expectation in another order",
          _record("expectations = '{\"answer\": [2.5, 1]}'"), _ALTERED),
    Fault("record-output", _DATASET, "one output of a record",
          _record("outputs = replace(outputs, '1.5', '1.4')"), _ALTERED),
    Fault("record-source", _DATASET, "the record is by another",
          _record("source = replace(source, 'ada', 'eve')"), _ALTERED),
)  # fmt: skip


def _scorer_of(version: int) -> str:
    return f"scorer_id = :scorer AND scorer_version = {version}"


def _scorer_lost(target: Target, name: str) -> None:
    scorer = target.id(_SCORER, name)
    target.database.execute("DELETE FROM scorer_versions WHERE scorer_id = ?", (scorer,))
    target.sql("DELETE FROM scorers WHERE scorer_id = :scorer", scorer=scorer)


def _scorer_made_up(target: Target, name: str) -> None:
    body = {"experiment_id": target.id("experiment", EXPERIMENT), "name": name}
    target.api.call(
        "POST", "scorers/register", {**body, "serialized_scorer": json.dumps({"name": name})}, version="3.0"
    )


def _event_made_up(target: Target, name: str) -> None:
    statement = "INSERT INTO webhook_events (webhook_id, entity, action) VALUES (:webhook, 'prompt', 'created')"
    target.sql(statement, webhook=target.id(_WEBHOOK, name))


def _webhook_made_up(target: Target, name: str) -> None:
    event = {"entity": "MODEL_VERSION", "action": "CREATED"}
    target.api.call("POST", "webhooks", {"name": name, "url": HOOK, "events": [event], "status": "DISABLED"})


def _webhook(change: str) -> Plant:
    return sql(f"UPDATE webhooks SET {change} WHERE webhook_id = :webhook")


_GUIDELINES = "builtin_scorer_pydantic_data: guidelines"
OTHERS = (
    Fault("scorer-lost", _SCORER, "the scorer with its versions is gone", _scorer_lost, (
          Found("presence", state="missing"),)),
    Fault("scorer-version-lost", _SCORER, "the last version is gone",
          sql(f"DELETE FROM scorer_versions WHERE {_scorer_of(2)}"),
          (Found("presence", state="missing"),)),
    Fault("scorer-made-up", _SCORER, "one scorer too many", _scorer_made_up, (Found("presence", state="extra"),),
          stock=False),
    Fault("scorer-number", _SCORER, "version 2 became 7",
          sql(f"UPDATE scorer_versions SET scorer_version = 7 WHERE {_scorer_of(2)}"),
          (Found("number", "number"),)),
    Fault("scorer-definition", _SCORER, "one word of the definition", sql(
          "UPDATE scorer_versions SET serialized_scorer = replace(serialized_scorer, 'kind', 'rude') "
          f"WHERE {_scorer_of(1)}"),
          (Found("definition", _GUIDELINES),)),
    Fault("scorers-swapped", _SCORER, "the definitions of two versions swapped", sql(
          f"UPDATE scorer_versions SET scorer_version = 3 WHERE {_scorer_of(1)}",
          f"UPDATE scorer_versions SET scorer_version = 1 WHERE {_scorer_of(2)}",
          f"UPDATE scorer_versions SET scorer_version = 2 WHERE {_scorer_of(3)}"),
          (Found("definition", _GUIDELINES),)),
    Fault("webhook-lost", _WEBHOOK, "the webhook is gone", _webhook("deleted_timestamp = 1"),
          (Found("presence", state="missing"),)),
    Fault("webhook-made-up", _WEBHOOK, "one webhook too many", _webhook_made_up, (Found("presence", state="extra"),),
          stock=False),
    Fault("webhook-note", _WEBHOOK, "another description", _webhook("description = 'x'"), (Found("description"),)),
    Fault("webhook-url", _WEBHOOK, "another address", _webhook("url = url || '/'"), (Found("url"),)),
    Fault("webhook-event-lost", _WEBHOOK, "one event is gone",
          sql("DELETE FROM webhook_events WHERE webhook_id = :webhook AND entity = 'registered_model'"),
          (Found("events"),)),
    Fault("webhook-event-made-up", _WEBHOOK, "one event too many", _event_made_up, (Found("events"),)),
    Fault("webhook-status", _WEBHOOK, "DISABLED became ACTIVE", _webhook("status = 'ACTIVE'"), (Found("status"),)),
)  # fmt: skip
