"""The MCP registry: servers with their versions and access endpoints."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, definition, items, presence

MCP_SERVER = Kind(
    "mcp_server",
    "MCP servers",
    "server",
    "mcp_servers",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("display name, description, icons, tags, aliases, latest version"),
        items("versions", "every version: server.json, tools, status, tags", "As a multiset."),
        items("endpoints", "access endpoints", "As a multiset."),
    ),
    content=("definition",),
    first=(3, 15),
    surely=(3, 17),
)
