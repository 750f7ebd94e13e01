"""Issues, and review queues with their label schemas and items."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.kinds.schema.listing import plain
from mlflow_parity.kinds.schema.writing import without_none
from mlflow_parity.migrating.write.moving import API, Task, Writing

_MOST_ITEMS = 100
_PENDING = "PENDING"
#: The type of a queue that is one user's own.
_USERS = "USER"


def _issue(task: Task) -> None:
    told = dict(task.definition)
    author = told.pop("author", None)
    if task.copy is None:
        links = {"experiment_id": task.wanted["experiment"], "source_run_id": task.wanted.get("run")}
        task.make("issues", {**told, **links, "created_by": author}, lambda answer: answer["issue"]["issue_id"])
    else:
        changeable = {key: told.get(key) for key in ("status", "name", "description", "severity")}
        changeable["issue_id"] = task.copy.entity_id
        task.call("PATCH", f"issues/{task.copy.entity_id}", without_none(changeable))


def _queue(task: Task) -> None:
    told, experiment = task.definition, str(task.wanted["experiment"])
    schemas = [_label_schema(task, experiment, one) for one in told["label_schemas"]]
    owner: str | None = task.wanted["owner"]
    if task.copy is None and told["queue_type"] == _USERS and owner == told["name"]:
        # only so is it its user's, whoever migrates
        body: dict[str, Any] = {"experiment_id": experiment, "user": owner}
        queue = task.make("review-queues/get-or-create-user", body, _made)
        has: dict[str, Any] = {}
    elif task.copy is None:
        body = {
            "experiment_id": experiment,
            "name": told["name"],
            "queue_type": told["queue_type"],
            "users": told.get("users", []),
            "schema_ids": schemas,
        }
        queue = task.make("review-queues/create", body, _made)
        has = {}
    else:
        queue, has = task.copy.entity_id, {one["item_id"]: one for one in task.copy.facets["items"]}
        was, body = task.copy.facets["definition"], {"queue_id": queue}
        if was.get("users") != told.get("users"):
            body |= {"users": told.get("users", []), "update_users": True}
        # MLflow locks the questions of a queue that has items
        if was["label_schemas"] != told["label_schemas"]:
            body |= {"schema_ids": schemas, "update_schema_ids": True}
        if len(body) > 1:
            task.call("POST", "review-queues/update", body)
    missing: dict[str, list[str]] = {}
    for one in task.wanted["items"]:
        if one["item_id"] not in has:
            missing.setdefault(one["item_type"], []).append(one["item_id"])
    for kind, ids in missing.items():
        for first in range(0, len(ids), _MOST_ITEMS):
            body = {"queue_id": queue, "item_type": kind, "item_ids": ids[first : first + _MOST_ITEMS]}
            task.call("POST", "review-queues/items/add", body)
    for one in task.wanted["items"]:
        if one["status"] != has.get(one["item_id"], {"status": _PENDING})["status"]:
            body = {"queue_id": queue, "item_id": one["item_id"], "status": one["status"]}
            by = {"completed_by": one["completed_by"]} if "completed_by" in one else {}
            task.call("POST", "review-queues/items/set-status", {**body, **by})
    # last: whoever is no owner any more may not write
    if owner is not None:
        _own(task, queue, owner)


def _made(answer: dict[str, Any]) -> str:
    return str(answer["review_queue"]["queue_id"])


def _own(task: Task, queue: str, owner: str) -> None:
    """Give a queue its owner.

    Raises:
        NotMoved: the target has another one, and cannot be told.
    """
    query = {"queue_id": queue}
    there = task.context.writer.call("GET", f"{API}/review-queues/get", query=query)["review_queue"]
    if there.get("created_by") != owner and task.definition["queue_type"] != _USERS:
        there = task.call("POST", "review-queues/update", {**query, "new_owner": owner})["review_queue"]
    if there.get("created_by") != owner:
        raise NotMoved(
            f"its owner is {there.get('created_by')!r} on the target, not {owner!r}, and MLflow changes none"
        )


def _label_schema(task: Task, experiment: str, schema: dict[str, Any]) -> str:
    """Return the target's id of a label schema, which is made where there is none of its name."""
    name = schema["name"]
    if schema.get("is_default"):
        # MLflow makes it when the list is asked for, and takes no other of its name
        task.context.writer.call("GET", f"{API}/label-schemas/list", query={"experiment_id": experiment})
    there = _named(task, experiment, name)
    if there is None:
        body = {
            "experiment_id": experiment,
            **{key: value for key, value in schema.items() if key != "is_default"},
        }

        def find() -> dict[str, Any] | None:
            return _named(task, experiment, name)

        there = task.context.writer.create(
            f"{API}/label-schemas/create", body, find=find, made=lambda answer: answer["label_schema"]
        )
    if plain(there, "schema_id", "experiment_id") != schema:
        raise NotMoved(f"the target has another label schema {name!r} in its experiment: make it equal by hand")
    return str(there["schema_id"])


def _named(task: Task, experiment: str, name: str) -> dict[str, Any] | None:
    try:
        query = {"experiment_id": experiment, "name": name}
        answer = task.context.writer.call("GET", f"{API}/label-schemas/get-by-name", query=query)
    except RequestRefused as error:
        if error.status == 404:
            return None
        raise
    found: dict[str, Any] = answer["label_schema"]
    return found


REVIEWS = (
    Writing(("issue",), links=("experiment", "run"), write=_issue),
    Writing(("review_queue",), links=("experiment", "run", "trace"), write=_queue),
)
