"""Params."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_params(parity_audited: Audited) -> None:
    """Every param of every run has its value, character by character."""
    parity_audited.keeps()
