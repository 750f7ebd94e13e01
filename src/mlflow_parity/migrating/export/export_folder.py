"""The folder of an export: our snapshot of the source, the bytes of its files, and what the tool reads.

::

    export/snapshot/source/              the snapshot: every record, with digests
    export/snapshot/earlier/             that of the export before, until the new one is whole
    export/unread.json                   what an export could not read
    export/files/ab/abcd…                bytes of files, named by their SHA-256
    export/experiments/<id>/experiment.json, runs/<run id>/run.json, logged_models/<model id>/logged_model.json
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mlflow_parity.core.errors import SnapshotError, UsageProblem
from mlflow_parity.core.local.files import folder_name, is_temporary, write, write_json
from mlflow_parity.core.local.input_files import NOTE, Unusable, content_of
from mlflow_parity.migrating.exim.tool import is_plain
from mlflow_parity.migrating.export.backup import Damage, verify
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.snapshot.store import MANIFEST, Snapshot


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
    def exists(self) -> bool:
        """Whether there is a snapshot, finished or not."""
        return (self.snapshot_root / MANIFEST).exists()

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
        """Take a snapshot that was begun again."""
        self._snapshot = snapshot

    @property
    def scope(self) -> str:
        """What is read of that which belongs to no experiment, in the words of whoever exports."""
        file = self.root / "scope.txt"
        try:
            return content_of(file, NOTE).decode("utf-8") if file.exists() else ""
        except (Unusable, UnicodeDecodeError) as error:
            raise UsageProblem(f"{file} is damaged ({error}); export into another folder") from None

    @scope.setter
    def scope(self, text: str) -> None:
        write(self.root / "scope.txt", text.encode())

    def note_holes(self, lines: Sequence[str]) -> None:
        """Note that the source was read to its end, and what could not be read."""
        write_json(self._holes, {"unread": list(lines)})

    def set_aside(self) -> None:
        """Make room for a new snapshot, unless one is there that was interrupted.

        A whole one is put aside, in place of that which lies there already; one with holes is removed.
        """
        if self._holes.exists():
            shutil.rmtree(self.snapshot_root, ignore_errors=True)
            self._holes.unlink()
            self._snapshot = None
        elif self._is_finished(self.snapshot_root):
            shutil.rmtree(self._earlier, ignore_errors=True)
            try:
                self.snapshot_root.rename(self._earlier)
            except OSError as error:
                raise SnapshotError(
                    f"the earlier snapshot in {self.snapshot_root} cannot be put aside ({error.strerror})"
                ) from None
            self._snapshot = None

    def clear_parts(self) -> None:
        """Remove what a killed export left half written."""
        self.blobs.clear_parts()
        for path in self.root.rglob(".*.tmp"):
            if is_temporary(path):
                path.unlink(missing_ok=True)

    def remove_earlier(self) -> None:
        """Remove the snapshot that was put aside: the new one is whole."""
        shutil.rmtree(self._earlier, ignore_errors=True)

    def take_back(self) -> None:
        """Take the snapshot that was put aside, when the new one was not even begun."""
        if not self.exists and self._is_finished(self._earlier):
            shutil.rmtree(self.snapshot_root, ignore_errors=True)
            self._earlier.rename(self.snapshot_root)

    def snapshots(self) -> Iterator[Snapshot]:
        """Yield what is there: the snapshot, finished or not, and that which was put aside.

        Raises:
            SnapshotError: one is damaged.
        """
        for root in (self.snapshot_root, self._earlier):
            if (root / MANIFEST).exists():
                yield Snapshot.open(root, finished=False)

    def is_over(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot of this folder was read to its end, holes or not."""
        return snapshot.is_finished or (snapshot.root == self.snapshot_root and self._holes.exists())

    @staticmethod
    def _is_finished(root: Path) -> bool:
        return (root / MANIFEST).exists() and Snapshot.open(root, finished=False).is_finished

    @property
    def _holes(self) -> Path:
        return self.root / "unread.json"

    @property
    def _earlier(self) -> Path:
        return self.root / "snapshot" / "earlier"

    def verify(self, *, contents: bool = True) -> list[Damage]:
        """Return what is gone or damaged in the snapshot and the bytes that it names; no server is asked.

        ``contents``: every byte is read again; else it is only looked whether the files are there.
        What the tool reads is not looked at: it is written again where it is damaged.

        Raises:
            SnapshotError: there is no snapshot, or its manifest is damaged.
        """
        return list(verify(Snapshot.open(self.snapshot_root, finished=False), self.blobs, contents=contents))

    def experiment_dir(self, experiment_id: str) -> Path:
        """Folder of an experiment, as the tool lays it out."""
        return self.root / "experiments" / _folder(experiment_id)

    def run_dir(self, experiment_id: str, run_id: str) -> Path:
        """Folder with a run's ``run.json``."""
        return self.experiment_dir(experiment_id) / "runs" / _folder(run_id)

    def model_dir(self, experiment_id: str, model_id: str) -> Path:
        """Folder with a logged model's ``logged_model.json``."""
        return self.experiment_dir(experiment_id) / "logged_models" / _folder(model_id)


def _folder(identity: str) -> str:
    return identity if is_plain(identity) else folder_name(identity)
