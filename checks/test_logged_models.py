"""Logged models: once, with their content, metrics, run and files; the runs that name them."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_run_model_links(parity_audited: Audited) -> None:
    """Every run names the copies of the logged models that it used and made, with their steps."""
    parity_audited.keeps()


def test_logged_models_arrived_once(parity_audited: Audited) -> None:
    """Every logged model is on the target exactly once, also where several runs use it."""
    parity_audited.keeps()


def test_logged_model_content(parity_audited: Audited) -> None:
    """Every logged model has its name, type, status, tags and params, and all else that is told of it."""
    parity_audited.keeps()


def test_logged_model_metrics(parity_audited: Audited) -> None:
    """Every logged model has its metrics, with their datasets and runs."""
    parity_audited.keeps()


def test_logged_model_run(parity_audited: Audited) -> None:
    """Every logged model hangs on the copy of the run that made it."""
    parity_audited.keeps()


def test_logged_model_files(parity_audited: Audited) -> None:
    """Every logged model has its files: the same tree, sizes and bytes; MLmodel as the contract says."""
    parity_audited.keeps()
