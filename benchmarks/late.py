"""A relay that lets answers come later, as those of a service do that is not on this machine.

`python -m benchmarks.late PORT UPSTREAM MILLISECONDS`: what is sent to ``127.0.0.1:PORT`` goes to the port ``UPSTREAM``
at once, and each piece of what comes back waits for so long. Nothing is made slower than that: waits overlap.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


class _Back(asyncio.Protocol):
    """What comes from upstream, for one client."""

    def __init__(self, client: asyncio.Transport, wait: float) -> None:
        self._client = client
        self._wait = wait
        self._pieces: deque[bytes | None] = deque()

    def _later(self, piece: bytes | None) -> None:
        self._pieces.append(piece)
        asyncio.get_running_loop().call_later(self._wait, self._pass)

    def _pass(self) -> None:
        piece = self._pieces.popleft()
        if piece is None:
            self._client.close()
        else:
            self._client.write(piece)

    def data_received(self, data: bytes) -> None:
        self._later(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._later(None)


class _Client(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, upstream: int, wait: float) -> None:
        self._to = upstream
        self._wait = wait
        self._up: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._connecting = asyncio.ensure_future(self._connect(transport))

    async def _connect(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self._up, _ = await loop.create_connection(lambda: _Back(transport, self._wait), "127.0.0.1", self._to)
        for data in self._early:
            self._up.write(data)

    def data_received(self, data: bytes) -> None:
        if self._up is None:
            self._early.append(data)
        else:
            self._up.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._up is not None:
            self._up.close()


@contextmanager
def late(upstream: int, port: int, milliseconds: float) -> Iterator[None]:
    """Run a relay in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.late", str(port), str(upstream), str(milliseconds)]
    process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _serve(port: int, upstream: int, milliseconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Client, upstream, milliseconds / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
