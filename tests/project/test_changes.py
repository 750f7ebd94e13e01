"""What changes for users is written with the change, one file each, and a release can gather the files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KINDS = {"added", "changed", "fixed", "removed", "security"}


def test_the_files_of_changes_make_release_notes(tmp_path: Path) -> None:
    """A file with a name that nobody gathers would leave its change out of the release notes, without a word."""
    files = [file for file in (ROOT / "changes").iterdir() if file.name != "README.md"]
    assert all(file.suffix == ".md" and file.suffixes[-2].lstrip(".") in KINDS for file in files)
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(file.read_text(encoding="utf-8").split("\n")[0].strip() in done.stdout for file in files)


def test_the_changelog_is_for_users() -> None:
    """The first release is told by topic on a page; a diary of what was never released helps nobody."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "<!-- towncrier release notes start -->" in text
    assert len(text.partition("## 0.1.0")[2].partition("\n## ")[0].splitlines()) < 70
