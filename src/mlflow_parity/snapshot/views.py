"""What comparing reads of a snapshot: runs of one experiment with their histories and files, and all other objects."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from copy import copy
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Run, Series
from mlflow_parity.kinds import KINDS
from mlflow_parity.snapshot import FILES_PART, PARTS, SERVER, SERVER_PARTS, ExperimentView, HistoryKey, Part, RunKey
from mlflow_parity.snapshot import schema as schemas
from mlflow_parity.snapshot.objects import ObjectsTable

#: Row groups of points that stay in memory: one is about one and a half megabytes.
_GROUPS_KEPT = 8


class Parts(Protocol):
    """Where the parts of a snapshot are, each checked before it is used."""

    def folder(self, experiment_id: str) -> Path:
        """Return the folder of a place."""
        ...

    def check(self, experiment_id: str, part: Part) -> Mapping[str, Any] | None:
        """Return a part's sidecar, once its files are those that it names."""
        ...


class SnapshotView(ExperimentView):
    """One experiment of a snapshot; its tables are loaded when first asked for."""

    def __init__(self, snapshot: Parts, experiment: Experiment) -> None:
        self._snapshot = snapshot
        self._experiment = experiment
        self._folder = snapshot.folder(experiment.experiment_id)
        own: tuple[Part, ...] = ("runs", "metrics", "artifacts")
        self._sidecars = {part: snapshot.check(experiment.experiment_id, part) for part in own}
        self._runs: pa.Table | None = None
        self._rows: dict[str, int] = {}
        self._histories: Histories | None = None
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
            self._histories = Histories(self._folder / "metrics.parquet")
        return self._histories.of(run_id)

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


class Histories:
    """Size and digest of every history of one part, in columns: as objects they take twice the memory."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path)
        runs = table.column("run_id").combine_chunks().dictionary_encode(null_encoding="encode")
        codes = runs.indices.to_numpy()
        self._runs = {run_id: code for code, run_id in enumerate(runs.dictionary.to_pylist())}
        # those of a run lie scattered; they stay in the order in which they were read
        self._ends = np.cumsum(np.bincount(codes, minlength=len(self._runs))).tolist()
        table = table.take(pa.array(np.argsort(codes, kind="stable")))
        keys = table.column("key").combine_chunks().dictionary_encode(null_encoding="encode")
        names = keys.dictionary.to_pylist()
        # of each name one text
        self._columns = [[names[code] for code in keys.indices.to_pylist()]]
        self._columns += [table.column(name).to_pylist() for name in ("points", "digest", "error", "row")]

    def of(self, run_id: str) -> dict[str, HistoryKey]:
        """Return those of a run, by key."""
        code = self._runs.get(run_id)
        if code is None:
            return {}
        some = slice(self._ends[code - 1] if code else 0, self._ends[code])
        return {key: HistoryKey(*told) for key, *told in zip(*(column[some] for column in self._columns), strict=True)}


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

    def __init__(self, snapshot: Parts, place: str) -> None:
        folder = snapshot.folder(place)
        names = SERVER_PARTS if place == SERVER else PARTS
        wanted: list[Part] = [part for part in names if part not in ("runs", "metrics", "artifacts")]
        self._sidecars = {part: snapshot.check(place, part) for part in wanted}
        self._folders = dict.fromkeys(wanted, folder)
        self._tables: dict[str, ObjectsTable] = {}
        self._trees: dict[str, Trees] = {}
        self._fresh: dict[tuple[str, str], ArtifactTree] = {}

    def with_files(self, kind: str, trees: Mapping[str, ArtifactTree]) -> PlaceObjects:
        """Return these objects with the files of some of a kind as they were read again."""
        other = copy(self)
        other._fresh = {**self._fresh, **{(kind, owner): tree for owner, tree in trees.items()}}
        return other

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

    def rest(self) -> None:
        """Keep nothing but keys in memory; what is asked for later is read again."""
        for table in self._tables.values():
            table.rest()
        self._trees.clear()

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Whole records, in the order asked for."""
        return self._table(kind).entities(kind, entity_ids)

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """The files of a logged model or model version, the attachments of a trace."""
        part: Part = FILES_PART[kind]
        if (kind, entity_id) in self._fresh:
            return self._fresh[kind, entity_id]
        problem = self.problem(part)
        if problem is not None:
            return ArtifactTree(entity_id, (), problem)
        if part not in self._trees:
            self._trees[part] = Trees(self._folders[part] / f"{part}.parquet")
        return self._trees[part].tree(entity_id)
