"""One part of several: which objects fall into it by their ids, and what all parts together must hold.

An object falls into the part that the hash of its id names: the source's id where it has one, else the target's. So
every machine says the same without asking another one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any

#: Most parts: more would be smaller than what each of them reads whole.
MOST_PARTS = 1_000
_FORM = re.compile(r"([0-9]{1,4})/([0-9]{1,4})", re.ASCII)
#: Digests of objects are added up, so that their order does not matter and their number does.
_MODULUS = 1 << 256


@dataclass(frozen=True, slots=True)
class Subset:
    """Part ``part`` of ``of``, counted from 1."""

    part: int
    of: int

    @classmethod
    def parsed(cls, text: str) -> Subset | None:
        """Return what ``n/t`` says; ``None`` where that is none."""
        found = _FORM.fullmatch(text.strip())
        if found is None:
            return None
        part, of = int(found[1]), int(found[2])
        return cls(part, of) if 1 <= part <= of <= MOST_PARTS else None

    def __str__(self) -> str:
        return f"part {self.part} of {self.of}"

    @property
    def others(self) -> str:
        """The other parts, as a list of words; empty: there are none."""
        rest = [str(number) for number in range(1, self.of + 1) if number != self.part]
        if len(rest) > 6:
            rest = [*rest[:5], f"{len(rest) - 5} more"]
        return " and ".join(filter(None, [", ".join(rest[:-1]), *rest[-1:]]))

    def holds(self, identity: str) -> bool:
        """Whether an object falls into this part: SHA-256 of its id, the first eight bytes as a number, modulo t."""
        raw = sha256(identity.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(raw[:8], "big") % self.of + 1 == self.part

    def holds_row(self, source: str | None, target: str | None) -> bool:
        """Whether what has these ids falls into this part; what has none, as a list that was not read, into each."""
        identity = source if source is not None else target
        return identity is None or self.holds(identity)


@dataclass(slots=True)
class Tally:
    """How many objects there are of each kind and facet (``run params``), and a digest of all of their ids."""

    counts: dict[str, int] = field(default_factory=dict)
    sums: dict[str, int] = field(default_factory=dict)

    def add(self, facets: Iterable[str], kind: str, source: str | None, target: str | None) -> None:
        """Count an object for some facets (``run params``)."""
        text = "\0".join((kind, "-" if source is None else f"+{source}", "-" if target is None else f"+{target}"))
        value = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=32).digest(), "big")
        for facet in facets:
            self.counts[facet] = self.counts.get(facet, 0) + 1
            self.sums[facet] = (self.sums.get(facet, 0) + value) % _MODULUS

    def take_in(self, other: Tally) -> None:
        """Add another tally."""
        for facet, count in other.counts.items():
            self.counts[facet] = self.counts.get(facet, 0) + count
            self.sums[facet] = (self.sums.get(facet, 0) + other.sums[facet]) % _MODULUS

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return it for a report."""
        return {
            facet: {"objects": count, "digest": f"{self.sums[facet]:064x}"}
            for facet, count in sorted(self.counts.items())
        }


#: Kind, ids of both sides and facet of a row; no facet: the rows of all.
_Row = tuple[str, "str | None", "str | None", str]


class Share:
    """What one part takes of the objects that are compared, while all of them are counted.

    ``clean`` is what ids pass on their way into the ledger, as they are counted from there again.
    """

    def __init__(self, subset: Subset, clean: Any, *, ordered: bool = False) -> None:
        self.subset = subset
        self.places: dict[_Row, int] = {}
        """Where rows of this part that were kept last stand among all of their kind, where that is asked for."""
        self.whole = Tally()
        """What all parts together must hold."""
        self.models: dict[str, set[str]] = {}
        """Pairs of ids that ``MLmodel`` files name, each as two short digests, by experiment."""
        self._clean = clean
        self._ordered = ordered
        self.start()

    def start(self) -> None:
        """Begin to count what is judged now; what was counted and not kept is dropped: it is judged again."""
        self._pending = Tally()
        self._learned: list[tuple[str, str]] = []
        self._counted = 0
        self._places: dict[_Row, int] = {}

    def keep(self) -> None:
        """Keep what was counted since the start."""
        self.whole.take_in(self._pending)
        for label, pair in self._learned:
            self.models.setdefault(label, set()).add(pair)
        self.places = self._places
        self.start()

    def count(self, kind: str, facets: Sequence[str], source: str | None, target: str | None) -> bool:
        """Count an object for all parts; return whether it falls into this one."""
        ours, theirs = (None if one is None else self._clean(one) for one in (source, target))
        self._pending.add([f"{kind} {facet}" for facet in facets], kind, ours, theirs)
        self._counted += 1
        taken = self.subset.holds_row(ours, theirs)
        if taken and self._ordered:
            self._places.setdefault((kind, ours, theirs, facets[0] if len(facets) == 1 else ""), self._counted)
        return taken

    def place(self, kind: str, facet: str, source: str | None, target: str | None) -> int | None:
        """Return where a row stands among all of its kind; ``None``: it is of nothing that was counted last."""
        ours, theirs = (None if one is None else self._clean(one) for one in (source, target))
        # those of a pair stand together
        together = self.places.get((kind, ours, theirs, ""))
        return self.places.get((kind, ours, theirs, facet)) if together is None else together

    def takes(self, identity: str) -> bool:
        """Whether an object with this id (the source's, where it has one) falls into the part."""
        return self.subset.holds(self._clean(identity))

    def rows(self, outcomes: Iterable[Any]) -> Iterator[Any]:
        """Count rows of objects and yield those of this part."""
        for one in outcomes:
            row = one.row
            if row.source_id is None and row.target_id is None:
                yield one  # a list that could not be read: it is no part's alone
            elif self.count(row.kind, [row.facet], row.source_id, row.target_id):
                yield one

    def learn(self, label: str, kind: str, pairs: Mapping[tuple[str, str], str]) -> None:
        """Remember which ids of models stand for each other, so that parts can be held against each other."""
        for (key, source), target in pairs.items():
            self._learned.append((self._clean(label), f"{_short(kind, key, source)}{_short(kind, key, target)}"))


def _short(*texts: str) -> str:
    return blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


#: Letters of one of the two digests of a pair.
SHORT = 18


def contradicting(parts: Iterable[Iterable[str]]) -> bool:
    """Whether one id stands for several in pairs of different parts; what contradicts itself in one was named there."""
    ways: tuple[dict[str, tuple[str, int]], dict[str, tuple[str, int]]] = ({}, {})
    found = False
    for number, pairs in enumerate(parts):
        for pair in pairs:
            ours, theirs = pair[:SHORT], pair[SHORT:]
            for way, one, other in ((ways[0], ours, theirs), (ways[1], theirs, ours)):
                known, by = way.setdefault(one, (other, number))
                found |= known != other and by != number
    return found
