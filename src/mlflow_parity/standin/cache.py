"""The cache folder: things that are slow to make and the same every time, made once and under a lock."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Environment variable that moves the cache folder.
VARIABLE = "MLFLOW_PARITY_CACHE"


def cache_folder() -> Path:
    """Return the cache folder: ``$MLFLOW_PARITY_CACHE``, else ``~/.cache/mlflow-parity``."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "mlflow-parity"


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock ``name`` of this cache folder against every other process (blocks until it is free)."""
    folder = cache_folder() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        # the lock goes with the open file, so a killed process leaves none behind
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
