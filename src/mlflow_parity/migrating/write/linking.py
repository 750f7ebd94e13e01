"""Links among runs and logged models, written when both ends are there."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any

from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.json_text import parsed
from mlflow_parity.core.records import PARENT_TAG, ArtifactTree, Entity, Experiment, Run
from mlflow_parity.migrating.exim.drafts import Point, metric_points
from mlflow_parity.migrating.journal import Entry
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.batches import Entry as LogEntry
from mlflow_parity.migrating.write.batches import double, entries, is_deleted, log
from mlflow_parity.migrating.write.exported import ModelPoints, logged_models, run_value, runs_among
from mlflow_parity.migrating.write.files import put_tree
from mlflow_parity.migrating.write.importing import Import, Problems
from mlflow_parity.migrating.write.link_state import (
    ABSENT,
    WAITS,
    content_of,
    is_waiting,
    joined,
    model_links,
    run_links,
)
from mlflow_parity.migrating.write.mlmodel import Place, model_ids
from mlflow_parity.migrating.write.moving import Key, Visit, Writing, key_of, noted
from mlflow_parity.migrating.write.objects.logged_models import KIND, VERSIONS_TAG, import_logged_models
from mlflow_parity.migrating.write.objects.registry import import_registry
from mlflow_parity.migrating.write.objects.runs import import_runs, tree_of
from mlflow_parity.reading import records
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.listing import pairs as mapping
from mlflow_parity.snapshot.store import SnapshotView

_RUNS = "/api/2.0/mlflow/runs/"
_MODELS = "/api/2.0/mlflow/logged-models"
#: Versions before this one lose a request that brings known points with more than 100 others.
_REPEATS = (3, 17)
_CHUNK = 500


def link_runs(context: Import, experiment: Experiment, *, last: bool = False) -> None:
    """Write the links of an experiment's runs and logged models, where what they point at is on the target.

    What waits for another experiment is left for the ``last`` call, which tells dead links from lost ones.
    """
    linker = _Linker(context, experiment, last)
    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-links") as pool:
        models = linker.waiting(KIND)
        ids = {entry.source_id: entry for entry in models}
        found = (model for model in logged_models(context, experiment) if model.entity_id in ids) if ids else ()
        for _ in drained(pool, lambda model: linker.model(model, ids[model.entity_id]), found, 2 * context.workers):
            pass
        runs = linker.waiting("run")
        for _ in drained(pool, linker.run, runs, 2 * context.workers):
            pass


class _Linker:
    def __init__(self, context: Import, experiment: Experiment, last: bool) -> None:
        self._context = context
        self._experiment = experiment
        self._last = last
        self._held: ModelPoints | None = None
        self._reading = threading.Lock()
        version = release(context.reader.capabilities.version)
        self._most = 1_000 if version >= _REPEATS else 100

    @cached_property
    def _view(self) -> SnapshotView:
        # opening it checks every byte of its tables: only where something waits
        return self._context.export.snapshot.view(self._experiment)

    def waiting(self, kind: str) -> list[Entry]:
        """Return what waits in this experiment."""
        found = self._context.journal.entries(kind=kind, state="failed", place=self._experiment.experiment_id)
        waiting = [entry for entry in found if is_waiting(entry)]
        if kind == "run" and waiting and self._held is None:
            self._held = ModelPoints(self._context, self._experiment)
        return waiting

    def _settle(self, entry: Entry, problems: Problems, links: str) -> None:
        """Note how an object came out; what was found impossible earlier stands in the entry's reason."""
        earlier = (entry.reason or "")[len(WAITS) :].removeprefix("; ")
        problems.impossible += [earlier] if earlier else []
        state = joined(content_of(entry), links)
        self._context.journal.digested(entry.kind, entry.source_id, state)
        problems.check()
        self._context.journal.done(entry.kind, entry.source_id, state)

    # --- logged models

    def model(self, model: Entity, entry: Entry) -> None:
        """Log the points of a logged model, each to the copy of its run."""
        journal = self._context.journal
        by_run: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for point in model.facets.get("metrics") or ():
            by_run[point["run"] or ""].append(point)
        copies = {run: journal.target("run", run) for run in by_run}
        if None in copies.values() and not self._last:
            return
        with noted(self._context, key_of(model)):
            problems = Problems()
            there = self._points_of(str(entry.target_id))
            for run, points in by_run.items():
                copy = copies[run]
                if copy is None:
                    gone = journal.state("run", run) is None
                    line = f"{len(points)} metric points of run {run or 'none'}, {ABSENT}"
                    if gone and self._is_left_out(run):
                        line = by_contract("logged_model.metrics.left-out", line)
                    (problems.impossible if gone else problems.failed).append(line)
                    continue
                new = [p for p in points if (p["key"], p["timestamp"], p["step"], copy) not in there]
                logged = self._entries(str(entry.target_id), run, new)
                try:
                    problems.failed += log(self._context.writer, copy, logged, self._most)
                except RequestRefused as error:
                    if not is_deleted(error):
                        raise
                    # by an earlier import, which ended without this model
                    self._restore(copy)
                    problems.failed += log(self._context.writer, copy, logged, self._most)
                self._context.told(points=len(new))
            self._settle(entry, problems, model_links(self._context, model))

    def _is_left_out(self, run_id: str) -> bool:
        """Whether a run that is not to be moved is deleted or gone, and not one of another scope."""
        context = self._context
        if context.include_deleted:
            return False
        return context.others or bool(runs_among(context, context.experiments, {run_id}, all_=True))

    def _restore(self, run_id: str) -> None:
        """Take a run out of the trash while something is written to it; it is deleted again at the end."""
        self._context.writer.call("POST", f"{_RUNS}restore", {"run_id": run_id})

    def _points_of(self, model_id: str) -> set[tuple[str, int, int, str]]:
        found = self._context.reader.session.get(endpoints.LOGGED_MODEL, below=model_id)["model"]
        return {
            (one["key"], int(one.get("timestamp", 0)), int(one.get("step", 0)), one.get("run_id", ""))
            for one in found.get("data", {}).get("metrics", [])
        }

    def _entries(self, model_id: str, run: str, points: Sequence[Mapping[str, Any]]) -> list[LogEntry]:
        # only a zero may stand for NaN
        of_run = self._run_points(run) if any(point["value"] == 0.0 for point in points) else []
        found: list[LogEntry] = []
        for point in points:
            entry = {
                "key": point["key"],
                "value": double(run_value(point, of_run)),
                "timestamp": point["timestamp"],
                "step": point["step"],
                "model_id": model_id,
            }
            links = {name: point[name] for name in ("dataset_name", "dataset_digest") if point[name]}
            found.append(("metrics", {**entry, **links}))
        return found

    def _run_points(self, run: str) -> list[Point]:
        entry = self._context.journal.entry("run", run)
        place = self._experiment.experiment_id if entry is None else entry.place
        path = self._context.export.run_dir(place, run) / "run.json"
        if not path.is_file():
            return []
        return metric_points(json.loads(path.read_text(encoding="utf-8"))["mlflow"]["metrics"])

    # --- runs

    def run(self, entry: Entry) -> None:
        """Write a run's parent, the logged models that it used and made, and what it shares with them."""
        with noted(self._context, Key("run", entry.source_id, entry.place, entry.name)):
            # tables of a snapshot are read by one thread at a time
            with self._reading:
                [run] = self._view.runs([entry.source_id])
                tree = tree_of(self._view, run.run_id)
            problems = Problems()
            if self._link(run, tree, str(entry.target_id), problems):
                self._settle(entry, problems, run_links(self._context, run, tree))

    def _link(self, run: Run, tree: ArtifactTree, target: str, problems: Problems) -> bool:
        """Write the links of one run; false: one of them has to wait."""
        journal, writer = self._context.journal, self._context.writer
        if run.model_inputs is None or run.model_outputs is None:
            raise NotMoved("the logged models that it used and made could not be read at the source; export again")
        named = [file for file in tree.files if file.content is not None and model_ids(file.content)]
        linked = {model for model, _ in (*run.model_inputs, *run.model_outputs)}
        linked |= {model for file in named for model in model_ids(file.content or b"")}
        copies = {model: journal.target(KIND, model) for model in linked}
        parent = run.tags.get(PARENT_TAG)
        parents_copy = journal.target("run", parent) if parent else None
        assert self._held is not None
        sharing = {model for model in self._held.models(run.run_id) if journal.state(KIND, model) != "done"}
        if not self._last and (None in copies.values() or (parent and parents_copy is None) or sharing):
            return False
        answer = self._context.reader.session.get(endpoints.RUN, {"run_id": target})["run"]
        present, (inputs, outputs) = records.run(answer), records.model_links(answer)
        if present.lifecycle_stage == "deleted":
            self._restore(target)
        if parent and parents_copy is None and journal.state("run", parent) is not None:
            problems.failed.append(f"its parent {parent} is not on the target")
        elif parents_copy is not None and present.tags.get(PARENT_TAG) != parents_copy:
            writer.call("POST", f"{_RUNS}set-tag", {"run_id": target, "key": PARENT_TAG, "value": parents_copy})
        for model in sorted(model for model, copy in copies.items() if copy is None):
            # one that is not on the source (any more) is a dead link there, too
            if journal.state(KIND, model) is not None:
                problems.failed.append(f"its logged model {model} is not on the target")
        self._models(target, run.model_inputs, copies, inputs, f"{_RUNS}log-inputs")
        self._models(target, run.model_outputs, copies, outputs, f"{_RUNS}outputs")
        if named:
            put = put_tree(
                self._context.uploads,
                replace(tree, files=tuple(named), error=None),
                Place(run.run_id, run.artifact_uri),
                Place(target, present.artifact_uri),
                lambda source: journal.target("run", source),
                lambda source: journal.target(KIND, source),
            )
            problems.failed += put.failed
        if sharing:
            # what was to come with a model that did not come
            points = self._run_points(run.run_id)
            left = {id(point) for point in self._held.without(run.run_id, points)}
            rest = [point for point in points if id(point) not in left]
            problems.failed += log(writer, target, entries({}, rest, {}), self._most)
        return True

    def _models(
        self,
        target: str,
        wanted: Sequence[tuple[str, int]],
        copies: Mapping[str, str | None],
        present: Sequence[tuple[str, int]],
        path: str,
    ) -> None:
        there = {model for model, _ in present}
        new = [(str(copies[model]), step) for model, step in wanted if copies[model] and copies[model] not in there]
        if new:
            models = [{"model_id": model, "step": step} for model, step in new]
            self._context.writer.call("POST", path, {"run_id": target, "models": models})


def fix_version_tags(context: Import) -> None:
    """Let each logged model name its registered versions as on the source; called after the registry was imported.

    The server writes this tag when a version is registered, so there is something to fix only where it names a
    version that is not on the source any more. What is no list of versions is somebody's own text, and stays as it is.
    """
    versions = context.journal.ids("model_version")
    renamed = context.renames.models

    def copy(name: str, number: int) -> tuple[str, int]:
        there = versions.get(f"{name}/{number}") or f"{renamed.get(name, name)}/{number}"
        name, _, given = there.rpartition("/")
        return name, int(given)

    def fix(text: str, target: str) -> None:
        answer = context.reader.session.get(endpoints.LOGGED_MODEL, below=target)["model"]
        present = mapping(answer["info"].get("tags")).get(VERSIONS_TAG)
        there, wanted, value = _versions(present or "[]"), _versions(text), text
        if wanted is not None:
            wanted = [copy(name, number) for name, number in wanted]
            value = json.dumps([{"name": name, "version": number} for name, number in wanted])
        if present != value and (wanted is None or there is None or sorted(wanted) != sorted(there)):
            body = {"model_id": target, "tags": [{"key": VERSIONS_TAG, "value": value}]}
            context.writer.call("PATCH", f"{_MODELS}/{target}/tags", body)

    for experiment in context.experiments:
        for model in logged_models(context, experiment):
            text = (model.facets.get("tags") or {}).get(VERSIONS_TAG)
            target = context.journal.target(KIND, model.entity_id)
            if not text or target is None:
                continue
            with noted(context, key_of(model)):
                fix(text, target)


def _versions(text: str) -> list[tuple[str, int]] | None:
    """Return the names and numbers that a tag lists; ``None``: it is no list of versions."""
    try:
        return [(str(one["name"]), int(one["version"])) for one in parsed(text)]
    except (ValueError, TypeError, KeyError):
        return None


def _runs(visit: Visit) -> None:
    if visit.again:
        link_runs(visit.context, visit.here, last=visit.last)
    else:
        import_runs(visit.context, visit.here)


def _logged_models(visit: Visit) -> None:
    # what waits for the run of another experiment is looked at when all of these are there
    if visit.last or not visit.again:
        import_logged_models(visit.context, visit.here, last=visit.last)


def _registry(visit: Visit) -> None:
    if visit.again:
        fix_version_tags(visit.context)
    else:
        import_registry(visit.context, visit.context.wanted)


RUNS = Writing(("run",), links=("experiment",), again=("logged_model again",), visit=_runs)
LOGGED_MODELS = Writing(("logged_model",), links=("experiment", "run"), again=("run",), visit=_logged_models)
REGISTRY = Writing(
    ("registered_model", "model_version", "prompt", "prompt_version"),
    links=("experiment", "run again", "logged_model again"),
    again=("logged_model again",),
    visit=_registry,
)
