"""Where a snapshot comes from, and who answered."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import Location
from mlflow_parity.reading import Reader
from mlflow_parity.reading.transport.answering import answering
from mlflow_parity.reading.transport.auth import SideName


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a snapshot comes from: the location as printed, its kind, and the server's MLflow version."""

    location: str
    kind: str
    version: str | None
    capabilities: Mapping[str, Any]
    workspace: str = ""
    """The workspace that was chosen; empty: the default one."""
    other_workspaces: tuple[str, ...] = ()
    """Those that were left out by that choice."""
    hidden: str = ""
    """Why the server may have hidden something from the user who read it; empty: it showed everything."""
    accounts: Mapping[str, int | None] = field(default_factory=dict)
    """Users, roles and permissions of MLflow's own login, counted (``None``: they could not be)."""
    endpoint: str = ""
    """What answered in the place of the ARN's own endpoint; empty: that did, or it is no ARN."""
    s3_endpoint: str = ""
    """The S3 that variables named; empty: AWS's own."""
    tls_not_verified: tuple[str, ...] = ()
    """Connections on which nobody proved who he is."""
    artifacts: str = ""
    """The place that its user named for what the server keeps behind its proxy; empty: none."""
    database: str | None = ""
    """The database that was read beside the API, as printed; empty: none, ``None``: nobody wrote it down."""
    database_digest: str = ""
    """Tells databases apart that are printed alike."""
    database_at: tuple[str, ...] = ()
    """The instants of that database: one of each process that read from it."""

    @property
    def who(self) -> tuple[object, ...]:
        """Who answered, to whom, and where files and runs were read: another's are no part of the same snapshot."""
        asked = self.version, self.hidden, self.endpoint, self.s3_endpoint, self.tls_not_verified
        return *asked, self.artifacts, self.database, self.database_digest

    def check(self) -> None:
        """Look whether a manifest told something that makes sense.

        Raises:
            TypeError: it did not.
        """
        told = (self.location, self.kind, self.workspace, self.hidden, self.version or "", self.artifacts)
        texts = (*told, self.database or "", self.database_digest, *self.database_at, *self.other_workspaces)
        counts = self.accounts.values() if isinstance(self.accounts, dict) else (False,)
        if (
            not all(isinstance(text, str) for text in texts)
            or not isinstance(self.capabilities, dict)
            or not all(count is None or type(count) is int for count in counts)
        ):
            raise TypeError("an origin is told in texts")


def origin_of(location: Location, reader: Reader, side: SideName, *, artifacts: str = "") -> Origin:
    """Return where what ``reader`` reads of a server comes from, and who answers now.

    ``artifacts`` is the place that its user named for what the server keeps behind its proxy.
    """
    capabilities = reader.capabilities
    answered = answering(location, side, os.environ)
    return Origin(
        location.display,
        location.kind,
        capabilities.version,
        {
            "history_bulk": capabilities.history_bulk,
            "artifact_proxy": capabilities.artifact_proxy,
            "get_artifact": capabilities.get_artifact,
        },
        location.workspace,
        _other_workspaces(reader) if location.workspace else (),
        reader.visibility.hidden,
        reader.visibility.accounts,
        answered.endpoint,
        answered.s3_endpoint,
        answered.unproved,
        artifacts,
        *reader.beside,
    )


def _other_workspaces(reader: Reader) -> tuple[str, ...]:
    """Name what is left out by choosing a workspace; all others are found when the server's objects are read."""
    try:
        return tuple(reader.workspaces())
    except ReadError as error:
        return (f"(those that cannot be listed: {error})",)
