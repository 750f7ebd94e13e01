"""Every fault is found and named, by the check that owns it, and nothing else is blamed; no field goes unexercised."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from completeness.altered import UNTRIED, tried, untried
from support.servers import ServerPool

from faults import battery
from faults.battery import BESIDE, OPTIONS, OWNERS, QUICK, Result
from faults.detection import markdown
from faults.fault import Fault, Pair
from faults.later import CHANGES, NEWER, WORKSPACES
from faults.registry import FAULTS
from faults.searches import SEARCHES
from faults.unknown import UNKNOWN
from mlflow_parity.kinds import KINDS, SCOPE_FACETS, SCOPE_KIND
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import OTHER

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "detection.md"


def _marks(pair: Pair) -> list[pytest.MarkDecorator]:
    return [] if pair in QUICK else [pytest.mark.long]


PAIRS = [pytest.param(pair, marks=_marks(pair)) for pair in OPTIONS]


@pytest.fixture(scope="session")
def result(server_pool: ServerPool, request: pytest.FixtureRequest) -> Result:
    """The audits of the pairs whose tests run, clean and broken."""
    ours = [item for item in request.session.items if item.path == Path(__file__)]
    every = any(item.get_closest_marker("long") for item in ours)
    return battery.run(server_pool, tuple(OPTIONS) if every else QUICK)


def _of(fault: Fault) -> set[tuple[str, str]]:
    """Kind and name of every object that a fault harms."""
    return {said[:2] for said in fault.expected}


def test_the_battery_is_large_and_unambiguous() -> None:
    """Names are unique, no object is harmed by two faults of one pair, and every kind has its faults."""
    assert len(FAULTS) > 250
    assert [name for name, count in Counter(fault.id for fault in FAULTS).items() if count > 1] == []
    harmed = Counter((fault.pair, *one) for fault in FAULTS for one in _of(fault))
    assert [one for one, count in harmed.items() if count > 1] == []
    assert {fault.kind for fault in FAULTS} == {"experiment", "run", *KINDS} - set(contract.LATER) - {"workspace"}
    assert {change.kind for change in {**CHANGES, **NEWER}.values()} == set(contract.LATER)


def test_no_field_of_the_contract_goes_unexercised() -> None:
    """The list of kinds and facets that no fault makes red is empty."""
    exercised = {said[0::2][:2] for fault in FAULTS for said in fault.said(fault.found)} | WORKSPACES
    exercised |= {(change.kind, change.facet) for change in {**CHANGES, **NEWER}.values()}
    exercised |= {(kind, OTHER) for kind in UNKNOWN}
    exercised |= {(one.kind, "usable") for one in SEARCHES}
    every = {(kind, facet) for kind, facets in contract.FACETS.items() for facet in facets}
    assert sorted(every - exercised) == []
    assert exercised <= every


@pytest.mark.long
def test_no_column_that_is_claimed_goes_unaltered(result: Result) -> None:
    """A facet that is said to compare a column has turned red when the column was another: no claim is by hearsay."""
    assert set(untried(tried(FAULTS, result.altered))) == set(UNTRIED)


@pytest.mark.parametrize("pair", PAIRS)
def test_without_faults_it_is_green(result: Result, pair: Pair) -> None:
    """The migration, and the restored copy, lost nothing."""
    clean = result.clean[pair]
    assert clean.status == 0, clean.output
    assert clean.findings == ()
    assert clean.failed == {}


def test_every_kind_was_migrated(result: Result) -> None:
    """Every kind that is moved was on both sides, run by run, and deepdiff had nothing to explain."""
    report = result.clean["migrated"].report
    moved = {"experiment", "run", *KINDS} - set(contract.LATER) - {"workspace"}
    assert {row["facet"].split()[0] for row in report["coverage"] if row["total"]} == moved
    assert report["explained"] == 0
    assert set(report["paired_by"]) == {"source-tag"}
    assert report["sides"]["source"]["objects"] == report["sides"]["target"]["objects"]


@pytest.mark.parametrize("fault", [pytest.param(one, id=str(one.id), marks=_marks(one.pair)) for one in FAULTS])
def test_a_fault_is_found_and_named(result: Result, fault: Fault) -> None:
    """Its objects have exactly its findings (facet, key, state), through the checks that own them, and no others."""
    broken = result.broken[fault.pair]
    assert broken.status == 1, broken.output
    objects = _of(fault)
    assert {one.said for one in broken.findings if one.said[:2] in objects} == fault.expected
    assert {OWNERS[said[0], said[2]] for said in fault.expected} <= broken.failed.keys()


@pytest.mark.parametrize("pair", PAIRS)
def test_nothing_else_is_blamed(result: Result, pair: Pair) -> None:
    """Every finding is one of a fault, and only checks that own a finding fail: what has no copy is blamed once."""
    broken = result.broken[pair]
    wanted = {said for fault in FAULTS if fault.pair == pair for said in fault.expected}
    assert {one.said for one in broken.findings} - wanted == set()
    owners = {OWNERS[said[0], said[2]] for said in wanted}
    assert broken.failed.keys() == owners
    # what has no copy keeps no other promise either: that stays red in every count
    lost = {said[0] for said in wanted if said[2] == "presence" and said[4] == "missing"}
    rows = broken.report["coverage"]
    missing = {(row["facet"].split()[0], row["facet"].split()[1]) for row in rows if "missing" in row["counts"]}
    compared = {(row["facet"].split()[0], row["facet"].split()[1]) for row in rows}
    assert {one for one in compared if one[0] in lost} <= missing
    assert broken.report["findings_total"] == len(broken.findings)


@pytest.mark.long
@pytest.mark.parametrize("pair", BESIDE)
def test_by_databases_and_files_where_they_lie_it_is_the_same(result: Result, pair: Pair) -> None:
    """What is read there is judged as what the API tells and sends: each fault, its facet, its state, its words."""
    for by_api, beside in zip((result.clean[pair], result.broken[pair]), result.beside[pair], strict=True):
        assert beside.status == by_api.status, beside.output
        assert sorted(map(repr, beside.findings)) == sorted(map(repr, by_api.findings))
        assert beside.failed.keys() == by_api.failed.keys()
        for what in ("verdict", "coverage", "findings_total", "paired_by"):
            assert beside.report[what] == by_api.report[what], what
        for way in ("were read from its database", "were read at"):
            assert sum(way in note for note in beside.report["notes"]) == 2, way


def test_every_check_was_red() -> None:
    """There is no check without a fault that it finds."""
    red = {OWNERS[said[0], said[2]] for fault in FAULTS for said in fault.said(fault.found)}
    elsewhere = {(change.kind, change.facet) for change in {**CHANGES, **NEWER}.values()} | WORKSPACES
    # what limits an audit as a whole is no fault of an object: tests/audit/test_limits.py
    elsewhere |= {(SCOPE_KIND, facet) for facet in SCOPE_FACETS}
    elsewhere |= {(one.kind, "usable") for one in SEARCHES}
    assert red | {OWNERS[one] for one in elsewhere} == set(OWNERS.values())


def test_unpaired_runs_are_named_for_what_they_are(result: Result) -> None:
    """A run that was never there and one that an interrupted import left are told apart."""
    notes = {one.name: one.note for one in result.broken["migrated"].findings if one.facet == "presence"}
    assert "ghost run" in notes["run-ghost"]
    assert "half a run left by an interrupted import" in notes["run-half"]


def test_a_failure_is_short_and_has_no_traceback(result: Result) -> None:
    """Each failure is under 40 lines, with both values, and shows no source line of ours."""
    output = result.broken["migrated"].output
    assert "Traceback" not in output
    assert "def test_" not in output
    body = output.partition("= FAILURES =")[2].partition("= short test summary info =")[0]
    sections = body.split("\n____")
    assert len(sections) > 40
    assert max(section.count("\n") for section in sections) < 42
    assert "0.10" in body
    assert "root['lr']" in body


@pytest.mark.long
def test_the_detection_table_is_up_to_date(result: Result) -> None:
    """``docs/detection.md`` is what ``make detection`` writes."""
    assert PAGE.read_text(encoding="utf-8") == markdown(result)
