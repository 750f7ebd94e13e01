"""What a few probes of a server tell of reading it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Probed:
    """What was found of one server, and what reading it takes. Numbers are estimates.

    ``requests`` and ``received`` (bytes) are those of a reading, by what is read; ``seconds`` is how long each takes
    beside the others; ``missed`` names what could not be looked at, and why; ``beside`` is what nobody looks at;
    ``spent`` is requests that the probing took.
    """

    experiments: int = 0
    runs: float = 0
    points: float = 0
    files: float = 0
    size: float = 0
    traces: float = 0
    models: float = 0
    versions: float = 0
    requests: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    at_least: bool = False
    """Some list is longer than was looked at."""
    spent: int = 0
    answer: float = 0.0
    """Seconds for one small request where several are on their way."""
    reached: float = 1.0
    """The share of the runs that are read: not deleted, where deleted ones are out of scope."""

    def needs(self, what: str, requests: float, received: float, seconds: float) -> None:
        """Say what it takes to read something."""
        self.requests[what] = self.requests.get(what, 0) + requests
        self.received[what] = self.received.get(what, 0) + received
        self.seconds[what] = self.seconds.get(what, 0) + seconds
