"""Opens the audit of a job in a worker."""

from __future__ import annotations

from pathlib import Path

from mlflow_parity.audit.opening import open_server
from mlflow_parity.audit.renames import Renames, load_renames
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.shards.job import JOB, RENAMES, WAIVERS
from mlflow_parity.audit.side import Side
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.cluster.shard_audit import ListedSide, ShardAudit
from mlflow_parity.cluster.told import location_of, read_told, settings_of
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.transport.auth import SideName


def open_job(folder: Path, scratch: Path, workers: int) -> ShardAudit:
    """Return the audit of which a job's shards are judged; ``workers`` are the connections to each server.

    Raises:
        UsageProblem: it is of another version, or what it needs is not on this machine.
    """
    told = read_told(folder / JOB, "audit again")
    redact = Redactor.from_environment()
    settings = Settings(
        source=location_of(told["source"]),
        target=location_of(told["target"]),
        **{**settings_of(told["settings"]), "workers": workers, "snapshot_dir": None},
    )
    renames = load_renames(str(folder / RENAMES)) if (folder / RENAMES).exists() else Renames()
    waivers = load_waivers(str(folder / WAIVERS) if (folder / WAIVERS).exists() else None)

    if waivers.digest != told["digests"]["waivers"]:
        raise UsageProblem("--parity-waivers: the file was changed while the audit ran; audit again")

    def side(name: SideName) -> Side:
        location: Location = getattr(settings, name)
        mine = renames if name == "target" else Renames()
        if location.kind != "snapshot":
            return ListedSide(name, location, open_server(settings, name, mine), mine.digest, folder / name)
        found = Side(name, location, None, mine.digest)
        if found.snapshot.digest != told["digests"][name]:
            raise UsageProblem(
                f"{location.display}: a worker finds another snapshot there; put the same one there on all machines"
            )
        return found

    return ShardAudit(
        settings,
        scratch,
        side,
        Selection(tuple(told["promises"]), tuple(told["items"])),
        [(kind, place) for kind, place in told["noted"]],
        redact,
        waivers,
    )
