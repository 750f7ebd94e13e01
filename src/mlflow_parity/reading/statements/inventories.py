"""S3 Inventory: the list of a bucket's files that S3 makes each day, with how each is encrypted.

It has no checksums. But what it says of the encryption tells of which files the ETag is the MD5, one by one: without it
that is asked for some files of each place, and one that KMS encrypts stands for all others there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_parity.core.local.input_files import NOTE, Unusable, json_of
from mlflow_parity.reading.statements.given_files import csv_rows, names, opened

#: Columns that are used, as a CSV calls them, and as Parquet does.
_COLUMNS = {"Bucket": "bucket", "Key": "key", "Size": "size", "ETag": "e_tag", "EncryptionStatus": "encryption_status"}
#: Those that are only there where all versions are listed.
_VERSIONS = {"IsLatest": "is_latest", "IsDeleteMarker": "is_delete_marker"}
#: What is said of the encryption, and whether an ETag is of the bytes then.
_PLAIN = {"SSE-S3": True, "NOT-SSE": True, "SSE-KMS": False, "DSSE-KMS": False, "SSE-C": False}
#: Largest texts in it, bytes of a row group, and rows at once.
_LONGEST, _GROUP, _BATCH = 4_096, 1 << 28, 1_024


class Entry(NamedTuple):
    """What is stated of a file; ``plain``: its ETag is of its bytes."""

    bucket: str
    keys: frozenset[str]
    etag: str
    size: int
    plain: bool


def entries(manifest: Path) -> Iterator[Entry]:
    """Yield what an inventory states of files whose encryption it names; ``manifest`` lies beside what it lists.

    Raises:
        Unusable: it is none, lacks a file or a column, or is damaged.
    """
    told = json_of(manifest, NOTE)
    if not isinstance(told, dict):
        raise Unusable("is no manifest of an S3 Inventory")
    if "Results" in told:
        raise Unusable("is the list of a job's reports: give the CSV files that it names")
    kind, schema, files, source = (told.get(name) for name in ("fileFormat", "fileSchema", "files", "sourceBucket"))
    if not isinstance(schema, str) or not isinstance(files, list) or not isinstance(source, str):
        raise Unusable("is no manifest of an S3 Inventory")
    if kind not in ("CSV", "Parquet"):
        raise Unusable(f"is of an inventory in {str(kind)[:20]}, which is not read: have it made as CSV or Parquet")
    columns = [column.strip() for column in schema.split(",")]
    for one in files:
        path = _beside(manifest, one)
        try:
            rows = _of_csv(path, columns) if kind == "CSV" else _of_parquet(path)
            for row in rows:
                entry = _entry(row, source)
                if entry is not None:
                    yield entry
        except Unusable as error:
            raise Unusable(f"names {path.name}, which {error}") from None


def _beside(manifest: Path, one: Any) -> Path:
    """Return where a file of the inventory is, as its MD5 shows."""
    key, md5 = (one.get(name) if isinstance(one, dict) else None for name in ("key", "MD5checksum"))
    if not isinstance(key, str) or not isinstance(md5, str):
        raise Unusable("is no manifest of an S3 Inventory")
    name = key.rpartition("/")[2]
    if name in ("", ".", "..") or "\0" in name:
        raise Unusable(f"names a file {name!r}")
    folders = (manifest.parent, manifest.parent / "data", manifest.parent.parent / "data")
    found = hashlib.md5(usedforsecurity=False)
    try:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            raise Unusable(f"names {name[:200]}, which is neither beside it nor in data")
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    except OSError as error:
        raise Unusable(f"names {name[:200]}, which cannot be read: {error.strerror or error}") from None
    if found.hexdigest() != md5.lower():
        raise Unusable(f"names {name[:200]}, which is damaged or another: its MD5 is not that of the manifest")
    return path


def _of_csv(path: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    _are_there(set(columns), _COLUMNS)
    with opened(path) as file:
        for number, row in csv_rows(file):
            if len(row) != len(columns):
                raise Unusable(f"has {len(row)} columns, not {len(columns)} (line {number:,})")
            yield dict(zip(columns, row, strict=True))


def _of_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [one for one in _COLUMNS.values() if one != "size"]
    try:
        there = set(pq.read_schema(path).names)
        _are_there(there, _COLUMNS.values())
        # as dictionaries, so that a text that is there a million times is there once
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            wanted = {called: one for called, one in (_COLUMNS | _VERSIONS).items() if one in there}
            meta = file.metadata
            for group in range(meta.num_row_groups):
                chunks = [meta.row_group(group).column(index) for index in range(meta.num_columns)]
                if sum(one.total_uncompressed_size for one in chunks if one.path_in_schema in wanted.values()) > _GROUP:
                    raise Unusable("unpacks to more than an inventory does")
            for batch in file.iter_batches(batch_size=_BATCH, columns=list(wanted.values())):
                for one in texts:
                    column = batch.column(one)
                    values = column.dictionary if pa.types.is_dictionary(column.type) else column
                    if not (pa.types.is_string(values.type) or pa.types.is_binary(values.type)):
                        raise Unusable(f"has other values than texts in {one}")
                    if any(len(value.as_buffer() or b"") > _LONGEST for value in values if value.is_valid):
                        raise Unusable(f"has a text in {one} that is longer than any can be")
                if not pa.types.is_integer(batch.column("size").type):
                    raise Unusable("has other values than whole numbers in size")
                rows = [batch.column(one).to_pylist() for one in wanted.values()]
                for values in zip(*rows, strict=True):
                    yield dict(zip(wanted, values, strict=True))
    except (pa.ArrowException, OSError, OverflowError, ValueError, TypeError, KeyError) as error:
        raise Unusable(f"is damaged: {' '.join(str(error).split())[:200]}") from None


def _are_there(there: Any, wanted: Any) -> None:
    missing = [one for one in wanted if one not in there]
    if missing:
        raise Unusable(f"has no column {', '.join(missing)}: add the field to the inventory's configuration")


def _flag(told: Mapping[str, Any], name: str, otherwise: str) -> bool:
    """Return what a field says of a file's version; ``otherwise``: the inventory has no such field."""
    text = str(told.get(name, otherwise)).lower()
    if text not in ("true", "false"):
        raise Unusable(f"has an {name} that is neither true nor false: {text[:20]!r}")
    return text == "true"


def _entry(row: Mapping[str, Any], source: str) -> Entry | None:
    """Return what a line states; ``None``: nothing of a file that is there, or not how it is encrypted."""
    told = {name: one.decode("utf-8", "replace") if isinstance(one, bytes) else one for name, one in row.items()}
    if not _flag(told, "IsLatest", "true") or _flag(told, "IsDeleteMarker", "false"):
        return None
    bucket, key, size, etag = (told[name] for name in ("Bucket", "Key", "Size", "ETag"))
    if bucket != source:
        raise Unusable(f"lists a file of the bucket {str(bucket)[:100]!r}, not of {source[:100]!r}")
    plain = _PLAIN.get(told["EncryptionStatus"] or "")
    if not isinstance(key, str) or not key or not isinstance(etag, str):
        raise Unusable("has a line that is none of an inventory")
    try:
        # a CSV has texts; of anything else but a whole number ``int`` would make another
        number = int(size) if isinstance(size, str) and size.isascii() else size
    except ValueError:
        number = None
    if type(number) is not int:
        raise Unusable(f"has a size that is no number: {str(size)[:20]!r}")
    if not 0 <= number < 1 << 62:
        raise Unusable(f"has a size that no file has: {number}")
    return None if plain is None else Entry(bucket, names(key), etag.strip('"')[:200], number, plain)
