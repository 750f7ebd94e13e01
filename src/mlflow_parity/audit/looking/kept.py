"""Snapshots that an audit keeps: what moved on a server while it was read stands in them, for every later audit."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow_parity.audit.looking.looks import Looks
from mlflow_parity.audit.looking.second_look import between
from mlflow_parity.core.records import Experiment
from mlflow_parity.snapshot.moved import KINDS_TOLD, Moved, not_asked


def not_listed_again(experiments: Iterable[Experiment]) -> Moved:
    """Return what a snapshot tells until everything was listed once more: an audit may be killed before."""
    why = not_asked("the audit that read it ended before")
    return Moved(of={one.experiment_id: dict.fromkeys(KINDS_TOLD, why) for one in experiments})


def note_moved(looks: Looks) -> None:
    """Keep in the snapshots of both servers what the second lists told."""
    for name, side in looks.sides.items():
        if side.live:
            before = side.snapshot.experiments
            now = looks.listed.get(name, looks.unlisted.get(name, ""))
            side.snapshot.note_moved(between(before, now, looks.lists.get(name)))
