"""Metric histories."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_metric_histories(audited: Audited) -> None:
    """Every metric of every run has its full history, bit for bit."""
    audited.keeps("metric_histories")
