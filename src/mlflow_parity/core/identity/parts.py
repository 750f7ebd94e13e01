"""In which parts a store has a file that was sent to it in parts: as the store tells, or as sizes let it be guessed.

Beside the checksums of a file it is one word, ``split=8388608*2,123``: two parts of 8 MiB, then one of 123 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from mlflow_parity.core.identity.sums import sums_of
from mlflow_parity.core.records import Artifact

SPLIT = "split"
#: Parts that a file can have at most.
MOST_PARTS = 10_000
#: Changes of size that are written down; clients send parts of one size but the last.
_MOST_RUNS = 8
_RUN = re.compile(r"([1-9][0-9]{0,15})(?:\*([1-9][0-9]{0,4}))?")
_MIB = 1 << 20
#: Sizes that are tried at most where none is told: each costs one more checksum of all bytes.
_MOST_GUESSES = 4


class Split(NamedTuple):
    """Sizes of parts, each with how many of it follow one another, and the checksums that were made of each part."""

    runs: tuple[tuple[int, int], ...]
    kinds: frozenset[str] = frozenset({"md5"})

    @property
    def number(self) -> int:
        """Number of parts."""
        return sum(count for _, count in self.runs)

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(size * count for size, count in self.runs)

    def sizes(self) -> Iterator[int]:
        """Yield the size of each part."""
        for size, count in self.runs:
            for _ in range(count):
                yield size


def even(size: int, part: int) -> tuple[tuple[int, int], ...]:
    """Return the parts of so many bytes in which a file is sent, the last as small as it may be.

    >>> even(20, 8), even(16, 8)
    (((8, 2), (4, 1)), ((8, 2),))
    """
    whole, rest = divmod(size, part)
    return tuple(run for run in ((part, whole), (rest, 1)) if 0 not in run)


def split_text(sizes: Iterable[int]) -> str:
    """Return sizes of parts as a word; empty: they change too often.

    >>> split_text([8, 8, 3])
    'split=8*2,3'
    """
    runs = [(size, sum(1 for _ in same)) for size, same in groupby(sizes)]
    if not runs or len(runs) > _MOST_RUNS:
        return ""
    return f"{SPLIT}=" + ",".join(f"{size}*{count}" if count > 1 else str(size) for size, count in runs)


def _told(words: str, size: int, count: int) -> tuple[tuple[int, int], ...]:
    for word in words.split():
        kind, _, value = word.partition("=")
        found = [_RUN.fullmatch(one) for one in value.split(",")[: _MOST_RUNS + 1]] if kind == SPLIT else []
        if not found or len(found) > _MOST_RUNS:
            continue
        runs = tuple((int(one[1]), int(one[2] or 1)) for one in found if one is not None)
        split = Split(runs)
        # what does not come to the file was never told
        if len(runs) == len(found) and (split.total, split.number) == (size, count):
            return runs
    return ()


def guessed(size: int, count: int) -> list[int]:
    """Return the sizes in whole MiB that come to so many parts; none where they are too many.

    >>> [part // _MIB for part in guessed(200 * _MIB, 13)]
    [16]
    """
    if not 2 <= count <= MOST_PARTS:
        return []
    least = -(-size // count)
    most = (size - 1) // (count - 1)
    found = range(-(-least // _MIB), most // _MIB + 1)
    return [part * _MIB for part in found] if len(found) <= _MOST_GUESSES else []


def splits_of(file: Artifact) -> list[Split]:
    """Return in which parts its store may have a file whose bytes were not read; none: it states nothing of parts."""
    sums = sums_of(file)
    if sums.read or not file.size:
        return []
    kinds: dict[int, set[str]] = {}
    for one in sums.parts:
        digest, _, count = one.rpartition("-")
        kind, colon, _ = digest.partition(":")
        kinds.setdefault(int(count), set()).add(kind if colon else "md5")
    found = []
    for number, which in kinds.items():
        if 2 <= number <= MOST_PARTS:
            told = _told(file.sums, file.size, number)
            runs = [told] if told else [even(file.size, part) for part in guessed(file.size, number)]
            found += [Split(one, frozenset(which)) for one in runs]
    return found
