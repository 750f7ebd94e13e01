"""How the tests ended that are not the audit's own checks: a run in which one of them was not judged is not green."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from mlflow_parity.core.text import shorten, visible
from mlflow_parity.reporting.report import NOT_RUN

#: Tests that a report names, and characters of each name.
_NAMED, _LONG = 20, 300


class OwnTests:
    """A pytest plugin of the main process, which xdist's workers tell of each test too."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self.wanted: set[str] = set()
        """Node ids of the own checks that were collected."""
        self._judged: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that has run, or says itself that it does not: one that only another plugin ended has not."""
        if report.when == "call" or report.skipped or report.failed:
            self._judged.add(report.nodeid)

    @property
    def not_run(self) -> set[str]:
        """The own checks that were collected and never ended."""
        return self.wanted - self._judged

    def reasons(self) -> list[str]:
        """Say what stands against a green verdict, a line for each test."""
        return self._named(NOT_RUN, self.not_run)

    def _named(self, what: str, tests: Iterable[str]) -> list[str]:
        """Return a line for each of the first tests, by name, and one that counts the others."""
        names = sorted(tests)
        # before it is cut, as half a secret could not be recognised
        lines = [what + shorten(visible(self._redact(name)), _LONG) for name in names[:_NAMED]]
        return [*lines, f"{what}{len(names) - _NAMED:,} more"] if len(names) > _NAMED else lines
