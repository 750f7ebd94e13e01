"""The folder of an export: our snapshot of the source, the bytes of its files, and what the tool reads.

::

    export/snapshot/source/              the snapshot: every record, with digests
    export/files/ab/abcd…                bytes of files, named by their SHA-256
    export/experiments/<id>/experiment.json, runs/<run id>/run.json, logged_models/<model id>/logged_model.json
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlflow_parity.reading.saving import Blobs
from mlflow_parity.snapshot.store import Snapshot


@dataclass(frozen=True)
class ExportFolder:
    """The export below ``root``."""

    root: Path

    @property
    def snapshot_root(self) -> Path:
        """Where the snapshot of the source is."""
        return self.root / "snapshot" / "source"

    @cached_property
    def snapshot(self) -> Snapshot:
        """The snapshot, whether it is finished or not.

        Raises:
            SnapshotError: there is none, or it is damaged.
        """
        return Snapshot.open(self.snapshot_root, finished=False)

    @cached_property
    def blobs(self) -> Blobs:
        """The bytes of the files."""
        return Blobs(self.root / "files")

    def experiment_dir(self, experiment_id: str) -> Path:
        """Folder of an experiment, as the tool lays it out."""
        return self.root / "experiments" / experiment_id

    def run_dir(self, experiment_id: str, run_id: str) -> Path:
        """Folder with a run's ``run.json``."""
        return self.experiment_dir(experiment_id) / "runs" / run_id

    def model_dir(self, experiment_id: str, model_id: str) -> Path:
        """Folder with a logged model's ``logged_model.json``."""
        return self.experiment_dir(experiment_id) / "logged_models" / model_id
