"""Answers that never end, or unpack to more than any memory: spoils for :mod:`support.proxy`."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable
from functools import cache

from support.proxy import Exchange, Spoil

_MIB = 1 << 20
#: What the bombs of gzip unpack to: blanks, which JSON may have as many of as it likes.
BOMB = 4 << 30


class Sent:
    """Counts the bytes that left a spoil before the client hung up."""

    def __init__(self) -> None:
        self.bytes = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count."""
        with self._lock:
            self.bytes += count


@cache
def _many_parts() -> bytes:
    return gzip.compress(b" " * (64 * _MIB), 9) * (BOMB // (64 * _MIB))


@cache
def _blocks(wbits: int) -> bytes:
    """Return one stream that repeats a block; its end never comes to be read."""
    way = zlib.compressobj(9, zlib.DEFLATED, wbits)
    block = way.compress(b" " * (64 * _MIB)) + way.flush(zlib.Z_FULL_FLUSH)
    again = way.compress(b" " * (64 * _MIB)) + way.flush(zlib.Z_FULL_FLUSH)
    return block + again * (BOMB // (64 * _MIB) - 1)


def bomb(kind: str) -> Spoil:
    """Answer with one of ``PACKED``."""
    encoding, make = PACKED[kind]
    content = make()

    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [("Content-Type", "application/json"), ("Content-Encoding", encoding)], content)

    return spoil


PACKED: dict[str, tuple[str, Callable[[], bytes]]] = {
    "gzip of many parts": ("gzip", _many_parts),
    "gzip of one part": ("gzip", lambda: _blocks(31)),
    "deflate": ("deflate", lambda: _blocks(15)),
    "bare deflate": ("deflate", lambda: _blocks(-15)),
}


def endless(sent: Sent, code: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Spoil:
    """Send chunks until the client hangs up."""
    piece = b" " * _MIB

    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.send_response_only(code)
        for name, value in (*headers, ("Transfer-Encoding", "chunked")):
            exchange.send_header(name, value)
        exchange.end_headers()
        exchange.close_connection = True
        try:
            while not exchange.proxy.over.is_set():
                exchange.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                sent.add(len(piece))
        except OSError:
            pass

    return spoil
