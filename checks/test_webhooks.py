"""Webhooks, as far as they can be read."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_webhooks(parity_audited: Audited) -> None:
    """Every webhook is on the target, as far as a webhook can be read, and all else that is told of it."""
    parity_audited.keeps()
