"""Program of a warm process: imports a list of modules once, then forks a child for each Python program asked for.

``python warm_main.py SOCKET LEADER MODULE,…`` listens on a Unix socket for as long as the process ``LEADER`` lives. It
runs in the environments of old MLflow versions too: standard library only. One connection is one program: a request
in a line of JSON comes with three open files, the process id goes back at once and the exit code at the end.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
from contextlib import suppress
from types import ModuleType
from typing import Any


def main() -> None:
    """Import, serve, and in a child run what was asked for."""
    address, leader, modules = sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    # this file's folder is none of the programs' business
    del sys.path[0]
    plugin = [name for name in modules if name.startswith("mlflow_parity.")] if "pytest" in modules else []
    for name in modules:
        # not every environment has each of them
        if name not in plugin:
            with suppress(ModuleNotFoundError):
                importlib.import_module(name)
    if plugin:
        _import_as_pytest(plugin)
    if sys.dont_write_bytecode:
        # what the programs import beside that would be compiled each time; nothing is written to the checkout
        sys.pycache_prefix = f"{address}.compiled"
        sys.dont_write_bytecode = False
    # pages that the collector does not touch stay shared
    gc.collect()
    gc.freeze()
    request = _serve(address, leader)
    if request is not None:
        _run(request)


def _import_as_pytest(modules: list[str]) -> None:
    """Import modules of a plugin as pytest does: with their assertions rewritten, or it says that it cannot."""
    from _pytest.assertion import install_importhook
    from _pytest.config import get_config

    hook = install_importhook(get_config([]))
    hook.mark_rewrite("mlflow_parity")
    for name in modules:
        module, _, function = name.partition(":")
        found = importlib.import_module(module)
        if function:
            getattr(found, function)()
    sys.meta_path.remove(hook)


def _serve(address: str, leader: int) -> dict[str, Any] | None:
    """Fork a child for each connection; return in a child, with its request, or at the end, with ``None``."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(f"{address}.new")
    listening.listen(32)
    # whoever sees it can connect
    os.rename(f"{address}.new", address)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    before = signal.set_wakeup_fd(wake)
    running: dict[int, socket.socket] = {}
    waiting: list[Any] = [listening, woken]
    while True:
        ready, _, _ = select.select(waiting, [], [], 1.0)
        if not _alive(leader):
            for pid in running:
                with suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)
            # a leader that was killed has left it
            shutil.rmtree(os.path.dirname(address), ignore_errors=True)
            return None
        if woken in ready:
            os.read(woken, 4096)
            _reap(running)
        if listening not in ready:
            continue
        connection, _ = listening.accept()
        request, files = _receive(connection)
        if request is None:
            connection.close()
            continue
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(before)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setpgid(0, 0)
            for number, file in enumerate(files):
                os.dup2(file, number)
            for left in (listening, connection, *running.values()):
                left.close()
            for number in (*files, woken, wake):
                os.close(number)
            return request
        # in parent and child, so that the group is there for whoever comes first
        with suppress(OSError):
            os.setpgid(pid, pid)
        for file in files:
            os.close(file)
        running[pid] = connection
        connection.sendall(f"{pid}\n".encode())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Read one request, a line of JSON, and the three files that come with it; ``None`` of who was killed meanwhile."""
    files, text = array.array("i"), b""
    # one who failed between asking and saying what keeps the others waiting no longer than this
    connection.settimeout(10)
    with suppress(OSError):
        text, rights, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(3 * files.itemsize))
        for _, _, data in rights:
            files.frombytes(data)
        more = text
        while more and not text.endswith(b"\n"):
            more = connection.recv(65536)
            text += more
    connection.settimeout(None)
    if text.endswith(b"\n"):
        return json.loads(text), list(files)
    for number in files:
        os.close(number)
    return None, []


def _reap(running: dict[int, socket.socket]) -> None:
    while running:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        connection = running.pop(pid)
        code = os.waitstatus_to_exitcode(status)
        with suppress(OSError):
            connection.sendall(f"{code}\n".encode())
        connection.close()


def _run(request: dict[str, Any]) -> None:
    """Do what ``python ARGUMENTS`` does, in this process."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    tempfile.tempdir = None
    sys.executable = request.get("executable") or sys.executable
    first, *rest = request["arguments"]
    if first == "-m":
        sys.path.insert(0, os.getcwd())
        sys.argv = ["-m", *rest[1:]]
        if rest[:2] == ["mlflow", "server"]:
            _serve_in_this_process()
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif first == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        program = ModuleType("__main__")
        sys.modules["__main__"] = program
        exec(compile(rest[0], "<string>", "exec"), program.__dict__)
    else:
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
        runpy.run_path(first, run_name="__main__")


def _serve_in_this_process() -> None:
    """Let ``mlflow server`` become the web server that it would start with the same interpreter."""
    import mlflow.server

    def become(command: list[str], *, extra_env: dict[str, str], **_: Any) -> None:
        if command[:2] != [sys.executable, "-m"]:
            raise RuntimeError(f"not a Python program: {command}")
        os.environ.update(extra_env)
        sys.argv = command[2:]
        # each request leaves thousands of objects behind, few of them in circles
        gc.set_threshold(50_000)
        _set_pragmas_once()
        if command[2] == "uvicorn":
            _shorten_the_way()
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        # the command waits for what it started, and nothing is left to wait for
        raise SystemExit(0)

    mlflow.server._exec_cmd = become
    # where a package of it is not installed, every search of runs tries this import again, for half of its time
    try:
        importlib.import_module("mlflow.server.auth")
    except ImportError:
        sys.modules["mlflow.server.auth"] = None  # type: ignore[assignment]


def _set_pragmas_once() -> None:
    """Let MLflow set SQLite's pragmas once for each connection, for which they stay, and not in every session again."""
    from sqlalchemy import TextClause
    from sqlalchemy.orm import Session

    execute = Session.execute

    def unless_set(self: Any, statement: Any, *args: Any, **others: Any) -> Any:
        if not (isinstance(statement, TextClause) and statement.text.startswith("PRAGMA ")):
            return execute(self, statement, *args, **others)
        done = self.connection().info.setdefault("pragmas that are set", set())
        if statement.text in done:
            return None
        done.add(statement.text)
        return execute(self, statement, *args, **others)

    Session.execute = unless_set  # type: ignore[method-assign]


def _shorten_the_way() -> None:
    """Let a request reach MLflow's handlers, and its answer the web server, with no task or queue between.

    By a sampler that was half of a server's processor time. What MLflow's middlewares and handlers are asked and answer
    is the same; an answer goes on when it is whole.
    """
    import anyio.to_thread
    from starlette.middleware.base import BaseHTTPMiddleware, _CachedRequest
    from starlette.middleware.wsgi import WSGIResponder, build_environ
    from starlette.responses import Response

    class Whole(Response):
        """An answer, as messages."""

        def __init__(self, start: dict[str, Any], others: list[Any]) -> None:
            self.status_code, self.raw_headers, self.background = start["status"], start["headers"], None
            self._others = others

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for message in self._others:
                await send(message)

    async def through(self: Any, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _CachedRequest(scope, receive, send)

        async def call_next(_: Any) -> Response:
            messages: list[Any] = []

            async def keep(message: Any) -> None:
                messages.append(message)

            await self.app(scope, request.wrapped_receive, keep)
            start = next(message for message in messages if message["type"] == "http.response.start")
            return Whole(start, messages[messages.index(start) + 1 :])

        answer = await self.dispatch_func(request, call_next)
        await answer(scope, request.wrapped_receive, send)

    async def respond(self: Any, receive: Any, send: Any) -> None:
        chunks, more = [], True
        while more:
            message = await receive()
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
        environ = build_environ(self.scope, b"".join(chunks))
        starts: list[Any] = []

        def start_response(status: str, headers: Any, exc_info: Any = None) -> None:
            starts.append((status, headers, exc_info))

        body = await anyio.to_thread.run_sync(lambda: b"".join(self.app(environ, start_response)))
        (status, given, _), exc_info = starts[0], starts[-1][2]
        headers = [(name.strip().encode("ascii").lower(), value.strip().encode("ascii")) for name, value in given]
        await send({"type": "http.response.start", "status": int(status.partition(" ")[0]), "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if exc_info is not None:
            raise exc_info[0].with_traceback(exc_info[1], exc_info[2])

    BaseHTTPMiddleware.__call__ = through  # type: ignore[method-assign]
    WSGIResponder.__call__ = respond  # type: ignore[method-assign]
    from mlflow.server import fastapi_app

    # releases since 3.5 have one of their own
    if hasattr(fastapi_app, "_EfficientWSGIResponder"):
        fastapi_app._EfficientWSGIResponder.__call__ = respond


if __name__ == "__main__":
    main()
