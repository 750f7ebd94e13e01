"""Which experiments, registered models and prompts the options of ``migrate`` name.

As in the audit: with ``--experiments`` what belongs to no experiment is left out, but for what ``--models`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.settings import Settings


def in_scope(settings: Settings, experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the experiments that the options name."""
    return [
        one
        for one in experiments
        if (not settings.experiments or any(fnmatchcase(one.name, name) for name in settings.experiments))
        and (settings.include_deleted or one.lifecycle_stage != "deleted")
    ]


def in_model_scope(settings: Settings) -> Callable[[str], bool]:
    """Return what tells whether a registered model or prompt is in scope, by its name."""
    if not settings.models:
        return lambda _: not settings.experiments
    return lambda name: any(fnmatchcase(name, wanted) for wanted in settings.models)


def others_in_scope(settings: Settings) -> bool:
    """Whether what belongs to the server itself is in scope: evaluation datasets, webhooks and the like."""
    return not settings.experiments


def left_out(settings: Settings) -> list[str]:
    """Return what the options leave out, a line each."""
    lines = []
    if settings.experiments:
        lines.append(f"experiments other than {', '.join(settings.experiments)}")
    if settings.models:
        lines.append(f"registered models and prompts other than {', '.join(settings.models)}")
    elif settings.experiments:
        lines.append("registered models and prompts (name them with --models)")
    if not others_in_scope(settings):
        lines.append("evaluation datasets, webhooks and all else of the server (--experiments leaves them out)")
    if not settings.include_deleted:
        lines.append("deleted experiments and runs (--include-deleted)")
    return lines
