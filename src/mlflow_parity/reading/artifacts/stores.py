"""The stores that runs and models keep their artifacts in: how each is listed and read."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlparse, urlsplit, urlunparse

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.core.records import Artifact, Capabilities
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.disk import Way as Way
from mlflow_parity.reading.artifacts.disk import from_disk
from mlflow_parity.reading.artifacts.shared_listings import SharedListings, Told
from mlflow_parity.reading.artifacts.stated.checksums import Stated
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.listing import Turning, list_in, made
from mlflow_parity.reading.transport.session import Session

T = TypeVar("T")
#: Folders below each other; deeper is a loop in the answers, not a tree.
_DEEPEST = 64
#: Versions whose proxy handler yields files line by line, at 1.5 MB/s.
_SLOW_PROXY = ((3, 3), (3, 7))
#: The first version seen whose proxy gives back every file with a non-ASCII name; ``/get-artifact`` always did.
_ANY_NAME = (3, 17)
#: Tries for a way that has another behind it: it may fail for this one name for ever.
_TRIES_OF_FIRST = 2
#: How often MLflow decodes a path at most, and the releases that write control characters in it as ``%xx`` afterwards:
#: the first that was seen to, and the last that was seen not to.
_DECODED = 10
_ESCAPES, _ESCAPES_NOT = (2, 22), (2, 16)
_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of one owner are, and what the server calls that place.

    ``owner`` is the id that the tree gets, ``uri`` the root of its files. ``run_id`` with ``folder`` (below the run's
    root), ``model_id`` (a logged model) and ``version`` (name and number) are the names by which the server itself can
    be asked.
    """

    owner: str
    uri: str
    run_id: str | None = None
    folder: str = ""
    model_id: str | None = None
    version: tuple[str, int] | None = None
    ended: float | None = None
    """When it got its last files, in seconds since 1970; ``None``: it may get more."""


class Store(Protocol):
    """One way to the files of one place."""

    def files(self) -> Iterator[Artifact]:
        """Every file with its size, unhashed.

        Raises:
            ReadError: when the tree cannot be listed.
        """
        ...

    def ways(self, file: Artifact) -> Sequence[Way]:
        """Ways to read a file, the best first; none when the store cannot be asked for a file of that name."""
        ...

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """What the store states of a file's bytes, as far as ``evidence`` may rest on it, without reading the file.

        Raises:
            ReadError: it could not be asked.
        """
        ...


class ProxyStore:
    """``mlflow-artifacts:`` URIs: the server's path-based proxy."""

    def __init__(
        self, session: Session, place: Place, capabilities: Capabilities, shared: SharedListings | None = None
    ) -> None:
        self._session = session
        self._place = place
        self._capabilities = capabilities
        self._shared = shared
        self._root = unquote(urlsplit(place.uri).path).strip("/")
        self._version = release(capabilities.version)

    def _list(self, folder: str) -> list[dict[str, Any]]:
        path = posixpath.join(self._root, folder) if folder else self._root
        answer = self._session.get(endpoints.PROXY_LIST, {"path": _faithful(path, self._version)})
        # this endpoint names files relative to the folder that was asked for
        return made(
            lambda one: [{**file, "path": posixpath.join(folder, str(file["path"]))} for file in list_in(one, "files")],
            answer,
        )

    def walked(self) -> Iterator[Artifact]:
        """Every file, as the server lists this owner's folders."""
        return walk(self._list)

    def files(self, inside: Callable[[], Iterable[Artifact]] | None = None) -> Iterator[Artifact]:
        """Every file; ``inside`` lists them in the server's place, where it is known that there is a folder."""
        if self._shared is None:
            return self.walked()
        place = self._place
        return iter(
            self._shared.files(place.uri, place.owner, self._folders, self.walked, ended=place.ended, inside=inside)
        )

    def _folders(self, place: str) -> Told[Artifact]:
        """Return the owners that have a folder in a place; of one that is not there at all, the folder around says so.

        Raises:
            ReadError: it cannot be listed.
        """
        around = self._root.removesuffix(f"/{self._place.owner}/artifacts")
        if around == self._root:
            raise MalformedAnswer(f"{place} is not around {self._root}")
        found = self._named_in(around)
        if found:
            return Told(dict.fromkeys(found), sure=False)
        above, _, name = around.rpartition("/")
        others = self._named_in(above)
        return Told({}, sure=bool(others) and name not in others)

    def _named_in(self, folder: str) -> set[str]:
        """Return the names of the folders in a folder; ``""`` is the root of all."""
        query = {"path": _faithful(folder, self._version)} if folder else None
        answer = self._session.get(endpoints.PROXY_LIST, query)
        return made(lambda one: {str(file["path"]) for file in list_in(one, "files") if file.get("is_dir")}, answer)

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The proxy's own handler, and the server's for the owner; first the one that is fast and knows the name."""
        below = posixpath.join(self._root, file.path)
        if self._capabilities.presigned_only:
            return [self._signed(below, file)] if is_faithful(below) else []
        version = self._version
        slow = _SLOW_PROXY[0] <= version <= _SLOW_PROXY[1]
        other_first = slow or (version < _ANY_NAME and not file.path.isascii())
        other = self._capabilities.get_artifact and is_faithful(posixpath.join(self._place.folder, file.path), version)

        def proxied(receive: Callable[[Iterator[bytes]], T]) -> T:
            tries = _TRIES_OF_FIRST if other and not other_first else None
            return self._session.download(endpoints.PROXY_GET, receive, below=below, size=file.size, tries=tries)

        found: list[Way] = [proxied] if is_faithful(below, version) else []
        if other:
            way = _by_owner(self._session, self._place, file, _TRIES_OF_FIRST if found and other_first else None)
            found.insert(0 if other_first else len(found), way)
        return found

    def _signed(self, below: str, file: Artifact) -> Way:
        def way(receive: Callable[[Iterator[bytes]], T]) -> T:
            return self._session.download_signed(endpoints.PROXY_SIGNED, receive, below=below, size=file.size)

        return way

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """The proxy's ETag is of time and size: it states nothing."""
        return Stated()


class ServerStore:
    """Any other URI on an ``http`` server: whatever the server itself can reach.

    ``disk`` is where its files are on this machine too, if they are: MLflow's clients read and write them there.
    """

    def __init__(
        self, session: Session, place: Place, version: tuple[int, int] = (0, 0), disk: Path | None = None
    ) -> None:
        self._session = session
        self._place = place
        self._version = version
        self._disk = disk

    def _list(self, folder: str) -> list[dict[str, Any]]:
        place = self._place
        asked = _faithful(posixpath.join(place.folder, folder), self._version) if place.folder or folder else ""
        if place.model_id is not None:
            endpoint, below = endpoints.MODEL_FILES, f"{place.model_id}/artifacts/directories"
            query = {"artifact_directory_path": asked} if asked else {}
        elif place.run_id is not None:
            endpoint, below = endpoints.ARTIFACTS, ""
            query = {"run_id": place.run_id, **({"path": asked} if asked else {})}
        else:
            raise MalformedAnswer("its files are neither a run's nor a logged model's: the server cannot list them")
        found: list[dict[str, Any]] = []
        turning = Turning("artifacts/list")
        while True:
            answer = self._session.get(endpoint, query, below=below)
            files = list_in(answer, "files")
            found += files
            token = turning.after(answer, files)
            if token is None:
                break
            query["page_token"] = token
        if not place.folder:
            return found
        # the server names files from the run's root on
        start = f"{place.folder}/"
        if not all(made(_entry, file)[0].startswith(start) for file in found):
            raise MalformedAnswer(f"the listing of {asked!r} names a path outside of it")
        return [{**file, "path": str(file["path"])[len(start) :]} for file in found]

    @property
    def lists(self) -> bool:
        """Whether the server can be asked for a list of the files: a run's, or a logged model's."""
        return self._place.model_id is not None or self._place.run_id is not None

    def listed(self, folder: str) -> set[tuple[str, int | None]]:
        """Paths in one folder with the sizes of files, and ``None`` for folders.

        Raises:
            ReadError: the folder cannot be listed.
        """
        entries = [made(_entry, file) for file in self._list(folder)]
        return {(path, None if is_folder else size) for path, is_folder, size in entries}

    def files(self) -> Iterator[Artifact]:
        """Every file."""
        return walk(self._list)

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The server's handler for the owner's files; for a name that it cannot be asked for, the disk."""
        if is_faithful(posixpath.join(self._place.folder, file.path), self._version):
            return [_by_owner(self._session, self._place, file)]
        return [] if self._disk is None else [from_disk(self._disk, file)]

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """Nothing is stated."""
        return Stated()


def _by_owner(session: Session, place: Place, file: Artifact, tries: int | None = None) -> Way:
    """The handler that sends a file by its owner's name: the run's, the logged model's or the version's."""
    path = posixpath.join(place.folder, file.path)
    if place.model_id is not None:
        endpoint, below = endpoints.MODEL_FILE, f"{place.model_id}/artifacts/files"
        query = {"artifact_file_path": path}
    elif place.version is not None:
        endpoint, below = endpoints.VERSION_FILE, ""
        # a version's root is its own, not the run's
        query = {"name": place.version[0], "version": str(place.version[1]), "path": file.path}
    else:
        endpoint, below = endpoints.GET_ARTIFACT, ""
        query = {"run_uuid": place.run_id or "", "path": path}

    def way(receive: Callable[[Iterator[bytes]], T]) -> T:
        return session.download(endpoint, receive, below=below, query=query, size=file.size, tries=tries)

    return way


def is_faithful(path: str, version: tuple[int, int] = (0, 0)) -> bool:
    """Whether a server of a release (not known: of any) that is asked for ``path`` looks for that very path.

    MLflow decodes ``%xx`` until nothing changes and drops what its URL parser drops: asked for ``a%20b.txt`` it
    sends ``a b.txt`` with status 200 (seen on 2.16 to 3.17). It refuses ``#``. Newer releases then write control
    characters as ``%xx`` again. Dots and empty names between slashes, which S3 takes for names like all others, lead
    to another place before a request is even sent; between backslashes they do so on some servers, and others refuse
    them.
    """
    if any(part in ("", ".", "..") for part in path.split("/")) or ".." in path.split("\\"):
        return False
    # older releases look for control characters, and then send a header that no web server lets through
    if "#" in path or path[:1] <= " " or _CONTROL.search(path):
        return False
    known = (0, 0) < version <= _ESCAPES_NOT or version >= _ESCAPES
    return all(_looked_for(path, escapes) == path for escapes in ([version >= _ESCAPES] if known else [True, False]))


def _looked_for(path: str, escapes: bool) -> str | None:
    """Return the path that MLflow looks for; ``None``: it refuses."""
    for _ in range(_DECODED):
        decoded = urlunparse(urlparse(unquote(path)))
        if decoded == path:
            return _CONTROL.sub(lambda found: f"%{ord(found[0]):02x}", path) if escapes else path
        path = decoded
    return None


def _faithful(path: str, version: tuple[int, int]) -> str:
    # the root of a place is asked for with a slash at its end
    if not is_faithful(path.removesuffix("/"), version):
        raise MalformedAnswer(f"the server cannot be asked for a folder of this name, it would list another: {path!r}")
    return path


def _entry(file: Mapping[str, Any]) -> tuple[str, bool, int]:
    # protobuf's JSON leaves a zero out
    return str(file.get("path", "")), bool(file.get("is_dir")), int(file.get("file_size", 0))


def walk(listing: Callable[[str], list[dict[str, Any]]]) -> Iterator[Artifact]:
    """Walk a tree that is listed folder by folder; paths are relative to the run's root.

    A folder that cannot be listed comes as one entry, with its error.

    Raises:
        ReadError: the root cannot be listed, or a listing makes no sense.
    """
    folders: list[tuple[str, int]] = [("", 0)]
    seen: set[tuple[str, bool]] = {("", True)}
    while folders:
        folder, deep = folders.pop()
        if deep > _DEEPEST:
            raise MalformedAnswer(f"artifact folders are more than {_DEEPEST} deep: a loop in the listing")
        try:
            listed = [made(_entry, file) for file in listing(folder)]
        except ReadError as error:
            if not folder:
                raise
            # it keeps back only itself
            yield Artifact(f"{folder}/", None, error=f"the folder could not be listed: {error}")
            continue
        for path, is_folder, size in listed:
            inside = path.startswith(f"{folder}/") if folder else path not in ("", ".")
            if not inside or path.startswith("/") or ".." in path.split("/"):
                raise MalformedAnswer(f"the listing of {folder!r} names a path outside of it: {path!r}")
            if (path, is_folder) in seen:
                raise MalformedAnswer(f"the listing names {path!r} twice")
            seen.add((path, is_folder))
            if is_folder:
                folders.append((path, deep + 1))
            else:
                yield Artifact(path, size)
