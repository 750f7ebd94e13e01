"""Server → records. Nothing in here judges; nothing in here can write to a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

from mlflow_parity.locations import Location
from mlflow_parity.model import ArtifactTree, Capabilities, Experiment, Run, Series
from mlflow_parity.options import Depth


class Reader(Protocol):
    """Reads one location. Implemented by :class:`mlflow_parity.reading.server.ServerReader`.

    Every method raises :class:`mlflow_parity.errors.ReadError` when the listing as a whole cannot be read;
    what fails for one object only is carried in that record's ``error``.
    """

    location: Location

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do; asked once."""
        ...

    @property
    def requests(self) -> int:
        """Requests sent so far (retries included)."""
        ...

    def experiments(self) -> list[Experiment]:
        """Every experiment, deleted ones included, each once, by numeric id where ids are numbers."""
        ...

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment in pages, deleted ones included, each run once."""
        ...

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """The complete history of every metric key of ``runs`` (one experiment's), each (run, key) once."""
        ...

    def artifacts(self, runs: Sequence[Run], depth: Depth) -> Iterator[ArtifactTree]:
        """The artifact tree of each of ``runs``, in any order."""
        ...

    def outside(self) -> Mapping[str, int | None]:
        """Count what this audit does not compare, by kind (``None``: cannot be told)."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...


def open_reader(location: Location, side: Literal["source", "target"], workers: int) -> Reader:
    """Open a reader for a server or an ARN; nothing is sent before something is read.

    Raises:
        UsageProblem: when the credentials contradict each other or are missing.
    """
    from urllib.parse import unquote

    from mlflow_parity.reading.auth import credentials
    from mlflow_parity.reading.server import ServerReader
    from mlflow_parity.reading.session import Session
    from mlflow_parity.redaction import Redactor

    found = credentials(location, side)
    # a password as it stands in the URI, and as it is meant
    secrets = [form for part in (location.userinfo or ())[1:] for form in (part, unquote(part))]
    redactor = Redactor.from_environment(also=secrets)
    session = Session(location, found, workers=workers, redactor=redactor)
    return ServerReader(session, found, workers=workers, redactor=redactor)
