"""Ids of spans: servers have them as hex, as hex after ``0x``, and as base64; all are the same sixteen digits."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_parity.reading.traces.spans import span_id, spans_of


@given(st.binary(min_size=8, max_size=8))
@example(bytes.fromhex("d310000000000000"))
@example(bytes.fromhex("d31d34d34d34d34d"))
def test_one_id_in_three_forms(raw: bytes) -> None:
    """Base64 too where it happens to begin with ``0x``: one id in 4,096."""
    assert {span_id(form) for form in (raw.hex(), f"0x{raw.hex()}", base64.b64encode(raw).decode())} == {raw.hex()}


def test_short_hex_is_filled_up() -> None:
    """2.x writes ``0x1f``; nothing is no id."""
    assert span_id("0x1f") == "000000000000001f"
    assert span_id("") is span_id(None) is None


@pytest.mark.parametrize("value", ["no id", "0x", "0x!f"])
def test_what_is_no_id_is_an_error(value: str) -> None:
    """It must not pass for one."""
    with pytest.raises(ValueError, match=r".+"):
        span_id(value)


def test_a_span_of_no_kind_is_as_told_by_a_release_that_tells_none() -> None:
    """MLflow 3.18 says INTERNAL of each: else no trace of an older release would be verified against it."""
    span = {"span_id": "0x1f", "name": "a", "start_time_unix_nano": 1, "end_time_unix_nano": 2}
    [plain] = spans_of([span])
    assert spans_of([{**span, "kind": "SPAN_KIND_INTERNAL"}]) == [plain]
    assert spans_of([{**span, "kind": "SPAN_KIND_SERVER"}]) == [{**plain, "other": {"kind": "SPAN_KIND_SERVER"}}]


ID = "tr-" + "1" * 32
#: As MLflow's client writes a span into a file, in both forms.
NEW = {"trace_id": base64.b64encode(bytes.fromhex("1" * 32)).decode(), "span_id": "AAAAAAAAAAE=", "name": "a",
       "start_time_unix_nano": 1, "attributes": {"mlflow.traceRequestId": json.dumps(ID)}}  # fmt: skip
OLD = {"context": {"trace_id": "0x" + "1" * 32, "span_id": "0x1"}, "name": "a", "start_time": 1,
       "attributes": {"mlflow.traceRequestId": json.dumps(ID)}}  # fmt: skip


@pytest.mark.parametrize("span", [NEW, OLD])
@pytest.mark.parametrize("named", [None, "tr-" + "2" * 32])
def test_a_span_of_another_trace_says_so(span: dict[str, Any], named: str | None) -> None:
    """A file that was copied as it is names the source's trace, and one without any makes no span in a client."""
    [right] = spans_of([span], ID)
    assert "trace" not in right
    attributes = {} if named is None else {"mlflow.traceRequestId": json.dumps(named)}
    assert spans_of([{**span, "attributes": attributes}], ID) == [{**right, "trace": {"mlflow.traceRequestId": named}}]
    # a batch tells of which trace each span is
    assert spans_of([{**span, "attributes": attributes}]) == [right]


@pytest.mark.parametrize("number", [None, "", "no id", 5, "zz=="])
def test_a_number_that_no_client_reads_is_told(number: object) -> None:
    """Its trace cannot be shown."""
    for span in (NEW, OLD):
        place: dict[str, Any] = dict(span.get("context", {}))  # type: ignore[call-overload]
        wrong = {**span, "context": {**place, "trace_id": number}} if place else {**span, "trace_id": number}
        assert spans_of([wrong], ID)[0]["trace"] == {"trace_id": number}
