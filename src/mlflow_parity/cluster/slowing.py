"""One limit for all workers: when a server throttles one of them, all ask it for less."""

from __future__ import annotations

import importlib
import secrets
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reading.transport.slowing import Limiter

#: Seconds between two looks at what others were told.
_INTERVAL = 1.0
#: Seconds that the scheduler may take to tell.
_WAIT = 5.0


def variable_of(audit: str, side: str) -> str:
    """Return the name of what all processes of an audit know of a server's throttling."""
    return f"mlflow-parity {audit} {side}"


class Slowing:
    """Tells other processes when a server throttled this one, and slows down when they were.

    ``limiters`` are those of the requests to each server, by side; ``audit`` is the name of the audit. Outside of a
    Dask worker it does nothing.
    """

    def __init__(self, audit: str, limiters: Mapping[SideName, Limiter]) -> None:
        self._limiters = limiters
        self._own = {side: limiter.throttles for side, limiter in limiters.items()}
        self._others = dict[SideName, str].fromkeys(limiters, "")
        self._ended = threading.Event()
        self._variables: dict[SideName, Any] = {}
        with suppress(ImportError, ValueError):
            # it has no types
            distributed: Any = importlib.import_module("distributed")
            client = distributed.get_client()
            self._variables = {side: distributed.Variable(variable_of(audit, side), client=client) for side in limiters}
        if self._variables:
            threading.Thread(target=self._watch, name="parity-slowing", daemon=True).start()

    def close(self) -> None:
        """Stop looking."""
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            # a scheduler that is gone ends the audit elsewhere
            with suppress(Exception):
                for side in self._limiters:
                    self.look(side, self._variables[side])

    def look(self, side: SideName, variable: Any) -> None:
        """Tell others of what happened here since the last look, or take in what they have told."""
        limiter = self._limiters[side]
        if limiter.throttles > self._own[side]:
            self._own[side] = limiter.throttles
            self._others[side] = secrets.token_hex(4)
            variable.set(self._others[side])
            return
        told = str(variable.get(timeout=_WAIT))
        if told != self._others[side]:
            self._others[side] = told
            limiter.slow_down()
            self._own[side] = limiter.throttles
