"""Which target object is which source object, for every kind beside experiments and runs.

The keys, from the strongest to the weakest: the same id (for registered models and prompts the name is the id), the
source tags of a model version, the natural key together with the copy of the run that made it, content, and the
natural key alone. Objects that share a key are told apart by what they hold (files, metrics, spans, …: the facets that
most of them have in common), identical ones by the order in which they were made. A version number is weak evidence:
the Export Import tool numbers versions again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_parity.core.keys import ObjectKey


@dataclass(frozen=True, slots=True)
class ObjectPair:
    """A source object and its copy, with the key that says so."""

    source: ObjectKey
    target: ObjectKey
    by: str


@dataclass(slots=True)
class ObjectPairing:
    """Outcome for the objects of one kind in one container; every object is in exactly one list."""

    pairs: list[ObjectPair] = field(default_factory=list)
    missing: list[ObjectKey] = field(default_factory=list)
    extra: list[tuple[ObjectKey, str]] = field(default_factory=list)
    duplicates: list[ObjectPair] = field(default_factory=list)
    ambiguous: list[tuple[tuple[ObjectKey, ...], tuple[ObjectKey, ...], str]] = field(default_factory=list)


#: Kinds whose id is made of numbers given again on each server: an equal id is no evidence by itself.
_NUMBERED = frozenset({"model_version"})
#: Kinds of which identical ones are told apart by nothing but their order.
_ORDERED = frozenset({"model_version"})
#: Kinds whose number is part of their natural key: where it was altered, name and content tell which one it is.
_COUNTED = frozenset({"prompt_version", "scorer"})
#: Objects of one key times candidates that are weighed against each other; where there are more, order decides.
_WEIGHED = 100_000
#: Tells what an object holds beside its content, one digest per facet, the same for a copy without loss.
Evidence = Callable[[ObjectKey], tuple[bytes, ...]]


def pair_objects(
    source: Sequence[ObjectKey],
    target: Sequence[ObjectKey],
    runs: Mapping[str, str] | None = None,
    evidence: tuple[Evidence, Evidence] | None = None,
) -> ObjectPairing:
    """Pair the objects of one kind in one container.

    ``runs`` maps source run ids to those of their copies; ``evidence`` (of source and target) is asked only for
    objects that nothing else tells apart.
    """
    known = runs or {}
    result = ObjectPairing()
    if not source and not target:
        return result
    kind = (source or target)[0].kind
    left, free = list(source), list(target)
    matcher = _Matcher(result, evidence or (_nothing, _nothing))
    if kind in _NUMBERED:
        by_id = {item.entity_id: item for item in source}
        claims: dict[str, list[ObjectKey]] = defaultdict(list)
        rest: list[ObjectKey] = []
        for item in free:
            named = _named(item, by_id)
            (rest if named is None else claims[named]).append(item)
        for original in list(left):
            copies = sorted(claims.get(original.entity_id, []), key=lambda copy: _preference(original, copy))
            if copies:
                result.pairs.append(ObjectPair(original, copies[0], "source-tag"))
                result.duplicates += [ObjectPair(original, copy, "source-tag") for copy in copies[1:]]
                left.remove(original)
        foreign = [item for item in rest if item.origin is not None]
        free = [item for item in rest if item.origin is None]
        if {item.entity_id for item in left} == {item.entity_id for item in free}:
            left, free = matcher(left, free, "same-id", lambda item, _: (item.entity_id, item.content))
        else:
            # numbers may have been given again: an equal one says something only where all else is equal too
            left, free = matcher(left, free, "same-id", lambda item, ours: (item.entity_id, matcher.whole(item, ours)))
        left, free = matcher(left, free, "content", lambda item, ours: (item.content, _run(item, ours, known)))
        left, free = matcher(left, free, "content", lambda item, _: item.content)
        left, free = matcher(left, free, "natural-key", lambda item, _: item.entity_id)
        result.extra += [
            (item, f"its source tags name {item.origins[0]}, which is not on the source") for item in foreign
        ]
    else:
        left, free = matcher(left, free, "same-id", lambda item, _: item.entity_id)
        left, free = matcher(left, free, "natural-key", lambda item, ours: (item.natural, _run(item, ours, known)))
        left, free = matcher(left, free, "content", lambda item, _: (item.natural, item.content))
        left, free = matcher(left, free, "natural-key", lambda item, _: item.natural)
        if kind in _COUNTED:
            # the versions of a prompt are a container of their own, those of all scorers are in one
            left, free = matcher(
                left, free, "content", lambda item, _: (item.name if kind == "scorer" else "", item.content)
            )
        if kind == "logged_model":
            # its type is part of its natural key: what made it, and its name, tell it where the type was altered
            left, free = matcher(left, free, "natural-key", lambda item, ours: (item.name, _run(item, ours, known)))
    _surplus_copies(result, free, known)
    result.missing += left
    return result


def _named(copy: ObjectKey, source: Mapping[str, ObjectKey]) -> str | None:
    """Return which object of the source a copy's source tags name; numbers are given again, so a hop must fit whole."""
    for hop, named in enumerate(copy.origins):
        original = source.get(named)
        if original is not None and original.origins == copy.origins[hop + 1 :]:
            return named
    return copy.origins[0] if copy.origins and copy.origins[0] in source else None


def _nothing(_: ObjectKey) -> tuple[bytes, ...]:
    return ()


def _run(item: ObjectKey, ours: bool, known: Mapping[str, str]) -> str | None:
    """The run of an object, on the target's terms."""
    return known.get(item.run or "", item.run) if ours else item.run


def _preference(original: ObjectKey, copy: ObjectKey) -> tuple[object, ...]:
    return (copy.content != original.content, copy.number != original.number, copy.number or 0, copy.created or 0)


def _order(item: ObjectKey) -> tuple[object, ...]:
    return (item.number or 0, item.created or 0, item.entity_id)


def _grouped(items: Iterable[ObjectKey], key: Callable[[ObjectKey], Hashable]) -> dict[Hashable, list[ObjectKey]]:
    groups: dict[Hashable, list[ObjectKey]] = defaultdict(list)
    for item in sorted(items, key=_order):
        groups[key(item)].append(item)
    return groups


class _Matcher:
    """Pairs what has the same key on both sides; among several, by what each of them holds, one to one."""

    def __init__(self, result: ObjectPairing, evidence: tuple[Evidence, Evidence]) -> None:
        self._result = result
        self._source, self._target = evidence

    def whole(self, item: ObjectKey, ours: bool) -> Hashable:
        """Return everything that is known of an object, on the target's terms."""
        return (item.content, self._source(item) if ours else self._target(item))

    def __call__(
        self,
        source: list[ObjectKey],
        target: list[ObjectKey],
        by: str,
        key: Callable[[ObjectKey, bool], Hashable],
    ) -> tuple[list[ObjectKey], list[ObjectKey]]:
        """Pair by a key; return what is left of both sides."""
        if not source or not target:
            return source, target
        targets = _grouped(target, lambda item: key(item, False))
        settled: set[int] = set()
        for value, originals in _grouped(source, lambda item: key(item, True)).items():
            copies = targets.get(value, [])
            if copies:
                settled.update(id(item) for item in self._group(originals, copies, by))
        return (
            [item for item in source if id(item) not in settled],
            [item for item in target if id(item) not in settled],
        )

    def _group(self, originals: list[ObjectKey], copies: list[ObjectKey], by: str) -> Iterator[ObjectKey]:
        """Settle what has one key; yield what is settled."""
        pairs: list[tuple[ObjectKey, ObjectKey]] = []
        twins = _grouped(copies, lambda item: item.content)
        for content, equals in _grouped(originals, lambda item: item.content).items():
            alike = twins.pop(content, [])
            found = self._equals(equals, alike)
            pairs += found
            for copy in _without(equals, alike, found)[1]:
                self._result.duplicates.append(ObjectPair(equals[0], copy, by))
                yield copy
        rest, others = _without(originals, [item for items in twins.values() for item in items], pairs)
        pairs += self._closest(rest, others)
        rest, others = _without(rest, others, pairs)
        if len(rest) == 1 and len(others) == 1:
            pairs.append((rest[0], others[0]))
        elif rest and others and originals[0].kind not in _ORDERED:
            self._result.ambiguous.append((tuple(rest), tuple(others), by))
            yield from (*rest, *others)
        self._result.pairs += [ObjectPair(original, copy, by) for original, copy in pairs]
        yield from (item for pair in pairs for item in pair)

    def _equals(self, originals: list[ObjectKey], copies: list[ObjectKey]) -> list[tuple[ObjectKey, ObjectKey]]:
        """Pair what has one content: the identical, then the closest, then the rest in order."""
        if len(originals) == 1 and len(copies) == 1:
            return [(originals[0], copies[0])]
        # which of several identical objects is which makes no difference
        pairs = _alike(originals, copies, self.whole)
        pairs += self._closest(*_without(originals, copies, pairs))
        return pairs + list(zip(*_without(originals, copies, pairs), strict=False))

    def _closest(self, originals: list[ObjectKey], copies: list[ObjectKey]) -> list[tuple[ObjectKey, ObjectKey]]:
        """Pair those that have more in common with each other than either has with any other one."""
        if not 1 < len(originals) * len(copies) <= _WEIGHED:
            return []
        ours, theirs = [self._source(item) for item in originals], [self._target(item) for item in copies]
        common: dict[tuple[int, bool], list[tuple[int, int]]] = defaultdict(list)
        for one, (original, mine) in enumerate(zip(originals, ours, strict=True)):
            for other, (copy, its) in enumerate(zip(copies, theirs, strict=True)):
                equal = sum(left == right for left, right in zip(mine, its, strict=True))
                # a number that is the same decides between those that are alike
                common[equal, original.number is not None and original.number == copy.number].append((one, other))
        pairs: list[tuple[ObjectKey, ObjectKey]] = []
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


def _alike(
    originals: Sequence[ObjectKey], copies: Sequence[ObjectKey], what: Callable[[ObjectKey, bool], Hashable]
) -> list[tuple[ObjectKey, ObjectKey]]:
    """Pair what is the same on both sides, in order."""
    if not originals or not copies:
        return []
    twins = _grouped(copies, lambda item: what(item, False))
    groups = _grouped(originals, lambda item: what(item, True))
    return [pair for value, equals in groups.items() for pair in zip(equals, twins.get(value, []), strict=False)]


def _without(
    originals: Sequence[ObjectKey], copies: Sequence[ObjectKey], pairs: Sequence[tuple[ObjectKey, ObjectKey]]
) -> tuple[list[ObjectKey], list[ObjectKey]]:
    """Return what is in none of the pairs."""
    taken = {id(item) for pair in pairs for item in pair}
    return [item for item in originals if id(item) not in taken], [item for item in copies if id(item) not in taken]


def _surplus_copies(result: ObjectPairing, free: Sequence[ObjectKey], known: Mapping[str, str]) -> None:
    """What is left on the target: a further copy of something that is paired, or something of its own."""
    paired = {
        (pair.source.natural if pair.source.kind not in _NUMBERED else b"", pair.source.content,
         _run(pair.source, True, known)): pair.source
        for pair in result.pairs
    }  # fmt: skip
    for item in free:
        original = paired.get((item.natural if item.kind not in _NUMBERED else b"", item.content, item.run))
        if original is not None:
            result.duplicates.append(ObjectPair(original, item, "content"))
        else:
            result.extra.append((item, "no source object has its id, its natural key or its content"))
