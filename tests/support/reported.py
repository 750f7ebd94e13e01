"""Completion reports of S3 Batch Operations (Compute checksum) and inventories, as AWS documents them."""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq


def message(content: bytes, tag: str, algorithm: str = "SHA256", **more: Any) -> str:
    """The result of one task."""
    value = {
        "SHA256": lambda: hashlib.sha256(content).digest(),
        "SHA1": lambda: hashlib.sha1(content).digest(),
        "MD5": lambda: hashlib.md5(content).digest(),
        "CRC32": lambda: zlib.crc32(content).to_bytes(4, "big"),
    }[algorithm]()
    told = {
        "checksum_base64": base64.b64encode(value).decode(),
        "etag": tag.strip('"'),
        "checksumAlgorithm": algorithm,
        "checksumType": "FULL_OBJECT",
        "checksum_hex": value.hex().upper(),
    }
    return json.dumps({name: one for name, one in {**told, **more}.items() if one is not None})


def row(bucket: str, key: str, result: str, *, quoted: bool = True) -> tuple[str, ...]:
    """One line; names are quoted where those of the list that the job was given are."""
    return bucket, quote(key) if quoted else key, "", "succeeded", "200", "", result


def report(path: Path, rows: Iterable[tuple[str, ...]]) -> Path:
    """Write a report."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


#: Columns of an inventory with all versions, as a CSV calls them.
FIELDS = ("Bucket", "Key", "VersionId", "IsLatest", "IsDeleteMarker", "Size", "ETag", "EncryptionStatus")


def listed(bucket: str, key: str, size: int, etag: str, encryption: str, **more: str) -> dict[str, str]:
    """One line of an inventory."""
    known = (bucket, key, "", "true", "false", str(size), etag.strip('"'), encryption)
    return {**dict(zip(FIELDS, known, strict=True)), **more}


def inventory(folder: Path, rows: Iterable[dict[str, str]], kind: str = "CSV", *, bucket: str = "bucket") -> Path:
    """Write an inventory as S3 does, and return its manifest."""
    rows = list(rows)
    data = folder / "data" / f"one.{'csv.gz' if kind == 'CSV' else 'parquet'}"
    data.parent.mkdir(parents=True, exist_ok=True)
    fields = list(rows[0]) if rows else list(FIELDS)
    if kind == "CSV":
        text = io.StringIO()
        csv.writer(text).writerows(
            [quote(one[name]) if name == "Key" else one[name] for name in fields] for one in rows
        )
        data.write_bytes(gzip.compress(text.getvalue().encode()))
    else:
        called = {
            "ETag": "e_tag",
            "IsLatest": "is_latest",
            "IsDeleteMarker": "is_delete_marker",
            "VersionId": "version_id",
        }
        called |= {"EncryptionStatus": "encryption_status"}
        columns: dict[str, list[Any]] = {called.get(name, name.lower()): [one[name] for one in rows] for name in fields}
        for name in ("is_latest", "is_delete_marker"):
            columns[name] = [one == "true" for one in columns[name]]
        if "size" in columns:
            columns["size"] = [int(one) for one in columns["size"]]
        pq.write_table(pa.table(columns), data)
    place = folder / "2026-11-20T01-00Z"
    place.mkdir(exist_ok=True)
    told = {
        "sourceBucket": bucket,
        "destinationBucket": "arn:aws:s3:::lists",
        "version": "2016-11-30",
        "creationTimestamp": "1763600000000",
        "fileFormat": kind,
        "fileSchema": ", ".join(fields)
        if kind == "CSV"
        else "message s3.inventory { required binary bucket (STRING); }",
        "files": [{"key": f"a/b/data/{data.name}", "size": data.stat().st_size, "MD5checksum": md5(data)}],
    }
    (place / "manifest.json").write_text(json.dumps(told))
    return place / "manifest.json"


def md5(path: Path) -> str:
    """The MD5 of a file."""
    return hashlib.md5(path.read_bytes()).hexdigest()
