"""Registered models and their versions: arrived, numbers, content, links, aliases, files."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_registered_models_arrived(audited: Audited) -> None:
    """Every registered model is on the target, and no other."""
    audited.keeps("registered_models_arrived")


def test_registered_model_content(audited: Audited) -> None:
    """Every registered model has its description and tags."""
    audited.keeps("registered_model_content")


def test_registered_model_aliases(audited: Audited) -> None:
    """Every alias points at the copy of the version that it points at on the source."""
    audited.keeps("registered_model_aliases")


def test_model_versions_arrived_once(audited: Audited) -> None:
    """Every model version is on the target exactly once."""
    audited.keeps("model_versions_arrived_once")


def test_model_version_numbers(audited: Audited) -> None:
    """Every model version has its number, or it stands in its source tags, and the order is the same."""
    audited.keeps("model_version_numbers")


def test_model_version_content(audited: Audited) -> None:
    """Every model version has its status, description, tags, user and stage."""
    audited.keeps("model_version_content")


def test_model_version_links(audited: Audited) -> None:
    """Every model version names the copies of its run and logged model, and a source of its own."""
    audited.keeps("model_version_links")


def test_model_version_files(audited: Audited) -> None:
    """The right model stands behind every version, by bytes."""
    audited.keeps("model_version_files")
