"""Traces that were linked to a run after they were made, as ``mlflow.genai.evaluate`` links existing ones."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import audit
from support.entities import Store
from support.migrations import migrate_py
from support.object_audit import Known, compare_stores, red
from support.opened import opened
from support.proxy import Fault, proxying, status
from support.seed import Seeder
from support.seed_traces import trace
from support.servers import FreshServer

from mlflow_parity.core.records import REPLACED_TAG

_LOST = (
    "DELETE FROM entity_associations WHERE source_id = ? AND destination_type = 'run'",
    "INSERT INTO entity_associations (association_id, source_type, source_id, destination_type, destination_id) "
    "VALUES ('a-made-up', 'trace', ?, 'run', ?)",
)


def _link(seed: Seeder, run: str, *traces: str) -> None:
    seed.call("POST", "traces/link-to-run", {"trace_ids": list(traces), "run_id": run})


def _runs(seed: Seeder, experiment: str) -> dict[str, str]:
    body = {"experiment_ids": [experiment], "run_view_type": "ALL"}
    return {one["info"]["run_name"]: one["info"]["run_id"] for one in seed.call("POST", "runs/search", body)["runs"]}


@pytest.mark.long
def test_links_made_afterwards_are_migrated_and_compared(fresh_server: FreshServer, tmp_path: Path) -> None:
    """They lead to the copies of the runs; one that is lost and one too many are named, a dead link is neither."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    experiment = seed.experiment("agent")
    runs = {name: seed.run(experiment, name) for name in ("evaluation", "maker", "gone")}
    traces = {
        "made in a run": trace(seed, experiment, "made in a run", run=runs["maker"]),
        "of no run": trace(seed, experiment, "of no run"),
    }
    _link(seed, runs["evaluation"], *traces.values())
    _link(seed, runs["gone"], traces["of no run"])
    for run in runs.values():
        seed.end(run)
    seed.delete_run(runs["gone"])
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path / "m", "run", *ends, "--work-dir", "work")
    assert (done.status, "GREEN" in done.output) == (0, True), done.output
    [copy] = [
        one["experiment_id"]
        for one in there.call("POST", "experiments/search", {"max_results": 9})["experiments"]
        if one["name"] == "agent"
    ]
    copies = _runs(there, copy)
    assert _linked(target.uri, copy) == {
        traces["made in a run"]: [copies["evaluation"]],
        traces["of no run"]: [copies["evaluation"]],
    }
    # the copy in the trash that a repair replaced keeps its link: it is one to no other run's copy
    former = there.run(copy, "evaluation")
    _link(there, former, traces["of no run"])
    there.call("POST", "runs/set-tag", {"run_id": former, "key": REPLACED_TAG, "value": runs["evaluation"]})
    there.delete_run(former)
    assert audit(tmp_path / "of its run", source.uri, target.uri).findings() == set()
    there.call("POST", "runs/restore", {"run_id": former})
    there.call("POST", "runs/set-tag", {"run_id": former, "key": REPLACED_TAG, "value": runs["maker"]})
    there.delete_run(former)
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        lost = database.execute(_LOST[0], (traces["made in a run"],)).rowcount
        made_up = database.execute(_LOST[1], (traces["of no run"], copies["maker"])).rowcount
        assert (lost, made_up) == (1, 1)
    red = audit(tmp_path / "a", source.uri, target.uri)
    assert red.findings() == {
        ("run_links", runs["evaluation"], "missing", "made in a run"),
        ("run_links", copies["maker"], "extra", "of no run"),
        ("run_links", former, "extra", "of no run"),
    }
    assert red.failed() == {"test_trace_links"}


def _linked(uri: str, experiment: str) -> dict[str, list[str]]:
    reader = opened(uri)
    found = {
        one.entity_id: one.facets["run_links"]
        for batch in reader.experiment_objects(experiment, ["trace"])
        for one in batch
    }
    reader.close()
    return found


@pytest.mark.parametrize(
    "version", ["newest", *(pytest.param(old, marks=pytest.mark.long) for old in ("3.10.1", "3.4.0"))]
)
def test_they_are_read_by_one_search_a_run(fresh_server: FreshServer, version: str) -> None:
    """On every release that has them, for runs of experiments with traces alone, deleted runs too."""
    server = fresh_server(version)
    seed = Seeder(server.uri)
    experiment, empty = seed.experiment("with traces"), seed.experiment("without")
    runs = [seed.run(experiment, name) for name in ("one", "two", "three")]
    for name in ("four", "five"):
        seed.run(empty, name)
    traces = [trace(seed, experiment, name, run=runs[0]) for name in ("a", "b")] + [trace(seed, experiment, "c")]
    _link(seed, runs[0], traces[0], traces[2])
    _link(seed, runs[1], traces[0])
    seed.delete_run(runs[1])
    reader = opened(server.uri)
    found = {one.entity_id: one for batch in reader.experiment_objects(experiment, ["trace"]) for one in batch}
    # a link to the run in which it was made says no more than that
    assert [found[one].facets["run_links"] for one in traces] == [[runs[1]], [], [runs[0]]]
    searches = reader.session.counts["traces"]
    assert searches == 1 + len(runs)
    assert [*reader.experiment_objects(empty, ["trace"])] == []
    assert reader.session.counts["traces"] == searches + 1
    reader.close()


def test_links_that_cannot_be_searched_for_are_no_empty_list(fresh_server: FreshServer) -> None:
    """One search that is refused: the links are not known, which is unverified; the rest of the trace is read."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("agent")
    run = seed.run(experiment, "evaluation")
    _link(seed, run, trace(seed, experiment, "call"))
    with proxying(server.uri) as proxy:
        body = b'{"error_code": "PERMISSION_DENIED", "message": "no"}'
        proxy.faults.append(Fault("traces/search", status(403, body=body), times=9, after=1))
        reader = opened(proxy.uri)
        [[found]] = reader.experiment_objects(experiment, ["trace"])
        proxy.heal()
        [[whole]] = reader.experiment_objects(experiment, ["trace"])
        reader.close()
    assert "run_links" not in found.facets
    assert found.error is not None
    assert found.error.startswith("the runs that it is linked to cannot be read: ")
    assert found.facets["spans"] == whole.facets["spans"]
    assert (whole.facets["run_links"], whole.error) == ([run], None)
    known = Known({run: run}, {experiment: experiment})
    for source, target in ((found, whole), (whole, found), (found, found)):
        outcomes = compare_stores(Store([source]), Store([target]), known)
        assert ("trace", "run_links", "unverified") in red(outcomes)
