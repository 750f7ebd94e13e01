"""Brings in what the project's tests share, where it is they that run.

An audit in a checkout in which the package is not installed loads this file too, whatever it is told to run: nothing
may be imported here that an audit does not have.
"""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Load :mod:`support.fixtures` for a run by the tests' own ini file."""
    if config.inipath is not None and config.inipath.parent == Path(__file__).parent:
        config.pluginmanager.import_plugin("support.fixtures")
