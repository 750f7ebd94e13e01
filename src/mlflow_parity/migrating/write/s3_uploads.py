"""Uploads to S3 with a checksum of the whole file, which S3 proves and keeps: later audits rest on it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from mlflow_parity.migrating.write.s3_leftovers import IN_PARTS
from mlflow_parity.reading.artifacts.stated.checksums import with_crc64nvme

#: Largest file that is sent as a whole where no checksum of a whole file can be made of its parts.
_AS_WHOLE = 1 << 30
#: Status of answers of stores that speak S3 and know no such checksum.
_UNKNOWN = (400, 501)


def put_with_checksum(client: Any, bucket: str, key: str, content: Path | bytes, size: int) -> None:
    """Put a file of so many bytes.

    In one part it has its SHA-256; in several its CRC64NVME, with ``awscrt`` alone. Where the variable
    ``AWS_REQUEST_CHECKSUM_CALCULATION`` says that a store wants none, and where it refuses, none is asked for.

    Raises:
        Exception: whatever boto3 raises where it cannot be put there.
    """
    if client.meta.config.request_checksum_calculation != "when_required":
        try:
            _put(client, bucket, key, content, checksum=_checksum(content, size))
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in _UNKNOWN:
                raise
        else:
            return
    _put(client, bucket, key, content, checksum="")


def _checksum(content: Path | bytes, size: int) -> str:
    if isinstance(content, bytes) or size < IN_PARTS:
        return "SHA256"
    if with_crc64nvme():
        return "CRC64NVME"
    return "SHA256" if size <= _AS_WHOLE else ""


def _put(client: Any, bucket: str, key: str, content: Path | bytes, *, checksum: str) -> None:
    more = {"ChecksumAlgorithm": checksum} if checksum else {}
    with ExitStack() as opened:
        if isinstance(content, bytes):
            client.put_object(Bucket=bucket, Key=key, Body=content, **more)
        elif checksum == "SHA256":
            client.put_object(Bucket=bucket, Key=key, Body=opened.enter_context(content.open("rb")), **more)
        else:
            client.upload_file(str(content), bucket, key, ExtraArgs=more or None)
