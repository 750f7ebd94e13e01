"""Traces by plain REST: their infos, spans and attachments, on servers with proxied artifacts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from mlflow_parity.migrating.write.objects.trace_content import spans_file
from support.seed import EPOCH, Seeder

NS = 1_000_000
#: Puts a file at a path below a trace's place.
Upload = Callable[[str, str, bytes], None]


def span(name: str, inputs: Any, **more: Any) -> dict[str, Any]:
    """Return a span without a parent, as the audit reads one."""
    plain: dict[str, Any] = {
        "span_id": uuid.uuid4().hex[:16], "parent_id": None, "name": name, "type": "LLM", "inputs": inputs,
        "outputs": "ok", "attributes": {}, "events": [], "status": {"code": "OK", "message": None},
        "start_ns": EPOCH * NS, "end_ns": (EPOCH + 5) * NS, "links": [],
    }  # fmt: skip
    return {**plain, **more}


def trace(
    seed: Seeder,
    experiment: str,
    name: str,
    *,
    run: str | None = None,
    inputs: Any = None,
    trace_id: str = "",
    files: Mapping[str, bytes] | None = None,
    upload: Upload | None = None,
) -> str:
    """Write a trace with one span, and attachments by their ids; return its id.

    ``upload`` puts a file below the trace's place, where the server has no proxy.
    """
    trace_id = trace_id or f"tr-{uuid.uuid4().hex}"
    info = {
        "trace_id": trace_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20Z",
        "execution_duration": "0.005s",
        "state": "OK",
        "tags": {"mlflow.traceName": name},
        "trace_metadata": {"mlflow.sourceRun": run} if run else {},
    }
    made = seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")["trace"]["trace_info"]
    place = made["tags"]["mlflow.artifactLocation"]
    put = upload or _through(seed)
    put(place, "traces.json", spans_file(trace_id, [span(name, inputs)]))
    for identity, content in (files or {}).items():
        put(place, f"attachments/{identity}", content)
    return trace_id


def _through(seed: Seeder) -> Upload:
    def put(place: str, path: str, content: bytes) -> None:
        below = place.removeprefix("mlflow-artifacts:").lstrip("/")
        url = f"{seed.uri}/api/2.0/mlflow-artifacts/artifacts/{below}/{path}"
        seed.http.put(url, data=content, timeout=60).raise_for_status()

    return put


def reference(identity: str, trace_id: str, size: int, content_type: str = "image/png") -> str:
    """Return what stands in a span for an attachment, as MLflow's client writes it."""
    query = urlencode({"content_type": content_type, "trace_id": trace_id, "size": str(size)})
    return f"mlflow-attachment://{identity}?{query}"
