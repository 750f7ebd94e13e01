"""A real scheduler and real workers of Dask, as their operators start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from mlflow_parity.standin.servers import clean_environment

_SECONDS = 60.0


class DaskProcesses:
    """One scheduler and its workers, each in a process of its own that can be killed."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        protocol: str = "tcp",
        config: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.logs: list[Path] = []
        self.workers: list[subprocess.Popen[bytes]] = []
        self._config = dict(config or {})
        told = folder / "scheduler.json"
        arguments = ["--host", f"{protocol}://{host}", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
        self.scheduler = self._start("scheduler", arguments, {})
        self._wait(told.exists, "the scheduler has not started")
        self._wait(lambda: bool(told.read_text()), "the scheduler has no address")
        self.address: str = json.loads(told.read_text())["address"]

    def __enter__(self) -> DaskProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self.workers, self.scheduler):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def worker(
        self, env: Mapping[str, str] | None = None, *, within: Sequence[str] = (), host: str = "127.0.0.1"
    ) -> subprocess.Popen[bytes]:
        """Start a worker with an environment of its own; ``within`` begins its command, as ``ip netns exec NAME``."""
        number = len(self.workers)
        arguments = [self.address, "--nthreads", "1", "--no-dashboard", "--no-nanny", "--host", host]
        arguments += ["--local-directory", str(self.folder / f"worker-{number}"), "--death-timeout", "30"]
        self.workers.append(self._start("worker", arguments, env or {}, within))
        return self.workers[-1]

    def log(self) -> str:
        """Everything that scheduler and workers have printed."""
        return "\n".join(path.read_text(errors="replace") for path in self.logs)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """End a process without a word."""
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def _start(
        self, what: str, arguments: Sequence[str], env: Mapping[str, str], within: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        self.logs.append(self.folder / f"{what}-{len(self.logs)}.log")
        command = [*within, sys.executable, "-m", f"distributed.cli.dask_{what}", *arguments]
        with self.logs[-1].open("wb") as log:
            return subprocess.Popen(
                command, stdout=log, stderr=log, env=clean_environment({**self._config, **env}), cwd=self.folder
            )

    def _wait(self, done: object, what: str) -> None:
        began = time.monotonic()
        while not done():  # type: ignore[operator]
            if time.monotonic() - began > _SECONDS or self.scheduler.poll() is not None:
                raise AssertionError(f"{what}: {self.log()[-2000:]}")
            time.sleep(0.1)
