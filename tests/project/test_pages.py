"""What finds the pages' commands and proves them on a bare machine (``.ci/bare``) sees what it should."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
from support import bare_machine
from support.pages import ROOT, Block, blocks, every_block

_PAGE = """# Page

```sh
first "$OLD"
second
```

Exit status 1. Then:

```json
{"no": "command"}
```

```sh
third
```
"""


def _root(folder: Path, text: str) -> Path:
    (folder / "docs").mkdir()
    (folder / "README.md").write_text(text, encoding="utf-8")
    (folder / "docs" / "more.md").write_text("```sh\nfourth\n```\n\nExit status 0.\n", encoding="utf-8")
    return folder


def test_shell_blocks_are_found_with_what_they_promise(tmp_path: Path) -> None:
    """Each with its page, line and promised exit status, and nothing that is no command."""
    assert every_block(_root(tmp_path, _PAGE)) == [
        Block("README.md", 3, 'first "$OLD"\nsecond\n', 1),
        Block("README.md", 14, "third\n", None),
        Block("docs/more.md", 1, "fourth\n", 0),
    ]


def test_a_block_without_a_language_is_refused(tmp_path: Path) -> None:
    """It could be a command that nobody runs; README and the pages have none."""
    with pytest.raises(ValueError, match=r"^README\.md:2: a block without a language"):
        blocks("README.md", _root(tmp_path, "\n```\npytest\n```\n"))
    assert len(every_block()) > 20


def test_a_command_that_nobody_ran_is_named(tmp_path: Path) -> None:
    """``.ci/bare`` fails with what is shown but was not run."""
    found = every_block(_root(tmp_path, _PAGE))
    assert bare_machine.unrun(found, {"README.md:3", "docs/more.md:1", ""}) == ["README.md:14: third\n"]


def test_the_newcomer_of_the_bare_machine_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of MLflow, of these tests or of an environment that is active; pip's settings stay."""
    for name in ("MLFLOW_TRACKING_URI", "SOURCE_AWS_PROFILE", "PYTHONPATH", "VIRTUAL_ENV", "PARITY_TESTS_SHARED"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PIP_RETRIES", "1")
    env = bare_machine.environment()
    assert not [name for name in env if name.startswith(("MLFLOW", "SOURCE", "PYTHONPATH", "VIRTUAL", "PARITY"))]
    assert env["PIP_RETRIES"] == "1"


def test_a_demo_without_its_reports_fails_on_the_bare_machine(tmp_path: Path) -> None:
    """Exit status 0 is not enough, and a command that fails is told with the end of its output."""
    printed = (
        '"exceptions": 0\n      migrate.py run --source-uri http://x\n'
        "demand forecast / train week 8  (named by the audit)\n"
        "Lost by the plain tool are 2 of 16 runs\nthe audit says   red   green\n"
    )
    with pytest.raises(bare_machine.Failed, match=r"no reports/tool/report\.html"):
        bare_machine.check_demo(tmp_path, printed)
    for name in ("tool", "migrate"):
        (tmp_path / "reports" / name).mkdir(parents=True)
        (tmp_path / "reports" / name / "report.html").touch()
    bare_machine.check_demo(tmp_path, printed)
    for line in printed.splitlines():
        with pytest.raises(bare_machine.Failed, match="did not print"):
            bare_machine.check_demo(tmp_path, printed.replace(line, ""))
    log = tmp_path / "log"
    process = bare_machine.begin(["/bin/sh", "-c", "echo told; exit 3"], tmp_path, {}, log)
    with pytest.raises(bare_machine.Failed, match=r"(?s)it ended with exit status 3.*told"):
        bare_machine.wait(process, "it", log)


class Ci:
    """``.ci/run`` in a folder, with programs in the place of those that it calls; each says that it was."""

    #: What it looks for, by the package that brings it.
    PACKAGES: ClassVar = {"chromium": "chromium", "initdb": "postgresql", "npm": "npm", "ip": "iproute2"}

    def __init__(self, folder: Path, *, without: str = "") -> None:
        self.folder, self.said, programs = folder, folder / "said", folder / "programs"
        (folder / ".ci").mkdir()
        programs.mkdir()
        text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
        # what this machine has beside its PATH is not what is asked for
        text = text.replace("/usr/lib/postgresql/", f"{folder}/nowhere/").replace("/usr/sbin/mariadbd", "/bin/sh")
        (folder / ".ci" / "run").write_text(text, encoding="utf-8")
        for name in ("bash", "env", "dirname", "mktemp", "cat", "rm", "sleep"):
            (programs / name).symlink_to(str(shutil.which(name)))
        for name in ("git", "python3", *(name for name in self.PACKAGES if name != without)):
            self._program(programs / name, "true")
        self._program(programs / "apt-get", f'echo "apt-get $*" >>{self.said}')
        self._program(programs / "sudo", '"$@"')
        self.make("true", "true")
        self.bare("true")

    @staticmethod
    def _program(path: Path, does: str) -> None:
        path.write_text(f"#!/bin/bash\n{does}\n", encoding="utf-8")
        path.chmod(0o755)

    def make(self, checks: str, tests: str) -> None:
        """Say what ``make docs check`` and ``make test-all`` do."""
        does = f'echo "make $*" >>{self.said}\n[[ $1 == docs ]] && {{ {checks}; exit; }}\n{tests}'
        self._program(self.folder / "programs" / "make", does)

    def bare(self, does: str) -> None:
        """Say what ``.ci/bare`` does; it takes a while."""
        said = f"echo newcomer\nsleep 0.5\necho ended >>{self.said}\n{does}"
        self._program(self.folder / ".ci" / "bare", said)

    def run(self) -> tuple[int, list[str], str]:
        """Return its exit status, what was called in its order, and what it printed."""
        env = {"PATH": str(self.folder / "programs"), "TMPDIR": str(self.folder)}
        ran = subprocess.run(
            ["/bin/bash", str(self.folder / ".ci" / "run")], env=env, capture_output=True, text=True, check=False
        )
        return ran.returncode, self.said.read_text(encoding="utf-8").splitlines(), ran.stdout


def test_tests_run_beside_the_bare_machine_where_nothing_is_to_be_installed(tmp_path: Path) -> None:
    """CI has an end, and one of two processors waits while a newcomer's commands run."""
    status, (checks, tests, ended), printed = Ci(tmp_path).run()
    assert (status, checks, ended, printed) == (0, "make docs check", "ended", "newcomer\n")
    assert tests.startswith("make test-all ")


def test_long_tests_begin_while_there_is_time(tmp_path: Path) -> None:
    """CI is ended after 90 minutes, and then nothing lands; the quick tests come after the last long one."""
    ci = Ci(tmp_path)
    ci.make("true", f'echo "until $PARITY_LONG_UNTIL" >>{ci.said}')
    began = time.time()
    [until] = [line for line in ci.run()[1] if line.startswith("until ")]
    assert 3_600 < int(until.split()[1]) - began < 4_500


@pytest.mark.parametrize(("until", "told"), [("", "1 passed"), ("9e9", "1 passed"), ("1.0", "1 skipped")])
def test_a_long_test_that_comes_too_late_is_skipped(until: str, told: str) -> None:
    """It is no pass: pytest counts it as skipped."""
    test = f"{bare_machine.PAGES}::test_every_page_with_commands_is_run"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", test],
        cwd=ROOT, env={**os.environ, "PARITY_LONG_UNTIL": until}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told in done.stdout, done.stdout
    assert ("CI's time is over" in done.stdout) == (told == "1 skipped")


def test_ci_leaves_out_what_the_bare_machine_runs_and_nothing_else(tmp_path: Path) -> None:
    """Else commands are run twice, or tests not at all."""
    tests = Ci(tmp_path).run()[1][1]
    assert tests.partition(" TESTS=")[2] == f"tests -rs --ignore={bare_machine.PAGES}"
    assert (ROOT / bare_machine.PAGES).is_file()


@pytest.mark.parametrize("program", Ci.PACKAGES)
def test_the_bare_machine_ends_before_a_package_is_installed(tmp_path: Path, program: str) -> None:
    """Else a newcomer's command passes by a package that its text does not name."""
    status, said, printed = Ci(tmp_path, without=program).run()
    assert (status, printed) == (0, "newcomer\n")
    assert [line.partition(" ")[0] for line in said] == ["make", "ended", "apt-get", "apt-get", "make"]
    assert said[3].endswith(f" {Ci.PACKAGES[program]}")


@pytest.mark.parametrize("program", [None, "npm"])
@pytest.mark.parametrize(
    ("checks", "newcomer", "tests"), [("false", "true", "true"), ("true", "exit 3", "true"), ("true", "true", "false")]
)
def test_none_of_ci_fails_without_a_word(
    tmp_path: Path, program: str | None, checks: str, newcomer: str, tests: str
) -> None:
    """Else what fails lands; what a newcomer was told is shown whatever else failed."""
    ci = Ci(tmp_path, without=program or "")
    ci.make(checks, tests)
    ci.bare(newcomer)
    status, _, printed = ci.run()
    assert (status != 0, printed) == (True, "newcomer\n")
