"""A source that keeps its data in files, as MLflow did unless it was told otherwise: moved whole, and green."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.migrations import migrate_py
from support.proxy import Fault, proxying, status
from support.seed import Seeder, seed_small
from support.seed_objects import HOOK
from support.seed_trace_states import AT_ONCE, seed_trace_states
from support.servers import FreshServer, server_of

from mlflow_parity.standin.servers import Server


@pytest.fixture(params=["3.4.0", "3.10.1", "newest"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server on a file store: its lists of scorers, datasets and webhooks are errors 500."""
    folder = tmp_path / "store"
    env = {"MLFLOW_ALLOW_FILE_STORE": "true"}
    with server_of(request.param, folder, database=str(folder / "mlruns"), env=env) as server:
        yield server


@pytest.mark.long
def test_a_file_store_moves(files: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """It cannot hold what it has no list of: else no such server could ever be migrated, or audited."""
    seed_small(files.uri)
    there = Seeder(files.uri)
    there.call("POST", "registered-models/create", {"name": "net", "tags": [{"key": "team", "value": "growth"}]})
    run = there.run(there.experiment("models"), "maker")
    there.artifact(run, "model/MLmodel", b"flavors: {}\n")
    there.end(run)
    source = there.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"] + "/model"
    there.call("POST", "model-versions/create", {"name": "net", "source": source, "run_id": run})
    # a file store does not tell whether an expectation is valid, a database says that it is
    for trace in seed_trace_states(files.uri, there.experiment("asked"), [AT_ONCE]).values():
        wanted = {"assessment_name": "wanted", "expectation": {"value": "yes"}, "trace_id": trace,
                  "source": {"source_type": "HUMAN", "source_id": "ada"}}  # fmt: skip
        there.call("POST", f"traces/{trace}/assessments", {"assessment": wanted}, version="3.0")
    target = fresh_server()
    ends = ["--source-uri", files.uri, "--target-uri", target.uri]
    done = migrate_py(tmp_path, "run", *ends, "--report-dir", "reports")
    assert done.status == 0, done.output[-3000:]
    kinds = {row.kind for row in AuditRun(0, "", tmp_path / "reports").rows()}
    assert kinds >= {"experiment", "run", "registered_model", "model_version", "trace"}
    # what the target alone can hold is extra there
    seed = Seeder(target.uri)
    seed.call("POST", "webhooks", {"name": "hook", "url": HOOK, "events": [
        {"entity": "REGISTERED_MODEL", "action": "CREATED"}]})  # fmt: skip
    seed.call("POST", "datasets/create", {"name": "rows"}, version="3.0")
    red = audit(tmp_path / "red", files.uri, target.uri)
    assert {(row.kind, row.state.value) for row in red.red_rows()} == {
        ("webhook", "extra"),
        ("evaluation_dataset", "extra"),
    }


#: Metrics of one run and logged model → their values at one step and time, in the order in which they were logged.
METRICS: dict[str, list[float | str]] = {
    "most": ["Infinity"], "least": ["-Infinity"], "nought": [-0.0], "odd": ["NaN"], "again": [0.5, 0.5],
    # NaN has no order: of a tie each store tells another one
    "tied": ["NaN", 1.0], "below": [-1.0, "NaN"], "level": ["NaN", 0.0],
}  # fmt: skip
RELEASES = ["3.10.1", "newest"]


@pytest.mark.long
@pytest.mark.parametrize("files", RELEASES, indirect=True)
def test_what_a_database_makes_of_a_files_points(files: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Of runs and of logged models alike each value that no database keeps has its rule; another value is red."""
    seed = Seeder(files.uri)
    experiment = seed.experiment("models")
    run = seed.run(experiment, "maker")
    body = {"experiment_id": experiment, "name": "net", "source_run_id": run}
    model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    points = [{"key": key, "value": value, "timestamp": 5, "step": 0} for key in METRICS for value in METRICS[key]]
    # a file store tells the latest point alone
    points += [{"key": "told", "value": step / 4, "timestamp": 5, "step": step} for step in range(2)]
    for point in points:
        seed.call("POST", "runs/log-metric", {"run_id": run, "model_id": model, **point})
    seed.end(run)
    target = fresh_server()
    ends = ["--source-uri", files.uri, "--target-uri", target.uri]
    done = migrate_py(tmp_path, "run", *ends, "--report-dir", "reports")
    assert done.status == 0, done.output[-3000:]
    rules = {row.kind: row.rules for row in AuditRun(0, "", tmp_path / "reports").rows() if row.facet == "metrics"}
    assert rules == {
        "run": tuple(f"run.metrics.{name}" for name in ("infinity", "latest", "negative-zero", "repeated")),
        "logged_model": tuple(f"logged_model.metrics.{name}" for name in ("infinity", "nan", "negative-zero")),
    }
    with sqlite3.connect(target.database_path) as database:
        database.execute("UPDATE logged_model_metrics SET metric_value = 1 WHERE metric_name IN ('odd', 'least')")
    red = audit(tmp_path / "red", files.uri, target.uri)
    assert {(facet, key) for facet, key, _, _ in red.findings()} == {
        ("metrics", "odd: value"), ("metrics", "least: value"),
    }  # fmt: skip


@pytest.mark.long
def test_a_database_that_fails_is_no_file_store(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The same errors of a server with a database say nothing of what it holds."""
    source, target = fresh_server(), fresh_server()
    for server in (source, target):
        seed = Seeder(server.uri)
        seed.end(seed.run(seed.experiment("shop"), "one"))
    with proxying(source.uri) as front:
        for path in ("/api/2.0/mlflow/webhooks", "/api/3.0/mlflow/scorers/list", "/api/3.0/mlflow/datasets/search"):
            front.faults.append(Fault(path, status(500), times=1_000))
        done = audit(tmp_path, front.uri, target.uri)
    assert done.status == 1
    unread = {row.kind for row in done.red_rows() if row.state.value == "unverified"}
    assert unread == {"webhook", "scorer", "evaluation_dataset"}
