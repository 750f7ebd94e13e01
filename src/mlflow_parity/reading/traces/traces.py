"""Traces: infos in pages, spans in batches where the server has them, one file a trace where it has not."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.records import Artifact, Entity
from mlflow_parity.kinds.schema.unknown import claims, unclaimed
from mlflow_parity.kinds.trace import size_stat
from mlflow_parity.reading.artifacts.stores import Store
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.traces.links import traces_of_run
from mlflow_parity.reading.traces.spans import spans_of
from mlflow_parity.reading.traces.trace_infos import trace_v2, trace_v3
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.bounds import joined
from mlflow_parity.reading.transport.kind_support import is_absent, is_gone
from mlflow_parity.reading.transport.listing import Entry, each_once, list_in, made, pages
from mlflow_parity.reading.transport.responses import parse
from mlflow_parity.reading.transport.session import Session

#: Traces per page, the most that servers give.
TRACES = 500
#: First release with ``traces/batchGet``.
BATCHES = (3, 6)
#: Ids per batch, and letters of all of them together: 2 ms a trace from 20 on, and a request line that fits.
_BATCH, _LETTERS = 60, 3_000
_LOCATION, _FILES = "mlflow.trace.spansLocation", "mlflow.artifactLocation"
_ARCHIVED = "ARCHIVE_REPO"
_IN_DATABASE = ("TRACKING_STORE", _ARCHIVED)
#: Seconds after a trace's end in which its spans may still be on their way.
_SETTLED = 3600.0
_FILE = "traces.json"
#: What says that it is not there: MLflow's own code for it, and S3's.
_NO_FILE = ("NOT_FOUND", "NoSuchKey")
#: What stands beside the spans in a batch, where the info repeats the list's, and in a file.
_BATCHED, _IN_FILE = claims("trace_info spans"), claims("spans request response")
#: Tells spans by trace id, of those traces of which it knows them.
Beside: TypeAlias = "Callable[[Sequence[Entity]], Mapping[str, list[dict[str, Any]]]]"
#: Spans, and what is told beside them that nothing here knows.
_Spans: TypeAlias = "tuple[list[dict[str, Any]], dict[str, Any]]"


@dataclass(slots=True)
class TraceReader:
    """Reads the traces of one server.

    ``batches``: whether ``traces/batchGet`` is tried; ``three``: whether the V3 search is tried (``None``: it is, and
    V2 where it is not there); ``store_of`` gives the store in which a trace's folder is, for a server that cannot be
    asked for the file (``None``: ask the server); ``redact`` cleans what is shown of an error.
    """

    session: Session
    pool: ThreadPoolExecutor
    at_once: int
    three: bool | None
    batches: bool
    store_of: Callable[[str, str], Store | None]
    redact: Callable[[str], str]
    page: int = TRACES
    links: Callable[[], Mapping[str, list[str]] | None] = lambda: None
    """Tells the prompt versions that traces are associated with; asked where there are traces."""
    beside: Beside = lambda _: {}
    """What tells spans that the server keeps in its database from there; the API tells the others."""

    def read(
        self,
        experiment_id: str,
        run_ids: Callable[[], Iterable[str]],
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """Yield every trace of an experiment with its spans, each once; only those that are ``wanted`` have them.

        ``run_ids`` gives the experiment's runs; where there are traces, each is searched for those linked to it. What
        cannot be read of one trace is its ``error``.

        Raises:
            ReadError: the list cannot be read in full, or the server refuses spans altogether.
        """
        pages_of_infos = (page for page in self.infos(experiment_id) if page)
        first = next(pages_of_infos, None)
        if first is None:
            return
        runs, problem = self._runs_by_trace(experiment_id, run_ids)
        infos = (self._linked(page) for page in chain([first], pages_of_infos))

        def takes(trace: Entity) -> bool:
            return wanted is None or wanted(trace.entity_id)

        def filled(group: list[Entity]) -> list[Entity]:
            return self._filled(group, self.beside) if takes(group[0]) else group

        # what is wanted stands apart, so that batches stay full
        groups = (
            group for page in infos for one in (True, False) for group in _groups([t for t in page if takes(t) is one])
        )
        for group in drained(self.pool, filled, groups, self.at_once):
            yield [_of_runs(trace, runs.get(trace.entity_id, []), problem) for trace in group]

    def _runs_by_trace(
        self, experiment_id: str, run_ids: Callable[[], Iterable[str]]
    ) -> tuple[Mapping[str, list[str]], str | None]:
        """Return the runs to which traces were linked, by trace id, and why they are not all known."""
        found: dict[str, list[str]] = defaultdict(list)
        if self.three is False:
            # links came after V3
            return found, None

        def one(run_id: str) -> tuple[str, set[str]]:
            return run_id, traces_of_run(self.session, experiment_id, run_id, self.page)

        try:
            for run_id, traces in drained(self.pool, one, run_ids(), self.at_once):
                for trace_id in traces:
                    found[trace_id].append(run_id)
        except ReadError as error:
            return {}, self.redact(f"the runs that it is linked to cannot be read: {error}")
        return found, None

    def _linked(self, traces: list[Entity]) -> list[Entity]:
        """Return traces with the prompt versions that no more than an association names."""
        links = self.links() if traces else None
        if links is None:
            return traces
        return [
            replace(trace, facets={**trace.facets, "linked_prompts": links.get(trace.entity_id, [])})
            for trace in traces
        ]

    # --- infos

    def infos(self, experiment_id: str) -> Iterator[list[Entity]]:
        """Yield every trace of an experiment without its spans, each once.

        Raises:
            ReadError: the list cannot be read in full.
        """
        if self.three is not False:
            body = {
                "locations": [
                    {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}},
                ],
                "max_results": self.page,
                "order_by": ["timestamp_ms ASC"],
            }
            try:
                yield from self._each(experiment_id, endpoints.TRACES, body, trace_v3)
            except RequestRefused as error:
                if self.three or not is_absent(error):
                    raise
                self.three = False
            else:
                return
        query = {"experiment_ids": [experiment_id], "max_results": self.page, "order_by": ["timestamp_ms ASC"]}
        yield from self._each(experiment_id, endpoints.TRACES_V2, query, trace_v2)

    def _each(
        self,
        experiment_id: str,
        endpoint: endpoints.Endpoint,
        query: Mapping[str, Any],
        make: Callable[[Entry], Entity],
    ) -> Iterator[list[Entity]]:
        def trace(entry: Entry) -> Entity:
            found = make(entry)
            if found.container != experiment_id:
                raise MalformedAnswer(f"asked for traces of experiment {experiment_id}, got {found.container}")
            return found

        what = f"the traces of experiment {experiment_id}"
        yield from each_once(
            lambda: pages(self.session, endpoint, query, "traces"), trace, lambda one: one.entity_id, what
        )

    # --- spans

    def by_api(self, traces: list[Entity]) -> list[Entity]:
        """Return traces with their spans as the API tells them, in the same order."""
        return self._filled(traces, lambda _: {})

    def _filled(self, traces: list[Entity], beside: Beside) -> list[Entity]:
        """Return traces with their spans."""
        in_database = [trace for trace in traces if trace.facets["tags"].get(_LOCATION) in _IN_DATABASE]
        known = beside([trace for trace in in_database if trace.facets["tags"][_LOCATION] != _ARCHIVED])
        asked = [trace.entity_id for trace in in_database if trace.entity_id not in known]
        spans: dict[str, _Spans] = {trace_id: (found, {}) for trace_id, found in known.items()}
        if self.batches and asked:
            spans |= self._batch(asked)
        return [
            _with_spans(trace, *spans[trace.entity_id]) if trace.entity_id in spans else self._alone(trace)
            for trace in traces
        ]

    def _batch(self, ids: list[str]) -> dict[str, _Spans]:
        """Return the spans of the traces that the server has whole; one bad trace must not take the others along."""
        try:
            answer = self.session.get(endpoints.TRACE_BATCH, [("trace_ids", trace_id) for trace_id in ids])
        except RequestRefused as error:
            if is_absent(error):
                self.batches = False
                return {}
            if error.status in (401, 403):
                raise
            if len(ids) == 1:
                return {}
            half = len(ids) // 2
            return {**self._batch(ids[:half]), **self._batch(ids[half:])}
        found: dict[str, _Spans] = {}
        for entry in list_in(answer, "traces"):
            trace_id, spans = made(lambda one: (one["trace_info"]["trace_id"], spans_of(one.get("spans", []))), entry)
            found[trace_id] = spans, unclaimed(entry, _BATCHED)
        return found

    def _alone(self, trace: Entity) -> Entity:
        """Return one trace with the spans of its file; what a batch leaves out is not whole, but may be had in part."""
        store: Store | None = None
        try:
            location = trace.facets["tags"].get(_FILES)
            store = self.store_of(trace.entity_id, location) if location else None
            found = self._from_store(store) if store else self._from_server(trace.entity_id)
            entries = made(lambda one: list(one["spans"]), found)
            return _with_spans(
                trace, made(lambda _: spans_of(entries, trace.entity_id), {}), unclaimed(found, _IN_FILE)
            )
        except ReadError as error:
            missing = isinstance(error, RequestRefused) and is_gone(error, *_NO_FILE)
            if isinstance(error, RequestRefused) and error.status in (401, 403) and store is None:
                raise
            if missing and trace.facets["state"] == "IN_PROGRESS":
                # its spans are written when it ends
                return trace
            return replace(trace, error=self.redact(f"its spans cannot be read: {error}"))

    def _from_server(self, trace_id: str) -> Mapping[str, Any]:
        return _object(self.session.download(endpoints.TRACE_FILE, joined, query={"request_id": trace_id}))

    def _from_store(self, store: Store) -> Mapping[str, Any]:
        [way, *_] = store.ways(Artifact(_FILE, None))
        return _object(way(joined))


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        found = parse(content)
    except (ValueError, RecursionError):
        raise MalformedAnswer(f"{_FILE} is not JSON") from None
    if not isinstance(found, dict):
        raise MalformedAnswer(f"{_FILE} is not a JSON object")
    return found


def _with_spans(trace: Entity, spans: Sequence[Mapping[str, Any]], other: Mapping[str, Any]) -> Entity:
    told = size_stat(trace, "num_spans")
    error = None
    # some that are missing of an old one stay so: MLflow's client may lose one on a busy server. Comparing tells it
    settled = spans and time.time() - _ended(trace) > _SETTLED
    if told is not None and len(spans) < told and trace.facets["state"] != "IN_PROGRESS" and not settled:
        error = f"{len(spans)} of its {told} spans are there"
    elif not spans and trace.facets["tags"].get(_LOCATION) == _ARCHIVED:
        # MLflow archives no trace without spans, and tells of a file that is gone as of one without any
        error = "its archive is gone: none of its spans is there"
    facets = {**trace.facets, "spans": list(spans)}
    if other:
        facets["other"] = {**facets.get("other", {}), **{f"spans: {key}": value for key, value in other.items()}}
    return replace(trace, facets=facets, error=error)


def _of_runs(trace: Entity, runs: Iterable[str], problem: str | None) -> Entity:
    """Return a trace with the runs that it was linked to; where these are not known, it has no such facet."""
    if problem is None:
        return replace(trace, facets={**trace.facets, "run_links": sorted(runs)})
    facets = {name: value for name, value in trace.facets.items() if name != "run_links"}
    return replace(trace, facets=facets, error="; ".join(filter(None, (trace.error, problem))))


def _ended(trace: Entity) -> float:
    """Return when a trace ended, in seconds since 1970; where that is not told, it may be now."""
    times = trace.facets["times"]
    return math.inf if times["request"] is None else (times["request"] + (times["duration"] or 0)) / 1000


def _groups(traces: Sequence[Entity]) -> Iterator[list[Entity]]:
    group: list[Entity] = []
    letters = 0
    for trace in traces:
        size = len(trace.entity_id) + len("trace_ids=&")
        if group and (len(group) == _BATCH or letters + size > _LETTERS):
            yield group
            group, letters = [], 0
        group.append(trace)
        letters += size
    if group:
        yield group
