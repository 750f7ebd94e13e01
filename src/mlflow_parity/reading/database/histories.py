"""Metric histories from the table of metrics: columns go into the records' arrays, no row becomes an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mlflow_parity.core.digests import value_bits
from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.records import MetricPoint, Run, Series
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.schema import among
from mlflow_parity.reading.histories import drained, missing

#: Points that are asked for at once: a table of so many takes less than 20 MB.
POINTS = 250_000
#: Tables at once: one is put in order while the next one comes.
_AT_ONCE = 2
_COUNT = pa.schema([("points", pa.int64())])
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


def read_histories(database: Database, runs: Sequence[Run], pool: ThreadPoolExecutor) -> Iterator[list[Series]]:
    """Yield the history of every metric key of ``runs``, each (run, key) once, in any order.

    Raises:
        ReadError: the database cannot be read, or holds what MLflow's server would not answer.
    """
    with_metrics = [run for run in runs if run.metrics]

    def one(task: tuple[list[Run], int]) -> list[Series]:
        return _series(database, *task)

    yield from drained(pool, one, _groups(database, with_metrics), _AT_ONCE)


def _groups(database: Database, runs: list[Run]) -> Iterator[tuple[list[Run], int]]:
    """Yield runs that have so many points together, and how many."""
    if not runs:
        return
    # a run's own history may be larger, and is one table then
    limit = f" LIMIT {POINTS + 1}" if len(runs) > 1 else ""
    inside = among(run.run_id for run in runs)
    query = f"SELECT COUNT(*) AS points FROM (SELECT 1 FROM metrics m WHERE m.run_uuid IN ({inside}){limit}) q"
    ((points,),) = database.rows(query, _COUNT)
    assert isinstance(points, int)
    if limit and points > POINTS:
        middle = len(runs) // 2
        yield from _groups(database, runs[:middle])
        yield from _groups(database, runs[middle:])
    else:
        yield runs, points


def _series(database: Database, runs: Sequence[Run], points: int) -> list[Series]:
    """Return the histories of some runs.

    Raises:
        ReadError: they cannot be read, or are not the points that were counted.
    """
    latest = {(run.run_id, key): point for run in runs for key, point in run.metrics.items()}
    names = sorted({key for _, key in latest})
    codes, steps, timestamps, values = _ordered(_columns(database, runs, names, points))
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
    return found + [missing(run_id, key, 0, point) for (run_id, key), point in latest.items()]


def _columns(database: Database, runs: Sequence[Run], names: Sequence[str], points: int) -> _Columns:
    query = (
        "SELECT m.run_uuid, m.key, m.step, m.timestamp, CASE WHEN m.is_nan THEN 1 ELSE 0 END AS is_nan, m.value "
        f"FROM metrics m WHERE m.run_uuid IN ({among(run.run_id for run in runs)})"
    )
    ids, keys = pa.array([run.run_id for run in runs], pa.string()), pa.array(names, pa.string())
    codes = np.empty(points, np.int64)
    steps, timestamps = np.empty(points, np.int64), np.empty(points, np.int64)
    values = np.empty(points, np.float64)
    at = 0
    with closing(database.batches(query, _SCHEMA)) as batches:
        for batch in batches:
            end = at + batch.num_rows
            if end > points:
                raise MalformedAnswer("the database gives more metric points than it counted")
            if any(column.null_count for column in batch.columns):
                raise MalformedAnswer("the database holds a metric point without key, step, time or value")
            run_codes = pc.index_in(batch.column(0), value_set=ids)
            if run_codes.null_count:
                raise MalformedAnswer("the database gives metric points of runs that were not asked for")
            key_codes = pc.fill_null(pc.index_in(batch.column(1), value_set=keys), -1).to_numpy(zero_copy_only=False)
            codes[at:end] = run_codes.to_numpy(zero_copy_only=False)
            codes[at:end] *= len(names)
            codes[at:end] += key_codes
            codes[at:end][key_codes < 0] = -1
            steps[at:end] = batch.column(2).to_numpy()
            timestamps[at:end] = batch.column(3).to_numpy()
            values[at:end] = batch.column(5).to_numpy()
            values[at:end][batch.column(4).to_numpy() != 0] = np.nan
            at = end
    if at != points:
        raise MalformedAnswer(f"the database gives {at} metric points, and counted {points}")
    if (codes < 0).any():
        known = codes >= 0
        return codes[known], steps[known], timestamps[known], values[known]
    return codes, steps, timestamps, values


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
