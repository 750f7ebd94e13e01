"""The skill registry."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_skills(parity_audited: Audited) -> None:
    """Every skill is on the target, with its versions."""
    parity_audited.keeps()
