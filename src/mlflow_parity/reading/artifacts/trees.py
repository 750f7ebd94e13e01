"""Artifact trees: listed and hashed in the way that the owner's store and the server's version allow."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from mlflow_parity.core.errors import ForbiddenRequest, ReadError, TooLarge
from mlflow_parity.core.identity.parts import Split
from mlflow_parity.core.identity.sums import is_whole, reported_in, saying
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.scope import Depth, Evidence
from mlflow_parity.reading.artifacts.blob_store import Blob, Blobs
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.s3_store import S3Store
from mlflow_parity.reading.artifacts.shown_s3 import ShownStore
from mlflow_parity.reading.artifacts.stated.checksums import Hasher, Stated
from mlflow_parity.reading.artifacts.stores import Store
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports

T = TypeVar("T")
#: Files whose bytes are to be read, by the name of their tree; ``None``: all of it. A mapping also tells in which parts
#: the other side's store has each: checksums of these are computed, too.
Sure = Mapping[str, Collection[str] | None]
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
    evidence: Evidence = "sha256",
    sure: Sure | None = None,
    known: KnownHashes | None = None,
    reports: ChecksumReports | None = None,
    leave: bool = False,
) -> Iterator[ArtifactTree]:
    """Yield the tree of each owner, read in ``pool``; at most ``at_once`` trees wait in memory.

    ``name_of`` gives the id that the tree gets, ``stores_of`` the stores through which the files may be reached; the
    first that can be listed is the one that is read. ``touch``: at depth ``listing`` the first bytes of each file are
    fetched, to know that they can be had, and an ``MLmodel`` whole. ``save_to`` keeps the bytes of what is hashed.
    ``evidence`` says which checksums that a store states stand for the bytes; of the files in ``sure``, none does, and
    nothing of what is ``known`` of earlier audits or stated by ``reports``.
    ``leave``: files in S3 but each ``MLmodel`` are not read; they tell where they are, to be copied from there.
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
                read = _to_read(files, sure.get(name, ()) if sure is not None else ())
                return ArtifactTree(
                    name,
                    tuple(
                        (leave and _left(store, file))
                        or _hashed(
                            store,
                            file,
                            depth,
                            redact,
                            save_to,
                            evidence,
                            file.path in read,
                            known,
                            reports,
                            splits=_splits(read, file.path),
                        )
                        for file in files
                    ),
                )
        except ReadError as error:
            reasons.append(str(error))
        return ArtifactTree(name, (), redact("; ".join(reasons)))

    yield from drained(pool, one, owners, at_once)


def _to_read(files: Sequence[Artifact], doubted: Collection[str] | None) -> Collection[str]:
    """Return the paths of files whose bytes are read whatever is stated; all where a doubted one is not among them."""
    paths = {file.path for file in files}
    return paths if doubted is None or not paths.issuperset(doubted) else doubted


def _splits(read: Collection[str], path: str) -> Collection[Split]:
    """Return in which parts the other side's store has a file whose bytes are read."""
    found: Collection[Split] = read.get(path, ()) if isinstance(read, Mapping) else ()
    return found


def _named(file: Artifact, redact: Callable[[str], str]) -> Artifact:
    """Return a file as it was listed; what is said of a folder that could not be listed is safe to print."""
    return file if file.error is None else replace(file, error=redact(file.error))


def _left(store: Store, file: Artifact) -> Artifact | None:
    """Return a file whose bytes are left where they are, with all that its store states of them; ``None``: read it."""
    is_mlmodel = posixpath.basename(file.path) == "MLmodel"
    if is_mlmodel or file.is_folder or file.size is None or not isinstance(store, (S3Store, ShownStore)):
        return None
    try:
        stated = store.stated(file, "stores")
    except ReadError:
        # its ETag alone: what cannot be proved by checksums is sent byte by byte
        stated = Stated()
    sums = store.left(file, stated)
    return Artifact(file.path, file.size, sums=sums) if sums else None


def _hashed(
    store: Store,
    file: Artifact,
    depth: Depth,
    redact: Callable[[str], str],
    save_to: Blobs | None = None,
    evidence: Evidence = "sha256",
    sure: bool = False,
    known: KnownHashes | None = None,
    reports: ChecksumReports | None = None,
    splits: Collection[Split] = (),
) -> Artifact:
    """Return a file with what its store states of its bytes; else hash it by streaming, trying every way to read it."""
    if file.is_folder:
        return _named(file, redact)
    is_mlmodel = posixpath.basename(file.path) == "MLmodel"
    keep = _MLMODEL if is_mlmodel else _TEXT if depth == "full" else 0
    reason = "the server cannot be asked for a file of this name, it would send another"
    stated = Stated()
    try:
        if not (keep and (file.size is None or file.size <= keep)):
            stated = store.stated(file, evidence)
            if known is not None and not sure and not is_whole(stated.sha256, stated.sums, evidence):
                earlier = known.instead(stated.mark, file, evidence)
                if earlier is not None:
                    return earlier
            saved = save_to is None or (stated.sha256 is not None and save_to.holds(stated.sha256))
            rests = bool((stated.sha256 or stated.sums) and saved and not sure)
            if rests and not (reports and stated.around and reports.is_checked(stated.around, file.size or 0)):
                return Artifact(file.path, file.size, stated.sha256, sums=stated.sums)
    except ReadError as error:
        if evidence == "sha256":
            return Artifact(file.path, file.size, error=redact(str(error)))
        # what is not stated is read, and that tells more of why it cannot be
    for way in store.ways(file):
        # whole by its length and yet another one: a front end's page, or a cut; the next may be the file
        for _ in range(_TRIES_OF_OTHER):
            began = time.time()
            try:
                hashed, content = way(_receiver(keep, file.size, save_to, also=bool(stated.around), splits=splits))
            except TooLarge as error:
                reason = str(error)
                if file.size is None:
                    break
                continue
            except (ReadError, ForbiddenRequest) as error:
                reason = str(error)
                break
            if file.size is not None and hashed.size != file.size:
                reason = f"listed with {file.size} bytes, {hashed.size} were read"
                continue
            if content is not None and not is_mlmodel and not _is_text(content):
                content = None
            if known is not None:
                known.add(stated.mark, hashed.size, hashed.sha256, hashed.sums, began)
            if reports and stated.around and stated.mark is not None and stated.mark.was_read():
                reports.check(stated.mark.place, reported_in(stated.sums), hashed.whole, stated.around)
            sums = saying(hashed.sums, stated.sha256, stated.sums) if sure else hashed.sums
            return Artifact(file.path, hashed.size, hashed.sha256, content, sums=sums)
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


def _receiver(
    keep: int,
    expected: int | None,
    save_to: Blobs | None = None,
    *,
    also: bool = False,
    splits: Collection[Split] = (),
) -> Callable[[Iterator[bytes]], tuple[Hasher, bytes | None]]:
    """Return what hashes a stream: gives all its checksums and, up to ``keep`` bytes, itself."""

    def saved(pieces: Iterator[bytes]) -> tuple[Hasher, bytes | None]:
        assert save_to is not None
        blob = save_to.open()
        try:
            found = receive(_copied(pieces, blob))
            blob.keep(found[0].sha256)
        finally:
            blob.drop()
        return found

    def receive(pieces: Iterator[bytes]) -> tuple[Hasher, bytes | None]:
        hasher = Hasher(expected, also=also, splits=splits)
        kept: bytearray | None = bytearray() if keep else None
        for piece in pieces:
            hasher.update(piece)
            if kept is not None:
                kept += piece
                if hasher.size > keep:
                    kept = None
        return hasher, None if kept is None else bytes(kept)

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
