"""The AI gateway: secrets, model definitions, endpoints, guardrails, budgets."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, definition, link, not_compared, presence

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
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
)

GATEWAY_MODEL = Kind(
    "gateway_model",
    "gateway model definitions",
    "server",
    "gateway_models",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("provider, model, name of the secret"),
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
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
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
    ),
    content=("definition",),
    first=(3, 5),
    surely=(3, 10),
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
    ),
    content=("definition",),
    first=(3, 11),
    surely=(3, 17),
)

GATEWAY_BUDGET = Kind(
    "gateway_budget",
    "gateway budgets",
    "server",
    "gateway_budgets",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("unit, amount, duration, scope and its endpoint or user, action"),
    ),
    content=("definition",),
    first=(3, 11),
    surely=(3, 17),
)
