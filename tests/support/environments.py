"""Environments of old MLflow versions and of other packages, made once and kept in the cache folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import venv
import zipfile
from collections.abc import Sequence
from pathlib import Path

from mlflow_parity.standin.servers import cache_folder, locked
from support.sharing import made_once

#: What stands beside an old MLflow: SQLAlchemy 2.1 breaks 2.16 to 3.4; the tool exports with its server's client;
#: servers with a login (`--app-name basic-auth`) need Flask-WTF; uvicorn is quicker with httptools and uvloop.
BESIDE = (
    "sqlalchemy<2.1",
    "psycopg2-binary",
    "boto3",
    "setuptools<81",
    "databricks-mlflow-export-import==1.2.1",
    "flask-wtf==1.3.0",
    "httptools",
    "uvloop",
)
ROOT = Path(__file__).resolve().parent.parent.parent
#: Versions that this project is tested with.
CONSTRAINTS = ROOT / "constraints.txt"
#: A release whose wheel is there, and whose mlflow-skinny and mlflow-tracing are not: it is laid over another.
LAID_OVER = {"3.18.0": "3.17.2"}
_MARKER = "mlflow-parity-complete"


def python_of(version: str) -> str:
    """Return the interpreter of an environment with MLflow ``version``; ``"newest"`` is the running one."""
    if version == "newest":
        return sys.executable
    below = LAID_OVER.get(version, version)
    python = Path(environment(f"mlflow-{version}", [f"mlflow=={below}", *BESIDE]))
    laid, under = (python.parent.parent / name for name in (f"{_MARKER}-{version}", _MARKER))
    with locked(f"env-over-{version}"):
        # what is under it may have been brought up to date since, with its own release of MLflow
        if below != version and not (laid.exists() and laid.stat().st_mtime >= under.stat().st_mtime):
            install(python, ["--no-deps", f"mlflow=={version}"])
            laid.touch()
    return str(python)


def environment(name: str, packages: Sequence[str], *, constraints: Path | None = None) -> str:
    """Return the interpreter of an environment with these packages, which is kept under ``name``."""
    folder = cache_folder() / "envs" / name
    python = folder / "bin" / "python"
    marker = folder / _MARKER
    wanted = "\n".join(packages) + "\n" + (constraints.read_text(encoding="utf-8") if constraints else "")
    with locked(f"env-{name}"):
        # the marker is written last and says what is inside: one of an older test suite is brought up to date; its
        # interpreter is a link, to one that may have been removed since
        there = python.exists()
        if not there or not marker.exists() or marker.read_text(encoding="utf-8") != wanted:
            if not there:
                venv.create(folder, with_pip=not _has_uv(), symlinks=True, clear=True)
            install(python, packages, constraints=constraints)
            marker.write_text(wanted, encoding="utf-8")
    return str(python)


def _has_uv() -> bool:
    return importlib.util.find_spec("uv") is not None


def install(python: Path, packages: Sequence[str], *, constraints: Path | None = None) -> None:
    """Install packages into the environment of that interpreter, by uv where it knows them, else by pip."""
    more = [] if constraints is None else ["--constraint", str(constraints)]
    by_pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *more, *packages]
    if _has_uv():
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *more, *packages]
        if subprocess.run(command, capture_output=True, timeout=1800, check=False).returncode == 0:
            return
        # an index that only pip's own configuration knows
    _install(by_pip)


def built_wheel() -> Path:
    """Return the wheel of this checkout, built once for all of a session."""
    with made_once("wheel") as (folder, is_there):
        if not is_there:
            _install([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)])
    return next(folder.glob("*.whl"))


def unpacked_wheel() -> Path:
    """Return a folder that makes an environment one with the built wheel installed when ``PYTHONPATH`` names it.

    So an environment that is kept holds nothing of a checkout.
    """
    wheel = built_wheel()
    with made_once("unpacked-wheel") as (folder, is_there):
        if not is_there:
            with zipfile.ZipFile(wheel) as file:
                file.extractall(folder)
    return folder


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
