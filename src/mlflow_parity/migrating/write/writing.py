"""Writes to the target: the reading room's session (signing, retries, redaction) with a table of writes of its own.

Nothing in the audit imports this module; the audit's own session refuses every request that is not a reading.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import orjson

from mlflow_parity.core.errors import ForbiddenRequest, MalformedAnswer, ReadError, RequestRefused, TransportError
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.transport.auth import Credentials, SideName, credentials
from mlflow_parity.reading.transport.bounds import check_values
from mlflow_parity.reading.transport.endpoints import Endpoint
from mlflow_parity.reading.transport.responses import parsed
from mlflow_parity.reading.transport.session import Query, Session
from mlflow_parity.reading.transport.signed import SignedPlace
from mlflow_parity.reading.transport.timed import Limits

T = TypeVar("T")
#: What a migration may call; a path that is none of these never leaves.
_ROOTS = (
    "/api/2.0/mlflow/",
    "/api/3.0/mlflow/",
    "/api/2.0/mlflow-artifacts/artifacts/",
    "/api/2.0/mlflow-artifacts/mpu/",
)
#: Takes spans in OpenTelemetry's form; MLflow's own client writes them by it.
_SPANS = Endpoint("spans", "POST", "/v1/traces")
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
#: Tries of a call that makes something new; before each but the first the target is asked whether it was made.
_TRIES_OF_CREATE = 5
#: Seconds before each look for what a try in doubt may still make: a gateway that gave up does not stop the server.
LOOKS = (1.0, 2.0, 4.0, 8.0)


class Writer(Session):
    """Talks to the target of a migration; safe to use from many threads.

    Errors are those of reading: ``RequestRefused`` with ``status`` and ``code``, ``TransportError``.
    """

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        query: Query = None,
        tries: int | None = None,
    ) -> dict[str, Any]:
        """Send a call that may safely be sent twice, and return its JSON object.

        ``path`` starts with ``/api/``; it is sent as given, so quote what comes from data.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: no usable answer within the limits.
        """
        endpoint = Endpoint(path, method, path)
        payload = None if body is None else orjson.dumps(body)

        def once(deadline: float) -> bytes:
            with self._send(endpoint, path, query, payload) as answer:
                self._check(answer, endpoint)
                return self._body(answer, deadline)

        def understood(content: bytes) -> dict[str, Any]:
            check_values(content)
            return parsed(content, self.location.endpoint) if content.strip() else {}

        return self._tried(endpoint, once, understood, tries=tries)

    def create(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        find: Callable[[], T | None],
        made: Callable[[dict[str, Any]], T],
        doubt: Callable[[], None] = lambda: None,
        method: str = "POST",
    ) -> T:
        """Make something new exactly once: when a try ends in doubt, ``find`` looks for it for a while before the next.

        ``made`` takes the answer, ``find`` asks the server; both return what tells the object, mostly its id.
        ``doubt`` is told before something is sent that may come to be a second one.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: no usable answer within the limits.
        """
        last: ReadError | None = None
        for _ in range(_TRIES_OF_CREATE):
            try:
                answer = self.call(method, path, body, tries=1)
                try:
                    return made(answer)
                except (KeyError, TypeError, ValueError):
                    # it may have been made all the same
                    raise MalformedAnswer(f"{self.location.display}: {path}: the answer does not tell its id") from None
            except RequestRefused as error:
                # a server error may come after the object was made
                if error.status < 500:
                    # what is in its way may be what an earlier try has made meanwhile
                    late = None if last is None else find()
                    if late is None:
                        # it may come later still, whatever refuses this one: a gateway where a token expired
                        error.in_doubt = last is not None
                        raise
                    return late
                last = error
            except (TransportError, MalformedAnswer) as error:
                last = error
            # an error of MLflow's own comes when it has done with the request; a gateway's may come long before
            over = isinstance(last, RequestRefused) and last.code != ""
            if not over:
                doubt()
            for seconds in (0.0,) if over else LOOKS:
                time.sleep(seconds)
                found = find()
                if found is not None:
                    return found
        assert last is not None
        raise last

    def put(self, path: str, content: Path | bytes, *, size: int) -> None:
        """Send a file, or bytes, with PUT; each try sends it from the first byte on. ``path`` is not quoted yet.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: the file could not be sent whole within the limits.
        """
        quoted = quote(path, safe="/")
        endpoint = Endpoint("put", "PUT", quoted)

        def once(deadline: float) -> None:
            # an empty file object would be sent in chunks, which older servers and signatures do not take
            with ExitStack() as stack:
                body = stack.enter_context(content.open("rb")) if isinstance(content, Path) and size else b""
                answer = stack.enter_context(
                    self._send(endpoint, quoted, None, content if isinstance(content, bytes) else body)
                )
                self._check(answer, endpoint)
                self._body(answer, deadline)

        self._tried(endpoint, once, lambda found: found, seconds=self.limits.call_of(size))

    def upload_signed(self, endpoint: Endpoint, place: SignedPlace, content: bytes) -> str:
        """Send bytes to an address that the target signed, and return the store's ETag of them.

        Raises:
            RequestRefused: the store answered with an error that does not pass.
            TransportError: they could not be sent within the limits.
        """

        def once(deadline: float) -> str:
            with self.signed("PUT", place, content, len(content)) as answer:
                self._check(answer, endpoint)
                self._body(answer, deadline)
                return str(answer.headers.get("ETag", ""))

        return self._tried(endpoint, once, lambda found: found, seconds=self.limits.call_of(len(content)))

    def spans(self, experiment_id: str, body: bytes) -> None:
        """Send spans in OpenTelemetry's form to an experiment; what is there of their ids is written over.

        Raises:
            RequestRefused: the server answered with an error that does not pass.
            TransportError: no usable answer within the limits.
        """
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment_id}

        def once(deadline: float) -> None:
            with self._send(_SPANS, _SPANS.path, None, body, also=headers) as answer:
                self._check(answer, _SPANS)
                self._body(answer, deadline)

        self._tried(_SPANS, once, lambda found: found, seconds=self.limits.call_of(len(body)))

    def _permit(self, endpoint: Endpoint, method: str, path: str) -> None:
        known = (method in _METHODS and path.startswith(_ROOTS)) or _SPANS.allows(method, path)
        if not known or any(part.lower().replace("%2e", ".") == ".." for part in path.split("/")):
            raise ForbiddenRequest(f"{method} {path} is no call of a migration")


def open_writer(location: Location, side: SideName = "target", workers: int = 8) -> tuple[Writer, Credentials]:
    """Open a session that writes to a server or an ARN; nothing is sent yet. Its credentials also reach S3.

    Raises:
        UsageProblem: when the credentials contradict each other or are missing.
    """
    found = credentials(location, side)
    redactor = Redactor.from_environment(also=location.secrets)
    return Writer(location, found, workers=workers, redactor=redactor, limits=Limits()), found
