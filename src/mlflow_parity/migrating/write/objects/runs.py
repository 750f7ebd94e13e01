"""Runs: every one of an experiment, side by side, parents before their children where that can be."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from mlflow_parity.core.errors import NotMoved
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.identity.sums import identity
from mlflow_parity.core.records import PARENT_TAG, ArtifactTree, Experiment, Run
from mlflow_parity.migrating.exim.drafts import run_draft
from mlflow_parity.migrating.write.exported import ModelPoints, parents_within
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.link_state import run_links, waiting_again
from mlflow_parity.migrating.write.mlmodel import model_ids
from mlflow_parity.migrating.write.moving import Ending, carry, key_of
from mlflow_parity.migrating.write.objects.run_writing import RunWriter
from mlflow_parity.reading.histories import drained
from mlflow_parity.snapshot.store import SnapshotView

_PIECE = 1 << 20


def import_runs(context: Import, experiment: Experiment) -> None:
    """Bring every run of an experiment to the target, those in part there included.

    A run with a parent elsewhere, or with logged models, is finished by :func:`~.linking.link_runs`.
    """
    source_id = experiment.experiment_id
    view = context.export.snapshot.view(experiment)
    if view.problem("runs") is not None:
        context.journal.begin("experiment", source_id, name=experiment.name)
        context.journal.failed("experiment", source_id, f"its runs are not in the export: {view.problem('runs')}")
        return
    importer = _Importer(context, experiment, view)
    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-import") as pool:
        later = importer.drain(pool, None)
        while later:
            left = importer.drain(pool, later)
            # a circle of parents: nobody can be first
            importer.in_order = left != later
            later = left


class _Importer:
    def __init__(self, context: Import, experiment: Experiment, view: SnapshotView) -> None:
        self._context = context
        self._experiment = experiment
        self._view = view
        target = context.journal.target("experiment", experiment.experiment_id)
        self._target = target
        self._writer = RunWriter(context, target or "")
        self._held = ModelPoints(context, experiment)
        self._parents = parents_within(context, experiment)
        self._reading = threading.Lock()
        self.in_order = True

    def drain(self, pool: ThreadPoolExecutor, only: set[str] | None) -> set[str]:
        """Bring all runs, or some, and return those whose parent was not there in time."""
        later: set[str] = set()
        # twice as many tasks as threads: the next one waits ready, and nothing piles up
        for _ in drained(pool, self._one, self._ready(only, later), 2 * self._context.workers):
            pass
        return later

    def _ready(self, only: set[str] | None, later: set[str]) -> Iterator[Run]:
        context = self._context
        for run in self._view.all_runs():
            if (only is not None and run.run_id not in only) or not in_scope(context, run):
                continue
            if self._must_wait(run):
                later.add(run.run_id)
                continue
            yield run

    def _must_wait(self, run: Run) -> bool:
        """Whether the run's parent will be on the target soon, and is not yet."""
        parent = run.tags.get(PARENT_TAG)
        if not self.in_order or parent not in self._parents or parent == run.run_id:
            return False
        found = self._context.journal.entry("run", parent)
        return found is None or (found.target_id is None and found.state == "begun")

    def _one(self, run: Run) -> None:
        context = self._context

        @cache
        def tree() -> ArtifactTree:
            with self._reading:
                return tree_of(self._view, run.run_id)

        carry(
            context,
            key_of(run),
            lambda: run_digest(context.export.run_dir(run.experiment_id, run.run_id), tree()),
            lambda ending: self._write(run, tree(), ending),
            links=lambda: run_links(context, run, tree()),
            stale=lambda entry, _: context.journal.failed("run", run.run_id, waiting_again(entry)),
            counts={"runs": 1},
        )

    def _write(self, run: Run, tree: ArtifactTree, ending: Ending) -> None:
        """Write a run, and say whether it has to wait for what it points at."""
        context = self._context
        if self._target is None:
            raise NotMoved("its experiment is not on the target")
        folder = context.export.run_dir(run.experiment_id, run.run_id)
        draft = run_draft(folder, context.writer.location.endpoint, self._target)
        if lacking := run.metrics.keys() - {point[0] for point in draft.points}:
            raise NotMoved(f"the export lacks the history of {', '.join(map(repr, sorted(lacking)))}")
        draft.points = self._held.without(run.run_id, draft.points)
        parent = run.tags.get(PARENT_TAG)
        copy = None if parent is None else context.journal.target("run", parent)
        before = ending.before
        known = None if before is None else before.target_id
        # one that names this run, and that no request of ours can have made, is somebody else's copy
        begun = before is not None and before.ours
        ending.problems = self._writer.write(run, draft, tree, known, copy or parent, begun=begun)
        named = {model for file in tree.files if file.content is not None for model in model_ids(file.content)}
        ending.waits = (
            (parent is not None and copy is None)
            or run.model_inputs != ()
            or run.model_outputs != ()
            or run.run_id in self._held
            or any(context.journal.target("logged_model", model) is None for model in named)
        )


def tree_of(view: SnapshotView, run_id: str) -> ArtifactTree:
    """Return the files of a run, or why they are not known."""
    problem = view.problem("artifacts")
    return view.artifacts(run_id) if problem is None else ArtifactTree(run_id, (), problem)


def in_scope(context: Import, run: Run) -> bool:
    """Whether a run is to be moved."""
    return context.include_deleted or run.lifecycle_stage != "deleted"


def run_digest(folder: Path, tree: ArtifactTree) -> str:
    """Return a digest of what the export holds of a run; when and where it was exported is left out.

    Raises:
        NotMoved: the run is not in the export.
    """
    whole = hashlib.sha256(digest([[file.path, identity(file), file.error] for file in tree.files]))
    try:
        with (folder / "run.json").open("rb") as file:
            head = file.read(_PIECE)
            _, _, rest = head.partition(b'"mlflow": {')
            while rest:
                whole.update(rest)
                rest = file.read(_PIECE)
    except OSError as error:
        raise NotMoved(f"it is not in the export ({error.strerror}); export again") from None
    return whole.hexdigest()
