"""Folders and files for their owner alone, written whole or not at all; their names, checksums and seals.

What an audit or a migration writes holds a server's data. A folder that is there already is its owner's choice: it
keeps its rights, and what is put into it may be read by whom the folder lets in. Names of temporary files cannot be
guessed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.local.input_files import MANIFEST, Unusable, content_of, parsed_json

#: Name of the checksum in a JSON object that has one.
_SEAL = "seal"
#: Letters of a folder's name; file systems take 255 bytes.
_LONGEST, _BEGINNING = 200, 100
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


def put(made: Path, path: Path) -> None:
    """Give a finished file its name, once its bytes are on disk."""
    _settle(made)
    os.replace(made, path)


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Give an empty file beside each path, to be written; in the end all take their places, after an error none."""
    made: list[Path] = []
    try:
        for path in paths:
            made.append(temporary(path))
        yield made
        # names are given when there is nothing left that needs room
        for one in made:
            _settle(one)
        for one, path in zip(made, paths, strict=True):
            os.replace(one, path)
    finally:
        for one in made:
            one.unlink(missing_ok=True)


def _settle(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as (made,):
        made.write_bytes(content)


def folder_name(experiment_id: str) -> str:
    """Return the folder of an experiment; ids of file stores may hold anything."""
    name = quote(experiment_id, safe="", errors="surrogatepass").replace(".", "%2E")
    if len(name) <= _LONGEST:
        return name
    # what is cut is told by a digest; no id that is short has a tilde in its folder
    digest = hashlib.sha256(experiment_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{name[:_BEGINNING]}~{digest}"


def file_sha256(path: Path) -> str:
    """Hash a file in pieces of 1 MiB."""
    with path.open("rb") as file:
        whole = hashlib.sha256()
        while piece := file.read(1 << 20):
            whole.update(piece)
    return whole.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all."""
    write(path, _text(content).encode())


def _text(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the checksum of all else in it."""
    bare = {name: value for name, value in content.items() if name != _SEAL}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    return {**bare, _SEAL: hashlib.sha256(text.encode()).hexdigest()}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a JSON object and compare it with its seal.

    Raises:
        SnapshotError: when the file is absent, truncated, altered or not an object.
    """
    raw = _raw(path)
    content = _object(path, raw)
    # byte for byte, for there is one way to write it; reading as text would take one line end for another
    if raw != _text(sealed(content)).encode():
        raise SnapshotError(f"snapshot: {path.name} is damaged: it does not match its seal; make the snapshot again")
    return content


def drop_temporary(root: Path) -> None:
    """Remove what killed processes left half written; those of a process that lives are its own."""
    drop_dead(root.rglob(".*.tmp"))


def is_temporary(path: Path) -> bool:
    """Whether a file is what a killed audit had not finished writing."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def _raw(path: Path) -> bytes:
    try:
        return content_of(path, MANIFEST)
    except Unusable as error:
        raise SnapshotError(f"snapshot: {path.name} {error}; make the snapshot again") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        SnapshotError: when the file is absent, truncated or not an object.
    """
    return _object(path, _raw(path))


def _object(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        content = parsed_json(raw)
    except Unusable as error:
        raise SnapshotError(
            f"snapshot: {path.name} is damaged or truncated (it {error}); make the snapshot again"
        ) from None
    if not isinstance(content, dict):
        raise SnapshotError(f"snapshot: {path.name} is not what this program wrote; make the snapshot again")
    return content
