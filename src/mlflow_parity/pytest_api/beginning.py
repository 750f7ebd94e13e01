"""What begins an audit, whoever asks for it: the options validated, and the folder of its reports."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from mlflow_parity import options
from mlflow_parity.audit.settings import Settings
from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.pytest_api.repeating import command_line
from mlflow_parity.pytest_api.report_building import begin
from mlflow_parity.reporting.kept.earlier import load_recheck
from mlflow_parity.reporting.write import ReportFolder


@dataclass(frozen=True, slots=True)
class Begun:
    """An audit of which nothing was read yet; ``redactor`` knows the passwords of its locations too."""

    settings: Settings
    redactor: Redactor
    reports: ReportFolder | None
    command: tuple[str, ...]
    """What repeats it."""


def begun(
    values: dict[str, str],
    redactor: Redactor,
    *,
    selected: Iterable[str] = (),
    written: bool = True,
    reports: ReportFolder | None = None,
) -> Begun:
    """Validate the options and begin the reports, unless none are ``written``; ``reports``: those begun already.

    ``selected`` are the options of pytest that belong to the command. The report of a refused audit says why.

    Raises:
        ParityError: one line for the first thing that is wrong.
    """
    if reports is not None and values.get("recheck"):
        values["recheck"] = reports.now(values["recheck"])
    try:
        settings = options.resolve(values)
        if values.get("recheck"):
            settings = replace(settings, recheck=load_recheck(values["recheck"], settings))
    except ParityError as error:
        if written:
            # what may be wrong with that folder is not what has to be said first
            with suppress(ParityError):
                reports = begin(values["report-dir"], redactor, folder=reports)
                reports.ends(str(error), error.exit_status)
        raise
    redactor = Redactor.from_environment(also=settings.secrets)
    selected = tuple(selected)
    if written:
        command = command_line(values, settings, selected)
        reports = begin(settings.report_dir, redactor, settings, command, folder=reports)
        if settings.recheck is not None:
            values["recheck"] = reports.now(values["recheck"])
            settings = replace(settings, recheck=replace(settings.recheck, path=values["recheck"]))
    return Begun(settings, redactor, reports, command_line(values, settings, selected))
