"""Files that a user gives: regular ones of a bounded size, and what stands in them as TOML or JSON.

Whatever else a path leads to (a folder, a pipe that nobody writes to, a device without an end) is one line, at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow_parity.core.json_text import text_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MIB = 1 << 20
#: Waivers, names: a hundred thousand entries.
TOML = 32 * _MIB
#: A report with all the findings that may be kept.
REPORT = 512 * _MIB
#: Manifest of a snapshot: a hundred thousand experiments.
MANIFEST = 1024 * _MIB
#: Notes of a migration and other small files of ours.
NOTE = 64 * _MIB
#: A dotted key of so many parts takes TOML's reader hours.
_LONG_KEY = re.compile(rb"(?:[A-Za-z0-9_\"'-]{1,64}[ \t]*\.[ \t]*){300}")
#: Halves of a character that stand alone are written so; the pair of one is too.
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


class Unusable(Exception):
    """Why a file cannot be used, as the end of a sentence that begins with its name: ``is a folder``."""


def content_of(path: str | os.PathLike[str], most: int) -> bytes:
    """Return what a file holds.

    Raises:
        Unusable: it is not there, no regular file, too large, or cannot be read.
    """
    content = bytearray()
    for piece in _pieces(path, most):
        content += piece
    return bytes(content)


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 (hex) of a file of any size, whose bytes are held in pieces.

    Raises:
        Unusable: it is not there, no regular file, or cannot be read.
    """
    whole = hashlib.sha256()
    for piece in _pieces(path):
        whole.update(piece)
    return whole.hexdigest()


def _pieces(path: str | os.PathLike[str], most: int | None = None) -> Iterator[bytes]:
    """Yield a file in pieces: a buffer of the most that there may be would be made at once."""
    try:
        # without waiting for one who writes into a pipe
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Unusable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            raise Unusable("is a folder, not a file")
        if not stat.S_ISREG(found.st_mode):
            raise Unusable("is a pipe or a device; write what it gives into a file")
        if most is not None and found.st_size > most:
            raise Unusable(f"has {found.st_size:,} bytes; at most {most // _MIB:,} MiB are read")
        read = 0
        with os.fdopen(handle, "rb", closefd=False) as file:
            while piece := file.read(_MIB):
                read += len(piece)
                if most is not None and read > most:
                    raise Unusable(f"grows while it is read; at most {most // _MIB:,} MiB are read")
                yield piece
    except OSError as error:
        raise Unusable(f"cannot be read: {error.strerror or error}") from None
    finally:
        os.close(handle)


def parsed_toml(content: bytes) -> dict[str, Any]:
    """Return a TOML document.

    Raises:
        Unusable: it is none.
    """
    if _LONG_KEY.search(content):
        raise Unusable("is not usable TOML: it has a dotted name of more than 300 parts")
    try:
        found: dict[str, Any] = tomllib.loads(content.decode("utf-8"))
    except RecursionError:
        raise Unusable("is not usable TOML: it is nested too deeply") from None
    except ValueError as error:
        raise Unusable(f"is not TOML: {' '.join(str(error).split())[:300]}") from None
    return found


def parsed_json(content: bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        Unusable: it is none, or holds half a character, which no other file can.
    """
    try:
        found = json.loads(content.decode("utf-8"))
        if _HALF.search(content):
            text_of(found).encode("utf-8")
    except RecursionError:
        raise Unusable("is not JSON that was written here: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise Unusable("is damaged: it holds half a character (a lone surrogate)") from None
    except ValueError:
        raise Unusable("is not JSON, or damaged") from None
    return found


def json_of(path: Path, most: int) -> Any:
    """Return what a file of JSON says.

    Raises:
        Unusable: it cannot be read, or is none.
    """
    return parsed_json(content_of(path, most))
