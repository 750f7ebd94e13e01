"""Access: versions' files come from the target, MLmodel parses, aliases resolve, models load where that is asked."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_model_versions_are_accessible(audited: Audited) -> None:
    """Every model version's files can be downloaded from the target, and its MLmodel parses."""
    audited.keeps("model_versions_are_accessible")


def test_model_aliases_resolve(audited: Audited) -> None:
    """Every alias of a registered model resolves from the target to its version."""
    audited.keeps("model_aliases_resolve")


def test_prompt_aliases_resolve(audited: Audited) -> None:
    """Every alias of a prompt resolves from the target to its version."""
    audited.keeps("prompt_aliases_resolve")


def test_model_versions_load(audited: Audited) -> None:
    """Every model version is loaded by mlflow.pyfunc (--load-models)."""
    audited.keeps("model_versions_load")
