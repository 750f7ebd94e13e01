"""Audits a pair again and again with one snapshot folder, each time killed at another moment; the last one lives.

``python killed_audit.py SOURCE TARGET FOLDER KILLS SEED`` prints the last audit's outcome as JSON. Each audit is a
process of its own, forked so that no time goes into starting it, and ended by SIGKILL: after a random time, before a
chosen file gets its name, right after that, or with a chosen request.
"""

from __future__ import annotations

import json
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

_MOST = 400


def audit_killed(source: str, target: str, folder: Path, kills: int, seed: int = 7) -> dict[str, Any]:
    """Run this file as a program; return what it prints."""
    command = [sys.executable, __file__, source, target, str(folder), str(kills), str(seed)]
    path = os.pathsep.join([str(Path(__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**clean_environment(), "PYTHONPATH": path}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deadly(call: Any, left: int, *, after: bool) -> Any:
    """Return ``call`` with a death before or after its n-th time."""
    counting = threading.Lock()

    def counted(*parts: Any, **more: Any) -> Any:
        nonlocal left
        with counting:
            left -= 1
            last = left == 0
        if last and not after:
            _die()
        answer = call(*parts, **more)
        if last:
            _die()
        return answer

    return counted


def _noted(agree: Any, notes: Path) -> Any:
    """Return ``agree`` with a mark in a file for each time that what was read before was taken over."""

    def noted(*parts: Any, **more: Any) -> Any:
        agreed = agree(*parts, **more)
        if agreed:
            with notes.open("ab") as file:
                file.write(b".")
        return agreed

    return noted


def _arm(chance: random.Random) -> None:
    from mlflow_parity.reading.transport.session import Session

    where = chance.random()
    if where < 0.3:
        threading.Timer(chance.uniform(0.01, 0.9), _die).start()
    elif where < 0.75:
        # parts, their sidecars and the manifest all get their names so
        os.replace = _deadly(os.replace, chance.randint(1, 30), after=chance.random() < 0.5)
    else:
        Session._send = _deadly(Session._send, chance.randint(3, 120), after=True)  # type: ignore[method-assign]


def _main(source: str, target: str, folder: str, kills: str, seed: str) -> int:
    chance = random.Random(seed)
    import mlflow_parity.reading.artifacts.s3_store  # noqa: F401 - loaded once, before the forks
    from mlflow_parity.snapshot import capture
    from support.copied import audited

    notes = Path(f"{folder}.notes")
    notes.touch()
    for name in ("runs_agree", "objects_agree"):
        setattr(capture, name, _noted(getattr(capture, name), notes))
    killed = midway = 0
    for _ in range(_MOST):
        child = os.fork()
        if child == 0:
            try:
                if killed < int(kills):
                    _arm(random.Random(chance.random()))
                outcome = audited(source, target, snapshots=Path(folder))
                found = {
                    "green": outcome.green,
                    "digests": outcome.digests,
                    "taken over": notes.stat().st_size,
                    "killed": killed,
                    "midway": midway,
                }
                print(json.dumps({**found, "why": outcome.reasons}), flush=True)
                os._exit(0 if killed >= int(kills) else 5)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        chance.random()
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            killed += 1
            manifests = [json.loads(path.read_text()) for path in Path(folder).glob("*/manifest.json")]
            parts = [*Path(folder).glob("*/*/*.parquet"), *Path(folder).glob("*/*/*/*.parquet")]
            midway += bool(parts) and any(one["finished"] is None for one in manifests)
        elif os.waitstatus_to_exitcode(status) != 5:
            return os.waitstatus_to_exitcode(status)
    return 1


if __name__ == "__main__":
    raise SystemExit(_main(*sys.argv[1:]))
