"""The AI gateway: model definitions, endpoints, guardrails and budgets, once its secrets were set by hand.

No server tells the value of a secret. So one of each name has to be made on the target by hand; what needs it is
brought by the next run, and named until then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlflow_parity.core.errors import NotMoved
from mlflow_parity.core.records import Entity
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.moving import Task, Writing
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import pages
from mlflow_parity.snapshot import SERVER

_GUARDRAIL = "gateway_guardrail"
BY_HAND = "no server exposes the value of a secret: make it on the target by hand, under this name, and run this again"


def _secret(task: Task) -> None:
    raise NotMoved(BY_HAND)


def _maker(task: Task) -> dict[str, Any]:
    """Return who made it on the source; only the request that makes it takes that."""
    return {"created_by": task.source.facets["times"].get("created_by")}


def _model(task: Task) -> None:
    told = dict(task.definition)
    body = {
        "name": told["name"],
        "secret_id": task.index.identity("gateway_secret", told["secret_name"]),
        "provider": told["provider"],
        "model_name": told["model_name"],
    }
    if task.copy is None:
        body |= _maker(task)
        task.make(
            "gateway/model-definitions/create", body, lambda answer: answer["model_definition"]["model_definition_id"]
        )
    else:
        body["model_definition_id"] = task.copy.entity_id
        task.call("POST", "gateway/model-definitions/update", body)


def _endpoint(task: Task) -> None:
    """Make an endpoint; its tags, and those of its guardrails that are there, are put on."""
    told, index = task.definition, task.index
    if task.copy is None:
        models = [
            {
                **{key: value for key, value in one.items() if key != "model"},
                "model_definition_id": index.identity("gateway_model", one["model"]),
            }
            for one in told["models"]
        ]
        body = {
            "name": told["name"],
            "model_configs": models,
            "routing_strategy": told.get("routing_strategy"),
            "fallback_config": told.get("fallback_config"),
            "usage_tracking": told.get("usage_tracking", False),
            "experiment_id": task.wanted.get("experiment"),
            **_maker(task),
        }
        identity = task.make("gateway/endpoints/create", body, lambda answer: answer["endpoint"]["endpoint_id"])
        has: Mapping[str, Any] = {}
    else:
        identity, has = task.copy.entity_id, task.copy.facets
    tags = has.get("definition", {}).get("tags", {})
    for key, value in told["tags"].items():
        if tags.get(key) != value:
            task.call("POST", "gateway/endpoints/set-tag", {"endpoint_id": identity, "key": key, "value": value})
    on = has.get("guardrails", ())
    for one, config in _configs(task.context, task.source).items():
        copy = task.context.journal.target("gateway_guardrail", one)
        # one that is not there yet is put on at the second look
        if copy is not None and copy not in on:
            body = {**config, "endpoint_id": identity, "guardrail_id": copy}
            task.call("POST", "gateway/guardrails/add-to-endpoint", body)


def _configs(context: Import, endpoint: Entity) -> dict[str, dict[str, Any]]:
    """Return how each guardrail is put on an endpoint, by the source's id; names of guardrails are not unique."""
    found: dict[str, dict[str, Any]] | None = endpoint.facets.get("guardrails")
    if found is not None:
        return found
    # an export that was made before these were told has their ids and names apart
    ids = endpoint.facets["times"].get("guardrails", {})
    named = {one.name: one.entity_id for one in every(context.export.snapshot.objects(SERVER), _GUARDRAIL, only=ids)}
    told = endpoint.facets["definition"].get("guardrails", [])
    return {
        named[one["guardrail"]]: {key: value for key, value in one.items() if key != "guardrail"}
        for one in told
        if one["guardrail"] in named
    }


def _guarded(context: Import, endpoint: Entity) -> dict[str, Any]:
    """Return the guardrails of an endpoint by the target's ids, as they are to be read there."""
    found: dict[str, Any] | None = endpoint.facets.get("guardrails")
    if found is None:
        return {}
    return {"guardrails": {context.journal.target(_GUARDRAIL, one) or one: config for one, config in found.items()}}


def _guardrail(task: Task) -> None:
    told = task.definition
    if task.copy is not None:
        return
    experiment = str(task.wanted["experiment"])
    body = {
        "name": told["name"],
        "scorer_id": _scorer(task.context, experiment, told["scorer"]),
        "scorer_version": told["version"],
        "stage": told["stage"],
        "action": told["action"],
        "action_endpoint_id": _endpoint_id(task, told.get("action_endpoint")),
    }
    task.make("gateway/guardrails/create", body, lambda answer: answer["guardrail"]["guardrail_id"])


def _scorer(context: Import, experiment: str, name: str) -> str:
    """Return the target's id of a scorer."""
    query = {"experiment_id": experiment}
    for page in pages(context.reader.session, endpoints.SCORERS, query, "scorers"):
        for one in page:
            if one["scorer_name"] == name:
                return str(one["scorer_id"])
    raise NotMoved(f"its scorer {name!r} is not on the target")


def _endpoint_id(task: Task, name: str | None) -> str | None:
    return None if name is None else task.index.identity("gateway_endpoint", name)


def _budget(task: Task) -> None:
    body = dict(task.definition)
    if task.copy is None:
        body |= _maker(task)
    if body["target_scope"] == "ENDPOINT":
        body["target_value"] = _endpoint_id(task, body["target_value"])
    if task.copy is None:
        task.make("gateway/budgets/create", body, lambda answer: answer["budget_policy"]["budget_policy_id"])
    else:
        task.call("POST", "gateway/budgets/update", {**body, "budget_policy_id": task.copy.entity_id})


# guardrails are of scorers, scorers call endpoints, and endpoints are guarded: so these are begun first
GATEWAY = (
    Writing(("gateway_secret",), write=_secret),
    Writing(("gateway_model",), links=("gateway_secret",), write=_model),
    Writing(
        ("gateway_endpoint",),
        links=("experiment", "gateway_model"),
        again=(_GUARDRAIL,),
        write=_endpoint,
        named=_guarded,
    ),
    Writing(("gateway_guardrail",), links=("experiment", "scorer again", "gateway_endpoint"), write=_guardrail),
    Writing(("gateway_budget",), links=("gateway_endpoint again",), write=_budget),
)
