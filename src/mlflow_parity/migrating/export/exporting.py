"""Export: the snapshot, the bytes of all files while they are hashed, and the files that the tool's importers read.

The source is read once, by the audit's own reader, which knows every server from 2.16 on. The tool's
``export_experiment`` then writes its files from the snapshot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.audit.looking.since import InScope, moved_since
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.export.backup import FILE_PARTS, is_whole, left, named, prune
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.export.tool_files import unwritten, write_tool_files
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot.capture import Count, capture, capture_objects
from mlflow_parity.snapshot.incomplete import Unread, of_experiment, of_moved, of_server
from mlflow_parity.snapshot.origin import origin_of
from mlflow_parity.snapshot.store import Snapshot

if TYPE_CHECKING:
    from mlflow_parity.reading.server import ServerReader


class Exporter:
    """Exports one source into one folder; an interrupted export is taken up again."""

    def __init__(
        self,
        reader: ServerReader,
        folder: ExportFolder,
        *,
        include_deleted: bool,
        log: Path,
        count: Count,
        keep: bool = True,
        scope: str = "",
        leave: bool = False,
        in_scope: InScope = iter,
    ) -> None:
        """``in_scope`` chooses the experiments that are exported.

        ``keep`` false: bytes are removed while the export goes on, once they are on the target.

        ``leave``: the bytes of files in S3 stay there, for the import to have S3 copy them.

        ``scope`` tells what is read of that which belongs to no experiment: read for another one, it is read again.
        """
        self._reader = reader
        self._folder = folder
        self._keep = keep
        self._scope = scope
        self._leave = leave
        self._in_scope = in_scope
        self._include_deleted = include_deleted
        self._log = log
        self._count = count
        reader.save_to, reader.leave = folder.blobs, leave

    def begin(self, experiments: Sequence[Experiment]) -> Snapshot:
        """Start the snapshot of these experiments, or take up the unfinished one that is there.

        One that was read to its end was an export of its own, and the source may have changed since: so it is read
        again. It stands aside, if it was whole, until this one is. Equal files are kept once.

        Raises:
            SnapshotError: the folder holds something else.
        """
        origin = origin_of(self._reader.location, self._reader, "source")
        self._folder.set_aside()
        self._folder.clear_parts()
        snapshot = Snapshot.create(self._folder.snapshot_root, origin, experiments)
        self._folder.use(snapshot)
        if self._folder.scope != self._scope:
            for part in SERVER_PARTS:
                snapshot.forget(SERVER, part)
            self._folder.scope = self._scope
        return snapshot

    def batch(self, experiments: Sequence[Experiment]) -> None:
        """Read some experiments with all that is in them, and write the tool's files of them."""
        for experiment in experiments:
            self._forget_emptied(experiment.experiment_id)
            self._forget_left(experiment.experiment_id)
        capture(
            self._reader,
            self._folder.snapshot,
            experiments,
            PARTS,
            "digest",
            include_deleted=self._include_deleted,
            count=self._count,
            model_links=True,
        )
        for experiment in experiments:
            write_tool_files(self._folder, experiment, self._log)

    def server(self) -> None:
        """Read what belongs to no experiment."""
        if self._keep:
            self._forget_emptied(SERVER)
        self._forget_left(SERVER)
        capture_objects(self._reader, self._folder.snapshot, SERVER, SERVER_PARTS, "digest", self._count)

    def finish(self) -> list[Unread]:
        """Return what could not be read; when that is nothing, seal the snapshot, and drop what only an earlier had.

        What came, went or changed on the source meanwhile is returned too, and stands in the snapshot.
        """
        found = unread(self._folder, include_deleted=self._include_deleted)
        if found:
            self._folder.note_holes([f"{one.kind} {one.name} ({one.source_id}): {one.why}" for one in found])
            return found
        snapshot = self._folder.snapshot
        # a server in use does not stand still: what moved behind the lists is not in the export
        snapshot.note_moved(
            moved_since(self._reader, snapshot, include_deleted=self._include_deleted, in_scope=self._in_scope)
        )
        snapshot.finish()
        self._folder.remove_earlier()
        if self._keep:
            prune(snapshot, self._folder.blobs)
        return unread(self._folder, include_deleted=self._include_deleted)

    def _forget_emptied(self, place: str) -> None:
        """Have those files read again whose bytes were removed since an interrupted export read them."""
        snapshot = self._folder.snapshot
        for part in FILE_PARTS:
            if snapshot.sidecar(place, part) and not is_whole(snapshot, self._folder.blobs, place, part):
                snapshot.forget(place, part)

    def _forget_left(self, place: str) -> None:
        """Have those files read that an interrupted migration left in S3, where this one leaves none there."""
        snapshot = self._folder.snapshot
        for part in FILE_PARTS if not self._leave else ():
            if snapshot.sidecar(place, part) and any(True for _ in left(snapshot, place, part)):
                snapshot.forget(place, part)


def unread(folder: ExportFolder, *, include_deleted: bool, in_scope: InScope = iter) -> list[Unread]:
    """Return everything in an export's scope that could not be read, or not be written down.

    ``in_scope`` chooses experiments, where it holds others.
    """
    snapshot = folder.snapshot
    experiments = list(in_scope(snapshot.experiments))
    found = [*of_moved(snapshot, in_scope(snapshot.moved.came), experiments)]
    for experiment in experiments:
        here = list(of_experiment(snapshot, experiment, include_deleted=include_deleted))
        if not any(one.kind == "experiment" for one in here):
            named = {(one.kind, one.source_id) for one in here}
            why = "the tool could not write it to the export; its log says why"
            here += [Unread(*one, why) for one in unwritten(folder, experiment) if one[:2] not in named]
        found += here
    return [*found, *of_server(snapshot)]


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
