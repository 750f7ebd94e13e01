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
        self.lowest = most
        """The lowest limit that there was."""
        self._running = 0
        self._calm = 0
        self._era = 0
        self._changed = threading.Condition()

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Wait for a place and hold it; gives the era in which the request began, for :meth:`throttled`."""
        with self._changed:
            self._changed.wait_for(lambda: self._running < self.limit)
            self._running += 1
            era = self._era
        try:
            yield era
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify()

    def throttled(self, era: int) -> None:
        """The server asked for less. Requests that ran side by side and were all refused count once."""
        with self._changed:
            self._calm = 0
            if era == self._era:
                self._era += 1
                self.limit = max(1, self.limit // 2)
                self.lowest = min(self.lowest, self.limit)

    def answered(self) -> None:
        """The server answered in good order."""
        with self._changed:
            self._calm += 1
            if self._calm >= _CALM and self.limit < self.most:
                self.limit += 1
                self._calm = 0
                self._changed.notify()
