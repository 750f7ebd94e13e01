"""Writes traces with the client of the interpreter that runs this file: each version writes its own form.

Called as ``python write_traces.py '{"uri": …, …}'`` with the parameters of :func:`written`; prints the ids as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import SpanEvent

#: First millisecond, as in ``support.seed``.
EPOCH = 1_700_000_000_000
NS = 1_000_000


def written(uri: str, experiment: str, run: str, model: str, more: int = 0) -> dict[str, str]:
    """Write a trace with every field, one that failed, ``more`` small ones, and assessments where there are any."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=experiment)
    client = MlflowClient()
    three = int(mlflow.__version__.split(".")[0]) >= 3
    if not three:
        _mend()
    ids: dict[str, str] = {}
    start = EPOCH * NS
    with mlflow.start_run(run_id=run):
        root = client.start_trace(
            "answer",
            span_type="CHAIN",
            inputs={"question": "Wie groß? 数据"},
            attributes={"temperature": 0.5, "labels": ["a", "b"], "nothing": None, "nested": {"deep": [1, 2.5, True]}},
            tags={"team": "growth"},
            experiment_id=experiment,
            start_time_ns=start,
        )
        ids["answer"] = trace = root.trace_id if three else root.request_id
        child = client.start_span(
            "retrieve", trace, root.span_id, span_type="RETRIEVER", inputs=["k", 3], start_time_ns=start + 5 * NS
        )
        child.add_event(SpanEvent("cache miss", timestamp=start + 6 * NS, attributes={"shard": 7, "why": "größe"}))
        grandchild = client.start_span("embed", trace, child.span_id, inputs={}, start_time_ns=start + 7 * NS)
        client.end_span(trace, grandchild.span_id, outputs=[0.1, 0.25], end_time_ns=start + 8 * NS)
        client.end_span(trace, child.span_id, outputs={"documents": []}, end_time_ns=start + 9 * NS)
        client.end_trace(trace, outputs="1,80 m", attributes={"tokens": 12}, status="OK", end_time_ns=start + 20 * NS)
    root = client.start_trace("fails", inputs=1, experiment_id=experiment, start_time_ns=start + 1_000 * NS)
    ids["fails"] = trace = root.trace_id if three else root.request_id
    child = client.start_span("divide", trace, root.span_id, start_time_ns=start + 1_001 * NS)
    event = {"exception.type": "ZeroDivisionError", "exception.message": "by zero", "exception.stacktrace": "…"}
    child.add_event(SpanEvent("exception", timestamp=start + 1_002 * NS, attributes=event))
    client.end_span(trace, child.span_id, status="ERROR", end_time_ns=start + 1_003 * NS)
    client.end_trace(trace, status="ERROR", end_time_ns=start + 1_004 * NS)
    for number in range(more):
        root = client.start_trace("more", inputs=number, experiment_id=experiment, start_time_ns=start)
        client.end_trace(root.trace_id if three else root.request_id, end_time_ns=start + NS)
    if three:
        _assess(ids)
        _preview(ids, model)
    getattr(mlflow, "flush_trace_async_logging", lambda: None)()
    return ids


def _mend() -> None:
    """Initialise the base of 2.x's span processor: today's OpenTelemetry relies on it, no trace would end."""
    from mlflow.tracing.processor.mlflow import MlflowSpanProcessor
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    own = MlflowSpanProcessor.__init__

    def initialise(self: Any, span_exporter: Any, *more: Any, **named: Any) -> None:
        SimpleSpanProcessor.__init__(self, span_exporter)
        own(self, span_exporter, *more, **named)

    MlflowSpanProcessor.__init__ = initialise


def _assess(ids: dict[str, str]) -> None:
    from mlflow.entities import AssessmentError, AssessmentSource

    getattr(mlflow, "flush_trace_async_logging", lambda: None)()
    trace = ids["answer"]
    human, judge = AssessmentSource("HUMAN", "ada"), AssessmentSource("LLM_JUDGE", "judge-1")
    first = mlflow.log_feedback(
        trace_id=trace, name="correct", value=False, source=judge, rationale="too short", metadata={"round": "1"}
    )
    second = mlflow.override_feedback(
        trace_id=trace, assessment_id=first.assessment_id, value=True, source=human, rationale="it is fine"
    )
    ids["feedback"], ids["overriding"] = first.assessment_id, second.assessment_id
    mlflow.log_feedback(trace_id=trace, name="score", source=judge, error=AssessmentError("TIMEOUT", "no answer"))
    mlflow.log_expectation(trace_id=trace, name="facts", value={"height": [1, 80]}, source=human)


def _preview(ids: dict[str, str], model: str) -> None:
    with mlflow.start_span("preview", span_type="TOOL") as span:
        span.set_inputs({"long": "x"})
        mlflow.update_current_trace(
            tags={"stage": "test"},
            metadata={"mlflow.trace.session": "session-1", **({"mlflow.modelId": model} if model else {})},
            client_request_id="request-1",
            request_preview="asked",
            response_preview="answered",
        )
        ids["preview"] = span.trace_id


if __name__ == "__main__":
    print("RESULT" + json.dumps(written(**json.loads(sys.argv[1]))))
