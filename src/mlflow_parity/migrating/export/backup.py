"""Looks at an export by itself: which bytes its snapshot names, what of it is gone or damaged, and what nothing names.

Nothing here grows with the number of files but eight bytes for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.identity.sums import left_at
from mlflow_parity.core.records import Artifact
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot.store import Snapshot

#: What the rows of a part that names files belong to.
FILE_PARTS: dict[Part, str] = {
    "artifacts": "run",
    "logged_model_files": "logged_model",
    "version_files": "model_version",
    "trace_files": "trace",
}
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Damage:
    """Something of an export that is gone or altered: an object's file, or (``path`` empty) a table of the snapshot."""

    kind: str
    source_id: str
    path: str
    why: str


def verify(snapshot: Snapshot, blobs: Blobs, *, contents: bool = True) -> Iterator[Damage]:
    """Yield what an import would lack; with ``contents`` every byte is read, else only looked whether it is there."""
    if not snapshot.is_finished:
        yield Damage("export", "", "", "it is not complete: something was not read, or it was interrupted")
    altered = {path.name for path in blobs.all() if contents and not blobs.holds(path.name)}
    for place, names in _places(snapshot):
        for part in names:
            try:
                snapshot.check(place, part)
            except SnapshotError as error:
                yield Damage("server" if place == SERVER else "experiment", place, "", str(error))
                continue
            for owner, path in left(snapshot, place, part):
                yield Damage(FILE_PARTS[part], owner, path, "its bytes were never here: S3 was to copy them")
            for owner, path, sha256 in named(snapshot, place, part):
                if not blobs.has(sha256):
                    yield Damage(FILE_PARTS[part], owner, path, "its bytes are gone")
                elif sha256 in altered:
                    yield Damage(FILE_PARTS[part], owner, path, "its bytes were altered")


def is_whole(snapshot: Snapshot, blobs: Blobs, place: str, part: Part) -> bool:
    """Whether the bytes of all files that a part names are there; those that were left in S3 are not missed."""
    return all(blobs.has(sha256) for _, _, sha256 in named(snapshot, place, part))


def named(snapshot: Snapshot, place: str, part: Part) -> Iterator[tuple[str, str, str]]:
    """Yield owner, path and digest of every file that was read whole into a part."""
    for batch in _batches(snapshot, place, part, ["run_id", "path", "sha256"]):
        for owner, path, sha256 in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if sha256 is not None:
                yield owner, path, sha256


def left(snapshot: Snapshot, place: str, part: Part) -> Iterator[tuple[str, str]]:
    """Yield owner and path of every file whose bytes were left at the source, for S3 to copy them."""
    for batch in _batches(snapshot, place, part, ["run_id", "path", "sha256", "error", "sums"]):
        for row in batch.to_pylist():
            # what was written before stores were asked has no such column
            file = Artifact(row["path"], None, row["sha256"], error=row["error"], sums=row.get("sums") or "")
            if left_at(file) is not None:
                yield row["run_id"], file.path


def prune(snapshot: Snapshot, blobs: Blobs) -> int:
    """Remove the bytes that no file of the snapshot has; return how many bytes were freed."""
    known = _prefixes(snapshot)
    freed = 0
    for path in list(blobs.all()):
        prefix = np.uint64(int(path.name[:16], 16))
        at = int(np.searchsorted(known, prefix))
        # two that begin alike pass for one another: then one stays that need not
        if at == len(known) or known[at] != prefix:
            freed += path.stat().st_size
            path.unlink()
    return freed


def _prefixes(snapshot: Snapshot) -> NDArray[np.uint64]:
    found = [np.empty(0, np.uint64)]
    for place, names in _places(snapshot):
        for part in names:
            for batch in _batches(snapshot, place, part, ["sha256"]):
                digests = [sha256 for sha256 in batch.column(0).to_pylist() if sha256 is not None]
                found.append(np.unique(np.array([int(sha256[:16], 16) for sha256 in digests], np.uint64)))
    return np.unique(np.concatenate(found))


def _places(snapshot: Snapshot) -> Iterator[tuple[str, tuple[Part, ...]]]:
    yield from ((experiment.experiment_id, PARTS) for experiment in snapshot.experiments)
    yield SERVER, SERVER_PARTS


def _batches(snapshot: Snapshot, place: str, part: Part, columns: list[str]) -> Iterator[pa.RecordBatch]:
    if part not in FILE_PARTS:
        return
    sidecar = snapshot.sidecar(place, part)
    path: Path = snapshot.folder(place) / f"{part}.parquet"
    if sidecar is not None and "error" not in sidecar:
        yield from pq.ParquetFile(path).iter_batches(_ROWS, columns=columns)
