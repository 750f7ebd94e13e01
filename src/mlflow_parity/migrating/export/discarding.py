"""Removes the bytes of files that are on the target, so that the disk holds those of one batch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from mlflow_parity.migrating.export.backup import FILE_PARTS, named
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.snapshot import SERVER, Part


def discard(folder: ExportFolder, journal: Journal, done: Collection[str]) -> int:
    """Remove the bytes that nothing needs any more; return how many were freed.

    ``done`` are the places (ids of experiments, ``SERVER``) that were imported. What was read of the others stays, and
    what is not whole on the target: it failed, or waits for something of another batch.
    """
    needed = _needed(folder, journal, done)
    freed = 0
    for path in list(folder.blobs.all()):
        if path.name not in needed:
            freed += path.stat().st_size
            path.unlink()
    return freed


def _needed(folder: ExportFolder, journal: Journal, done: Collection[str]) -> set[str]:
    snapshot = folder.snapshot
    unmoved: dict[tuple[str, Part], set[str]] = defaultdict(set)
    for part, kind in FILE_PARTS.items():
        for state in ("begun", "failed"):
            for entry in journal.entries(kind=kind, state=state):
                unmoved[entry.place or SERVER, part].add(entry.source_id)
    needed: set[str] = set()
    for place in [*(experiment.experiment_id for experiment in snapshot.experiments), SERVER]:
        for part in FILE_PARTS:
            owners = unmoved.get((place, part))
            if place not in done:
                needed.update(sha256 for _, _, sha256 in named(snapshot, place, part))
            elif owners:
                needed.update(sha256 for owner, _, sha256 in named(snapshot, place, part) if owner in owners)
    return needed
