"""Artifacts: trees, sizes, hashes, places."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_artifacts(parity_audited: Audited) -> None:
    """Every run has its artifacts: the same tree, sizes and bytes; MLmodel as the contract says."""
    parity_audited.keeps()


def test_artifact_uri(parity_audited: Audited) -> None:
    """Every run keeps its artifacts in a place of its own."""
    parity_audited.keeps()
