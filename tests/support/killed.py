"""Imports an export again and again, each time killed at another point, until one attempt comes to its end.

``python killed.py EXPORT TARGET JOURNAL SEED REQUESTS CLASS`` prints how many attempts were killed. Each is a process
of its own, forked so that no time goes into starting it, and ended by SIGKILL: half of them right before or after a
chosen request to the target (one of the first ``REQUESTS``), half after a random time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import clean_environment

_MOST = 200


def import_killed(export: Path, target: str, journal: Path, seed: int = 7, *, whole: bool = False) -> int:
    """Run this file as a program; return how many attempts were killed. ``whole``: what is not of experiments too."""
    requests, kind = ("30", "Whole") if whole else ("15", "Migration")
    command = [sys.executable, __file__, str(export), target, str(journal), str(seed), requests, kind]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**clean_environment(), "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.splitlines()[-1])


def _attempt(arguments: list[str], chance: random.Random | None) -> None:
    from mlflow_parity.migrating.export.export_folder import ExportFolder
    from support import importer

    migration: importer.Migration = getattr(importer, arguments[5])(
        ExportFolder(Path(arguments[0])), arguments[1], Path(arguments[2])
    )

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if chance is not None and chance.random() < 0.5:
        threading.Timer(chance.uniform(0.02, 0.8), die).start()
    elif chance is not None:
        left, after = chance.randint(1, int(arguments[4])), chance.random() < 0.5
        send: Any = migration.context.writer._send
        counting = threading.Lock()

        def deadly(*parts: Any, **more: Any) -> Any:
            nonlocal left
            with counting:
                left -= 1
                last = left == 0
            if last and not after:
                die()
            answer = send(*parts, **more)
            if last:
                die()
            return answer

        migration.context.writer._send = deadly  # type: ignore[method-assign]
    migration.run()
    migration.close()


def _main(arguments: list[str]) -> int:
    chance = random.Random(arguments[3])
    from mlflow_parity.migrating.exim.tool import settle_tool
    from support import importer  # noqa: F401 - loaded once, before the forks

    settle_tool()
    import mlflow_export_import.logged_model.import_logged_model
    import mlflow_export_import.run.import_run  # noqa: F401

    for attempt in range(_MOST):
        child = os.fork()
        if child == 0:
            try:
                # the last one lives
                _attempt(arguments, random.Random(chance.random()) if attempt < _MOST - 1 else None)
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
    raise SystemExit(_main(sys.argv[1:]))
