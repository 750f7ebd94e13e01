"""A snapshot directory: opening, checking, resuming, finishing, and the views that comparing reads."""

from __future__ import annotations

import json
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlflow_parity.core.digests import combine, experiment_digest
from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.files import (
    drop_temporary,
    file_sha256,
    folder_name,
    is_temporary,
    read_json,
    read_sealed,
    sealed,
    write_json,
)
from mlflow_parity.core.keys import ObjectKey
from mlflow_parity.core.private_files import make_inside
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run, Series
from mlflow_parity.kinds.base import KINDS
from mlflow_parity.snapshot import FORMAT, FORMAT_VERSION, PARTS, SERVER, SERVER_PARTS, HistoryKey, Part, RunKey
from mlflow_parity.snapshot import schema as schemas
from mlflow_parity.snapshot.asked import Asked
from mlflow_parity.snapshot.objects import ObjectsTable
from mlflow_parity.snapshot.tables import check_table
from mlflow_parity.snapshot.writer import Home

MANIFEST = "manifest.json"
#: Row groups of points that stay in memory: one is about one and a half megabytes.
_GROUPS_KEPT = 8


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a snapshot comes from: the location as printed, its kind, and the server's MLflow version."""

    location: str
    kind: str
    version: str | None
    capabilities: Mapping[str, Any]
    workspace: str = ""
    """The workspace that was chosen; empty: the default one."""
    other_workspaces: tuple[str, ...] = ()
    """Those that were left out by that choice."""
    hidden: str = ""
    """Why the server may have hidden something from the user who read it; empty: it showed everything."""
    accounts: Mapping[str, int | None] = field(default_factory=dict)
    """Users, roles and permissions of MLflow's own login, counted (``None``: they could not be)."""
    endpoint: str = ""
    """What answered in the place of the ARN's own endpoint; empty: that did, or it is no ARN."""
    s3_endpoint: str = ""
    """The S3 that variables named; empty: AWS's own."""
    tls_not_verified: tuple[str, ...] = ()
    """Connections on which nobody proved who he is."""

    @property
    def who(self) -> tuple[object, ...]:
        """Who answered, and to whom: what another one gave is no part of the same snapshot."""
        return self.version, self.hidden, self.endpoint, self.s3_endpoint, self.tls_not_verified

    def check(self) -> None:
        """Look whether a manifest told something that makes sense.

        Raises:
            TypeError: it did not.
        """
        texts = (self.location, self.kind, self.workspace, self.hidden, self.version or "", *self.other_workspaces)
        counts = self.accounts.values() if isinstance(self.accounts, dict) else (False,)
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(self.capabilities, dict)
            or not all(count is None or type(count) is int for count in counts)
        ):
            raise TypeError("an origin is told in texts")


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
        told = {"hidden": "may have hidden something: the snapshot does not say; make it again", **manifest["origin"]}
        unproved = tuple(manifest["origin"].get("tls_not_verified", ()))
        self.origin = Origin(**{**told, "other_workspaces": others, "tls_not_verified": unproved})
        self.origin.check()
        asked: dict[str, Any] | None = manifest["asked"]
        self.asked = None if asked is None else Asked.of(asked)
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
        return sidecar

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

    def finish(self) -> None:
        """Seal: record every part and the digest of all."""
        parts: dict[str, dict[str, Any]] = {}
        places = [(experiment.experiment_id, PARTS) for experiment in self.experiments]
        for place, names in [*places, (SERVER, SERVER_PARTS)]:
            for part in names:
                sidecar = self.sidecar(place, part)
                if sidecar is not None:
                    parts.setdefault(place, {})[part] = sidecar
        self._manifest["parts"] = parts
        self._manifest["digest"] = self._digest()
        self._manifest["finished"] = time.time()
        write_json(self.root / MANIFEST, sealed(self._manifest))

    def _digest(self) -> str:
        parts = self._manifest["parts"]

        def of(place: str) -> list[bytes]:
            return [name.encode() + bytes.fromhex(part["digest"]) for name, part in parts.get(place, {}).items()]

        experiments = [
            combine([experiment_digest(experiment), *of(experiment.experiment_id)]) for experiment in self.experiments
        ]
        return combine([*experiments, combine([b"server", *of(SERVER)])]).hex()

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


class SnapshotView:
    """One experiment of a snapshot; its tables are loaded when first asked for."""

    def __init__(self, snapshot: Snapshot, experiment: Experiment) -> None:
        self._snapshot = snapshot
        self._experiment = experiment
        self._folder = snapshot.folder(experiment.experiment_id)
        own: tuple[Part, ...] = ("runs", "metrics", "artifacts")
        self._sidecars = {part: snapshot.check(experiment.experiment_id, part) for part in own}
        self._runs: pa.Table | None = None
        self._rows: dict[str, int] = {}
        self._histories: dict[str, dict[str, HistoryKey]] | None = None
        self._artifacts: Trees | None = None
        self._points: PointGroups | None = None

    @property
    def experiment(self) -> Experiment:
        """The experiment itself."""
        return self._experiment

    def problem(self, part: Part) -> str | None:
        """Why a part is not there as a whole."""
        sidecar = self._sidecars[part]
        if sidecar is None:
            return "not in this snapshot"
        error = sidecar.get("error")
        return None if error is None else str(error)

    def links_problem(self) -> str | None:
        """Why the links of runs to logged models are not all there."""
        error = (self._sidecars["runs"] or {}).get("links_error")
        return None if error is None else str(error)

    @property
    def depth(self) -> str | None:
        """Depth at which the artifacts were read."""
        sidecar = self._sidecars["artifacts"]
        return None if sidecar is None else sidecar.get("depth")

    def counts(self) -> dict[str, int]:
        """Return how many runs, points, files and bytes the parts hold."""
        merged: dict[str, int] = {}
        for sidecar in self._sidecars.values():
            merged.update((sidecar or {}).get("counts", {}))
        return merged

    def run_keys(self) -> list[RunKey]:
        """What pairing needs of every run."""
        table = pq.read_table(self._folder / "runs.parquet", columns=list(schemas.KEY_COLUMNS))
        return schemas.table_keys(table)

    def _load_runs(self) -> pa.Table:
        if self._runs is None:
            self._runs = pq.read_table(self._folder / "runs.parquet")
            self._rows = {run_id: row for row, run_id in enumerate(self._runs.column("run_id").to_pylist())}
        return self._runs

    def runs(self, run_ids: Sequence[str]) -> list[Run]:
        """Whole run records, in the order asked for."""
        table = self._load_runs()
        rows = table.take(pa.array([self._rows[run_id] for run_id in run_ids], pa.int64()))
        return [schemas.row_run(row) for row in rows.to_pylist()]

    def find_runs(self, run_ids: Collection[str]) -> dict[str, Run]:
        """Return those of these runs that are here, by id; nothing else is loaded."""
        if not run_ids:
            return {}
        path = self._folder / "runs.parquet"
        table = pq.read_table(path, filters=pc.field("run_id").isin(sorted(run_ids)))
        return {row["run_id"]: schemas.row_run(row) for row in table.to_pylist()}

    def all_runs(self) -> Iterator[Run]:
        """Every run, streamed by row group."""
        file = pq.ParquetFile(self._folder / "runs.parquet")
        for group in range(file.num_row_groups):
            for row in file.read_row_group(group).to_pylist():
                yield schemas.row_run(row)

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        """Size and digest of each metric history of a run."""
        if self._histories is None:
            self._histories = {}
            table = pq.read_table(self._folder / "metrics.parquet")
            columns = (table.column(name).to_pylist() for name in ("run_id", "key", "points", "digest", "error", "row"))
            for run, key, points, digest, error, row in zip(*columns, strict=True):
                self._histories.setdefault(run, {})[key] = HistoryKey(points, digest, error, row)
        return self._histories.get(run_id, {})

    def points(self, run_id: str, key: str) -> Series:
        """One whole history, read from the row groups that hold it."""
        entry = self.histories(run_id)[key]
        return Series(run_id, key, *self._columns(entry.row, entry.points), entry.error)

    def _columns(self, row: int, points: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        if self._points is None:
            self._points = PointGroups(self._folder / "points.parquet")
        pieces = self._points.rows(row, row + points)
        if not pieces:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64)
        table = pa.concat_tables(pieces)
        step, timestamp, value = (table.column(name).to_numpy() for name in ("step", "timestamp", "value"))
        return step, timestamp, value

    def series_of(self, run_ids: Sequence[str], most: int = 500_000) -> Iterator[dict[str, dict[str, Series]]]:
        """Yield every history of these runs by run and key, some runs at a time, in their order.

        About ``most`` points are in memory at once, but never less than one run. The rows of a run lie scattered,
        because histories are read key by key: so they are fetched for many runs together, each row group once.
        """
        table = pq.read_table(
            self._folder / "metrics.parquet",
            columns=["run_id", "key", "points", "error", "row"],
            filters=pc.field("run_id").isin(list(run_ids)),
        )
        entries: dict[str, list[dict[str, Any]]] = {run_id: [] for run_id in run_ids}
        for entry in table.to_pylist():
            entries[entry["run_id"]].append(entry)
        group: list[str] = []
        points = 0
        for run_id in run_ids:
            size = sum(entry["points"] for entry in entries[run_id])
            if group and points + size > most:
                yield self._series([entry for one in group for entry in entries[one]], group)
                group, points = [], 0
            group.append(run_id)
            points += size
        if group:
            yield self._series([entry for one in group for entry in entries[one]], group)

    def _series(self, entries: Sequence[Mapping[str, Any]], run_ids: Sequence[str]) -> dict[str, dict[str, Series]]:
        found: dict[str, dict[str, Series]] = {run_id: {} for run_id in run_ids}
        for entry in sorted(entries, key=lambda entry: int(entry["row"])):
            run_id, key = entry["run_id"], entry["key"]
            steps, timestamps, values = self._columns(entry["row"], entry["points"])
            # copied: a slice would keep its whole row group in memory
            found[run_id][key] = Series(run_id, key, steps.copy(), timestamps.copy(), values.copy(), entry["error"])
        return found

    def artifacts(self, run_id: str) -> ArtifactTree:
        """The artifact tree of a run."""
        if self._artifacts is None:
            self._artifacts = Trees(self._folder / "artifacts.parquet")
        return self._artifacts.tree(run_id)


class PointGroups:
    """The points of one part, read by row group; the latest groups stay, because series of one run lie together."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        sizes = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = [0, *accumulate(sizes)]
        self._groups: dict[int, pa.Table] = {}
        self._lock = threading.Lock()

    def rows(self, first: int, last: int) -> list[pa.Table]:
        """Return the rows from ``first`` to before ``last``, in pieces."""
        pieces = []
        if last > first:
            for group in range(bisect_right(self._starts, first) - 1, len(self._starts) - 1):
                at = self._starts[group]
                if at >= last:
                    break
                start = max(first - at, 0)
                pieces.append(self._group(group).slice(start, min(last, self._starts[group + 1]) - at - start))
        return pieces

    def _group(self, group: int) -> pa.Table:
        with self._lock:
            table = self._groups.pop(group, None)
            if table is None:
                table = self._file.read_row_group(group, columns=["step", "timestamp", "value"])
            self._groups[group] = table
            while len(self._groups) > _GROUPS_KEPT:
                self._groups.pop(next(iter(self._groups)))
            return table


class Trees:
    """The artifact trees of one part; the table is sorted once, when opened."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        self._table = table.take(pc.sort_indices(table, sort_keys=[("run_id", "ascending"), ("path", "ascending")]))
        self._rows: dict[str, list[int]] = {}
        for row, owner in enumerate(self._table.column("run_id").to_pylist()):
            self._rows.setdefault(owner, [row, row])[1] = row + 1

    def tree(self, owner: str) -> ArtifactTree:
        """Return the tree of a run, logged model or model version."""
        if owner not in self._rows:
            return ArtifactTree(owner, (), "its artifacts are not in the snapshot")
        first, last = self._rows[owner]
        rows = self._table.slice(first, last - first).to_pylist()
        errors = [row["error"] for row in rows if not row["path"]]
        files = tuple(schemas.row_artifact(row) for row in rows if row["path"])
        return ArtifactTree(owner, files, errors[0] if errors else None)


class PlaceObjects:
    """The objects of one experiment, or of the server; tables are opened when first asked for."""

    def __init__(self, snapshot: Snapshot, place: str) -> None:
        folder = snapshot.folder(place)
        names = SERVER_PARTS if place == SERVER else PARTS
        wanted: list[Part] = [part for part in names if part not in ("runs", "metrics", "artifacts")]
        self._sidecars = {part: snapshot.check(place, part) for part in wanted}
        self._folders = dict.fromkeys(wanted, folder)
        self._tables: dict[str, ObjectsTable] = {}
        self._trees: dict[str, Trees] = {}

    def renewed(self, parts: Mapping[Part, PlaceObjects]) -> PlaceObjects:
        """Return these objects with some parts as they were read again."""
        if not parts:
            return self
        other = copy(self)
        other._sidecars, other._tables, other._trees = dict(self._sidecars), dict(self._tables), dict(self._trees)
        other._folders = dict(self._folders)
        for part, fresh in parts.items():
            other._sidecars[part], other._folders[part] = fresh._sidecars[part], fresh._folders[part]
            other._tables.pop(part, None)
            other._trees.pop(part, None)
        return other

    def problem(self, part: Part) -> str | None:
        """Why a part is not there as a whole."""
        sidecar = self._sidecars.get(part)
        if sidecar is None:
            return "not in this snapshot"
        error = sidecar.get("error")
        return None if error is None else str(error)

    def unsupported(self, part: Part) -> frozenset[str]:
        """Kinds that this server cannot hold."""
        return frozenset(filter(None, str((self._sidecars.get(part) or {}).get("unsupported", "")).split(",")))

    def depth(self, part: Part) -> str | None:
        """Depth at which a part with files was read."""
        return (self._sidecars.get(part) or {}).get("depth")

    def every_unsupported(self) -> frozenset[str]:
        """Kinds of all parts that this server cannot hold, or does not serve."""
        return frozenset().union(*(self.unsupported(part) for part in self._sidecars))

    def counts(self) -> dict[str, int]:
        """Return how many objects of each kind there are, by its plural."""
        merged: dict[str, int] = {}
        for part, sidecar in self._sidecars.items():
            # a part with files counts those and their bytes, which are no objects
            for name, count in () if part in FILES_PART.values() else (sidecar or {}).get("counts", {}).items():
                if name != "errors":
                    merged[name] = merged.get(name, 0) + int(count)
        return merged

    def _table(self, kind: str) -> ObjectsTable:
        part = KINDS[kind].part
        if part not in self._tables:
            self._tables[part] = ObjectsTable(self._folders[part] / f"{part}.parquet")
        return self._tables[part]

    def keys(self, kind: str) -> list[ObjectKey]:
        """What pairing needs of every object of a kind."""
        return self._table(kind).keys(kind)

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Whole records, in the order asked for."""
        return self._table(kind).entities(kind, entity_ids)

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """The files of a logged model or model version, the attachments of a trace."""
        part: Part = FILES_PART[kind]
        problem = self.problem(part)
        if problem is not None:
            return ArtifactTree(entity_id, (), problem)
        if part not in self._trees:
            self._trees[part] = Trees(self._folders[part] / f"{part}.parquet")
        return self._trees[part].tree(entity_id)


#: Where the files of a kind are kept.
FILES_PART: dict[str, Part] = {
    "logged_model": "logged_model_files",
    "model_version": "version_files",
    "trace": "trace_files",
}


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
