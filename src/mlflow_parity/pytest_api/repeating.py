"""What of a command line of pytest's own belongs to the command that repeats an audit: which tests were run."""

from __future__ import annotations

import pytest

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
