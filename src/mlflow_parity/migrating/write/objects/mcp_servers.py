"""The MCP registry: servers with their versions, tags, aliases and access endpoints."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mlflow_parity.kinds.schema.writing import without_none
from mlflow_parity.migrating.write.moving import Task, Writing

#: What a version may be made as; all else it becomes afterwards.
_FIRST = ("draft", "active")


def _server(task: Task) -> None:
    told = task.definition
    path = f"mcp-servers/{quote(told_name := task.source.name, safe='/')}"
    # servers tell where an icon comes from, and take none of a version for their own
    icons = [{**one} for one in told.get("icons", []) if one.pop("source", "server") == "server"] or None
    plain = {"description": told.get("description"), "icons": icons}
    has: dict[str, Any] = {}
    versions: dict[str, Any] = {}
    open_at: list[Any] = []
    if task.copy is None:
        task.make("mcp-servers", {"name": told_name, **plain}, lambda answer: answer["name"])
    else:
        has = task.copy.facets["definition"]
        versions = {one["version"]: one for one in task.copy.facets["versions"]}
        open_at = task.copy.facets["endpoints"]
    plain["display_name"] = told.get("display_name")
    if any(has.get(key) != value for key, value in plain.items()) and (has or plain["display_name"]):
        task.call("PATCH", path, plain)
    for key, value in told.get("tags", {}).items():
        if has.get("tags", {}).get(key) != value:
            task.call("POST", f"{path}/tags", {"key": key, "value": value})
    for one in task.wanted["versions"]:
        _version(task, path, one, versions.get(one["version"]))
    for alias, version in told["aliases"].items():
        if has.get("aliases", {}).get(alias) != version:
            task.call("POST", f"{path}/aliases", {"alias": alias, "version": version})
    for one in task.wanted["endpoints"]:
        if one not in open_at:
            task.call("POST", f"{path}/endpoints", one)


def _version(task: Task, path: str, told: dict[str, Any], there: dict[str, Any] | None) -> None:
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
        there = task.call("POST", f"{path}/versions", without_none(body))
    own = f"{path}/versions/{quote(told['version'], safe='')}"
    parts = ("tools", "connect_options")
    changed: dict[str, Any] = {key: told[key] for key in parts if key in told and there.get(key) != told[key]}
    if there["status"] != status:
        changed["status"] = status
    if changed:
        task.call("PATCH", own, changed)
    for key, value in told.get("tags", {}).items():
        if there.get("tags", {}).get(key) != value:
            task.call("POST", f"{own}/tags", {"key": key, "value": value})


MCP_SERVERS = Writing(("mcp_server",), write=_server)
