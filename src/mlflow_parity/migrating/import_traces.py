"""Traces: info and assessments by one call of the V3 API, spans as the file in which every server reads them.

The tool's import starts spans anew by a client of its own, which needs MLflow before 3.6, and cannot take the ids,
times and overrides along.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from mlflow_parity.digests import digest
from mlflow_parity.errors import ParityError, RequestRefused
from mlflow_parity.migrating.importing import Import
from mlflow_parity.migrating.run_writing import NotMoved
from mlflow_parity.model import Entity, Experiment
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.trace_infos import trace_v3
from mlflow_parity.snapshot.store import PlaceObjects

_API = "/api/3.0/mlflow/traces"
_CHUNK = 200
_FILE = "traces.json"
#: Where the source keeps spans says nothing of where the target does.
_PLACES = ("mlflow.artifactLocation", "mlflow.trace.spansLocation")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def import_traces(context: Import, experiment: Experiment) -> None:
    """Bring every trace of an experiment to the target, side by side."""
    objects = context.export.snapshot.objects(experiment.experiment_id)
    target = context.journal.target("experiment", experiment.experiment_id)
    if objects.problem("traces") is not None or target is None:
        return

    def one(trace: Entity) -> None:
        _import(context, trace, target)

    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-traces") as pool:
        for _ in drained(pool, one, _traces(objects), 2 * context.workers):
            pass


def _traces(objects: PlaceObjects) -> Iterator[Entity]:
    ids = [key.entity_id for key in objects.keys("trace")]
    for first in range(0, len(ids), _CHUNK):
        yield from objects.entities("trace", ids[first : first + _CHUNK])


def _import(context: Import, trace: Entity, experiment: str) -> None:
    journal = context.journal
    entry = journal.entry("trace", trace.entity_id)
    state = digest([trace.entity_id, dict(trace.facets)]).hex()
    if entry is not None and entry.state == "done" and entry.digest == state:
        return
    journal.begin("trace", trace.entity_id, place=trace.container, name=trace.name)
    try:
        if trace.error is not None:
            raise NotMoved(f"it could not be read at the source: {trace.error}")
        info = _info(context, trace, experiment)
        there = None if entry is None else _present(context, trace.entity_id)
        if there is not None and there.container != experiment:
            raise NotMoved("the target has a trace of this id in another experiment")
        answer = context.writer.call("POST", _API, {"trace": {"trace_info": info}}) if there is None else None
        if answer is not None:
            there = trace_v3(answer["trace"]["trace_info"])
        assert there is not None
        journal.created("trace", trace.entity_id, there.entity_id)
        _tags(context, there, info["tags"])
        _assessments(context, trace, there)
        if trace.facets["spans"]:
            place = str(there.facets["tags"].get("mlflow.artifactLocation") or "")
            content = spans_file(there.entity_id, trace.facets["spans"])
            context.uploads.put(place, _FILE, content)
            context.told(size=len(content))
        journal.done("trace", trace.entity_id, state)
        context.told(objects=1)
    except ParityError as error:
        journal.failed("trace", trace.entity_id, str(error))


def _present(context: Import, trace_id: str) -> Entity | None:
    try:
        answer = context.writer.call("GET", f"{_API}/{quote(trace_id, safe='')}")
    except RequestRefused as error:
        if error.status == 404:
            return None
        raise
    return trace_v3(answer["trace"]["trace_info"])


def _info(context: Import, trace: Entity, experiment: str) -> dict[str, Any]:
    """Return the trace as V3's ``TraceInfo``."""
    facets, journal = trace.facets, context.journal
    times, previews = facets["times"], facets["previews"]
    metadata = dict(facets["metadata"])
    for key, kind, name in (("run", "run", "mlflow.sourceRun"), ("logged_model", "logged_model", "mlflow.modelId")):
        if facets[key]:
            copy = journal.target(kind, facets[key])
            if copy is None and journal.state(kind, facets[key]) is not None:
                raise NotMoved(f"its {kind.replace('_', ' ')} {facets[key]} is not on the target")
            # one that is gone at the source is a dead link here as there
            metadata[name] = copy or facets[key]
    info: dict[str, Any] = {
        "trace_id": trace.entity_id,
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": _moment(times["request"]),
        "state": facets["state"],
        "trace_metadata": metadata,
        "tags": {key: value for key, value in facets["tags"].items() if key not in _PLACES},
        # one that overrides another comes later: only then does the server say of that other that it is not valid
        "assessments": [_assessment(trace.entity_id, one) for one in facets["assessments"] if not one["overrides"]],
    }
    if times["duration"] is not None:
        info["execution_duration"] = f"{Decimal(times['duration']) / 1000}s"
    given = {
        "client_request_id": facets["client_request_id"],
        "request_preview": previews["request"],
        "response_preview": previews["response"],
    }
    return {**info, **{key: value for key, value in given.items() if value is not None}}


def _assessment(trace_id: str, one: Mapping[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "assessment_id": one["id"],
        "assessment_name": one["name"],
        "trace_id": trace_id,
        "source": {"source_type": one["source"]["type"], "source_id": one["source"]["id"] or ""},
        "metadata": dict(one["metadata"]),
        "create_time": _moment(one["created"]),
        "last_update_time": _moment(one["updated"]),
    }
    for key in ("rationale", "span_id", "overrides", "valid"):
        if one[key] is not None:
            body[key] = one[key]
    value = one["value"]
    if one["kind"] == "feedback":
        body["feedback"] = {"value": value, **({"error": one["error"]} if one["error"] else {})}
    elif one["kind"] == "issue":
        body["issue"] = {"issue_name": value}
    elif isinstance(value, (dict, list)):
        body["expectation"] = {"serialized_value": {"value": json.dumps(value), "serialization_format": "JSON_FORMAT"}}
    else:
        body["expectation"] = {"value": value}
    return body


def _tags(context: Import, there: Entity, wanted: Mapping[str, str]) -> None:
    for key, value in wanted.items():
        if there.facets["tags"].get(key) != value:
            path = f"{_API}/{quote(there.entity_id, safe='')}/tags"
            context.writer.call("PATCH", path, {"trace_id": there.entity_id, "key": key, "value": value})


def _assessments(context: Import, trace: Entity, there: Entity) -> None:
    """Add those that the target did not take with the trace itself, older ones first: the newer may override them."""
    known = {one["id"] for one in there.facets["assessments"]}
    ids: dict[str, str] = {one: one for one in known}
    for one in sorted(trace.facets["assessments"], key=lambda one: (one["created"] or 0, str(one["id"]))):
        if one["id"] in known:
            continue
        body = _assessment(there.entity_id, one)
        if "overrides" in body:
            body["overrides"] = ids.get(body["overrides"], body["overrides"])
        path = f"{_API}/{quote(there.entity_id, safe='')}/assessments"

        def made(answer: Mapping[str, Any]) -> str:
            return str(answer["assessment"]["assessment_id"])

        def find(wanted: Mapping[str, Any] = one) -> str | None:
            found = _present(context, there.entity_id)
            same = ("name", "kind", "value", "created")
            return next(
                (
                    str(other["id"])
                    for other in (found.facets["assessments"] if found else ())
                    if all(other[key] == wanted[key] for key in same) and other["id"] not in ids.values()
                ),
                None,
            )

        there_already = find()
        ids[str(one["id"])] = there_already or context.writer.create(path, {"assessment": body}, find=find, made=made)


def spans_file(trace_id: str, spans: Sequence[Mapping[str, Any]]) -> bytes:
    """Return ``traces.json`` as MLflow 3 writes it: OpenTelemetry's names, ids in base64, attributes as JSON text."""
    plain = trace_id.removeprefix("tr-")
    otel = _base64(plain) if len(plain) == 32 and all(c in "0123456789abcdef" for c in plain) else _base64("0" * 32)
    return json.dumps({"spans": [_span(trace_id, otel, one) for one in spans]}).encode()


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _span(trace_id: str, otel: str, one: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {"mlflow.traceRequestId": trace_id, **one["attributes"]}
    for key, name in (("type", "mlflow.spanType"), ("inputs", "mlflow.spanInputs"), ("outputs", "mlflow.spanOutputs")):
        if one[key] is not None:
            attributes[name] = one[key]
    return {
        "trace_id": otel,
        "span_id": _base64(one["span_id"]),
        "parent_span_id": _base64(one["parent_id"]) if one["parent_id"] else None,
        "name": one["name"],
        "start_time_unix_nano": one["start_ns"],
        "end_time_unix_nano": one["end_ns"],
        "events": [
            {"name": event["name"], "time_unix_nano": event["time_ns"], "attributes": event["attributes"]}
            for event in one["events"]
        ],
        "status": {"code": f"STATUS_CODE_{one['status']['code']}", "message": one["status"]["message"] or ""},
        "attributes": {key: json.dumps(value) for key, value in attributes.items()},
        **({"links": [dict(link) for link in one["links"]]} if one["links"] else {}),
    }


def _moment(milliseconds: int | None) -> str | None:
    """Return a time as protobuf's JSON has it."""
    if milliseconds is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03d}Z"
