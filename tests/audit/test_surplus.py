"""Experiments that are on the target only: an empty Default is expected, and what any of them holds is counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import pytest
from support.memory import Audited, MemoryReader, Store, run_audit

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.verdict import Finding, State

DEFAULT = Experiment("0", "Default", "active", "mlflow-artifacts:/0", 1, 1, {})
SHOP = Experiment("1", "shop", "active", "mlflow-artifacts:/1", 5, 6, {})
RUN = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, {}, {}, ())
OBJECTS = {kind: Entity(kind, f"{kind} 1", kind, "0", 5, {}) for kind in ("logged_model", "trace", "scorer")}
ALONE = ("experiment_arrived",)


def one(*more: Experiment, runs: Sequence[Run] = (), objects: Sequence[Entity] = ()) -> Store:
    """The same run in the same experiment, and what else there is."""
    return Store([SHOP, *more], [RUN, *runs], objects=list(objects))


def default(done: Audited) -> tuple[State, str]:
    """What is said of the target's Default."""
    [row] = [row for row in done.rows if row.name == "Default" and row.facet == "presence"]
    assert row.source_id is None
    found: list[Finding] = [item for item in done.result.findings if item.name == "Default"]
    return row.state, found[0].explanation if found else ""


@pytest.mark.parametrize("checks", [None, ALONE])
def test_an_empty_default_is_expected(checks: Sequence[str] | None) -> None:
    """Every server makes one, and nothing of the kinds that an experiment holds is in it."""
    done = run_audit(one(), one(DEFAULT), checks=checks)
    assert default(done) == (State.EXPECTED, "")
    assert done.result.green


@pytest.mark.parametrize("checks", [None, ALONE])
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_default_that_holds_anything_is_extra(kind: str, checks: Sequence[str] | None) -> None:
    """No run is in it, and it is not empty all the same: extra, with what it holds, whatever else is checked."""
    done = run_audit(one(), one(DEFAULT, objects=[OBJECTS[kind]]), checks=checks)
    state, why = default(done)
    assert state is State.EXTRA
    assert f"0 runs, {'' if checks is None else 'at least '}1 {kind.replace('_', ' ')}" in why


class _Silent(MemoryReader):
    """Refuses the objects of Default, those of one kind."""

    kind = "trace"

    def experiment_objects(
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """Refuse."""
        if experiment_id == "0" and self.kind in kinds:
            raise ReadError("not today")
        yield from super().experiment_objects(experiment_id, kinds)


@pytest.mark.parametrize("checks", [None, ALONE])
def test_what_cannot_be_read_is_not_taken_for_empty(checks: Sequence[str] | None) -> None:
    """Whether Default holds traces is not known: unverified; where it holds a model, it is extra in any case."""
    for objects, wanted in (((), State.UNVERIFIED), ((OBJECTS["logged_model"],), State.EXTRA)):
        target = one(DEFAULT, objects=objects)
        reader = _Silent(target, Location("http", "http://target", "http://target"), 1)
        state, why = default(run_audit(one(), target, readers={"target": reader}, checks=checks))
        assert state is wanted
        assert "unknown traces: not today" in why


def test_what_is_in_any_surplus_experiment_is_counted() -> None:
    """The finding of an experiment too many says what goes with it."""
    other = replace(SHOP, experiment_id="7", name="other", artifact_location="mlflow-artifacts:/7")
    run = replace(RUN, run_id="7" * 32, experiment_id="7")
    traces = [Entity("trace", f"tr-{number}", "ask", "7", 5, {}) for number in range(3)]
    done = run_audit(one(), one(other, runs=[run], objects=traces))
    [found] = done.result.findings
    assert (found.name, found.state) == ("other", State.EXTRA)
    assert "1 run, 3 traces" in found.explanation


GONE = replace(DEFAULT, lifecycle_stage="deleted")


def test_a_deleted_default_of_the_source_is_out_of_scope() -> None:
    """No target can be without an active Default of its own: as long as it is empty, it is expected."""
    done = run_audit(one(GONE), one(DEFAULT), include_deleted=False)
    assert default(done) == (State.EXPECTED, "")
    assert done.result.green
    gone = replace(RUN, run_id="7" * 32, experiment_id="0", lifecycle_stage="deleted")
    done = run_audit(one(GONE, runs=[gone]), one(DEFAULT), include_deleted=False)
    assert done.result.green
    assert run_audit(one(GONE), one(GONE), include_deleted=False).result.green


@pytest.mark.parametrize("kind", ["run", "trace"])
def test_what_is_in_a_default_that_the_source_deleted_is_extra(kind: str) -> None:
    """A Default that is used on the target is no empty one, whatever became of the source's."""
    run = replace(RUN, run_id="7" * 32, experiment_id="0")
    target = one(DEFAULT, runs=[run]) if kind == "run" else one(DEFAULT, objects=[OBJECTS[kind]])
    state, why = default(run_audit(one(GONE), target, include_deleted=False))
    assert state is State.EXTRA
    assert "the source's Default experiment is deleted" in why
    assert f"1 {kind}" in why


def test_a_deleted_default_that_is_in_scope_has_its_stage() -> None:
    """With deleted ones in scope, where the store itself went on, or deleted on the target alone: a mismatch."""
    asked = run_audit(one(GONE), one(DEFAULT), include_deleted=True)
    same = run_audit(one(GONE), one(DEFAULT), include_deleted=False, profile="same-store")
    lost = run_audit(one(DEFAULT), one(GONE), include_deleted=False)
    for done in (asked, same, lost):
        assert done.found == {("Default", "lifecycle", "lifecycle_stage", "mismatch")}
