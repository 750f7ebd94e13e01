"""Writes every kind of object of the newest MLflow to a server, by its own client, in a process of its own.

``python seed_many.py URI COUNT`` makes ``COUNT`` of each kind, numbered from 00, so that each can be told by name.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import AT_ONCE, clean_environment


def seed_many(uri: str, count: int = 2) -> dict[str, Any]:
    """Run this file as a program; return the ids that it prints."""
    from support import warm

    with tempfile.TemporaryDirectory() as folder:
        arguments = [__file__, uri, str(count)]
        done = warm.run(arguments, kind="mlflow", cwd=Path(folder), env=clean_environment(AT_ONCE))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _logged_model(client: Any, experiment: str, number: int, maker: str, user: str, folder: Path) -> str:
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    made = client.create_logged_model(
        experiment, name=f"model {number:02}", source_run_id=maker, tags={"team": "risk"},
        params={"depth": "3", "größe": "α"}, model_type="classifier",
    )  # fmt: skip
    (folder / "MLmodel").write_text(f"run_id: {maker}\nmodel_id: {made.model_id}\nflavors: {{python_function: {{}}}}\n")
    (folder / "weights.bin").write_bytes(bytes([number, 1, 2, 3]))
    client.log_model_artifacts(made.model_id, str(folder))
    client.log_outputs(maker, [LoggedModelOutput(made.model_id, number)])
    client.log_inputs(user, models=[LoggedModelInput(made.model_id)])
    client.log_metric(maker, "acc", number / 3, step=1, model_id=made.model_id, dataset_name="d", dataset_digest="dd")
    client.finalize_logged_model(made.model_id, "READY")
    return str(made.model_id)


def _registered(client: Any, number: int, models: list[str], maker: str) -> None:
    name = f"churn {number:02}"
    client.create_registered_model(name, tags={"tier": "gold"}, description=f"about {number}")
    for version in range(3):
        model = models[(number + version) % len(models)]
        client.create_model_version(
            name, f"models:/{model}", run_id=maker, tags={"v": str(version)}, description=f"{number}.{version}",
            model_id=model,
        )  # fmt: skip
    client.delete_model_version(name, "2")
    client.set_registered_model_alias(name, "champion", "1")
    client.transition_model_version_stage(name, "3", "Production")


def _prompt(client: Any, number: int) -> None:
    import mlflow

    name = f"greet-{number:02}"
    client.register_prompt(name, f"Hello {{{{who}}}} {number}", commit_message="first", tags={"lang": "en"},
                           response_format={"type": "object"})  # fmt: skip
    client.register_prompt(name, [{"role": "user", "content": "hi {{who}}"}], commit_message="second")
    mlflow.genai.set_prompt_model_config(name, 2, {"model_name": "m", "temperature": 0.1})
    client.set_prompt_alias(name, "production", 1)


def _trace(client: Any, number: int, run: str) -> str:
    import mlflow
    from mlflow.entities import AssessmentSource, SpanEvent

    with mlflow.start_run(run_id=run), mlflow.start_span(f"trace {number:02}", span_type="CHAIN") as root:
        root.set_inputs({"question": number, "limit": float("nan")})
        root.set_attribute("options", {"a": [1, 2.5, None]})
        with mlflow.start_span("child", span_type="TOOL") as child:
            child.set_outputs([1, {"deep": "ü"}])
            child.add_event(SpanEvent("looked up", attributes={"hits": 3}))
        root.set_outputs("answer")
    trace = str(mlflow.get_last_active_trace_id())
    source = AssessmentSource("HUMAN", "ada")
    given = mlflow.log_feedback(trace_id=trace, name="good", value=True, rationale="clear", source=source,
                                metadata={"m": "1"})  # fmt: skip
    mlflow.log_expectation(trace_id=trace, name="wanted", value={"a": 1}, source=source)
    mlflow.override_feedback(trace_id=trace, assessment_id=given.assessment_id, value=False, source=source)
    client.link_prompt_versions_to_trace([mlflow.genai.load_prompt("prompts:/greet-00/1")], trace)
    return trace


def _write(uri: str, count: int) -> dict[str, Any]:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.genai.scorers import Guidelines

    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = MlflowClient()
    experiment = client.create_experiment("objects")
    mlflow.set_experiment("objects")
    maker, user = (client.create_run(experiment, run_name=name).info.run_id for name in ("maker", "user"))
    client.log_param(maker, "p", "1")
    folder = Path("files")
    folder.mkdir()
    models = [_logged_model(client, experiment, number, maker, user, folder) for number in range(count)]
    for number in range(count):
        _registered(client, number, models, maker)
        _prompt(client, number)
    traces = [_trace(client, number, maker) for number in range(count)]
    for number in range(count):
        dataset = mlflow.genai.datasets.create_dataset(f"questions {number:02}", experiment_id=[experiment],
                                                       tags={"a": "b"})  # fmt: skip
        dataset.merge_records([
            {"inputs": {"q": "1"}, "expectations": {"a": 2}, "tags": {"t": "1"}},
            {"inputs": {"q": "2"}, "outputs": {"o": 1.5}},
        ])  # fmt: skip
        scorer = Guidelines(name=f"tone {number:02}", guidelines="be kind")
        scorer.register(name=f"tone {number:02}", experiment_id=experiment)
    for run in (maker, user):
        client.set_terminated(run)
    return {"experiment": experiment, "maker": maker, "user": user, "models": models, "traces": traces}


if __name__ == "__main__":
    print(json.dumps(_write(sys.argv[1], int(sys.argv[2]))))
