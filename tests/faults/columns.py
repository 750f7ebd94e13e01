"""Faults of the columns that no other fault alters: found by what MLflow stores, not by what its authors thought of.

``completeness/columns.ini`` claims the columns, ``completeness/altered.py`` says which are altered by no fault.
"""

from __future__ import annotations

import re
from dataclasses import replace

from faults.fault import Fault, Found, Plant, Target, sql
from faults.seeding import partner
from faults.traces import SWAPPED

_ROWS = "rows (training)"
_DATASET_INPUT = "(SELECT input_uuid FROM inputs WHERE destination_id = :run AND source_type = 'DATASET')"
_USED = "(SELECT source_id FROM inputs WHERE destination_id = :run AND source_type = 'DATASET')"
#: An experiment in which the fault of another object is, and nothing else.
_ELSEWHERE = "(SELECT experiment_id FROM experiments WHERE name = 'experiment-tag-altered')"
_MOVED = (Found("presence", state="missing"), Found("presence", state="extra"))
_ALTERED = (Found("records", "record", "missing"), Found("records", "record", "extra"))


def _renamed(facet: str, old: str, new: str) -> tuple[Found, ...]:
    return Found(facet, old, "missing"), Found(facet, new, "extra")


def _key(word: str, kind: str, table: str, column: str, where: str, old: str, facet: str = "tags") -> Fault:
    """A key in another case: the old one is gone, and the new one is one too many."""
    new = old.upper()
    statement = f"UPDATE {table} SET {column} = '{new}' WHERE {where} AND {column} = '{old}'"
    return Fault(f"{word}-key-case", kind, "a key in another case", sql(statement), _renamed(facet, old, new))


def _info(word: str, column: str, value: str, key: str, state: str = "extra") -> Fault:
    """What MLflow tells of a trace in its metadata and keeps in a column of its own."""
    plant = sql(f"UPDATE trace_info SET {column} = {value} WHERE request_id = :trace")
    return Fault(f"trace-{word}", "trace", f"another {column}", plant, (Found("metadata", key, state),))


def _assessment(word: str, change: str, *found: Found) -> Fault:
    plant = sql(f"UPDATE assessments SET {change} WHERE trace_id = :trace AND name = 'wanted'")
    return Fault(f"assessment-{word}", "trace", f"an assessment: {change.replace(chr(39), '')}", plant, found)


def _point(word: str, change: str, *found: Found) -> Fault:
    plant = sql(f"UPDATE logged_model_metrics SET {change} WHERE model_id = :model AND metric_step = 1")
    return Fault(f"model-metric-{word}", "logged_model", f"a point of a metric: {change}", plant, found)


def _record(word: str, change: str) -> Fault:
    plant = sql(
        f"UPDATE evaluation_dataset_records SET {change} WHERE dataset_id = :dataset AND "
        "json_extract(inputs, '$.n') = 1"
    )
    return Fault(f"record-{word}", "evaluation_dataset", f"a record: another {word}", plant, _ALTERED)


def _link(word: str, change: str, *found: Found) -> Fault:
    where = "source_id = :trace AND destination_type = 'run'"
    plant = sql(f"UPDATE entity_associations SET {change} WHERE {where}")
    return Fault(f"trace-run-link-{word}", "trace", f"the link to a run: {word}", plant, found)


def _to_another_trace(target: Target, name: str) -> None:
    ours, theirs = target.id("trace", name), target.id("trace", partner(name))
    where = "source_id = :trace AND destination_type = 'run'"
    change = f"UPDATE entity_associations SET destination_id = :run WHERE {where}"
    target.sql(change, run=target.id("run", "file-bit"), trace=theirs)
    target.sql(f"UPDATE entity_associations SET source_id = :other WHERE {where}", other=theirs, trace=ours)


def _registered_renamed(target: Target, name: str) -> None:
    for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_model_tags",
                  "registered_models"):  # fmt: skip
        assert target.database.execute(f"UPDATE {table} SET name = ? WHERE name = ?", (f"{name}-x", name)).rowcount


def _of(table: str, column: str, word: str) -> str:
    return f"UPDATE {table} SET experiment_id = {_ELSEWHERE} WHERE {column} = :{word}"


def _event(change: str) -> Plant:
    return sql(f"UPDATE webhook_events SET {change} WHERE webhook_id = :webhook AND entity = 'registered_model'")


#: An expectation that is read as feedback is not the same value.
_HEIGHT = tuple(Found("assessments", f"wanted: value: height [{place}]") for place in (1, 2))
_VERSION = "name = :name AND version = 1"
_FAULTS = (
    _key("experiment-tag", "experiment", "experiment_tags", "key", "experiment_id = :experiment", "team"),
    Fault("model-output-of-no-run", "run", "the link to the logged model that it made is of another type",
          sql("UPDATE inputs SET source_type = 'X' WHERE source_id = :run AND destination_type = 'MODEL_OUTPUT'"),
          (Found("model_outputs", "<model> at step 3", "missing"),)),
    Fault("input-of-no-run", "run", "the input belongs to an object of another type",
          sql("UPDATE inputs SET destination_type = 'X' WHERE destination_id = :run AND source_type = 'DATASET'"),
          (Found("inputs", _ROWS, "missing"),)),
    Fault("input-of-another", "run", "the input is another dataset",
          sql("UPDATE inputs SET source_id = (SELECT dataset_uuid FROM datasets WHERE digest = 'd0') "
              "WHERE destination_id = :run AND source_type = 'DATASET'"), (Found("inputs", f"{_ROWS}: digest"),)),
    Fault("input-tag-renamed", "run", "the context of an input has another key",
          sql(f"UPDATE input_tags SET name = 'mlflow.data.Context' WHERE input_uuid = {_DATASET_INPUT}"),
          (Found("inputs", f"{_ROWS}: tags"),)),
    Fault("input-tag-lost", "run", "the context of an input is gone",
          sql(f"DELETE FROM input_tags WHERE input_uuid = {_DATASET_INPUT}"), (Found("inputs", f"{_ROWS}: tags"),)),
    Fault("input-name", "run", "another name of the dataset",
          sql(f"UPDATE datasets SET name = 'Rows' WHERE dataset_uuid = {_USED}"),
          _renamed("inputs", _ROWS, "Rows (training)")),
    Fault("input-source-type", "run", "another type of the dataset's source",
          sql(f"UPDATE datasets SET dataset_source_type = 's3' WHERE dataset_uuid = {_USED}"),
          (Found("inputs", f"{_ROWS}: source_type"),)),
    Fault("input-dataset-lost", "run", "the dataset itself is gone",
          sql(f"DELETE FROM datasets WHERE dataset_uuid = {_USED}"), (Found("inputs", _ROWS, "missing"),)),
    Fault("registered-renamed", "registered_model", "another name", _registered_renamed, (
          Found("presence", state="missing"), Found("presence", state="extra", name="registered-renamed-x")), also=(
          Found("tags", "mlflow.modelVersions", kind="logged_model", name="registered-renamed"),
          *(Found("presence", state="missing", kind="model_version", name=f"registered-renamed version {number}")
            for number in (1, 2)),
          *(Found("presence", state="extra", kind="model_version", name=f"registered-renamed-x version {number}")
            for number in (1, 2)))),
    _key("registered-tag", "registered_model", "registered_model_tags", "key", "name = :name", "tier"),
    _key("prompt-tag", "prompt", "registered_model_tags", "key", "name = :name", "lang"),
    _key("version-tag", "model_version", "model_version_tags", "key", _VERSION, "number"),
    _key("prompt-version-tag", "prompt_version", "model_version_tags", "key", _VERSION, "of"),
    Fault("version-status-message", "model_version", "a message of the status",
          sql(f"UPDATE model_versions SET status_message = 'x' WHERE {_VERSION}"),
          (Found("status", "message"),)),
    Fault("trace-elsewhere", "trace", "the trace is in another experiment",
          sql(_of("trace_info", "request_id", "trace")), _MOVED),
    Fault("trace-renamed", "trace", "another name",
          sql("UPDATE trace_info SET trace_name = 'Renamed' WHERE request_id = :trace"),
          (Found("tags", "mlflow.traceName"),)),
    _info("session", "session_id", "'s'", "mlflow.trace.session"),
    *(_info(column.replace("_", "-"), column, "7", "mlflow.trace.tokenUsage")
      for column in ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens",
                     "cache_creation_input_tokens", "cache_creation_input_tokens_above_1hr")),
    *(_info(column.replace("_", "-"), column, "0.5", "mlflow.trace.cost")
      for column in ("input_cost", "output_cost", "total_cost")),
    _key("trace-tag", "trace", "trace_tags", "key", "request_id = :trace", "team"),
    _key("trace-metadata", "trace", "trace_request_metadata", "key", "request_id = :trace", "mlflow.user", "metadata"),
    _assessment("name", "name = 'Wanted'", *_renamed("assessments", "wanted", "Wanted")),
    _assessment("type", "assessment_type = 'feedback'", Found("assessments", "wanted: kind"), *_HEIGHT),
    _assessment("error", "error = '{\"error_code\": \"E\", \"error_message\": \"m\"}', assessment_type = 'feedback'",
                Found("assessments", "wanted: kind"), Found("assessments", "wanted: error"), *_HEIGHT),
    _assessment("judge", "source_type = 'CODE'", Found("assessments", "wanted: source: type")),
    _assessment("span", "span_id = '00000000000000aa'", Found("assessments", "wanted: span_id")),
    _assessment("valid", "valid = 0", Found("assessments", "wanted: valid")),
    _assessment("created", "created_timestamp = created_timestamp + 1", Found("assessments", "wanted: created")),
    _link("of-no-trace", "source_type = 'x'", Found("run_links", "<run>", "missing")),
    _link("to-no-run", "destination_type = 'x'", Found("run_links", "<run>", "missing")),
    Fault("trace-run-link-moved", "trace", "the link to a run is another trace's", _to_another_trace,
          (Found("run_links", "<run>", "missing"),
           Found("run_links", "<run>", "extra", name=partner("trace-run-link-moved")))),
    _key("dataset-tag", "evaluation_dataset", "evaluation_dataset_tags", "key", "dataset_id = :dataset", "team"),
    Fault("dataset-tag-lost", "evaluation_dataset", "one tag is gone",
          sql("DELETE FROM evaluation_dataset_tags WHERE dataset_id = :dataset"), (Found("tags", "team", "missing"),)),
    _record("tag", "tags = replace(tags, 'round', 'Round')"),
    _record("user", "created_by = 'eve'"),
    Fault("webhook-entity", "webhook", "an event of another kind of object", _event("entity = 'prompt'"),
          (Found("events", "[2]"),)),
    Fault("webhook-action", "webhook", "an event of something else",
          _event("entity = 'prompt_tag', action = 'set'"), (Found("events", "[2]"),)),
    Fault("webhook-row-lost", "webhook", "the webhook is gone from the database",
          sql("DELETE FROM webhooks WHERE webhook_id = :webhook"), (Found("presence", state="missing"),)),
    Fault("model-elsewhere", "logged_model", "the logged model is in another experiment",
          sql(_of("logged_models", "model_id", "model")), _MOVED),
    Fault("model-row-lost", "logged_model", "the logged model is gone from the database",
          sql("DELETE FROM logged_models WHERE model_id = :model"), (Found("presence", state="missing"),)),
    Fault("model-status-message", "logged_model", "a message of the status",
          sql("UPDATE logged_models SET status_message = 'x' WHERE model_id = :model"),
          (Found("status", "message"),)),
    _point("name", "metric_name = 'Acc'", *_renamed("metrics", "acc", "Acc")),
    _point("time", "metric_timestamp_ms = metric_timestamp_ms + 1", Found("metrics", "acc: timestamp")),
    _point("dataset-name", "dataset_name = 'D'", Found("metrics", "acc: dataset_name")),
    _key("model-param", "logged_model", "logged_model_params", "param_key", "model_id = :model", "depth", "params"),
    _key("model-tag", "logged_model", "logged_model_tags", "tag_key", "model_id = :model", "team"),
    Fault("scorer-elsewhere", "scorer", "the scorer is in another experiment",
          sql(_of("scorers", "scorer_id", "scorer")), _MOVED),
    Fault("scorer-renamed", "scorer", "the name in another case",
          sql("UPDATE scorers SET scorer_name = 'Scorer-renamed' WHERE scorer_id = :scorer"),
          (Found("presence", state="missing"), Found("presence", state="extra", name="Scorer-renamed"))),
)  # fmt: skip


def _added(word: str, kind: str, table: str, values: str, source: str, *found: Found) -> Fault:
    """One row too many; ``values`` gives those of its columns that are not those of ``source`` (``table WHERE …``)."""
    given = dict(one.split(" = ", 1) for one in re.split(", (?=[a-z_]+ = )", values))
    into = f"INSERT INTO {table} ({', '.join(given)}) SELECT {', '.join(given.values())} FROM {source}"
    return Fault(f"{word}-made-up", kind, f"a row too many in `{table}`", sql(into), found)


def _same(columns: str) -> str:
    return ", ".join(f"{one} = {one}" for one in columns.split())


_NEW = Found("tags", "new", "extra")
_MODEL_ROW = "logged_models WHERE model_id = :model"
_ADDED = (
    _added("input-tag", "run", "input_tags", "input_uuid = input_uuid, name = 'new', value = 'x'",
           "inputs WHERE destination_id = :run AND source_type = 'DATASET'", Found("inputs", f"{_ROWS}: tags")),
    _added("registered-alias-row", "registered_model", "registered_model_aliases",
           "workspace = workspace, name = name, alias = 'new', version = 1", "registered_models WHERE name = :name",
           Found("aliases", "new", "extra")),
    _added("registered-tag-row", "registered_model", "registered_model_tags",
           "workspace = workspace, name = name, key = 'new', value = 'x'", "registered_models WHERE name = :name",
           _NEW),
    _added("version-tag-row", "model_version", "model_version_tags",
           "workspace = workspace, name = name, version = version, key = 'new', value = 'x'",
           f"model_versions WHERE {_VERSION}", _NEW),
    _added("version-row", "model_version", "model_versions",
           "version = 9, " + _same("workspace name creation_time last_updated_time description user_id current_stage "
                                   "source storage_location run_id run_link status status_message"),
           f"model_versions WHERE {_VERSION}",
           Found("presence", state="extra", name="version-row-made-up version 9")),
    _added("trace-metadata-row", "trace", "trace_request_metadata", "request_id = request_id, key = 'new', value = 'x'",
           "trace_info WHERE request_id = :trace", Found("metadata", "new", "extra")),
    _added("assessment", "trace", "assessments",
           "assessment_id = 'a-made-up', name = 'new', " + _same(
               "trace_id assessment_type value created_timestamp last_updated_timestamp source_type source_id valid "
               "experiment_id trace_timestamp_ms aggregate_value is_numeric_value"),
           "assessments WHERE trace_id = :trace AND name = 'wanted'", Found("assessments", "new", "extra")),
    _added("dataset-tag", "evaluation_dataset", "evaluation_dataset_tags",
           "dataset_id = dataset_id, key = 'new', value = 'x'", "evaluation_datasets WHERE dataset_id = :dataset",
           _NEW),
    _added("model-metric", "logged_model", "logged_model_metrics",
           "metric_step = 9, " + _same("model_id metric_name metric_timestamp_ms metric_value experiment_id run_id "
                                       "dataset_uuid dataset_name dataset_digest"),
           "logged_model_metrics WHERE model_id = :model AND metric_step = 1", Found("metrics", "acc", "extra")),
    _added("model-param", "logged_model", "logged_model_params",
           "model_id = model_id, experiment_id = experiment_id, param_key = 'new', param_value = 'x'", _MODEL_ROW,
           Found("params", "new", "extra")),
    _added("model-tag", "logged_model", "logged_model_tags",
           "model_id = model_id, experiment_id = experiment_id, tag_key = 'new', tag_value = 'x'", _MODEL_ROW, _NEW),
    _added("scorer-version", "scorer", "scorer_versions",
           "scorer_version = 3, " + _same("scorer_id serialized_scorer creation_time"),
           "scorer_versions WHERE scorer_id = :scorer AND scorer_version = 2", Found("presence", state="extra")),
)  # fmt: skip
_RESTORED = (
    _added("span-row-restored", "trace", "spans",
           "span_id = '00000000000000aa', content = json_set(content, '$.span_id', 'AAAAAAAAAKo='), " + _same(
               "trace_id experiment_id parent_span_id name type status start_time_unix_nano end_time_unix_nano"),
           "spans WHERE trace_id = :trace AND name = 'grandchild'",
           Found("spans", "grandchild (<span>)", "extra")),
    Fault("model-place-restored", "logged_model", "another place of the files",
          sql("UPDATE logged_models SET artifact_location = replace(artifact_location, 'mlflow-artifacts:/', "
              "'mlflow-artifacts:/x') WHERE model_id = :model"), (Found("files", "artifact_uri"),
               *(Found("files", path, "missing")
                 for path in ("MLmodel", "code/model_loader.py", "weights.bin", "which.txt")))),
    Fault("assessment-updated-restored", "trace", "updated of an assessment one millisecond later",
          sql("UPDATE assessments SET last_updated_timestamp = last_updated_timestamp + 1 WHERE trace_id = :trace "
              "AND name = 'wanted'"),
          (Found("assessments", "ids, times"),)),
    Fault("assessments-swapped-restored", "trace", "two assessments of one name have each other's value", SWAPPED,
          (Found("assessments", "verdict: value"),)),
    Fault("spans-row-restored", "trace", "the row of a span is gone",
          sql("DELETE FROM spans WHERE trace_id = :trace AND name = 'grandchild'"),
          (Found("spans", "grandchild (<span>)", "missing"),)),
)  # fmt: skip
COLUMNS = (*_FAULTS, *_ADDED, *(replace(fault, pair="restored") for fault in _RESTORED))
