"""Runs the audit of a migration where nothing takes part that happens to stand in the current folder."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlflow_parity.core.ending import run
from mlflow_parity.core.scratch import Scratch

#: Variables that name a file or folder; a relative one is meant from the folder in which it was set.
_PATHS = (
    "AWS_CA_BUNDLE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "CURL_CA_BUNDLE",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
)
_PREFIXES = ("", "SOURCE_", "TARGET_")
#: What is no business of the audit: options of pytest, of ours and of the interpreter that others left there.
_DROPPED = ("PYTEST_", "MLFLOW_PARITY_")
_INTERPRETER = ("PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP")


def audit_environment(environ: Mapping[str, str], own: Mapping[str, str], here: Path) -> dict[str, str]:
    """Return the environment of the audit: ``environ``, without what could change its verdict, and ``own``.

    ``here`` is the current folder: relative paths are made absolute, and nothing is imported from it.
    """
    env = {
        name: value
        for name, value in environ.items()
        if not name.startswith(_DROPPED) and name not in _INTERPRETER and name != "PYTHONPATH"
    }
    for name in (prefix + name for prefix in _PREFIXES for name in _PATHS):
        if env.get(name) and not env[name].startswith("~"):
            env[name] = os.path.join(here, env[name])
    # an empty entry means the current folder
    folders = [os.path.normpath(os.path.join(here, one)) for one in environ.get("PYTHONPATH", "").split(os.pathsep)]
    folders = [one for one in folders if one not in (str(here), os.path.realpath(here))] + _checkout()
    if folders:
        env["PYTHONPATH"] = os.pathsep.join(folders)
    # from Python 3.11 on; before that the empty folder alone must do
    return {**env, "PYTHONSAFEPATH": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **own}


def _checkout() -> list[str]:
    """Return where this package is, when it is not installed."""
    if any(point.name == "mlflow_parity" for point in importlib.metadata.entry_points(group="pytest11")):
        return []
    return [str(Path(__file__).resolve().parent.parent.parent)]


def run_audit(arguments: Sequence[str], environ: Mapping[str, str], own: Mapping[str, str]) -> int:
    """Run pytest with our plugin and ``arguments``, in which paths are absolute; return its exit status.

    It runs in an empty folder, by an empty ini file, without any ``conftest.py`` and without other plugins.
    """
    with Scratch() as folder:
        ini = folder / "pytest.ini"
        ini.write_text("[pytest]\n", encoding="utf-8")
        alone = ["-c", str(ini), "--rootdir", str(folder), "--confcutdir", str(folder), "--noconftest"]
        command = [sys.executable, "-m", "pytest", *alone, "-p", "mlflow_parity.plugin", *arguments]
        env = audit_environment(environ, own, Path.cwd())
        return run(command, env, folder)
