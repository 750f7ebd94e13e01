"""What MLflow 3.18 brought, on a real server: skills, more of issues. All is read, no change is missed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from faults.later import NEWER, Change
from faults.later_columns import NEWER_COLUMNS, rounds
from support.altering import altered, told_and_expected
from support.memory import Store, run_audit
from support.opened import opened
from support.seed import Seeder
from support.seed_skills import SKILLS, seed_skills
from support.servers import FreshServer

from mlflow_parity.standin.servers import Server

NEWEST = "3.18.0"


def read(uri: str) -> Store:
    """Return the skills and issues that the reader delivers."""
    reader = opened(uri)
    try:
        found = [entity for kind in ("skill", "issue") for batch in reader.server_objects(kind) for entity in batch]
        return Store(experiments=reader.experiments(), objects=found)
    finally:
        reader.close()


@dataclass(frozen=True, slots=True)
class Read:
    """A server with skills, and what was read of it at first."""

    server: Server
    store: Store


@pytest.fixture(scope="module")
def seeded(module_server: FreshServer) -> Read:
    """Skills, and an issue, on a server of the release that brought them."""
    server = module_server(NEWEST)
    seed_skills(server.uri)
    issue = {"experiment_id": Seeder(server.uri).experiment("issues"), "name": "slow", "description": "slow answers"}
    Seeder(server.uri).call("POST", "issues", {**issue, "status": "pending"}, version="3.0")
    return Read(server, read(server.uri))


def test_every_skill_is_read(seeded: Read) -> None:
    """Both of one name, each under its organization, with what was written; of ids, times and users nothing."""
    found = {entity.entity_id: entity.facets for entity in seeded.store.objects if entity.kind == "skill"}
    assert found.keys() == set(SKILLS)
    for name, facets in found.items():
        definition = facets["definition"]
        assert definition["description"] == f"reviews, as {name}"
        assert definition.get("organization", "") == ("acme" if name.startswith("@") else "")
        assert (definition["tags"], definition["aliases"]) == ({"team": "growth"}, {"stable": 2})
        assert (definition["status"], definition["latest_version"]) == ("active", 2)
        versions = {one["version"]: one for one in facets["versions"]}
        assert {number: one["ref"] for number, one in versions.items()} == {1: "v1", 2: "v2"}
        assert versions[1]["tags"] == {"checked": "yes"}
        assert "creation_timestamp" not in definition.keys() | versions[1].keys()


def test_an_older_server_is_not_asked(newest: Server) -> None:
    """A server of a release before has no skills, and a request for them is never sent to it."""
    reader = opened(newest.uri)
    try:
        assert reader.supports("skill") is False
        assert list(reader.server_objects("skill")) == []
    finally:
        reader.close()


@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_a_change_in_the_database_is_found(seeded: Read, change: Change) -> None:
    """What was altered or lost on the real server is the only finding, in both directions."""
    with altered(seeded.server.database_path, [change.statement]):
        changed = read(seeded.server.uri)
    for ours, theirs in ((seeded.store, changed), (changed, seeded.store)):
        result = run_audit(ours, theirs, checks=("skills",), profile="same-store").result
        assert not result.green
        if change.facet == "presence":
            assert {str(one.state) for one in result.findings} <= {"missing", "extra"}
        assert {(one.kind, one.facet) for one in result.findings} == {(change.kind, change.facet)}
        assert len(result.findings) >= change.keys


def test_the_same_is_green(seeded: Read) -> None:
    """Read twice, all is equal."""
    audited = run_audit(seeded.store, read(seeded.server.uri), checks=("skills", "issues"), profile="same-store")
    assert audited.result.green
    assert {row.kind for row in audited.rows} == {"skill", "issue"}


@pytest.mark.long
def test_another_value_of_any_column_is_found(seeded: Read) -> None:
    """Each column that MLflow 3.18 has for these kinds is looked at: its facet is red, and no other of the object."""
    path = seeded.server.database_path
    told, expected = told_and_expected(
        rounds(NEWER_COLUMNS), path, seeded.store, lambda: read(seeded.server.uri), ("skills", "issues")
    )
    assert told == expected
