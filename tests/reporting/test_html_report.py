"""``report.html``: says everything on one page, hostile data stays text, nothing is loaded, size is bounded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from support.browser import Page, assert_inert, listening, opened
from support.report_samples import FACETS, HOSTILE, cell, hostile_report, report, reports, unhurried

from mlflow_parity.core.text import visible
from mlflow_parity.core.verdict import Finding, State
from mlflow_parity.reporting.page.html_report import render
from mlflow_parity.reporting.report import CoverageRow, Report, Scope
from mlflow_parity.reporting.terminal import summary_lines

LIMIT = 10_000_000


def write(document: str, path: Path) -> Path:
    """Write a page."""
    path.write_bytes(document.encode("utf-8"))
    return path


@pytest.mark.long
@given(reports)
@settings(unhurried, max_examples=60)
def test_any_report_is_inert_well_formed_and_small(made: Report) -> None:
    """Whatever the servers held: UTF-8, balanced tags, nothing but our tags and attributes, below 10 MB."""
    document = render(made)
    assert len(document.encode("utf-8")) < LIMIT
    page = Page(document)
    assert page.unclosed == []
    assert_inert(page)
    assert page.title == "RED: MLflow migration audit"
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]", document)


def test_the_page_says_it_all() -> None:
    """Verdict, coverage, reasons, sides, digests, scope, what is outside, the command, the sign-off."""
    page = Page(render(report()))
    words = page.words
    for expected in (
        "RED The migration is not verified",
        "compared 50,232 of 50,235 · 778 failed · 731 differences",
        "55 runs of experiment churn are missing on the target",
        "This is a partial audit. Not compared: deleted experiments and runs (--parity-include-deleted)",
        "731 differences were counted. 720 of them are not kept in this report",
        "https://mlflow.example.com 12 experiments · 4,102 runs · 2,051,000 metric points · 12,306 files of runs, ",
        "Run resnet50 lr=0.1 · 2 shown source id " + "a1" * 16 + " · target id " + "b2" * 16,
        "− missing Run train-000 source id " + "0" * 32 + " · target id –",
        "Source run train, 12 metrics, FINISHED No run of the target names this run",
        "ana\\u202eevil",
        "registered models: 3 on source",
        "webhooks: cannot be counted on target",
        "MLflow version 2.22.5 3.10.1",
        "SageMaker MLflow App",
        "12,306 (48.2 GB)",
        "sha256:9d2f",
        "source-tag: 4,040, content: 8",
        "pytest --source-uri https://mlflow.example.com --target-arn",
        "Role Name Date Signature Migrated by Accepted by",
        "history_bulk: yes",
        "workers: 8",
    ):
        assert expected in words, expected
    assert "content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" in page.source
    # two words for two figures: what was compared is not what is right
    assert "verified 100" not in words
    assert "99.9 %" not in words


def test_only_what_is_wrong_stands_open() -> None:
    """The first rows are the experiments that failed, each with what failed; all that is in order is folded away."""
    document = render(report())
    rows = [
        re.sub("<.*?>", "", row).strip()
        for row in re.findall(r'<tr class="hit"><th scope="row">(.*?)</th>', document, re.S)
    ]
    assert rows == [
        *("churn", "nlp – Übersetzung", "vision/resnet50-pretraining"),
        *("Default", "forecast", "fraud-detection/gbm"),
    ]
    folded = document.index("<b>In order</b>")
    assert document.index("<bdi>vision/resnet50-pretraining</bdi></a>") < folded < document.index("<bdi>Default</bdi>")
    assert "<details open" not in document[document.index("<main>") : document.index("Altered values")]
    words = Page(document).words
    assert "churn 770 7,429 presence , tags , source_tags , times , artifact_location , other and 8 more − 55" in words
    assert "metrics ≠ 2 mismatch ○ 3 unverified of 511" in words


def test_altered_values_come_before_lists_of_what_is_missing() -> None:
    """What was changed stands open at the top of the differences; the list of lost runs is below it."""
    document = render(report())
    words = Page(document).words
    order = [
        words.index(title) for title in ("Altered values", "val/accuracy", "Missing, extra, duplicate", "train-000")
    ]
    assert order == sorted(order)
    altered = document[document.index("Altered values") : document.index("Missing, extra, duplicate")]
    assert '<details class="hit" open>' in altered
    many = tuple(
        Finding("churn", "run", f"lost {n}", f"{n:032x}", None, "presence", "", State.MISSING, "run.presence")
        for n in range(11)
    )
    assert "<details open" not in render(report(findings=many))
    assert "<details open" in render(report(findings=many[:10]))


def test_every_facet_is_counted_by_kind() -> None:
    """All facets stand by kind, folded; what is wrong stands by itself above."""
    facets = [f"{kind} facet-{number}" for kind in ("run", "logged_model", "trace") for number in range(40)]
    coverage = tuple(CoverageRow("churn", facet, cell(match=7)) for facet in facets)
    wrong = CoverageRow("churn", "trace spans", cell(1, match=6, mismatch=1))
    green = render(report(coverage=coverage, findings=(), findings_total=0, scope=Scope(facets=tuple(facets))))
    words = Page(green).words
    for number in range(40):
        assert words.count(f"facet-{number} ✓ 7 match") == 3
        assert f"logged_model facet-{number}, " in words
    assert "logged model 7 facet-0" in words
    assert "…[" not in words
    red = Page(render(report(coverage=(*coverage, wrong), findings=(), findings_total=1))).words
    assert "churn 1 847 trace spans ≠ 1 mismatch of 7" in red
    assert "spans ≠ 1 mismatch of 7" in red[red.index("By kind of object") :]


def test_what_was_waived_is_said_wherever_somebody_looks_first() -> None:
    """Who signs reads the head and the line above the signature: not all is on the target, and how much is accepted."""
    waivers = ({"object": "churn / run / *", "facet": "params", "status": "used", "covered": "2", "reason": "known"},)
    coverage = (CoverageRow("churn", "params", cell(match=7, waived=2)),)
    made = report(
        verdict="green", reasons=(), findings=(), findings_total=0, coverage=coverage, scope=Scope(), waivers=waivers
    )
    words = Page(render(made)).words
    assert "GREEN Verified, but for accepted differences" in words
    assert "and nothing else" not in words
    assert words.count("compared 9 of 9 · 0 failed · 2 waived") == 2
    assert "parity: GREEN · compared 9 of 9 · 0 failed · 2 waived" in summary_lines(made)


def test_a_green_page_claims_no_more_than_its_scope() -> None:
    """Green is said of the scope only, and what lies outside stands beside it; a partial audit says partial."""
    coverage = (CoverageRow("churn", "params", cell(match=7)),)
    changes: dict[str, Any] = {
        "verdict": "green",
        "reasons": (),
        "findings": (),
        "findings_total": 0,
        "coverage": coverage,
    }
    whole = Page(render(report(**changes, scope=Scope()))).words
    assert "GREEN Verified: everything in scope is on the target, and nothing else" in whole
    assert "Not part of this audit: registered models: 3 on source" in whole
    partial = Page(render(report(**changes))).words
    assert "GREEN Verified (partial audit)" in partial
    assert "verdict GREEN of a partial audit: compared 7 of 7 · 0 failed." in partial
    for red in ("What is wrong", "Differences", "Where it failed", "✗ 7", "Altered values"):
        assert red not in whole
        assert red not in partial
    by_default = Scope(left_out=("deleted experiments and runs (--parity-include-deleted)",))
    usual = Page(render(report(**changes, scope=by_default))).words
    assert (
        "Not part of this audit: deleted experiments and runs (--parity-include-deleted); registered models: 3" in usual
    )
    assert "Complete yes, but for what is left out" in usual


def test_nothing_compared_is_said() -> None:
    """An audit of nothing shows 0 %, no table and no bar that could look like success."""
    page = Page(render(report(coverage=(), findings=(), findings_total=0)))
    assert "Nothing was compared." in page.text
    assert "nothing was compared" in page.words
    assert "svg" not in page.tags


@pytest.mark.long
@pytest.mark.parametrize("experiments", [500, 5_000], ids=["500x10", "5000x1"])
def test_a_large_report_stays_small(experiments: int) -> None:
    """5,000 rows of coverage and 2,000 long differences give less than 10 MB, and what is left out is said."""
    facets = FACETS[: 5_000 // experiments]
    coverage = tuple(
        CoverageRow(f"team/experiment-{n:05}", facet, cell(2, match=90, mismatch=1, missing=1, unverified=1))
        for n in range(experiments)
        for facet in facets
    )
    long = "&\u202e" * 1_500
    findings = tuple(
        Finding(f"team/experiment-{n:05}", "run", long, "a" * 32, "b" * 32, "tags", long, State.MISMATCH, "run.tags",
                long + "1", long + "2", long)
        for n in range(0, experiments, max(experiments // 2_000, 1))
    )  # fmt: skip
    document = render(report(coverage=coverage, findings=findings, findings_total=10**6))
    assert len(document.encode("utf-8")) < LIMIT
    words = Page(document).words
    left_out = re.search(r"([\d,]+) more are not shown here", words)
    shown = document.count('class="finding')
    assert left_out is not None
    assert shown > 30
    assert int(left_out[1].replace(",", "")) + shown == len(findings)


@pytest.mark.long
def test_the_worst_report_there_can_be_stays_small() -> None:
    """20,000 experiments with hostile names in six states each, and hostile lists, stay below 10 MB."""
    counts = {state.value: 10**12 for state in State if not state.green}
    coverage = tuple(CoverageRow(f"{n:06}" + '"' * 400, "params", cell(1, **counts)) for n in range(20_000))
    names = ('"' * 3_000,) * 500
    made = report(
        coverage=coverage, reasons=names, notes=names, scope=Scope(names, names, left_out=names), command=names
    )
    document = render(made)
    assert len(document.encode("utf-8")) < LIMIT
    words = Page(document).words
    hidden = re.search(r"([\d,]+) more experiments are not shown: ([\d,]+) with objects", words)
    assert hidden is not None
    rows = document.count('<tr class="hit">')
    assert int(hidden[1].replace(",", "")) + rows == 20_000
    assert "… and 420 more, see report.json" in words


def test_a_browser_shows_hostile_data_as_text(tmp_path: Path) -> None:
    """In Chromium no hostile name runs a script, makes an element or hides: every one can be read."""
    page = opened(write(render(hostile_report()), tmp_path / "hostile.html"), tmp_path)
    assert page.title == "RED: MLflow migration audit"
    assert_inert(page)
    assert page.tags.count("h1") == 1
    for hostile in HOSTILE[:-1]:
        assert visible(hostile) in page.text, hostile


@pytest.mark.long
def test_a_browser_loads_nothing(tmp_path: Path) -> None:
    """Images, styles, frames and forms in the data reach no server; the same ones in a plain page do."""
    with listening() as (url, asked):
        attacks = (
            f'<img src="{url}/image">',
            f"<link rel=stylesheet href={url}/style>",
            f"<script>fetch('{url}/script');document.title='owned'</script>",
            f"<iframe src={url}/frame></iframe>",
            f"</style><style>body{{background:url({url}/background)}}</style>",
            f"<meta http-equiv=refresh content='0;url={url}/refresh'>",
        )
        control = write(f"<title>plain</title>{''.join(attacks[:5])}", tmp_path / "control.html")
        # the browser obeys: so silence below means something
        assert opened(control, tmp_path).title == "owned"
        assert {"/image", "/style", "/script", "/frame", "/background"} <= set(asked)
        asked.clear()
        made = report(
            reasons=attacks,
            findings=tuple(
                Finding(text, "run", text, text, text, text, text, State.MISMATCH, text, text, text + "!", text)
                for text in attacks
            ),
        )
        page = opened(write(render(made), tmp_path / "attacked.html"), tmp_path)
        assert asked == []
        assert page.title == "RED: MLflow migration audit"
        assert_inert(page)


def test_without_a_browser_no_test_of_one_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skipped with the reason where there is no Chromium; in continuous integration that is a failure."""
    page = write("<title>plain</title>", tmp_path / "plain.html")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no Chromium"):
        opened(page, tmp_path)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        opened(page, tmp_path)
