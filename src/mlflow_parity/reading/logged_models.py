"""Logged models of an experiment, whole pages of a search; the links of runs to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from mlflow_parity.model import Entity, Run
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.paging import complete, made, milliseconds, tags_of
from mlflow_parity.reading.session import Session

_PAGE = 100
_STATUS = "LOGGED_MODEL_"


def read_logged_models(session: Session, experiment_id: str) -> Iterator[list[Entity]]:
    """Yield the logged models of an experiment (deleted ones cannot be listed).

    Raises:
        ReadError: when the list cannot be read.
    """
    query = {"experiment_ids": [experiment_id], "max_results": _PAGE,
             "order_by": [{"field_name": "creation_timestamp", "ascending": True}]}  # fmt: skip
    for page in complete(session, endpoints.LOGGED_MODELS, query, "models", lambda entry: entry["info"]["model_id"]):
        yield [made(_logged_model, entry) for entry in page]


def _logged_model(entry: Mapping[str, Any]) -> Entity:
    info, data = entry["info"], entry.get("data", {})
    metrics = [
        {
            "key": point["key"],
            "value": float(point["value"]),
            "step": int(point.get("step", 0)),
            "timestamp": int(point.get("timestamp", 0)),
            "dataset_name": point.get("dataset_name") or None,
            "dataset_digest": point.get("dataset_digest") or None,
            "run": point.get("run_id") or None,
        }
        for point in data.get("metrics", [])
    ]
    times = {
        "creation": milliseconds(info.get("creation_timestamp_ms")),
        "update": milliseconds(info.get("last_updated_timestamp_ms")),
    }
    facets = {
        "type": info.get("model_type") or "",
        "status": {
            "status": str(info.get("status", "")).removeprefix(_STATUS),
            "message": info.get("status_message", ""),
        },
        "tags": tags_of(info.get("tags")),
        "params": tags_of(data.get("params")),
        "metrics": sorted(metrics, key=lambda point: (point["key"], point["step"], point["timestamp"], repr(point))),
        "run": info.get("source_run_id") or None,
        "times": times,
    }
    return Entity(
        "logged_model",
        info["model_id"],
        info.get("name", ""),
        str(info["experiment_id"]),
        times["creation"],
        facets,
        artifact_uri=info.get("artifact_uri", ""),
    )


def links_of(entry: Mapping[str, Any]) -> dict[str, tuple[tuple[str, int], ...]]:
    """Return the model links of one run as the API gives it."""
    found = {}
    for side in ("inputs", "outputs"):
        links = (entry.get(side) or {}).get(f"model_{side}", [])
        found[f"model_{side}"] = tuple(sorted((link["model_id"], int(link.get("step", 0))) for link in links))
    return found


def with_links(session: Session, runs: Sequence[Run], pool: ThreadPoolExecutor, at_once: int) -> list[Run]:
    """Return the runs with their model links. ``runs/search`` leaves model inputs out, so each run is asked for.

    Raises:
        ReadError: when a run cannot be read.
    """

    def one(place: int) -> tuple[int, Run]:
        answer = session.get(endpoints.RUN, {"run_id": runs[place].run_id})
        return place, replace(runs[place], **made(links_of, answer.get("run", {})))

    found = list(runs)
    for place, run in drained(pool, one, range(len(runs)), at_once):
        found[place] = run
    return found
