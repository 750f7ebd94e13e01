"""A server of a GenAI team: traces, prompts, models and datasets, and not one run. It is audited like all others."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import audit
from support.migrations import migrate_py
from support.seed import Seeder, pairs
from support.seed_objects import HOOK
from support.seed_traces import trace
from support.servers import FreshServer

_CREATED = {"entity": "REGISTERED_MODEL", "action": "CREATED"}
_PROMPT = {"mlflow.prompt.is_prompt": "true"}


def _prompt(seed: Seeder, name: str) -> None:
    seed.call("POST", "registered-models/create", {"name": name, "tags": pairs(_PROMPT)})
    tags = pairs({**_PROMPT, "mlflow.prompt.text": "Hello {{ x }}"})
    seed.call("POST", "model-versions/create", {"name": name, "source": "dummy-source", "tags": tags})


@pytest.mark.long
def test_a_source_without_runs_is_migrated_and_audited(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Traces and a prompt alone: the migration ends green, and a trace and a prompt that are lost then are named."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("agent")
    lost = trace(seed, experiment, "first")
    trace(seed, experiment, "second")
    _prompt(seed, "greet")
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path / "m", "run", *ends, "--work-dir", "work")
    assert (done.status, "GREEN" in done.output) == (0, True), done.output
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        for table, column in (("trace_tags", "request_id"), ("trace_request_metadata", "request_id"),
                              ("trace_info", "request_id")):  # fmt: skip
            database.execute(f"DELETE FROM {table} WHERE {column} = ?", (lost,))
    again = audit(tmp_path / "a", source.uri, target.uri)
    assert again.status == 1, again.output
    assert {(row.kind, row.source_id) for row in again.red_rows()} == {("trace", lost)}


@pytest.mark.long
def test_a_source_without_any_experiment_in_scope(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The Default experiment was deleted: with a webhook or a prompt it is audited, without anything it is refused."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    seed.call("POST", "experiments/delete", {"experiment_id": "0"})
    refused = audit(tmp_path / "a", source.uri, target.uri)
    assert refused.status == 4, refused.output
    assert "no run, trace, model or other object in scope" in refused.output
    seed.call("POST", "webhooks", {"name": "ci", "url": HOOK, "events": [_CREATED]})
    red = audit(tmp_path / "w", source.uri, target.uri)
    assert red.status == 1, red.output
    assert {(row.kind, row.name, str(row.state)) for row in red.red_rows() if row.facet == "presence"} == {
        ("webhook", "ci", "missing")
    }
    _prompt(seed, "greet")
    red = audit(tmp_path / "b", source.uri, target.uri)
    assert red.status == 1, red.output
    assert {(row.kind, row.name, str(row.state)) for row in red.red_rows() if row.facet == "presence"} == {
        ("prompt", "greet", "missing"),
        ("prompt_version", "greet version 1", "missing"),
        ("webhook", "ci", "missing"),
    }
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path / "m", "run", *ends, "--work-dir", "work")
    assert (done.status, "GREEN" in done.output) == (0, True), done.output
    trace(seed, seed.experiment("agent"), "first")
    # of which the selected checks look at nothing: no verdict to be signed
    refused = audit(tmp_path / "c", source.uri, target.uri, "-k", "test_params or test_run_fields")
    assert refused.status == 4, refused.output
    assert "an empty source proves nothing" in refused.output
