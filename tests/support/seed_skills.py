"""Writes skills to a server of MLflow 3.18: one of no organization, one of an organization, two versions of each."""

from __future__ import annotations

from support.seed import Seeder

#: What MLflow calls the two.
SKILLS = ("reviewer", "@acme/reviewer")
_SOURCE = {"source_type": "git", "source": "https://example.com/skills.git", "subpath": "reviewer"}


def seed_skills(uri: str) -> None:
    """Write both, each with two versions, tags and an alias; an icon would need a public address."""
    seed = Seeder(uri)
    for name in SKILLS:
        organization = "acme" if name.startswith("@") else ""
        body = {"name": "reviewer", "organization": organization, "description": f"reviews, as {name}"}
        seed.call("POST", "skills", body, version="3.0")
        for number in (1, 2):
            version = {**_SOURCE, "ref": f"v{number}"}
            seed.call("POST", f"skills/{name}/versions", version, version="3.0")
        seed.call("PATCH", f"skills/{name}/versions/1", {"status": "deprecated"}, version="3.0")
        seed.call("POST", f"skills/{name}/tags", {"key": "team", "value": "growth"}, version="3.0")
        seed.call("POST", f"skills/{name}/versions/1/tags", {"key": "checked", "value": "yes"}, version="3.0")
        seed.call("POST", f"skills/{name}/aliases", {"alias": "stable", "version": 2}, version="3.0")
