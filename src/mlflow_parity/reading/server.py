"""Reads one tracking server or App over REST."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from mlflow_parity.errors import MalformedAnswer, ReadError
from mlflow_parity.model import ArtifactTree, Capabilities, DatasetInput, Entity, Experiment, MetricPoint, Run, Series
from mlflow_parity.options import Depth
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.artifacts import read_trees
from mlflow_parity.reading.auth import Credentials
from mlflow_parity.reading.capabilities import probe
from mlflow_parity.reading.histories import Lengths, read_histories
from mlflow_parity.reading.logged_models import with_links
from mlflow_parity.reading.objects import ObjectReader
from mlflow_parity.reading.paging import made, milliseconds, pages, tags_of
from mlflow_parity.reading.registry import read_names
from mlflow_parity.reading.session import Session
from mlflow_parity.reading.stores import Owner, ProxyStore, S3Store, ServerStore, Store
from mlflow_parity.redaction import Redactor

#: Objects per page: 50,000 are allowed, but 1,000 runs are a good page (facts: 2.9 ms a run).
PAGE = 1_000
#: Listings of an experiment's runs before it is given up that rows move while they are read.
_PASSES = 4
#: Experiments named in one search.
_IDS = 500


class ServerReader:
    """Implements :class:`mlflow_parity.reading.Reader` for ``http(s)`` servers and ARNs."""

    def __init__(
        self,
        session: Session,
        credentials: Credentials,
        *,
        workers: int = 8,
        redactor: Redactor | None = None,
        page: int = PAGE,
    ) -> None:
        self.location = session.location
        self.session = session
        self._credentials = credentials
        self._workers = workers
        # one pool for all experiments that are read side by side: threads cost memory, and the server is the limit
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="parity-request")
        self._redact = redactor or Redactor.from_environment()
        self._page = page
        self._lengths = Lengths()

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the server can do; asked once."""
        return probe(self.session)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self.session.sent

    def close(self) -> None:
        """Release connections."""
        self._pool.shutdown(cancel_futures=True)
        self.session.close()

    # --- listings

    def _pages(self, endpoint: endpoints.Endpoint, query: Mapping[str, Any], name: str) -> Iterator[list[Any]]:
        return pages(self.session, endpoint, query, name)

    def experiments(self) -> list[Experiment]:
        """Every experiment, deleted ones included.

        Raises:
            ReadError: when the list cannot be read.
        """
        # asked first: a wrong address or wrong credentials show here, in one line
        _ = self.capabilities
        query = {"view_type": "ALL", "max_results": self._page, "order_by": ["experiment_id ASC"]}
        found: dict[str, Experiment] = {}
        for page in self._pages(endpoints.EXPERIMENTS, query, "experiments"):
            for entry in page:
                experiment = made(_experiment, entry)
                found[experiment.experiment_id] = experiment
        return sorted(found.values(), key=lambda item: (not item.experiment_id.isdigit(), _number(item.experiment_id)))

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run in pages, deleted ones included, each once.

        Pages go by offset, so the order must not change while they are read: soft deletion does not move a run in
        the view of all, a new run comes last. Where a run is seen twice all the same, rows were moved by a hard
        deletion or by the clock, and a second pass brings what the first may have passed over.

        Raises:
            ReadError: when the list cannot be read.
        """
        query = {
            "experiment_ids": [experiment_id],
            "run_view_type": "ALL",
            "max_results": self._page,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
        }
        seen: set[str] = set()
        for _ in range(_PASSES):
            moved = False
            passed: set[str] = set()
            for page in self._pages(endpoints.RUNS, query, "runs"):
                fresh: list[Run] = []
                for entry in page:
                    run = made(_run, entry)
                    if run.experiment_id != experiment_id:
                        raise MalformedAnswer(f"asked for runs of experiment {experiment_id}, got {run.experiment_id}")
                    moved |= run.run_id in passed
                    passed.add(run.run_id)
                    if run.run_id not in seen:
                        seen.add(run.run_id)
                        fresh.append(run)
                if fresh:
                    yield fresh
            if not moved:
                return
        raise MalformedAnswer(
            f"the runs of experiment {experiment_id} moved during {_PASSES} listings, one after another"
        )

    # --- values

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """The complete history of every metric key of ``runs``."""
        return read_histories(
            self.session,
            runs,
            bulk=self.capabilities.history_bulk,
            pool=self._pool,
            at_once=self._workers,
            lengths=self._lengths,
        )

    def artifacts(self, runs: Sequence[Run], depth: Depth) -> Iterator[ArtifactTree]:
        """The artifact tree of each run."""
        return read_trees(runs, self._stores, depth, self._redact, pool=self._pool, at_once=2 * self._workers)

    def _stores(self, run: Owner) -> Sequence[Store]:
        """Where a run's artifacts may be read, the best first: the server reaches more than the auditor may."""
        if run.artifact_uri.startswith("s3://"):
            if self.location.is_arn:
                return [S3Store(self._credentials.aws.s3, run)]
            server = ServerStore(self.session, run)
            return [S3Store(self._credentials.aws.s3, run), server] if self._credentials.aws.usable else [server]
        if self.location.is_arn:
            scheme = run.artifact_uri.partition(":")[0]
            raise MalformedAnswer(f"artifacts of a SageMaker App are s3:// URIs; this run has a {scheme}: one")
        # with a host in it the URI may mean another server, which this one knows how to reach
        proxied = run.artifact_uri.startswith("mlflow-artifacts:") and not urlsplit(run.artifact_uri).netloc
        if proxied and self.capabilities.artifact_proxy:
            known = self.capabilities
            # the other way asks by run, which the files of a logged model do not have
            return [
                ProxyStore(self.session, run, known if isinstance(run, Run) else replace(known, get_artifact=False))
            ]
        return [ServerStore(self.session, run)]

    # --- everything else

    @cached_property
    def _objects(self) -> ObjectReader:
        return ObjectReader(self.session, self.capabilities, self._stores, pool=self._pool, at_once=self._workers)

    def supports(self, kind: str) -> bool | None:
        """Whether the server can hold a kind of object at all."""
        return self._objects.supports(kind)

    def names(self, kind: str) -> list[str]:
        """Names of all registered models or prompts."""
        return read_names(self.session, kind)

    def registry(self) -> Iterator[list[Entity]]:
        """Every registered model, model version, prompt and prompt version."""
        return self._objects.registry()

    def server_objects(self) -> Iterator[list[Entity]]:
        """Every evaluation dataset and webhook."""
        return self._objects.server_objects()

    def experiment_objects(self, experiment_id: str, kinds: Collection[str]) -> Iterator[list[Entity]]:
        """Every logged model, trace or scorer of an experiment."""
        return self._objects.experiment_objects(experiment_id, kinds)

    def entity_files(self, entities: Sequence[Entity], depth: Depth) -> Iterator[ArtifactTree]:
        """The files of logged models and model versions."""
        return read_trees(
            [self._objects.place(entity) for entity in entities],
            self._objects.stores,
            depth,
            self._redact,
            pool=self._pool,
            at_once=2 * self._workers,
        )

    def with_model_links(self, runs: Sequence[Run]) -> list[Run]:
        """Return runs with the logged models that they used and made.

        A server without any logged model has no such links, and is not asked run by run.

        Raises:
            ReadError: when a run cannot be read.
        """
        if not self._has_logged_models:
            return [replace(run, model_inputs=(), model_outputs=()) for run in runs]
        return with_links(self.session, runs, self._pool, self._workers)

    @cached_property
    def _has_logged_models(self) -> bool:
        if self.supports("logged_model") is False:
            return False
        ids = [experiment.experiment_id for experiment in self.experiments()]
        for first in range(0, len(ids), _IDS):
            query = {"experiment_ids": ids[first : first + _IDS], "max_results": 1}
            if self.session.post(endpoints.LOGGED_MODELS, query).get("models"):
                return True
        return False

    def outside(self) -> Mapping[str, int | None]:
        """Count the registered models and prompts, for an audit that leaves them out."""
        return {"registered models": self._count("registered_model"), "prompts": self._count("prompt")}

    def _count(self, kind: str) -> int | None:
        try:
            return len(self.names(kind))
        except ReadError:
            return None


def _number(experiment_id: str) -> tuple[int, str]:
    return (int(experiment_id), "") if experiment_id.isdigit() else (0, experiment_id)


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    return Experiment(
        experiment_id=str(entry["experiment_id"]),
        name=entry["name"],
        lifecycle_stage=entry.get("lifecycle_stage", "active"),
        artifact_location=entry.get("artifact_location", ""),
        creation_time=milliseconds(entry.get("creation_time")),
        last_update_time=milliseconds(entry.get("last_update_time")),
        tags=tags_of(entry.get("tags", [])),
    )


def _run(entry: Mapping[str, Any]) -> Run:
    info, data = entry["info"], entry.get("data", {})
    tags = tags_of(data.get("tags", []))
    return Run(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        # servers before 2.0 knew the name as a tag only
        name=info.get("run_name") or tags.get("mlflow.runName", ""),
        status=str(info["status"]),
        start_time=milliseconds(info.get("start_time")),
        end_time=milliseconds(info.get("end_time")),
        user_id=info.get("user_id", ""),
        lifecycle_stage=info.get("lifecycle_stage", "active"),
        artifact_uri=info.get("artifact_uri", ""),
        params=tags_of(data.get("params", [])),
        tags=tags,
        metrics={
            point["key"]: MetricPoint(int(point.get("step", 0)), int(point.get("timestamp", 0)), float(point["value"]))
            for point in data.get("metrics", [])
        },
        inputs=tuple(_input(found) for found in entry.get("inputs", {}).get("dataset_inputs", [])),
    )


def _input(entry: Mapping[str, Any]) -> DatasetInput:
    dataset = entry["dataset"]
    return DatasetInput(
        name=dataset["name"],
        digest=dataset["digest"],
        source_type=dataset.get("source_type", ""),
        source=dataset.get("source", ""),
        schema=dataset.get("schema", ""),
        profile=dataset.get("profile", ""),
        tags=tuple(sorted((tag["key"], tag.get("value", "")) for tag in entry.get("tags", []))),
    )
