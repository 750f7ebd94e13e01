"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.input_files import MANIFEST, Unusable, content_of, parsed_json
from mlflow_parity.core.private_files import drop_dead, write

#: Name of the checksum in a JSON object that has one.
_SEAL = "seal"
#: Letters of a folder's name; file systems take 255 bytes.
_LONGEST, _BEGINNING = 200, 100


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


def replace(temporary: Path, final: Path) -> None:
    """Put a finished file in place, on disk before it gets its name."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, final)


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
