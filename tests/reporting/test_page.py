"""``report.html`` in a real browser: search, keyboard and screen reader, colours, paper, and its one script."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.browser import axe, opened, ran
from support.curve_samples import sample
from support.report_samples import cell, hostile_report, report

from mlflow_parity.reporting.page.html_report import render
from mlflow_parity.reporting.report import CoverageRow, Report

_SHOWN = "(selector) => Array.from(document.querySelectorAll(selector)).filter((one) => one.checkVisibility())"


def _green() -> Report:
    coverage = (CoverageRow("churn", "run params", cell(match=7)), CoverageRow("churn", "run tags", cell(expected=7)))
    return report(verdict="green", reasons=(), findings=(), findings_total=0, coverage=coverage)


def _written(made: Report, folder: Path) -> Path:
    path = folder / "report.html"
    path.write_text(render(made, curves={("a1" * 16, "b2" * 16, "val/accuracy"): sample()}), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("made", "width", "dark"),
    [(report(), 1400, False), (report(), 390, True), (hostile_report(), 1400, True), (_green(), 390, False)],
    ids=["red", "red-390-dark", "hostile-dark", "green-390"],
)
def test_axe_finds_nothing(made: Report, width: int, dark: bool, tmp_path: Path) -> None:
    """Names, roles, order, contrast and what the keyboard reaches: no rule of axe-core is broken, light or dark."""
    assert axe(_written(made, tmp_path), tmp_path, width=width, dark=dark) == {}


def test_axe_would_find_it(tmp_path: Path) -> None:
    """A button without a name and a text that cannot be read are found: so silence above means something."""
    path = tmp_path / "report.html"
    fault = '<button></button><p style="color:#ddd;background:#fff">pale</p></main>'
    path.write_text(render(report()).replace("</main>", fault), encoding="utf-8")
    assert {"button-name", "color-contrast"} <= set(axe(path, tmp_path, width=1400, dark=False))


def test_search_shows_what_fits_and_all_again(tmp_path: Path) -> None:
    """Words and a state narrow rows and differences, what is found is unfolded, and without them all is as it was."""
    code = (
        f"const shown = {_SHOWN};"
        "const words = document.getElementById('search'), state = document.getElementById('state');"
        "const look = async (text, only) => { words.value = text; state.value = only;"
        " words.dispatchEvent(new Event('input')); await new Promise((done) => setTimeout(done, 400));"
        " return [shown('.hit').length, document.getElementById('told').textContent, shown('details[open]').length,"
        "  shown('h3').map((one) => one.textContent)]; };"
        "return [await look('', ''), await look('TRAIN-003', ''), await look('', 'duplicate'),"
        " await look('nothing', ''), await look('', '')];"
    )
    at_first, one, duplicate, none, again = ran(_written(report(), tmp_path), tmp_path, code)
    assert one[:2] == [1, "1 of 16 entries shown"]
    assert one[3] == ["Missing, extra, duplicate and ambiguous objects"]
    assert duplicate[0] == 2
    assert duplicate[3] == ["Missing, extra, duplicate and ambiguous objects"]
    assert none[:2] == [0, "0 of 16 entries shown"]
    assert none[3] == []
    assert again == at_first
    assert at_first[3] == ["Altered values", "Missing, extra, duplicate and ambiguous objects"]


def test_the_page_works_without_its_script(tmp_path: Path) -> None:
    """The policy lets the shipped script run and no other: one byte more and nothing runs, but all can be read."""
    path = _written(report(), tmp_path)
    page = opened(path, tmp_path)
    tools = [value for tag, name, value in page.attributes if tag == "div" and name in ("hidden", "id")]
    assert tools == ["tools"]
    document = path.read_text(encoding="utf-8")
    path.write_text(document.replace('"use strict";', '"use strict"; '), encoding="utf-8")
    without = opened(path, tmp_path)
    tools = [value for tag, name, value in without.attributes if tag == "div" and name in ("hidden", "id")]
    assert tools == ["tools", ""]
    assert without.words == page.words


@pytest.mark.parametrize("width", [1400, 390])
def test_nothing_wrong_is_off_the_screen(width: int, tmp_path: Path) -> None:
    """The page is not wider than the window, and each red row's figures lie inside it, with 60 facets that failed."""
    names = [f"run facet-with-a-long-name-{number}" for number in range(60)]
    coverage = tuple(CoverageRow("churn", name, cell(1, match=400 + n, mismatch=1)) for n, name in enumerate(names))
    code = (
        f"const shown = {_SHOWN};"
        "const right = (one) => one.getBoundingClientRect().right;"
        "return [document.documentElement.scrollWidth, innerWidth, Math.max(...shown('.where .red-s').map(right))];"
    )
    path = _written(report(coverage=coverage), tmp_path)
    whole, inner, rightmost = ran(path, tmp_path, code, width=width)
    assert inner == width
    assert whole <= inner
    assert rightmost <= inner


def test_every_colour_of_a_text_can_be_read() -> None:
    """In light, in dark and on paper each text has a contrast of at least 4.5 : 1 against what is behind it."""
    style = render(report()).partition("</style>")[0]
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    assert len(themes) == 3
    pairs = [(f"--{tone}", f"--{tone}-bg") for tone in ("good", "bad", "warn", "info")]
    pairs += [(text, back) for text in ("--ink", "--soft") for back in ("--card", "--head", "--page", "--code")]
    # links and the ends of the heat map
    pairs += [("--info", "--card"), ("--card", "--bad"), ("--ink", "--bad-bg"), ("--ink", "--warn-bg")]
    for theme in themes:
        colours = dict(re.findall(r"(--[a-z-]+): (#[0-9a-f]+)", theme))
        for text, back in pairs:
            assert _contrast(colours[text], colours[back]) >= 4.5, (text, back, colours)


def _contrast(one: str, other: str) -> float:
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = "".join(2 * one for one in colour[1:]) if len(colour) == 4 else colour[1:]
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_last_page_on_paper_is_to_be_signed(tmp_path: Path) -> None:
    """Printed, the form for name, date and signature begins a page of its own behind all else, which is unfolded."""
    code = (
        "const rules = Array.from(document.styleSheets[0].cssRules).filter((one) => one.media?.mediaText === 'print');"
        "const style = rules.flatMap((one) => Array.from(one.cssRules)).map((one) => one.cssText).join(' ');"
        "const last = Array.from(document.querySelectorAll('main > section')).pop();"
        "return [style, last.className, last.innerText];"
    )
    style, last, text = ran(_written(report(), tmp_path), tmp_path, code)
    assert "size: a4 landscape" in style.lower()
    assert re.search(r"\.sign \{ break-before: page", style)
    assert last == "sign"
    assert "verdict RED of a partial audit: compared 50,232 of 50,235 · 778 failed · 731 differences." in text
    for word in ("Name", "Date", "Signature"):
        assert word in text
