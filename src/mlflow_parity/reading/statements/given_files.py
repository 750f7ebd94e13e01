"""Files of any size that a caller gives: read line by line, packed or not, and never more of one line than any has."""

from __future__ import annotations

import csv
import gzip
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast
from urllib.parse import unquote, unquote_plus

from mlflow_parity.core.local.input_files import Unusable

#: Bytes of one line: a key has 1,024 at most, each of which may be written as three.
_LONGEST = 64 << 10


@contextmanager
def opened(file: Path) -> Iterator[IO[bytes]]:
    """Open a file, unpacked where it is packed with gzip.

    Raises:
        Unusable: it is no regular file, cannot be read, or is damaged.
    """
    try:
        # without waiting for one who writes into a pipe
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as plain:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Unusable("is no regular file")
            if plain.peek(2)[:2] == b"\x1f\x8b":
                with gzip.open(plain) as unpacked:
                    yield cast("IO[bytes]", unpacked)
            else:
                yield plain
    except EOFError:
        raise Unusable("is cut") from None
    except (csv.Error, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
        raise Unusable(f"is not what it should be, or damaged: {' '.join(str(error).split())[:200]}") from None
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def csv_rows(file: IO[bytes]) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of a CSV, each with its number.

    Raises:
        Unusable: one of them is longer than any can be.
        csv.Error: it is none; :func:`opened` makes an ``Unusable`` of it.
    """
    rows = csv.reader(_lines(file), strict=True)
    for columns in rows:
        yield rows.line_num, columns


def names(key: str) -> frozenset[str]:
    """Return the names that a key in a file may mean: whether it is quoted, and how, is not always told."""
    return frozenset({key, unquote(key), unquote_plus(key)})


def _lines(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline(_LONGEST + 1):
        if len(line) > _LONGEST:
            raise Unusable(f"has a line of more than {_LONGEST:,} bytes")
        yield line.decode("utf-8")
