"""The skill registry: skills of an organization or of none, with their versions, tags and aliases."""

from __future__ import annotations

from typing import Any

from mlflow_parity.kinds.base import Kind, definition, items, not_compared, presence
from mlflow_parity.kinds.listing import Asking, Entry, Listing, in_order, plain


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
            "aliases": {one["alias"]: one["version"] for one in entry.get("aliases", [])},
        },
        "versions": in_order(plain(one, "name", "organization", "aliases") for one in versions),
    }


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
    ),
    content=("definition",),
    first=(3, 18),
    listing=Listing("skills", "skills", _name, _made),
)
