"""Options of pytest and its plugins beside which the checks of an audit cannot run: refused in one line at once."""

from __future__ import annotations

import os

import pytest

from mlflow_parity.core.errors import UsageProblem

#: Seconds below which not even the check of an empty experiment ends.
_SHORTEST = 1.0


def refuse(config: pytest.Config) -> None:
    """Look at what runs no test, and at what pytest-repeat, pytest-forked and pytest-timeout were given.

    Raises:
        UsageProblem: one of them cannot stand beside an audit.
    """
    # the first sets the second
    for name in ("setupplan", "setuponly"):
        if config.getoption(name, default=False):
            raise UsageProblem(
                f"--{name.replace('setup', 'setup-')}: it calls no test, so no check would be judged; leave it out "
                "(--collect-only lists the tests)"
            )
    count = config.getoption("count", default=1)
    if isinstance(count, int) and count > 1:
        raise UsageProblem(
            f"--count {count}: an audit judges each check once, and again would be the same; leave it out (two audits: "
            "run the command twice)"
        )
    if config.getoption("forked", default=False):
        raise UsageProblem("--forked: a check cannot tell from a process of its own; leave it out (-n 2 has workers)")
    given = config.getoption("timeout", default=None) or os.environ.get("PYTEST_TIMEOUT") or _in_file(config)
    try:
        seconds = float(given or 0)
    except ValueError:
        # pytest-timeout says so itself
        return
    if 0 < seconds < _SHORTEST:
        raise UsageProblem(
            f"--timeout {given}: no check ends in {seconds:g} s; give at least {_SHORTEST:g}, or none: each request of "
            "an audit has limits of its own"
        )


def _in_file(config: pytest.Config) -> str:
    if not config.pluginmanager.hasplugin("timeout"):
        return ""
    return str(config.getini("timeout") or "")
