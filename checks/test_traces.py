"""Traces: arrived once, info, spans, assessments, links."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_traces_arrived_once(parity_audited: Audited) -> None:
    """Every trace is on the target exactly once."""
    parity_audited.keeps()


def test_trace_info(parity_audited: Audited) -> None:
    """Every trace has its state, times, previews, tags and metadata, and all else that is told of it."""
    parity_audited.keeps()


def test_trace_spans(parity_audited: Audited) -> None:
    """Every trace has all its spans, with inputs, outputs, attributes and events."""
    parity_audited.keeps()


def test_trace_attachments(parity_audited: Audited) -> None:
    """Every trace has the attachments that its spans name, byte by byte, and no others."""
    parity_audited.keeps()


def test_trace_assessments(parity_audited: Audited) -> None:
    """Every trace has its feedback and expectations, overridden ones included."""
    parity_audited.keeps()


def test_trace_links(parity_audited: Audited) -> None:
    """Every trace names the copies of its runs, logged model and prompts."""
    parity_audited.keeps()
