"""Artifact trees: listed and hashed in the way that the run's store and the server's version allow."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from mlflow_parity.errors import MalformedAnswer, ReadError, RequestRefused, TransportError
from mlflow_parity.model import Artifact, ArtifactTree, Capabilities, Run
from mlflow_parity.options import Depth
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.capabilities import release
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.session import Session

#: Largest ``MLmodel`` that is kept, and largest other text that is kept at depth ``full``.
_MLMODEL = 1 << 20
_TEXT = 1 << 16
_TRIES = 4
#: Folders below each other; deeper is a loop in the answers, not a tree.
_DEEPEST = 64
#: Versions whose proxy handler yields files line by line, at 1.5 MB/s.
_SLOW_PROXY = ((3, 3), (3, 7))

Opener = Callable[[], AbstractContextManager[Iterator[bytes]]]


class Store(Protocol):
    """Where the artifacts of one run are."""

    def files(self) -> Iterator[Artifact]:
        """Every file with its size, unhashed.

        Raises:
            ReadError: when the tree cannot be listed.
        """
        ...

    def openers(self, path: str) -> Sequence[Opener]:
        """Ways to read a file, the best first."""
        ...

    def known_sha256(self, path: str) -> str | None:
        """The hex SHA-256 that the store vouches for, without reading the file."""
        ...


class ProxyStore:
    """``mlflow-artifacts:`` URIs: the server's path-based proxy."""

    def __init__(self, session: Session, run: Run, capabilities: Capabilities) -> None:
        self._session = session
        self._run = run
        self._capabilities = capabilities
        # mlflow-artifacts:/0/run/artifacts and mlflow-artifacts://host/0/run/artifacts mean the same here
        self._root = unquote(urlsplit(run.artifact_uri).path).strip("/")

    def _list(self, folder: str) -> list[dict[str, Any]]:
        path = posixpath.join(self._root, folder) if folder else self._root
        files: list[dict[str, Any]] = self._session.get(endpoints.PROXY_LIST, {"path": path}).get("files", [])
        # this endpoint names files relative to the folder that was asked for
        return [{**file, "path": posixpath.join(folder, str(file["path"]))} for file in files]

    def files(self) -> Iterator[Artifact]:
        """Every file."""
        return _walk(self._list)

    def openers(self, path: str) -> Sequence[Opener]:
        """The proxy's own handler, or ``/get-artifact`` where that is the faster one."""
        proxy: Opener = lambda: self._session.stream(  # noqa: E731
            endpoints.PROXY_GET, below=posixpath.join(self._root, path)
        )
        other = _get_artifact(self._session, self._run, path)
        if not self._capabilities.get_artifact:
            return [proxy]
        slow = _SLOW_PROXY[0] <= release(self._capabilities.version) <= _SLOW_PROXY[1]
        return [other, proxy] if slow else [proxy, other]

    def known_sha256(self, path: str) -> str | None:
        """The proxy's ETag is of time and size: it vouches for nothing."""
        return None


class ServerStore:
    """Any other URI on an ``http`` server: whatever the server itself can reach."""

    def __init__(self, session: Session, run: Run) -> None:
        self._session = session
        self._run = run

    def _list(self, folder: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token: str | None = None
        seen: set[str] = set()
        while True:
            query = {"run_id": self._run.run_id}
            if folder:
                query["path"] = folder
            if token:
                query["page_token"] = token
            answer = self._session.get(endpoints.ARTIFACTS, query)
            found += answer.get("files", [])
            token = answer.get("next_page_token") or None
            if token is None:
                return found
            if token in seen:
                raise MalformedAnswer("artifacts/list repeats a page token")
            seen.add(token)

    def files(self) -> Iterator[Artifact]:
        """Every file."""
        return _walk(self._list)

    def openers(self, path: str) -> Sequence[Opener]:
        """``/get-artifact``."""
        return [_get_artifact(self._session, self._run, path)]

    def known_sha256(self, path: str) -> str | None:
        """Nothing is vouched for."""
        return None


class S3Store:
    """``s3://`` URIs, read with the auditor's own rights: one listing call per thousand files."""

    def __init__(self, client: Any, run: Run) -> None:
        self._client = client
        parts = urlsplit(run.artifact_uri)
        self._bucket = parts.netloc
        # S3 keys are not URL-quoted in MLflow's URIs; "?" and "#" would be cut off by urlsplit
        self._prefix = run.artifact_uri[len(f"s3://{self._bucket}") :].strip("/") + "/"

    def files(self) -> Iterator[Artifact]:
        """Every object below the prefix."""
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    path = item["Key"][len(self._prefix) :]
                    if path and not (path.endswith("/") and item["Size"] == 0):
                        yield Artifact(path, int(item["Size"]))
        except Exception as error:
            raise _s3_error(error) from None

    def openers(self, path: str) -> Sequence[Opener]:
        """``GetObject``."""
        return [lambda: _S3Body(self._client, self._bucket, self._prefix + path)]

    def known_sha256(self, path: str) -> str | None:
        """S3's own SHA-256, when it is of the full object."""
        import base64

        try:
            head = self._client.head_object(Bucket=self._bucket, Key=self._prefix + path, ChecksumMode="ENABLED")
        except Exception as error:
            raise _s3_error(error) from None
        given = head.get("ChecksumSHA256")
        # a composite checksum (of parts) ends in -N and is no hash of the bytes
        if not given or head.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT" or "-" in given:
            return None
        return base64.b64decode(given).hex()


class _S3Body(AbstractContextManager[Iterator[bytes]]):
    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._arguments = {"Bucket": bucket, "Key": key}
        self._client = client
        self._body: Any = None

    def __enter__(self) -> Iterator[bytes]:
        try:
            self._body = self._client.get_object(**self._arguments)["Body"]
        except Exception as error:
            raise _s3_error(error) from None
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        try:
            yield from self._body.iter_chunks(1 << 20)
        except Exception as error:
            raise _s3_error(error) from None

    def __exit__(self, *details: object) -> None:
        if self._body is not None:
            self._body.close()


def read_trees(
    runs: Sequence[Run],
    store_of: Callable[[Run], Store],
    depth: Depth,
    redact: Callable[[str], str],
    *,
    pool: ThreadPoolExecutor,
    at_once: int,
) -> Iterator[ArtifactTree]:
    """Yield the tree of each run, read in ``pool``; at most ``at_once`` trees wait in memory."""

    def one(run: Run) -> ArtifactTree:
        try:
            store = store_of(run)
            files = sorted(store.files(), key=lambda file: file.path)
        except ReadError as error:
            return ArtifactTree(run.run_id, (), redact(str(error)))
        if depth == "listing":
            return ArtifactTree(run.run_id, tuple(files))
        return ArtifactTree(run.run_id, tuple(_hashed(store, file, depth, redact) for file in files))

    yield from drained(pool, one, runs, at_once)


def _hashed(store: Store, file: Artifact, depth: Depth, redact: Callable[[str], str]) -> Artifact:
    """Hash a file by streaming it, trying every way to read it."""
    is_mlmodel = posixpath.basename(file.path) == "MLmodel"
    keep = _MLMODEL if is_mlmodel else _TEXT if depth == "full" else 0
    reason = "no way to read it"
    try:
        if not (keep and (file.size is None or file.size <= keep)):
            known = store.known_sha256(file.path)
            if known is not None:
                return Artifact(file.path, file.size, known)
        for _ in range(_TRIES):
            for opener in store.openers(file.path):
                try:
                    return _read(opener, file, keep)
                except (RequestRefused, TransportError) as error:
                    reason = str(error)
    except ReadError as error:
        reason = str(error)
    return Artifact(file.path, file.size, error=redact(reason))


def _read(opener: Opener, file: Artifact, keep: int) -> Artifact:
    whole, size = hashlib.sha256(), 0
    kept: bytearray | None = bytearray() if keep else None
    with opener() as pieces:
        for piece in pieces:
            whole.update(piece)
            size += len(piece)
            if kept is not None:
                kept += piece
                if size > keep:
                    kept = None
    if file.size is not None and size != file.size:
        raise TransportError(f"{file.path}: listed with {file.size} bytes, {size} were read")
    return Artifact(file.path, size, whole.hexdigest(), None if kept is None else bytes(kept))


def _get_artifact(session: Session, run: Run, path: str) -> Opener:
    return lambda: session.stream(endpoints.GET_ARTIFACT, query={"run_uuid": run.run_id, "path": path})


def _walk(listing: Callable[[str], list[dict[str, Any]]]) -> Iterator[Artifact]:
    """Walk a tree that is listed folder by folder; paths are relative to the run's root."""
    folders: list[tuple[str, int]] = [("", 0)]
    seen = {""}
    while folders:
        folder, deep = folders.pop()
        if deep > _DEEPEST:
            raise MalformedAnswer(f"artifact folders are more than {_DEEPEST} deep: a loop in the listing")
        for file in listing(folder):
            path = str(file["path"])
            if ".." in path.split("/") or path.startswith("/"):
                raise MalformedAnswer(f"the listing names a path outside the run: {path!r}")
            if path in seen:
                raise MalformedAnswer(f"the listing names {path!r} twice")
            seen.add(path)
            if file.get("is_dir"):
                folders.append((path, deep + 1))
            else:
                # protobuf's JSON leaves a zero out
                yield Artifact(path, int(file.get("file_size", 0)))


def _s3_error(error: Exception) -> ReadError:
    """Name an S3 failure; botocore's own texts hold no secret, its request objects would."""
    code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
    if isinstance(error, ReadError):
        return error
    return TransportError(f"S3: {code or type(error).__name__}: {' '.join(str(error).split())[:300]}")
