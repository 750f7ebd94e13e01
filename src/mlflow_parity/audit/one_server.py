"""Finds out by reads alone whether two locations are one server, or copies of one store: no import makes such ids.

A server gives each experiment its id and its time of creation, each run its id, each registered model its time. What
two servers have in common of that, one of them did not make. A restored copy cannot be told from the original so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from mlflow_parity.comparing.unpaired import is_default
from mlflow_parity.core.records import Experiment

#: Names that a message has.
_NAMED = 3
#: What is one server, whatever stands before it.
WHY = "a server compared with itself proves nothing"


class Signed(Protocol):
    """Tells what a server gave its objects by itself."""

    def first_runs(self, experiment_ids: Sequence[str]) -> set[str]:
        """Ids of some runs of these experiments, the oldest."""
        ...

    def first_models(self) -> dict[str, int | None]:
        """Creation times of some registered models and prompts by name, the first."""
        ...


def held_by_both(
    source: Signed,
    target: Signed,
    ours: Sequence[Experiment],
    theirs: Sequence[Experiment],
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> str:
    """Return in words what source and target both hold with the same ids and times; empty: nothing.

    ``ours`` are the source's experiments in scope, ``theirs`` all of the target's; ``is_wanted`` says which registered
    models and prompts are in scope.

    Raises:
        ReadError: a server cannot be asked.
    """
    signed = [one for one in ours if one.creation_time and not is_default(one)]
    if signed:
        # the lists hold deleted ones, too: on one server they have each in common, whoever writes meanwhile
        return experiments_of_both(signed, theirs)
    ids = sorted({one.experiment_id for one in ours} & {one.experiment_id for one in theirs})
    runs = source.first_runs(ids) if ids else set()
    if runs:
        same = runs & target.first_runs(ids)
        return f"the same runs ({_few(sorted(same))})" if same else ""
    models = {name: made for name, made in source.first_models().items() if made and is_wanted(name)}
    if models:
        there = target.first_models()
        names = sorted(name for name, made in models.items() if there.get(name) == made)
        return f"the same registered models or prompts ({_few(names)})" if names else ""
    return experiments_of_both(ours, theirs)


def experiments_of_both(ours: Sequence[Experiment], theirs: Sequence[Experiment]) -> str:
    """Return in words which experiments are on both sides with the same id and time of creation; empty: none."""
    there = {(one.experiment_id, one.creation_time) for one in theirs if one.creation_time}
    names = [one.name for one in ours if (one.experiment_id, one.creation_time) in there]
    return f"the same experiments, with the same ids and times of creation ({_few(names)})" if names else ""


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name if len(name) <= 40 else f"{name[:39]}…") for name in names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else "")
