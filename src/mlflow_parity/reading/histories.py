"""Metric histories by the fattest request that a server has, complete or reported as incomplete.

The bulk endpoint takes one key and up to 100 runs, and silently cuts its answer at 25,000 rows; ``get-history``
takes one run and pages. facts: ``max_results`` must always be sent, run ids beyond 90 overflow gunicorn's request
line, unknown runs are left out silently, NaN stands as a bare ``NaN`` or as a string.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar
from urllib.parse import quote_plus

import numpy as np
from numpy.typing import NDArray

from mlflow_parity.digests import value_bits
from mlflow_parity.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.model import MetricPoint, Run, Series
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.session import Session

T = TypeVar("T")
R = TypeVar("R")
#: Rows after which the bulk endpoint cuts silently, and the largest page of ``get-history``.
CAP = 25_000
#: Runs in one bulk request: 100 are allowed, but their ids overflow gunicorn's request line of 4,094 bytes.
RUNS_PER_REQUEST = 90
#: Points that a bulk request may be expected to bring: parsed, each takes half a kilobyte until it is in a column.
_EXPECTED = 10_000
#: Bulk requests at once; facts: 2–4 connections saturate the server, more bring nothing.
BULK_AT_ONCE = 4
_URL = 3_900
_BULK_ROUTE = len("GET /ajax-api/2.0/mlflow/metrics/get-history-bulk? HTTP/1.1")


def read_histories(
    session: Session, runs: Sequence[Run], *, bulk: bool, pool: ThreadPoolExecutor, at_once: int
) -> Iterator[list[Series]]:
    """Yield the history of every metric key of ``runs``, each (run, key) once, in any order.

    Requests go to ``pool``, at most ``at_once`` of them; so many answers wait in memory at the most. A history
    that cannot be read in full carries its error.
    """
    latest = {(run.run_id, key): point for run in runs for key, point in run.metrics.items()}
    tasks: list[tuple[str, list[str]]] = []
    if bulk:
        by_key: dict[str, list[str]] = defaultdict(list)
        for run_id, key in latest:
            by_key[key].append(run_id)
        prefix = len(session.location.endpoint)
        for key, run_ids in by_key.items():
            tasks += [(key, group) for group in _groups(key, run_ids, latest, prefix)]
    else:
        tasks = [(key, [run_id]) for run_id, key in latest]

    def one(task: tuple[str, list[str]]) -> list[Series]:
        key, run_ids = task
        if not bulk:
            return [_one_history(session, run_ids[0], key, latest[run_ids[0], key])]
        return _bulk(session, key, run_ids, latest)

    # a fat answer keeps a server worker busy for long: a few connections do, and each costs memory
    yield from drained(pool, one, tasks, min(at_once, BULK_AT_ONCE) if bulk else at_once)


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
    key: str, run_ids: Sequence[str], latest: dict[tuple[str, str], MetricPoint], prefix: int
) -> Iterator[list[str]]:
    """Split runs so that a request stays within the row cap and the request line.

    The latest step is the best guess at the length of a history: steps mostly count from zero.
    """
    room = _URL - _BULK_ROUTE - prefix - len(f"metric_key={quote_plus(key)}&max_results={CAP}")
    group: list[str] = []
    points = letters = 0
    for run_id in run_ids:
        guess = min(max(latest[run_id, key].step + 1, 1), CAP)
        size = len(f"&run_id={quote_plus(run_id)}")
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
    session: Session, key: str, run_ids: Sequence[str], latest: dict[tuple[str, str], MetricPoint]
) -> list[Series]:
    """Read one key of several runs; what the answer lacks is read run by run."""
    query = [("run_id", run_id) for run_id in run_ids]
    query += [("metric_key", key), ("max_results", str(CAP))]
    try:
        rows = session.get(endpoints.HISTORY_BULK, query).get("metrics", [])
        if len(rows) >= CAP:
            # cut without a word: halve, and at one run take the endpoint that pages
            if len(run_ids) == 1:
                return [_one_history(session, run_ids[0], key, latest[run_ids[0], key])]
            middle = len(run_ids) // 2
            return [
                series for half in (run_ids[:middle], run_ids[middle:]) for series in _bulk(session, key, half, latest)
            ]
        found = {series.run_id: series for series in _split(rows, key)}
    except ReadError:
        # one bad run must not take the others with it
        return [_one_history(session, run_id, key, latest[run_id, key]) for run_id in run_ids]
    return [
        found[run_id]
        if run_id in found and is_complete(found[run_id], latest[run_id, key])
        else _one_history(session, run_id, key, latest[run_id, key])
        for run_id in run_ids
    ]


def _one_history(session: Session, run_id: str, key: str, latest: MetricPoint) -> Series:
    """Read one history by pages; an error becomes part of the record."""
    try:
        rows: list[dict[str, Any]] = []
        token: str | None = None
        seen: set[str] = set()
        while True:
            query = {"run_id": run_id, "metric_key": key, "max_results": str(CAP)}
            if token:
                query["page_token"] = token
            answer = session.get(endpoints.HISTORY, query)
            page = answer.get("metrics", [])
            rows += page
            token = answer.get("next_page_token") or None
            if token is None:
                break
            if token in seen or not page:
                raise MalformedAnswer("get-history repeats a page token or gives an empty page before the end")
            seen.add(token)
        found = _split([{**row, "run_id": run_id} for row in rows], key)
        series = found[0] if found else _empty(run_id, key)
        if is_complete(series, latest):
            return series
        return _empty(run_id, key, f"incomplete: {len(rows)} points came, but not the latest one (step {latest.step})")
    except RequestRefused as error:
        return _empty(run_id, key, str(error))
    except ReadError as error:
        return _empty(run_id, key, str(error))


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


def _split(rows: Sequence[dict[str, Any]], key: str) -> list[Series]:
    """Make one sorted :class:`Series` per run from the rows of an answer."""
    if not rows:
        return []
    try:
        names = [row["run_id"] for row in rows]
        values: NDArray[np.float64] = np.array([row["value"] for row in rows]).astype(np.float64)
        timestamps: NDArray[np.int64] = np.array([row["timestamp"] for row in rows]).astype(np.int64)
        # protobuf's JSON leaves a zero out
        steps: NDArray[np.int64] = np.array([row.get("step", 0) for row in rows]).astype(np.int64)
        if any(row.get("key", key) != key for row in rows[:1]):
            raise MalformedAnswer(f"asked for the history of {key!r}, got {rows[0]['key']!r}")
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise MalformedAnswer(f"a metric point cannot be read: {type(error).__name__}: {error}") from None
    numbers: dict[str, int] = {}
    codes = np.fromiter((numbers.setdefault(name, len(numbers)) for name in names), np.int64, len(names))
    order = np.lexsort((value_bits(values), timestamps, steps, codes))
    codes, steps, timestamps, values = codes[order], steps[order], timestamps[order], values[order]
    edges = np.flatnonzero(np.diff(codes)) + 1
    starts = [0, *edges.tolist()]
    ends = [*edges.tolist(), len(codes)]
    run_ids = list(numbers)
    return [
        Series(run_ids[codes[start]], key, steps[start:end], timestamps[start:end], values[start:end])
        for start, end in zip(starts, ends, strict=True)
    ]
