"""Counts what is deleted, can be restored, and is no part of an audit: unsaid it would look like nothing."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_parity.audit.side import Side, SideName
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.keys import RunKey
from mlflow_parity.core.verdict import Deleted
from mlflow_parity.pairing.experiments import RunPairing

#: Runs in deleted experiments that are counted at most, a thousand a request: to know that there are many is enough.
_MOST = 5_000


class DeletedRuns:
    """Counts the deleted runs of the experiments that are read, without those whose pair is judged."""

    def __init__(self) -> None:
        self.counts: dict[SideName, int | None] = {}

    def add(self, side: SideName, keys: Iterable[RunKey] | None, pairing: RunPairing | None = None) -> None:
        """Add the runs of one experiment; ``None``: they could not be read."""
        before = self.counts.get(side, 0)
        if keys is None or before is None:
            self.counts[side] = None
            return
        # deleted on one side only is a difference
        judged = sum(getattr(pair, side).deleted for pair in pairing.pairs) if pairing is not None else 0
        both = sum(pair.source.deleted and pair.target.deleted for pair in pairing.pairs) if pairing is not None else 0
        self.counts[side] = before + sum(key.deleted for key in keys) - (judged - both)


def left_out(side: Side, runs: int | None, experiments: list[str]) -> Deleted:
    """Return what was left out of a side: so many deleted runs, these deleted experiments, and what is in them."""
    if not experiments:
        return Deleted(runs, 0, 0)
    if side.reader is None:
        return Deleted(runs, len(experiments), None)
    inside = 0
    try:
        for page in side.reader.runs_of(experiments):
            inside += len(page)
            if inside >= _MOST:
                return Deleted(runs, len(experiments), inside, at_least=True)
    except ReadError:
        return Deleted(runs, len(experiments), None)
    return Deleted(runs, len(experiments), inside)
