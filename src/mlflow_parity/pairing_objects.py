"""Which target object is which source object, for every kind beside experiments and runs.

The keys, from the strongest to the weakest: the same id (for registered models and prompts the name is the id), the
source tags of a model version, the natural key together with the copy of the run that made it, content, and the
natural key alone. A version number is weak evidence: the Export Import tool numbers versions anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """What pairing needs of an object; see :mod:`mlflow_parity.kinds` for the digests."""

    kind: str
    entity_id: str
    name: str
    container: str
    created: int | None
    run: str | None
    number: int | None
    origin: str | None
    """Id of the source object that its source tags name."""
    natural: bytes
    content: bytes
    error: str | None = None


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


#: Kinds whose id is made of numbers given anew on each server: an equal id is no evidence by itself.
_NUMBERED = frozenset({"model_version"})
#: Kinds of which identical ones are told apart by nothing but their order.
_ORDERED = frozenset({"model_version"})


def pair_objects(
    source: Sequence[ObjectKey], target: Sequence[ObjectKey], runs: Mapping[str, str] | None = None
) -> ObjectPairing:
    """Pair the objects of one kind in one container. ``runs`` maps source run ids to those of their copies."""
    known = runs or {}
    result = ObjectPairing()
    if not source and not target:
        return result
    kind = (source or target)[0].kind
    left, free = list(source), list(target)
    if kind in _NUMBERED:
        by_id = {item.entity_id: item for item in source}
        claims: dict[str, list[ObjectKey]] = defaultdict(list)
        rest: list[ObjectKey] = []
        for item in free:
            (claims[item.origin] if item.origin in by_id and item.origin else rest).append(item)
        for original in list(left):
            copies = sorted(claims.get(original.entity_id, []), key=lambda copy: _preference(original, copy))
            if copies:
                result.pairs.append(ObjectPair(original, copies[0], "source-tag"))
                result.duplicates += [ObjectPair(original, copy, "source-tag") for copy in copies[1:]]
                left.remove(original)
        foreign = [item for item in rest if item.origin is not None]
        free = [item for item in rest if item.origin is None]
        left, free = _match(result, left, free, "same-id", lambda item, _: (item.entity_id, item.content))
        left, free = _match(result, left, free, "content", lambda item, ours: (item.content, _run(item, ours, known)))
        left, free = _match(result, left, free, "content", lambda item, _: item.content)
        left, free = _match(result, left, free, "natural-key", lambda item, _: item.entity_id)
        result.extra += [(item, f"its source tags name {item.origin}, which is not on the source") for item in foreign]
    else:
        left, free = _match(result, left, free, "same-id", lambda item, _: item.entity_id)
        left, free = _match(
            result, left, free, "natural-key", lambda item, ours: (item.natural, _run(item, ours, known))
        )
        left, free = _match(result, left, free, "content", lambda item, _: (item.natural, item.content))
        left, free = _match(result, left, free, "natural-key", lambda item, _: item.natural)
    _surplus_copies(result, free, known)
    result.missing += left
    return result


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


def _match(
    result: ObjectPairing,
    source: list[ObjectKey],
    target: list[ObjectKey],
    by: str,
    key: Callable[[ObjectKey, bool], Hashable],
) -> tuple[list[ObjectKey], list[ObjectKey]]:
    """Pair what has the same key on both sides; among several by content, one to one; return what is left."""
    if not source or not target:
        return source, target
    targets = _grouped(target, lambda item: key(item, False))
    settled: set[int] = set()

    def settle(original: ObjectKey, copy: ObjectKey, evidence: str) -> None:
        result.pairs.append(ObjectPair(original, copy, evidence))
        settled.update((id(original), id(copy)))

    for value, originals in _grouped(source, lambda item: key(item, True)).items():
        copies = targets.get(value, [])
        if len(originals) == 1 and len(copies) == 1:
            settle(originals[0], copies[0], by)
            continue
        twins = _grouped(copies, lambda item: item.content)
        rest: list[ObjectKey] = []
        for content, equals in _grouped(originals, lambda item: item.content).items():
            alike = twins.pop(content, [])
            # which of several identical objects is which makes no difference
            for original, copy in zip(equals, alike, strict=False):
                settle(original, copy, by)
            rest += equals[len(alike) :]
            for copy in alike[len(equals) :]:
                result.duplicates.append(ObjectPair(equals[0], copy, by))
                settled.add(id(copy))
        others = [item for items in twins.values() for item in items]
        if len(rest) == 1 and len(others) == 1:
            settle(rest[0], others[0], by)
        elif rest and others and originals[0].kind not in _ORDERED:
            result.ambiguous.append((tuple(rest), tuple(others), by))
            settled.update(id(item) for item in [*rest, *others])
    return (
        [item for item in source if id(item) not in settled],
        [item for item in target if id(item) not in settled],
    )


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
