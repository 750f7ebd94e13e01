"""Parts of a snapshot that hold objects beside experiments and runs: one row per object, its facets as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_parity import kinds
from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.identity.digests import combine, digest
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import Entity
from mlflow_parity.kinds.schema.base import OTHER
from mlflow_parity.snapshot.writer import Home, Table, other_keys, seal

OBJECTS = pa.schema(
    [
        ("kind", pa.string()),
        ("id", pa.string()),
        ("name", pa.string()),
        ("container", pa.string()),
        ("created", pa.int64()),
        ("run", pa.string()),
        ("number", pa.int64()),
        ("origin", pa.string()),
        ("natural", pa.binary(32)),
        ("content", pa.binary(32)),
        ("error", pa.string()),
        ("artifact_uri", pa.string()),
        ("facets", pa.map_(pa.string(), pa.string())),
        ("digest", pa.binary(32)),
    ]
)
_KEY_COLUMNS = [
    "kind", "id", "name", "container", "created", "run", "number", "origin", "natural", "content", "error",
    "artifact_uri",
]  # fmt: skip
#: Row groups that stay in memory: one is about four megabytes.
_GROUPS_KEPT = 4


def _texts(entity: Entity) -> dict[str, str]:
    return {name: json.dumps(value, sort_keys=True) for name, value in entity.facets.items()}


def entity_digest(entity: Entity) -> bytes:
    """Digest everything that is known of an entity, but for its files."""
    return digest([entity.kind, entity.entity_id, entity.name, entity.container, entity.error, _texts(entity)])


def object_row(entity: Entity) -> dict[str, Any]:
    """Return the row of an entity."""
    number = entity.facets.get("number")
    return {
        "kind": entity.kind,
        "id": entity.entity_id,
        "name": entity.name,
        "container": entity.container,
        "created": entity.created,
        "run": entity.facets.get("run"),
        "number": number if isinstance(number, int) else None,
        "origin": kinds.origins(entity),
        "natural": digest(kinds.natural(entity)),
        "content": digest(kinds.content(entity)),
        "error": entity.error,
        "artifact_uri": entity.artifact_uri,
        "facets": list(_texts(entity).items()),
        "digest": entity_digest(entity),
    }


def key_of(entity: Entity) -> ObjectKey:
    """Return what pairing needs of an entity."""
    row = object_row(entity)
    return ObjectKey(entity_id=row["id"], **{name: row[name] for name in _KEY_COLUMNS if name != "id"})


def row_object(row: Mapping[str, Any]) -> Entity:
    """Return the entity of a row."""
    return Entity(
        kind=row["kind"],
        entity_id=row["id"],
        name=row["name"],
        container=row["container"],
        created=row["created"],
        facets={name: json.loads(text) for name, text in row["facets"]},
        artifact_uri=row["artifact_uri"],
        error=row["error"],
    )


class ObjectsWriter:
    """Writes ``<part>.parquet``."""

    def __init__(self, home: Home, part: str) -> None:
        self._home = home
        self._part = part
        self._table = Table(home.folder / f"{part}.parquet", OBJECTS)
        self._digests: list[bytes] = []
        self._counts: Counter[str] = Counter({kind.plural: 0 for kind in kinds.of_part(part)})
        self._other: dict[str, set[str]] = {}

    def add(self, entities: Iterable[Entity]) -> None:
        """Append entities."""
        for entity in entities:
            row = object_row(entity)
            self._digests.append(row["digest"])
            self._counts[kinds.KINDS[entity.kind].plural] += 1
            self._counts["errors"] += entity.error is not None
            if other := entity.facets.get(OTHER):
                self._other.setdefault(entity.kind, set()).update(other)
            self._table.add(row, size=sum(len(text) for _, text in row["facets"]))

    def finish(self, unsupported: Sequence[str] = ()) -> dict[str, Any]:
        """Put the part in place and return its sidecar; ``unsupported``: kinds that the server cannot hold."""
        files = {f"{self._part}.parquet": self._table.finish()}
        return seal(
            self._home,
            self._part,
            dict(self._counts),
            combine(self._digests),
            files,
            unsupported=",".join(sorted(unsupported)),
            **other_keys(self._other),
        )

    def abandon(self) -> None:
        """Drop what was written."""
        self._table.abandon()


class ObjectsTable:
    """One part, opened for pairing and comparing.

    Each experiment has some, as long as an audit goes on: so the file is open only while rows are read from it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], tuple[int, int]] = {}
        self._groups: dict[int, pa.Table] = {}
        self._keys: dict[str, list[ObjectKey]] = {}
        self._file_id = _file_id(path)
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=_KEY_COLUMNS)
                for number, row in enumerate(table.to_pylist()):
                    self._rows[row["kind"], row["id"]] = (group, number)
                    self._keys.setdefault(row["kind"], []).append(
                        ObjectKey(entity_id=row["id"], **{name: row[name] for name in _KEY_COLUMNS if name != "id"})
                    )

    def keys(self, kind: str) -> list[ObjectKey]:
        """What pairing needs of every object of a kind."""
        return self._keys.get(kind, [])

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Whole records, in the order asked for."""
        found = []
        for entity_id in entity_ids:
            group, number = self._rows[kind, entity_id]
            found.append(row_object(self._group(group).slice(number, 1).to_pylist()[0]))
        return found

    def _group(self, group: int) -> pa.Table:
        table = self._groups.pop(group, None)
        if table is None:
            with self._opened() as file:
                table = file.read_row_group(group)
        self._groups[group] = table
        while len(self._groups) > _GROUPS_KEPT:
            self._groups.pop(next(iter(self._groups)))
        return table

    def rest(self) -> None:
        """Keep no rows in memory; those that are asked for are read again."""
        self._groups.clear()

    def everything(self) -> Iterator[Entity]:
        """Every object, streamed by row group."""
        with self._opened() as file:
            for group in range(file.num_row_groups):
                for row in file.read_row_group(group).to_pylist():
                    yield row_object(row)

    def _opened(self) -> pq.ParquetFile:
        if _file_id(self._path) != self._file_id:
            # rows are found by their numbers: those of another file are of other objects
            raise SnapshotError(f"snapshot: {self._path.name} was replaced while it was compared; repeat the audit")
        return pq.ParquetFile(self._path)


def _file_id(path: Path) -> tuple[int, int, int]:
    told = path.stat()
    return told.st_ino, told.st_size, told.st_mtime_ns
