"""One difference within a facet, and how differences add up to the facet's state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlflow_parity.core.verdict import Row, State


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a facet that is not simply equal.

    ``state`` is ``mismatch``, ``missing`` or ``extra`` (the key, on the target), ``unverified``, or ``expected``
    when ``rule`` lets it differ. ``source`` and ``target`` are the values themselves, for explaining.
    """

    key: str
    state: State
    rule: str
    source: object = None
    target: object = None
    note: str = ""


def facet_state(differences: Iterable[Difference]) -> State:
    """Return the state of a facet of a pair: a missing or extra *key* makes the facet a mismatch."""
    states = {difference.state for difference in differences}
    if states <= {State.EXPECTED}:
        return State.EXPECTED if states else State.MATCH
    if states & {State.MISMATCH, State.MISSING, State.EXTRA, State.DUPLICATE, State.AMBIGUOUS}:
        return State.MISMATCH
    return State.UNVERIFIED


def compare_mappings(source: Mapping[str, str], target: Mapping[str, str], rule: str) -> list[Difference]:
    """Compare two mappings exactly, in both directions; differences are sorted by key."""
    if source == target:
        return []
    found = []
    for key in sorted(source.keys() | target.keys()):
        if key not in target:
            found.append(Difference(key, State.MISSING, rule, source=source[key]))
        elif key not in source:
            found.append(Difference(key, State.EXTRA, rule, target=target[key]))
        elif source[key] != target[key]:
            found.append(Difference(key, State.MISMATCH, rule, source[key], target[key]))
    return found


def compare_values(key: str, source: object, target: object, rule: str) -> list[Difference]:
    """Compare two values exactly."""
    return [] if source == target else [Difference(key, State.MISMATCH, rule, source, target)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One ledger row and the differences behind it."""

    row: Row
    differences: tuple[Difference, ...] = ()


def outcome(row: Row, found: Sequence[Difference]) -> Outcome:
    """Add to a row what its differences say."""
    if not found:
        return Outcome(row)
    rules = tuple(sorted({difference.rule for difference in found if difference.state is State.EXPECTED}))
    count = sum(not difference.state.green for difference in found)
    return Outcome(replace(row, findings=count, rules=rules), tuple(found))
