"""Evaluation datasets and their records."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_evaluation_datasets_arrived_once(audited: Audited) -> None:
    """Every evaluation dataset is on the target exactly once."""
    audited.keeps("evaluation_datasets_arrived_once")


def test_evaluation_dataset_content(audited: Audited) -> None:
    """Every evaluation dataset has its name, tags, schema and profile."""
    audited.keeps("evaluation_dataset_content")


def test_evaluation_dataset_experiments(audited: Audited) -> None:
    """Every evaluation dataset hangs on the copies of its experiments."""
    audited.keeps("evaluation_dataset_experiments")


def test_evaluation_dataset_records(audited: Audited) -> None:
    """Every evaluation dataset has its records."""
    audited.keeps("evaluation_dataset_records")
