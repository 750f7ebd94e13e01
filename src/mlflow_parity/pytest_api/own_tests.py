"""How the tests ended that are not the audit's own checks: a run in which one of them was not judged is not green."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from mlflow_parity.core.text import shorten, visible
from mlflow_parity.reporting.other_reasons import FAILED, NOT_RUN

#: Tests that a report names, and characters of each name.
_NAMED, _LONG = 20, 300
#: Attribute of a report of pytest, of a worker's too: what failed there stands in the ledger.
IN_LEDGER = "mlflow_parity_in_ledger"


class OwnTests:
    """A pytest plugin of the main process, which xdist's workers tell of each test too."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self.wanted: set[str] = set()
        """Node ids of those that were collected."""
        self.uncollected = False
        """Whether a file could not be collected."""
        self._judged: set[str] = set()
        self._failed: set[str] = set()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what could not be collected."""
        self.uncollected |= report.failed

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that has run, or says itself that it does not: one that only another plugin ended has not.

        Subtests have reports of a class of their own, and a run that is made again has ended nothing.
        """
        whole = type(report) is pytest.TestReport and report.outcome in ("passed", "failed", "skipped")
        if whole and (report.when == "call" or report.skipped or report.failed):
            self._judged.add(report.nodeid)
        # as pytest counts them
        if report.failed and not hasattr(report, "wasxfail") and not hasattr(report, IN_LEDGER):
            self._failed.add(report.nodeid)

    @property
    def against(self) -> bool:
        """Whether a test failed, or was collected and never ended: the verdict is not green then."""
        return bool(self._failed or self.wanted - self._judged)

    @property
    def not_run(self) -> list[str]:
        """What is said of those that were collected and never ended, a line for each."""
        return self._named(NOT_RUN, self.wanted - self._judged)

    @property
    def failed(self) -> list[str]:
        """What is said of tests that failed for another reason than what the ledger says, a line for each."""
        return self._named(FAILED, self._failed)

    def _named(self, what: str, tests: Iterable[str]) -> list[str]:
        """Return a line for each of the first tests, by name, and one that counts the others."""
        names = sorted(tests)
        # before it is cut, as half a secret could not be recognised
        lines = [what + shorten(visible(self._redact(name)), _LONG) for name in names[:_NAMED]]
        return [*lines, f"{what}{len(names) - _NAMED:,} more"] if len(names) > _NAMED else lines
