"""Hands a migration over to the checks: the audit runs as its users run it, in a process of its own."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mlflow_parity import __version__
from mlflow_parity.audit.settings import left_out_by_names
from mlflow_parity.core.ending import run
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import make_folder
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.locations import Location, given_path
from mlflow_parity.core.notice import migrate_command
from mlflow_parity.core.text import encodable
from mlflow_parity.core.verdict import Deleted
from mlflow_parity.kinds.rules.check_registry import OWNERS, PROMISES, collected
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.options import NOT_ASKED, NOT_LOADED
from mlflow_parity.reading.artifacts.trusted_places import AUDIT_OPTION
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.kept.earlier import recount
from mlflow_parity.reporting.kept.waiver_drafts import read_report
from mlflow_parity.reporting.report import NOT_KNOWN, unfinished
from mlflow_parity.reporting.side_report import SideReport, begun
from mlflow_parity.reporting.write import JSON_NAME, ReportFolder


def audit_arguments(settings: Settings, reports: Path, more: Sequence[str] = ()) -> list[str]:
    """Return the audit's options; the two ends go into its environment, where no list of processes shows them."""
    arguments = ["-q", "--no-header", "-p", "no:cacheprovider"]
    if settings.experiments:
        arguments += ["--parity-experiments", ",".join(settings.experiments)]
    if settings.models:
        arguments += ["--parity-models", ",".join(settings.models)]
    if settings.include_deleted:
        arguments += ["--parity-include-deleted"]
    if settings.rename is not None:
        arguments += ["--parity-rename", str(settings.rename.absolute())]
    for place in settings.allow_place:
        arguments += [AUDIT_OPTION, place]
    if settings.engine == "dask":
        arguments += ["--parity-engine", "dask"]
        # the audit runs in a folder of its own
        place = (
            settings.dask_dir
            if "://" in settings.dask_dir or not settings.dask_dir
            else str(given_path(settings.dask_dir, "--dask-dir", "give a folder that all workers use").absolute())
        )
        given = {"--parity-dask-scheduler": settings.dask_scheduler, "--parity-dask-dir": place}
        arguments += [text for option, value in given.items() if value for text in (option, value)]
    return [
        *arguments,
        "--parity-report-dir",
        str(reports.absolute()),
        "--parity-workers",
        str(settings.workers),
        *more,
    ]


def begin_reports(settings: Settings, reports: Path) -> ReportFolder:
    """Move the report of an earlier audit aside: from now on it must not pass for one of this run.

    Raises:
        UsageProblem: the folder cannot be used.
    """
    ends: dict[SideName, Location | None] = {"source": settings.source, "target": settings.target}
    sides: dict[str, SideReport] = {
        name: SideReport(NOT_KNOWN, "http") if place is None else begun(name, place, os.environ)
        for name, place in ends.items()
    }
    return ReportFolder(reports, unfinished(__version__, _now(), sides), settings.redactor)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def verify(
    settings: Settings,
    source: Location,
    more: Sequence[str] = (),
    *,
    reports: Path | None = None,
    rechecked: Path | None = None,
    environ: Mapping[str, str] | None = None,
    output: Path | None = None,
) -> tuple[int, str]:
    """Audit ``source`` (the server, or the export's snapshot) against the target; return the exit status (0: green).

    With it comes why a green audit does not prove all that the migration's scope names (empty: it does). What the audit
    prints goes to the terminal, or to the file ``output``. ``reports`` is another folder than that of the settings,
    ``rechecked`` the report of which only the red part is judged again.
    """
    assert settings.target is not None
    own = {}
    for side, location in (("SOURCE", source), ("TARGET", settings.target)):
        uri = str(location.path.absolute()) if location.kind == "snapshot" else location.uri
        own[f"MLFLOW_PARITY_{side}_URI"] = uri
    folder = settings.reports if reports is None else reports
    # the audit does so too, but where it comes to nothing at all nobody else would have
    begin_reports(settings, folder)
    if rechecked is not None:
        more = [*more, "--parity-recheck", str(rechecked.absolute())]
    if output is not None:
        make_folder(output.parent)
    began = _now()
    status = run_audit(audit_arguments(settings, folder, more), os.environ if environ is None else environ, own, output)
    return status, _lacking(settings, source, folder, rechecked, began) if status == 0 else ""


def _lacking(settings: Settings, source: Location, folder: Path, rechecked: Path | None, began: str) -> str:
    """Say why the audit, which ended with exit status 0, does not prove all of the migration; empty: it does."""
    assert settings.target is not None
    path = folder / JSON_NAME
    again = f"run `{migrate_command()} verify` for the whole"
    try:
        report = read_report(str(path), "the audit")
        # a snapshot is named by an absolute path, as it was handed over
        here = str(source.path.absolute()) if source.kind == "snapshot" else source.display
        shown = {"source": settings.redactor(here), "target": settings.redactor(settings.target.display)}
        if problem := not_proved(report, shown, began) or recount(report, str(path), "the audit"):
            return f"the audit ended with exit status 0, but {problem}; {again}"
        whole = report if rechecked is None else read_report(str(rechecked), "--report")
    except UsageProblem as error:
        return f"the audit ended with exit status 0, but left no report that shows it ({error})"
    if gap := not_covered(whole, settings):
        title = path if rechecked is None else rechecked
        return f"the audit is green but does not cover the migration: of {title}, {gap}; {again}"
    return ""


_REST: tuple[Family, ...] = ("model", "prompt", "server")


def not_proved(report: Mapping[str, Any], sides: Mapping[str, str], began: str) -> str:
    """Return why a report is no green one of these servers, as they are shown, since ``began``; empty: it is."""
    if report["verdict"] != "green" or report.get("exit_status") != 0:
        return f"the report says {report['verdict']}, exit status {report.get('exit_status')}"
    if str(report["created"]) < began:
        return f"the report was made at {report['created']}, before this audit began"
    for side, shown in sides.items():
        found = report["sides"][side]["location"]
        if found != shown:
            return f"the report is of another {side} ({found}, not {shown})"
    return ""


def not_covered(report: Mapping[str, Any], settings: Settings) -> str:
    """Return what the migration's options name and the report's audit did not look at; empty: nothing."""
    try:
        return next(_gaps(report, settings), "")
    except (KeyError, TypeError, AttributeError):
        return "parts of the report are not there"


def _gaps(report: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    scope, redact = report["scope"], settings.redactor
    for option, wanted in (("experiments", settings.experiments), ("excluded", ()), ("models", settings.models)):
        if list(scope.get(option) or ()) != [encodable(redact(name)) for name in wanted]:
            told = ", ".join(map(str, scope.get(option) or ())) or "none"
            yield f"it was limited to other names ({option}: {told})"
    if settings.include_deleted and not scope["include_deleted"]:
        yield "deleted experiments and runs were left out"
    if scope["depth"] == "listing":
        yield "no bytes of files were compared (depth listing)"
    if scope["profile"] != "export-import":
        yield f"it was judged by the profile {scope['profile']}"
    ran = set(map(str, scope.get("checks") or ()))
    allowed = set(_told_anyway(report)) | set(left_out_by_names(settings.experiments, (), settings.models))
    absent: tuple[Family, ...] = _REST if settings.experiments else _REST[:2] if settings.models else ()
    if report["sides"]["source"]["experiments"] == 0:
        # those that were left out otherwise are counted in a line of their own
        absent = ("experiment", *absent)
    every = collected(snapshot=False)
    for family in dict.fromkeys(one.family for one in PROMISES):
        wanted_here = {one.name for one in PROMISES if one.family == family and one.name in every}
        missing = sorted(wanted_here - ran)
        # what is on the target only has its check all the same
        if missing and family in absent and wanted_here & ran <= OWNERS:
            allowed |= {f"{one.kind} {facet}" for one in PROMISES if one.name in missing for facet in one.facets}
        elif missing:
            yield f"checks were not run (test_{', test_'.join(missing[:3])}{', …' if missing[3:] else ''})"
    if left := [line for line in map(str, scope.get("left_out") or ()) if line not in allowed]:
        yield f"left out was: {left[0]}"
    if scope["partial"] and not absent:
        yield "the report says that it is partial"


def _told_anyway(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what every audit by default leaves out, and says so."""
    yield NOT_LOADED
    yield NOT_ASKED
    for side, content in report["sides"].items():
        deleted = content.get("deleted")
        yield (Deleted(**deleted) if isinstance(deleted, Mapping) else Deleted(None, None, None)).told(side)


#: Variables that name a file or folder; a relative one is meant from the folder in which it was set.
_PATHS = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CURL_CA_BUNDLE",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
)
_PREFIXES = ("", "SOURCE_", "TARGET_")
#: What is no business of the audit: options of pytest, of ours and of the interpreter that others left there.
_DROPPED = ("PYTEST_", "MLFLOW_PARITY_")
_INTERPRETER = ("PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP")


def audit_environment(environ: Mapping[str, str], own: Mapping[str, str], here: Path) -> dict[str, str]:
    """Return the environment of the audit: ``environ``, without what could change its verdict, and ``own``.

    ``here`` is the current folder: relative paths are made absolute, and nothing is imported from it.
    """
    env = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_DROPPED) and name not in _INTERPRETER and name != "PYTHONPATH"
    }
    for name in (prefix + name for prefix in _PREFIXES for name in _PATHS):
        if env.get(name) and not env[name].startswith("~"):
            env[name] = os.path.join(here, env[name])
    # an empty entry means the current folder
    folders = [os.path.normpath(os.path.join(here, one)) for one in environ.get("PYTHONPATH", "").split(os.pathsep)]
    folders = [one for one in folders if one not in (str(here), os.path.realpath(here))] + _checkout()
    if folders:
        env["PYTHONPATH"] = os.pathsep.join(folders)
    # from Python 3.11 on; before that the empty folder alone must do
    return {**env, "PYTHONSAFEPATH": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **own}


def _checkout() -> list[str]:
    """Return where this package is, when it is not installed."""
    if any(point.name == "mlflow_parity" for point in importlib.metadata.entry_points(group="pytest11")):
        return []
    return [str(Path(__file__).resolve().parent.parent.parent)]


def run_audit(
    arguments: Sequence[str], environ: Mapping[str, str], own: Mapping[str, str], output: Path | None = None
) -> int:
    """Run pytest with our plugin and ``arguments``, in which paths are absolute; return its exit status.

    It runs in an empty folder, by an empty ini file, without any ``conftest.py`` and without other plugins.
    """
    with Scratch() as folder:
        ini = folder / "pytest.ini"
        ini.write_text("[pytest]\n", encoding="utf-8")
        alone = ["-c", str(ini), "--rootdir", str(folder), "--confcutdir", str(folder), "--noconftest"]
        command = [sys.executable, "-m", "pytest", *alone, "-p", "mlflow_parity.plugin", *arguments]
        env = audit_environment(environ, own, Path.cwd())
        return run(command, env, folder, output)
