"""How values are compared and differences told: what is equal, and where and how it is not."""

from __future__ import annotations

import math
from typing import Any

import pytest
from support.records import told

from mlflow_parity.comparing.difference import (
    Difference,
    compare_json,
    compare_mappings,
    compare_multisets,
    compare_values,
    facet_state,
    outcome,
    same,
)
from mlflow_parity.comparing.explain import Explainer
from mlflow_parity.comparing.unknown import Told as Releases
from mlflow_parity.comparing.unknown import compare_other
from mlflow_parity.core.verdict import Row, State


def _of(*states: str) -> list[Difference]:
    return [Difference("k", State(one), "r") for one in states]


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([], "match"),
        (["expected"], "expected"),
        (["expected", "expected"], "expected"),
        (["unverified"], "unverified"),
        (["expected", "unverified"], "unverified"),
        *(([one], "mismatch") for one in ("mismatch", "missing", "extra", "duplicate", "ambiguous")),
        *(([one, "unverified", "expected"], "mismatch") for one in ("mismatch", "missing", "extra")),
    ],
)
def test_how_differences_add_up(states: list[str], state: str) -> None:
    """One red key makes the facet red, one that was not read makes it unverified: neither hides behind what passes."""
    assert facet_state(_of(*states)).value == state


def test_a_row_counts_what_is_not_green_and_names_the_rules_that_let_pass() -> None:
    """The ledger's figures and rules are those of the differences."""
    row = Row("e", "run", "r", "1", "2", "tags", State.MISMATCH)
    assert outcome(row, []).row is row
    found = [Difference("a", State.EXPECTED, "z"), Difference("b", State.EXPECTED, "y"),
             Difference("c", State.EXPECTED, "z"), Difference("d", State.MISMATCH, "x"),
             Difference("e", State.UNVERIFIED, "w")]  # fmt: skip
    made = outcome(row, found)
    assert (made.row.findings, made.row.rules, made.differences) == (2, ("y", "z"), tuple(found))


def test_mappings_are_compared_in_both_directions() -> None:
    """By key, in their order, whatever is on one side alone."""
    assert compare_mappings({"a": "1"}, {"a": "1"}, "r") == []
    assert told(compare_mappings({"c": "1", "b": "2", "d": "4"}, {"b": "3", "a": "4", "d": "4"}, "r")) == [
        ("a", "extra", "r", None, "4", ""), ("b", "mismatch", "r", "2", "3", ""), ("c", "missing", "r", "1", None, ""),
    ]  # fmt: skip
    assert compare_values("k", 1, 1, "r") == []
    assert told(compare_values("k", 1, 2, "r")) == [("k", "mismatch", "r", 1, 2, "")]


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1, True), (1, True, False), (1, 1.0, False), (0.0, -0.0, False), (math.nan, math.nan, True),
        (math.inf, math.inf, True), (1.5, 1.5, True), (1.5, 2.5, False), ("a", "a", True), ("a", "b", False),
        (None, None, True), (None, "", False), ([], {}, False), ([1, 2], [1, 2], True), ([1, 2], [2, 1], False),
        ([1], [1, 1], False), ([1, 1], [1], False), ([[math.nan]], [[math.nan]], True), ([[1]], [[True]], False),
        ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": 2}, False), ({"a": 1}, {"b": 1}, False),
        ({"a": 1}, {"a": 1, "b": 1}, False), ({"a": {"b": 1}}, {"a": {"b": True}}, False),
    ],
)  # fmt: skip
def test_what_is_the_same(left: Any, right: Any, equal: bool) -> None:
    """As JSON and doubles are: a rounded number, a flag for a number or a lost sign is no equality."""
    assert same(left, right) is equal
    assert same(right, left) is equal


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        (1, 2, [("k", "mismatch", 1, 2)]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, [("k: a", "missing", 1, None), ("k: c", "extra", None, 3)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [("k: a: b [2]", "mismatch", 2, 3)]),
        ([1, 2], [1], [("k", "mismatch", [1, 2], [1])]),
        ([1], {"a": 1}, [("k", "mismatch", [1], {"a": 1})]),
        ({"a": 1}, [1], [("k", "mismatch", {"a": 1}, [1])]),
        ({"a": 1}, None, [("k", "mismatch", {"a": 1}, None)]),
        ([[1, 2]], [[2, 1]], [("k [1] [1]", "mismatch", 1, 2), ("k [1] [2]", "mismatch", 2, 1)]),
    ],
)
def test_where_two_values_differ(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """Under the way of keys and positions that leads to it: nobody searches a prompt of a hundred lines."""
    assert told(compare_json("k", ours, theirs, "r")) == [
        (key, state, "r", *values, "") for key, state, *values in found
    ]
    bare = [key.removeprefix("k").removeprefix(":").strip() for key, *_ in found]
    assert [one.key for one in compare_json("", ours, theirs, "r")] == bare


def test_a_value_that_differs_everywhere_is_named_two_hundred_times() -> None:
    """More says nothing more, and would fill the report."""
    many = {str(n): n for n in range(1_000)}
    assert len(compare_json("", many, dict.fromkeys(many, -1), "r")) == 200
    assert len(compare_json("", list(range(500)), [-1] * 500, "r")) == 200


@pytest.mark.parametrize(
    ("ours", "theirs", "label", "found"),
    [
        ([1, 2, 2], [2, 1, 2], "", []),
        ([1, 1], [1], "", [("k", "missing", 1, None)]),
        ([1], [1, 1], "", [("k", "extra", None, 1)]),
        ([1, 3], [2], "", [("k", "missing", 1, None), ("k", "missing", 3, None), ("k", "extra", None, 2)]),
        ([{"n": "a", "v": 1}], [{"n": "b", "v": 1}], "n",
         [("k a", "missing", {"n": "a", "v": 1}, None), ("k b", "extra", None, {"n": "b", "v": 1})]),
        ([{"n": "a", "v": 1}], [{"n": "b", "v": 1}, {"n": "a", "v": 2}], "n",
         [("k a: v", "mismatch", 1, 2), ("k b", "extra", None, {"n": "b", "v": 1})]),
        ([{"n": "a", "v": 1}, {"n": "a", "v": 3}], [{"n": "a", "v": 2}], "n",
         [("k a: v", "mismatch", 1, 2), ("k a", "missing", {"n": "a", "v": 3}, None)]),
        ([{"n": "a", "v": 1}, {"n": "b", "v": 1}], [{"n": "a", "v": 2}, {"n": "b", "v": 3}], "n",
         [("k a: v", "mismatch", 1, 2), ("k b: v", "mismatch", 1, 3)]),
        ([{"v": 1}], [{"v": 2}], "n", [("k: v", "mismatch", 1, 2)]),
        ([{"n": 7}], ["x"], "n", [("k 7", "missing", {"n": 7}, None), ("k", "extra", None, "x")]),
        ([True], [1], "", [("k", "missing", True, None), ("k", "extra", None, 1)]),
    ],
)  # fmt: skip
def test_lists_whose_order_is_no_content(
    ours: list[Any], theirs: list[Any], label: str, found: list[tuple[Any, ...]]
) -> None:
    """Each item as often as it is there; what has one name on both sides is shown as one that changed."""
    done = told(compare_multisets("k", ours, theirs, "r", label))
    assert done == [(key, state, "r", *values, "") for key, state, *values in found]


# --- what nothing here knows

NOBODY = "nothing here knows what it is"


UNTOLD = "an MLflow that does not tell its release"


def _only(mine: str, one: str, other: str, theirs: str) -> str:
    return f"only the {mine} ({one}) tells it of any object, the {theirs} ({other}) of none; {NOBODY}"


@pytest.mark.parametrize(
    ("ours", "theirs", "releases", "found"),
    [
        (None, None, ("3.1", "3.2"), []),
        ({"a": 1}, {"a": 1}, ("3.1", "3.2"), []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("3.1", "3.2"), [("a: b", "mismatch", 1, 2, "")]),
        ({"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2}, ("3.1", "3.1"),
         [("a", "mismatch", 1, 2, ""), ("b", "mismatch", 1, 2, ""), ("c", "missing", 1, None, "")]),
        ({"a": 1}, {"b": 1}, ("3.1", "3.1"), [("a", "missing", 1, None, ""), ("b", "extra", None, 1, "")]),
        ({"a": 1}, None, ("3.1", "3.1"), [("a", "missing", 1, None, "")]),
        (None, {"a": 1}, ("3.1", "3.1"), [("a", "extra", None, 1, "")]),
        # the other side tells it of some object, so it could
        ({"known": 1}, {}, ("3.1", "3.2"), [("known", "missing", 1, None, "")]),
        ({}, {"seen": 1}, ("3.1", "3.2"), [("seen", "extra", None, 1, "")]),
        ({"seen": 1}, {}, ("3.1", "3.2"),
         [("seen", "unverified", 1, None, _only("source", "MLflow 3.1", "MLflow 3.2", "target"))]),
        ({"b": 1, "a": 1}, {"c": 1}, ("3.1", "3.2"),
         [("a", "unverified", 1, None, _only("source", "MLflow 3.1", "MLflow 3.2", "target")),
          ("b", "unverified", 1, None, _only("source", "MLflow 3.1", "MLflow 3.2", "target")),
          ("c", "unverified", None, 1, _only("target", "MLflow 3.2", "MLflow 3.1", "source"))]),
        # two that tell no release may be two releases
        ({"a": 1}, {}, (None, None),
         [("a", "unverified", 1, None, _only("source", UNTOLD, UNTOLD, "target"))]),
        ({"a": 1}, {}, ("3.1", None),
         [("a", "unverified", 1, None,
           _only("source", "MLflow 3.1", "an MLflow that does not tell its release", "target"))]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_field_that_nothing_here_knows(
    ours: Any, theirs: Any, releases: tuple[str | None, str | None], found: list[tuple[Any, ...]]
) -> None:
    """A newer MLflow's field is compared as it is; where one side's release has none, that is no loss and no pass."""

    def keys(side: int, kind: str) -> frozenset[str]:
        assert kind == "trace"
        return frozenset({"known"}) if side == 1 else frozenset({"seen"})

    done = told(compare_other("trace", ours, theirs, Releases(releases, keys)))
    assert done == [(key, state, "trace.other", *rest) for key, state, *rest in found]


def test_fields_that_nothing_here_knows_of_one_release() -> None:
    """By default both sides are of one release: what one lacks is a difference."""
    assert told(compare_other("run", {"a": 1}, {})) == [("a", "missing", "run.other", 1, None, "")]


# --- explanations


def _explained(state: str, ours: Any, theirs: Any, note: str = "", key: str = "k") -> list[str]:
    return Explainer()(Difference(key, State(state), "r", ours, theirs, note)).splitlines()


def test_what_passes_and_what_was_not_read_keep_their_note() -> None:
    """There is nothing to be explained, and deepdiff is not loaded for it."""
    explain = Explainer()
    for state in (State.EXPECTED, State.UNVERIFIED):
        assert explain(Difference("k", state, "r", 1, 2, "because")) == "because"
    assert explain(Difference("", State.MISSING, "r", "a run", None, "no run has its id")) == "no run has its id"
    assert explain(Difference("k", State.MISMATCH, "r", None, None, "other bytes")) == "other bytes"
    assert explain.calls == 0
    explain(Difference("k", State.MISMATCH, "r", 1, 2))
    explain(Difference("k", State.MISMATCH, "r", 1, 3))
    assert explain.calls == 2


def test_a_difference_is_explained_from_its_side() -> None:
    """Changed, on the source alone, on the target alone: in deepdiff's words, after the note."""
    assert _explained("mismatch", 1, 2) == ["Value of root['k'] changed from 1 to 2."]
    assert _explained("mismatch", 1, 2, "note") == ["note", "Value of root['k'] changed from 1 to 2."]
    assert _explained("missing", 1, None) == ["Item root['k'] (1) removed from dictionary."]
    assert _explained("extra", None, 2) == ["Item root['k'] (2) added to dictionary."]
    assert _explained("mismatch", {"a": float("nan"), "b": 1}, {"a": float("nan"), "b": 2}) == [
        "Value of root['k']['b'] changed from 1 to 2."
    ]


def test_long_texts_are_explained_from_where_they_part() -> None:
    """Nobody searches 6,000 characters for one: the place, and what stands there on both sides."""
    text = "x" * 61
    assert _explained("mismatch", text + "abc" * 9, text + "abd" * 9)[0] == (
        f"first differs at character 63: {'cabcabcabcabcabcabca'!r} and {'dabdabdabdabdabdabda'!r}"
    )
    assert _explained("mismatch", text, text + "y")[0] == "equal up to character 61; lengths 61 and 62"
    assert _explained("mismatch", text + "yz", text)[0] == "equal up to character 61; lengths 63 and 61"
    assert _explained("mismatch", "x" * 60, "y" * 60)[0].startswith("Value of root['k'] changed")
    assert _explained("mismatch", "x" * 10, "y" * 61)[0].startswith("first differs at character 0")
    assert _explained("mismatch", "x" * 61, 5) == [
        f"Type of root['k'] changed from str to int and value changed from \"{'x' * 61}\" to 5."
    ]
    long = _explained("mismatch", "a" * 4_001, "b" * 4_000)
    assert f"{'a' * 4_000}… (4001 characters)" in long[1]
    assert f'to "{"b" * 4_000}".' in long[1]


def test_what_is_nested_too_deeply_is_not_explained() -> None:
    """A difference is one all the same, where deepdiff cannot go down to it."""
    deep: list[Any] = ["leaf"]
    for _ in range(300):
        deep = [deep]
    assert _explained("mismatch", deep, [deep, 1], "note") == ["note", "nested too deeply to be explained"]


def test_large_values_are_explained_at_their_first_difference() -> None:
    """deepdiff manages a few thousand parts a second: of more it gets the part that differs."""
    many = {str(n): n for n in range(1_500)}
    assert _explained("mismatch", many, {**many, "700": -1}) == ["Value of root[\"k['700']\"] changed from 700 to -1."]
    # what is large and differs in nothing but a type stays whole
    assert _explained("mismatch", {**many, "z": 1}, {**many, "z": True}) == [
        "Type of root['k']['z'] changed from int to bool and value changed from 1 to True."
    ]
    # as large as can be
    fits = list(range(999))
    assert _explained("mismatch", fits, [-1, *fits[1:]]) == ["Value of root['k'][0] changed from 0 to -1."]
    numbers = list(range(1_500))
    assert _explained("mismatch", numbers, [*numbers[:9], -1, *numbers[10:]]) == [
        "Value of root['k[9]'] changed from 9 to -1."
    ]
    assert _explained("mismatch", numbers, numbers[:-1]) == [
        "Type of root['k[1499]'] changed from int to NoneType and value changed from 1499 to None."
    ]
    assert _explained("mismatch", {"a": numbers}, {"a": [*numbers[:-1], 0]}) == [
        "Value of root[\"k['a'][1499]\"] changed from 1499 to 0."
    ]
    assert _explained("mismatch", numbers, many) == [
        f"Type of root['k'] changed from list to dict and value changed from {numbers} to {many}."
    ]
    many = {str(n): n for n in range(2_001)}
    for value, said in ((list(range(2_001)), "a list of 2001 items"), (many, "a dict of 2001 items")):
        assert _explained("missing", value, None) == [
            f"Item root['k'] (\"{said}, too large to be explained\") removed from dictionary."
        ]
    fits = list(range(1_999))
    assert _explained("extra", None, fits) == [f"Item root['k'] ({fits}) added to dictionary."]
    long = f"{'a' * 4_000}… (4001 characters)"
    assert _explained("missing", {"a": ["a" * 4_001]}, None) == [
        f"Item root['k'] ({{'a': ['{long}']}}) removed from dictionary."
    ]


def test_at_most_twelve_lines() -> None:
    """The first differences say what kind of fault it is."""
    ours = {str(n): n for n in range(40)}
    assert len(_explained("mismatch", ours, dict.fromkeys(ours, -1))) == 12
