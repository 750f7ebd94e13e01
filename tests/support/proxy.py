"""A loopback proxy in front of a real server: records each request, and spoils the answers that it is told to."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

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
    """Spoils the next ``times`` requests whose path or query contains ``path``, after the first ``after`` of them.

    ``each``: of every path that contains it, the first time that it is asked for.
    """

    path: str
    spoil: Spoil
    times: int = 1
    after: int = 0
    each: bool = False
    came: Counter[str] = field(default_factory=Counter)
    early: bool = False
    """Answered before the server hears of it."""

    def due(self, path: str, *, early: bool) -> bool:
        """Count a request, and tell whether it is to be spoilt."""
        if self.path not in path or self.early is not early:
            return False
        place = path.partition("?")[0] if self.each else ""
        self.came[place] += 1
        return self.after < self.came[place] <= self.after + self.times


@dataclass(slots=True)
class Proxy:
    """A running proxy."""

    uri: str
    upstream: str
    prefix: str = ""
    """Path below which the server is served; it is cut off."""
    seen: list[Seen] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    at_once: int | None = None
    """More requests at the same time than this are refused with 429."""
    no_connection: int = 0
    """So many of the next connections are reset before anything is read of them."""
    over: threading.Event = field(default_factory=threading.Event)
    """Ends what stalls."""
    spoilt: Counter[str] = field(default_factory=Counter)
    """Answers that were spoilt, by path."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: int = 0
    refused: int = 0

    def paths(self) -> list[str]:
        """Paths of the requests so far."""
        return [seen.path for seen in self.seen]

    def spoiling(self, path: str, *, early: bool) -> Spoil | None:
        """Take the fault that is due for a path."""
        with self.lock:
            for fault in self.faults:
                if fault.due(path, early=early):
                    self.spoilt[path.partition("?")[0]] += 1
                    return fault.spoil
        return None

    def heal(self) -> None:
        """Forget all faults, and what was seen."""
        with self.lock:
            self.faults.clear()
            self.seen.clear()
            self.spoilt.clear()
            self.no_connection = 0
            self.over.set()
            self.over = threading.Event()


class Exchange(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    proxy: Proxy
    content: bytes = b""
    """Body of the request."""

    def handle(self) -> None:
        """Serve a connection, or reset it at once."""
        with self.proxy.lock:
            unwanted = self.proxy.no_connection > 0
            self.proxy.no_connection -= unwanted
        if unwanted:
            break_off(self)
        else:
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def handle_request(self) -> None:
        """Forward, or answer in the server's place."""
        proxy = self.proxy
        body = self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
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
            if (spoil := proxy.spoiling(self.path, early=True)) is not None:
                spoil(self, 0, [], b"")
                return
            parts = urlsplit(proxy.upstream)
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            connection.putrequest(
                self.command, self.path.removeprefix(proxy.prefix), skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            found = connection.getresponse()
            content = found.read()
            connection.close()
            kept = [(k, v) for k, v in found.getheaders() if k.lower() not in _OWN]
            spoil = proxy.spoiling(self.path, early=False)
            if spoil is None and self.command == "HEAD":
                # the length of what a GET would have sent
                self.answer(found.status, kept, b"", length=int(found.getheader("Content-Length") or 0))
            else:
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
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def head(self, status: int, headers: list[tuple[str, str]], length: int) -> bytes:
        """Return the bytes of a status line and headers, unsent."""
        lines = [f"HTTP/1.1 {status} OK", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


def break_off(exchange: Exchange) -> None:
    """Reset the connection: what was not read by the client yet may be lost."""
    exchange.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.wfile.close()
    exchange.rfile.close()
    exchange.connection.close()
    exchange.close_connection = True


def status(code: int, headers: dict[str, str] | None = None, body: bytes = b"busy") -> Spoil:
    """Answer with another status."""

    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(code, list((headers or {}).items()), body)

    return spoil


def echo_authorization(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Refuse, and print the credentials back into the message, as careless servers do."""
    given = exchange.headers.get("Authorization", "")
    exchange.answer(403, [], f'{{"error_code": "PERMISSION_DENIED", "message": "no: {given}"}}'.encode())


def meanwhile(act: Callable[[], object]) -> Spoil:
    """Act while an answer is on its way; it comes as it is."""

    def acting(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        act()
        exchange.answer(code, headers, body)

    return acting


def reset(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Break the connection off before an answer, or in the middle of it."""
    break_off(exchange)


def reset_in_headers(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send half of the headers, then reset."""
    head = exchange.head(code, headers, len(body))
    exchange.wfile.write(head[: len(head) // 2])
    exchange.wfile.flush()
    time.sleep(0.005)
    reset(exchange, code, headers, body)


def reset_in_body(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send half of the body, then reset."""
    exchange.answer(code, headers, body[: len(body) // 2], length=len(body))
    time.sleep(0.005)
    reset(exchange, code, headers, body)


def too_long(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Announce more than there is, send it all, and hang up."""
    exchange.answer(code, headers, body, length=len(body) + 7)
    exchange.close_connection = True


def too_short(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Announce less than is sent; the rest stands in the way of the next answer."""
    exchange.answer(code, headers, body, length=len(body) // 2)


def silence(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Take the request and say nothing."""
    exchange.proxy.over.wait(60)
    exchange.close_connection = True


def stop_in_body(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send half of the body, and then nothing; the connection stays open."""
    exchange.answer(code, headers, body[: len(body) // 2], length=len(body))
    silence(exchange, code, headers, body)


def slow_headers(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a byte of a header now and then, for ever: no single wait is long."""
    _drip(exchange, exchange.head(code, headers, len(body))[:-2] + b"X-Filler: " + b"x" * 60_000)


def slow_body(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Send a byte of the body now and then, for ever."""
    exchange.answer(code, headers, b"", length=60_000)
    _drip(exchange, body + b" " * 60_000)


def slow_chunks(exchange: Exchange, code: int, _: list[tuple[str, str]], __: bytes) -> None:
    """Send a byte of a chunk's size now and then, for ever."""
    exchange.wfile.write(f"HTTP/1.1 {code} OK\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    _drip(exchange, b"0" * 60_000)


def _drip(exchange: Exchange, content: bytes) -> None:
    over = exchange.proxy.over
    for position in range(len(content)):
        try:
            exchange.wfile.write(content[position : position + 1])
            exchange.wfile.flush()
        except OSError:
            break
        if over.wait(0.05):
            break
    exchange.close_connection = True


def token_of(exchange: Exchange) -> str:
    """Return the page token that was asked with."""
    if exchange.command == "POST":
        return str(json.loads(exchange.content or b"{}").get("page_token") or "")
    return parse_qs(urlsplit(exchange.path).query).get("page_token", [""])[0]


def _list_in(answer: dict[str, object]) -> str:
    """Return the name of the list in an answer; the records of a dataset are a list in a text."""
    return next((name for name, value in answer.items() if isinstance(value, list) or name == "records"), "")


def same_token(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Give each page after the first with the token that led to it."""
    asked = token_of(exchange)
    if asked and code == 200:
        body = json.dumps({**json.loads(body), "next_page_token": asked}).encode()
    exchange.answer(code, headers, body)


def empty_page(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
    """Give no object, and a token for more."""
    answer = json.loads(body)
    name = _list_in(answer)
    if code == 200:
        nothing = "[]" if isinstance(answer.get(name), str) else []
        token = answer.get("next_page_token") or "MQ=="
        body = json.dumps({**answer, name: nothing, "next_page_token": token}).encode()
    exchange.answer(code, headers, body)


def endless() -> Spoil:
    """Give the first page for ever, each time with another token."""
    first: dict[str, tuple[list[tuple[str, str]], bytes]] = {}
    count = iter(range(10**9))
    lock = threading.Lock()

    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        path = exchange.path.partition("?")[0]
        with lock:
            if code == 200 and not token_of(exchange):
                first[path] = headers, body
            headers, body = first.get(path, (headers, body))
            token = f"page-{next(count)}"
        exchange.answer(200, headers, json.dumps({**json.loads(body), "next_page_token": token}).encode())

    return spoil


def lose_connections(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
    """Reset this connection, and all that come."""
    exchange.proxy.no_connection = 10**9
    break_off(exchange)


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
def proxying(upstream: str, *, prefix: str = "", certificate: str = "") -> Iterator[Proxy]:
    """Run a proxy in front of ``upstream`` for the length of a ``with`` block; ``certificate`` (with key): over TLS."""
    running = Proxy("", upstream, prefix)
    server = _Server(("127.0.0.1", 0), type("BoundExchange", (Exchange,), {"proxy": running}))
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    running.uri = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}{prefix}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        running.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
