"""Spans from their table: the JSON that MLflow keeps of each, which is what a trace's file has of it."""

from __future__ import annotations

import json
import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from threading import Lock
from typing import Any

import pyarrow as pa

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds.trace import size_stat
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.trust import BothWays
from mlflow_parity.reading.traces.spans import spans_of
from mlflow_parity.reading.transport.responses import parse

_CHANCE = random.SystemRandom()
#: Ids that MLflow gives to traces. Nothing else is put into a query.
_TRACE_ID = re.compile(r"[0-9A-Za-z_:/.-]{1,64}")
_SCHEMA = pa.schema([("trace_id", pa.string()), ("content", pa.string())])
_COLUMNS = {"trace_id", "content"}
#: How a half of a pair of UTF-16 begins in JSON.
_HALF = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


class SpansBeside:
    """Reads spans of a server from its database, and some of each experiment by the API too; used by many threads.

    ``by_api`` reads the spans of traces by the API alone; ``again`` opens the database as it is now.
    """

    def __init__(
        self,
        columns: Mapping[str, Collection[str]],
        by_api: Callable[[list[Entity]], list[Entity]],
        again: Callable[[], Database],
    ) -> None:
        # releases before 3.5 have no such table, and a role may have no right to it: the API has them all the same
        self._there = set(columns.get("spans", ())) >= _COLUMNS
        self._by_api, self._again = by_api, again
        self._lock = Lock()
        self._shown = BothWays()
        self.read = 0
        """Traces whose spans came from the database."""

    @property
    def shown(self) -> int:
        """How many of them were read by the API too, and are the same."""
        return self._shown.count

    def of(self, database: Database, traces: Sequence[Entity]) -> dict[str, list[dict[str, Any]]]:
        """Return the spans of those traces that the database has whole, by trace id; the API tells the others.

        Raises:
            ReadError: the database cannot be read, or holds other spans than the server tells.
        """
        if not self._there:
            return {}
        found = read_spans(database, (trace.entity_id for trace in traces))
        whole = [
            trace
            for trace in traces
            if trace.entity_id in found and len(found[trace.entity_id]) >= (size_stat(trace, "num_spans") or 0)
        ]
        if not whole or not self._both_ways(whole, found):
            return {}
        with self._lock:
            self.read += len(whole)
        return {trace.entity_id: found[trace.entity_id] for trace in whole}

    def _both_ways(self, traces: Sequence[Entity], found: Mapping[str, list[dict[str, Any]]]) -> bool:
        """Whether the API tells the same of some of these traces.

        Raises:
            MalformedAnswer: it tells other spans, though none changed.
        """
        place = traces[0].container
        wanted = self._shown.wanted(place, len(traces))
        if not wanted:
            return True
        tried = _CHANCE.sample(traces, min(wanted, len(traces)))
        for trace, told in zip(tried, self._by_api(list(tried)), strict=True):
            if told.error is not None or told.facets.get("other") != trace.facets.get("other"):
                # it cannot be read by the API, or the API tells more than the database: as it would be without one
                return False
            here = digest(found[trace.entity_id])
            if digest(told.facets["spans"]) == here:
                self._shown.add(place)
            elif self._digest_now(trace.entity_id) == here:
                raise MalformedAnswer(f"the database and the server disagree on the spans of trace {trace.entity_id}")
        return True

    def _digest_now(self, trace_id: str) -> bytes:
        database = self._again()
        try:
            return digest(read_spans(database, [trace_id]).get(trace_id))
        finally:
            database.close()


def read_spans(database: Database, trace_ids: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the spans of those traces that can be told from their rows as the API tells them, by trace id.

    Raises:
        ReadError: they cannot be read.
    """
    asked = [one for one in trace_ids if _TRACE_ID.fullmatch(one)]
    if not asked:
        return {}
    listed = ", ".join(f"'{one}'" for one in asked)
    contents: defaultdict[object, list[object]] = defaultdict(list)
    query = f"SELECT s.trace_id, s.content FROM spans s WHERE s.trace_id IN ({listed})"
    for trace_id, content in database.rows(query, _SCHEMA):
        contents[trace_id].append(content)
    if contents.keys() - set(asked):
        raise MalformedAnswer("the database gives spans of traces that were not asked for")
    every = {str(trace_id): _spans(found) for trace_id, found in contents.items()}
    return {trace_id: spans for trace_id, spans in every.items() if spans is not None}


def _spans(contents: Sequence[object]) -> list[dict[str, Any]] | None:
    """Return spans of what was kept of them; ``None``: one is none, or the API may tell it otherwise."""
    try:
        entries = [parse(str(content or "").encode()) for content in contents]
        # of links the server leaves out those whose ids it cannot send
        if any(entry.get("links") for entry in entries):
            return None
        spans = spans_of(entries)
        if any(_HALF.search(str(content)) for content in contents):
            # and of text what is no Unicode
            json.dumps(spans, ensure_ascii=False).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ReadError):
        return None
    return spans
