"""Registered models and their versions: arrived, numbers, content, links, aliases, files."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_registered_models_arrived(parity_audited: Audited) -> None:
    """Every registered model is on the target, and no other."""
    parity_audited.keeps()


def test_registered_model_content(parity_audited: Audited) -> None:
    """Every registered model has its description and tags, and all else that is told of it."""
    parity_audited.keeps()


def test_registered_model_aliases(parity_audited: Audited) -> None:
    """Every alias points at the copy of the version that it points at on the source."""
    parity_audited.keeps()


def test_model_versions_arrived_once(parity_audited: Audited) -> None:
    """Every model version is on the target exactly once."""
    parity_audited.keeps()


def test_model_version_numbers(parity_audited: Audited) -> None:
    """Every model version has its number, or it stands in its source tags, and the order is the same."""
    parity_audited.keeps()


def test_model_version_content(parity_audited: Audited) -> None:
    """Every model version has its status, description, tags, user and stage, and all else that is told of it."""
    parity_audited.keeps()


def test_model_version_links(parity_audited: Audited) -> None:
    """Every model version names the copies of its run and logged model, and is loaded from a place of its own."""
    parity_audited.keeps()


def test_model_version_files(parity_audited: Audited) -> None:
    """The right model stands behind every version, by bytes."""
    parity_audited.keeps()
