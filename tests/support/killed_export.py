"""Exports a server again and again, each time killed at another moment, until one attempt comes to its end.

``python killed_export.py URI FOLDER SEED`` prints how many attempts were killed. Each is a process of its own, forked
so that no time goes into starting it, and ended by SIGKILL: at a random time, before a chosen file gets its name, or
while the bytes of one come.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import clean_environment

_MOST = 100


def export_killed(uri: str, folder: Path, seed: int = 7) -> int:
    """Run this file as a program; return how many attempts were killed."""
    command = [sys.executable, __file__, uri, str(folder), str(seed)]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**clean_environment(), "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(call: Callable[..., Any], left: int) -> Callable[..., Any]:
    """Return ``call`` with a death before its n-th time."""
    counting = threading.Lock()

    def counted(*parts: Any, **more: Any) -> Any:
        nonlocal left
        with counting:
            left -= 1
            if left == 0:
                _die()
        return call(*parts, **more)

    return counted


def _attempt(uri: str, folder: Path, chance: random.Random | None) -> None:
    from mlflow_parity.reading.artifacts.blob_store import Blob
    from support.exported import export_from

    where = chance.random() if chance is not None else 1.0
    if chance is not None and where < 0.4:
        threading.Timer(chance.uniform(0.01, 0.3), _die).start()
    elif chance is not None and where < 0.7:
        # parts, manifest, bytes and the tool's stamp all get their names so
        os.replace = _deadly(os.replace, chance.randint(1, 10))
    elif chance is not None:
        Blob.write = _deadly(Blob.write, chance.randint(1, 6))  # type: ignore[method-assign]
    export_from(uri, folder)


def _main(uri: str, folder: str, seed: str) -> int:
    chance = random.Random(seed)
    from mlflow_parity.migrating.exim.tool import settle_tool
    from support import exported  # noqa: F401 - loaded once, before the forks

    settle_tool()
    import mlflow_export_import.experiment.export_experiment  # noqa: F401

    for attempt in range(_MOST):
        child = os.fork()
        if child == 0:
            try:
                # the last one lives
                _attempt(uri, Path(folder), random.Random(chance.random()) if attempt < _MOST - 1 else None)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        chance.random()
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            print(attempt)
            return os.waitstatus_to_exitcode(status)
    return 1


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
