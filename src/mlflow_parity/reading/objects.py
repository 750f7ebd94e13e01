"""Everything on a server beside experiments and runs, by the fattest request that its version has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from mlflow_parity.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.kinds import KINDS
from mlflow_parity.model import Artifact, Capabilities, Entity
from mlflow_parity.reading import endpoints
from mlflow_parity.reading.capabilities import release
from mlflow_parity.reading.logged_models import read_logged_models
from mlflow_parity.reading.registry import read_registry
from mlflow_parity.reading.server_objects import read_datasets, read_scorers, read_webhooks
from mlflow_parity.reading.session import Session
from mlflow_parity.reading.stores import LoggedModelStore, Owner, PartOfRun, Place, ServerStore, Store
from mlflow_parity.reading.traces import read_traces

#: Statuses and codes of MLflow's with which a server says that it has no such endpoint.
_ABSENT = (404, 405)
_ABSENT_CODES = ("", "ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED")
#: Bytes of a trace's file of spans that are read into memory.
_LARGEST_TRACE = 1 << 28


class ObjectReader:
    """Reads objects for a :class:`mlflow_parity.reading.server.ServerReader`."""

    def __init__(
        self,
        session: Session,
        capabilities: Capabilities,
        stores_of: Callable[[Owner], Sequence[Store]],
        *,
        pool: ThreadPoolExecutor,
        at_once: int,
    ) -> None:
        self._session = session
        self._capabilities = capabilities
        self._stores_of = stores_of
        self._pool = pool
        self._at_once = at_once
        self._probe = cache(self._ask)

    def supports(self, kind: str) -> bool | None:
        """Whether the server can hold a kind: by its version; where it tells none, by asking.

        Raises:
            ReadError: the server tells no version and does not answer.
        """
        if KINDS[kind].part == "registry":
            return True
        version = self._capabilities.version
        if version is not None:
            major, minor = KINDS[kind].first.split(".")
            return release(version) >= (int(major), int(minor))
        return self._probe(kind)

    def _ask(self, kind: str) -> bool:
        try:
            if kind == "logged_model":
                self._session.post(endpoints.LOGGED_MODELS, {"experiment_ids": ["0"], "max_results": 1})
            elif kind == "trace":
                return self._third or self._present(endpoints.TRACES_V2, {"experiment_ids": "0", "max_results": 1})
            elif kind == "evaluation_dataset":
                self._session.post(endpoints.DATASETS, {"max_results": 1})
            elif kind == "scorer":
                self._session.get(endpoints.SCORERS, {"experiment_id": "0"})
            else:
                self._session.get(endpoints.WEBHOOKS, {"max_results": 1})
        except RequestRefused as error:
            return not _is_absent(error)
        return True

    def _present(self, endpoint: endpoints.Endpoint, query: dict[str, Any]) -> bool:
        try:
            self._session.get(endpoint, query)
        except RequestRefused as error:
            return not _is_absent(error)
        return True

    @property
    def _third(self) -> bool:
        """Whether the third trace API is there."""
        version = self._capabilities.version
        if version is not None:
            return release(version) >= (3, 0)
        location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        try:
            self._session.post(endpoints.TRACES_V3, {"locations": [location], "max_results": 1})
        except RequestRefused as error:
            return not _is_absent(error)
        return True

    @property
    def _batches(self) -> bool:
        version = self._capabilities.version
        if version is not None:
            return release(version) >= (3, 6)
        return self._present(endpoints.TRACES_BATCH, {"trace_ids": "tr-0"})

    def registry(self) -> Iterator[list[Entity]]:
        """Registered models and prompts with their versions, in batches."""
        return read_registry(self._session)

    def server_objects(self) -> Iterator[list[Entity]]:
        """Evaluation datasets and webhooks, as far as the server has them."""
        if self.supports("evaluation_dataset") is not False:
            yield from read_datasets(self._session)
        if self.supports("webhook") is not False:
            yield from read_webhooks(self._session)

    def experiment_objects(self, experiment_id: str, kinds: Collection[str]) -> Iterator[list[Entity]]:
        """The objects of some kinds of an experiment."""
        if "logged_model" in kinds:
            yield from read_logged_models(self._session, experiment_id)
        if "trace" in kinds:
            yield from read_traces(
                self._session,
                experiment_id,
                third=self._third,
                batches=self._batches,
                spans_file=self._spans_file,
                pool=self._pool,
                at_once=self._at_once,
            )
        if "scorer" in kinds:
            yield from read_scorers(self._session, experiment_id)

    def _spans_file(self, trace_id: str, artifact_uri: str) -> bytes:
        """Read the file of spans of a trace: from its store for an ARN, else through the server."""

        def receive(pieces: Iterator[bytes]) -> bytes:
            content = bytearray()
            for piece in pieces:
                content += piece
                if len(content) > _LARGEST_TRACE:
                    raise MalformedAnswer(f"the trace's file is larger than {_LARGEST_TRACE >> 20} MB")
            return bytes(content)

        if not self._session.location.is_arn:
            return self._session.download(endpoints.TRACE_FILE, receive, query={"request_id": trace_id})
        reason = "the trace names no place of its spans"
        for store in self._stores_of(Place(trace_id, artifact_uri)) if artifact_uri else ():
            for way in store.ways(Artifact("traces.json", None)):
                try:
                    return way(receive)
                except ReadError as error:
                    reason = str(error)
        raise MalformedAnswer(reason)

    # --- files

    def place(self, entity: Entity) -> Place:
        """Where an entity's files are; a version's place is asked for when it is read."""
        uri = entity.artifact_uri or ""
        if entity.kind == "model_version":
            uri = f"version:{entity.facets.get('source') or ''}"
        return Place(entity.entity_id, uri)

    def stores(self, place: Place) -> Sequence[Store]:
        """Ways to the files of a logged model or a model version.

        Raises:
            ReadError: the version's place cannot be told.
        """
        if not place.artifact_uri.startswith("version:"):
            return self._of_model(place.run_id, place.artifact_uri)
        source = place.artifact_uri.removeprefix("version:")
        name, _, number = place.run_id.rpartition("/")
        answer = self._session.get(endpoints.DOWNLOAD_URI, {"name": name, "version": number})
        uri = str(answer.get("artifact_uri", ""))
        if source.startswith("models:/m-"):
            return self._of_model(source.removeprefix("models:/").split("/")[0], uri)
        stores = [] if _is_local(uri) else list(self._stores_of(Place("", uri)))
        run_id, folder = _in_run(uri)
        stores = [store for store in stores if not isinstance(store, ServerStore)]
        if run_id and not uri.startswith("mlflow-artifacts:") and not self._session.location.is_arn:
            # what the auditor cannot reach, the server reaches through the run
            stores.append(PartOfRun(ServerStore(self._session, Place(run_id, "")), folder))
        if not stores:
            raise MalformedAnswer("the version's files are in a place that neither auditor nor server can list")
        return stores

    def _of_model(self, model_id: str, uri: str) -> Sequence[Store]:
        stores = [] if _is_local(uri) else list(self._stores_of(Place(model_id, uri)))
        # a server cannot be asked for a model as for a run
        stores = [store for store in stores if not isinstance(store, ServerStore)]
        if not self._session.location.is_arn:
            stores.append(LoggedModelStore(self._session, model_id))
        return stores


def _is_absent(error: RequestRefused) -> bool:
    return error.status in _ABSENT and error.code in _ABSENT_CODES


def _is_local(uri: str) -> bool:
    """A path of the server's own disk."""
    return uri.startswith(("/", "file:")) or ("://" not in uri and not uri.startswith("mlflow-artifacts:"))


def _in_run(uri: str) -> tuple[str, str]:
    """Return run id and folder of a URI below a run's artifacts, by MLflow's own layout; empty when it is none."""
    parts = uri.split("/")
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == "artifacts" and len(parts[place - 1]) == 32:
            return parts[place - 1], "/".join(parts[place + 1 :])
    return "", ""
