"""A source on which nearly every rule of the contract has its case, and its copy by the tool."""

from __future__ import annotations

from dataclasses import replace

from mlflow_parity.core.records import Experiment, MetricPoint, Run
from support.memory import Store
from support.stores import imported

MLMODEL = b"run_id: '%b'\nmodel_uuid: u1\nutc_time_created: '2026'\nflavors:\n  python_function: {loader_module: x}\n"


def source() -> Store:
    """A source on which nearly every rule that lets something differ has its case."""
    store = Store()
    store.experiments = [
        Experiment("0", "Default", "active", "mlflow-artifacts:/0", 1, 2, {}),
        Experiment("1", "main", "active", "mlflow-artifacts:/1", 5, 6, {"mlflow.note.content": "n", "k": "v"}),
    ]
    for number in range(2):
        run_id = f"{number:032x}"
        store.runs.append(
            Run(
                run_id=run_id,
                experiment_id="1",
                name=f"run-{number}" if number else "",
                status="FINISHED",
                start_time=1_000 + number,
                end_time=2_000 + number,
                user_id="ada",
                lifecycle_stage="active",
                artifact_uri=f"mlflow-artifacts:/1/{run_id}/artifacts",
                params={"lr": "0.1"},
                tags={"mlflow.user": "ada"},
                metrics={"loss": MetricPoint(2, 1, 2.0)},
                inputs=(),
            )
        )
        store.points[run_id, "loss"] = ((0, 1, float("inf")), (1, 1, -0.0), (2, 1, 2.0), (2, 1, 2.0))
        store.files[run_id, "model/MLmodel"] = MLMODEL % run_id.encode()
    return store


def target() -> Store:
    """Its copy by the tool, in an SQL store that has its own Default experiment."""
    found = imported(source())
    default = Experiment("0", "Default", "active", "mlflow-artifacts:/0", 70, 71, {})
    found.experiments = [default, *(item for item in found.experiments if item.name != "Default")]
    for run in found.runs:
        found.points[run.run_id, "loss"] = ((0, 1, 1.7976931348623157e308), (1, 1, 0.0), (2, 1, 2.0))
        found.files[run.run_id, "model/MLmodel"] = b"# written again\n" + MLMODEL % run.run_id.encode()
    found.runs[0] = replace(found.runs[0], name="witty-fish-1")
    return found
