"""The pages as a site (``make docs``): each is in it, it shows what GitHub shows, its links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from mkdocs.config import load_config
from support.pages import ROOT

_DOCS = ROOT / "docs"
#: Pages that are no file of ``docs/``, by their names in the site.
_OUTSIDE = {
    "index": "README.md",
    "security": "SECURITY.md",
    "changelog": "CHANGELOG.md",
    "measured": "benchmarks/RESULTS.md",
}
_COUNTED = {"h1", "h2", "h3", "p", "li", "table", "tr", "th", "td", "pre", "code", "strong", "em", "a", "img"}


def _nav() -> dict[str, list[str]]:
    """Return the pages of each group of the navigation."""
    groups: dict[str, list[str]] = {}
    nav: list[dict[str, Any]] = load_config(str(ROOT / "mkdocs.yml")).nav or []
    for entry in nav:
        for title, below in entry.items():
            pages = [{title: below}] if isinstance(below, str) else below
            groups.setdefault(title if isinstance(below, list) else "", []).extend(
                name for page in pages for name in page.values()
            )
    return groups


def test_every_page_is_in_the_navigation() -> None:
    """Once, and in a group that says what it is for."""
    groups = _nav()
    assert list(groups) == ["", "How to", "Explanation", "Reference"]
    named = sorted(name for names in groups.values() for name in names)
    assert named == sorted([*(f"{name}.md" for name in _OUTSIDE), *(path.name for path in _DOCS.glob("*.md"))])


@pytest.mark.parametrize("name", _nav()["How to"])
def test_a_how_to_says_what_is_needed_and_what_comes_of_it(name: str) -> None:
    """It begins with what the reader has and ends with what they hold, a few lines each, and says neither again."""
    paragraphs = (_DOCS / name).read_text(encoding="utf-8").strip().split("\n\n")
    assert paragraphs[0].startswith("# ")
    for which, begins in ((1, "**You have:** "), (-1, "**You now hold:** ")):
        assert paragraphs[which].startswith(begins)
        assert 40 < len(paragraphs[which]) < 400
        assert sum(begins in paragraph for paragraph in paragraphs) == 1


class _Shown(HTMLParser):
    """What a page shows: its text without blanks, and how many elements of each sort."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = ""
        self.counts: dict[str, int] = {}
        # the site has more around the page than the page
        self._within, self._anchor = "<article" not in text, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count."""
        self._within |= tag == "article"
        self._anchor |= tag == "a" and dict(attrs).get("class") == "headerlink"
        if self._within and not self._anchor and tag in _COUNTED:
            self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        """Leave the page, or the mark beside a heading."""
        self._within &= tag != "article"
        self._anchor &= tag != "a"

    def handle_data(self, data: str) -> None:
        """Collect."""
        if self._within and not self._anchor:
            self.text += "".join(data.split())


def _build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a checkout as ``make docs`` does."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built without a warning."""
    folder = tmp_path_factory.mktemp("site")
    done = _build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    # not even what MkDocs only mentions
    told = re.findall(r"^[A-Z]+ +-  (\w+ \w+)", done.stdout + done.stderr, re.MULTILINE)
    assert set(told) <= {"Cleaning site", "Building documentation", "Documentation built"}, done.stderr
    return folder


@pytest.mark.long
def test_the_site_shows_what_github_shows(site: Path) -> None:
    """Each page has the same text, and as many headings, rows, entries and blocks, as CommonMark makes of it."""
    github = MarkdownIt("commonmark").enable("table")
    for path in sorted(site.glob("*.html")):
        if path.stem != "404":
            page = ROOT / _OUTSIDE.get(path.stem, f"docs/{path.stem}.md")
            shown, meant = (
                _Shown(path.read_text(encoding="utf-8")),
                _Shown(github.render(page.read_text(encoding="utf-8"))),
            )
            assert shown.text == meant.text, page.name
            assert shown.counts == meant.counts, page.name
    assert len(list(site.glob("*.html"))) == 1 + sum(map(len, _nav().values()))


@pytest.mark.long
def test_links_out_of_the_pages_lead_to_what_they_name(site: Path) -> None:
    """Code that a page links is shown by a page; README's links to the pages are links of the first page."""
    rights = (site / "rights.html").read_text(encoding="utf-8")
    [linked] = re.findall(r'href="(source/[^"]*endpoints[^"]*)"', rights)
    assert "mlflow-app" in (site / linked).read_text(encoding="utf-8")
    assert 'href="acceptance.html"' in (site / "index.html").read_text(encoding="utf-8")
    assert 'href="security.html"' in (site / "result.html").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_site_asks_nobody_else(site: Path) -> None:
    """No page, style sheet or script of it loads anything from another host."""
    for path in site.rglob("*"):
        if path.suffix in (".html", ".css", ".js"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\bunpkg\b|\bpypi\.", text), path
            # what a click leads to may be elsewhere; what is loaded may not
            loaded = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", text)
            assert loaded == [], path
            assert not re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", text), path


@pytest.mark.long
@pytest.mark.parametrize(
    ("page", "line", "told"),
    [
        ("docs/scale.md", "[lost](no-such-page.md)", "no-such-page.md"),
        ("docs/scale.md", "[lost](limits.md#no-such-heading)", "no-such-heading"),
        ("README.md", "[lost](docs/scale.md#no-such-heading)", "no-such-heading"),
        ("docs/scale.md", "[lost](../src/gone.py)", "gone.py"),
        ("docs/scale.md", "[plain](http://example.com/x)", "http://example.com/x is no address that a link may have"),
        ("docs/more.md", "# A page that is in no group", "more.md"),
    ],
)
def test_a_bad_link_fails_the_build(tmp_path: Path, page: str, line: str, told: str) -> None:
    """A page, heading, file or address that is none, and a page that nobody finds: each is named."""
    copy = tmp_path / "checkout"
    for name in ("docs", "src", "changes"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "benchmarks").mkdir()
    for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "benchmarks/RESULTS.md", "mkdocs.yml"):
        shutil.copyfile(ROOT / name, copy / name)
    with (copy / page).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = _build(copy, tmp_path / "site")
    assert done.returncode == 1
    assert told in done.stderr, done.stderr


def test_ci_builds_it_and_git_does_not_keep_it() -> None:
    """``make docs`` is a step that may not fail, beside what a newcomer runs; what it makes is ignored."""
    assert "\nmake docs check || checked=$?\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "/site/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "mkdocs build --strict" in (ROOT / "Makefile").read_text(encoding="utf-8")
