"""``s3://`` stores of self-managed servers: the caller's S3 is read once it is shown to be the server's.

Variables and profiles say which S3 the caller reaches; a bucket of the same name may be in another one, empty or a
mirror. So each tree is listed by the server too, where it can, and one file of each bucket is read both ways.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Lock

from mlflow_parity.core.errors import ForbiddenRequest, MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.s3_store import S3Store, bucket_and_prefix
from mlflow_parity.reading.artifacts.stated.checksums import Stated
from mlflow_parity.reading.artifacts.stores import ServerStore, Store, Way, is_faithful

#: Folders of one tree that the server is asked for; what lies deeper is in the caller's listing alone.
_FOLDERS = 32
#: Largest file that is read twice, unless nothing else shows it.
_LARGEST = 16 << 20
_MLMODEL = "MLmodel"


class Contradiction(MalformedAnswer):
    """The caller's S3 and the server's hold different things: neither may be taken for the other."""


@dataclass(slots=True)
class Seen:
    """Buckets of which one file was read both ways; shared by all places of a server."""

    buckets: set[str] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)
    alone: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))
    """Files of a bucket that is not known yet are read one after another: they may be large, and are read twice."""


class ShownStore:
    """The caller's S3 where it can be listed, checked against the server; else what the server itself can reach."""

    def __init__(self, own: Store, server: ServerStore, uri: str, told: tuple[str, str], seen: Seen) -> None:
        self._own = own
        self._server = server
        self._uri = uri
        self._bucket = bucket_and_prefix(uri)[0]
        self._endpoint, self._address = told
        self._seen = seen
        self._chosen: Store = own

    def files(self) -> Iterator[Artifact]:
        """Every file.

        Raises:
            ReadError: it can be listed neither way, or the two ways do not show the same.
        """
        try:
            files = list(self._own.files())
        except ReadError as error:
            self._chosen = self._server
            try:
                return iter(list(self._server.files()))
            except ReadError as other:
                raise MalformedAnswer(f"{error}; {other}") from None
        self._show(files)
        return iter(files)

    def ways(self, file: Artifact) -> Sequence[Way]:
        """Those of the store that was listed."""
        return self._chosen.ways(file)

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """What the store that was listed states."""
        return self._chosen.stated(file, evidence)

    def left(self, file: Artifact, stated: Stated) -> str:
        """Where a file is, for whoever has S3 copy it; empty: the server's way to it is not one for that."""
        return self._chosen.left(file, stated) if isinstance(self._chosen, S3Store) else ""

    # --- showing

    def _show(self, files: Sequence[Artifact]) -> None:
        listed = self._server.lists
        try:
            if listed:
                self._compare(files)
        except Contradiction:
            raise
        except ReadError as error:
            # a name that the server cannot be asked for may spoil its listing
            if all(is_faithful(file.path) for file in files):
                raise self._unshown(f"the server does not list {self._uri}: {error}") from None
            listed = False
        if not files and not self._server.lists:
            self._nothing()
        elif not self._same_bytes(files, listed):
            # equal names and sizes say nothing of bytes; of files that have none they say all
            if listed and not any(file.size for file in files):
                return
            raise self._unshown(f"the server sends no file of {self._uri}")

    def _compare(self, files: Sequence[Artifact]) -> None:
        """Compare the two listings, folder by folder, as far as the server can be asked."""
        inside: dict[str, set[tuple[str, int | None]]] = {}
        for file in files:
            path, size = file.path, file.size
            inside.setdefault(posixpath.dirname(path), set()).add((path, size or 0))
            # a key may begin with a slash, and the root has no parent but itself
            while (path := posixpath.dirname(path)).strip("/"):
                inside.setdefault(posixpath.dirname(path), set()).add((path, None))
        folders, asked = [""], 0
        while folders and asked < _FOLDERS:
            folder = folders.pop(0)
            asked += 1
            ours, theirs = inside.get(folder, set()), self._server.listed(folder)
            if all(is_faithful(path) for path, _ in ours):
                # a folder that the server alone lists may have nothing in it but its own name
                wrong = (ours - theirs) | {one for one in theirs - ours if one[1] is not None}
                if wrong:
                    path = min(path for path, _ in wrong)
                    raise self._contradicts(path, *(_told(one, path) for one in (ours, theirs)))
                folders += sorted(path for path, size in ours | theirs if size is None)

    def _contradicts(self, path: str, ours: str, theirs: str) -> Contradiction:
        return Contradiction(
            f"the S3 that these AWS variables reach ({self._endpoint}) is not that of the server {self._address}: "
            f"{self._uri}/{path} is {ours} in the first, and {theirs} to the server; set AWS_ENDPOINT_URL_S3 or "
            "MLFLOW_S3_ENDPOINT_URL, and the credentials, of the server's S3"
        )

    def _unshown(self, why: str) -> MalformedAnswer:
        return MalformedAnswer(
            f"whether the S3 that these AWS variables reach ({self._endpoint}) is that of the server {self._address} "
            f"cannot be shown: {why}; give the server itself access to its S3"
        )

    def _nothing(self) -> None:
        """Ask the server for the file that every model has, where nothing is there and no list tells it."""
        for way in self._server.ways(Artifact(_MLMODEL, None)):
            try:
                way(lambda pieces: next(pieces, b""))
            except RequestRefused as error:
                if error.status not in (401, 403):
                    continue
                raise
            except (ReadError, ForbiddenRequest) as error:
                raise self._unshown(
                    f"the first holds nothing in {self._uri}, of the second that is not known: {error}"
                ) from None
            raise self._contradicts(_MLMODEL, "nothing", "a file")

    def _same_bytes(self, files: Sequence[Artifact], listed: bool) -> bool:
        """Read one file both ways, unless bucket and list are known; false where none can be, and no bucket is."""
        with self._seen.lock:
            alone = self._seen.alone[self._bucket]
        with alone:
            if self._bucket not in self._seen.buckets:
                if not same_both_ways(files, self._own, self._server, self._contradicts, any_size=True):
                    return False
                self._seen.buckets.add(self._bucket)
                return True
        if not listed:
            same_both_ways(files, self._own, self._server, self._contradicts, any_size=False)
        return True


def same_both_ways(
    files: Sequence[Artifact],
    own: Store,
    server: Store,
    contradicts: Callable[[str, str, str], Contradiction],
    *,
    any_size: bool,
) -> bool:
    """Read the smallest file in the caller's store and in the server's; false where none can be.

    One that is empty proves nothing. ``contradicts`` is given a path, and what it is in each. ``any_size``: nothing
    was shown before, so that one that is large is read twice, too.

    Raises:
        ReadError: it can be read in one way only, or the two are not the same.
    """
    for file in sorted(files, key=lambda file: (not file.size, file.size or 0, file.path)):
        ways = server.ways(file) if file.size and (any_size or file.size <= _LARGEST) else ()
        if ways:
            ours, theirs = (_digest(some, file) for some in (own.ways(file), ways))
            if ours != theirs:
                raise contradicts(file.path, f"SHA-256 {ours[:16]}…", f"SHA-256 {theirs[:16]}…")
            return True
    return False


def _told(side: set[tuple[str, int | None]], path: str) -> str:
    sizes = [size for one, size in side if one == path]
    files = [f"a file of {size:,} bytes" for size in sizes if size is not None]
    return " and ".join([*files, *["a folder"] * (None in sizes)]) or "nothing"


def _digest(ways: Sequence[Way], file: Artifact) -> str:
    """Read a file.

    Raises:
        ReadError: it cannot be read.
    """

    def receive(pieces: Iterator[bytes]) -> str:
        whole = hashlib.sha256()
        for piece in pieces:
            whole.update(piece)
        return whole.hexdigest()

    receiver: Callable[[Iterator[bytes]], str] = receive
    return ways[0](receiver)
