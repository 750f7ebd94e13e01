"""Scorers of experiments."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_scorers(parity_audited: Audited) -> None:
    """Every scorer version is on the target with its definition, and all else that is told of it."""
    parity_audited.keeps()
