"""Metric histories."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_metric_histories(parity_audited: Audited) -> None:
    """Every metric of every run has its full history, bit for bit."""
    parity_audited.keeps()
