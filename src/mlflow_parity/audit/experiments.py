"""The part of an audit about experiments and their runs: pairs, compares, and reads again what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mlflow_parity.audit import concurrent_changes as changes
from mlflow_parity.audit.extra_experiments import held
from mlflow_parity.audit.left_out import DeletedRuns, left_out
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.scope import Scope, Selected, is_deleted
from mlflow_parity.audit.second_look import listed_now, moved_runs
from mlflow_parity.audit.side import SIDES, Side, SideName
from mlflow_parity.audit.test_items import Item, plain_name
from mlflow_parity.comparing import Comparison, Difference, compare_experiment
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.fields import Links
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.comparing.surplus import surplus_experiment
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.keys import RunKey
from mlflow_parity.core.records import REPLACED_TAG, Experiment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import contract
from mlflow_parity.kinds.profiles import Kept
from mlflow_parity.pairing.experiments import ExperimentPair, RunPairing, pair_runs
from mlflow_parity.pairing.same_store import same_runs
from mlflow_parity.snapshot import ExperimentView, Part
from mlflow_parity.snapshot.store import SnapshotView


class Experiments:
    """Experiments and runs of both sides, once they were read."""

    def __init__(self, sides: Mapping[SideName, Side], scope: Scope, parts: frozenset[Part], result: Result) -> None:
        self.sides = sides
        self.settings = scope.settings
        self.result = result
        self._scope = scope
        self._parts = parts
        # of the second look: runs that moved by experiment, why that is not known, and the experiments
        self._moved: dict[SideName, dict[str, set[str]]] = {}
        self._unknown: dict[SideName, dict[str, str]] = {}
        self._listed: dict[SideName, dict[str, Experiment]] = {}
        self._unlisted: dict[SideName, str] = {}
        self.deleted = DeletedRuns()
        """Deleted runs of the experiments that were read, where they are out of scope."""

    def links(self, selected: Selected) -> Links:
        """Pair the runs of every experiment once, so that links across experiments can be followed."""
        pairs: dict[str, str] = {}
        copies: dict[str, set[str]] = {}
        known: dict[str, str] = {}
        replaced: set[str] = set()
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
                    self.deleted.add("source", None)
                    if theirs is not None:
                        self.deleted.add("target", None)
                    continue
                keys = ours.run_keys()
                kept.add_source(keys)
                known.update({key.run_id: key.lifecycle_stage for key in keys})
                self.result.source_runs += sum(self.settings.include_deleted or not key.deleted for key in keys)
                if theirs is None:
                    self.deleted.add("source", keys)
                elif theirs.problem("runs"):
                    self.deleted.add("source", keys)
                    self.deleted.add("target", None)
                else:
                    copies_of = theirs.run_keys()
                    kept.add_target(copies_of)
                    pairing = _pair_runs(keys, copies_of, same_store=self.settings.profile == "same-store")
                    pairs.update({found.source.run_id: found.target.run_id for found in pairing.pairs})
                    self.deleted.add("source", keys, pairing)
                    self.deleted.add("target", copies_of, pairing)
                    for found in pairing.duplicates:
                        copies.setdefault(found.source.run_id, set()).add(found.target.run_id)
                    if self.settings.profile != "same-store":
                        gone = [found.target.run_id for found in pairing.extra if found.target.deleted]
                        replaced.update(run.run_id for run in theirs.runs(gone) if run.tags.get(REPLACED_TAG) in pairs)
            for _, surplus, _, _ in selected.surplus:
                view = self.sides["target"].view(surplus)
                if not view.problem("runs"):
                    kept.add_target(view.run_keys())
                self.deleted.add("target", None if view.problem("runs") else view.run_keys())
        self.result.warning = kept.warning(self.settings.profile)
        read = {source.experiment_id for source, _ in selected.linked}
        # the runs of a deleted experiment are deleted: whether it was read or not, a link to one of them is a dead link
        left_out = [item for item in self.sides["source"].experiments() if item.experiment_id not in read]
        return Links(pairs, known, copies, all(is_deleted(item) for item in left_out), replaced)

    def leave_out(self, selected: Selected) -> None:
        """Count what is deleted and out of scope, so that it is named: it is no part of the verdict."""
        if self.settings.include_deleted:
            return
        read: dict[SideName, set[str]] = {
            "source": {source.experiment_id for source, _ in selected.linked},
            "target": {pair.target.experiment_id for _, pair in selected.linked if pair is not None}
            | {target.experiment_id for _, target, _, _ in selected.surplus},
        }
        for name in SIDES:
            side = self.sides[name]
            deleted = [
                one.experiment_id
                for one in side.experiments()
                if is_deleted(one) and self._scope.names(one.name) and one.experiment_id not in read[name]
            ]
            self.result.deleted[name] = left_out(side, self.deleted.counts.get(name), deleted)

    def _count(self, side: SideName, view: SnapshotView) -> None:
        counts = view.counts()
        self.result.counts[side]["experiments"] += 1
        for name in ("runs", "points", "files", "bytes"):
            self.result.counts[side][name] += int(counts.get(name, 0))

    def look_again(self, selected: Selected) -> None:
        """List experiments and runs of both servers once more: which came, ended, changed or went since they were read.

        Experiments that did are named at once, runs when they were read again.
        """
        for name in SIDES:
            if self.sides[name].live:
                self._list_again(name)
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
                self._moved[name], self._unknown[name] = future.result()

    def _list_again(self, name: SideName) -> None:
        before = {item.experiment_id: item for item in self.sides[name].experiments()}
        try:
            now = self._listed[name] = listed_now(self.sides[name])
        except ReadError as error:
            self._unlisted[name] = str(error)
            return
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

    def compare(self, source: Experiment, pair: ExperimentPair | None, comparison: Comparison) -> Iterator[Outcome]:
        """Compare a source experiment and its runs with their copies; what differs is read again first."""
        ours: ExperimentView = self.sides["source"].view(source)
        theirs: ExperimentView | None = None if pair is None else self.sides["target"].view(pair.target)
        first = [*_compare_views(ours, theirs, pair, comparison)]
        suspects = [outcome for outcome in first if not outcome.row.state.green]
        final = first
        views: list[tuple[SideName, ExperimentView]] = [("source", ours)]
        if theirs is not None:
            views.append(("target", theirs))
        places = {name: view.experiment.experiment_id for name, view in views}
        moved: dict[SideName, set[str]] = {}
        doubts: list[str] = []
        if comparison.run_facets:
            moved = {name: self._moved.get(name, {}).get(place, set()) for name, place in places.items()}
            unknown = {name: self._unknown.get(name, {}).get(place) for name, place in places.items()}
            doubts = [f"{name}: {reason}" for name, reason in unknown.items() if reason]
        itself = any((name, "experiment", place) in self.result.changes.found for name, place in places.items())
        if suspects or itself or any(moved.values()):
            confirmed = self._confirm(ours, theirs, pair, comparison, suspects, moved, doubts, itself=itself)
            if confirmed is not None:
                final = confirmed
                gone = len(suspects) - sum(not outcome.row.state.green for outcome in confirmed)
                self.result.settled += max(gone, 0)
        if doubts:
            final.append(self._doubtful(source, places.get("target"), "; ".join(doubts)))
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
        doubts: list[str],
        *,
        itself: bool,
    ) -> list[Outcome] | None:
        """Read the suspects, and the runs that moved on, once more and compare again.

        ``None`` when nothing could be read again; ``doubts`` gets what is known to have moved and was not read again,
        ``itself``: the experiment changed.
        """
        fresh: dict[SideName, ExperimentView | None] = {"source": ours, "target": theirs}
        itself |= any(outcome.row.kind == "experiment" and outcome.row.facet != "presence" for outcome in suspects)
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
                if moved.get(name):
                    doubts.append(f"{name}: {len(moved[name])} changed since and could not be read again: {error}")
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
        """Return an experiment as its server told it at the second look (as it was, when it is gone)."""
        return self._listed.get(name, {}).get(experiment.experiment_id, experiment)

    def _doubtful(self, source: Experiment, target_id: str | None, why: str) -> Outcome:
        """Return the row of an experiment whose runs were read, and may not be so any more."""
        asked = self.result.selection.facets("run")
        facet = next(facet for facet in contract.RUN_FACETS if facet in asked)
        row = Row(source.name, "run", "(all runs)", None, None, facet, State.UNVERIFIED, note=f"target {target_id}")
        return Outcome(row, (Difference("", State.UNVERIFIED, f"run.{facet}", note=why),))

    def late(self, selected: Selected) -> Iterator[tuple[Item, Outcome]]:
        """Yield rows for experiments that came or went while the audit ran, or were not to be listed again."""
        items = [item for item in self._scope.items if item.family == "experiment" and not item.gone]
        chosen = {item.key for item, _, _ in selected.sources} | {item.key for item, _, _, _ in selected.surplus}
        # where only some were selected, all others are left out, and the report says so
        if not items or any(item.key not in chosen for item in items):
            return
        for name, reason in self._unlisted.items():
            item = Item("all-experiments", "(all experiments)", "", surplus=False)
            why = f"whether experiments came or went on the {name} since could not be asked: {reason}"
            yield from self._unread(item, None, None, why)
        read: dict[SideName, set[str]] = {
            "source": {one.experiment_id for _, one, _ in selected.sources},
            "target": {pair.target.experiment_id for _, _, pair in selected.sources if pair is not None}
            | {one.experiment_id for _, one, _, _ in selected.surplus},
        }
        for name, now in self._listed.items():
            before = {one.experiment_id: one for one in self.sides[name].experiments()}
            for place in {**before, **now}:
                old, there = before.get(place), now.get(place)
                if there is None and place in read[name]:
                    why = f"it went on the {name} while the audit was running; repeat it"
                elif there is not None and place not in read[name] and self._is_late(old, there):
                    why = f"it came on the {name} while the audit was running, nothing of it was read; repeat it"
                else:
                    continue
                one = there or before[place]
                item = Item(plain_name(one.name), one.name, place, surplus=name == "target")
                ours, theirs = (place, None) if name == "source" else (None, place)
                yield from self._unread(item, ours, theirs, why)

    def _is_late(self, before: Experiment | None, now: Experiment) -> bool:
        """Whether an experiment is in scope since it was made or restored."""
        return self._scope.is_in(now) and (before is None or is_deleted(before) > is_deleted(now))

    def _unread(self, item: Item, source: str | None, target: str | None, why: str) -> Iterator[tuple[Item, Outcome]]:
        for kind, facets in (("experiment", contract.EXPERIMENT_FACETS), ("run", contract.RUN_FACETS)):
            asked = [facet for facet in facets if facet in self.result.selection.facets(kind)]
            if asked:
                row = Row(item.name, kind, item.name, source, target, asked[0], State.UNVERIFIED)
                yield item, Outcome(row, (Difference("", State.UNVERIFIED, f"{kind}.{asked[0]}", note=why),))
                return


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
