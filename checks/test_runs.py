"""Runs: arrived once, with name, status, times, lifecycle stage and user."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_runs_arrived_once(parity_audited: Audited) -> None:
    """Every run is on the target exactly once, and nothing else is in its experiment."""
    parity_audited.keeps()


def test_run_name_and_status(parity_audited: Audited) -> None:
    """Every run has its name and status."""
    parity_audited.keeps()


def test_run_times(parity_audited: Audited) -> None:
    """Every run has its start and end time, or they stand in its source tags."""
    parity_audited.keeps()


def test_run_lifecycle(parity_audited: Audited) -> None:
    """Active runs are active and deleted ones deleted."""
    parity_audited.keeps()


def test_run_user(parity_audited: Audited) -> None:
    """Every run has its user, or the user stands in its source tags."""
    parity_audited.keeps()
