"""Compares JSON values exactly and names each place where they differ."""

from __future__ import annotations

from typing import Any

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.digests import encode
from mlflow_parity.core.verdict import State

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
    _walk(key, source, target, rule, found)
    return found


def _walk(key: str, source: Any, target: Any, rule: str, found: list[Difference]) -> None:
    if len(found) >= _MOST or same(source, target):
        return
    if isinstance(source, dict) and isinstance(target, dict):
        for name in sorted(source.keys() | target.keys()):
            inner = f"{key}: {name}" if key else name
            if name not in target:
                found.append(Difference(inner, State.MISSING, rule, source=source[name]))
            elif name not in source:
                found.append(Difference(inner, State.EXTRA, rule, target=target[name]))
            else:
                _walk(inner, source[name], target[name], rule, found)
    elif isinstance(source, list) and isinstance(target, list) and len(source) == len(target):
        for number, (mine, copy) in enumerate(zip(source, target, strict=True), 1):
            _walk(f"{key} [{number}]" if key else f"[{number}]", mine, copy, rule, found)
    else:
        found.append(Difference(key, State.MISMATCH, rule, source, target))


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
