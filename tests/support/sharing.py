"""What a test session makes once, for all of its pytest-xdist workers: a folder, and a lock for each thing in it."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "PARITY_TESTS_SHARED"
_MEMORY = Path("/dev/shm")
#: Bytes that must be free there.
_ENOUGH = 1 << 30


def lead() -> tuple[Path, int]:
    """Return the session's folder and the process that leads it; it is this process when nobody leads yet.

    To be called before workers start. The folder goes when the leader ends. It lies in memory where there is enough,
    and from now on it is where temporary files go, of this process and of all that it starts: databases and snapshots
    wait for a disk at each commit. pytest's own folders stay where they were, to be looked at afterwards. Compiled
    Python is kept.
    """
    if _VARIABLE not in os.environ:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        roomy = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH
        # short, because the addresses of Unix sockets are
        folder = tempfile.mkdtemp(prefix="parity-", dir=_MEMORY if roomy else None)
        # a database server runs as another user
        os.chmod(folder, 0o711)
        os.environ[_VARIABLE] = f"{os.getpid()}:{folder}"
        os.environ["TMPDIR"], tempfile.tempdir = folder, None
        # containers like to forbid it, and hundreds of processes would each compile all that they import
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        sys.dont_write_bytecode = False
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
