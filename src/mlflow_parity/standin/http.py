"""A small threaded HTTP server on loopback, shared by the gateway and the control plane, and the S3 beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from mlflow_parity.standin.servers import clean_environment, free_port, stop_group, wait_healthy
from mlflow_parity.standin.sigv4 import Credentials, RawRequest

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


@dataclass(frozen=True, slots=True)
class S3:
    """A running S3; it takes any credentials."""

    endpoint: str
    pid: int

    def client(self, credentials: Credentials, region: str) -> Any:
        """Return a boto3 client for it."""
        import boto3

        session = boto3.Session(
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            region_name=region,
        )
        return session.client("s3", endpoint_url=self.endpoint)

    def create_bucket(self, name: str, credentials: Credentials, region: str) -> None:
        """Create an empty bucket in ``region``."""
        client = self.client(credentials, region)
        if region == "us-east-1":
            client.create_bucket(Bucket=name)
        else:
            client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})


@contextmanager
def s3_server(folder: Path, *, page: int = 1000) -> Iterator[S3]:
    """Run an S3 for the length of a ``with`` block; its log goes to ``folder``; a list gives ``page`` keys a call."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "s3.log"
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            cwd=folder,
            env={**clean_environment(), "MOTO_S3_DEFAULT_MAX_KEYS": str(page)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        endpoint = f"http://127.0.0.1:{port}"
        wait_healthy(f"{endpoint}/moto-api/", process, log, timeout=60)
        yield S3(endpoint, process.pid)
    finally:
        stop_group(process)
