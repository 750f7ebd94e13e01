"""What the plain tool loses, row by row: it is red after the tool, and green after ``migrate.py``.

Which test shows which row, in this file and others, is in :mod:`support.loss_rows`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from support.audits import AuditRun, audit
from support.environments import python_of
from support.loss_rows import ROWS
from support.migrations import migrate_py
from support.seed import Seeder
from support.seed_objects import HOOK
from support.seed_traps import seed_traps
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.core.verdict import Row
from mlflow_parity.standin.servers import Server, clean_environment

#: One migration with the plain tool and one with ours, which the demo has too.
pytestmark = pytest.mark.long

_ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Loss:
    """One row of the tables: what triggers it, and which object is lost or altered by the plain tool."""

    trigger: str
    experiment: str
    kind: str
    name: str
    facets: tuple[str, ...] = ("presence",)


LOSSES = (
    # what cuts an experiment short
    Loss("a run with model inputs", "run with model inputs", "run", "user"),
    Loss("… and the rest of its experiment", "run with model inputs", "run", "witness"),
    Loss("a logged model that several runs use", "run with model inputs", "logged_model", "shared"),
    Loss("a run with a trace", "run with a trace", "run", "witness"),
    Loss("… and that trace", "run with a trace", "trace", "traced in a run"),
    Loss("spans in the database", "trace without a run", "trace", "spans in the database"),
    Loss("an overridden assessment", "trace without a run", "trace", "overridden feedback"),
    Loss("a logged model without a run", "logged model without a run", "logged_model", "orphan", ("files", "status")),
    Loss("a deleted parent", "child of a deleted parent", "run", "parent"),
    Loss("… whose siblings keep the source's ids", "child of a deleted parent", "run", "other child", ("parent",)),
    Loss("a deleted run that was not asked for", "registry", "run", "deleted trainer"),
    # what is lost field by field
    Loss("tags of Default", "Default", "experiment", "Default", ("tags",)),
    Loss("note of Default", "Default", "experiment", "Default", ("note",)),
    Loss("a deleted experiment", "deleted experiment", "experiment", "deleted experiment"),
    Loss("… and its runs", "deleted experiment", "run", "in a deleted experiment"),
    Loss("aliases of a prompt", "prompt answer", "prompt", "answer", ("aliases",)),
    Loss("tags of a prompt", "prompt answer", "prompt", "answer", ("tags",)),
    Loss("response format", "prompt answer", "prompt_version", "answer version 2", ("response_format",)),
    Loss("model configuration", "prompt answer", "prompt_version", "answer version 3", ("model_config",)),
    Loss("ten and more versions of a prompt", "prompt answer", "prompt_version", "answer version 10", ("template",)),
    Loss("experiment of a dataset", "(server)", "evaluation_dataset", "questions", ("experiments",)),
    Loss("a scorer", "evaluation", "scorer", "tone"),
    Loss("a webhook", "(server)", "webhook", "hook"),
    # model versions
    Loss("a version of a run's files", "registered model churn", "model_version", "churn version 1"),
    Loss("a version of a logged model", "registered model churn", "model_version", "churn version 3"),
    Loss("a version with a stage", "registered model churn", "model_version", "churn version 4"),
    Loss("an alias of a lost version", "registered model churn", "registered_model", "churn", ("aliases",)),
    Loss("a version without a run", "registered model of no run", "model_version", "of no run version 1"),
    Loss("a version of a deleted run", "registered model left behind", "model_version", "left behind version 1"),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_its_test(row: str) -> None:
    """The list of what is known to be lost names tests and cases that are there."""
    file, function, case = ROWS[row]
    text = (_ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
    assert f"\ndef test_{function}" in text
    assert case in text


@dataclass(frozen=True, slots=True)
class Both:
    """The same source after the plain tool and after ours, and how ``migrate.py run`` ended."""

    source: Server
    plain: AuditRun
    ours: AuditRun
    status: int
    output: str
    targets: tuple[Server, Server]
    folder: Path
    named: list[str]


#: An experiment whose run is deleted, and whose logged model is not.
GHOST = "logged model of a deleted run"
SOURCE_TAG = "mlflow_exim."


def _seed(uri: str) -> None:
    seed_traps(uri)
    seed = Seeder(uri)
    one = seed.experiment(GHOST)
    run = seed.run(one, "gone")
    body = {"experiment_id": one, "name": "left", "source_run_id": run}
    model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    seed.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": "LOGGED_MODEL_READY"})
    seed.end(run)
    seed.delete_run(run)
    # last: no creation of a model calls it
    events = [{"entity": "MODEL_VERSION", "action": "CREATED"}]
    seed.call("POST", "webhooks", {"name": "hook", "url": HOOK, "events": events, "status": "DISABLED"})


@pytest.fixture(scope="module")
def both(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Migrate one source twice: with the plain tool, and with ``migrate.py run``."""
    folder = tmp_path_factory.mktemp("losses")
    source, plain, ours = module_server(), module_server(), module_server()
    _seed(source.uri)
    # the tool's threads give ids as they come: none of them may happen to be that of the source
    before = Seeder(plain.uri)
    for number in range(40):
        before.experiment(f"before {number}")
    printed = migrate(source.uri, plain.uri, folder / "tool")
    assert '"exceptions": 0' in printed
    named = ["--source-uri", source.uri, "--target-uri", ours.uri, "--include-deleted"]
    done = migrate_py(folder, "run", *named, "--work-dir", "work", "--report-dir", "reports")
    after_tool = audit(folder / "plain", source.uri, plain.uri, "--parity-include-deleted")
    after_ours = AuditRun(done.status, done.output, folder / "reports")
    return Both(source, after_tool, after_ours, done.status, done.output, (plain, ours), folder, named)


def _rows(run: AuditRun, loss: Loss) -> list[Row]:
    return [
        row
        for row in run.rows()
        if (row.experiment, row.kind, row.name) == (loss.experiment, loss.kind, loss.name) and row.facet in loss.facets
    ]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{loss.trigger}: {loss.name}")
def test_the_tool_loses_it_and_migrate_does_not(both: Both, loss: Loss) -> None:
    """Red after the plain tool, green after ours; and both audits looked at it."""
    after_tool, after_ours = _rows(both.plain, loss), _rows(both.ours, loss)
    assert after_tool
    assert any(not row.state.green for row in after_tool), "the plain tool does not lose it any more"
    assert {row.facet for row in after_ours} == set(loss.facets)
    assert all(row.state.green for row in after_ours), after_ours


def test_everything_is_green_without_a_waiver(both: Both) -> None:
    """The whole of it, not only the rows of the table."""
    assert both.status == 0, both.output[-4000:]
    assert both.ours.report["verdict"] == "green"
    assert both.ours.red_rows() == []
    assert both.plain.status == 1


def test_times_and_user_stand_on_the_target_itself(both: Both) -> None:
    """Start, end and user are the source's own, not those of the import; a running run has no end."""
    facets = ("times", "user", "status")
    rows = [row for row in both.ours.rows() if row.experiment == "times" and row.kind == "run" and row.facet in facets]
    assert len(rows) == 6
    assert {row.state.value for row in rows} == {"match"}, rows
    told = {row.state.value for row in both.plain.rows() if row.experiment == "times" and row.facet == "times"}
    assert "expected" in told


def test_what_is_left_beside_a_deleted_parent(both: Both) -> None:
    """The tool fails after the runs: the witness is there; the child names a run of the source, which the contract
    lets pass where there is no better, and ours has the parent."""
    for found, state in ((both.plain, "expected"), (both.ours, "match")):
        rows = {
            (row.name, row.facet): row.state.value
            for row in found.rows()
            if (row.experiment, row.kind) == ("child of a deleted parent", "run")
        }
        assert (rows["witness", "presence"], rows["child", "parent"]) == ("match", state)


def test_no_run_is_made_up(both: Both) -> None:
    """The tool makes a run for the logged model whose own was not exported; after ours there is the source's."""
    for found, states in ((both.plain, {"missing", "extra"}), (both.ours, {"match"})):
        rows = [row for row in found.rows() if (row.experiment, row.kind, row.facet) == (GHOST, "run", "presence")]
        assert {row.state.value for row in rows} == states


def _tags(server: Server) -> dict[str, set[str]]:
    """The source tags of the objects that the plain tool gives none, by kind; a kind that is not there is left out."""
    seed = Seeder(server.uri)
    found: dict[str, list[dict[str, Any]]] = {"registered_model": [], "prompt": []}
    for name, kind in (("churn", "registered_model"), ("answer", "prompt")):
        found[kind].append(seed.call("GET", "registered-models/get", {"name": name})["registered_model"])
    made = seed.call("POST", "experiments/search", {"max_results": 1_000, "view_type": "ALL"})["experiments"]
    places = [one["experiment_id"] for one in made]
    models = seed.call("POST", "logged-models/search", {"experiment_ids": places, "max_results": 50})
    found["logged_model"] = [model["info"] for model in models.get("models", [])]
    locations = [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": place}} for place in places]
    traces = seed.call("POST", "traces/search", {"locations": locations, "max_results": 100}, version="3.0")
    found["trace"] = [{"tags": [{"key": key} for key in trace.get("tags", {})]} for trace in traces.get("traces", [])]
    return {
        kind: {tag["key"] for one in objects for tag in one.get("tags", ()) if tag["key"].startswith(SOURCE_TAG)}
        for kind, objects in found.items()
        if objects
    }


def test_where_no_source_tags_are_written(both: Both) -> None:
    """Neither the tool nor ours leaves a mark on these; the audit tells them by other things, and all is green."""
    plain, ours = (_tags(target) for target in both.targets)
    assert {*plain} >= {"registered_model", "prompt", "logged_model"}
    assert {*ours} == {"registered_model", "prompt", "logged_model", "trace"}
    assert not any((*plain.values(), *ours.values()))


def test_a_name_with_an_apostrophe(both: Both, tmp_path: Path) -> None:
    """The plain export ends with an error at such a registered model; ours moves it in an incremental run."""
    api = f"{both.source.uri}/api/2.0/mlflow/registered-models/create"
    requests.post(api, json={"name": "it's a model"}, timeout=30).raise_for_status()
    program = "from mlflow_export_import.bulk.export_models import main; main()"
    done = subprocess.run(
        [python_of("newest"), "-c", program, "--output-dir", str(tmp_path), "--models", "it's a model"],
        env=clean_environment({"MLFLOW_TRACKING_URI": both.source.uri}), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert "Invalid clause" in done.stdout + done.stderr
    ours = both.targets[1]
    more = ["--work-dir", "work", "--report-dir", "again", "--no-verify"]
    moved = migrate_py(both.folder, "run", *both.named, *more)
    assert moved.status == 0, moved.output[-3000:]
    found = Seeder(ours.uri).call("GET", "registered-models/get", {"name": "it's a model"})["registered_model"]
    assert found["name"] == "it's a model"
