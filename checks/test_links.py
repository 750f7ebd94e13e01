"""Links between runs."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_parent_child_links(parity_audited: Audited) -> None:
    """Every child run hangs on the copy of its parent."""
    parity_audited.keeps()
