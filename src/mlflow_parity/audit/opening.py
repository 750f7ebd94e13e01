"""Opens the server of a side, read under the names that the options give; refuses two sides that are read as one."""

from __future__ import annotations

import os
from collections.abc import Mapping

from mlflow_parity.audit.renames import RenamedReader, Renames
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import SIDES, Side
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import DEFAULT_WORKSPACE, Location
from mlflow_parity.reading import Reader, open_reader
from mlflow_parity.reading.artifacts.known_hashes import KnownHashes
from mlflow_parity.reading.artifacts.own_way import own_way, refuse_one_place
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.reading.transport.answering import answering
from mlflow_parity.reading.transport.auth import SideName


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


def check_places(sides: Mapping[SideName, Side]) -> None:
    """Refuse sides whose files are read, or were when a snapshot was taken, at one place.

    Raises:
        UsageProblem: they would be compared with themselves.
    """
    workspaces = {
        (side.location.workspace if side.live else side.snapshot.origin.workspace) or DEFAULT_WORKSPACE
        for side in sides.values()
    }
    if len(workspaces) == 1:
        refuse_one_place(*(sides[name].own_place for name in SIDES), s3=[_s3_of(sides[name]) for name in SIDES])


def _s3_of(side: Side) -> str:
    """Return where a side's buckets are, or were when its snapshot was taken, as variables name it; empty: AWS."""
    return (
        answering(side.location, side.name, os.environ).s3_endpoint if side.live else side.snapshot.origin.s3_endpoint
    )


def refuse_one_snapshot(sides: Mapping[SideName, Side]) -> None:
    """Refuse two folders that are one snapshot and a copy of it, whatever the options say of their server.

    Raises:
        UsageProblem: it would be compared with itself.
    """
    source, target = (sides[name] for name in SIDES)
    if not source.live and not target.live and source.snapshot.identity == target.snapshot.identity:
        raise UsageProblem(
            f"source and target are the same snapshot ({source.location.display} and {target.location.display}: one is "
            "a copy of the other); comparing a server with itself proves nothing: give two different ones"
        )
