"""Times of traces, as the servers write them."""

from __future__ import annotations

import pytest

from mlflow_parity.reading.traces.trace_infos import milliseconds


@pytest.mark.parametrize(
    ("told", "ms"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000),
        ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
        ("2023-11-14T22:13:20.123Z", 1_700_000_000_123),
        ("2023-11-14T22:13:20.123999999Z", 1_700_000_000_123),
        ("1969-12-31T23:59:59.250Z", -750),
        ("", None),
        (None, None),
    ],
)
def test_a_time_is_read_to_the_millisecond(told: str | None, ms: int | None) -> None:
    """Else two traces of one time would differ, or two times would pass for one."""
    assert milliseconds(told) == ms


@pytest.mark.parametrize(
    "told",
    [
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:20+01:00",
        "2023-11-14 22:13:20Z",
        "2023-W46-2T22:13:20Z",
        "20231114T221320Z",
        "2023-11-14T24:13:20Z",
        "2023-11-14T22:13:20.xZ",
        "yesterdayZ",
    ],
)
def test_what_is_no_such_time_is_refused(told: str) -> None:
    """A time that was only half understood is not compared as if it had been."""
    with pytest.raises(ValueError):
        milliseconds(told)
