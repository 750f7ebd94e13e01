"""Experiments and runs as the searches give them → records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow_parity.core.json_text import whole
from mlflow_parity.core.records import LINKED, DatasetInput, Experiment, MetricPoint, Run
from mlflow_parity.kinds.schema.unknown import PAIRS, Each, claims, unclaimed
from mlflow_parity.reading.transport.listing import Entry, pairs

# the contract names which of these are claimed and not compared, and why
_EXPERIMENT = claims(
    "experiment_id name lifecycle_stage artifact_location creation_time last_update_time workspace "
    "effective_trace_archival_retention",
    tags=PAIRS,
)
_INFO = claims("run_id run_uuid experiment_id run_name status start_time end_time user_id lifecycle_stage artifact_uri")
_DATASET = claims("name digest source_type source schema profile")
_INPUT = Each(
    claims("", dataset=_DATASET, tags=PAIRS),
    lambda entry: f"{entry['dataset']['name']} {entry['dataset']['digest']}",
)
_RUN = claims(
    "",
    info=_INFO,
    data=claims(
        "",
        params=PAIRS,
        tags=PAIRS,
        metrics=Each(claims("key value step timestamp dataset_name dataset_digest model_id run_id")),
    ),
    # the links to logged models are taken from another answer, where they are asked for
    inputs=claims("model_inputs", dataset_inputs=_INPUT),
    outputs=claims("model_outputs"),
)
_LINK = Each(claims("model_id step"), lambda entry: str(entry.get("step", "")))
#: What the other answer repeats is taken from the search.
_LINKS = claims(
    "info data", inputs=claims("dataset_inputs", model_inputs=_LINK), outputs=claims("", model_outputs=_LINK)
)


def experiment(entry: Entry) -> Experiment:
    """Return an entry of ``experiments/search``."""
    return Experiment(
        experiment_id=str(entry["experiment_id"]),
        name=entry["name"],
        lifecycle_stage=entry.get("lifecycle_stage", "active"),
        artifact_location=entry.get("artifact_location", ""),
        creation_time=whole(entry.get("creation_time")),
        last_update_time=whole(entry.get("last_update_time")),
        tags=pairs(entry.get("tags", [])),
        other=unclaimed(entry, _EXPERIMENT),
    )


def run(entry: Entry) -> Run:
    """Return an entry of ``runs/search``."""
    info, data = entry["info"], entry.get("data", {})
    tags = pairs(data.get("tags", []))
    return Run(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        # servers before 2.0 knew the name as a tag only
        name=info.get("run_name") or tags.get("mlflow.runName", ""),
        status=str(info["status"]),
        start_time=whole(info.get("start_time")),
        end_time=whole(info.get("end_time")),
        user_id=info.get("user_id", ""),
        lifecycle_stage=info.get("lifecycle_stage", "active"),
        artifact_uri=info.get("artifact_uri", ""),
        params=pairs(data.get("params", [])),
        tags=tags,
        metrics={
            point["key"]: MetricPoint(int(point.get("step", 0)), int(point.get("timestamp", 0)), float(point["value"]))
            for point in data.get("metrics", [])
        },
        inputs=tuple(_input(found) for found in entry.get("inputs", {}).get("dataset_inputs", [])),
        other=unclaimed(entry, _RUN),
    )


def model_links(entry: Entry) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]:
    """Return the models that a run used and made, as ``runs/get`` tells.

    ``runs/search`` tells of no used model on any version (seen up to 3.17), and of made ones on newer servers only.
    """
    used = entry.get("inputs", {}).get("model_inputs", [])
    return _models(used), _models(entry.get("outputs", {}).get("model_outputs", []))


def beside_links(entry: Entry) -> dict[str, Any]:
    """Return what ``runs/get`` tells beside them and nothing here knows."""
    return unclaimed(entry, _LINKS, LINKED)


def _input(entry: Entry) -> DatasetInput:
    dataset = entry["dataset"]
    return DatasetInput(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type=dataset.get("source_type", ""),
        source=dataset.get("source", ""),
        schema=dataset.get("schema", ""),
        profile=dataset.get("profile", ""),
        tags=tuple(sorted((tag["key"], tag.get("value", "")) for tag in entry.get("tags", []))),
    )


def _models(entries: Sequence[Entry]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((entry["model_id"], int(entry.get("step", 0))) for entry in entries))
