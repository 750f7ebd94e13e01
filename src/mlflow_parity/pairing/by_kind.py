"""Which target object is which source object, by which key: the keys of each kind, from the strongest to the weakest.

A weaker key never overrules a stronger one:

1. the same id on both sides (a database restored or upgraded in place keeps its ids; those of runs are random 128-bit
   numbers, so equality is no accident; for registered models and prompts the name is the id);
2. the source tags on the target, of runs and model versions;
3. the natural key (of runs: name and start time), together with the copy of the run that made the object;
4. the digest of the content;
5. the natural key alone; for runs a name that occurs once on each side among what is left.

Objects that share a key are told apart by what they hold (files, metrics, spans, …: the facets that most of them have
in common), identical ones by the order in which they were made. Where a key fits several and their contents differ,
nothing is guessed: they are *ambiguous*. A version number is weak evidence: the Export Import tool numbers versions
again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence

from mlflow_parity.core.identity.keys import (
    SOURCE_EXPERIMENT_NAME_TAG,
    SOURCE_EXPERIMENT_TAG,
    ObjectKey,
    RunKey,
    layers,
)
from mlflow_parity.core.records import Experiment
from mlflow_parity.pairing.matching import Matcher, Pair, Pairing, by_id, grouped

ExperimentPair = Pair[Experiment]
ExperimentPairing = Pairing[Experiment]
RunPair = Pair[RunKey]
RunPairing = Pairing[RunKey]
ObjectPair = Pair[ObjectKey]
ObjectPairing = Pairing[ObjectKey]


def pair_experiments(source: Sequence[Experiment], target: Sequence[Experiment]) -> ExperimentPairing:
    """Pair experiments: the same one, else by the source tags (id and name must both fit), else by name.

    Experiment ids are small numbers on SQL stores, so an equal id is evidence only together with the time at
    which the experiment was made. Names are unique on a server. A stronger key takes its target first: a
    restored database may hold copies of its own experiments, whose source tags name the originals.
    """
    result: ExperimentPairing = Pairing()
    made: dict[tuple[str, int | None], Experiment] = {
        (item.experiment_id, item.creation_time): item for item in target if item.creation_time is not None
    }
    same = {item.experiment_id: made.get((item.experiment_id, item.creation_time)) for item in source}
    claimed = {copy.experiment_id for copy in same.values() if copy is not None}
    by_tag: dict[tuple[str, str], list[Experiment]] = defaultdict(list)
    known = {(item.experiment_id, item.name) for item in source}
    for candidate in target:
        if candidate.experiment_id in claimed:
            continue
        # one object is a copy of one: of several hops that the source has, the last
        for layer in layers(candidate.tags):
            named = layer.get(SOURCE_EXPERIMENT_TAG, ""), layer.get(SOURCE_EXPERIMENT_NAME_TAG, "")
            if named in known:
                by_tag[named].append(candidate)
                break
    left: list[Experiment] = []
    for original in source:
        # a copy keeps its name unless it was renamed on purpose, so the namesake comes first among equals
        copies = sorted(
            by_tag.get((original.experiment_id, original.name), []),
            key=lambda copy: (copy.name != original.name, copy.experiment_id),
        )
        itself = same[original.experiment_id]
        if itself is not None:
            result.pairs.append(Pair(original, itself, "same-id"))
        elif copies:
            result.pairs.append(Pair(original, copies.pop(0), "source-tag"))
            claimed.add(result.pairs[-1].target.experiment_id)
        else:
            left.append(original)
        result.duplicates += [Pair(original, copy, "source-tag") for copy in copies]
        claimed.update(copy.experiment_id for copy in copies)
    by_name = {candidate.name: candidate for candidate in target if candidate.experiment_id not in claimed}
    for original in left:
        namesake = by_name.get(original.name)
        if namesake is None:
            result.missing.append(original)
        else:
            result.pairs.append(Pair(original, namesake, "name"))
            claimed.add(namesake.experiment_id)
    place = {item.experiment_id: number for number, item in enumerate(source)}
    result.pairs.sort(key=lambda pair: place[pair.source.experiment_id])
    result.extra = [(candidate, "") for candidate in target if candidate.experiment_id not in claimed]
    return result


def same_experiments(source: Sequence[Experiment], target: Sequence[Experiment]) -> ExperimentPairing:
    """Pair experiments by id."""
    return by_id(source, target, lambda item: item.experiment_id)


def pair_runs(source: Sequence[RunKey], target: Sequence[RunKey], *, same_store: bool = False) -> RunPairing:
    """Pair the runs of one experiment; ``same_store``: by id alone."""
    if same_store:
        return by_id(source, target, lambda run: run.entity_id, "no run of this source experiment has its id")
    result: RunPairing = Pairing()
    known = {run.entity_id for run in source}
    claims: dict[str, list[tuple[RunKey, str]]] = defaultdict(list)
    free: list[RunKey] = []
    for run in target:
        if run.entity_id in known:
            claims[run.entity_id].append((run, "same-id"))
        elif (named := next((one for one in run.origins if one in known), None)) is not None:
            claims[named].append((run, "source-tag"))
        else:
            free.append(run)
    left: list[RunKey] = []
    for original in source:
        claimants = claims.get(original.entity_id)
        if not claimants:
            left.append(original)
            continue
        best, *others = sorted(claimants, key=lambda claim: _preferred_run(original, *claim))
        result.pairs.append(Pair(original, *best))
        result.duplicates += [Pair(original, copy, by) for copy, by in others]
    # A run that says it was imported from another source run is not a candidate for the weaker keys, unless
    # the source's own runs carry such tags too (a second migration without source tags keeps the old ones).
    foreign_ok = {run.origins[0] for run in left if run.origins}
    candidates = [run for run in free if not run.origins or run.origins[0] in foreign_ok]
    foreign = [run for run in free if run.origins and run.origins[0] not in foreign_ok]
    matcher = Matcher(result, apart="content")
    left, candidates = matcher(left, candidates, "natural-key", lambda run, _: (run.name, run.created))
    # half an import may hold all that is compared here, yet it is a leftover and no copy of a finished run
    left, candidates = matcher(left, candidates, "content", lambda run, _: (run.content, _half_imported(run)))
    left, candidates = _by_unique_name(result, left, candidates)
    result.missing += left
    result.extra += [(run, _leftover(run)) for run in candidates]
    result.extra += [
        (run, f"its source tag names run {run.origins[0]}, which is not in this source experiment") for run in foreign
    ]
    return result


def _preferred_run(original: RunKey, copy: RunKey, by: str) -> tuple[object, ...]:
    """Order claimants: same id, then equal content, finished like the original, not deleted, oldest."""
    return (
        by != "same-id",
        copy.content != original.content,
        copy.status != original.status,
        copy.deleted != original.deleted,
        copy.created or 0,
        copy.entity_id,
    )


def _by_unique_name(
    result: RunPairing, source: list[RunKey], target: list[RunKey]
) -> tuple[list[RunKey], list[RunKey]]:
    """Pair by a name that is unique on both sides; such a pair differs in content, so it is never green."""
    sources, targets = grouped(source, lambda run: run.name), grouped(target, lambda run: run.name)
    settled: set[str] = set()
    for name, originals in sources.items():
        copies = targets.get(name, [])
        # half an import is a leftover to be named as such, not a copy with differences
        if len(originals) == 1 and len(copies) == 1 and name and not _half_imported(copies[0]):
            result.pairs.append(Pair(originals[0], copies[0], "name"))
            settled |= {originals[0].entity_id, copies[0].entity_id}
    return (
        [run for run in source if run.entity_id not in settled],
        [run for run in target if run.entity_id not in settled],
    )


def _half_imported(run: RunKey) -> bool:
    return run.status == "RUNNING" and not run.tagged


def _leftover(run: RunKey) -> str:
    if run.empty and not run.tagged:
        return (
            "a ghost run: it has no param, metric, dataset, note or tag of a user, and no source tags; look at its "
            "files before you delete it"
        )
    if _half_imported(run):
        return "half a run left by an interrupted import: RUNNING and without source tags, which are written last"
    if run.tagged:
        return "it has source tags, but none that names a run of this source experiment"
    return "no source run has its id, its source tag, its name and start time, or its content"


#: Kinds whose id is made of numbers given again on each server: an equal id is no evidence by itself.
_NUMBERED = frozenset({"model_version"})
#: Kinds of which identical ones are told apart by nothing but their order.
_ORDERED = frozenset({"model_version"})
#: Kinds whose number is part of their natural key: where it was altered, name and content tell which one it is.
_COUNTED = frozenset({"prompt_version", "scorer"})
#: Tells what an object holds beside its content, one digest per facet, the same for a copy without loss.
DigestsOf = Callable[[ObjectKey], tuple[Hashable, ...]]


def pair_objects(
    source: Sequence[ObjectKey],
    target: Sequence[ObjectKey],
    runs: Mapping[str, str] | None = None,
    evidence: tuple[DigestsOf, DigestsOf] | None = None,
    *,
    same_store: bool = False,
) -> ObjectPairing:
    """Pair the objects of one kind in one container; ``same_store``: by id alone.

    ``runs`` maps source run ids to those of their copies; ``evidence`` (of source and target) is asked only for
    objects that nothing else tells apart.
    """
    if same_store:
        return by_id(source, target, lambda item: item.entity_id, "no source object has its id")
    known = runs or {}
    result: ObjectPairing = Pairing()
    if not source and not target:
        return result
    kind = (source or target)[0].kind
    left, free = list(source), list(target)
    matcher = Matcher(result, evidence, ordered=kind in _ORDERED)
    if kind in _NUMBERED:
        originals = {item.entity_id: item for item in source}
        claims: dict[str, list[ObjectKey]] = defaultdict(list)
        rest: list[ObjectKey] = []
        for item in free:
            named = _named(item, originals)
            (rest if named is None else claims[named]).append(item)
        for original in list(left):
            copies = sorted(claims.get(original.entity_id, []), key=lambda copy: _preference(original, copy))
            if copies:
                result.pairs.append(Pair(original, copies[0], "source-tag"))
                result.duplicates += [Pair(original, copy, "source-tag") for copy in copies[1:]]
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


def _run(item: ObjectKey, ours: bool, known: Mapping[str, str]) -> str | None:
    """The run of an object, on the target's terms."""
    return known.get(item.run or "", item.run) if ours else item.run


def _preference(original: ObjectKey, copy: ObjectKey) -> tuple[object, ...]:
    return (copy.content != original.content, copy.number != original.number, copy.number or 0, copy.created or 0)


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
            result.duplicates.append(Pair(original, item, "content"))
        else:
            result.extra.append((item, "no source object has its id, its natural key or its content"))
