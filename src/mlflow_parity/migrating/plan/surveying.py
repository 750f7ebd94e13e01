"""Looks at a source by listings alone; no history, span or file is read whole."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.core.records import PARENT_TAG, STORAGE, Artifact, Entity, Experiment, Run
from mlflow_parity.kinds import KINDS, of_family
from mlflow_parity.kinds.trace import size_stat
from mlflow_parity.migrating.survey import NAMED_KINDS, Extent, Missed, Survey, planned_name
from mlflow_parity.reading.artifacts.shared_listings import SharedListings

if TYPE_CHECKING:
    from mlflow_parity.audit.renames import Renames
    from mlflow_parity.migrating.plan.limits import Oddities
    from mlflow_parity.reading.server import ServerReader

#: Experiments that are looked at side by side.
_AT_ONCE = 4
#: Steps are not always counted one by one: more points than this are not taken for granted.
_POINTS = 10_000
#: What a trace takes where the server does not tell, in bytes.
_TRACE = 4_000


class _Look:
    """One survey under way."""

    def __init__(
        self,
        reader: ServerReader,
        renames: Renames,
        oddities: Oddities,
        wanted: Callable[[str], bool],
        others: bool,
        include_deleted: bool,
    ) -> None:
        self._reader = reader
        self._places = reader.places
        self._renames = renames
        self._oddities = oddities
        self._wanted = wanted
        self._others = others
        self._include_deleted = include_deleted
        self._lock = Lock()
        self._links: Counter[tuple[str, str, str]] = Counter()
        self._ids: dict[str, set[str]] = {kind: set() for kind in ("experiment", "run", "logged_model")}
        self._deleted: set[str] = set()
        self.survey = Survey(names={kind: {} for kind in ("experiment", *NAMED_KINDS)})

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        try:
            yield
        except ReadError as error:
            refused = isinstance(error, RequestRefused) and error.status in (401, 403)
            self._miss(what, str(error), refused)

    def _miss(self, what: str, why: str, refused: bool = False) -> None:
        with self._lock:
            self.survey.missed.append(Missed(what, why, refused))

    def _link(self, label: str, kind: str, identity: object) -> None:
        if isinstance(identity, str) and identity:
            with self._lock:
                self._links[label, kind, identity] += 1

    # --- experiments

    def experiment(self, experiment: Experiment) -> None:
        """Look at an experiment and all that is in it."""
        name = experiment.name
        self._oddities.experiment(experiment, self._renames.experiments.get(name, name))
        extent = self.survey.extents[experiment.experiment_id]
        sample: list[tuple[Any, Artifact]] = []
        # what lies in its place is listed once, for all pages of its runs and for its logged models
        shared = SharedListings()
        with self._guarded(f"the runs of experiment {name!r}"):
            for page in self._reader.runs(experiment.experiment_id):
                runs = [run for run in page if self._include_deleted or run.lifecycle_stage != "deleted"]
                with self._lock:
                    self._deleted |= {run.run_id for run in page} - {run.run_id for run in runs}
                for run in runs:
                    self._run(run, extent)
                self._files(extent, runs, sample, shared)
        self._touch(name, sample)
        kinds = ["logged_model"] + (["scorer"] if experiment.lifecycle_stage != "deleted" else [])
        for kind in kinds:
            with self._guarded(f"the {KINDS[kind].plural} of experiment {name!r}"):
                for batch in self._reader.experiment_objects(experiment.experiment_id, [kind]):
                    self._objects(extent, batch, shared)
        with self._guarded(f"the traces of experiment {name!r}"):
            for batch in self._reader.trace_infos(experiment.experiment_id):
                self._objects(extent, batch, shared)

    def _run(self, run: Run, extent: Extent) -> None:
        extent.runs += 1
        extent.running += run.status in ("RUNNING", "SCHEDULED") and run.lifecycle_stage != "deleted"
        extent.series += len(run.metrics)
        extent.points += sum(min(max(point.step, 0) + 1, _POINTS) for point in run.metrics.values())
        self._oddities.run(run, extent.experiment.name)
        with self._lock:
            self._ids["run"].add(run.run_id)
        self._link("runs whose parent", "run", run.tags.get(PARENT_TAG))

    def _files(
        self, extent: Extent, runs: Sequence[Run], sample: list[tuple[Any, Artifact]], shared: SharedListings
    ) -> None:
        known = {run.run_id: run for run in runs}
        for tree in self._reader.artifacts(runs, "listing", shared):
            run = known[tree.run_id]
            owner = f"{extent.experiment.name} / {run.name or run.run_id}"
            if tree.error is not None:
                self._miss(f"the files of run {owner}", tree.error)
            self._folders(f"run {owner}", tree.files)
            extent.files += len(tree.files)
            extent.size += sum(file.size or 0 for file in tree.files)
            extent.in_s3 += self._in_s3(run.artifact_uri, tree.files)
            self._oddities.files("r", owner, (file.path for file in tree.files if not file.is_folder))
            for file in tree.files:
                if file.size and (not sample or file.size < (sample[0][1].size or 0)):
                    sample[:] = [(run, file)]

    def _in_s3(self, uri: str | None, files: Iterable[Artifact]) -> int:
        """Return the bytes of files that a migration may leave where they are; each ``MLmodel`` is read."""
        # boto3 looks for credentials in the network, too: not where nothing is in S3
        if not (uri or "").startswith("s3://") or not self._places.with_own_rights:
            return 0
        return sum(file.size or 0 for file in files if posixpath.basename(file.path) != "MLmodel")

    def _folders(self, owner: str, files: Iterable[Artifact]) -> None:
        for file in files:
            if file.is_folder:
                self._miss(f"folder {file.path!r} of {owner}", file.error or "")

    def _touch(self, experiment: str, sample: Sequence[tuple[Any, Artifact]]) -> None:
        """Read the beginning of one file: who may list need not be allowed to read."""
        for run, file in sample:
            with self._guarded(f"file {file.path!r} of a run of experiment {experiment!r}"):
                last: ReadError | None = None
                for way in (way for store in self._places.of_run(run) for way in store.ways(file)):
                    try:
                        way(lambda pieces: next(pieces, b""))
                        return
                    except ReadError as error:
                        last = error
                if last is not None:
                    raise last

    def _objects(self, extent: Extent, batch: Sequence[Entity], shared: SharedListings) -> None:
        for entity in batch:
            extent.objects[entity.kind] += 1
            self._oddities.entity(entity)
            facets = entity.facets
            if entity.kind == "logged_model":
                with self._lock:
                    self._ids["logged_model"].add(entity.entity_id)
                self._link("logged models whose run", "run", facets.get("run"))
                if any(point.get("run") in self._deleted for point in facets.get("metrics") or ()):
                    self._oddities.deleted_metrics(f"{extent.experiment.name} / {entity.name}")
            if entity.kind == "trace":
                self._trusted_trace(entity)
                extent.size += _trace_size(entity)
                self._link("traces whose run", "run", facets.get("run"))
                self._link("traces whose logged model", "logged_model", facets.get("logged_model"))
        models = [entity for entity in batch if entity.kind == "logged_model"]
        places = {model.entity_id: model.artifact_uri for model in models}
        for tree in self._reader.entity_files(models, "listing", shared) if models else ():
            owner = f"{extent.experiment.name} / {tree.run_id}"
            if tree.error is not None:
                self._miss(f"the files of logged model {owner}", tree.error)
            self._folders(f"logged model {owner}", tree.files)
            extent.files += len(tree.files)
            extent.size += sum(file.size or 0 for file in tree.files)
            extent.in_s3 += self._in_s3(places.get(tree.run_id), tree.files)
            self._oddities.files("m", owner, (file.path for file in tree.files if not file.is_folder))

    # --- the server

    def server(self) -> None:
        """Look at what belongs to no experiment."""
        versions: list[Entity] = []
        with self._guarded("the registered models and prompts"):
            for batch in self._reader.registry():
                batch = [entity for entity in batch if self._wanted(entity.container or entity.entity_id)]
                self._named(batch)
                versions += [entity for entity in batch if entity.kind == "model_version"]
        for kind in of_family("server") if self._others else ():
            with self._guarded(f"the {kind.plural}"):
                for batch in self._reader.server_objects(kind.name):
                    self._named(batch)
        for version in versions:
            self._link("model versions whose run", "run", version.facets.get("run"))
            self._link("model versions whose logged model", "logged_model", version.facets.get("logged_model"))
        self._trusted_versions(versions)
        loose = [version for version in versions if not self._inside(version)]
        places = {version.entity_id: version.artifact_uri for version in loose}
        for tree in self._reader.entity_files(loose, "listing") if loose else ():
            if tree.error is not None:
                self._miss(f"the files of model version {tree.run_id}", tree.error)
            self._folders(f"model version {tree.run_id}", tree.files)
            self.survey.loose += sum(file.size or 0 for file in tree.files)
            self.survey.loose_in_s3 += self._in_s3(places.get(tree.run_id), tree.files)

    # --- places that are named, and will be read with the caller's own rights

    def _trusted_trace(self, trace: Entity) -> None:
        location = str((trace.facets.get("tags") or {}).get("mlflow.artifactLocation") or "")
        # only there are they read from the store itself
        if location.startswith("s3://") and self._reader.location.is_arn:
            self._reader.trusted.refusal(location)

    def _trusted_versions(self, versions: Sequence[Entity]) -> None:
        """Look where the files of versions are, also of those that say that they are a run's or another version's."""
        elsewhere = [one for one in versions if not (one.artifact_uri or "").startswith(("s3://", "mlflow-artifacts:"))]
        named = {
            place
            for version in [*versions, *self._reader.with_storage(elsewhere)]
            for place in (version.artifact_uri or "", str(version.facets.get(STORAGE) or ""))
            if place.startswith("s3://")
        }
        # boto3 looks for credentials in the network, too: not where nothing is in S3
        if named and self._places.with_own_rights:
            for place in sorted(named):
                self._reader.trusted.refusal(place)

    def _named(self, batch: Sequence[Entity]) -> None:
        for entity in batch:
            self.survey.objects[entity.kind] += 1
            if entity.kind in NAMED_KINDS:
                self.survey.names[entity.kind][entity.entity_id] = entity.name
            self._oddities.entity(entity, planned_name(self._renames, entity.kind, entity.name))
            for experiment in entity.facets.get("experiments") or ():
                self._link("evaluation datasets whose experiment", "experiment", experiment)

    def _inside(self, version: Entity) -> bool:
        uri, facets = version.artifact_uri or "", version.facets
        owners = {facets.get("run")} & self._ids["run"] | {facets.get("logged_model")} & self._ids["logged_model"]
        return uri.startswith(("models:", "runs:")) or any(f"/{owner}/artifacts" in uri for owner in owners)

    def finish(self) -> Survey:
        """Return the survey."""
        self._ids["experiment"] = set(self.survey.extents)
        for (label, kind, identity), count in self._links.items():
            if identity not in self._ids[kind]:
                self.survey.outside[label] += count
        return self.survey


def look(
    reader: ServerReader,
    experiments: Iterable[Experiment],
    *,
    renames: Renames,
    oddities: Oddities,
    wanted: Callable[[str], bool] = lambda _: True,
    others: bool = True,
    include_deleted: bool = False,
    told: Callable[[Extent], object] = lambda _: None,
) -> Survey:
    """Look at these experiments and at what belongs to none; what cannot be looked at is in ``missed``.

    ``wanted`` says which registered models and prompts are in scope, by name, ``others`` whether evaluation datasets
    and webhooks are; ``told`` hears of each experiment.
    """
    found = _Look(reader, renames, oddities, wanted, others, include_deleted)
    for experiment in experiments:
        found.survey.extents[experiment.experiment_id] = Extent(experiment)
        found.survey.names["experiment"][experiment.experiment_id] = experiment.name
    extents = list(found.survey.extents.values())
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="parity-survey") as pool:
        futures = [pool.submit(found.experiment, extent.experiment) for extent in extents]
        try:
            for extent, future in zip(extents, futures, strict=True):
                future.result()
                told(extent)
        except BaseException:
            for future in futures:
                future.cancel()
            raise
    found.server()
    return found.finish()


def _trace_size(trace: Entity) -> int:
    size = size_stat(trace, "total_size_bytes")
    return _TRACE if size is None else size
