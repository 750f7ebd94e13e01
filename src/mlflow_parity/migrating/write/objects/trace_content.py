"""A trace's spans and assessments in the form in which MLflow takes them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

from mlflow_parity.core.json_text import written
from mlflow_parity.kinds.conventions.attachments import referring

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_HEX = frozenset("0123456789abcdef")


def moment(milliseconds: int | None) -> str | None:
    """Return a time (ms since the epoch) as protobuf's JSON has it."""
    if milliseconds is None:
        return None
    found = _EPOCH + timedelta(milliseconds=milliseconds)
    return found.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"


def assessment(trace_id: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """Return an assessment as V3's ``Assessment``, with its own id and times."""
    body: dict[str, Any] = {
        "assessment_id": one["id"],
        "assessment_name": one["name"],
        "trace_id": trace_id,
        "source": {"source_type": one["source"]["type"], "source_id": one["source"]["id"] or ""},
        "metadata": dict(one["metadata"]),
        "create_time": moment(one["created"]),
        "last_update_time": moment(one["updated"]),
    }
    for key in ("rationale", "span_id", "overrides", "valid"):
        if one[key] is not None:
            body[key] = one[key]
    value = one["value"]
    if one["kind"] == "feedback":
        body["feedback"] = {"value": value, **({"error": one["error"]} if one["error"] else {})}
    elif one["kind"] == "issue":
        body["issue"] = {"issue_name": value}
    elif isinstance(value, (dict, list)):
        body["expectation"] = {"serialized_value": {"value": written(value), "serialization_format": "JSON_FORMAT"}}
    else:
        body["expectation"] = {"value": value}
    return body


def overridden(one: Mapping[str, Any], by_id: Mapping[Any, Mapping[str, Any]]) -> set[Any]:
    """Return the ids of the assessments that one overrides, directly or through others."""
    found: set[Any] = set()
    other: Mapping[str, Any] | None = one
    while other is not None and other["overrides"] and other["overrides"] not in found:
        found.add(other["overrides"])
        other = by_id.get(other["overrides"])
    return found


def overridden_first(assessments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return assessments so that each comes after the one that it overrides."""
    by_id = {one["id"]: one for one in assessments}
    ordered: dict[str, dict[str, Any]] = {}

    def put(one: dict[str, Any] | None) -> None:
        chain = []
        while one is not None and one["id"] not in ordered and one not in chain:
            chain.append(one)
            one = by_id.get(one["overrides"])
        ordered.update((each["id"], each) for each in reversed(chain))

    for one in assessments:
        put(one)
    return list(ordered.values())


def spans_file(trace_id: str, spans: Sequence[Mapping[str, Any]], original: str = "") -> bytes:
    """Return ``traces.json`` as MLflow 3 writes it: OpenTelemetry's names, ids in base64, attributes as JSON text.

    ``original`` is the trace's id at the source: attachments are asked for by the copy's, which their references name.
    """
    if original and original != trace_id:
        spans = [referring(one, lambda named: trace_id if named == original else named) for one in map(dict, spans)]
    plain = trace_id.removeprefix("tr-")
    otel = _base64(plain if len(plain) == 32 and set(plain) <= _HEX else "0" * 32)
    return written({"spans": [_span(trace_id, otel, one) for one in spans]}).encode()


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _span(trace_id: str, otel: str, one: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {"mlflow.traceRequestId": trace_id, **one["attributes"]}
    for key, name in (("type", "mlflow.spanType"), ("inputs", "mlflow.spanInputs"), ("outputs", "mlflow.spanOutputs")):
        if one[key] is not None:
            attributes[name] = one[key]
    return {
        "trace_id": otel,
        "span_id": _base64(one["span_id"]),
        "parent_span_id": _base64(one["parent_id"]) if one["parent_id"] else None,
        "name": one["name"],
        "start_time_unix_nano": one["start_ns"],
        "end_time_unix_nano": one["end_ns"],
        "events": [
            {"name": event["name"], "time_unix_nano": event["time_ns"], "attributes": event["attributes"]}
            for event in one["events"]
        ],
        "status": {"code": f"STATUS_CODE_{one['status']['code']}", "message": one["status"]["message"] or ""},
        "attributes": {key: written(value) for key, value in attributes.items()},
        **({"links": [dict(link) for link in one["links"]]} if one["links"] else {}),
    }
