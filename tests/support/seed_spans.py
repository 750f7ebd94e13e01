"""Traces whose spans the server keeps in its database, written by MLflow's own client; and what users ask of them.

Called as ``python seed_spans.py '{"uri": …, "count": …}'`` by the interpreter whose client is to write.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import requests

EXPERIMENT = "agent"
#: What people filter traces by.
FILTERS = (
    "span.name = 'lookup weather'",
    "span.type = 'TOOL'",
    "span.attributes.mlflow.spanType LIKE '%TOOL%'",
    "trace.text LIKE '%Oslo%'",
    "trace.text LIKE '%größe%'",
)


def written(uri: str, count: int = 3) -> list[str]:
    """Write traces with every kind of attribute, an event and tokens; return their ids."""
    import mlflow
    from mlflow import MlflowClient
    from mlflow.entities import SpanEvent

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    ids = []
    for number in range(count):
        with mlflow.start_span("agent call") as span:
            span.set_inputs({"question": f"number {number}"})
            span.set_attributes({
                "plain": "text", "json text": '{"a": 1}', "list text": "[1, 2]", "quoted": '"x"', "twice": '"\\"x\\""',
                "digits": "12", "number": 5, "half": 0.5, "whole": 5.0, "yes": True, "nothing": None, "none": [],
                "nested": {"deep": [1, {"x": None}], "empty": {}}, "many": 2**40, "words": "größe 数据", "blank": "",
            })  # fmt: skip
            with mlflow.start_span("lookup weather", span_type="TOOL") as tool:
                tool.set_inputs({"city": "Oslo"})
                tool.add_event(SpanEvent("miss", attributes={"shard": 7, "why": "größe", "rate": 0.25}))
                tool.set_outputs("rain")
            with mlflow.start_span("llm", span_type="CHAT_MODEL") as model:
                model.set_attribute("mlflow.llm.model", "gpt-x")
                usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
                model.set_attribute("mlflow.chat.tokenUsage", usage)
                model.set_outputs("hi")
            span.set_outputs(["a", number])
            mlflow.update_current_trace(
                tags={"stage": "test"}, metadata={"mlflow.trace.session": "s1", "mlflow.trace.user": "ada"}
            )
        ids.append(span.trace_id)
    with mlflow.start_span("fails") as span:
        span.set_status("ERROR")
    ids.append(span.trace_id)
    getattr(mlflow, "flush_trace_async_logging", lambda: None)()
    client = MlflowClient()
    # what the client says of a trace is not what its spans would make of it
    client.delete_trace_tag(ids[0], "stage")
    return ids


def foreign(uri: str) -> str:
    """Write a trace with one span in the words of OpenTelemetry and of OpenInference; return its id."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(EXPERIMENT)
    with mlflow.start_span("chat") as span:
        span.set_attributes({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 300,
            "gen_ai.usage.output_tokens": 40, "input.value": '{"question": "why"}', "output.value": "so",
        })  # fmt: skip
    getattr(mlflow, "flush_trace_async_logging", lambda: None)()
    return str(span.trace_id)


def answers(uri: str) -> dict[str, Any]:
    """Return what the server answers to those who look for spans."""
    found: dict[str, Any] = {}
    listed = requests.post(f"{uri}/api/2.0/mlflow/experiments/search", json={"max_results": 100}, timeout=30).json()
    [experiment] = [one["experiment_id"] for one in listed["experiments"] if one["name"] == EXPERIMENT]
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
    for text in FILTERS:
        body = {"locations": [place], "filter": text, "max_results": 100}
        answer = requests.post(f"{uri}/api/3.0/mlflow/traces/search", json=body, timeout=30)
        found[text] = (
            sorted(one["trace_id"] for one in answer.json().get("traces", [])) if answer.ok else answer.status_code
        )
    for view, metric, kind, dimensions in (
        ("TRACES", "trace_count", "COUNT", []),
        ("TRACES", "total_tokens", "SUM", []),
        ("SPANS", "span_count", "COUNT", ["span_name"]),
        ("SPANS", "latency", "AVG", ["span_name"]),
    ):
        body = {
            "experiment_ids": [experiment], "view_type": view, "metric_name": metric, "dimensions": dimensions,
            "aggregations": [{"aggregation_type": kind}], "max_results": 100,
        }  # fmt: skip
        answer = requests.post(f"{uri}/api/3.0/mlflow/traces/metrics", json=body, timeout=30)
        points = answer.json().get("data_points", []) if answer.ok else answer.status_code
        found[f"{view} {metric}"] = sorted(points, key=json.dumps) if isinstance(points, list) else points
    return found


if __name__ == "__main__":
    print("RESULT" + json.dumps(written(**json.loads(sys.argv[1]))))
