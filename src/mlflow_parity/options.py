"""Every option in one table: flag, ini name, environment variable, default, help."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location, custom_endpoint, given_path, in_workspace, parse_arn, parse_location
from mlflow_parity.core.scope import DEPTHS, ENGINES, EVIDENCE, PROFILES, one_of

if TYPE_CHECKING:
    import pytest

    from mlflow_parity.audit.settings import Settings
    from mlflow_parity.core.subset import Subset

GROUP = "mlflow-parity"
#: Options without a prefix: the two sides. All others begin with ``--parity-``, so that no other plugin has them.
SIDES = ("source-uri", "target-uri", "source-arn", "target-arn")
#: The databases beside them, without a prefix as well.
DATABASES = ("source-db", "target-db")
#: What is said to whoever wants an audit and names no side.
NO_SIDES = "the checks compare two servers: add --source-uri (or --source-arn) and --target-uri (or --target-arn)"


#: What a report says of the only check that has to be asked for.
NOT_LOADED = "loading of models (--parity-load-models)"
NOT_ASKED = "searches that people make, asked of both servers (--parity-usable)"


@dataclass(frozen=True, slots=True)
class Option:
    """One option; ``kind``: ``text``, ``path``, ``list`` (repeatable, comma separated), ``flag``, ``count``, choice.

    A ``path`` may begin with ``~``: no shell replaces it in ``--option=~/folder``, nor in a variable or ini file.
    """

    name: str
    kind: str
    default: str | None
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """Command-line flag."""
        return "--" + self.name if self.name in (*SIDES, *DATABASES) else "--parity-" + self.name

    @property
    def ini(self) -> str:
        """Name in ``pytest.ini`` or ``[tool.pytest.ini_options]``."""
        return "parity_" + self.name.replace("-", "_")

    @property
    def environment(self) -> str:
        """Environment variable."""
        return "MLFLOW_PARITY_" + self.name.replace("-", "_").upper()

    @property
    def dest(self) -> str:
        """Attribute in pytest's option namespace."""
        return "mlflow_parity_" + self.name.replace("-", "_")


OPTIONS: tuple[Option, ...] = (
    Option("source-uri", "text", None, "Source: http(s):// tracking server, ARN or snapshot directory", "URI"),
    Option("target-uri", "text", None, "Target: http(s):// tracking server, ARN or snapshot directory", "URI"),
    Option("source-arn", "text", None, "Source: ARN of a SageMaker MLflow App or tracking server", "ARN"),
    Option("target-arn", "text", None, "Target: ARN of a SageMaker MLflow App or tracking server", "ARN"),
    Option("source-db", "text", None, "Database of the source's server, to read runs and metrics from", "URL"),
    Option("target-db", "text", None, "Database of the target's server, to read runs and metrics from", "URL"),
    Option("experiments", "list", None, "Only these experiments (names or globs, comma separated)", "NAMES"),
    Option("exclude-experiments", "list", None, "Not these experiments (names or globs)", "NAMES"),
    Option("models", "list", None, "Only these registered models and prompts (names or globs)", "NAMES"),
    Option("include-deleted", "flag", "false", "Audit deleted experiments and runs too"),
    Option(
        "depth",
        "choice",
        "digest",
        "Artifacts: listing (sizes only), digest (SHA-256), full (digest, and differences of text explained)",
        choices=DEPTHS,
    ),
    Option(
        "evidence",
        "choice",
        "stores",
        "What proves files equal: stores (checksums of stores, or bytes), sha256, weak (a CRC32 of both stores too)",
        choices=EVIDENCE,
    ),
    Option(
        "profile",
        "choice",
        "export-import",
        "What kind of move it was: export-import (new ids) or same-store (upgrade, restore: ids and times are kept)",
        choices=PROFILES,
    ),
    Option(
        "load-models",
        "flag",
        "false",
        "Load every model version of the target with mlflow.pyfunc, in a process each: runs the models' code",
    ),
    Option(
        "usable",
        "flag",
        "false",
        "Ask both servers what people's clients ask (searches of runs, traces and spans) and compare the answers",
    ),
    Option("workers", "count", "8", "Connections per server; fewer are used when it throttles", "N"),
    Option("snapshot-dir", "path", None, "Keep the snapshots of both sides here; an interrupted audit resumes", "DIR"),
    Option(
        "known-hashes",
        "flag",
        "false",
        "Files that an earlier audit has read and that have not changed are not read",
    ),
    Option(
        "checksums",
        "list",
        None,
        "Checksums of files in S3: report of a Compute checksum job (CSV), or an S3 Inventory",
        "FILE",
    ),
    Option("report-dir", "path", "reports", "Where report.json, report.html and ledger.parquet are written", "DIR"),
    Option(
        "summary", "path", None, "Markdown summary of the audit, for a CI job; GitHub Actions gets it unasked", "FILE"
    ),
    Option("max-findings", "count", "20", "Differences explained per check and experiment (all are counted)", "N"),
    Option("recheck", "path", None, "Judge again only what was not green in this report.json", "REPORT"),
    Option("waivers", "path", None, "Accepted differences (TOML), each with reason, owner and expiry", "FILE"),
    Option("self-test", "flag", "false", "Plant faults in a copy of what was read: the audit must see each"),
    Option(
        "two-servers",
        "flag",
        "false",
        "Two servers, although both hold the same objects: a restored copy beside its original. The report says so",
    ),
    Option(
        "allow-place",
        "list",
        None,
        "Read this bucket or folder too: data of a server names it, outside of the server's own artifact root",
        "S3_URI",
    ),
    Option(
        "source-artifacts",
        "text",
        None,
        "Read what the source keeps behind its proxy here: the s3:// URI or folder of its artifacts",
        "PLACE",
    ),
    Option("target-artifacts", "text", None, "The same for the target", "PLACE"),
    Option("estimate", "flag", "false", "Say how much the audit would read and how long that takes; compare nothing"),
    Option(
        "stop-after", "count", None, "Stop at N failed objects: the rest is not read, and counted as unverified", "N"
    ),
    Option(
        "subset",
        "text",
        None,
        "Audit part N of T, the objects that the hash of their id puts there; mlflow-parity merge joins all T",
        "N/T",
    ),
    Option(
        "engine",
        "choice",
        "threads",
        "What reads and compares: threads of this process, or dask: workers of a Dask cluster (extra: dask)",
        choices=ENGINES,
    ),
    Option("dask-scheduler", "text", None, "Scheduler of the cluster; without it workers are started here", "ADDRESS"),
    Option("dask-dir", "text", None, "Folder or s3:// URI that this process and all workers read and write", "PLACE"),
    Option("rename", "path", None, "New names that the migration gave on purpose (TOML): old name = new name", "FILE"),
)
#: Options of pytest that only show something: no audit is made, so no report is.
LOOKS = ("collectonly", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow", "version")
BY_NAME: Mapping[str, Option] = {option.name: option for option in OPTIONS}


def add_options(parser: pytest.Parser) -> None:
    """Register every option with pytest, as a flag and as an ini value."""
    group = parser.getgroup(GROUP, "mlflow-parity: compare two MLflow tracking servers")
    for option in OPTIONS:
        text = f"{option.help} (ini: {option.ini}, env: {option.environment}"
        text += f", default: {option.default})" if option.default not in (None, "false") else ")"
        if option.kind == "flag":
            group.addoption(option.flag, action="store_true", dest=option.dest, default=None, help=text)
        elif option.kind == "list":
            group.addoption(option.flag, action="append", dest=option.dest, metavar=option.metavar, help=text)
        elif option.choices:
            # held against them with the other values: argparse would repeat whatever stands there, a URL's password too
            group.addoption(option.flag, dest=option.dest, metavar=f"{{{','.join(option.choices)}}}", help=text)
        else:
            group.addoption(option.flag, dest=option.dest, metavar=option.metavar, default=None, help=text)
        parser.addini(option.ini, option.help, type="string", default="")


def raw_values(
    config: pytest.Config | None, environ: Mapping[str, str] | None = None, given: Namespace | None = None
) -> dict[str, str]:
    """Collect what was given, as text: flag before environment variable before ini before default.

    ``given`` are the flags while pytest has not yet put them into ``config``; without one there is no ini file.
    """
    env = os.environ if environ is None else environ
    flags = config.option if given is None and config is not None else given
    values: dict[str, str] = {}
    for option in OPTIONS:
        value = getattr(flags, option.dest, None)
        if value is not None:
            values[option.name] = ",".join(value) if isinstance(value, list) else str(value)
        elif env.get(option.environment):
            values[option.name] = env[option.environment]
        elif config is not None and (ini := str(config.getini(option.ini))):
            values[option.name] = ini
        elif option.default is not None:
            values[option.name] = option.default
        if option.kind == "path" and option.name in values:
            values[option.name] = os.path.expanduser(values[option.name])
    return values


def is_active(values: Mapping[str, str]) -> bool:
    """Whether this pytest run is an audit: any side was named, or a database that stands beside one."""
    return any(values.get(name) for name in (*SIDES, *DATABASES))


def is_estimate(values: Mapping[str, str]) -> bool:
    """Whether nothing is audited, as only an estimate is asked for; a value that is neither true nor false is not."""
    with suppress(UsageProblem):
        return _flag("estimate", values)
    return False


def resolve(values: Mapping[str, str], environ: Mapping[str, str] | None = None) -> Settings:
    """Validate the given texts.

    Raises:
        UsageProblem: one line for the first thing that is wrong.
    """
    # not above: in other people's runs of pytest this module is all that is loaded
    from mlflow_parity.audit.exclusions import check, check_cluster
    from mlflow_parity.audit.settings import Settings
    from mlflow_parity.reading.artifacts.own_way import own_way, refuse_one_place
    from mlflow_parity.reading.artifacts.trusted_places import AUDIT_OPTION, given_places
    from mlflow_parity.reading.database.urls import database_of, is_same
    from mlflow_parity.reading.transport.auth import s3_endpoint

    env = os.environ if environ is None else environ
    depth = one_of(DEPTHS, "depth", "digest", values)
    profile = one_of(PROFILES, "profile", "export-import", values)
    evidence = one_of(EVIDENCE, "evidence", "stores", values)
    engine = one_of(ENGINES, "engine", "threads", values)
    source = in_workspace(_side("source", values, env), "source", env)
    target = in_workspace(_side("target", values, env), "target", env)
    settings = Settings(
        source=source,
        target=target,
        source_db=database_of(values.get("source-db"), "source", source),
        target_db=database_of(values.get("target-db"), "target", target),
        experiments=_names(values.get("experiments", "")),
        exclude_experiments=_names(values.get("exclude-experiments", "")),
        models=_names(values.get("models", "")),
        include_deleted=_flag("include-deleted", values),
        load_models=_flag("load-models", values),
        usable=_flag("usable", values),
        depth=depth,
        workers=_count("workers", values, most=64),
        snapshot_dir=values.get("snapshot-dir"),
        report_dir=values["report-dir"],
        summary=values.get("summary", ""),
        max_findings=_count("max-findings", values, most=100_000),
        evidence=evidence,
        profile=profile,
        waivers=values.get("waivers"),
        rename=values.get("rename"),
        self_test=_flag("self-test", values),
        two_servers=_flag("two-servers", values),
        allow_place=given_places(values.get("allow-place", ""), AUDIT_OPTION),
        source_artifacts=values.get("source-artifacts", ""),
        target_artifacts=values.get("target-artifacts", ""),
        subset=_subset(values),
        stop_after=_count("stop-after", values, most=1_000_000_000) if "stop-after" in values else None,
        estimate=_flag("estimate", values),
        known_hashes=_flag("known-hashes", values),
        checksums=_names(values.get("checksums", "")),
        engine=engine,
        dask_scheduler=values.get("dask-scheduler", ""),
        dask_dir=values.get("dask-dir", ""),
    )
    check(values, partial(_is_given, values=values))
    ends = {"source": settings.source, "target": settings.target}
    check_cluster(settings.engine, settings.dask_scheduler, settings.dask_dir, ends)
    ways = own_way("source", source, settings.source_artifacts), own_way("target", target, settings.target_artifacts)
    if source.workspace == target.workspace:
        at = s3_endpoint("source", env, arn=False), s3_endpoint("target", env, arn=False)
        refuse_one_place(*("" if way is None else way.place for way in ways), s3=at)
    if settings.source.is_same_as(settings.target):
        raise UsageProblem(
            f"source and target are the same location ({settings.source.display}); comparing a server with itself "
            "proves nothing: give two different ones"
        )
    if source.workspace == target.workspace and is_same(settings.source_db, settings.target_db):
        raise UsageProblem(
            "--source-db and --target-db are the same database; comparing it with itself proves nothing: give two "
            "different ones"
        )
    _check_folders(settings)
    return settings


def _subset(values: Mapping[str, str]) -> Subset | None:
    from mlflow_parity.core.subset import MOST_PARTS, Subset

    text = values.get("subset")
    if text is None:
        return None
    found = Subset.parsed(text)
    if found is None:
        raise UsageProblem(
            f"--parity-subset: {text!r} is not a part: give N/T, part N of T, with 1 <= N <= T <= {MOST_PARTS:,}"
        )
    return found


def _is_given(name: str, values: Mapping[str, str]) -> bool:
    if name == "engine":
        return values.get(name, "threads") != "threads"
    return _flag(name, values) if BY_NAME[name].kind == "flag" else bool(values.get(name))


def _check_folders(settings: Settings) -> None:
    """Refuse to keep a side where the other side's snapshot is: what is there is moved aside, or gone on with."""
    if settings.snapshot_dir is None:
        if settings.known_hashes:
            raise UsageProblem("--parity-known-hashes: they are kept in --parity-snapshot-dir; add that")
        return
    if not settings.snapshot_dir:
        raise UsageProblem("--parity-snapshot-dir: '' is no folder: pass one, or leave the option out")
    pairs = (("source", settings.source, settings.target), ("target", settings.target, settings.source))
    kept = given_path(settings.snapshot_dir, "--parity-snapshot-dir", "pass a different folder").resolve()
    for side, location, other in pairs:
        place = kept / side
        if location.kind != "snapshot" and other.kind == "snapshot" and other.path.resolve().is_relative_to(place):
            raise UsageProblem(
                f"--parity-snapshot-dir: {settings.snapshot_dir} is where the snapshot {other.display} is, and the "
                f"{side}'s would take its place; pass a different folder"
            )


def _side(side: str, values: Mapping[str, str], env: Mapping[str, str]) -> Location:
    uri, arn = values.get(f"{side}-uri"), values.get(f"{side}-arn")
    custom = custom_endpoint(side, env)
    if uri and arn:
        raise UsageProblem(f"--{side}-uri and --{side}-arn exclude each other; give one of them")
    if arn:
        return parse_arn(arn, option=f"--{side}-arn", custom_endpoint=custom)
    if uri:
        return parse_location(uri, option=f"--{side}-uri", custom_endpoint=custom)
    other = "target" if side == "source" else "source"
    if values.get(f"{side}-db"):
        raise UsageProblem(f"--{side}-db stands beside --{side}-uri, which is missing; add the server's address")
    raise UsageProblem(f"the {other} is given but no {side}; add --{side}-uri or --{side}-arn")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for line in text.splitlines() for part in line.split(",") if part.strip())


def _flag(name: str, values: Mapping[str, str]) -> bool:
    text = values.get(name, "false").strip().lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("0", "false", "no", "off", ""):
        return False
    raise UsageProblem(f"--parity-{name}: {text!r} is neither true nor false")


def _count(name: str, values: Mapping[str, str], *, most: int) -> int:
    text = values.get(name, "")
    try:
        number = int(text)
    except ValueError:
        raise UsageProblem(f"--parity-{name}: {text!r} is not a whole number; give one from 1 to {most}") from None
    if not 1 <= number <= most:
        raise UsageProblem(f"--parity-{name}: {number} is out of range; give a whole number from 1 to {most}")
    return number
