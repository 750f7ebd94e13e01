"""What a worker is told of an audit, as a file without credentials: those are in the worker's own environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from mlflow_parity import __version__
from mlflow_parity.audit.settings import Settings
from mlflow_parity.core.local.files import write_json
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.reading.transport.auth import SideName

JOB = "job.json"
WAIVERS, RENAMES = "waivers.toml", "rename.toml"
#: Settings that are of the process that gives shards out.
NOT_SENT = ("source", "target", "source_db", "target_db", "recheck", "waivers", "rename", "subset", "snapshot_dir")


@dataclass(frozen=True, slots=True)
class Job:
    """One audit, of which a worker gets shards."""

    settings: Settings
    selection: Selection
    noted: frozenset[tuple[str, str]]
    """Kinds and places in which objects are told apart by what they hold."""
    digests: Mapping[str, str]
    """Those of the file of waivers, and of each side for which a snapshot stands."""

    def write(self, path: Path) -> None:
        """Write it down."""
        sent = {one.name: getattr(self.settings, one.name) for one in fields(Settings) if one.name not in NOT_SENT}
        write_json(
            path,
            {
                "version": __version__,
                "settings": sent,
                "source": asdict(self.settings.source),
                "target": asdict(self.settings.target),
                "promises": self.selection.promises,
                "items": self.selection.items,
                "noted": sorted(self.noted),
                "digests": dict(self.digests),
            },
        )


def files_of(settings: Settings, roots: Mapping[SideName, Path], job: Path) -> dict[str, Path]:
    """Return the files and folders that workers need, by the names under which they get them."""
    files: dict[str, Path] = {JOB: job}
    files.update({str(name): root for name, root in roots.items()})
    for name, path in ((WAIVERS, settings.waivers), (RENAMES, settings.rename)):
        if path is not None:
            files[name] = Path(path)
    return files
