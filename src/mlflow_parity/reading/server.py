"""Reads one tracking server or App over REST."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from threading import Lock
from typing import Any, TypeVar

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.locations import DEFAULT_WORKSPACE, VARIABLE
from mlflow_parity.core.records import (
    MIGRATION_TAGS,
    STORAGE,
    ArtifactTree,
    Capabilities,
    Entity,
    Experiment,
    Resolved,
    Run,
    Series,
)
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.scope import Depth
from mlflow_parity.kinds import FILES, KINDS
from mlflow_parity.kinds.attachments import named
from mlflow_parity.reading import records
from mlflow_parity.reading.artifacts.artifact_locations import Places
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.stores import Store
from mlflow_parity.reading.artifacts.trees import read_trees
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.reading.asking import Answer, Question, ask
from mlflow_parity.reading.histories import Lengths, drained, read_histories
from mlflow_parity.reading.listed import LISTINGS, Listed
from mlflow_parity.reading.logged_models import read_logged_models
from mlflow_parity.reading.others import read_datasets, read_scorers
from mlflow_parity.reading.registry import read_first, read_mark, read_names, read_registry, resolve_aliases
from mlflow_parity.reading.traces.links import LINKS, read_prompt_links
from mlflow_parity.reading.traces.traces import BATCHES, TRACES, TraceReader
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Credentials
from mlflow_parity.reading.transport.capabilities import probe, release
from mlflow_parity.reading.transport.kind_support import Support, is_absent
from mlflow_parity.reading.transport.listing import each_once, made, pages
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.visibility import Visibility, look

T = TypeVar("T")
#: Objects per page: 50,000 are allowed, but 1,000 runs are a good page (facts: 2.9 ms a run).
PAGE = 1_000
#: Experiments named in one search.
_IDS = 500
#: Objects that tell whether two servers are one.
_SOME = 100


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
        allowed: Sequence[str] = (),
    ) -> None:
        self.location = session.location
        self.session = session
        #: Where the bytes of files are kept while they are hashed; an audit keeps none.
        self.save_to: Blobs | None = None
        #: Which registered models and prompts are read, by name, and whether datasets and webhooks are; all of them.
        self.wanted: Callable[[str], bool] = lambda _: True
        self.others = True
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
        self.places = self._places = Places(session, credentials, lambda: self.capabilities, self.trusted)
        self._support = Support(lambda: self.capabilities.version, strict=not session.location.is_arn)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the server can do; asked once."""
        return probe(self.session)

    @cached_property
    def visibility(self) -> Visibility:
        """Whether the server shows everything to this user; asked once."""
        return look(self.session, self._credentials)

    @cached_property
    def keeps_spans(self) -> bool | None:
        """Whether spans can be kept in the server's database, where searches find them; ``None``: it does not tell."""
        version = release(self.capabilities.version)
        if version == (0, 0) or self.session.location.is_arn:
            return None
        return version >= BATCHES and self._info.get("store_type") != "FileStore"

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
        for first in range(0, len(experiment_ids), _IDS):
            yield from self._runs_of(list(experiment_ids[first : first + _IDS]))

    def _runs_of(self, experiment_ids: list[str]) -> Iterator[list[Run]]:
        query = {
            "experiment_ids": experiment_ids,
            "run_view_type": "ALL",
            "max_results": self._page,
            "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
        }
        names = " ".join(experiment_ids[:3]) + (" …" if len(experiment_ids) > 3 else "")
        what = f"the runs of experiment {names}"
        wanted = set(experiment_ids)

        def make(entry: Mapping[str, Any]) -> Run:
            run = records.run(entry)
            if run.experiment_id not in wanted:
                raise MalformedAnswer(f"asked for runs of experiment {names}, got {run.experiment_id}")
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
            return replace(run, model_inputs=used, model_outputs=made_by)

        found = {run.run_id: run for run in drained(self._pool, one, runs, self._workers)}
        return [found[run.run_id] for run in runs]

    @cached_property
    def _has_models(self) -> bool:
        """Whether there may be logged models; without any no run has links to them, deleted ones apart."""
        if self._support.supports("logged_model") is False:
            return False
        ids = [experiment.experiment_id for experiment in self.experiments()]
        try:
            for first in range(0, len(ids), _IDS):
                query = {"experiment_ids": ids[first : first + _IDS], "max_results": 1}
                answer = self.session.post(endpoints.LOGGED_MODELS, query)
                # a page without any that is not the last says nothing
                if answer.get("models") or answer.get("next_page_token"):
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

    def artifacts(self, runs: Sequence[Run], depth: Depth) -> Iterator[ArtifactTree]:
        """The artifact tree of each run."""
        return self._trees(runs, lambda run: run.run_id, self._places.of_run, depth)

    def entity_files(self, entities: Sequence[Entity], depth: Depth) -> Iterator[ArtifactTree]:
        """The files of each logged model and model version, the attachments of each trace.

        ``run_id`` of a tree is the entity's id.

        Raises:
            ValueError: an entity of a kind that has no files.
        """
        if wrong := {entity.kind for entity in entities} - FILES.keys():
            raise ValueError(f"kinds without files: {', '.join(sorted(wrong))}")
        traces = {entity.entity_id: entity for entity in entities if entity.kind == "trace"}
        entities = [entity for entity in entities if entity.kind != "trace"]
        touch = any(entity.kind == "model_version" for entity in entities)
        trees = self._trees(entities, lambda entity: entity.entity_id, self._places.of_entity, depth, touch=touch)
        return chain(self._attachments(traces, depth), trees)

    def _attachments(self, traces: Mapping[str, Entity], depth: Depth) -> Iterator[ArtifactTree]:
        """The attachments of traces whose spans name any; of spans that were not all read it is not known."""
        naming = [trace for trace in traces.values() if named(trace.facets.get("spans") or [])]
        for trace_id in traces.keys() - {trace.entity_id for trace in naming}:
            yield _of_known(ArtifactTree(trace_id, ()), traces[trace_id])
        for tree in self._trees(naming, lambda trace: trace.entity_id, self._places.of_attachments, depth):
            yield _of_known(tree, traces[tree.run_id])

    def _trees(
        self,
        owners: Sequence[T],
        name_of: Callable[[T], str],
        stores_of: Callable[[T], Sequence[Store]],
        depth: Depth,
        *,
        touch: bool = False,
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
        )

    # --- everything else

    def supports(self, kind: str) -> bool | None:
        """Whether the server can hold objects of a kind; ``None`` when that cannot be told.

        It is known from the server's version, and better after a listing: an endpoint may be missing all the same.
        """
        return self._support.supports(kind)

    def registry(self) -> Iterator[list[Entity]]:
        """Registered models, prompts and the versions of both, in pages, each once.

        Raises:
            ReadError: when a list cannot be read.
        """
        for batch in read_registry(self.session, self._small):
            yield [entity for entity in batch if self.wanted(entity.container or entity.entity_id)]

    def with_storage(self, versions: Sequence[Entity]) -> list[Entity]:
        """Return model versions with the place from which each is loaded, one request each; others as they are."""

        def one(entity: Entity) -> Entity:
            if entity.kind != "model_version":
                return entity
            try:
                place: str | None = self._places.loaded_from(entity.container, int(entity.facets["number"]))
                problem = entity.error
            except ReadError as error:
                place, problem = None, self._redact(f"where it is loaded from: {error}")
            return replace(entity, facets={**entity.facets, STORAGE: place}, error=problem)

        found = {entity.entity_id: entity for entity in drained(self._pool, one, versions, self._workers)}
        return [found[entity.entity_id] for entity in versions]

    def load_refusal(self, name: str, number: int) -> str:
        """Return why a model version is not loaded from where it names its files; empty: it may be.

        MLflow's client goes wherever that leads: to S3 with the caller's rights, to another host, to its own disk.
        """
        try:
            return self._places.load_refusal(self._places.loaded_from(name, number))
        except ReadError:
            # its client is not told either
            return ""

    def loaded_from(self, name: str, number: int) -> str:
        """Return the place from which MLflow's clients load a model version.

        Raises:
            ReadError: the server does not tell.
        """
        return self._places.loaded_from(name, number)

    def resolve(self, aliases: Iterable[tuple[str, str]]) -> Iterator[Resolved]:
        """Ask for the version behind each alias of a registered model or prompt: pairs of its name and the alias."""
        return resolve_aliases(self.session, self._pool, self._workers, self._redact, aliases)

    def answer(self, experiment_id: str, question: Question) -> Answer:
        """Ask what people's clients ask of an experiment."""
        return ask(self.session, self._redact, experiment_id, question)

    def server_objects(self, kind: str) -> Iterator[list[Entity]]:
        """Objects of a kind that hangs on nothing else (``evaluation_dataset``, ``webhook``, …), each once.

        Raises:
            ReadError: when the list cannot be read.
            ValueError: a kind that is none of these.
        """
        listings: dict[str, Callable[[], Iterator[list[Entity]]]] = {
            "evaluation_dataset": lambda: read_datasets(
                self.session, self._pool, self._workers, self._redact, self._small
            ),
            "workspace": self._other_workspaces,
            **{name: partial(self._listed.read, name) for name in LISTINGS},
        }
        listed = kind in KINDS and KINDS[kind].whole and self._support.supports(kind) is not False
        if listed and self._info.get("store_type") == "FileStore":
            # its API knows the lists, and fails at each of them
            self._support.lacks(kind)
        if kind not in listings:
            raise ValueError(f"no objects of the server: {kind}")
        if self.others:
            yield from self._support.listed(kind, listings[kind])

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        """What the server says of itself; nothing, where it is too old for that."""
        status, text = self.session.ask(endpoints.SERVER_INFO)
        found: object = None
        with suppress(ValueError, RecursionError):
            found = json.loads(text) if status == 200 else None
        return found if isinstance(found, dict) else {}

    def workspaces(self) -> list[str]:
        """Names of the server's workspaces beside the one that is read; none where it has no such thing.

        Raises:
            ReadError: they cannot be listed.
        """
        if self._support.supports("workspace") is False or self._info.get("workspaces_enabled") is False:
            return []
        # a server that does not say whether it has any answers here that it has not, in one of many ways
        if "workspaces_enabled" not in self._info:
            status, _ = self.session.ask(endpoints.WORKSPACES)
            if status in (404, 405, 501, 503):
                return []
        answer = self.session.get(endpoints.WORKSPACES)
        names = {made(lambda one: str(one["name"]), entry) for entry in answer.get("workspaces", [])}
        return sorted(names - {self.location.workspace or DEFAULT_WORKSPACE})

    def _other_workspaces(self) -> Iterator[list[Entity]]:
        """Workspaces that nobody chose to leave out; nothing of them is read."""
        if not self.location.workspace:
            why = f"nothing of it was read; audit each workspace by itself: set SOURCE_{VARIABLE} and TARGET_{VARIABLE}"
            yield [Entity("workspace", name, name, "", None, {}, error=why) for name in self.workspaces()]

    @cached_property
    def _listed(self) -> Listed:
        return Listed(self.session, self._pool, self._workers, self.experiments, self._small)

    def experiment_objects(
        self, experiment_id: str, kinds: Collection[str], run_ids: Collection[str] | None = None
    ) -> Iterator[list[Entity]]:
        """Logged models, traces and scorers of an experiment, those of ``kinds``, in batches, each once.

        ``run_ids`` are its runs, to which traces may be linked; ``None``: they are listed, where there are traces.

        Raises:
            ReadError: when a list cannot be read.
            ValueError: a kind that experiments do not hold.
        """
        listings: dict[str, Callable[[], Iterator[list[Entity]]]] = {
            "logged_model": lambda: read_logged_models(self.session, experiment_id, self._small),
            "trace": lambda: self._traces.read(experiment_id, lambda: self._run_ids(experiment_id, run_ids)),
            "scorer": lambda: read_scorers(self.session, experiment_id),
        }
        if wrong := set(kinds) - listings.keys():
            raise ValueError(f"no objects of experiments: {', '.join(sorted(wrong))}")
        for kind, listing in listings.items():
            if kind in kinds:
                yield from self._support.listed(kind, listing)

    def _run_ids(self, experiment_id: str, known: Collection[str] | None) -> Iterator[str]:
        if known is not None:
            yield from known
            return
        for page in self.runs(experiment_id):
            yield from (run.run_id for run in page)

    def trace_infos(self, experiment_id: str) -> Generator[list[Entity], None, None]:
        """Traces of an experiment without their spans, in pages, each once.

        Raises:
            ReadError: when the list cannot be read.
        """
        yield from self._support.listed("trace", lambda: self._traces.infos(experiment_id))

    @cached_property
    def _traces(self) -> TraceReader:
        version = release(self.capabilities.version)
        return TraceReader(
            self.session,
            self._pool,
            self._workers,
            three=None if version == (0, 0) else version >= (3, 0),
            batches=version == (0, 0) or version >= BATCHES,
            store_of=self._places.of_trace,
            redact=self._redact,
            page=min(self._page, TRACES),
            links=self._prompt_links,
        )

    def _prompt_links(self) -> Mapping[str, list[str]] | None:
        """Prompt versions by the trace that is associated with them, read once; ``None`` where none can be told."""
        with self._linking:
            return self._links_of_prompts

    @cached_property
    def _links_of_prompts(self) -> Mapping[str, list[str]] | None:
        version = release(self.capabilities.version)
        if (0, 0) < version < LINKS:
            return None
        experiments = [experiment.experiment_id for experiment in self.experiments()]
        return read_prompt_links(self.session, experiments, min(self._page, TRACES))

    def names(self, kind: str) -> list[str]:
        """Names of all registered models (``registered_model``) or prompts (``prompt``).

        Raises:
            ReadError: when the list cannot be read.
        """
        return read_names(self.session, kind, self._small)

    def first_runs(self, experiment_ids: Sequence[str]) -> set[str]:
        """Ids of some runs of these experiments, the oldest; none where the server does not tell.

        Raises:
            ReadError: no usable answer.
        """
        for first in range(0, len(experiment_ids), _IDS):
            query = {
                "experiment_ids": list(experiment_ids[first : first + _IDS]),
                "run_view_type": "ALL",
                "max_results": _SOME,
                "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            }
            try:
                answer = self.session.post(endpoints.RUNS, query)
            except RequestRefused:
                # whatever was to be read of them is red then
                return set()
            if found := {made(records.run, entry).run_id for entry in answer.get("runs", [])}:
                return found
        return set()

    def first_models(self) -> dict[str, int | None]:
        """Creation times of some registered models and prompts by name, the first; none where it does not tell.

        Raises:
            ReadError: no usable answer.
        """
        try:
            return read_first(self.session, _SOME)
        except RequestRefused:
            return {}

    def migration_at_work(self) -> str:
        """Return who migrates to the server, by the mark that is on it; empty: nobody."""
        try:
            tags = read_mark(self.session)
        except ReadError:
            return ""
        return "" if tags is None else ", ".join(tags.get(name, "unknown") for name in MIGRATION_TAGS)

    def outside(self) -> Mapping[str, int | None]:
        """Count the registered models and prompts, for an audit that leaves them out."""
        return {"registered models": self._count("registered_model"), "prompts": self._count("prompt")}

    def _count(self, kind: str) -> int | None:
        try:
            return len(self.names(kind))
        except ReadError:
            return None


def _of_known(tree: ArtifactTree, trace: Entity) -> ArtifactTree:
    """Return a trace's attachments; where its spans were not read whole, they may name others."""
    if trace.error is None or tree.error is not None:
        return tree
    return replace(tree, error=f"which they are is not known: {trace.error}")


def _number(experiment_id: str) -> tuple[int, str]:
    return (int(experiment_id), "") if experiment_id.isdigit() else (0, experiment_id)
