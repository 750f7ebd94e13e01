"""Where the files of runs, logged models and model versions are, and through which stores they may be reached."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from threading import Lock
from typing import Any
from urllib.parse import unquote, urlsplit

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused
from mlflow_parity.core.records import STORAGE, Capabilities, Entity, Run
from mlflow_parity.kinds.conventions.attachments import FOLDER, named
from mlflow_parity.kinds.conventions.copy_places import canonical, host_of, is_below, is_host
from mlflow_parity.reading.artifacts.attachments import SENT, ProxyAttachments, ServerAttachments, ignores_path
from mlflow_parity.reading.artifacts.disk import on_disk
from mlflow_parity.reading.artifacts.own_way import OwnWay, own_store
from mlflow_parity.reading.artifacts.s3_store import REST, SECONDS, S3Store
from mlflow_parity.reading.artifacts.shared_listings import SharedListings, place_of
from mlflow_parity.reading.artifacts.shown_s3 import Seen, ShownStore
from mlflow_parity.reading.artifacts.stated.attributes import AttributesOfBuckets
from mlflow_parity.reading.artifacts.stated.checksums import EtagsOfPlaces
from mlflow_parity.reading.artifacts.stores import Place, ProxyStore, ServerStore, Store
from mlflow_parity.reading.artifacts.trusted_places import PlaceNotAllowed, TrustedPlaces
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Credentials
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.listing import made
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.slowing import Patience

#: Objects that name each other; more is a loop.
_NAMES = 8
#: Status of runs that log nothing more, and seconds in which a logged model's files are written.
_OVER, _MADE = frozenset({"FINISHED", "FAILED", "KILLED"}), 3600.0
_MODEL = re.compile(r"/models/(m-[0-9a-f]{32})/artifacts(?:/|$)")


def _model_id(uri: str) -> str:
    """Return the logged model's id in ``models:/m-…``; empty: it names none."""
    return uri.removeprefix("models:/").partition("/")[0] if uri.startswith("models:/m-") else ""


def attachments_uri(trace: Entity) -> str:
    """Return where a trace's attachments are; empty where the server does not tell."""
    folder = str((trace.facets.get("tags") or {}).get("mlflow.artifactLocation") or "")
    return posixpath.join(folder, FOLDER) if folder else ""


class Places:
    """Finds the places of one server's files; safe to use from many threads."""

    def __init__(
        self,
        session: Session,
        credentials: Credentials,
        capabilities: Callable[[], Capabilities],
        trusted: TrustedPlaces,
        way: OwnWay | None = None,
        reports: ChecksumReports | None = None,
    ) -> None:
        self._session = session
        self._way = way
        self._credentials = credentials
        self._trusted = trusted
        self._ask = capabilities
        self._uris: dict[str, str] = {}
        self._lock = Lock()
        self._s3_patience = Patience(SECONDS, REST)
        self._seen = Seen()
        #: What was seen of the ETags of S3.
        self.etags = EtagsOfPlaces()
        #: What S3 is asked of files in parts.
        self.attributes = AttributesOfBuckets()
        self._reports = reports
        self._sends: bool | None = None

    @cached_property
    def _capabilities(self) -> Capabilities:
        return self._ask()

    def of_run(self, run: Run, shared: SharedListings | None = None) -> Sequence[Store]:
        """Stores of a run's artifacts."""
        over = run.end_time if run.status in _OVER else None
        ended = None if over is None else over / 1000
        return self.stores(Place(run.run_id, run.artifact_uri, run_id=run.run_id, ended=ended), shared)

    def expected(self, uri: str, owner: str) -> list[tuple[str, str]]:
        """Return the places in which an owner's files are looked for, each with the owner."""
        own = self._way.below(uri) if self._way is not None and uri.startswith("mlflow-artifacts:/") else None
        return [(one, owner) for one in (uri, own) if one]

    def of_entity(self, entity: Entity, shared: SharedListings | None = None) -> Sequence[Store]:
        """Stores of the files of a logged model or a model version.

        Raises:
            ReadError: its place cannot be found out.
        """
        return self.stores(self.place(entity), shared)

    def place(self, entity: Entity) -> Place:
        """Return where a logged model's files are, or those that are loaded for a model version.

        Raises:
            ReadError: the server does not tell.
        """
        uri = entity.artifact_uri or ""
        if entity.kind == "logged_model":
            place = uri or self._model_uri(entity.entity_id)
            ended = None if entity.created is None else entity.created / 1000 + _MADE
            return Place(entity.entity_id, place, model_id=entity.entity_id, ended=ended)
        version = entity.container, int(entity.facets["number"])
        loaded = entity.facets.get(STORAGE) or self.loaded_from(*version)
        # where that is a logged model's place, the server lists it under the model's id, whatever its store is
        named = _MODEL.search(loaded)
        for model_id in filter(None, (_model_id(uri), named and named[1])):
            try:
                root = self._model_uri(model_id).rstrip("/")
            except RequestRefused as error:
                # one that is gone is no name of the place; what may not be asked for is another matter
                if error.status in (401, 403):
                    raise
                continue
            if loaded == root or loaded.startswith(f"{root}/"):
                folder = loaded[len(root) :].strip("/")
                return Place(entity.entity_id, loaded, model_id=model_id, folder=folder, version=version)
        return self._version(entity, loaded, version)

    def loaded_from(self, name: str, number: int) -> str:
        """Ask for the place from which MLflow's clients load a model version: that alone counts, not its source.

        What is there may be the name of another object: that one's place is returned.

        Raises:
            ReadError: the server does not tell.
        """
        uri = self._download_uri(name, str(number))
        for _ in range(_NAMES):
            if uri.startswith("runs:/"):
                run_id, _, folder = uri.removeprefix("runs:/").partition("/")
                answer = self._session.get(endpoints.RUN, {"run_id": run_id})
                root = made(lambda one: str(one["run"]["info"]["artifact_uri"]), answer)
            elif model_id := _model_id(uri):
                folder = uri.removeprefix(f"models:/{model_id}").strip("/")
                root = self._model_uri(model_id)
            elif uri.startswith("models:/"):
                other, _, folder = uri.removeprefix("models:/").rpartition("/")
                root, folder = self._download_uri(other, folder), ""
            else:
                break
            uri = posixpath.join(root, folder) if folder else root
        if not uri or uri.startswith(("models:", "runs:")):
            raise MalformedAnswer("the server does not tell where the version's files are")
        return uri

    def load_refusal(self, uri: str) -> str:
        """Return why MLflow's client is not sent to a place; empty: it may go there."""
        if uri.startswith("s3://"):
            return self._trusted.refusal(uri, "loaded")
        host = host_of(uri)
        own = not host or is_host(host, self._session.location.address)
        if own and (host or uri.startswith("mlflow-artifacts:")):
            return ""
        root = self._trusted.root
        if root and is_below(uri, {canonical(root)}):
            return ""
        return f"{uri} lies outside of the server's own artifact root, and is not loaded"

    def _download_uri(self, name: str, number: str) -> str:
        answer = self._session.get(endpoints.VERSION_URI, {"name": name, "version": number})
        return str(answer.get("artifact_uri", ""))

    def _version(self, entity: Entity, uri: str, version: tuple[str, int]) -> Place:
        run_id = entity.facets["run"]
        # below the run's own root the server can list the files, whatever its store is
        _, found, folder = uri.partition(f"/{run_id}/artifacts/") if run_id else ("", "", "")
        if found:
            return Place(entity.entity_id, uri, run_id=run_id, folder=unquote(folder).strip("/"), version=version)
        return Place(entity.entity_id, uri, version=version)

    def _model_uri(self, model_id: str) -> str:
        with self._lock:
            known = self._uris.get(model_id)
        if known is None:
            answer = self._session.get(endpoints.LOGGED_MODEL, below=model_id)
            known = made(lambda one: str(one["model"]["info"]["artifact_uri"]), answer)
            with self._lock:
                self._uris[model_id] = known
        return known

    def of_trace(self, trace_id: str, location: str) -> Store | None:
        """Store of a trace's folder, where the server itself cannot be asked for it."""
        if not self._session.location.is_arn:
            return None
        [store] = self.stores(Place(trace_id, location))
        return store

    def of_attachments(self, trace: Entity) -> Sequence[Store]:
        """Stores of a trace's attachments: those that can be listed, else the server, which is asked for each.

        Raises:
            ReadError: they cannot be read at all.
        """
        uri = attachments_uri(trace)
        if self._session.location.is_arn:
            return self.stores(Place(trace.entity_id, uri))
        if uri.startswith("mlflow-artifacts:") and not urlsplit(uri).netloc and self._capabilities.artifact_proxy:
            return [ProxyAttachments(self._session, Place(trace.entity_id, uri), self._capabilities)]
        ids = named(trace.facets.get("spans") or [])
        return [ServerAttachments(self._session, trace.entity_id, ids, self._sends_attachments)]

    def _sends_attachments(self, trace_id: str) -> bool:
        """Whether the server sends attachments, and not the spans for whatever file it is asked for."""
        version = release(self._capabilities.version)
        if version != (0, 0):
            return version >= SENT
        with self._lock:
            if self._sends is None:
                self._sends = not ignores_path(self._session, trace_id)
            return self._sends

    @property
    def with_own_rights(self) -> bool:
        """Whether ``s3://`` places are read with the caller's own rights, and not with those of the server."""
        return self._session.location.is_arn or self._credentials.aws.usable

    @property
    def s3(self) -> Any:
        """The client that reads ``s3://`` places with the caller's own rights."""
        return self._credentials.aws.s3

    def stores(self, place: Place, shared: SharedListings | None = None) -> Sequence[Store]:
        """Where a place's files may be read, the best first: the server reaches more than the auditor may.

        ``shared`` is what was listed for others too.

        Raises:
            ReadError: they cannot be read at all.
        """
        is_arn = self._session.location.is_arn
        if place.uri.startswith("s3://"):
            server = self._server(place)
            if not self.with_own_rights:
                self._trusted.through_server(place.uri)
                return [server]
            # data of the server named it: the only place in which that decides what these rights are used for
            if why := self._trusted.refusal(place.uri):
                raise PlaceNotAllowed(why)
            around = place_of(place.uri, place.owner)
            if around is not None and not self._trusted.covers(around):
                shared = None
            own = self._in_s3(place, shared)
            if is_arn:
                return [own]
            told = str(self.s3.meta.endpoint_url), self._session.location.display
            return [ShownStore(own, server, place.uri, told, self._seen)]
        if is_arn:
            scheme = place.uri.partition(":")[0]
            raise MalformedAnswer(f"artifacts of a SageMaker App are s3:// URIs; this is a {scheme}: one")
        # with a host in it the URI may mean another server, which this one knows how to reach
        proxied = place.uri.startswith("mlflow-artifacts:") and not urlsplit(place.uri).netloc
        if proxied and self._capabilities.artifact_proxy:
            proxy = ProxyStore(self._session, place, self._capabilities, shared)
            return [self._own(place, proxy, shared) or proxy]
        return [self._server(place)]

    def _own(self, place: Place, server: ProxyStore, shared: SharedListings | None) -> Store | None:
        """Return the caller's own way to a proxied place, where one was given."""
        if self._way is None:
            return None
        in_s3 = partial(self._in_s3, shared=shared)
        return own_store(self._way, place, server, self._session.location.display, in_s3)

    def _in_s3(self, place: Place, shared: SharedListings | None) -> S3Store:
        # what is archived on the source is no loss of the migration
        return S3Store(
            self.s3, place, self._s3_patience, shared, self.etags, self._reports, self.attributes,
            to_be_read=self._credentials.aws.side == "target",
        )  # fmt: skip

    def _server(self, place: Place) -> ServerStore:
        # a path of another machine is another file here, or none
        local = place.uri.startswith(("/", "file:")) and self._session.location.is_loopback
        disk = on_disk(place.uri, self._trusted.root) if local else None
        return ServerStore(self._session, place, release(self._capabilities.version), disk)
