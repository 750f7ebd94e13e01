"""Faults of the kinds of 2026, column by column: every one that is claimed and that no other fault alters.

They are planted a round at a time: in each round one of every kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from faults.later import Change

_ISSUE, _QUEUE, _MCP, _SKILL = "issue", "review_queue", "mcp_server", "skill"
_ENDPOINT, _GUARDRAIL, _BUDGET = "gateway_endpoint", "gateway_guardrail", "gateway_budget"


def _set(kind: str, table: str, change: str, facet: str = "definition", where: str = "", also: str = "") -> Change:
    column, _, value = change.partition(" = ")
    what = f"`{column}` became {value}" if len(value) < 30 else f"another `{column}`"
    statement = f"UPDATE {table} SET {change}{f' WHERE {where}' if where else ''}"
    return Change(kind, facet, f"{what} ({table.replace('_', ' ')})", statement, _also(kind, also))


def _lost(kind: str, table: str, facet: str = "definition", where: str = "", also: str = "") -> Change:
    statement = f"DELETE FROM {table}{f' WHERE {where}' if where else ''}"
    return Change(kind, facet, f"a row of {table.replace('_', ' ')} is gone", statement, _also(kind, also))


def _also(kind: str, facets: str) -> frozenset[tuple[str, str]]:
    return frozenset((kind, facet) for facet in facets.split())


_OLD, _FORMER = "version = '1.0.0'", "version = '0.9.0'"
COLUMNS: dict[str, Change] = {
    "issue-description": _set(_ISSUE, "issues", "description = 'x'"),
    "issue-status": _set(_ISSUE, "issues", "status = 'resolved'"),
    "issue-causes": _set(_ISSUE, "issues", "root_causes = '[\"network\"]'"),
    "issue-categories": _set(_ISSUE, "issues", "categories = '[\"cost\"]'"),
    "issue-author": _set(_ISSUE, "issues", "created_by = 'eve'", also="times"),
    "queue-type": _set(_QUEUE, "review_queues", "queue_type = 'user'", where="name = 'first look'"),
    "queue-user-lost": _lost(_QUEUE, "review_queue_users"),
    "queue-schema": _set(_QUEUE, "review_queue_label_schemas",
                         "schema_id = (SELECT schema_id FROM label_schemas WHERE name = 'length')", also="times"),
    "queue-schema-lost": _lost(_QUEUE, "review_queue_label_schemas", also="times"),
    "item-trace": _set(_QUEUE, "review_queue_items", "item_id = 'tr-7'", "items", also="times"),
    "item-status": _set(_QUEUE, "review_queue_items", "status = 'declined'", "items"),
    "schema-name": _set(_QUEUE, "label_schemas", "name = 'Tone'", where="name = 'tone'", also="times"),
    "schema-type": _set(_QUEUE, "label_schemas", "type = 'expectation'", where="name = 'tone'"),
    "schema-comment": _set(_QUEUE, "label_schemas", "enable_comment = 1 - enable_comment", where="name = 'tone'"),
    "schema-input-type": _set(_QUEUE, "label_schemas", "input_type = 'text', input_config = '{\"max_length\": 7}'",
                              where="name = 'tone'"),
    "schema-options": _set(_QUEUE, "label_schemas", "input_config = replace(input_config, 'good', 'Good')",
                           where="name = 'tone'"),
    "schema-default": _set(_QUEUE, "label_schemas", "is_default = 1", where="name = 'tone'"),
    "secret-keys": _set("gateway_secret", "secrets", "masked_value = '{\"other\": \"***\"}'"),
    "secret-config": _set("gateway_secret", "secrets", "auth_config = '{\"api_version\": \"2026-02\"}'"),
    "definition-name": _set("gateway_model", "model_definitions", "name = 'GPT'"),
    "definition-secret": _set("gateway_model", "model_definitions", "secret_id = NULL"),
    "definition-provider": _set("gateway_model", "model_definitions", "provider = 'azure'"),
    "endpoint-routing": _set(_ENDPOINT, "endpoints", "routing_strategy = 'REQUEST_BASED_TRAFFIC_SPLIT'"),
    "endpoint-fallback": _set(_ENDPOINT, "endpoints",
                              "fallback_config_json = '{\"strategy\": \"SEQUENTIAL\", \"max_attempts\": 2}'"),
    "endpoint-usage": _set(_ENDPOINT, "endpoints", "usage_tracking = 1 - usage_tracking"),
    "binding-name": _set(_ENDPOINT, "endpoint_bindings", "display_name = 'x'"),
    "binding-lost": _lost(_ENDPOINT, "endpoint_bindings", also="times"),
    "mapping-model": _set(_ENDPOINT, "endpoint_model_mappings", "model_definition_id = 'x'"),
    "mapping-linkage": _set(_ENDPOINT, "endpoint_model_mappings", "linkage_type = 'FALLBACK'"),
    "mapping-order": _set(_ENDPOINT, "endpoint_model_mappings", "fallback_order = 1"),
    "mapping-lost": _lost(_ENDPOINT, "endpoint_model_mappings", "presence"),
    "endpoint-tag-key": _set(_ENDPOINT, "endpoint_tags", "key = 'Team'"),
    "endpoint-tag-lost": _lost(_ENDPOINT, "endpoint_tags"),
    "endpoint-guardrail": _set(_ENDPOINT, "guardrail_configs", "guardrail_id = 'x'", also="guardrails times"),
    "guardrail-scorer": _set(_GUARDRAIL, "guardrails",
                             "scorer_id = (SELECT scorer_id FROM scorers WHERE scorer_name = 'kind')"),
    "guardrail-version": _set(_GUARDRAIL, "guardrails", "scorer_version = 2"),
    "guardrail-action": _set(_GUARDRAIL, "guardrails", "action = 'VALIDATION'"),
    "budget-unit": _set(_BUDGET, "budget_policies", "duration_unit = 'WEEKS'"),
    "budget-length": _set(_BUDGET, "budget_policies", "duration_value = 2"),
    "budget-scope": _set(_BUDGET, "budget_policies", "target_scope = 'GLOBAL'"),
    "budget-action": _set(_BUDGET, "budget_policies", "budget_action = 'REJECT'"),
    "mcp-name": _set(_MCP, "mcp_servers", "name = 'io.example/other'", "presence"),
    "mcp-display-name": _set(_MCP, "mcp_servers", "display_name = 'x'"),
    "mcp-icons": _set(_MCP, "mcp_servers", "icons = '[{\"src\": \"https://x.example/i.png\"}]'"),
    "mcp-tag-key": _set(_MCP, "mcp_server_tags", "key = 'Team'"),
    "mcp-tag": _set(_MCP, "mcp_server_tags", "value = 'x'"),
    "mcp-tag-lost": _lost(_MCP, "mcp_server_tags"),
    "mcp-alias-name": _set(_MCP, "mcp_server_aliases", "alias = 'stable'", where="alias = 'former'"),
    "mcp-alias": _set(_MCP, "mcp_server_aliases", "version = '1.0.0'", where="alias = 'former'"),
    "mcp-alias-lost": _lost(_MCP, "mcp_server_aliases", where="alias = 'former'"),
    "mcp-version-number": _set(_MCP, "mcp_server_versions", "version = '0.9.1'", "versions", _FORMER,
                               "times"),
    "mcp-version-json": _set(_MCP, "mcp_server_versions", "server_json = replace(server_json, 'described', 'x')",
                             "versions", _OLD),
    "mcp-version-status": _set(_MCP, "mcp_server_versions", "status = 'deprecated'", "versions", _OLD, "definition"),
    "mcp-version-tools": _set(_MCP, "mcp_server_versions", "tools = '[{\"name\": \"sub\"}]'", "versions", _OLD),
    "mcp-version-options": _set(_MCP, "mcp_server_versions", "connect_options = '{\"pip\": {\"hidden\": true}}'",
                                "versions", _OLD),
    "mcp-version-lost": _lost(_MCP, "mcp_server_versions", "versions", _FORMER, "times"),
    "mcp-version-tag-key": _set(_MCP, "mcp_server_version_tags", "key = 'Checked'", "versions"),
    "mcp-version-tag": _set(_MCP, "mcp_server_version_tags", "value = 'x'", "versions"),
    "mcp-version-tag-lost": _lost(_MCP, "mcp_server_version_tags", "versions"),
    "mcp-endpoint-version": _set(_MCP, "mcp_access_endpoints", "server_version = '1.0.0', server_alias = NULL",
                                 "endpoints"),
    "mcp-endpoint-transport": _set(_MCP, "mcp_access_endpoints", "transport_type = 'sse'", "endpoints"),
    "mcp-endpoint-lost": _lost(_MCP, "mcp_access_endpoints", "endpoints", also="times"),
}  # fmt: skip
_ACME = "organization = 'acme'"
#: The same of what MLflow 3.18 brought.
NEWER_COLUMNS: dict[str, Change] = {
    "skill-organization": _set(_SKILL, "skills", "organization = 'other'", "presence", _ACME),
    "skill-name": _set(_SKILL, "skills", "name = 'judge'", "presence", _ACME),
    "skill-icons": _set(_SKILL, "skills", "icons = '[{\"src\": \"https://x.example/i.png\"}]'"),
    "skill-tag-value": _set(_SKILL, "skill_tags", "value = 'x'"),
    "skill-tag-key": _set(_SKILL, "skill_tags", "key = 'Team'"),
    "skill-alias-name": _set(_SKILL, "skill_aliases", "alias = 'Stable'"),
    "skill-alias-lost": _lost(_SKILL, "skill_aliases"),
    "skill-version": _set(_SKILL, "skill_versions", "version = 3", "versions", "version = 2", "definition times"),
    "skill-source-type": _set(_SKILL, "skill_versions", "source_type = 'oci'", "versions", "version = 1"),
    "skill-ref": _set(_SKILL, "skill_versions", "ref = 'v7'", "versions", "version = 1"),
    "skill-subpath": _set(_SKILL, "skill_versions", "subpath = 'x'", "versions", "version = 1"),
    "skill-status": _set(_SKILL, "skill_versions", "status = 'draft'", "versions", "version = 1"),
    "skill-version-lost": _lost(_SKILL, "skill_versions", "versions", "version = 1", "times"),
    "skill-version-tag-key": _set(_SKILL, "skill_version_tags", "key = 'Checked'", "versions"),
    "skill-version-tag-lost": _lost(_SKILL, "skill_version_tags", "versions"),
    "issue-seen": _set(_ISSUE, "issues", "last_seen_timestamp = 7", "times"),
    "issue-changed-by": _set(_ISSUE, "issues", "last_updated_by = 'eve'", "times"),
    "issue-metadata": _set(_ISSUE, "issues", "metadata = '{\"k\": \"w\"}'"),
}  # fmt: skip


def rounds(changes: Mapping[str, Change]) -> Iterator[dict[str, Change]]:
    """Yield changes by name, each time at most one of a kind."""
    left = dict(changes)
    while left:
        first: dict[str, str] = {}
        for name, change in left.items():
            first.setdefault(change.kind, name)
        yield {name: left.pop(name) for name in first.values()}
