"""Scorers of experiments."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_scorers(audited: Audited) -> None:
    """Every scorer version is on the target with its definition."""
    audited.keeps("scorers")
