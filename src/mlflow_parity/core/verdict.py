"""States, findings, ledger rows and coverage: what an audit concluded, and whether that is green."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from enum import Enum

from mlflow_parity.core.text import counted


class State(str, Enum):
    """What is known of one object or facet; exactly one of these."""

    MATCH = "match"
    EXPECTED = "expected"
    WAIVED = "waived"
    MISMATCH = "mismatch"
    MISSING = "missing"
    EXTRA = "extra"
    DUPLICATE = "duplicate"
    AMBIGUOUS = "ambiguous"
    UNVERIFIED = "unverified"

    def __str__(self) -> str:
        return self.value

    @property
    def green(self) -> bool:
        """Whether this state may stand in a green verdict."""
        return self in (State.MATCH, State.EXPECTED, State.WAIVED)


#: From worst to best: a facet with several findings has the worst state among them.
SEVERITY: tuple[State, ...] = (
    State.MISSING,
    State.EXTRA,
    State.DUPLICATE,
    State.AMBIGUOUS,
    State.MISMATCH,
    State.UNVERIFIED,
    State.WAIVED,
    State.EXPECTED,
    State.MATCH,
)


#: How the facets begin that a user's own checks record.
OWN_FACET = "own:"


def is_own(facet: str) -> bool:
    """Whether a facet, with or without its kind before it, is one that a user's own checks recorded."""
    return facet.rpartition(" ")[2].startswith(OWN_FACET)


#: States of an object without a counterpart: all its facets have them too.
WITHOUT_COUNTERPART = (State.MISSING, State.AMBIGUOUS)


def follows(facet: str, known: Container[str]) -> frozenset[State]:
    """Return the states in which a facet only says again what the presence of its objects says.

    ``facet`` and the ``known`` ones are ``kind facet``.
    """
    kind, _, name = facet.partition(" ")
    is_told = name != "presence" and f"{kind} presence" in known
    return frozenset(WITHOUT_COUNTERPART) if is_told else frozenset()


def worst(states: Iterable[State]) -> State:
    """Return the worst of ``states``; ``match`` when there is none."""
    return min(states, key=SEVERITY.index, default=State.MATCH)


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference, with everything needed to find the object again on both servers.

    ``source`` and ``target`` are the two values as short text (``None``: absent on that side); ``rule`` the id
    of the contract rule that it breaks or meets; ``explanation`` what deepdiff or the reader says of it.
    """

    experiment: str
    kind: str
    """``experiment``, ``run``, or one of :data:`mlflow_parity.kinds.schema.base.KINDS`."""
    name: str
    """Name of the object."""
    source_id: str | None
    target_id: str | None
    facet: str
    key: str
    """Param, tag or metric key, field name or artifact path; empty when the facet as a whole is meant."""
    state: State
    rule: str
    source: str | None = None
    target: str | None = None
    explanation: str = ""
    bound: tuple[str | int, ...] = ()
    """The two values as a waiver is bound to them; empty: it is bound to none."""

    @property
    def path(self) -> str:
        """``experiment / run / facet / key``, the name by which reports and waivers call it."""
        parts = [self.experiment] if self.kind == "experiment" else [self.experiment, self.name or "(unnamed)"]
        return " / ".join([*parts, self.facet, *([self.key] if self.key else [])])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger: the state of one facet of one object.

    ``paired_by`` names the pairing key (``source-tag``, ``same-id``, ``journal``, ``natural-key``,
    ``content``, ``name``; empty when unpaired); ``findings`` counts all differences, not only those kept.
    """

    experiment: str
    kind: str
    name: str
    source_id: str | None
    target_id: str | None
    facet: str
    state: State
    paired_by: str = ""
    findings: int = 0
    rules: tuple[str, ...] = ()
    note: str = ""
    evidence: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What proves that files are equal, each with the paths of those; of rows about files alone."""


@dataclass(slots=True)
class Cell:
    """Coverage of one facet in one experiment: how many objects are in which state."""

    counts: Counter[State] = field(default_factory=Counter)
    findings: int = 0

    @property
    def total(self) -> int:
        """All objects that the scope names."""
        return sum(self.counts.values())

    @property
    def verified(self) -> int:
        """Objects that were read and judged on both sides."""
        return self.total - self.counts[State.UNVERIFIED]

    @property
    def failed(self) -> int:
        """Objects that are not in a green state."""
        return sum(count for state, count in self.counts.items() if not state.green)

    @property
    def green(self) -> bool:
        """Whether every object is in a green state."""
        return all(state.green for state, count in self.counts.items() if count)

    @property
    def worst(self) -> State:
        """The worst state among the objects."""
        return worst(state for state, count in self.counts.items() if count)

    def add(self, row: Row) -> None:
        """Count one ledger row."""
        self.counts[row.state] += 1
        self.findings += row.findings


@dataclass(frozen=True, slots=True)
class Deleted:
    """What is deleted on one side, can be restored, and was left out; ``None``: not looked at.

    ``inside`` are the runs in those ``experiments``, ``runs`` all others; with ``at_least`` there are more inside.
    """

    runs: int | None
    experiments: int | None
    inside: int | None
    at_least: bool = False

    @property
    def none(self) -> bool:
        """Whether all was looked at, and nothing is there."""
        return self.runs == 0 and self.experiments == 0

    def told(self, side: str) -> str:
        """Return it in one sentence."""
        counts = ((self.runs, "run"), (self.experiments, "experiment"))
        some = [counted(count, f"deleted {noun}s") for count, noun in counts if count]
        known = [noun for count, noun in counts if count is not None]
        unknown = " and ".join(f"{noun}s" for count, noun in counts if count is None)
        looked = f"; deleted {unknown}: not looked at" if unknown else ""
        if not known:
            return f"deleted {unknown} on the {side}: not looked at"
        if not some:
            return f"no deleted {' or '.join(known)} on the {side} was left out{looked}"
        verb = "was" if (self.runs or 0) + (self.experiments or 0) == 1 else "were"
        return f"{' and '.join(some)} on the {side} {verb} left out: --parity-include-deleted{self._held()}{looked}"

    def _held(self) -> str:
        where = "it" if self.experiments == 1 else "them"
        if not self.experiments or self.inside == 0:
            return ""
        if self.inside is None:
            return f" (runs in {where}: not looked at)"
        least = "at least " if self.at_least else ""
        return f" ({least}{counted(self.inside, 'runs')} in {where})"
