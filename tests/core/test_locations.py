"""Paths that users give: what can be one is returned, whatever else is one line with the option and the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.closed import closed

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import given_path


def _refused(text: str, *, home: bool = True) -> str:
    with pytest.raises(UsageProblem) as raised:
        given_path(text, "--option", "give another one", home=home)
    said = str(raised.value)
    assert said.startswith("--option: ")
    assert said.endswith("; give another one")
    assert said.isprintable()
    assert len(said) < 250
    return said


def test_what_is_there_or_may_be_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing need be there yet; a home has its name only where it is meant to."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert given_path("~/x", "", "") == tmp_path / "x"
    assert given_path("~/x", "", "", home=False) == Path("~/x")
    assert given_path("~nosuchuser/x", "", "", home=False) == Path("~nosuchuser/x")
    for path in (tmp_path, tmp_path / "a" / "b", tmp_path / "file", tmp_path / "file" / "below"):
        assert given_path(path, "", "") == path
        assert given_path(str(path), "", "") == path


def test_what_cannot_be_one_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's home, long names, rings of links, bytes that no name has, a closed folder; what may be a password."""
    (tmp_path / "ring").symlink_to("ring")
    assert "Could not determine home directory" in _refused("~nosuchuser/x")
    assert "File name too long" in _refused("a" * 300)
    assert "Too many levels of symbolic links" in _refused(str(tmp_path / "ring"), home=False)
    assert "null" in _refused("a\0b")
    assert "hunter2" not in _refused("u:hunter2@" + "a" * 300)
    _refused("a\n\ud800")
    closed(monkeypatch, tmp_path)
    assert "Permission denied" in _refused(str(tmp_path / "x"))
