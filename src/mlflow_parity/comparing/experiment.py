"""Compares one source experiment with its copy, facet by facet, run by run, and yields ledger rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from mlflow_parity.comparing import fields, same_store
from mlflow_parity.comparing.difference import Difference, Outcome, compare_values, facet_state, outcome
from mlflow_parity.comparing.fields import Links
from mlflow_parity.comparing.histories import compare_histories
from mlflow_parity.comparing.object_fields import run_models
from mlflow_parity.comparing.object_links import ObjectLinks
from mlflow_parity.comparing.trees import ModelIds, compare_trees
from mlflow_parity.comparing.unknown import ALIKE, Told, compare_other
from mlflow_parity.core.hops import as_copy_of
from mlflow_parity.core.keys import SOURCE_EXPERIMENT_NAME_TAG, SOURCE_EXPERIMENT_TAG, SOURCE_RUN_TAG
from mlflow_parity.core.records import REPLACED_TAG, Experiment, Run
from mlflow_parity.core.scope import Profile
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import contract
from mlflow_parity.kinds.base import OTHER
from mlflow_parity.kinds.copy_places import CopyPlaces
from mlflow_parity.pairing.experiments import ExperimentPair, RunPair, RunPairing
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.snapshot import ExperimentView, Part, RunKey

#: Which part of a snapshot a facet of runs needs beside ``runs``.
PART_OF_FACET: dict[str, Part] = {"metrics": "metrics", "artifacts": "artifacts"}
_CHUNK = 500
_LINKS = ("model_inputs", "model_outputs")

_RUN_FACETS: dict[str, Callable[[Run, Run], list[Difference]]] = {
    "name": fields.run_name,
    "status": fields.run_status,
    "times": fields.run_times,
    "lifecycle": fields.run_lifecycle,
    "user": fields.run_user,
    "params": fields.run_params,
    "tags": fields.run_tags,
    "note": fields.run_note,
    "source_tags": fields.run_source_tags,
    "inputs": fields.run_inputs,
}
_EXPERIMENT_FACETS: dict[str, Callable[[Experiment, Experiment], list[Difference]]] = {
    "name": lambda a, b: compare_values("name", a.name, b.name, "experiment.name"),
    "lifecycle": lambda a, b: compare_values(
        "lifecycle_stage", a.lifecycle_stage, b.lifecycle_stage, "experiment.lifecycle"
    ),
    "tags": fields.experiment_tags,
    "note": fields.experiment_note,
    "source_tags": fields.experiment_source_tags,
    "times": fields.experiment_times,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What to compare and what is known from elsewhere.

    ``experiment_facets`` and ``run_facets`` are the facets in scope; ``hashed`` is false at depth ``listing``.
    """

    experiment_facets: frozenset[str]
    run_facets: frozenset[str]
    links: Links
    include_deleted: bool
    hashed: bool
    objects: ObjectLinks | None = None
    profile: Profile = "export-import"
    moved: Relocation = field(default_factory=Relocation)
    """Where the whole store moved to (``same-store`` only)."""
    told: Told = ALIKE

    @property
    def copy_places(self) -> CopyPlaces:
        """What is known of the places of both sides."""
        return CopyPlaces() if self.objects is None else self.objects.copy_places

    @property
    def same_store(self) -> bool:
        """Whether objects are compared with themselves."""
        return self.profile == "same-store"


def compare_experiment(
    source: ExperimentView,
    target: ExperimentView | None,
    pair: ExperimentPair | None,
    pairing: RunPairing,
    comparison: Comparison,
    problem: str | None = None,
) -> Iterator[Outcome]:
    """Yield every row of one source experiment; ``target`` and ``pair`` are ``None`` when it has no copy.

    ``problem`` says why the runs of either side could not be listed: every run facet is unverified then.
    """
    yield from _experiment_rows(source.experiment, pair, comparison)
    if not comparison.run_facets:
        return
    if problem is not None:
        for facet in (facet for facet in contract.RUN_FACETS if facet in comparison.run_facets):
            unread = Difference("", State.UNVERIFIED, f"run.{facet}", note=problem)
            experiment = source.experiment
            target_id = None if pair is None else pair.target.experiment_id
            row = Row(
                experiment.name, "run", "(all runs)", None, None, facet, State.UNVERIFIED, note=f"target {target_id}"
            )
            yield outcome(row, [unread])
        return
    yield from _unpaired_rows(source.experiment, pairing, comparison, target)
    if target is None:
        return
    models = ModelIds(comparison.objects.of("logged_model") if comparison.objects else None)
    # in one order whatever order the pages came in: ids that must map one to one blame the later run
    pairs = sorted(
        (pair for pair in pairing.pairs if in_scope(pair, include_deleted=comparison.include_deleted)),
        key=lambda pair: _order(pair.source),
    )
    for start in range(0, len(pairs), _CHUNK):
        yield from _pair_rows(source, target, pairs[start : start + _CHUNK], comparison, models)


def in_scope(pair: RunPair, *, include_deleted: bool) -> bool:
    """A pair is out of scope only when both are deleted and deleted runs were not asked for."""
    return include_deleted or not (pair.source.deleted and pair.target.deleted)


def _experiment_rows(source: Experiment, pair: ExperimentPair | None, comparison: Comparison) -> Iterator[Outcome]:
    for facet in contract.EXPERIMENT_FACETS:
        if facet not in comparison.experiment_facets:
            continue
        target_id = None if pair is None else pair.target.experiment_id
        by = "" if pair is None else pair.by

        def row(state: State, note: str = "", *, facet: str = facet, by: str = by, to: str | None = target_id) -> Row:
            return Row(source.name, "experiment", source.name, source.experiment_id, to, facet, state, by, note=note)

        if pair is None:
            if facet == "presence":
                what = "id" if comparison.same_store else "source tag or its name"
                note = f"no experiment on the target has its {what}"
                gone = Difference("", State.MISSING, "experiment.presence", note=note)
                yield outcome(row(State.MISSING), [gone])
            else:
                yield Outcome(row(State.MISSING, "the experiment is missing"))
        elif facet == "presence":
            yield Outcome(row(State.MATCH))
        else:
            if facet == OTHER:
                found = compare_other("experiment", source.other, pair.target.other, comparison.told)
            elif comparison.same_store:
                found = same_store.experiment_facet(facet, source, pair.target, comparison.moved)
            elif facet == "artifact_location":
                found = fields.experiment_location(source, pair.target, comparison.copy_places)
            else:
                named = {SOURCE_EXPERIMENT_TAG: source.experiment_id, SOURCE_EXPERIMENT_NAME_TAG: source.name}
                copy = replace(pair.target, tags=as_copy_of(pair.target.tags, source.tags, named))
                found = _EXPERIMENT_FACETS[facet](source, copy)
            yield outcome(row(facet_state(found)), found)


def _run_row(
    experiment: Experiment,
    source: RunKey | None,
    target: RunKey | None,
    facet: str,
    state: State,
    by: str = "",
    note: str = "",
) -> Row:
    shown = source or target
    return Row(
        experiment.name,
        "run",
        shown.name if shown else "",
        source.run_id if source else None,
        target.run_id if target else None,
        facet,
        state,
        by,
        note=note,
    )


def _order(run: RunKey) -> tuple[int, str]:
    return run.start_time or 0, run.run_id


def _described(run: RunKey) -> str:
    """Say in a few words which run this is, beside its name and id."""
    started = "unknown"
    if run.start_time is not None:
        try:
            moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=run.start_time)
            started = moment.isoformat(timespec="milliseconds")
        except OverflowError:
            started = f"{run.start_time} ms"
    return f"{run.status} run, {run.lifecycle_stage}, started {started}"


def _unpaired_rows(
    experiment: Experiment, pairing: RunPairing, comparison: Comparison, target: ExperimentView | None
) -> Iterator[Outcome]:
    deleted = comparison.include_deleted
    presence = "presence" in comparison.run_facets
    others = [facet for facet in contract.RUN_FACETS if facet in comparison.run_facets and facet != "presence"]
    rule = "run.presence"
    for run in sorted(pairing.missing, key=_order):
        if run.deleted and not deleted:
            continue
        if presence:
            note = "no target run has its source tag, its id, its name and start time, or its content"
            if comparison.same_store:
                note = "no run of this experiment on the target has its id"
            gone = Difference("", State.MISSING, rule, source=_described(run), note=note)
            yield outcome(_run_row(experiment, run, None, "presence", State.MISSING), [gone])
        for facet in others:
            yield Outcome(_run_row(experiment, run, None, facet, State.MISSING, note="the run is missing"))
    for sources, targets, by in pairing.ambiguous:
        names = ", ".join(run.run_id for run in targets)
        note = f"{len(sources)} source and {len(targets)} target runs have the same {by} and other contents: {names}"
        for run in sources:
            if presence:
                difference = Difference("", State.AMBIGUOUS, rule, source=_described(run), note=note)
                yield outcome(_run_row(experiment, run, None, "presence", State.AMBIGUOUS), [difference])
            for facet in others:
                yield Outcome(_run_row(experiment, run, None, facet, State.AMBIGUOUS, note="the run is ambiguous"))
        if presence:
            for run in targets:
                difference = Difference(
                    "", State.AMBIGUOUS, rule, target=_described(run), note=f"one of {len(targets)} alike by {by}"
                )
                yield outcome(_run_row(experiment, None, run, "presence", State.AMBIGUOUS), [difference])
    if not presence:
        return
    kept = {pair.source.run_id: pair.target.run_id for pair in pairing.pairs}
    for pair in pairing.duplicates:
        if pair.target.deleted and not deleted:
            continue
        note = f"a further copy ({pair.by}); the run is paired with {kept.get(pair.source.run_id, 'none')}"
        values = (_described(pair.source), _described(pair.target))
        difference = Difference("", State.DUPLICATE, rule, *values, note)
        row = _run_row(experiment, pair.source, pair.target, "presence", State.DUPLICATE, pair.by)
        yield outcome(row, [difference])
    for extra in sorted(pairing.extra, key=lambda extra: _order(extra.target)):
        if extra.target.deleted and not deleted:
            continue
        original = _replaces(extra.target, target, comparison)
        if original in kept:
            note = f"it was replaced by {kept[original]}"
            difference = Difference(
                "", State.EXPECTED, "run.presence.replaced", target=_described(extra.target), note=note
            )
            yield outcome(_run_row(experiment, None, extra.target, "presence", State.EXPECTED), [difference])
            continue
        difference = Difference("", State.EXTRA, rule, target=_described(extra.target), note=extra.why)
        yield outcome(_run_row(experiment, None, extra.target, "presence", State.EXTRA), [difference])


def _replaces(run: RunKey, target: ExperimentView | None, comparison: Comparison) -> str | None:
    """Return the source run of which a deleted run was the copy before a repair replaced it."""
    if not run.deleted or target is None or comparison.same_store:
        return None
    [found] = target.runs([run.run_id])
    return found.tags.get(REPLACED_TAG)


def _pair_rows(
    source: ExperimentView,
    target: ExperimentView,
    pairs: Sequence[RunPair],
    comparison: Comparison,
    models: ModelIds,
) -> Iterator[Outcome]:
    ours = source.runs([pair.source.run_id for pair in pairs])
    theirs = target.runs([pair.target.run_id for pair in pairs])
    facets = [facet for facet in contract.RUN_FACETS if facet in comparison.run_facets]
    problems = {facet: _part_problem(source, target, facet) for facet in facets}
    unlinked = {name: view.links_problem() for name, view in (("source", source), ("target", target))}
    for pair, mine, copy in zip(pairs, ours, theirs, strict=True):
        if not comparison.same_store:
            copy = replace(copy, tags=as_copy_of(copy.tags, mine.tags, {SOURCE_RUN_TAG: mine.run_id}))
        for facet in facets:
            problem = problems[facet]
            if problem is not None:
                found = [Difference("", State.UNVERIFIED, f"run.{facet}", note=problem)]
            elif facet == "presence":
                found = []
            elif facet in _LINKS and (lacking := _links_unread(facet, mine, copy, unlinked)):
                found = [Difference("", State.UNVERIFIED, f"run.{facet}", note=lacking)]
            elif facet == OTHER:
                found = compare_other("run", mine.other, copy.other, comparison.told)
            elif facet == "metrics":
                found = compare_histories(source, target, mine, copy)
            elif facet == "artifacts":
                trees = source.artifacts(mine.run_id), target.artifacts(copy.run_id)
                if comparison.same_store:
                    trees = same_store.bare(trees[0]), same_store.bare(trees[1])
                pairs_of = comparison.links.pairs
                images = not comparison.same_store
                found = compare_trees(*trees, mine, copy, pairs_of, models, hashed=comparison.hashed, images=images)
            elif comparison.same_store:
                found = same_store.run_facet(facet, mine, copy, comparison.moved)
            elif facet in _LINKS:
                found = run_models(facet, mine, copy, comparison.objects or ObjectLinks(comparison.links))
            elif facet == "parent":
                found = fields.run_parent(mine, copy, comparison.links)
            elif facet == "artifact_uri":
                found = fields.run_artifact_uri(mine, copy, comparison.copy_places)
            else:
                found = _RUN_FACETS[facet](mine, copy)
            row = _run_row(source.experiment, pair.source, pair.target, facet, facet_state(found), pair.by)
            yield outcome(row, found)


def _links_unread(facet: str, source: Run, target: Run, problems: Mapping[str, str | None]) -> str | None:
    """Say why the links of a run to logged models are not there; ``None`` when they are, or nobody knows why."""
    for side, run in (("source", source), ("target", target)):
        reason = problems[side]
        if getattr(run, facet) is None and reason is not None:
            return f"the {side}'s could not be read: {reason}"
    return None


def _part_problem(source: ExperimentView, target: ExperimentView, facet: str) -> str | None:
    part = PART_OF_FACET.get(facet)
    if part is None:
        return None
    for side, view in (("source", source), ("target", target)):
        problem = view.problem(part)
        if problem is not None:
            return f"the {side}'s {part} could not be read: {problem}"
    return None
