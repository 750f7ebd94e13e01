"""Rows of what has no pair: missing, extra, duplicated, ambiguous, or not read at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from mlflow_parity.comparing.difference import Difference, Outcome, outcome
from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.core.identity.keys import ObjectKey, RunKey
from mlflow_parity.core.locations import VARIABLE
from mlflow_parity.core.records import NOTE_TAG, Experiment
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import BY_NAME
from mlflow_parity.pairing.matching import Pair, Pairing


def row(
    label: str,
    kind: str,
    source: Any,
    target: Any,
    facet: str,
    state: State,
    by: str = "",
    note: str = "",
) -> Row:
    """Return the ledger row of one facet of one object (``source``, ``target``: keys, one of them may be ``None``)."""
    shown = source or target
    # a run may have no name, and its id stands beside
    name = shown.name if kind == "run" else shown.name or shown.entity_id
    ids = (source.entity_id if source else None, target.entity_id if target else None)
    return Row(label, kind, name, *ids, facet, state, by, note=note)


def unread_rows(label: str, kind: str, facets: Collection[str], problem: str, *, note: str = "") -> Iterator[Outcome]:
    """Yield one unverified row per facet for a kind that could not be listed."""
    for facet in (facet for facet in BY_NAME[kind].facets if facet in facets):
        unread = Row(label, kind, f"(all {BY_NAME[kind].plural})", None, None, facet, State.UNVERIFIED, note=note)
        yield outcome(unread, [Difference("", State.UNVERIFIED, f"{kind}.{facet}", note=problem)])


def unpaired(
    label: str,
    kind: str,
    pairing: Pairing[Any],
    facets: Sequence[str],
    links: ObjectLinks,
    *,
    cannot: bool,
    same_store: bool,
    replaced: Callable[[RunKey], str | None],
) -> Iterator[Outcome]:
    """Yield the rows of what has no pair.

    ``cannot``: the target's MLflow has no such kind of object. ``replaced`` tells the source run of which a deleted
    run of the target was the copy before a repair replaced it.
    """
    title, rule = BY_NAME[kind].singular, f"{kind}.presence"
    presence = "presence" in facets
    others = [facet for facet in facets if facet != "presence"]

    def one(source: Any, target: Any, state: State, by: str = "", *, note: str, rule: str = rule) -> Outcome:
        found = Difference("", state, rule, _described(source), _described(target), note)
        return outcome(row(label, kind, source, target, "presence", state, by), [found])

    def rest(item: Any, state: State, what: str) -> Iterator[Outcome]:
        for facet in others:
            yield Outcome(row(label, kind, item, None, facet, state, note=f"the {title} is {what}"))

    for item in sorted(pairing.missing, key=lambda item: item.order):
        if presence:
            yield one(item, None, State.MISSING, note=_why_missing(item, links, cannot=cannot, same_store=same_store))
        yield from rest(item, State.MISSING, "missing")
    for sources, targets, by in pairing.ambiguous:
        names = ", ".join(item.entity_id for item in targets)
        counts = f"{len(sources)} source and {len(targets)} target {BY_NAME[kind].plural}"
        note = f"{counts} have the same {by} and other contents: {names}"
        for item in sources:
            if presence:
                yield one(item, None, State.AMBIGUOUS, note=note)
            yield from rest(item, State.AMBIGUOUS, "ambiguous")
        for item in targets if presence else ():
            yield one(None, item, State.AMBIGUOUS, note=f"one of {len(targets)} alike by {by}")
    if not presence:
        return
    kept = {pair.source.entity_id: pair.target.entity_id for pair in pairing.pairs}
    for pair in pairing.duplicates:
        note = f"a further copy ({pair.by}); the {title} is paired with {kept.get(pair.source.entity_id, 'none')}"
        yield one(pair.source, pair.target, State.DUPLICATE, pair.by, note=note)
    gaps = _gaps(pairing)
    for item, why in sorted(pairing.extra, key=lambda extra: extra[0].order):
        original = replaced(item) if kind == "run" and item.deleted and not same_store else None
        if original in kept:
            note = f"it was replaced by {kept[original]}"
            yield one(None, item, State.EXPECTED, note=note, rule=f"{rule}.replaced")
        else:
            yield one(None, item, State.EXTRA, note=why + gaps(item))


def in_scope(pairing: Pairing[RunKey]) -> Pairing[RunKey]:
    """Return a pairing without deleted runs: a pair or a group is out of scope only when all of it is deleted."""

    def kept(pair: Pair[RunKey]) -> bool:
        return not (pair.source.deleted and pair.target.deleted)

    return Pairing(
        [pair for pair in pairing.pairs if kept(pair)],
        [run for run in pairing.missing if not run.deleted],
        [extra for extra in pairing.extra if not extra[0].deleted],
        [pair for pair in pairing.duplicates if not pair.target.deleted],
        [group for group in pairing.ambiguous if not all(run.deleted for run in (*group[0], *group[1]))],
    )


def _gaps(pairing: Pairing[Any]) -> Callable[[Any], str]:
    """Return what says of a version that the source has none of its number: it was deleted there."""
    known = [*pairing.missing, *(pair.source for pair in pairing.pairs)]
    numbers = {getattr(item, "number", None) for item in known}
    highest = max((number or 0 for number in numbers), default=0)

    def gap(item: Any) -> str:
        number = getattr(item, "number", None)
        if number is None or number in numbers or number >= highest:
            return ""
        return f"; the source has a gap at number {number}: that version was deleted there"

    return gap


def _described(item: Any) -> str | None:
    """Say in a few words which object this is, beside its name and id."""
    if isinstance(item, RunKey):
        return f"{item.status} run, {item.lifecycle_stage}, started {_moment(item.created)}"
    if isinstance(item, Experiment):
        made = "" if item.creation_time is None else f", made {_moment(item.creation_time)}"
        return f"experiment {item.name}, {item.lifecycle_stage}{made}"
    if not isinstance(item, ObjectKey):
        return None
    made = "" if item.created is None else f", made {_moment(item.created)}"
    return f"{BY_NAME[item.kind].singular} {item.name or '(unnamed)'}{made}"


def _moment(milliseconds: int | None) -> str:
    """Return a time as people read it; a server may say any number."""
    if milliseconds is None:
        return "unknown"
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return f"at {milliseconds} ms"
    return moment.isoformat(timespec="milliseconds")


def _why_missing(item: Any, links: ObjectLinks, *, cannot: bool, same_store: bool) -> str:
    if item.kind == "experiment":
        return f"no experiment on the target has its {'id' if same_store else 'source tag or its name'}"
    if item.kind == "run":
        if same_store:
            return "no run of this experiment on the target has its id"
        return "no target run has its source tag, its id, its name and start time, or its content"
    if item.kind == "workspace":
        fix = f"audit each workspace by itself: set SOURCE_{VARIABLE} and TARGET_{VARIABLE}"
        return f"nothing of it was read; {fix}"
    if cannot:
        kind = BY_NAME[item.kind]
        return f"the target's MLflow cannot hold {kind.plural} (they came with {kind.since})"
    note = "no target object has its id, its source tags, its natural key or its content"
    if item.run is None:
        return f"{note}; it has no run" if item.kind in ("model_version", "logged_model") else note
    stage = links.stage("run", item.run)
    if stage == "deleted":
        return f"{note}; its run {item.run} is deleted at the source"
    if stage == "gone":
        return f"{note}; its run {item.run} is not on the source any more"
    if stage != "unknown" and item.run not in links.of("run"):
        return f"{note}; its run {item.run} has no copy either"
    return note


_RULE = "experiment.presence"


@dataclass(frozen=True, slots=True)
class Held:
    """What an experiment holds: how many of each kind (by its plural), runs first.

    ``least`` are the kinds of which there may be more than were counted, ``unknown`` says why a kind was not read.
    """

    counts: Mapping[str, int]
    least: Collection[str] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def nothing(self) -> bool:
        """Whether nothing was found in it; what is unknown may be there all the same."""
        return not any(self.counts.values())

    def __str__(self) -> str:
        """Return it in words; of kinds other than runs only what is there."""
        told = [
            f"{'at least ' if name in self.least else ''}{count} {name[:-1] if count == 1 else name}"
            for name, count in self.counts.items()
            if count or name == "runs"
        ]
        return ", ".join([*told, *(f"unknown {name}: {reason}" for name, reason in self.unknown.items())])


def is_default(experiment: Experiment) -> bool:
    """Whether an experiment is the one that every server makes at its first start."""
    return experiment.experiment_id == "0" and experiment.name == "Default"


def surplus_experiment(experiment: Experiment, held: Held, note: str, kind: State) -> Iterator[Outcome]:
    """Yield the row of a target experiment that is no source experiment's copy, or one too many (``kind``)."""
    # MLflow's own tags may be on it; a note or another tag is somebody's
    bare = all(key.startswith("mlflow.") and key != NOTE_TAG for key in experiment.tags)
    empty = is_default(experiment) and held.nothing and bare
    if empty and not held.unknown:
        difference = Difference("", State.EXPECTED, f"{_RULE}.default", note="every server makes it")
    else:
        state = State.UNVERIFIED if empty else kind
        difference = Difference("", state, _RULE, target=_described(experiment), note=f"{note}; {held}")
    name, state = experiment.name, difference.state
    row = Row(name, "experiment", name, None, experiment.experiment_id, "presence", state)
    yield outcome(row, [difference])
