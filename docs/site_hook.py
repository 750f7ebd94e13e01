"""A hook of MkDocs: pages are written for GitHub, and the site shows the same, with links that lead somewhere in it.

README is the site's first page, and what stands outside of ``docs/`` and is linked has a page in the site too: nothing
is written twice. ``mkdocs build --strict`` fails over each warning that is given here or by MkDocs itself.
"""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
#: Pages of the repository that are not in ``docs/``, and what they are called in the site.
OUTSIDE = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "measured.md",
    "changes/README.md": "source/changes.md",
}
_LANGUAGES = {".py": "python", ".json": "json", ".txt": "text"}
_PICTURES = (".png", ".svg")
_LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s]*)(?=\))")
_EXTERNAL = re.compile(r"https://[a-z0-9-]+(\.[a-z0-9-]+)+(/[\w./%#?=&~+-]*)?")
#: What the theme's script would load from elsewhere for diagrams, or for browsers of long ago; no page has any.
_ELSEWHERE = "https://unpkg.com/"
_log = logging.getLogger("mkdocs.hooks.site")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add README and the other pages, and each file that a page links as one that shows it."""
    for name, called in OUTSIDE.items():
        files.append(File.generated(config, called, abs_src_path=str(ROOT / name)))
    for path in sorted({target for name in _pages(files) for target in _code_linked(name)}):
        text = (ROOT / path).read_text(encoding="utf-8")
        content = f"# {path}\n\n````{_LANGUAGES[posixpath.splitext(path)[1]]}\n{text}````\n"
        files.append(File.generated(config, _shown(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have each link lead to where its file is in the site."""
    own = _of_repository(page.file.src_uri)
    if own is None:
        return markdown

    def led(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            if not _EXTERNAL.fullmatch(target):
                _log.warning("%s: %s is no address that a link may have", own, target)
            return target
        name, mark, anchor = target.partition("#")
        path = _resolved(own, name) if name else own
        # what does not exist is told by MkDocs itself
        uri = _of_site(path) or path
        return posixpath.relpath(uri, posixpath.dirname(page.file.src_uri) or ".") + mark + anchor if name else target

    return "".join(_LINK.sub(led, line) if outside else line for line, outside in _lines(markdown))


def on_post_build(config: MkDocsConfig) -> None:
    """Take out of the theme's scripts what would ask somebody else."""
    for script in Path(config.site_dir).rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        if _ELSEWHERE in text:
            script.write_text(text.replace(_ELSEWHERE, ""), encoding="utf-8")
    for source_map in Path(config.site_dir).rglob("*.map"):
        source_map.unlink()


def _pages(files: Files) -> Iterator[str]:
    for file in files.documentation_pages():
        name = _of_repository(file.src_uri)
        if name is not None:
            yield name


def _code_linked(name: str) -> Iterator[str]:
    for line, outside in _lines((ROOT / name).read_text(encoding="utf-8")):
        for link in _LINK.finditer(line) if outside else ():
            path = _resolved(name, link["target"].partition("#")[0])
            if posixpath.splitext(path)[1] in _LANGUAGES and (ROOT / path).is_file():
                yield path


def _lines(markdown: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it is outside of blocks of code."""
    within = False
    for line in markdown.splitlines(keepends=True):
        fence = line.lstrip().startswith("```")
        yield line, not (within or fence)
        within ^= fence


def _resolved(name: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), target))


def _shown(path: str) -> str:
    return f"source/{path}.md"


def _of_site(path: str) -> str | None:
    """Return where a file of the repository is in the site; ``None``: it is not."""
    suffix = posixpath.splitext(path)[1]
    if path in OUTSIDE:
        return OUTSIDE[path]
    if suffix in _LANGUAGES:
        return _shown(path)
    return path.removeprefix("docs/") if path.startswith("docs/") and suffix in (".md", *_PICTURES) else None


def _of_repository(uri: str) -> str | None:
    """Return which file of the repository a page of the site is; ``None``: one that shows code."""
    named: dict[str, Any] = {called: name for name, called in OUTSIDE.items()}
    if uri in named:
        return str(named[uri])
    return None if uri.startswith("source/") else f"docs/{uri}"
