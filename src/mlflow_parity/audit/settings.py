"""The options of one audit, validated."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.audit.test_items import TARGET_ONLY, Item
from mlflow_parity.core.locations import Location
from mlflow_parity.core.scope import Depth, Engine, Evidence, Profile
from mlflow_parity.core.subset import Subset
from mlflow_parity.kinds.rules.check_registry import BY_NAME as PROMISES
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.reading.database.urls import DatabaseUrl

#: Own checks that a sentence names.
_NAMED = 5


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
    source_artifacts: str = ""
    """Where the caller reaches what the source keeps behind its proxy; empty: through the proxy."""
    target_artifacts: str = ""
    source_db: DatabaseUrl | None = None
    target_db: DatabaseUrl | None = None
    stop_after: int | None = None
    """Failed objects at which nothing more is looked at; ``None``: everything is, however many there are."""
    subset: Subset | None = None
    """The part that is audited; ``None``: everything."""
    evidence: Evidence = "stores"
    estimate: bool = False
    """Nothing is audited: what that would take is said."""
    checksums: tuple[str, ...] = ()
    """Reports of checksums that S3 Batch Operations have computed."""
    known_hashes: bool = False
    """Whether files are not read again that an earlier audit has read; what is known is kept in ``snapshot_dir``."""
    engine: Engine = "threads"
    dask_scheduler: str = ""
    """Address of a cluster's scheduler; empty: workers are started on this machine."""
    dask_dir: str = ""
    """Folder or ``s3://`` URI through which this process and the workers give each other files."""
    summary: str = ""
    """File for a summary in Markdown."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be printed of the locations and databases."""
        databases = [secret for one in (self.source_db, self.target_db) if one is not None for secret in one.secrets]
        return *self.source.secrets, *self.target.secrets, *databases


@dataclass(frozen=True, slots=True)
class Recheck:
    """What an earlier report leaves to be judged again.

    ``checks`` are its checks that were not green, as ``promise[item id]``; ``created`` and ``digest`` (SHA-256 of the
    file, hex) say which report it was.
    """

    path: str
    created: str
    digest: str
    checks: frozenset[str]
    covered: bool = False
    """Whether its scope and names are those of the report, or wider, so that what is not listed now is gone."""
    own: tuple[str, ...] = ()
    """What was not green there and a recheck does not run, so nothing is known of it: facets of own checks, tests."""

    open: tuple[tuple[str, str], ...] = ()
    """Reasons of that report that no check tells and no recheck settles: what each follows from, and is about."""

    @property
    def own_named(self) -> str:
        """The first of these, and how many more there are."""
        more = len(self.own) - _NAMED
        return ", ".join(self.own[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")

    def wants(self, checks: Iterable[str]) -> bool:
        """Whether a test that stands for these checks (``promise[item id]``) is to be run again."""
        return not self.checks.isdisjoint(checks)

    def gone(self, present: Mapping[Family, Collection[str]]) -> tuple[Item, ...]:
        """Return an item for each object that was one too many and is not on the target any more.

        ``present`` are the plain names of what the target lists now, by family; one that was not listed is not there.
        """
        found: dict[tuple[Family, str], Item] = {}
        for check in sorted(self.checks if self.covered else ()):
            promise, _, inside = check.partition("[")
            identity = inside.removesuffix("]")
            name, surplus, _ = identity.rpartition(TARGET_ONLY)
            if not surplus or promise not in PROMISES:
                continue
            family = PROMISES[promise].family
            if family in present and name not in present[family]:
                found[family, identity] = Item(identity, name, "", surplus=True, family=family, gone=True)
        return tuple(found.values())

    @property
    def title(self) -> str:
        """Which report it is, in a few words."""
        return f"{Path(self.path).name} of {self.created} (SHA-256 {self.digest[:16]}…)"


def left_out_by_names(experiments: Sequence[str], excluded: Sequence[str], models: Sequence[str]) -> list[str]:
    """Say what an audit leaves out because options name what is in scope."""
    left_out: list[str] = []
    if models:
        left_out.append("registered models and prompts that --parity-models leaves out")
        if experiments:
            left_out.append("what belongs to the server (--parity-experiments leaves it out)")
    elif experiments:
        left_out.append(
            "registered models, prompts and what belongs to the server (--parity-experiments leaves them out)"
        )
    if experiments or excluded:
        left_out.append("experiments that --parity-experiments or --parity-exclude-experiments leave out")
    return left_out
