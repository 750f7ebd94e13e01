"""Issues."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_issues(parity_audited: Audited) -> None:
    """Every issue is on the target, with all that it says, its experiment and its run."""
    parity_audited.keeps()
