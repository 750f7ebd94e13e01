"""``migrate.py`` brings issues, review queues, the AI gateway and the MCP registry; of secrets all but the value."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import warm
from support.audits import AuditRun, audit
from support.exported import export
from support.importer import Whole
from support.killed import import_killed
from support.migrations import ROOT, Migrated, migrate_py
from support.proxy import Fault, proxying
from support.seed import Seeder
from support.seed_later import MCP, TRACE, seed_later, seed_secret
from support.servers import FreshServer

from mlflow_parity.core.records import ENDPOINT_KEY
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules.contract import LATER
from mlflow_parity.standin.servers import Server, clean_environment

pytestmark = pytest.mark.long

#: Parts of the gateway that the second source changes.
#: Those that the newest server has.
SERVED = {kind for kind in LATER if KINDS[kind].first < (3, 18)}
PARTS = ("model-definitions", "endpoints", "budgets")
OTHER = "tr-00000000000000000000000000000002"


def post(server: Server, path: str, **body: Any) -> Any:
    """Call the newest API."""
    return Seeder(server.uri).call("POST", path, body, version="3.0")


def refer(server: Server, issue: str) -> None:
    """Say of a trace that it shows an issue: the server counts the traces of each."""
    body = {"assessment_name": issue, "trace_id": TRACE, "issue": {"issue_name": "slow"}, "rationale": "look",
            "source": {"source_type": "LLM_JUDGE", "source_id": "judge"}}  # fmt: skip
    Seeder(server.uri).call("POST", f"traces/{TRACE}/assessments", {"assessment": body}, version="3.0")


def counted(server: Server) -> list[tuple[str, int]]:
    """Return the state of each issue and how many traces refer to it."""
    seed = Seeder(server.uri)
    experiment = seed.call("GET", "experiments/get-by-name", {"experiment_name": "later"})["experiment"]
    body = {"experiment_id": experiment["experiment_id"], "include_trace_count": True}
    return sorted((one["status"], one.get("trace_count", 0)) for one in post(server, "issues/search", **body)["issues"])


def seed_more(server: Server, experiment: str) -> None:
    """Write what the plain seed does not have: states that an object is not made in, second versions, more links."""
    seed = Seeder(server.uri)
    found = post(server, "issues/search", experiment_id=experiment)["issues"][0]
    seed.call(
        "PATCH", f"issues/{found['issue_id']}", {"issue_id": found["issue_id"], "status": "resolved"}, version="3.0"
    )
    post(server, "issues", experiment_id=experiment, name="slow", description="another of the same name")
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    [endpoint] = seed.call("GET", "gateway/endpoints/list", {}, version="3.0")["endpoints"]
    info = {"trace_id": OTHER, "trace_location": place, "request_time": "2026-01-01T00:00:00Z", "state": "IN_PROGRESS",
            "trace_metadata": {ENDPOINT_KEY: endpoint["endpoint_id"]}}  # fmt: skip
    post(server, "traces", trace={"trace_info": info})
    refer(server, found["issue_id"])
    query = {"experiment_id": experiment}
    queue = seed.call("GET", "review-queues/list", query, version="3.0")["review_queues"][0]["queue_id"]
    post(server, "review-queues/items/add", queue_id=queue, item_type="TRACE", item_ids=[OTHER])
    done = {"queue_id": queue, "item_id": OTHER, "status": "COMPLETE", "completed_by": "ada"}
    post(server, "review-queues/items/set-status", **done)
    post(server, "review-queues/get-or-create-user", experiment_id=experiment, user="Eve")
    default = seed.call("GET", "label-schemas/list", query, version="3.0")["label_schemas"]
    asked = [one["schema_id"] for one in default if one["is_default"]]
    post(server, "review-queues/create", experiment_id=experiment, name="plain", queue_type="CUSTOM", schema_ids=asked)
    for number, status in (("1.1.0", "deprecated"), ("2.0.0-rc.1", "draft")):
        post(server, f"mcp-servers/{MCP}/versions", server_json={"name": MCP, "version": number},
             status="draft" if status == "draft" else "active", source="git")  # fmt: skip
        if status == "deprecated":
            path = f"mcp-servers/{MCP}/versions/{number}"
            seed.call("PATCH", path, {"status": status}, version="3.0")
            post(server, f"{path}/tags", key="by", value="größe")
    seed.call("PATCH", f"mcp-servers/{MCP}", {"display_name": "Tools"}, version="3.0")
    post(server, f"mcp-servers/{MCP}/tags", key="team", value="growth")
    post(server, f"mcp-servers/{MCP}/endpoints", url="https://mcp.example/old", server_version="1.0.0")


def rows(server: Server) -> dict[str, list[Any]]:
    """Return every row of every table of these kinds."""
    with closing(sqlite3.connect(server.database_path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(map(repr, database.execute(f"SELECT * FROM {name}"))) for name in names}


@pytest.fixture
def ends(fresh_server: FreshServer) -> tuple[Server, Server]:
    """A source with every such object, and an empty target whose ids are not those of the source."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    seed.experiment("first")
    experiment = seed.experiment("later")
    seed_later(source.uri, experiment)
    seed_more(source, experiment)
    return source, target


def run(folder: Path, ends: tuple[Server, Server], *more: str) -> Migrated:
    """Migrate."""
    return migrate_py(
        folder, "run", "--source-uri", ends[0].uri, "--target-uri", ends[1].uri, "--work-dir", "work", *more
    )


def audited(folder: Path, done: Migrated) -> AuditRun:
    """Return the audit at its end."""
    return AuditRun(done.status, done.output, folder / "reports")


def test_all_is_brought_once_the_secret_is_there(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """Without it the gateway is named, piece by piece, and all else is there; with it all is green, and stays."""
    first = run(tmp_path, ends)
    assert first.status == 1
    assert "no server exposes the value of a secret" in first.output
    red = {row.kind for row in audited(tmp_path, first).red_rows()}
    assert red == {
        "gateway_secret",
        "gateway_model",
        "gateway_endpoint",
        "gateway_guardrail",
        "gateway_budget",
        "scorer",
    }
    seed_secret(ends[1].uri)
    second = run(tmp_path, ends)
    # what was made by hand is what was asked for
    assert "unknown to the source" not in second.output
    assert second.status == 0, (second.output, audited(tmp_path, second).red_rows())
    assert {row.kind for row in audited(tmp_path, second).rows()} >= SERVED
    # traces refer to the copy of their issue, and are counted with it
    assert counted(ends[0]) == counted(ends[1]) == [("pending", 0), ("resolved", 1)]
    before = rows(ends[1])
    third = run(tmp_path, ends)
    assert third.status == 0, third.output
    assert rows(ends[1]) == before


def test_a_reference_to_an_issue_of_the_source_is_red(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """An assessment that kept the id of the source's issue refers to none on the target; so with an endpoint's id."""
    source, target = ends
    seed_secret(target.uri)
    assert run(tmp_path, ends).status == 0
    with closing(sqlite3.connect(source.database_path)) as database:
        [[issue]] = database.execute("SELECT name FROM assessments WHERE assessment_type = 'issue'")
        [[endpoint]] = database.execute("SELECT value FROM trace_request_metadata WHERE key = ?", (ENDPOINT_KEY,))
    with closing(sqlite3.connect(target.database_path)) as database, database:
        changed = "UPDATE assessments SET name = ? WHERE assessment_type = 'issue'"
        assert database.execute(changed, (issue,)).rowcount == 1
        changed = "UPDATE trace_request_metadata SET value = ? WHERE key = ? AND value <> ?"
        assert database.execute(changed, (endpoint, ENDPOINT_KEY, endpoint)).rowcount == 1
    done = audit(tmp_path / "after", source.uri, target.uri)
    red = {("trace", "assessments"), ("trace", "metadata")}
    assert {(row.kind, row.facet) for row in done.red_rows()} == red
    # traces alone: issues and endpoints are read for their sake
    alone = audit(tmp_path / "alone", source.uri, target.uri, "-k", "trace")
    assert {(row.kind, row.facet) for row in alone.red_rows()} == red
    # without the kinds that are not of experiments there is none on either side that could be paired
    apart = audit(tmp_path / "apart", source.uri, target.uri, "--parity-experiments", "later")
    assert {(row.kind, row.facet) for row in apart.red_rows()} == red


def guarding(server: Server) -> list[tuple[str, str, str, int]]:
    """Return which guardrails are on which endpoint: stage and scorer of each, and when it acts."""
    with closing(sqlite3.connect(server.database_path)) as database:
        return database.execute(
            "SELECT e.name, g.stage, s.scorer_name, c.execution_order FROM guardrail_configs c "
            "JOIN guardrails g USING (guardrail_id) JOIN endpoints e USING (endpoint_id) "
            "JOIN scorers s USING (scorer_id) ORDER BY 1, 4"
        ).fetchall()


def test_guardrails_of_one_name_stay_on_their_endpoints(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """Names of guardrails are not unique: by name an endpoint got another's guard, and of two of one name just one."""
    source, target = ends
    seed = Seeder(source.uri)
    with closing(sqlite3.connect(source.database_path)) as database:
        [[scorer]] = database.execute("SELECT scorer_id FROM scorers WHERE scorer_name = 'kind'")
        [[chat]] = database.execute("SELECT endpoint_id FROM endpoints")
        [[model]] = database.execute("SELECT model_definition_id FROM model_definitions")
    other = post(source, "gateway/guardrails/create", name="guard", scorer_id=scorer, scorer_version=1, stage="AFTER",
                 action="VALIDATION")["guardrail"]["guardrail_id"]  # fmt: skip
    configs = [{"model_definition_id": model, "linkage_type": "PRIMARY", "weight": 1.0}]
    second = post(source, "gateway/endpoints/create", name="second", model_configs=configs)["endpoint"]["endpoint_id"]
    for endpoint, order in ((chat, 2), (second, 1)):
        body = {"endpoint_id": endpoint, "guardrail_id": other, "execution_order": order}
        seed.call("POST", "gateway/guardrails/add-to-endpoint", body, version="3.0")
    seed_secret(target.uri)
    done = run(tmp_path, ends)
    assert guarding(target) == guarding(source)
    assert len(guarding(source)) == 3
    assert done.status == 0, (done.output, audited(tmp_path, done).red_rows())
    with closing(sqlite3.connect(target.database_path)) as database, database:
        changed = "UPDATE guardrail_configs SET guardrail_id = (SELECT guardrail_id FROM guardrails WHERE stage = ?) "
        where = "WHERE endpoint_id = (SELECT endpoint_id FROM endpoints WHERE name = 'second')"
        assert database.execute(changed + where, ("BEFORE",)).rowcount == 1
    swapped = audit(tmp_path / "swapped", source.uri, target.uri)
    assert {(row.kind, row.facet) for row in swapped.red_rows()} == {("gateway_endpoint", "guardrails")}


def test_killed_imports_end_like_one(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """Killed before, during and after requests, and gone on with: nothing is lost, nothing is there twice."""
    source, target = ends
    seed_secret(target.uri)
    folder, journal = export(source, tmp_path / "export"), tmp_path / "journal"
    assert import_killed(folder.root, target.uri, journal, whole=True) > 2
    again = Whole(folder, target.uri, journal)
    try:
        again.run()
    finally:
        again.close()
    assert (dict(again.context.writer.counts), again.left) == ({}, {})
    done = audit(tmp_path / "audit", source.uri, target.uri, "--parity-include-deleted")
    assert done.status == 0, (done.output, done.red_rows())
    assert {row.kind for row in done.rows()} >= SERVED


def test_killed_between_a_guardrail_and_its_endpoint(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """What is put on an endpoint that was begun is put on once."""
    source, target = ends
    seed_secret(target.uri)
    with proxying(target.uri) as proxy:
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "work", "--no-verify"]
        begun = warm.begin([str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=tmp_path, env=clean_environment())
        proxy.faults.append(
            Fault("guardrails/add-to-endpoint", lambda *_: os.kill(begun.pid, signal.SIGKILL), early=True)
        )
        assert begun.wait(120) != 0
        assert sum(proxy.spoilt.values()) == 1
        proxy.heal()
        done = migrate_py(tmp_path, *command)
        assert done.status == 0, done.output


def test_what_is_new_since_is_brought(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """What MLflow can change afterwards is changed in place; what it cannot is named, and so is the way out."""
    source, target = ends
    seed_secret(target.uri)
    assert run(tmp_path, ends).status == 0
    seed = Seeder(source.uri)
    experiment = seed.call("GET", "experiments/get-by-name", {"experiment_name": "later"})["experiment"][
        "experiment_id"
    ]
    for issue in post(source, "issues/search", experiment_id=experiment)["issues"]:
        body = {"issue_id": issue["issue_id"], "severity": "low"}
        seed.call("PATCH", f"issues/{issue['issue_id']}", body, version="3.0")
    queues = seed.call("GET", "review-queues/list", {"experiment_id": experiment}, version="3.0")["review_queues"]
    queue = next(one["queue_id"] for one in queues if one["name"] == "first look")
    done = {"queue_id": queue, "item_id": TRACE, "status": "DECLINED", "completed_by": "eve"}
    post(source, "review-queues/items/set-status", **done)
    post(source, "review-queues/update", queue_id=queue, users=["ada", "eve"], update_users=True, new_owner="Bea")
    listed = {name: seed.call("GET", f"gateway/{name}/list", {}, version="3.0") for name in PARTS}
    model = listed["model-definitions"]["model_definitions"][0]["model_definition_id"]
    post(source, "gateway/model-definitions/update", model_definition_id=model, model_name="gpt-6")
    endpoint = listed["endpoints"]["endpoints"][0]["endpoint_id"]
    post(source, "gateway/endpoints/set-tag", endpoint_id=endpoint, key="team", value="care")
    budget = listed["budgets"]["budget_policies"][0]["budget_policy_id"]
    post(source, "gateway/budgets/update", budget_policy_id=budget, budget_amount=11.5)
    post(source, f"mcp-servers/{MCP}/versions", server_json={"name": MCP, "version": "3.0.0"}, status="active")
    post(source, f"mcp-servers/{MCP}/aliases", alias="prod", version="3.0.0")
    again = run(tmp_path, ends)
    assert again.status == 0, (again.output, audited(tmp_path, again).red_rows())
    with closing(sqlite3.connect(target.database_path)) as database:
        owners = dict(database.execute("SELECT name, created_by FROM review_queues").fetchall())
    assert owners == {"first look": "Bea", "plain": None, "eve": "eve"}
    # a guardrail has no request that changes it
    with closing(sqlite3.connect(source.database_path)) as database, database:
        database.execute("UPDATE guardrails SET stage = 'AFTER'")
    last = run(tmp_path, ends)
    assert last.status == 1
    assert "differs in its stage: make it equal by hand" in last.output
    assert {(row.kind, row.facet) for row in audited(tmp_path, last).red_rows()} == {
        ("gateway_guardrail", "definition")
    }


def test_many_objects_take_few_lists(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The target's list of a kind is read a few times, not once for each object that is made; none is made twice."""
    source, target = fresh_server(), fresh_server()
    experiment = Seeder(source.uri).experiment("many")
    Seeder(source.uri).run(experiment, "one")
    for _ in range(12):
        post(source, "issues", experiment_id=experiment, name="alike", description="slow answers")
    with proxying(target.uri) as proxy:
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "work", "--no-verify"]
        done = migrate_py(tmp_path, *command)
        assert done.status == 0, done.output
        assert sum("issues/search" in path for path in proxy.paths()) <= 4
    assert len(rows(target)["issues"]) == 12


def test_identical_issues_are_made_in_their_order(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Nothing but their order tells them apart: reversed, a trace is told to refer to another one."""
    source, target = fresh_server(), fresh_server()
    experiment = Seeder(source.uri).experiment("twins")
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    for number in range(3):
        issue = post(source, "issues", experiment_id=experiment, name="slow", description="alike")["issue"]["issue_id"]
        info = {"trace_id": f"tr-{number:032x}", "trace_location": place, "request_time": "2026-01-01T00:00:00Z",
                "state": "IN_PROGRESS"}  # fmt: skip
        post(source, "traces", trace={"trace_info": info})
        assessment = {"assessment_name": issue, "trace_id": f"tr-{number:032x}", "issue": {"issue_name": "slow"},
                      "source": {"source_type": "HUMAN", "source_id": "ada"}}  # fmt: skip
        post(source, f"traces/tr-{number:032x}/assessments", assessment=assessment)
    done = run(tmp_path, (source, target))
    assert done.status == 0, (done.output, audited(tmp_path, done).red_rows())
    with closing(sqlite3.connect(target.database_path)) as database:
        referring = (
            "SELECT a.trace_id FROM assessments a JOIN issues i ON i.issue_id = a.name ORDER BY i.created_timestamp"
        )
        assert [trace for (trace,) in database.execute(referring)] == [f"tr-{number:032x}" for number in range(3)]


def test_what_is_not_ours_is_not_written_to(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """The target has an MCP server of this name already: it stays, and is named."""
    _, target = ends
    seed_secret(target.uri)
    post(target, "mcp-servers", name=MCP, description="of the target's own")
    post(target, f"mcp-servers/{MCP}/versions", server_json={"name": MCP, "version": "1.0.0"}, status="active")
    before = rows(target)["mcp_servers"], rows(target)["mcp_server_versions"]
    refused = run(tmp_path, ends)
    assert refused.status == 2
    assert "the target has 1 MCP server of the same name that this migration did not make" in refused.output
    done = run(tmp_path, ends, "--into-existing")
    assert done.status == 1
    assert "another one of this name, not ours, on the target differs in its" in done.output
    assert (rows(target)["mcp_servers"], rows(target)["mcp_server_versions"]) == before
    assert {row.kind for row in audited(tmp_path, done).red_rows()} == {"mcp_server"}


def test_repair_makes_anew_what_is_lost(ends: tuple[Server, Server], tmp_path: Path) -> None:
    """A queue and a budget that somebody deleted are made again; what may be in use is not deleted for a difference."""
    source, target = ends
    seed_secret(target.uri)
    assert run(tmp_path, ends).status == 0
    with closing(sqlite3.connect(target.database_path)) as database, database:
        database.execute("PRAGMA foreign_keys = ON")
        assert database.execute("DELETE FROM review_queues WHERE name = 'first look'").rowcount == 1
        assert database.execute("DELETE FROM budget_policies").rowcount == 1
        assert database.execute("UPDATE guardrails SET stage = 'AFTER'").rowcount == 1
    red = audit(tmp_path, source.uri, target.uri)
    assert {(row.kind, row.state.value) for row in red.red_rows()} == {
        ("review_queue", "missing"), ("gateway_budget", "missing"), ("gateway_guardrail", "mismatch"),
    }  # fmt: skip
    done = migrate_py(tmp_path, "repair", "--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work",
                      "--report", "reports/report.json")  # fmt: skip
    assert done.status == 1
    assert "it may be in use, and is not deleted: make it equal by hand" in done.output
    left = audit(tmp_path / "after", source.uri, target.uri)
    assert {(row.kind, row.facet) for row in left.red_rows()} == {("gateway_guardrail", "definition")}
