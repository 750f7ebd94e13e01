"""Folders and files for their owner alone, written whole or not at all, under names that nobody can guess.

What an audit or a migration writes holds a server's data. A folder that is there already is its owner's choice: it
keeps its rights, and what is put into it may be read by whom the folder lets in.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_OWNER, _OTHERS = 0o700, 0o055


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, for its owner alone; one that is there stays as it is."""
    for one in reversed((path, *path.parents)):
        if not one.exists():
            with suppress(FileExistsError):
                one.mkdir(_OWNER)
    # where something else stands in its place
    path.mkdir(_OWNER, exist_ok=True)


def make_inside(path: Path) -> None:
    """Make a folder, and those above it that are missing, each with the rights of the one that it is in."""
    if path.is_dir():
        return
    if path.parent != path:
        make_inside(path.parent)
    with suppress(FileExistsError):
        path.mkdir(_OWNER)
        share(path)
    path.mkdir(_OWNER, exist_ok=True)


def share(path: Path) -> None:
    """Let into a new folder whoever is let into the one that it is in."""
    _let_in(path, _OWNER | (stat.S_IMODE(path.parent.stat().st_mode) & _OTHERS))


def _let_in(path: Path, mode: int) -> None:
    # some file systems know no rights
    with suppress(OSError):
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def create(path: Path) -> None:
    """Make an empty file: none may be there, not even a link.

    Raises:
        FileExistsError: one is.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(path, flags, 0o600))
    _let_in(path, 0o600 | (stat.S_IMODE(path.parent.stat().st_mode) & 0o044))


def temporary(path: Path) -> Path:
    """Make an empty file beside ``path``, to be written and put in its place; the name tells the process."""
    made = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(6)}.tmp")
    create(made)
    return made


def maker_of(path: Path) -> int | None:
    """Return the process that made a temporary file; ``None``: the name does not tell."""
    names = path.name.split(".")
    # of older versions the last
    return next((int(one) for one in names[-3:-1] if one.isascii() and one.isdecimal()), None)


def drop_dead(files: Iterable[Path]) -> None:
    """Remove temporary files whose process is not running any more."""
    for path in files:
        pid = maker_of(path)
        if pid is not None and not _lives(pid):
            path.unlink(missing_ok=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, on disk before it gets its name."""
    made = temporary(path)
    try:
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
