"""A loopback proxy in front of a real server: records each request, and spoils the answers that it is told to."""

from __future__ import annotations

import gzip
import http.client
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: ``spoil(exchange, status, headers, body)`` answers in the server's place.
Spoil = Callable[["Exchange", int, list[tuple[str, str]], bytes], None]

_OWN = ("content-length", "transfer-encoding", "connection")


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    at: float


@dataclass(slots=True)
class Fault:
    """Spoils the next ``times`` requests whose path contains ``path``."""

    path: str
    spoil: Spoil
    times: int = 1


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    uri: str
    upstream: str
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    at_once: int | None = None
    """More requests at the same time than this are refused with 429."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: int = 0
    refused: int = 0

    def paths(self) -> list[str]:
        """Paths of the requests so far."""
        return [seen.path for seen in self.seen]

    def spoiling(self, path: str) -> Spoil | None:
        """Take the fault that is due for a path."""
        with self.lock:
            for fault in self.faults:
                if fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault.spoil
        return None


class Exchange(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    proxy: Proxy

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def handle_request(self) -> None:
        """Forward, or answer in the server's place."""
        proxy = self.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        seen = Seen(self.command, path, query, {k.lower(): v for k, v in self.headers.items()}, time.monotonic())
        with proxy.lock:
            proxy.seen.append(seen)
            proxy.running += 1
            throttled = proxy.at_once is not None and proxy.running > proxy.at_once
            proxy.refused += throttled
        try:
            if throttled:
                self.answer(429, [], b'{"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "slower"}')
                return
            parts = urlsplit(proxy.upstream)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            found = connection.getresponse()
            content = found.read()
            connection.close()
            kept = [(k, v) for k, v in found.getheaders() if k.lower() not in _OWN]
            spoil = proxy.spoiling(path)
            (spoil or Exchange.answer)(self, found.status, kept, content)
        finally:
            with proxy.lock:
                proxy.running -= 1

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_request

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int | None = None) -> None:
        """Send an answer; ``length`` is what its header claims, when not the truth."""
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"busy") -> Spoil:
    """Answer with another status."""

    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(code, list((headers or {}).items()), body)

    return spoil


def echo_authorization(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Refuse, and print the credentials back into the message, as careless servers do."""
    given = exchange.headers.get("Authorization", "")
    exchange.answer(403, [], f'{{"error_code": "PERMISSION_DENIED", "message": "no: {given}"}}'.encode())


def reset(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Break the connection off before an answer."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.connection.close()
    exchange.close_connection = True


def cut(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send half of the announced body, then hang up."""
    exchange.answer(code, headers, body[: len(body) // 2], length=len(body))
    exchange.close_connection = True


def half_json(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send half of the body as if it were the whole."""
    exchange.answer(code, headers, body[: len(body) // 2])


def page(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Send a web page with status 200, as a front end does for addresses that it does not know."""
    exchange.answer(200, [("Content-Type", "text/html")], b"<!doctype html><title>Welcome</title>")


def zipped(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Compress the body, if the client takes that."""
    if "gzip" in exchange.headers.get("Accept-Encoding", ""):
        exchange.answer(code, [*headers, ("Content-Encoding", "gzip")], gzip.compress(body))
    else:
        exchange.answer(code, headers, body)


def trickle(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a byte at a time: every single wait is short, the whole takes for ever."""
    exchange.answer(code, headers, b"", length=len(body))
    for position in range(len(body)):
        try:
            exchange.wfile.write(body[position : position + 1])
            exchange.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that hang up."""


@contextmanager
def proxying(upstream: str) -> Iterator[Proxy]:
    """Run a proxy in front of ``upstream`` for the length of a ``with`` block."""
    running = Proxy("", upstream)
    server = _Server(("127.0.0.1", 0), type("BoundExchange", (Exchange,), {"proxy": running}))
    running.uri = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
