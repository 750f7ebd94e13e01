"""What each release of the test matrix is made of, as MLflow itself tells it in that release's environment."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from support.environments import LAID_OVER, python_of

from mlflow_parity.standin.servers import cache_folder, locked

#: The release that the tests run with stands among the others under its number.
NEWEST = importlib.metadata.version("mlflow")
RELEASES = ("2.16.2", "2.22.5", "3.4.0", "3.10.1", NEWEST, *LAID_OVER)
_SCRIPT = Path(__file__).parent / "of_mlflow.py"


@dataclass(frozen=True, slots=True)
class Release:
    """Columns by database and table, and the routes of the server: method and path."""

    columns: dict[str, dict[str, list[str]]]
    routes: list[tuple[str, str]]


@cache
def release(version: str) -> Release:
    """Return what a release is made of. It never changes, so it is kept beside the environments."""
    script = hashlib.sha256(_SCRIPT.read_bytes()).hexdigest()[:16]
    kept = cache_folder() / "releases" / f"{version}-{script}.json"
    with locked(f"release-{version}"):
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            made = kept.with_suffix(".new")
            made.write_text(_told("newest" if version == NEWEST else version), encoding="utf-8")
            made.rename(kept)
    told = json.loads(kept.read_text(encoding="utf-8"))
    return Release(told["columns"], [(method, path) for method, path in told["routes"]])


def _told(version: str) -> str:
    command = [python_of(version), str(_SCRIPT)]
    # nothing of this environment is for that one
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"MLflow {version}: {done.stderr[-3000:]}"
    return done.stdout


def first_and_last(found: dict[str, set[str]]) -> dict[str, tuple[str, str]]:
    """Return the first and the last release that has each thing, of what each release has."""
    told: dict[str, tuple[str, str]] = {}
    for version in RELEASES:
        for one in found[version]:
            told[one] = (told.get(one, (version,))[0], version)
    return told
