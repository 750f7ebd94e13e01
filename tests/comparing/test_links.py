"""Links between objects, aliases, tags of versions and experiments: through the pairing, word for word."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.records import (
    COPY,
    DEAD,
    MODEL,
    MODEL_COPY,
    OTHER,
    RUN,
    SECOND,
    SECOND_COPY,
    Told,
    a_run,
    an_entity,
    links,
    told,
)

from mlflow_parity.comparing import registry_fields, same_store
from mlflow_parity.comparing.links import Links, ObjectLinks, guardrails, link, run_models, run_parent, take_in
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import Entity
from mlflow_parity.pairing.matching import Pair, Pairing
from mlflow_parity.pairing.relocation import Relocation

SCOPE = "is outside this audit's scope"


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "known", "found"),
    [
        ("run", None, None, {}, None),
        ("run", None, COPY, {}, ("extra", "r", None, COPY, "")),
        ("run", "", "", {}, None),
        ("run", RUN, COPY, {}, None),
        ("run", RUN, RUN, {}, ("mismatch", "r", RUN, RUN, "still the source's id")),
        ("run", RUN, OTHER, {}, ("mismatch", "r", RUN, OTHER, f"the run's copy is {COPY}")),
        ("run", RUN, None, {}, ("missing", "r", RUN, None, f"the run's copy is {COPY}")),
        ("run", RUN, "", {}, ("missing", "r", RUN, "", f"the run's copy is {COPY}")),
        ("run", RUN, OTHER, {"copies": {RUN: {OTHER}}}, None),
        ("run", RUN, None, {"copies": {RUN: {OTHER}}}, ("missing", "r", RUN, None, f"the run's copy is {COPY}")),
        ("run", RUN, OTHER, {"copies": {OTHER: {OTHER}}}, ("mismatch", "r", RUN, OTHER, f"the run's copy is {COPY}")),
        ("run", DEAD, DEAD, {}, ("expected", "r.dangling", DEAD, DEAD,
                                 "the run is not on the source, or deleted there")),
        ("run", DEAD, None, {}, ("expected", "r.dangling", DEAD, None,
                                 "the run is not on the source, or deleted there")),
        ("run", DEAD, "", {}, ("expected", "r.dangling", DEAD, "", "the run is not on the source, or deleted there")),
        ("run", DEAD, COPY, {}, ("mismatch", "r", DEAD, COPY, "the run has no copy on the target")),
        ("run", DEAD, DEAD, {"complete": False}, ("unverified", "r", DEAD, DEAD, f"the run {SCOPE}")),
        ("run", DEAD, DEAD, {"stages": {DEAD: "deleted"}},
         ("expected", "r.dangling", DEAD, DEAD, "the run is deleted there")),
        ("run", DEAD, DEAD, {"stages": {DEAD: "active"}},
         ("mismatch", "r", DEAD, DEAD, "the run has no copy on the target")),
        ("logged_model", MODEL, MODEL_COPY, {}, None),
        ("logged_model", MODEL, SECOND_COPY, {"further": {"logged_model": {MODEL: {SECOND_COPY}}}}, None),
        ("logged_model", MODEL, SECOND_COPY, {"further": {"run": {MODEL: {SECOND_COPY}}}},
         ("mismatch", "r", MODEL, SECOND_COPY, f"the logged model's copy is {MODEL_COPY}")),
        ("logged_model", SECOND, None, {}, ("mismatch", "r", SECOND, None,
         "the logged model has no copy on the target")),
        ("logged_model", "m-x", None, {}, ("expected", "r.dangling", "m-x", None,
                                           "the logged model is not on the source, or deleted there")),
        ("logged_model", "m-x", None, {"whole": set()},
         ("unverified", "r", "m-x", None, f"the logged model {SCOPE}")),
        ("experiment", "1", "7", {}, None),
        ("experiment", "1", "8", {}, ("mismatch", "r", "1", "8", "the experiment's copy is 7")),
        ("experiment", "3", "3", {"deleted": ("3",)},
         ("expected", "r.dangling", "3", "3", "the experiment is deleted there")),
        ("experiment", "3", "3", {"deleted": ("3",), "whole": set()},
         ("expected", "r.dangling", "3", "3", "the experiment is deleted there")),
        ("logged_model", "3", "3", {"deleted": ("3",), "whole": set()},
         ("unverified", "r", "3", "3", f"the logged model {SCOPE}")),
        ("issue", "i", "j", {}, ("unverified", "r", "i", "j", f"the issue {SCOPE}")),
    ],
)  # fmt: skip
def test_what_is_said_of_a_link(
    kind: str, ours: str | None, theirs: str | None, known: dict[str, Any], found: tuple[Any, ...] | None
) -> None:
    """A link must lead to the copy of what it led to; one into nothing may stay, one out of scope is never green."""
    assert told(link("k", ours, theirs, kind, links(**known), "r")) == ([] if found is None else [("k", *found)])


PARENT, RULE = "mlflow.parentRunId", "run.parent"


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        (None, None, {}, None),
        (None, COPY, {}, ("extra", RULE, None, COPY, "")),
        (RUN, COPY, {}, None),
        (RUN, OTHER, {"copies": {RUN: {OTHER}}}, None),
        (RUN, RUN, {}, ("mismatch", RULE, RUN, RUN, "still the source's id")),
        (RUN, OTHER, {}, ("mismatch", RULE, RUN, OTHER, f"the parent's copy is {COPY}")),
        (RUN, None, {}, ("missing", RULE, RUN, None, f"the parent's copy is {COPY}")),
        (DEAD, DEAD, {}, ("expected", f"{RULE}.dangling", DEAD, DEAD, "the parent is not on the source")),
        (DEAD, None, {}, ("mismatch", RULE, DEAD, None, "the parent has no copy on the target")),
        (DEAD, DEAD, {"stages": {DEAD: "deleted"}},
         ("expected", f"{RULE}.dangling", DEAD, DEAD, "the parent is deleted on the source")),
        (DEAD, DEAD, {"stages": {DEAD: "active"}}, ("mismatch", RULE, DEAD, DEAD,
         "the parent has no copy on the target")),
        (DEAD, DEAD, {"complete": False},
         ("unverified", RULE, DEAD, DEAD, "the parent is in an experiment outside this audit's scope")),
    ],
)  # fmt: skip
def test_what_is_said_of_a_parent(
    ours: str | None, theirs: str | None, known: dict[str, Any], found: tuple[Any, ...] | None
) -> None:
    """A sweep whose children hang on nothing, or on another sweep, is no sweep any more."""
    source, target = (a_run(tags={} if one is None else {PARENT: one}) for one in (ours, theirs))
    assert told(run_parent(source, target, links(**known).runs)) == ([] if found is None else [(PARENT, *found)])


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        (None, (), {}, [("", "unverified", "run.model_inputs", None, None, "the source's were not read")]),
        ((), None, {}, [("", "unverified", "run.model_inputs", None, None, "the target's were not read")]),
        ((), (), {}, []),
        (((MODEL, 1),), ((MODEL_COPY, 1),), {}, []),
        (((MODEL, 1), (MODEL, 2)), ((MODEL_COPY, 2), (MODEL_COPY, 1)), {}, []),
        (((MODEL, 1),), ((SECOND_COPY, 1),), {"further": {"logged_model": {MODEL: {SECOND_COPY}}}}, []),
        (((MODEL, 1),), ((MODEL_COPY, 2),), {},
         [(f"{MODEL} at step 1", "mismatch", "run.model_inputs", 1, 2, "another step")]),
        (((MODEL, 1), (MODEL, 2)), ((MODEL_COPY, 1), (MODEL_COPY, 1)), {},
         [(f"{MODEL} at step 2", "mismatch", "run.model_inputs", 2, 1, "another step")]),
        (((MODEL, 1), (MODEL, 2)), ((MODEL_COPY, 2),), {},
         [(f"{MODEL} at step 1", "missing", "run.model_inputs", MODEL, None,
           f"the logged model's copy is {MODEL_COPY}")]),
        ((), ((MODEL_COPY, 3), ("m-y", 4)), {},
         [(f"{MODEL_COPY} at step 3", "extra", "run.model_inputs", None, f"{MODEL_COPY} at step 3", ""),
          ("m-y at step 4", "extra", "run.model_inputs", None, "m-y at step 4", "")]),
        ((("m-x", 1),), (("m-x", 1),), {},
         [("m-x at step 1", "expected", "run.model_inputs.dangling", "m-x", "m-x",
           "the logged model is not on the source, or deleted there")]),
        ((("m-x", 1),), (), {},
         [("m-x at step 1", "expected", "run.model_inputs.dangling", "m-x", None,
           "the logged model is not on the source, or deleted there")]),
        ((("m-x", 1),), (("m-x", 2),), {},
         [("m-x at step 1", "expected", "run.model_inputs.dangling", "m-x", None,
           "the logged model is not on the source, or deleted there"),
          ("m-x at step 2", "extra", "run.model_inputs", None, "m-x at step 2", "")]),
        (((MODEL, 1), ("m-x", 1), ("m-y", 1)), ((MODEL_COPY, 2),), {},
         [(f"{MODEL} at step 1", "mismatch", "run.model_inputs", 1, 2, "another step"),
          *((f"{one} at step 1", "expected", "run.model_inputs.dangling", one, None,
             "the logged model is not on the source, or deleted there") for one in ("m-x", "m-y"))]),
        (((SECOND, 1),), ((SECOND, 1),), {},
         [(f"{SECOND} at step 1", "mismatch", "run.model_inputs", SECOND, SECOND,
           "the logged model has no copy on the target")]),
        (((MODEL, 1),), ((MODEL, 1),), {},
         [(f"{MODEL} at step 1", "mismatch", "run.model_inputs", MODEL, MODEL, "still the source's id"),
          (f"{MODEL} at step 1", "extra", "run.model_inputs", None, f"{MODEL} at step 1", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_runs_logged_models(ours: Any, theirs: Any, known: dict[str, Any], found: list[Told]) -> None:
    """Which model a run used or made, at which step: each of them leads to its copy, and no other is there."""
    runs = a_run(model_inputs=ours), a_run(model_inputs=theirs)
    assert told(run_models("model_inputs", *runs, links(**known))) == found


def _key(identity: str, place: str | None = None) -> ObjectKey:
    return ObjectKey("logged_model", identity, identity, "", 1, None, None, None, b"", b"", artifact_uri=place)


def test_what_was_paired_is_remembered() -> None:
    """Links of later kinds are followed through the pairs, further copies included, and models' places with them."""
    known = ObjectLinks(Links({}, {}, {}, True))
    pairing: Pairing[Any] = Pairing(
        pairs=[Pair(_key("a", "s3://a"), _key("b", "s3://b"), "x"), Pair(_key("c", "s3://c"), _key("d"), "x"),
               Pair(_key("f"), _key("g", "s3://g"), "x")],
        duplicates=[Pair(_key("a"), _key("e"), "x"), Pair(_key("a"), _key("h"), "x")],
    )  # fmt: skip
    known.remember("logged_model", pairing)
    assert known.places == {"a": ("s3://a", "s3://b")}
    known.remember("run", pairing)
    known.remember("experiment", pairing)
    pairs = {"a": "b", "c": "d", "f": "g"}
    assert known.entities == {"logged_model": pairs}
    assert known.copies == {"logged_model": {"a": {"e", "h"}}}
    assert (known.runs.pairs, known.runs.copies) == (pairs, {"a": {"e", "h"}})
    assert known.places == {"a": ("s3://a", "s3://b")}
    assert (known.of("run"), known.of("logged_model"), known.of("issue"), known.of("experiment")) == (
        pairs, pairs, {}, {},
    )  # fmt: skip
    known.remember("issue", Pairing(pairs=[Pair(_key("i", "s3://i"), _key("j", "s3://j"), "x")]))
    assert known.places == {"a": ("s3://a", "s3://b")}
    mine: dict[str, str] = {"z": "y"}
    take_in(pairing, mine, {})
    assert mine == {"z": "y", **pairs}


# --- aliases, and the tags in which servers name versions and experiments

VERSIONS = {"model_version": {"churn/1": "churn/1", "churn/2": "churn/3"}, "prompt_version": {"churn/1": "churn/5"}}


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "found"),
    [
        ("registered_model", {"a": "1", "b": "2"}, {"a": "1", "b": "3"}, []),
        ("registered_model", None, None, []),
        ("registered_model", {"a": "2"}, {"a": "2"},
         [("a", "mismatch", "2", "2", "points at the wrong copy: that of version 2 is 3")]),
        ("registered_model", {"a": "4"}, {"a": "4"},
         [("a", "mismatch", "4", "4", "version 4, which it points at, has no copy")]),
        ("registered_model", {"b": "1", "c": "1"}, {"a": "1", "b": "1"},
         [("a", "extra", None, "1", ""), ("c", "missing", "1", None, "")]),
        ("prompt", {"a": "1"}, {"a": "5"}, []),
        ("prompt", {"a": "1"}, {"a": "1"},
         [("a", "mismatch", "1", "1", "points at the wrong copy: that of version 1 is 5")]),
    ],
)  # fmt: skip
def test_what_is_said_of_an_alias(kind: str, ours: Any, theirs: Any, found: list[tuple[Any, ...]]) -> None:
    """A program that asks for ``@champion`` gets the version that it got before, or the alias is red."""
    source, target = (an_entity(kind, "churn", aliases=one) for one in (ours, theirs))
    rule = f"{kind}.aliases"
    wanted = [(key, state, rule, *values) for key, state, *values in found]
    assert told(registry_fields.compare_aliases(source, target, links(entities=VERSIONS))) == wanted


def test_an_alias_of_a_model_whose_name_holds_a_slash() -> None:
    """The number is what stands behind the last one."""
    source, target = (an_entity("registered_model", "a/b", aliases={"x": one}) for one in ("1", "2"))
    known = links(entities={"model_version": {"a/b/1": "a/b/3"}})
    [found] = registry_fields.compare_aliases(source, target, known)
    assert found.note == "points at the wrong copy: that of version 1 is 3"


def _tag(*versions: str) -> str:
    return json.dumps([{"name": one.partition("/")[0], "version": one.partition("/")[2]} for one in versions])


NOT = "not the copies of these versions"


@pytest.mark.parametrize(
    ("ours", "theirs", "known", "found"),
    [
        (None, None, {}, None),
        (_tag("churn/1"), _tag("churn/1"), {}, None),
        (_tag("churn/2"), _tag("churn/3"), {}, ("expected", "r.versions", "")),
        (_tag("churn/2"), _tag("churn/2"), {}, ("mismatch", "r", NOT)),
        (_tag("churn/1", "churn/2"), _tag("churn/1"), {}, ("mismatch", "r", NOT)),
        (_tag("churn/1"), _tag("churn/1", "churn/3"), {}, ("mismatch", "r", NOT)),
        (_tag("churn/1"), None, {}, ("mismatch", "r", NOT)),
        (None, _tag("churn/1"), {}, ("mismatch", "r", NOT)),
        # gone: it stays or goes, and stands for no other
        (_tag("churn/1", "churn/9"), _tag("churn/1"), {}, ("expected", "r.versions", "")),
        (_tag("churn/1", "churn/9"), _tag("churn/9", "churn/1"), {}, ("expected", "r.versions", "")),
        (_tag("churn/1", "churn/9"), _tag("churn/1", "churn/8"), {}, ("mismatch", "r", NOT)),
        (_tag("churn/9"), _tag("churn/9", "churn/9"), {}, ("mismatch", "r", NOT)),
        # on the source and without copy: nothing can name it
        (_tag("churn/4"), _tag("churn/4"), {"known": {"model_version": {"churn/4"}}}, ("mismatch", "r", NOT)),
        (_tag("churn/4"), _tag(), {"known": {"model_version": {"churn/4"}}}, ("mismatch", "r", NOT)),
        # not in scope, it is nobody's concern
        (_tag("other/1", "churn/2"), _tag("churn/3"), {"is_wanted": "churn".__eq__}, ("expected", "r.versions", "")),
        (_tag("churn/2"), _tag("churn/3", "other/1"), {"is_wanted": "churn".__eq__}, ("expected", "r.versions", "")),
        # what is no such list is a text
        ("x", "x", {}, None),
        ("x", "y", {}, ("mismatch", "r", "")),
        ("5", "5", {}, None),
        ("[{}]", _tag("churn/1"), {}, ("mismatch", "r", "")),
    ],
)
def test_what_is_said_of_the_tag_of_versions(
    ours: str | None, theirs: str | None, known: dict[str, Any], found: tuple[str, str, str] | None
) -> None:
    """From a logged model its registered versions are found by this tag: the copies of the same ones."""
    done = registry_fields.versions_tag(ours, theirs, links(**{"entities": VERSIONS, **known}), "r")
    key = "mlflow.modelVersions"
    assert told(done) == ([] if found is None else [(key, *found[:2], ours, theirs, found[2])])


def test_a_version_of_which_nobody_can_tell() -> None:
    """Where the source's registry could not be read, an equal name may be that of another version's copy."""
    known: dict[str, Any] = {"entities": VERSIONS, "whole": set()}
    sides = _tag("churn/1", "other/4"), _tag("churn/1", "other/4")
    note = "model version other/4, which it lists, was not read on the source"
    found = told(registry_fields.versions_tag(*sides, links(**known), "r"))
    assert found == [("mlflow.modelVersions", "unverified", "r.versions", *sides, note)]
    # what the options leave out is not judged
    assert told(registry_fields.versions_tag(*sides, links(**known, is_wanted="churn".__eq__), "r")) == []
    assert told(registry_fields.versions_tag(_tag("churn/1"), _tag("churn/1"), links(**known), "r")) == []
    assert told(registry_fields.versions_tag(None, None, links(**known), "r")) == []


NO_COPIES = "not the copies of these experiments"


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (None, None, None),
        (",1,", ",7,", ("expected", "r.experiments", "")),
        (",1,2,", ",8,7,", ("expected", "r.experiments", "")),
        (",1,2,", ",7,", ("mismatch", "r", NO_COPIES)),
        (",1,", ",7,8,", ("mismatch", "r", NO_COPIES)),
        (",1,", ",1,", ("mismatch", "r", NO_COPIES)),
        (",1,", None, ("mismatch", "r", NO_COPIES)),
        (None, ",7,", ("mismatch", "r", NO_COPIES)),
        (",5,", ",5,", None),
        (",5,", None, ("expected", "r.experiments", "")),
        (",1,5,", ",7,5,", ("expected", "r.experiments", "")),
        (",1,5,", ",7,", ("expected", "r.experiments", "")),
        (",1,5,", ",7,6,", ("mismatch", "r", NO_COPIES)),
        (",1,3,", ",7,3,", ("expected", "r.experiments", "")),
        (",1,3,", ",7,", ("expected", "r.experiments", "")),
        # its copy is known, though the original lies in the trash
        (",1,4,", ",7,9,", ("expected", "r.experiments", "")),
        (",1,4,", ",7,4,", ("mismatch", "r", NO_COPIES)),
        # the number of a dead one is that of another one's copy there
        (",1,12,", ",7,12,", ("expected", "r.experiments", "")),
        (",1,8,", ",7,8,", ("mismatch", "r", NO_COPIES)),
    ],
)
def test_what_is_said_of_the_tag_of_experiments(
    ours: str | None, theirs: str | None, found: tuple[str, str, str] | None
) -> None:
    """Where a prompt was used is found by this tag: in the copies of the same experiments."""
    known = links(
        experiments={"1": "7", "2": "8", "4": "9"}, known={"experiment": {"1", "2"}}, deleted=("3", "4"),
    )  # fmt: skip
    key = "_mlflow_experiment_ids"
    done = told(registry_fields.experiments_tag(ours, theirs, known, "r"))
    assert done == ([] if found is None else [(key, *found[:2], ours, theirs, found[2])])
    known.whole.clear()
    assert [one.state.value for one in registry_fields.experiments_tag(",1,3,", ",7,", known, "r")] == ["expected"]
    note = "experiment 6, which it lists, is outside this audit's scope"
    assert told(registry_fields.experiments_tag(",1,6,", ",7,", known, "r")) == [
        (key, "unverified", "r.experiments", ",1,6,", ",7,", note)
    ]


def _an_endpoint(identity: str, *on: tuple[str, int, dict[str, Any]]) -> Entity:
    """An endpoint with guardrails: the id of each, when it acts, and what it is."""
    return an_entity(
        "gateway_endpoint",
        identity,
        guardrails={one: {"execution_order": order} for one, order, _ in on},
        guardrail_definitions={one: {"name": "same", **told} for one, _, told in on},
        times={"guardrails": {one: {"created_at": 1} for one, _, _ in on}},
    )


GUARDS = {"gateway_guardrail": {"g1": "c1", "g2": "c2"}}
BEFORE, AFTER = {"stage": "BEFORE", "experiment": "1"}, {"stage": "AFTER", "experiment": "1"}
BEFORE_COPY, AFTER_COPY = {"stage": "BEFORE", "experiment": "7"}, {"stage": "AFTER", "experiment": "7"}


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ([("g1", 1, BEFORE)], [("c1", 1, BEFORE_COPY)], []),
        # another of its name: once the name alone was compared
        ([("g1", 1, BEFORE)], [("c2", 1, AFTER_COPY)],
         [("same", "mismatch", "g1", "c2", "another of the same name; the guardrail's copy is c1")]),
        ([("g3", 1, BEFORE)], [("c2", 1, AFTER_COPY)],
         [("same", "mismatch", "g3", "c2", "another of the same name; the guardrail has no copy")]),
        # two of one name on one endpoint: one lost, one too many, the other one first
        ([("g1", 1, BEFORE), ("g2", 2, AFTER)], [("c1", 1, BEFORE_COPY)], [("same", "missing", "g2", None, "")]),
        ([("g1", 1, BEFORE)], [("c1", 1, BEFORE_COPY), ("c2", 2, AFTER_COPY)], [("same", "extra", None, "c2", "")]),
        ([("g1", 1, BEFORE), ("g2", 2, AFTER)], [("c1", 2, BEFORE_COPY), ("c2", 1, AFTER_COPY)],
         [("same", "mismatch", {"execution_order": 1}, {"execution_order": 2}, ""),
          ("same", "mismatch", {"execution_order": 2}, {"execution_order": 1}, "")]),
        # the same in all but its id
        ([("g1", 1, BEFORE)], [("c2", 1, BEFORE_COPY)], []),
        ([("g1", 1, BEFORE)], [("c2", 1, {**BEFORE, "experiment": "8"})],
         [("same", "mismatch", "g1", "c2", "another of the same name; the guardrail's copy is c1")]),
    ],
)  # fmt: skip
def test_guardrails_of_an_endpoint_are_told_by_more_than_their_names(ours: Any, theirs: Any, found: Any) -> None:
    """MLflow gives several guardrails one name: by that alone, an endpoint that lost its guard for another is green."""
    known = links(entities=GUARDS, known={"gateway_guardrail": {"g1", "g2"}}, whole={"gateway_guardrail"})
    said = guardrails(_an_endpoint("e", *ours), _an_endpoint("f", *theirs), known)
    assert {one.rule for one in said} <= {"gateway_endpoint.guardrails"}
    assert [(one.key, str(one.state), one.source, one.target, one.note) for one in said] == found


def test_guardrails_of_an_older_snapshot_are_told_by_their_ids() -> None:
    """It has the ids beside the times: who audits against it loses nothing, and is told of no false difference."""
    known = links(entities=GUARDS, known={"gateway_guardrail": {"g1", "g2"}}, whole={"gateway_guardrail"})
    old = an_entity("gateway_endpoint", "e", times={"guardrails": {"g1": {}}})
    assert guardrails(old, _an_endpoint("f", ("c1", 1, BEFORE)), known) == []
    assert [one.key for one in guardrails(old, _an_endpoint("f", ("c2", 1, BEFORE)), known)] == ["g1", "same"]
    assert same_store.compare_facet("guardrails", old, _an_endpoint("e", ("g1", 1, BEFORE)), Relocation()) is None


def test_guardrails_that_were_not_read_leave_an_endpoint_open() -> None:
    """Whose copies they are nobody knows then: neither green nor red would be true."""
    ours, theirs = _an_endpoint("e", ("g1", 1, BEFORE)), _an_endpoint("f", ("c1", 1, BEFORE_COPY))
    assert [str(one.state) for one in guardrails(ours, theirs, links(entities={}, known={}, whole=set()))] == [
        "unverified"
    ]


def test_a_store_that_went_on_has_the_same_guardrails_on_an_endpoint() -> None:
    """There ids are the same: one that is alike is another all the same."""
    ours, theirs = _an_endpoint("e", ("g1", 1, BEFORE)), _an_endpoint("e", ("g2", 1, BEFORE))
    found = same_store.compare_facet("guardrails", ours, theirs, Relocation())
    assert found is not None
    assert [(one.key, str(one.state)) for one in found] == [("g1", "missing"), ("g2", "extra")]
