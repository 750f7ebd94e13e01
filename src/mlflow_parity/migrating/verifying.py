"""Hands a migration over to the checks: the audit runs as its users run it, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from mlflow_parity.locations import Location
from mlflow_parity.migrating.settings import Settings


def audit_arguments(settings: Settings, more: Sequence[str] = ()) -> list[str]:
    """Return the audit's options; the two ends go into its environment, where no list of processes shows them."""
    arguments = ["-q", "--no-header", "-p", "no:cacheprovider"]
    if settings.experiments:
        arguments += ["--experiments", ",".join(settings.experiments)]
    if settings.include_deleted:
        arguments += ["--include-deleted"]
    return [*arguments, "--report-dir", str(settings.reports), "--workers", str(settings.workers), *more]


def verify(
    settings: Settings, source: Location, more: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> int:
    """Audit ``source`` (the server, or the export's snapshot) against the target; return the exit status (0: green).

    What the audit prints is not held back.
    """
    assert settings.target is not None
    env = dict(os.environ if environ is None else environ)
    # options that others left there would change what is audited
    env.pop("PYTEST_ADDOPTS", None)
    for side, location in (("SOURCE", source), ("TARGET", settings.target)):
        env.pop(f"MLFLOW_PARITY_{side}_ARN", None)
        env[f"MLFLOW_PARITY_{side}_URI"] = location.uri
    settings.reports.mkdir(parents=True, exist_ok=True)
    # a report of an earlier audit must not pass for one of this
    for name in ("report.json", "report.html", "ledger.parquet"):
        (settings.reports / name).unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", *audit_arguments(settings, more)]
    return subprocess.run(command, env=env, stdin=subprocess.DEVNULL).returncode
