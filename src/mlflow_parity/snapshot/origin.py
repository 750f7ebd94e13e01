"""Where a snapshot comes from, and who answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


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
