"""The picture of the whole: every comparison is in one cell, the worst is at the top left, and a text says the same."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given
from support.report_samples import HOSTILE, cell, report, reports, unhurried

from mlflow_parity.core.verdict import State
from mlflow_parity.reporting.page.heat_map import MAX_COLUMNS, MAX_ROWS, drawn, heat_map
from mlflow_parity.reporting.report import CoverageRow, Report


@given(reports)
@unhurried
def test_every_comparison_is_in_one_cell(made: Report) -> None:
    """Whatever was compared: the cells add up to the report, state by state, and there are not more than fit."""
    content = heat_map(made)
    if content is None:
        assert not made.objects
        return
    counts = Counter[str]()
    for one in content.cells.values():
        counts.update({state.value: count for state, count in one.counts.items()})
    assert +counts == +Counter(made.totals)
    assert len(content.rows) <= MAX_ROWS + 1
    assert len(content.columns) <= MAX_COLUMNS + 1
    assert {
        place for place in content.cells if place[0] >= len(content.rows) or place[1] >= len(content.columns)
    } == set()


def test_the_worst_is_at_the_top_left_and_the_rest_is_summed() -> None:
    """One altered run of 61 experiments with 30 facets each is in the first cell; 54 experiments share the last row."""
    coverage = [
        CoverageRow(f"team/{n:02}", f"{kind} facet-{f}", cell(match=5))
        for n in range(61)
        for kind in ("run", "trace")
        for f in range(15)
    ]
    coverage += [CoverageRow("team/60", "trace spans", cell(1, match=4, mismatch=1))]
    content = heat_map(report(coverage=tuple(coverage), findings=(), findings_total=1))
    assert content is not None
    assert content.rows[0] == "team/60"
    assert content.columns == ("trace spans", "run: all facets", "trace: other facets")
    assert content.cells[0, 0].counts[State.MISMATCH] == 1
    assert content.rows[-1] == "54 others (all OK)"
    assert len(content.rows) == 8
    assert content.cells[7, 1].total == 54 * 15 * 5
    picture = str(drawn(content))
    assert len(re.findall("✗ 1<", picture)) == 1
    assert "1 of 17 cells have something that failed. team/60, trace spans: 1 of 5 failed." in picture


def test_a_green_picture_shows_no_failure() -> None:
    """Where all is in order each cell says how many are, and so does the text."""
    coverage = (
        CoverageRow("a", "run params", cell(match=3)),
        CoverageRow("b", "trace spans", cell(expected=2, match=1)),
    )
    content = heat_map(report(coverage=coverage, findings=(), findings_total=0))
    assert content is not None
    picture = str(drawn(content))
    assert re.findall(r'class="t-\w+">(.*?)<', picture) == ["·", "✓ 3", "✓ 3", "·"]
    assert "Nothing failed." in picture
    assert "✗" not in picture


def test_what_was_not_read_is_told_apart() -> None:
    """A cell in which nothing differs, but not all was read, has a sign and a colour of its own."""
    coverage = (CoverageRow("a", "run metrics", cell(3, match=3, unverified=3)),)
    content = heat_map(report(coverage=coverage, findings=(), findings_total=3))
    assert content is not None
    assert 'class="t-warn">○ 3<' in str(drawn(content))


def test_hostile_names_stay_text() -> None:
    """No name of an experiment or facet makes an element or an attribute in the picture."""
    coverage = tuple(CoverageRow(text, text, cell(1, mismatch=1)) for text in HOSTILE)
    content = heat_map(report(coverage=coverage, findings=(), findings_total=3))
    assert content is not None
    assert set(re.findall(r"<(/?\w+)", str(drawn(content)))) == {
        *("svg", "/svg", "title", "/title", "desc", "/desc", "rect", "/rect", "text", "/text"),
    }
