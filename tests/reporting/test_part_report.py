"""Parts that ``mlflow-parity merge`` is given: where there cannot be one is one line."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.closed import closed

from mlflow_parity.__main__ import main
from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reporting.kept.part_report import load_part
from mlflow_parity.reporting.kept.waiver_drafts import ledger_of
from mlflow_parity.reporting.write import LEDGER_NAME


@pytest.mark.parametrize("place", ["a" * 300, "ring", "ring/x", "~nosuchuser/x"])
def test_a_part_that_cannot_be_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    """For a part, and for where the report is to be written."""
    monkeypatch.chdir(tmp_path)
    Path("ring").symlink_to("ring")
    Path("part").mkdir()
    for given in ([place], ["part", "--to", place]):
        assert main(["merge", *given]) == 4
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("ERROR: ")


def test_a_part_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of another user: its folder, or the ledger alone."""
    (tmp_path / LEDGER_NAME).touch()

    def refused(path: Path, *_: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refused)
        with pytest.raises(UsageProblem, match=r"^merge: .+ cannot be read: Permission denied; give both files"):
            ledger_of({"ledger_digest": ""}, str(tmp_path / "report.json"), "merge")
    closed(monkeypatch, tmp_path)
    with pytest.raises(UsageProblem, match=r"^merge: '.+' cannot be used \(Permission denied\); give the folder"):
        load_part(str(tmp_path / "part-1"))
