"""Logged models: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.core.scope import EXPORT_IMPORT
from mlflow_parity.kinds.schema.base import (
    Kind,
    expected,
    files,
    infinity,
    link,
    moved,
    negative_zero,
    not_compared,
    other,
    own,
    paired,
    presence,
    status,
    tags,
    times,
    value,
)

LOGGED_MODEL = Kind(
    "logged_model",
    "logged models",
    "experiment",
    "logged_models",
    (
        presence(
            "Every logged model has exactly one copy in the copy of its experiment, also where several runs "
            "use it. Deleted ones cannot be listed.",
            expected(
                "id",
                "model_id, experiment_id, artifact_uri",
                "The target gives its own ids; the pairing replaces them.",
                "the model was created on the target, and its files are in no place of the source or of another "
                "copy, and on no other server",
            ),
        ),
        value("name", "name", "People look for it by its name."),
        value("type", "model_type", "What the model is."),
        status(
            "status and its message",
            "READY, FAILED or another.",
            expected(
                "status.message",
                "message of the status",
                "No request of MLflow writes one.",
                "the statuses are equal, and the copy has no message",
            ),
        ),
        tags(
            "every tag",
            "Verbatim.",
            expected(
                "tags.versions",
                "tag mlflow.modelVersions",
                "The server names the model's registered versions in it, by its own numbers.",
                "the tag names the copies of the same versions, and no other; one that is gone, or not in the "
                "audit's scope, may stay or go",
            ),
        ),
        value("params", "every param", "Verbatim."),
        own(
            "metrics",
            paired(
                "metrics",
                "every metric with step, time, value, dataset and run",
                "As a multiset; the run must be the copy of the run; doubles bit for bit.",
            ),
            infinity(),
            negative_zero(),
            expected(
                "metrics.nan",
                "value NaN",
                "SQL stores keep NaN of a logged model's metric as 0.0; the run's own metric keeps it.",
                "the target holds 0.0 where the source holds NaN, and all else of the point is equal",
            ),
            not_compared(
                "metrics.earlier",
                "points of a file store before the latest",
                "Of a logged model's metric a file store tells the latest point of each dataset alone, and no request "
                "the others; they stand in the run's metric, which is compared.",
                profiles=EXPORT_IMPORT,
            ),
            expected(
                "metrics.left-out",
                "metrics that a deleted run logged",
                "MLflow writes a logged model's metrics through their run, and deleted runs are not in scope.",
                "without --parity-include-deleted, the run is deleted or not on the source, and the copy lacks "
                "exactly its points",
            ),
        ),
        link(
            "run",
            "run",
            "source_run_id",
            "The copy of the run that made it.",
            expected(
                "run.dangling",
                "source_run_id of a run that is gone",
                "The source itself has no such run (any more).",
                "the run is not on the source or deleted there, and the copy names the same id or none",
            ),
        ),
        times(),
        files(
            "files",
            "every file: path, size, SHA-256",
            "Same tree, same bytes.",
            paired(
                "files.mlmodel",
                "files named MLmodel",
                "Compared as YAML: run_id, model_id and artifact paths through the pairing.",
                "both files parse as YAML",
            ),
            moved("files.moved", "artifact_uri"),
        ),
        other(entry="a metric"),
    ),
    content=("type", "params", "tags"),
    first=(3, 0),
)
