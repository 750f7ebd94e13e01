"""What a killed migration left in the target's bucket: files that are whole, and parts of files that are not."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_parity.core.notice import Notice
from mlflow_parity.reading.artifacts.s3_pages import objects_of

#: From this size on boto3 sends a file in parts, each as large: the defaults of its ``TransferConfig``.
IN_PARTS = PART = 8 << 20
#: What ends uploads that were not finished.
RIGHTS = ("s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload")
#: Pages of unfinished uploads that are looked at.
_PAGES = 100


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that is in the bucket: its size and its ETag."""

    size: int
    etag: str

    def holds(self, content: Path | bytes, size: int) -> bool:
        """Whether these are its very bytes; an ETag that is no MD5, as with a key of KMS, proves nothing."""
        if size != self.size:
            return False
        whole, _, parts = self.etag.partition("-")
        digests = [hashlib.md5(piece, usedforsecurity=False) for piece in _pieces(content)] if parts else []
        if parts:
            if parts != str(len(digests)):
                return False
            together = b"".join(one.digest() for one in digests)
            return hashlib.md5(together, usedforsecurity=False).hexdigest() == whole
        found = hashlib.md5(usedforsecurity=False)
        for piece in _pieces(content):
            found.update(piece)
        return found.hexdigest() == whole


def _pieces(content: Path | bytes) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(PART):
            yield piece


class Leftovers:
    """What is below one prefix that the migration writes to, and to which nobody else does."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def kept(self) -> dict[str, Kept]:
        """Return the files by their path; none where they cannot be listed: then all are sent."""
        found: dict[str, Kept] = {}
        with suppress(Exception):
            turn: dict[str, str] = {}
            while True:
                page = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, **turn)
                for one in objects_of(page, self._bucket, self._prefix):
                    found[one["Key"][len(self._prefix) :]] = Kept(int(one["Size"]), str(one["ETag"]).strip('"'))
                if not page.get("NextContinuationToken"):
                    break
                turn = {"ContinuationToken": page["NextContinuationToken"]}
        return found

    def end_unfinished(self, paths: Collection[str]) -> None:
        """End uploads to these very keys that were not finished; others may be under way.

        Where these rights lack, the parts stay until the bucket's lifecycle rule: the preflight has said so.
        """
        with suppress(Exception):
            for one in self._unfinished():
                # another's upload is not to be ended, whatever the list names
                if one["Key"].startswith(self._prefix) and one["Key"][len(self._prefix) :] in paths:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"])

    def _unfinished(self) -> Iterator[dict[str, Any]]:
        turn: dict[str, str] = {}
        for _ in range(_PAGES):
            page = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=self._prefix, **turn)
            # taken down first: ending one changes what the next page begins with
            yield from list(page.get("Uploads", []))
            if not page.get("IsTruncated"):
                return
            turn = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def unfinished_rights(client: Any, bucket: str, key: str) -> list[Notice]:
    """Say when uploads that a kill leaves unfinished could not be ended: they cost, and no list of files shows them."""
    try:
        client.list_multipart_uploads(Bucket=bucket, Prefix=key, MaxUploads=1)
    except Exception as error:
        return [
            Notice(
                "warning",
                "target.store.unfinished",
                "uploads that a kill leaves unfinished cannot be ended in the target's bucket",
                f"S3: {type(error).__name__}: {' '.join(str(error).split())[:300]}",
                f"allow {' and '.join(RIGHTS)}, or give the bucket a lifecycle rule that ends them",
            )
        ]
    return []
