"""Which target object is which source object, by which key, and what stayed unpaired or ambiguous.

Evidence is used from the strongest to the weakest, and a weaker key never overrules a stronger one:

1. the same run id on both sides (a database restored or upgraded in place keeps its ids; ids are random
   128-bit numbers, so equality is no accident);
2. the source tag ``mlflow_exim.run_info.run_id`` on the target;
3. the journal of ``migrate``, where there is one;
4. the natural key (experiment, name, start time), and the digest of the content;
5. a run name that occurs once on each side among what is left.

Where a key fits several objects and their contents differ, nothing is guessed: they are *ambiguous*.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from mlflow_parity.core.hops import layers
from mlflow_parity.core.keys import SOURCE_EXPERIMENT_NAME_TAG, SOURCE_EXPERIMENT_TAG, RunKey
from mlflow_parity.core.records import Experiment


@dataclass(frozen=True, slots=True)
class RunPair:
    """A source run and the target run that is its copy, with the key that says so."""

    source: RunKey
    target: RunKey
    by: str


@dataclass(frozen=True, slots=True)
class Extra:
    """A target run that is no source run's copy, and what kind of leftover it looks like."""

    target: RunKey
    why: str


@dataclass(slots=True)
class RunPairing:
    """Outcome for one experiment; every run of either side is in exactly one of the lists."""

    pairs: list[RunPair] = field(default_factory=list)
    missing: list[RunKey] = field(default_factory=list)
    extra: list[Extra] = field(default_factory=list)
    duplicates: list[RunPair] = field(default_factory=list)
    """Further copies of a source run that is paired already."""
    ambiguous: list[tuple[tuple[RunKey, ...], tuple[RunKey, ...], str]] = field(default_factory=list)
    """Groups of source and target runs that cannot be told apart, and by which key."""


@dataclass(frozen=True, slots=True)
class ExperimentPair:
    """A source experiment and its copy."""

    source: Experiment
    target: Experiment
    by: str


@dataclass(slots=True)
class ExperimentPairing:
    """Outcome for the server."""

    pairs: list[ExperimentPair] = field(default_factory=list)
    missing: list[Experiment] = field(default_factory=list)
    extra: list[Experiment] = field(default_factory=list)
    duplicates: list[ExperimentPair] = field(default_factory=list)


def pair_experiments(source: Sequence[Experiment], target: Sequence[Experiment]) -> ExperimentPairing:
    """Pair experiments: the same one, else by the source tags (id and name must both fit), else by name.

    Experiment ids are small numbers on SQL stores, so an equal id is evidence only together with the time at
    which the experiment was made. Names are unique on a server. A stronger key takes its target first: a
    restored database may hold copies of its own experiments, whose source tags name the originals.
    """
    result = ExperimentPairing()
    made: dict[tuple[str, int | None], Experiment] = {
        (item.experiment_id, item.creation_time): item for item in target if item.creation_time is not None
    }
    same = {item.experiment_id: made.get((item.experiment_id, item.creation_time)) for item in source}
    claimed = {copy.experiment_id for copy in same.values() if copy is not None}
    by_tag: dict[tuple[str, str], list[Experiment]] = defaultdict(list)
    for candidate in target:
        for layer in layers(candidate.tags) if candidate.experiment_id not in claimed else ():
            tagged = layer.get(SOURCE_EXPERIMENT_TAG), layer.get(SOURCE_EXPERIMENT_NAME_TAG)
            if tagged[0] is not None and tagged[1] is not None and candidate not in by_tag[tagged[0], tagged[1]]:
                by_tag[tagged[0], tagged[1]].append(candidate)
    left: list[Experiment] = []
    for original in source:
        # a copy keeps its name unless it was renamed on purpose, so the namesake comes first among equals
        copies = sorted(
            by_tag.get((original.experiment_id, original.name), []),
            key=lambda copy: (copy.name != original.name, copy.experiment_id),
        )
        itself = same[original.experiment_id]
        if itself is not None:
            result.pairs.append(ExperimentPair(original, itself, "same-id"))
        elif copies:
            result.pairs.append(ExperimentPair(original, copies.pop(0), "source-tag"))
            claimed.add(result.pairs[-1].target.experiment_id)
        else:
            left.append(original)
        result.duplicates += [ExperimentPair(original, copy, "source-tag") for copy in copies]
        claimed.update(copy.experiment_id for copy in copies)
    by_name = {candidate.name: candidate for candidate in target if candidate.experiment_id not in claimed}
    for original in left:
        namesake = by_name.get(original.name)
        if namesake is None:
            result.missing.append(original)
        else:
            result.pairs.append(ExperimentPair(original, namesake, "name"))
            claimed.add(namesake.experiment_id)
    place = {item.experiment_id: number for number, item in enumerate(source)}
    result.pairs.sort(key=lambda pair: place[pair.source.experiment_id])
    result.extra = [candidate for candidate in target if candidate.experiment_id not in claimed]
    return result


def pair_runs(
    source: Sequence[RunKey], target: Sequence[RunKey], journal: Mapping[str, str] | None = None
) -> RunPairing:
    """Pair the runs of one experiment. ``journal`` maps source run ids to target run ids."""
    result = RunPairing()
    by_id = {run.run_id: run for run in source}
    of_target = {copy: original for original, copy in (journal or {}).items()}
    claims: dict[str, list[tuple[RunKey, str]]] = defaultdict(list)
    free: list[RunKey] = []
    for run in target:
        if run.run_id in by_id:
            claims[run.run_id].append((run, "same-id"))
        elif (named := next((one for one in run.origins if one in by_id), None)) is not None:
            claims[named].append((run, "source-tag"))
        elif of_target.get(run.run_id) in by_id:
            claims[of_target[run.run_id]].append((run, "journal"))
        else:
            free.append(run)
    left: list[RunKey] = []
    for original in source:
        claimants = claims.get(original.run_id)
        if not claimants:
            left.append(original)
            continue
        best, *others = sorted(claimants, key=lambda claim: _preference(original, *claim))
        result.pairs.append(RunPair(original, *best))
        result.duplicates += [RunPair(original, copy, by) for copy, by in others]
    # A run that says it was imported from another source run is not a candidate for the weaker keys, unless
    # the source's own runs carry such tags too (a second migration without source tags keeps the old ones).
    foreign_ok = {run.origins[0] for run in left if run.origins}
    candidates = [run for run in free if not run.origins or run.origins[0] in foreign_ok]
    foreign = [run for run in free if run.origins and run.origins[0] not in foreign_ok]
    left, candidates = _match(result, left, candidates, "natural-key", lambda run: (run.name, run.start_time))
    # half an import may hold all that is compared here, yet it is a leftover and no copy of a finished run
    left, candidates = _match(result, left, candidates, "content", lambda run: (run.content, _half_imported(run)))
    left, candidates = _match_unique_names(result, left, candidates)
    result.missing += left
    result.extra += [Extra(run, _describe(run)) for run in candidates]
    result.extra += [
        Extra(run, f"its source tag names run {run.origins[0]}, which is not in this source experiment")
        for run in foreign
    ]
    return result


def _preference(original: RunKey, copy: RunKey, by: str) -> tuple[object, ...]:
    """Order claimants: same id, then equal content, finished like the original, not deleted, oldest."""
    return (
        ("same-id", "source-tag", "journal").index(by),
        copy.content != original.content,
        copy.status != original.status,
        copy.deleted != original.deleted,
        copy.start_time or 0,
        copy.run_id,
    )


def _match(
    result: RunPairing,
    source: list[RunKey],
    target: list[RunKey],
    by: str,
    key: Callable[[RunKey], Hashable],
) -> tuple[list[RunKey], list[RunKey]]:
    """Pair what has the same key on both sides; return what is left.

    One on each side is a pair. Several are paired by content, one to one where their contents are equal
    (which of two identical runs is which makes no difference); what then remains is ambiguous.
    """
    sources, targets = _grouped(source, key), _grouped(target, key)
    settled: set[str] = set()
    for value, originals in sources.items():
        copies = targets.get(value, [])
        if not copies:
            continue
        if len(originals) == 1 and len(copies) == 1:
            result.pairs.append(RunPair(originals[0], copies[0], by))
            settled |= {originals[0].run_id, copies[0].run_id}
            continue
        by_content = _grouped(copies, lambda run: run.content)
        rest_source: list[RunKey] = []
        for content, equals in _grouped(originals, lambda run: run.content).items():
            twins = by_content.pop(content, [])
            for original, copy in zip(equals, twins, strict=False):
                result.pairs.append(RunPair(original, copy, by if by == "content" else "content"))
                settled |= {original.run_id, copy.run_id}
            rest_source += equals[len(twins) :]
            if twins[len(equals) :]:
                # more identical copies than originals: each surplus one is a duplicate
                for copy in twins[len(equals) :]:
                    result.duplicates.append(RunPair(equals[0], copy, "content"))
                    settled.add(copy.run_id)
        rest_target = [run for runs in by_content.values() for run in runs]
        if rest_source and rest_target:
            if len(rest_source) == 1 and len(rest_target) == 1:
                result.pairs.append(RunPair(rest_source[0], rest_target[0], by))
            else:
                result.ambiguous.append((tuple(rest_source), tuple(rest_target), by))
            settled |= {run.run_id for run in [*rest_source, *rest_target]}
    return (
        [run for run in source if run.run_id not in settled],
        [run for run in target if run.run_id not in settled],
    )


def _match_unique_names(
    result: RunPairing, source: list[RunKey], target: list[RunKey]
) -> tuple[list[RunKey], list[RunKey]]:
    """Pair by a name that is unique on both sides; such a pair differs in content, so it is never green."""
    sources, targets = _grouped(source, lambda run: run.name), _grouped(target, lambda run: run.name)
    settled: set[str] = set()
    for name, originals in sources.items():
        copies = targets.get(name, [])
        # half an import is a leftover to be named as such, not a copy with differences
        if len(originals) == 1 and len(copies) == 1 and name and not _half_imported(copies[0]):
            result.pairs.append(RunPair(originals[0], copies[0], "name"))
            settled |= {originals[0].run_id, copies[0].run_id}
    return (
        [run for run in source if run.run_id not in settled],
        [run for run in target if run.run_id not in settled],
    )


def _grouped(runs: Sequence[RunKey], key: Callable[[RunKey], Hashable]) -> dict[Hashable, list[RunKey]]:
    groups: dict[Hashable, list[RunKey]] = defaultdict(list)
    # what cannot be told apart is taken in an order that is the same on both sides as far as can be
    for run in sorted(runs, key=lambda run: (run.start_time or 0, run.status, run.lifecycle_stage, run.run_id)):
        groups[key(run)].append(run)
    return groups


def _half_imported(run: RunKey) -> bool:
    return run.status == "RUNNING" and not run.tagged


def _describe(run: RunKey) -> str:
    if run.empty and not run.tagged:
        return "a ghost run: nothing was logged to it and it has no source tags"
    if _half_imported(run):
        return "half a run left by an interrupted import: RUNNING and without source tags, which are written last"
    if run.tagged:
        return "it has source tags, but none that names a run of this source experiment"
    return "no source run has its id, its source tag, its name and start time, or its content"
