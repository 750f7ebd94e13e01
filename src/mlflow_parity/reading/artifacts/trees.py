"""Artifact trees: listed and hashed in the way that the owner's store and the server's version allow."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from mlflow_parity.core.errors import ForbiddenRequest, ReadError, TooLarge
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.scope import Depth
from mlflow_parity.reading.artifacts.blob_store import Blob, Blobs
from mlflow_parity.reading.artifacts.stores import Store
from mlflow_parity.reading.histories import drained

T = TypeVar("T")
#: Largest ``MLmodel`` that is kept, and largest other text that is kept at depth ``full``.
_MLMODEL = 1 << 20
_TEXT = 1 << 16
#: Tries of one way for a file that comes with another size than it was listed with.
_TRIES_OF_OTHER = 2


def read_trees(
    owners: Sequence[T],
    name_of: Callable[[T], str],
    stores_of: Callable[[T], Sequence[Store]],
    depth: Depth,
    redact: Callable[[str], str],
    *,
    pool: ThreadPoolExecutor,
    at_once: int,
    touch: bool = False,
    save_to: Blobs | None = None,
) -> Iterator[ArtifactTree]:
    """Yield the tree of each owner, read in ``pool``; at most ``at_once`` trees wait in memory.

    ``name_of`` gives the id that the tree gets, ``stores_of`` the stores through which the files may be reached; the
    first that can be listed is the one that is read. ``touch``: at depth ``listing`` the first bytes of each file are
    fetched, to know that they can be had, and an ``MLmodel`` whole. ``save_to`` keeps the bytes of what is hashed.
    """

    def one(owner: T) -> ArtifactTree:
        name = name_of(owner)
        reasons: list[str] = []
        try:
            for store in stores_of(owner):
                try:
                    files = sorted(store.files(), key=lambda file: file.path)
                except ReadError as error:
                    reasons.append(str(error))
                    continue
                if depth == "listing" and touch:
                    return ArtifactTree(name, tuple(_touched(store, file, redact) for file in files))
                if depth == "listing":
                    return ArtifactTree(name, tuple(_named(file, redact) for file in files))
                return ArtifactTree(name, tuple(_hashed(store, file, depth, redact, save_to) for file in files))
        except ReadError as error:
            reasons.append(str(error))
        return ArtifactTree(name, (), redact("; ".join(reasons)))

    yield from drained(pool, one, owners, at_once)


def _named(file: Artifact, redact: Callable[[str], str]) -> Artifact:
    """Return a file as it was listed; what is said of a folder that could not be listed is safe to print."""
    return file if file.error is None else replace(file, error=redact(file.error))


def _hashed(
    store: Store, file: Artifact, depth: Depth, redact: Callable[[str], str], save_to: Blobs | None = None
) -> Artifact:
    """Hash a file by streaming it, trying every way to read it."""
    if file.is_folder:
        return _named(file, redact)
    is_mlmodel = posixpath.basename(file.path) == "MLmodel"
    keep = _MLMODEL if is_mlmodel else _TEXT if depth == "full" else 0
    reason = "the server cannot be asked for a file of this name, it would send another"
    try:
        if not (keep and (file.size is None or file.size <= keep)):
            known = store.known_sha256(file.path)
            if known is not None and (save_to is None or save_to.holds(known)):
                return Artifact(file.path, file.size, known)
    except ReadError as error:
        return Artifact(file.path, file.size, error=redact(str(error)))
    for way in store.ways(file):
        # whole by its length and yet another one: a front end's page, or a cut; the next may be the file
        for _ in range(_TRIES_OF_OTHER):
            try:
                size, sha256, content = way(_receiver(keep, save_to))
            except TooLarge as error:
                reason = str(error)
                if file.size is None:
                    break
                continue
            except (ReadError, ForbiddenRequest) as error:
                reason = str(error)
                break
            if file.size is not None and size != file.size:
                reason = f"listed with {file.size} bytes, {size} were read"
                continue
            if content is not None and not is_mlmodel and not _is_text(content):
                content = None
            return Artifact(file.path, size, sha256, content)
    return Artifact(file.path, file.size, error=redact(reason))


def _touched(store: Store, file: Artifact, redact: Callable[[str], str]) -> Artifact:
    """Fetch the beginning of a file, of an ``MLmodel`` all of it; what is known of the file stays as listed."""
    if file.is_folder:
        return _named(file, redact)
    if posixpath.basename(file.path) == "MLmodel":
        whole = _hashed(store, file, "digest", redact)
        return Artifact(file.path, file.size, content=whole.content, error=whole.error)
    reason = "the server cannot be asked for a file of this name, it would send another"
    for way in store.ways(file):
        try:
            way(lambda pieces: next(pieces, b""))
        except (ReadError, ForbiddenRequest) as error:
            reason = str(error)
        else:
            return file
    return Artifact(file.path, file.size, error=redact(reason))


def _receiver(keep: int, save_to: Blobs | None = None) -> Callable[[Iterator[bytes]], tuple[int, str, bytes | None]]:
    """Return what hashes a stream: gives its size, SHA-256 and, up to ``keep`` bytes, itself."""

    def saved(pieces: Iterator[bytes]) -> tuple[int, str, bytes | None]:
        assert save_to is not None
        blob = save_to.open()
        try:
            found = receive(_copied(pieces, blob))
            blob.keep(found[1])
        finally:
            blob.drop()
        return found

    def receive(pieces: Iterator[bytes]) -> tuple[int, str, bytes | None]:
        whole, size = hashlib.sha256(), 0
        kept: bytearray | None = bytearray() if keep else None
        for piece in pieces:
            whole.update(piece)
            size += len(piece)
            if kept is not None:
                kept += piece
                if size > keep:
                    kept = None
        return size, whole.hexdigest(), None if kept is None else bytes(kept)

    return receive if save_to is None else saved


def _copied(pieces: Iterator[bytes], blob: Blob) -> Iterator[bytes]:
    for piece in pieces:
        blob.write(piece)
        yield piece


def _is_text(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return b"\0" not in content
