"""Pairing where the store itself went on: an object is itself when its id is the same, and nothing else counts.

No source tags, no names, no contents: a run whose id is not on the target is missing, however much another one is
like it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mlflow_parity.core.keys import ObjectKey, RunKey
from mlflow_parity.core.records import Experiment
from mlflow_parity.pairing.experiments import ExperimentPair, ExperimentPairing, Extra, RunPair, RunPairing
from mlflow_parity.pairing.objects import ObjectPair, ObjectPairing

_BY = "same-id"
T = TypeVar("T")


def _by_id(
    source: Sequence[T], target: Sequence[T], id_of: Callable[[T], str]
) -> tuple[list[tuple[T, T]], list[T], list[T]]:
    """Return what has the same id on both sides, what is on the source only, and what on the target only."""
    there = {id_of(item): item for item in target}
    pairs: list[tuple[T, T]] = []
    missing: list[T] = []
    for original in source:
        itself = there.pop(id_of(original), None)
        if itself is None:
            missing.append(original)
        else:
            pairs.append((original, itself))
    return pairs, missing, list(there.values())


def same_experiments(source: Sequence[Experiment], target: Sequence[Experiment]) -> ExperimentPairing:
    """Pair experiments by id."""
    pairs, missing, extra = _by_id(source, target, lambda item: item.experiment_id)
    return ExperimentPairing([ExperimentPair(*pair, _BY) for pair in pairs], missing, extra)


def same_runs(source: Sequence[RunKey], target: Sequence[RunKey]) -> RunPairing:
    """Pair the runs of one experiment by id."""
    pairs, missing, extra = _by_id(source, target, lambda run: run.run_id)
    why = "no run of this source experiment has its id"
    return RunPairing([RunPair(*pair, _BY) for pair in pairs], missing, [Extra(run, why) for run in extra])


def same_objects(source: Sequence[ObjectKey], target: Sequence[ObjectKey]) -> ObjectPairing:
    """Pair the objects of one kind in one container by id."""
    pairs, missing, extra = _by_id(source, target, lambda item: item.entity_id)
    why = "no source object has its id"
    return ObjectPairing([ObjectPair(*pair, _BY) for pair in pairs], missing, [(item, why) for item in extra])
