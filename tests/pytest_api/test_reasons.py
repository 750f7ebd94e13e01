"""Why an audit is red, in sentences: one for each cause, with how many of how many, and the first objects by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest

from mlflow_parity.audit.result import Result
from mlflow_parity.audit.test_items import Item, ItemState
from mlflow_parity.core.verdict import Cell, Finding, State
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.pytest_api.reasons import red_reasons


def finding(
    place: str, kind: str, name: str, facet: str, state: State, key: str = "", explanation: str = "", found: str = ""
) -> Finding:
    """Return one difference of an object that is known by its name."""
    return Finding(place, kind, name, found or name, None, facet, key, state, "", explanation=explanation)


def result(cells: dict[tuple[str, str], dict[str, int]], findings: Sequence[Finding] = ()) -> Result:
    """Return what an audit found, by place and facet."""
    made = Result(Selection((), ()))
    for (place, facet), counts in cells.items():
        state = made.states.setdefault(place, ItemState(Item(place, place, "", surplus=False)))
        state.cells[facet] = Cell(Counter({State(name): count for name, count in counts.items()}))
    for one in findings:
        made.states[one.experiment].findings.setdefault(f"{one.kind} {one.facet}", []).append(one)
    return made


def test_green_has_no_reasons() -> None:
    """What is equal, differs as the contract says or was accepted is no reason."""
    assert (
        red_reasons(result({("e", "run presence"): {"match": 3}, ("e", "run tags"): {"expected": 2, "waived": 1}}))
        == []
    )


def test_what_is_lost_with_its_experiment_is_said_once() -> None:
    """The runs of a missing experiment are told with it; those that are missing elsewhere by name."""
    made = result(
        {
            ("e", "experiment presence"): {"match": 1},
            ("e", "run presence"): {"match": 7, "missing": 2},
            ("e", "run params"): {"match": 7, "missing": 2},
            ("lost", "experiment presence"): {"missing": 1},
            ("lost", "run presence"): {"missing": 5},
            ("lost", "run params"): {"missing": 5},
        },
        [
            finding("e", "run", "b", "presence", State.MISSING),
            finding("e", "run", "a", "presence", State.MISSING),
            finding("lost", "experiment", "lost", "presence", State.MISSING),
            *(finding("lost", "run", f"r{n}", "presence", State.MISSING) for n in range(5)),
        ],
    )
    assert red_reasons(made) == [
        '1 of 2 experiments is missing on the target: "lost", with 5 runs in it',
        '2 of 14 runs are missing on the target: "a" in "e", "b" in "e"',
    ]


def test_what_is_only_on_the_target_is_said_alike() -> None:
    """An experiment that only the target has, with what is in it, and a run beside."""
    made = result(
        {
            ("e", "run presence"): {"match": 7, "extra": 1},
            ("more", "experiment presence"): {"extra": 1},
            ("more", "run presence"): {"extra": 2},
        },
        [
            finding("e", "run", "", "presence", State.EXTRA, found="1"),
            finding("more", "experiment", "more", "presence", State.EXTRA),
        ],
    )
    assert red_reasons(made) == [
        '1 experiment is on the target only: "more", with 2 runs in it',
        '1 run is on the target only: one without a name in "e"',
    ]


def test_facets_are_told_with_the_keys_that_differ() -> None:
    """How many of those that have a copy; keys of each, at most two; what is on one side only makes it differ, too."""
    made = result(
        {
            ("e", "run presence"): {"match": 7, "missing": 1},
            ("e", "run metrics"): {"match": 5, "mismatch": 2, "missing": 1},
        },
        [
            finding("e", "run", "x", "metrics", State.MISMATCH, "loss"),
            finding("e", "run", "x", "metrics", State.EXTRA, "acc"),
            finding("e", "run", "x", "metrics", State.EXTRA, "auc"),
            finding("e", "run", "y", "metrics", State.MISSING, "loss"),
        ],
    )
    assert red_reasons(made)[1:] == ['2 of 7 runs differ in metrics: "x" in "e" (loss, acc, …), "y" in "e" (loss)']


def test_no_more_than_three_names() -> None:
    """Of 40 runs three are named and the rest is counted, also where fewer differences were kept than there are."""
    names = [finding("e", "run", f"r{n:02}", "params", State.MISMATCH, "p") for n in range(20)]
    [line] = red_reasons(result({("e", "run params"): {"mismatch": 40}}, names))
    assert line == '40 of 40 runs differ in params: "r00" in "e" (p), "r01" in "e" (p), "r02" in "e" (p) and 37 more'


def test_facets_with_one_cause_share_a_line() -> None:
    """What could not be read costs many facets of the same objects: one line, with the cause."""
    cause = "http://old: GET x: status 500"
    facets = ("name", "url", "events", "status", "description")
    made = result(
        {("s", "webhook presence"): {"match": 2}, **{("s", f"webhook {one}"): {"unverified": 2} for one in facets}},
        [finding("s", "webhook", "w", one, State.UNVERIFIED, explanation=cause) for one in facets],
    )
    assert red_reasons(made) == [
        f'2 of 2 webhooks have name, url, events and 2 more facets that are not verified ({cause}): "w" and 1 more'
    ]


def test_what_could_not_be_listed_is_said_once() -> None:
    """A list that could not be read has no line for each facet of what would be in it."""
    made = result(
        {("s", "webhook presence"): {"unverified": 1}, ("s", "webhook url"): {"unverified": 1}},
        [finding("s", "webhook", "(all)", "presence", State.UNVERIFIED, explanation="a: 500")],
    )
    assert red_reasons(made) == ['1 of 1 webhook is not verified (a: 500): "(all)"']


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("duplicate", '1 of 3 runs is on the target more than once: "r" in "e"'),
        ("ambiguous", '1 of 3 runs cannot be told apart, so not paired: "r" in "e"'),
        ("unverified", '1 of 3 runs is not verified (not read, or changed meanwhile): "r" in "e"'),
    ],
)
def test_every_state_has_its_words(state: str, line: str) -> None:
    """Facts, not codes."""
    made = result({("e", "run presence"): {"match": 2, state: 1}}, [finding("e", "run", "r", "presence", State(state))])
    assert red_reasons(made) == [line]
