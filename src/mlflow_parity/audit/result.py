"""What an audit found, and whom it tells while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mlflow_parity.audit.looking.second_look import Changes
from mlflow_parity.audit.self_test_outcome import SelfTest
from mlflow_parity.audit.test_items import ItemState
from mlflow_parity.audit.waivers.waivers import Used
from mlflow_parity.core.subset import Share
from mlflow_parity.core.verdict import Deleted, Finding, Row, State
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.transport.auth import SideName


class RowSink(Protocol):
    """Takes ledger rows as they come."""

    def add(self, row: Row) -> None:
        """Append one row."""
        ...


class Reading(Protocol):
    """Told what was read, per side (the progress line)."""

    def add(
        self,
        side: SideName,
        *,
        experiments: int = 0,
        runs: int = 0,
        points: int = 0,
        artifacts: int = 0,
        size: int = 0,
        objects: int = 0,
    ) -> None:
        """Add to what was read."""
        ...

    def phase(self, name: str, total: int = 0, count: Callable[[], str] | None = None) -> None:
        """Say what is done from now on, in so many steps (0: not known); ``count`` says how far it is beside them."""
        ...

    def step(self) -> None:
        """Count one step of it."""
        ...


class Silent:
    """Tells nobody what was read."""

    def add(self, side: SideName, **counts: int) -> None:
        """Say nothing."""

    def phase(self, name: str, total: int = 0, count: Callable[[], str] | None = None) -> None:
        """Say nothing."""

    def step(self) -> None:
        """Say nothing."""


@dataclass(slots=True)
class Result:
    """What an audit found; reports are made from it."""

    selection: Selection
    states: dict[str, ItemState] = field(default_factory=dict)
    totals: Counter[State] = field(default_factory=Counter)
    paired_by: Counter[str] = field(default_factory=Counter)
    evidence: Counter[str] = field(default_factory=Counter)
    """Files that are equal, by what proves it."""
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    explained: int = 0
    in_common: tuple[str, ...] = ()
    """What the runs that differ have in common, a line each."""
    source_runs: int = 0
    warning: str = ""
    """One line when the move looks like one of the other profile."""
    settled: int = 0
    """Differences of the first reading that were gone when the suspects were read again."""
    changes: Changes = field(default_factory=Changes)
    """What changed on either side between the first reading and the second, or the end."""
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"source": Counter(), "target": Counter()})
    outside: dict[str, dict[str, int | None]] = field(default_factory=dict)
    objects: dict[str, Counter[str]] = field(default_factory=lambda: {"source": Counter(), "target": Counter()})
    """Objects beside experiments and runs that were read of each side, by kind."""
    deleted: dict[SideName, Deleted] = field(default_factory=dict)
    """What was left out of each side for being deleted; empty where deleted objects are in scope."""
    limited: Counter[State] = field(default_factory=Counter)
    """Rows that are about no object, but limit the audit as a whole; they are among the totals too."""
    accepted: list[str] = field(default_factory=list)
    """What limits the audit and was accepted by a waiver, one line each."""
    not_served: dict[str, list[str]] = field(default_factory=lambda: {"source": [], "target": []})
    """Kinds, by plural, that a server may have by its release and does not serve: nobody looked at them."""
    waivers: tuple[Used, ...] = ()
    waivers_digest: str = ""
    share: Share | None = None
    """What of all objects was taken, where the audit is one part of several."""
    answered: dict[SideName, dict[str, list[str]]] = field(default_factory=dict)
    """Who answered the workers of a cluster in the place of a side: endpoints and unproved connections."""
    stopped: str = ""
    """That the audit ended early, in one line; empty: it did not."""
    unused: dict[int, bool] = field(default_factory=dict)
    """Waivers, by number, that matched nothing in this part, and whether they were of other values."""
    self_test: SelfTest | None = None
    """What the audit saw of the faults that ``--parity-self-test`` planted; ``None``: not asked for."""

    @property
    def findings(self) -> list[Finding]:
        """The findings that were kept, by experiment."""
        return [finding for state in self.states.values() for kept in state.findings.values() for finding in kept]

    @property
    def findings_total(self) -> int:
        """All differences that are not green."""
        return sum(cell.findings for state in self.states.values() for cell in state.cells.values())

    @property
    def empty(self) -> bool:
        """Whether nothing was judged, as neither side has any object of the kinds that were looked for."""
        return not self.totals - self.limited and not any(used.red for used in self.waivers)

    @property
    def green(self) -> bool:
        """Whether everything in scope was judged and is green."""
        judged = bool(self.totals - self.limited) and all(state.green for state, count in self.totals.items() if count)
        blind = self.self_test is not None and self.self_test.red
        return judged and not blind and not any(used.red for used in self.waivers)
