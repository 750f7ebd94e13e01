"""Issues, and review queues with their label schemas and items."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.kinds.listing import plain
from mlflow_parity.migrating.write.objects.later import API, Moving, There, bring, without_none
from mlflow_parity.migrating.write.objects.run_writing import NotMoved

_MOST_ITEMS = 100
_PENDING = "PENDING"


def import_reviews(there: There) -> None:
    """Bring issues and review queues, whose runs and traces are on the target."""
    bring(there, "issue", _issue)
    bring(there, "review_queue", _queue)


def _issue(moving: Moving) -> None:
    told = dict(moving.definition)
    author = told.pop("author", None)
    if moving.copy is None:
        links = {"experiment_id": moving.wanted["experiment"], "source_run_id": moving.wanted.get("run")}
        moving.make("issues", {**told, **links, "created_by": author}, lambda answer: answer["issue"]["issue_id"])
    else:
        changeable = {key: told.get(key) for key in ("status", "name", "description", "severity")}
        changeable["issue_id"] = moving.copy.entity_id
        moving.call("PATCH", f"issues/{moving.copy.entity_id}", without_none(changeable))


def _queue(moving: Moving) -> None:
    told, experiment = moving.definition, str(moving.wanted["experiment"])
    schemas = [_label_schema(moving, experiment, one) for one in told["label_schemas"]]
    if moving.copy is None:
        body = {
            "experiment_id": experiment,
            "name": told["name"],
            "queue_type": told["queue_type"],
            "users": told.get("users", []),
            "schema_ids": schemas,
        }
        queue = moving.make("review-queues/create", body, lambda answer: answer["review_queue"]["queue_id"])
        has: dict[str, Any] = {}
    else:
        queue, has = moving.copy.entity_id, {one["item_id"]: one for one in moving.copy.facets["items"]}
        was, body = moving.copy.facets["definition"], {"queue_id": queue}
        if was.get("users") != told.get("users"):
            body |= {"users": told.get("users", []), "update_users": True}
        # MLflow locks the questions of a queue that has items
        if was["label_schemas"] != told["label_schemas"]:
            body |= {"schema_ids": schemas, "update_schema_ids": True}
        if len(body) > 1:
            moving.call("POST", "review-queues/update", body)
    missing: dict[str, list[str]] = {}
    for one in moving.wanted["items"]:
        if one["item_id"] not in has:
            missing.setdefault(one["item_type"], []).append(one["item_id"])
    for kind, ids in missing.items():
        for first in range(0, len(ids), _MOST_ITEMS):
            body = {"queue_id": queue, "item_type": kind, "item_ids": ids[first : first + _MOST_ITEMS]}
            moving.call("POST", "review-queues/items/add", body)
    for one in moving.wanted["items"]:
        if one["status"] != has.get(one["item_id"], {"status": _PENDING})["status"]:
            body = {"queue_id": queue, "item_id": one["item_id"], "status": one["status"]}
            by = {"completed_by": one["completed_by"]} if "completed_by" in one else {}
            moving.call("POST", "review-queues/items/set-status", {**body, **by})


def _label_schema(moving: Moving, experiment: str, schema: dict[str, Any]) -> str:
    """Return the target's id of a label schema, which is made where there is none of its name."""
    name = schema["name"]
    if schema.get("is_default"):
        # MLflow makes it when the list is asked for, and takes no other of its name
        moving.context.writer.call("GET", f"{API}/label-schemas/list", query={"experiment_id": experiment})
    there = _named(moving, experiment, name)
    if there is None:
        body = {
            "experiment_id": experiment,
            **{key: value for key, value in schema.items() if key != "is_default"},
        }

        def find() -> dict[str, Any] | None:
            return _named(moving, experiment, name)

        there = moving.context.writer.create(
            f"{API}/label-schemas/create", body, find=find, made=lambda answer: answer["label_schema"]
        )
    if plain(there, "schema_id", "experiment_id") != schema:
        raise NotMoved(f"the target has another label schema {name!r} in its experiment: make it equal by hand")
    return str(there["schema_id"])


def _named(moving: Moving, experiment: str, name: str) -> dict[str, Any] | None:
    try:
        query = {"experiment_id": experiment, "name": name}
        answer = moving.context.writer.call("GET", f"{API}/label-schemas/get-by-name", query=query)
    except RequestRefused as error:
        if error.status == 404:
            return None
        raise
    found: dict[str, Any] = answer["label_schema"]
    return found
