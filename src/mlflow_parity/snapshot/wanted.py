"""What of a side is read beside its lists: metric histories, files and spans of some objects only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mlflow_parity.snapshot import FILES_PART, Part

#: What hangs on what is listed, and costs most.
HEAVY: frozenset[Part] = frozenset({"metrics", "artifacts", "traces", *FILES_PART.values()})


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which objects are read in full; ``lists``: none yet, and of traces only what a list tells.

    ``takes`` says so by the id that an object has on the source; ``origins`` maps ids of a target, by kind, to those of
    the source. In the places of ``whole`` (kind, and experiment or registered model) all objects of a kind are read.
    """

    takes: Callable[[str], bool] = lambda _: False
    origins: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    whole: Collection[tuple[str, str]] = frozenset()
    lists: bool = False

    def has(self, kind: str, place: str, identity: str) -> bool:
        """Whether an object of a place is read in full."""
        if self.lists:
            return False
        return (kind, place) in self.whole or self.takes(self.origins.get(kind, {}).get(identity, identity))

    def parts(self, parts: Collection[Part]) -> frozenset[Part]:
        """Return which of some parts are read in this go."""
        if self.lists:
            return frozenset(parts) - HEAVY | (frozenset(parts) & {"traces"})
        return frozenset(parts) & HEAVY


#: The lists of a side, before it is known which objects are wanted.
LISTS = Wanted(lists=True)
