"""Metric histories by the fattest request that a server has, complete or reported as incomplete.

The bulk endpoint takes one key and up to 100 runs, and silently cuts its answer at 25,000 rows; ``get-history``
takes one run and pages. facts: ``max_results`` must always be sent, run ids beyond 90 overflow gunicorn's request
line, unknown runs are left out silently, NaN stands as a bare ``NaN`` or as a string.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from mlflow_parity.core.errors import MalformedAnswer, ReadError, TransportError
from mlflow_parity.core.identity.digests import value_bits
from mlflow_parity.core.records import MetricPoint, Run, Series
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import Turning, list_in
from mlflow_parity.reading.transport.session import Session

#: Steps, timestamps and values, side by side.
Columns = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
T = TypeVar("T")
R = TypeVar("R")
#: Rows after which the bulk endpoint cuts silently, and the largest page of ``get-history``.
CAP = 25_000
#: Runs in one bulk request: 100 are allowed, but their ids overflow gunicorn's request line of 4,094 bytes.
RUNS_PER_REQUEST = 90
#: Points that a bulk request may be expected to bring: parsed, each takes half a kilobyte until it is in a column.
_EXPECTED = 6_000
#: Bulk requests at once; facts: 2–4 connections saturate the server, more bring nothing.
BULK_AT_ONCE = 4
_URL = 3_900
_BULK_ROUTE = len("GET /ajax-api/2.0/mlflow/metrics/get-history-bulk? HTTP/1.1")


class Lengths:
    """Learns how many points a history has per step that it reached; safe to use from many threads.

    The latest step says it only where steps count from zero by one. Where they are sparse (a metric every hundred
    batches) groups would be too small, and too large where every point has step 0.
    """

    def __init__(self) -> None:
        self._of_key: dict[str, float] = {}

    def learn(self, key: str, series: Sequence[Series], latest: Mapping[tuple[str, str], MetricPoint]) -> None:
        """Take in what an answer brought."""
        whole = [one for one in series if one.error is None]
        points = sum(len(one.values) for one in whole)
        if points:
            steps = sum(max(latest[one.run_id, key].step + 1, 1) for one in whole)
            self._of_key[key] = points / steps

    def guess(self, key: str, latest: MetricPoint) -> int:
        """Estimate how many points a history has; at the most what one answer can bring."""
        steps = max(latest.step + 1, 1)
        # a fifth more: a group that is too large costs an answer that is thrown away
        known = self._of_key.get(key)
        return min(max(math.ceil(steps * 1.2 * known), 1) if known is not None else steps, CAP)


def read_histories(
    session: Session, runs: Sequence[Run], *, bulk: bool, pool: ThreadPoolExecutor, at_once: int, lengths: Lengths
) -> Iterator[list[Series]]:
    """Yield the history of every metric key of ``runs``, each (run, key) once, in any order.

    Requests go to ``pool``, at most ``at_once`` of them; so many answers wait in memory at the most. A history
    that cannot be read in full carries its error.
    """
    latest = {(run.run_id, key): point for run in runs for key, point in run.metrics.items()}

    def one(task: tuple[str, list[str]]) -> list[Series]:
        key, run_ids = task
        if not bulk or (len(run_ids) == 1 and lengths.guess(key, latest[run_ids[0], key]) >= CAP):
            return [_one_history(session, run_id, key, latest[run_id, key]) for run_id in run_ids]
        series = _bulk(session, key, run_ids, latest)
        lengths.learn(key, series, latest)
        return series

    # a fat answer keeps a server worker busy for long: a few connections do, and each costs memory
    tasks = _tasks(latest, lengths, len(session.location.endpoint)) if bulk else ((k, [r]) for r, k in latest)
    yield from drained(pool, one, tasks, min(at_once, BULK_AT_ONCE) if bulk else at_once)


def _tasks(
    latest: Mapping[tuple[str, str], MetricPoint], lengths: Lengths, prefix: int
) -> Iterator[tuple[str, list[str]]]:
    """Cut the work into bulk requests, as late as possible: earlier answers teach how long histories are."""
    by_key: dict[str, list[str]] = defaultdict(list)
    for run_id, key in latest:
        by_key[key].append(run_id)
    for key, run_ids in by_key.items():
        for group in _groups(key, run_ids, latest, lengths, prefix):
            yield key, group


def drained(pool: ThreadPoolExecutor, work: Callable[[T], R], tasks: Iterable[T], at_once: int) -> Iterator[R]:
    """Yield the results as they come, with at most ``at_once`` tasks begun: nothing piles up before its taker."""
    running: set[Future[R]] = set()
    try:
        for task in tasks:
            running.add(pool.submit(work, task))
            if len(running) >= at_once:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    finally:
        for future in running:
            future.cancel()


def _groups(
    key: str,
    run_ids: Sequence[str],
    latest: Mapping[tuple[str, str], MetricPoint],
    lengths: Lengths,
    prefix: int,
) -> Iterator[list[str]]:
    """Split runs so that a request stays within the row cap and the request line."""
    # a signed request writes a space as three letters
    room = _URL - _BULK_ROUTE - prefix - len(f"metric_key={quote(key, safe='')}&max_results={CAP}")
    group: list[str] = []
    points = letters = 0
    for run_id in run_ids:
        guess = lengths.guess(key, latest[run_id, key])
        size = len(f"&run_id={quote(run_id, safe='')}")
        full = len(group) >= RUNS_PER_REQUEST or points + guess > _EXPECTED or letters + size > room
        if group and full:
            yield group
            group, points, letters = [], 0, 0
        group.append(run_id)
        points += guess
        letters += size
    if group:
        yield group


def _bulk(
    session: Session, key: str, run_ids: Sequence[str], latest: Mapping[tuple[str, str], MetricPoint]
) -> list[Series]:
    """Read one key of several runs; what the answer lacks is read run by run."""
    query = [("run_id", run_id) for run_id in run_ids]
    query += [("metric_key", key), ("max_results", str(CAP))]
    found: dict[str, Series] = {}
    try:
        rows = _rows(session.get(endpoints.HISTORY_BULK, query))
        if len(rows) < CAP:
            found = {series.run_id: series for series in _split(rows, key, set(run_ids))}
        elif len(run_ids) > 1:
            # cut without a word: halve, and at one run take the endpoint that pages
            return _halves(session, key, run_ids, latest)
    except TransportError as error:
        # asking for each run would only take that many times as long to find out the same
        return [_empty(run_id, key, str(error)) for run_id in run_ids]
    except ReadError:
        # one bad run must not take the others with it
        if len(run_ids) > 1:
            return _halves(session, key, run_ids, latest)
    return [
        found[run_id]
        if run_id in found and is_complete(found[run_id], latest[run_id, key])
        else _one_history(session, run_id, key, latest[run_id, key])
        for run_id in run_ids
    ]


def _halves(
    session: Session, key: str, run_ids: Sequence[str], latest: Mapping[tuple[str, str], MetricPoint]
) -> list[Series]:
    middle = len(run_ids) // 2
    return [series for half in (run_ids[:middle], run_ids[middle:]) for series in _bulk(session, key, half, latest)]


def _one_history(session: Session, run_id: str, key: str, latest: MetricPoint) -> Series:
    """Read one history by pages; an error becomes part of the record."""
    query = {"run_id": run_id, "metric_key": key, "max_results": str(CAP)}
    pages: list[Columns] = []
    turning = Turning("get-history")
    try:
        while True:
            answer = session.get(endpoints.HISTORY, query)
            rows = _rows(answer)
            pages.append(_columns(rows, key))
            token = turning.after(answer, rows)
            if token is None:
                break
            query["page_token"] = token
    except ReadError as error:
        return _empty(run_id, key, str(error))
    steps, timestamps, values = (np.concatenate(parts) for parts in zip(*pages, strict=True))
    order = np.lexsort((value_bits(values), timestamps, steps))
    series = Series(run_id, key, steps[order], timestamps[order], values[order])
    if is_complete(series, latest):
        return series
    return missing(run_id, key, len(values), latest)


def missing(run_id: str, key: str, points: int, latest: MetricPoint) -> Series:
    """Return what stands for a history that lacks its latest point."""
    return _empty(run_id, key, f"incomplete: {points} points came, but not the latest one (step {latest.step})")


def _empty(run_id: str, key: str, error: str | None = None) -> Series:
    nothing = np.empty(0, np.int64)
    return Series(run_id, key, nothing, nothing, np.empty(0, np.float64), error)


def is_complete(series: Series, latest: MetricPoint) -> bool:
    """Whether the latest point that ``runs/search`` tells stands in the history."""
    if not len(series.values):
        return False
    at = (series.steps == latest.step) & (series.timestamps == latest.timestamp)
    wanted = value_bits(np.asarray([latest.value], np.float64))[0]
    return bool((at & (value_bits(series.values) == wanted)).any())


def _rows(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list_in(answer, "metrics")


def _columns(rows: Sequence[dict[str, Any]], key: str) -> Columns:
    """Turn rows into steps, timestamps and values. Numbers may be texts: NaN, and protobuf's 64-bit integers."""
    try:
        # protobuf's JSON may leave a zero out
        steps = np.array([row.get("step", 0) for row in rows], np.int64)
        timestamps = np.array([row.get("timestamp", 0) for row in rows], np.int64)
        given = [row["value"] for row in rows]
        values = np.array(given, np.float64)
        strangers = {row["key"] for row in rows} - {key}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedAnswer(f"a metric point cannot be read: {type(error).__name__}") from None
    if values.ndim != 1 or None in given:
        # numpy takes null for NaN, which would make a value that is not there equal to one
        raise MalformedAnswer("a metric point has no value")
    if strangers:
        raise MalformedAnswer(f"asked for the history of {key!r}, got {sorted(strangers)[0]!r}")
    return steps, timestamps, values


def _split(rows: Sequence[dict[str, Any]], key: str, asked: Set[str]) -> list[Series]:
    """Make one sorted :class:`Series` per run from the rows of an answer."""
    if not rows:
        return []
    steps, timestamps, values = _columns(rows, key)
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(row.get("run_id", ""), len(numbers)) for row in rows], np.int64)
    if not numbers.keys() <= asked:
        raise MalformedAnswer("the answer holds points of runs that were not asked for")
    order = np.lexsort((value_bits(values), timestamps, steps, codes))
    codes, steps, timestamps, values = codes[order], steps[order], timestamps[order], values[order]
    edges = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    run_ids = list(numbers)
    return [
        Series(run_ids[codes[start]], key, steps[start:end], timestamps[start:end], values[start:end])
        for start, end in zip([0, *edges], [*edges, len(codes)], strict=True)
    ]
