"""The order in which everything is brought to the target: it follows from the links that the kinds state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from graphlib import TopologicalSorter

from mlflow_parity.core.errors import NotMoved, ReadError
from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import EVERY, family_of
from mlflow_parity.migrating.write.exported import deleted_runs
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.linking import LOGGED_MODELS, REGISTRY, RUNS
from mlflow_parity.migrating.write.moving import ALL, TargetIndex, Visit, Writing, bring
from mlflow_parity.migrating.write.objects.evaluation_datasets import EVALUATION_DATASETS
from mlflow_parity.migrating.write.objects.experiments import EXPERIMENTS, is_known
from mlflow_parity.migrating.write.objects.gateway import GATEWAY
from mlflow_parity.migrating.write.objects.mcp_servers import MCP_SERVERS
from mlflow_parity.migrating.write.objects.reviews import REVIEWS
from mlflow_parity.migrating.write.objects.scorers import SCORERS
from mlflow_parity.migrating.write.objects.traces import TRACES
from mlflow_parity.migrating.write.objects.webhooks import WEBHOOKS

#: How each kind is written; a kind that is read and not here is a known loss.
WRITINGS: tuple[Writing, ...] = (
    EXPERIMENTS, RUNS, LOGGED_MODELS, TRACES, SCORERS, REGISTRY, EVALUATION_DATASETS, *GATEWAY, MCP_SERVERS, *REVIEWS,
    WEBHOOKS, *(Writing((kind.name,), kind.links, write=kind.write) for kind in EVERY if kind.write is not None),
)  # fmt: skip
_AGAIN = " again"


class Order:
    """The visits to make, each after those of the kinds that it names."""

    def __init__(self, writings: Sequence[Writing]) -> None:
        self._of = {kind: one for one in writings for kind in one.kinds}
        #: Each visit with those that come before it.
        self._graph: dict[str, tuple[str, ...]] = {}
        for one in writings:
            self._graph[one.kind] = tuple(self._node(link) for link in one.links if link != ALL)
            if one.again:
                self._graph[one.kind + _AGAIN] = (one.kind, *map(self._node, one.again))
        for one in writings:
            if ALL in one.links:
                others = (name for name in self._graph if ALL not in self._of[name.removesuffix(_AGAIN)].links)
                self._graph[one.kind] = tuple(others)
        self.names = tuple(TopologicalSorter(self._graph).static_order())

    def _node(self, link: str) -> str:
        kind = link.removesuffix(_AGAIN)
        return self._of[kind].kind + link[len(kind) :]

    def __iter__(self) -> Iterator[tuple[str, Writing, bool]]:
        """Yield the name of each visit, what is written, and whether it is the second."""
        for name in self.names:
            kind = name.removesuffix(_AGAIN)
            yield name, self._of[kind], name != kind

    def is_within(self, name: str) -> bool:
        """Whether a visit needs nothing but what is in experiments."""
        inside = family_of(name.removesuffix(_AGAIN)) == "experiment"
        return inside and all(self.is_within(one) for one in self._graph[name])


ORDER = Order(WRITINGS)


def import_batch(context: Import, experiments: Sequence[Experiment]) -> None:
    """Bring some experiments with all that is in them; what points at others waits for :func:`import_rest`."""
    index = TargetIndex(context)
    steps = [(how, again) for name, how, again in ORDER if ORDER.is_within(name)]
    for experiment in experiments:
        for how, again in steps:
            _visit(how, Visit(context, index, experiment, again))


def import_rest(context: Import, experiments: Sequence[Experiment]) -> None:
    """Bring what belongs to no experiment, then the links among experiments, and delete what is deleted."""
    index = TargetIndex(context)

    def steps(*, last: bool) -> None:
        for name, how, again in ORDER:
            if (ALL in how.links) == last and (again or not ORDER.is_within(name)):
                inside = family_of(how.kind) == "experiment"
                for experiment in experiments if inside else (None,):
                    _visit(how, Visit(context, index, experiment, again, last=True))

    try:
        steps(last=False)
    except Exception:
        # whatever keeps back the rest: what is deleted on the source must not stay alive on the target
        with suppress(ReadError):
            apply_lifecycle(context)
        raise
    apply_lifecycle(context)
    # last of all: nothing that is written may be an event for webhooks
    steps(last=True)


def _visit(how: Writing, visit: Visit) -> None:
    if not _has_place(how, visit):
        return
    if how.visit is not None:
        how.visit(visit)
    else:
        bring(how, visit)


def _has_place(how: Writing, visit: Visit) -> bool:
    """Whether a kind is in scope, and what it is in is on the target."""
    context, experiment = visit.context, visit.experiment
    if experiment is None or how is EXPERIMENTS:
        return context.others or family_of(how.kind) != "server"
    return context.journal.target("experiment", experiment.experiment_id) is not None


def apply_lifecycle(context: Import) -> None:
    """Delete the copies of deleted runs and experiments; what is deleted already is left alone.

    Raises:
        ReadError: the target's experiments cannot be listed.
    """
    if not context.include_deleted:
        return
    there = {one.experiment_id: one for one in context.reader.experiments() if one.lifecycle_stage == "active"}
    for experiment in context.experiments:
        entry = context.journal.entry("experiment", experiment.experiment_id)
        target = None if entry is None else entry.target_id
        if entry is None or target is None or target not in there or not is_known(there[target], entry):
            continue
        try:
            if experiment.lifecycle_stage == "deleted" and entry.ours:
                # its runs go with it
                context.writer.call("POST", "/api/2.0/mlflow/experiments/delete", {"experiment_id": target})
            else:
                _delete_runs(context, experiment, target)
            if experiment.lifecycle_stage == "deleted" and not entry.ours:
                raise NotMoved(f"that of its name ({target}) was on the target before, with what others have in it")
        except (ReadError, NotMoved) as error:
            context.journal.failed("experiment", experiment.experiment_id, f"it could not be deleted: {error}")


def _delete_runs(context: Import, experiment: Experiment, target: str) -> None:
    copies = {context.journal.target("run", run_id): run_id for run_id in deleted_runs(context, experiment)}
    copies.pop(None, None)
    if not copies:
        return
    active = [
        run.run_id
        for page in context.reader.runs(target)
        for run in page
        if run.run_id in copies and run.lifecycle_stage == "active"
    ]
    for run_id in active:
        try:
            context.writer.call("POST", "/api/2.0/mlflow/runs/delete", {"run_id": run_id})
        except ReadError as error:
            context.journal.failed("run", str(copies[run_id]), f"it could not be deleted: {error}")
