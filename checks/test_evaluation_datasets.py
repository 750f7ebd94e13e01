"""Evaluation datasets and their records."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_evaluation_datasets_arrived_once(parity_audited: Audited) -> None:
    """Every evaluation dataset is on the target exactly once."""
    parity_audited.keeps()


def test_evaluation_dataset_content(parity_audited: Audited) -> None:
    """Every evaluation dataset has its name, tags, schema and profile, and all else that is told of it."""
    parity_audited.keeps()


def test_evaluation_dataset_experiments(parity_audited: Audited) -> None:
    """Every evaluation dataset hangs on the copies of its experiments."""
    parity_audited.keeps()


def test_evaluation_dataset_records(parity_audited: Audited) -> None:
    """Every evaluation dataset has its records."""
    parity_audited.keeps()
