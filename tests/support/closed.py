"""A folder that may not be entered, also for root, to whom none is closed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest


def closed(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let nobody look at what is in a folder."""
    stat = Path.stat

    def refused(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if folder in path.parents:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
