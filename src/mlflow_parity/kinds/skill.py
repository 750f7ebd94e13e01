"""The skill registry: skills of an organization or of none, with their versions, tags and aliases."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import NotMoved
from mlflow_parity.kinds.schema.base import Kind, definition, items, not_compared, presence, stamps
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing, in_order, named, plain, stamped
from mlflow_parity.kinds.schema.writing import Task, Unwritable, without_none


def _name(entry: Entry) -> str:
    """Return what MLflow calls a skill in paths: its name, behind that of its organization."""
    organization = entry.get("organization")
    return f"@{organization}/{entry['name']}" if organization else str(entry["name"])


def _made(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    name = _name(entry)
    versions = asking.every("skill", "skill_versions", {"max_results": 100}, f"{name}/versions")
    return name, {
        "definition": {
            **plain(entry, "aliases"),
            "aliases": named(entry.get("aliases", []), "alias", "version"),
        },
        "versions": in_order(plain(one, "name", "organization", "aliases") for one in versions),
        "times": stamped(entry, versions=((str(one["version"]), one) for one in versions)),
    }


#: What a version may be registered as; all else it becomes afterwards.
_FIRST = ("draft", "active")
#: The source of a version whose content was uploaded to the server.
_UPLOADED = "mlflow"


def _write(task: Task) -> None:
    told = task.definition
    path = f"skills/{quote(task.source.name, safe='/@')}"
    plain = {"description": told.get("description"), "icons": told.get("icons")}
    has: dict[str, Any] = {}
    versions: dict[int, Any] = {}
    if task.copy is None:
        organization = told.get("organization", "")
        name = task.source.name.removeprefix(f"@{organization}/")
        task.make("skills", {"name": name, "organization": organization, **plain}, lambda _: task.source.name)
    else:
        has = task.copy.facets["definition"]
        versions = {one["version"]: one for one in task.copy.facets["versions"]}
        if any(has.get(key) != value for key, value in plain.items()):
            task.call("PATCH", path, plain)
    _tags(task, path, told, has)
    for one in sorted(task.wanted["versions"], key=lambda version: int(version["version"])):
        _version(task, path, one, versions)
    for alias, version in told["aliases"].items():
        if has.get("aliases", {}).get(alias) != version:
            # what else an alias tells has no place in the request
            number = version["version"] if isinstance(version, dict) else version
            task.call("POST", f"{path}/aliases", {"alias": alias, "version": number})


def _version(task: Task, path: str, told: dict[str, Any], there: dict[int, Any]) -> None:
    """Register a version, or go on with it; MLflow gives numbers one after another."""
    number, status = told["version"], told["status"]
    if number not in there:
        if told.get("source_type") == _UPLOADED:
            raise NotMoved(f"the content of its version {number} was uploaded to the source: register it there by hand")
        body = {key: told.get(key) for key in ("source_type", "source", "ref", "subpath", "digest")}
        body["status"] = status if status in _FIRST else "active"
        made = task.call("POST", f"{path}/versions", without_none(body))
        if made["version"] != number:
            raise NotMoved(
                f"its version {number} would be {made['version']} on the target: versions before it are gone"
            )
        there[number] = made
    own = f"{path}/versions/{number}"
    if there[number]["status"] != status:
        task.call("PATCH", own, {"status": status})
    _tags(task, own, told, there[number])


def _tags(task: Task, path: str, told: dict[str, Any], has: dict[str, Any]) -> None:
    for key, value in told.get("tags", {}).items():
        if (has.get("tags") or {}).get(key) != value:
            task.call("POST", f"{path}/tags", {"key": key, "value": value})


SKILL = Kind(
    "skill",
    "skills",
    "server",
    "skills",
    (
        presence("By organization and name. The Export Import tool moves none."),
        definition("organization, description, icons, tags, aliases, status, latest version, type of its source"),
        items(
            "versions",
            "every version: source, reference, path, digest, status, tags",
            "As a multiset.",
            not_compared(
                "versions.content",
                "the bytes of a version that was uploaded",
                "The server makes their digest when they are uploaded, and digests are compared. What is in git, OCI "
                "and zip sources is not on the server.",
            ),
        ),
        stamps("versions"),
    ),
    content=("definition",),
    first=(3, 18),
    listing=Listing("skills", "skills", _name, _made),
    write=_write,
    unwritable=(
        Unwritable(
            "versions whose content was uploaded to the server", "register them on the target by hand", "versions"
        ),
        Unwritable("numbers of versions after one that is gone", "MLflow gives them one after another", "versions"),
    ),
)
