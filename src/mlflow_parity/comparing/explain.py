"""deepdiff, called on suspects only, on as little as shows the difference, and counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.verdict import State

#: A value longer than this is explained by its first difference, not handed to deepdiff whole.
_LONG = 4_000
#: A nested value of more parts than this is not handed to deepdiff, which manages a few thousand a second.
_MANY = 2_000
_MAX_LINES = 12


class Explainer:
    """Explains differences with deepdiff.

    ``calls`` counts how often deepdiff ran. It is loaded at the first suspect: an audit without differences
    never imports it.
    """

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, difference: Difference) -> str:
        """Say in a few lines how the two values of a difference differ."""
        if difference.state in (State.EXPECTED, State.UNVERIFIED):
            return difference.note
        key, ours, theirs = difference.key, difference.source, difference.target
        if difference.state is State.MISMATCH:
            key, ours, theirs = _narrowed(key, ours, theirs)
        source = {} if difference.state is State.EXTRA else {key: ours}
        target = {} if difference.state is State.MISSING else {key: theirs}
        lines = [difference.note] if difference.note else []
        # an object that is there on one side only has nothing to be compared with
        if key and not (ours is None and theirs is None):
            if isinstance(ours, str) and isinstance(theirs, str):
                cut = _first_difference(ours, theirs)
                if cut is not None:
                    lines.append(cut)
            try:
                lines += self._diff(
                    {name: _bounded(value) for name, value in source.items()},
                    {name: _bounded(value) for name, value in target.items()},
                )
            except RecursionError:
                lines.append("nested too deeply to be explained")
        return "\n".join(lines[:_MAX_LINES])

    def _diff(self, source: object, target: object) -> list[str]:
        from deepdiff import DeepDiff

        self.calls += 1
        # Never significant_digits or ignore_order here: the first rounds, the second explodes (docs: limits).
        diff = DeepDiff(source, target, ignore_nan_inequality=True, verbose_level=2)
        text: str = diff.pretty()
        return text.splitlines()


def _parts(value: object) -> int:
    """Count the parts of a nested value, up to one more than :data:`_MANY`."""
    count, waiting = 0, [value]
    while waiting and count <= _MANY:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
    return count


def _narrowed(key: str, source: object, target: object) -> tuple[str, object, object]:
    """Go down to the first difference of two values that are too large to be explained whole."""
    while _parts(source) + _parts(target) > _MANY:
        inner: object
        if isinstance(source, dict) and isinstance(target, dict):
            keys = [name for name in {**source, **target} if source.get(name) != target.get(name)]
            if not keys:
                break
            inner, source, target = keys[0], source.get(keys[0]), target.get(keys[0])
        elif isinstance(source, list) and isinstance(target, list):
            at = next((i for i, (a, b) in enumerate(zip(source, target, strict=False)) if a != b), None)
            inner = at = min(len(source), len(target)) if at is None else at
            source, target = (side[at] if at < len(side) else None for side in (source, target))
        else:
            break
        key = f"{key}[{inner!r}]"
    return key, source, target


def _bounded(value: object) -> object:
    if isinstance(value, (dict, list)) and _parts(value) > _MANY:
        return f"a {type(value).__name__} of {len(value)} items, too large to be explained"
    if isinstance(value, dict):
        return {key: _bounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bounded(item) for item in value]
    if isinstance(value, str) and len(value) > _LONG:
        return f"{value[:_LONG]}… ({len(value)} characters)"
    return value


def _first_difference(source: str, target: str) -> str | None:
    """Say where long texts part, so that nobody has to search 6,000 characters for one."""
    if max(len(source), len(target)) <= 60:
        return None
    at = next((i for i, (a, b) in enumerate(zip(source, target, strict=False)) if a != b), None)
    if at is None:
        shorter = min(len(source), len(target))
        return f"equal up to character {shorter}; lengths {len(source)} and {len(target)}"
    return f"first differs at character {at}: {source[at : at + 20]!r} and {target[at : at + 20]!r}"


#: Characters of a value that a finding keeps; the whole value stays in the snapshot.
_SHOWN = 2_000


def cleaned(difference: Difference, redact: Callable[[str], str]) -> Difference:
    """Return a difference with every text in it redacted; values that are the same then are said to differ."""
    source, target = (_redacted(value, redact) for value in (difference.source, difference.target))
    note = redact(difference.note)
    if source == target and difference.source != difference.target:
        note = f"{note}; they differ in what is redacted here" if note else "they differ in what is redacted here"
    return replace(difference, key=redact(difference.key), source=source, target=target, note=note)


def _redacted(value: object, redact: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {_redacted(key, redact): _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_redacted(item, redact) for item in value]
    return value


def shown(value: object) -> str | None:
    """Return a value as short text; what deepdiff explains is explained from the whole value."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= _SHOWN:
        return text
    half = _SHOWN // 2
    return f"{text[:half]}…{text[-half:]} ({len(text)} characters)"
