"""Export: the snapshot, the bytes of all files while they are hashed, and the files that the tool's importers read.

The source is read once, by the audit's own reader, which knows every server from 2.16 on. The tool's
``export_experiment`` then writes its files from the snapshot.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.errors import SnapshotError
from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.export_folder import ExportFolder
from mlflow_parity.migrating.source_client import SnapshotClient, tool_log
from mlflow_parity.model import ArtifactTree, Experiment
from mlflow_parity.snapshot import PARTS, SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot.capture import Count, capture, capture_objects
from mlflow_parity.snapshot.store import FILES_PART, Origin, PlaceObjects, Snapshot, SnapshotView

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Entry, Journal
    from mlflow_parity.reading.server import ServerReader

_DONE = "experiment.json"


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
        self, reader: ServerReader, folder: ExportFolder, *, include_deleted: bool, log: Path, count: Count
    ) -> None:
        self._reader = reader
        self._folder = folder
        self._include_deleted = include_deleted
        self._log = log
        self._count = count

    def begin(self, experiments: Sequence[Experiment]) -> Snapshot:
        """Start the snapshot of these experiments, or take up the unfinished one that is there.

        A finished one was an export of its own: it is read anew, and files that are there are kept.

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
        )
        root = self._folder.snapshot_root
        if (root / "manifest.json").exists() and Snapshot.open(root, finished=False).is_finished:
            _remove(root)
        self._folder.blobs.clear_parts()
        self._reader.save_to = self._folder.blobs
        snapshot = Snapshot.create(root, origin, experiments)
        self._folder.use(snapshot)
        return snapshot

    def batch(self, experiments: Sequence[Experiment]) -> None:
        """Read some experiments with all that is in them, and write the tool's files of them."""
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
            self._write(experiment)

    def server(self) -> None:
        """Read what belongs to no experiment."""
        capture_objects(self._reader, self._folder.snapshot, SERVER, SERVER_PARTS, "digest", self._count)

    def finish(self) -> list[Unread]:
        """Return what could not be read; when that is nothing, seal the snapshot."""
        found = unread(self._folder.snapshot, include_deleted=self._include_deleted)
        if not found:
            self._folder.snapshot.finish()
        return found

    def _write(self, experiment: Experiment) -> None:
        """Let the tool write its files of an experiment, unless they are of this very reading."""
        snapshot, identity = self._folder.snapshot, experiment.experiment_id
        folder = self._folder.experiment_dir(identity)
        parts: tuple[Part, ...] = ("runs", "metrics", "logged_models")
        sidecars = {part: (snapshot.sidecar(identity, part) or {}).get("digest") for part in parts}
        stamp = folder / "parity.json"
        told = {"digests": sidecars, "deleted": self._include_deleted}
        if stamp.exists() and (folder / _DONE).exists() and json.loads(stamp.read_text(encoding="utf-8")) == told:
            return
        view = snapshot.view(experiment)
        if view.problem("runs") is not None:
            return
        stamp.unlink(missing_ok=True)
        nowhere = self._folder.root / "nowhere"
        nowhere.mkdir(parents=True, exist_ok=True)
        client = SnapshotClient(view, snapshot.objects(identity), nowhere, include_deleted=self._include_deleted)
        with tool_log(self._log):
            from mlflow_export_import.experiment.export_experiment import export_experiment

            export_experiment(identity, str(folder), export_deleted_runs=self._include_deleted, mlflow_client=client)
        temporary = stamp.with_suffix(".tmp")
        temporary.write_text(json.dumps(told), encoding="utf-8")
        os.replace(temporary, stamp)


def unread(snapshot: Snapshot, *, include_deleted: bool) -> list[Unread]:
    """Return everything in a snapshot's scope that could not be read."""
    found: list[Unread] = []
    for experiment in snapshot.experiments:
        place = experiment.experiment_id
        view, objects = snapshot.view(experiment), snapshot.objects(place)
        # no server lists the scorers of a deleted experiment
        unlisted = {"scorers"} if experiment.lifecycle_stage == "deleted" else set()
        for part in PARTS:
            problem = view.problem(part) if part in ("runs", "metrics", "artifacts") else objects.problem(part)
            if problem is not None and part not in unlisted:
                found.append(Unread("experiment", place, experiment.name, f"its {part} could not be read: {problem}"))
        found += _of_runs(view, include_deleted=include_deleted)
        found += _of_objects(objects, "experiment")
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
                found += [Unread(kind.name, key.entity_id, key.name, why) for why in _of_tree(tree)]
    return found


def _of_tree(tree: ArtifactTree) -> list[str]:
    whole = [] if tree.error is None else [f"its files could not be listed: {tree.error}"]
    return whole + [f"file {file.path!r} could not be read: {file.error}" for file in tree.files if file.error]


def discard(folder: ExportFolder, experiments: Collection[Experiment], journal: Journal) -> int:
    """Remove the bytes of a batch's files, which are on the target; return how many bytes were freed.

    A digest that another experiment's files share may go, too: its own batch reads it again. What waits for another
    batch, or failed, keeps its files.
    """
    freed = 0
    needed = {file.sha256 for tree in _unmoved(folder, journal) for file in tree.files}
    for experiment in experiments:
        view, objects = folder.snapshot.view(experiment), folder.snapshot.objects(experiment.experiment_id)
        if view.problem("artifacts") is None and view.problem("runs") is None:
            for key in view.run_keys():
                freed += _drop(folder, view.artifacts(key.run_id), needed)
        if objects.problem("logged_model_files") is None:
            for model in objects.keys("logged_model"):
                freed += _drop(folder, objects.files("logged_model", model.entity_id), needed)
    return freed


def _unmoved(folder: ExportFolder, journal: Journal) -> Iterator[ArtifactTree]:
    """Yield the files of what was begun, in any batch, and is not whole on the target."""
    places: dict[str, list[Entry]] = defaultdict(list)
    for kind in ("run", "logged_model"):
        for entry in journal.entries(kind=kind):
            if entry.state in ("begun", "failed"):
                places[entry.place].append(entry)
    for experiment in folder.snapshot.experiments:
        entries = places.get(experiment.experiment_id)
        if entries:
            view, objects = folder.snapshot.view(experiment), folder.snapshot.objects(experiment.experiment_id)
            for entry in entries:
                if entry.kind == "logged_model" and objects.problem("logged_model_files") is None:
                    yield objects.files("logged_model", entry.source_id)
                elif entry.kind == "run" and view.problem("artifacts") is None:
                    yield view.artifacts(entry.source_id)


def _drop(folder: ExportFolder, tree: ArtifactTree, needed: Collection[str | None]) -> int:
    freed = 0
    for file in tree.files:
        if file.sha256 is not None and file.sha256 not in needed:
            path = folder.blobs.path(file.sha256)
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
    return freed


def _remove(root: Path) -> None:
    import shutil

    # renamed first: what a kill leaves behind must not pass for a snapshot
    aside = root.with_name(f"{root.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        root.rename(aside)
    except OSError as error:
        raise SnapshotError(f"the earlier snapshot in {root} cannot be replaced ({error.strerror})") from None
    shutil.rmtree(aside)
