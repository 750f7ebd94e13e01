"""HTTP connections whose waits end: the read limit of a socket starts again with each byte, these limits do not."""

from __future__ import annotations

import http.client
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from mlflow_parity.core.errors import TooLarge
from mlflow_parity.reading.transport.bounds import AWS, in_mib


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds. ``call`` bounds one call with all its retries; ``tries`` how often it is tried.

    ``read`` bounds the wait for the next byte, and for the headers as a whole. An endpoint that has given no answer
    for as long as ``call`` is not tried so often any more. A file may take longer than ``call`` while it comes with
    ``slowest`` bytes per second on the average.
    """

    connect: float = 10.0
    read: float = 120.0
    call: float = 600.0
    tries: int = 8
    first_wait: float = 0.5
    longest_wait: float = 30.0
    slowest: float = 100_000.0

    def call_of(self, size: int | None) -> float:
        """Seconds that a call may take with all its retries, if it moves so many bytes."""
        return self.call + (size or 0) / self.slowest

    def answer_to(self, size: int) -> float:
        """Seconds until the headers of an answer must be there, if a body of so many bytes is sent before."""
        return self.connect + size / self.slowest + self.read


class _Until(threading.local):
    """When what a thread waits for must be there (of the monotonic clock), and how many bytes it may be."""

    at: float = float("inf")
    most: float | None = None


_until = _Until()


@contextmanager
def until(moment: float) -> Iterator[None]:
    """Let the reads of this thread fail that end after ``moment`` (of the monotonic clock); outside of it none does."""
    before, _until.at = _until.at, moment
    try:
        yield
    finally:
        _until.at = before


@contextmanager
def without_bound() -> Iterator[None]:
    """Let this thread read as much of one answer as comes: a file, whose bytes are counted elsewhere."""
    before, _until.most = _until.most, float("inf")
    try:
        yield
    finally:
        _until.most = before


class _Timed(io.RawIOBase):
    """What a socket gives, until it is too late or too much."""

    def __init__(self, raw: io.RawIOBase, most: float) -> None:
        self._raw = raw
        self._most = most
        self._came = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """Return the socket's."""
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> int | None:
        """Read what has arrived.

        Raises:
            TimeoutError: it is late, however many bytes came.
            TooLarge: they are more than one answer may have.
        """
        count: int | None = self._raw.readinto(buffer)
        self._came += count or 0
        if self._came > (self._most if _until.most is None else _until.most):
            raise TooLarge(f"more than {in_mib(AWS)} came, the most that is read of one answer of AWS")
        if time.monotonic() > _until.at:
            raise TimeoutError("the answer did not come within the time limit")
        return count

    def close(self) -> None:
        """Close the socket's file too."""
        self._raw.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """Status line, headers, lengths of chunks and body are all read through the clock."""

    most: float = float("inf")

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock.makefile("rb", buffering=0), self.most))


class _AwsAnswer(_Answer):
    """botocore reads all but files whole, however much that is."""

    most = AWS


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS: dict[str, Any] = {"http": _Pool, "https": _SecurePool}


def time_boto(client: Any) -> None:
    """Let the connections of a boto3 client, which has made none yet, have such waits and bounds too."""
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )

    def timed(pool: Any, connection: Any) -> Any:
        made = type(connection.__name__, (connection,), {"response_class": _AwsAnswer})
        return type(pool.__name__, (pool,), {"ConnectionCls": made})

    client._endpoint.http_session._manager.pool_classes_by_scheme = {
        "http": timed(AWSHTTPConnectionPool, AWSHTTPConnection),
        "https": timed(AWSHTTPSConnectionPool, AWSHTTPSConnection),
    }


class TimedAdapter(HTTPAdapter):
    """An adapter with such connections, also where they go through a proxy."""

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*args, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **more: Any) -> PoolManager:
        """Make the pools for a proxy."""
        manager: PoolManager = super().proxy_manager_for(*args, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager
