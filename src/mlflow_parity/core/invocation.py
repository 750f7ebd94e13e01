"""How the reader calls this program: the one place from which messages take the commands that they name."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

_SCRIPT = "migrate.py"
_PACKAGE = __name__.partition(".")[0]


def program() -> str:
    """Return the program's name: ``mlflow-parity``, or ``python -m mlflow_parity`` where it was started so."""
    called = Path(sys.argv[0])
    return (
        f"python -m {_PACKAGE}" if (called.parent.name, called.name) == (_PACKAGE, "__main__.py") else "mlflow-parity"
    )


def migrate_command() -> str:
    """Return what begins a migration's command: ``mlflow-parity migrate``, or a checkout's ``migrate.py``."""
    return _SCRIPT if _is_script() else f"{program()} migrate"


def migrate_process() -> list[str]:
    """Return the command of a process that does the same, by this interpreter."""
    return [sys.executable, *([sys.argv[0]] if _is_script() else ["-m", _PACKAGE, "migrate"])]


def install_command(extra: str) -> str:
    """Return the command that installs an extra: from the index, or from the checkout that is in use."""
    if _is_script():
        return f"pip install -e {shlex.quote(f'{Path(sys.argv[0]).resolve().parent}[{extra}]')}"
    return f'pip install "mlflow-parity[{extra}]"'


def _is_script() -> bool:
    return Path(sys.argv[0]).name == _SCRIPT
