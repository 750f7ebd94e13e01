"""The options of one audit, validated."""

from __future__ import annotations

from dataclasses import dataclass

from mlflow_parity.audit.recheck import Recheck
from mlflow_parity.core.locations import Location
from mlflow_parity.core.scope import Depth, Profile


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one audit, validated."""

    source: Location
    target: Location
    experiments: tuple[str, ...]
    exclude_experiments: tuple[str, ...]
    include_deleted: bool
    load_models: bool
    depth: Depth
    workers: int
    snapshot_dir: str | None
    report_dir: str
    max_findings: int
    profile: Profile = "export-import"
    waivers: str | None = None
    recheck: Recheck | None = None
    rename: str | None = None
    models: tuple[str, ...] = ()
    self_test: bool = False
    two_servers: bool = False
    usable: bool = False
    allow_place: tuple[str, ...] = ()
