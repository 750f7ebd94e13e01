"""Dataset inputs."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_dataset_inputs(parity_audited: Audited) -> None:
    """Every run has its dataset inputs with context and digest."""
    parity_audited.keeps()
