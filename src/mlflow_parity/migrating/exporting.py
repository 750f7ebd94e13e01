"""Export: the snapshot, the bytes of all files while they are hashed, and the files that the tool's importers read.

The source is read once, by the audit's own reader, which knows every server from 2.16 on. The tool's
``export_experiment`` then writes its files from the snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.backup import FILE_PARTS, is_whole, prune
from mlflow_parity.migrating.export_folder import ExportFolder
from mlflow_parity.migrating.tool_files import unwritten, write_tool_files
from mlflow_parity.model import ArtifactTree, Experiment
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS
from mlflow_parity.snapshot.capture import Count, capture, capture_objects
from mlflow_parity.snapshot.store import FILES_PART, Origin, PlaceObjects, Snapshot, SnapshotView

if TYPE_CHECKING:
    from mlflow_parity.reading.server import ServerReader


@dataclass(frozen=True, slots=True)
class Unread:
    """Something of the source that is not in the export, and why; ``source_id`` is empty for a whole listing."""

    kind: str
    source_id: str
    name: str
    why: str


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
    ) -> None:
        """``keep`` false: bytes are removed while the export goes on, once they are on the target.

        ``scope`` tells what is read of that which belongs to no experiment: read for another one, it is read anew.
        """
        self._reader = reader
        self._folder = folder
        self._keep = keep
        self._scope = scope
        self._include_deleted = include_deleted
        self._log = log
        self._count = count

    def begin(self, experiments: Sequence[Experiment]) -> Snapshot:
        """Start the snapshot of these experiments, or take up the unfinished one that is there.

        One that was read to its end was an export of its own, and the source may have changed since: so it is read
        anew. It stands aside, if it was whole, until this one is. Equal files are kept once.

        Raises:
            SnapshotError: the folder holds something else.
        """
        capabilities = self._reader.capabilities
        location = self._reader.location
        origin = Origin(
            location.display,
            location.kind,
            capabilities.version,
            {
                "history_bulk": capabilities.history_bulk,
                "artifact_proxy": capabilities.artifact_proxy,
                "get_artifact": capabilities.get_artifact,
            },
            location.workspace,
        )
        self._folder.set_aside()
        self._folder.clear_parts()
        self._reader.save_to = self._folder.blobs
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
        capture_objects(self._reader, self._folder.snapshot, SERVER, SERVER_PARTS, "digest", self._count)

    def finish(self) -> list[Unread]:
        """Return what could not be read; when that is nothing, seal the snapshot, and drop what only an earlier had."""
        found = unread(self._folder, include_deleted=self._include_deleted)
        if found:
            self._folder.note_holes([f"{one.kind} {one.name} ({one.source_id}): {one.why}" for one in found])
        else:
            self._folder.snapshot.finish()
            self._folder.remove_earlier()
            if self._keep:
                prune(self._folder.snapshot, self._folder.blobs)
        return found

    def _forget_emptied(self, place: str) -> None:
        """Have those files read again whose bytes were removed since an interrupted export read them."""
        snapshot = self._folder.snapshot
        for part in FILE_PARTS:
            if snapshot.sidecar(place, part) and not is_whole(snapshot, self._folder.blobs, place, part):
                snapshot.forget(place, part)


def unread(
    folder: ExportFolder, *, include_deleted: bool, experiments: Iterable[Experiment] | None = None
) -> list[Unread]:
    """Return everything in an export's scope that could not be read, or not be written down.

    ``experiments`` are those in scope, where it holds others.
    """
    snapshot = folder.snapshot
    found: list[Unread] = []
    for experiment in snapshot.experiments if experiments is None else experiments:
        place = experiment.experiment_id
        view, objects = snapshot.view(experiment), snapshot.objects(place)
        # no server lists the scorers of a deleted experiment
        unlisted = {"scorers"} if experiment.lifecycle_stage == "deleted" else set()
        here: list[Unread] = []
        for part in PARTS:
            problem = view.problem(part) if part in ("runs", "metrics", "artifacts") else objects.problem(part)
            if problem is not None and part not in unlisted:
                here.append(Unread("experiment", place, experiment.name, f"its {part} could not be read: {problem}"))
        whole = not here
        here += _of_runs(view, include_deleted=include_deleted)
        here += _of_objects(objects, "experiment")
        if whole:
            named = {(one.kind, one.source_id) for one in here}
            why = "the tool could not write it to the export; its log says why"
            here += [Unread(*one, why) for one in unwritten(folder, experiment) if one[:2] not in named]
        found += here
    server = snapshot.objects(SERVER)
    for part in SERVER_PARTS:
        problem = server.problem(part)
        if problem is not None:
            found.append(Unread("server", "", part, problem))
    return [*found, *_of_objects(server, "")]


def _of_runs(view: SnapshotView, *, include_deleted: bool) -> list[Unread]:
    if any(view.problem(part) is not None for part in ("runs", "metrics", "artifacts")):
        return []
    found = []
    for run in view.all_runs():
        if run.lifecycle_stage == "deleted" and not include_deleted:
            continue
        reasons = [
            f"the history of {key!r} could not be read: {history.error}"
            for key, history in view.histories(run.run_id).items()
            if history.error is not None
        ]
        reasons += _of_tree(view.artifacts(run.run_id))
        if run.model_inputs is None:
            reasons.append("the logged models that it used and made could not be read")
        found += [Unread("run", run.run_id, run.name, why) for why in reasons]
    return found


def _of_objects(objects: PlaceObjects, family: str) -> list[Unread]:
    found = []
    for kind in KINDS.values():
        if (kind.family == "experiment") != (family == "experiment") or objects.problem(kind.part) is not None:
            continue
        keys = objects.keys(kind.name)
        found += [Unread(kind.name, key.entity_id, key.name, key.error) for key in keys if key.error is not None]
        files = FILES_PART.get(kind.name)
        if files is not None and objects.problem(files) is None:
            for key in keys:
                tree = objects.files(kind.name, key.entity_id)
                if key.error is not None:
                    # said above: which attachments a trace has is not known without its spans
                    tree = replace(tree, error=None)
                found += [Unread(kind.name, key.entity_id, key.name, why) for why in _of_tree(tree)]
    return found


def _of_tree(tree: ArtifactTree) -> list[str]:
    whole = [] if tree.error is None else [f"its files could not be listed: {tree.error}"]
    return whole + [f"file {file.path!r} could not be read: {file.error}" for file in tree.files if file.error]
