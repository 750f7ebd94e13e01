"""The calls that bring one object of S3 to another place, each on its way."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, wait
from contextlib import suppress
from functools import partial
from typing import Any

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.identity.sums import Left
from mlflow_parity.core.records import Artifact
from mlflow_parity.migrating.write.copying.deciding import part_size, parts_of, status_of, strong_of
from mlflow_parity.migrating.write.copying.proving import contradicts
from mlflow_parity.migrating.write.copying.repeating import Repeating
from mlflow_parity.migrating.write.s3_leftovers import IN_PARTS
from mlflow_parity.migrating.write.s3_uploads import put_with_checksum
from mlflow_parity.reading.artifacts.stated.checksums import Hasher, with_crc64nvme
from mlflow_parity.reading.artifacts.stated.etags import BOTO3, layouts

#: Pieces in which bytes pass.
_PIECE = 1 << 20
#: Status of answers of stores that speak S3 and know no such checksum.
_UNKNOWN = (400, 501)


class Checksums:
    """Whether a target is asked to keep a checksum of each copy: until it refuses a copy with, and takes it without."""

    def __init__(self, client: Any) -> None:
        self._wanted = client.meta.config.request_checksum_calculation != "when_required"

    def ask(self, call: Callable[..., Any], more: Mapping[str, str]) -> Any:
        """Call with what asks for a checksum, where that is taken.

        Raises:
            Exception: whatever boto3 raises.
        """
        if not self._wanted:
            return call()
        try:
            return call(**more)
        except Exception as error:
            if status_of(error) not in _UNKNOWN:
                raise
        answer = call()
        self._wanted = False
        return answer


def copy_whole(copying: Repeating, checksums: Checksums, file: Artifact, left: Left, bucket: str, key: str) -> Any:
    """Copy an object in one call; the source must be what was listed. Tags are not copied: that takes more rights.

    Raises:
        Exception: whatever boto3 raises.
    """
    strong = strong_of(file, left)
    # one that the source states proves the copy; where that is its MD5, the ETag does, and later audits get a SHA-256
    kind = next((kind for kind in ("sha256", "md5", "crc64nvme", "sha1") if kind in strong), "")
    asked = {"crc64nvme": "CRC64NVME", "sha1": "SHA1"}.get(kind, "SHA256")
    copy = partial(copying.copy, bucket, key, (left.bucket, left.key), left.etag)
    return checksums.ask(copy, {"ChecksumAlgorithm": asked})


def copy_in_parts(
    client: Any, checksums: Checksums, file: Artifact, left: Left, bucket: str, key: str, pool: Executor
) -> Any:
    """Copy an object part by part, in ``pool``; in the parts of the source where its ETag is made of them.

    Raises:
        MalformedAnswer: the parts of the source are not known.
        Exception: whatever boto3 raises; what was begun is ended then.
    """
    size, parts = file.size or 0, parts_of(file)
    told: Any = {}
    if parts:
        with suppress(Exception):
            told = client.head_object(Bucket=left.bucket, Key=left.key, PartNumber=1, IfMatch=f'"{left.etag}"')
    part = part_size(size, parts, told)
    if not part and "crc64nvme" in strong_of(file, left):
        part = part_size(size, 0, {})
    if not part:
        raise MalformedAnswer("its parts cannot be made again")
    crc = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
    begun = checksums.ask(lambda **more: client.create_multipart_upload(Bucket=bucket, Key=key, **more), crc)
    upload = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}

    def one(number: int) -> dict[str, Any]:
        first = number * part
        answer = client.upload_part_copy(
            **upload,
            PartNumber=number + 1,
            CopySource={"Bucket": left.bucket, "Key": left.key},
            CopySourceIfMatch=f'"{left.etag}"',
            CopySourceRange=f"bytes={first}-{min(first + part, size) - 1}",
        )
        return {"PartNumber": number + 1, "ETag": answer["CopyPartResult"]["ETag"]}

    under_way = []
    try:
        under_way = [pool.submit(one, number) for number in range(-(-size // part))]
        made = [future.result() for future in under_way]
        return client.complete_multipart_upload(**upload, MultipartUpload={"Parts": made})
    except BaseException:
        # a part that comes after the end would stay
        for future in under_way:
            future.cancel()
        wait(under_way)
        with suppress(Exception):
            client.abort_multipart_upload(**upload)
        raise


def stream(source: Any, client: Any, file: Artifact, left: Left, bucket: str, key: str) -> None:
    """Read an object and send it on, without a byte on the disk; a part of it at most is in memory.

    Raises:
        MalformedAnswer: what came is not what was listed; nothing stands in its place then.
        Exception: whatever boto3 raises.
    """
    body = source.get_object(Bucket=left.bucket, Key=left.key, IfMatch=f'"{left.etag}"')["Body"]
    try:
        reading = Reading(body, file, left)
        size = file.size or 0
        if size < IN_PARTS:
            put_with_checksum(client, bucket, key, reading.all(), size)
            return
        from boto3.s3.transfer import TransferConfig

        # the sizes by which an audit knows an ETag of parts
        config = TransferConfig(multipart_chunksize=(layouts(size) or [BOTO3])[0], use_threads=False)
        wants_none = client.meta.config.request_checksum_calculation == "when_required"
        more = {"ChecksumAlgorithm": "CRC64NVME"} if with_crc64nvme() and not wants_none else None
        client.upload_fileobj(reading, bucket, key, ExtraArgs=more, Config=config)
    finally:
        body.close()


def spool(source: Any, file: Artifact, left: Left, write: Callable[[bytes], Any]) -> None:
    """Read an object, for a target that is not S3.

    Raises:
        MalformedAnswer: what came is not what was listed.
        Exception: whatever boto3 raises.
    """
    body = source.get_object(Bucket=left.bucket, Key=left.key, IfMatch=f'"{left.etag}"')["Body"]
    try:
        reading = Reading(body, file, left)
        while piece := reading.read(_PIECE):
            write(piece)
    finally:
        body.close()


class Reading(io.RawIOBase):
    """The bytes of an object as they come: its end is reached only where they are those that were listed."""

    def __init__(self, body: Any, file: Artifact, left: Left) -> None:
        super().__init__()
        self._body = body
        self._file = file
        self._left = left
        self._hasher = Hasher(file.size)

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, as many as are asked for unless it ends before.

        Raises:
            MalformedAnswer: it ends, and is not what was listed.
        """
        pieces: list[bytes] = []
        wanted = size
        while size < 0 or wanted > 0:
            piece = self._body.read(_PIECE if size < 0 else min(wanted, _PIECE))
            if not piece:
                self._check()
                break
            self._hasher.update(piece)
            wanted -= len(piece)
            pieces.append(piece)
            if self._hasher.size > (self._file.size or 0):
                self._check()
        return b"".join(pieces)

    def all(self) -> bytes:
        """Return all of it.

        Raises:
            MalformedAnswer: it is not what was listed.
        """
        return self.read()

    def _check(self) -> None:
        read = self._hasher
        came = Artifact(self._file.path, read.size, read.sha256, sums=read.sums)
        if contradicts(self._file, self._left, came):
            raise MalformedAnswer(f"S3 listed {self._file.size} bytes and sent {read.size}, or others; run it again")
