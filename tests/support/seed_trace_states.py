"""Traces in every state that MLflow 3 can still list, written by the requests of MLflow 2, which all servers take."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

import requests

from support.seed import EPOCH, Seeder, pairs

#: Name → state at the end (``None``: no end is told), and ms until then.
STATES: dict[str, tuple[str | None, int]] = {
    "went well": ("OK", 20),
    "took no time": ("OK", 0),
    "failed": ("ERROR", 30),
    "goes on": (None, 0),
    "goes on, and tells how long": ("IN_PROGRESS", 40),
}


#: A trace that ended in the millisecond in which it began: ``mlflow migrate-filestore`` drops its duration.
AT_ONCE = "took no time"


def seed_trace_states(uri: str, experiment: str, names: Collection[str] = tuple(STATES)) -> dict[str, str]:
    """Write one trace of each state, with what it was asked; return their ids by name."""
    seed = Seeder(uri)
    return {name: _trace(seed, experiment, n, name) for n, name in enumerate(STATES) if name in names}


def _trace(seed: Seeder, experiment: str, number: int, name: str) -> str:
    state, length = STATES[name]
    start = EPOCH + 1_000 * number
    body = {"experiment_id": experiment, "timestamp_ms": start, "tags": pairs({"mlflow.traceName": name})}
    body["request_metadata"] = pairs({"mlflow.traceInputs": json.dumps({"question": name})})
    info = seed.call("POST", "traces", body)["trace_info"]
    trace = str(info["request_id"])
    if state is not None:
        answers = pairs({"mlflow.traceOutputs": json.dumps(name)})
        end = {"request_id": trace, "timestamp_ms": start + length, "status": state, "request_metadata": answers}
        seed.call("PATCH", f"traces/{trace}", {**end, "tags": []})
    place = {tag["key"]: tag["value"] for tag in info["tags"]}["mlflow.artifactLocation"]
    span: dict[str, Any] = {
        "name": name, "context": {"span_id": "0x1f", "trace_id": "0xabc"}, "parent_id": None, "status_code": "OK",
        "start_time": start * 10**6, "end_time": (start + length) * 10**6, "status_message": "", "attributes": {},
        "events": [],
    }  # fmt: skip
    if state not in (None, "IN_PROGRESS"):
        stored = quote(f"{place.removeprefix('mlflow-artifacts:').lstrip('/')}/traces.json")
        url = f"{seed.uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        requests.put(url, data=json.dumps({"spans": [span]}).encode(), timeout=60).raise_for_status()
    return trace
