"""What a test session makes once, for all of its pytest-xdist workers: a folder, and a lock for each thing in it."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "PARITY_TESTS_SHARED"


def lead() -> tuple[Path, int]:
    """Return the session's folder and the process that leads it; it is this process when nobody leads yet.

    To be called before workers start. The folder goes when the leader ends.
    """
    if _VARIABLE not in os.environ:
        # short, because the addresses of Unix sockets are
        folder = tempfile.mkdtemp(prefix="parity-")
        os.environ[_VARIABLE] = f"{os.getpid()}:{folder}"
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    leader, _, folder = os.environ[_VARIABLE].partition(":")
    return Path(folder), int(leader)


@contextmanager
def made_once(name: str) -> Iterator[tuple[Path, bool]]:
    """Hold the lock of a thing and give its place: ``(place, whether it is there already)``.

    It is there when a ``with`` block before ended without an exception.
    """
    folder, _ = lead()
    place, done = folder / name, folder / f"{name}.done"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place, done.exists()
        done.touch()
