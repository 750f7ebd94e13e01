"""The facet ``other``: what a server tells and nothing here knows, verbatim, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_parity.comparing.difference import Difference, compare_json
from mlflow_parity.core.verdict import State


@dataclass(frozen=True, slots=True)
class Told:
    """Both servers' releases, and which of the keys that nothing here knows a side has on any object of a kind.

    ``None`` for a release: the server does not tell it.
    """

    releases: tuple[str | None, str | None] = ("", "")
    keys: Callable[[int, str], frozenset[str]] = lambda side, kind: frozenset()

    def only_there(self, lacking: int, kind: str, key: str) -> str:
        """Say that a side (0: source, 1: target) cannot tell a key; empty: it could, so the object lacks it."""
        releases, names = self.releases, ("source", "target")
        if (releases[0] is not None and releases[0] == releases[1]) or key in self.keys(lacking, kind):
            return ""
        mlflow = [
            f"MLflow {release}" if release else "an MLflow that does not tell its release" for release in releases
        ]
        return (
            f"only the {names[1 - lacking]} ({mlflow[1 - lacking]}) tells it of any object, the {names[lacking]} "
            f"({mlflow[lacking]}) of none; nothing here knows what it is"
        )


#: Sides of one release.
ALIKE = Told()


def compare_other(
    kind: str, source: Mapping[str, Any] | None, target: Mapping[str, Any] | None, told: Told = ALIKE
) -> list[Difference]:
    """Compare what nothing here knows; what one side's release does not tell at all is unverified."""
    rule, ours, theirs = f"{kind}.other", source or {}, target or {}
    found: list[Difference] = []
    for key in sorted(ours.keys() | theirs.keys()):
        if key in ours and key in theirs:
            found += compare_json(key, ours[key], theirs[key], rule)
            continue
        lacking, state = (1, State.MISSING) if key in ours else (0, State.EXTRA)
        note = told.only_there(lacking, kind, key)
        found.append(Difference(key, State.UNVERIFIED if note else state, rule, ours.get(key), theirs.get(key), note))
    return found
