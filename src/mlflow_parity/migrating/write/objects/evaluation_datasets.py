"""Evaluation datasets with their records, linked to the copies of their experiments.

The Export Import tool links them to the *source's* experiments. Records that are not on the target are sent, in few
requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import NotMoved
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.json_text import written
from mlflow_parity.migrating.write.batches import in_batches
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.moving import API, Task, Writing
from mlflow_parity.reading.others import read_records

#: Records of a dataset that go into one request, and its size in letters.
_MOST, _LETTERS = 200, 1_000_000


def _copies(task: Task) -> list[str | None]:
    return [task.context.journal.target("experiment", one) for one in task.source.facets["experiments"]]


def _write(task: Task) -> None:
    facets, present, experiments = task.source.facets, task.copy, sorted(filter(None, _copies(task)))
    if present is None:
        body: dict[str, Any] = {"name": task.source.name, "experiment_ids": experiments}
        if facets["tags"]:
            body["tags"] = written(facets["tags"])
        identity = task.make("datasets/create", body, lambda answer: answer["dataset"]["dataset_id"])
    else:
        identity, has = present.entity_id, present.facets
        path = f"datasets/{quote(identity, safe='')}"
        changed = {key: value for key, value in facets["tags"].items() if has["tags"].get(key) != value}
        if changed:
            task.call("PATCH", f"{path}/tags", {"dataset_id": identity, "tags": written(changed)})
        more = sorted(set(experiments) - set(has["experiments"]))
        if more:
            task.call("POST", f"{path}/add-experiments", {"dataset_id": identity, "experiment_ids": more})
        # what the target has by itself stays, unless all of it is ours
        for key in has["tags"].keys() - facets["tags"].keys() if task.ours else ():
            task.call("DELETE", f"{path}/tags/{quote(key, safe='')}")
        less = sorted(set(has["experiments"]) - set(experiments))
        if less and task.ours:
            task.call("POST", f"{path}/remove-experiments", {"dataset_id": identity, "experiment_ids": less})
    update_records(task.context, identity, facets["records"], facets["schema"], ours=task.ours, new=present is None)
    lost = [one for one, copy in zip(facets["experiments"], _copies(task), strict=True) if copy is None]
    if lost:
        raise NotMoved(f"its experiments {', '.join(lost)} are not on the target")


def update_records(
    context: Import, dataset: str, records: Sequence[Mapping[str, Any]], schema: object, *, ours: bool, new: bool
) -> None:
    """Send the records that the target's ``dataset`` lacks; of one that is ``ours`` others are deleted.

    The server knows a record by its inputs: one that comes twice is there once. It keeps what an earlier one said
    beside, so one that changed is deleted first. The dataset's ``schema`` comes of the order of its records.
    """
    path = f"{API}/datasets/{quote(dataset, safe='')}/records"
    wanted = {digest(one): one for one in (_sent(context, record) for record in records)}
    if not new:
        found = read_records(context.reader.session, dataset).items()
        there = {digest(_sent(context, one)): key for key, one in found}
        gone = [key for state, key in there.items() if state not in wanted] if ours else []
        for first in range(0, len(gone), _MOST):
            body = {"dataset_id": dataset, "dataset_record_ids": gone[first : first + _MOST]}
            context.writer.call("DELETE", path, body)
        wanted = {state: one for state, one in wanted.items() if state not in there}
    texts = map(written, in_order(list(wanted.values()), schema))
    for batch in in_batches(texts, len, _LETTERS, _MOST):
        context.writer.call("POST", path, {"dataset_id": dataset, "records": f"[{','.join(batch)}]"})


def in_order(records: Sequence[dict[str, Any]], schema: object) -> list[dict[str, Any]]:
    """Return records in an order that gives a dataset this schema: the first value of a field tells its type.

    In the order in which the source got them each new field has the type that the schema says, and so there is one.
    """
    if not isinstance(schema, Mapping):
        return list(records)
    waiting, ordered = list(records), list[dict[str, Any]]()
    seen: set[tuple[str, str]] = set()
    while waiting:
        late = []
        for record in waiting:
            fields = list(_fields(record, schema))
            if all(found in seen or kind in (None, _type(value)) for found, value, kind in fields):
                seen.update(found for found, _, _ in fields)
                ordered.append(record)
            else:
                late.append(record)
        if len(late) == len(waiting):
            # the schema is of records that are gone
            return ordered + late
        waiting = late
    return ordered


def _fields(record: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any, str | None]]:
    """Yield what a record says of each field: its name, the value, and the type that it is to have, if any."""
    for part in ("inputs", "outputs", "expectations"):
        content, told = record.get(part), schema.get(part)
        if isinstance(content, Mapping):
            for key, value in content.items():
                yield (part, key), value, told.get(key) if isinstance(told, Mapping) else None
            if part == "outputs" and content:
                yield ("outputs", ""), content, None
        elif content is not None and isinstance(told, Mapping) and told:
            # no server takes an object after another value
            yield (part, ""), content, "object"


def _type(value: object) -> str:
    """Return a value's type as the server names it."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "float", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "unknown")


def _sent(context: Import, record: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"inputs": record["inputs"]}
    if record["outputs"] is not None:
        body["outputs"] = record["outputs"]
    for key in ("expectations", "tags"):
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


EVALUATION_DATASETS = Writing(
    ("evaluation_dataset",), links=("experiment", "trace"), write=_write, theirs=True, read_back=False, chunk=1,
    linked=lambda task: (_copies(task),),
)  # fmt: skip
