"""Hands a migration over to the checks: the audit runs as its users run it, in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from mlflow_parity import __version__
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.invocation import migrate_command
from mlflow_parity.core.locations import Location
from mlflow_parity.migrating.handover.covering import not_covered, not_proved
from mlflow_parity.migrating.handover.isolation import run_audit
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.reading.artifacts.trusted_places import AUDIT_OPTION
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.reporting.folder import ReportFolder
from mlflow_parity.reporting.recount import recount
from mlflow_parity.reporting.report import SideReport, begun, unfinished
from mlflow_parity.reporting.waiver_drafts import read_report
from mlflow_parity.reporting.write import JSON_NAME


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
        arguments += ["--parity-rename", str(settings.rename.expanduser().absolute())]
    for place in settings.allow_place:
        arguments += [AUDIT_OPTION, place]
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
        name: SideReport("(not known)", "http") if place is None else begun(name, place, os.environ)
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
) -> tuple[int, str]:
    """Audit ``source`` (the server, or the export's snapshot) against the target; return the exit status (0: green).

    With it comes why a green audit does not prove all that the migration's scope names (empty: it does). What the audit
    prints is not held back. ``reports`` is another folder than that of the settings, ``rechecked`` the report of which
    only the red part is judged again.
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
    began = _now()
    status = run_audit(audit_arguments(settings, folder, more), os.environ if environ is None else environ, own)
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
