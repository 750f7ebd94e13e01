"""What an ETag is a digest of: the bytes of a file, or those of its parts, and whether it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlflow_parity.core.identity.parts import MOST_PARTS, Split, even

#: An ETag is the MD5 of the bytes, or with the number of parts the MD5 of the parts' MD5s; quotes belong to it.
ETAG = re.compile(r'"([0-9a-f]{32})(?:-([1-9][0-9]{0,4}))?"')
#: One without its quotes, as some stores list it that tell it with them elsewhere.
_BARE = re.compile(r"[0-9a-f]{32}(?:-[1-9][0-9]{0,4})?")
#: What stores give that have no digest of a file, and the digests of no bytes, whole and as one part.
_NONE = "0" * 32
_EMPTY = hashlib.md5(b"", usedforsecurity=False)
_EMPTY_PART = hashlib.md5(_EMPTY.digest(), usedforsecurity=False)
#: S3 takes no part that is smaller, but for the last.
_SMALLEST_PART = 5 << 20
#: Sizes of parts: boto3 and the AWS CLI (doubled until there are few enough), and MLflow's own clients and proxy.
BOTO3, MLFLOW = 8 << 20, 10 << 20


def etag_in(answer: Mapping[str, Any]) -> str:
    """Return the ETag of an object in an answer or an entry of a list, in its quotes; empty: there is none."""
    etag = str(answer.get("ETag") or "")
    return f'"{etag}"' if _BARE.fullmatch(etag) else etag


def digests_of(etag: str, size: int | None = None) -> tuple[str, str]:
    """Return the MD5 that an ETag is, and that of parts with their number; of each only one is there, or none.

    None where a file of that ``size`` cannot have it: some stores give all files one ETag.
    """
    found = ETAG.fullmatch(etag)
    if found is None:
        return "", ""
    md5, parts = found.groups()
    if md5 == _NONE:
        return "", ""
    if size is not None:
        empty = (_EMPTY_PART if parts else _EMPTY).hexdigest()
        if (md5 == empty) != (size == 0) or (int(parts or 1) - 1) * _SMALLEST_PART >= max(size, 1):
            return "", ""
    return ("", f"{md5}-{parts}") if parts else (md5, "")


def layouts(size: int) -> list[int]:
    """Return the sizes of parts in which a file of so many bytes is sent, where it is sent in several."""
    boto3 = BOTO3
    while size > boto3 * MOST_PARTS:
        boto3 *= 2
    return [part for part in (boto3, MLFLOW) if size > part]


class Parts:
    """The checksum of the checksums of parts; the MD5 of the first part is that of the whole file so far."""

    def __init__(self, split: Split, kind: str) -> None:
        self._sizes = split.sizes()
        self._kind = kind
        self._done: list[bytes] = []
        self._part: int | None = next(self._sizes, None)
        self._now: Any = None if kind == "md5" else self._new()
        self._filled = 0

    def _new(self) -> Any:
        return hashlib.new(self._kind, usedforsecurity=False)

    def add(self, piece: memoryview, whole: Callable[[memoryview], Any]) -> None:
        """Take a piece; ``whole`` returns the MD5 of all that came before with the beginning of it."""
        while piece.nbytes and self._part is not None:
            room = self._part - self._filled
            some, piece = piece[:room], piece[room:]
            if self._now is not None:
                self._now.update(some)
            self._filled += some.nbytes
            if self._filled == self._part:
                self._done.append((whole(some) if self._now is None else self._now).digest())
                self._now, self._filled, self._part = self._new(), 0, next(self._sizes, None)
        # more came than the parts are
        self._filled += piece.nbytes

    def end(self) -> str:
        """Return it with the number of parts; empty: it was one, or the bytes are not all parts."""
        if self._part is not None or self._filled or len(self._done) < 2:
            return ""
        whole = self._new()
        whole.update(b"".join(self._done))
        return f"{'' if self._kind == 'md5' else self._kind + ':'}{whole.hexdigest()}-{len(self._done)}"


class Held:
    """Bytes on their way, and whether an ETag is their digest."""

    def __init__(self, etag: str, size: int | None) -> None:
        self._size = size
        self._seen = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._told, self._of_parts = digests_of(etag, size)
        self._count = int(self._of_parts.partition("-")[2] or 0)
        self._parts = [
            Parts(Split(even(size or 0, part)), "md5")
            for part in layouts(size or 0)
            if -(-(size or 0) // part) == self._count
        ]

    @property
    def in_parts(self) -> bool:
        """Whether it is one of several parts."""
        return self._count > 1

    @property
    def can_tell(self) -> bool:
        """Whether it can be computed of the bytes."""
        return bool(self._parts) if self.in_parts else bool(self._told or self._of_parts)

    def passing(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Yield all pieces."""
        for piece in pieces:
            view = memoryview(piece)
            for parts in self._parts:
                parts.add(view, self._with)
            self._md5.update(view)
            self._seen += view.nbytes
            yield piece

    def _with(self, some: memoryview) -> Any:
        found = self._md5.copy()
        found.update(some)
        return found

    @property
    def agrees(self) -> bool | None:
        """Whether it is; ``None``: it is no digest, not all bytes came, or their parts may be of any size."""
        if self._seen != self._size or not (self._told or self._of_parts):
            return None
        if self._told:
            return self._told == self._md5.hexdigest()
        if self._count == 1:
            return self._of_parts == hashlib.md5(self._md5.digest(), usedforsecurity=False).hexdigest() + "-1"
        return any(parts.end() == self._of_parts for parts in self._parts) or None
