"""Spans as OpenTelemetry's ``ExportTraceServiceRequest``, in protobuf's binary form.

It is what MLflow's own client sends; MLflow before 3.11 takes no other form. The few messages of it are written here by
hand: the tool needs no protobuf for the sake of one request.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow_parity.core.json_text import DEEP, LEVELS, is_deep
from mlflow_parity.migrating.write.batches import in_batches

_TRACE = re.compile("tr-([0-9a-f]{32})")
_SPAN = re.compile("[0-9a-f]{16}")
_STATUS = {"UNSET": 0, "OK": 1, "ERROR": 2}
_OWN = (("type", "mlflow.spanType"), ("inputs", "mlflow.spanInputs"), ("outputs", "mlflow.spanOutputs"))
#: Bytes of one request, unless a span alone has more: what stands before a server may bound its bodies.
BYTES = 4 * 2**20
_LENGTH, _VARINT, _FIXED = 2, 0, 1


class Unfit(Exception):
    """Something of a trace cannot be said in this form; it says what."""


def requests_of(trace_id: str, spans: Sequence[Mapping[str, Any]], most: int = BYTES) -> Iterator[bytes]:
    """Yield the bodies that write the spans of a trace.

    Raises:
        Unfit: one of them, or the trace's id, has no such form; nothing is yielded then.
    """
    found = _TRACE.fullmatch(trace_id)
    if found is None:
        raise Unfit("the id of the trace is not tr- and 32 hexadecimal digits")
    try:
        written = [_field(2, _span(bytes.fromhex(found[1]), one)) for one in spans]
    except UnicodeEncodeError:
        raise Unfit("a text in its spans is no UTF-8") from None
    ids = [one["span_id"] for one in spans]
    if len(set(ids)) != len(ids):
        raise Unfit("two of its spans have one id")
    yield from (_field(1, _field(2, b"".join(some))) for some in in_batches(written, len, most))


def _span(trace: bytes, one: Mapping[str, Any]) -> bytes:
    attributes = dict(one["attributes"])
    attributes |= {name: one[key] for key, name in _OWN if one[key] is not None}
    status = one["status"]
    if status["code"] not in _STATUS:
        raise Unfit(f"the status {status['code']!r} of a span is none of OpenTelemetry's")
    return b"".join(
        [
            _field(1, trace),
            _field(2, _span_id(one["span_id"])),
            _field(4, _span_id(one["parent_id"])) if one["parent_id"] else b"",
            _text(5, one["name"]),
            _moment(7, one["start_ns"]),
            _moment(8, one["end_ns"] or 0),
            *(_field(9, _entry(key, _dumped(value))) for key, value in attributes.items()),
            *(_field(11, _event(event)) for event in one["events"]),
            *(_field(13, _link(link)) for link in one["links"]),
            _field(15, _text(2, status["message"] or "") + _number(3, _STATUS[status["code"]])),
        ]
    )


def _dumped(value: Any) -> Any:
    """Return an attribute so that the server keeps it as it is.

    MLflow takes a layer of JSON off a text that is JSON of a text, a list or a map: such a one gets that layer here.
    """
    if not isinstance(value, str):
        return value
    try:
        inner = json.loads(value)
    except ValueError:
        return value
    except RecursionError:
        raise Unfit("an attribute is nested too deep") from None
    return json.dumps(value, ensure_ascii=False) if isinstance(inner, (str, list, dict)) else value


def _event(event: Mapping[str, Any]) -> bytes:
    attributes = (_field(3, _entry(key, value)) for key, value in event["attributes"].items())
    return b"".join([_moment(1, event["time_ns"]), _text(2, event["name"]), *attributes])


def _link(link: Mapping[str, Any]) -> bytes:
    found = _TRACE.fullmatch(str(link["trace_id"]))
    if found is None:
        raise Unfit("a link of a span names a trace whose id is not tr- and 32 hexadecimal digits")
    attributes = (_field(4, _entry(key, value)) for key, value in link["attributes"].items())
    return b"".join([_field(1, bytes.fromhex(found[1])), _field(2, _span_id(link["span_id"])), *attributes])


def _span_id(value: object) -> bytes:
    if not isinstance(value, str) or not _SPAN.fullmatch(value) or not int(value, 16):
        raise Unfit("the id of a span is not 16 hexadecimal digits")
    return bytes.fromhex(value)


def _entry(key: str, value: Any) -> bytes:
    if is_deep(value, LEVELS):
        raise Unfit("an attribute is nested too deep")
    return _text(1, key) + _field(2, _value(value))


def _value(value: Any) -> bytes:
    """Return an ``AnyValue``; None is one that is not set."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return _number(2, int(value))
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise Unfit("a number in its spans has more than 64 bits")
        return _number(3, value)
    if isinstance(value, float):
        return _key(4, _FIXED) + struct.pack("<d", value)
    if isinstance(value, list):
        return _field(5, b"".join(_field(1, _value(one)) for one in value))
    if isinstance(value, dict) and DEEP not in value:
        return _field(6, b"".join(_field(1, _text(1, key) + _field(2, _value(one))) for key, one in value.items()))
    raise Unfit("an attribute is nested too deep")


def _moment(field: int, nanoseconds: int) -> bytes:
    if not 0 <= nanoseconds < 2**64:
        raise Unfit("a time of a span is before 1970 or has more than 64 bits")
    return _key(field, _FIXED) + struct.pack("<Q", nanoseconds)


def _text(field: int, value: object) -> bytes:
    if not isinstance(value, str):
        raise Unfit("the name of a span or an event is nested too deep")
    return _field(field, value.encode())


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _field(field: int, content: bytes) -> bytes:
    return _key(field, _LENGTH) + _varint(len(content)) + content


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
