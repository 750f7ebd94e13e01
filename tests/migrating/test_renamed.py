"""``migrate.py run --rename``: what names a prompt on the source names it by its new name on the target."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun
from support.migrations import migrate_py
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.standin.servers import Server

TAG = "mlflow.linkedPrompts"


def _links(prompt: str) -> str:
    return json.dumps([{"name": prompt, "version": "1"}])


def _seeded(server: Server) -> None:
    """A run, a logged model and a trace, each of which used a prompt, as MLflow's client writes it down."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("shop")
    for key in ("stays", "goes"):
        seed.set_experiment_tag(experiment, key, "1")
    marks = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    seed.call("POST", "registered-models/create", {"name": "greet", "tags": marks})
    marks.append({"key": "mlflow.prompt.text", "value": "Hi"})
    seed.call("POST", "model-versions/create", {"name": "greet", "source": "dummy-source", "tags": marks})
    run = seed.run(experiment, "asking")
    seed.log(run, metrics=[("loss", 1.5, EPOCH, 0)], tags={TAG: _links("greet")})
    seed.end(run)
    model = {"experiment_id": experiment, "name": "net", "source_run_id": run}
    made = seed.call("POST", "logged-models", {**model, "tags": [{"key": TAG, "value": _links("greet")}]})["model"]
    body = {"model_id": made["info"]["model_id"], "status": "LOGGED_MODEL_READY"}
    seed.call("PATCH", f"logged-models/{body['model_id']}", body)
    info = {
        "trace_id": f"tr-{'5' * 32}",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2026-01-01T00:00:00Z",
        "state": "IN_PROGRESS",
        "tags": {TAG: _links("greet"), "mlflow.traceName": "ask"},
        "trace_metadata": {TAG: _links("greet")},
    }
    seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")


def _told(server: Server) -> tuple[dict[str, str], list[str]]:
    """Return the tags of the experiment, and what its run, its logged model and its trace name."""
    seed = Seeder(server.uri)

    def tags(one: Any) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in one}

    experiment = seed.call("GET", "experiments/get-by-name", {"experiment_name": "shop"})["experiment"]
    places = [experiment["experiment_id"]]
    [run] = seed.call("POST", "runs/search", {"experiment_ids": places})["runs"]
    [model] = seed.call("POST", "logged-models/search", {"experiment_ids": places})["models"]
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": places[0]}}
    [trace] = seed.call("POST", "traces/search", {"locations": [place]}, version="3.0")["traces"]
    named = [tags(run["data"]["tags"])[TAG], tags(model["info"]["tags"])[TAG]]
    return tags(experiment["tags"]), [*named, trace["tags"][TAG], trace["trace_metadata"][TAG]]


@pytest.mark.long
def test_links_to_a_renamed_prompt(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Else they would lead nowhere, or the audit be red for what was right; and a tag that goes on the source goes."""
    source, target = fresh_server(), fresh_server()
    _seeded(source)
    (tmp_path / "names.toml").write_text('[prompts]\ngreet = "hello"\n')
    command = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--rename", "names.toml"]
    done = migrate_py(tmp_path, *command)
    assert done.status == 0, done.output[-3000:]
    assert _told(source)[1] == [_links("greet")] * 4
    assert _told(target)[1] == [_links("hello")] * 4
    rows = AuditRun(0, "", tmp_path / "reports").rows()
    assert {row.kind for row in rows} >= {"run", "logged_model", "trace", "prompt_version"}
    # a link by the old name leads to nothing of the target
    seed = Seeder(target.uri)
    [run] = seed.call("POST", "runs/search", {"experiment_ids": ["1"]})["runs"]
    seed.log(run["info"]["run_id"], tags={TAG: _links("greet")})
    named = [*command[1:5], "--rename", "names.toml"]
    red = migrate_py(tmp_path, "verify", *named)
    assert red.status == 1, red.output[-3000:]
    rows = AuditRun(1, "", tmp_path / "reports").red_rows()
    assert {(row.kind, row.name, row.facet) for row in rows} == {("run", "asking", "tags")}
    seed.log(run["info"]["run_id"], tags={TAG: _links("hello")})
    assert "goes" in _told(target)[0]
    Seeder(source.uri).call("POST", "experiments/delete-experiment-tag", {"experiment_id": "1", "key": "goes"})
    done = migrate_py(tmp_path, *command)
    assert done.status == 0, done.output[-3000:]
    told = _told(target)[0]
    assert told["stays"] == "1"
    assert "goes" not in told
