"""Metric histories from the table of metrics: columns go into the records' arrays, no row becomes an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.identity.digests import value_bits
from mlflow_parity.core.records import MetricPoint, Run, Series
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.schema import among
from mlflow_parity.reading.histories import drained, missing

#: Points that are asked for at once: a table of so many takes less than 7 MB.
POINTS = 80_000
#: Points that are kept of such a table: where there are more, it is asked for in halves.
_MOST = 2 * POINTS
#: Tables at once: one is put in order while the next one comes.
_AT_ONCE = 2
_SCHEMA = pa.schema(
    [
        ("run_uuid", pa.string()),
        ("key", pa.string()),
        ("step", pa.int64()),
        ("timestamp", pa.int64()),
        ("is_nan", pa.int64()),
        ("value", pa.float64()),
    ]
)
#: Codes of runs and keys, steps, timestamps and values, side by side.
_Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class Sizes:
    """Learns how many points there are for each step that a history reached; safe to use from many threads."""

    def __init__(self) -> None:
        self._of_step = 1.0

    def learn(self, runs: Sequence[Run], points: int) -> None:
        """Take in what some runs had."""
        self._of_step = points / max(sum(map(_steps, runs)), 1)

    def guess(self, run: Run) -> float:
        """Estimate how many points a run has."""
        return _steps(run) * self._of_step


def _steps(run: Run) -> int:
    return sum(max(point.step, 0) + 1 for point in run.metrics.values())


def read_histories(
    database: Database, runs: Sequence[Run], pool: ThreadPoolExecutor, sizes: Sizes | None = None
) -> Iterator[list[Series]]:
    """Yield the history of every metric key of ``runs``, each (run, key) once, in any order.

    Raises:
        ReadError: the database cannot be read, or holds what MLflow's server would not answer.
    """
    known = Sizes() if sizes is None else sizes

    def one(group: Sequence[Run]) -> list[Series]:
        found, points = _series(database, group)
        if found is None:
            # more than was expected: in halves, down to a run
            middle = len(group) // 2
            return [*one(group[:middle]), *one(group[middle:])]
        known.learn(group, points)
        return found

    yield from drained(pool, one, _groups(runs, known), _AT_ONCE)


def _groups(runs: Sequence[Run], sizes: Sizes) -> Iterator[list[Run]]:
    """Yield runs that may have so many points together, as late as possible: earlier ones teach how many."""
    group: list[Run] = []
    points = 0.0
    for run in runs:
        if run.metrics:
            guess = sizes.guess(run)
            if group and points + guess > POINTS:
                yield group
                group, points = [], 0.0
            group.append(run)
            points += guess
    if group:
        yield group


def _series(database: Database, runs: Sequence[Run]) -> tuple[list[Series] | None, int]:
    """Return the histories of some runs and how many points were read; ``None``: they are too many at once.

    Raises:
        ReadError: they cannot be read.
    """
    latest = {(run.run_id, key): point for run in runs for key, point in run.metrics.items()}
    names = sorted({key for _, key in latest})
    columns, points = _columns(database, runs, names)
    if columns is None:
        return None, points
    codes, steps, timestamps, values = _ordered(columns)
    edges = np.flatnonzero(np.diff(codes, prepend=-1)) if len(codes) else np.empty(0, np.int64)
    ends = np.append(edges[1:], len(codes))
    whole = _whole(codes, edges, steps, timestamps, values, runs, names)
    found: list[Series] = []
    keys = len(names)
    for start, end, code, good in zip(
        edges.tolist(), ends.tolist(), codes[edges].tolist(), whole.tolist(), strict=True
    ):
        run_id, key = runs[code // keys].run_id, names[code % keys]
        point = latest.pop((run_id, key), None)
        # rows of a key that the run does not name are told by no server
        if point is not None:
            series = Series(run_id, key, steps[start:end], timestamps[start:end], values[start:end])
            found.append(series if good else missing(run_id, key, end - start, point))
    return found + [missing(run_id, key, 0, point) for (run_id, key), point in latest.items()], points


def _columns(database: Database, runs: Sequence[Run], names: Sequence[str]) -> tuple[_Columns | None, int]:
    """Return the points of some runs and how many were read; ``None``: they are too many at once."""
    # a run's own history may be larger, and is one table then
    limit = _MOST + 1 if len(runs) > 1 else None
    query = (
        "SELECT m.run_uuid, m.key, m.step, m.timestamp, CASE WHEN m.is_nan THEN 1 ELSE 0 END AS is_nan, m.value "
        f"FROM metrics m WHERE m.run_uuid IN ({among(run.run_id for run in runs)})"
        f"{'' if limit is None else f' LIMIT {limit}'}"
    )
    ids, keys = pa.array([run.run_id for run in runs], pa.string()), pa.array(names, pa.string())
    parts: list[_Columns] = []
    points = 0
    with closing(database.batches(query, _SCHEMA)) as batches:
        for batch in batches:
            points += batch.num_rows
            parts.append(_part(batch, ids, keys))
    if points == limit:
        return None, points
    if not parts:
        nothing = np.empty(0, np.int64)
        return (nothing, nothing, nothing, np.empty(0, np.float64)), 0
    codes, steps, timestamps, values = (np.concatenate(found) for found in zip(*parts, strict=True))
    return (codes, steps, timestamps, values), points


def _part(batch: pa.RecordBatch, ids: pa.Array, keys: pa.Array) -> _Columns:
    """Return the points of a batch, those of other keys left out.

    Raises:
        MalformedAnswer: one is not whole, or of another run.
    """
    if any(column.null_count for column in batch.columns):
        raise MalformedAnswer("the database holds a metric point without key, step, time or value")
    runs = pc.index_in(batch.column(0), value_set=ids)
    if runs.null_count:
        raise MalformedAnswer("the database gives metric points of runs that were not asked for")
    named = pc.index_in(batch.column(1), value_set=keys)
    values = batch.column(5).to_numpy()
    lost = batch.column(4).to_numpy() != 0
    if lost.any():
        values = np.where(lost, np.nan, values)
    of_keys = pc.fill_null(named, -1).to_numpy(zero_copy_only=False)
    codes = runs.to_numpy(zero_copy_only=False).astype(np.int64) * len(keys) + of_keys
    columns = codes, batch.column(2).to_numpy(), batch.column(3).to_numpy(), values
    if not named.null_count:
        return columns
    there = of_keys >= 0
    return columns[0][there], columns[1][there], columns[2][there], columns[3][there]


def _ordered(columns: _Columns) -> _Columns:
    """Return points by run and key, and in the order of a series; as they are where they are in it."""
    codes, steps, timestamps, values = columns
    if (codes[1:] < codes[:-1]).any():
        order = np.argsort(codes, kind="stable")
        codes, steps, timestamps, values = codes[order], steps[order], timestamps[order], values[order]
    same = codes[1:] == codes[:-1]
    if (same & (steps[1:] <= steps[:-1])).any():
        order = np.lexsort((value_bits(values), timestamps, steps, codes))
        codes, steps, timestamps, values = codes[order], steps[order], timestamps[order], values[order]
    return codes, steps, timestamps, values


def _whole(
    codes: NDArray[np.int64],
    edges: NDArray[np.int64],
    steps: NDArray[np.int64],
    timestamps: NDArray[np.int64],
    values: NDArray[np.float64],
    runs: Sequence[Run],
    names: Sequence[str],
) -> NDArray[np.bool_]:
    """Tell for each history whether the latest point that its run names is in it."""
    if not len(edges):
        return np.empty(0, np.bool_)
    of_runs: list[Mapping[str, MetricPoint]] = [run.metrics for run in runs]
    nothing = MetricPoint(0, 0, 0.0)
    latest = [of_runs[code // len(names)].get(names[code % len(names)], nothing) for code in codes[edges].tolist()]
    lengths = np.diff(np.append(edges, len(codes)))
    there = steps == np.repeat(np.array([point.step for point in latest], np.int64), lengths)
    there &= timestamps == np.repeat(np.array([point.timestamp for point in latest], np.int64), lengths)
    bits = value_bits(np.array([point.value for point in latest], np.float64))
    there &= value_bits(values) == np.repeat(bits, lengths)
    return np.logical_or.reduceat(there, edges)
