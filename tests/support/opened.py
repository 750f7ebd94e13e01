"""Readers of servers, as the tests of reading open them."""

from __future__ import annotations

from collections.abc import Mapping

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Entity
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.own_way import OwnWay
from mlflow_parity.reading.server import PAGE, ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits

QUICK = Limits(first_wait=0.02, longest_wait=0.1)


def opened(
    uri: str,
    *,
    page: int = PAGE,
    workers: int = 8,
    own_way: OwnWay | None = None,
    environ: Mapping[str, str] | None = None,
    known: KnownHashes | None = None,
) -> ServerReader:
    """Return a reader of a server, with pages of a size of our own, and so many requests at once."""
    location = parse_location(uri, option="--source-uri")
    found = credentials(location, "source", {"AWS_EC2_METADATA_DISABLED": "true", **(environ or {})})
    session = Session(location, found, limits=QUICK)
    return ServerReader(session, found, page=page, workers=workers, own_way=own_way, known=known)


def everything(reader: ServerReader, experiment: str) -> list[Entity]:
    """Read all that is not a run."""
    pages = [*reader.registry(), *reader.server_objects("evaluation_dataset"), *reader.server_objects("webhook")]
    pages += reader.experiment_objects(experiment, ("logged_model", "trace", "scorer"))
    return [entity for page in pages for entity in page]
