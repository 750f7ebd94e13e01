"""The MCP registry: servers with their versions, tags, aliases and access endpoints."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mlflow_parity.migrating.write.objects.later import Moving, There, bring, without_none

#: What a version may be made as; all else it becomes afterwards.
_FIRST = ("draft", "active")


def import_mcp(there: There) -> None:
    """Bring every MCP server."""
    bring(there, "mcp_server", _server)


def _server(moving: Moving) -> None:
    told = moving.definition
    path = f"mcp-servers/{quote(told_name := moving.source.name, safe='/')}"
    # servers tell where an icon comes from, and take none of a version for their own
    icons = [{**one} for one in told.get("icons", []) if one.pop("source", "server") == "server"] or None
    plain = {"description": told.get("description"), "icons": icons}
    has: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    open_at: list[Any] = []
    if moving.copy is None:
        moving.make("mcp-servers", {"name": told_name, **plain}, lambda answer: answer["name"])
    else:
        has = moving.copy.facets["definition"]
        versions = {one["version"]: one for one in moving.copy.facets["versions"]}
        open_at = moving.copy.facets["endpoints"]
    plain["display_name"] = told.get("display_name")
    if any(has.get(key) != value for key, value in plain.items()) and (has or plain["display_name"]):
        moving.call("PATCH", path, plain)
    for key, value in told.get("tags", {}).items():
        if has.get("tags", {}).get(key) != value:
            moving.call("POST", f"{path}/tags", {"key": key, "value": value})
    for one in moving.wanted["versions"]:
        _version(moving, path, one, versions.get(one["version"]))
    for alias, version in told["aliases"].items():
        if has.get("aliases", {}).get(alias) != version:
            moving.call("POST", f"{path}/aliases", {"alias": alias, "version": version})
    for one in moving.wanted["endpoints"]:
        if one not in open_at:
            moving.call("POST", f"{path}/endpoints", one)


def _version(moving: Moving, path: str, told: dict[str, Any], there: dict[str, Any] | None) -> None:
    """Make a version, or go on with it; first it is what a version may be at first."""
    status = told["status"]
    if there is None:
        body = {
            "server_json": told["server_json"],
            "status": status if status in _FIRST else "active",
            "source": told.get("source"),
            "tools": told.get("tools"),
            "connect_options": told.get("connect_options"),
        }
        there = moving.call("POST", f"{path}/versions", without_none(body))
    own = f"{path}/versions/{quote(told['version'], safe='')}"
    parts = ("tools", "connect_options")
    changed: dict[str, Any] = {key: told[key] for key in parts if key in told and there.get(key) != told[key]}
    if there["status"] != status:
        changed["status"] = status
    if changed:
        moving.call("PATCH", own, changed)
    for key, value in told.get("tags", {}).items():
        if there.get("tags", {}).get(key) != value:
            moving.call("POST", f"{own}/tags", {"key": key, "value": value})
