"""Stand-ins under AWS's own names: a proxy on loopback that answers for them, by a certificate that is trusted."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from mlflow_parity.core.locations import own_endpoint
from mlflow_parity.standin.sagemaker import StandIn
from support.certificates import certificate


class _Tunnel(socketserver.StreamRequestHandler):
    """One ``CONNECT``: ends TLS with the certificate, and passes on what is said, byte by byte."""

    context: ssl.SSLContext
    known: Mapping[str, tuple[str, int]]

    def handle(self) -> None:
        """Serve one connection."""
        words = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        there = self.known.get(words[1].decode()) if len(words) > 1 and words[0] == b"CONNECT" else None
        if there is None:
            self.wfile.write(b"HTTP/1.1 502 Nobody of that name\r\n\r\n")
            return
        self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        with (
            suppress(OSError),
            self.context.wrap_socket(self.connection, server_side=True) as client,
            socket.create_connection(there) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)
            back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that hang up."""


@contextmanager
def under_own_names(folder: Path, stand_ins: Sequence[StandIn]) -> Iterator[dict[str, str]]:
    """Answer for the ARNs' own endpoints; yield the environment in which clients come here by HTTPS, and trust it."""
    hosts = {}
    for one in stand_ins:
        name = str(urlsplit(own_endpoint(one.location.kind, one.location.region)).hostname)
        there = urlsplit(one.gateway.endpoint)
        hosts[f"{name}:443"] = (str(there.hostname), int(there.port or 80))
    trusted = certificate(folder, [name.partition(":")[0] for name in hosts])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted)
    with _Server(("127.0.0.1", 0), type("Bound", (_Tunnel,), {"context": context, "known": hosts})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        proxy = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield {
                "HTTPS_PROXY": proxy,
                "https_proxy": proxy,
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
                "REQUESTS_CA_BUNDLE": str(trusted),
            }
        finally:
            server.shutdown()
            thread.join()


def without_endpoint(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which an ARN leads to its own endpoint."""
    return {name: value for name, value in environment.items() if "CUSTOM_ENDPOINT" not in name}
