"""The folder of an export: our snapshot of the source, the bytes of its files, and what the tool reads.

::

    export/snapshot/source/              the snapshot: every record, with digests
    export/files/ab/abcd…                bytes of files, named by their SHA-256
    export/experiments/<id>/experiment.json, runs/<run id>/run.json, logged_models/<model id>/logged_model.json
"""

from __future__ import annotations

from pathlib import Path

from mlflow_parity.reading.saving import Blobs
from mlflow_parity.snapshot.store import Snapshot


class ExportFolder:
    """The export below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._snapshot: Snapshot | None = None
        #: The bytes of the files.
        self.blobs = Blobs(root / "files")

    @property
    def snapshot_root(self) -> Path:
        """Where the snapshot of the source is."""
        return self.root / "snapshot" / "source"

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot, whether it is finished or not.

        Raises:
            SnapshotError: there is none, or it is damaged.
        """
        if self._snapshot is None:
            self._snapshot = Snapshot.open(self.snapshot_root, finished=False)
        return self._snapshot

    def use(self, snapshot: Snapshot) -> None:
        """Take a snapshot that was begun anew."""
        self._snapshot = snapshot

    def experiment_dir(self, experiment_id: str) -> Path:
        """Folder of an experiment, as the tool lays it out."""
        return self.root / "experiments" / experiment_id

    def run_dir(self, experiment_id: str, run_id: str) -> Path:
        """Folder with a run's ``run.json``."""
        return self.experiment_dir(experiment_id) / "runs" / run_id

    def model_dir(self, experiment_id: str, model_id: str) -> Path:
        """Folder with a logged model's ``logged_model.json``."""
        return self.experiment_dir(experiment_id) / "logged_models" / model_id
