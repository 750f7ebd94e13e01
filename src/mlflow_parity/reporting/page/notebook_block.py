"""The report as a small block of HTML for a notebook: verdict, causes, and what is red; no script, nothing outside."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow_parity.core.verdict import SEVERITY, State
from mlflow_parity.reporting.page.html_report import SIGNS, template
from mlflow_parity.reporting.report import Report

#: Lines that a block has room for; the report has all.
_REASONS = 8
_CELLS = 20


def render(report: Report, path: str) -> str:
    """Return the block of a report that is redacted already; ``path``: where the whole is, empty if nowhere."""
    red = report.red_rows
    return template("notebook.html.j2").render(
        report=report,
        failed=report.failed,
        reasons=report.reasons[:_REASONS],
        more_reasons=len(report.reasons[_REASONS:]),
        red=[
            (row, [(state, SIGNS[state], row.cell.counts[state]) for state in SEVERITY if _is_red(row.counts, state)])
            for row in red[:_CELLS]
        ],
        more_red=len(red[_CELLS:]),
        path=path,
    )


def lines_block(tone: str, title: str, lines: Sequence[str]) -> str:
    """Return a block of the same look with a title and lines, without secrets already; ``tone``: green or red."""
    return template("notebook_lines.html.j2").render(
        tone=tone, title=title, lines=lines[:_CELLS], more=len(lines[_CELLS:])
    )


def _is_red(counts: dict[str, int], state: State) -> bool:
    return not state.green and bool(counts.get(state.value))
