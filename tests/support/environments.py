"""Environments of old MLflow versions, made once and kept in the cache folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

from mlflow_parity.standin.cache import cache_folder, locked

#: What stands beside an old MLflow: SQLAlchemy 2.1 breaks 2.16 to 3.4; the tool exports with its server's client;
#: servers with a login (`--app-name basic-auth`) need Flask-WTF.
BESIDE = (
    "sqlalchemy<2.1",
    "psycopg2-binary",
    "boto3",
    "setuptools<81",
    "databricks-mlflow-export-import==1.2.1",
    "flask-wtf==1.3.0",
)
_MARKER = "mlflow-parity-complete"


def python_of(version: str) -> str:
    """Return the interpreter of an environment with MLflow ``version``; ``"newest"`` is the running one."""
    if version == "newest":
        return sys.executable
    folder = cache_folder() / "envs" / f"mlflow-{version}"
    python = folder / "bin" / "python"
    packages = [f"mlflow=={version}", *BESIDE]
    marker = folder / _MARKER
    wanted = "\n".join(packages) + "\n"
    with locked(f"env-{version}"):
        # the marker is written last and says what is inside: one of an older test suite is brought up to date
        if not marker.exists() or marker.read_text() != wanted:
            _make(folder, packages)
            marker.write_text(wanted)
    return str(python)


def _make(folder: Path, packages: list[str]) -> None:
    python = folder / "bin" / "python"
    uv = importlib.util.find_spec("uv") is not None
    if not python.exists():
        venv.create(folder, with_pip=not uv, symlinks=True, clear=True)
    if uv:
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *packages]
    else:
        command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *packages]
    _install(command)


def _install(command: list[str]) -> None:
    made = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    if made.returncode:
        raise RuntimeError(f"cannot install {command[-1]} and what goes with it:\n{made.stderr[-3000:]}")


def tool_of_2023() -> Path:
    """Return a folder with the Export Import tool's build of 2023, as ``pip install --target`` lays it out."""
    folder = cache_folder() / "envs" / "mlflow-export-import-1.2.0"
    with locked("tool-2023"):
        if not (folder / _MARKER).exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder)]
            _install([*command, "--no-deps", "mlflow-export-import==1.2.0"])
            (folder / _MARKER).touch()
    return folder
