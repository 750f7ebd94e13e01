"""What moved behind an audit's back: all is listed once more when everything was read, and names reconciled.

Nothing tells that an ended run was changed or deleted, nor that one came and ended, but a second list: so it is made,
in the fewest requests (1,000 runs a page, small experiments together). What could not be listed again is no pass.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event

from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.same_store import compare_facet
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.identity.digests import listed_digest
from mlflow_parity.core.identity.sums import differ
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import FILES, OPTIONAL
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot import ExperimentView, HistoryKey
from mlflow_parity.snapshot.fresh import FreshView
from mlflow_parity.snapshot.moved import not_asked
from mlflow_parity.snapshot.schema import Listed
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.wanted import Wanted

#: Lists that are read at once, as at the first reading; runs and experiments that one list holds at most.
_AT_ONCE = 4
_RUNS, _EXPERIMENTS = 1_000, 500
_ENDED = "the audit ended before"
_REGISTERED: tuple[tuple[Family, str], ...] = (("model", "registered_model"), ("prompt", "prompt"))


class SecondList:
    """Lists the runs of one side once more, beside what its caller does meanwhile.

    Each experiment is waited for when it is asked for; ``end`` lists no more. Of the runs that were listed before,
    those that are ``wanted`` are looked at (``None``: each). Only a list of all runs tells which came since: without
    ``came`` it is not made, and the wanted ones are asked for by their ids.
    """

    def __init__(
        self,
        reader: Reader,
        snapshot: Snapshot,
        experiments: Sequence[str],
        *,
        include_deleted: bool,
        wanted: Wanted | None = None,
        came: bool = True,
    ) -> None:
        self._reader = reader
        self._snapshot = snapshot
        self._include_deleted = include_deleted
        self._wanted = wanted
        self._came = came
        self._ended = Event()
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parity-again")
        self._asked: dict[str, Future[tuple[dict[str, set[str]], dict[str, str]]]] = {}
        for group in _groups(snapshot, experiments):
            self._asked.update(dict.fromkeys(group, self._pool.submit(self._moved, group)))
        # what was asked for is still done
        self._pool.shutdown(wait=False)

    def of(self, experiment: str) -> tuple[set[str], str]:
        """Return the runs of an experiment that came, went or are not as they were read; or why this is not known."""
        if experiment not in self._asked:
            return set(), ""
        moved, unknown = self._asked[experiment].result()
        return moved.get(experiment, set()), unknown.get(experiment, "")

    def end(self) -> None:
        """Ask for no more pages; what was not asked for yet is not known."""
        self._ended.set()
        for asked in set(self._asked.values()):
            asked.cancel()

    def _moved(self, group: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, str]]:
        try:
            moved = self._listed(group)
        except ReadError as error:
            return {}, dict.fromkeys(group, not_asked(str(error)))
        try:
            if self._ended.is_set():
                raise ReadError(_ENDED)
            return moved, self._reader.contradictions(moved)
        except ReadError as error:
            return moved, dict.fromkeys(moved, f"whether the database says so too could not be asked: {error}")

    def _listed(self, group: Sequence[str]) -> dict[str, set[str]]:
        listed = {place: self._snapshot.listed(place) or {} for place in group}
        wanted = self._wanted
        rest = {
            place: {one: old for one, old in known.items() if wanted is None or wanted.has("run", place, one)}
            for place, known in listed.items()
        }
        found: dict[str, set[str]] = {}
        for page in self._pages(group, rest):
            if self._ended.is_set():
                raise ReadError(_ENDED)
            for run in page:
                now = Listed(run.lifecycle_stage, listed_digest(run))
                before = rest[run.experiment_id].pop(run.run_id, None)
                if before is None and run.run_id in listed[run.experiment_id]:
                    continue  # another part looks at it
                gone = {now[0], before[0] if before else "deleted"} == {"deleted"} and not self._include_deleted
                if now != before and not gone:
                    found.setdefault(run.experiment_id, set()).add(run.run_id)
        for place, left in rest.items():
            ids = {one for one, old in left.items() if self._include_deleted or old.lifecycle_stage != "deleted"}
            if ids:
                found.setdefault(place, set()).update(ids)
        return found

    def _pages(self, group: Sequence[str], rest: Mapping[str, Mapping[str, Listed]]) -> Iterator[list[Run]]:
        if self._came:
            yield from self._reader.runs_of(group)
            return
        for place in group:
            yield from self._reader.runs_by_id(place, sorted(rest[place]))


def _groups(snapshot: Snapshot, experiments: Sequence[str]) -> Iterator[list[str]]:
    """Yield the experiments whose runs were read, as many together as make a page."""
    group: list[str] = []
    size = 0
    for place in experiments:
        sidecar = snapshot.sidecar(place, "runs")
        if sidecar is None or "error" in sidecar:
            continue
        runs = int(sidecar["counts"]["runs"])
        if group and (size + runs > _RUNS or len(group) == _EXPERIMENTS):
            yield group
            group, size = [], 0
        group.append(place)
        size += runs
    if group:
        yield group


def listed_now(reader: Reader, known: Collection[Experiment]) -> dict[str, Experiment]:
    """Return the experiments that a server has now, by id; ``known`` are those that it had.

    Raises:
        ReadError: when they cannot be listed.
    """
    now = {one.experiment_id: one for one in reader.experiments()}
    if any(one.experiment_id not in now for one in known):
        # pages shift under a list that is being written to: gone is what two lists do not hold
        now = {**{one.experiment_id: one for one in reader.experiments()}, **now}
    return now


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
        # what an option has both servers asked is no field of either
        asked = {facet for kind, facet in OPTIONAL if kind == "experiment"}
        facets = [facet for facet in contract.EXPERIMENT_FACETS if facet != "presence" and facet not in asked]
        found = tuple(facet for facet in facets if compare_facet(facet, before, now, _STILL))
        if found:
            yield Change(side, now.name, "experiment", now.name, now.experiment_id, found)


def of_runs(side: str, before: ExperimentView, now: FreshView) -> Iterator[Change]:
    """Yield what changed of an experiment's runs; what could not be read at either look is no change."""
    if before.problem("runs") or now.problem("runs"):
        return
    name = now.experiment.name
    old = {key.entity_id: key for key in before.run_keys()}
    new = {key.entity_id: key for key in now.run_keys()}
    for run_id in new.keys() - old.keys():
        yield Change(side, name, "run", new[run_id].name, run_id, (CAME,))
    for run_id in old.keys() - new.keys():
        yield Change(side, name, "run", old[run_id].name, run_id, (GONE,))
    again = now.read_again
    both = [run_id for run_id in old if run_id in new and (again is None or run_id in again)]
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
        if facet not in _ELSEWHERE and not unread and compare_facet(facet, before, now, _STILL):
            yield facet


def _histories(before: Mapping[str, HistoryKey], now: Mapping[str, HistoryKey]) -> bool:
    return any(
        before[key].error is None and now[key].error is None and before[key].digest != now[key].digest
        for key in before.keys() & now.keys()
    )


def _trees(before: ArtifactTree, now: ArtifactTree) -> bool:
    if any(tree.error is not None or any(file.error is not None for file in tree.files) for tree in (before, now)):
        return False
    ours, theirs = ({file.path: file for file in tree.files} for tree in (before, now))
    return ours.keys() != theirs.keys() or any(differ(file, theirs[path]) for path, file in ours.items())


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
