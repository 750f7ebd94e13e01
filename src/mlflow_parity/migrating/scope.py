"""Which experiments, registered models and prompts the options of ``migrate.py`` name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from mlflow_parity.migrating.settings import Settings
from mlflow_parity.model import Experiment


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
    return lambda name: not settings.models or any(fnmatchcase(name, wanted) for wanted in settings.models)
