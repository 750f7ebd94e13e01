"""What a program writes to a terminal, as it comes."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator


def pieces(controller: int, seconds: float) -> Iterator[bytes]:
    """Yield what is written to the terminal of ``controller`` until it is closed, or nothing came for so long."""
    while select.select([controller], [], [], seconds)[0]:
        try:
            piece = os.read(controller, 65_536)
        except OSError:  # how Linux says that the other end was closed
            return
        if not piece:
            return
        yield piece
