"""Runs ``migrate.py`` as its users do, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.standin.servers import clean_environment
from support import warm

ROOT = Path(__file__).resolve().parent.parent.parent
#: The command of the installed package.
COMMAND = Path(sys.executable).with_name("mlflow-parity")


@dataclass(frozen=True, slots=True)
class Migrated:
    """A finished call: exit status and everything printed."""

    status: int
    output: str


def migrate_py(folder: Path, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 300.0) -> Migrated:
    """Run ``migrate.py`` with these arguments in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(ROOT / "migrate.py"), *arguments]
    # the audit that it starts is warm too
    done = warm.run(
        command, kind="mlflow", cwd=folder, env=clean_environment(env), timeout=timeout,
        child_python=warm.stand_in_python("audit"),
    )  # fmt: skip
    return Migrated(done.returncode, done.stdout + done.stderr)
