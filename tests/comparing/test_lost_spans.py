"""Spans that MLflow lost before a migration are told by the trace's own count, where nothing else tells of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlflow_parity.comparing.trace_fields import compare_spans
from mlflow_parity.core.records import Entity
from mlflow_parity.core.verdict import State


def trace(spans: int, told: object, *, state: str = "OK", error: str | None = None) -> Entity:
    """Return a trace with so many spans, that tells of another number of them."""
    stats = told if isinstance(told, str) else json.dumps({"num_spans": told})
    facets: dict[str, Any] = {
        "spans": [{"span_id": f"{number:016x}", "name": f"span {number}"} for number in range(spans)],
        "metadata": {} if told is None else {"mlflow.trace.sizeStats": stats}, "state": state,
    }  # fmt: skip
    return Entity("trace", "tr-1", "1", "ask", None, facets, error=error)


@pytest.mark.parametrize(
    ("source", "target", "found"),
    [
        (trace(2, 3), trace(2, 3), [("number of spans", State.MISMATCH, 3, 2)]),
        # the target may have counted the spans that it got
        (trace(2, 3), trace(2, 2), [("number of spans", State.MISMATCH, 3, 2)]),
        (trace(3, 3), trace(3, 3), []),
        (trace(3, 2), trace(3, 2), []),
        (trace(2, None), trace(2, None), []),
        (trace(2, "no JSON"), trace(2, "no JSON"), []),
        (trace(2, "[]"), trace(2, "[]"), []),
        (trace(2, "many"), trace(2, 3, state="IN_PROGRESS"), []),
        (trace(2, 3, state="IN_PROGRESS"), trace(2, 3, state="IN_PROGRESS"), []),
        # that is told as an object that could not be read
        (trace(2, 3, error="2 of its 3 spans are there"), trace(2, 3), []),
        (trace(2, 3), trace(2, 3, error="2 of its 3 spans are there"), []),
    ],
)
def test_a_number_that_is_told(source: Entity, target: Entity, found: list[tuple[str, State, object, object]]) -> None:
    """Nobody would know that a dashboard's figures are of fewer spans than the application made."""
    told = [(one.key, one.state, one.source, one.target) for one in compare_spans(source, target)]
    assert told == found


def test_what_one_side_lacks_is_told_by_its_span() -> None:
    """A span that the migration lost has a name, and is not hidden behind a count."""
    [lost] = compare_spans(trace(3, 3), trace(2, 3))
    assert (lost.key, lost.state) == ("span 2 (0000000000000002)", State.MISSING)
    [extra] = compare_spans(trace(2, 3), trace(3, 3))
    assert (extra.key, extra.state) == ("span 2 (0000000000000002)", State.EXTRA)
    both = compare_spans(trace(2, 3), trace(1, 3))
    assert [(one.key, one.state) for one in both] == [
        ("span 1 (0000000000000001)", State.MISSING), ("number of spans", State.MISMATCH),
    ]  # fmt: skip


def test_the_finding_says_what_was_seen_and_what_to_do() -> None:
    """A count that differs explains nothing by itself."""
    [lost] = compare_spans(trace(1, 3), trace(1, 3))
    assert (lost.rule, lost.note) == (
        "trace.spans",
        "made with 3 spans, the source gives 1: MLflow lost the others before, or its server does not give them; "
        "look at the trace on the source, and accept it with a waiver if they are gone",
    )
    # none at all is told as a trace that could not be read
    assert compare_spans(trace(0, 3), trace(0, 3)) == []
    assert compare_spans(trace(2, 3, state="IN_PROGRESS"), trace(2, 3)) == []
    assert compare_spans(trace(3, 3), trace(3, 3)) == []
