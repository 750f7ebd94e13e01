"""Shows what an audit came to: below all that pytest prints, in the summary of a CI job, and in JUnit's XML."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from mlflow_parity.core.text import visible
from mlflow_parity.reporting import markdown
from mlflow_parity.reporting.terminal import COLUMNS, summary_lines
from mlflow_parity.reporting.write import HTML_NAME

if TYPE_CHECKING:
    from mlflow_parity.pytest_api.session import Main

#: How the names of our properties in JUnit's XML begin.
_OURS = "mlflow_parity."
#: Said by itself, in one line: there is no verdict, and nothing else to be said of it.
_SAID = (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR)


def show(main: Main, config: pytest.Config, exit_status: int) -> None:
    """Print the verdict, or that there is none, and write the summary."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    problems = write_summary(main)
    if reporter is None:
        return
    if main.report is not None:
        green = main.report.verdict == "green"
        reporter.section("mlflow-parity", sep="=", green=green, red=not green, bold=True)
        # what goes into a file or the log of a job is not 80 columns wide, whatever pytest takes it for
        known = sys.stdout.isatty() or os.environ.get("COLUMNS")
        columns = config.get_terminal_writer().fullwidth if known else COLUMNS
        verbosity = config.get_verbosity()
        for line in summary_lines(
            main.report, report_dir=_folder(main), redact=main.redactor, columns=columns, verbosity=verbosity
        ):
            reporter.write_line(line)
    elif main.no_verdict and exit_status not in _SAID:
        reporter.write_line(f"mlflow-parity: no verdict: {main.redactor(main.no_verdict)}")
    for problem in problems:
        reporter.write_line(f"mlflow-parity: {visible(main.redactor(problem))}")


def _folder(main: Main) -> str | None:
    return main.written_to if main.written else None


def write_summary(main: Main) -> list[str]:
    """Write the summary of a CI job, where one is wanted; return what is wrong with its file."""
    path = main.settings.summary
    if not markdown.is_wanted(path, os.environ):
        return []
    if main.report is not None:
        page = markdown.render(main.report, report_dir=_folder(main), redact=main.redactor)
    elif main.no_verdict:
        page = markdown.no_verdict(main.no_verdict, main.redactor)
    else:
        return []
    return markdown.write(page, path, os.environ)


def in_junit(main: Main, config: pytest.Config) -> None:
    """Have JUnit's XML say verdict, digests and where the report is, as properties of the suite."""
    xml = _junit(config)
    if xml is None:
        return
    xml.global_properties[:] = [one for one in xml.global_properties if not one[0].startswith(_OURS)]
    report = main.report
    found = {"verdict": "none", "reason": main.no_verdict}
    if report is not None:
        found = {
            "verdict": report.verdict,
            "reason": "; ".join(report.reasons),
            "compared": f"{report.verified} of {report.objects}",
            "report": "" if _folder(main) is None else f"{_folder(main)}/{HTML_NAME}",
            "ledger_sha256": report.ledger_digest,
            "contract_sha256": report.contract_digest,
            **{f"{name}_snapshot": side.snapshot_digest for name, side in report.sides.items()},
        }
    for name, value in found.items():
        if value:
            xml.add_global_property(_OURS + name, visible(main.redactor(value)))


def in_junit_again(main: Main, config: pytest.Config) -> None:
    """The same where the XML is written already, and the verdict is another now."""
    xml = _junit(config)
    if xml is not None:
        in_junit(main, config)
        xml.pytest_sessionfinish()


def _junit(config: pytest.Config) -> Any:
    """Return what writes JUnit's XML; ``None``: nothing does. pytest's own way to it is a fixture of a test."""
    try:
        from _pytest.junitxml import xml_key
    except ImportError:
        return None
    return config.stash.get(xml_key, None)
