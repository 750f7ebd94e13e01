"""The fixtures of checks, ours and a user's own; heavy imports happen inside."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlflow_parity.audit.test_items import Item
    from mlflow_parity.pytest_api.checking import Audited, Shared
    from mlflow_parity.pytest_api.own_checks import OwnAudit, OwnChecks, OwnComparison, OwnPair, OwnSide
    from mlflow_parity.pytest_api.own_rows import OwnRows

#: Where a session keeps the inventory and the states.
SHARED: pytest.StashKey[Shared] = pytest.StashKey()
_OWN: pytest.StashKey[OwnChecks] = pytest.StashKey()
_ROWS: pytest.StashKey[OwnRows] = pytest.StashKey()
#: Said of a test that asks for our fixtures when it is too late to run it for what it is about.
_UNNAMED = (
    "the fixtures parity_… must be known when pytest collects: name them among the arguments of the test function, and "
    "ask for none by request.getfixturevalue; a unittest.TestCase cannot have them (make it a plain class)"
)


@pytest.fixture
def parity_audited(request: pytest.FixtureRequest) -> Audited:
    """One experiment after the audit: its part of the ledger, for one check to judge."""
    from mlflow_parity.pytest_api.checking import STATES, load

    _check_named(request)
    shared = request.config.stash[SHARED]
    return load(shared.folder / STATES, request.param, request.function, shared.message, shared.selected)


@pytest.fixture
def parity_scope(request: pytest.FixtureRequest) -> Item | None:
    """The experiment that an own check is about (``None``: all in scope); the fixtures below ask for it."""
    _check_named(request)
    item: Item | None = request.param
    return item


def _check_named(request: pytest.FixtureRequest) -> None:
    if not hasattr(request, "param"):
        pytest.fail(_UNNAMED, pytrace=False)


def _own(request: pytest.FixtureRequest) -> OwnChecks:
    from mlflow_parity.pytest_api.own_checks import OwnChecks

    stash = request.config.stash
    if _OWN not in stash:
        stash[_OWN] = OwnChecks(stash[SHARED])
    return stash[_OWN]


@pytest.fixture
def parity_source(request: pytest.FixtureRequest, parity_scope: Item | None) -> OwnSide:
    """What was read of the source, for own checks: ``.experiments`` (names), ``.experiment(name)``; read-only.

    A test that asks for it and for no ``parity_experiment`` runs once, on all that is in scope.
    """
    return _own(request).source


@pytest.fixture
def parity_target(request: pytest.FixtureRequest, parity_scope: Item | None) -> OwnSide:
    """What was read of the target, for own checks: ``.experiments`` (names), ``.experiment(name)``; read-only.

    A test that asks for it and for no ``parity_experiment`` runs once, on all that is in scope.
    """
    return _own(request).target


@pytest.fixture
def parity_experiment(request: pytest.FixtureRequest, parity_scope: Item | None) -> OwnComparison:
    """One source experiment and its copy, for own checks: one test for each experiment in scope.

    ``.name``, ``.source``, ``.target`` (``None``: it is missing), ``.pairs``. What could not be read is an error
    (``NotRead``), never empty.
    """
    assert parity_scope is not None
    return _own(request).comparison(parity_scope)


@pytest.fixture
def parity_pairs(parity_experiment: OwnComparison) -> list[OwnPair]:
    """The runs of the experiment with their copies, for own checks: ``.source``, ``.target``, ``.by``.

    A run without a copy is in no pair; the ledger has it.
    """
    return list(parity_experiment.pairs)


@pytest.fixture
def parity_audit(request: pytest.FixtureRequest, parity_scope: Item | None) -> OwnAudit:
    """What the audit found so far, for own checks: ``.green``, ``.totals``, ``.rows(experiment)`` of its ledger."""
    return _own(request).audit


@pytest.fixture
def parity_record(request: pytest.FixtureRequest, parity_scope: Item | None) -> Iterator[OwnRows]:
    """Adds rows to the ledger, for own checks: ``parity_record(pair, "model-card", same, source=…, target=…)``.

    The report has them as ``own:model-card``. A row that is not green makes the test fail.
    """
    from mlflow_parity.pytest_api.own_rows import OwnRows

    with OwnRows(_own(request), request.config.stash[SHARED], request.node.nodeid) as rows:
        request.node.stash[_ROWS] = rows
        yield rows


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """A test that has passed fails by the rows that it has recorded."""
    yield
    # by whatever name and way the test came to it
    rows = item.stash.get(_ROWS, None)
    if rows is not None:
        rows.end()


def mark(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Mark the report of a test that says of what the ledger says too, so that it is said once."""
    rows = item.stash.get(_ROWS, None)
    by_rows = rows is not None and rows.failed and call.when == "call"
    error = None if call.excinfo is None else call.excinfo.value
    is_check = "parity_audited" in getattr(item, "fixturenames", ())
    if by_rows or (is_check and isinstance(error, pytest.fail.Exception) and str(error.msg).startswith("parity: ")):
        from mlflow_parity.pytest_api.own_tests import IN_LEDGER

        setattr(report, IN_LEDGER, True)
