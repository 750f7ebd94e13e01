"""One audit: inventory, read both sides, pair, compare, confirm, judge. Runs in pytest's main process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from mlflow_parity import changes
from mlflow_parity.audit_objects import Objects, Place, parts_of
from mlflow_parity.canary.outcome import SelfTest
from mlflow_parity.changes import Changes
from mlflow_parity.comparing import Comparison, Difference, Outcome, compare_experiment
from mlflow_parity.comparing.experiment import PART_OF_FACET, extra_experiment
from mlflow_parity.comparing.explain import Explainer
from mlflow_parity.comparing.fields import Links
from mlflow_parity.comparing.object_fields import ObjectLinks, own_stores
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.errors import ReadError, UsageProblem
from mlflow_parity.items import NONE, Item, ItemState, family_items, item_ids
from mlflow_parity.kinds import KINDS, Family
from mlflow_parity.loading import Loader
from mlflow_parity.model import Experiment, Run
from mlflow_parity.options import Settings, in_scope
from mlflow_parity.pairing import ExperimentPair, ExperimentPairing, RunPairing, pair_experiments, pair_runs
from mlflow_parity.pairing_same import same_experiments, same_runs
from mlflow_parity.profiles import Kept
from mlflow_parity.promises import Selection
from mlflow_parity.redaction import Redactor
from mlflow_parity.relocation import Relocation, find
from mlflow_parity.sides import Side, SideName, prepare_folder
from mlflow_parity.snapshot import SERVER, ExperimentView, Part
from mlflow_parity.snapshot.asked import Asked
from mlflow_parity.snapshot.keys import RunKey
from mlflow_parity.snapshot.store import SnapshotView
from mlflow_parity.verdict import Finding, Row, State
from mlflow_parity.waivers import Used, Waiver, WaiverBook, WaiverFile, load_waivers

#: Characters of a value that a finding keeps; the whole value stays in the snapshot.
_SHOWN = 2_000


class RowSink(Protocol):
    """Takes ledger rows as they come."""

    def add(self, row: Row) -> None:
        """Append one row."""
        ...


class Reading(Protocol):
    """Told what was read, per side (the progress line)."""

    def add(
        self,
        side: SideName,
        *,
        experiments: int = 0,
        runs: int = 0,
        points: int = 0,
        artifacts: int = 0,
        size: int = 0,
        objects: int = 0,
    ) -> None:
        """Add to what was read."""
        ...


@dataclass(slots=True)
class Result:
    """What an audit found; reports are made from it."""

    selection: Selection
    states: dict[str, ItemState] = field(default_factory=dict)
    totals: Counter[State] = field(default_factory=Counter)
    paired_by: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    explained: int = 0
    source_runs: int = 0
    warning: str = ""
    """One line when the move looks like one of the other profile."""
    settled: int = 0
    """Differences of the first reading that were gone when the suspects were read again."""
    changes: Changes = field(default_factory=Changes)
    """What changed on either side between the first reading and the second, or the end."""
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"source": Counter(), "target": Counter()})
    outside: dict[str, dict[str, int | None]] = field(default_factory=dict)
    objects: dict[str, Counter[str]] = field(default_factory=lambda: {"source": Counter(), "target": Counter()})
    """Objects beside experiments and runs that were read of each side, by kind."""
    waivers: tuple[Used, ...] = ()
    waivers_digest: str = ""
    self_test: SelfTest | None = None
    """What the audit saw of the faults that ``--self-test`` planted; ``None``: not asked for."""

    @property
    def findings(self) -> list[Finding]:
        """The findings that were kept, by experiment."""
        return [finding for state in self.states.values() for kept in state.findings.values() for finding in kept]

    @property
    def findings_total(self) -> int:
        """All differences that are not green."""
        return sum(cell.findings for state in self.states.values() for cell in state.cells.values())

    @property
    def green(self) -> bool:
        """Whether everything in scope was judged and is green."""
        judged = bool(self.totals) and all(state.green for state, count in self.totals.items() if count)
        blind = self.self_test is not None and self.self_test.red
        return judged and not blind and not any(used.red for used in self.waivers)


_SIDES: tuple[SideName, SideName] = ("source", "target")
_NAMED: tuple[Family, ...] = ("model", "prompt")
#: Kinds beside experiments whose objects name runs, experiments or logged models.
_LINKING = ("model_version", "evaluation_dataset")


@dataclass(slots=True)
class _Selected:
    """The selected items, with what they stand for."""

    sources: list[tuple[Item, Experiment, ExperimentPair | None]] = field(default_factory=list)
    surplus: list[tuple[Item, Experiment, str, State]] = field(default_factory=list)
    others: list[Item] = field(default_factory=list)
    """Registered models, prompts and the server."""
    linked: list[tuple[Experiment, ExperimentPair | None]] = field(default_factory=list)
    """Every experiment that is read: the selected ones, or all in scope where links lead to any."""


class Audit:
    """Drives one audit from the inventory to the result."""

    def __init__(
        self,
        settings: Settings,
        scratch: Path,
        open_side: Callable[[SideName], Side],
        redact: Callable[[str], str] | None = None,
        waivers: WaiverFile | None = None,
    ) -> None:
        self.settings = settings
        self._redact = redact or Redactor()
        self._scratch = scratch
        # before anything is asked of a server: a malformed file ends the audit at once
        self.waiver_file = load_waivers(settings.waivers) if waivers is None else waivers
        self._waivers = WaiverBook(self.waiver_file.waivers)
        self.sides: dict[SideName, Side] = {}
        for name in _SIDES:
            self.sides[name] = open_side(name)
        self.pairing = ExperimentPairing()
        self._copies: dict[str, str] = {}
        self.moved = Relocation()
        self.items: tuple[Item, ...] = ()
        self._unwanted: set[str] = set()
        self._went_on: dict[SideName, dict[str, dict[str, Run]]] = {}
        self.objects: Objects | None = None
        """Everything that was paired, once it was; kept for ``--self-test`` alone."""

    def close(self) -> None:
        """Release the connections of both sides."""
        for side in self.sides.values():
            if side.reader is not None:
                with suppress(Exception):
                    side.reader.close()

    # --- inventory

    def inventory(self) -> tuple[Item, ...]:
        """List and pair the experiments of both sides; return the items that tests are made of.

        Raises:
            UsageProblem: when the source has nothing in scope or a pattern matches nothing.
            ReadError: when a side cannot be listed.
        """
        with ThreadPoolExecutor(2) as pool:
            listed = {name: pool.submit(self.sides[name].experiments) for name in _SIDES}
            source, target = listed["source"].result(), listed["target"].result()
        same = self.settings.profile == "same-store"
        pair_all = same_experiments if same else pair_experiments
        pairing = pair_all(source, target)
        if self._in_scope(pairing.missing) or self._in_scope(pairing.extra):
            # an eventually consistent list, or an experiment made in between: look once more
            source, target = (self.sides[name].experiments(again=True) for name in _SIDES)
            pairing = pair_all(source, target)
        if same:
            self.moved = find((pair.source.artifact_location, pair.target.artifact_location) for pair in pairing.pairs)
        self._check_patterns(source)
        self._copies = {pair.source.experiment_id: pair.target.experiment_id for pair in pairing.pairs}
        deleted = self.settings.include_deleted
        self.pairing = ExperimentPairing(
            pairs=[
                pair
                for pair in pairing.pairs
                if self.in_scope(pair.source.name)
                and (deleted or not (_deleted(pair.source) and _deleted(pair.target)))
            ],
            missing=self._in_scope(pairing.missing),
            extra=self._in_scope(pairing.extra),
            duplicates=[
                pair
                for pair in pairing.duplicates
                if self.in_scope(pair.source.name) and (deleted or not _deleted(pair.target))
            ],
        )
        sources = [pair.source for pair in self.pairing.pairs] + self.pairing.missing
        if not sources:
            raise UsageProblem(
                f"the source ({self.sides['source'].location.display}) has no experiment in scope; an empty source "
                "proves nothing: check --source-uri, --experiments and --exclude-experiments"
            )
        surplus = [pair.target for pair in self.pairing.duplicates] + self.pairing.extra
        self.items = item_ids(sources, surplus) + self._other_items()
        return self.items

    def _other_items(self) -> tuple[Item, ...]:
        """Items of the families that hang on no experiment.

        When only some experiments are in scope there are none, but for what ``--models`` names.
        """
        if self.settings.experiments and not self.settings.models:
            return ()
        with ThreadPoolExecutor(2) as pool:
            listed = {name: pool.submit(self.sides[name].names) for name in _SIDES}
            ours, theirs = listed["source"].result(), listed["target"].result()
        items: tuple[Item, ...] = ()
        for family in _NAMED:
            mine, copies = (self._registered(side[family]) for side in (ours, theirs))
            if mine or copies or not self.settings.models:
                items += family_items(family, mine, copies)
        for pattern in self.settings.models:
            names = [name for family in _NAMED for name in ours[family]]
            if not any(_fits(name, pattern) for name in names):
                raise UsageProblem(
                    f"--models: no registered model or prompt of the source matches {pattern!r}; it has {len(names)}, "
                    "look them up with: pytest --collect-only -q"
                )
        if self.settings.experiments:
            return items
        return (*items, Item("server", "", "", surplus=False, family="server"))

    def _registered(self, names: Iterable[str]) -> list[str]:
        """Return the names of registered models or prompts that are in scope; the others are remembered."""
        found = {name: self._is_wanted(name) for name in names}
        self._unwanted |= {name for name, wanted in found.items() if not wanted}
        return [name for name, wanted in found.items() if wanted]

    def _is_wanted(self, name: str) -> bool:
        """Whether a registered model or prompt is in scope."""
        patterns = self.settings.models
        return any(_fits(name, one) for one in patterns) if patterns else not self.settings.experiments

    def in_scope(self, name: str) -> bool:
        """Whether the options name an experiment."""
        return in_scope(name, self.settings.experiments, self.settings.exclude_experiments)

    def _in_scope(self, experiments: Sequence[Experiment]) -> list[Experiment]:
        return [
            item
            for item in experiments
            if self.in_scope(item.name) and (self.settings.include_deleted or not _deleted(item))
        ]

    def _check_patterns(self, source: Sequence[Experiment]) -> None:
        for option, patterns in (
            ("--experiments", self.settings.experiments),
            ("--exclude-experiments", self.settings.exclude_experiments),
        ):
            for pattern in patterns:
                if not any(_fits(experiment.name, pattern) for experiment in source):
                    raise UsageProblem(
                        f"{option}: no experiment of the source matches {pattern!r}; it has {len(source)}, "
                        "look them up with: pytest --collect-only -q"
                    )

    # --- the audit itself

    def run(self, selection: Selection, sink: RowSink, progress: Reading) -> Result:
        """Read what the selection needs from both sides at once, then compare.

        Raises:
            UsageProblem: when the source has no run in scope.
            ParityError: when a snapshot is damaged.
        """
        result = Result(selection)
        began = time.monotonic()
        experiments = self._selected(selection)
        parts = _parts(selection)
        self._read(experiments, parts, result, progress)
        result.timings["reading"] = time.monotonic() - began
        began = time.monotonic()
        links = self._links(experiments, selection, result)
        objects = self._objects(experiments, selection, links, result)
        self.objects = objects if self.settings.self_test else None
        if result.source_runs == 0 and selection.facets("run"):
            raise UsageProblem(
                f"the source ({self.sides['source'].location.display}) has no run in scope; an empty source proves "
                "nothing: check --source-uri, --experiments and --include-deleted"
            )
        self._went_on = self._still_running(experiments, selection, result)
        explainer = Explainer()
        comparison = Comparison(
            selection.facets("experiment"),
            selection.facets("run"),
            links,
            self.settings.include_deleted,
            hashed=self.settings.depth != "listing",
            objects=objects.links,
            profile=self.settings.profile,
            moved=self.moved,
        )
        for item, source, pair in experiments.sources:
            state = result.states.setdefault(item.key, ItemState(item))
            for outcome in self._compare(source, pair, comparison, parts, result):
                self._record(outcome, state, result, explainer, sink)
            place = self._place(source, pair)
            for outcome in objects.compare(item.label, "experiment", place):
                self._record(outcome, state, result, explainer, sink)
        for item, target, note, kind in experiments.surplus:
            state = result.states.setdefault(item.key, ItemState(item))
            for outcome in self._surplus(target, note, kind):
                self._record(outcome, state, result, explainer, sink)
        for item in experiments.others:
            state = result.states.setdefault(item.key, ItemState(item))
            for outcome in self._compare_other(item, objects):
                self._record(outcome, state, result, explainer, sink)
        result.notes += objects.notes
        self._look_once_more(result)
        result.waivers = self._waivers.close(lambda waiver: self._looked_at(waiver, selection))
        result.waivers_digest = self.waiver_file.digest
        result.explained = explainer.calls
        result.timings["comparing"] = time.monotonic() - began
        return result

    def _still_running(
        self, experiments: _Selected, selection: Selection, result: Result
    ) -> dict[SideName, dict[str, dict[str, Run]]]:
        """Return the runs of both servers that have not ended, by experiment: they are what moves on unseen."""
        ids: dict[SideName, list[str]] = {
            "source": [source.experiment_id for source, _ in experiments.linked],
            "target": [pair.target.experiment_id for _, pair in experiments.linked if pair is not None],
        }
        found: dict[SideName, dict[str, dict[str, Run]]] = {}
        for name in _SIDES:
            reader = self.sides[name].reader
            if reader is None or not selection.facets("run"):
                continue
            running: dict[str, dict[str, Run]] = {}
            try:
                for page in reader.running(ids[name]):
                    for run in page:
                        running.setdefault(run.experiment_id, {})[run.run_id] = run
            except ReadError as error:
                result.notes.append(f"whether runs went on at the {name} could not be asked: {error}")
                continue
            found[name] = running
        return found

    def _look_once_more(self, result: Result) -> None:
        """Name the experiments that came, went or changed since the inventory: nothing was read of the new ones."""
        for name in _SIDES:
            reader = self.sides[name].reader
            if reader is None:
                continue
            before = {item.experiment_id: item for item in self.sides[name].experiments()}
            try:
                now = {item.experiment_id: item for item in reader.experiments()}
            except ReadError as error:
                result.notes.append(f"whether experiments came on the {name} since could not be asked: {error}")
                continue
            for item in ({**before, **now}).values():
                if not self.in_scope(item.name):
                    continue
                old, new = before.get(item.experiment_id), now.get(item.experiment_id)
                if old is None or new is None:
                    what = changes.CAME if old is None else changes.GONE
                    found = [changes.Change(name, item.name, "experiment", item.name, item.experiment_id, (what,))]
                else:
                    found = [*changes.of_experiment(name, old, new)]
                for change in found:
                    result.changes.add(change)

    def sizes(self, selection: Selection) -> dict[SideName, int]:
        """Return how many experiments will be read on each side."""
        selected = self._selected(selection)
        copies = sum(pair is not None for _, _, pair in selected.sources)
        return {"source": len(selected.sources), "target": copies + len(selected.surplus)}

    def _objects(self, experiments: _Selected, selection: Selection, links: Links, result: Result) -> Objects:
        """Pair everything beside experiments and runs, so that links between objects can be followed."""
        copies = {source.experiment_id: pair.target.experiment_id for source, pair in experiments.linked if pair}
        objects = self._opened(
            selection,
            ObjectLinks(
                links,
                # also of those out of scope: the lists tell their pairs, and objects in scope name them
                experiments=self._copies,
                known={"experiment": {source.experiment_id for source, _ in experiments.linked}},
                stores=own_stores(self.sides["source"].experiments(), self.sides["target"].experiments()),
                is_wanted=self._is_wanted,
                include_deleted=self.settings.include_deleted,
            ),
        )
        objects.changes = result.changes
        objects.learn(
            [self._place(source, pair) for source, pair in experiments.linked],
            whole=links.whole,
        )
        result.objects = {
            "source": objects.count("source", [source.experiment_id for source, _ in experiments.linked] + [SERVER]),
            "target": objects.count("target", [*copies.values(), SERVER]),
        }
        return objects

    def _opened(self, selection: Selection, links: ObjectLinks) -> Objects:
        """Return the objects of both sides, of which only the given links are known."""
        return Objects(
            self.sides,
            selection,
            self.settings.depth,
            self._scratch,
            links,
            hashed=self.settings.depth != "listing",
            profile=self.settings.profile,
            moved=self.moved,
            load=Loader(self.sides["target"].location, self._redact) if self.settings.load_models else None,
        )

    @staticmethod
    def _place(source: Experiment, pair: ExperimentPair | None) -> Place:
        deleted = _deleted(source) or (pair is not None and _deleted(pair.target))
        return Place(source.experiment_id, None if pair is None else pair.target.experiment_id, deleted=deleted)

    def _compare_other(self, item: Item, objects: Objects) -> Iterator[Outcome]:
        """Compare a registered model or prompt with its versions, or what belongs to the server."""
        if item.id == NONE:
            # nothing on either side, as the whole lists said at first and must say still
            yield from objects.none(item.label, item.family)
        else:
            yield from objects.compare(item.label, item.family, Place(SERVER, SERVER, item.name))

    def _selected(self, selection: Selection) -> _Selected:
        chosen = set(selection.items)
        by_source = {pair.source.experiment_id: pair for pair in self.pairing.pairs}
        copies = {pair.target.experiment_id: pair.source.name for pair in self.pairing.duplicates}
        every = {name: {item.experiment_id: item for item in self.sides[name].experiments()} for name in _SIDES}
        selected = _Selected()
        for item in self.items:
            if item.key not in chosen:
                continue
            if item.family != "experiment":
                selected.others.append(item)
                continue
            if item.surplus:
                copy_of = copies.get(item.experiment_id)
                if copy_of is None:
                    note, kind = "no source experiment has its name or is named by its source tags", State.EXTRA
                else:
                    note, kind = f"a further copy of the source experiment {copy_of!r}", State.DUPLICATE
                selected.surplus.append((item, every["target"][item.experiment_id], note, kind))
            else:
                source = every["source"][item.experiment_id]
                selected.sources.append((item, source, by_source.get(item.experiment_id)))
        selected.linked = [(source, pair) for _, source, pair in selected.sources]
        if selected.others and any(selection.facets(name) for name in _LINKING):
            read = {source.experiment_id for source, _ in selected.linked}
            scope: list[tuple[Experiment, ExperimentPair | None]] = [(pair.source, pair) for pair in self.pairing.pairs]
            scope += [(source, None) for source in self.pairing.missing]
            selected.linked += [entry for entry in scope if entry[0].experiment_id not in read]
        return selected

    def _read(self, experiments: _Selected, parts: frozenset[Part], result: Result, progress: Reading) -> None:
        wanted: dict[SideName, list[Experiment]] = {
            "source": [source for source, _ in experiments.linked],
            "target": [pair.target for _, pair in experiments.linked if pair is not None]
            + [target for _, target, _, _ in experiments.surplus],
        }

        limits = self.settings.experiments, self.settings.exclude_experiments
        asked = Asked(self.settings.depth, self.settings.include_deleted, *limits)

        def one(name: SideName) -> str | None:
            side = self.sides[name]
            if not side.live:
                side.holds(wanted[name], asked)
                return None
            root, note = prepare_folder(self.settings.snapshot_dir, name, self._scratch)

            def count(
                *,
                experiments: int = 0,
                runs: int = 0,
                points: int = 0,
                artifacts: int = 0,
                size: int = 0,
                objects: int = 0,
            ) -> None:
                progress.add(
                    name,
                    experiments=experiments,
                    runs=runs,
                    points=points,
                    artifacts=artifacts,
                    size=size,
                    objects=objects,
                )

            side.read(
                root,
                wanted[name],
                parts,
                self.settings.depth,
                include_deleted=self.settings.include_deleted,
                count=count,
                model_links=bool(result.selection.facets("run") & {"model_inputs", "model_outputs"}),
                asked=asked,
            )
            return note

        with ThreadPoolExecutor(2, thread_name_prefix="parity-side") as pool:
            futures = [pool.submit(one, name) for name in _SIDES]
            result.notes += [note for future in futures if (note := future.result()) is not None]
        for name in _SIDES:
            reader = self.sides[name].reader
            if reader is not None and not experiments.others:
                try:
                    result.outside[name] = dict(reader.outside())
                except ReadError as error:
                    result.notes.append(f"objects outside this audit could not be counted on the {name}: {error}")

    def _links(self, experiments: _Selected, selection: Selection, result: Result) -> Links:
        """Pair the runs of every experiment once, so that links across experiments can be followed."""
        pairs: dict[str, str] = {}
        copies: dict[str, set[str]] = {}
        known: dict[str, str] = {}
        kept = Kept()
        if "runs" in _parts(selection):
            for source, pair in experiments.linked:
                ours = self.sides["source"].view(source)
                theirs = None if pair is None else self.sides["target"].view(pair.target)
                self._count("source", ours, result)
                if theirs is not None:
                    self._count("target", theirs, result)
                if ours.problem("runs"):
                    # not known to be empty: an unreadable list is reported as such, not as an empty source
                    result.source_runs += 1
                    continue
                keys = ours.run_keys()
                kept.add_source(keys)
                known.update({key.run_id: key.lifecycle_stage for key in keys})
                result.source_runs += sum(self.settings.include_deleted or not key.deleted for key in keys)
                if theirs is not None and not theirs.problem("runs"):
                    copies_of = theirs.run_keys()
                    kept.add_target(copies_of)
                    pairing = _pair_runs(keys, copies_of, same_store=self.settings.profile == "same-store")
                    pairs.update({found.source.run_id: found.target.run_id for found in pairing.pairs})
                    for found in pairing.duplicates:
                        copies.setdefault(found.source.run_id, set()).add(found.target.run_id)
            for _, surplus, _, _ in experiments.surplus:
                view = self.sides["target"].view(surplus)
                if not view.problem("runs"):
                    kept.add_target(view.run_keys())
        result.warning = kept.warning(self.settings.profile)
        read = {source.experiment_id for source, _ in experiments.linked}
        # the runs of a deleted experiment are deleted: whether it was read or not, a link to one of them is a dead link
        left_out = [item for item in self.sides["source"].experiments() if item.experiment_id not in read]
        return Links(pairs, known, copies, all(_deleted(item) for item in left_out), not left_out)

    def _count(self, side: SideName, view: SnapshotView, result: Result) -> None:
        counts = view.counts()
        result.counts[side]["experiments"] += 1
        for name in ("runs", "points", "files", "bytes"):
            result.counts[side][name] += int(counts.get(name, 0))

    def _compare(
        self,
        source: Experiment,
        pair: ExperimentPair | None,
        comparison: Comparison,
        parts: frozenset[Part],
        result: Result,
    ) -> Iterator[Outcome]:
        ours: ExperimentView = self.sides["source"].view(source)
        theirs: ExperimentView | None = None if pair is None else self.sides["target"].view(pair.target)
        first = [*_compare_views(ours, theirs, pair, comparison)]
        suspects = [outcome for outcome in first if not outcome.row.state.green]
        final = first
        moved = {
            name: changes.went_on(view, self._went_on[name].get(view.experiment.experiment_id, {}))
            for name, view in (("source", ours), ("target", theirs))
            if view is not None and name in self._went_on and comparison.run_facets
        }
        if suspects or any(moved.values()):
            confirmed = self._confirm(ours, theirs, pair, comparison, suspects, parts, result, moved)
            if confirmed is not None:
                final = confirmed
                gone = len(suspects) - sum(not outcome.row.state.green for outcome in confirmed)
                result.settled += max(gone, 0)
        for outcome in final:
            if outcome.row.kind == "run" and outcome.row.facet == "presence" and outcome.row.paired_by:
                result.paired_by[outcome.row.paired_by] += 1
        yield from final

    def _confirm(
        self,
        ours: ExperimentView,
        theirs: ExperimentView | None,
        pair: ExperimentPair | None,
        comparison: Comparison,
        suspects: Sequence[Outcome],
        parts: frozenset[Part],
        result: Result,
        moved: Mapping[SideName, set[str]],
    ) -> list[Outcome] | None:
        """Read the suspects, and the runs that moved on, once more and compare again.

        ``None`` when nothing could be read anew.
        """
        fresh: dict[SideName, ExperimentView | None] = {"source": ours, "target": theirs}
        itself = any(outcome.row.kind == "experiment" and outcome.row.facet != "presence" for outcome in suspects)
        anew = False
        for name in _SIDES:
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
                    parts=parts,
                    experiment=experiment,
                )
            except ReadError as error:
                result.notes.append(f"suspects could not be read again from the {name}: {error}")
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
                result.changes.add(change)
        if pair is not None and target is not None:
            pair = replace(pair, source=source.experiment, target=target.experiment)
        return [result.changes.settle(outcome) for outcome in _compare_views(source, target, pair, comparison)]

    def _now(self, name: SideName, experiment: Experiment) -> Experiment:
        """Return an experiment as its server tells it now (as it was, when it is gone)."""
        listed = self.sides[name].experiments(again=self.sides[name].live)
        return next((item for item in listed if item.experiment_id == experiment.experiment_id), experiment)

    def _surplus(self, target: Experiment, note: str, kind: State) -> Iterator[Outcome]:
        view = self.sides["target"].view(target)
        problem = view.problem("runs")
        runs = 0 if problem else sum(self.settings.include_deleted or not key.deleted for key in view.run_keys())
        yield from refuse(extra_experiment(target, None if problem else runs, note, kind), self.settings.profile)

    def _record(self, outcome: Outcome, state: ItemState, result: Result, explainer: Explainer, sink: RowSink) -> None:
        outcome = self._waivers.apply(outcome)
        row = outcome.row
        sink.add(row)
        result.totals[row.state] += 1
        facet = f"{row.kind} {row.facet}"
        state.cell(facet).add(row)
        kept = state.findings.setdefault(facet, [])
        for difference in outcome.differences:
            if difference.state.green or len(kept) >= self.settings.max_findings:
                continue
            # before anything is cut short: half a secret could not be recognised
            difference = self._clean(difference)
            kept.append(
                Finding(
                    experiment=row.experiment,
                    kind=row.kind,
                    name=row.name,
                    source_id=row.source_id,
                    target_id=row.target_id,
                    facet=row.facet,
                    key=difference.key,
                    state=difference.state,
                    rule=difference.rule,
                    source=_shown(difference.source),
                    target=_shown(difference.target),
                    explanation=explainer(difference),
                )
            )

    def _looked_at(self, waiver: Waiver, selection: Selection) -> bool:
        """Whether all that a waiver could speak of was in scope, so that matching nothing means it is not needed."""
        if any(waiver.facet not in selection.facets(kind) for kind in waiver.kinds):
            return False
        if self.settings.depth == "listing" and waiver.facet in ("artifacts", "files"):
            return False
        chosen = set(selection.items)
        read = {item.label for item in self.items if item.key in chosen}
        families = {KINDS[kind].family if kind in KINDS else "experiment" for kind in waiver.kinds}
        registry: set[Family] = {"model", "prompt"}
        left_out = {"experiment"} | (registry if self.settings.models else set())
        if self.settings.experiments and not families <= left_out:
            return False  # the option leaves the other families out, whatever they hold
        every = {item.label for item in self.items if item.family in families}
        if families & registry:
            every |= self._unwanted
        if "experiment" in families:
            limited = bool(self.settings.experiments or self.settings.exclude_experiments)
            names = [item.name for name in _SIDES for item in self.sides[name].experiments()]
            every |= {name for name in names if limited and not self.in_scope(name)}
        return not any(fnmatchcase(name, waiver.experiment) for name in every - read)

    def _clean(self, difference: Difference) -> Difference:
        source, target = (_redacted(value, self._redact) for value in (difference.source, difference.target))
        note = self._redact(difference.note)
        if source == target and difference.source != difference.target:
            note = f"{note}; they differ in what is redacted here" if note else "they differ in what is redacted here"
        return replace(difference, key=self._redact(difference.key), source=source, target=target, note=note)


def _redacted(value: object, redact: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {_redacted(key, redact): _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(item, redact) for item in value]
    return value


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


def _parts(selection: Selection) -> frozenset[Part]:
    facets = selection.facets("run")
    parts: set[Part] = {"runs"}
    parts.update(part for facet, part in PART_OF_FACET.items() if facet in facets)
    return frozenset(parts) | parts_of(selection)


def _deleted(experiment: Experiment) -> bool:
    return experiment.lifecycle_stage == "deleted"


def _fits(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _shown(value: object) -> str | None:
    """Return a value as short text; what deepdiff explains is explained from the whole value."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _SHOWN:
        return text
    half = _SHOWN // 2
    return f"{text[:half]}…{text[-half:]} ({len(text)} characters)"
