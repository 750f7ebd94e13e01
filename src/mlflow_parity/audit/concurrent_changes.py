"""What changed on a server between two looks of one audit, and what that makes of the differences that were found.

A source may be in use while it is audited. What is not the same at the second look as at the first was neither lost
nor proved to be there: its differences are ``unverified``, and the report names the object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.same_store import experiment_facet, run_facet
from mlflow_parity.core.digests import artifacts_digest
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import FILES, contract
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.snapshot import ExperimentView, HistoryKey

_CHUNK = 500
_STILL = Relocation()
#: Stands among the facets of an object that was not there at the first look, or not at the second.
CAME, GONE = "came", "gone"
#: Facets of runs that are not in the run itself.
_ELSEWHERE = frozenset({"presence", "metrics", "artifacts"})


@dataclass(frozen=True, slots=True)
class Change:
    """What changed of one object: its facets, or that it came or went."""

    side: str
    experiment: str
    kind: str
    name: str
    identity: str
    facets: tuple[str, ...]

    def __str__(self) -> str:
        """``source: experiment / run name (id): metrics, tags``."""
        what = f"{self.experiment} / " if self.kind != "experiment" else ""
        kind = self.kind.replace("_", " ")
        return f"{self.side}: {what}{kind} {self.name or '(unnamed)'} ({self.identity}): {', '.join(self.facets)}"


@dataclass(slots=True)
class Changes:
    """All changes that were seen; each object and side once."""

    found: dict[tuple[str, str, str], Change] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        """Remember a change."""
        key = (change.side, change.kind, change.identity)
        before = self.found.get(key)
        facets = dict.fromkeys((*(before.facets if before else ()), *change.facets))
        self.found[key] = replace(change, facets=tuple(facets))

    def settle(self, outcome: Outcome) -> Outcome:
        """Return an outcome as it is to be judged: what differs in a facet that changed meanwhile is unverified."""
        row = outcome.row
        if row.state.green or row.state is State.UNVERIFIED:
            return outcome
        for side, identity in (("source", row.source_id), ("target", row.target_id)):
            change = self.found.get((side, row.kind, identity or ""))
            if change is None:
                continue
            came = CAME in change.facets
            if came or (row.facet in change.facets and outcome.differences):
                note = f"it {'came' if came else 'changed'} on the {side} while the audit was running"
                differences = tuple(
                    one
                    if one.state.green
                    else replace(one, state=State.UNVERIFIED, note=note if came else _both(note, one.note))
                    for one in outcome.differences
                )
                return Outcome(replace(row, state=State.UNVERIFIED), differences)
        return outcome

    def lines(self) -> list[str]:
        """Return one line for each object."""
        return [str(change) for change in self.found.values()]


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first


def of_experiment(side: str, before: Experiment, now: Experiment) -> Iterator[Change]:
    """Yield what changed of an experiment itself."""
    if before != now:
        facets = [facet for facet in contract.EXPERIMENT_FACETS if facet != "presence"]
        found = tuple(facet for facet in facets if experiment_facet(facet, before, now, _STILL))
        if found:
            yield Change(side, now.name, "experiment", now.name, now.experiment_id, found)


def of_runs(side: str, before: ExperimentView, now: ExperimentView) -> Iterator[Change]:
    """Yield what changed of an experiment's runs; what could not be read at either look is no change."""
    if before.problem("runs") or now.problem("runs"):
        return
    name = now.experiment.name
    old = {key.run_id: key for key in before.run_keys()}
    new = {key.run_id: key for key in now.run_keys()}
    for run_id in new.keys() - old.keys():
        yield Change(side, name, "run", new[run_id].name, run_id, (CAME,))
    for run_id in old.keys() - new.keys():
        yield Change(side, name, "run", old[run_id].name, run_id, (GONE,))
    both = [run_id for run_id in old if run_id in new]
    metrics, artifacts = (not (before.problem(part) or now.problem(part)) for part in ("metrics", "artifacts"))
    for start in range(0, len(both), _CHUNK):
        some = both[start : start + _CHUNK]
        for first, second in zip(before.runs(some), now.runs(some), strict=True):
            facets = [*_of_run(first, second)]
            if repr(sorted(first.metrics.items())) != repr(sorted(second.metrics.items())) or (
                metrics and _histories(before.histories(first.run_id), now.histories(first.run_id))
            ):
                facets.append("metrics")
            if artifacts and _trees(before.artifacts(first.run_id), now.artifacts(first.run_id)):
                facets.append("artifacts")
            if facets:
                yield Change(side, name, "run", second.name, second.run_id, tuple(facets))


def _of_run(before: Run, now: Run) -> Iterator[str]:
    for facet in contract.RUN_FACETS:
        unread = any(getattr(run, facet, ()) is None for run in (before, now))
        if facet not in _ELSEWHERE and not unread and run_facet(facet, before, now, _STILL):
            yield facet


def _histories(before: Mapping[str, HistoryKey], now: Mapping[str, HistoryKey]) -> bool:
    return any(
        before[key].error is None and now[key].error is None and before[key].digest != now[key].digest
        for key in before.keys() & now.keys()
    )


def _trees(before: ArtifactTree, now: ArtifactTree) -> bool:
    whole = all(tree.error is None and all(file.error is None for file in tree.files) for tree in (before, now))
    return whole and artifacts_digest(before) != artifacts_digest(now)


def of_entity(
    side: str, label: str, before: Entity | None, now: Entity | None, trees: Sequence[ArtifactTree] = ()
) -> Iterator[Change]:
    """Yield what changed of any other object (``None``: it was not there), with its files where it has any."""
    known = now or before
    if known is None:
        return
    if before is None or now is None:
        facets: tuple[str, ...] = (CAME if before is None else GONE,)
    elif before.error is not None or now.error is not None:
        return
    else:
        names = dict.fromkeys((*before.facets, *now.facets))
        facets = tuple(name for name in names if before.facets.get(name) != now.facets.get(name))
        if len(trees) == 2 and _trees(*trees):
            facets += (FILES[known.kind],)
    if facets:
        yield Change(side, label, known.kind, known.name, known.entity_id, facets)
