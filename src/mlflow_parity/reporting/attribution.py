"""What the runs that differ have in common: one line where many differences share what few other runs have.

Computed from the ledger (which runs are red) and the source's snapshot (what its runs are): where a run began, in which
experiment, its tags, its largest file, its longest history. A line is told where nearly all that differ share
something, and of all runs much fewer do: it is a hint of the cause, and no proof.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlflow_parity.core.records import EXIM_PREFIX, Experiment
from mlflow_parity.core.text import quoted
from mlflow_parity.core.verdict import State
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot.store import Snapshot

#: So many runs must differ before anything is said of them; of more than that only so many are looked at.
_FEW, _MOST = 5, 200_000
#: Share of those that differ which must have it, and share of all runs that may have it at most, of that.
_NEARLY_ALL, _FEWER = 0.9, 0.6
_LINES = 4
#: Different tags of runs that differ which are counted at once.
_TAGS = 50_000
_DAY, _EPOCH = 24 * 3600 * 1000, date(1970, 1, 1).toordinal()
#: Days since then that have a date: a run may be said to have been started at any 64-bit number.
_DAYS = date.min.toordinal() - _EPOCH, date.max.toordinal() - _EPOCH
_MB = 1 << 20
#: Sizes of files (bytes) and lengths of histories (points) at which something may have given way.
_SIZES = ((5 << 30, "5 GiB"), (1 << 30, "1 GiB"), (100 * _MB, "100 MiB"), (10 * _MB, "10 MiB"), (_MB, "1 MiB"))
_LENGTHS = ((100_000, "100,000"), (25_000, "25,000"), (10_000, "10,000"), (1_000, "1,000"), (100, "100"))
#: Tags that every run has of its own, or that say what another line says.
_OWN = ("mlflow.runName", "mlflow.log-model.history", "mlflow.parentRunId", "mlflow.note.content")


@dataclass(frozen=True, slots=True)
class _Shared:
    """Something that runs share: how many of those that differ have it, and how many of all."""

    what: str
    whose: str
    red: int
    of_red: int
    every: int
    of_every: int

    @property
    def tells(self) -> bool:
        """Whether it sets those that differ apart."""
        if not self.of_red or not self.of_every:
            return False
        share = self.red / self.of_red
        return share >= _NEARLY_ALL and self.every / self.of_every <= _FEWER * share

    @property
    def line(self) -> str:
        """It in a sentence."""
        whose = f"{self.of_red:,} runs {self.whose}"
        who = f"all {whose}" if self.red == self.of_red else f"{100 * self.red // self.of_red} % of the {whose}"
        share = 100 * self.every / self.of_every
        told = "less than 1 %" if share < 1 else f"{share:.0f} %"
        return f"{who} {self.what} ({told} of all {self.of_every:,} runs that were read)"


def in_common(ledger: Path, source: Snapshot, experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Return what the runs that differ have in common, the most telling first; ``experiments`` are those in scope."""
    red = {name: pa.array(sorted(ids), pa.string()) for name, ids in _red(ledger).items()}
    if len(red.get("", ())) < _FEW:
        return ()
    read = [one for one in experiments if _is_read(source, one, "runs")]
    every = red[""]
    found = [*_places(source, read, every), *_times(source, read, every), *_tags(source, read, every)]
    found += _largest(source, read, red.get("artifacts"), "artifacts", "size", _SIZES, "have a file of more than {}")
    found += _largest(
        source, read, red.get("metrics"), "metrics", "points", _LENGTHS, "have a metric of more than {} points"
    )
    told = sorted((one for one in found if one.tells), key=lambda one: one.every / one.of_every - one.red / one.of_red)
    return tuple(one.line for one in told[:_LINES])


def _red(ledger: Path) -> dict[str, set[str]]:
    """Return the source's ids of runs that are red in any facet (by the empty name) and in each."""
    found: dict[str, set[str]] = {"": set()}
    green = [state.value for state in State if state.green]
    for batch in pq.ParquetFile(ledger).iter_batches(columns=["kind", "source_id", "facet", "state"]):
        table = pa.table(batch)
        wanted = pc.and_(pc.equal(table["kind"], "run"), pc.invert(pc.is_in(table["state"], pa.array(green))))
        chosen = table.filter(pc.and_(wanted, pc.is_valid(table["source_id"])))
        for run_id, facet in zip(chosen["source_id"].to_pylist(), chosen["facet"].to_pylist(), strict=True):
            if len(found[""]) < _MOST or run_id in found[""]:
                found[""].add(run_id)
                found.setdefault(facet, set()).add(run_id)
    return found


def _is_read(source: Snapshot, experiment: Experiment, part: Part) -> bool:
    sidecar = source.sidecar(experiment.experiment_id, part)
    return sidecar is not None and "error" not in sidecar


def _batches(source: Snapshot, experiment: Experiment, part: Part, columns: Sequence[str]) -> Iterator[pa.Table]:
    file = pq.ParquetFile(source.folder(experiment.experiment_id) / f"{part}.parquet")
    for batch in file.iter_batches(columns=list(columns)):
        yield pa.table(batch)


def _is_red(table: pa.Table, red: pa.Array) -> Any:
    return pc.is_in(table["run_id"], value_set=red)


# --- what runs may share


def _places(source: Snapshot, experiments: Iterable[Experiment], red: pa.Array) -> Iterator[_Shared]:
    """Yield an experiment that nearly all are in."""
    counts = [(one.name, *_counts(source, one, red)) for one in experiments]
    every, found = sum(count for _, count, _ in counts), sum(count for _, _, count in counts)
    for name, inside, here in counts:
        yield _Shared(f"are in the experiment {quoted(name)}", "that differ", here, found, inside, every)


def _counts(source: Snapshot, experiment: Experiment, red: pa.Array) -> tuple[int, int]:
    every = found = 0
    for table in _batches(source, experiment, "runs", ["run_id"]):
        every += table.num_rows
        found += pc.sum(_is_red(table, red)).as_py() or 0
    return every, found


def _times(source: Snapshot, experiments: Iterable[Experiment], red: pa.Array) -> Iterator[_Shared]:
    """Yield a day on or after which, and one before which, nearly all were started."""
    every, found = Counter[int](), Counter[int]()
    for experiment in experiments:
        for table in _batches(source, experiment, "runs", ["run_id", "start_time"]):
            days = np.floor_divide(pc.fill_null(table["start_time"], 0).to_numpy(), _DAY).clip(*_DAYS)
            mask = _is_red(table, red).to_numpy()
            every.update(days.tolist())
            found.update(days[mask].tolist())
    whole, all_red = every.total(), found.total()
    if not all_red:
        return
    for words, ordered in (("on or after", sorted(found)), ("on or before", sorted(found, reverse=True))):

        def beyond(day: int, counts: Counter[int], words: str = words) -> int:
            return sum(count for one, count in counts.items() if (one >= day if words == "on or after" else one <= day))

        # one in fifty may be elsewhere, if that leaves out much
        first, most = ordered[0], _but_one_in_fifty(ordered, found)
        day = first if 4 * beyond(first, every) <= 5 * beyond(most, every) else most
        what = f"were started {words} {date.fromordinal(day + _EPOCH).isoformat()}"
        yield _Shared(what, "that differ", beyond(day, found), all_red, beyond(day, every), whole)


def _but_one_in_fifty(ordered: Sequence[int], found: Counter[int]) -> int:
    """Return the first day in this order before which no more than one in fifty lies."""
    left_out = 0
    for day in ordered:
        if left_out + found[day] > found.total() // 50:
            return day
        left_out += found[day]
    return ordered[-1]


def _tags(source: Snapshot, experiments: Sequence[Experiment], red: pa.Array) -> Iterator[_Shared]:
    """Yield each tag that nearly all have."""
    found, all_red = Counter[tuple[str, str]](), 0
    for experiment in experiments:
        for table in _batches(source, experiment, "runs", ["run_id", "tags"]):
            chosen = table.filter(_is_red(table, red))
            all_red += chosen.num_rows
            for tags in chosen["tags"].to_pylist():
                found.update((key, value) for key, value in tags if not _is_own(key))
            if len(found) > _TAGS:
                # what nearly all have has come often by now
                found = Counter({tag: count for tag, count in found.items() if count > 1})
    wanted = {tag for tag, count in found.items() if count >= _NEARLY_ALL * all_red}
    if not wanted or len(wanted) > 100:
        return
    every, whole = Counter[tuple[str, str]](), 0
    for experiment in experiments:
        for table in _batches(source, experiment, "runs", ["tags"]):
            whole += table.num_rows
            for tags in table["tags"].to_pylist():
                every.update(wanted.intersection(map(tuple, tags)))
    for key, value in sorted(wanted):
        what = f"have the tag {quoted(key)} = {quoted(value)}"
        yield _Shared(what, "that differ", found[key, value], all_red, every[key, value], whole)


def _is_own(key: str) -> bool:
    return key in _OWN or key.startswith(EXIM_PREFIX)


def _largest(
    source: Snapshot,
    experiments: Iterable[Experiment],
    red: pa.Array | None,
    part: Part,
    column: str,
    steps: Sequence[tuple[int, str]],
    words: str,
) -> Iterator[_Shared]:
    """Yield the largest size that something of nearly all runs is above whose ``part`` differs."""
    if red is None or len(red) < _FEW:
        return
    above, of_red = Counter[str](), Counter[str]()
    whole = all_red = 0
    for experiment in experiments:
        if not _is_read(source, experiment, part):
            continue
        every, here = _counts(source, experiment, red)
        whole, all_red = whole + every, all_red + here
        largest = _maxima(source, experiment, part, column)
        values, mask = largest["most"].to_numpy(), _is_red(largest, red).to_numpy()
        for size, name in steps:
            above[name] += int((values > size).sum())
            of_red[name] += int((values[mask] > size).sum())
    for _, name in steps:
        one = _Shared(words.format(name), f"whose {part} differ", of_red[name], all_red, above[name], whole)
        if one.tells:
            yield one
            return


def _maxima(source: Snapshot, experiment: Experiment, part: Part, column: str) -> pa.Table:
    """Return ``run_id`` and ``most``: the largest value of a column for each run of an experiment."""
    parts = []
    for table in _batches(source, experiment, part, ["run_id", column]):
        grouped = table.set_column(1, column, pc.fill_null(table[column], 0)).group_by("run_id")
        parts.append(grouped.aggregate([(column, "max")]))
    if not parts:
        return pa.table({"run_id": pa.array([], pa.string()), "most": pa.array([], pa.int64())})
    whole = pa.concat_tables(parts).group_by("run_id").aggregate([(f"{column}_max", "max")])
    return pa.table({"run_id": whole["run_id"], "most": whole[f"{column}_max_max"]})
