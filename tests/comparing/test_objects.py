"""Pairing and comparing of every kind beside experiments and runs, on stores that hypothesis makes."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from support.entities import EXPERIMENT, EXPERIMENT_COPY, RUN_COPIES, Store, migrated, store
from support.object_audit import Known, compare_stores, in_scope, red

from mlflow_parity.comparing import Comparison, compare_objects
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.links import Links, ObjectLinks
from mlflow_parity.core.records import Artifact, Entity
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules import contract
from mlflow_parity.pairing.by_kind import pair_objects

slow = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
    # shrinking stores of every kind takes minutes and shows little
    phases=(Phase.explicit, Phase.generate),
)


def compared(source: Store, target: Store, *, same_ids: bool) -> list[Outcome]:
    """Every row of every kind, as the audit makes them."""
    runs = {run: run if same_ids else made for run, made in RUN_COPIES.items()}
    return compare_stores(source, target, Known(runs, {EXPERIMENT: EXPERIMENT if same_ids else EXPERIMENT_COPY}))


@pytest.mark.parametrize("same_ids", [True, False])
@given(made=store(), seed=st.integers())
@slow
def test_a_copy_without_loss_is_green(same_ids: bool, made: Store, seed: int) -> None:
    """Whatever the order, and whether ids are new or not; every rule that lets something differ is the contract's."""
    outcomes = compared(made, migrated(made, same_ids=same_ids, shuffle=random.Random(seed)), same_ids=same_ids)
    assert red(outcomes) == set()
    assert len(outcomes) == sum(len(in_scope(item.kind)) for item in made.objects)
    assert {rule for one in outcomes for rule in one.row.rules} <= contract.BY_ID.keys()


def _altered(value: Any, draw: random.Random) -> Iterator[Any]:
    """Values that differ from one in one place."""
    if isinstance(value, dict):
        for key in value:
            yield {other: item for other, item in value.items() if other != key}
            for other in _altered(value[key], draw):
                yield {**value, key: other}
        yield {**value, "one more": "x"}
    elif isinstance(value, list):
        for place in range(len(value)):
            yield value[:place] + value[place + 1 :]
            for other in _altered(value[place], draw):
                yield [*value[:place], other, *value[place + 1 :]]
        yield [*value, "one more"]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value + 1
        yield str(value)
    elif isinstance(value, str):
        yield value + "x"
    else:
        yield "x"


#: Where the facets of a kind may differ by the contract, or hold ids that a change would only make dangling.
_LENIENT = {("evaluation_dataset", "digest"), *((kind, "times") for kind in KINDS if kind != "trace")}
_PLACES = {
    "mlflow.artifactLocation",
    "mlflow.trace.archiveLocation",
    "mlflow.trace.spansLocation",
    "mlflow.modelVersions",
}


@pytest.mark.parametrize("same_ids", [True, False])
@given(made=store(), seed=st.integers())
@slow
def test_any_single_change_is_red_and_named(same_ids: bool, made: Store, seed: int) -> None:
    """One facet of one object altered anywhere: that object is red, in that facet."""
    draw = random.Random(seed)
    target = migrated(made, same_ids=same_ids, shuffle=draw)
    place = draw.randrange(len(target.objects))
    victim = target.objects[place]
    facet = draw.choice([facet for facet in victim.facets if (victim.kind, facet) not in _LENIENT])
    before = victim.facets[facet]
    options = [value for value in _altered(copy.deepcopy(before), draw) if value != before]
    value = draw.choice(options)
    if facet == "assessments":
        # their ids and times are the server's; what they say is not
        stripped = [[{k: v for k, v in one.items() if k not in ("id", "created", "updated", "overrides")}
                     for one in side if isinstance(one, dict)] for side in (before, value)]  # fmt: skip
        assume(stripped[0] != stripped[1] and all(isinstance(one, dict) and len(one) == 13 for one in value))
    if facet == "spans":
        ids = ("span_id", "parent_id")
        stripped = [[{k: v for k, v in one.items() if k not in ids} for one in side if isinstance(one, dict)]
                    for side in (before, value)]  # fmt: skip
        assume(stripped[0] != stripped[1] and all(isinstance(one, dict) and len(one) == 11 for one in value))
    if facet == "metrics":
        assume(all(isinstance(one, dict) and len(one) == 7 for one in value))
    if facet == "last_updated_by":
        # of a copy it is who wrote the copy
        assume(same_ids)
    if (victim.kind, facet) == ("logged_model", "status"):
        # no request of MLflow writes a status' message
        assume(value.get("status") != before["status"])
    if facet in ("run", "run_links", "logged_model", "number", "source", "aliases", "prompts", "experiments"):
        assume(facet not in ("source", "number"))
    target.objects[place] = replace(victim, facets={**victim.facets, facet: value})
    outcomes = compared(made, target, same_ids=same_ids)
    found = red(outcomes)
    assert found, (victim.kind, facet, before, value)
    # the facet itself, or the object as a whole where what tells it from its like was altered
    others = {(kind, name) for kind, name, _ in found if kind != victim.kind}
    if "presence" not in {name for kind, name, _ in found if kind == victim.kind}:
        assert others == set(), found
    # what links to an object that is not its own copy any more is red for that link alone
    assert {name for _, name in others} <= {"logged_model", "prompts", "aliases", "source"}, found
    facets = {name for kind, name, _ in found if kind == victim.kind}
    assert facet in facets or "presence" in facets, (facet, found)


@given(made=store(), seed=st.integers())
@slow
def test_missing_extra_and_doubled_objects_are_named(made: Store, seed: int) -> None:
    """One object taken away is missing; one doubled is a duplicate or extra."""
    draw = random.Random(seed)
    target = migrated(made, same_ids=False, shuffle=draw)
    victim = draw.choice(target.objects)
    without = Store([item for item in target.objects if item is not victim], target.trees)
    states = {
        (kind, state) for kind, facet, state in red(compared(made, without, same_ids=False)) if facet == "presence"
    }
    assert (victim.kind, "missing") in states or (victim.kind, "ambiguous") in states, states
    if victim.kind in ("logged_model", "trace"):
        twin = replace(victim, entity_id="twin")
        files = {"twin": target.trees[victim.entity_id]} if victim.entity_id in target.trees else {}
        outcomes = compared(made, Store([*target.objects, twin], {**target.trees, **files}), same_ids=False)
        assert red(outcomes) == {(victim.kind, "presence", "duplicate")}


def _entity(kind: str, entity_id: str, name: str, container: str = "", **facets: Any) -> Entity:
    return Entity(kind, entity_id, name, container, None, facets)


def _version(number: int, tags: dict[str, str] | None = None, **facets: Any) -> Entity:
    given = {"status": {"status": "READY", "message": ""}, "description": f"v{number}", "tags": tags or {},
             "user": "", "stage": "None", "run": None, "logged_model": None, "source": "", "times": {}}  # fmt: skip
    return _entity("model_version", f"churn/{number}", f"churn version {number}", "churn",
                   **{**given, "number": number, **facets})  # fmt: skip


def _tool(original: int) -> dict[str, str]:
    return {"mlflow_exim.field.name": "churn", "mlflow_exim.field.version": str(original)}


def _findings(outcomes: list[Outcome]) -> dict[tuple[str, str], str]:
    return {
        (one.row.name, one.row.facet): found.note
        for one in outcomes
        for found in one.differences
        if not found.state.green
    }


def test_a_gap_in_the_numbers_that_the_tool_closed_is_expected() -> None:
    """1, 3 became 1, 2 with source tags: the number differs by the contract, the order is the same."""
    source = Store([_version(1), _version(3)])
    target = Store([_version(1, _tool(1)), _version(2, _tool(3), description="v3")])
    outcomes = compared(source, target, same_ids=False)
    assert red(outcomes) == set()
    assert "model_version.number.import" in {rule for one in outcomes for rule in one.row.rules}


def test_a_version_in_a_gap_is_told_as_one() -> None:
    """A version on the target under a number that was deleted at the source."""
    outcomes = compared(
        Store([_version(1), _version(3)]), Store([_version(1), _version(2), _version(3)]), same_ids=True
    )
    assert red(outcomes) == {("model_version", "presence", "extra")}
    assert "gap at number 2" in _findings(outcomes)["churn version 2", "presence"]


def test_versions_in_another_order_are_red() -> None:
    """The tool's parallel import may number them by chance: the latest is another one then."""
    source = Store([_version(1), _version(2)])
    target = Store([_version(1, _tool(2), description="v2"), _version(2, _tool(1), description="v1")])
    assert ("model_version", "order", "mismatch") in red(compared(source, target, same_ids=False))


def test_a_version_whose_run_was_deleted_is_told_apart() -> None:
    """Missing because the tool drops versions of deleted runs: the finding says so."""
    source = Store([_version(1, run="run-a")])
    links = ObjectLinks(Links({}, {"run-a": "deleted"}, {}, True), whole={*KINDS})
    comparison = Comparison({"model_version": in_scope("model_version")}, links, hashed=True)
    pairing = pair_objects(source.keys("model_version"), [])
    [first, *_] = compare_objects("churn", "model_version", pairing, source, Store([]), comparison)
    assert (first.row.state, first.row.facet) == (State.MISSING, "presence")
    assert "its run run-a is deleted at the source" in first.differences[0].note


def test_an_alias_that_points_at_the_wrong_copy() -> None:
    """The tool moves aliases to the copies of a second import."""
    model = _entity("registered_model", "churn", "churn", description="", tags={}, aliases={"champion": "1"}, times={})
    moved = replace(model, facets={**model.facets, "aliases": {"champion": "2"}})
    versions = [_version(1), _version(2)]
    outcomes = compared(Store([model, *versions]), Store([moved, *versions]), same_ids=True)
    assert red(outcomes) == {("registered_model", "aliases", "mismatch")}
    assert "points at the wrong copy" in _findings(outcomes)["churn", "aliases"]


def test_the_wrong_model_behind_a_version() -> None:
    """Same size, other bytes."""
    version = _version(1)
    source, target = Store([version]), Store([version])
    for side, letter in ((source, "a"), (target, "b")):
        side.trees["churn/1"] = (
            Store([]).files("", "churn/1").__class__("churn/1", (Artifact("m.bin", 3, letter * 64),))
        )
    assert red(compared(source, target, same_ids=True)) == {("model_version", "files", "mismatch")}


def test_a_target_that_cannot_hold_a_kind() -> None:
    """What a server cannot hold is missing, not skipped, and the reason is said."""
    source = Store([_entity("scorer", "1/tone/1", "tone", "1", number=1, definition={})])
    links = ObjectLinks(Links({}, {}, {}, True))
    comparison = Comparison({"scorer": in_scope("scorer")}, links, hashed=True)
    pairing = pair_objects(source.keys("scorer"), [])
    outcomes = list(compare_objects("e", "scorer", pairing, source, Store([]), comparison, cannot=True))
    assert {one.row.state for one in outcomes} == {State.MISSING}
    assert "cannot hold scorers" in outcomes[0].differences[0].note
