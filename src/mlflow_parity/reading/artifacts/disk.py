"""Files of a server's own artifact root on a disk that this machine shares with it, as MLflow's clients read them.

Only a name that no request of MLflow's can carry (``%xx`` or ``#`` in it) is read here, only of a server on this very
machine, only below the root that the server itself shows, and never through a link that leads out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.records import Artifact
from mlflow_parity.kinds.conventions.copy_places import canonical, is_below

T = TypeVar("T")
_PIECE = 1 << 18


class Way(Protocol):
    """One way to read a file: hands its bytes to ``receive``, again at each try, and returns what that returns."""

    def __call__(self, receive: Callable[[Iterator[bytes]], T]) -> T:
        """Read the file.

        Raises:
            ReadError: it cannot be read this way.
        """
        ...


def on_disk(uri: str, root: str) -> Path | None:
    """Return the folder that a place is on this machine; ``None``: it is none, or not below the server's ``root``."""
    parts = urlsplit(uri)
    is_path = uri.startswith("/") or (parts.scheme == "file" and parts.netloc in ("", "localhost"))
    if not is_path or not root or not is_below(uri, {canonical(root)}):
        return None
    folder = Path(uri if uri.startswith("/") else unquote(parts.path))
    try:
        outside = Path(canonical(root)).resolve() not in folder.resolve(strict=True).parents
    except (OSError, RuntimeError):
        return None
    return None if outside else folder


def from_disk(folder: Path, file: Artifact) -> Way:
    """Return what reads a file below a folder of this machine."""

    def way(receive: Callable[[Iterator[bytes]], T]) -> T:
        place = folder / file.path
        try:
            if folder.resolve() not in place.resolve(strict=True).parents:
                raise MalformedAnswer("the file is a link that leads out of its folder")
            with os.fdopen(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as opened:
                found = os.fstat(opened.fileno())
                if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
                    raise MalformedAnswer("what is on this machine's disk is not the file that the server lists")
                return receive(iter(lambda: opened.read(_PIECE), b""))
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise MalformedAnswer(
                f"the server cannot be asked for a file of this name, and this machine's disk does not have it: {why}"
            ) from None

    return way
