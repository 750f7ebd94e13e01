"""Loads a model version with ``mlflow.pyfunc``, each in a process of its own with a time limit.

Loading runs the model's own code, with the rights of whoever runs the audit: only when
``--parity-load-models`` asks for it. Its process gets an environment of its own, its group of processes is ended with
it, and only what this module's program says after the load counts: never the model's output or its exit status.
"""

from __future__ import annotations

import os
import re
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from mlflow_parity.audit.renames import RenamedReader
from mlflow_parity.audit.side import Side
from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.local.scratch import Scratch
from mlflow_parity.core.locations import Location
from mlflow_parity.core.verdict import State
from mlflow_parity.reading.transport.auth import OWN_S3

RULE = "model_version.loads"
#: Seconds for one model, importing mlflow included.
LIMIT = 300.0
#: It ends at once after the word: threads that a model leaves behind would keep it alive.
_PROGRAM = """
import os, sys
def load():
    word = sys.stdin.readline().strip()
    import mlflow.pyfunc
    mlflow.pyfunc.load_model(sys.argv[1])
    os.write(int(sys.argv[2]), word.encode())
    os._exit(0)
load()
"""
_ABSENT = re.compile(r"(?:ModuleNotFoundError|ImportError): (?:No module named )?(.*)")
_PREFIX = "TARGET_"
#: Bytes that are kept of what a model prints, the last ones.
_TAIL = 1 << 16
#: Variables that any program may need. What a model needs beside them is given with ``TARGET_`` in front.
_PLAIN = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ",
    "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "JAVA_HOME", "SPARK_HOME",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_CACHE", "TORCH_HOME", "NLTK_DATA",
    "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE",
})  # fmt: skip
_PLAIN_BEGINNINGS = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "OMP_", "MKL_", "MLFLOW_HTTP_REQUEST_")
#: How one logs in to an MLflow server; what is the side's own beats what is meant for both, as in reading.
_LOGIN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_TLS = (
    "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
)  # fmt: skip
#: Of AWS, who one is: with one of these of the target's own none without prefix counts.
_IDENTITY = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_ROLE = "SAGEMAKER_MLFLOW_"


@dataclass(frozen=True, slots=True)
class _End:
    """How a process ended: ``status`` is ``None`` where it took too long."""

    status: int | None
    loaded: bool
    printed: str


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads model versions of one server; ``own_name`` gives the name there of a model that is known by another.

    ``place_of`` gives where the files of a version are, by name and number.
    """

    location: Location
    redact: Callable[[str], str]
    own_name: Callable[[str], str] = str
    place_of: Callable[[str, int], str] | None = None
    limit: float = LIMIT
    python: str = sys.executable

    def __call__(self, name: str, number: int) -> list[Difference]:
        """Return nothing when the version loads, else one difference that says why not."""
        if self.location.kind == "snapshot":
            return [Difference("", State.UNVERIFIED, RULE, note="models cannot be loaded from a snapshot")]
        own = self.own_name(name)
        aws = self.location.is_arn or self._is_in_s3(own, number)
        # what a process writes that got away from its group may be in the way of removing the folder
        with Scratch() as folder:
            env = {**environment(self.location, os.environ, aws=aws), "TMPDIR": str(folder)}
            end = self._run(f"models:/{own}/{number}", env, folder)
        if end.status is None:
            return [Difference("", State.UNVERIFIED, RULE, note=f"not loaded within {self.limit:.0f} s")]
        if end.loaded and end.status == 0:
            return []
        lines = [line.strip() for line in end.printed.splitlines() if line.strip()]
        why = f"the process ended with status {end.status}" + ("" if end.status else " before the model was loaded")
        whole = self.redact(lines[-1]) if lines and end.status else why
        last = whole[:500]
        absent = _ABSENT.search(last)
        if absent:
            note = f"a library that it needs is absent here: {absent[1]}"
            return [Difference("", State.UNVERIFIED, RULE, note=note)]
        # what every load says otherwise: its folder and what is in it, addresses in memory
        bound = re.sub(rf"{re.escape(str(folder))}[^\s'\",;:)]*|\b0x[0-9a-fA-F]+", "…", whole)
        return [Difference("", State.MISMATCH, RULE, note=f"cannot be loaded: {last}", bound=(None, bound))]

    def _is_in_s3(self, name: str, number: int) -> bool:
        if self.place_of is None:
            return False
        with suppress(ReadError):
            return self.place_of(name, number).startswith("s3:")
        return False

    def _run(self, uri: str, env: Mapping[str, str], folder: Path) -> _End:
        """Run the program to its end, or to the end of its time; its whole group ends with it."""
        word = secrets.token_hex(16)
        told, tells = os.pipe()
        try:
            process = subprocess.Popen(
                [self.python, "-c", _PROGRAM, uri, str(tells)],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(tells,),
                start_new_session=True,
            )
        except OSError:
            os.close(told)
            raise
        finally:
            os.close(tells)
        assert process.stdin is not None
        assert process.stderr is not None
        output = process.stderr.fileno()
        for one in (told, output):
            os.set_blocking(one, False)
        heard: dict[int, bytes] = {told: b"", output: b""}
        deadline = time.monotonic() + self.limit
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(f"{word}\n".encode())
                process.stdin.close()
            _listen(process, heard, deadline)
            in_time = process.poll() is not None
        finally:
            # also after a good end: what it left behind has no business any more
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            status = process.wait()
            for one in heard:
                _drain(one, heard)
            process.stderr.close()
            os.close(told)
        printed = heard[output].decode("utf-8", "replace")
        return _End(status if in_time else None, heard[told] == word.encode(), printed)


def _listen(process: subprocess.Popen[bytes], heard: dict[int, bytes], deadline: float) -> None:
    """Take what a process says until it ends: not until its pipes do, which others may hold open."""
    with selectors.DefaultSelector() as selector:
        for one in heard:
            selector.register(one, selectors.EVENT_READ)
        while process.poll() is None and time.monotonic() < deadline:
            if not selector.get_map():
                time.sleep(0.02)
            for key, _ in selector.select(0.05) if selector.get_map() else ():
                if not _take(key.fd, heard):
                    selector.unregister(key.fd)


def _take(source: int, heard: dict[int, bytes]) -> bool:
    """Take what a pipe holds; false when it has ended."""
    try:
        piece = os.read(source, _TAIL)
    except BlockingIOError:
        return True
    heard[source] = (heard[source] + piece)[-_TAIL:]
    return bool(piece)


def _drain(source: int, heard: dict[int, bytes]) -> None:
    """Take what is left in a pipe, and no more than it can hold: somebody may go on writing."""
    for _ in range(32):
        before = heard[source]
        if not _take(source, heard) or heard[source] == before:
            return


def environment(location: Location, given: Mapping[str, str], *, aws: bool) -> dict[str, str]:
    """Return the variables of a process that loads from the target: an allow-list, and what has its prefix.

    Nothing of the source's and nothing of this program's own is among them, and no credential that loading does not
    need: ``aws`` says whether the files are in S3 or behind an ARN.
    """
    own = {
        name.removeprefix(_PREFIX): value
        for name, value in given.items()
        if name.startswith(_PREFIX) and value and not name.startswith((f"{_PREFIX}SOURCE_", f"{_PREFIX}MLFLOW_PARITY_"))
    }
    env = {
        name: value
        for name, value in given.items()
        if name in _PLAIN
        or name.startswith(_PLAIN_BEGINNINGS)
        # without a prefix these are for a self-managed server and its S3
        or (name in (*_TLS, *OWN_S3) and not location.is_arn)
    }
    if aws:
        other = not any(own.get(name) for name in _IDENTITY)
        env.update(
            (name, value)
            for name, value in given.items()
            if name.startswith(("AWS_", _ROLE)) and (other or name not in _IDENTITY)
        )
    if not location.is_arn and location.userinfo is None and not any(own.get(name) for name in _LOGIN):
        env.update((name, given[name]) for name in _LOGIN if name in given)
    elif not location.is_arn and (own.get(_LOGIN[0]) or own.get(_LOGIN[1])):
        # a name may still lack the password that both sides share
        env.update((name, given[name]) for name in _LOGIN[:2] if name in given)
        own.pop(_LOGIN[2], None)
    env.update(own)
    if location.is_arn or location.userinfo is not None:
        for name in _LOGIN:
            env.pop(name, None)
    if location.userinfo is not None:
        name, password = (unquote(part) for part in location.userinfo)
        env.update(MLFLOW_TRACKING_USERNAME=name, MLFLOW_TRACKING_PASSWORD=password)
    if location.workspace:
        env["MLFLOW_WORKSPACE"] = location.workspace
    uri = location.uri if location.is_arn else location.endpoint
    # what is installed for this program is there for the model, and nothing of the folder that it is run in
    env["PYTHONPATH"] = os.pathsep.join(
        str(Path(part).absolute()) for part in env.get("PYTHONPATH", "").split(os.pathsep) if part
    )
    return {**env, "MLFLOW_TRACKING_URI": uri, "MLFLOW_REGISTRY_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}


def loading(target: Side, redact: Callable[[str], str]) -> Callable[[str, int], list[Difference]]:
    """Return what loads the target's models, asked for by the names that they have there."""
    reader = target.reader
    own = reader.own_name if isinstance(reader, RenamedReader) else str
    loader = Loader(target.location, redact, own, getattr(reader, "loaded_from", None))

    def load(name: str, number: int) -> list[Difference]:
        why = "" if reader is None else reader.load_refusal(own(name), number)
        return [Difference("", State.UNVERIFIED, RULE, note=why)] if why else loader(name, number)

    return load
