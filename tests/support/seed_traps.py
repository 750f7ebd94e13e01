"""Writes what the plain Export Import tool loses, each trap in an experiment of its own so that none hides another.

``python seed_traps.py URI`` prints the ids of what cannot be told by its name. In an experiment that a trap cuts short
the run ``witness`` comes after the trap: it has nothing to do with it, and is lost with it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import AT_ONCE, clean_environment

#: Ten versions: sorted as text, 10 comes before 2.
PROMPT_VERSIONS = 11
TIMES = (1_700_000_000_000, 1_700_000_060_000)


def seed_traps(uri: str) -> dict[str, Any]:
    """Run this file as a program; return what it prints."""
    from support import warm

    with tempfile.TemporaryDirectory() as folder:
        done = warm.run([__file__, uri], kind="mlflow", cwd=Path(folder), env=clean_environment(AT_ONCE))
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class _Traps:
    def __init__(self, uri: str) -> None:
        import mlflow

        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        self.mlflow = mlflow
        self.client = mlflow.MlflowClient()
        self.ids: dict[str, Any] = {}
        self._clock = TIMES[0]

    def experiment(self, name: str) -> str:
        return str(self.client.create_experiment(name))

    def run(self, experiment: str, name: str, tags: dict[str, str] | None = None, *, end: bool = True) -> str:
        # the tool imports the newest first: what is made later here is imported before
        self._clock += 1000
        made = self.client.create_run(experiment, start_time=self._clock, tags=tags, run_name=name)
        run = str(made.info.run_id)
        self.client.log_param(run, "name", name)
        self.client.log_metric(run, "loss", 0.1 + 0.2, timestamp=self._clock, step=0)
        if end:
            self.client.set_terminated(run, "FINISHED", end_time=self._clock + 60_000)
        return run

    def model(self, experiment: str, name: str, run: str | None, weights: bytes) -> str:
        made = self.client.create_logged_model(
            experiment, name=name, source_run_id=run, tags={"of": name}, params={"depth": "3"}, model_type="pyfunc"
        )
        folder = Path(f"model-{made.model_id}")
        folder.mkdir()
        (folder / "MLmodel").write_text(
            f"# by hand\nrun_id: {run}\nmodel_id: {made.model_id}\nflavors: {{python_function: {{}}}}\n"
        )
        (folder / "weights.bin").write_bytes(weights)
        self.client.log_model_artifacts(made.model_id, str(folder))
        self.client.finalize_logged_model(made.model_id, "READY")
        return str(made.model_id)

    def trace(self, name: str, run: str | None = None) -> str:
        from contextlib import nullcontext

        with self.mlflow.start_run(run_id=run) if run else nullcontext(), self.mlflow.start_span(name) as span:
            span.set_inputs({"question": name})
            with self.mlflow.start_span("inner", span_type="TOOL") as inner:
                inner.set_outputs([1, {"deep": "ü"}])
            span.set_outputs("answer")
        if run:
            self.client.set_terminated(run, "FINISHED", end_time=TIMES[1])
        return str(span.trace_id)

    # --- what cuts an experiment short

    def cut_short(self) -> None:
        from mlflow.entities import AssessmentSource, LoggedModelInput, LoggedModelOutput

        one = self.experiment("run with model inputs")
        self.run(one, "witness")
        maker = self.run(one, "maker")
        shared = self.model(one, "shared", maker, b"shared")
        self.client.log_outputs(maker, [LoggedModelOutput(shared, 7)])
        for name in ("user", "second user"):
            self.client.log_inputs(self.run(one, name), models=[LoggedModelInput(shared)])

        one = self.experiment("run with a trace")
        self.run(one, "witness")
        self.mlflow.set_experiment(experiment_id=one)
        self.trace("traced in a run", self.run(one, "traced"))

        one = self.experiment("trace without a run")
        self.mlflow.set_experiment(experiment_id=one)
        self.trace("spans in the database")
        trace = self.trace("overridden feedback")
        source = AssessmentSource("HUMAN", "ada")
        given = self.mlflow.log_feedback(trace_id=trace, name="good", value=True, rationale="clear", source=source)
        self.mlflow.override_feedback(trace_id=trace, assessment_id=given.assessment_id, value=False, source=source)

        one = self.experiment("logged model without a run")
        self.run(one, "witness")
        self.model(one, "orphan", None, b"orphan")

        one = self.experiment("child of a deleted parent")
        self.run(one, "witness")
        # made before, so that the tool comes to them after the trap
        other = self.run(one, "other parent")
        self.run(one, "other child", {"mlflow.parentRunId": other})
        parent = self.run(one, "parent")
        self.run(one, "child", {"mlflow.parentRunId": parent})
        self.client.delete_run(parent)

        one = self.experiment("nested runs")
        top = self.run(one, "top")
        middle = self.run(one, "middle", {"mlflow.parentRunId": top})
        self.run(one, "leaf", {"mlflow.parentRunId": middle})

        one = self.experiment("names of files")
        run = self.run(one, "named")
        folder = Path("named")
        (folder / "plots").mkdir(parents=True)
        (folder / "plots" / "größe-数据.txt").write_text("Größe\n")
        (folder / "empty.bin").touch()
        self.client.log_artifacts(run, str(folder))

    # --- what is lost field by field

    def fields(self) -> None:
        from mlflow.entities import ViewType

        default = self.client.search_experiments(view_type=ViewType.ALL, filter_string="name = 'Default'")[0]
        self.client.set_experiment_tag(default.experiment_id, "team", "growth")
        self.client.set_experiment_tag(default.experiment_id, "mlflow.note.content", "# The default")
        self.run(default.experiment_id, "in Default")

        one = self.experiment("times")
        self.run(one, "still running", {"mlflow.user": "ada"}, end=False)
        run = self.run(one, "values", {"mlflow.user": "ada"})
        for value in (float("nan"), 0.5, 0.5):
            self.client.log_metric(run, "odd", value, timestamp=TIMES[0], step=-1)
        gone = self.experiment("deleted experiment")
        self.run(gone, "in a deleted experiment")
        self.client.delete_experiment(gone)

        for number in range(1, PROMPT_VERSIONS + 1):
            self.client.register_prompt(
                "answer", f"Version {number}: {{{{question}}}}", commit_message=f"no. {number}",
                response_format={"type": "object"} if number == 2 else None,
            )  # fmt: skip
        self.mlflow.genai.set_prompt_model_config("answer", 3, {"model_name": "m", "temperature": 0.1})
        self.client.set_prompt_alias("answer", "production", 2)
        self.client.set_prompt_tag("answer", "owner", "ada")

        from mlflow.genai.scorers import Guidelines

        one = self.experiment("evaluation")
        dataset = self.mlflow.genai.datasets.create_dataset("questions", experiment_id=[one], tags={"a": "b"})
        dataset.merge_records([{"inputs": {"q": "1"}, "expectations": {"a": 2}}, {"inputs": {"q": "2"}}])
        Guidelines(name="tone", guidelines="be kind").register(name="tone", experiment_id=one)

    # --- model versions

    def versions(self) -> None:
        one = self.experiment("registry")
        run = self.run(one, "trainer")
        models = [self.model(one, f"candidate {number}", run, bytes([number])) for number in range(3)]
        root = self.client.get_run(run).info.artifact_uri
        (Path("plain")).mkdir()
        (Path("plain") / "MLmodel").write_text(f"run_id: {run}\nflavors: {{python_function: {{}}}}\n")
        self.client.log_artifacts(run, "plain", "old style")
        self.client.create_registered_model("churn", tags={"tier": "gold"}, description="# Churn")
        self.client.create_model_version("churn", f"{root}/old style", run_id=run, description="of the run")
        for model in models:
            self.client.create_model_version("churn", f"models:/{model}", run_id=run, model_id=model)
        # the numbers have a gap: 1, 3, 4
        self.client.delete_model_version("churn", "2")
        self.client.set_registered_model_alias("churn", "champion", "3")
        self.client.transition_model_version_stage("churn", "4", "Production")
        self.client.create_registered_model("of no run")
        orphan = self.model(one, "without a run", None, b"without")
        self.client.create_model_version("of no run", f"models:/{orphan}", model_id=orphan)
        gone = self.run(one, "deleted trainer")
        left = self.model(one, "of a deleted run", gone, b"left")
        self.client.create_registered_model("left behind")
        self.client.create_model_version("left behind", f"models:/{left}", run_id=gone, model_id=left)
        self.client.delete_run(gone)


def _write(uri: str) -> dict[str, Any]:
    traps = _Traps(uri)
    traps.cut_short()
    traps.fields()
    traps.versions()
    return traps.ids


if __name__ == "__main__":
    print(json.dumps(_write(sys.argv[1])))
