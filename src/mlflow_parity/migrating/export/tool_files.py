"""The JSON files that the tool's importers read: written by its own exporters, checked, and written again if damaged.

All of them come from the snapshot, so nothing is lost with them: an import may be handed a backup without one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mlflow_parity.core.local.files import file_sha256, make_inside, write_json
from mlflow_parity.core.local.input_files import NOTE, Unusable, json_of
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.exim.snapshot_client import SnapshotClient, export_experiment
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.snapshot import Part

_STAMP = "parity.json"
_PARTS: tuple[Part, ...] = ("runs", "metrics", "logged_models")
_FOLDERS = {"run": ("runs", "run.json"), "logged_model": ("logged_models", "logged_model.json")}


def write_tool_files(folder: ExportFolder, experiment: Experiment, log: Path) -> None:
    """Let the tool write its files of an experiment, unless those that are there are of this very snapshot and whole.

    Deleted runs are among them where the snapshot holds all of them. What the tool says goes to ``log``.

    Raises:
        SnapshotError: the snapshot is damaged.
    """
    snapshot, identity = folder.snapshot, experiment.experiment_id
    place, told = folder.experiment_dir(identity), _told(folder, experiment)
    if _is_current(place, told):
        return
    view, objects = snapshot.view(experiment), snapshot.objects(identity)
    if view.problem("runs") is not None:
        return
    # what is written until the stamp is there again counts for nothing
    (place / _STAMP).unlink(missing_ok=True)
    deleted = bool(told["deleted"])
    nowhere = folder.root / "nowhere"
    make_inside(nowhere)
    client = SnapshotClient(view, objects, nowhere, include_deleted=deleted)
    export_experiment(client, place, log, snapshot.origin.location)
    wanted = list(_wanted(folder, experiment, deleted=deleted))
    _remove_others(place, {(kind, object_id) for kind, object_id, _ in wanted})
    sums = {str(path.relative_to(place)): file_sha256(path) for path in _files(place)}
    missing = sum(_path(kind, object_id) not in sums for kind, object_id, _ in wanted)
    write_json(place / _STAMP, {**told, "missing": missing, "files": sums})


def unwritten(folder: ExportFolder, experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """Yield kind, id and name of each run and logged model of which the tool wrote no file, or a damaged one."""
    place, told = folder.experiment_dir(experiment.experiment_id), _told(folder, experiment)
    stamp = _read(place)
    sums = stamp["files"] if _is_of(stamp, told) else {}
    for kind, object_id, name in _wanted(folder, experiment, deleted=bool(told["deleted"])):
        path = _path(kind, object_id)
        if path not in sums or _sha256(place / path) != sums[path]:
            yield kind, object_id, name


def _wanted(folder: ExportFolder, experiment: Experiment, *, deleted: bool) -> Iterator[tuple[str, str, str]]:
    """Yield kind, id and name of each run and logged model that is to have a file."""
    snapshot, identity = folder.snapshot, experiment.experiment_id
    if "error" not in (snapshot.check(identity, "runs") or {"error": ""}):
        path = snapshot.folder(identity) / "runs.parquet"
        table = pq.read_table(path, columns=["run_id", "name", "lifecycle_stage"])
        for run_id, name, stage in zip(*(column.to_pylist() for column in table.columns), strict=True):
            if deleted or stage != "deleted":
                yield "run", run_id, name
    objects = snapshot.objects(identity)
    if objects.problem("logged_models") is None:
        for key in objects.keys("logged_model"):
            yield "logged_model", key.entity_id, key.name


def _path(kind: str, object_id: str) -> str:
    parent, file = _FOLDERS[kind]
    return f"{parent}/{object_id}/{file}"


def _told(folder: ExportFolder, experiment: Experiment) -> dict[str, Any]:
    """Return what the files depend on: the parts of the snapshot, and whether deleted runs are in it as a whole."""
    sidecars = {part: folder.snapshot.sidecar(experiment.experiment_id, part) or {} for part in _PARTS}
    digests = {part: sidecar.get("digest") for part, sidecar in sidecars.items()}
    return {"digests": digests, "deleted": bool(sidecars["metrics"].get("deleted"))}


def _is_current(place: Path, told: dict[str, Any]) -> bool:
    stamp = _read(place)
    whole = _is_of(stamp, told) and not stamp.get("missing")
    return whole and all(_sha256(place / path) == sha256 for path, sha256 in stamp["files"].items())


def _is_of(stamp: dict[str, Any], told: dict[str, Any]) -> bool:
    return isinstance(stamp.get("files"), dict) and all(stamp.get(key) == value for key, value in told.items())


def _read(place: Path) -> dict[str, Any]:
    try:
        found = json_of(place / _STAMP, NOTE)
    except Unusable:
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(path: Path) -> str | None:
    return file_sha256(path) if path.is_file() else None


def _files(place: Path) -> Iterator[Path]:
    yield place / "experiment.json"
    for parent, file in _FOLDERS.values():
        yield from sorted((place / parent).glob(f"*/{file}"))


def _remove_others(place: Path, wanted: set[tuple[str, str]]) -> None:
    """Remove what an earlier export wrote of objects that are gone since."""
    for kind, (parent, _) in _FOLDERS.items():
        for found in (place / parent).iterdir() if (place / parent).is_dir() else ():
            if found.is_dir() and (kind, found.name) not in wanted:
                shutil.rmtree(found)
