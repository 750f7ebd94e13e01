"""What pairing says of the objects of one kind in one place, and the one matcher that says it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Key(Protocol):
    """What the matcher asks of an object: a few fields, no content."""

    @property
    def entity_id(self) -> str:
        """Its id on its own server."""
        ...

    @property
    def content(self) -> bytes:
        """Digest of what a copy of it must hold as well."""
        ...

    @property
    def order(self) -> tuple[object, ...]:
        """Where it stands among others."""
        ...


K = TypeVar("K", bound=Key)


@dataclass(frozen=True, slots=True)
class Pair(Generic[T]):
    """A source object and its copy, with the key that says so."""

    source: T
    target: T
    by: str


@dataclass(slots=True)
class Pairing(Generic[T]):
    """Outcome for the objects of one kind in one place; every object of either side is in exactly one list."""

    pairs: list[Pair[T]] = field(default_factory=list)
    missing: list[T] = field(default_factory=list)
    extra: list[tuple[T, str]] = field(default_factory=list)
    """What is nothing's copy, and what kind of leftover it looks like."""
    duplicates: list[Pair[T]] = field(default_factory=list)
    """Further copies of an object that is paired already."""
    ambiguous: list[tuple[tuple[T, ...], tuple[T, ...], str]] = field(default_factory=list)
    """Groups of source and target objects that cannot be told apart, and by which key."""


def by_id(source: Sequence[T], target: Sequence[T], id_of: Callable[[T], str], why: str = "") -> Pairing[T]:
    """Pair where the store itself went on: an object is itself when its id is the same, and nothing else counts.

    No source tags, no names, no contents: one whose id is not on the target is missing, however much another one is
    like it.
    """
    there = {id_of(item): item for item in target}
    result: Pairing[T] = Pairing()
    for original in source:
        itself = there.pop(id_of(original), None)
        if itself is None:
            result.missing.append(original)
        else:
            result.pairs.append(Pair(original, itself, "same-id"))
    result.extra = [(item, why) for item in there.values()]
    return result


def grouped(items: Iterable[K], key: Callable[[K], Hashable]) -> dict[Hashable, list[K]]:
    """Group by a key, in an order that is the same on both sides as far as can be."""
    groups: dict[Hashable, list[K]] = defaultdict(list)
    for item in sorted(items, key=lambda item: item.order):
        groups[key(item)].append(item)
    return groups


#: Objects of one key times candidates that are weighed against each other; where there are more, order decides.
_WEIGHED = 100_000


class Matcher(Generic[K]):
    """Pairs what has the same key on both sides; among several, by what each of them holds, one to one.

    ``evidence`` (of source and target) tells what an object holds beside its content, one digest per facet, the same
    for a copy without loss; it is asked only for objects that nothing else tells apart. ``apart`` names what told
    several of one key apart (``None``: the key itself); ``ordered``: those that nothing tells apart are in order.
    """

    def __init__(
        self,
        result: Pairing[K],
        evidence: tuple[Callable[[K], tuple[Hashable, ...]], Callable[[K], tuple[Hashable, ...]]] | None = None,
        *,
        apart: str | None = None,
        ordered: bool = False,
    ) -> None:
        self._result = result
        self._evidence = evidence
        self._apart = apart
        self._ordered = ordered

    def whole(self, item: K, ours: bool) -> Hashable:
        """Return everything that is known of an object, on the target's terms."""
        return item.content if self._evidence is None else (item.content, self._evidence[0 if ours else 1](item))

    def __call__(
        self, source: list[K], target: list[K], by: str, key: Callable[[K, bool], Hashable]
    ) -> tuple[list[K], list[K]]:
        """Pair by a key (given an object, and whether it is the source's); return what is left of both sides."""
        if not source or not target:
            return source, target
        targets = grouped(target, lambda item: key(item, False))
        settled: set[int] = set()
        for value, originals in grouped(source, lambda item: key(item, True)).items():
            copies = targets.get(value, [])
            if copies:
                settled.update(id(item) for item in self._group(originals, copies, by))
        return (
            [item for item in source if id(item) not in settled],
            [item for item in target if id(item) not in settled],
        )

    def _group(self, originals: list[K], copies: list[K], by: str) -> Iterator[K]:
        """Settle what has one key; yield what is settled."""
        if len(originals) == 1 and len(copies) == 1:
            self._result.pairs.append(Pair(originals[0], copies[0], by))
            yield from (originals[0], copies[0])
            return
        apart = self._apart or by
        pairs: list[tuple[K, K]] = []
        twins = grouped(copies, lambda item: item.content)
        for content, equals in grouped(originals, lambda item: item.content).items():
            alike = twins.pop(content, [])
            found = self._equals(equals, alike)
            pairs += found
            for copy in _without(equals, alike, found)[1]:
                # more identical copies than originals: each surplus one is a duplicate
                self._result.duplicates.append(Pair(equals[0], copy, apart))
                yield copy
        rest, others = _without(originals, [item for items in twins.values() for item in items], pairs)
        pairs += self._closest(rest, others)
        self._result.pairs += [Pair(original, copy, apart) for original, copy in pairs]
        yield from (item for pair in pairs for item in pair)
        rest, others = _without(rest, others, pairs)
        if len(rest) == 1 and len(others) == 1:
            self._result.pairs.append(Pair(rest[0], others[0], by))
            yield from (rest[0], others[0])
        elif rest and others and not self._ordered:
            self._result.ambiguous.append((tuple(rest), tuple(others), by))
            yield from (*rest, *others)

    def _equals(self, originals: list[K], copies: list[K]) -> list[tuple[K, K]]:
        """Pair what has one content: the identical, then the closest, then the rest in order."""
        if len(originals) == 1 and len(copies) == 1:
            return [(originals[0], copies[0])]
        # which of several identical objects is which makes no difference
        pairs: list[tuple[K, K]] = []
        if self._evidence is not None and originals and copies:
            twins = grouped(copies, lambda item: self.whole(item, False))
            groups = grouped(originals, lambda item: self.whole(item, True))
            pairs = [one for value, equals in groups.items() for one in zip(equals, twins.get(value, []), strict=False)]
            pairs += self._closest(*_without(originals, copies, pairs))
        return pairs + list(zip(*_without(originals, copies, pairs), strict=False))

    def _closest(self, originals: list[K], copies: list[K]) -> list[tuple[K, K]]:
        """Pair those that have more in common with each other than either has with any other one."""
        if self._evidence is None or not 1 < len(originals) * len(copies) <= _WEIGHED:
            return []
        ours, theirs = [self._evidence[0](item) for item in originals], [self._evidence[1](item) for item in copies]
        common: dict[tuple[int, bool], list[tuple[int, int]]] = defaultdict(list)
        for one, (original, mine) in enumerate(zip(originals, ours, strict=True)):
            for other, (copy, its) in enumerate(zip(copies, theirs, strict=True)):
                equal = sum(left == right for left, right in zip(mine, its, strict=True))
                # a number that is the same decides between those that are alike
                number = getattr(original, "number", None)
                common[equal, number is not None and number == getattr(copy, "number", None)].append((one, other))
        pairs: list[tuple[K, K]] = []
        open_ones, open_copies = set(range(len(originals))), set(range(len(copies)))
        for level in sorted(common, reverse=True):
            tied = [(one, other) for one, other in common[level] if one in open_ones and other in open_copies]
            times = Counter(one for one, _ in tied), Counter(other for _, other in tied)
            for one, other in tied:
                if level[0] and times[0][one] == times[1][other] == 1:
                    pairs.append((originals[one], copies[other]))
            # what is tied here has nothing closer further down
            open_ones -= times[0].keys()
            open_copies -= times[1].keys()
        return pairs


def _without(originals: Sequence[K], copies: Sequence[K], pairs: Sequence[tuple[K, K]]) -> tuple[list[K], list[K]]:
    """Return what is in none of the pairs."""
    taken = {id(item) for pair in pairs for item in pair}
    return [item for item in originals if id(item) not in taken], [item for item in copies if id(item) not in taken]
