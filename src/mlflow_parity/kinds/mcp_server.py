"""The MCP registry: servers with their versions and access endpoints."""

from __future__ import annotations

from typing import Any

from mlflow_parity.kinds.schema.base import Kind, definition, items, presence, stamps
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing, in_order, named, plain, stamped


def _made(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    versions = asking.every("mcp-server", "mcp_server_versions", {"max_results": 100}, f"{entry['name']}/versions")
    endpoints = entry.get("access_endpoints", [])
    return entry["name"], {
        "definition": {
            **plain(entry, "name", "access_endpoints", "aliases"),
            "aliases": named(entry.get("aliases", []), "alias", "version"),
        },
        "versions": in_order(plain(one, "name", "aliases") for one in versions),
        "endpoints": in_order(plain(one, "id", "server_name", "resolved_version", "tools") for one in endpoints),
        "times": stamped(
            entry,
            versions=((one["version"], one) for one in versions),
            endpoints=((one["id"], one) for one in endpoints),
        ),
    }


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
        stamps("versions", "access endpoints"),
    ),
    content=("definition",),
    first=(3, 15),
    surely=(3, 17),
    listing=Listing("mcp-servers", "mcp_servers", "name", _made),
)
