"""Gives an audit's shards out, takes back what was judged of them, and puts it in the order of one audit."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from pathlib import Path
from typing import Protocol

from mlflow_parity.audit.recording import Judged
from mlflow_parity.audit.result import Reading, Result
from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.shards.part import ANSWERED, COUNTED, LAST, UNCOUNTED, PartReader, Shard
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.audit.waivers.waivers import WaiverBook
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.subset import MOST_PARTS, Subset, Tally, contradicting
from mlflow_parity.core.text import counted
from mlflow_parity.core.verdict import Row
from mlflow_parity.reading.transport.auth import SideName

#: Runs of one side above which an experiment is split.
LARGE = 5_000
#: Parts of an experiment for each process, at most: each of them goes through the whole list.
_EACH = 4


#: Ids of objects on either side, by kind.
Listed = Mapping[str, Collection[str]]


class Cluster(Protocol):
    """Processes that judge shards."""

    def open(self, files: Mapping[str, Path]) -> int:
        """Give all of them files and folders, by name; return how many processes there are.

        Raises:
            ParityError: there are none, or they cannot be given anything.
        """
        ...

    def work(self, shards: Sequence[Shard]) -> Iterator[tuple[Shard, Path]]:
        """Have shards judged, each once; yield what was written of each, in the order in which they are done.

        Raises:
            ParityError: one cannot be judged, or nobody is there any more.
        """
        ...


@dataclass(slots=True)
class Gathered:
    """What the processes of a cluster have judged."""

    cluster: Cluster
    clean: Callable[[str], str]
    processes: int = 1
    """How many judge."""
    _parts: dict[str, list[PartReader]] = field(default_factory=dict)
    _found: dict[Shard, Tally] = field(default_factory=dict)

    def open(self, files: Mapping[str, Path]) -> None:
        """Give the processes what they need, by name; errors as :meth:`Cluster.open`."""
        self.processes = self.cluster.open(files)

    def work(self, selected: Selected, sides: Mapping[SideName, Side], progress: Reading) -> None:
        """Have all experiments of the source judged.

        Raises:
            ParityError: what was given back is damaged, or is not that of one audit; or as :meth:`Cluster.work`.
        """
        shards: list[tuple[int, Shard]] = []
        for item, source, pair in selected.sources:
            runs = max(
                _runs(sides[name], one)
                for name, one in zip(SIDES, (source, None if pair is None else pair.target), strict=True)
            )
            of = 1 if runs <= LARGE else max(1, min(-(-runs // LARGE), _EACH * self.processes, MOST_PARTS))
            shards += [
                (runs // of, Shard(source.experiment_id, item.label, Subset(part, of))) for part in range(1, of + 1)
            ]
        # the largest first, so that none of them is waited for alone in the end
        self._do([shard for _, shard in sorted(shards, key=lambda one: -one[0])], progress)
        again = [readers[0].shard for readers in self._parts.values() if not self._is_one(readers)]
        for shard in again:
            del self._parts[shard.experiment_id]
        # what several saw differently is looked at by one
        self._do([Shard(shard.experiment_id, shard.label) for shard in again], progress)

    def _do(self, shards: Sequence[Shard], progress: Reading) -> None:
        waiting = set(shards)
        for shard, path in self.cluster.work(shards):
            if shard not in waiting:
                raise UsageProblem(f"{shard} was given back twice; audit again")
            waiting.discard(shard)
            reader = PartReader(path, shard, self.clean)
            found = Tally()
            for placed in reader.rows():
                row = placed.judged.row
                if placed.place < UNCOUNTED:
                    found.add([f"{row.kind} {row.facet}"], row.kind, row.source_id, row.target_id)
            self._found[shard] = found
            self._parts.setdefault(shard.experiment_id, []).append(reader)
            if shard.subset.of == 1 and not self._is_one([reader]):
                raise UsageProblem(
                    f"what a worker gave of {shard} contradicts itself: it counts other objects than it has rows of; "
                    "audit again"
                )
            for side in SIDES:
                counts = reader.sums.counts[side]
                progress.add(
                    side,
                    experiments=int(shard.subset.part == 1),
                    points=counts["points"],
                    artifacts=counts["files"],
                    size=counts["bytes"],
                )
        if waiting:
            raise UsageProblem(f"{next(iter(waiting))} was not given back; audit again")

    def _is_one(self, readers: Sequence[PartReader]) -> bool:
        """Whether all parts of an experiment saw the same objects, and have a row of each of them."""
        first = readers[0].sums.whole
        found = Tally()
        for reader in readers:
            found.take_in(self._found[reader.shard])
            if reader.sums.whole != first:
                return False
        return found == first and not contradicting(reader.sums.models for reader in readers)

    def rows(self, source: Experiment, listed: Listed) -> Iterator[Judged]:
        """Yield the rows of an experiment in the order of one audit; those that are of no object once.

        ``listed`` are the objects of both sides, by kind, that the lists of this process name.

        Raises:
            UsageProblem: one of them has no row.
        """
        readers = self._parts[source.experiment_id]
        left = {kind: {*map(self.clean, ids)} for kind, ids in listed.items()}
        for judged in self._joined(readers):
            row = judged.row
            if row.source_id is None and row.target_id is None:
                left.pop(row.kind, None)  # a list that could not be read says so, and is red
            elif row.kind in left:
                left[row.kind] -= {row.source_id, row.target_id}
            yield judged
        changed = {self.clean(change.identity) for reader in readers for change in reader.sums.changes}
        for kind, ids in left.items():
            if lost := sorted(ids - changed):
                raise UsageProblem(
                    f"what workers gave of {source.name} has no row of {counted(len(lost), kind + 's')} that the lists "
                    f"name ({lost[0]}); audit again"
                )

    def _joined(self, readers: Sequence[PartReader]) -> Iterator[Judged]:
        seen: set[Row] = set()
        for placed in merge(*(reader.rows() for reader in readers), key=lambda one: one.order):
            row = placed.judged.row
            if placed.place == LAST:
                if row in seen:
                    continue
                seen.add(row)
            yield placed.judged

    def finish(self, result: Result, waivers: WaiverBook, sides: Mapping[SideName, Side]) -> None:
        """Add to the result what was noticed beside the rows.

        Raises:
            UsageProblem: a worker speaks of a waiver that is not there, or two read one side from two places.
        """
        for reader in (reader for readers in self._parts.values() for reader in readers):
            sums = reader.sums
            for change in sums.changes:
                result.changes.add(change)
            result.notes += [note for note in sums.notes if note not in result.notes]
            result.settled += sums.settled
            result.explained += sums.explained
            try:
                waivers.take_in(sums.waivers)
            except IndexError:
                raise UsageProblem(f"what a worker gave of {reader.shard} is of other waivers; audit again") from None
            for name, told in sums.answered.items():
                known = result.answered.setdefault(name, {what: [] for what in ANSWERED})
                for what, values in told.items():
                    known[what] += [one for one in values if one not in known[what]]
            for name in SIDES:
                result.counts[name].update({one: sums.counts[name][one] for one in COUNTED})
                server = sides[name].reader
                if server is not None and name in sums.places:
                    server.trusted.take_in(sums.places[name])
                if server is not None and name in sums.etags:
                    server.etags.held.take_in(sums.etags[name])
        refuse_two(result)


def refuse_two(result: Result) -> None:
    """Refuse what came of workers to whom not the same server or S3 answered under one name.

    Raises:
        UsageProblem: it names both.
    """
    for name, told in result.answered.items():
        for what, of in (("endpoint", "server"), ("s3_endpoint", "S3")):
            if len(told[what]) > 1:
                both = " and ".join(one or "its own" for one in told[what])
                raise UsageProblem(
                    f"the workers read the {name} from two {of}s ({both}); set the same variables on all of them, and "
                    "audit again"
                )


def _runs(side: Side, experiment: Experiment | None) -> int:
    """Return how many runs were listed."""
    return 0 if experiment is None else side.view(experiment).counts().get("runs", 0)
