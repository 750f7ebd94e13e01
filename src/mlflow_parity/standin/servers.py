"""Real ``mlflow server`` processes on loopback; what is slow to make for them is made once, under a lock."""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Protocol

from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.locations import given_path

#: Artifacts pass through the tracking server (``mlflow-artifacts:``) and lie in a local folder.
PROXIED = "proxied"
#: Always set: no background job runner, no telemetry.
QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
#: For what writes traces: each is on the server when the next line runs. Waiting for MLflow's queue takes a second.
AT_ONCE = {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "false"}
_STARTS = 3
_CREATE_TABLES = (
    "import sys; from mlflow.store.db import utils; "
    "utils._initialize_tables(utils.create_sqlalchemy_engine_with_retry(sys.argv[1]))"
)


class Process(Protocol):
    """A running process, as far as it is used here: :class:`subprocess.Popen` is one."""

    pid: int

    @property
    def returncode(self) -> int | None:
        """Exit code, once it is known that it ended."""

    def poll(self) -> int | None:
        """Return the exit code, ``None`` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code; ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""


#: Begins a server's process; called like :class:`subprocess.Popen`. The tests put a quicker way here.
launch: Callable[..., Process] = subprocess.Popen


class ServerFailed(ParityError):
    """A server did not become healthy; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running tracking server.

    ``uri`` is its base URL, ``artifacts_root`` a local folder (proxied) or an ``s3://`` URI, ``database_uri``
    an SQLAlchemy URI; ``pid`` leads the process group in which all its processes run.
    """

    uri: str
    version: str
    pid: int
    artifacts_root: str
    database_uri: str
    log_path: Path
    process: Process = field(repr=False)

    def stop(self, *, grace: float = 8.0) -> None:
        """End the server and what it started; ``grace`` is the time in seconds before it is killed."""
        stop_group(self.process, grace=grace)

    @property
    def database_path(self) -> Path:
        """The SQLite file (only for an SQLite server)."""
        return Path(self.database_uri.removeprefix("sqlite:///"))


def stop_group(process: Process, *, grace: float = 8.0) -> None:
    """End a process that was started in a session of its own, with everything that it started."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    # workers may outlive their parent: the group is gone only when nobody is left to be killed
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without anything of MLflow's own, quietened, and with ``extra``."""
    prefixes = ("MLFLOW_", "_MLFLOW_", "SAGEMAKER_MLFLOW_", "SOURCE_", "TARGET_")
    kept = {name: value for name, value in os.environ.items() if name == VARIABLE or not name.startswith(prefixes)}
    return {**kept, **QUIET, **(extra or {})}


@cache
def version_of(python: str) -> str:
    """Return the MLflow version installed for the interpreter ``python``."""
    if python == sys.executable:
        return importlib.metadata.version("mlflow")
    program = "import importlib.metadata as m; print(m.version('mlflow'))"
    answer = subprocess.run([python, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    return answer.stdout.strip()


def empty_database(python: str = sys.executable) -> Path:
    """Return an SQLite file with that version's tables and no rows, made once per version (copy it).

    Raises:
        ServerFailed: MLflow could not create its tables.
    """
    version = version_of(python)
    template = cache_folder() / "databases" / f"mlflow-{version}.db"
    if template.exists():
        return template
    with locked(f"database-{version}"):
        if template.exists():
            return template
        template.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=template.parent) as folder:
            fresh = Path(folder) / "fresh.db"
            command = [python, "-c", _CREATE_TABLES, f"sqlite:///{fresh}"]
            made = subprocess.run(
                command, env=clean_environment(), cwd=folder, capture_output=True, text=True, timeout=180
            )
            if made.returncode:
                raise ServerFailed(f"MLflow {version} could not create its tables:\n{made.stderr[-3000:]}")
            fresh.rename(template)
    return template


def start_server(
    folder: Path,
    *,
    python: str = sys.executable,
    database: str | None = None,
    artifacts: str = PROXIED,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    timeout: float = 120.0,
) -> Server:
    """Start ``mlflow server`` of the interpreter ``python`` and wait until it answers.

    Args:
        folder: where database, artifacts and log go (made when absent; an SQLite file that is already there
            is used again).
        python: interpreter of the environment whose MLflow is to serve.
        database: SQLAlchemy URI; ``None`` for an SQLite file in ``folder``.
        artifacts: ``"proxied"``, or the ``s3://`` URI that clients write to themselves.
        workers: server processes.
        env: further environment variables of the server.
        arguments: further arguments of ``mlflow server``.
        timeout: seconds until it must be healthy.

    Raises:
        ServerFailed: it ended or did not answer in time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    if database is None:
        file = folder / "mlflow.db"
        if not file.exists():
            shutil.copyfile(empty_database(python), file)
        database = f"sqlite:///{file}"
    if artifacts == PROXIED:
        root = str(folder / "artifacts")
        stores = ["--serve-artifacts", "--artifacts-destination", root]
    else:
        root = artifacts.rstrip("/")
        stores = ["--no-serve-artifacts", "--default-artifact-root", root]
    command = [python, "-m", "mlflow", "server", "--backend-store-uri", database, *stores]
    command += ["--host", "127.0.0.1", "--workers", str(workers), *arguments]
    log = folder / "server.log"
    # the port is free when it is picked and may be taken a moment later: a few tries
    for attempt in range(1, _STARTS + 1):
        port = free_port()
        with log.open("ab") as output:
            process = launch(
                [*command, "--port", str(port)],
                cwd=folder,
                env=_server_environment(python, env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(f"http://127.0.0.1:{port}", version_of(python), process.pid, root, database, log, process)
        try:
            wait_healthy(f"{server.uri}/health", process, log, timeout=timeout)
        except BaseException as error:
            server.stop(grace=1.0)
            taken = isinstance(error, ServerFailed) and "address already in use" in _tail(log).lower()
            if not taken or attempt == _STARTS:
                raise
        else:
            return server
    raise AssertionError("unreachable")


@contextmanager
def serving(
    folder: Path,
    *,
    python: str = sys.executable,
    database: str | None = None,
    artifacts: str = PROXIED,
    workers: int = 1,
    env: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
    timeout: float = 120.0,
) -> Iterator[Server]:
    """Run :func:`start_server` for the length of a ``with`` block."""
    server = start_server(
        folder,
        python=python,
        database=database,
        artifacts=artifacts,
        workers=workers,
        env=env,
        arguments=arguments,
        timeout=timeout,
    )
    try:
        yield server
    finally:
        server.stop()


def wait_healthy(url: str, process: Process, log: Path, *, timeout: float) -> None:
    """Wait until ``url`` answers 200 while ``process`` lives.

    Raises:
        ServerFailed: it ended, or did not answer within ``timeout`` seconds.
    """
    # loopback is never reached through a proxy, whatever the environment says
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    limit = time.monotonic() + timeout
    while time.monotonic() < limit:
        if process.poll() is not None:
            raise ServerFailed(f"the server ended with exit code {process.returncode}; its log ends:\n{_tail(log)}")
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError), opener.open(url, timeout=2) as answer:
            if answer.status == 200 and process.poll() is None:
                return
        time.sleep(0.1)
    raise ServerFailed(f"no answer from {url} within {timeout:.0f} s; the log ends:\n{_tail(log)}")


def _server_environment(python: str, extra: Mapping[str, str] | None) -> dict[str, str]:
    env = clean_environment(extra)
    # old versions call gunicorn by name
    env["PATH"] = f"{Path(python).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["NO_PROXY"] = env["no_proxy"] = "127.0.0.1,localhost"
    return env


def _tail(log: Path, size: int = 3000) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - size))
        return file.read().decode(errors="replace")


#: Environment variable that moves the cache folder.
VARIABLE = "MLFLOW_PARITY_CACHE"


def cache_folder() -> Path:
    """Return the cache folder: ``$MLFLOW_PARITY_CACHE``, else ``~/.cache/mlflow-parity``."""
    given = os.environ.get(VARIABLE)
    return given_path(given, VARIABLE, "name another folder") if given else Path.home() / ".cache" / "mlflow-parity"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name`` of this cache folder against every other process (blocks until it is free)."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        # the lock goes with the open file, so a killed process leaves none behind
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
