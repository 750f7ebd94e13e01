"""Bodies of answers as they arrive: whole and in time, or worth another try."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import requests
import urllib3

from mlflow_parity.core.errors import MalformedAnswer, TooLarge
from mlflow_parity.reading.transport import bounds
from mlflow_parity.reading.transport.bounds import Unpacked, in_mib
from mlflow_parity.reading.transport.responses import Again, reason
from mlflow_parity.reading.transport.timed import until

_PIECE = 1 << 18


def body_of(answer: requests.Response, deadline: float, most: int, large: threading.Lock) -> bytes:
    """Return a whole body; of the large ones (``large``) one at a time is in memory.

    Raises:
        TooLarge: it has more bytes than ``most``.
        Again: it did not come whole, or not in time.
    """
    pieces: list[bytes] = []
    size, alone = 0, False
    try:
        for piece in whole(answer, deadline):
            size += len(piece)
            if size > most:
                pieces.clear()
                raise TooLarge(f"more than {in_mib(most)} came, the most that is read of one answer")
            if size > bounds.LARGE and not alone:
                alone = large.acquire(timeout=max(deadline - time.monotonic(), 0.0))
                if not alone:
                    raise Again("the answer did not come within the time limit")
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        if alone:
            large.release()


def beginning_of(answer: requests.Response, seconds: float) -> str:
    """Return what an error says, or the beginning of it."""
    pieces: list[bytes] = []
    with suppress(Again, MalformedAnswer):
        for piece in whole(answer, time.monotonic() + seconds):
            pieces.append(piece)
            if sum(map(len, pieces)) >= bounds.ERROR:
                break
    return b"".join(pieces).decode("utf-8", "replace")


def whole(answer: requests.Response, deadline: float) -> Iterator[bytes]:
    """Yield a body as it arrives, unpacked; a short, damaged or late one is worth another try."""
    raw: Any = answer.raw
    unpacked = Unpacked(answer.headers.get("Content-Encoding"))
    # read1 gives what has arrived; read would wait for a full piece, for hours if it trickles
    read = getattr(raw, "read1", None) or raw.read
    try:
        while True:
            with until(deadline):
                piece = read(_PIECE, decode_content=False)
            if not piece:
                break
            yield from unpacked.of(piece)
            if time.monotonic() > deadline:
                raise Again("the answer did not come within the time limit")
        unpacked.end()
    except zlib.error as error:
        raise Again(f"the answer is damaged: {reason(error)}") from None
    except (urllib3.exceptions.HTTPError, requests.RequestException, OSError) as error:
        raise Again(f"the answer broke off: {reason(error)}") from None
    expected, came = answer.headers.get("Content-Length"), raw.tell()
    if expected is not None and expected.isdigit() and came != int(expected):
        raise Again(f"the answer broke off: {came} of {expected} bytes")
