"""Prompts and their versions."""

from __future__ import annotations

from mlflow_parity.pytest_api.checking import Audited


def test_prompts_arrived(parity_audited: Audited) -> None:
    """Every prompt is on the target, and no other."""
    parity_audited.keeps()


def test_prompt_content(parity_audited: Audited) -> None:
    """Every prompt has its description and tags, and all else that is told of it."""
    parity_audited.keeps()


def test_prompt_aliases(parity_audited: Audited) -> None:
    """Every alias points at the copy of the prompt version that it points at on the source."""
    parity_audited.keeps()


def test_prompt_versions_arrived_once(parity_audited: Audited) -> None:
    """Every prompt version is on the target exactly once, under its number."""
    parity_audited.keeps()


def test_prompt_version_content(parity_audited: Audited) -> None:
    """Every prompt version has its template, message, tags, configuration, format, and all else told of it."""
    parity_audited.keeps()
