"""What is promised: one entry per check, with the facets that its verdict rests on.

The checks themselves are the ``test_*`` functions in ``checks/``; each judges one promise for one experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from mlflow_parity import contract

Kind = Literal["experiment", "run"]


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise; ``name`` is that of its check without ``test_``, ``facets`` are those of ``kind``."""

    name: str
    module: str
    kind: Kind
    facets: tuple[str, ...]
    text: str


PROMISES: tuple[Promise, ...] = (
    Promise("experiment_arrived", "experiments", "experiment", ("presence", "name", "lifecycle"),
            "Every experiment is on the target once, under its name and in its lifecycle stage, and no other is"),
    Promise("experiment_tags_and_note", "experiments", "experiment", ("tags", "note"),
            "The experiment's tags and note are those of the source"),
    Promise("experiment_source_tags", "experiments", "experiment", ("source_tags", "times"),
            "The experiment's source tags are complete and true, and its times differ only as the contract says"),
    Promise("experiment_artifact_location", "experiments", "experiment", ("artifact_location",),
            "The experiment keeps its artifacts in a place of its own"),
    Promise("runs_arrived_once", "runs", "run", ("presence",),
            "Every run is on the target exactly once, and nothing else is in its experiment"),
    Promise("run_name_and_status", "runs", "run", ("name", "status"),
            "Every run has its name and status"),
    Promise("run_times", "runs", "run", ("times",),
            "Every run has its start and end time, or they stand in its source tags"),
    Promise("run_lifecycle", "runs", "run", ("lifecycle",),
            "Active runs are active and deleted ones deleted"),
    Promise("run_user", "runs", "run", ("user",),
            "Every run has its user, or the user stands in its source tags"),
    Promise("params", "params", "run", ("params",),
            "Every param of every run has its value, character by character"),
    Promise("metric_histories", "metrics", "run", ("metrics",),
            "Every metric of every run has its full history, bit for bit"),
    Promise("run_tags_and_note", "tags", "run", ("tags", "note"),
            "Every run has its tags and its note"),
    Promise("run_source_tags", "tags", "run", ("source_tags",),
            "The source tags of every run are complete and true"),
    Promise("parent_child_links", "links", "run", ("parent",),
            "Every child run hangs on the copy of its parent"),
    Promise("dataset_inputs", "inputs", "run", ("inputs",),
            "Every run has its dataset inputs with context and digest"),
    Promise("artifacts", "artifacts", "run", ("artifacts",),
            "Every run has its artifacts: the same tree, sizes and bytes; MLmodel as the contract says"),
    Promise("artifact_uri", "artifacts", "run", ("artifact_uri",),
            "Every run keeps its artifacts in a place of its own"),
)  # fmt: skip
BY_NAME: Mapping[str, Promise] = {promise.name: promise for promise in PROMISES}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which promises are checked for which experiments (by item id)."""

    promises: tuple[str, ...]
    items: tuple[str, ...]

    def facets(self, kind: Kind) -> frozenset[str]:
        """Return the facets of a kind that the selected promises rest on."""
        return frozenset(
            facet for name in self.promises if BY_NAME[name].kind == kind for facet in BY_NAME[name].facets
        )

    def left_out(self) -> tuple[str, ...]:
        """Return the facets that no selected promise rests on, as ``kind facet``."""
        return tuple(
            f"{kind} {facet}"
            for kind, facets in (("experiment", contract.EXPERIMENT_FACETS), ("run", contract.RUN_FACETS))
            for facet in facets
            if facet not in self.facets("experiment" if kind == "experiment" else "run")
        )


def select(promises: Iterable[str], items: Iterable[str]) -> Selection:
    """Return a selection in the order of :data:`PROMISES`; an unknown promise means every promise."""
    wanted = set(promises)
    names = tuple(promise.name for promise in PROMISES if promise.name in wanted or not wanted <= BY_NAME.keys())
    return Selection(names, tuple(dict.fromkeys(items)))
