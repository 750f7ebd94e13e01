"""Completion reports of S3 Batch Operations (Compute checksum), as AWS documents them."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote


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
