"""Traces: arrived once, info, spans, assessments, links."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_traces_arrived_once(audited: Audited) -> None:
    """Every trace is on the target exactly once."""
    audited.keeps("traces_arrived_once")


def test_trace_info(audited: Audited) -> None:
    """Every trace has its state, times, previews, tags and metadata."""
    audited.keeps("trace_info")


def test_trace_spans(audited: Audited) -> None:
    """Every trace has all its spans, with inputs, outputs, attributes and events."""
    audited.keeps("trace_spans")


def test_trace_assessments(audited: Audited) -> None:
    """Every trace has its feedback and expectations, overridden ones included."""
    audited.keeps("trace_assessments")


def test_trace_links(audited: Audited) -> None:
    """Every trace names the copies of its runs, logged model and prompts."""
    audited.keeps("trace_links")
