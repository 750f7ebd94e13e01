"""Reads one tracking server or App over REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from mlflow_parity.errors import MalformedAnswer, ReadError
from mlflow_parity.model import ArtifactTree, Capabilities, DatasetInput, Experiment, MetricPoint, Run, Series
from mlflow_parity.options import Depth
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.artifacts import read_trees
from mlflow_parity.reading.auth import Credentials
from mlflow_parity.reading.capabilities import probe, release
from mlflow_parity.reading.histories import Lengths, read_histories
from mlflow_parity.reading.session import Session
from mlflow_parity.reading.stores import ProxyStore, S3Store, ServerStore, Store
from mlflow_parity.redaction import Redactor

#: Objects per page: 50,000 are allowed, but 1,000 runs are a good page (facts: 2.9 ms a run).
PAGE = 1_000
#: Listings of an experiment's runs before it is given up that rows move while they are read.
_PASSES = 4
#: Experiments named in one search.
_IDS = 500
_PROMPTS = "tags.`mlflow.prompt.is_prompt` = 'true'"


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
        """Page through a search; a token that repeats or an empty page before the end is an error."""
        token: str | None = None
        seen: set[str] = set()
        while True:
            asked = {**query, **({"page_token": token} if token else {})}
            if endpoint.method == "POST":
                answer = self.session.post(endpoint, asked)
            else:
                answer = self.session.get(endpoint, asked)
            page = answer.get(name, [])
            if not isinstance(page, list):
                raise MalformedAnswer(f"{endpoint.path}: {name!r} is not a list")
            yield page
            token = answer.get("next_page_token") or None
            if token is None:
                return
            if token in seen:
                raise MalformedAnswer(f"{endpoint.path} repeats a page token")
            if not page:
                raise MalformedAnswer(f"{endpoint.path} gives an empty page before the end")
            seen.add(token)

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
                experiment = _made(_experiment, entry)
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
                    run = _made(_run, entry)
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

    def _stores(self, run: Run) -> Sequence[Store]:
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
            return [ProxyStore(self.session, run, self.capabilities)]
        return [ServerStore(self.session, run)]

    def outside(self) -> Mapping[str, int | None]:
        """Count what this audit does not compare.

        The plain model search hides prompts from 2.21 on; raw REST without a filter does not hide models from old
        servers, as the newer clients do.
        """
        # a version that is not told may hold everything
        three = self.capabilities.version is None or release(self.capabilities.version) >= (3, 0)
        models, versions = {"max_results": 1_000}, {"max_results": 10_000}
        counts: dict[str, int | None] = {
            "registered models": self._count(endpoints.REGISTERED_MODELS, models, "registered_models"),
            "prompts": self._count(endpoints.REGISTERED_MODELS, {**models, "filter": _PROMPTS}, "registered_models"),
            "model versions": self._count(endpoints.MODEL_VERSIONS, versions, "model_versions"),
            "logged models": self._logged_models() if three else 0,
            # searching traces reads them all; whether there are any is for the issue that compares them
            "traces": None if three else 0,
        }
        return counts

    def _logged_models(self) -> int | None:
        ids = [experiment.experiment_id for experiment in self.experiments()]
        found = 0
        for first in range(0, len(ids), _IDS):
            query = {"experiment_ids": ids[first : first + _IDS], "max_results": 1_000}
            count = self._count(endpoints.LOGGED_MODELS, query, "models")
            if count is None:
                return None
            found += count
        return found

    def _count(self, endpoint: endpoints.Endpoint, query: Mapping[str, Any], name: str) -> int | None:
        try:
            return sum(len(page) for page in self._pages(endpoint, query, name))
        except ReadError:
            return None


def _number(experiment_id: str) -> tuple[int, str]:
    return (int(experiment_id), "") if experiment_id.isdigit() else (0, experiment_id)


def _made(make: Callable[[Mapping[str, Any]], Any], entry: Mapping[str, Any]) -> Any:
    try:
        return make(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # the value that does not fit is the server's: it is not put into a message
        lacking = f" {error}" if isinstance(error, KeyError) else ""
        raise MalformedAnswer(f"an object cannot be read: {type(error).__name__}{lacking}") from None


def _pairs(entries: Sequence[Mapping[str, str]]) -> dict[str, str]:
    return {entry["key"]: entry.get("value", "") for entry in entries}


def _time(value: object) -> int | None:
    """Protobuf's JSON may give int64 as text."""
    return None if value is None else int(str(value))


def _experiment(entry: Mapping[str, Any]) -> Experiment:
    return Experiment(
        experiment_id=str(entry["experiment_id"]),
        name=entry["name"],
        lifecycle_stage=entry.get("lifecycle_stage", "active"),
        artifact_location=entry.get("artifact_location", ""),
        creation_time=_time(entry.get("creation_time")),
        last_update_time=_time(entry.get("last_update_time")),
        tags=_pairs(entry.get("tags", [])),
    )


def _run(entry: Mapping[str, Any]) -> Run:
    info, data = entry["info"], entry.get("data", {})
    tags = _pairs(data.get("tags", []))
    return Run(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        # servers before 2.0 knew the name as a tag only
        name=info.get("run_name") or tags.get("mlflow.runName", ""),
        status=str(info["status"]),
        start_time=_time(info.get("start_time")),
        end_time=_time(info.get("end_time")),
        user_id=info.get("user_id", ""),
        lifecycle_stage=info.get("lifecycle_stage", "active"),
        artifact_uri=info.get("artifact_uri", ""),
        params=_pairs(data.get("params", [])),
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
