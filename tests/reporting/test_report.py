"""The report data class: counts, order, redaction, and that it cannot say green against its evidence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import cell, findings, report, reports, side, unhurried

from mlflow_parity.core.redaction import MASK, Redactor
from mlflow_parity.core.verdict import SEVERITY, Finding, State
from mlflow_parity.reporting.report import CoverageRow, Report, Scope, experiment_order


def green(**changes: Any) -> Report:
    """Return a green report."""
    values: dict[str, Any] = {
        "verdict": "green",
        "reasons": (),
        "findings": (),
        "findings_total": 0,
        "coverage": (CoverageRow("churn", "params", cell(match=3, expected=1, waived=1)),),
    }
    return report(**{**values, **changes})


def test_a_green_report_can_be_made() -> None:
    """Matches, expected and waived differences are green."""
    assert green().verdict == "green"


@pytest.mark.parametrize("state", [state for state in State if not state.green])
def test_green_is_refused_when_an_object_is_not(state: State) -> None:
    """One object in any state that is not green contradicts a green verdict."""
    with pytest.raises(ValueError, match="not green"):
        green(coverage=(CoverageRow("churn", "params", cell(match=10, **{state.value: 1})),))


def test_green_is_refused_when_nothing_was_compared() -> None:
    """Zero objects of zero is no proof."""
    with pytest.raises(ValueError, match="nothing was compared"):
        green(coverage=())
    with pytest.raises(ValueError, match="nothing was compared"):
        green(coverage=(CoverageRow("churn", "params", cell()),))


def test_green_is_refused_with_reasons_or_findings() -> None:
    """A reason against it or a finding that is not green contradicts a green verdict."""
    with pytest.raises(ValueError, match="reasons against it"):
        green(reasons=("the target stopped answering",))
    lost = Finding("churn", "run", "a", "1", None, "presence", "", State.MISSING, "run.presence")
    with pytest.raises(ValueError, match="findings"):
        green(findings=(lost,))


def test_a_report_has_both_sides_and_a_known_verdict() -> None:
    """A missing side and a verdict of another word are refused."""
    with pytest.raises(ValueError, match="sides source and target"):
        report(sides={"source": side()})
    with pytest.raises(ValueError, match="green, red or none"):
        report(verdict="amber")


@given(reports)
@unhurried
def test_totals_add_up(made: Report) -> None:
    """Totals, sums by facet and by experiment all count the same objects."""
    assert sum(made.totals.values()) == made.objects
    assert made.objects - made.verified == made.totals["unverified"]
    for cells in (made.by_facet(), made.by_experiment()):
        assert sum(found.total for found in cells.values()) == made.objects
        assert sum(found.findings for found in cells.values()) == sum(row.findings for row in made.coverage)


def test_experiments_come_worst_first() -> None:
    """The worst state decides, then how many objects are failed, then the name."""
    cells = {
        "fine": cell(match=9),
        "two differ": cell(match=1, mismatch=2),
        "lost one": cell(match=100, missing=1),
        "lost two": cell(match=1, missing=2),
        "also fine": cell(match=1),
    }
    assert experiment_order(cells) == ["lost two", "lost one", "two differ", "also fine", "fine"]


def test_redaction_reaches_every_text() -> None:
    """Names of mappings, values inside of lists and odd capability values are redacted; states are not."""
    secret = "hunter2hunter2"
    made = report(
        sides={"source": side(capabilities={secret: [secret, {secret}], "b": secret.encode()}), "target": side()},
        timings={secret: 1.0},
        waivers=({"reason": secret},),
        scope=Scope(experiments=(secret,), left_out=(f"see {secret}",)),
        command=("pytest", secret),
    )
    clean = made.redacted(Redactor([secret]))
    assert secret not in repr(clean)
    assert clean.command == ("pytest", MASK)
    assert clean.sides["source"].capabilities[MASK] == [MASK, [MASK]]
    # a word that is a secret somewhere must not turn a state or verdict into something else
    assert report().redacted(Redactor(["missing", "digest", "green"])).totals == report().totals


@given(st.lists(findings, max_size=3))
@unhurried
def test_redaction_keeps_what_holds_no_secret(made: list[Finding]) -> None:
    """A redactor that finds nothing changes nothing."""
    before = report(findings=tuple(made))
    assert before.redacted(lambda text: text) == before


def test_states_are_plain_in_the_dict() -> None:
    """``to_dict`` names states as text, every one in the totals, only those that occur in a cell."""
    found = report().to_dict()
    assert list(found["totals"]) == [state.value for state in SEVERITY]
    assert found["coverage"][0]["counts"] == {"match": 400}
    assert type(found["findings"][0]["state"]) is str
