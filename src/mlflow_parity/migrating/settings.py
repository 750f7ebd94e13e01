"""The options of ``migrate``: one table of arguments, validated into settings, and which objects they put in scope.

As in the audit: with ``--experiments`` what belongs to no experiment is left out, but for what ``--models`` names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.audit.exclusions import check_cluster
from mlflow_parity.core import scope
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import VARIABLE, Location, custom_endpoint, given_path, parse_arn, parse_location
from mlflow_parity.core.records import Experiment
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reading.artifacts.trusted_places import MIGRATE_OPTION, given_places


@dataclass(frozen=True, slots=True)
class Settings:
    """What one call of ``migrate`` was told.

    ``source`` and ``target`` are ``None`` where the step does not need them and they were not given. ``experiments``
    and ``models`` are names or globs; empty: all.
    """

    source: Location | None
    target: Location | None
    work: Path
    reports: Path
    experiments: tuple[str, ...]
    models: tuple[str, ...]
    rename: Path | None
    batch_size: int
    workers: int
    include_deleted: bool
    discard_export: bool
    into_existing: bool
    take_over: bool = False
    accept_hidden: bool = False
    allow_place: tuple[str, ...] = ()
    """Places in S3, beside the servers' own, that are read and written with the migrator's rights."""
    enable_webhooks: bool = False
    engine: str = "threads"
    """What moves experiments: threads of this process, or ``dask``: the workers of a cluster."""
    dask_scheduler: str = ""
    """Address of its scheduler; empty: workers are started on this machine."""
    dask_dir: str = ""
    """Folder or ``s3://`` URI that this process and all workers read and write."""

    @property
    def redactor(self) -> Redactor:
        """Knows the secrets of the environment and of both ends."""
        ends = (end for end in (self.source, self.target) if end is not None)
        return Redactor.from_environment(also=[secret for end in ends for secret in end.secrets])

    @property
    def export_root(self) -> Path:
        """Folder of the export."""
        return self.work / "export"

    @property
    def logs(self) -> Path:
        """Folder of the tool's own output."""
        return self.work / "logs"

    def journal_path(self) -> Path:
        """The journal of this target: one export may be imported to several."""
        assert self.target is not None
        name = hashlib.sha256(self.target.identity.encode()).hexdigest()[:12]
        return self.work / f"journal-{name}.sqlite"


def add_arguments(parser: argparse.ArgumentParser, *, source: bool, target: bool) -> None:
    """Add the arguments that the steps share; ``source`` and ``target``: which ends the step talks to."""
    for side, wanted, what in (("source", source, "what is migrated"), ("target", target, "where it goes")):
        if wanted:
            group = parser.add_mutually_exclusive_group()
            group.add_argument(f"--{side}-uri", metavar="URI", help=f"http(s):// tracking server or ARN: {what}")
            group.add_argument(f"--{side}-arn", metavar="ARN", help="ARN of a SageMaker MLflow App or tracking server")
    add = parser.add_argument
    add(
        "--work-dir", type=Path, default=Path("migration"), metavar="DIR", help="Export, journal and logs (%(default)s)"
    )
    add("--report-dir", type=Path, default=Path("reports"), metavar="DIR", help="The audit's reports (%(default)s)")
    add("--experiments", action="append", metavar="NAMES", help="Only these experiments (names or globs, with commas)")
    add("--models", action="append", metavar="NAMES", help="Only these registered models and prompts (names or globs)")
    add("--rename", type=Path, metavar="FILE", help="TOML file of new names for experiments, models and prompts")
    add("--batch-size", type=int, default=20, metavar="N", help="Experiments per batch (%(default)s)")
    add("--workers", type=int, default=8, metavar="N", help="Connections per server (%(default)s)")
    add("--include-deleted", action="store_true", help="Deleted experiments and runs too")
    keep = parser.add_mutually_exclusive_group()
    keep.add_argument("--keep-export", action="store_true", help="Keep the bytes of all files (default)")
    keep.add_argument("--discard-export", action="store_true", help="Drop a batch's files once they are on the target")
    add("--into-existing", action="store_true", help="Allow objects of the same names on the target")
    if target:
        add(
            "--take-over",
            action="store_true",
            help="Take the target over from a migration that is not running any more",
        )
    add(
        "--accept-hidden",
        action="store_true",
        help="Go on as a user to whom a server does not show everything; the audit says so and is not green",
    )
    if target:
        add(
            "--enable-webhooks",
            action="store_true",
            help="Give webhooks the source's status; else they are written disabled (their secrets are not moved)",
        )
    add(
        MIGRATE_OPTION,
        action="append",
        metavar="S3_URI",
        help="Read and write this bucket or folder too: data of a server names it, outside of the server's own root",
    )


def add_cluster_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say who does the work."""
    add = parser.add_argument
    add(
        "--engine",
        choices=("threads", "dask"),
        default="threads",
        help="What moves and audits: threads of this process, or dask: workers of a Dask cluster (extra: dask)",
    )
    add("--dask-scheduler", metavar="ADDRESS", help="Scheduler of the cluster; without it workers are started here")
    add("--dask-dir", metavar="PLACE", help="Folder or s3:// URI that this process and all workers read and write")


def settings_of(args: argparse.Namespace, environ: Mapping[str, str] | None = None) -> Settings:
    """Validate the arguments.

    Raises:
        UsageProblem: one line for the first thing that is wrong.
    """
    env = os.environ if environ is None else environ
    for name, most in (("batch_size", 100_000), ("workers", 64)):
        value = getattr(args, name)
        if not 1 <= value <= most:
            raise UsageProblem(f"--{name.replace('_', '-')}: {value} is out of range; give a whole number, 1 to {most}")
    source, target = _side("source", args, env), _side("target", args, env)
    if chosen := next((name for name in (f"SOURCE_{VARIABLE}", f"TARGET_{VARIABLE}", VARIABLE) if env.get(name)), ""):
        raise UsageProblem(f"{chosen} is set, and a migration moves the default workspace only; unset it")
    if target is not None and target.kind == "snapshot":
        raise UsageProblem("--target-uri: a folder cannot be migrated to; give a tracking server or an ARN")
    if source is not None and target is not None and source.is_same_as(target):
        raise UsageProblem(f"source and target are the same location ({source.display}); give two different ones")
    return Settings(
        source=source,
        target=target,
        work=given_work(args),
        reports=given_reports(args),
        experiments=_names(args.experiments),
        models=_names(args.models),
        rename=None if args.rename is None else given_path(args.rename, "--rename", "give a TOML file"),
        batch_size=args.batch_size,
        workers=args.workers,
        include_deleted=args.include_deleted,
        discard_export=args.discard_export,
        into_existing=args.into_existing,
        take_over=getattr(args, "take_over", False),
        accept_hidden=args.accept_hidden,
        enable_webhooks=getattr(args, "enable_webhooks", False),
        allow_place=given_places("\n".join(args.allow_place or ()), MIGRATE_OPTION),
        **_cluster(args, {"source": source, "target": target}),
    )


def given_work(args: argparse.Namespace) -> Path:
    """Return the folder of the export, the journal and the logs.

    Raises:
        UsageProblem: it cannot be used.
    """
    return given_path(args.work_dir, "--work-dir", "give another folder")


def given_reports(args: argparse.Namespace) -> Path:
    """Return the folder of the audit's reports.

    Raises:
        UsageProblem: it cannot be used.
    """
    path = given_path(args.report_dir, "--report-dir", "give another folder")
    if path.exists() and not path.is_dir():
        raise UsageProblem(f"--report-dir: {path} is a file; give another folder")
    return path


def _cluster(args: argparse.Namespace, ends: Mapping[str, Location | None]) -> dict[str, str]:
    """Return what the options say of workers, for the steps that have them."""
    engine, scheduler, place = (getattr(args, name, None) or "" for name in ("engine", "dask_scheduler", "dask_dir"))
    check_cluster(engine, scheduler, place, ends, "--")
    if engine == "dask" and not args.discard_export:
        raise UsageProblem(
            "--engine dask: workers keep nothing of what they moved, so no export is kept; add --discard-export (an "
            "export to keep is made by `export`, on this machine)"
        )
    return {"engine": engine or "threads", "dask_scheduler": scheduler, "dask_dir": place}


def needed(settings: Settings, *, source: bool = False, target: bool = False) -> None:
    """Refuse a step whose ends were not named.

    Raises:
        UsageProblem: one is missing.
    """
    for side, wanted in (("source", source), ("target", target)):
        if wanted and getattr(settings, side) is None:
            raise UsageProblem(f"no {side} is given; add --{side}-uri or --{side}-arn")


def _side(side: str, args: argparse.Namespace, env: Mapping[str, str]) -> Location | None:
    uri, arn = getattr(args, f"{side}_uri", None), getattr(args, f"{side}_arn", None)
    custom = custom_endpoint(side, env)
    if arn is not None:
        return parse_arn(arn, option=f"--{side}-arn", custom_endpoint=custom)
    if uri is None:
        return None
    return parse_location(uri, option=f"--{side}-uri", custom_endpoint=custom)


def _names(given: list[str] | None) -> tuple[str, ...]:
    return tuple(part.strip() for text in given or () for part in text.split(",") if part.strip())


def in_scope(settings: Settings, experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return the experiments that the options name."""
    return [
        one
        for one in experiments
        if scope.in_scope(one.name, settings.experiments)
        and (settings.include_deleted or one.lifecycle_stage != "deleted")
    ]


def in_model_scope(settings: Settings) -> Callable[[str], bool]:
    """Return what tells whether a registered model or prompt is in scope, by its name."""
    if not settings.models:
        return lambda _: not settings.experiments
    return lambda name: scope.fits(name, settings.models)


def others_in_scope(settings: Settings) -> bool:
    """Whether what belongs to the server itself is in scope: evaluation datasets, webhooks and the like."""
    return not settings.experiments


def left_out(settings: Settings) -> list[str]:
    """Return what the options leave out, a line each."""
    lines = []
    if settings.experiments:
        lines.append(f"experiments other than {', '.join(settings.experiments)}")
    if settings.models:
        lines.append(f"registered models and prompts other than {', '.join(settings.models)}")
    elif settings.experiments:
        lines.append("registered models and prompts (name them with --models)")
    if not others_in_scope(settings):
        lines.append("evaluation datasets, webhooks and all else of the server (--experiments leaves them out)")
    if not settings.include_deleted:
        lines.append("deleted experiments and runs (--include-deleted)")
    return lines
