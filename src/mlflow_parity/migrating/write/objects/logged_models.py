"""Logged models: each made exactly once, whichever runs use it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from urllib.parse import quote

from mlflow_parity.audit.renames import renamed_links
from mlflow_parity.core.errors import NotMoved, RequestRefused
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.identity.sums import identity
from mlflow_parity.core.records import EXIM_PREFIX, ArtifactTree, Entity, Experiment
from mlflow_parity.migrating.exim.drafts import model_draft
from mlflow_parity.migrating.journal import Entry
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.batches import pairs
from mlflow_parity.migrating.write.exported import runs_to_come
from mlflow_parity.migrating.write.files import put_tree
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.link_state import FIXED, model_links, waiting_again
from mlflow_parity.migrating.write.mlmodel import Place
from mlflow_parity.migrating.write.moving import Ending, carry, key_of
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.reading.transport.listing import pairs as mapping

KIND = "logged_model"
VERSIONS_TAG = "mlflow.modelVersions"
#: Names the source model while its copy is made; taken off again, because a logged model carries no source tags.
MARK = EXIM_PREFIX + "logged_model.model_id"
_API = "/api/2.0/mlflow/logged-models"
_PENDING = "LOGGED_MODEL_PENDING"
_CHUNK = 500


def import_logged_models(context: Import, experiment: Experiment, *, last: bool = False) -> None:
    """Bring every logged model of an experiment to the target, but for the links of its metrics.

    One whose run is in another experiment that was not moved yet is left for the ``last`` call.
    """
    source_id = experiment.experiment_id
    objects = context.export.snapshot.objects(source_id)
    if "logged_model" in objects.unsupported("logged_models"):
        return
    if objects.problem("logged_models") is not None:
        context.journal.begin("experiment", source_id, name=experiment.name)
        reason = f"its logged models are not in the export: {objects.problem('logged_models')}"
        context.journal.failed("experiment", source_id, reason)
        return
    # the audit tells models of one name, type and run by their order: each such group is made one after another
    groups: dict[tuple[bytes, str | None], list[str]] = defaultdict(list)
    for key in sorted(objects.keys(KIND), key=lambda key: (key.created or 0, key.entity_id)):
        groups[key.natural, key.run].append(key.entity_id)
    absent = {run for _, run in groups if run and context.journal.target("run", run) is None}
    importer = _Importer(context, experiment, runs_to_come(context, experiment, absent), last)
    with ThreadPoolExecutor(context.workers, thread_name_prefix="parity-models") as pool:
        for _ in drained(pool, importer.group, list(groups.values()), 2 * context.workers):
            pass


class _Importer:
    def __init__(self, context: Import, experiment: Experiment, coming: set[str], last: bool) -> None:
        self._context = context
        self._objects = context.export.snapshot.objects(experiment.experiment_id)
        self._target = context.journal.target("experiment", experiment.experiment_id)
        self._coming = coming
        self._last = last
        self._reading = threading.Lock()

    def group(self, ids: Sequence[str]) -> None:
        """Bring models one after another."""
        for first in range(0, len(ids), _CHUNK):
            # tables of a snapshot are read by one thread at a time
            with self._reading:
                models = self._objects.entities(KIND, ids[first : first + _CHUNK])
            for model in models:
                self._one(model)

    def _one(self, model: Entity) -> None:
        context = self._context

        @cache
        def tree() -> ArtifactTree:
            with self._reading:
                return self._objects.files(KIND, model.entity_id)

        def state() -> str:
            run = model.facets.get("run")
            if run in self._coming and context.journal.state("run", run) is None and not self._last:
                # named until then, so that a migration that ends here does not pass for whole
                raise NotMoved(f"the run {run} that made it is not written yet")
            files = [[file.path, identity(file), file.error] for file in tree().files]
            return digest([model.name, {k: v for k, v in model.facets.items() if k != "times"}, files]).hex()

        carry(
            context,
            key_of(model),
            state,
            lambda ending: self._write(model, tree(), ending),
            links=lambda: model_links(context, model),
            stale=lambda entry, whole: self._link_again(model, entry, whole),
        )

    def _link_again(self, model: Entity, entry: Entry, state: str) -> None:
        """Take up a model that is on the target, for something that it points at came there since."""
        journal = self._context.journal
        late = self._late(model, self.read(str(entry.target_id)))
        if late:
            journal.failed(KIND, model.entity_id, late)
        elif model.facets.get("metrics"):
            journal.failed(KIND, model.entity_id, waiting_again(entry))
        else:
            journal.digested(KIND, model.entity_id, state)

    def _late(self, model: Entity, present: Mapping[str, Any]) -> str | None:
        """Return what to say when the copy was made before that of its run, which it can never name then."""
        run = model.facets.get("run")
        copy = self._context.journal.target("run", run) if run else None
        if copy is None or present["info"].get("source_run_id") == copy:
            return None
        return f"its run {run} came to the target after it; {FIXED}"

    def _write(self, model: Entity, tree: ArtifactTree, ending: Ending) -> None:
        context, journal = self._context, self._context.journal
        run = model.facets.get("run")
        copy = journal.target("run", run) if run else None
        if self._target is None:
            raise NotMoved("its experiment is not on the target")
        if model.error is not None:
            raise NotMoved(f"it could not be read at the source: {model.error}")
        if copy is None and run in self._coming:
            raise NotMoved(f"the run {run} that made it is not on the target")
        # a run that is gone leaves its id, as on the source
        owner = copy or run or None
        folder = context.export.model_dir(model.container, model.entity_id)
        draft = model_draft(folder, context.writer.location.endpoint, self._target, owner)
        if not draft.model:
            raise NotMoved("the tool could make nothing of its export")
        wanted = {**draft.model, "tags": renamed_links(draft.model["tags"] or {}, context.renames.prompts)}
        problems, known = ending.problems, journal.target(KIND, model.entity_id)
        found = None if known is None else self._known(known)
        if found is None and ending.before is not None and (marked := self._find(model.entity_id)) is not None:
            found = self.read(marked)
        present = self._create(model, wanted) if found is None else found
        target = str(present["info"]["model_id"])
        journal.created(KIND, model.entity_id, target)
        problems.failed += filter(None, [self._late(model, present)])
        self._complete(target, present, wanted)
        put = put_tree(
            context.uploads,
            tree,
            Place(run or "", model.artifact_uri or ""),
            Place(owner or "", str(present["info"].get("artifact_uri", ""))),
            lambda source: journal.target("run", source),
            lambda source: journal.target(KIND, source),
            fresh=found is None,
        )
        context.told(files=put.files, size=put.size)
        problems.failed += put.failed
        problems.impossible += put.impossible
        status = model.facets.get("status") or {}
        if status.get("status") not in (None, present["info"].get("status", _PENDING)):
            body = {"model_id": target, "status": status["status"]}
            context.writer.call("PATCH", f"{_API}/{target}", body)
        if status.get("message"):
            why = "the message of its status: MLflow's API cannot write one"
            problems.impossible.append(by_contract("logged_model.status.message", why))
        # its points are logged with those of their runs
        ending.waits = bool(model.facets.get("metrics"))

    def read(self, model_id: str) -> dict[str, Any]:
        """Return a target model as the server tells it."""
        return dict(self._context.reader.session.get(endpoints.LOGGED_MODEL, below=model_id)["model"])

    def _known(self, model_id: str) -> dict[str, Any] | None:
        """Return the copy that the journal knows, unless it was deleted: a repair does that before it is made again."""
        try:
            return self.read(model_id)
        except RequestRefused as error:
            if error.status != 404 or is_absent(error):
                raise
            return None

    def _find(self, source_id: str) -> str | None:
        """Return the target model that carries our mark."""
        assert self._target is not None
        for batch in self._context.reader.experiment_objects(self._target, [KIND]):
            for model in batch:
                if (model.facets.get("tags") or {}).get(MARK) == source_id:
                    return model.entity_id
        return None

    def _create(self, model: Entity, wanted: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = {
            "experiment_id": self._target,
            "name": wanted["name"],
            "params": pairs(wanted["params"] or {}),
            "tags": pairs({**wanted["tags"], MARK: model.entity_id}),
        }
        body.update({key: wanted[key] for key in ("model_type", "source_run_id") if wanted.get(key)})

        def find() -> dict[str, Any] | None:
            found = self._find(model.entity_id)
            return None if found is None else self.read(found)

        return self._context.writer.create(_API, body, find=find, made=lambda answer: dict(answer["model"]))

    def _complete(self, target: str, present: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        """Write what the target lacks, and take off what is not the source's, our mark first of all."""
        writer = self._context.writer
        params, tags = mapping(present.get("data", {}).get("params")), mapping(present["info"].get("tags"))
        if new := {key: value for key, value in (wanted["params"] or {}).items() if key not in params}:
            writer.call("POST", f"{_API}/{target}/params", {"model_id": target, "params": pairs(new)})
        if new := {key: value for key, value in wanted["tags"].items() if tags.get(key) != value}:
            writer.call("PATCH", f"{_API}/{target}/tags", {"model_id": target, "tags": pairs(new)})
        for key in tags.keys() - wanted["tags"].keys() - {VERSIONS_TAG}:
            writer.call("DELETE", f"{_API}/{target}/tags/{quote(key, safe='')}")
