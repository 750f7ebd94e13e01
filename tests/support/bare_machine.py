"""Proves README's and the pages' commands as a newcomer has them: on a machine with python3, make, git and pip alone.

``python3 -m support.bare_machine`` with ``tests`` on ``PYTHONPATH``; standard library only, and nothing is written to
the checkout. In a clone it runs ``make demo``; the wheel goes into a new environment by the lines of README's
*Install*; each other shell block of the pages is run with that environment's programs alone, in an empty folder. The
servers that the commands talk to run in the clone's own environment, and ``tests/project/test_howtos.py`` knows what
each page needs.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.pages import ROOT, Block, every_block

#: The first lines of *Install* are what the pages' commands need; after them come more extras, installed at the end.
_FOR_THE_PAGES = 2
#: Tests that run the commands of README and the pages; CI runs them here alone.
PAGES = "tests/project/test_howtos.py"
#: Blocks that by their nature cannot be run here, by their first line, with the reason.
NOT_RUN: Mapping[str, str] = {}
#: Variables of whoever calls that a newcomer does not have.
_OURS = ("MLFLOW", "_MLFLOW", "SAGEMAKER", "SOURCE_", "TARGET_", "PARITY_", "PYTEST_", "PYTHONPATH", "PYTHONDONTWRITE",
         "VIRTUAL_ENV", "MAKE", "MFLAGS")  # fmt: skip


class Failed(Exception):
    """What README or a page promises did not happen."""


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    print(f"bare machine: {what}: {time.monotonic() - started:.0f} s", flush=True)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what a newcomer does not have."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | dict(more or {})


def begin(command: Sequence[str], folder: Path, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Begin a command; what it prints goes to ``log``."""
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    """End a command that still runs, with all that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(process: subprocess.Popen[bytes], what: str, log: Path) -> None:
    """Wait for the end of a command.

    Raises:
        Failed: its exit status was not 0; the message has the end of what it printed.
    """
    try:
        process.wait()
    finally:
        end(process)
    if process.returncode:
        told = log.read_text(encoding="utf-8", errors="replace")[-6000:]
        raise Failed(f"{what} ended with exit status {process.returncode}:\n{told}")


#: What the demo prints: the plain tool says that all is well, the audit names what it lost and is red, then green.
DEMO = (
    r'"exceptions": 0',
    r"\n      migrate\.py run --source-uri http",
    r"demand forecast / train week 8  \(named by the audit\)",
    r"Lost by the plain tool are 2 of 16 runs",
    r"the audit says +red +green",
)


def check_demo(clone: Path, printed: str) -> None:
    """Look whether the demo said what it is for, and left both of its reports.

    Raises:
        Failed: it did not.
    """
    for pattern in DEMO:
        if not re.search(pattern, printed):
            raise Failed(f"make demo did not print {pattern!r}; it ended:\n{printed[-3000:]}")
    for name in ("tool", "migrate"):
        if not (clone / "reports" / name / "report.html").is_file():
            raise Failed(f"make demo wrote no reports/{name}/report.html")


class Installed:
    """The new environment, in which nothing is but what README's *Install* says; ``folder`` holds all that it needs."""

    def __init__(self, folder: Path, clone: Path) -> None:
        self.programs = folder / "venv" / "bin"
        self._folder, self._clone = folder, clone
        self._log = folder / "install.log"
        folder.mkdir()

    def begin(self, blocks: Sequence[Block]) -> subprocess.Popen[bytes]:
        """Begin to make it: the wheel stands in for the name on the index, the lines are run as they are."""
        wheels = shlex.quote(str(self._folder / "wheels"))
        python = shlex.quote(str(self.programs / "python"))
        script = [
            f"{shlex.quote(sys.executable)} -m venv {shlex.quote(str(self.programs.parent))}",
            f"{python} -m pip wheel --quiet --no-deps --wheel-dir {wheels} {shlex.quote(str(self._clone))}",
            *(line for block in blocks for line in block.text.splitlines()[:_FOR_THE_PAGES]),
            "mlflow-parity --version",
        ]
        return self._sh(script)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for what was begun; see :func:`wait`."""
        wait(process, "installing as README says", self._log)
        self._same()

    def rest(self, blocks: Sequence[Block]) -> None:
        """Run the remaining lines."""
        process = self._sh([line for block in blocks for line in block.text.splitlines()[_FOR_THE_PAGES:]])
        wait(process, "installing the other extras", self._log)

    def _sh(self, lines: Sequence[str]) -> subprocess.Popen[bytes]:
        found = f"{os.environ.get('PIP_FIND_LINKS', '')} {self._folder / 'wheels'}".strip()
        path = f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        env = environment({"PATH": path, "PIP_FIND_LINKS": found, "PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        return begin(["/bin/sh", "-e", "-x", "-c", "\n".join(lines)], self._folder, env, self._log)

    def _same(self) -> None:
        [plugin] = self.programs.parent.glob("lib/python*/site-packages/mlflow_parity/plugin.py")
        if plugin.read_bytes() != (self._clone / "src" / "mlflow_parity" / "plugin.py").read_bytes():
            raise Failed("pip installed another mlflow-parity than this checkout's wheel")


def run_pages(clone: Path, folder: Path, programs: Path) -> set[str]:
    """Run each page's blocks with these programs; return the labels of those that ended as promised.

    Raises:
        Failed: one did not.
    """
    log, ran = folder / "pages.log", folder / "ran.txt"
    ran.touch()
    ready = begin(["make", ".venv/.ready-dev"], clone, environment(), log)
    wait(ready, "make .venv/.ready-dev", log)
    env = environment({"PARITY_BARE_PROGRAMS": str(programs), "PARITY_BARE_RAN": str(ran)})
    command = [".venv/bin/python", "-m", "pytest", "-q", "-n", "2", "--dist", "load", "-p", "no:cacheprovider"]
    wait(begin([*command, PAGES], clone, env, log), "a command of README or docs", log)
    return set(ran.read_text(encoding="utf-8").split("\n"))


def unrun(blocks: Sequence[Block], ran: set[str]) -> list[str]:
    """Return the labels and texts of what is shown but was not run, and is not in :data:`NOT_RUN`."""
    left = [block for block in blocks if block.label not in ran]
    return [f"{block.label}: {block.text}" for block in left if block.text.splitlines()[0] not in NOT_RUN]


def main() -> int:
    """Do all of it; return 1 and print why when something is not as promised."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bare-") as name:
        folder = Path(name)
        clone = folder / "clone"
        try:
            subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
            blocks = every_block(clone)
            installs = [block for block in blocks if block.installs]
            installed = Installed(folder / "installed", clone)
            # by two at once, as there are two processors
            installing = installed.begin(installs)
            try:
                with _timed("make demo in a new clone"):
                    log = folder / "demo.log"
                    env = environment({"MLFLOW_PARITY_CACHE": str(folder / "cache")})
                    wait(begin(["make", "demo"], clone, env, log), "make demo", log)
                    check_demo(clone, log.read_text(encoding="utf-8", errors="replace"))
                with _timed("the rest of the installation by pip, which began with it"):
                    installed.wait(installing)
            finally:
                end(installing)
            with _timed("the commands of README and docs"):
                ran = run_pages(clone, folder, installed.programs)
            with _timed("the other extras of README's Install"):
                installed.rest(installs)
            ran |= {block.label for block in installs}
            left = unrun(blocks, ran)
            if left:
                raise Failed("shown but not run:\n" + "\n".join(left))
        except (Failed, ValueError, subprocess.CalledProcessError) as error:
            print(f"bare machine: {error}", file=sys.stderr)
            return 1
        for first, reason in NOT_RUN.items():
            print(f"bare machine: not run: {first}: {reason}")
    print(f"bare machine: {len(blocks)} blocks of commands as promised, {time.monotonic() - started:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
