"""The report as a page of Markdown, for the summary of a CI job: what is wrong first, and never too long for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.text import counted, shorten, visible
from mlflow_parity.core.verdict import SEVERITY, Finding, State
from mlflow_parity.reporting.report import SIDES, Report

#: GitHub Actions shows what a step appends to the file that this variable names, up to 1 MiB.
GITHUB = "GITHUB_STEP_SUMMARY"
_OPTION = "--parity-summary"
_LINES, _ROWS, _FINDINGS = 20, 25, 15
_TEXT, _VALUE = 300, 80
#: Characters that mean something in GitHub's Markdown: ``@`` calls people, ``:`` and ``.`` make links of addresses.
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+!|~&@$:.=-]")


def render(report: Report, *, report_dir: str | None, redact: Callable[[str], str]) -> str:
    """Return the page; ``report_dir`` is where the reports were written, ``None``: they could not be."""
    clean = report.redacted(redact)
    parts = [
        [f"# mlflow-parity: {clean.title}"],
        _figures(clean),
        _list(clean.reasons, "more reasons"),
        _in_common(clean),
    ]
    parts += [_sides(clean), _table(clean)]
    parts += [_findings(clean), _left_out(clean), _end(clean, None if report_dir is None else redact(report_dir))]
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def no_verdict(reason: str, redact: Callable[[str], str]) -> str:
    """Return the page of an audit that came to no verdict."""
    return f"# mlflow-parity: NO VERDICT\n\n{text(redact(reason))}\n"


def is_wanted(path: str, environ: Mapping[str, str]) -> bool:
    """Whether anybody wants a page: the option names a file (else it is empty), or GitHub Actions does."""
    return bool(path or environ.get(GITHUB))


def check(path: str) -> None:
    """Look whether a summary can be written to the file that the option names: before hours of reading.

    Raises:
        UsageProblem: it cannot.
    """
    try:
        with Path(path).expanduser().open("ab"):
            pass
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageProblem(_cannot(path, error)) from None


def write(page: str, path: str, environ: Mapping[str, str]) -> list[str]:
    """Write a page to the file that the option names (empty: none), and append it to GitHub's; say what failed."""
    problems = []
    if path:
        try:
            Path(path).expanduser().write_text(page, encoding="utf-8")
        except (OSError, RuntimeError) as error:
            problems.append(_cannot(path, error))
    if appended := environ.get(GITHUB):
        try:
            with open(appended, "a", encoding="utf-8") as file:
                file.write(page + "\n")
        except OSError as error:
            problems.append(f"{GITHUB}: cannot append to {appended!r}: {error.strerror or error}")
    return problems


def _cannot(path: str, error: Exception) -> str:
    why = getattr(error, "strerror", None) or str(error).rstrip(".")
    return f"{_OPTION}: cannot write to {path!r}: {why}; give a file in a folder that is there"


# --- its parts


def _figures(report: Report) -> list[str]:
    told = f"**{text(report.figures)}**"
    return [text(report.warning), "", told] if report.warning else [told]


def _list(lines: Iterable[str], more: str) -> list[str]:
    every = [f"- {text(line)}" for line in lines]
    return every if len(every) <= _LINES else [*every[: _LINES - 1], f"- … and {len(every) - _LINES + 1:,} {more}"]


def _in_common(report: Report) -> list[str]:
    return ["In common:", "", *_list(report.in_common, "more")] if report.in_common else []


def _sides(report: Report) -> list[str]:
    rows = ["| | | MLflow | experiments | runs | points | files |", "|---|---|---|--:|--:|--:|--:|"]
    for name in SIDES:
        side = report.sides[name]
        counts = " | ".join(f"{count:,}" for count in (side.experiments, side.runs, side.points, side.artifacts))
        rows.append(f"| {name} | {code(side.location)} | {text(side.server_version or '')} | {counts} |")
    ends = [(name, report.sides[name]) for name in SIDES]
    told = [f"{name}: {text(line)}" for name, one in ends for line in (one.snapshot_of, one.answered) if line]
    return [*rows, *("", *told)] if told else rows


def _table(report: Report) -> list[str]:
    """Return the rows that are wrong, by experiment or model and facet."""
    red = report.red_rows
    if not red:
        return []
    states = [state for state in SEVERITY if not state.green and any(row.cell.counts[state] for row in red)]
    heads = " | ".join(state.value for state in states)
    rows = [f"| in | what | compared | {heads} |", f"|---|---|--:|{'--:|' * len(states)}"]
    for row in red[:_ROWS]:
        counts = " | ".join(f"{row.cell.counts[state]:,}" if row.cell.counts[state] else "" for state in states)
        rows.append(
            f"| {code(row.experiment)} | {text(row.facet.replace('_', ' '))} | {row.verified:,} of {row.total:,} | "
            f"{counts} |"
        )
    if len(red) > _ROWS:
        rows += ["", f"… and {counted(len(red) - _ROWS, 'more rows')}"]
    return rows


def _findings(report: Report) -> list[str]:
    red = [one for one in report.findings if not one.state.green]
    red.sort(key=lambda one: SEVERITY.index(one.state))
    if not red:
        return []
    lines = [_finding(one) for one in red[:_FINDINGS]]
    if report.findings_total > len(lines):
        lines.append(f"- … and {report.findings_total - len(lines):,} more: the ledger names every object")
    return ["<details><summary>First differences</summary>", "", *lines, "", "</details>"]


def _finding(one: Finding) -> str:
    where = f"{code(one.experiment)}: " if one.experiment else ""
    name = code(one.name) if one.name else "(unnamed)"
    key = f" / {code(one.key)}" if one.key else ""
    values = "".join(
        f", {side} {code(value) if value is not None else '(absent)'}"
        for side, value in (("source", one.source), ("target", one.target))
        if one.state is State.MISMATCH
    )
    identity = one.source_id or one.target_id
    told = f" ({code(identity)})" if identity else ""
    return f"- {where}{text(one.kind.replace('_', ' '))} {name}{told}: {text(one.facet)}{key} {one.state.value}{values}"


def _left_out(report: Report) -> list[str]:
    told = report.not_compared
    return ["Left out:", "", *_list(told, "more that were left out")] if told else []


def _end(report: Report, report_dir: str | None) -> list[str]:
    lines = []
    if report_dir is not None:
        lines.append(f"Report: {code(report_dir.rstrip('/') + '/report.html')}")
    else:
        lines.append("No report was written.")
    digests = {"ledger": report.ledger_digest, "contract": report.contract_digest}
    lines += [f"SHA-256 of the {name}: {code(digest)}" for name, digest in digests.items() if digest]
    if report.command:
        lines.append(f"Repeat: {code(shlex.join(report.command), 4 * _TEXT)}")
    return ["  \n".join(lines)]


# --- data in Markdown


def text(found: str, most: int = _TEXT) -> str:
    """Return a text in which nothing is markup, in one line."""
    return _SPECIAL.sub(lambda one: f"&#{ord(one[0])};", " ".join(shorten(visible(found), most).split()))


def code(found: str, most: int = _VALUE) -> str:
    """Return a text as code; in backticks it could not stand in a table."""
    return f"<code>{text(found, most)}</code>"
