"""The AI gateway: model definitions, endpoints, guardrails and budgets, once its secrets were set by hand.

No server tells the value of a secret. So one of each name has to be made on the target by hand; what needs it is
brought by the next run, and named until then.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.objects.later import Moving, There, bring
from mlflow_parity.migrating.write.objects.others import import_scorers
from mlflow_parity.migrating.write.objects.run_writing import NotMoved
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import pages

BY_HAND = "no server exposes the value of a secret: make it on the target by hand, under this name, and run this again"


def import_gateway(there: There) -> None:
    """Bring the gateway in the order in which one part names another."""
    context = there.context
    bring(there, "gateway_secret", _secret)
    bring(there, "gateway_model", _model)
    # guardrails are of scorers, scorers call endpoints, and endpoints are guarded: so these are begun first
    bring(there, "gateway_endpoint", _endpoint, check=False)
    if next(context.journal.entries(kind="scorer", state="failed"), None) is not None:
        for experiment in context.experiments:
            import_scorers(context, experiment)
    bring(there, "gateway_guardrail", _guardrail)
    bring(there, "gateway_endpoint", _endpoint)
    bring(there, "gateway_budget", _budget)


def _secret(moving: Moving) -> None:
    raise NotMoved(BY_HAND)


def _model(moving: Moving) -> None:
    told = dict(moving.definition)
    body = {
        "name": told["name"],
        "secret_id": moving.there.identity("gateway_secret", told["secret_name"]),
        "provider": told["provider"],
        "model_name": told["model_name"],
    }
    if moving.copy is None:
        moving.make(
            "gateway/model-definitions/create", body, lambda answer: answer["model_definition"]["model_definition_id"]
        )
    else:
        body["model_definition_id"] = moving.copy.entity_id
        moving.call("POST", "gateway/model-definitions/update", body)


def _endpoint(moving: Moving) -> None:
    """Make an endpoint; its tags, and those of its guardrails that are there, are put on."""
    told, there = moving.definition, moving.there
    if moving.copy is None:
        models = [
            {
                **{key: value for key, value in one.items() if key != "model"},
                "model_definition_id": there.identity("gateway_model", one["model"]),
            }
            for one in told["models"]
        ]
        body = {
            "name": told["name"],
            "model_configs": models,
            "routing_strategy": told.get("routing_strategy"),
            "fallback_config": told.get("fallback_config"),
            "usage_tracking": told.get("usage_tracking", False),
            "experiment_id": moving.wanted.get("experiment"),
        }
        identity = moving.make("gateway/endpoints/create", body, lambda answer: answer["endpoint"]["endpoint_id"])
        has: dict[str, Any] = {}
    else:
        identity, has = moving.copy.entity_id, moving.copy.facets["definition"]
    for key, value in told["tags"].items():
        if has.get("tags", {}).get(key) != value:
            moving.call("POST", "gateway/endpoints/set-tag", {"endpoint_id": identity, "key": key, "value": value})
    on = {one["guardrail"] for one in has.get("guardrails", [])}
    for one in told.get("guardrails", []):
        # one that is not there yet is put on at the second look
        with suppress(NotMoved):
            if one["guardrail"] not in on:
                body = {**one, "endpoint_id": identity}
                body["guardrail_id"] = there.identity("gateway_guardrail", body.pop("guardrail"))
                moving.call("POST", "gateway/guardrails/add-to-endpoint", body)


def _guardrail(moving: Moving) -> None:
    told = moving.definition
    if moving.copy is not None:
        return
    experiment = str(moving.wanted["experiment"])
    body = {
        "name": told["name"],
        "scorer_id": _scorer(moving.context, experiment, told["scorer"]),
        "scorer_version": told["version"],
        "stage": told["stage"],
        "action": told["action"],
        "action_endpoint_id": _endpoint_id(moving, told.get("action_endpoint")),
    }
    moving.make("gateway/guardrails/create", body, lambda answer: answer["guardrail"]["guardrail_id"])


def _scorer(context: Import, experiment: str, name: str) -> str:
    """Return the target's id of a scorer."""
    query = {"experiment_id": experiment}
    for page in pages(context.reader.session, endpoints.SCORERS, query, "scorers"):
        for one in page:
            if one["scorer_name"] == name:
                return str(one["scorer_id"])
    raise NotMoved(f"its scorer {name!r} is not on the target")


def _endpoint_id(moving: Moving, name: str | None) -> str | None:
    return None if name is None else moving.there.identity("gateway_endpoint", name)


def _budget(moving: Moving) -> None:
    body = dict(moving.definition)
    if body["target_scope"] == "ENDPOINT":
        body["target_value"] = _endpoint_id(moving, body["target_value"])
    if moving.copy is None:
        moving.make("gateway/budgets/create", body, lambda answer: answer["budget_policy"]["budget_policy_id"])
    else:
        moving.call("POST", "gateway/budgets/update", {**body, "budget_policy_id": moving.copy.entity_id})
