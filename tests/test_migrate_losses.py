"""What the plain tool loses, row by row: it is red after the tool, and green after ``migrate.py``."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from support.audits import AuditRun, audit
from support.environments import python_of
from support.migrations import migrate_py
from support.seed import Seeder
from support.seed_traps import seed_traps
from support.servers import FreshServer
from support.tool import migrate

from mlflow_parity.standin.servers import Server, clean_environment
from mlflow_parity.verdict import Row

_ROOT = Path(__file__).resolve().parent.parent


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
    Loss("a deleted run", "registry", "run", "deleted trainer"),
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
    # model versions
    Loss("a version of a run's files", "registered model churn", "model_version", "churn version 1"),
    Loss("a version of a logged model", "registered model churn", "model_version", "churn version 3"),
    Loss("a version with a stage", "registered model churn", "model_version", "churn version 4"),
    Loss("an alias of a lost version", "registered model churn", "registered_model", "churn", ("aliases",)),
    Loss("a version without a run", "registered model of no run", "model_version", "of no run version 1"),
    Loss("a version of a deleted run", "registered model left behind", "model_version", "left behind version 1"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Both:
    """The same source after the plain tool and after ours, and how ``migrate.py run`` ended."""

    source: Server
    plain: AuditRun
    ours: AuditRun
    status: int
    output: str


@pytest.fixture(scope="module")
def both(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Migrate one source twice: with the plain tool, and with ``migrate.py run``."""
    folder = tmp_path_factory.mktemp("losses")
    source, plain, ours = module_server(), module_server(), module_server()
    seed_traps(source.uri)
    # the tool's threads give ids as they come: none of them may happen to be that of the source
    before = Seeder(plain.uri)
    for number in range(40):
        before.experiment(f"before {number}")
    printed = migrate(source.uri, plain.uri, folder / "tool")
    assert '"exceptions": 0' in printed
    named = ["--source-uri", source.uri, "--target-uri", ours.uri, "--include-deleted"]
    done = migrate_py(folder, "run", *named, "--work-dir", "work", "--report-dir", "reports")
    after_tool = audit(folder / "plain", source.uri, plain.uri, "--include-deleted")
    after_ours = AuditRun(done.status, done.output, folder / "reports")
    return Both(source, after_tool, after_ours, done.status, done.output)


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
