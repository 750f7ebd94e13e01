"""The attachments of a trace: listed where the store can be, else asked for one by one as the spans name them."""

from __future__ import annotations

import posixpath
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.stated.checksums import Hasher, Stated
from mlflow_parity.reading.artifacts.stores import ProxyStore, Way, is_faithful
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_gone
from mlflow_parity.reading.transport.session import Session

T = TypeVar("T")
#: First release whose server sends attachments; older ones send the spans instead, whichever file they are asked for.
SENT = (3, 11)


class ProxyAttachments(ProxyStore):
    """Behind the server's path-based proxy, which lists and sends them."""

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The proxy's handler."""
        below = posixpath.join(self._root, file.path)

        def proxied(receive: Callable[[Iterator[bytes]], T]) -> T:
            return self._session.download(endpoints.PROXY_GET, receive, below=below, size=file.size)

        return [proxied] if is_faithful(below) else []


class ServerAttachments:
    """Any other place: no request lists a trace's folder, but the server sends each file that is named to it.

    ``sends`` tells whether it does; the files are hashed while it is found out whether they are there.
    """

    def __init__(self, session: Session, trace_id: str, ids: Sequence[str], sends: Callable[[str], bool]) -> None:
        self._session = session
        self._trace = trace_id
        self._ids = ids
        self._sends = sends
        self._digests: dict[str, Stated] = {}

    def files(self) -> Iterator[Artifact]:
        """Those of the named ones that are there, or whose absence is not known.

        Raises:
            ReadError: the server sends no attachments at all.
        """
        if not self._sends(self._trace):
            raise MalformedAnswer("its MLflow sends no attachments (3.11 was the first), and their place is not listed")
        for identity in self._ids:
            try:
                size, digests = self._way(identity)(_hashed)
            except RequestRefused as error:
                # named in a span, and lost (or never written): what is not there is compared as such
                if not is_gone(error):
                    yield Artifact(identity, None)
            except ReadError:
                # asked for again by its way, which tells why
                yield Artifact(identity, None)
            else:
                self._digests[identity] = digests
                yield Artifact(identity, size)

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The server's handler for files of traces."""
        return [self._way(file.path, file.size)]

    def _way(self, identity: str, size: int | None = None) -> Way:
        query = {"request_id": self._trace, "path": identity}

        def way(receive: Callable[[Iterator[bytes]], T]) -> T:
            return self._session.download(endpoints.TRACE_FILE, receive, query=query, size=size)

        return way

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """What was read while the file was looked for."""
        return self._digests.get(file.path, Stated())


def ignores_path(session: Session, trace_id: str) -> bool:
    """Whether a server of an unknown release sends a trace's spans for a file that nobody can have.

    Raises:
        ReadError: it did not answer.
    """
    status, _ = session.ask(endpoints.TRACE_FILE, {"request_id": trace_id, "path": str(uuid.uuid4())})
    return status == 200


def _hashed(pieces: Iterator[bytes]) -> tuple[int, Stated]:
    hasher = Hasher(None)
    for piece in pieces:
        hasher.update(piece)
    return hasher.size, Stated(hasher.sha256, hasher.sums)
