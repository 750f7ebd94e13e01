"""Access: every version's files come from the target, its MLmodel parses, and it loads where that is asked for."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_model_versions_are_accessible(audited: Audited) -> None:
    """Every model version's files can be downloaded from the target, and its MLmodel parses."""
    audited.keeps("model_versions_are_accessible")


def test_model_versions_load(audited: Audited) -> None:
    """Every model version is loaded by mlflow.pyfunc (--load-models)."""
    audited.keeps("model_versions_load")
