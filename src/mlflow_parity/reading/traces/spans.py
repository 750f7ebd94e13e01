"""Spans as plain values, whatever the form in which a server's version keeps and sends them.

Three forms are about: ``traces.json`` with ``context`` (2.14 to 3.x), ``traces.json`` in the manner of OpenTelemetry
(3.x), and the answer of ``traces/batchGet``, which is OpenTelemetry's protobuf as JSON. Files keep each attribute as
JSON text, the protobuf keeps it as a typed value.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mlflow_parity.core.json_text import DEEP, LEVELS, bounded, is_deep, or_text, text, text_of
from mlflow_parity.kinds.schema.unknown import claims, facet
from mlflow_parity.reading.transport.listing import Entry

#: Attributes that have a facet of their own.
_TYPE, _INPUTS, _OUTPUTS = "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs"
#: The trace's own id, repeated in each span.
_TRACE_ID = "mlflow.traceRequestId"
_DIGITS = 16
#: What the three forms tell of a span, its events and links; what nothing knows is compared with the span.
_STATUS = claims("code message")
_SPAN = claims(
    "trace_id span_id parent_id parent_span_id name start_time start_time_unix_nano end_time end_time_unix_nano "
    "status_code status_message attributes events links",
    context=claims("trace_id span_id"),
    status=_STATUS,
)
#: The kind of OpenTelemetry that a span has where none is kept: MLflow tells kinds from 3.18 on.
_NO_KIND = "SPAN_KIND_INTERNAL"
_OF_NO_KIND = {**_SPAN, "kind": None}
_EVENT = claims("name timestamp time_unix_nano attributes")
_LINK = claims("trace_id span_id attributes")
#: What protobuf tells of an attribute, and of a list.
_PAIR, _VALUES = {"key", "value"}, {"values"}
#: Hex, with ``0x`` or without, or base64 of sixteen bytes.
_TRACE_NUMBER = re.compile(r"(0x)?[0-9a-f]{1,32}|[0-9a-z+/]{22}==", re.IGNORECASE)
#: No base64 of eight bytes is one: that ends with ``=``. It may well begin with ``0x``.
_HEX = re.compile(r"0x([0-9a-f]{1,16})|([0-9a-f]{16})", re.IGNORECASE)


def spans_of(entries: Sequence[Entry], owner: str = "") -> list[dict[str, Any]]:
    """Return the spans of one trace, sorted by start and id.

    ``owner`` is the trace in whose file they stand: what a span says otherwise of its trace is in it as ``trace``. No
    client makes a span of an entry that lacks it, and one that names another trace leads there.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: an entry is not a span.
    """
    found = (_span(entry, owner) for entry in entries)
    return sorted(found, key=lambda span: (span["start_ns"], span["span_id"]))


def _span(entry: Entry, owner: str) -> dict[str, Any]:
    if "context" in entry:
        parts: dict[str, Any] = {
            "span_id": span_id(entry["context"]["span_id"]),
            "parent_id": span_id(entry.get("parent_id")),
            "events": entry.get("events") or [],
            "status": {"code": entry.get("status_code"), "message": entry.get("status_message")},
            "start_ns": entry["start_time"],
            "end_ns": entry.get("end_time"),
        }
    else:
        parts = {
            "span_id": span_id(entry["span_id"]),
            "parent_id": span_id(entry.get("parent_span_id")),
            "events": entry.get("events") or [],
            "status": entry.get("status") or {},
            "start_ns": entry["start_time_unix_nano"],
            "end_ns": entry.get("end_time_unix_nano"),
        }
    given = entry.get("attributes") or {}
    # a list of key and value is protobuf's, values typed; a mapping is a file's, values as JSON text
    attributes = {key: or_text(value) for key, value in given.items()} if isinstance(given, Mapping) else _typed(given)
    named = attributes.pop(_TRACE_ID, None)
    odd = _odd(entry, named, owner) if owner else {}
    return {
        **({"trace": odd} if odd else {}),
        "span_id": parts["span_id"],
        "parent_id": parts["parent_id"],
        "name": bounded(entry.get("name", "")),
        "type": attributes.pop(_TYPE, None),
        "inputs": attributes.pop(_INPUTS, None),
        "outputs": attributes.pop(_OUTPUTS, None),
        "attributes": attributes,
        "events": [_event(event) for event in parts["events"]],
        "status": _status(parts["status"]),
        "start_ns": int(parts["start_ns"]),
        "end_ns": int(parts["end_ns"]) if parts["end_ns"] else None,
        "links": [_link(link) for link in entry.get("links") or []],
        **facet(entry, _OF_NO_KIND if entry.get("kind") == _NO_KIND else _SPAN),
    }


def _odd(entry: Entry, named: object, owner: str) -> dict[str, Any]:
    """Return what an entry of a file says of its trace that is not so, or that no client can read."""
    number = entry.get("context", entry).get("trace_id")
    is_number = isinstance(number, str) and bool(_TRACE_NUMBER.fullmatch(number))
    return {
        **({} if named == owner else {_TRACE_ID: bounded(named)}),
        **({} if is_number else {"trace_id": bounded(number)}),
    }


def span_id(value: str | None) -> str | None:
    """Return a span's id as 16 hex digits: files have them so, with ``0x`` or as base64, protobuf as base64."""
    if not value:
        return None
    if found := _HEX.fullmatch(value):
        return (found[1] or found[2]).lower().rjust(_DIGITS, "0")
    return base64.b64decode(value, validate=True).hex()


def _event(entry: Entry) -> dict[str, Any]:
    given = entry.get("attributes") or {}
    at = entry.get("timestamp", entry.get("time_unix_nano", 0))
    attributes = bounded(dict(given)) if isinstance(given, Mapping) else _typed(given)
    return {
        "name": bounded(entry.get("name", "")),
        "time_ns": int(at or 0),
        "attributes": attributes,
        **facet(entry, _EVENT),
    }


def _link(entry: Entry) -> dict[str, Any]:
    given = entry.get("attributes") or {}
    trace = str(entry.get("trace_id", ""))
    # a file has MLflow's id of the trace, protobuf the bytes that it is made of
    if not trace.startswith(("tr-", "trace:")):
        with suppress(ValueError):
            trace = f"tr-{base64.b64decode(trace, validate=True).hex()}"
    return {
        "trace_id": trace,
        "span_id": span_id(entry.get("span_id")),
        "attributes": bounded(dict(given)) if isinstance(given, Mapping) else _typed(given),
        **facet(entry, _LINK),
    }


def _status(entry: Entry) -> dict[str, Any]:
    code = str(entry.get("code") or "UNSET").removeprefix("STATUS_CODE_").removeprefix("StatusCode.")
    return {"code": code, "message": text(entry.get("message"))}


def _typed(entries: Sequence[Entry]) -> dict[str, Any]:
    # an entry that tells more than key and value stands whole; protobuf's JSON leaves out an empty key
    return {
        entry.get("key", ""): bounded(dict(entry)) if entry.keys() - _PAIR else _plain(entry.get("value") or {})
        for entry in entries
    }


def _plain(typed: Entry) -> Any:
    """Return the value of an attribute; where it goes too deep, its text."""
    # a level of the value is three of the answer
    return bounded(_value(typed)) if not is_deep(typed, 3 * LEVELS) else {DEEP: text_of(typed)}


def _value(typed: Entry) -> Any:
    """Return an OpenTelemetry value; one that is not set is None, one of more than its type and value stays whole."""
    if len(typed) > 1:
        return dict(typed)
    for name, value in typed.items():
        if name == "int_value":
            return int(value)
        if name == "double_value":
            return float(value)
        if name in ("array_value", "kvlist_value") and value.keys() - _VALUES:
            return dict(value)
        if name == "array_value":
            return [_value(item) for item in value.get("values", [])]
        if name == "kvlist_value":
            return {
                item.get("key", ""): dict(item) if item.keys() - _PAIR else _value(item.get("value") or {})
                for item in value.get("values", [])
            }
        return value
    return None
