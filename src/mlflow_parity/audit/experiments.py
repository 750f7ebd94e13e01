"""The part of an audit about experiments and their runs: pairs, compares, and reads again what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mlflow_parity import changes
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.scope import Scope, Selected, is_deleted
from mlflow_parity.audit.second_look import moved_runs
from mlflow_parity.audit.surplus import held
from mlflow_parity.comparing import Comparison, Outcome, compare_experiment
from mlflow_parity.comparing.fields import Links
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.comparing.surplus import surplus_experiment
from mlflow_parity.errors import ReadError
from mlflow_parity.model import Experiment
from mlflow_parity.pairing import ExperimentPair, RunPairing, pair_runs
from mlflow_parity.pairing_same import same_runs
from mlflow_parity.profiles import Kept
from mlflow_parity.sides import SIDES, Side, SideName
from mlflow_parity.snapshot import ExperimentView, Part
from mlflow_parity.snapshot.keys import RunKey
from mlflow_parity.snapshot.store import SnapshotView
from mlflow_parity.verdict import State


class Experiments:
    """Experiments and runs of both sides, once they were read."""

    def __init__(self, sides: Mapping[SideName, Side], scope: Scope, parts: frozenset[Part], result: Result) -> None:
        self.sides = sides
        self.settings = scope.settings
        self.result = result
        self._scope = scope
        self._parts = parts
        self._moved: dict[SideName, dict[str, set[str]]] = {}

    def links(self, selected: Selected) -> Links:
        """Pair the runs of every experiment once, so that links across experiments can be followed."""
        pairs: dict[str, str] = {}
        copies: dict[str, set[str]] = {}
        known: dict[str, str] = {}
        kept = Kept()
        if "runs" in self._parts:
            for source, pair in selected.linked:
                ours = self.sides["source"].view(source)
                theirs = None if pair is None else self.sides["target"].view(pair.target)
                self._count("source", ours)
                if theirs is not None:
                    self._count("target", theirs)
                if ours.problem("runs"):
                    # not known to be empty: an unreadable list is reported as such, not as an empty source
                    self.result.source_runs += 1
                    continue
                keys = ours.run_keys()
                kept.add_source(keys)
                known.update({key.run_id: key.lifecycle_stage for key in keys})
                self.result.source_runs += sum(self.settings.include_deleted or not key.deleted for key in keys)
                if theirs is not None and not theirs.problem("runs"):
                    copies_of = theirs.run_keys()
                    kept.add_target(copies_of)
                    pairing = _pair_runs(keys, copies_of, same_store=self.settings.profile == "same-store")
                    pairs.update({found.source.run_id: found.target.run_id for found in pairing.pairs})
                    for found in pairing.duplicates:
                        copies.setdefault(found.source.run_id, set()).add(found.target.run_id)
            for _, surplus, _, _ in selected.surplus:
                view = self.sides["target"].view(surplus)
                if not view.problem("runs"):
                    kept.add_target(view.run_keys())
        self.result.warning = kept.warning(self.settings.profile)
        read = {source.experiment_id for source, _ in selected.linked}
        # the runs of a deleted experiment are deleted: whether it was read or not, a link to one of them is a dead link
        left_out = [item for item in self.sides["source"].experiments() if item.experiment_id not in read]
        return Links(pairs, known, copies, all(is_deleted(item) for item in left_out))

    def _count(self, side: SideName, view: SnapshotView) -> None:
        counts = view.counts()
        self.result.counts[side]["experiments"] += 1
        for name in ("runs", "points", "files", "bytes"):
            self.result.counts[side][name] += int(counts.get(name, 0))

    def look_again(self, selected: Selected) -> None:
        """List the runs of both servers once more: which came, ended, changed or went since they were read."""
        if not self.result.selection.facets("run"):
            return
        ids: dict[SideName, list[str]] = {
            "source": [source.experiment_id for source, _ in selected.linked],
            "target": [pair.target.experiment_id for _, pair in selected.linked if pair is not None],
        }
        deleted = self.settings.include_deleted
        with ThreadPoolExecutor(2, thread_name_prefix="parity-side") as pool:
            asked = {
                name: pool.submit(moved_runs, reader, self.sides[name].snapshot, ids[name], include_deleted=deleted)
                for name in SIDES
                if (reader := self.sides[name].reader) is not None
            }
            for name, future in asked.items():
                self._moved[name], problem = future.result()
                if problem:
                    self.result.notes.append(f"whether runs changed at the {name} could not be asked: {problem}")

    def compare(self, source: Experiment, pair: ExperimentPair | None, comparison: Comparison) -> Iterator[Outcome]:
        """Compare a source experiment and its runs with their copies; what differs is read again first."""
        ours: ExperimentView = self.sides["source"].view(source)
        theirs: ExperimentView | None = None if pair is None else self.sides["target"].view(pair.target)
        first = [*_compare_views(ours, theirs, pair, comparison)]
        suspects = [outcome for outcome in first if not outcome.row.state.green]
        final = first
        moved = {
            name: self._moved[name].get(view.experiment.experiment_id, set())
            for name, view in (("source", ours), ("target", theirs))
            if view is not None and name in self._moved and comparison.run_facets
        }
        if suspects or any(moved.values()):
            confirmed = self._confirm(ours, theirs, pair, comparison, suspects, moved)
            if confirmed is not None:
                final = confirmed
                gone = len(suspects) - sum(not outcome.row.state.green for outcome in confirmed)
                self.result.settled += max(gone, 0)
        for outcome in final:
            if outcome.row.kind == "run" and outcome.row.facet == "presence" and outcome.row.paired_by:
                self.result.paired_by[outcome.row.paired_by] += 1
        yield from final

    def surplus(self, target: Experiment, note: str, kind: State) -> Iterator[Outcome]:
        """Report an experiment of the target that no experiment of the source is paired with."""
        found = held(self.sides["target"], target, self._parts, include_deleted=self.settings.include_deleted)
        yield from refuse(surplus_experiment(target, found, note, kind), self.settings.profile)

    def _confirm(
        self,
        ours: ExperimentView,
        theirs: ExperimentView | None,
        pair: ExperimentPair | None,
        comparison: Comparison,
        suspects: Sequence[Outcome],
        moved: Mapping[SideName, set[str]],
    ) -> list[Outcome] | None:
        """Read the suspects, and the runs that moved on, once more and compare again.

        ``None`` when nothing could be read anew.
        """
        fresh: dict[SideName, ExperimentView | None] = {"source": ours, "target": theirs}
        itself = any(outcome.row.kind == "experiment" and outcome.row.facet != "presence" for outcome in suspects)
        anew = False
        for name in SIDES:
            view = fresh[name]
            if view is None:
                continue
            runs: set[str] = set()
            metrics: dict[str, set[str]] = {}
            trees: set[str] = set()
            for run_id in moved.get(name, ()):
                metrics[run_id] = {""}
                trees.add(run_id)
            for outcome in suspects:
                suspect = outcome.row.source_id if name == "source" else outcome.row.target_id
                if outcome.row.kind != "run" or suspect is None:
                    continue
                runs.add(suspect)
                if outcome.row.facet == "metrics" and outcome.differences:
                    metrics.setdefault(suspect, set()).update(found.key for found in outcome.differences)
                if outcome.row.facet == "artifacts" and outcome.differences:
                    trees.add(suspect)
            try:
                experiment = self._now(name, view.experiment) if itself else view.experiment
                view_now = self.sides[name].fresh(
                    view,
                    runs,
                    metrics,
                    trees,
                    self.settings.depth,
                    include_deleted=self.settings.include_deleted,
                    parts=self._parts,
                    experiment=experiment,
                )
            except ReadError as error:
                self.result.notes.append(f"suspects could not be read again from the {name}: {error}")
                continue
            if view_now is not None:
                fresh[name] = view_now
                anew = True
        source, target = fresh["source"], fresh["target"]
        if not anew or source is None:
            return None
        for name, before in (("source", ours), ("target", theirs)):
            now = source if name == "source" else target
            if before is None or now is None or now is before:
                continue
            found = [*changes.of_experiment(name, before.experiment, now.experiment)]
            if comparison.run_facets:
                found += changes.of_runs(name, before, now)
            for change in found:
                self.result.changes.add(change)
        if pair is not None and target is not None:
            pair = replace(pair, source=source.experiment, target=target.experiment)
        return [self.result.changes.settle(outcome) for outcome in _compare_views(source, target, pair, comparison)]

    def _now(self, name: SideName, experiment: Experiment) -> Experiment:
        """Return an experiment as its server tells it now (as it was, when it is gone)."""
        listed = self.sides[name].experiments(again=self.sides[name].live)
        return next((item for item in listed if item.experiment_id == experiment.experiment_id), experiment)

    def look_once_more(self) -> None:
        """Name the experiments that came, went or changed since the inventory: nothing was read of the new ones."""
        for name in SIDES:
            reader = self.sides[name].reader
            if reader is None:
                continue
            before = {item.experiment_id: item for item in self.sides[name].experiments()}
            try:
                now = {item.experiment_id: item for item in reader.experiments()}
            except ReadError as error:
                self.result.notes.append(f"whether experiments came on the {name} since could not be asked: {error}")
                continue
            for item in ({**before, **now}).values():
                if not self._scope.names(item.name):
                    continue
                old, new = before.get(item.experiment_id), now.get(item.experiment_id)
                if old is None or new is None:
                    what = changes.CAME if old is None else changes.GONE
                    found = [changes.Change(name, item.name, "experiment", item.name, item.experiment_id, (what,))]
                else:
                    found = [*changes.of_experiment(name, old, new)]
                for change in found:
                    self.result.changes.add(change)


def _compare_views(
    source: ExperimentView, target: ExperimentView | None, pair: ExperimentPair | None, comparison: Comparison
) -> Iterator[Outcome]:
    """Pair the runs of two views and compare them; what cannot be listed is unverified as a whole."""
    pairing = RunPairing()
    problem = None
    if comparison.run_facets:
        for name, view in (("source", source), ("target", target)):
            reason = None if view is None else view.problem("runs")
            if reason is not None:
                problem = f"the {name}'s runs could not be read: {reason}"
        if problem is None:
            copies = [] if target is None else target.run_keys()
            pairing = _pair_runs(source.run_keys(), copies, same_store=comparison.same_store)
            for found in pairing.pairs:
                comparison.links.pairs[found.source.run_id] = found.target.run_id
            for found in pairing.duplicates:
                comparison.links.copies.setdefault(found.source.run_id, set()).add(found.target.run_id)
    yield from refuse(compare_experiment(source, target, pair, pairing, comparison, problem), comparison.profile)


def _pair_runs(source: Sequence[RunKey], target: Sequence[RunKey], *, same_store: bool) -> RunPairing:
    return same_runs(source, target) if same_store else pair_runs(source, target)
