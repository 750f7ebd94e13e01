"""Records ⇄ a directory of Parquet parts with digests and a manifest; resumable, portable, comparable offline.

Layout::

    manifest.json                     format, id, location, server, what was asked for, experiments, parts, digest,
                                      seal; what moved on the server while it was read, where something did
    experiments/<id>/runs.parquet     one row per run: fields, params, tags, latest metrics, inputs, digest
    experiments/<id>/metrics.parquet  one row per history: run, key, points, digest, row in points.parquet
    experiments/<id>/points.parquet   the points
    experiments/<id>/artifacts.parquet  one row per file: path, size, sha256, MLmodel content
    experiments/<id>/{logged_models,traces,scorers}.parquet  one row per object: keys, facets as JSON, digest
    experiments/<id>/{logged_model_files,trace_files}.parquet  one row per file, as artifacts.parquet
    server/{registry,evaluation_datasets,webhooks,issues,…}.parquet  the same for what belongs to no experiment
    server/version_files.parquet      one row per file, as artifacts.parquet
    experiments/<id>/<facet>.json     written last: counts, digest and checksums of the part's files, when it was read,
                                      of which experiment and snapshot it is, seal
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from mlflow_parity.core.local.arrow_memory import use_system_memory
from mlflow_parity.core.records import ArtifactTree, Experiment, Run, Series
from mlflow_parity.kinds import KINDS

# before anything in here loads Arrow
use_system_memory()

#: What is read and stored separately: ``runs`` is always needed, the others when a check asks for them.
Part = str
#: The part that holds the files of a kind of object.
FILES_PART: dict[str, Part] = {
    "logged_model": "logged_model_files",
    "trace": "trace_files",
    "model_version": "version_files",
}


def _parts(experiment: bool) -> tuple[Part, ...]:
    kinds = [kind for kind in KINDS.values() if (kind.family == "experiment") is experiment]
    files = (FILES_PART[kind.name] for kind in kinds if kind.files)
    return tuple(dict.fromkeys([*(kind.part for kind in kinds), *files]))


#: Parts of an experiment, in the order in which they are read.
PARTS: tuple[Part, ...] = ("runs", "metrics", "artifacts", *_parts(experiment=True))
#: Parts of the server as a whole.
SERVER_PARTS: tuple[Part, ...] = _parts(experiment=False)
#: Stands for the server where an experiment's id is asked for.
SERVER = "~server"
FORMAT = "mlflow-parity-snapshot"
FORMAT_VERSION = 8


class ExperimentView(Protocol):
    """One experiment of one side, as comparing sees it; from Parquet or read again from a server."""

    @property
    def experiment(self) -> Experiment:
        """The experiment itself."""
        ...

    def problem(self, part: Part) -> str | None:
        """Why a part is not there as a whole; ``None`` when it is."""
        ...

    def links_problem(self) -> str | None:
        """Why the links of runs to logged models are not all there; ``None`` when they are, or were not asked for."""
        ...

    def run_keys(self) -> Sequence[RunKey]:
        """What pairing needs of every run, deleted ones included."""
        ...

    def runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Whole run records, in the order asked for."""
        ...

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        """Size and digest of each metric history of a run."""
        ...

    def points(self, run_id: str, key: str) -> Series:
        """One whole history."""
        ...

    def artifacts(self, run_id: str) -> ArtifactTree:
        """The artifact tree of a run."""
        ...

    def all_runs(self) -> Iterator[Run]:
        """Every run, streamed."""
        ...

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Any]:
        """Whole records, in the order asked for, as those of any kind are asked for."""
        return [self.experiment] if kind == "experiment" else self.runs(entity_ids)

    def files(self, _: str, entity_id: str) -> ArtifactTree:
        """The files of a run, as those of any object are asked for."""
        return self.artifacts(entity_id)


from mlflow_parity.core.identity.keys import HistoryKey, RunKey  # noqa: E402  (the protocol above names them)

__all__ = [
    "FILES_PART",
    "FORMAT",
    "FORMAT_VERSION",
    "PARTS",
    "SERVER",
    "SERVER_PARTS",
    "ExperimentView",
    "HistoryKey",
    "Part",
    "RunKey",
]
