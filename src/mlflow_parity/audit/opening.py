"""Opens the server of a side, read under the names that the options give."""

from __future__ import annotations

from mlflow_parity.audit.renames import RenamedReader, Renames
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SideName
from mlflow_parity.core.locations import Location
from mlflow_parity.reading import Reader, open_reader
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.own_way import own_way
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports


def open_server(
    settings: Settings,
    name: SideName,
    renames: Renames,
    known: KnownHashes | None = None,
    reports: ChecksumReports | None = None,
) -> Reader:
    """Return a reader of a live side; ``known`` and ``reports`` tell what need not be read of its files.

    Raises:
        UsageProblem: when the credentials contradict each other or are missing.
    """
    location: Location = getattr(settings, name)
    reader: Reader = open_reader(
        location,
        name,
        settings.workers,
        settings.allow_place,
        own_way(name, location, getattr(settings, f"{name}_artifacts")),
        getattr(settings, f"{name}_db"),
        known,
        reports,
    )
    return RenamedReader(reader, renames) if renames else reader
