"""The AI gateway: secrets, model definitions, endpoints, guardrails, budgets."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.json_text import text
from mlflow_parity.kinds.schema.base import Kind, definition, equal, link, not_compared, own, presence, stamps
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing, in_order, named, plain, stamped


def _secret(entry: Entry, _: Asking) -> tuple[str, dict[str, Any]]:
    # not even what the server shows of a secret goes on, and what is configured beside it may be one
    config = {key: digest(one).hex() for key, one in (entry.get("auth_config") or {}).items()}
    return entry["secret_name"], {
        "definition": {
            **plain(entry, "secret_id", "masked_values", "auth_config"),
            "keys": sorted(entry.get("masked_values") or {}),
            "auth_config": config,
        },
        "times": stamped(entry),
    }


def _model(entry: Entry, _: Asking) -> tuple[str, dict[str, Any]]:
    return entry.get("name", ""), {
        "definition": plain(entry, "model_definition_id", "secret_id"),
        "times": stamped(entry),
    }


def _endpoint(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    less = ("endpoint_id", "model_mappings", "experiment_id", "tags")
    mappings = [
        {
            **plain(one, "mapping_id", "endpoint_id", "model_definition_id", "model_definition"),
            "model": (one.get("model_definition") or {}).get("name"),
        }
        for one in entry.get("model_mappings", [])
    ]
    configs = _guarded(entry["endpoint_id"], asking)
    guarded = [
        {
            **plain(one, "endpoint_id", "guardrail_id", "guardrail"),
            "guardrail": (one.get("guardrail") or {}).get("name"),
        }
        for one in configs
    ]
    guarded.sort(key=lambda one: (one.get("execution_order", 0), str(one["guardrail"])))
    bound = asking.every("gateway-bindings", "bindings", {"endpoint_id": entry["endpoint_id"]})
    return entry.get("name", ""), {
        "definition": {
            **plain(entry, *less),
            "models": in_order(mappings),
            **plain({"guardrails": guarded}),
            "tags": named(entry.get("tags", []), "key", "value", ""),
            # whom it serves is named by ids of the server; names are told of those that are there
            "bindings": in_order(plain(one, "endpoint_id", "resource_id") for one in bound),
        },
        # several guardrails may have one name
        "guardrails": {one["guardrail_id"]: plain(one, "endpoint_id", "guardrail_id", "guardrail") for one in configs},
        "guardrail_definitions": {one["guardrail_id"]: _what(one.get("guardrail") or {}) for one in configs},
        "experiment": text(entry.get("experiment_id")),
        "times": stamped(
            entry,
            models=((one["mapping_id"], one) for one in entry.get("model_mappings", [])),
            guardrails=((one["guardrail_id"], one) for one in configs),
            bindings=((f"{one.get('resource_type')} {one.get('resource_id')}", one) for one in bound),
        ),
    }


def _guarded(endpoint_id: str, asking: Asking) -> list[Entry]:
    """Return the guardrails that are put on an endpoint."""
    try:
        configs: list[Entry] = asking.one("gateway-guarded", {"endpoint_id": endpoint_id}).get("configs", [])
    except RequestRefused as error:
        # a version with endpoints and without guardrails has no list of them either: else it is a front end's 404
        if error.status == 404 and not _has_guardrails(asking):
            return []
        raise
    return configs


def _has_guardrails(asking: Asking) -> bool:
    try:
        asking.every("gateway-guardrails", "guardrails", {})
    except RequestRefused as error:
        return error.status != 404
    return True


def _what(guardrail: Entry) -> dict[str, Any]:
    """Return what a guardrail is beside its id; an id of the server's own in it goes through the pairing."""
    scorer = guardrail.get("scorer") or {}
    told = {"scorer": scorer.get("scorer_name"), "version": scorer.get("scorer_version")}
    told["experiment"] = text(scorer.get("experiment_id"))
    return {**plain(guardrail, "guardrail_id", "scorer"), **plain(told)}


def _guardrail(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    scorer = entry.get("scorer") or {}
    # the scorer itself is an object of its own, and is compared there
    named = {"scorer": scorer.get("scorer_name"), "version": scorer.get("scorer_version")}
    acts = entry.get("action_endpoint_id")
    named["action_endpoint"] = asking.name_of("gateway_endpoint", acts) if acts else None
    return entry.get("name", ""), {
        "definition": {**plain(entry, "guardrail_id", "scorer", "action_endpoint_id"), **plain(named)},
        "experiment": text(scorer.get("experiment_id")),
        "times": stamped(entry),
    }


def _budget(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    span = entry.get("duration") or {}
    scope, target = entry.get("target_scope", ""), entry.get("target_value")
    if scope == "ENDPOINT" and target:
        target = asking.name_of("gateway_endpoint", target)
    name = f"{scope} {target + ' ' if target else ''}{span.get('value', '')} {span.get('unit', '')}"
    return name, {
        "definition": {**plain(entry, "budget_policy_id"), **plain({"target_value": target})},
        "times": stamped(entry),
    }


GATEWAY_SECRET = Kind(
    "gateway_secret",
    "gateway secrets",
    "server",
    "gateway_secrets",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition(
            "provider, names of the keys, configuration",
            not_compared(
                "value",
                "the secret values",
                "No server tells them. The names of their keys are compared, and their configuration by digest.",
            ),
        ),
        stamps(),
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
    listing=Listing("gateway-secrets", "secrets", "secret_id", _secret, page=0),
)

GATEWAY_MODEL = Kind(
    "gateway_model",
    "gateway model definitions",
    "server",
    "gateway_models",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("provider, model, name of the secret"),
        stamps(),
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
    listing=Listing("gateway-models", "model_definitions", "model_definition_id", _model, page=0),
)

GATEWAY_ENDPOINT = Kind(
    "gateway_endpoint",
    "gateway endpoints",
    "server",
    "gateway_endpoints",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition(
            "models with their weights, guardrails in their order, tags, bindings, settings",
            not_compared(
                "bindings",
                "which object of the server a binding serves",
                "The server names them by ids of its own. Kind and display name of what is bound are compared.",
            ),
        ),
        own(
            "guardrails",
            equal(
                "guardrails",
                "which guardrails are on it",
                "Several may have one name: by their ids, through the pairing. One that is the same in all but its id "
                "will do.",
            ),
        ),
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
        stamps("models", "guardrails", "bindings"),
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
    listing=Listing("gateway-endpoints", "endpoints", "endpoint_id", _endpoint, page=0),
)

GATEWAY_GUARDRAIL = Kind(
    "gateway_guardrail",
    "gateway guardrails",
    "server",
    "gateway_guardrails",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("stage, action and its endpoint, name and version of the scorer"),
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
        stamps(),
    ),
    content=("definition",),
    first=(3, 11),
    surely=(3, 17),
    listing=Listing("gateway-guardrails", "guardrails", "guardrail_id", _guardrail),
)

GATEWAY_BUDGET = Kind(
    "gateway_budget",
    "gateway budgets",
    "server",
    "gateway_budgets",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition(
            "unit, amount, duration, scope and its endpoint or user, action",
            not_compared(
                "spent",
                "what was spent of it so far",
                "A count of that server's own calls: on another server it begins at nothing.",
            ),
        ),
        stamps(),
    ),
    content=("definition",),
    first=(3, 11),
    surely=(3, 17),
    listing=Listing("gateway-budgets", "budget_policies", "budget_policy_id", _budget),
)
