"""Writes the battery's traces with MLflow's own client: ``python write_traces.py '{"uri": …, "names": […], …}'``."""

from __future__ import annotations

import json
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, SpanEvent
from mlflow.tracing.attachments import Attachment

#: First millisecond, as in ``support.seed``.
EPOCH = 1_700_000_000_000
NS = 1_000_000
IMAGE = b"\x89PNG\r\n" + bytes(range(200))


def written(uri: str, experiment: str, run: str, other: str, model: str, prompt: str, names: list[str]) -> None:
    """Write a trace for each name, with spans, events, assessments and links of every sort."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.set_experiment(experiment_id=experiment)
    client = MlflowClient()
    linked = mlflow.genai.load_prompt(f"prompts:/{prompt}/1")
    traces = []
    with mlflow.start_run(run_id=run):
        for number, name in enumerate(names):
            start = (EPOCH + 1_000 * number) * NS
            image = {"image": Attachment(content_type="image/png", content_bytes=IMAGE)}
            inputs = {"question": "Wie groß?", **(image if name.startswith("attachment-") else {})}
            root = client.start_trace(
                name, span_type="CHAIN", inputs=inputs, tags={"team": "growth"},
                attributes={"temperature": 0.5, "list": [1, 2]}, experiment_id=experiment, start_time_ns=start,
            )  # fmt: skip
            trace = root.trace_id
            child = client.start_span("child", trace, root.span_id, span_type="TOOL", inputs=["k", 3],
                                      start_time_ns=start + NS)  # fmt: skip
            child.add_event(SpanEvent("looked up", timestamp=start + 2 * NS, attributes={"hits": 3}))
            grandchild = client.start_span("grandchild", trace, child.span_id, inputs={}, start_time_ns=start + 3 * NS)
            client.end_span(trace, grandchild.span_id, outputs=[0.1, 0.25], end_time_ns=start + 4 * NS)
            client.end_span(trace, child.span_id, outputs={"deep": "ü"}, end_time_ns=start + 5 * NS)
            client.end_trace(trace, outputs="answer", status="OK", end_time_ns=start + 20 * NS)
            traces.append(trace)
    human, judge = AssessmentSource("HUMAN", "ada"), AssessmentSource("LLM_JUDGE", "judge-1")
    for trace in traces:
        first = mlflow.log_feedback(trace_id=trace, name="good", value=True, rationale="clear", source=judge,
                                    metadata={"m": "1"})  # fmt: skip
        mlflow.override_feedback(trace_id=trace, assessment_id=first.assessment_id, value=False, source=human)
        mlflow.log_expectation(trace_id=trace, name="wanted", value={"height": [1, 80]}, source=human)
        client.link_prompt_versions_to_trace([linked], trace)
    for trace in (one for one, name in zip(traces, names, strict=True) if name.startswith("assessments-swapped")):
        for value in ("yes", "no"):
            mlflow.log_feedback(trace_id=trace, name="verdict", value=value, source=human)
    for first in range(0, len(traces), 100):
        client.link_traces_to_run(traces[first : first + 100], other)


if __name__ == "__main__":
    written(**json.loads(sys.argv[1]))
