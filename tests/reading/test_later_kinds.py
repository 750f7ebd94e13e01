"""Issues, review queues, the AI gateway and the MCP registry of a real server: all is read, and no change is missed."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass

import pytest
from faults.later import CHANGES, Change
from faults.later_columns import COLUMNS, rounds
from support.altering import altered, told_and_expected
from support.memory import Store, run_audit
from support.opened import opened
from support.seed import Seeder
from support.seed_later import MCP, SECRET, TRACE, seed_later
from support.servers import FreshServer

from mlflow_parity.core.records import Entity
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules.check_registry import PROMISES
from mlflow_parity.kinds.rules.contract import LATER
from mlflow_parity.standin.servers import Server

#: Those that the newest server has.
SERVED = tuple(kind for kind in LATER if KINDS[kind].first < (3, 18))
#: One change of each facet.
QUICK = tuple({(one.kind, one.facet): name for name, one in reversed(CHANGES.items())}.values())
CHECKS = tuple(one.name for one in PROMISES if one.kind in SERVED)


@dataclass(frozen=True, slots=True)
class Read:
    """A server with one of each, and what was read of it at first."""

    server: Server
    store: Store

    def again(self) -> Store:
        """Read the server once more."""
        return read(self.server.uri)


def read(uri: str) -> Store:
    """Return what the reader delivers of these kinds, with the experiments and runs that they name."""
    reader = opened(uri)
    try:
        experiments = reader.experiments()
        runs = [run for one in experiments for page in reader.runs(one.experiment_id) for run in page]
        found = [entity for kind in SERVED for batch in reader.server_objects(kind) for entity in batch]
        return Store(experiments=experiments, runs=runs, objects=found)
    finally:
        reader.close()


@pytest.fixture(scope="module")
def seeded(module_server: FreshServer) -> Read:
    """One of each on a server of the newest version."""
    server = module_server("newest")
    seed_later(server.uri, Seeder(server.uri).experiment("later"))
    return Read(server, read(server.uri))


def one(store: Store, kind: str) -> Entity:
    """Return the only object of a kind."""
    [found] = [entity for entity in store.objects if entity.kind == kind]
    return found


def test_every_kind_is_read_and_names_no_id_of_the_server(seeded: Read) -> None:
    """Each list gives its object; the definition holds what was written, and neither ids nor times."""
    found = {kind: one(seeded.store, kind) for kind in SERVED}
    assert found["issue"].facets["definition"]["severity"] == "high"
    assert found["issue"].facets["run"] == seeded.store.runs[0].run_id
    queue = found["review_queue"].facets
    assert {schema["name"] for schema in queue["definition"]["label_schemas"]} == {"tone"}
    assert [item["item_id"] for item in queue["items"]] == [TRACE]
    assert found["gateway_model"].facets["definition"]["secret_name"] == "key"
    assert [model["model"] for model in found["gateway_endpoint"].facets["definition"]["models"]] == ["gpt"]
    assert found["gateway_guardrail"].facets["definition"]["scorer"] == "safe"
    assert found["gateway_budget"].facets["definition"]["budget_amount"] == 10.0
    assert found["mcp_server"].entity_id == MCP
    assert {version["version"] for version in found["mcp_server"].facets["versions"]} == {"0.9.0", "1.0.0"}
    assert [one["url"] for one in found["mcp_server"].facets["endpoints"]] == ["https://mcp.example/x"]
    definitions = json.dumps([entity.facets["definition"] for entity in found.values()])
    for entity in found.values():
        assert entity.kind == "mcp_server" or entity.entity_id not in definitions


def test_nothing_of_a_secret_is_read(seeded: Read) -> None:
    """Not even the masked value that the server shows, nor what is configured beside it."""
    told = json.dumps(one(seeded.store, "gateway_secret").facets)
    assert SECRET[-4:] not in told
    assert SECRET[:3] not in told
    assert "2026-01" not in told
    assert '"api_key"' in told
    assert '"openai"' in told


def test_the_same_is_green_and_reading_writes_nothing(seeded: Read) -> None:
    """Read twice, all is equal, and the database holds the same rows: no label schema came by being read."""
    before = rows(seeded.server)
    audited = run_audit(seeded.store, seeded.again(), checks=CHECKS, profile="same-store")
    assert audited.result.green
    assert {row.kind for row in audited.rows} == set(SERVED)
    assert rows(seeded.server) == before


def rows(server: Server) -> dict[str, int]:
    """Count the rows of every table."""
    with closing(sqlite3.connect(server.database_path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}


def key_of(store: Store, kind: str) -> str:
    """Return the id of the only object of a kind."""
    return one(store, kind).entity_id


@pytest.mark.long(but=QUICK)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_in_the_database_is_found(seeded: Read, change: Change) -> None:
    """What was altered or lost on the real server is the only finding, in both directions."""
    with altered(seeded.server.database_path, [change.statement]):
        changed = seeded.again()
    there = run_audit(seeded.store, changed, checks=CHECKS, profile="same-store").result
    back = run_audit(changed, seeded.store, checks=CHECKS, profile="same-store").result
    states = {"missing", "extra"} if change.facet == "presence" else None
    for result in (there, back):
        found = {(finding.kind, finding.facet) for finding in result.findings}
        assert not result.green
        assert found == {(change.kind, change.facet)} | change.also
        assert sum(finding.facet == change.facet for finding in result.findings) >= change.keys
        own = {str(finding.state) for finding in result.findings if finding.kind == change.kind}
        assert states is None or own <= states


@pytest.mark.long
def test_another_value_of_any_column_is_found(seeded: Read) -> None:
    """Each column that MLflow has for these kinds is looked at: its facet is red, and no other of the object."""
    path = seeded.server.database_path
    told, expected = told_and_expected(rounds(COLUMNS), path, seeded.store, seeded.again, CHECKS)
    assert told == expected
