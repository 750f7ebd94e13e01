"""What workers are told of a migration, without credentials: those are in a worker's own environment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.cluster.told import location_of, read_told, settings_of
from mlflow_parity.core.local.files import write_json
from mlflow_parity.migrating.settings import Settings

JOB, RENAMES, MANIFEST, JOURNAL = "job.json", "rename.toml", "manifest.json", "journal.jsonl"
#: Settings that are of the process that gives experiments out.
_NOT_SENT = ("source", "target", "work", "reports", "rename", "workers", "engine", "dask_scheduler", "dask_dir")
#: In what a worker returns: its account, and where everything else is.
TOLD, SNAPSHOT, TOOL_FILES, BYTES = "told.json", "snapshot", "experiments", "files"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some experiments, by their ids, that one worker moves."""

    number: int
    experiments: tuple[str, ...]

    def __str__(self) -> str:
        more = "" if len(self.experiments) == 1 else f" and {len(self.experiments) - 1} more"
        return f"experiment {self.experiments[0]}{more}"

    @property
    def told(self) -> dict[str, Any]:
        """It as plain data."""
        return {"number": self.number, "experiments": list(self.experiments)}

    @classmethod
    def of(cls, told: Any) -> Piece:
        """Take it from plain data."""
        return cls(int(told["number"]), tuple(map(str, told["experiments"])))


def write_job(path: Path, settings: Settings, *, leave: bool) -> None:
    """Write down what workers are told; ``leave``: bytes stay in the source's S3, which is to copy them."""
    assert settings.source is not None
    assert settings.target is not None
    sent = {one.name: getattr(settings, one.name) for one in fields(Settings) if one.name not in _NOT_SENT}
    ends = {side: asdict(location) for side, location in (("source", settings.source), ("target", settings.target))}
    write_json(path, {"version": __version__, "settings": sent, "leave": leave, **ends})


def read_job(files: Path, work: Path, connections: int) -> tuple[Settings, bool]:
    """Return the settings of a worker, which works in ``work``, and whether bytes stay in the source's S3.

    Raises:
        UsageProblem: it is damaged, or of another version.
    """
    told = read_told(files / JOB, "run the same command again")
    settings = Settings(
        source=location_of(told["source"]),
        target=location_of(told["target"]),
        work=work,
        reports=work / "reports",
        rename=files / RENAMES if (files / RENAMES).exists() else None,
        workers=connections,
        **settings_of(told["settings"]),
    )
    return settings, bool(told["leave"])
