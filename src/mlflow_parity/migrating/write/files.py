"""Uploads the export's files to the target's artifact stores."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from mlflow_parity.core.errors import ParityError, ReadError
from mlflow_parity.core.identity.sums import Left, left_at
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.kinds.conventions.logged_images import newer_names
from mlflow_parity.migrating.write.copying.copies import Copies
from mlflow_parity.migrating.write.mlmodel import Lookup, Place, rewritten
from mlflow_parity.migrating.write.s3_leftovers import IN_PARTS, Kept, Leftovers
from mlflow_parity.migrating.write.s3_uploads import put_with_checksum
from mlflow_parity.migrating.write.signed_uploads import PROXY, put_proxied
from mlflow_parity.migrating.write.writing import Writer
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.s3_store import bucket_and_prefix
from mlflow_parity.reading.artifacts.stores import is_faithful
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.reading.transport.auth import Credentials

Rewrite = Callable[[Artifact, bytes], bytes]


class NotUploaded(ParityError):
    """A file could not be put where it belongs; the message says which and why."""


class Uploads:
    """Puts files below an artifact URI of the target; safe to use from many threads.

    The target hands that URI out: ``trusted`` are the places in S3 that are written to. ``signed`` says whether
    it takes files at signed addresses of its store alone. ``copies`` bring those that were left in the source's S3.
    """

    def __init__(
        self,
        writer: Writer,
        credentials: Credentials,
        blobs: Blobs,
        trusted: TrustedPlaces,
        *,
        signed: Callable[[], bool] = lambda: False,
        copies: Copies | None = None,
    ) -> None:
        self._writer = writer
        self._copies = copies
        self._signed = signed
        self._credentials = credentials
        self._blobs = blobs
        self._trusted = trusted

    def begin(self, uri: str, files: Sequence[Artifact]) -> Mapping[str, Kept]:
        """Return what an earlier run that was killed has put below ``uri``, and end what it left half sent there.

        Only S3 keeps parts of a file that was never finished, and lists what proves the bytes of one that was.
        """
        if not files or not uri.startswith("s3://") or self._trusted.refusal(uri, "written to"):
            return {}
        store = Leftovers(self._credentials.aws.s3, *bucket_and_prefix(uri))
        if any((file.size or 0) >= IN_PARTS for file in files):
            store.end_unfinished({file.path for file in files})
        return store.kept()

    def upload(
        self,
        uri: str,
        files: Sequence[Artifact],
        rewrite: Rewrite | None = None,
        there: Mapping[str, Kept] = MappingProxyType({}),
    ) -> int:
        """Put the files of one tree below ``uri`` and return the bytes sent. ``rewrite`` may change an ``MLmodel``.

        What is ``there`` with these very bytes is not sent again.

        Raises:
            NotUploaded: at the first file that cannot be put there.
        """
        sent = 0
        put = self._way(uri)
        for file in files:
            if (left := left_at(file)) is not None:
                sent += self._copy(uri, file, left, there.get(file.path))
                continue
            if file.error is not None or file.sha256 is None:
                raise NotUploaded(f"{file.path}: it could not be read at the source: {file.error or 'no digest'}")
            blob = self._blobs.path(file.sha256)
            try:
                size = blob.stat().st_size
                whole = self._blobs.is_whole(file.sha256)
            except OSError:
                raise NotUploaded(f"{file.path}: the export does not hold its bytes any more; export again") from None
            if not whole:
                raise NotUploaded(f"{file.path}: its bytes in the export are damaged; export again")
            content: bytes | None = None
            if rewrite is not None and posixpath.basename(file.path) == "MLmodel":
                content = rewrite(file, blob.read_bytes())
                size = len(content)
            kept = there.get(file.path)
            if kept is not None and kept.holds(blob if content is None else content, size):
                continue
            try:
                put(file.path, blob if content is None else content, size)
            except ReadError as error:
                raise NotUploaded(f"{file.path}: {error}") from None
            sent += size
        return sent

    def upload_all(
        self, uri: str, files: Sequence[Artifact], rewrite: Rewrite, there: Mapping[str, Kept]
    ) -> Iterator[tuple[Artifact, int | NotUploaded]]:
        """Put the files of one tree below ``uri``; yield each with its size, or why it is not there.

        Those that S3 copies are under way side by side.
        """

        def one(file: Artifact) -> int:
            return self.upload(uri, [file], rewrite, there)

        left = [file for file in files if left_at(file)] if self._copies is not None else []
        if self._copies is not None and left:
            yield from self._copies.all(left, one, NotUploaded)
        known = {file.path for file in left}
        for file in files:
            if file.path not in known:
                try:
                    yield file, one(file)
                except NotUploaded as error:
                    yield file, error

    def _copy(self, uri: str, file: Artifact, left: Left, kept: Kept | None) -> int:
        """Bring a file that was left in the source's S3 to its place; return its size where it was not there yet."""
        if self._copies is None:
            why = "its bytes were left in the source's S3, to be copied there"
            raise NotUploaded(f"{file.path}: {why}; run it with --discard-export, or export again")
        try:
            if not uri.startswith("s3://"):
                put = self._way(uri)
                self._copies.spooled(file, left, lambda path, size: put(file.path, path, size))
                return file.size or 0
            if why := self._trusted.refusal(uri, "written to"):
                raise NotUploaded(f"its place {why}")
            bucket, prefix = bucket_and_prefix(uri)
            return (file.size or 0) if self._copies.to_s3(file, left, bucket, prefix + file.path, kept) else 0
        except ReadError as error:
            raise NotUploaded(f"{file.path}: {error}") from None

    def put(self, uri: str, path: str, content: bytes) -> None:
        """Put bytes at ``path`` below ``uri``.

        Raises:
            NotUploaded: they cannot be put there.
        """
        try:
            self._way(uri)(path, content, len(content))
        except ReadError as error:
            raise NotUploaded(f"{path}: {error}") from None

    def remove(self, uri: str, path: str) -> bool:
        """Remove one file below ``uri`` through MLflow's proxy; return whether it has a way to name this very file.

        Raises:
            ReadError: the target refused it, or did not answer.
        """
        parts = urlsplit(uri)
        below = f"{unquote(parts.path).strip('/')}/{path}"
        # one that the proxy would take for another name is not touched
        if parts.scheme != "mlflow-artifacts" or not is_faithful(below) or "%" in below:
            return False
        self._writer.call("DELETE", PROXY + quote(below, safe="/"))
        return True

    def _way(self, uri: str) -> Callable[[str, Any, int], None]:
        parts = urlsplit(uri)
        if parts.scheme == "mlflow-artifacts":
            root = unquote(parts.path).strip("/")

            def by_proxy(path: str, content: Any, size: int) -> None:
                # joined by hand: a path that begins with a slash would replace what stands before it
                below = f"{root}/{path}"
                # MLflow decodes what is not to be decoded: the file would land under another name
                if not is_faithful(below):
                    raise NotUploaded(f"{path}: the target's artifact proxy would store it under another name")
                put_proxied(self._writer, below, content, size, signed=self._signed())

            return by_proxy
        if parts.scheme == "s3":
            if why := self._trusted.refusal(uri, "written to"):
                raise NotUploaded(f"its place {why}")
            bucket, prefix = bucket_and_prefix(uri)
            client: Any = self._credentials.aws.s3

            def by_s3(path: str, content: Any, size: int) -> None:
                key = f"{prefix}{path}"
                try:
                    put_with_checksum(client, bucket, key, content, size)
                except Exception as error:
                    # a message of the service may print back what it was sent
                    told = Redactor.from_environment()(" ".join(str(error).split()))
                    raise NotUploaded(f"{path}: S3: {type(error).__name__}: {told[:300]}") from None

            return by_s3
        raise NotUploaded(
            f"the target keeps artifacts at {parts.scheme or 'a path'}: only its own machine can write there; "
            "run it with --serve-artifacts, or with an S3 root"
        )


@dataclass(slots=True)
class Put:
    """What came of it: how many files and bytes were sent, what may be tried again and what the target cannot hold."""

    files: int = 0
    size: int = 0
    failed: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)


def put_tree(
    uploads: Uploads,
    tree: ArtifactTree,
    source: Place,
    target: Place,
    runs: Lookup,
    models: Lookup,
    *,
    images: bool = False,
    fresh: bool = False,
) -> Put:
    """Put a tree of ``source`` below the place of ``target``; ids in each ``MLmodel`` become the target's.

    ``images``: the files are a run's, among them images with names that a proxy cannot store; it gets the newer names.
    ``fresh``: the owner was just made, so that nothing is there.
    """
    done = Put()
    proxied = urlsplit(target.artifact_uri).scheme == "mlflow-artifacts"
    names = newer_names([file.path for file in tree.files]) if images and proxied else {}
    if tree.error is not None:
        done.failed.append(f"its files could not be listed at the source: {tree.error}")

    there = {} if fresh else uploads.begin(target.artifact_uri, tree.files)

    def rewrite(file: Artifact, content: bytes) -> bytes:
        # one that the snapshot did not keep is too large to be an MLmodel, and is compared byte by byte
        return content if file.content is None else rewritten(content, source, target, runs, models)

    wanted: list[Artifact] = []
    for file in tree.files:
        if file.is_folder:
            done.failed.append(f"folder {file.path!r}: at the source: {file.error}")
            continue
        file = replace(file, path=names.get(file.path, file.path))
        if not can_hold(target.artifact_uri, file.path):
            done.impossible.append(f"file {file.path!r}: the target's artifact proxy would store it under another name")
            continue
        wanted.append(file)
    for _, came in uploads.upload_all(target.artifact_uri, wanted, rewrite, there):
        if isinstance(came, NotUploaded):
            done.failed.append(f"file {came}")
        else:
            done.size += came
            done.files += 1
    return done


def can_hold(uri: str, path: str) -> bool:
    """Whether a store keeps a file under this very name: MLflow's artifact proxy decodes what is not to be decoded."""
    parts = urlsplit(uri)
    if parts.scheme != "mlflow-artifacts":
        return True
    return is_faithful(f"{unquote(parts.path).strip('/')}/{path}")
