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


_ENDPOINT = frozenset({("gateway_endpoint", "definition")})
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
    "queue-lost": Change("review_queue", "presence", "the queue is gone", "DELETE FROM review_queues"),
    "queue-experiment": Change("review_queue", "experiment", "another experiment",
                               "UPDATE review_queues SET experiment_id = 0"),
    "label-schema": Change("review_queue", "definition", "another instruction of a label schema",
                           "UPDATE label_schemas SET instruction = 'look twice' WHERE name = 'tone'"),
    "item-by": Change("review_queue", "items", "an item was looked at by another",
                      "UPDATE review_queue_items SET completed_by = 'eve'"),
    "item-lost": Change("review_queue", "items", "an item is gone", "DELETE FROM review_queue_items"),
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
                             "UPDATE guardrail_configs SET execution_order = 2"),
    "endpoint-unguarded": Change("gateway_endpoint", "definition", "a guardrail is not on it any more",
                                 "DELETE FROM guardrail_configs"),
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
}  # fmt: skip
#: Fields of workspaces: a server has to be started for them; ``test_workspaces`` shows both.
WORKSPACES = frozenset({("workspace", "presence"), ("workspace", "content")})
