"""Scopes that change from call to call: each moves what it names, and links are written once both ends are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.exported import export
from support.importer import Migration
from support.migrations import migrate_py
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.core.records import PARENT_TAG
from mlflow_parity.migrating.write.link_state import FIXED


def _runs(seed: Seeder) -> dict[str, dict[str, Any]]:
    found = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    body = {"experiment_ids": [one["experiment_id"] for one in found], "max_results": 100}
    return {one["info"]["run_name"]: one for one in seed.call("POST", "runs/search", body).get("runs", [])}


@pytest.mark.long
def test_an_interrupted_run_of_another_scope_is_not_gone_on_with(fresh_server: FreshServer, tmp_path: Path) -> None:
    """``run --experiments alpha``, killed when its export was whole; then all of it: the rest is moved, too."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    for name in ("alpha", "beta"):
        seed.end(seed.run(seed.experiment(name), f"in {name}"))
    ends = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--no-verify"]
    assert migrate_py(tmp_path, *ends, "--experiments", "alpha").status == 0
    note = tmp_path / "work" / "mlflow-parity-migration.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "exported": True}))
    done = migrate_py(tmp_path, *ends)
    assert (done.status, "Migrated: 3 experiments" in done.output) == (0, True), done.output
    assert _runs(Seeder(target.uri)).keys() == {"in alpha", "in beta"}


@pytest.mark.long
def test_links_among_experiments_that_are_moved_one_after_another(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What points out of the scope is linked when the other end comes; what cannot be linked any more is named."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    alpha, beta = seed.experiment("alpha"), seed.experiment("beta")
    parent, child = seed.run(beta, "parent"), seed.run(alpha, "child")
    seed.log(child, tags={PARENT_TAG: parent})
    made: dict[str, str] = {}
    for experiment, name, run in ((beta, "of beta", None), (alpha, "late", parent), (alpha, "fed", None)):
        body = {"experiment_id": experiment, "name": name, **({"source_run_id": run} if run else {})}
        made[name] = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    seed.call("POST", "runs/log-inputs", {"run_id": child, "models": [{"model_id": made["of beta"], "step": 0}]})
    point = {"key": "auc", "value": 0.5, "timestamp": EPOCH, "step": 1, "model_id": made["fed"]}
    seed.call("POST", "runs/log-batch", {"run_id": parent, "metrics": [point]})
    seed.call("POST", "registered-models/create", {"name": "churn"})
    version = {"name": "churn", "source": f"models:/{made['fed']}", "model_id": made["fed"], "run_id": parent}
    seed.call("POST", "model-versions/create", version)
    folder, journal = export(source, tmp_path), tmp_path / "journal"

    def moved(*names: str) -> Migration:
        migration = Migration(folder, target.uri, journal, only=names)
        try:
            migration.run()
            return migration
        finally:
            migration.close()

    assert "which is not on the target" in moved("alpha").left["fed"]
    moved("beta")
    done = moved("alpha", "beta")
    copies = _runs(there)
    tags = {one["key"]: one["value"] for one in copies["child"]["data"]["tags"]}
    assert tags[PARENT_TAG] == copies["parent"]["info"]["run_id"]
    used = there.call("GET", "runs/get", {"run_id": copies["child"]["info"]["run_id"]})["run"]["inputs"]
    assert len(used["model_inputs"]) == 1
    assert {one["key"] for one in copies["parent"]["data"]["metrics"]} == {"auc"}
    # of these MLflow cannot change the run
    assert done.left.keys() == {"late", "churn version 1"}
    assert all(FIXED in reason for reason in done.left.values())
    # and nothing is written twice
    again = moved("alpha", "beta")
    assert (again.left, again.told.get("runs")) == (done.left, None)


@pytest.mark.long
@pytest.mark.parametrize("more", [(), ("--discard-export", "--batch-size", "1")], ids=["kept", "discarded"])
def test_traces_that_name_what_is_moved_after_them(
    fresh_server: FreshServer, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """A trace's run, its logged model and the run that judged it are in an experiment that comes later."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    first, later = seed.experiment("a"), seed.experiment("b")
    run = seed.run(later, "judge")
    seed.end(run)
    body = {"experiment_id": later, "name": "late", "source_run_id": run}
    model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    for number, metadata in enumerate(({"mlflow.sourceRun": run}, {"mlflow.modelId": model}, {})):
        info = {
            "trace_id": f"tr-{number:032x}", "state": "IN_PROGRESS", "trace_metadata": metadata,
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": first}},
            "request_time": "2023-11-14T22:13:20.007Z",
        }  # fmt: skip
        seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
    judged = {
        "assessment_name": "good", "trace_id": f"tr-{2:032x}", "feedback": {"value": True},
        "source": {"source_type": "CODE", "source_id": "s"}, "metadata": {"mlflow.assessment.sourceRunId": run},
    }  # fmt: skip
    seed.call("POST", f"traces/tr-{2:032x}/assessments", {"assessment": judged}, version="3.0")
    ends = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", *more]
    done = migrate_py(tmp_path, *ends)
    assert done.status == 0, done.output
    [copy] = [one["info"]["run_id"] for one in _runs(Seeder(target.uri)).values()]
    there = Seeder(target.uri).call("GET", f"traces/tr-{0:032x}", {}, version="3.0")["trace"]["trace_info"]
    assert there["trace_metadata"]["mlflow.sourceRun"] == copy != run
    # and it was written once for all: a second run finds nothing to do
    again = migrate_py(tmp_path, *ends)
    assert again.status == 0, again.output
