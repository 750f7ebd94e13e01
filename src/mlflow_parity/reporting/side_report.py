"""What a report says of one side: where it is, who answered, and what was read of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow_parity.core.locations import Location
from mlflow_parity.core.verdict import Deleted
from mlflow_parity.reading.transport.answering import answering
from mlflow_parity.reading.transport.auth import SideName


@dataclass(frozen=True, slots=True)
class SideReport:
    """One side: where it is, what was read of it, and what was seen but not compared.

    ``location`` is free of credentials; ``read_from`` and ``read_to`` are ISO 8601 times in UTC (empty when
    nothing was read); ``artifact_bytes`` counts the bytes of the artifacts listed; ``snapshot_path`` is set
    when the snapshot was kept; ``outside`` counts by kind what this audit does not compare (``None``: cannot
    be told).
    """

    location: str
    kind: Literal["http", "app", "tracking-server", "snapshot"]
    server_version: str | None = None
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    read_from: str = ""
    read_to: str = ""
    requests: int = 0
    resumed_parts: int = 0
    resumed_from: str = ""
    """When the oldest part was read that was taken over from an interrupted audit; empty: none was."""
    experiments: int = 0
    runs: int = 0
    points: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    snapshot_digest: str = ""
    snapshot_path: str | None = None
    objects: Mapping[str, int] = field(default_factory=dict)
    """Objects beside experiments and runs that were read, by kind."""
    outside: Mapping[str, int | None] = field(default_factory=dict)
    deleted: Deleted | None = None
    """``None``: nothing was left out for being deleted, or it is not known."""
    endpoint: str = ""
    """What answered in the place of the ARN's own endpoint; empty: that did, or it is no ARN."""
    s3_endpoint: str = ""
    """The S3 that variables name; empty: AWS's own."""
    tls_not_verified: tuple[str, ...] = ()
    """Connections on which nobody proved who he is: ``server``, ``S3``."""
    origin: str = ""
    """The server that a snapshot was read from, without credentials; empty: it was read itself."""
    database: str | None = ""
    """The database that was read beside the API, as printed; empty: none, ``None``: a snapshot does not say."""
    own_artifacts: str = ""
    """The place in which files were read instead of through the server's proxy; empty: none."""

    @property
    def snapshot_of(self) -> str:
        """Of which server a snapshot is, and of what time, in one line; empty: it is none."""
        return f"a snapshot of {self.origin}, read {self.read_from}" if self.origin else ""

    @property
    def answered(self) -> str:
        """Whatever of these is to be known above everything else, in one line; empty: nothing is."""
        parts = [f"answered by {self.endpoint}, which is not the ARN's own endpoint"] if self.endpoint else []
        parts += [f"S3 at {self.s3_endpoint}"] if self.s3_endpoint else []
        parts += [f"TLS not verified ({', '.join(self.tls_not_verified)})"] if self.tls_not_verified else []
        return "; ".join(parts)


def begun(name: SideName, location: Location, environ: Mapping[str, str]) -> SideReport:
    """Return what a report says of a side before anything is read of it."""
    found = answering(location, name, environ)
    return SideReport(
        location.display,
        location.kind,
        endpoint=found.endpoint,
        s3_endpoint=found.s3_endpoint,
        tls_not_verified=found.unproved,
    )
