"""What the trace searches tell of a trace, V2 and V3: everything but its spans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from typing import Any

from mlflow_parity.core.json_text import bounded, or_text, parsed, text, whole
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds.schema.unknown import PAIRS, claims, facet
from mlflow_parity.reading.transport.listing import Entry, pairs

_RUN, _MODEL = "mlflow.sourceRun", "mlflow.modelId"
_INPUTS, _OUTPUTS = "mlflow.traceInputs", "mlflow.traceOutputs"
_NAME = "mlflow.traceName"
_PROMPTS = "mlflow.linkedPrompts"
_V3 = claims(
    "trace_id client_request_id request_preview response_preview request_time execution_duration state trace_metadata "
    "tags assessments",
    trace_location=claims("type", mlflow_experiment=claims("experiment_id")),
)
_V2 = claims("request_id experiment_id timestamp_ms execution_time_ms status", request_metadata=PAIRS, tags=PAIRS)
#: What nothing knows of an assessment is compared with it.
_ASSESSMENT = claims(
    "assessment_id assessment_name trace_id span_id create_time last_update_time rationale metadata overrides valid",
    source=claims("source_type source_id"),
    feedback=claims("value error"),
    expectation=claims("value", serialized_value=claims("value serialization_format")),
    issue=claims("issue_name"),
)


def trace_v3(entry: Entry) -> Entity:
    """Return an entry of the V3 search (TraceInfo), without spans."""
    metadata, tags = dict(entry.get("trace_metadata") or {}), dict(entry.get("tags") or {})
    requested = milliseconds(entry.get("request_time"))
    return _trace(
        entry["trace_id"],
        str(entry["trace_location"]["mlflow_experiment"]["experiment_id"]),
        requested,
        {
            "state": entry.get("state"),
            "times": {"request": requested, "duration": duration(entry.get("execution_duration"))},
            "client_request_id": text(entry.get("client_request_id")),
            "previews": {
                "request": text(entry.get("request_preview")),
                "response": text(entry.get("response_preview")),
            },
            **facet(entry, _V3),
        },
        tags,
        metadata,
        entry.get("assessments") or [],
    )


def trace_v2(entry: Entry) -> Entity:
    """Return an entry of the V2 search, without spans."""
    metadata, tags = pairs(entry.get("request_metadata")), pairs(entry.get("tags"))
    requested = whole(entry.get("timestamp_ms"))
    return _trace(
        entry["request_id"],
        str(entry["experiment_id"]),
        requested,
        {
            "state": entry.get("status"),
            "times": {"request": requested, "duration": whole(entry.get("execution_time_ms"))},
            "client_request_id": None,
            "previews": {
                "request": metadata.get("mlflow.traceInputs"),
                "response": text(metadata.get("mlflow.traceOutputs")),
            },
            **facet(entry, _V2),
        },
        tags,
        metadata,
        [],
    )


def _trace(
    trace_id: str,
    experiment_id: str,
    requested: int | None,
    facets: dict[str, Any],
    tags: dict[str, str],
    metadata: dict[str, str],
    assessments: Sequence[Entry],
) -> Entity:
    prompts = tags.get(_PROMPTS, metadata.get(_PROMPTS))
    return Entity(
        kind="trace",
        entity_id=trace_id,
        name=tags.get(_NAME, ""),
        container=experiment_id,
        created=requested,
        facets={
            **facets,
            "tags": tags,
            "run": text(metadata.pop(_RUN, None)),
            "logged_model": text(metadata.pop(_MODEL, None)),
            "metadata": metadata,
            "spans": [],
            "assessments": sorted((_assessment(entry) for entry in assessments), key=_place),
            "prompts": _prompts(prompts),
            # what only an association tells: read by searches beside the list, where the server has them
            "linked_prompts": None,
            "run_links": None,
        },
    )


def _prompts(value: str | None) -> list[str] | None:
    """Return names and versions from the tag that tells; without it a link may still be, which no answer tells."""
    with suppress(ValueError, TypeError, KeyError):
        return sorted(f"{item['name']}/{item['version']}" for item in parsed(value or ""))
    return None


def _assessment(entry: Entry) -> dict[str, Any]:
    kind = next((name for name in ("feedback", "expectation", "issue") if name in entry), "feedback")
    body = entry.get(kind) or {}
    value = body.get("value")
    if "serialized_value" in body:
        value = or_text(body["serialized_value"]["value"])
    elif kind == "issue":
        value = body.get("issue_name")
    source = entry.get("source") or {}
    return {
        "id": entry.get("assessment_id"),
        "name": entry.get("assessment_name", ""),
        "kind": kind,
        "value": bounded(value),
        "error": bounded(dict(body["error"])) if body.get("error") else None,
        "rationale": text(entry.get("rationale")),
        "source": {"type": source.get("source_type"), "id": text(source.get("source_id"))},
        "metadata": dict(entry.get("metadata") or {}),
        "span_id": text(entry.get("span_id")),
        "overrides": text(entry.get("overrides")),
        # file stores leave it out of expectations; MLflow takes what is not told for valid, and databases write so
        "valid": entry.get("valid", True),
        "created": milliseconds(entry.get("create_time")),
        "updated": milliseconds(entry.get("last_update_time")),
        **facet(entry, _ASSESSMENT),
    }


def _place(assessment: dict[str, Any]) -> tuple[str, str, int, str, str]:
    value = json.dumps(assessment["value"], sort_keys=True, default=str)
    return assessment["name"], assessment["kind"], assessment["created"] or 0, value, str(assessment["id"])


def milliseconds(value: str | None) -> int | None:
    """Return a time of RFC 3339 as ms; protobuf writes up to nine decimals."""
    if not value:
        return None
    whole_part, _, rest = value.removesuffix("Z").partition(".")
    if not value.endswith("Z"):
        raise ValueError("a time without Z")
    # it is a tenth of what reading a trace costs by strptime
    if len(whole_part) != 19 or whole_part[4:11:3] != "--T":
        raise ValueError("a time that is not written as RFC 3339 does")
    moment = datetime.fromisoformat(f"{whole_part}+00:00")
    return int(moment.timestamp()) * 1000 + int((rest + "000")[:3])


def duration(value: str | int | None) -> int | None:
    """Return a duration such as ``1.234s`` as ms."""
    return None if value is None else int(Decimal(str(value).removesuffix("s")) * 1000)
