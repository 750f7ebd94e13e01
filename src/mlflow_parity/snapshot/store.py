"""A snapshot directory: opening, checking, resuming and finishing it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.identity.digests import combine, experiment_digest
from mlflow_parity.core.local.files import (
    drop_temporary,
    file_sha256,
    folder_name,
    is_temporary,
    make_inside,
    read_json,
    read_sealed,
    sealed,
    write_json,
)
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.snapshot import FORMAT, FORMAT_VERSION, PARTS, SERVER, SERVER_PARTS, Part
from mlflow_parity.snapshot import schema as schemas
from mlflow_parity.snapshot.moved import Moved
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.tables import check_table
from mlflow_parity.snapshot.views import PlaceObjects as PlaceObjects
from mlflow_parity.snapshot.views import SnapshotView as SnapshotView
from mlflow_parity.snapshot.writer import Home

MANIFEST = "manifest.json"


class Snapshot:
    """One snapshot directory.

    Parts may be missing (not asked for, or not read yet); a part that is there was checked against the
    checksums in its sidecar before anything of it is used.
    """

    def __init__(self, root: Path, manifest: dict[str, Any]) -> None:
        self.root = root
        self._manifest = manifest
        if not isinstance(manifest["id"], str):
            raise TypeError("the id of a snapshot is a text")
        self._identity = manifest["id"]
        if not isinstance(manifest["parts"], dict) or not all(
            isinstance(parts, dict) and all(isinstance(one, dict) for one in parts.values())
            for parts in manifest["parts"].values()
        ):
            raise TypeError("the parts of a snapshot are objects")
        for key in ("created", "finished"):
            if not isinstance(manifest[key], (int, float, type(None))):
                raise TypeError("a time is a number")
        self.experiments: tuple[Experiment, ...] = tuple(_experiment(item) for item in manifest["experiments"])
        others = tuple(manifest["origin"]["other_workspaces"])
        # one of before this was asked does not say that everything was shown
        ids = [experiment.experiment_id for experiment in self.experiments]
        if SERVER in ids:
            raise SnapshotError(
                f"an experiment of {manifest['origin']['location']} has the id {SERVER}, by which this program calls "
                "what belongs to no experiment; leave it out with --parity-exclude-experiments, or give it another id"
            )
        if len(set(ids)) < len(ids):
            raise ValueError("an experiment is there twice")
        told = {
            "hidden": "may have hidden something: the snapshot does not say; make it again",
            "database": None,
            **manifest["origin"],
        }
        lists = {name: tuple(manifest["origin"].get(name, ())) for name in ("tls_not_verified", "database_at")}
        self.origin = Origin(**{**told, "other_workspaces": others, **lists})
        self.origin.check()
        asked: dict[str, Any] | None = manifest["asked"]
        self.asked = None if asked is None else Asked.of(asked)
        self.moved = Moved.told(manifest.get("moved"))
        self._whole: set[tuple[str, Part]] = set()
        self._bounded: set[Path] = set()
        self._ours = False
        """Whether this process writes it: else its tables may be of any size."""
        self.taken_over: list[float] = []
        """When each part was read that an interrupted audit left and that is not read again."""

    @classmethod
    def create(
        cls, root: Path, origin: Origin, experiments: Sequence[Experiment], asked: Asked | None = None
    ) -> Snapshot:
        """Start a snapshot, or resume the unfinished one that is there for the same location and the same wishes.

        Raises:
            SnapshotError: when the directory holds anything else.
        """
        identity, created = uuid.uuid4().hex, time.time()
        if (root / MANIFEST).exists():
            old = cls.open(root, finished=False)
            if old.origin.location != origin.location:
                raise SnapshotError(
                    f"--parity-snapshot-dir: holds an unfinished snapshot of {old.origin.location}, not of "
                    f"{origin.location}; pass a different folder"
                )
            if asked is not None and old.asked is not None and asked != old.asked:
                raise SnapshotError(
                    f"--parity-snapshot-dir: holds an unfinished snapshot that was asked for with "
                    f"{old.asked.options()}, not {asked.options()}; give the same options again, or another folder"
                )
            drop_temporary(root)
            if old.origin.who != origin.who:
                # another server answers under this address, or a newer one, or to another user: nothing of it stays
                for path in (*root.glob("experiments/*/*.json"), *root.glob("server/*.json")):
                    path.unlink()
            else:
                # what is taken over was read then
                identity, created = old._identity, old.created
                instants = dict.fromkeys((*old.origin.database_at, *origin.database_at))
                origin = replace(origin, database_at=tuple(instants))
        elif root.exists() and not all(is_temporary(item) for item in root.iterdir()):
            raise SnapshotError(
                "--parity-snapshot-dir: the folder holds other files and no snapshot; give an empty one"
            )
        make_inside(root)
        manifest = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "id": identity,
            "created": created,
            "finished": None,
            "digest": None,
            "origin": asdict(origin),
            "asked": None if asked is None else asdict(asked),
            "experiments": [_experiment_row(item) for item in experiments],
            "parts": {},
        }
        write_json(root / MANIFEST, sealed(manifest))
        made = cls(root, manifest)
        made._ours = True
        return made

    @classmethod
    def open(cls, root: Path, *, finished: bool = True) -> Snapshot:
        """Open a snapshot.

        Raises:
            SnapshotError: when it is not one, of a newer format, damaged, or unfinished.
        """
        if not (root / MANIFEST).is_file():
            raise SnapshotError(f"{root.name}: not a snapshot (it has no {MANIFEST}); give the folder that holds it")
        manifest = read_json(root / MANIFEST)
        if manifest.get("format") != FORMAT:
            raise SnapshotError(f"{root.name}: not a snapshot of mlflow-parity; give one that it wrote")
        if manifest.get("version") != FORMAT_VERSION:
            raise SnapshotError(
                f"{root.name}: snapshot format {manifest.get('version')} is not {FORMAT_VERSION}; "
                "use the mlflow-parity that wrote it"
            )
        read_sealed(root / MANIFEST)
        try:
            snapshot = cls(root, manifest)
            if finished and manifest["finished"] is None:
                raise SnapshotError(
                    f"{root.name}: this snapshot is unfinished (the audit that wrote it was interrupted); run that "
                    "audit again with the same --parity-snapshot-dir first"
                )
            if finished and snapshot._digest() != manifest["digest"]:
                raise SnapshotError(f"{root.name}: the manifest does not match its digest; make the snapshot again")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SnapshotError(f"{root.name}: {MANIFEST} is damaged; make the snapshot again") from None
        return snapshot

    @property
    def identity(self) -> str:
        """What it was given when it was begun, and no other one has; a copy of its folder has it, too."""
        return self._identity

    @property
    def is_finished(self) -> bool:
        """Whether the audit that wrote it came to its end."""
        return self._manifest["finished"] is not None

    @property
    def digest(self) -> str:
        """Digest of everything in it (hex)."""
        return self._digest()

    @property
    def created(self) -> float:
        """When reading began, seconds since the epoch."""
        return float(self._manifest["created"])

    @property
    def finished(self) -> float | None:
        """When reading ended, seconds since the epoch."""
        return None if self._manifest["finished"] is None else float(self._manifest["finished"])

    def folder(self, experiment_id: str) -> Path:
        """Return the folder of an experiment's parts."""
        return (
            self.root / "server" if experiment_id == SERVER else self.root / "experiments" / folder_name(experiment_id)
        )

    def home(self, place: str) -> Home:
        """Return where parts of an experiment (by id) or of the server are written, from now on."""
        return Home(self.folder(place), place, self._identity)

    def sidecar(self, experiment_id: str, part: Part) -> dict[str, Any] | None:
        """Return a part's sidecar, or ``None`` when the part is not there.

        Raises:
            SnapshotError: when the part's files are not the ones that the sidecar describes.
        """
        folder = self.folder(experiment_id)
        path = folder / f"{part}.json"
        if not path.exists():
            return None
        sidecar = read_sealed(path)
        if not all(isinstance(sidecar.get(name), kind) for name, kind in (("files", dict), ("counts", dict))):
            raise SnapshotError(f"snapshot: {path.name} of experiment {experiment_id} is damaged; make it again")
        recorded = self._manifest["parts"].get(experiment_id, {}).get(part)
        if recorded != sidecar and (recorded is not None or self.is_finished):
            raise SnapshotError(f"snapshot: {part} of experiment {experiment_id} is not the one in the manifest")
        # whole in itself, a part of another snapshot or experiment would be read as more or less than was there
        if [sidecar.get(name) for name in ("part", "place", "snapshot")] != [part, experiment_id, self._identity]:
            raise SnapshotError(
                f"snapshot: {part} of experiment {experiment_id} is that of another snapshot or experiment; make the "
                "snapshot again, in another folder"
            )
        if "error" not in sidecar and sidecar["files"].keys() != _files(part):
            raise SnapshotError(f"snapshot: {path.name} of experiment {experiment_id} is damaged; make it again")
        # equal, and there already: views that stay as long as an audit goes on keep no second one
        return recorded if self._ours and recorded is not None else sidecar

    def listed(self, experiment_id: str) -> dict[str, schemas.Listed] | None:
        """Return what the list of an experiment's runs told of each; ``None`` where it was not read."""
        sidecar = self.sidecar(experiment_id, "runs")
        if sidecar is None or "error" in sidecar:
            return None
        return schemas.listed_runs(self.folder(experiment_id) / "runs.parquet")

    def check(self, experiment_id: str, part: Part) -> dict[str, Any] | None:
        """Return a part's sidecar after comparing its files with their checksums.

        Raises:
            SnapshotError: when a file is missing, truncated or altered.
        """
        sidecar = self.sidecar(experiment_id, part)
        if sidecar is None:
            if self.is_finished and part in self._manifest["parts"].get(experiment_id, {}):
                raise SnapshotError(f"snapshot: {part} of experiment {experiment_id} is missing; make it again")
            return None
        for name, checksum in () if (experiment_id, part) in self._whole else sidecar["files"].items():
            path = self.folder(experiment_id) / name
            if not path.is_file() or file_sha256(path) != checksum:
                raise SnapshotError(
                    f"snapshot: {name} of experiment {experiment_id} is damaged or truncated; make the snapshot again"
                )
            if self.is_finished and not self._ours and path not in self._bounded:
                check_table(path)
                self._bounded.add(path)
        return sidecar

    def verify(self) -> None:
        """Check every part once; a finished snapshot is not checked again.

        Raises:
            SnapshotError: when anything in it is not what was written.
        """
        places = [(experiment.experiment_id, PARTS) for experiment in self.experiments]
        checked = {
            (place, part)
            for place, names in [*places, (SERVER, SERVER_PARTS)]
            for part in names
            if self.check(place, part) is not None
        }
        if self.is_finished:
            self._whole = checked

    def forget(self, experiment_id: str, part: Part) -> None:
        """Drop a part of an unfinished snapshot, so that it is read again."""
        (self.folder(experiment_id) / f"{part}.json").unlink(missing_ok=True)
        self._manifest["parts"].get(experiment_id, {}).pop(part, None)

    def note_moved(self, moved: Moved) -> None:
        """Keep what moved on the server since it was read; a finished snapshot is sealed again."""
        self.moved = moved
        self._manifest.pop("moved", None)
        if moved:
            self._manifest["moved"] = moved.row()
        if self.is_finished:
            self._seal()

    def finish(self) -> None:
        """Seal: record every part and the digest of all."""
        self.record()
        self._manifest["finished"] = time.time()
        self._seal()

    def _seal(self) -> None:
        self._manifest["digest"] = self._digest()
        write_json(self.root / MANIFEST, sealed(self._manifest))

    def record(self) -> None:
        """Take in every part that was read so far."""
        parts: dict[str, dict[str, Any]] = {}
        places = [(experiment.experiment_id, PARTS) for experiment in self.experiments]
        for place, names in [*places, (SERVER, SERVER_PARTS)]:
            for part in names:
                sidecar = self.sidecar(place, part)
                if sidecar is not None:
                    parts.setdefault(place, {})[part] = sidecar
        self._manifest["parts"] = parts

    def _digest(self) -> str:
        parts = self._manifest["parts"]

        def of(place: str) -> list[bytes]:
            return [name.encode() + bytes.fromhex(part["digest"]) for name, part in parts.get(place, {}).items()]

        experiments = [
            combine([experiment_digest(experiment), *of(experiment.experiment_id)]) for experiment in self.experiments
        ]
        # where nothing moved, the digest is that of before this was asked
        moved = [self.moved.encoded()] if self.moved else []
        return combine([*experiments, combine([b"server", *of(SERVER)]), *moved]).hex()

    def other_keys(self, kind: str) -> frozenset[str]:
        """Return the keys that nothing here knows and any object of a kind that was read has."""
        if kind == "experiment":
            return frozenset(key for experiment in self.experiments for key in experiment.other)
        part = KINDS[kind].part if kind in KINDS else "runs"
        told = (parts.get(part, {}).get("other", "{}") for parts in self._manifest["parts"].values())
        return frozenset(key for text in told for key in json.loads(text).get(kind, ()))

    def view(self, experiment: Experiment) -> SnapshotView:
        """Return one experiment as comparing reads it."""
        return SnapshotView(self, experiment)

    def objects(self, place: str) -> PlaceObjects:
        """Return the objects of an experiment (by id), or of the :data:`~mlflow_parity.snapshot.SERVER`."""
        return PlaceObjects(self, place)


def _experiment_row(experiment: Experiment) -> dict[str, Any]:
    return {**asdict(experiment), "tags": dict(experiment.tags), "other": dict(experiment.other)}


def _files(part: Part) -> set[str]:
    """Return the names of a part's files."""
    return {f"{part}.parquet", "points.parquet"} if part == "metrics" else {f"{part}.parquet"}


def _experiment(row: Mapping[str, Any]) -> Experiment:
    texts = ("experiment_id", "name", "lifecycle_stage", "artifact_location")
    if not all(isinstance(row[name], str) for name in texts) or not isinstance(row["tags"], dict):
        raise TypeError("an experiment's id, name, stage and place are texts")
    if not isinstance(row["other"], dict):
        raise TypeError("what is told beside is an object")
    if not all(isinstance(text, str) for text in row["tags"].values()):
        raise TypeError("tags are texts")
    return Experiment(**row)
