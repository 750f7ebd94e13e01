"""Which reports of pytest say that a test has ended."""

from __future__ import annotations

import pytest

from mlflow_parity.pytest_api.own_tests import OwnTests

_NODE = "own.py::test_mine"


class _Part(pytest.TestReport):
    """As subtests report their parts: under the whole test's name."""


def _report(outcome: str, when: str, kind: type[pytest.TestReport] = pytest.TestReport) -> pytest.TestReport:
    return kind(_NODE, ("own.py", 1, "test_mine"), {}, outcome, None, when)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reports", "against"),
    [
        ([], True),
        ([_report("passed", "setup")], True),
        ([_report("passed", "setup"), _report("passed", "call")], False),
        ([_report("skipped", "setup")], False),
        ([_report("failed", "setup")], True),
        ([_report("passed", "setup"), _report("passed", "call", _Part)], True),
        ([_report("passed", "setup"), _report("rerun", "call")], True),
        ([_report("rerun", "call"), _report("passed", "call")], False),
        ([_report("passed", "call", _Part), _report("passed", "call")], False),
        ([_report("failed", "call", _Part), _report("passed", "call")], True),
    ],
)
def test_what_has_ended(reports: list[pytest.TestReport], against: bool) -> None:
    """A part of a test, or a try that is made again, would count for a check that never ended."""
    tests = OwnTests(str)
    tests.wanted.add(_NODE)
    for report in reports:
        tests.pytest_runtest_logreport(report)
    assert tests.against is against
