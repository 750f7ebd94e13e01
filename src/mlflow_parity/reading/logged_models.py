"""Logged models of MLflow 3."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.json_text import text, whole
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds.schema.unknown import PAIRS, claims, facet
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import Entry, each_once, pages, pairs
from mlflow_parity.reading.transport.session import Session

_PAGE = 1_000
_METRIC = claims("key value step timestamp dataset_name dataset_digest run_id model_id")
_CLAIMS = claims(
    "",
    info=claims(
        "model_id experiment_id name creation_timestamp_ms last_updated_timestamp_ms artifact_uri status "
        "status_message model_type source_run_id",
        tags=PAIRS,
    ),
    # of a metric, what nothing knows is compared with it
    data=claims("metrics", params=PAIRS),
)


def read_logged_models(session: Session, experiment_id: str, page: int | None = None) -> Iterator[list[Entity]]:
    """Yield every logged model of an experiment in pages, each once; deleted ones cannot be listed.

    Raises:
        ReadError: the list cannot be read in full.
    """
    query = {
        "experiment_ids": [experiment_id],
        "max_results": page or _PAGE,
        # the id decides between models of one time; new ones come last
        "order_by": [{"field_name": "creation_timestamp", "ascending": True}],
    }

    def make(entry: Entry) -> Entity:
        model = logged_model(entry)
        if model.container != experiment_id:
            raise MalformedAnswer(f"asked for models of experiment {experiment_id}, got {model.container}")
        return model

    yield from each_once(
        lambda: pages(session, endpoints.LOGGED_MODELS, query, "models"),
        make,
        lambda model: model.entity_id,
        f"the logged models of experiment {experiment_id}",
    )


def logged_model(entry: Entry) -> Entity:
    """Return a logged model of an entry of the list."""
    info, data = entry["info"], entry.get("data", {})
    created = whole(info.get("creation_timestamp_ms"))
    return Entity(
        kind="logged_model",
        entity_id=info["model_id"],
        name=info.get("name", ""),
        container=str(info["experiment_id"]),
        created=created,
        facets={
            "name": info.get("name", ""),
            "type": text(info.get("model_type")),
            "status": {"status": info.get("status"), "message": text(info.get("status_message"))},
            "tags": pairs(info.get("tags")),
            "params": pairs(data.get("params")),
            "metrics": _metrics(data.get("metrics", [])),
            "run": text(info.get("source_run_id")),
            "times": {"creation": created, "update": whole(info.get("last_updated_timestamp_ms"))},
            **facet(entry, _CLAIMS),
        },
        artifact_uri=text(info.get("artifact_uri")),
    )


def _metrics(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return the points of all metrics in an order that does not depend on ids where anything else differs."""
    points = [
        {
            "key": entry["key"],
            "value": float(entry["value"]),
            "step": int(entry.get("step", 0)),
            "timestamp": int(entry.get("timestamp", 0)),
            "dataset_name": text(entry.get("dataset_name")),
            "dataset_digest": text(entry.get("dataset_digest")),
            "run": text(entry.get("run_id")),
            **facet(entry, _METRIC),
        }
        for entry in entries
    ]
    return sorted(points, key=_place)


def _place(point: dict[str, Any]) -> tuple[str, int, int, str, str, str, str]:
    return (
        point["key"],
        point["step"],
        point["timestamp"],
        point["dataset_name"] or "",
        point["dataset_digest"] or "",
        # NaN has no order as a number
        repr(point["value"]),
        point["run"] or "",
    )
