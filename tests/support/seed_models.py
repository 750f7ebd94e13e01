"""Logged models of every sort and the runs around them, by plain REST; for servers of MLflow 3."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

import requests

from support.seed import EPOCH, UMLAUT, Seeder, pairs

MLMODEL = """# written by hand
artifact_path: {uri}
flavors:
  python_function:
    loader_module: mlflow.pyfunc.model
    run_id: {run}
metadata: {{trained by: {run}}}
model_id: {model}
model_uuid: {model}
run_id: {run}
"""


class _Models:
    def __init__(self, uri: str) -> None:
        self.seed = Seeder(uri)

    def put(self, uri: str, path: str, content: bytes) -> None:
        stored = quote(f"{uri.removeprefix('mlflow-artifacts:').lstrip('/')}/{path}")
        url = f"{self.seed.uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        requests.put(url, data=content, timeout=60).raise_for_status()

    def model(
        self, experiment: str, name: str, run: str | None, *, status: str | None = "READY", weights: bytes = b"w"
    ) -> str:
        body: dict[str, Any] = {"experiment_id": experiment, "name": name, "model_type": "pyfunc"}
        body |= {"tags": pairs({"of": name, "größe/x": UMLAUT}), "params": pairs({"depth": "7", "empty": ""})}
        answer = self.seed.call("POST", "logged-models", {**body, **({"source_run_id": run} if run else {})})
        info = answer["model"]["info"]
        model = str(info["model_id"])
        text = MLMODEL.format(uri=info["artifact_uri"], run=run or "", model=model)
        self.put(info["artifact_uri"], "MLmodel", text.encode())
        self.put(info["artifact_uri"], "data/weights.bin", weights)
        if status:
            body = {"model_id": model, "status": f"LOGGED_MODEL_{status}"}
            self.seed.call("PATCH", f"logged-models/{model}", body)
        return model

    def points(self, run: str, model: str, *points: tuple[str, float | str, int], **linked: str) -> None:
        metrics = [
            {"key": key, "value": value, "timestamp": EPOCH, "step": step, "model_id": model, **linked}
            for key, value, step in points
        ]
        self.seed.call("POST", "runs/log-batch", {"run_id": run, "metrics": metrics})


def seed_models(uri: str) -> dict[str, str]:
    """Write two experiments with logged models; return ids of runs and models by name."""
    made = _Models(uri)
    seed = made.seed
    one, two = seed.experiment("models"), seed.experiment("models elsewhere")
    runs = {name: seed.run(one, name, start=EPOCH + n) for n, name in enumerate(("maker", "user", "second user"))}
    runs["stranger"] = seed.run(two, "stranger", parent=runs["maker"])
    runs["deleted maker"] = seed.run(one, "deleted maker")
    forest = made.model(one, "forest", runs["maker"])
    models = {"forest": forest}
    # the same name, run and content, but other files: only the order tells them apart
    for number in range(3):
        models[f"twin {number}"] = made.model(one, "twin", runs["maker"], weights=bytes([number]))
    models["orphan"] = made.model(one, "orphan", None, status="UPLOAD_FAILED")
    models["pending"] = made.model(one, "pending", runs["user"], status=None)
    models["left"] = made.model(one, "left", runs["deleted maker"], weights=b"left")
    models["of a stranger"] = made.model(one, "of a stranger", runs["stranger"])
    models["elsewhere"] = made.model(two, "elsewhere", runs["maker"])
    seed.call("POST", "runs/outputs", {"run_id": runs["maker"], "models": [{"model_id": forest, "step": 7}]})
    body = {"run_id": runs["stranger"], "models": [{"model_id": models["of a stranger"], "step": 1}]}
    seed.call("POST", "runs/outputs", body)
    for name in ("user", "second user", "stranger"):
        seed.call("POST", "runs/log-inputs", {"run_id": runs[name], "models": [{"model_id": forest}]})
    seed.dataset(runs["user"], "customers", "d1", "evaluation")
    made.points(runs["user"], forest, ("auc", 0.5, 0), ("auc", 0.75, 1), dataset_name="customers", dataset_digest="d1")
    made.points(runs["user"], forest, ("loss", "NaN", 0), ("loss", 0.0, 1), ("loss", "Infinity", 2))
    made.points(runs["user"], models["twin 0"], ("auc", 0.5, 0))
    made.points(runs["stranger"], forest, ("far", math.pi, 3))
    made.points(runs["maker"], models["elsewhere"], ("auc", 0.25, 0))
    made.points(runs["deleted maker"], models["left"], ("auc", 0.125, 0))
    # a copy of a model's files among a run's own
    text = MLMODEL.format(uri="elsewhere", run=runs["maker"], model=forest)
    seed.artifact(runs["second user"], "copy/MLmodel", text.encode())
    seed.artifact(runs["second user"], "broken/MLmodel", f"{{run_id: {runs['maker']}".encode())
    seed.artifact(runs["second user"], "flow/MLmodel", f'{{"run_id": "{runs["second user"]}", "a": [1]}}'.encode())
    for name, run in runs.items():
        if name != "user":
            seed.end(run)
    seed.delete_run(runs["deleted maker"])
    return {**runs, **models}
