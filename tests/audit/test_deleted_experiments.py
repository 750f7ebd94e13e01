"""A deleted experiment of the source is out of scope, and so is what is in it; what names it is judged all the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.memory import Audited, Store, run_audit

from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.verdict import State

TIMES = {"creation": 5, "update": 6}
RUN = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", "mlflow-artifacts:/1/r", {}, {}, {}, ())
TRASH = Experiment("2", "old", "deleted", "mlflow-artifacts:/2", 5, 6, {})
MODEL = f"m-{'3' * 32}"
LOGGED = Entity("logged_model", MODEL, "net", "2", 5,
                {"type": "", "status": {}, "params": {}, "metrics": [], "tags": {}, "run": None, "times": TIMES},
                artifact_uri=f"mlflow-artifacts:/2/models/{MODEL}/artifacts")  # fmt: skip


def server(*trash: Experiment, kept: bool, of_trash: tuple[Entity, ...] = ()) -> Store:
    """A trace, a dataset and a prompt of an active experiment; ``kept``: they name what is in the deleted one, too."""
    more = ["2"] if kept else []
    facets = {
        "state": "OK",
        "times": {"request": 5},
        "tags": {},
        "metadata": {},
        "run_links": [],
        "spans": [],
        "assessments": [],
    }
    trace: dict[str, Any] = {**facets, "prompts": [], "logged_model": MODEL if kept else None}
    used = {"tags": {"_mlflow_experiment_ids": f",{','.join(['1', *more])},"}, "aliases": {}, "times": TIMES}
    objects = [
        Entity("trace", "tr-1", "ask", "1", 5, trace),
        Entity("evaluation_dataset", "d-1", "questions", "", 5,
               {"tags": {}, "schema": None, "profile": None, "digest": "d", "user": "", "records": [], "times": TIMES,
                "experiments": ["1", *more]}),
        Entity("prompt", "greet", "greet", "", 5, used),
    ]  # fmt: skip
    shop = Experiment("1", "shop", "active", "mlflow-artifacts:/1", 5, 6, {})
    return Store([shop, *trash], [RUN], objects=[*objects, *of_trash])


def states(done: Audited) -> dict[tuple[str, str], State]:
    """The three facets that name an experiment or a logged model."""
    wanted = {("trace", "logged_model"), ("evaluation_dataset", "experiments"), ("prompt", "tags")}
    return {(row.kind, row.facet): row.state for row in done.rows if (row.kind, row.facet) in wanted}


@pytest.mark.parametrize("trash", [(TRASH,), ()], ids=["in the trash", "gone"])
def test_links_to_what_is_deleted_are_dead(trash: tuple[Experiment, ...]) -> None:
    """Experiment and logged model are in the trash of the source, or gone from it: the copies need not name them."""
    source = server(*trash, kept=True, of_trash=(LOGGED,) if trash else ())
    done = run_audit(source, server(kept=False), include_deleted=False)
    assert set(states(done).values()) == {State.EXPECTED}
    assert done.result.green, done.found


def test_a_link_to_what_is_gone_is_judged_whatever_else_is_in_the_trash() -> None:
    """An unrelated deleted experiment makes no link unverified; a link to another model is a mismatch as ever."""
    source = server(replace(TRASH, experiment_id="9", name="unrelated"), kept=True)
    target = server(kept=False)
    assert run_audit(source, target, include_deleted=False).result.green
    trace = next(item for item in target.objects if item.kind == "trace")
    target.objects.remove(trace)
    target.objects.append(replace(trace, facets={**trace.facets, "logged_model": f"m-{'7' * 32}"}))
    done = run_audit(source, target, include_deleted=False)
    assert {(name, facet, state) for name, facet, _, state in done.found} == {("ask", "logged_model", "mismatch")}


def test_links_into_experiments_that_are_left_out_are_not_verified() -> None:
    """An active experiment that ``--parity-experiments`` leaves out may hold the model: nobody looked."""
    source = server(replace(TRASH, lifecycle_stage="active"), kept=True, of_trash=(replace(LOGGED, container="2"),))
    done = run_audit(source, server(kept=False), include_deleted=False, experiments=("shop",))
    assert states(done) == {("trace", "logged_model"): State.UNVERIFIED}


def test_with_deleted_ones_in_scope_the_links_are_those_of_the_copies() -> None:
    """The experiment was moved too, so what names it must name its copy."""
    source = server(TRASH, kept=True, of_trash=(LOGGED,))
    copy = replace(TRASH, artifact_location="mlflow-artifacts:/2")
    done = run_audit(source, server(copy, kept=False, of_trash=(LOGGED,)), include_deleted=True)
    assert set(states(done).values()) == {State.MISMATCH}
