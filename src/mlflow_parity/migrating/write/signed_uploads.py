"""Uploads through the target's artifact proxy; one that takes no file itself signs an address for each part of one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.migrating.write.writing import Writer
from mlflow_parity.reading.transport.endpoints import Endpoint
from mlflow_parity.reading.transport.signed import SignedPlace

PROXY = "/api/2.0/mlflow-artifacts/artifacts/"
_MPU = "/api/2.0/mlflow-artifacts/mpu/"
#: What a part is sent by, as messages and limits call it.
_PART = Endpoint("signed-part", "PUT", f"{_MPU}create/*")
#: Bytes of one part, if a file has more; a store takes at most 10,000 parts.
PART, _MOST = 64 << 20, 10_000


def put_proxied(writer: Writer, below: str, content: Path | bytes, size: int, *, signed: bool) -> None:
    """Put a file, or bytes, at a path below the artifact root; ``signed``: the proxy takes none itself.

    Raises:
        ReadError: the target, or its store, refused it or did not answer.
    """
    if signed:
        _put_signed(writer, below, content, size)
    else:
        writer.put(PROXY + below, content, size=size)


def _put_signed(writer: Writer, below: str, content: Path | bytes, size: int) -> None:
    """Put it in parts; what fails in the middle is taken back."""
    folder, name = posixpath.split(below)
    part = max(PART, -(-size // _MOST))
    # an empty file is one part without a byte
    count = max(1, -(-size // part))

    def call(what: str, **body: Any) -> dict[str, Any]:
        return writer.call("POST", f"{_MPU}{what}/{quote(folder, safe='/')}", {"path": name, **body})

    begun = call("create", num_parts=count)
    upload, signed = str(begun.get("upload_id") or ""), begun.get("credentials")
    if not isinstance(signed, list) or len(signed) != count or not all(isinstance(one, dict) for one in signed):
        raise MalformedAnswer(f"the target signed no address for each of {count} parts of the file")
    try:
        parts = [
            _put_part(writer, one, number, _piece(content, number * part, part)) for number, one in enumerate(signed)
        ]
        call("complete", upload_id=upload, parts=parts)
    except Exception:
        with suppress(ReadError):
            call("abort", upload_id=upload)
        raise


def _put_part(writer: Writer, signed: Mapping[str, Any], number: int, piece: bytes) -> dict[str, Any]:
    place = SignedPlace.of(signed, writer.location)
    etag = writer.upload_signed(_PART, place, piece)
    return {"part_number": int(signed.get("part_number") or number + 1), "etag": etag, "url": place.url}


def _piece(content: Path | bytes, start: int, most: int) -> bytes:
    if isinstance(content, bytes):
        return content[start : start + most]
    with content.open("rb") as file:
        file.seek(start)
        return file.read(most)
