"""Faults of a restored copy: what an import may change, and the store itself must not."""

from __future__ import annotations

from dataclasses import replace

from faults.fault import Fault, Found, Target, sql
from faults.seeding import FILES

_SPAN = "UPDATE spans SET content = replace(content, '{}', '{}') WHERE trace_id = :trace AND name = 'child'"


def _place(table: str, column: str, key: str, word: str) -> str:
    elsewhere = f"replace({column}, 'mlflow-artifacts:/', 'mlflow-artifacts:/x')"
    return f"UPDATE {table} SET {column} = {elsewhere} WHERE {key} = :{word}"


def _experiment(change: str) -> str:
    return f"UPDATE experiments SET {change} WHERE experiment_id = :experiment"


def _times(kind: str, table: str, where: str, creation: str, update: str) -> tuple[Fault, ...]:
    """Return the two faults of the times that a server gives to an object of a kind."""
    word = kind.replace("_", "-")
    return tuple(
        Fault(f"{word}-{key}-restored", kind, f"{key} one millisecond later",
              sql(f"UPDATE {table} SET {column} = {column} + 1 WHERE {where}"), (Found("times", key),))
        for key, column in (("creation", creation), ("update", update))
    )  # fmt: skip


def _id(target: Target, name: str) -> None:
    new = "0" * 32
    run = target.id("run", name)
    for table in ("params", "metrics", "latest_metrics", "tags", "runs"):
        target.database.execute(f"UPDATE {table} SET run_uuid = ? WHERE run_uuid = ?", (new, run))


def _name(kind: str, table: str, where: str) -> Fault:
    word = kind.replace("_", "-")
    plant = sql(f"UPDATE {table} SET name = name || '-' WHERE {where}")
    return Fault(f"{word}-name-restored", kind, "another name", plant, (Found("name"),))


_VERSION = "name = :name AND version = 1"
_FAULTS = (
    Fault("experiment-creation-restored", "experiment", "creation one millisecond later",
          sql(_experiment("creation_time = creation_time + 1")), (Found("times", "creation_time"),)),
    Fault("experiment-update-restored", "experiment", "update one millisecond later",
          sql(_experiment("last_update_time = last_update_time + 1")), (Found("times", "last_update_time"),)),
    Fault("experiment-place-restored", "experiment", "another artifact location",
          sql(_place("experiments", "artifact_location", "experiment_id", "experiment")),
          (Found("artifact_location", "artifact_location"),)),
    Fault("run-id-restored", "run", "another run id", _id,
          (Found("presence", state="missing"), Found("presence", state="extra"))),
    Fault("run-start-restored", "run", "start one millisecond later",
          sql("UPDATE runs SET start_time = start_time + 1 WHERE run_uuid = :run"), (Found("times", "start_time"),)),
    Fault("run-end-restored", "run", "no end time", sql("UPDATE runs SET end_time = NULL WHERE run_uuid = :run"),
          (Found("times", "end_time"),)),
    Fault("run-user-restored", "run", "another user", sql("UPDATE runs SET user_id = 'root' WHERE run_uuid = :run"),
          (Found("user", "user_id"),)),
    Fault("run-place-restored", "run", "another place of the artifacts",
          sql(_place("runs", "artifact_uri", "run_uuid", "run")), (Found("artifact_uri", "artifact_uri"),),
          also=tuple(Found("artifacts", path, "missing") for path in (*FILES, "which.txt"))),
    *_times("logged_model", "logged_models", "model_id = :model", "creation_timestamp_ms", "last_updated_timestamp_ms"),
    *_times("registered_model", "registered_models", "name = :name", "creation_time", "last_updated_time"),
    *_times("model_version", "model_versions", _VERSION, "creation_time", "last_updated_time"),
    *_times("prompt", "registered_models", "name = :name", "creation_time", "last_updated_time"),
    *_times("prompt_version", "model_versions", _VERSION, "creation_time", "last_updated_time"),
    *_times("evaluation_dataset", "evaluation_datasets", "dataset_id = :dataset", "created_time", "last_update_time"),
    *_times("webhook", "webhooks", "webhook_id = :webhook", "creation_timestamp", "last_updated_timestamp"),
    Fault("scorer-creation-restored", "scorer", "creation one millisecond later", sql(
          "UPDATE scorer_versions SET creation_time = creation_time + 1 "
          "WHERE scorer_id = :scorer AND scorer_version = 1"),
          (Found("times", "creation"),)),
    Fault("dataset-writer-restored", "evaluation_dataset", "last written by another",
          sql("UPDATE evaluation_datasets SET last_updated_by = 'eve' WHERE dataset_id = :dataset"),
          (Found("last_updated_by"),)),
    _name("logged_model", "logged_models", "model_id = :model"),
    _name("evaluation_dataset", "evaluation_datasets", "dataset_id = :dataset"),
    _name("webhook", "webhooks", "webhook_id = :webhook"),
    Fault("dataset-digest-restored", "evaluation_dataset", "another digest",
          sql("UPDATE evaluation_datasets SET digest = 'other' WHERE dataset_id = :dataset"), (Found("digest"),)),
    Fault("span-attribute-restored", "trace", "one attribute of a span", sql(_SPAN.format("ü", "u")),
          (Found("spans", "child (<span>): outputs: deep"),)),
    Fault("span-event-restored", "trace", "one event of a span", sql(_SPAN.format("looked up", "looked Up")),
          (Found("spans", "child (<span>): events [1]: name"),)),
)  # fmt: skip
RESTORED = tuple(replace(fault, pair="restored") for fault in _FAULTS)
