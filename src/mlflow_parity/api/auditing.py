"""``audit(source=…, target=…)``: the audit of ``mlflow-parity audit`` in this process, without pytest.

There, pytest collects a test for each check and object, and each of them only asks the ledger whether it is green for
its promise. So here the same session reads and compares for the same tests, and it alone gives the verdict: nothing of
pytest is started, which could not run within another run of pytest, or twice with all of the process left as it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from mlflow_parity import options
from mlflow_parity.api.audit_report import AuditReport
from mlflow_parity.api.errors import Saying, in_one_line
from mlflow_parity.api.given import audit_names, audit_values
from mlflow_parity.api.shown import terminal
from mlflow_parity.core.errors import ParityError, UsageProblem, no_space
from mlflow_parity.core.redaction import guard_logs
from mlflow_parity.pytest_api.beginning import begun
from mlflow_parity.pytest_api.session import Main
from mlflow_parity.pytest_api.showing import write_summary
from mlflow_parity.reporting.write import HTML_NAME, JSON_NAME


def audit(
    source: str | os.PathLike[str] | None = None, target: str | os.PathLike[str] | None = None, **given: Any
) -> AuditReport:
    """Compare two servers, and return the report; red is a result, too, and no error.

    ``source`` and ``target``: an ``http(s)://`` tracking server, an ARN, or the folder of a snapshot. All else are the
    options of ``mlflow-parity audit`` by their names without ``--parity-``, with underscores (docs/options.md):
    ``experiments=["churn"]``, ``depth="listing"``, ``report_dir="reports"``. What is not given is taken from the
    environment, as by the command; credentials always are.

    Raises:
        UsageProblem: one line for the first thing that is wrong with what was given.
        ParityError: one line why there is no result: a server cannot be read, a snapshot is damaged, a disk is full.
    """
    say = Saying(audit_names())
    return in_one_line(say, lambda: _audited({"source": source, "target": target, **given}, say))


def _audited(given: Mapping[str, Any], say: Saying) -> AuditReport:
    values = audit_values(given)
    if not options.is_active(values):
        raise UsageProblem("the audit compares two servers: give source and target")
    if options.is_estimate(values):
        raise UsageProblem(
            "estimate: an estimate compares nothing, so it has no report; run `mlflow-parity audit --parity-estimate`"
        )
    end = guard_logs(say.redact)
    try:
        found = begun(values, say.redact)
        say.redact = found.redactor
        end()
        end = guard_logs(say.redact)
        main = Main(found.settings, found.redactor, found.command, found.reports)
        try:
            return _run(main)
        finally:
            main.close()
    finally:
        end()


def _run(main: Main) -> AuditReport:
    try:
        main.take_inventory()
        main.run(main.every_check(), terminal())
        status = main.finish(main.status_of_checks())
    except KeyboardInterrupt:
        main.ends("the audit was interrupted", int(pytest.ExitCode.INTERRUPTED))
        write_summary(main)
        raise
    except Exception as error:
        problem = error if isinstance(error, ParityError) else no_space(error)
        if problem is not None:
            main.ends(str(problem), problem.exit_status)
        else:
            main.ends("internal error (a bug in mlflow-parity)", int(pytest.ExitCode.INTERNAL_ERROR))
        write_summary(main)
        raise
    problems = write_summary(main)
    assert main.reports is not None
    report, written = main.report, main.written
    if report is None:
        # what was selected is on neither side, or nothing was
        report = replace(main.reports.without_verdict, exit_status=status)
        written = {name: main.reports.path / name for name in (JSON_NAME, HTML_NAME)}
    report = replace(report, notes=(*report.notes, *problems))
    return AuditReport(report.redacted(main.redactor), {name: path.absolute() for name, path in written.items()})
