"""Drives one audit: what is read, what is compared in which order, and what is written down of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlflow_parity.audit.experiments import Experiments, gone, late, unread
from mlflow_parity.audit.limits import SCOPE_ITEM, limit_rows, not_served
from mlflow_parity.audit.looking.looks import Looks, Place
from mlflow_parity.audit.looking.since import note_moved
from mlflow_parity.audit.model_loading import loading
from mlflow_parity.audit.opening import check_places
from mlflow_parity.audit.paired.objects import Objects
from mlflow_parity.audit.paired.usable import Usable, keeps_spans
from mlflow_parity.audit.recording import Recorder
from mlflow_parity.audit.result import Reading, Result, RowSink
from mlflow_parity.audit.scope import Scope, Selected, is_deleted
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.shards.gathering import Cluster, Gathered
from mlflow_parity.audit.shards.job import JOB, Job, files_of
from mlflow_parity.audit.side import SIDES, Side, rest_on, told_of
from mlflow_parity.audit.staged.estimating import Probes
from mlflow_parity.audit.staged.planning import Stages, wants
from mlflow_parity.audit.staged.reading import SidesReader, links_read, parts_read
from mlflow_parity.audit.test_items import NONE, Item
from mlflow_parity.audit.waivers.waivers import WaiverBook, WaiverFile, load_waivers
from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.links import Links, ObjectLinks
from mlflow_parity.comparing.stopping import Stop
from mlflow_parity.core.errors import ReadError, UsageProblem
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.subset import Share
from mlflow_parity.core.text import cleaner
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces, stores_of
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.pairing.by_kind import ExperimentPair
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import SERVER, Part
from mlflow_parity.snapshot.incomplete import by_hand


class Audit:
    """Drives one audit from the inventory to the result."""

    def __init__(
        self,
        settings: Settings,
        scratch: Path,
        open_side: Callable[[SideName], Side],
        redact: Callable[[str], str] | None = None,
        waivers: WaiverFile | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.settings = settings
        self._gathered = None if cluster is None else Gathered(cluster, cleaner(redact or Redactor()))
        """What other processes judge; ``None``: this one judges everything."""
        self._redact = redact or Redactor()
        self._scratch = scratch
        # before anything is asked of a server: a malformed file ends the audit at once
        self.waiver_file = load_waivers(settings.waivers) if waivers is None else waivers
        self._waivers = WaiverBook(self.waiver_file.waivers)
        self.sides: dict[SideName, Side] = {}
        for name in SIDES:
            self.sides[name] = open_side(name)
        check_places(self.sides)
        rest_on(settings.evidence, self.sides)
        self.scope = Scope(settings, self.sides)
        self.share = None if settings.subset is None else Share(settings.subset, cleaner(self._redact))
        """What this audit takes of all objects; ``None``: all of them."""
        self.stop = None if settings.stop_after is None else Stop(settings.stop_after)
        self._stages: Stages | None = None
        """What reads place by place before each is compared; ``None``: all was read before."""
        self._noted: set[tuple[str, str]] | None = None
        """While only lists were read: where contents tell objects apart."""
        self._looking: Looks | None = None
        self.objects: Objects | None = None
        """Everything that was paired, once it was; kept for ``--parity-self-test`` alone."""

    @property
    def is_shared(self) -> bool:
        """Whether other processes judge most of it."""
        return self._gathered is not None

    def close(self) -> None:
        """Release the connections of both sides."""
        if self._looking is not None:
            self._looking.end()
        for side in self.sides.values():
            if side.reader is not None:
                with suppress(Exception):
                    side.reader.close()

    def run(self, selection: Selection, sink: RowSink, progress: Reading) -> Result:
        """Read what the selection needs from both sides at once, then compare.

        Raises:
            UsageProblem: when the source has nothing in scope.
            ParityError: when a snapshot is damaged.
        """
        result = Result(selection)
        began = time.monotonic()
        selected = self.scope.selected(selection)
        parts = parts_read(selection)
        self._read(selected, parts, result, progress)
        staged = self._stages is not None
        if not staged:
            progress.phase("pairing")
        result.timings["reading"] = time.monotonic() - began
        began = time.monotonic()
        experiments = Experiments(self._looks(parts), self.scope, result)
        links = self._links(experiments, selected)
        objects = self._objects(experiments, selected, links, result)
        self.objects = objects if self.settings.self_test else None
        # a recheck may be of what is no object at all
        nothing = not self.scope.has_sources and self.settings.recheck is None
        unseen = result.source_runs == 0 and (selection.facets("run") or nothing)
        if unseen and not self._holds_objects(selected, objects):
            end = self.sides["source"].location
            raise UsageProblem(
                f"the source ({end.display}) has no run, trace, model or other object in scope of the selected checks; "
                f"an empty source proves nothing: check {end.option('source')}, --parity-experiments and "
                "--parity-include-deleted"
            )
        experiments.leave_out(selected)
        if self._gathered is not None:
            self._gathered.work(selected, self.sides, progress)
        if not staged:
            progress.phase("looking at both ends")
        experiments.look_again(selected, runs=self._gathered is None)
        recorder = self._recorder(result, sink)
        if not staged:
            places = len(selected.sources) + len(selected.surplus) + len(selected.others)
            progress.phase("comparing", places, lambda: f"{recorder.rows:,} rows")
        record = recorder.outcomes
        for item, source, pair in selected.sources:
            progress.step()
            if self._gathered is not None:
                # of itself the lists told everything
                place = self._place(source, pair)
                record(item, objects.compare(item.label, "experiment", place, ("experiment",)))
                recorder.judged(item, self._gathered.rows(source, objects.listed(place)))
                continue
            self._reach(experiments.looks, source, None if pair is None else pair.target)
            record(item, objects.compare(item.label, "experiment", self._place(source, pair)))
        for item, target, note, kind in selected.surplus:
            progress.step()
            self._reach(experiments.looks, None, target)
            record(item, self._shared(experiments.surplus(target, note, kind)))
        for item in selected.gone:
            record(item, [gone(item)])
            result.notes.append(f"not on the target any more: {item.label}")
        if selected.others:
            self._reach(experiments.looks)
        if staged:
            progress.phase("comparing", len(selected.others), lambda: f"{recorder.rows:,} rows")
        for item in selected.others:
            progress.step()
            record(item, self._compare_other(item, objects))
        for item, outcome in late(self.scope, selected, objects):
            record(item, [outcome])
        self._limits(selected, recorder)
        if self.settings.snapshot_dir is not None:
            note_moved(experiments.looks)
        if self._stages is not None:
            self._stages.reader.end()
            experiments.count_again(selected)
        if self._gathered is not None:
            self._gathered.finish(result, self._waivers, self.sides)
        result.stopped = "" if self.stop is None else self.stop.told
        result.notes += objects.notes
        result.settled = objects.settled
        result.share = self.share
        result.waivers = self._waivers.close(lambda waiver: self.scope.looked_at(waiver, selection))
        if self.share is not None:
            # it may speak of an object of another part
            result.unused = {
                number: used.other_values for number, used in enumerate(result.waivers) if used.status == "unused"
            }
            result.waivers = tuple(
                replace(used, status="not looked at") if used.status == "unused" else used for used in result.waivers
            )
        result.waivers_digest = self.waiver_file.digest
        result.explained += recorder.explainer.calls
        result.timings["comparing"] = time.monotonic() - began
        return result

    def _shared(self, outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
        """Return those rows of objects that fall into this part, where it is one of several."""
        if self.stop is not None and self.stop.reached:
            outcomes = self.stop.unlooked(outcomes)
        if self.share is None:
            yield from outcomes
            return
        self.share.start()
        yield from self.share.rows(outcomes)
        self.share.keep()

    def _reach(self, looks: Looks, source: Experiment | None = None, target: Experiment | None = None) -> None:
        """Read what is compared next, unless it was read before or nothing more is looked at; no place: the server."""
        if self._stages is None or (self.stop is not None and self.stop.reached):
            return
        self._stages.looks = looks
        if source is None and target is None:
            self._stages.server()
        else:
            self._stages.place(source, target)

    def _recorder(self, result: Result, sink: RowSink) -> Recorder:
        return Recorder(result, sink, self._waivers, self.settings.max_findings, self._redact, self.stop)

    def _limits(self, selected: Selected, recorder: Recorder) -> None:
        """Judge what limits the audit as a whole, whatever was selected."""
        result = recorder.result
        recorder.outcomes(SCOPE_ITEM, ())
        for limit in limit_rows(self.sides):
            outcome = recorder.outcome(SCOPE_ITEM, limit)
            result.limited[outcome.row.state] += 1
            if outcome.row.state is State.WAIVED:
                told = "; ".join(difference.note for difference in outcome.differences)
                result.accepted.append(f"{told} ({outcome.row.note})")
        read = [source.experiment_id for source, _ in selected.linked]
        result.outside.setdefault("source", {}).update(by_hand(self.sides["source"].snapshot, read))
        for name in SIDES:
            snapshot = self.sides[name].snapshot
            if kinds := not_served(snapshot):
                result.not_served[name] = kinds
                version = f"MLflow {snapshot.origin.version or 'of an unknown release'}"
                result.notes.append(
                    f"not looked at on the {name}, as it does not serve them, though {version} may have them: "
                    f"{', '.join(kinds)}"
                )

    def inventory(self) -> tuple[Item, ...]:
        """List and pair the experiments of both sides; return the items that tests are made of.

        Raises:
            UsageProblem: when the source has nothing in scope or a pattern matches nothing.
            ReadError: when a side cannot be listed.
        """
        return self.scope.take()

    def sizes(self, selection: Selection) -> dict[SideName, int]:
        """Return how many experiments will be read on each side."""
        selected = self.scope.selected(selection)
        copies = sum(pair is not None for _, _, pair in selected.sources)
        return {"source": len(selected.sources), "target": copies + len(selected.surplus)}

    def probes(self, selection: Selection) -> Probes:
        """Return what tells how much a selection reads, without reading it."""
        selected = self.scope.selected(selection)
        return Probes(self.sides, self.settings, selected, parts_read(selection), links_read(selection))

    def _links(self, experiments: Experiments, selected: Selected) -> Links:
        # a trial of the self-test has its own
        return experiments.links(selected)

    def _looks(self, parts: frozenset[Part]) -> Looks:
        self._looking = Looks(
            self.sides, self.settings.depth, self._scratch, include_deleted=self.settings.include_deleted, parts=parts
        )
        return self._looking

    def _objects(
        self,
        experiments: Experiments,
        selected: Selected,
        links: Links,
        result: Result,
    ) -> Objects:
        """Pair everything beside experiments and runs, so that links between objects can be followed."""
        copies = {source.experiment_id: pair.target.experiment_id for source, pair in selected.linked if pair}
        read = {source.experiment_id for source, _ in selected.linked}
        listed = self.sides["source"].experiments()
        objects = self._opened(
            experiments.looks,
            result,
            selected,
            ObjectLinks(
                links,
                # also of those out of scope: the lists tell their pairs, and objects in scope name them
                experiments=self.scope.copies,
                known={"experiment": read},
                deleted={one.experiment_id for one in listed if is_deleted(one)} - read,
                copy_places=CopyPlaces(
                    stores_of(listed, self.sides["target"].experiments()),
                    self.sides["source"].address,
                    self.sides["target"].address,
                ),
                is_wanted=self.scope.is_wanted,
                include_deleted=self.settings.include_deleted,
                keeps_spans=partial(keeps_spans, self.sides["target"]),
            ),
        )
        objects.noted = self._noted
        objects.learn(
            [self._place(source, pair) for source, pair in selected.linked],
            complete=experiments.are_all_in(selected),
        )
        result.objects = {
            "source": objects.count("source", [source.experiment_id for source, _ in selected.linked] + [SERVER]),
            "target": objects.count("target", [*copies.values(), SERVER]),
        }
        return objects

    def _holds_objects(self, selected: Selected, objects: Objects) -> bool:
        """Whether the source has anything beside experiments and runs in scope, or something that could not be read."""
        families = {item.family for item in selected.others if item.id != NONE and not item.surplus}
        places = [self._place(source, pair) for _, source, pair in selected.sources]
        return any(objects.is_held(place) for place in places) or any(
            objects.is_held(Place(SERVER, SERVER), family) for family in sorted(families)
        )

    def _opened(self, looks: Looks, result: Result, selected: Selected, links: ObjectLinks) -> Objects:
        """Return the objects of both sides, of which only the given links are known."""
        return Objects(
            looks,
            result.selection,
            links,
            hashed=self.settings.depth != "listing",
            profile=self.settings.profile,
            moved=self.scope.moved,
            told=told_of(self.sides),
            evidence=self.settings.evidence,
            load=loading(self.sides["target"], self._redact) if self.settings.load_models else None,
            ask=Usable(self.sides, links, self.settings.workers, keeps=self.settings.self_test),
            changes=result.changes,
            pairs={source.experiment_id: pair for _, source, pair in selected.sources if pair is not None},
            share=self.share,
            stop=self.stop,
        )

    @staticmethod
    def _place(source: Experiment, pair: ExperimentPair | None) -> Place:
        deleted = is_deleted(source) or (pair is not None and is_deleted(pair.target))
        return Place(source.experiment_id, None if pair is None else pair.target.experiment_id, deleted=deleted)

    def _compare_other(self, item: Item, objects: Objects) -> Iterator[Outcome]:
        """Compare a registered model or prompt with its versions, or what belongs to the server."""
        if item.id == NONE:
            # nothing on either side, as the whole lists said at first and must say still
            yield from objects.none(item.label, item.family)
        else:
            yield from objects.compare(item.label, item.family, Place(SERVER, SERVER, item.name))
            if item.family != "server":
                yield from unread(item, objects)

    def _read(self, selected: Selected, parts: frozenset[Part], result: Result, progress: Reading) -> None:
        links = links_read(result.selection)
        reader = SidesReader(self.sides, self.settings, self._scratch, progress, selected, parts, links)
        # a snapshot that is kept is of everything, and is taken up again
        shared = self._gathered is not None
        staged = shared or (self.stop is not None and self.settings.snapshot_dir is None)
        if self.share is None and not staged:
            reader.whole()
        else:
            reader.lists()
            stages = self._plan(reader, result.selection)
            if staged:
                stages.ahead(sparsely=shared)
                self._stages = stages
                if self._gathered is not None:
                    self._share_out(self._gathered, reader, result.selection, frozenset(stages.noted))
            else:
                stages.everything()
        result.notes += reader.notes
        for name in SIDES:
            side = self.sides[name].reader
            if side is not None and not selected.others:
                try:
                    result.outside[name] = dict(side.outside())
                except ReadError as error:
                    result.notes.append(f"objects outside this audit could not be counted on the {name}: {error}")

    def _share_out(
        self, gathered: Gathered, reader: SidesReader, selection: Selection, noted: frozenset[tuple[str, str]]
    ) -> None:
        """Give other processes what they need to judge shards: the lists, and what is wanted."""
        snapshots = {str(name): self.sides[name].snapshot.digest for name in SIDES if not self.sides[name].live}
        job = Job(self.settings, selection, noted, {"waivers": self.waiver_file.digest, **snapshots})
        path = self._scratch / JOB
        job.write(path)
        gathered.open(files_of(self.settings, reader.roots, path))

    def _plan(self, reader: SidesReader, selection: Selection) -> Stages:
        """Pair everything by its lists alone, and say what is read of it."""
        experiments = Experiments(self._looks(reader.parts), self.scope, Result(selection))
        links = self._links(experiments, reader.selected)
        noted: set[tuple[str, str]] = set()
        self._noted = noted
        objects = self._objects(experiments, reader.selected, links, experiments.result)
        self._noted = None
        return Stages(reader, wants(objects, self.share), noted)
