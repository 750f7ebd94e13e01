"""Runs with params, tags, latest metrics and dataset inputs, from their tables to the entries that a search gives.

They become records where those of the API do, so that both read the same out of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.records import Run
from mlflow_parity.reading import records
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.schema import among, checked
from mlflow_parity.reading.transport.listing import made

#: Runs that are read at once.
PAGE = 1_000
#: Without any of these MLflow's server answers no list that a run is in.
_STATUSES = frozenset({"RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"})
_STAGES = frozenset({"active", "deleted"})
_IDS = pa.schema([("run_uuid", pa.string())])
_ORDER = "ORDER BY CASE WHEN r.start_time IS NULL THEN 1 ELSE 0 END, r.start_time, r.run_uuid"


def _schema(texts: str, numbers: str = "") -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in texts.split()] + [(name, pa.int64()) for name in numbers.split()])


_RUNS = _schema("run_uuid name user_id status lifecycle_stage artifact_uri", "experiment_id start_time end_time")
_PAIRS = _schema("run_uuid key value")
_LATEST = pa.schema([*_schema("run_uuid key", "step timestamp is_nan"), pa.field("value", pa.float64())])
_INPUTS = _schema("run_uuid dataset_uuid name digest source_type source schema profile")
_INPUT_TAGS = _schema("run_uuid dataset_uuid key value")


def run_ids(database: Database, experiment_id: str) -> list[str]:
    """Return the ids of an experiment's runs, in the order of the API's list.

    Raises:
        ReadError: they cannot be read, or one is no id.
    """
    query = f"SELECT r.run_uuid FROM runs r WHERE r.experiment_id = {int(experiment_id)} {_ORDER}"
    return [checked(one) for one in database.table(query, _IDS).column(0).to_pylist()]


def read_runs(database: Database, experiment_id: str) -> Iterator[list[Run]]:
    """Yield the runs of an experiment in pages, deleted ones included, each once.

    Raises:
        ReadError: they cannot be read, or hold what MLflow's server would not answer.
    """
    ids = run_ids(database, experiment_id)
    for start in range(0, len(ids), PAGE):
        page = ids[start : start + PAGE]
        found = runs_of_ids(database, page)
        if list(found) != page or any(run.experiment_id != experiment_id for run in found.values()):
            raise MalformedAnswer(f"the database holds runs of experiment {experiment_id} twice, or under other ids")
        yield list(found.values())


def runs_of_ids(database: Database, ids: Sequence[str]) -> dict[str, Run]:
    """Return the runs with these ids that are there, by id.

    Raises:
        ReadError: they cannot be read, or hold what MLflow's server would not answer.
    """
    inside = among(ids)
    if not inside:
        return {}
    base = database.table(
        "SELECT r.run_uuid, r.name, r.user_id, r.status, r.lifecycle_stage, r.artifact_uri, r.experiment_id, "
        f"r.start_time, r.end_time FROM runs r WHERE r.run_uuid IN ({inside})",
        _RUNS,
    ).to_pylist()
    infos = {checked(row["run_uuid"]): row for row in base}
    if len(infos) < len(base):
        raise MalformedAnswer("the database holds two runs with one id")
    params, tags = (_pairs(database, table, inside) for table in ("params", "tags"))
    metrics = _latest(database, inside)
    inputs = _inputs(database, inside)
    return {
        run_id: made(
            records.run,
            {
                "info": _info(infos[run_id]),
                "data": {"params": params[run_id], "tags": tags[run_id], "metrics": metrics[run_id]},
                "inputs": {"dataset_inputs": inputs[run_id]},
            },
        )
        for run_id in ids
        if run_id in infos
    }


def _info(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what MLflow answers of a row of ``runs``: nothing for what it has not, and no end at 0."""
    if row["status"] not in _STATUSES or row["lifecycle_stage"] not in _STAGES or row["experiment_id"] is None:
        what = f"status {row['status']!r:.40} and stage {row['lifecycle_stage']!r:.40}"
        raise MalformedAnswer(f"the database holds run {row['run_uuid']} with {what}, which MLflow gives to none")
    info = {
        "run_id": row["run_uuid"],
        "run_name": row["name"],
        "experiment_id": row["experiment_id"],
        "user_id": row["user_id"],
        "status": row["status"],
        "start_time": row["start_time"],
        "end_time": row["end_time"] or None,
        "lifecycle_stage": row["lifecycle_stage"],
        "artifact_uri": row["artifact_uri"],
    }
    return {name: value for name, value in info.items() if value is not None}


def _pairs(database: Database, table: str, inside: str) -> defaultdict[str, list[dict[str, str]]]:
    query = f"SELECT x.run_uuid, x.key, x.value FROM {table} x WHERE x.run_uuid IN ({inside})"
    found: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for run_id, key, value in database.rows(query, _PAIRS):
        found[str(run_id)].append({"key": _key(key, table), "value": "" if value is None else str(value)})
    _once(found, table)
    return found


def _latest(database: Database, inside: str) -> defaultdict[str, list[dict[str, Any]]]:
    query = (
        "SELECT m.run_uuid, m.key, m.step, m.timestamp, CASE WHEN m.is_nan THEN 1 ELSE 0 END AS is_nan, m.value "
        f"FROM latest_metrics m WHERE m.run_uuid IN ({inside})"
    )
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for run_id, key, step, timestamp, is_nan, value in database.rows(query, _LATEST):
        if None in (step, timestamp) or (value is None and not is_nan):
            raise MalformedAnswer(f"the database holds a latest metric of run {run_id} without step, time or value")
        point = {"step": step, "timestamp": timestamp, "value": float("nan") if is_nan else value}
        found[str(run_id)].append({"key": _key(key, "latest_metrics"), **point})
    _once(found, "latest_metrics")
    return found


def _key(key: object, table: str) -> str:
    if not isinstance(key, str):
        raise MalformedAnswer(f"the database holds a row of {table} without a key")
    return key


def _once(found: Mapping[str, Sequence[Mapping[str, Any]]], table: str) -> None:
    for run_id, entries in found.items():
        if len({entry["key"] for entry in entries}) < len(entries):
            raise MalformedAnswer(f"the database holds two rows of {table} of run {run_id} with one key")


def _inputs(database: Database, inside: str) -> defaultdict[str, list[dict[str, Any]]]:
    joined = (
        "FROM inputs i JOIN datasets d ON i.source_id = d.dataset_uuid {more}"
        f"WHERE i.destination_type = 'RUN' AND i.destination_id IN ({inside})"
    )
    tags: defaultdict[tuple[object, object], list[dict[str, str]]] = defaultdict(list)
    query = "SELECT i.destination_id, d.dataset_uuid, t.name, t.value " + joined.format(
        more="JOIN input_tags t ON t.input_uuid = i.input_uuid "
    )
    for run_id, dataset, key, value in database.rows(query, _INPUT_TAGS):
        tags[run_id, dataset].append({"key": _key(key, "input_tags"), "value": "" if value is None else str(value)})
    query = (
        "SELECT i.destination_id, d.dataset_uuid, d.name, d.digest, d.dataset_source_type, d.dataset_source, "
        "d.dataset_schema, d.dataset_profile " + joined.format(more="")
    )
    found: defaultdict[str, dict[object, dict[str, Any]]] = defaultdict(dict)
    names = _INPUTS.names[2:]
    for run_id, dataset, *values in database.rows(query, _INPUTS):
        told = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        found[str(run_id)][dataset] = {"dataset": told, "tags": tags[run_id, dataset]}
    return defaultdict(list, {run_id: list(datasets.values()) for run_id, datasets in found.items()})
