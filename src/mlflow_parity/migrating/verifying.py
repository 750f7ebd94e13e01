"""Hands a migration over to the checks: the audit runs as its users run it, in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from mlflow_parity import __version__
from mlflow_parity.ending import run
from mlflow_parity.locations import Location
from mlflow_parity.migrating.settings import Settings
from mlflow_parity.reporting.folder import ReportFolder
from mlflow_parity.reporting.report import SideReport, unfinished
from mlflow_parity.trusted_places import AUDIT_OPTION


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
        arguments += ["--parity-rename", str(settings.rename)]
    for place in settings.allow_place:
        arguments += [AUDIT_OPTION, place]
    return [*arguments, "--parity-report-dir", str(reports), "--parity-workers", str(settings.workers), *more]


def begin_reports(settings: Settings, reports: Path) -> ReportFolder:
    """Move the report of an earlier audit aside: from now on it must not pass for one of this run.

    Raises:
        UsageProblem: the folder cannot be used.
    """
    sides = {
        name: SideReport("(not known)", "http") if place is None else SideReport(place.display, place.kind)
        for name, place in (("source", settings.source), ("target", settings.target))
    }
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return ReportFolder(reports, unfinished(__version__, now, sides), settings.redactor)


def verify(
    settings: Settings,
    source: Location,
    more: Sequence[str] = (),
    *,
    reports: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Audit ``source`` (the server, or the export's snapshot) against the target; return the exit status (0: green).

    What the audit prints is not held back. ``reports`` is another folder than that of the settings.
    """
    assert settings.target is not None
    env = dict(os.environ if environ is None else environ)
    # options that others left there would change what is audited
    env.pop("PYTEST_ADDOPTS", None)
    for side, location in (("SOURCE", source), ("TARGET", settings.target)):
        env.pop(f"MLFLOW_PARITY_{side}_ARN", None)
        env[f"MLFLOW_PARITY_{side}_URI"] = location.uri
    folder = settings.reports if reports is None else reports
    # the audit does so too, but where it comes to nothing at all nobody else would have
    begin_reports(settings, folder)
    command = [sys.executable, "-m", "pytest", *audit_arguments(settings, folder, more)]
    return run(command, env)
