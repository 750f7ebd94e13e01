"""Judges an experiment of the target that is no copy of a source experiment, by what it holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from mlflow_parity.comparing.difference import Difference, Outcome, outcome
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.verdict import Row, State

_RULE = "experiment.presence"


@dataclass(frozen=True, slots=True)
class Held:
    """What an experiment holds: how many of each kind (by its plural), runs first.

    ``least`` are the kinds of which there may be more than were counted, ``unknown`` says why a kind was not read.
    """

    counts: Mapping[str, int]
    least: Collection[str] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether nothing was found in it; what is unknown may be there all the same."""
        return not any(self.counts.values())

    def __str__(self) -> str:
        """Return it in words; of kinds other than runs only what is there."""
        told = [
            f"{'at least ' if name in self.least else ''}{count} {name[:-1] if count == 1 else name}"
            for name, count in self.counts.items()
            if count or name == "runs"
        ]
        return ", ".join([*told, *(f"unknown {name}: {reason}" for name, reason in self.unknown.items())])


def is_default(experiment: Experiment) -> bool:
    """Whether an experiment is the one that every server makes at its first start."""
    return experiment.experiment_id == "0" and experiment.name == "Default"


def surplus_experiment(experiment: Experiment, held: Held, note: str, kind: State) -> Iterator[Outcome]:
    """Yield the row of a target experiment that is no source experiment's copy, or one too many (``kind``)."""
    if is_default(experiment) and held.nothing and not held.unknown:
        difference = Difference("", State.EXPECTED, f"{_RULE}.default", note="every server makes it")
    else:
        state = State.UNVERIFIED if is_default(experiment) and held.nothing else kind
        difference = Difference("", state, _RULE, note=f"{note}; {held}")
    name, state = experiment.name, difference.state
    row = Row(name, "experiment", name, None, experiment.experiment_id, "presence", state)
    yield outcome(row, [difference])
