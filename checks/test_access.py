"""Access: versions' files come from the target, MLmodel parses, aliases resolve, models load where that is asked."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_model_versions_are_accessible(parity_audited: Audited) -> None:
    """Every model version's files can be downloaded from the target, and its MLmodel parses."""
    parity_audited.keeps()


def test_model_aliases_resolve(parity_audited: Audited) -> None:
    """Every alias of a registered model resolves from the target to its version."""
    parity_audited.keeps()


def test_prompt_aliases_resolve(parity_audited: Audited) -> None:
    """Every alias of a prompt resolves from the target to its version."""
    parity_audited.keeps()


def test_model_versions_load(parity_audited: Audited) -> None:
    """Every model version is loaded by mlflow.pyfunc (--parity-load-models)."""
    parity_audited.keeps()
