"""The CRC32 of a file by those of its parts, as ``crc32_combine`` of zlib does it, which Python does not have."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

_POLYNOMIAL = 0xEDB88320
_Matrix = tuple[int, ...]


def _times(matrix: _Matrix, vector: int) -> int:
    found = 0
    for row in matrix:
        if not vector:
            break
        if vector & 1:
            found ^= row
        vector >>= 1
    return found


def _product(one: _Matrix, other: _Matrix) -> _Matrix:
    return tuple(_times(one, row) for row in other)


@lru_cache(maxsize=64)
def _zeros(count: int) -> _Matrix:
    """Return what so many bytes of nought make of a CRC32."""
    found: _Matrix = tuple(1 << bit for bit in range(32))
    step: _Matrix = (_POLYNOMIAL, *(1 << bit for bit in range(31)))
    # one bit, and a byte has eight
    for _ in range(3):
        step = _product(step, step)
    while count:
        if count & 1:
            found = _product(step, found)
        step = _product(step, step)
        count >>= 1
    return found


def joined(parts: Iterable[tuple[int, int]]) -> int:
    """Return the CRC32 of a file whose parts have these CRC32s and sizes.

    >>> import zlib
    >>> joined([(zlib.crc32(b"one "), 4), (zlib.crc32(b"two"), 3)]) == zlib.crc32(b"one two")
    True
    """
    found = 0
    for crc, size in parts:
        found = _times(_zeros(size), found) ^ crc
    return found
