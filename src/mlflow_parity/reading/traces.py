"""Traces of an experiment: infos by pages of a search, spans by batches, or file by file where a server has no batch.

facts: the third API came with 3.0, ``traces/batchGet`` with 3.6; 2.14 to 2.22 have the second API only, which tells
no assessments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow_parity.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.model import Entity
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.paging import complete, made, tags_of
from mlflow_parity.reading.session import Session
from mlflow_parity.reading.spans import assessment_of, duration_milliseconds, iso_milliseconds, span_of

_PAGE = 200
#: Letters of trace ids in one request: gunicorn's request line ends at 4,094.
_LETTERS = 3_000
_MOST_IDS = 50
_PROMPTS_TAG = "mlflow.linkedPrompts"
_RUN, _MODEL = "mlflow.sourceRun", "mlflow.modelId"
_STORED = "TRACKING_STORE"

#: Reads the file ``traces.json`` of a trace, given its id and the tag ``mlflow.artifactLocation``.
SpansFile = Callable[[str, str], bytes]


def read_traces(
    session: Session,
    experiment_id: str,
    *,
    third: bool,
    batches: bool,
    spans_file: SpansFile,
    pool: ThreadPoolExecutor,
    at_once: int,
) -> Iterator[list[Entity]]:
    """Yield the traces of an experiment with their spans (deleted ones cannot be listed).

    ``third``: the server has the third API; ``batches``: and ``traces/batchGet``. A trace whose spans cannot be read
    carries the error.

    Raises:
        ReadError: when the list cannot be read.
    """
    for page in _infos(session, experiment_id, third=third):
        stored = [info for info in page if batches and info["tags"].get("mlflow.trace.spansLocation") == _STORED]
        known = {id(info) for info in stored}
        filed = [info for info in page if id(info) not in known]

        def batch(infos: Sequence[dict[str, Any]]) -> list[Entity]:
            return _with_batch(session, infos, spans_file)

        def file(info: dict[str, Any]) -> list[Entity]:
            return [_with_file(info, spans_file)]

        yield from drained(pool, batch, _groups(stored), at_once)
        yield from drained(pool, file, filed, at_once)


def _infos(session: Session, experiment_id: str, *, third: bool) -> Iterator[list[dict[str, Any]]]:
    if third:
        location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
        query: dict[str, Any] = {"locations": [location], "max_results": _PAGE, "order_by": ["timestamp_ms ASC"]}
        for page in complete(session, endpoints.TRACES_V3, query, "traces", lambda entry: entry["trace_id"]):
            yield [made(_third, entry) for entry in page]
        return
    query = {"experiment_ids": experiment_id, "max_results": _PAGE, "order_by": "timestamp_ms ASC"}
    for page in complete(session, endpoints.TRACES_V2, query, "traces", lambda entry: entry["request_id"]):
        yield [made(_second, entry) for entry in page]


def _third(entry: Mapping[str, Any]) -> dict[str, Any]:
    metadata = dict(entry.get("trace_metadata") or {})
    location = (entry.get("trace_location") or {}).get("mlflow_experiment") or {}
    return {
        "trace_id": entry["trace_id"],
        "experiment_id": str(location.get("experiment_id", "")),
        "state": entry.get("state", "STATE_UNSPECIFIED"),
        "times": {
            "request": iso_milliseconds(entry.get("request_time")),
            "duration": duration_milliseconds(entry.get("execution_duration")),
        },
        "client_request_id": entry.get("client_request_id") or None,
        "previews": _previews(entry.get("request_preview"), entry.get("response_preview"), metadata),
        "tags": dict(entry.get("tags") or {}),
        "metadata": metadata,
        "assessments": [assessment_of(one) for one in entry.get("assessments") or []],
    }


def _second(entry: Mapping[str, Any]) -> dict[str, Any]:
    metadata = tags_of(entry.get("request_metadata"))
    return {
        "trace_id": entry["request_id"],
        "experiment_id": str(entry.get("experiment_id", "")),
        "state": entry.get("status", "STATE_UNSPECIFIED"),
        "times": {
            "request": iso_milliseconds(entry.get("timestamp_ms")),
            "duration": duration_milliseconds(entry.get("execution_time_ms")),
        },
        "client_request_id": None,
        "previews": _previews(None, None, metadata),
        "tags": tags_of(entry.get("tags")),
        "metadata": metadata,
        "assessments": [],
    }


def _previews(request: str | None, response: str | None, metadata: Mapping[str, str]) -> dict[str, str | None]:
    """The second API has them in the metadata only; so do its traces after an upgrade."""
    return {
        "request": request or metadata.get("mlflow.traceInputs"),
        "response": response or metadata.get("mlflow.traceOutputs"),
    }


def _groups(infos: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    letters = 0
    for info in infos:
        size = len(info["trace_id"]) + len("&trace_ids=")
        if group and (len(group) >= _MOST_IDS or letters + size > _LETTERS):
            yield group
            group, letters = [], 0
        group.append(info)
        letters += size
    if group:
        yield group


def _with_batch(session: Session, infos: Sequence[dict[str, Any]], spans_file: SpansFile) -> list[Entity]:
    """Read the spans of some traces; what an answer lacks is read by itself."""
    try:
        answer = session.get(endpoints.TRACES_BATCH, [("trace_ids", info["trace_id"]) for info in infos])
        given = {entry["trace_info"]["trace_id"]: entry.get("spans", []) for entry in answer.get("traces", [])}
    except (KeyError, TypeError) as error:
        return [_entity(info, None, f"its spans cannot be read: {type(error).__name__}") for info in infos]
    except RequestRefused as error:
        if len(infos) == 1:
            return [_entity(infos[0], None, str(error))]
        # one bad trace must not take the others with it
        middle = len(infos) // 2
        return [made for half in (infos[:middle], infos[middle:]) for made in _with_batch(session, half, spans_file)]
    except ReadError as error:
        return [_entity(info, None, str(error)) for info in infos]
    return [
        _entity(info, given[info["trace_id"]], None) if info["trace_id"] in given else _with_file(info, spans_file)
        for info in infos
    ]


def _with_file(info: dict[str, Any], spans_file: SpansFile) -> Entity:
    """Read the spans of one trace from its file."""
    try:
        content = json.loads(spans_file(info["trace_id"], info["tags"].get("mlflow.artifactLocation", "")))
        if not isinstance(content, dict) or not isinstance(content.get("spans"), list):
            raise MalformedAnswer("the trace's file holds no spans")
        return _entity(info, content["spans"], None)
    except ReadError as error:
        if info["state"] == "IN_PROGRESS" and "not found" in str(error).lower():
            return _entity(info, [], None)
        return _entity(info, None, str(error))
    except (ValueError, RecursionError):
        return _entity(info, None, "the trace's file is not JSON")


def _entity(info: dict[str, Any], spans: Sequence[Mapping[str, Any]] | None, error: str | None) -> Entity:
    trace_id = info["trace_id"]
    found: list[dict[str, Any]] = []
    if spans is not None:
        try:
            found = [span_of(span, trace_id) for span in spans]
        except (KeyError, TypeError, ValueError, AttributeError) as failed:
            error = f"a span cannot be read: {type(failed).__name__}"
    tags, metadata = dict(info["tags"]), dict(info["metadata"])
    prompts = _prompts(tags.pop(_PROMPTS_TAG, None))
    facets = {
        "state": info["state"],
        "times": info["times"],
        "client_request_id": info["client_request_id"],
        "previews": info["previews"],
        "tags": tags,
        "run": metadata.pop(_RUN, None),
        "logged_model": metadata.pop(_MODEL, None),
        "metadata": metadata,
        "prompts": prompts,
        "spans": sorted(found, key=lambda span: (span["start_ns"] or 0, span["span_id"] or "")),
        "assessments": sorted(info["assessments"], key=lambda one: (one["name"], one["created"] or 0, one["id"])),
    }
    return Entity(
        "trace",
        trace_id,
        tags.get("mlflow.traceName", ""),
        info["experiment_id"],
        info["times"]["request"],
        facets,
        error=error,
    )


def _prompts(text: str | None) -> list[str]:
    """Return the prompt versions that a trace names, as ``name/version``."""
    if not text:
        return []
    try:
        return sorted(f"{entry['name']}/{entry['version']}" for entry in json.loads(text))
    except (ValueError, KeyError, TypeError):
        return [text]
