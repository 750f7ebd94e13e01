"""The command that repeats an audit: our options without secrets, and of pytest's own which tests were run."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES
from mlflow_parity.core.locations import VARIABLE
from mlflow_parity.options import BY_NAME as OPTIONS
from mlflow_parity.reading.transport.answering import answering

#: Options of pytest that select, by their name in its options. What ``--lf`` leaves out depends on the run before.
_SELECTING = {
    "deselect": "--deselect",
    "ignore": "--ignore",
    "ignore_glob": "--ignore-glob",
    "keyword": "-k",
    "markexpr": "-m",
}


def selection(config: pytest.Config) -> list[str]:
    """Return the paths and node ids that were given, and the options that select among their tests."""
    command = list(config.args) if config.args_source is pytest.Config.ArgsSource.ARGS else []
    if command and config.getoption("pyargs", default=False):
        command.insert(0, "--pyargs")
    for name, option in _SELECTING.items():
        given = config.getoption(name, default=None) or []
        for value in [given] if isinstance(given, str) else given:
            command += [option, str(value)]
    return command


def command_line(values: dict[str, str], settings: Settings, extra: Iterable[str]) -> tuple[str, ...]:
    """Return the command that repeats the audit; locations stand in it without credentials."""
    command = []
    for side in SIDES:
        location = settings.source if side == "source" else settings.target
        command += [f"{side.upper()}_{VARIABLE}={location.workspace}"] if location.workspace else []
        command += answering(location, side, os.environ).variables
    command.append("pytest")
    for name, text in values.items():
        option = OPTIONS[name]
        if name in ("source-uri", "target-uri"):
            text = settings.source.address if name == "source-uri" else settings.target.address
        database = {"source-db": settings.source_db, "target-db": settings.target_db}.get(name)
        if database is not None:
            text = database.display
        if text == (option.default or "") and option.default is not None:
            continue
        if option.kind == "flag":
            command.append(option.flag)
        else:
            command += [option.flag, text]
    return (*command, *extra)
