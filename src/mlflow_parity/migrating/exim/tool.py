"""Which build of the tool is installed, keeping its log to itself, and running it as the public guide says."""

from __future__ import annotations

import getpass
import importlib
import importlib.metadata
import importlib.util
import io
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import make_inside
from mlflow_parity.core.notice import install_command
from mlflow_parity.core.redaction import Redactor
from mlflow_parity.core.text import visible

#: The maintained build, and the only one that knows MLflow 3.
DISTRIBUTION = "databricks-mlflow-export-import"
#: The top-level module that several distributions install, one over the other.
MODULE = "mlflow_export_import"
#: Commands that need nothing but the package: they read, ask SageMaker, or audit.
_NO_EXTRAS = ("app", "check", "retire", "verify")
#: What the extras bring: name and module.
_MIGRATE = {"MLflow": "mlflow", "the Export Import tool": MODULE}
_STANDIN = {"moto": "moto"}
#: Bytes of a name; file systems take 255.
_LONGEST = 200
_SUMMARY = re.compile(r'"exceptions": (\d+)')


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of the tool ended.

    ``exit_code`` is the process's; ``exceptions`` what its own summary counts (``None``: no summary);
    ``log`` holds all it said, without secrets; ``seconds`` is its wall time.
    """

    exit_code: int
    exceptions: int | None
    log: Path
    seconds: float


def require_extras(step: str) -> None:
    """Refuse a command of ``migrate`` whose packages are not installed; the package itself does without them.

    Raises:
        UsageProblem: one line with the command that installs them.
    """
    if step in _NO_EXTRAS:
        return
    wanted = {**_MIGRATE, **(_STANDIN if step == "demo" else {})}
    missing = [name for name, module in wanted.items() if not _is_there(module)]
    if missing:
        extras = "migrate,standin" if step == "demo" else "migrate"
        *first, last = missing
        what = f"{', '.join(first)} and {last} are" if first else f"{last} is"
        raise UsageProblem(f"{what} not installed; run: {install_command(extras)}")


def _is_there(module: str) -> bool:
    try:
        if importlib.util.find_spec(module) is None:
            return False
        if module == "mlflow":
            # the module alone may be that of mlflow-skinny, which the package itself requires
            importlib.metadata.version("mlflow")
    except ImportError:
        return False
    return True


def require_tool(path: Sequence[str] | None = None) -> str:
    """Return the version of the installed tool; ``path`` is where to look (``sys.path`` when ``None``).

    Raises:
        UsageProblem: it is not installed, or another build is, alone or as well.
    """
    found = sorted(_providers(list(sys.path if path is None else path)).items())
    wrong = [f"{name} {version}" for name, version in found if name != DISTRIBUTION]
    if wrong:
        names = " ".join(item.split()[0] for item in wrong)
        raise UsageProblem(
            f"the wrong Export Import tool is installed: {', '.join(wrong)} drops run status, dataset inputs and all "
            f"MLflow 3 objects, or does not start; run: pip uninstall {names} && "
            f"pip install --force-reinstall --no-deps {DISTRIBUTION}==1.2.1"
        )
    if not found:
        raise UsageProblem(f"the Export Import tool is not installed; run: {install_command('migrate')}")
    return found[0][1]


def _providers(path: list[str]) -> dict[str, str]:
    """Return every distribution (normalised name → version) that installs the tool's module."""
    found: dict[str, str] = {}
    importlib.invalidate_caches()  # a package may just have been installed
    for distribution in importlib.metadata.distributions(path=path):
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        declared = (distribution.read_text("top_level.txt") or "").split()
        # the list of files is long: read it only where the name tells of the tool and nothing is declared
        if MODULE in declared or (not declared and "mlflow" in name and _has_module(distribution)):
            found.setdefault(name, distribution.version)
    return found


def _has_module(distribution: importlib.metadata.Distribution) -> bool:
    return any(file.parts[0] == MODULE for file in distribution.files or ())


def export_all(folder: Path, *, tracking_uri: str, env: Mapping[str, str], log: Path) -> Outcome:
    """Run ``export-all`` into ``folder``; ``env`` is the whole environment of its process but for the URI."""
    return _run("export_all", ["--output-dir", str(folder)], tracking_uri, env, log)


def import_all(folder: Path, *, tracking_uri: str, env: Mapping[str, str], log: Path) -> Outcome:
    """Run ``import-all --import-source-tags True`` from ``folder``; ``env`` as for :func:`export_all`."""
    return _run("import_all", ["--input-dir", str(folder), "--import-source-tags", "True"], tracking_uri, env, log)


def _run(program: str, arguments: list[str], tracking_uri: str, env: Mapping[str, str], log: Path) -> Outcome:
    """Run one program of the tool in a process of its own: signature and routing follow the process's one URI."""
    command = [sys.executable, "-m", f"{MODULE}.bulk.{program}", *arguments]
    full = {**env, "MLFLOW_TRACKING_URI": tracking_uri}
    redact = Redactor.from_environment(full)
    exceptions: int | None = None
    started = time.monotonic()
    # its root logger runs at DEBUG, so that botocore tells what it signs: only the owner may read the log,
    # and no secret gets into it
    log.unlink(missing_ok=True)
    with (
        os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as output,
        subprocess.Popen(
            command,
            env=full,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.write(visible(redact(line), multiline=True))
                if counted := _SUMMARY.search(line):
                    exceptions = int(counted[1])
        except BaseException:
            process.terminate()
            raise
    return Outcome(process.returncode, exceptions, log, time.monotonic() - started)


def settle_tool() -> None:
    """Keep the tool from sending the whole process's log anywhere, and from asking who the target is.

    Importing it sets up the root logger at DEBUG, for which botocore tells what it signs. It asks the process-wide
    tracking URI whether it is Databricks, which is neither side of this migration. MLflow, which it imports, reports
    on its use to its makers.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow_export_import.common import logging_utils

    logging_utils._have_loaded_logging_config = True
    from mlflow_export_import.common import utils

    if utils._calling_databricks is None:
        utils._calling_databricks = False


class _Harmless(io.TextIOBase):
    """A text file to which names and messages of a server are written: without secrets, and nothing in it acts."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._redact = Redactor.from_environment()

    def write(self, text: str) -> int:
        """Write."""
        self._file.write(visible(self._redact(text), multiline=True))
        return len(text)

    def flush(self) -> None:
        """Flush the file; it may be closed already."""
        if not self._file.closed:
            self._file.flush()


@contextmanager
def tool_log(path: Path, source: str) -> Iterator[None]:
    """Send what the tool says to a file that only its owner can read, and to nowhere else.

    Its own set-up would turn on the whole process's DEBUG log, with what is signed in it. ``source`` is what it is to
    write down as the tracking URI: the environment's may be another server's, and may hold a password.
    """
    settle_tool()
    make_inside(path.parent)
    path.touch(mode=0o600)
    file = path.open("a", encoding="utf-8", errors="backslashreplace")
    output = _Harmless(file)
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("mlflow_export_import")
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        # it prints tables and tracebacks as well
        with redirect_stdout(output), redirect_stderr(output), _environment(source):
            yield
    finally:
        logger.removeHandler(handler)
        file.close()
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextmanager
def _environment(source: str) -> Iterator[None]:
    changed = {"MLFLOW_TRACKING_URI": source}
    try:
        getpass.getuser()
    except (KeyError, OSError):
        # a container's user may have no name, and the tool writes none of the files then
        changed["LOGNAME"] = str(os.getuid())
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def is_plain(identity: str) -> bool:
    """Whether an id, which a server chose, is a name of a folder and leads to no other place."""
    if identity in ("", ".", "..") or {"/", "\\", "\0"} & set(identity):
        return False
    try:
        return len(identity.encode("utf-8")) <= _LONGEST
    except UnicodeEncodeError:
        return False
