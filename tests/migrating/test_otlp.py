"""Spans in OpenTelemetry's form say what they said, byte for byte as MLflow's own client would; or that they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from mlflow.entities.span import Span
from mlflow.tracing.otel.translation import translate_span_when_storing
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from support.seed_traces import span

from mlflow_parity.core.json_text import DEEP
from mlflow_parity.migrating.write.otlp import Unfit, requests_of
from mlflow_parity.reading.traces.spans import spans_of

TRACE = "tr-" + "0a" * 16
_TEXTS = some.text(some.characters(exclude_categories=["Cs"]), max_size=8)
_LEAVES = some.one_of(
    some.none(), some.booleans(), some.integers(-(2**63), 2**63 - 1), some.floats(allow_nan=False), _TEXTS
)
_VALUES = some.recursive(
    _LEAVES, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_TEXTS, inner, max_size=3), max_leaves=6
)


def stored(one: dict[str, Any]) -> dict[str, Any]:
    """Return a span as MLflow's server keeps it that gets it in this form."""
    [body] = requests_of(TRACE, [one])
    request = ExportTraceServiceRequest.FromString(body)
    [sent] = request.resource_spans[0].scope_spans[0].spans
    kept = json.loads(json.dumps(translate_span_when_storing(Span.from_otel_proto(sent))))
    [found] = spans_of([kept])
    return found


@given(_VALUES, _VALUES)
def test_any_attribute_is_kept_as_it_is(value: Any, layered: Any) -> None:
    """MLflow takes a layer off texts that are JSON: without a layer more, a text would become a map, or lose quotes."""
    twice = json.dumps(json.dumps(layered))
    one = span("x", value, outputs=twice, attributes={"plain": value, "text": json.dumps(layered), "twice": twice})
    found = stored(one)
    assert {key: found[key] for key in ("inputs", "outputs")} == {key: one[key] for key in ("inputs", "outputs")}
    assert json.dumps(found["attributes"]) == json.dumps(one["attributes"])


def test_everything_else_of_a_span_is_kept() -> None:
    """Ids, nanoseconds, status, events and links: a trace lost in one of them would be another one."""
    one = span(
        "größe", {"q": 1}, parent_id="00000000000000ff", start_ns=1_700_000_000_123_456_789, end_ns=None,
        status={"code": "ERROR", "message": "no"},
        events=[{"name": "miss", "time_ns": 2**53 + 1, "attributes": {"n": -7, "list": ["a", 1, None], "half": 0.5}}],
        links=[{"trace_id": "tr-" + "0b" * 16, "span_id": "00000000000000aa", "attributes": {"why": "retry"}}],
    )  # fmt: skip
    assert stored(one) == one


def test_large_traces_go_in_parts() -> None:
    """A server's limit of bodies must not keep back a trace whose spans fit one by one."""
    spans = [span(f"s{number}", "x" * 1000) for number in range(10)]
    parts = [ExportTraceServiceRequest.FromString(body) for body in requests_of(TRACE, spans, 2_500)]
    assert len(parts) == 5
    names = [one.name for part in parts for one in part.resource_spans[0].scope_spans[0].spans]
    assert names == [one["name"] for one in spans]


@pytest.mark.parametrize(
    ("trace", "change", "said"),
    [
        ("tr-1", {}, "id of the trace"),
        (TRACE, {"span_id": "0" * 16}, "id of a span"),
        (TRACE, {"attributes": {"big": 2**63}}, "64 bits"),
        (TRACE, {"inputs": {DEEP: "[[1]]"}}, "too deep"),
        (TRACE, {"name": "\ud800"}, "UTF-8"),
        (TRACE, {"start_ns": -1}, "before 1970"),
        (TRACE, {"status": {"code": "ODD", "message": None}}, "none of OpenTelemetry's"),
        (TRACE, {"links": [{"trace_id": "trace:/x/1", "span_id": "1" * 16, "attributes": {}}]}, "link of a span"),
    ],
)
def test_what_has_no_such_form_says_so(trace: str, change: dict[str, Any], said: str) -> None:
    """Then the file takes it, and nothing of the trace was sent."""
    with pytest.raises(Unfit, match=said):
        next(requests_of(trace, [span("x", 1), {**span("x", 1), **change}]))


def test_two_spans_of_one_id() -> None:
    """A file may hold them; the database would keep one, and say nothing."""
    one = span("x", 1)
    with pytest.raises(Unfit, match="one id"):
        next(requests_of(TRACE, [one, one]))
