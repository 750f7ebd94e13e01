"""The audit as a worker makes it: lists that another process has read, and one shard after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlflow_parity.audit.experiments import Experiments
from mlflow_parity.audit.paired.objects import IN_EXPERIMENTS, Objects
from mlflow_parity.audit.recording import Judged, Recorder
from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.shards.part import COUNTED, LAST, UNCOUNTED, PartWriter, Shard, Sums
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.staged.planning import origins_of, wanted_of
from mlflow_parity.audit.staged.reading import SidesReader, Wants, links_read, parts_read
from mlflow_parity.audit.test_items import Item
from mlflow_parity.audit.waivers.waivers import WaiverBook, WaiverFile
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.subset import Share
from mlflow_parity.core.text import cleaner
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.pairing.by_kind import ExperimentPair
from mlflow_parity.reading import Reader
from mlflow_parity.reading.transport.answering import answering
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.slowing import Limiter
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot.store import Snapshot

#: Kinds of which a shard is, in their order; experiments themselves are judged by whoever gave the shards out.
KINDS_OF_SHARD = tuple(kind.name for kind in IN_EXPERIMENTS)
#: What would be taken for read when the next shard of the same experiment is.
_OF_RUNS: tuple[Part, ...] = ("metrics", "artifacts")


def _answered(name: SideName, location: Location) -> dict[str, list[str]]:
    """Return who answers here in the place of a side, as a part tells it."""
    told = answering(location, name, os.environ)
    return {"endpoint": [told.endpoint], "s3_endpoint": [told.s3_endpoint], "unproved": [*told.unproved]}


class ListedSide(Side):
    """A server whose lists another process has read, into the unfinished snapshot at ``root``."""

    def __init__(self, name: SideName, location: Location, reader: Reader, renames: str, root: Path) -> None:
        super().__init__(name, location, reader, renames)
        self._snapshot = Snapshot.open(root, finished=False)
        self._experiments = list(self._snapshot.experiments)

    def experiments(self, *, again: bool = False) -> list[Experiment]:
        """Every experiment, as it was listed."""
        return self._experiments or []

    def names(self) -> dict[Family, list[str]]:
        """No names: registered models and prompts are in no shard."""
        return {"model": [], "prompt": []}

    def forget(self, experiment: Experiment) -> None:
        """Forget what hangs on an experiment's runs, of which the next shard needs others."""
        for part in _OF_RUNS:
            self.snapshot.forget(experiment.experiment_id, part)

    def _keep(self) -> None:
        """Leave the manifest as it is: nobody takes this snapshot up again."""


class _Unkept:
    def add(self, row: Row) -> None:
        """Keep no row: it is written with its findings."""


@dataclass(slots=True)
class _Known:
    """What the lists told, of which every shard is a part."""

    selected: Selected
    objects: Objects
    origins: Mapping[str, Mapping[str, str]]
    items: dict[str, tuple[Item, Experiment, ExperimentPair | None]] = field(default_factory=dict)


class ShardAudit(Audit):
    """Judges shards of one audit; ``noted``: kinds and places in which objects are told apart by what they hold."""

    def __init__(
        self,
        settings: Settings,
        scratch: Path,
        open_side: Callable[[SideName], Side],
        selection: Selection,
        noted: Iterable[tuple[str, str]],
        redact: Callable[[str], str],
        waivers: WaiverFile,
    ) -> None:
        super().__init__(settings, scratch, open_side, redact, waivers)
        self.selection = selection
        self._whole = frozenset(noted)
        self._parts = parts_read(selection)
        self._begun = 0
        self._sent = dict.fromkeys(SIDES, 0)
        self._lists: _Known | None = None

    def learn(self) -> None:
        """Pair everything by the lists, as whoever gave the shards out has done it.

        Raises:
            UsageProblem: nothing of the source is in scope.
        """
        # patterns were checked against all there is
        self.scope.take(check_patterns=False)
        selected = self.scope.selected(self.selection)
        experiments = Experiments(self._looks(self._parts), self.scope, Result(self.selection))
        objects = self._objects(experiments, selected, self._links(experiments, selected), experiments.result)
        items = {source.experiment_id: (item, source, pair) for item, source, pair in selected.sources}
        self._lists = _Known(selected, objects, origins_of(objects.links), items)

    def _readers(self) -> list[tuple[SideName, Reader]]:
        return [(name, side.reader) for name, side in self.sides.items() if side.reader is not None]

    def _told(self) -> list[str]:
        """Return what is to be said of the reading itself."""
        return [f"{name}: {reader.attributes.note}" for name, reader in self._readers() if reader.attributes.note]

    def limiters(self) -> dict[SideName, Limiter]:
        """Return what limits the requests to each server."""
        # no part of what readers promise: a snapshot, or a reader of a test, has none
        sessions = {name: getattr(side.reader, "session", None) for name, side in self.sides.items()}
        return {name: session.limiter for name, session in sessions.items() if session is not None}

    def judge(self, shard: Shard, path: Path) -> None:
        """Read a shard from both sides, judge it, and write what was found to ``path``.

        Raises:
            UsageProblem: the shard is of no experiment in scope.
            ParityError: a file cannot be written, or what was listed is damaged.
        """
        if self._lists is None:
            self.learn()
        assert self._lists is not None
        lists = self._lists
        if shard.experiment_id not in lists.items:
            raise UsageProblem(f"{shard} is no experiment in scope of this audit")
        item, source, pair = lists.items[shard.experiment_id]
        clean = cleaner(self._redact)
        self.share = Share(shard.subset, clean, ordered=True)
        result = Result(self.selection)
        looks = self._looks(self._parts)
        looks.scratch = self._scratch / f"shard {self._begun}"
        looks.scratch.mkdir(parents=True)
        self._begun += 1
        objects = self._opened(looks, result, lists.selected, lists.objects.links)
        wanted = wanted_of(self.share, lists.origins, self._whole)
        self._read_shard(source, pair, wanted)
        # each part looks again at its own runs; which came since only a list of all tells, made by the last one
        looks.list_runs(
            {"source": [source.experiment_id], "target": [] if pair is None else [pair.target.experiment_id]},
            wanted,
            came=shard.subset.part == shard.subset.of,
        )
        waivers = WaiverBook(self.waiver_file.waivers)
        recorder = Recorder(result, _Unkept(), waivers, self.settings.max_findings, self._redact)
        writer = PartWriter(path, shard, clean)
        try:
            for number, kind in enumerate(KINDS_OF_SHARD):
                place = self._place(source, pair)
                for outcome in objects.compare(item.label, "experiment", place, (kind,)):
                    before = len(recorder.findings(item, outcome.row))
                    judged = recorder.outcome(item, outcome).row
                    found = tuple(recorder.findings(item, judged)[before:])
                    writer.add(number, self._stands(judged), Judged(judged, found))
            writer.end(
                Sums(
                    whole=self.share.whole,
                    models=frozenset(self.share.models.get(clean(item.label), ())),
                    changes=tuple(result.changes.found.values()),
                    notes=(*objects.notes, *self._told()),
                    settled=objects.settled,
                    explained=recorder.explainer.calls,
                    waivers=waivers.counts(),
                    counts=self._counts(source, pair),
                    places={name: reader.trusted.counted() for name, reader in self._readers()},
                    etags={name: reader.etags.held.counted() for name, reader in self._readers()},
                    answered={name: _answered(name, self.sides[name].location) for name, _ in self._readers()},
                )
            )
        finally:
            writer.close()
            looks.end()
            shutil.rmtree(looks.scratch, ignore_errors=True)

    def _stands(self, row: Row) -> int:
        """Return where a row stands among those of its kind in the whole experiment."""
        if row.source_id is None and row.target_id is None:
            return LAST
        assert self.share is not None
        place = self.share.place(row.kind, row.facet, row.source_id, row.target_id)
        return UNCOUNTED if place is None else place

    def _read_shard(self, source: Experiment, pair: ExperimentPair | None, wanted: Wants) -> None:
        """Read what hangs on the lists, of those objects that fall into the shard."""
        assert self._lists is not None
        lists = self._lists
        reader = SidesReader(
            self.sides, self.settings, self._scratch, Silent(), lists.selected, self._parts, links_read(self.selection)
        )
        reader.go_on({name: side.snapshot.root for name, side in self.sides.items()})
        copies = [] if pair is None else [pair.target]
        for name, experiments in zip(SIDES, ([source], copies), strict=True):
            side = self.sides[name]
            if isinstance(side, ListedSide):
                for experiment in experiments:
                    side.forget(experiment)
        reader.more(wanted, {"source": [source], "target": copies})

    def _counts(self, source: Experiment, pair: ExperimentPair | None) -> dict[SideName, dict[str, int]]:
        """Return what was read of each side beside its lists, and with how many requests since the last shard."""
        found: dict[SideName, dict[str, int]] = {name: dict.fromkeys(COUNTED, 0) for name in SIDES}
        for name, experiment in zip(SIDES, (source, None if pair is None else pair.target), strict=True):
            if experiment is not None:
                counts = self.sides[name].view(experiment).counts()
                found[name] = {one: int(counts.get(one, 0)) for one in COUNTED}
            reader = self.sides[name].reader
            sent = 0 if reader is None else reader.requests
            found[name]["requests"] = sent - self._sent[name]
            self._sent[name] = sent
        return found
