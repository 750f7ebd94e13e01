"""Reads one tracking server or App over REST."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from mlflow_parity.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.model import ArtifactTree, Capabilities, DatasetInput, Experiment, MetricPoint, Run, Series
from mlflow_parity.options import Depth
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.artifacts import ProxyStore, S3Store, ServerStore, Store, read_trees
from mlflow_parity.reading.auth import Credentials
from mlflow_parity.reading.capabilities import probe, release
from mlflow_parity.reading.histories import read_histories
from mlflow_parity.reading.session import Session
from mlflow_parity.redaction import Redactor

#: Objects per page: 50,000 are allowed, but 1,000 runs are a good page (facts: 2.9 ms a run).
PAGE = 1_000
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
        for attempt in range(3):
            moved = False
            for page in self._pages(endpoints.RUNS, query, "runs"):
                fresh: list[Run] = []
                ids: set[str] = set()
                for entry in page:
                    run = _made(_run, entry)
                    if run.experiment_id != experiment_id:
                        raise MalformedAnswer(f"asked for runs of experiment {experiment_id}, got {run.experiment_id}")
                    ids.add(run.run_id)
                    if run.run_id not in seen:
                        fresh.append(run)
                moved |= len(ids) < len(page) or (len(fresh) < len(page) and attempt == 0)
                seen |= ids
                if fresh:
                    yield fresh
            if not moved:
                return

    # --- values

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """The complete history of every metric key of ``runs``."""
        bulk = self.capabilities.history_bulk
        return read_histories(self.session, runs, bulk=bulk, pool=self._pool, at_once=self._workers)

    def artifacts(self, runs: Sequence[Run], depth: Depth) -> Iterator[ArtifactTree]:
        """The artifact tree of each run."""
        return read_trees(runs, self._store, depth, self._redact, pool=self._pool, at_once=2 * self._workers)

    def _store(self, run: Run) -> Store:
        if run.artifact_uri.startswith("s3://"):
            return S3Store(self._credentials.aws.s3, run)
        if self.location.is_arn:
            scheme = run.artifact_uri.partition(":")[0]
            raise MalformedAnswer(f"artifacts of a SageMaker App are s3:// URIs; this run has a {scheme}: one")
        if run.artifact_uri.startswith("mlflow-artifacts:") and self.capabilities.artifact_proxy:
            return ProxyStore(self.session, run, self.capabilities)
        return ServerStore(self.session, run)

    def outside(self) -> Mapping[str, int | None]:
        """Count what this audit does not compare.

        The plain model search hides prompts from 2.21 on; raw REST without a filter does not hide models from old
        servers, as the newer clients do.
        """
        three = release(self.capabilities.version) >= (3, 0)
        ids = [item.experiment_id for item in self.experiments()]
        searches: dict[str, tuple[endpoints.Endpoint, dict[str, Any], str, bool]] = {
            "registered models": (endpoints.REGISTERED_MODELS, {"max_results": 1000}, "registered_models", True),
            "prompts": (
                endpoints.REGISTERED_MODELS,
                {"max_results": 1000, "filter": _PROMPTS},
                "registered_models",
                True,
            ),
            "model versions": (endpoints.MODEL_VERSIONS, {"max_results": 10_000}, "model_versions", True),
            "logged models": (
                endpoints.LOGGED_MODELS,
                {"experiment_ids": ids, "max_results": 1000},
                "models",
                three,
            ),
        }
        counts: dict[str, int | None] = {}
        for name, (endpoint, query, field, known) in searches.items():
            try:
                counts[name] = sum(len(page) for page in self._pages(endpoint, query, field)) if known else 0
            except RequestRefused as refused:
                counts[name] = 0 if refused.status == 404 and self.capabilities.version else None
            except ReadError:
                counts[name] = None
        # searching traces reads them all; whether there are any is for the issue that compares them
        counts["traces"] = None if three else 0
        return counts


def _number(experiment_id: str) -> tuple[int, str]:
    return (int(experiment_id), "") if experiment_id.isdigit() else (0, experiment_id)


def _made(make: Callable[[Mapping[str, Any]], Any], entry: Mapping[str, Any]) -> Any:
    try:
        return make(entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise MalformedAnswer(f"an object cannot be read: {type(error).__name__}: {error}") from None


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
            point["key"]: MetricPoint(int(point.get("step", 0)), int(point["timestamp"]), float(point["value"]))
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
