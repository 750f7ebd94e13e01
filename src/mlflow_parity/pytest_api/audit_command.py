"""``mlflow-parity audit``: pytest with our checks. In that pytest this module is a plugin: no audit, no run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import pytest

from mlflow_parity import options


def main(arguments: Sequence[str]) -> NoReturn:
    """Become ``python -m pytest``: a fresh process, in which nothing of ours is imported before pytest rewrites it."""
    # by its name of an entry point, so that it is loaded once, and with PYTEST_DISABLE_PLUGIN_AUTOLOAD too
    command = ["-m", "pytest", "-p", "mlflow_parity", "-p", __name__, *arguments]
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a run in which no side was named: it would collect whatever tests there are."""
    # collecting is a look too, but there is nothing to collect without servers
    looks = ("help", *(name for name in options.LOOKS if name != "collectonly"))
    if not options.is_active(options.raw_values(config)) and not any(config.getoption(name, None) for name in looks):
        raise pytest.UsageError(options.NO_SIDES)
