"""Records of one object each, and what was said of a difference: for comparers that are asked by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.links import Links, ObjectLinks
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.pairing.matching import Pairing

#: Ids of a run of the source, of its copy, and of others.
RUN, COPY, OTHER, OTHER_COPY, DEAD = (letter + 31 * digit for letter, digit in ("c1", "aa", "d2", "bb", "e9"))
MODEL, MODEL_COPY, SECOND, SECOND_COPY = (f"m-{letter * 32}" for letter in "3c4d")

#: Key, state, rule, both values, note.
Told = tuple[str, str, str, object, object, str]


def told(found: Iterable[Difference]) -> list[Told]:
    """Return all that is said of differences, in their order."""
    return [(one.key, str(one.state), one.rule, one.source, one.target, one.note) for one in found]


def paired(found: Pairing[Any]) -> dict[str, Any]:
    """Return everything that a pairing holds, by ids."""
    return {
        "pairs": [(one.source.entity_id, one.target.entity_id, one.by) for one in found.pairs],
        "duplicates": [(one.source.entity_id, one.target.entity_id, one.by) for one in found.duplicates],
        "missing": [one.entity_id for one in found.missing],
        "extra": [(one.entity_id, why) for one, why in found.extra],
        "ambiguous": [([one.entity_id for one in ours], [one.entity_id for one in theirs], by)
                      for ours, theirs, by in found.ambiguous],
    }  # fmt: skip


def a_run(**given: Any) -> Run:
    """A run of the source; ``given`` are its fields."""
    fields: dict[str, Any] = {
        "run_id": RUN, "experiment_id": "1", "name": "r", "status": "FINISHED", "start_time": 10, "end_time": 20,
        "user_id": "ada", "lifecycle_stage": "active", "artifact_uri": f"s3://old/1/{RUN}/artifacts", "params": {},
        "tags": {}, "metrics": {}, "inputs": (),
    }  # fmt: skip
    return Run(**{**fields, **given})


def a_copy(**given: Any) -> Run:
    """Its copy by the tool."""
    return a_run(**{
        "run_id": COPY, "experiment_id": "7", "artifact_uri": f"s3://new/7/{COPY}/artifacts",
        **given, "tags": {"mlflow_exim.run_info.run_id": RUN, **given.get("tags", {})},
    })  # fmt: skip


def an_experiment(**given: Any) -> Experiment:
    """An experiment of the source."""
    fields: dict[str, Any] = {
        "experiment_id": "1", "name": "e", "lifecycle_stage": "active", "artifact_location": "s3://old/1",
        "creation_time": 5, "last_update_time": 6, "tags": {},
    }  # fmt: skip
    return Experiment(**{**fields, **given})


def an_entity(kind: str, entity_id: str = "x", *, container: str = "", **facets: Any) -> Entity:
    """Any other object, with nothing but these facets."""
    return Entity(kind, entity_id, entity_id, container, 1, facets)


def links(**known: Any) -> ObjectLinks:
    """Return links by which the run and the logged model are known, and all of the source was read."""
    runs = known.pop("runs", None) or Links(
        known.pop("pairs", {RUN: COPY}), known.pop("stages", {RUN: "active"}), known.pop("copies", {}),
        known.pop("complete", True), known.pop("replaced", {}),
    )  # fmt: skip
    given: dict[str, Any] = {
        "experiments": {"1": "7"},
        "entities": {"logged_model": {MODEL: MODEL_COPY}},
        "known": {"logged_model": {MODEL, SECOND}, "experiment": {"1"}},
        "whole": {"logged_model", "experiment", "model_version", "prompt_version", "trace"},
    }
    if "further" in known:
        given["copies"] = known.pop("further")
    return ObjectLinks(runs, **{**given, **known})
