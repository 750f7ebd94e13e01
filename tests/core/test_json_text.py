"""JSON that goes too deep stays a text: it is read, compared, explained and written, and ends nothing."""

from __future__ import annotations

import json

import pytest
from support.seed_hostile import JSON_BOMBS, deep

from mlflow_parity.comparing.difference import Difference, compare_json
from mlflow_parity.comparing.explain import Explainer
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.json_text import DEEP, LEVELS, bounded, or_text, parsed, text_of, written
from mlflow_parity.core.verdict import State
from mlflow_parity.reading.traces.spans import spans_of


@pytest.mark.parametrize("name", JSON_BOMBS)
def test_what_is_too_deep_stays_text(name: str) -> None:
    """It is no JSON to whoever asks for JSON, a text to all others, and is written as it was."""
    bomb = JSON_BOMBS[name]
    with pytest.raises(ValueError):
        parsed(bomb)
    assert or_text(bomb) == {DEEP: bomb}
    assert written(or_text(bomb)) == bomb
    # a text that says the same is another value
    assert or_text(json.dumps(bomb)) == bomb != or_text(bomb)


def test_brackets_in_strings_are_no_levels() -> None:
    """A long list, and a string full of brackets, are JSON like any other."""
    for value in ("[" * 3_000, ['\\"[[{' * 200], [[1]] * 3_000, {"a": "}" * 500}):
        assert or_text(json.dumps(value)) == value == bounded(value) == parsed(json.dumps(value))


@pytest.mark.parametrize("levels", [1, LEVELS, LEVELS + 1, 400])
def test_a_value_of_an_answer_is_its_text_where_it_is_too_deep(levels: int) -> None:
    """At the limit it is a value, beyond it a text, which says the same."""
    value = json.loads(deep(levels))
    is_deep = levels > LEVELS
    assert bounded(value) == ({DEEP: deep(levels)} if is_deep else value)
    assert text_of(value) == deep(levels) == written({"a": bounded(value)})[6:-1]
    assert or_text(deep(levels)) == bounded(value)


def test_the_deepest_value_is_compared_and_explained() -> None:
    """What is followed can be digested, compared and explained, from as far down as tests run."""
    ours, theirs = (or_text(deep(LEVELS).replace("leaf", leaf)) for leaf in ("leaf", "Leaf"))
    assert isinstance(ours, list)
    assert digest(ours) != digest(theirs)
    [found] = compare_json("deep", ours, theirs, "rule")
    assert found.state is State.MISMATCH
    assert "leaf" in Explainer()(Difference("deep", State.MISMATCH, "rule", ours, theirs))


def test_a_deep_value_in_a_span_ends_nothing() -> None:
    """Spans come from a file that anyone may write: in attributes, events and names, and typed as protobuf has them."""
    value = json.loads(deep(400))
    typed = {"string_value": "leaf"}
    for _ in range(400):
        typed = {"array_value": {"values": [typed]}}  # type: ignore[dict-item]
    common = {"span_id": "AAAAAAAAAB8=", "start_time_unix_nano": 1, "name": value}
    event = {"name": value, "attributes": {"a": value}}
    file = {**common, "attributes": {"mlflow.spanOutputs": deep(400), "a": deep(900)}, "events": [event]}
    protobuf = {**common, "attributes": [{"key": "mlflow.spanOutputs", "value": typed}]}
    for entry in (file, protobuf):
        [span] = spans_of([entry])
        assert span["outputs"].keys() == {DEEP}
        assert "leaf" in span["outputs"][DEEP]
        digest(span)
        assert compare_json("span", span, {**span, "name": "other"}, "rule")
