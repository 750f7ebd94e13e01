"""Spans and assessments of a pair of traces: by id, by place, and what servers make of them, word for word."""

from __future__ import annotations

from typing import Any

import pytest
from support.records import COPY, DEAD, RUN, an_entity, links, told

from mlflow_parity.comparing.trace_fields import compare_assessments, compare_spans, judged, placed

RULE = "trace.spans"
STORED = {"mlflow.trace.spansLocation": "TRACKING_STORE"}


def _span(identity: str | None = "a", parent: str | None = None, **given: Any) -> dict[str, Any]:
    return {"span_id": identity, "parent_id": parent, "name": identity, "start_ns": 1, "attributes": {}, **given}


def _compared(ours: Any, theirs: Any, *, copy: str = "u", tags: Any = None, **known: Any) -> list[tuple[Any, ...]]:
    source = an_entity("trace", "t", spans=ours, tags={})
    return told(compare_spans(source, an_entity("trace", copy, spans=theirs, tags=tags), links(**known)))


AGAIN = ("span_id", "expected", "trace.spans.ids", None, None, "span ids were given again")


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (None, None, []),
        ([], [], []),
        ([_span()], [_span()], []),
        ([_span()], [_span("b", name="a")], [AGAIN]),
        ([_span(n=1)], [_span(n=2)], [("a (a): n", "mismatch", RULE, 1, 2, "")]),
        ([_span(), _span("b")], [_span()], [("b (b)", "missing", RULE, _span("b"), None, "")]),
        ([_span()], [_span(), _span("b")], [("b (b)", "extra", RULE, None, _span("b"), "")]),
        ([_span("b", n=1), _span("a", n=1)], [_span("a", n=2), _span("b", n=2)],
         [("a (a): n", "mismatch", RULE, 1, 2, ""), ("b (b): n", "mismatch", RULE, 1, 2, "")]),
        # one id twice: the equal ones are each other's, then the others in their order
        ([_span(n=1), _span(n=2)], [_span(n=2), _span(n=3)], [("a (a): n", "mismatch", RULE, 1, 3, "")]),
        ([_span(n=1), _span(n=2)], [_span(n=2)], [("a (a)", "missing", RULE, _span(n=1), None, "")]),
        ([_span(n=2)], [_span(n=1), _span(n=2)], [("a (a)", "extra", RULE, None, _span(n=1), "")]),
        ([_span(None, name="x", n=1), _span("a", n=1)], [_span("a", n=2), _span(None, name="x", n=2)],
         [("x (None): n", "mismatch", RULE, 1, 2, ""), ("a (a): n", "mismatch", RULE, 1, 2, "")]),
        # new ids: told by place
        ([_span(n=1)], [_span("b", name="a", n=2)], [("1: n", "mismatch", RULE, 1, 2, "")]),
        ([_span()], [], [("1", "missing", RULE, {"name": "a", "start_ns": 1, "attributes": {}, "place": "1"}, None,
         "")]),
        ([], [_span()], [("1", "extra", RULE, None, {"name": "a", "start_ns": 1, "attributes": {}, "place": "1"}, "")]),
        # the trace's own id within attributes
        ([_span(attributes={"id": "t", "k": "v"})], [_span(attributes={"id": "u", "k": "v"})], []),
        ([_span(attributes={"id": "t"})], [_span(attributes={"id": "t"})],
         [("a (a): attributes: id", "mismatch", RULE, "u", "t", "")]),
        ([_span(attributes={"id": "t"})], [_span("b", name="a", attributes={"id": "u"})], [AGAIN]),
        ([_span(attributes={"id": "t"})], [_span("b", name="a", attributes={"id": "t"})],
         [("1: attributes: id", "mismatch", RULE, "u", "t", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_span(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """What a call was given and what it answered: lost, added or changed, under the span's name."""
    assert _compared(ours, theirs) == found


def test_spans_of_the_same_trace_keep_their_ids() -> None:
    """In a store that went on, other ids are other spans, and nothing stands for another trace's id."""
    found = _compared([_span()], [_span("b")], copy="t")
    assert [one[:2] for one in found] == [("a (a)", "missing"), ("b (b)", "extra")]
    assert _compared([_span(attributes={"id": "t"})], [_span(attributes={"id": "t"})], copy="t") == []


ATTACHED = "mlflow-attachment://12345678-1234-1234-1234-123456789012?trace_id={}&size=3".format


def test_an_attachment_is_asked_for_by_the_copys_id() -> None:
    """The reference names the trace by whose id clients ask for it: its own copy, or that of another trace."""
    known = {"trace": {"other": "other-copy", "t": "u"}}
    for mine, copy, red in (
        ("t", "u", False), ("t", "t", True), ("other", "other-copy", False), ("other", "other", True),
        ("gone", "gone", False),
    ):  # fmt: skip
        found = _compared([_span(inputs=ATTACHED(mine))], [_span(inputs=ATTACHED(copy))], entities=known)
        assert bool(found) is red, mine
    same = [_span(inputs=ATTACHED("other"))]
    assert _compared(same, [_span(inputs=ATTACHED("z"))], copy="t", entities={"trace": {"other": "z"}}) == []
    source, target = (an_entity("trace", one, spans=[_span(inputs=ATTACHED(one))]) for one in "tu")
    assert compare_spans(source, target) == []


def _made(key: str, ours: Any, theirs: Any) -> tuple[Any, ...]:
    return (f"a (a).{key}", "expected", "trace.spans.derived", ours, theirs, "")


COST, USAGE, LLM = "mlflow.llm.cost", "mlflow.chat.tokenUsage", "mlflow.llm.model"
#: What a span says in the words of OpenInference, and what MLflow makes of it.
FOREIGN = {
    "openinference.span.kind": "LLM", "input.value": "hi", "output.value": '{"n": 1}', "llm.model_name": "m",
    "llm.token_count.prompt": 3, "llm.token_count.completion": 4,
}  # fmt: skip
TOKENS = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
PRICED = {"input_cost": 0.01, "output_cost": 0.02, "total_cost": 0.03}
ANOTHER = (
    "the source's span has none, and of its attributes no release of MLflow that is known here makes this; all of it "
    "stands in them, so another one may. Look at the span on both sides, and accept it with a waiver"
)


def _foreign(attributes: Any = None, **given: Any) -> dict[str, Any]:
    return _span(attributes={**FOREIGN, **(attributes or {})}, **given)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (_span(attributes=None), _span(attributes={}), []),
        (_span(), _span(attributes=None), []),
        (_foreign(), _foreign({COST: PRICED, LLM: "m", USAGE: TOKENS}),
         [_made(USAGE, None, TOKENS), _made(LLM, None, "m"), _made(COST, None, PRICED)]),
        (_foreign({USAGE: TOKENS, LLM: "m"}), _foreign({USAGE: TOKENS, LLM: "m", COST: PRICED}),
         [_made(COST, None, PRICED)]),
        (_foreign(), _foreign({LLM: "m", "k": 2}),
         [("a (a): attributes: k", "extra", RULE, None, 2, ""), _made(LLM, None, "m")]),
        (_span(attributes={COST: 1}), _span(attributes={COST: 2}),
         [(f"a (a): attributes: {COST}", "mismatch", RULE, 1, 2, "")]),
        (_foreign(type=None), _foreign(type="LLM"), [_made("type", None, "LLM")]),
        (_foreign(type="UNKNOWN"), _foreign(type="LLM"), [_made("type", "UNKNOWN", "LLM")]),
        (_span(attributes={}, type=None), _span(type="UNKNOWN"), [_made("type", None, "UNKNOWN")]),
        (_span(attributes={}, type="UNKNOWN"), _span(type="UNKNOWN"), []),
        (_span(attributes={}, type="TOOL"), _span(type="LLM"), [("a (a): type", "mismatch", RULE, "TOOL", "LLM", "")]),
        (_span(attributes={}, type="UNKNOWN"), _span(type=None),
         [("a (a): type", "mismatch", RULE, "UNKNOWN", None, "")]),
        (_foreign(inputs=None, outputs=None), _foreign(inputs="hi", outputs={"n": 1}),
         [_made("inputs", None, "hi"), _made("outputs", None, {"n": 1})]),
        (_span(attributes={}, inputs="UNKNOWN"), _span(inputs=1),
         [("a (a): inputs", "mismatch", RULE, "UNKNOWN", 1, "")]),
        (_span(attributes={}, inputs=1), _span(inputs=None), [("a (a): inputs", "mismatch", RULE, 1, None, "")]),
        (_span(attributes={}, status=None), _span(status="OK"), [("a (a): status", "mismatch", RULE, None, "OK", "")]),
        # of nothing, or of something else
        (_span(attributes={}, type=None), _span(type="LLM"), [("a (a): type", "mismatch", RULE, None, "LLM", "")]),
        (_foreign(type=None), _foreign(type="TOOL"), [("a (a): type", "mismatch", RULE, None, "TOOL", "")]),
        (_span(attributes={}, inputs=None), _span(inputs="hi"), [("a (a): inputs", "mismatch", RULE, None, "hi", "")]),
        (_span(attributes={}), _span(attributes={LLM: "m"}),
         [(f"a (a): attributes: {LLM}", "extra", RULE, None, "m", "")]),
        (_foreign(), _foreign({LLM: "n"}), [(f"a (a): attributes: {LLM}", "extra", RULE, None, "n", "")]),
        (_foreign(), _foreign({USAGE: {**TOKENS, "total_tokens": 700}}),
         [(f"a (a): attributes: {USAGE}", "extra", RULE, None, {**TOKENS, "total_tokens": 700}, "")]),
        (_foreign(), _foreign({COST: PRICED}), [(f"a (a): attributes: {COST}", "extra", RULE, None, PRICED, "")]),
        (_foreign({USAGE: TOKENS, LLM: "m"}), _foreign({USAGE: TOKENS, LLM: "m", COST: {**PRICED, "total_cost": 1}}),
         [(f"a (a): attributes: {COST}", "extra", RULE, None, {**PRICED, "total_cost": 1}, "")]),
        # all of it stands there, and nothing known takes it from there
        (_foreign(outputs=None), _foreign(outputs={"said": "HI"}),
         [("a (a).outputs", "unverified", "trace.spans.derived", None, {"said": "HI"}, ANOTHER)]),
        (_span(attributes={"new.kind": "tool"}, type=None), _span(attributes={"new.kind": "tool"}, type="TOOL"),
         [("a (a).type", "unverified", "trace.spans.derived", None, "TOOL", ANOTHER)]),
    ],
)  # fmt: skip
def test_what_a_server_makes_of_spans_in_its_database(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """What it derives where the source has nothing passes under the rule's name; what was lost or changed does not."""
    assert _compared([ours], [theirs], tags=STORED) == found
    derived = [one for one in found if one[1] in ("expected", "unverified")]
    plain = _compared([ours], [{"attributes": {}, **theirs}], tags={"mlflow.trace.spansLocation": "x"})
    assert all(one[1] not in ("expected", "unverified") for one in plain)
    assert bool(plain) or not derived


def test_nothing_is_derived_for_a_span_that_the_source_does_not_have() -> None:
    """By its id: a span more is one more, with all that is in it."""
    more = _span("b", attributes={COST: 1})
    assert _compared([_span(attributes={})], [_span(attributes={}), more], tags=STORED) == [
        ("b (b)", "extra", RULE, None, more, "")
    ]


def _placed(*spans: dict[str, Any]) -> list[tuple[Any, Any]]:
    return [(one["name"], one["place"]) for one in placed(list(spans), "t", None)]


def test_where_a_span_stands() -> None:
    """By its way from the root, in the order of start, then name, then of what is in it and below it."""
    assert _placed(_span("r"), _span("b", "r"), _span("a", "r"), _span("c", "a")) == [
        ("r", "1"), ("b", "1.2"), ("a", "1.1"), ("c", "1.1.1"),
    ]  # fmt: skip
    assert _placed(_span("b", start_ns=2), _span("a", start_ns=3), _span("c", start_ns=None)) == [
        ("a", "3"), ("b", "2"), ("c", "1"),
    ]  # fmt: skip
    assert _placed(_span("b", start_ns=None), _span("a", start_ns=1)) == [("a", "2"), ("b", "1")]
    assert _placed(_span("A"), _span("b", name=None)) == [("A", "2"), (None, "1")]
    # one whose parent is in another trace is no root, and those that are each other's parents hang on no root
    assert _placed(_span("a", "gone"), _span("b"), _span("c", "a")) == [("b", "2"), ("a", "^1"), ("c", "^1.1")]
    assert _placed(_span("a", "b"), _span("b", "a")) == [("a", "?"), ("b", "?")]
    assert _placed(_span("r"), _span("a", "b"), _span("b", "a")) == [("r", "1"), ("a", "?"), ("b", "?")]
    for circle in (
        (_span("a", "b"), _span("b", "a"), _span("c", "a")),
        (_span("c", "b"), _span("b", "a"), _span("a", "b")),
    ):
        assert {place for _, place in _placed(*circle)} == {"?"}
    # one id twice: both are there, and what is below it is below the first
    assert sorted(_placed(_span("a"), _span("a", name="z"), _span("a", name="y"), _span("c", "a"))) == [
        ("a", "1"), ("c", "1.1"), ("y", "2"), ("z", "3"),
    ]  # fmt: skip
    [one] = placed([_span("a", "gone", attributes={"id": "t"})], "t", "u")
    assert one == {"name": "a", "start_ns": 1, "attributes": {"id": "u"}, "place": "^1"}


def _tree(side: str, order: str, deep: dict[str, int]) -> list[dict[str, Any]]:
    """A root with like-named children that only what is below them tells apart; ids sort by ``order``."""
    spans = [_span(f"{side}r", name="r")]
    for number, letter in enumerate(order):
        child, below = f"{side}{number}", f"{side}{number}x"
        spans += [_span(child, f"{side}r", name="c"), _span(below, child, name="x"),
                  _span(f"{below}y", below, name="y", n=deep[letter])]  # fmt: skip
    return spans


@pytest.mark.parametrize("order", ["abc", "cab", "bca", "cba"])
def test_siblings_are_told_apart_by_what_is_deep_below_them(order: str) -> None:
    """Of one time and name: each stands for its like, in whatever order they came; one change is one difference."""
    ours = _tree("s", "abc", {"a": 1, "b": 2, "c": 3})
    for turned in (1, -1):
        theirs = _tree("t", order, {"a": 1, "b": 2, "c": 3})[::turned]
        assert _compared(ours[::turned], theirs) == [AGAIN]
        found = _compared(ours[::turned], _tree("t", order, {"a": 1, "b": 2, "c": 4})[::turned])
        assert found
        assert {one[1] for one in found} <= {"mismatch", "missing", "extra"}


# --- assessments


def _said(identity: str = "a", **given: Any) -> dict[str, Any]:
    return {"id": identity, "name": "good", "kind": "feedback", "value": 1, "created": 1, "updated": 1, **given}


def _judged(ours: Any, theirs: Any, spans: tuple[Any, Any] = ((), ()), **known: Any) -> list[tuple[Any, ...]]:
    source = an_entity("trace", "t", assessments=ours, spans=list(spans[0]))
    target = an_entity("trace", "u", assessments=theirs, spans=list(spans[1]))
    return told(compare_assessments(source, target, links(**known)))


FEEDBACK = "trace.assessments"
LATEST = "the assessment has its id still, and was made at another time: another one may be the latest"
#: A run of the source that has no copy.
ALONE = "5" * 32
UNREAD = "which issues are referred to nobody can tell: they were not read"


def _bare(one: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key not in ("id", "created", "updated", "overrides")}


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (None, None, []),
        ([_said()], [_said()], []),
        ([_said()], [_said("b")], [("ids, times", "expected", f"{FEEDBACK}.ids", ["a 1 1"], ["b 1 1"], "")]),
        ([_said()], [_said(created=2)], [("good: created", "mismatch", FEEDBACK, 1, 2, LATEST)]),
        ([_said()], [_said(created=None)], [("good: created", "mismatch", FEEDBACK, 1, None, LATEST)]),
        ([_said()], [_said("b", created=2)], [("ids, times", "expected", f"{FEEDBACK}.ids", ["a 1 1"], ["b 2 1"], "")]),
        ([_said()], [_said(updated=2)], [("ids, times", "expected", f"{FEEDBACK}.ids", ["a 1 1"], ["a 1 2"], "")]),
        ([_said("a"), _said("b", value=2)], [_said("b", value=2), _said("a")], []),
        ([_said()], [_said(value=2)], [("good: value", "mismatch", FEEDBACK, 1, 2, "")]),
        ([_said()], [], [("good", "missing", FEEDBACK, _bare(_said()), None, "")]),
        ([], [_said()], [("good", "extra", FEEDBACK, None, _bare(_said()), "")]),
        ([_said(), _said("b")], [_said()], [("good", "missing", FEEDBACK, _bare(_said()), None, "")]),
        # an override is told by what it overrides
        ([_said("a"), _said("b", value=2, overrides="a")], [_said("a"), _said("b", value=2, overrides="a")], []),
        ([_said("a"), _said("b", value=2, overrides="a")], [_said("a"), _said("b", value=2)],
         [("good: overrides", "missing", FEEDBACK, _bare(_said()), None, "")]),
        ([_said(overrides="x")], [_said("b", overrides="y")],
         [("ids, times", "expected", f"{FEEDBACK}.ids", ["a 1 1"], ["b 1 1"], "")]),
        ([_said(overrides="x")], [_said()], [("good: overrides", "missing", FEEDBACK, "an unknown one", None, "")]),
        ([_said(overrides=None)], [_said(overrides="")], []),
        # runs in its metadata follow
        ([_said(metadata={"run": RUN, "n": 1})], [_said(metadata={"run": COPY, "n": 1})], []),
        ([_said(metadata={"run": RUN})], [_said(metadata={"run": RUN})],
         [("good: metadata: run", "mismatch", FEEDBACK, COPY, RUN, "")]),
        ([_said(metadata={"run": DEAD})], [_said(metadata={"run": DEAD})], []),
        ([_said(metadata={"run": ALONE})], [_said(metadata={"run": ALONE})],
         [("good: metadata: run", "mismatch", FEEDBACK, f"{ALONE}, which has no copy", ALONE, "")]),
        ([_said(metadata=None)], [_said(metadata=None)], []),
        ([_said(metadata={"of": [RUN]})], [_said(metadata={"of": [RUN]})], []),
    ],
)  # fmt: skip
def test_what_is_said_of_an_assessment(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """What people and judges said: by its name, as often as it was said, whatever ids and times a server gives."""
    assert _judged(ours, theirs, stages={RUN: "active", ALONE: "active"}) == found


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        # the ids are there: each has what it had
        ([_said("a"), _said("b", value=2, created=2)], [_said("a", value=2), _said("b", created=2)],
         [("good: value", "mismatch", 1, 2), ("good: value", "mismatch", 2, 1)]),
        ([_said("a"), _said("b", name="bad")], [_said("a", name="bad"), _said("b")],
         [("good", "missing", _bare(_said()), None), ("bad", "extra", None, _bare(_said(name="bad"))),
          ("bad", "missing", _bare(_said(name="bad")), None), ("good", "extra", None, _bare(_said()))]),
        ([_said("a"), _said("b", value=2)], [_said("a", created=9), _said("b", value=3)],
         [("good: created", "mismatch", 1, 9), ("good: value", "mismatch", 2, 3)]),
        ([_said("a"), _said("b", value=2)], [_said("a", value=2), _said("c")],
         [("good: value", "mismatch", 1, 2), ("good: value", "mismatch", 2, 1)]),
        # they were given again, and so were the times: one after the other, as on the source
        ([_said("a"), _said("b", value=2, created=2)], [_said("c", created=8), _said("d", value=2, created=9)],
         [("ids, times", "expected", ["a 1 1", "b 2 1"], ["c 8 1", "d 9 1"])]),
        ([_said("a"), _said("b", value=2, created=2)], [_said("c", created=9), _said("d", value=2, created=8)],
         [("good: created", "mismatch", 2, 8)]),
        ([_said("a"), _said("b", value=2, created=2)], [_said("c", created=9), _said("d", value=2, created=9)],
         [("ids, times", "expected", ["a 1 1", "b 2 1"], ["c 9 1", "d 9 1"])]),
        ([_said("a"), _said("b", value=2)], [_said("c", created=9), _said("d", value=2, created=8)],
         [("ids, times", "expected", ["a 1 1", "b 1 1"], ["c 9 1", "d 8 1"])]),
        # those of another name or kind are no others of it
        ([_said("a"), _said("b", name="bad", created=2)], [_said("c", created=9), _said("d", name="bad", created=8)],
         [("ids, times", "expected", ["a 1 1", "b 2 1"], ["c 9 1", "d 8 1"])]),
        ([_said("a"), _said("b", kind="expectation", created=2)],
         [_said("c", created=9), _said("d", kind="expectation", created=8)],
         [("ids, times", "expected", ["a 1 1", "b 2 1"], ["c 9 1", "d 8 1"])]),
        # the ids were given again, and the times were not
        ([_said("a"), _said("b", name="bad", created=2)], [_said("c", created=2), _said("d", name="bad", created=1)],
         [("good: created", "mismatch", 1, 2), ("bad: created", "mismatch", 2, 1)]),
        ([_said("a"), _said("b", created=2)], [_said("c", created=2), _said("d")],
         [("ids, times", "expected", ["a 1 1", "b 2 1"], ["c 2 1", "d 1 1"])]),
        # an answer without ids
        ([_said(""), _said("", value=2)], [_said("", value=2), _said("")], []),
    ],
)  # fmt: skip
def test_which_assessment_says_what(ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """Values exchanged between two assessments are each there still, and the latest verdict is another one."""
    assert [(*one[:2], *one[3:5]) for one in _judged(ours, theirs)] == found


def test_a_run_outside_the_scope_that_an_assessment_names() -> None:
    """Of one experiment alone nobody can tell which copy a run of another one has: it is not wrong, nor is it right."""
    key, other = "mlflow.assessment.sourceRunId", "6" * 32

    def found(ours: str, theirs: str, *, whole: bool = False, again: str = "a") -> list[tuple[Any, ...]]:
        sides = [_said(metadata={key: ours})], [_said(again, metadata={key: theirs})]
        return _judged(*sides, complete=whole, stages={RUN: "active"})

    scope = "the run is outside this audit's scope"
    untold = [(f"good: metadata: {key}", "unverified", FEEDBACK, ALONE, other, scope)]
    assert found(ALONE, other) == found(ALONE, other, again="b") == untold
    assert found(ALONE, ALONE) == []
    # all runs were read, the run was, or it is no id
    for one in (found(ALONE, other, whole=True), found(RUN, other), found("5", other), found(ALONE, "6")):
        assert [state for _, state, *_ in one] == ["mismatch"]


def test_an_override_is_of_the_one_that_it_was_of() -> None:
    """One that overrides a twin, or another that is gone, leaves the one it overrode standing beside it."""
    twins = [_said("a"), _said("b")]
    note = "it overrides another one, which says the same or is not there"

    def found(ours: list[Any], theirs: list[Any]) -> list[Any]:
        return [(*one[:2], *one[3:]) for one in _judged(ours, theirs)]

    moved = [("good: overrides", "mismatch", "a", "b", note)]
    last = _said("c", value=2, overrides="a")
    assert found([*twins, last], [*twins, {**last, "overrides": "b"}]) == moved
    # its own id was given again, and the other ones' were not
    assert found([*twins, last], [*twins, {**last, "id": "d", "overrides": "b"}]) == moved
    assert found([*twins, last], [*twins, {**last, "id": "d"}])[0][:2] == ("ids, times", "expected")
    # theirs were given again: what they say is all there is
    again = [_said("x"), _said("y")]
    assert found([*twins, last], [*again, {**last, "overrides": "y"}])[0][:2] == ("ids, times", "expected")
    assert found([*twins, last], [_said("b"), _said("x"), {**last, "overrides": "b"}]) == moved
    # what it overrides is not there
    assert found([_said(overrides="x")], [_said(overrides="y")]) == [("good: overrides", "mismatch", "x", "y", note)]
    assert found([_said(overrides="x")], [_said(overrides="x")]) == []


def test_an_assessment_of_a_span_is_told_by_the_spans_place() -> None:
    """Where span ids were given again; where they are the same, by the id itself."""
    spans = [_span("a"), _span("b", "a")]
    again = [_span("x", name="a"), _span("y", "x", name="b")]
    ours = [_said(span_id="b")]
    assert _judged(ours, [_said(span_id="y")], (spans, again)) == []
    assert _judged(ours, [_said(span_id="x")], (spans, again)) == [
        ("good: span_id", "mismatch", FEEDBACK, "1.1", "1", "")
    ]
    assert _judged(ours, [_said(span_id="b")], (spans, spans)) == []
    assert _judged(ours, [_said(span_id="a")], (spans, spans)) == [
        ("good: span_id", "mismatch", FEEDBACK, "b", "a", "")
    ]
    assert _judged([_said(span_id="z")], [_said(span_id="z")], (spans, again)) == []
    assert _judged([_said(span_id="z")], [_said(span_id="q")], (spans, again)) == [
        ("good: span_id", "mismatch", FEEDBACK, "z", "q", "")
    ]
    assert _judged([_said(span_id=None)], [_said(span_id=None)], (spans, again)) == []


def test_an_assessment_of_one_of_several_like_spans() -> None:
    """Of one name and time: what is in them tells which one was judged, and neither new ids nor the trace's own do."""

    def spans(trace: str, *identities: str) -> list[dict[str, Any]]:
        return [_span(one, name="call", n=n, attributes={"trace": trace}, inputs=ATTACHED(trace))
                for n, one in enumerate(identities)]  # fmt: skip

    for names in ("xyz", "zyx", "yzx", "zxy", "456", "321"):
        sides = spans("t", *"abc"), spans("u", *names)
        for number, one in enumerate("abc"):
            assert _judged([_said(span_id=one)], [_said(span_id=names[number])], sides) == []
            assert _judged([_said(span_id=one)], [_said(span_id=names[number - 1])], sides) != []


def test_a_reference_to_an_issue_leads_to_the_copy_of_that_one() -> None:
    """By its id where issues were read; where they were not, other ones cannot be judged, and equal ones can."""
    ours, theirs = [_said(kind="issue", name="i-1")], [_said(kind="issue", name="i-9")]
    known: dict[str, Any] = {"known": {"issue": {"i-1", "i-2"}}, "entities": {"issue": {"i-1": "i-9"}}}
    assert _judged(ours, theirs, **known) == []
    assert [one[:3] for one in _judged(ours, ours, **known)] == [
        ("i-9", "missing", FEEDBACK), ("i-1", "extra", FEEDBACK),
    ]  # fmt: skip
    gone = [_said(kind="issue", name="i-3")]
    assert _judged(gone, gone, **known) == []
    assert _judged(ours, theirs) == [("name", "unverified", FEEDBACK, ["i-1"], ["i-9"], UNREAD)]
    assert _judged(ours, ours) == []
    two = [_said("a", kind="issue", name="i-1"), _said("b", kind="issue", name="i-2")]
    assert _judged(two, two[::-1]) == []
    assert _judged(ours, [_said(kind="issue", name="i-1", value=2)]) == [
        ("an issue: value", "mismatch", FEEDBACK, 1, 2, "")
    ]


def test_overrides_that_go_in_a_circle_end() -> None:
    """Twenty of them are followed."""
    trace = an_entity("trace", "t", spans=[])
    one, other = _said("a", overrides="b"), _said("b", overrides="a")
    value: Any = judged([one, other], trace, True, {})[0]
    depth = 0
    while isinstance(value, dict):
        value, depth = value["overrides"], depth + 1
    assert (value, depth) == ("an unknown one", 21)
