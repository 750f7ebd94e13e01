"""A small threaded HTTP server on loopback, shared by the gateway and the control plane."""

from __future__ import annotations

import json
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

from mlflow_parity.standin.sigv4 import RawRequest

CHUNK = 1 << 20


class LoopbackServer(ThreadingHTTPServer):
    """One thread per connection; threads end with the process."""

    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that hang up; anything else is an error of ours and is shown."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """HTTP/1.1 with keep-alive, without Nagle's delay and without a log."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    timeout = 120

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: what came in is recorded, not printed."""

    @contextmanager
    def received(self) -> Iterator[tuple[RawRequest, IO[bytes]]]:
        """Read the whole request; gives it with the hash of its body, and the body as a file (at its start).

        Raises:
            ConnectionError: the client hung up, or sent a body of unknown length (and was told so).
        """
        if self.headers.get("Transfer-Encoding"):
            self.answer_json(411, {"message": "The length of the body must be given"}, {"Connection": "close"})
            raise ConnectionAbortedError("a body of unknown length cannot be verified before it is read")
        left = int(self.headers.get("Content-Length") or 0)
        digest = sha256()
        with tempfile.SpooledTemporaryFile(max_size=8 * CHUNK) as body:
            while left:
                piece = self.rfile.read(min(left, CHUNK))
                if not piece:
                    raise ConnectionResetError("the client hung up within the body")
                digest.update(piece)
                body.write(piece)
                left -= len(piece)
            body.seek(0)
            headers: dict[str, list[str]] = {}
            for name, value in self.headers.items():
                headers.setdefault(name.lower(), []).append(value)
            path, _, query = self.path.partition("?")
            yield RawRequest(self.command, path, query, headers, digest.hexdigest()), body

    def answer_json(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with a JSON document."""
        payload = json.dumps(document).encode()
        self.send_response_only(status)
        all_headers = {"Content-Type": "application/json", "Content-Length": str(len(payload)), **(headers or {})}
        for name, value in all_headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)
        self.wfile.flush()


@contextmanager
def serving_http(handler: type[Handler], port: int = 0) -> Iterator[str]:
    """Serve on loopback for the length of a ``with`` block; gives the base URL."""
    server = LoopbackServer(("127.0.0.1", port), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
