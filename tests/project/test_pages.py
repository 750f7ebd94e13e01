"""What finds the pages' commands and proves them on a bare machine (``.ci/bare``) sees what it should."""

from __future__ import annotations

from pathlib import Path

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


def test_the_bare_machine_is_first() -> None:
    """``.ci/run`` installs no package, but what the bare machine itself needs, before that has ended."""
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    before, begun, rest = text.partition("\n.ci/bare ")
    beside, waited, after = rest.partition('\nwait "$bare" ')
    assert begun
    assert waited
    assert before.count("\ninstall ") == 1
    for early in (before, beside):
        assert "chromium" not in early
        assert "make test" not in early
    assert "\ninstall " not in beside
    assert "chromium" in after
    # neither may fail without a word
    assert "((checked == 0 && newcomer == 0))" in after
