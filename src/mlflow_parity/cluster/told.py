"""What a worker is told of a job, as JSON without a secret: read, and held against this package's version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location


def read_told(path: Path, again: str) -> dict[str, Any]:
    """Return what a file tells; ``again`` is what is to be done where it is damaged.

    Raises:
        UsageProblem: it is damaged, or of another version.
    """
    try:
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = told["version"]
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageProblem(f"what workers were given is damaged; {again}") from None
    if version != __version__:
        raise UsageProblem(
            f"a worker has mlflow-parity {__version__}, and who gave it work has {version}; install the same everywhere"
        )
    return told


def location_of(told: Mapping[str, Any]) -> Location:
    """Return a location, whose password is in the worker's own environment."""
    return Location(**{**told, "userinfo": None})


def settings_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings; JSON knows no tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
