"""Runs ``migrate.py`` as its users do, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.standin.servers import clean_environment

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True, slots=True)
class Migrated:
    """A finished call: exit status and everything printed."""

    status: int
    output: str


def migrate_py(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 300.0) -> Migrated:
    """Run ``migrate.py`` with these arguments in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "migrate.py"), *arguments],
        cwd=folder,
        env=clean_environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Migrated(done.returncode, done.stdout + done.stderr)
