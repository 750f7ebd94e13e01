"""Writes the parts of one experiment; a part exists once its sidecar does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_parity.core.identity.digests import artifacts_digest, combine, encode, series_digest
from mlflow_parity.core.identity.sums import is_of_others
from mlflow_parity.core.local.files import file_sha256, make_inside, put, sealed, temporary, write_json
from mlflow_parity.core.records import ArtifactTree, Run, Series
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot import schema as schemas

#: Points kept in memory before they become a row group: 131,072 × 32 bytes.
_POINTS_PER_GROUP = 65_536
_ROWS_PER_GROUP = 1_000
_BYTES_PER_GROUP = 1 << 22
_COMPRESSION = "zstd"


@dataclass(frozen=True, slots=True)
class Home:
    """Where parts are written, and of what they are: a seal names it, so that no other's part is taken for one."""

    folder: Path
    place: str
    """Id of the experiment, or :data:`~mlflow_parity.snapshot.SERVER`."""
    snapshot: str
    """The random id of the snapshot."""
    read: float = field(default_factory=time.time)
    """When reading began, seconds since the epoch."""


class Table:
    """A Parquet file written in batches under a temporary name."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self._schema = schema
        self._temporary = temporary(path)
        self._writer = pq.ParquetWriter(self._temporary, schema, compression=_COMPRESSION, compression_level=1)
        self._pending: list[dict[str, Any]] = []
        self._pending_size = 0

    def add(self, row: dict[str, Any], size: int = 0) -> None:
        """Append a row; ``size`` is about how many bytes it holds, where that may be many."""
        self._pending.append(row)
        self._pending_size += size
        if len(self._pending) >= _ROWS_PER_GROUP or self._pending_size >= _BYTES_PER_GROUP:
            self._flush()

    def write(self, table: pa.Table) -> None:
        """Append a table as a row group."""
        self._writer.write_table(table)
        self.rows += table.num_rows

    def _flush(self) -> None:
        if self._pending:
            self.write(pa.Table.from_pylist(self._pending, schema=self._schema))
            self._pending, self._pending_size = [], 0

    def finish(self) -> str:
        """Close, put in place, and return the file's SHA-256."""
        self._flush()
        self._writer.close()
        checksum = file_sha256(self._temporary)
        put(self._temporary, self.path)
        return checksum

    def abandon(self) -> None:
        """Drop what was written."""
        self._writer.close()
        self._temporary.unlink(missing_ok=True)


class RunsWriter:
    """Writes ``runs.parquet``."""

    def __init__(self, home: Home, *, model_links: bool = False) -> None:
        self._home = home
        self._model_links = model_links
        self._table = Table(home.folder / "runs.parquet", schemas.RUNS)
        self._digests: list[bytes] = []
        self._other: set[str] = set()

    def add(self, runs: Iterable[Run]) -> None:
        """Append runs."""
        for run in runs:
            row = schemas.run_row(run)
            self._digests.append(row["digest"])
            self._other.update(run.other)
            self._table.add(row)

    def finish(self, links_error: str | None = None) -> dict[str, Any]:
        """Put the part in place and return its sidecar; ``links_error`` says why links to models are not all there."""
        checksum = self._table.finish()
        return seal(
            self._home,
            "runs",
            {"runs": len(self._digests)},
            combine(self._digests),
            {"runs.parquet": checksum},
            model_links=self._model_links and links_error is None,
            **other_keys({"run": self._other}),
            **({} if links_error is None else {"links_error": links_error}),
        )

    def abandon(self) -> None:
        """Drop what was written."""
        self._table.abandon()


class MetricsWriter:
    """Writes ``points.parquet`` and ``metrics.parquet``; ``deleted``: deleted runs are in scope."""

    def __init__(self, home: Home, *, deleted: bool) -> None:
        self._home = home
        self._deleted = deleted
        self._index = Table(home.folder / "metrics.parquet", schemas.HISTORIES)
        self._points = Table(home.folder / "points.parquet", schemas.POINTS)
        self._pending: list[Series] = []
        self._pending_points = 0
        self._row = 0
        self._errors = 0
        self._digests: list[bytes] = []

    def add(self, histories: Sequence[Series]) -> int:
        """Append histories; return how many points they hold."""
        before = self._row
        for series in histories:
            count = len(series.values)
            digest = series_digest(series)
            self._index.add(
                {
                    "run_id": series.run_id,
                    "key": series.key,
                    "points": count,
                    "digest": digest,
                    "error": series.error,
                    "row": self._row,
                }
            )
            self._digests.append(encode([series.run_id, series.key, count, digest, series.error]))
            self._errors += series.error is not None
            self._row += count
            if count:
                self._pending.append(series)
                self._pending_points += count
        if self._pending_points >= _POINTS_PER_GROUP:
            self._flush()
        return self._row - before

    def _flush(self) -> None:
        if not self._pending:
            return
        counts = [len(series.values) for series in self._pending]
        self._points.write(
            pa.table(
                [
                    _repeated([series.run_id for series in self._pending], counts),
                    _repeated([series.key for series in self._pending], counts),
                    np.concatenate([series.steps for series in self._pending]),
                    np.concatenate([series.timestamps for series in self._pending]),
                    np.concatenate([series.values for series in self._pending]),
                ],
                schema=schemas.POINTS,
            )
        )
        self._pending, self._pending_points = [], 0

    def finish(self) -> dict[str, Any]:
        """Put the part in place and return its sidecar."""
        self._flush()
        checksums = {"points.parquet": self._points.finish(), "metrics.parquet": self._index.finish()}
        counts = {"histories": len(self._digests), "points": self._row, "errors": self._errors}
        return seal(self._home, "metrics", counts, combine(self._digests), checksums, deleted=self._deleted)

    def abandon(self) -> None:
        """Drop what was written."""
        self._index.abandon()
        self._points.abandon()


class ArtifactsWriter:
    """Writes ``<part>.parquet``; a tree without files is a row with an empty path, and its error."""

    def __init__(self, home: Home, depth: str, *, deleted: bool, part: Part = "artifacts") -> None:
        self._home = home
        self._part = part
        self._depth = depth
        self._deleted = deleted
        self._table = Table(home.folder / f"{part}.parquet", schemas.ARTIFACTS)
        self._digests: list[bytes] = []
        self._counts = {"files": 0, "bytes": 0, "errors": 0}
        self._borrowed = False

    def add(self, tree: ArtifactTree) -> None:
        """Append one run's tree."""
        if tree.error is not None or not tree.files:
            # a run without files is a row as well: absence of a row must mean "not read"
            self._counts["errors"] += tree.error is not None
            self._table.add({"run_id": tree.run_id, "path": "", "error": tree.error})
        for file in tree.files:
            self._counts["files"] += 1
            self._borrowed = self._borrowed or is_of_others(file.sums)
            self._counts["bytes"] += file.size or 0
            self._counts["errors"] += file.error is not None
            self._table.add(
                {
                    "run_id": tree.run_id,
                    "path": file.path,
                    "size": file.size,
                    "sha256": file.sha256,
                    "content": file.content,
                    "error": file.error,
                    "sums": file.sums or None,
                }
            )
        self._digests.append(encode([tree.run_id, tree.error, artifacts_digest(tree)]))

    def finish(self) -> dict[str, Any]:
        """Put the part in place and return its sidecar."""
        checksum = self._table.finish()
        counts = {**self._counts, "trees": len(self._digests)}
        return seal(
            self._home,
            self._part,
            counts,
            combine(self._digests),
            {f"{self._part}.parquet": checksum},
            depth=self._depth,
            deleted=self._deleted,
            **({"borrowed": True} if self._borrowed else {}),
        )

    def abandon(self) -> None:
        """Drop what was written."""
        self._table.abandon()


def _repeated(names: Sequence[str], counts: Sequence[int]) -> pa.DictionaryArray:
    """Return a dictionary array in which ``names[i]`` stands ``counts[i]`` times."""
    unique, codes = np.unique(np.asarray(names, dtype=object), return_inverse=True)
    indices = np.repeat(codes.astype(np.int32), counts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(unique.tolist(), pa.string()))


def seal(
    home: Home, part: str, counts: dict[str, int], digest: bytes, files: dict[str, str], **more: str | bool
) -> dict[str, Any]:
    """Write a part's sidecar, which makes it exist, and return it."""
    of = {"part": part, "place": home.place, "snapshot": home.snapshot, "read": home.read}
    sidecar = sealed({**of, "counts": counts, "digest": digest.hex(), "files": files, **more})
    write_json(home.folder / f"{part}.json", sidecar)
    return sidecar


def other_keys(found: Mapping[str, set[str]]) -> dict[str, str]:
    """Return for a sidecar the keys that nothing here knows and any object of a kind has; nothing where none has."""
    kinds = {kind: sorted(keys) for kind, keys in found.items() if keys}
    return {"other": json.dumps(kinds, sort_keys=True)} if kinds else {}


def seal_failure(home: Home, part: Part, reason: str) -> dict[str, Any]:
    """Record that a part could not be read; a resumed audit tries it again."""
    make_inside(home.folder)
    return seal(home, part, {"errors": 1}, combine([encode(reason)]), {}, error=reason)
