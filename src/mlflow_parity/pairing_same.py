"""Pairing where the store itself went on: an object is itself when its id is the same, and nothing else counts.

No source tags, no names, no contents: a run whose id is not on the target is missing, however much another one is
like it.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_parity.model import Experiment
from mlflow_parity.pairing import ExperimentPair, ExperimentPairing, Extra, RunPair, RunPairing
from mlflow_parity.pairing_objects import ObjectKey, ObjectPair, ObjectPairing
from mlflow_parity.snapshot.keys import RunKey

_BY = "same-id"


def same_experiments(source: Sequence[Experiment], target: Sequence[Experiment]) -> ExperimentPairing:
    """Pair experiments by id."""
    there = {item.experiment_id: item for item in target}
    result = ExperimentPairing()
    for original in source:
        itself = there.pop(original.experiment_id, None)
        if itself is None:
            result.missing.append(original)
        else:
            result.pairs.append(ExperimentPair(original, itself, _BY))
    result.extra = list(there.values())
    return result


def same_runs(source: Sequence[RunKey], target: Sequence[RunKey]) -> RunPairing:
    """Pair the runs of one experiment by id."""
    there = {run.run_id: run for run in target}
    result = RunPairing()
    for original in source:
        itself = there.pop(original.run_id, None)
        if itself is None:
            result.missing.append(original)
        else:
            result.pairs.append(RunPair(original, itself, _BY))
    result.extra = [Extra(run, "no run of this source experiment has its id") for run in there.values()]
    return result


def same_objects(source: Sequence[ObjectKey], target: Sequence[ObjectKey]) -> ObjectPairing:
    """Pair the objects of one kind in one container by id."""
    there = {item.entity_id: item for item in target}
    result = ObjectPairing()
    for original in source:
        itself = there.pop(original.entity_id, None)
        if itself is None:
            result.missing.append(original)
        else:
            result.pairs.append(ObjectPair(original, itself, _BY))
    result.extra = [(item, "no source object has its id") for item in there.values()]
    return result
