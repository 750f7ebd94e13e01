"""SECURITY.md is true: its tests are there, bounds of dependencies hold, pip-audit is asked or skipped aloud."""

from __future__ import annotations

import ast
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support import advisories

from mlflow_parity.core.local import input_files
from mlflow_parity.reading.transport import bounds
from mlflow_parity.snapshot import tables
from mlflow_parity.standin.servers import free_port

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent.parent
#: The first version without a known advisory that matters here.
FIXED = {
    "deepdiff": "8.6.1",
    "jinja2": "3.1.6",
    "orjson": "3.11.6",
    "pyarrow": "14.0.1",
    "pyyaml": "5.4",
    "requests": "2.33",
    "urllib3": "2.7",
    "mlflow": "3.5",
    "cryptography": "46.0.5",
}


def test_the_tests_that_it_names_are_there() -> None:
    """Each promise has one at least, and every name is a test of that file."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
    assert len(rows) > 15
    for row in rows:
        names = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert names, row
        for file, name in names:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert name in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}, (file, name)
    assert "SECURITY.md" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_figures_that_are_told_are_the_bounds() -> None:
    """The page about the result and SECURITY.md say what the code does."""
    page = (ROOT / "docs" / "result.md").read_text(encoding="utf-8")
    told = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    mib = 1 << 20
    assert (256 * mib, 16 * mib, mib, 16 * mib) == (bounds.ANSWER, bounds.LARGE, bounds.ERROR, bounds.AWS)
    assert bounds.UNLISTED == 4 << 30
    assert "256 MiB for an answer in JSON (one above\n16 MiB at a time), 1 MiB for the text of an error" in page
    assert "(256 MiB unpacked)" in told
    assert (tables.MOST, tables.TIMES) == (1 << 30, 1_000)
    assert "no more than a gigabyte, or a thousand times its size" in told
    assert input_files.REPORT < 1 << 30


def test_lower_bounds_leave_out_known_advisories() -> None:
    """No version that may be installed has one of those advisories, and the versions of the tests are within."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [
        Requirement(text)
        for text in [*project["dependencies"], *extras["migrate"], *extras["sign"], *extras["standin"]]
    ]
    found = set()
    for one in wanted:
        if one.name in FIXED:
            [lowest] = [Version(part.version) for part in one.specifier if part.operator == ">="]
            assert lowest >= Version(FIXED[one.name]), one
            found.add(one.name)
    assert found == set(FIXED)
    pins = re.findall(r"^([\w.-]+)==([^ ;\n]+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert {name for name, _ in pins} > {one.name for one in wanted if one.name in FIXED}
    for name, version in pins:
        for one in wanted:
            assert one.name != name or one.specifier.contains(version), (one, version)


class _Service(BaseHTTPRequestHandler):
    """Answers as OSV does: an advisory for one package of each environment, or for none."""

    known = "urllib3"
    status = 200
    asked: list[str]

    def do_POST(self) -> None:
        """Answer a query."""
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = query["package"]["name"]
        probe = (name, query["version"]) == ("urllib3", "2.5.0")
        self.asked.append(name)
        hit = probe or name == self.known
        one = {
            "id": "GHSA-xxxx-xxxx-xxxx",
            "aliases": ["CVE-2099-0001"],
            "summary": "a bomb",
            "affected": [
                {
                    "package": {"name": name, "ecosystem": "PyPI"},
                    "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
                }
            ],
        }
        body = json.dumps({"vulns": [one]} if hit else {}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextmanager
def service(known: str = "urllib3", status: int = 200) -> Iterator[tuple[str, list[str]]]:
    """Run one on loopback."""
    asked: list[str] = []
    handler = type("BoundService", (_Service,), {"known": known, "status": status, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query", asked
    finally:
        server.shutdown()
        server.server_close()


def test_pip_audit_is_skipped_aloud_where_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    """Offline, or before somebody who is no service of advisories: soon, with the reason, and no failure."""
    began = time.monotonic()
    assert advisories.main(["--url", f"http://127.0.0.1:{free_port()}/v1/query"]) == 0
    assert time.monotonic() - began < 10
    assert re.match(
        r"pip-audit: skipped: http://127\.0\.0\.1:\d+/v1/query does not answer: \w+", capsys.readouterr().out
    )
    with service(status=503) as (url, asked):
        assert advisories.main(["--url", url]) == 0
    assert asked == ["urllib3"]
    assert "skipped" in capsys.readouterr().out


def test_pip_audit_that_does_not_come_to_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Its time is limited."""
    with service() as (url, _):
        assert advisories.main(["--url", url, "--limit", "0.2"]) == 0
    assert capsys.readouterr().out == "pip-audit: skipped: no answer within 0 s\n"


@pytest.mark.long
@pytest.mark.parametrize(("known", "status"), [("urllib3", 1), ("", 0)])
def test_pip_audit_finds_what_is_known(known: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """An advisory about an installed version fails the check, and is named; without one all is well."""
    with service(known) as (url, asked):
        assert advisories.main(["--url", url]) == status
    output = capsys.readouterr().out
    assert len(asked) > 50
    told = re.search(r"^pip-audit: urllib3 \S+: CVE-2099-0001 \(GHSA-xxxx-xxxx-xxxx\), fixed in 99\.1$", output, re.M)
    assert bool(told) is bool(status), output
    assert ("no known advisory" in output) is not bool(status)
