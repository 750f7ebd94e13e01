"""The loopback gateway: verifies SigV4 as SageMaker does, judges by policies, forwards to a real tracking server."""

from __future__ import annotations

import http.client
import select
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit

from mlflow_parity.core.locations import Location
from mlflow_parity.reading.transport.endpoints import ALLOWED, APP_ACTION, SERVER_SERVICE
from mlflow_parity.standin.http import CHUNK, Handler, serving_http
from mlflow_parity.standin.sigv4 import Credentials, RawRequest, Refused, Verifier

#: ``policy(method, path)`` → whether the identity may make this call (what IAM would say).
Policy = Callable[[str, str], bool]
_HOP_BY_HOP = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
#: A connection to the tracking server that was idle for longer (seconds) is not used again: it may be closing.
_IDLE = 1.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request that reached the gateway; ``arn`` is what its routing header said, ``refusal`` why it ended here."""

    method: str
    path: str
    query: str
    status: int
    arn: str
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the gateway lets through.

    ``blocked`` are path prefixes that this service does not have (answered with 404: an App may not serve
    ``/ajax-api`` or ``/get-artifact``); ``prefix`` is a path prefix of the endpoint, cut off after verification.
    """

    location: Location
    credentials: Credentials
    blocked: tuple[str, ...] = ()
    policy: Policy | None = None
    prefix: str = ""

    def verifier(self) -> Verifier:
        """Return the verifier for this location's kind."""
        required = ("host", "x-amz-date", "x-amz-content-sha256", self.location.routing_header)
        return Verifier(self.credentials, self.location.region, self.location.service, required)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway: its endpoint, and every request that it got."""

    endpoint: str
    recorded: list[Recorded] = field(default_factory=list, repr=False)


@contextmanager
def gateway(upstream: str, rules: Rules, *, port: int = 0) -> Iterator[Gateway]:
    """Run a gateway in front of the tracking server ``upstream`` for the length of a ``with`` block."""
    recorded: list[Recorded] = []
    members = {"upstream": upstream, "rules": rules, "verifier": rules.verifier(), "recorded": recorded}
    handler = type("BoundForwarder", (Forwarder,), members)
    with serving_http(handler, port) as base:
        yield Gateway(base + rules.prefix, recorded)


class Forwarder(Handler):
    """One client connection; keeps one connection to the tracking server for it."""

    upstream: str
    rules: Rules
    verifier: Verifier
    recorded: list[Recorded]
    _connection: http.client.HTTPConnection | None = None
    _used: float = 0.0

    def handle_request(self) -> None:
        """Verify, then forward or refuse; either way record."""
        with self.received() as (request, body):
            try:
                self._authorize(request)
            except Refused as refusal:
                self._refuse(request, 403, refusal.code, str(refusal))
                return
            path = request.path[len(self.rules.prefix) :]
            if any(path.startswith(prefix) for prefix in self.rules.blocked):
                self._refuse(request, 404, "ResourceNotFoundException", "No such API")
                return
            try:
                answer = self._forward(request, path, body)
            except (OSError, http.client.HTTPException) as error:
                self._refuse(request, 502, "BadGateway", f"The tracking server does not answer: {error}")
                return
            self._record(request, answer.status)
            self._relay(answer)

    def finish(self) -> None:
        """Close the connection to the tracking server with the client's."""
        if self._connection is not None:
            self._connection.close()
        super().finish()

    def _authorize(self, request: RawRequest) -> None:
        header = self.rules.location.routing_header
        self.verifier.verify(request)
        if request.header(header) != self.rules.location.uri:
            raise Refused("AccessDeniedException", f"Header {header} names another resource.")
        if not request.path.startswith(self.rules.prefix):
            raise Refused("AccessDeniedException", "The path is not below this endpoint.")
        if self.rules.policy is not None and not self.rules.policy(request.method, request.path):
            raise Refused("AccessDeniedException", "Request is not authorized")

    def _refuse(self, request: RawRequest, status: int, code: str, message: str) -> None:
        self._record(request, status, f"{code}: {message}")
        self.answer_json(status, {"__type": code, "message": message}, {"x-amzn-ErrorType": code})

    def _record(self, request: RawRequest, status: int, refusal: str = "") -> None:
        arn = request.header(self.rules.location.routing_header)
        self.recorded.append(Recorded(request.method, request.path, request.query, status, arn, refusal))

    def _forward(self, request: RawRequest, path: str, body: IO[bytes]) -> http.client.HTTPResponse:
        connection = self._upstream()
        connection.putrequest(
            request.method,
            f"{path or '/'}{'?' + request.query if request.query else ''}",
            skip_host=True,
            skip_accept_encoding=True,
        )
        for name, value in self.headers.items():
            low = name.lower()
            if low not in _HOP_BY_HOP and low != "authorization" and not low.startswith("x-amz-"):
                # MLflow refuses to answer for names that it does not know
                connection.putheader(name, urlsplit(self.upstream).netloc if low == "host" else value)
        connection.endheaders()
        while piece := body.read(CHUNK):
            connection.send(piece)
        return connection.getresponse()

    def _relay(self, answer: http.client.HTTPResponse) -> None:
        """Pass an answer on as it is: same bytes, whatever their encoding."""
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        empty = self.command == "HEAD" or answer.status in (204, 304)
        chunked = not empty and answer.getheader("Content-Length") is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # read1: what has arrived is passed on at once
        while not empty and (piece := answer.read1(CHUNK)):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")
        answer.read()
        self._used = time.monotonic()
        self.wfile.flush()

    def _upstream(self) -> http.client.HTTPConnection:
        old = self._connection
        if old is not None and old.sock is not None and not self._stale(old):
            return old
        if old is not None:
            old.close()  # closed, or in the middle of an answer that nobody read to its end
        parts = urlsplit(self.upstream)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=600)
        return self._connection

    def _stale(self, connection: http.client.HTTPConnection) -> bool:
        # readable while nothing was asked: the server has closed its end; poll, for select ends at 1,024 files
        poll = select.poll()
        poll.register(connection.sock, select.POLLIN)
        return time.monotonic() - self._used > _IDLE or bool(poll.poll(0))


for _method in _METHODS:
    setattr(Forwarder, f"do_{_method}", Forwarder.handle_request)


#: Paths of requests that a managed server has no action for: it does not serve them.
UNSERVED = tuple(
    sorted(
        {one.path.removesuffix("*") for one in ALLOWED} - {one.path.removesuffix("*") for one in ALLOWED if one.action}
    )
)


def actions_of(statements: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the actions that these statements allow; there is no other effect and no wildcard in them."""
    found: set[str] = set()
    for statement in statements:
        if statement["Effect"] != "Allow" or any("*" in action for action in statement["Action"]):
            raise ValueError(f"not a statement of plain permissions: {statement}")
        found.update(statement["Action"])
    return frozenset(found)


def action_of(location: Location, method: str, path: str) -> str:
    """Return the action of a call; empty when no reading is known by that address."""
    if location.kind == "app":
        return APP_ACTION
    named = [endpoint.action for endpoint in ALLOWED if endpoint.allows(method, path)]
    return f"{SERVER_SERVICE}:{named[0]}" if named and named[0] else ""


def policy_of(location: Location, statements: Sequence[Mapping[str, Any]]) -> Policy:
    """Return the gateway's policy: what the statements allow, and nothing else."""
    allowed = actions_of(statements)

    def policy(method: str, path: str) -> bool:
        if location.kind != "app" and path.startswith(UNSERVED):
            # not a question of rights: the gateway says that there is no such API
            return True
        return action_of(location, method, path) in allowed

    return policy


def s3_action_of(method: str, path: str) -> str:
    """Return the action of a call to S3 with the bucket in the path; empty for what is no reading."""
    path, _, query = path.partition("?")
    key = path.strip("/").partition("/")[2]
    if method == "GET" and not key:
        return "s3:ListBucket"
    if method == "GET" and "attributes" in {one.partition("=")[0] for one in query.split("&")}:
        return "s3:GetObjectAttributes"
    return "s3:GetObject" if method in ("GET", "HEAD") and key else ""
