"""Slows down for a server that throttles (fewer requests at once), and stops for one that is down."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mlflow_parity.reading.transport.responses import Again
from mlflow_parity.reading.transport.timed import Limits

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

    @property
    def throttles(self) -> int:
        """How often the limit was lowered."""
        return self._era

    def slow_down(self) -> None:
        """Lower the limit, as the server asked another process for less."""
        with self._changed:
            self.throttled(self._era)

    def answered(self) -> None:
        """The server answered in good order."""
        with self._changed:
            self._calm += 1
            if self._calm >= _CALM and self.limit < self.most:
                self.limit += 1
                self._calm = 0
                self._changed.notify()


#: Stands for all endpoints.
_EVERY = ""


@dataclass(slots=True)
class _Known:
    """What is known of one endpoint."""

    since: float
    """When it last answered, or was first asked."""
    failed: int = 0
    """Calls in a row that were given up."""
    silent: bool = False
    """Whether the last of them got no answer at all."""
    reason: str = ""
    asked: float = 0.0


class Patience:
    """Remembers for each endpoint how long calls to it have been given up; safe to use from many threads.

    One call is tried often, because failures pass. When for ``longest`` seconds no call to an endpoint, or to any, has
    had an answer, thousands of further ones need not wait as long each: they are tried once. Where an endpoint gave
    nothing but silence only one of them is sent in every ``rest`` seconds.
    """

    def __init__(self, longest: float, rest: float) -> None:
        self._longest = longest
        self._rest = rest
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def ask(self, name: str) -> tuple[bool, str]:
        """Say before a call whether it may be tried more than once, and why it should not be made (or ``""``)."""
        now = time.monotonic()
        with self._lock:
            known, every = (self._known.setdefault(one, _Known(now)) for one in (name, _EVERY))
            if not any(one.failed and now - one.since >= self._longest for one in (known, every)):
                return True, ""
            if known.failed and known.silent and now - known.asked < self._rest:
                often = f"{known.failed} calls" if known.failed > 1 else "a call"
                return False, f"not asked any more after {often} without an answer, the last: {known.reason}"
            known.asked = now
            return False, ""

    def answered(self, name: str) -> None:
        """A call had an answer, if only a refusal."""
        with self._lock:
            now = time.monotonic()
            self._known[name], self._known[_EVERY] = _Known(now), _Known(now)

    def given_up(self, name: str, reason: str, *, silent: bool) -> None:
        """A call had no usable answer."""
        with self._lock:
            now = time.monotonic()
            for known in (self._known.setdefault(one, _Known(now)) for one in (name, _EVERY)):
                known.failed += 1
                known.silent = silent
                known.reason = reason
                known.asked = now


def pause(tried: int, failed: Again, limits: Limits, chance: random.Random) -> float:
    """Return the seconds to wait before the next try: what the server asked for, or longer after each."""
    # jitter: many threads that failed together must not come back together
    if failed.wait is not None:
        return failed.wait * chance.uniform(1.0, 1.1)
    most = min(limits.longest_wait, limits.first_wait * 2 ** min(tried - 1, 16))
    return chance.uniform(most / 4, most)
