"""A small export of a running server: its snapshot, the bytes of its files, and the tool's JSON files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow_parity.locations import parse_location
from mlflow_parity.migrating.export_folder import ExportFolder
from mlflow_parity.model import DatasetInput, Run
from mlflow_parity.reading import open_reader
from mlflow_parity.snapshot import PARTS, SERVER_PARTS
from mlflow_parity.snapshot.capture import capture
from mlflow_parity.snapshot.store import Origin, Snapshot, SnapshotView
from mlflow_parity.standin.servers import Server


def export(server: Server, root: Path, *, include_deleted: bool = True) -> ExportFolder:
    """Export a server that keeps its artifacts on the local disk."""
    folder = ExportFolder(root)
    reader = open_reader(parse_location(server.uri, option="--source-uri"), "source", 4)
    try:
        origin = Origin(server.uri, "http", reader.capabilities.version, {})
        experiments = [one for one in reader.experiments() if include_deleted or one.lifecycle_stage != "deleted"]
        snapshot = Snapshot.create(folder.snapshot_root, origin, experiments)
        capture(
            reader,
            snapshot,
            experiments,
            [*PARTS, *SERVER_PARTS],
            "digest",
            include_deleted=include_deleted,
            count=lambda **_: None,
            model_links=True,
        )
        snapshot.finish()
    finally:
        reader.close()
    for file in Path(server.artifacts_root).rglob("*"):
        if file.is_file():
            whole = file.read_bytes()
            blob = folder.blobs.open()
            blob.write(whole)
            blob.keep(hashlib.sha256(whole).hexdigest())
    for experiment in snapshot.experiments:
        view, objects = snapshot.view(experiment), snapshot.objects(experiment.experiment_id)
        for run in view.all_runs():
            if include_deleted or run.lifecycle_stage != "deleted":
                place = folder.run_dir(experiment.experiment_id, run.run_id)
                _write(place / "run.json", _run(run, view))
        ids = [key.entity_id for key in objects.keys("logged_model")]
        for model in objects.entities("logged_model", ids):
            facets = model.facets
            content = {
                "name": model.name,
                "tags": facets["tags"],
                "params": facets["params"],
                "model_type": facets["type"],
                "source_run_id": facets["run"],
                "metrics": facets["metrics"],
                "status": facets["status"]["status"],
            }
            _write(folder.model_dir(experiment.experiment_id, model.entity_id) / "logged_model.json", content)
    return folder


def _run(run: Run, view: SnapshotView) -> dict[str, Any]:
    info = {
        "run_id": run.run_id,
        "experiment_id": run.experiment_id,
        "user_id": run.user_id,
        "status": run.status,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "lifecycle_stage": run.lifecycle_stage,
        "artifact_uri": run.artifact_uri,
        "run_name": run.name,
    }
    metrics = {}
    for key in view.histories(run.run_id):
        series = view.points(run.run_id, key)
        columns = (series.values.tolist(), series.timestamps.tolist(), series.steps.tolist())
        metrics[key] = [
            dict(zip(("value", "timestamp", "step"), one, strict=True)) for one in zip(*columns, strict=True)
        ]
    linked = [[{"model_id": m, "step": s} for m, s in found or ()] for found in (run.model_inputs, run.model_outputs)]
    return {
        "info": info,
        "params": dict(run.params),
        "metrics": metrics,
        "tags": dict(run.tags),
        "inputs": {"dataset_inputs": [_dataset(one) for one in run.inputs], "model_inputs": linked[0]},
        "outputs": {"model_outputs": linked[1]},
    }


def _dataset(one: DatasetInput) -> dict[str, Any]:
    fields = {key: value for key, value in asdict(one).items() if key != "tags"}
    return {"dataset": fields, "tags": [{"key": key, "value": value} for key, value in one.tags]}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"system": {"export_time": 1}, "mlflow": content}, indent=2), encoding="utf-8")
