"""``python -m mlflow_parity.migrating.demo_data URI``: fill a tracking server as a small team would.

Three experiments: a hyper-parameter sweep with nested runs and a registered model; forecasts, one of whose runs
*uses* a model that another one logged; and image runs of which some failed.
"""

from __future__ import annotations

import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

SWEEP = "churn / sweep"
FORECAST = "demand forecast"
IMAGES = "image quality"
ASSISTANT = "support assistant"
PROMPT = "support-answer"
#: The run that uses a logged model: it cuts the import of its experiment short.
USING = "backtest with last week's model"
_STEPS = 60


def fill(uri: str) -> None:
    """Write everything to the tracking server ``uri``."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    chance = random.Random(7)  # noqa: S311 - data, not secrets
    with tempfile.TemporaryDirectory() as folder:
        _sweep(client, chance, Path(folder))
        _forecasts(client, chance, Path(folder))
        _images(client, chance, Path(folder))
        _assistant(client)


def _sweep(client: MlflowClient, chance: random.Random, folder: Path) -> None:
    """Log a parent with children, dataset inputs, plots, and the best child's model in the registry."""
    import mlflow

    mlflow.set_experiment(SWEEP)
    experiment = client.get_experiment_by_name(SWEEP).experiment_id
    client.set_experiment_tag(experiment, "team", "growth")
    client.set_experiment_tag(experiment, "mlflow.note.content", "# Churn\nSearch over depth and learning rate.")
    with mlflow.start_run(run_name="sweep of 12 March") as parent:
        mlflow.set_tags({"stage": "search", "mlflow.note.content": "grid, 6 points"})
        for number in range(6):
            with mlflow.start_run(run_name=f"depth {number + 2}", nested=True) as child:
                run = child.info.run_id
                mlflow.log_params({"depth": number + 2, "lr": round(0.3 / (number + 1), 4), "data": "Größe ≥ 3"})
                client.log_batch(run, metrics=_curves(chance, ["loss", "val/loss", "auc"]))
                _dataset(client, run, "customers-2026-02", "training")
                _dataset(client, run, "customers-2026-03", "validation")
                _files(client, run, folder, {"plots/roc.svg": "<svg/>", "config/sweep.json": json.dumps({"n": number})})
                if number == 3:
                    _model("classifier", registered="churn-classifier")
        mlflow.log_metric("best_auc", 0.91)
    client.set_registered_model_alias("churn-classifier", "champion", "1")
    client.set_tag(parent.info.run_id, "winner", "depth 5")


def _forecasts(client: MlflowClient, chance: random.Random, folder: Path) -> None:
    """Log runs of which the third uses the model of the first."""
    import mlflow
    from mlflow.entities import LoggedModelInput

    mlflow.set_experiment(FORECAST)
    model = ""
    for name in ("train week 8", "train week 9", USING, "train week 10", "train week 11"):
        with mlflow.start_run(run_name=name) as current:
            run = current.info.run_id
            mlflow.log_params({"horizon": 14, "holidays": "DE, AT"})
            client.log_batch(run, metrics=_curves(chance, ["mape", "rmse"]))
            _dataset(client, run, "sales", "training")
            _files(client, run, folder, {"forecast.csv": "day,units\n1,20\n", "plots/fit.svg": "<svg/>"})
            if name == "train week 8":
                model = _model("forecaster")
            if name == USING:
                client.log_inputs(run, models=[LoggedModelInput(model)])


def _images(client: MlflowClient, chance: random.Random, folder: Path) -> None:
    """Log runs that ended in different ways, and metrics that are not numbers."""
    import mlflow
    from mlflow.entities import Metric

    mlflow.set_experiment(IMAGES)
    for number, status in enumerate(("FINISHED", "FAILED", "KILLED", "FINISHED")):
        with mlflow.start_run(run_name=f"camera {number}") as current:
            run = current.info.run_id
            mlflow.set_tag("line", "Werk Süd")
            client.log_batch(run, metrics=_curves(chance, ["sharpness"]))
            client.log_batch(
                run, metrics=[Metric("ratio", math.nan, _now(), 0), Metric("ratio", 0.1 + 0.2, _now(), -1)]
            )
            _files(client, run, folder, {"frames/a/1.txt": "ok", "frames/b/2.txt": "blurred", "empty.log": ""})
        client.set_terminated(run, status)


def _assistant(client: MlflowClient) -> None:
    """Register a prompt with two versions, and answer two questions with it: traces with feedback, without a run."""
    import mlflow
    from mlflow.entities import AssessmentSource

    mlflow.set_experiment(ASSISTANT)
    client.register_prompt(PROMPT, "Answer kindly: {{question}}", commit_message="first")
    client.register_prompt(PROMPT, "Answer kindly and in one line: {{question}}", commit_message="shorter")
    client.set_prompt_alias(PROMPT, "production", 2)
    for number, question in enumerate(("Where is my order?", "Wie groß ist die Packung?")):
        with mlflow.start_span(f"answer {number}", span_type="CHAIN") as span:
            span.set_inputs({"question": question})
            with mlflow.start_span("look up", span_type="RETRIEVER") as inner:
                inner.set_outputs({"rows": number})
            span.set_outputs("Here it is.")
        mlflow.flush_trace_async_logging()
        source = AssessmentSource("HUMAN", "ada")
        mlflow.log_feedback(trace_id=span.trace_id, name="kind", value=True, source=source)


def _curves(chance: random.Random, keys: Sequence[str]) -> list[Metric]:
    from mlflow.entities import Metric

    start = _now()
    return [
        Metric(key, math.exp(-step / 20) + chance.random() / 50, start + step * 250, step)
        for key in keys
        for step in range(_STEPS)
    ]


def _dataset(client: MlflowClient, run: str, name: str, context: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": f"s3://lake/{name}.parquet"})
    dataset = Dataset(name, sha256(name.encode()).hexdigest()[:8], "s3", source, None, json.dumps({"num_rows": 7043}))
    client.log_inputs(run, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])


def _files(client: MlflowClient, run: str, folder: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        client.log_artifact(run, str(file), str(Path(path).parent) if "/" in path else None)


def _model(name: str, registered: str | None = None) -> str:
    """Log a small Python model in the active run and return its id."""
    import mlflow

    class Model(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
        def predict(self, context: object, model_input: list[float]) -> list[float]:
            return [2 * value for value in model_input]

    logged = mlflow.pyfunc.log_model(
        name=name, python_model=Model(), pip_requirements=[], registered_model_name=registered
    )
    return str(logged.model_id)


def _now() -> int:
    return int(time.time() * 1000)


if __name__ == "__main__":
    fill(sys.argv[1])
