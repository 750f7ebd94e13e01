"""Whether a restored store stands elsewhere: one old and one new prefix of places for the whole server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relocation:
    """What stood below ``old`` stands at the same place below ``new``; both empty when nothing moved."""

    old: str = ""
    new: str = ""

    def __call__(self, place: str) -> str:
        """Return where a place of the source must be on the target."""
        return self.new + place[len(self.old) :] if self._below(place) else place

    def _below(self, place: str) -> bool:
        return bool(self.old) and (place == self.old or place.startswith(self.old + "/"))


def find(places: Iterable[tuple[str, str]]) -> Relocation:
    """Find the relocation in pairs of places (source, target) of the same experiments.

    A prefix is believed only when more of what stands below it moved to one new prefix than did not: a single
    place that was altered is a difference, not a move.
    """
    pairs = [(ours, theirs) for ours, theirs in places if ours and theirs]
    votes = Counter(_prefixes(ours, theirs) for ours, theirs in pairs if ours != theirs)
    for (old, new), _ in sorted(votes.items(), key=lambda vote: (-vote[1], vote[0])):
        if not old or not new:
            continue
        move = Relocation(old, new)
        moved = sum(ours != theirs and move(ours) == theirs for ours, theirs in pairs)
        stayed = sum(move(ours) not in (ours, theirs) for ours, theirs in pairs)
        if moved > stayed:
            return move
    return Relocation()


def _prefixes(ours: str, theirs: str) -> tuple[str, str]:
    """Take the longest common tail of whole path parts off both places; empty where they have none."""
    mine, copy = ours.split("/"), theirs.split("/")
    while len(mine) > 1 and len(copy) > 1 and mine[-1] == copy[-1]:
        mine.pop()
        copy.pop()
    if len(mine) == ours.count("/") + 1:
        # the place itself has another name: that is no prefix of anything
        return "", ""
    return "/".join(mine), "/".join(copy)
