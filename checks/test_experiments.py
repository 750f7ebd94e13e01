"""Experiments: arrived, with their tags, notes, source tags and places."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_experiment_arrived(parity_audited: Audited) -> None:
    """Every experiment is on the target once, under its name and in its lifecycle stage, and no other is."""
    parity_audited.keeps()


def test_experiment_tags_and_note(parity_audited: Audited) -> None:
    """The experiment's tags and note are those of the source, and so is all else that is told of it."""
    parity_audited.keeps()


def test_experiment_source_tags(parity_audited: Audited) -> None:
    """The experiment's source tags are complete and true, and its times differ only as the contract says."""
    parity_audited.keeps()


def test_experiment_artifact_location(parity_audited: Audited) -> None:
    """The experiment keeps its artifacts in a place of its own."""
    parity_audited.keeps()
