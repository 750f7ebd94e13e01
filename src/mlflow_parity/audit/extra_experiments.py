"""What an experiment that is on the target only holds, so that it is neither called empty nor dropped unsaid."""

from __future__ import annotations

from collections.abc import Collection

from mlflow_parity.audit.scope import is_deleted
from mlflow_parity.audit.side import Side
from mlflow_parity.audit.test_items import Item
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.surplus import Held, is_default
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import CONTAINERS, of_family
from mlflow_parity.kinds.base import Kind
from mlflow_parity.snapshot import Part


def held(side: Side, experiment: Experiment, asked: Collection[Part], *, include_deleted: bool) -> Held:
    """Count what was read of an experiment; ``asked`` are the parts that the audit reads.

    Of a Default without runs, kinds that the audit does not read are asked for now: its first objects are enough.
    """
    runs, objects = side.view(experiment), side.snapshot.objects(experiment.experiment_id)
    counts: dict[str, int] = {}
    least: set[str] = set()
    unknown: dict[str, str] = {}
    problem = runs.problem("runs")
    if problem is None:
        counts["runs"] = sum(include_deleted or not key.deleted for key in runs.run_keys())
    else:
        unknown["runs"] = problem
    look = is_default(experiment) and not counts.get("runs")
    for kind in of_family("experiment"):
        if kind.part == "scorers" and is_deleted(experiment):
            continue  # no server lists those of a deleted experiment
        problem = objects.problem(kind.part)
        if problem is None:
            counts[kind.plural] = len(objects.keys(kind.name))
        elif kind.part in asked or (look and not side.live):
            unknown[kind.plural] = problem
        elif look:
            try:
                counts[kind.plural] = _some(side, experiment, kind)
            except ReadError as error:
                unknown[kind.plural] = str(error)
            least.add(kind.plural)
    return Held(counts, least, unknown)


def _some(side: Side, experiment: Experiment, kind: Kind) -> int:
    """Return how many objects of a kind the first batch brings."""
    assert side.reader is not None
    batches = side.reader.experiment_objects(experiment.experiment_id, [kind.name])
    return next((len(batch) for batch in batches if batch), 0)


def gone(item: Item) -> Outcome:
    """Return the row of what was one too many on the target and is there no more."""
    note = "it was on the target only, and is not any more"
    return Outcome(Row(item.label, CONTAINERS[item.family], item.name, None, None, "presence", State.MATCH, note=note))
