"""ETags held against bytes: whether those of a bucket are digests is not believed, but seen.

There are stores that speak S3 and give many files one ETag, or some other mark in the form of a digest. Two files of
one size would be equal by it, whatever is in them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock, RLock

from mlflow_parity.core.errors import ReadError, UsageProblem

#: Files of each bucket that are read before any ETag there counts, those that are read for it if no larger, and by
#: chance one of so many others; and files in parts, before one of several parts does.
_FIRST, LARGE, _EACH = 3, 64 << 20, 1_000
_FIRST_IN_PARTS = 3
#: ETags of a bucket that are kept with their sizes; the next one in its place replaces one.
_SLOTS = 8_192


@dataclass(slots=True)
class _Shown:
    files: int = 0
    """Files whose bytes were what the ETag says."""
    looked: int = 0
    """Files that were read for it."""

    def few(self, size: int, first: int) -> bool:
        """Whether one more of this size should be shown, of so many."""
        return self.looked < first and ((self.files < first and size <= LARGE) or not self.files)


@dataclass(slots=True)
class _Bucket:
    whole: _Shown = field(default_factory=_Shown)
    parts: _Shown = field(default_factory=_Shown)
    """Of several parts: a mirror may keep the ETags of such files, and make those of the others itself."""
    wrong: bool = False
    rested: int = 0
    """Files whose ETag stood for their bytes."""
    sizes: dict[int, tuple[bytes, int]] = field(default_factory=dict)
    lock: RLock = field(default_factory=RLock)


class HeldEtags:
    """What was seen of the ETags of each bucket; safe to use from many threads."""

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}
        self._lock = Lock()

    def _of(self, bucket: str) -> _Bucket:
        with self._lock:
            return self._buckets.setdefault(bucket, _Bucket())

    def counts(
        self, bucket: str, etag: str, size: int, *, in_parts: bool, read: Callable[[], bool | None] | None
    ) -> bool:
        """Whether an ETag stands for the bytes of a file.

        ``read`` reads them, says what it has ``seen``, and returns it; ``None``: that would show nothing.

        Raises:
            UsageProblem: the ETags are shown to be none, and some were believed.
        """
        kept = self._of(bucket)
        with kept.lock:
            if kept.wrong:
                return False
            if not size:
                # of no bytes there is one digest, and it shows nothing of others
                return True
            self._met(kept, bucket, etag, size)
            ours, most = (kept.parts, _FIRST_IN_PARTS) if in_parts else (kept.whole, _FIRST)
            first = ours.few(size, most)
            if first and read is not None:
                # none rests on an ETag meanwhile
                ours.looked += 1
                if not _is_shown(read, in_parts):
                    return False
        if read is not None and not first and secrets.randbelow(_EACH) == 0 and not _is_shown(read, in_parts):
            return False
        with kept.lock:
            # parts may be of any size: where those of no file can be made again, nothing shows what they are
            if kept.wrong or not (ours.files or (in_parts and (kept.whole.files or not ours.looked))):
                return False
            kept.rested += 1
            return True

    def _met(self, kept: _Bucket, bucket: str, etag: str, size: int) -> None:
        """Keep an ETag with its size: one that two sizes have is no digest."""
        key = hashlib.sha256(etag.encode()).digest()[:16]
        slot = int.from_bytes(key[:4], "big") % _SLOTS
        known = kept.sizes.get(slot)
        kept.sizes[slot] = key, size
        if known is not None and known[0] == key and known[1] != size:
            self._is_wrong(kept, f"s3://{bucket} has files of {known[1]:,} and {size:,} bytes with one ETag, {etag}")

    def seen(self, bucket: str, key: str, etag: str, *, agrees: bool | None, in_parts: bool = False) -> None:
        """Note whether the ETag that came with bytes is their digest; ``None``: that cannot be computed.

        Raises:
            UsageProblem: it is none, and others of the bucket were believed.
        """
        kept = self._of(bucket)
        with kept.lock:
            if agrees:
                (kept.parts if in_parts else kept.whole).files += 1
            elif agrees is not None and not kept.wrong:
                self._is_wrong(kept, f"the ETag of s3://{bucket}/{key}, {etag}, is not the MD5 of its bytes")

    def counted(self) -> dict[str, list[str]]:
        """Return what :meth:`take_in` takes: the buckets of both sorts."""
        with self._lock:
            kept = sorted(self._buckets.items())
        return {
            "wrong": [name for name, one in kept if one.wrong],
            "rested": [name for name, one in kept if one.rested],
        }

    def take_in(self, seen: Mapping[str, Sequence[str]]) -> None:
        """Add what another reading of the same server saw of the ETags of its buckets.

        Raises:
            UsageProblem: files rest on ETags of a bucket of which the other has shown that they are none.
        """
        for name in seen["rested"]:
            self._of(name).rested += 1
        for name in seen["wrong"]:
            self._of(name).wrong = True
        for name in (*seen["rested"], *seen["wrong"]):
            kept = self._of(name)
            if kept.wrong:
                self._is_wrong(kept, f"some ETags of s3://{name} are not the MD5s of their files")

    @staticmethod
    def _is_wrong(kept: _Bucket, why: str) -> None:
        kept.wrong = True
        if kept.rested:
            raise UsageProblem(
                f"{why}, and nothing says that it is encrypted: what this S3 states of files is no evidence; pass "
                "--parity-evidence sha256"
            )


def _is_shown(read: Callable[[], bool | None], in_parts: bool) -> bool:
    """Read a file; false where its own bytes have to tell what it is."""
    try:
        agrees = read()
    except ReadError:
        # why it cannot be read is told when its bytes are to be judged
        return False
    # it has other bytes, or was sent in other parts: which, nobody knows
    return agrees is True or not in_parts
