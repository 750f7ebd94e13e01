"""Backup and restore drill, as its how-to has it; and a backup that was damaged is not restored without a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.seed_traps import seed_traps
from support.servers import FreshServer

from mlflow_parity.standin.servers import Server, clean_environment

_ROOT = Path(__file__).resolve().parent.parent


def _migrate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(_ROOT / "migrate.py"), *arguments], env=clean_environment(), cwd=folder,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Server:
    """A server with every kind of object."""
    server = module_server()
    seed_traps(server.uri)
    return server


@pytest.fixture(scope="module")
def backup(source: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which ``backup`` is."""
    folder = tmp_path_factory.mktemp("backup")
    done = _migrate(folder, "export", "--source-uri", source.uri, "--include-deleted", "--work-dir", "backup")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder
