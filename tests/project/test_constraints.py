"""``constraints.txt`` can be installed by every Python that the package names, and the lower bounds can be had."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHONS = ("3.10", "3.11", "3.13")

pytestmark = pytest.mark.long


def _resolved(python: str, *arguments: str) -> list[str]:
    """Return the packages that an installation would have."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--python-version", python]
    command += ["--no-annotate", "--no-header", "--quiet", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "==" in line]


def _name(line: str) -> str:
    return re.sub("[-_.]+", "-", line.partition("==")[0].partition("[")[0].strip().lower())


@pytest.mark.parametrize("python", PYTHONS)
def test_every_extra_resolves_and_is_pinned(python: str) -> None:
    """With the constraints nothing is missing, and nothing that is installed is left open."""
    found = _resolved(python, "--extra", "dev", "--constraint", "constraints.txt")
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_name(line) for line in lines if "==" in line and not line.startswith("#")}
    assert len(found) > 100
    assert {_name(line) for line in found} - pinned == set()


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lower_bounds_are_versions_that_go_together(python: str) -> None:
    """The lowest of each direct dependency can be installed beside the others, with each extra."""
    extras = ("migrate", "clouds", "crt", "dask", "sign", "sql", "standin", "completion")
    found = _resolved(python, *(word for one in extras for word in ("--extra", one)), "--resolution", "lowest-direct")
    versions = {_name(line): line.partition("==")[2].strip() for line in found}
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("boto3", "pytest", "jinja2", "deepdiff"):
        [low] = set(re.findall(rf'^  "{name}>=([0-9.]+)"', text, re.MULTILINE))
        assert versions[name].startswith(low), (name, versions[name])
