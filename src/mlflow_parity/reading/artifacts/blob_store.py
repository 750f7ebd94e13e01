"""Keeps the bytes of files while they are hashed: a folder in which each file is named by its SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mlflow_parity.core.local.files import make_inside, put, temporary

_DIGEST = re.compile("[0-9a-f]{64}")


class Blobs:
    """Files by content below ``root``: ``ab/abcd…``; the same bytes are kept once. Safe to use from many threads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return where the bytes with a hex digest are, or would be."""
        return self.root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Whether the bytes are there."""
        return self.path(sha256).is_file()

    def is_whole(self, sha256: str) -> bool:
        """Whether the bytes are still those that were kept.

        Raises:
            OSError: they are not there.
        """
        whole = hashlib.sha256()
        with self.path(sha256).open("rb") as file:
            while piece := file.read(1 << 20):
                whole.update(piece)
        return whole.hexdigest() == sha256

    def holds(self, sha256: str) -> bool:
        """Whether the bytes are there, and still those that were kept."""
        try:
            return self.is_whole(sha256)
        except OSError:
            return False

    def take(self, file: Path) -> bool:
        """Move a file here that is named by its digest; false: its bytes are others."""
        if not _DIGEST.fullmatch(file.name) or not Blobs(file.parent.parent).holds(file.name):
            return False
        place = self.path(file.name)
        make_inside(place.parent)
        # it may come from another disk
        made = temporary(place)
        shutil.move(file, made)
        put(made, place)
        return True

    def open(self) -> Blob:
        """Begin to keep a file whose digest is not known yet."""
        make_inside(self.root)
        handle, name = tempfile.mkstemp(prefix="part-", dir=self.root)
        return Blob(self, os.fdopen(handle, "wb"), Path(name))

    def clear_parts(self) -> None:
        """Remove what a killed process left half written; only while nobody writes."""
        for part in self.root.glob("part-*"):
            part.unlink(missing_ok=True)

    def all(self) -> Iterator[Path]:
        """Every file that is kept."""
        return (file for file in self.root.glob("??/*") if _DIGEST.fullmatch(file.name) and file.is_file())


class Blob:
    """One file on its way into :class:`Blobs`."""

    def __init__(self, blobs: Blobs, file: BinaryIO, path: Path) -> None:
        self._blobs = blobs
        self._file = file
        self._path = path

    def write(self, piece: bytes) -> None:
        """Append."""
        self._file.write(piece)

    def keep(self, sha256: str) -> None:
        """Put the file in place under its digest."""
        self._file.close()
        place = self._blobs.path(sha256)
        make_inside(place.parent)
        os.replace(self._path, place)

    def drop(self) -> None:
        """Forget it; harmless after :meth:`keep`."""
        self._file.close()
        self._path.unlink(missing_ok=True)
