"""A report as a browser sees it: opened in Chromium, and held against what our own template may contain."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape, unescape
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from mlflow_parity.reporting.page.html_report import script_hash

_VOID = {"meta", "br", "link", "img", "input"}
_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "div", "span", "p"),
    *("h1", "h2", "h3", "b", "small", "a", "bdi", "ul", "li", "dl", "dt", "dd", "pre", "code", "br"),
    *("table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "details", "summary"),
    *(
        "svg",
        "title",
        "desc",
        "rect",
        "polyline",
        "circle",
        "text",
        "script",
        "label",
        "input",
        "select",
        "option",
        "button",
        "h4",
    ),
}
_ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "id", "style", "scope", "href", "open", "dir"),
    *("role", "tabindex", "aria-label", "aria-labelledby", "aria-hidden", "hidden", "rel", "target"),
    *("for", "type", "value", "autocomplete"),
    *("points", "cx", "cy", "r", "x", "y", "rx", "width", "height", "viewbox", "transform", "text-anchor"),
}
#: A page of the MLflow UI: an address without credentials, and one of its routes with names as an address has them.
_UI = re.compile(r"https?://[A-Za-z0-9._:\[\]-]+(?:/[A-Za-z0-9._~%/-]*)?/#/[A-Za-z0-9._~%/?=&-]+")
_SCRIPT = files("mlflow_parity.reporting.page").joinpath("report.js").read_text(encoding="utf-8")
_CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@dataclass
class Page(HTMLParser):
    """A parsed page: title, tags, attributes, text outside of the style sheet."""

    source: str
    title: str = ""
    text: str = ""
    css: str = ""
    pieces: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    unclosed: list[str] = field(default_factory=list)
    links: list[dict[str, str]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag and its attributes."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "a":
            self.links.append({name: value or "" for name, value in attrs})
        if tag not in _VOID:
            self.unclosed.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Every end tag closes the tag opened last."""
        assert self.unclosed.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the title and the text."""
        inside = self.unclosed[-1] if self.unclosed else ""
        if self.unclosed[-2:] == ["head", "title"]:
            self.title += data
        elif inside == "script":
            self.scripts.append(data)
        elif inside == "style":
            self.css += data
        else:
            self.text += data
            self.pieces.append(data)

    @property
    def words(self) -> str:
        """The text with one blank between words."""
        return " ".join(" ".join(self.pieces).split())


def assert_inert(page: Page) -> None:
    """Only the tags and attributes of our template, our own script, and links into the page and to a server's UI."""
    assert set(page.tags) <= _TAGS, set(page.tags) - _TAGS
    assert {name for _, name, _ in page.attributes} <= _ATTRIBUTES
    # the one script is the one that is shipped, and the only one that the page's own policy lets run
    assert page.tags.count("script") == len(page.scripts) <= 1
    allowed = re.findall(r"script-src ([^;]*);", page.source[:2_000])
    assert allowed == [f"'{script_hash(script)}'" for script in page.scripts]
    assert page.scripts in ([], [_SCRIPT])
    anchors = {value for _, name, value in page.attributes if name == "id"}
    for link in page.links:
        if link["href"].startswith("#"):
            assert link["href"][1:] in anchors
        else:
            assert _UI.fullmatch(link["href"]), link
            assert link["rel"] == "noopener noreferrer"
    for tag, name, value in page.attributes:
        if name == "href":
            assert tag == "a"
        if name == "style":
            assert re.fullmatch(r"width:[0-9.]+%", value)
        if name == "class":
            assert re.fullmatch(r"[a-z -]*", value)
    assert not re.search(r"url\(|@import|@font-face|expression", page.css)
    assert page.tags.count("style") == 1


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def opened(path: Path, scratch: Path) -> Page:
    """Return the page as a real Chromium sees it after loading.

    Where there is none the test that asks is skipped with that reason; in continuous integration it fails.
    """
    return Page(visited(path.as_uri(), scratch, 3_000))


def visited(address: str, scratch: Path, milliseconds: int) -> str:
    """Return what a real Chromium makes of an address in so much of the page's own time, as HTML."""
    browser = _chromium()
    if browser is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium found to open the report in")
    name = hashlib.sha256(address.encode("utf-8")).hexdigest()[:16]
    done = subprocess.run(
        [
            browser,
            *_CHROMIUM,
            f"--user-data-dir={scratch / f'profile-{name}'}",
            f"--virtual-time-budget={milliseconds}",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        timeout=120,
        check=True,
    )
    return done.stdout.decode("utf-8")


def ran(path: Path, scratch: Path, code: str, *flags: str, width: int = 1400) -> Any:
    """Return what the body of an async function returns that runs in the loaded page, so many pixels wide.

    Not the page's own policy is looked at here (:func:`opened` does), but what the page is and does.
    """
    browser = _chromium()
    if browser is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no Chromium found to open the report in")
    document = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", path.read_text(encoding="utf-8"))
    script = (
        f"(async () => {{ {code} }})().catch((error) => String(error)).then((result) => {{"
        "const output = document.createElement('pre'); output.id = 'result';"
        "output.textContent = JSON.stringify(result); parent.document.body.append(output); });"
    )
    # a window of Chromium is at least 500 wide, a frame is as narrow as a phone
    inside = escape(document.replace("</body>", f"<script>{script}</script></body>"))
    frame = f'<iframe style="border:0" width="{width}" height="1000" srcdoc="{inside}"></iframe>'
    altered = scratch / f"ran-{path.name}"
    altered.write_text(f"<!DOCTYPE html><meta charset=utf-8><body style='margin:0'>{frame}</body>", encoding="utf-8")
    profile = f"--user-data-dir={scratch / ('profile-' + path.stem)}"
    done = subprocess.run(
        [
            browser,
            *_CHROMIUM,
            profile,
            *flags,
            "--window-size=1500,1050",
            "--virtual-time-budget=60000",
            "--dump-dom",
            altered.as_uri(),
        ],
        capture_output=True,
        timeout=180,
        check=True,
    )
    found = re.search(r'<pre id="result">(.*?)</pre>', done.stdout.decode("utf-8"), re.DOTALL)
    assert found is not None, "the page did not get to the end of its script"
    return json.loads(unescape(found[1]))


def axe(path: Path, scratch: Path, *, width: int, dark: bool) -> dict[str, list[str]]:
    """Return what axe-core finds wrong with a page, all of it unfolded: the elements by the name of the rule."""
    engine = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    code = (
        f"if (matchMedia('(prefers-color-scheme: dark)').matches !== {str(dark).lower()}) return 'other colours';"
        "document.querySelectorAll('details').forEach((one) => { one.open = true; });"
        f"{engine}; const found = await window.axe.run();"
        "return Object.fromEntries(found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]));"
    )
    colours = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    found = ran(path, scratch, code, colours, width=width)
    assert isinstance(found, dict), found
    return found


def load_seconds(path: Path, scratch: Path) -> float:
    """Return the seconds in which a real Chromium starts and loads a page, the best of three.

    Raises:
        RuntimeError: there is no Chromium.
    """
    browser = _chromium()
    if browser is None:
        raise RuntimeError("no Chromium found")
    took = []
    for _ in range(3):
        began = time.monotonic()
        profile = f"--user-data-dir={scratch / 'profile-of-time'}"
        subprocess.run(
            [browser, *_CHROMIUM, profile, "--dump-dom", path.as_uri()], capture_output=True, timeout=120, check=True
        )
        took.append(time.monotonic() - began)
    return min(took)


def pictured(path: Path, scratch: Path, width: int, height: int) -> bytes:
    """Return a PNG of the top of a page, as a real Chromium shows it in a window of that size.

    Raises:
        RuntimeError: there is no Chromium.
    """
    browser = _chromium()
    if browser is None:
        raise RuntimeError("no Chromium found")
    made, profile = scratch / f"{width}.png", f"--user-data-dir={scratch / 'profile-of-pictures'}"
    window = ["--hide-scrollbars", f"--window-size={width},{height}", f"--screenshot={made}"]
    subprocess.run([browser, *_CHROMIUM, profile, *window, path.as_uri()], capture_output=True, timeout=120, check=True)
    return made.read_bytes()


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Run a server on the loopback interface that notes every path asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        """Notes the path, answers with nothing."""

        def do_GET(self) -> None:
            """Note and answer."""
            asked.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
