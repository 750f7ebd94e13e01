"""Server → records. Nothing in here judges; nothing in here can write to a server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, cast

from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import ArtifactTree, Beside, Capabilities, Entity, Experiment, Resolved, Run, Series
from mlflow_parity.core.scope import Depth, Evidence

if TYPE_CHECKING:
    from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
    from mlflow_parity.reading.artifacts.own_way import OwnWay
    from mlflow_parity.reading.artifacts.shared_listings import SharedListings
    from mlflow_parity.reading.artifacts.stated.attributes import AttributesOfBuckets
    from mlflow_parity.reading.artifacts.stated.checksums import EtagsOfPlaces
    from mlflow_parity.reading.artifacts.trees import Sure
    from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
    from mlflow_parity.reading.asking import Answer, Question
    from mlflow_parity.reading.database.urls import DatabaseUrl
    from mlflow_parity.reading.probed import Probed
    from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
    from mlflow_parity.reading.transport.visibility import Visibility


class Reader(Protocol):
    """Reads one location. Implemented by :class:`mlflow_parity.reading.server.ServerReader`.

    Every method raises :class:`mlflow_parity.core.errors.ReadError` when the listing as a whole cannot be read;
    what fails for one object only is carried in that record's ``error``.
    """

    location: Location
    trusted: TrustedPlaces
    own_way: OwnWay | None
    attributes: AttributesOfBuckets
    etags: EtagsOfPlaces
    evidence: Evidence
    """Which checksums that stores state stand for the bytes of files."""

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do; asked once."""
        ...

    @property
    def visibility(self) -> Visibility:
        """Whether the server shows everything to this user; asked once."""
        ...

    @property
    def keeps_spans(self) -> bool | None:
        """Whether spans can be kept in the server's database, where searches find them; ``None``: it does not tell."""
        ...

    @property
    def requests(self) -> int:
        """Requests sent so far (retries included)."""
        ...

    def answer(self, place: str, question: Question) -> Answer:
        """Ask what people's clients ask of an experiment (by id), registered model or prompt (by name)."""
        ...

    def experiments(self) -> list[Experiment]:
        """Every experiment, deleted ones included, each once, by numeric id where ids are numbers."""
        ...

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment in pages, deleted ones included, each run once."""
        ...

    def runs_of(self, experiment_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Every run of several experiments in pages, deleted ones included, each run once."""
        ...

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that an experiment has now, deleted ones included, each run once."""
        ...

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """The complete history of every metric key of ``runs`` (one experiment's), each (run, key) once."""
        ...

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """The artifact tree of each of ``runs``, in any order; ``shared`` are listings for more runs than these.

        ``sure`` names files whose bytes are read whatever a store states.
        """
        ...

    def supports(self, kind: str) -> bool | None:
        """Whether the server can hold a kind of object at all (``None``: cannot be told)."""
        ...

    def names(self, kind: str) -> list[str]:
        """Names of all registered models (``registered_model``) or prompts (``prompt``), without their versions."""
        ...

    def registry(self) -> Iterator[list[Entity]]:
        """Every registered model, model version, prompt and prompt version, in batches."""
        ...

    def with_storage(self, versions: Sequence[Entity]) -> list[Entity]:
        """Return model versions with the place from which each is loaded; other objects as they are."""
        ...

    def workspaces(self) -> list[str]:
        """Names of the server's workspaces beside the one that is read."""
        ...

    def resolve(self, aliases: Iterable[tuple[str, str]]) -> Iterator[Resolved]:
        """Ask for the version behind each alias of a registered model or prompt: pairs of its name and the alias."""
        ...

    def server_objects(self, kind: str) -> Iterator[list[Entity]]:
        """Every object of a kind that hangs on nothing else (``evaluation_dataset``, ``webhook``, …), in batches."""
        ...

    def experiment_objects(
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """Every logged model, trace or scorer of an experiment, as ``kinds`` says.

        ``run_ids`` are its runs, to which traces may be linked; ``None``: they are listed, where there are traces.
        ``wanted`` says by their ids of which traces the spans are read; ``None``: of all.
        """
        ...

    def trace_infos(self, experiment_id: str) -> Generator[list[Entity], None, None]:
        """Every trace of an experiment without its spans, in pages, each once."""
        ...

    def with_model_links(self, runs: Sequence[Run]) -> list[Run]:
        """Return runs with the logged models that they used and made."""
        ...

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """The files of logged models and versions, attachments of traces; a tree's ``run_id`` is the entity's id."""
        ...

    def first_runs(self, experiment_ids: Sequence[str]) -> set[str]:
        """Ids of some runs of these experiments, the oldest; none where the server does not tell."""
        ...

    def first_models(self) -> dict[str, int | None]:
        """Creation times of some registered models and prompts by name, the first; none where it does not tell."""
        ...

    def migration_at_work(self) -> str:
        """Return who migrates to the server, by the mark that is on it; empty: nobody."""
        ...

    def load_refusal(self, name: str, number: int) -> str:
        """Return why a model version is not loaded from where it names its files; empty: it may be."""
        ...

    def outside(self) -> Mapping[str, int | None]:
        """Count what this audit does not compare, by kind (``None``: cannot be told)."""
        ...

    @property
    def beside(self) -> Beside:
        """The database that is read beside the API."""
        ...

    @property
    def told(self) -> str:
        """What a report has to say of the way it was read; empty: nothing."""
        ...

    def end_of_first_reading(self) -> None:
        """Told when all was read: a database beside the API is left then, and what is read again comes by the API."""
        ...

    def contradictions(self, runs: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Return on which of some runs database and API disagree although neither changes, by experiment."""
        ...

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

        ``links``: which logged models each run used and made, too; ``brief``: with fewer probes.
        """
        ...

    def close(self) -> None:
        """Release connections."""
        ...


def open_reader(
    location: Location,
    side: Literal["source", "target"],
    workers: int,
    allowed: Sequence[str] = (),
    own_way: OwnWay | None = None,
    database: DatabaseUrl | None = None,
    known: KnownHashes | None = None,
    reports: ChecksumReports | None = None,
) -> Reader:
    """Open a reader for a server or an ARN; nothing is sent before something is read.

    ``allowed`` are places in S3 beside the server's own that may be read with the caller's rights, ``own_way`` is
    where the caller reaches what the server keeps behind its proxy, ``database`` is where the server keeps its data,
    from which runs and metric histories are read then, ``known`` what earlier audits have read of files, ``reports``
    what checksum reports state of them.

    Raises:
        UsageProblem: when the credentials contradict each other or are missing.
    """
    # not above: every import of a module of this room would load all of it
    from mlflow_parity.core.redaction import Redactor
    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.reading.transport.auth import credentials
    from mlflow_parity.reading.transport.session import Session

    found = credentials(location, side)
    redactor = Redactor.from_environment(also=(*location.secrets, *(database.secrets if database else ())))
    session = Session(location, found, workers=workers, redactor=redactor)
    reader = ServerReader(
        session,
        found,
        workers=workers,
        redactor=redactor,
        allowed=allowed,
        own_way=own_way,
        known=known,
        reports=reports,
    )
    if database is None:
        return reader
    from mlflow_parity.reading.database.reader import DatabaseReader

    beside: Reader = cast("Reader", DatabaseReader(reader, database))
    return beside
