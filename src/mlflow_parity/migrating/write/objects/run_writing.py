"""Writes one run to the target: made with all its source tags at once, or completed where it is there in part."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mlflow_parity.audit.renames import Renames, renamed_links
from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.identity.keys import SOURCE_RUN_TAG, is_hop, next_tags
from mlflow_parity.core.records import EXIM_PREFIX, PARENT_TAG, ArtifactTree, Run
from mlflow_parity.migrating.exim.drafts import Draft, Point
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.batches import entries, further, is_taken, log, pairs, place, together
from mlflow_parity.migrating.write.files import put_tree
from mlflow_parity.migrating.write.importing import Import, Problems
from mlflow_parity.migrating.write.mlmodel import Place
from mlflow_parity.reading import records
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.capabilities import release

_API = "/api/2.0/mlflow/runs/"
_NAME_TAG = "mlflow.runName"
#: A longer value may be cut without a word: servers shorten what is over their own limit.
_SURE = 500
_DATASETS = 100
#: Versions before this one may take another experiment's dataset of the same name and digest for this one.
_OWN_DATASETS = (3, 10)


class RunWriter:
    """Writes runs into one experiment of the target; safe to use from many threads."""

    def __init__(self, context: Import, experiment_id: str) -> None:
        self._context = context
        self._writer = context.writer
        self._experiment = experiment_id
        self._datasets: set[tuple[str, str]] = set()
        self._dataset_lock = threading.Lock()

    def write(
        self, run: Run, draft: Draft, tree: ArtifactTree, known: str | None, parent: str | None, *, begun: bool
    ) -> Problems:
        """Write a run of the source; ``known`` is its id on the target, ``begun``: ours may be there without one.

        ``parent`` is the parent's id on the target, or the source's where there is no copy.
        Links to logged models are written later, when these are there.

        Raises:
            ReadError: the target cannot be reached, or refuses the run.
        """
        problems = Problems()
        tags = _tags(run, draft, parent, self._context.renames)
        if run.name and tags.get(_NAME_TAG, run.name) != run.name:
            why = f"its tag {_NAME_TAG} is not its name: MLflow keeps the two equal"
            problems.impossible.append(by_contract("run.name.tag", why))
            tags[_NAME_TAG] = run.name
        if known is None and begun:
            known = self.find(run.run_id)
            if known is not None:
                self._context.journal.created("run", run.run_id, known)
        fresh = known is None
        if known is None:
            points: set[Any] = set()
            present = self._create(run, tags)
        else:
            present, points = self._present(known)
        target = present.run_id
        self._remove_tags(run, tags, present)
        new = self._new_points(draft.points, points)
        params = together(draft.params, [k for k, value in draft.params.items() if present.params.get(k) != value])
        wanted = {key: value for key, value in draft.params.items() if key in params}
        named = together(tags, [key for key, value in tags.items() if present.tags.get(key) != value])
        changed = {key: value for key, value in tags.items() if key in named}
        problems.failed += log(self._writer, target, entries(wanted, new, changed))
        self._log_datasets(run, draft, present, problems)
        sent = self._put_files(run, present, tree, problems, fresh=fresh)
        self._end(run, present)
        long = any(len(value) > _SURE for value in (*wanted.values(), *changed.values()))
        if long or (run.inputs and release(self._context.reader.capabilities.version) < _OWN_DATASETS):
            self._look_again(run, target, tags, problems)
        self._context.told(points=len(new), files=sent[0], size=sent[1])
        return problems

    def find(self, source_id: str) -> str | None:
        """Return the target run that names a source run in its source tags."""
        query = {
            "experiment_ids": [self._experiment],
            "filter": f"tags.`{SOURCE_RUN_TAG}` = '{source_id}'",
            "run_view_type": "ALL",
            "max_results": 1,
        }
        found = self._context.reader.session.post(endpoints.RUNS, query).get("runs", [])
        return str(found[0]["info"]["run_id"]) if found else None

    def _create(self, run: Run, tags: Mapping[str, str]) -> Run:
        body: dict[str, Any] = {"experiment_id": self._experiment, "user_id": run.user_id}
        if run.start_time is not None:
            body["start_time"] = run.start_time
        if run.name:
            body["run_name"] = run.name
        body["tags"] = pairs(tags)

        def find() -> Run | None:
            found = self.find(run.run_id)
            return None if found is None else self._present(found)[0]

        def create() -> Run:
            return self._writer.create(
                f"{_API}create",
                body,
                find=find,
                made=lambda answer: records.run(answer["run"]),
                doubt=lambda: self._context.journal.doubt("run", run.run_id),
            )

        with self._context.journal.making("run", run.run_id):
            try:
                made = create()
            except RequestRefused as error:
                left = further(tags)
                if not (is_taken(error) and left):
                    raise
                # they are told when the tags are compared with what is there
                body["tags"] = pairs({key: value for key, value in tags.items() if key not in left})
                made = create()
        self._context.journal.created("run", run.run_id, made.run_id)
        return made

    def _present(self, run_id: str) -> tuple[Run, set[Any]]:
        """Return a target run and what tells its points apart; a deleted one is restored, to be deleted last."""
        reader = self._context.reader
        found = records.run(reader.session.get(endpoints.RUN, {"run_id": run_id})["run"])
        if found.lifecycle_stage == "deleted":
            self._writer.call("POST", f"{_API}restore", {"run_id": run_id})
        points: set[Any] = set()
        for histories in reader.histories([found]):
            for series in histories:
                if series.error is not None:
                    raise NotMoved(f"the target's history of {series.key!r} cannot be read: {series.error}")
                columns = (series.values.tolist(), series.timestamps.tolist(), series.steps.tolist())
                points.update(place((series.key, *point)) for point in zip(*columns, strict=True))
        return found, points

    def _remove_tags(self, run: Run, tags: Mapping[str, str], present: Run) -> None:
        """Remove the tags that the source does not have: the run name's, which servers add, or one that went since."""
        # to a run without a name the server gives one, which stands in both places
        given = set() if run.name else {_NAME_TAG}
        for key in present.tags.keys() - tags.keys() - given:
            self._writer.call("POST", f"{_API}delete-tag", {"run_id": present.run_id, "key": key})

    def _new_points(self, points: Sequence[Point], there: set[Any]) -> list[Point]:
        new: list[Point] = []
        seen = set(there)
        for point in points:
            identity = place(point)
            # a SQL store keeps an exact repeat once; some versions refuse the request in which it comes
            if identity not in seen:
                seen.add(identity)
                new.append(point)
        return new

    def _log_datasets(self, run: Run, draft: Draft, present: Run, problems: Problems) -> None:
        there = {(one.name, one.digest) for one in present.inputs}
        new: dict[tuple[str, str], dict[str, Any]] = {}
        for one in draft.datasets:
            key = (one["dataset"]["name"], one["dataset"]["digest"])
            if key in new:
                why = f"dataset {key[0]!r} with digest {key[1]!r} twice: MLflow keeps it once"
                problems.impossible.append(by_contract("run.inputs.repeated", why) if one == new[key] else why)
            elif key not in there:
                new[key] = one
        if not new:
            return
        # two runs that bring the same dataset at once would both make it, and one would be refused
        if new.keys() <= self._datasets:
            self._send_datasets(present.run_id, list(new.values()))
        else:
            with self._dataset_lock:
                self._send_datasets(present.run_id, list(new.values()))
                self._datasets |= new.keys()

    def _send_datasets(self, run_id: str, datasets: Sequence[Mapping[str, Any]]) -> None:
        for first in range(0, len(datasets), _DATASETS):
            body = {"run_id": run_id, "datasets": datasets[first : first + _DATASETS]}
            self._writer.call("POST", f"{_API}log-inputs", body)

    def _put_files(
        self, run: Run, present: Run, tree: ArtifactTree, problems: Problems, *, fresh: bool
    ) -> tuple[int, int]:
        journal = self._context.journal
        put = put_tree(
            self._context.uploads,
            tree,
            Place(run.run_id, run.artifact_uri),
            Place(present.run_id, present.artifact_uri),
            lambda source: present.run_id if source == run.run_id else journal.target("run", source),
            lambda source: journal.target("logged_model", source),
            images=True,
            fresh=fresh,
        )
        problems.failed += put.failed
        problems.impossible += put.impossible
        return put.files, put.size

    def _end(self, run: Run, present: Run) -> None:
        body: dict[str, Any] = {}
        if run.status != present.status:
            body["status"] = run.status
        if run.end_time is not None and run.end_time != present.end_time:
            body["end_time"] = run.end_time
        if body:
            self._writer.call("POST", f"{_API}update", {"run_id": present.run_id, **body})

    def _look_again(self, run: Run, target: str, tags: Mapping[str, str], problems: Problems) -> None:
        """Find what the target changed without a word."""
        found = records.run(self._context.reader.session.get(endpoints.RUN, {"run_id": target})["run"])
        for kind, ours, theirs in (("param", run.params, found.params), ("tag", tags, found.tags)):
            for key, value in ours.items():
                copy = theirs.get(key)
                if len(value) > _SURE and copy is not None and copy != value:
                    problems.impossible.append(
                        f"{kind} {key!r}: the target cut its {len(value)} characters to {len(copy)}"
                    )
        there = {(one.name, one.digest): one for one in found.inputs}
        for one in run.inputs:
            other = there.get((one.name, one.digest))
            if other is not None and replace(other, tags=one.tags) != one:
                problems.impossible.append(
                    f"dataset {one.name!r} with digest {one.digest!r}: the target's MLflow keeps one for all "
                    "experiments, and has it with another source, schema or profile"
                )


def _tags(run: Run, draft: Draft, parent: str | None, renames: Renames) -> dict[str, str]:
    """Return all tags of the copy, source tags included."""
    # of the tool's only the source tags: the rest is the run's own, or its idea of the user
    own = {key: value for key, value in draft.tags.items() if key.startswith(EXIM_PREFIX) and not is_hop(key)}
    tags = next_tags(renamed_links(run.tags, renames.prompts), own)
    return {**tags, PARENT_TAG: parent} if parent is not None else tags
