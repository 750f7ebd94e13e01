"""Tags, notes and source tags of runs."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_run_tags_and_note(parity_audited: Audited) -> None:
    """Every run has its tags and its note, and all else that is told of it."""
    parity_audited.keeps()


def test_run_source_tags(parity_audited: Audited) -> None:
    """The source tags of every run are complete and true."""
    parity_audited.keeps()
