"""How much a server may send: bytes are counted while they come, after they are unpacked.

===================  ==========================================================================
an answer in JSON    256 MiB unpacked and 32 million values; one larger than 16 MiB at a time
an answer that is    16 MiB
asked for its status
an error's text      1 MiB; the rest is not read
a file               the size that it was listed with
a file of no size    4 GiB
an answer of AWS     16 MiB, files in S3 apart
===================  ==========================================================================
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from mlflow_parity.core.errors import MalformedAnswer, TooLarge

_MIB = 1 << 20
ANSWER = 256 * _MIB
ASKED = 16 * _MIB
ERROR = _MIB
UNLISTED = 4 << 30
AWS = 16 * _MIB
#: Answers above it are read one at a time: many threads ask at once.
LARGE = 16 * _MIB
#: Values of one answer. In memory an empty list takes sixty times the byte pairs that it is written with.
VALUES = 32_000_000
_PIECE = 1 << 18


def at_most(pieces: Iterator[bytes], listed: int | None) -> Iterator[bytes]:
    """Yield the pieces of a file that was listed with a size; of one that was not, up to a size that none has.

    Raises:
        TooLarge: more came.
    """
    most, came = UNLISTED if listed is None else listed, 0
    for piece in pieces:
        came += len(piece)
        if came > most:
            if listed is None:
                raise TooLarge(f"a file whose size is not listed has more than {in_mib(most)}")
            raise TooLarge(f"listed with {listed:,} bytes, more came")
        yield piece


def joined(pieces: Iterator[bytes]) -> bytes:
    """Return a file that is JSON, whole.

    Raises:
        TooLarge: it is larger than any answer may be.
    """
    found: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > ANSWER:
            raise TooLarge(f"more than {in_mib(ANSWER)} came, the most that is read of one answer")
        found.append(piece)
    return b"".join(found)


def check_values(content: bytes) -> None:
    """Refuse what would take many times its size in memory when it is parsed.

    Raises:
        TooLarge: it holds too many values.
    """
    if len(content) > LARGE and sum(map(content.count, (b",", b"[", b"{"))) > VALUES:
        raise TooLarge(f"the answer holds more than {VALUES:,} values")


def in_mib(size: int) -> str:
    """Return a size as messages have it."""
    return f"{size // _MIB:,} MiB"


class Unpacked:
    """Undoes ``Content-Encoding``; what it gives at a time is never more than a piece.

    urllib3 unpacks all that a read gave at once: a quarter of a megabyte of zeros is a quarter of a gigabyte.
    """

    def __init__(self, encoding: str | None) -> None:
        codings = [one.strip().lower() for one in (encoding or "").split(",")]
        packed = [one for one in codings if one not in ("", "identity")]
        known = {"gzip", "x-gzip", "deflate"}
        if len(packed) > 1 or not known.issuperset(packed):
            raise MalformedAnswer(f"the answer is encoded as {', '.join(packed)[:80]!r}, which was not asked for")
        self._packed = bool(packed)
        self._gzip = self._packed and packed != ["deflate"]
        self._way = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16) if self._gzip else None
        self._begun = False

    def of(self, piece: bytes) -> Iterator[bytes]:
        """Yield what a piece of the body holds, in pieces.

        Raises:
            zlib.error: it is damaged.
        """
        if not self._packed:
            yield piece
            return
        while piece:
            if self._way is None:
                # with zlib's header, as it should be, or bare, as some servers send it
                bare = piece[0] & 0x0F != 8
                self._way = zlib.decompressobj(wbits=-zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
            elif self._way.eof:
                if not self._gzip:
                    raise zlib.error("there is more behind its end")
                # a file in several parts
                self._way = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            self._begun = True
            unpacked = self._way.decompress(piece, _PIECE)
            if unpacked:
                yield unpacked
            piece = self._way.unused_data if self._way.eof else self._way.unconsumed_tail
        while self._way is not None and not self._way.eof and (unpacked := self._way.decompress(b"", _PIECE)):
            yield unpacked

    def end(self) -> None:
        """Say that no more comes.

        Raises:
            zlib.error: it should.
        """
        if self._begun and self._way is not None and not self._way.eof:
            raise zlib.error("its end is missing")
