"""Experiments: arrived, with their tags, notes, source tags and places."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_experiment_arrived(audited: Audited) -> None:
    """Every experiment is on the target once, under its name and in its lifecycle stage, and no other is."""
    audited.keeps("experiment_arrived")


def test_experiment_tags_and_note(audited: Audited) -> None:
    """The experiment's tags and note are those of the source."""
    audited.keeps("experiment_tags_and_note")


def test_experiment_source_tags(audited: Audited) -> None:
    """The experiment's source tags are complete and true, and its times differ only as the contract says."""
    audited.keeps("experiment_source_tags")


def test_experiment_artifact_location(audited: Audited) -> None:
    """The experiment keeps its artifacts in a place of its own."""
    audited.keeps("experiment_artifact_location")
