"""Reads experiments, runs, metric histories and files of one tracking server or App over REST."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused
from mlflow_parity.core.records import (
    ArtifactTree,
    Beside,
    Capabilities,
    Entity,
    Experiment,
    Run,
    Series,
)
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import Depth, Evidence
from mlflow_parity.kinds import FILES
from mlflow_parity.kinds.conventions.attachments import named
from mlflow_parity.reading import records
from mlflow_parity.reading.artifacts.artifact_locations import Places
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.own_way import OwnWay
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.stores import Store
from mlflow_parity.reading.artifacts.trees import Sure, read_trees
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.reading.histories import Lengths, drained, read_histories
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Credentials
from mlflow_parity.reading.transport.capabilities import probe, server_info
from mlflow_parity.reading.transport.kind_support import Support, is_absent, is_gone, on_files
from mlflow_parity.reading.transport.listing import each_once, list_in, made, pages
from mlflow_parity.reading.transport.session import Session

T = TypeVar("T")
#: Objects per page: 50,000 are allowed, but 1,000 runs are a good page (facts: 2.9 ms a run).
PAGE = 1_000
#: Experiments named in one search.
IDS = 500
#: Runs named in one search, and ids that can be named so.
_BY_ID = 200
_PLAIN_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class RunReader:
    """The part of :class:`~mlflow_parity.reading.server.ServerReader` about experiments, runs and files."""

    def __init__(
        self,
        session: Session,
        credentials: Credentials,
        *,
        workers: int = 8,
        redactor: Redactor | None = None,
        page: int = PAGE,
        allowed: Sequence[str] = (),
        own_way: OwnWay | None = None,
        known: KnownHashes | None = None,
        reports: ChecksumReports | None = None,
    ) -> None:
        self.location = session.location
        self.session = session
        #: Where the bytes of files are kept while they are hashed; an audit keeps none.
        self.save_to: Blobs | None = None
        #: Whether files in S3 are left there, to be copied by S3 itself: a migration that keeps no export.
        self.leave = False
        #: Which checksums that stores state stand for the bytes of files.
        self.evidence: Evidence = "sha256"
        #: Which registered models and prompts are read, by name, and whether datasets and webhooks are; all of them.
        self.wanted: Callable[[str], bool] = lambda _: True
        self.others = True
        #: What earlier audits have read of files; an audit that is not asked to keeps nothing of the kind.
        self._known = known
        #: What checksum reports state of files in S3.
        self._reports = reports
        self._credentials = credentials
        self._workers = workers
        # one pool for all experiments that are read side by side: threads cost memory, and the server is the limit
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="parity-request")
        self._redact = redactor or Redactor.from_environment()
        self._page = page
        self._small = page if page < PAGE else None
        self._lengths = Lengths()
        self._linking = Lock()
        #: Which places in S3 are read with the caller's own rights: the server's own, and those in ``allowed``.
        self.trusted = TrustedPlaces(allowed, self.experiments, workspace=bool(session.location.workspace))
        #: The caller's own way to what the server keeps behind its proxy, if there is one.
        self.own_way = own_way
        self.places = self._places = Places(
            session, credentials, lambda: self.capabilities, self.trusted, own_way, reports
        )
        self.attributes, self.etags = self.places.attributes, self.places.etags
        self._support = Support(
            lambda: self.capabilities.version,
            strict=not session.location.is_arn,
            keeps_files=lambda kind: on_files(session, self._info, kind),
        )

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the server can do; asked once."""
        return probe(self.session, lambda: self._info)

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        """What the server says of itself; asked once."""
        return server_info(self.session)

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads of all that is asked at once."""
        return self._pool

    @property
    def keeps_in_s3(self) -> bool:
        """Whether new files of this server are in an S3 that is read and written with the caller's own rights."""
        return self.trusted.root.startswith("s3://") and self.places.with_own_rights

    @property
    def beside(self) -> Beside:
        """None."""
        return Beside()

    @property
    def told(self) -> str:
        """Nothing that a report has to say of the way it was read."""
        return ""

    def end_of_first_reading(self) -> None:
        """Nothing: each request tells what is there when it is answered."""

    def contradictions(self, runs: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Nothing: nothing but the server was asked."""
        return {}

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
                experiment = made(records.experiment, entry)
                found[experiment.experiment_id] = experiment
        self.trusted.learn(found.values())
        return sorted(found.values(), key=lambda item: (not item.experiment_id.isdigit(), _number(item.experiment_id)))

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run in pages, deleted ones included, each once.

        Pages go by offset, so the order must not change while they are read: soft deletion does not move a run in
        the view of all, a new run comes last. Where a run is seen twice all the same, rows were moved by a hard
        deletion or by the clock, and a second pass brings what the first may have passed over.

        Raises:
            ReadError: when the list cannot be read.
        """
        yield from self.runs_of([experiment_id])

    def runs_of(self, experiment_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Every run of several experiments in pages, deleted ones included, each once.

        Raises:
            ReadError: when the list cannot be read.
        """
        for first in range(0, len(experiment_ids), IDS):
            yield from self._runs_of(list(experiment_ids[first : first + IDS]))

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that an experiment has now, deleted ones included, each once.

        Raises:
            ReadError: they cannot be read.
        """
        # what could end the quotes of a filter names no run that any server of MLflow made
        plain = sorted(one for one in run_ids if _PLAIN_ID.fullmatch(one))
        left = set(run_ids)
        for first in range(0, len(plain), _BY_ID):
            some = plain[first : first + _BY_ID]
            for page in self._runs_of([experiment_id], some):
                left -= {run.run_id for run in page}
                yield page
        # one that a search does not name is gone when the server says so of it alone
        found = drained(self._pool, self.run_now, sorted(left), self._workers)
        yield [run for run in found if run is not None and run.experiment_id == experiment_id]

    def run_now(self, run_id: str) -> Run | None:
        """One run as it is now; ``None``: it is not there any more."""
        try:
            answer = self.session.get(endpoints.RUN, {"run_id": run_id})
        except RequestRefused as error:
            if is_gone(error):
                return None
            raise
        run = made(lambda found: records.run(found["run"]), answer)
        if run.run_id != run_id:
            raise MalformedAnswer(f"asked for run {run_id[:64]!r}, got another one")
        return run

    def _runs_of(self, experiment_ids: list[str], run_ids: Collection[str] = ()) -> Iterator[list[Run]]:
        query: dict[str, Any] = {
            "experiment_ids": experiment_ids,
            "run_view_type": "ALL",
            "max_results": self._page,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
        }
        if run_ids:
            query["filter"] = "attributes.run_id IN (" + ", ".join(f"'{one}'" for one in run_ids) + ")"
        names = " ".join(experiment_ids[:3]) + (" …" if len(experiment_ids) > 3 else "")
        what = f"the runs of experiment {names}"
        wanted = set(experiment_ids)

        def make(entry: Mapping[str, Any]) -> Run:
            run = records.run(entry)
            if run.experiment_id not in wanted:
                raise MalformedAnswer(f"asked for runs of experiment {names}, got {run.experiment_id}")
            if run_ids and run.run_id not in run_ids:
                raise MalformedAnswer(f"asked for {len(run_ids)} runs of experiment {names}, got another one")
            return run

        yield from each_once(lambda: self._pages(endpoints.RUNS, query, "runs"), make, lambda run: run.run_id, what)

    def with_model_links(self, runs: Sequence[Run]) -> list[Run]:
        """Return runs with the logged models that they used and made: one call a run, the search does not tell.

        A server without any logged model has no such links, and is not asked run by run.

        Raises:
            ReadError: when a run cannot be read.
        """
        if not self._has_models:
            return [replace(run, model_inputs=(), model_outputs=()) for run in runs]

        def one(run: Run) -> Run:
            answer = self.session.get(endpoints.RUN, {"run_id": run.run_id})
            used, made_by = made(lambda found: records.model_links(found["run"]), answer)
            other = {**run.other, **made(lambda found: records.beside_links(found["run"]), answer)}
            return replace(run, model_inputs=used, model_outputs=made_by, other=other)

        found = {run.run_id: run for run in drained(self._pool, one, runs, self._workers)}
        return [found[run.run_id] for run in runs]

    @cached_property
    def _has_models(self) -> bool:
        """Whether there may be logged models; without any no run has links to them, deleted ones apart."""
        if self._support.supports("logged_model") is False:
            return False
        ids = [experiment.experiment_id for experiment in self.experiments()]
        try:
            for first in range(0, len(ids), IDS):
                query = {"experiment_ids": ids[first : first + IDS], "max_results": 1}
                answer = self.session.post(endpoints.LOGGED_MODELS, query)
                # a page without any that is not the last says nothing
                if list_in(answer, "models") or answer.get("next_page_token"):
                    return True
        except RequestRefused as error:
            # refused is not absent, nor is an endpoint that this version has: then there may be some
            return not is_absent(error) or bool(self._support.has("logged_model"))
        return False

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

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """The artifact tree of each run; ``sure`` names files whose bytes are read whatever a store states."""
        listings = SharedListings() if shared is None else shared
        listings.expect(one for run in runs for one in self._places.expected(run.artifact_uri, run.run_id))
        return self._trees(
            runs, lambda run: run.run_id, lambda run: self._places.of_run(run, listings), depth, sure=sure
        )

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """The files of each logged model and model version, the attachments of each trace.

        ``run_id`` of a tree is the entity's id; ``sure`` names files whose bytes are read whatever a store states.

        Raises:
            ValueError: an entity of a kind that has no files.
        """
        if wrong := {entity.kind for entity in entities} - FILES.keys():
            raise ValueError(f"kinds without files: {', '.join(sorted(wrong))}")
        traces = {entity.entity_id: entity for entity in entities if entity.kind == "trace"}
        entities = [entity for entity in entities if entity.kind != "trace"]
        touch = any(entity.kind == "model_version" for entity in entities)
        listings = SharedListings() if shared is None else shared
        listings.expect(
            place for one in entities for place in self._places.expected(one.artifact_uri or "", one.entity_id)
        )
        trees = self._trees(
            entities,
            lambda entity: entity.entity_id,
            lambda entity: self._places.of_entity(entity, listings),
            depth,
            touch=touch,
            sure=sure,
        )
        return chain(self._attachments(traces, depth, sure), trees)

    def _attachments(self, traces: Mapping[str, Entity], depth: Depth, sure: Sure | None) -> Iterator[ArtifactTree]:
        """The attachments of traces whose spans name any; of spans that were not all read it is not known."""
        naming = [trace for trace in traces.values() if named(trace.facets.get("spans") or [])]
        for trace_id in traces.keys() - {trace.entity_id for trace in naming}:
            yield _of_known(ArtifactTree(trace_id, ()), traces[trace_id])
        for tree in self._trees(naming, lambda trace: trace.entity_id, self._places.of_attachments, depth, sure=sure):
            yield _of_known(tree, traces[tree.run_id])

    def _trees(
        self,
        owners: Sequence[T],
        name_of: Callable[[T], str],
        stores_of: Callable[[T], Sequence[Store]],
        depth: Depth,
        *,
        touch: bool = False,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        at_once = 2 * self._workers
        return read_trees(
            owners,
            name_of,
            stores_of,
            depth,
            self._redact,
            pool=self._pool,
            at_once=at_once,
            touch=touch,
            save_to=self.save_to,
            evidence=self.evidence,
            sure=sure,
            known=self._known,
            reports=self._reports,
            leave=self.leave,
        )


def _of_known(tree: ArtifactTree, trace: Entity) -> ArtifactTree:
    """Return a trace's attachments; where its spans were not read whole, they may name others."""
    if trace.error is None or tree.error is not None:
        return tree
    return replace(tree, error=f"which they are is not known: {trace.error}")


def _number(experiment_id: str) -> tuple[int, str]:
    return (int(experiment_id), "") if experiment_id.isdigit() else (0, experiment_id)
