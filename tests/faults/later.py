"""Faults of the kinds of 2026: planted one by one in the database of a real server, read, compared.

``test_later_kinds`` plants them; the tables of the battery and of ``docs/detection.md`` hold them too.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One statement that changes a kind's only object, and the facet that must be red; ``also``: other facets."""

    kind: str
    facet: str
    what: str
    statement: str
    also: frozenset[tuple[str, str]] = frozenset()
    keys: int = 1
    """How many findings it makes under its facet."""


def _stamps(kind: str, table: str, *columns: str, of: str = "") -> Change:
    """Times and users that the server sets: where the store went on they are no others."""
    what = f"another {', '.join(columns)}{f' of {of}' if of else ''}"
    values = (f"{one} = {chr(39) + 'eve' + chr(39) if one.endswith('_by') else 7}" for one in columns)
    return Change(kind, "times", what, f"UPDATE {table} SET {', '.join(values)}", keys=len(columns))


def _also_times(kind: str) -> frozenset[tuple[str, str]]:
    """What goes with a part: its times."""
    return frozenset({(kind, "times")})


#: Columns of nearly every kind.
_MADE = ("created_at", "created_by")
_MADE_AND_CHANGED = (*_MADE, "last_updated_at", "last_updated_by")
_ENDPOINT = frozenset({("gateway_endpoint", "definition")})
_GUARDED = frozenset({("gateway_endpoint", "guardrails")})
_MODEL = frozenset({("gateway_model", "definition")})
#: What names an endpoint.
_NAMING = frozenset({("gateway_guardrail", "definition"), ("gateway_budget", "definition")})
CHANGES: dict[str, Change] = {
    "issue-severity": Change("issue", "definition", "another severity", "UPDATE issues SET severity = 'low'"),
    "issue-name": Change("issue", "definition", "another name", "UPDATE issues SET name = 'another'"),
    "issue-lost": Change("issue", "presence", "the issue is gone", "DELETE FROM issues"),
    "issue-experiment": Change("issue", "experiment", "another experiment", "UPDATE issues SET experiment_id = 0"),
    "issue-run": Change("issue", "run", "no run any more", "UPDATE issues SET source_run_id = NULL"),
    "queue-user": Change("review_queue", "definition", "another user", "UPDATE review_queue_users SET user_id = 'eve'"),
    "queue-name": Change("review_queue", "definition", "another name",
                         "UPDATE review_queues SET name = 'another' WHERE name = 'first look'"),
    "queue-owner": Change("review_queue", "owner", "another owner", "UPDATE review_queues SET created_by = 'eve'"),
    "queue-lost": Change("review_queue", "presence", "the queue is gone", "DELETE FROM review_queues"),
    "queue-experiment": Change("review_queue", "experiment", "another experiment",
                               "UPDATE review_queues SET experiment_id = 0"),
    "label-schema": Change("review_queue", "definition", "another instruction of a label schema",
                           "UPDATE label_schemas SET instruction = 'look twice' WHERE name = 'tone'"),
    "item-by": Change("review_queue", "items", "an item was looked at by another",
                      "UPDATE review_queue_items SET completed_by = 'eve'"),
    "item-lost": Change("review_queue", "items", "an item is gone", "DELETE FROM review_queue_items",
                        _also_times("review_queue")),
    "secret-provider": Change("gateway_secret", "definition", "another provider",
                              "UPDATE secrets SET provider = 'azure'"),
    "secret-lost": Change("gateway_secret", "presence", "the secret is gone", "DELETE FROM secrets", _MODEL),
    "model-name": Change("gateway_model", "definition", "another model",
                         "UPDATE model_definitions SET model_name = 'gpt-4'"),
    "model-lost": Change("gateway_model", "presence", "the model definition is gone", "DELETE FROM model_definitions",
                         _ENDPOINT),
    "endpoint-tag": Change("gateway_endpoint", "definition", "another value of a tag",
                           "UPDATE endpoint_tags SET value = 'x'"),
    "endpoint-name": Change("gateway_endpoint", "definition", "another name", "UPDATE endpoints SET name = 'another'",
                            _NAMING),
    "endpoint-weight": Change("gateway_endpoint", "definition", "another weight of a model",
                              "UPDATE endpoint_model_mappings SET weight = 0.5"),
    "endpoint-order": Change("gateway_endpoint", "definition", "another order of its guardrails",
                             "UPDATE guardrail_configs SET execution_order = 2", _GUARDED),
    "endpoint-unguarded": Change("gateway_endpoint", "guardrails", "a guardrail is not on it any more",
                                 "DELETE FROM guardrail_configs", _ENDPOINT | _also_times("gateway_endpoint")),
    "endpoint-experiment": Change("gateway_endpoint", "experiment", "another experiment",
                                  "UPDATE endpoints SET experiment_id = 0"),
    "endpoint-lost": Change("gateway_endpoint", "presence", "the endpoint is gone", "DELETE FROM endpoints", _NAMING),
    "guardrail-stage": Change("gateway_guardrail", "definition", "another stage",
                              "UPDATE guardrails SET stage = 'AFTER'"),
    "guardrail-endpoint": Change("gateway_guardrail", "definition", "no endpoint for its action any more",
                                 "UPDATE guardrails SET action_endpoint_id = NULL"),
    "guardrail-name": Change("gateway_guardrail", "definition", "another name",
                             "UPDATE guardrails SET name = 'another'", _ENDPOINT),
    "guardrail-experiment": Change("gateway_guardrail", "experiment", "its scorer is in another experiment",
                                   "UPDATE scorers SET experiment_id = 0"),
    "guardrail-lost": Change("gateway_guardrail", "presence", "the guardrail is gone", "DELETE FROM guardrails",
                             _ENDPOINT),
    "budget-amount": Change("gateway_budget", "definition", "another amount",
                            "UPDATE budget_policies SET budget_amount = 11"),
    "budget-endpoint": Change("gateway_budget", "definition", "another endpoint",
                              "UPDATE budget_policies SET target_value = 'e-other'"),
    "budget-lost": Change("gateway_budget", "presence", "the budget is gone", "DELETE FROM budget_policies"),
    "mcp-description": Change("mcp_server", "definition", "another description",
                              "UPDATE mcp_servers SET description = 'x'"),
    "mcp-version": Change("mcp_server", "versions", "another source of a version",
                          "UPDATE mcp_server_versions SET source = 'x'"),
    "mcp-endpoint": Change("mcp_server", "endpoints", "another address",
                           "UPDATE mcp_access_endpoints SET url = 'https://x.example'"),
    "mcp-lost": Change("mcp_server", "presence", "the MCP server is gone", "DELETE FROM mcp_servers"),
    "issue-stamps": _stamps("issue", "issues", "created_timestamp", "last_updated_timestamp"),
    "queue-stamps": _stamps("review_queue", "review_queues", "creation_time_ms", "last_update_time_ms"),
    "schema-stamps": _stamps("review_queue", "label_schemas", "created_by", "created_time", "last_update_time",
                             of="a label schema"),
    "item-stamps": _stamps("review_queue", "review_queue_items", "creation_time_ms", "last_update_time_ms",
                           "completed_time_ms", of="an item"),
    "secret-stamps": _stamps("gateway_secret", "secrets", *_MADE_AND_CHANGED),
    "model-stamps": _stamps("gateway_model", "model_definitions", *_MADE_AND_CHANGED),
    "endpoint-stamps": _stamps("gateway_endpoint", "endpoints", *_MADE_AND_CHANGED),
    "mapping-stamps": _stamps("gateway_endpoint", "endpoint_model_mappings", *_MADE, of="a model on it"),
    "config-stamps": _stamps("gateway_endpoint", "guardrail_configs", *_MADE, of="a guardrail on it"),
    "binding-stamps": _stamps("gateway_endpoint", "endpoint_bindings", *_MADE_AND_CHANGED, of="a binding"),
    "guardrail-stamps": _stamps("gateway_guardrail", "guardrails", *_MADE_AND_CHANGED),
    "budget-stamps": _stamps("gateway_budget", "budget_policies", *_MADE_AND_CHANGED),
    "mcp-stamps": _stamps("mcp_server", "mcp_servers", *_MADE_AND_CHANGED),
    "mcp-version-stamps": _stamps("mcp_server", "mcp_server_versions", *_MADE_AND_CHANGED, of="a version"),
    "mcp-endpoint-stamps": _stamps("mcp_server", "mcp_access_endpoints", *_MADE_AND_CHANGED, of="an access endpoint"),
}  # fmt: skip
#: The same of what MLflow 3.18 brought: ``test_skills`` plants them.
NEWER: dict[str, Change] = {
    "skill-description": Change("skill", "definition", "another description", "UPDATE skills SET description = 'x'"),
    "skill-tag": Change("skill", "definition", "a tag is gone", "DELETE FROM skill_tags"),
    "skill-alias": Change("skill", "definition", "an alias leads to another version",
                          "UPDATE skill_aliases SET version = 1"),
    "skill-source": Change("skill", "versions", "another source of a version",
                           "UPDATE skill_versions SET source = 'https://example.com/other' WHERE version = 1"),
    "skill-digest": Change("skill", "versions", "another digest of a version",
                           "UPDATE skill_versions SET digest = 'x' WHERE version = 1"),
    "skill-version-tag": Change("skill", "versions", "a tag of a version is altered",
                                "UPDATE skill_version_tags SET value = 'x'"),
    "skill-lost": Change("skill", "presence", "one of two skills is gone",
                         "DELETE FROM skills WHERE organization = 'acme'"),
    "skill-stamps": _stamps("skill", "skills", *_MADE_AND_CHANGED),
    "skill-version-stamps": _stamps("skill", "skill_versions", *_MADE_AND_CHANGED, of="a version"),
}  # fmt: skip
#: Fields of workspaces: a server has to be started for them; ``test_workspaces`` shows both.
WORKSPACES = frozenset({("workspace", "presence"), ("workspace", "content")})
