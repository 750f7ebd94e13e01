"""Workspaces: one audit is of one of them."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_workspaces(parity_audited: Audited) -> None:
    """No workspace of either server is left unread without having been left out by choice."""
    parity_audited.keeps()
