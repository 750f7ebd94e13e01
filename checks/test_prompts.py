"""Prompts and their versions."""

from __future__ import annotations

from mlflow_parity.checking import Audited


def test_prompts_arrived(audited: Audited) -> None:
    """Every prompt is on the target, and no other."""
    audited.keeps("prompts_arrived")


def test_prompt_content(audited: Audited) -> None:
    """Every prompt has its description and tags."""
    audited.keeps("prompt_content")


def test_prompt_aliases(audited: Audited) -> None:
    """Every alias points at the copy of the prompt version that it points at on the source."""
    audited.keeps("prompt_aliases")


def test_prompt_versions_arrived_once(audited: Audited) -> None:
    """Every prompt version is on the target exactly once, under its number."""
    audited.keeps("prompt_versions_arrived_once")


def test_prompt_version_content(audited: Audited) -> None:
    """Every prompt version has its template, commit message, tags, model configuration and response format."""
    audited.keeps("prompt_version_content")
