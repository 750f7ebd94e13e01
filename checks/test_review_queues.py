"""Review queues."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_review_queues(parity_audited: Audited) -> None:
    """Every review queue is on the target, with its label schemas, users and items."""
    parity_audited.keeps()
