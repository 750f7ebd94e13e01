"""Ids of spans: servers have them as hex, as hex after ``0x``, and as base64; all are the same sixteen digits."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlflow_parity.reading.traces.spans import span_id


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
