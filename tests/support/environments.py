"""Environments of old MLflow versions, made once and kept in the cache folder."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from mlflow_parity.standin.cache import cache_folder, locked

#: What stands beside an old MLflow: SQLAlchemy 2.1 breaks 2.16 to 3.4; the tool exports with its server's client.
BESIDE = ("sqlalchemy<2.1", "psycopg2-binary", "boto3", "setuptools<81", "databricks-mlflow-export-import==1.2.1")
_MARKER = "mlflow-parity-complete"


def python_of(version: str) -> str:
    """Return the interpreter of an environment with MLflow ``version``; ``"newest"`` is the running one."""
    if version == "newest":
        return sys.executable
    folder = cache_folder() / "envs" / f"mlflow-{version}"
    python = folder / "bin" / "python"
    if (folder / _MARKER).exists():
        return str(python)
    with locked(f"env-{version}"):
        if not (folder / _MARKER).exists():
            if not _works(folder, version):
                _make(folder, version)
            (folder / _MARKER).write_text(f"mlflow=={version}\n")
    return str(python)


def _works(folder: Path, version: str) -> bool:
    """Whether an environment without our marker is there and whole."""
    program = folder / "bin" / "mlflow"
    if not program.exists():
        return False
    answer = subprocess.run([str(program), "--version"], capture_output=True, text=True, timeout=120)
    return answer.returncode == 0 and version in answer.stdout


def _make(folder: Path, version: str) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    packages = [f"mlflow=={version}", *BESIDE]
    python = folder / "bin" / "python"
    if importlib.util.find_spec("uv") is not None:
        venv.create(folder, with_pip=False, symlinks=True)
        _install([sys.executable, "-m", "uv", "pip", "install", "--python", str(python)], packages)
    else:
        venv.create(folder, with_pip=True, symlinks=True)
        _install([str(python), "-m", "pip", "install"], packages)


def _install(command: list[str], packages: list[str]) -> None:
    made = subprocess.run([*command, "--quiet", *packages], capture_output=True, text=True, timeout=1800)
    if made.returncode:
        raise RuntimeError(f"cannot install {' '.join(packages)}:\n{made.stderr[-3000:]}")


def tool_of_2023() -> Path:
    """Return a folder with the Export Import tool's build of 2023, as ``pip install --target`` lays it out."""
    folder = cache_folder() / "envs" / "mlflow-export-import-1.2.0"
    with locked("tool-2023"):
        if not (folder / _MARKER).exists():
            packages = ["--no-deps", "mlflow-export-import==1.2.0"]
            _install([sys.executable, "-m", "pip", "install", "--target", str(folder)], packages)
            (folder / _MARKER).touch()
    return folder
