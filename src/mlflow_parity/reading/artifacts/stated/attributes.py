"""What ``GetObjectAttributes`` of S3 tells of a file that was sent in parts: sizes and checksums of the parts.

The right to it is one of its own (``s3:GetObjectAttributes``), and many services that speak S3 do not know the call:
some answer with the file itself. So nothing depends on it. Whatever is told is looked at as if it were a lie: what does
not come to the listed size, to the number of parts in the ETag, or to the checksum of the whole was never told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.identity.parts import split_text
from mlflow_parity.core.identity.sums import LENGTHS, WEAK
from mlflow_parity.reading.artifacts.stated.crc32 import joined
from mlflow_parity.reading.transport import endpoints

#: What is asked for, and parts a page; S3 gives no more. Some services give less, but not one by one.
ASKED: Mapping[str, Any] = {"ObjectAttributes": ["ETag", "Checksum", "ObjectParts", "ObjectSize"], "MaxParts": 1_000}
_PAGES = 12
#: Checksums of the parts' checksums that prove something; CRC32s of parts can be joined to that of the file.
_STRONG = ("sha256", "sha1")
_CALLED = {kind: "Checksum" + kind.upper() for kind in (*_STRONG, "crc32")}
#: Files of a bucket that are asked for in vain, one after another, before no other is.
_IN_VAIN = 3


class Attributes(NamedTuple):
    """What is told of one file in parts."""

    checksum: Mapping[str, Any]
    """Checksums as ``HeadObject`` tells them, those of the whole file or of its parts."""
    parts: tuple[str, ...] = ()
    """Checksums of the parts' checksums, as ``parts=`` has them."""
    split: str = ""
    """Sizes of the parts as a word; empty: not told."""
    crc32: str = ""
    """The CRC32 of the whole file that those of its parts come to; empty: not told."""


#: Asks for one page, from the part with a number on; the first has none.
Ask = Callable[[int | None], Mapping[str, Any]]


def told(ask: Ask, etag: str, size: int, count: int) -> Attributes:
    """Ask for all pages and return what they tell.

    Raises:
        ReadError: they tell nothing that can be used, or contradict themselves or the list.
    """
    parts: list[Mapping[str, Any]] = []
    numbers: list[int] = []
    checksum: dict[str, Any] = {}
    marker: int | None = None
    for _ in range(_PAGES):
        answer = ask(marker)
        _check(answer, etag, size)
        stated = answer.get("Checksum")
        checksum = checksum or (dict(stated) if isinstance(stated, dict) else {})
        if _of_whole(checksum):
            return Attributes(checksum)
        page = answer.get("ObjectParts")
        page = page if isinstance(page, dict) else {}
        total = page.get("TotalPartsCount", count)
        if total != count:
            raise MalformedAnswer(f"S3: a file of {count} parts is told to have {total!r}")
        found = page.get("Parts") or []
        for one in found if isinstance(found, list) else []:
            number = one.get("PartNumber")
            if not _is_number(number) or (numbers and number <= numbers[-1]) or not _is_number(one.get("Size")):
                raise MalformedAnswer("S3: the parts of a file are not in order")
            numbers.append(number)
            parts.append(one)
        if len(parts) > count:
            raise MalformedAnswer(f"S3: a file of {count} parts is told to have more")
        if not page.get("IsTruncated"):
            break
        # a marker behind which nothing new comes would be asked for without end
        if not found or page.get("NextPartNumberMarker") != numbers[-1]:
            raise MalformedAnswer("S3: the list of a file's parts is cut, and its next page is not named")
        marker = numbers[-1]
    else:
        raise MalformedAnswer(f"S3: the list of a file's parts has more than {_PAGES} pages")
    return _of_parts(checksum, parts, size, count)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _of_whole(checksum: Mapping[str, Any]) -> bool:
    """Whether a checksum of the whole file is stated that proves something: its parts do not matter then."""
    strong = ("Checksum" + kind.upper() for kind in LENGTHS.keys() - WEAK)
    return checksum.get("ChecksumType") == "FULL_OBJECT" and any(kind in checksum for kind in strong)


def _check(answer: Mapping[str, Any], etag: str, size: int) -> None:
    if str(answer.get("ETag", "")).strip('"') != etag.strip('"') or answer.get("ObjectSize") != size:
        raise MalformedAnswer("S3: what is told of a file's parts is of another file, or it was changed since")


def _of_parts(checksum: dict[str, Any], parts: Sequence[Mapping[str, Any]], size: int, count: int) -> Attributes:
    """Return what parts come to; where none are listed, what is stated of the whole alone.

    Raises:
        MalformedAnswer: they do not come to the file.
    """
    sizes = [int(part["Size"]) for part in parts]
    if parts and (len(parts) != count or sum(sizes) != size):
        raise MalformedAnswer(f"S3: the parts of a file of {size:,} bytes in {count} parts do not come to it")
    whole = checksum.get("ChecksumType") == "FULL_OBJECT"
    found: list[str] = []
    for kind in _STRONG:
        stated = "" if whole else _stated(checksum.get(_CALLED[kind]), kind, count)
        of_each = [_hex(part.get(_CALLED[kind]), kind) for part in parts]
        if not whole and parts and all(of_each):
            made = hashlib.new(kind, b"".join(map(bytes.fromhex, of_each)), usedforsecurity=False).hexdigest()
            if stated not in ("", made):
                raise MalformedAnswer("S3: the checksum of a file's parts is not that of the parts that are listed")
            stated = made
        found += [f"{kind}:{stated}-{count}"] if stated else []
    crcs = [_hex(part.get(_CALLED["crc32"]), "crc32") for part in parts]
    crc32 = ""
    split = split_text(sizes)
    # each size takes some work
    if not whole and split and all(crcs):
        values = [bytes.fromhex(one) for one in crcs]
        if _stated(checksum.get(_CALLED["crc32"]), "crc32", count) not in ("", f"{zlib.crc32(b''.join(values)):08x}"):
            raise MalformedAnswer("S3: the checksum of a file's parts is not that of the parts that are listed")
        crc32 = f"{joined((int.from_bytes(one, 'big'), size) for one, size in zip(values, sizes, strict=True)):08x}"
    return Attributes(checksum, tuple(found), split, crc32)


def _hex(given: object, kind: str) -> str:
    """Return a checksum in hex; empty: it is none."""
    if not isinstance(given, str):
        return ""
    try:
        value = base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return ""
    return value.hex() if len(value) == LENGTHS[kind] else ""


def _stated(given: object, kind: str, count: int) -> str:
    # HeadObject writes the number of parts behind it, GetObjectAttributes does not
    return _hex(given.removesuffix(f"-{count}") if isinstance(given, str) else None, kind)


def composites(head: Mapping[str, Any], count: int) -> list[str]:
    """Return the checksums of parts' checksums that ``HeadObject`` tells of a file in parts."""
    if head.get("ChecksumType") == "FULL_OBJECT":
        return []
    found = [(kind, head.get(_CALLED[kind])) for kind in _STRONG]
    # without the number it may be that of the whole file
    written = [(kind, one) for kind, one in found if isinstance(one, str) and one.endswith(f"-{count}")]
    return [f"{kind}:{one}-{count}" for kind, given in written if (one := _stated(given, kind, count))]


def unknown_call(error: Exception) -> RequestRefused | None:
    """Return the error of a service that does not know the call, which no second try helps; ``None``: it is another."""
    answer = getattr(error, "response", None) or {}
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
    # it may send the file itself
    if status == 501 or type(error).__name__ == "ResponseParserError":
        return RequestRefused("S3: GetObjectAttributes is not known here", status=501)
    return None


@dataclass(slots=True)
class _Bucket:
    over: bool = False
    told: bool = False
    in_vain: int = 0


@dataclass(slots=True)
class AttributesOfBuckets:
    """Asks for what is told of files, and stops where it is refused or leads to nothing; for many threads."""

    refused: dict[str, None] = field(default_factory=dict)
    """Buckets in which the right to it is missing."""
    _buckets: dict[str, _Bucket] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def of(self, bucket: str, ask: Ask, etag: str, size: int, count: int) -> Attributes | None:
        """Ask for one file; ``None``: nothing is told that can be used."""
        with self._lock:
            known = self._buckets.setdefault(bucket, _Bucket())
            if known.over:
                return None
        try:
            found = told(ask, etag, size, count)
        except ReadError as error:
            with self._lock:
                self._failed(bucket, known, error)
            return None
        with self._lock:
            useful = bool(found.parts or found.split or _of_whole(found.checksum))
            known.told = known.told or useful
            known.in_vain = 0 if useful else known.in_vain + 1
            known.over = known.in_vain >= _IN_VAIN and not known.told
        return found

    def _failed(self, bucket: str, known: _Bucket, error: ReadError) -> None:
        known.in_vain += 1
        if isinstance(error, RequestRefused):
            if error.status == 403:
                self.refused[bucket] = None
            # one that is gone says nothing of others
            known.over = known.over or error.code not in ("NoSuchKey", "NoSuchVersion")
        # what contradicts itself may do so for one file; a file in place of an answer, and silence, are of all
        elif type(error) is not MalformedAnswer or known.in_vain >= _IN_VAIN:
            known.over = True

    @property
    def note(self) -> str:
        """Say which right is missing; empty: none is."""
        with self._lock:
            buckets = ", ".join(f"s3://{one}" for one in sorted(self.refused))
        if not buckets:
            return ""
        [right] = endpoints.S3_OPTIONAL
        return (
            f"{right} is refused in {buckets}: sizes and checksums of parts are not known, and files that were sent in "
            "parts may be read where they need not be; the right is optional"
        )
