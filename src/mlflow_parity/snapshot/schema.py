"""Arrow schemas of the parts, records ⇄ rows, and what a snapshot was asked for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_parity.core.identity.digests import listed_digest, run_digest
from mlflow_parity.core.identity.keys import RunKey, run_key
from mlflow_parity.core.records import Artifact, DatasetInput, MetricPoint, Run
from mlflow_parity.core.scope import DEPTHS, EVIDENCE, Depth, in_scope

_TEXT_MAP = pa.map_(pa.string(), pa.string())
_MODELS = pa.list_(pa.struct([("model_id", pa.string()), ("step", pa.int64())]))

RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("experiment_id", pa.string()),
        ("name", pa.string()),
        ("status", pa.string()),
        ("start_time", pa.int64()),
        ("end_time", pa.int64()),
        ("user_id", pa.string()),
        ("lifecycle_stage", pa.string()),
        ("artifact_uri", pa.string()),
        ("params", _TEXT_MAP),
        ("tags", _TEXT_MAP),
        (
            "metrics",
            pa.list_(
                pa.struct(
                    [
                        ("key", pa.string()),
                        ("step", pa.int64()),
                        ("timestamp", pa.int64()),
                        ("value", pa.float64()),
                    ]
                )
            ),
        ),
        (
            "inputs",
            pa.list_(
                pa.struct(
                    [
                        ("name", pa.string()),
                        ("digest", pa.string()),
                        ("source_type", pa.string()),
                        ("source", pa.string()),
                        ("schema", pa.string()),
                        ("profile", pa.string()),
                        ("tags", _TEXT_MAP),
                    ]
                )
            ),
        ),
        ("model_inputs", _MODELS),
        ("model_outputs", _MODELS),
        ("other", pa.string()),
        ("source_run_id", pa.string()),
        ("tagged", pa.bool_()),
        ("empty", pa.bool_()),
        ("content", pa.binary(32)),
        ("digest", pa.binary(32)),
        ("listed", pa.binary(32)),
    ]
)
HISTORIES = pa.schema(
    [
        ("run_id", pa.string()),
        ("key", pa.string()),
        ("points", pa.int64()),
        ("digest", pa.binary(32)),
        ("error", pa.string()),
        ("row", pa.int64()),
    ]
)
POINTS = pa.schema(
    [
        ("run_id", pa.dictionary(pa.int32(), pa.string())),
        ("key", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("timestamp", pa.int64()),
        ("value", pa.float64()),
    ]
)
ARTIFACTS = pa.schema(
    [
        ("run_id", pa.string()),
        ("path", pa.string()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("content", pa.binary()),
        ("error", pa.string()),
        ("sums", pa.string()),
    ]
)
#: As it was before stores were asked for checksums: what was written then is read still.
ARTIFACTS_BEFORE = pa.schema([field for field in ARTIFACTS if field.name != "sums"])
#: Columns from which a :class:`RunKey` is made without touching the rest of ``runs.parquet``.
KEY_COLUMNS = (
    "run_id",
    "name",
    "status",
    "start_time",
    "lifecycle_stage",
    "source_run_id",
    "tagged",
    "empty",
    "content",
)


def run_row(run: Run) -> dict[str, Any]:
    """Return a run as a row of ``runs.parquet``."""
    key = run_key(run)
    return {
        "run_id": run.run_id,
        "experiment_id": run.experiment_id,
        "name": run.name,
        "status": run.status,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "user_id": run.user_id,
        "lifecycle_stage": run.lifecycle_stage,
        "artifact_uri": run.artifact_uri,
        "params": sorted(run.params.items()),
        "tags": sorted(run.tags.items()),
        "metrics": [
            {"key": name, "step": point.step, "timestamp": point.timestamp, "value": point.value}
            for name, point in sorted(run.metrics.items())
        ],
        "inputs": [
            {
                "name": item.name,
                "digest": item.digest,
                "source_type": item.source_type,
                "source": item.source,
                "schema": item.schema,
                "profile": item.profile,
                "tags": list(item.tags),
            }
            for item in run.inputs
        ],
        "model_inputs": _models(run.model_inputs),
        "model_outputs": _models(run.model_outputs),
        # of most runs, everything is known
        "other": json.dumps(run.other, sort_keys=True) if run.other else None,
        "source_run_id": key.origin,
        "tagged": key.tagged,
        "empty": key.empty,
        "content": key.content,
        "digest": run_digest(run),
        "listed": listed_digest(run),
    }


def _models(links: tuple[tuple[str, int], ...] | None) -> list[dict[str, Any]] | None:
    return None if links is None else [{"model_id": model, "step": step} for model, step in links]


def _links(rows: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, int], ...] | None:
    return None if rows is None else tuple((row["model_id"], row["step"]) for row in rows)


def row_run(row: Mapping[str, Any]) -> Run:
    """Return a row of ``runs.parquet`` as a run."""
    return Run(
        run_id=row["run_id"],
        experiment_id=row["experiment_id"],
        name=row["name"],
        status=row["status"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        user_id=row["user_id"],
        lifecycle_stage=row["lifecycle_stage"],
        artifact_uri=row["artifact_uri"],
        params=dict(row["params"]),
        tags=dict(row["tags"]),
        metrics={item["key"]: MetricPoint(item["step"], item["timestamp"], item["value"]) for item in row["metrics"]},
        inputs=tuple(
            DatasetInput(
                name=item["name"],
                digest=item["digest"],
                source_type=item["source_type"],
                source=item["source"],
                schema=item["schema"],
                profile=item["profile"],
                tags=tuple((key, value) for key, value in item["tags"]),
            )
            for item in row["inputs"]
        ),
        model_inputs=_links(row["model_inputs"]),
        model_outputs=_links(row["model_outputs"]),
        other=json.loads(row["other"]) if row["other"] else {},
    )


def table_keys(table: pa.Table) -> list[RunKey]:
    """Return the pairing keys of every row of a table that has :data:`KEY_COLUMNS`."""
    columns: Sequence[list[Any]] = [table.column(name).to_pylist() for name in KEY_COLUMNS]
    return [RunKey(*values) for values in zip(*columns, strict=True)]


class Listed(NamedTuple):
    """What a list told of a run: whether it is deleted, and the digest of everything."""

    lifecycle_stage: str
    digest: bytes


def listed_runs(path: Path) -> dict[str, Listed]:
    """Return what the list of runs told, by run id, from a ``runs.parquet``."""
    table = pq.read_table(path, columns=["run_id", "lifecycle_stage", "listed"])
    ids, stages, digests = (table.column(name).to_pylist() for name in ("run_id", "lifecycle_stage", "listed"))
    return {run_id: Listed(stage, one) for run_id, stage, one in zip(ids, stages, digests, strict=True)}


def row_artifact(row: Mapping[str, Any]) -> Artifact:
    """Return a row of ``artifacts.parquet`` as a record."""
    return Artifact(row["path"], row["size"], row["sha256"], row["content"], row["error"], row.get("sums") or "")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a snapshot was to hold of the experiments that are named in it."""

    depth: Depth
    include_deleted: bool
    experiments: tuple[str, ...] = ()
    exclude_experiments: tuple[str, ...] = ()
    renames: str = ""
    """SHA-256 (hex) of the file of ``--parity-rename`` under whose names it was read; empty: the server's own."""
    evidence: str = "sha256"
    """What was asked for of files' bytes; empty: it was read before stores were asked, and holds SHA-256s alone."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Asked:
        """Return what a manifest tells.

        Raises:
            TypeError: it makes no sense.
        """
        evidence = row.get("evidence", "")
        texts = (row["renames"], *row["experiments"], *row["exclude_experiments"])
        if (
            row["depth"] not in DEPTHS
            or evidence not in ("", *EVIDENCE)
            or not isinstance(row["include_deleted"], bool)
            or not all(isinstance(text, str) for text in texts)
        ):
            raise TypeError("options are texts")
        patterns = tuple(row["experiments"]), tuple(row["exclude_experiments"])
        return cls(row["depth"], row["include_deleted"], *patterns, row["renames"], evidence)

    def options(self) -> str:
        """Return the options by which it was asked for."""
        parts = [f"--parity-depth {self.depth}", *(["--parity-include-deleted"] if self.include_deleted else [])]
        for flag, names in (("experiments", self.experiments), ("exclude-experiments", self.exclude_experiments)):
            parts += [f"--parity-{flag} {shlex.quote(','.join(names))}"] if names else []
        parts += [f"--parity-evidence {self.evidence or 'sha256'}"] if self.evidence != "stores" else []
        parts += [f"--parity-rename (a file with SHA-256 {self.renames[:16]}…)"] if self.renames else []
        return " ".join(parts)

    def lacks(self, wanted: Asked, names: Iterable[str]) -> str:
        """Say in which options it is narrower than ``wanted``, for the experiments with ``names``; ``""``: in none."""
        if DEPTHS.index(self.depth) < DEPTHS.index(wanted.depth):
            return f"--parity-depth {self.depth}, not {wanted.depth}"
        if wanted.evidence == "sha256" and self.evidence not in ("", "sha256") and wanted.depth != "listing":
            return f"--parity-evidence {self.evidence}, not sha256"
        if wanted.include_deleted and not self.include_deleted:
            return "without --parity-include-deleted"
        if not all(in_scope(name, self.experiments, self.exclude_experiments) for name in names):
            return self.options()
        return ""
