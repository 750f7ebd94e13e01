"""Spans and assessments in the forms that servers give, as one form.

Servers from 3.6 on answer with OTLP's JSON (typed values, ids in base64). Where the spans are a file of the trace
(``traces.json``: every server before 3.6, and such traces after an upgrade) attributes are JSON texts, and the file
of 2.x has ids as ``0x…`` and other names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

_OWN = ("mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs")
_TRACE_ID = "mlflow.traceRequestId"


def iso_milliseconds(value: object) -> int | None:
    """Return an ISO 8601 time, or a number of milliseconds, as milliseconds."""
    if value in (None, ""):
        return None
    text = str(value)
    if text.lstrip("-").isdigit():
        return int(text)
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1000 + int((fraction + "000")[:3])


def duration_milliseconds(value: object) -> int | None:
    """Return protobuf's ``"0.138s"``, or a number of milliseconds, as milliseconds."""
    if value in (None, ""):
        return None
    text = str(value)
    return int(Decimal(text.removesuffix("s")) * 1000) if text.endswith("s") else int(text)


def span_of(entry: Mapping[str, Any], trace_id: str) -> dict[str, Any]:
    """Return one span in its one form; attributes that have a place of their own are taken out of ``attributes``."""
    given = entry.get("attributes") or {}
    attributes = _typed(given) if isinstance(given, list) else {key: _text(value) for key, value in given.items()}
    if attributes.get(_TRACE_ID) == trace_id:
        del attributes[_TRACE_ID]
    context = entry.get("context") or {}
    status = entry.get("status") or {}
    if isinstance(status, str):
        status = {"code": status}
    code = status.get("code") or entry.get("status_code") or "UNSET"
    return {
        "span_id": _id(entry.get("span_id") or context.get("span_id")),
        "parent_id": _id(entry.get("parent_span_id") or entry.get("parent_id")),
        "name": entry.get("name", ""),
        "type": attributes.pop(_OWN[0], None),
        "inputs": attributes.pop(_OWN[1], None),
        "outputs": attributes.pop(_OWN[2], None),
        "attributes": attributes,
        "events": [_event(event) for event in entry.get("events") or []],
        "status": {
            "code": str(code).removeprefix("STATUS_CODE_"),
            "message": status.get("message") or entry.get("status_message") or "",
        },
        "start_ns": _number(entry.get("start_time_unix_nano", entry.get("start_time"))),
        "end_ns": _number(entry.get("end_time_unix_nano", entry.get("end_time"))),
    }


def _event(entry: Mapping[str, Any]) -> dict[str, Any]:
    given = entry.get("attributes") or {}
    return {
        "name": entry.get("name", ""),
        "time_ns": _number(entry.get("time_unix_nano", entry.get("timestamp"))),
        "attributes": _typed(given) if isinstance(given, list) else dict(given),
    }


def _id(value: object) -> str | None:
    """Return a span id as 16 hexadecimal digits."""
    if value in (None, ""):
        return None
    text = str(value)
    if text.startswith("0x"):
        return text[2:].rjust(16, "0")
    if len(text) == 12 and text.endswith("="):
        return base64.b64decode(text).hex()
    return text


def _number(value: object) -> int | None:
    return None if value in (None, "") else int(str(value))


def _text(value: object) -> Any:
    """Return what an attribute's JSON text stands for."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _typed(entries: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {entry["key"]: _value(entry.get("value") or {}) for entry in entries}


def _value(value: Mapping[str, Any]) -> Any:
    """Return an OTLP value."""
    for kind, content in value.items():
        if kind == "int_value":
            return int(content)
        if kind == "double_value":
            return float(content)
        if kind == "array_value":
            return [_value(item) for item in (content or {}).get("values", [])]
        if kind == "kvlist_value":
            return _typed((content or {}).get("values", []))
        return content
    return None


def assessment_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one assessment in its one form."""
    kind, value, error = "feedback", None, None
    if "expectation" in entry:
        kind, found = "expectation", entry["expectation"] or {}
        serialized = found.get("serialized_value")
        value = _text(serialized.get("value")) if serialized else found.get("value")
    elif "issue" in entry:
        kind, value = "issue", entry["issue"]
    elif "feedback" in entry:
        found = entry["feedback"] or {}
        value, error = found.get("value"), found.get("error") or entry.get("error")
    source = entry.get("source") or {}
    return {
        "id": entry.get("assessment_id", ""),
        "name": entry.get("assessment_name", ""),
        "kind": kind,
        "value": value,
        "error": error,
        "rationale": entry.get("rationale") or "",
        "source": {"type": source.get("source_type", ""), "id": source.get("source_id", "")},
        "metadata": dict(entry.get("metadata") or {}),
        "span_id": _id(entry.get("span_id")),
        "overrides": entry.get("overrides") or None,
        "valid": bool(entry.get("valid", True)),
        "created": iso_milliseconds(entry.get("create_time")),
        "updated": iso_milliseconds(entry.get("last_update_time")),
    }
