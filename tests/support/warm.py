"""Python programs without the price of starting: each is forked from a process that has imported its libraries.

An ``mlflow server`` takes 8 s of processor time to start, an audit or the tool 3 s, nearly all of it for imports.
What is run here is the same program with the same arguments, environment, folder and files, in a process of its own;
only the modules of :data:`LIBRARIES` are there already, for audits and migrations those of our own package too.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow_parity.standin.servers import clean_environment, stop_group
from support.sharing import lead, made_once

_PROGRAM = Path(__file__).with_name("warm_main.py")
#: Seconds that the imports of a warm process may take.
_START = 120.0
#: What is imported once, by name; modules that an environment does not have are passed over. ``MODULE:FUNCTION`` is
#: called, for what each audit would have to compile.
LIBRARIES: Mapping[str, Sequence[str]] = {
    # no other package with a pytest plugin: pytest could not rewrite its assertions any more
    "audit": ("pytest", "execnet", "requests", "boto3", "numpy", "pandas", "pyarrow.parquet", "pyarrow.compute",
              "pyarrow.dataset", "orjson", "yaml", "jinja2", "deepdiff", "pdb", "statistics",
              "mlflow_parity.plugin", "mlflow_parity.pytest_api.session", "mlflow_parity.pytest_api.beginning",
              "mlflow_parity.pytest_api.refused_options", "mlflow_parity.pytest_api.checking",
              "mlflow_parity.pytest_api.own_checks", "mlflow_parity.pytest_api.showing",
              "mlflow_parity.pytest_api.merge_command",
              "mlflow_parity.audit.exclusions", "mlflow_parity.audit.running", "mlflow_parity.reading.server",
              "mlflow_parity.reporting.write", "mlflow_parity.reporting.page.html_report:template",
              "mlflow_parity.cli"),
    # the web servers come first: MLflow looks whether they are there
    "mlflow": ("gunicorn.app.wsgiapp", "uvicorn.main", "mlflow.cli", "mlflow.server", "mlflow.server.fastapi_app",
               "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
               "mlflow_parity.migrating.command"),
}  # fmt: skip


class Process:
    """A running program; what :class:`subprocess.Popen` has, as far as it is needed."""

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._connection = connection

    def poll(self) -> int | None:
        """Return its exit code, ``None`` while it runs."""
        if self.returncode is None and _readable(self._connection, 0):
            self._ended()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code; ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""
        if self.returncode is None:
            if not _readable(self._connection, timeout):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self._ended()
        assert self.returncode is not None
        return self.returncode

    def _ended(self) -> None:
        # without an answer the warm process itself has ended, and has killed what it ran
        self.returncode = int(_line(self._connection) or -signal.SIGKILL)
        self._connection.close()


def _readable(connection: socket.socket, timeout: float | None) -> bool:
    # not select: its files' numbers end at 1,024
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(None if timeout is None else timeout * 1000))


def _address(python: str, kind: str) -> str:
    """Return the socket of the session's warm process of that kind; it is started by whoever asks first."""
    name = hashlib.sha256(python.encode()).hexdigest()[:8]
    with made_once(f"{kind}-{name}") as (place, is_there):
        if not is_there:
            _start(python, kind, str(place))
    return str(place)


def _start(python: str, kind: str, address: str) -> None:
    _, leader = lead()
    # threads of a library would not live in the children
    env = {**clean_environment(), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    log = Path(f"{address}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, str(_PROGRAM), address, str(leader), ",".join(LIBRARIES[kind])],
            cwd=log.parent, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    limit = time.monotonic() + _START
    while not Path(address).exists():
        if process.poll() is not None or time.monotonic() > limit:
            stop_group(process, grace=0)
            raise RuntimeError(f"no warm process:\n{log.read_text()[-3000:]}")
        time.sleep(0.02)
    # it outlives this worker when others still need it
    process.returncode = 0


def shell_command(*arguments: str, kind: str) -> str:
    """Return the shell's command for ``python ARGUMENTS``, for scripts that call programs by name."""
    client = [sys.executable, "-S", str(_PROGRAM.with_name("warm_client.py")), _address(sys.executable, kind)]
    return shlex.join([*client, *arguments])


def stand_in_python(kind: str) -> str:
    """Return a program that is ``python`` to whoever starts it with arguments, but warm."""
    script = Path(f"{_address(sys.executable, kind)}.python")
    if not script.exists():
        new = script.with_suffix(f".{os.getpid()}")
        new.write_text(f'#!/bin/sh\nexec {shell_command(kind=kind)} "$@"\n')
        new.chmod(0o755)
        new.replace(script)
    return str(script)


def _line(connection: socket.socket) -> str:
    text = b""
    while not text.endswith(b"\n"):
        more = connection.recv(1)
        if not more:
            break
        text += more
    return text.decode()


def begin(
    arguments: Sequence[str],
    *,
    kind: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int | None = None,
    stderr: int | None = None,
    python: str = sys.executable,
    child_python: str | None = None,
) -> Process:
    """Run ``python ARGUMENTS`` (``-m module …``, ``-c program …`` or a file) and do not wait; it leads a group.

    Args:
        arguments: those of the interpreter.
        kind: which libraries are there already: ``"audit"`` or ``"mlflow"``.
        cwd: folder that it runs in.
        env: its whole environment.
        stdout: file number of its output; ``None`` throws it away.
        stderr: likewise.
        python: interpreter of the environment whose libraries it uses.
        child_python: what it takes for its own interpreter, to start others with; see :func:`stand_in_python`.
    """
    asked = {"arguments": list(arguments), "cwd": str(cwd), "env": dict(env), "executable": child_python}
    request = json.dumps(asked).encode() + b"\n"
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(_address(python, kind))
    with open(os.devnull, "r+b") as nothing:
        none = nothing.fileno()
        files = [none, none if stdout is None else stdout, none if stderr is None else stderr]
        sent = socket.send_fds(connection, [request], files)
    connection.sendall(request[sent:])
    return Process(int(_line(connection)), connection)


def run(
    arguments: Sequence[str],
    *,
    kind: str,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float = 300.0,
    python: str = sys.executable,
    child_python: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` to its end; output and errors come as text.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds, and was killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = begin(
            arguments, kind=kind, cwd=cwd, env=env, stdout=output.fileno(), stderr=errors.fileno(), python=python,
            child_python=child_python,
        )  # fmt: skip
        try:
            status = process.wait(timeout)
        except BaseException:
            stop_group(process, grace=0)
            raise
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return subprocess.CompletedProcess([python, *arguments], status, *texts)


def launch(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: Any, **others: Any) -> Any:
    """Begin a server as :class:`subprocess.Popen` does; an ``mlflow server`` of one process comes warm."""
    python, *arguments = command
    if arguments[:3] != ["-m", "mlflow", "server"] or arguments[arguments.index("--workers") + 1] != "1":
        return subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, **others)
    files = {"stdout": stdout.fileno(), "stderr": stdout.fileno()}
    return begin(arguments, kind="mlflow", cwd=cwd, env=env, python=python, **files)
