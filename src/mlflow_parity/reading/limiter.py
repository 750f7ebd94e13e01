"""Concurrency that adapts: half as many requests at once when the server throttles, slowly more again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: So many answers in a row without throttling allow one more request at once.
_CALM = 20


class Limiter:
    """Lets at most ``limit`` requests through at once; ``limit`` moves between 1 and ``most``."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = most
        self._running = 0
        self._calm = 0
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a place and hold it."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.limit)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def throttled(self) -> None:
        """The server asked for less."""
        with self._changed:
            self.limit = max(1, self.limit // 2)
            self._calm = 0

    def answered(self) -> None:
        """The server answered in good order."""
        with self._changed:
            self._calm += 1
            if self._calm >= _CALM and self.limit < self.most:
                self.limit += 1
                self._calm = 0
                self._changed.notify()
