"""One difference within a facet, and how differences add up to the facet's state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow_parity.core.identity.digests import encode
from mlflow_parity.core.verdict import Row, State


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a facet that is not simply equal.

    ``state`` is ``mismatch``, ``missing`` or ``extra`` (the key, on the target), ``unverified``, or ``expected``
    when ``rule`` lets it differ. ``source`` and ``target`` are the values themselves, for explaining. Where they are
    less than what differs (the first lines, a count), ``bound`` tells all of it on both sides, by digests.
    """

    key: str
    state: State
    rule: str
    source: object = None
    target: object = None
    note: str = ""
    bound: tuple[object, object] | None = None

    @property
    def binding(self) -> tuple[object, object]:
        """What a waiver is bound to on both sides: to accept it is to accept nothing else.

        Where neither side has a value, it is what is said of the difference.
        """
        if self.bound is not None:
            return self.bound
        return (None, self.note) if self.source is None and self.target is None else (self.source, self.target)


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


#: Differences of one value that are named one by one.
_MOST = 200


def same(left: Any, right: Any) -> bool:
    """Equality that tells 1 from True and 1.0, 0.0 from -0.0, and for which NaN equals NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, float):
        return bool(left.hex() == right.hex())
    return bool(left == right)


def compare_json(key: str, source: Any, target: Any, rule: str) -> list[Difference]:
    """Return the differences, each under the path of keys and positions that leads to it."""
    found: list[Difference] = []
    if not _walk(key, source, target, rule, found):
        # the last place is for all that is not named: a waiver of those that are must not cover it
        bound = tuple(f"sha256 {hashlib.sha256(encode(value)).hexdigest()}" for value in (source, target))
        del found[_MOST - 1 :]
        note = f"there are more than {_MOST} differences: {_MOST - 1} are named, this stands for the others"
        found.append(Difference(f"{key} (others)".strip(), State.MISMATCH, rule, note=note, bound=(bound[0], bound[1])))
    return found


def _walk(key: str, source: Any, target: Any, rule: str, found: list[Difference]) -> bool:
    """Add the differences; return whether these are all of them."""
    if same(source, target):
        return True
    if len(found) >= _MOST:
        return False
    if isinstance(source, dict) and isinstance(target, dict):
        for name in sorted(source.keys() | target.keys()):
            inner = f"{key}: {name}" if key else name
            if name not in target:
                found.append(Difference(inner, State.MISSING, rule, source=source[name]))
            elif name not in source:
                found.append(Difference(inner, State.EXTRA, rule, target=target[name]))
            elif not _walk(inner, source[name], target[name], rule, found):
                return False
    elif isinstance(source, list) and isinstance(target, list) and len(source) == len(target):
        for number, (mine, copy) in enumerate(zip(source, target, strict=True), 1):
            if not _walk(f"{key} [{number}]" if key else f"[{number}]", mine, copy, rule, found):
                return False
    else:
        found.append(Difference(key, State.MISMATCH, rule, source, target))
    return True


def compare_multisets(key: str, source: list[Any], target: list[Any], rule: str, label: str = "") -> list[Difference]:
    """Compare two lists whose order is no content; what has the same ``label`` on both sides is shown together."""
    left: dict[bytes, list[Any]] = {}
    for item in target:
        left.setdefault(encode(item), []).append(item)
    ours = []
    for item in source:
        twins = left.get(encode(item))
        if twins:
            twins.pop()
        else:
            ours.append(item)
    rest = [item for items in left.values() for item in items]
    found: list[Difference] = []
    for item in ours:
        name = _label(item, label)
        twin = next((place for place, other in enumerate(rest) if label and _label(other, label) == name), None)
        where = f"{key} {name}".strip()
        if twin is None:
            found.append(Difference(where, State.MISSING, rule, source=item))
        else:
            found += compare_json(where, item, rest.pop(twin), rule)
    found += [Difference(f"{key} {_label(item, label)}".strip(), State.EXTRA, rule, target=item) for item in rest]
    return found


def _label(item: Any, label: str) -> str:
    return str(item.get(label, "")) if label and isinstance(item, dict) else ""
