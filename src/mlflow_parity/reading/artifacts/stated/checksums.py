"""What S3 states of the bytes of a file, and the same checksums of bytes that are read.

Whatever a store says is looked at as if it lied: what has another form than the documented one was never said.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from threading import Lock
from typing import Any, NamedTuple

from mlflow_parity.core.errors import ReadError, UsageProblem
from mlflow_parity.core.identity.parts import Split, even
from mlflow_parity.core.identity.sums import LENGTHS, WEAK, text
from mlflow_parity.reading.artifacts.stated.attributes import Attributes, composites
from mlflow_parity.reading.artifacts.stated.etags import ETAG, Parts, digests_of, etag_in, layouts
from mlflow_parity.reading.artifacts.stated.held_etags import HeldEtags

#: How ``ListObjectsV2`` and ``HeadObject`` call the checksums that are asked for.
_CALLED = {kind: ("Checksum" + kind.upper(), kind.upper()) for kind in LENGTHS}
#: Files of each place whose encryption is looked at: the first ones, and one of so many.
_FIRST, _EACH = 3, 1_000
#: Storage classes of files that have to be restored before they can be read.
_ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")
#: Buckets of S3 Express: their ETags are no digests.
_DIRECTORY_BUCKET = "--x-s3"


class Mark(NamedTuple):
    """Which state of a place a list has told: ``version`` changes with whatever is written there."""

    place: str
    version: str
    written: float
    """When it was, seconds since the epoch, as the store says."""
    was_read: Callable[[], bool]
    """Whether the bytes that came last from there were of this state, and it is in it still."""


class Stated(NamedTuple):
    """What a store states of a file: its SHA-256 (hex), and other checksums as text."""

    sha256: str | None = None
    sums: str = ""
    mark: Mark | None = None
    """The state of its place; ``None``: the store does not tell it."""
    around: str = ""
    """The place around it of which a checksum report tells; empty: none tells of the file."""


class Listed(NamedTuple):
    """What a list of S3 tells of the bytes of one file."""

    etag: str
    algorithms: frozenset[str]
    modified: float | None = None
    """Seconds since the epoch."""
    is_archived: bool = False
    """Whether S3 sends it to nobody until it is restored."""


def listed(item: Mapping[str, Any]) -> Listed:
    """Return what an entry of ``ListObjectsV2`` tells of a file."""
    told = item.get("ChecksumAlgorithm") or ()
    algorithms = frozenset(map(str, told)) if isinstance(told, (list, tuple)) else frozenset[str]()
    modified = item.get("LastModified")
    stamp = modified.timestamp() if isinstance(modified, datetime) else None
    return Listed(etag_in(item), algorithms, stamp, item.get("StorageClass") in _ARCHIVES)


def of_head(head: Mapping[str, Any], *, weak: bool = False) -> dict[str, str]:
    """Return the checksums (hex) that ``HeadObject`` tells of the whole file."""
    kind = head.get("ChecksumType")
    of_parts = (found := ETAG.fullmatch(etag_in(head))) is not None and bool(found[2])
    # those of parts end in -N; where nothing says of what it is, a file in parts may have either
    if kind != "FULL_OBJECT" and (kind is not None or of_parts):
        return {}
    told: dict[str, str] = {}
    for name, (key, _) in _CALLED.items():
        given = head.get(key)
        if not isinstance(given, str) or (name in WEAK and not weak):
            continue
        try:
            value = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            continue
        if len(value) == LENGTHS[name]:
            told[name] = value.hex()
    return told


def is_plain(head: Mapping[str, Any]) -> bool:
    """Whether the ETag that ``HeadObject`` tells is of the bytes: neither KMS nor a customer's key encrypts them."""
    encryption = head.get("ServerSideEncryption")
    named = any(head.get(key) for key in ("SSECustomerAlgorithm", "SSECustomerKeyMD5", "SSEKMSKeyId"))
    return encryption in (None, "AES256") and not named


def etag_is_digest(answer: Mapping[str, Any], bucket: str) -> bool:
    """Whether the ETag in an answer to a write is of the bytes."""
    return not bucket.endswith(_DIRECTORY_BUCKET) and is_plain(answer)


@dataclass(slots=True)
class _Sampled:
    asked: int = 0
    plain: bool = True
    refused: bool = False
    lock: Lock = field(default_factory=Lock)


class EtagsOfPlaces:
    """Whether ETags are digests, by place; safe to use from many threads.

    No list tells how a file is encrypted, so some files of each place are asked for. One that slips through has an
    ETag that is no digest: equal to no other file's, it makes the bytes be read, and proves nothing.
    """

    def __init__(self) -> None:
        self.held = HeldEtags()
        self._places: dict[tuple[str, bool], _Sampled] = {}
        self._lock = Lock()

    def are_digests(
        self,
        bucket: str,
        place: str,
        head: Callable[[], Mapping[str, Any]],
        etag: str,
        listed: bool | None = None,
    ) -> bool:
        """Whether ETags of a place are digests; ``head`` asks for the file that is looked at now.

        ``listed`` is what an inventory states of that file; ``None``: none does.

        Raises:
            UsageProblem: the inventory is contradicted.
        """
        if bucket.endswith(_DIRECTORY_BUCKET):
            return False
        # what an inventory states of some files shows nothing of the others
        group = f"{bucket}/{place}", listed is None
        with self._lock:
            sampled = self._places.setdefault(group, _Sampled())
        with sampled.lock:
            sampled.asked += 1
            if listed is not None:
                return self._as_listed(sampled, head, etag, listed)
            if not sampled.plain or not (sampled.asked <= _FIRST or sampled.asked % _EACH == 0):
                return sampled.plain
            try:
                told = head()
            except ReadError:
                # a customer's key is asked for, or the file may not be read: its bytes tell more
                sampled.plain = False
            else:
                sampled.plain = is_plain(told) and etag_in(told) == etag
            return sampled.plain

    @staticmethod
    def _as_listed(sampled: _Sampled, head: Callable[[], Mapping[str, Any]], etag: str, listed: bool) -> bool:
        if sampled.refused or not (sampled.asked <= _FIRST or sampled.asked % _EACH == 0):
            return listed and not sampled.refused
        try:
            told = head()
        except ReadError:
            sampled.refused = True
            return False
        if etag_in(told) == etag and is_plain(told) != listed:
            raise UsageProblem(
                f"--parity-checksums: an inventory states another encryption than S3 of a file whose ETag is {etag} "
                "in both; leave the inventory out"
            )
        return listed


def stated(
    told: Listed,
    size: int | None,
    head: Callable[[], Mapping[str, Any]],
    plain: Callable[[], bool],
    ask: Callable[[int], Attributes | None] = lambda _: None,
    *,
    weak: bool,
) -> Stated:
    """Return what S3 states of a file that a list tells; ``head`` asks for it alone, ``ask`` for its so many parts.

    It is asked for where its ETag is no MD5 of the whole file, and the list names a checksum that is stronger; for its
    parts, too, where it has others than those that are computed of all bytes anyway.
    """
    md5, parts = digests_of(told.etag, size)
    count = int(parts.rpartition("-")[2] or 1)
    if (md5 or parts) and not plain():
        md5 = parts = ""
    if md5:
        return Stated(None, text({"md5": md5}, read=False))
    wanted = {called for kind, (_, called) in _CALLED.items() if weak or kind not in WEAK}
    whole: dict[str, str] = {}
    of_parts: list[str] = [parts] if parts else []
    found = None
    # what S3 keeps of parts it keeps with their checksums
    if count > 1 and told.algorithms and (told.algorithms & wanted or count not in _counts(size or 0)):
        found = ask(count)
    if found is not None:
        whole = of_head({**found.checksum, "ETag": told.etag}, weak=weak)
        whole |= {"crc32": found.crc32} if weak and found.crc32 and not whole else {}
        of_parts += found.parts
    if told.algorithms & wanted and not (whole or (found is not None and found.parts)):
        answer = head()
        # changed since it was listed: its bytes tell more
        if etag_in(answer) != told.etag or answer.get("ContentLength") != size:
            return Stated()
        whole = of_head(answer, weak=weak)
        of_parts += composites(answer, count) if count > 1 else []
    sums = text(whole, of_parts, read=False)
    split = "" if found is None else found.split
    return Stated(whole.get("sha256"), f"{sums} {split}" if sums and split else sums)


def _counts(size: int) -> set[int]:
    return {-(-size // part) for part in layouts(size)}


class Hasher:
    """All checksums of a stream of bytes, in one pass.

    ``also``: those that only reports of checksums know; ``splits``: parts that the other side's store has.
    """

    def __init__(self, expected: int | None, *, also: bool = False, splits: Collection[Split] = ()) -> None:
        self._sha1 = hashlib.sha1(usedforsecurity=False) if also else None
        self._crc32 = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = _crc64nvme()
        self._crc_value = 0
        usual = [Split(even(expected or 0, part)) for part in layouts(expected or 0)]
        wanted = {(split.runs, kind) for split in (*usual, *splits) for kind in split.kinds}
        self._parts = [Parts(Split(runs), kind) for runs, kind in sorted(wanted)]
        self.size = 0

    def update(self, piece: bytes) -> None:
        """Take the next bytes."""
        view = memoryview(piece)
        for parts in self._parts:
            parts.add(view, self._with)
        self._sha256.update(view)
        self._md5.update(view)
        if self._sha1 is not None:
            self._sha1.update(view)
            self._crc32 = zlib.crc32(view, self._crc32)
        if self._crc is not None:
            self._crc_value = self._crc(piece, self._crc_value)
        self.size += len(piece)

    def _with(self, some: memoryview) -> Any:
        found = self._md5.copy()
        found.update(some)
        return found

    @property
    def sha256(self) -> str:
        """The SHA-256, in hex."""
        return self._sha256.hexdigest()

    @property
    def whole(self) -> dict[str, str]:
        """All that were computed of the whole file (hex), by kind."""
        found = {"sha256": self.sha256, "md5": self._md5.hexdigest()}
        if self._sha1 is not None:
            found |= {"sha1": self._sha1.hexdigest(), "crc32": f"{self._crc32:08x}"}
        return found | ({"crc64nvme": f"{self._crc_value:016x}"} if self._crc is not None else {})

    @property
    def sums(self) -> str:
        """All others."""
        whole = {"md5": self._md5.hexdigest()}
        if self._crc is not None:
            whole["crc64nvme"] = f"{self._crc_value:016x}"
        return text(whole, {parts.end() for parts in self._parts} - {""}, read=True)


@cache
def _crc64nvme() -> Callable[[bytes, int], int] | None:
    """Return what computes a CRC64NVME; ``None``: ``awscrt`` is not installed."""
    try:
        found: Callable[[bytes, int], int] = importlib.import_module("awscrt.checksums").crc64nvme
    except (ImportError, AttributeError):
        return None
    return found


def with_crc64nvme() -> bool:
    """Whether a CRC64NVME can be computed."""
    return _crc64nvme() is not None
