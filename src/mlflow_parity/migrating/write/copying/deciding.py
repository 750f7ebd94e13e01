"""How a file that was left in S3 gets to the target: by S3's own copy, by one of its parts, or through this machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from threading import Lock
from typing import Any, Literal
from urllib.parse import urlsplit

from mlflow_parity.core.identity.sums import WEAK, Left, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.reading.artifacts.stated.etags import layouts

#: ``whole``: ``CopyObject``. ``parts``: ``UploadPartCopy`` in an upload of parts. ``stream``: read here, and sent on.
Way = Literal["whole", "parts", "stream"]
#: Largest object that ``CopyObject`` takes.
LARGEST_WHOLE = 5 << 30
#: Smallest part of an upload (but the last), largest one, and the size of those that need no certain one.
_SMALLEST, LARGEST_PART, _PART = 5 << 20, 5 << 30, 256 << 20
_MOST_PARTS = 10_000
#: Files in a row that S3 does not copy from one bucket to another, until it is not asked any more.
_REFUSALS = 3
#: AWS's own hosts: its regions copy from each other, its partitions do not.
_AWS = re.compile(r"(?:^|\.)(amazonaws\.com(?:\.cn)?)$")
#: Status of answers that say that a copy cannot be had, and not that it failed this once.
_REFUSED = (400, 401, 403, 405, 501)


def one_service(source: str, target: str) -> bool:
    """Whether two endpoints are one S3, which can copy between its buckets.

    >>> one_service("https://s3.eu-west-1.amazonaws.com", "https://s3.us-east-1.amazonaws.com")
    True
    >>> one_service("https://s3.amazonaws.com", "http://minio:9000")
    False
    """
    ours, theirs = (urlsplit(one) for one in (source, target))
    clouds = [_AWS.search(one.hostname or "") for one in (ours, theirs)]
    if all(clouds):
        return clouds[0] is not None and clouds[1] is not None and clouds[0][1] == clouds[1][1]
    return (ours.hostname, ours.port, ours.scheme) == (theirs.hostname, theirs.port, theirs.scheme)


def way_of(file: Artifact, left: Left) -> Way:
    """Return the way on which a file can be proved afterwards by what both stores state.

    An object that was sent in parts has an ETag of parts: a copy in the same parts has the same one.
    """
    whole, parts = strong_of(file, left), parts_of(file)
    if whole and (file.size or 0) <= LARGEST_WHOLE:
        return "whole"
    # of an upload in parts S3 makes this checksum of the whole alone
    return "parts" if parts or "crc64nvme" in whole else "stream"


def strong_of(file: Artifact, left: Left) -> set[str]:
    """Return which checksums of the whole file, that prove it, the source states."""
    return {kind for kind in sums_of(file).whole if kind not in WEAK} | ({"sha256"} if left.sha256 else set())


def parts_of(file: Artifact) -> int:
    """Return of how many parts the source's ETag is; 0: of none."""
    return max((int(one.partition("-")[2]) for one in sums_of(file).parts), default=0)


def part_size(size: int, parts: int, told: Mapping[str, Any]) -> int:
    """Return the size of parts in which to copy; 0: those of the source are not known, and have to be.

    ``told`` is what S3 says of the source's first part, ``parts`` how many its ETag is made of; 0: any will do.
    """
    if not parts:
        part = _PART
        while size > part * _MOST_PARTS:
            part *= 2
        return part
    first = told.get("ContentLength") if told.get("PartsCount") == parts else None
    known = [first] if isinstance(first, int) and first > 0 else layouts(size)
    fitting = [part for part in known if -(-size // part) == parts and _SMALLEST <= part <= LARGEST_PART]
    return fitting[0] if fitting else size if parts == 1 and 0 < size <= LARGEST_PART else 0


class Refusals:
    """Which buckets S3 does not copy between; safe to use from many threads.

    One object may be refused for itself (a customer's key), so it takes some in a row to give up all.
    """

    def __init__(self) -> None:
        self._in_a_row: dict[tuple[str, str], int] = {}
        self._lock = Lock()

    def given_up(self, pair: tuple[str, str]) -> bool:
        """Whether it is not asked any more."""
        with self._lock:
            return self._in_a_row.get(pair, 0) >= _REFUSALS

    def copied(self, pair: tuple[str, str]) -> None:
        """It can be done."""
        with self._lock:
            self._in_a_row[pair] = 0

    def refused(self, pair: tuple[str, str]) -> None:
        """One was not copied, or not provably."""
        with self._lock:
            self._in_a_row[pair] = self._in_a_row.get(pair, 0) + 1


def is_refusal(error: Exception) -> bool:
    """Whether S3 says that it does not copy this object, while it may be read and written."""
    return status_of(error) in _REFUSED


def status_of(error: Exception) -> int:
    """Return the HTTP status of an answer of S3; 0: there was none."""
    answer = getattr(error, "response", None) or {}
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)


def code_of(error: Exception) -> str:
    """Return S3's name of an error."""
    return str((getattr(error, "response", None) or {}).get("Error", {}).get("Code", "") or type(error).__name__)
