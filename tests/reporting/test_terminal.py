"""The terminal: at most 25 lines of summary, under 40 of a failing check, and no character that acts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.report_samples import FACETS, cell, findings, hostile_report, report, reports, states, texts, unhurried

from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import width
from mlflow_parity.core.verdict import Finding, State
from mlflow_parity.reporting.check_message import check_message, short
from mlflow_parity.reporting.report import CoverageRow, Report, Scope
from mlflow_parity.reporting.terminal import LAST_LINES, summary_lines

_ACTS = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def assert_printable(lines: list[str], columns: int = 120) -> None:
    """Every line can be printed as it is and fits into the terminal."""
    for line in lines:
        assert not _ACTS.search(line), line
        assert width(line) <= columns, line
        line.encode("utf-8")


@given(reports, texts, st.sampled_from((60, 80, 120)))
@settings(unhurried, max_examples=150)
def test_the_summary_is_short_and_safe(made: Report, directory: str, columns: int) -> None:
    """Any report is summed up in at most 25 printable lines; the last ten are enough by themselves."""
    lines = summary_lines(made, report_dir=directory, columns=columns)
    assert len(lines) <= 25
    assert_printable(lines, columns)
    last = summary_lines(made, report_dir=directory, columns=columns, verbosity=-1)
    assert len(last) <= LAST_LINES
    assert lines[-len(last) :] == last
    assert last[0].startswith("parity: RED")
    assert last[-2].startswith("  report: ")
    assert last[-1].startswith("  next: ")
    assert len(summary_lines(made, report_dir=directory, columns=columns, verbosity=1)) >= len(lines)


def test_the_summary_of_a_red_audit() -> None:
    """Both sides, what is most affected, each facet that is wrong; then verdict, causes, left out, what next."""
    lines = summary_lines(report(), report_dir="out")
    text = "\n".join(lines)
    verdict = lines.index("parity: RED (partial) · compared 50,232 of 50,235 · 778 failed · 731 differences")
    assert len(lines) - verdict <= LAST_LINES
    after = lines[verdict:]
    assert "  left out: deleted experiments and runs (--parity-include-deleted)" in "\n".join(after)
    assert "  - 55 runs of experiment churn are missing on the target" in after
    assert '  most affected: "churn": 770 missing' in lines[:verdict]
    assert "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL" in text
    assert after[-2] == "  report: out/report.html (beside it report.json, ledger.parquet)"
    assert len(lines) <= 25


def test_only_what_is_wrong_has_a_line() -> None:
    """A red table has no green facet, and none of which only objects without a copy are red; ``-v`` has them all."""
    coverage = (
        CoverageRow("e", "run presence", cell(match=3, missing=1)),
        CoverageRow("e", "run params", cell(match=3, missing=1)),
        CoverageRow("e", "run metrics", cell(match=2, mismatch=1, missing=1)),
        CoverageRow("e", "trace spans", cell(match=5)),
    )
    made = report(coverage=coverage, findings=())
    first = [line.strip().split("  ")[0] for line in summary_lines(made)]
    assert "run presence" in first
    assert "run metrics" in first
    assert "1 other facet" in first
    assert not {"run params", "trace spans"} & set(first)
    every = [line.strip().split("  ")[0] for line in summary_lines(made, verbosity=1)]
    assert {row.facet for row in coverage} <= set(every)


def test_what_was_taken_over_is_told() -> None:
    """How many parts an interrupted audit had read, and when the oldest: the verdict is as old as that."""
    taken = replace(report().sides["target"], resumed_parts=12, resumed_from="2026-11-19T22:10:00Z")
    lines = summary_lines(replace(report(), sides={**report().sides, "target": taken}))
    assert "  resumed from an interrupted audit: target 12 parts, the oldest read 2026-11-19T22:10:00Z" in lines
    assert not any("resumed" in line for line in summary_lines(report()))


def test_facets_without_room_are_summed_up() -> None:
    """The facets of the table and the line that sums up the rest count every object."""
    lines = summary_lines(report())
    start = next(number for number, line in enumerate(lines) if line.startswith("  facet "))
    end = next(number for number, line in enumerate(lines) if line.startswith("parity: "))
    rows = lines[start + 1 : end]
    assert "other facets" in rows[-1]
    totals = [int(row.split(" of ")[1].split()[0].replace(",", "")) for row in rows]
    assert sum(totals) == sum(cell.total for cell in report().by_facet().values() if not cell.green)


def test_the_summary_of_a_green_audit() -> None:
    """Green says 100 %, lists every facet and asks for the signature."""
    coverage = tuple(CoverageRow("churn", facet, cell(match=7)) for facet in FACETS)
    made = report(
        verdict="green",
        reasons=(),
        findings=(),
        findings_total=0,
        coverage=coverage,
        scope=Scope(facets=FACETS, include_deleted=True),
    )
    lines = summary_lines(made)
    assert "parity: GREEN · compared 119 of 119 · 0 failed" in lines
    assert sum(line.strip().startswith(tuple(FACETS)) for line in lines) > 5
    every = summary_lines(made, verbosity=1)
    assert sum(line.split()[0] in FACETS for line in every) == len(FACETS)
    assert lines[-1] == "  next: sign report.html (mlflow-parity attest), keep ledger.parquet"


def test_red_without_a_red_row_says_what_to_do() -> None:
    """All was read and is equal: what is red is a waiver or a test, and the same audit again would say the same."""
    coverage = tuple(CoverageRow("churn", facet, cell(match=7)) for facet in FACETS)
    made = report(reasons=("failed test: own.py::test_release",), findings=(), findings_total=0, coverage=coverage)
    lines = summary_lines(made)
    assert f"· compared {made.objects} of {made.objects} · 0 failed" in " ".join(lines)
    assert lines[-1].startswith("  next: see to what is said above, repeat")
    joined = summary_lines(replace(made, command=("mlflow-parity", "merge", "a", "b")))[-1]
    # joined once more, the parts say what they said
    assert joined.endswith("see to what is said above, audit the parts again, then: mlflow-parity merge a b")
    unread = replace(made, coverage=(*coverage, CoverageRow("churn", "run params", cell(unverified=1))))
    assert summary_lines(unread)[-1] == "  next: repeat the audit: no difference was found, but not all could be read"


def test_nothing_compared_says_so() -> None:
    """An empty audit shows no percentage that could be taken for success."""
    lines = summary_lines(report(coverage=(), findings=(), findings_total=0))
    assert "parity: RED (partial) · nothing was compared" in lines
    assert "%" not in "\n".join(lines)


def test_only_unverified_asks_for_a_repeat() -> None:
    """When nothing differs but something could not be read, the next step is to read it again."""
    made = report(coverage=(CoverageRow("churn", "params", cell(match=3, unverified=1)),), findings=())
    assert "repeat the audit" in summary_lines(made)[-1]


def message(
    found: list[Finding],
    total: int = 0,
    counts: Counter[State] | None = None,
    elsewhere: Mapping[str, int] | None = None,
    unnamed: int = 0,
    **more: str,
) -> list[str]:
    """Return the lines of a check's message."""
    text = check_message(
        promise=more.get("promise", "Every run has the same params."),
        what=more.get("what", 'experiment "churn"'),
        findings=found,
        total=total or len(found),
        counts=counts or Counter({State.MISMATCH: len(found)}),
        report_dir=more.get("report_dir", "reports"),
        elsewhere=elsewhere,
        unnamed=unnamed,
        owner=more.get("owner", "test_runs_arrived_once[churn]"),
    )
    return text.split("\n")


@example(
    [], 0, {State.AMBIGUOUS: 10**12, State.DUPLICATE: 10**11, State.MISSING: 10**5}, {"what": "\u09c5"}, {"x": 10}, 10
)
@given(
    st.lists(findings, max_size=40),
    st.integers(0, 10**9),
    st.dictionaries(states, st.integers(0, 10**12)),
    st.fixed_dictionaries({"promise": texts, "what": texts, "report_dir": texts, "owner": texts}),
    st.dictionaries(texts, st.integers(1, 10**9), max_size=3),
    st.integers(0, 10**9),
)
@settings(unhurried, max_examples=150)
def test_a_check_message_is_under_40_lines(
    found: list[Finding],
    total: int,
    counts: dict[State, int],
    more: dict[str, str],
    elsewhere: dict[str, int],
    unnamed: int,
) -> None:
    """Any findings give under 40 printable lines, with every finding shown or counted."""
    lines = message(found, total, Counter(counts), elsewhere, unnamed, **more)
    assert len(lines) < 40
    assert_printable(lines)
    shown = sum(bool(re.match(r" {1,2}\d+\. [A-Z]+ ", line)) for line in lines)
    rest = max(total or len(found), len(found)) - shown
    without = [line for line in lines if "not compared: no counterpart" in line]
    assert len(without) >= bool(elsewhere) + bool(unnamed)
    last = "that is all; " if found or not without else "see "
    assert lines[-1].startswith(f"and {rest:,} more: " if rest else last)


def test_a_check_message_says_it_all() -> None:
    """Promise, experiment, run by name and both ids, facet, key, both values, why, rule, and where the rest is."""
    found = Finding(
        "churn", "run", "train", "a" * 32, "b" * 32, "params", "lr", State.MISMATCH, "run.params", "0.1", "0.10", "Why."
    )  # fmt: skip
    assert message([found], 27, Counter({State.MATCH: 90, State.MISMATCH: 20})) == [
        'parity: experiment "churn": 20 mismatch, 90 match; 27 differences',
        "check failed: Every run has the same params",
        "  1. MISMATCH params / lr  [run.params]",
        f'     run "train"  source id {"a" * 32}  target id {"b" * 32}',
        "     source: 0.1",
        "     target: 0.10",
        "     Why.",
        "and 26 more: reports/ledger.parquet names every object, --parity-max-findings shows more of them",
    ]


def test_worst_findings_come_first_and_absent_is_not_empty() -> None:
    """Lost objects come before changed ones; an absent value, an empty one and blanks can be told apart."""
    changed = Finding("c", "run", "r", "1", "2", "tags", "k", State.MISMATCH, "", "", " padded ")
    lost = Finding("c", "run", "r", "1", None, "presence", "", State.MISSING, "", "(absent)", None)
    lines = message([changed, lost])
    assert lines[2].startswith("  1. MISSING presence")
    assert "     target: (absent)" in lines
    assert '     source: ""' in lines
    assert '     target: " padded "' in lines
    assert lines[6] == "     on the source, not on the target"


def test_long_explanations_are_cut_by_line() -> None:
    """Three findings with 100 lines of explanation each share the room, and what was cut is counted."""
    found = [
        Finding("c", "run", "r", "1", "2", "tags", str(n), State.MISMATCH, "", "a", "b", "\n".join(["x"] * 100))
        for n in range(3)
    ]
    lines = message(found)
    assert len(lines) == 39
    assert sum("more lines" in line for line in lines) == 3
    shown = sum(line.strip() == "x" for line in lines)
    cut = sum(int(line.split("…")[1].split()[0]) for line in lines if "more lines" in line)
    assert shown + cut == 300


def test_the_difference_of_long_values_can_be_seen() -> None:
    """Two values of 6,000 characters that differ in one in the middle are cut around it."""
    found = Finding(
        "c", "run", "r", "1", "2", "params", "k", State.MISMATCH, "", "x" * 3000 + "A" + "y" * 2999,
        "x" * 3000 + "B" + "y" * 2999,
    )  # fmt: skip
    source, target = message([found])[4:6]
    assert "xA" in source
    assert "xB" in target
    assert "characters]" in source


def test_secrets_stay_out_of_the_terminal() -> None:
    """A secret in names, values, explanations, promises and the command shows in no line."""
    secret = "s3cr3t-t0ken"
    found = Finding(secret, "run", secret, secret, secret, secret, secret, State.MISMATCH, secret, secret * 50,
                    f"x{secret}", secret)  # fmt: skip
    redact = Redactor([secret])
    text = check_message(
        promise=secret,
        what=secret,
        findings=[found],
        total=1,
        counts={},
        report_dir=secret,
        redact=redact,
    )
    made = report(
        reasons=(secret,), command=("pytest", secret), coverage=(CoverageRow(secret, secret, cell(missing=1)),)
    )
    assert secret not in text
    assert secret not in "\n".join(summary_lines(made, report_dir=secret, redact=redact))


def test_hostile_names_are_text() -> None:
    """ANSI escapes and bidirectional marks of a hostile server are shown, not obeyed."""
    lines = summary_lines(hostile_report())
    assert_printable(lines)
    assert "\\x1b[2J" in "\n".join(lines)


def test_the_line_of_pytests_own_list_says_the_fact_first() -> None:
    """pytest cuts it at the terminal's width: the states stand before the name."""
    found = Finding("a: b", "run", "r", "1", "2", "params", "k", State.MISMATCH, "", "a", "b")
    text = "\n".join(message([found], what='experiment "a: b"', counts=Counter({State.MISMATCH: 1, State.MATCH: 6})))
    assert short(f"Failed: {text}") == '1 mismatch, 6 match; 1 difference (experiment "a: b")'
