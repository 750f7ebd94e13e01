"""The summary for CI jobs: what is wrong is there, nothing of a server's data is markup, and it is never too long."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from markdown_it import MarkdownIt
from support.report_samples import HOSTILE, cell, hostile_report, report, reports, unhurried

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.reporting import markdown
from mlflow_parity.reporting.report import CoverageRow, Report

#: GitHub cuts a summary above 1 MiB for a step.
_MOST = 256 * 1024
#: Markup that we write ourselves.
_OURS = re.compile(r"</?(?:code|details|summary)>")


def _page(found: Report) -> str:
    return markdown.render(found, report_dir="reports", redact=Redactor())


def _html(page: str) -> str:
    return str(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(page))


def test_what_is_wrong_is_said_first() -> None:
    """Verdict and both figures, the reasons, then only the rows that are wrong, and how to repeat it."""
    found = report()
    assert found.verdict == "red"
    page = _page(found)
    lines = page.splitlines()
    assert lines[0].startswith("# mlflow-parity: RED")
    assert f"{found.verified:,} of {found.objects:,}" in page
    assert found.reasons
    assert all(markdown.text(reason) in page for reason in found.reasons)
    green = [row for row in found.coverage if row.cell.green]
    assert green
    table = page[page.index("| in | what |") :].split("\n\n")[0]
    assert len(table.splitlines()) - 2 == len(found.coverage) - len(green)
    shown = re.sub(r"<[^>]*>", "", _html(page))
    assert "Report: reports/report.html" in shown
    assert f"SHA-256 of the contract: {found.contract_digest}" in shown


def test_green_has_no_table_of_what_is_wrong() -> None:
    """A green page says what was compared, what was left out, and nothing red."""
    coverage = (CoverageRow("churn", "run params", cell(match=3)),)
    found = replace(report(), verdict="green", reasons=(), findings=(), coverage=coverage, findings_total=0)
    page = _page(found)
    assert page.startswith("# mlflow-parity: GREEN")
    assert "3 of 3" in page
    assert "0 failed" in page
    assert "| in | what |" not in page
    assert "First differences" not in page


@unhurried
@given(reports)
def test_any_report_is_a_page(found: Report) -> None:
    """No report breaks it, and none is too long to be shown."""
    assert len(_page(found).encode()) < _MOST


def test_data_is_no_markup() -> None:
    """Names and values of users are shown as they are: no heading, tag, link, image or table cell comes of them."""
    page = _page(hostile_report())
    html = _html(page)
    left = _OURS.sub("", html)
    assert "<script" not in left
    assert "<img" not in left
    assert "<a " not in html
    assert html.count("<h1>") == 1
    # each row of the tables has as many cells as its head
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        rows = [len(re.findall(r"<t[hd]", row)) for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)]
        assert len(set(rows)) == 1


_MARKUP = ("a|b", "`a`", "``` \n# x", "@team", "*b* _i_ ~~s~~", "[a](http://x)", "$x$", "&lt;b&gt;", "1. a", "| - |")


@pytest.mark.parametrize("value", [*HOSTILE, *_MARKUP])
def test_a_value_stays_what_it_is(value: str) -> None:
    """As text and as code, in a paragraph and in a table."""
    for shown in (markdown.text(value), markdown.code(value)):
        assert "\n" not in shown
        html = _html(f"{shown}\n\n| a | b |\n|---|---|\n| {shown} | 2 |\n")
        assert len(re.findall(r"<td", html)) == 2
        assert not re.findall(r"<(?!/?(?:p|code|table|thead|tbody|tr|th|td)\b)[a-z]", html), html


def test_no_secret_is_in_it() -> None:
    """What the redactor knows is taken out before anything is escaped or cut."""
    secret = "hunter2<of>the|source"
    found = replace(report(), reasons=(f"refused: {secret}",), command=("pytest", secret))
    page = markdown.render(found, report_dir=secret, redact=Redactor([secret]))
    assert "hunter2" not in page
    assert "hunter2" not in markdown.no_verdict(f"no {secret}", Redactor([secret]))


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The option's is refused before hours of reading; GitHub's that is gone is told, and ends nothing."""
    with pytest.raises(UsageProblem, match="--parity-summary: cannot write to"):
        markdown.check(str(tmp_path / "no folder" / "summary.md"))
    with pytest.raises(UsageProblem, match=r"--parity-summary: cannot write to '~nosuchuser/x': Could not [a-z ]+;"):
        markdown.check("~nosuchuser/x")
    assert markdown.write("page", "~nosuchuser/x", {}) != []
    markdown.check(str(tmp_path / "summary.md"))
    gone = str(tmp_path / "gone" / "step")
    problems = markdown.write("page", str(tmp_path / "summary.md"), {markdown.GITHUB: gone})
    assert (tmp_path / "summary.md").read_text() == "page"
    assert len(problems) == 1
    assert markdown.GITHUB in problems[0]
