"""Reads one tracking server or App over REST."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TypeVar

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.core.locations import DEFAULT_WORKSPACE, VARIABLE
from mlflow_parity.core.records import (
    MIGRATION_TAGS,
    STORAGE,
    Entity,
    Experiment,
    Resolved,
)
from mlflow_parity.core.scope import Depth
from mlflow_parity.kinds import KINDS
from mlflow_parity.reading import records
from mlflow_parity.reading.asking import Answer, Question, ask
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.listed import LISTINGS, Listed
from mlflow_parity.reading.logged_models import read_logged_models
from mlflow_parity.reading.others import read_datasets, read_scorers
from mlflow_parity.reading.probed import Probed
from mlflow_parity.reading.probing import Prober
from mlflow_parity.reading.registry import read_first, read_mark, read_names, read_registry, resolve_aliases
from mlflow_parity.reading.runs import IDS, RunReader
from mlflow_parity.reading.runs import PAGE as PAGE
from mlflow_parity.reading.traces.links import LINKS, read_prompt_links
from mlflow_parity.reading.traces.traces import BATCHES, TRACES, Beside, TraceReader
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.reading.transport.listing import list_in, made
from mlflow_parity.reading.transport.visibility import Visibility, look

T = TypeVar("T")
#: Objects that tell whether two servers are one.
_SOME = 100


class ServerReader(RunReader):
    """Implements :class:`mlflow_parity.reading.Reader` for ``http(s)`` servers and ARNs."""

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

    def answer(self, place: str, question: Question) -> Answer:
        """Ask what people's clients ask of an experiment (by id), registered model or prompt (by name)."""
        return ask(self.session, self._redact, place, question)

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
        names = {made(lambda one: str(one["name"]), entry) for entry in list_in(answer, "workspaces")}
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
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """Logged models, traces and scorers of an experiment, those of ``kinds``, in batches, each once.

        ``run_ids`` are its runs, to which traces may be linked; ``None``: they are listed, where there are traces.
        ``wanted`` says of which traces the spans are read.

        Raises:
            ReadError: when a list cannot be read.
            ValueError: a kind that experiments do not hold.
        """
        listings: dict[str, Callable[[], Iterator[list[Entity]]]] = {
            "logged_model": lambda: read_logged_models(self.session, experiment_id, self._small),
            "trace": lambda: self._traces.read(experiment_id, lambda: self._run_ids(experiment_id, run_ids), wanted),
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

    def is_empty(self, experiment_id: str) -> bool:
        """Whether an experiment holds nothing at all: no run, logged model, trace or scorer.

        Raises:
            ReadError: when a list cannot be read.
        """
        lists = (
            self.runs(experiment_id),
            self.trace_infos(experiment_id),
            self.experiment_objects(experiment_id, ("logged_model", "scorer")),
        )
        return not any(batch for batches in lists for batch in batches)

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

    def spans_beside(self, tell: Beside) -> None:
        """Let something else than the API tell the spans of those traces of which it knows them."""
        self._traces.beside = tell

    def spans_by_api(self, traces: list[Entity]) -> list[Entity]:
        """Return traces with their spans as the API tells them; what cannot be read of one is its ``error``."""
        return self._traces.by_api(traces)

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
        for first in range(0, len(experiment_ids), IDS):
            query = {
                "experiment_ids": list(experiment_ids[first : first + IDS]),
                "run_view_type": "ALL",
                "max_results": _SOME,
                "order_by": ["attributes.start_time ASC", "attributes.run_id ASC"],
            }
            try:
                answer = self.session.post(endpoints.RUNS, query)
            except RequestRefused:
                # whatever was to be read of them is red then
                return set()
            if found := {made(records.run, entry).run_id for entry in list_in(answer, "runs")}:
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

    def probe(
        self,
        experiments: Sequence[Experiment],
        parts: Collection[str],
        depth: Depth,
        *,
        include_deleted: bool,
        links: bool,
        brief: bool = False,
    ) -> Probed:
        """Estimate how much reading these parts of these experiments takes, by lists and a few probes.

        Raises:
            ReadError: the runs cannot be listed.
        """
        links = links and self._has_models
        prober = Prober(self, experiments, parts, depth, include_deleted=include_deleted, links=links, brief=brief)
        return prober.probe()

    def outside(self) -> Mapping[str, int | None]:
        """Count the registered models and prompts, for an audit that leaves them out."""
        return {"registered models": self._count("registered_model"), "prompts": self._count("prompt")}

    def _count(self, kind: str) -> int | None:
        try:
            return len(self.names(kind))
        except ReadError:
            return None
