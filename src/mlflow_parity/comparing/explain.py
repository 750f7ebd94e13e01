"""deepdiff, called on suspects only, on as little as shows the difference, and counted."""

from __future__ import annotations

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.verdict import State

#: A value longer than this is explained by its first difference, not handed to deepdiff whole.
_LONG = 4_000
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
        source = {} if difference.state is State.EXTRA else {difference.key: difference.source}
        target = {} if difference.state is State.MISSING else {difference.key: difference.target}
        lines = [difference.note] if difference.note else []
        # an object that is there on one side only has nothing to be compared with
        if difference.key and not (difference.source is None and difference.target is None):
            if isinstance(difference.source, str) and isinstance(difference.target, str):
                cut = _first_difference(difference.source, difference.target)
                if cut is not None:
                    lines.append(cut)
            lines += self._diff(_bounded(source), _bounded(target))
        return "\n".join(lines[:_MAX_LINES])

    def _diff(self, source: object, target: object) -> list[str]:
        from deepdiff import DeepDiff

        self.calls += 1
        # Never significant_digits or ignore_order here: the first rounds, the second explodes (docs: limits).
        diff = DeepDiff(source, target, ignore_nan_inequality=True, verbose_level=2)
        text: str = diff.pretty()
        return text.splitlines()


def _bounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _bounded(item) for key, item in value.items()}
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
