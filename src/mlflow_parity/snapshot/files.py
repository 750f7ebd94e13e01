"""Files that appear whole or not at all, and their checksums."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mlflow_parity.errors import SnapshotError


def folder_name(experiment_id: str) -> str:
    """Return the folder of an experiment; ids of file stores may hold anything."""
    return quote(experiment_id, safe="").replace(".", "%2E")


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    replace(temporary, path)


def is_temporary(path: Path) -> bool:
    """Whether a file is what a killed audit had not finished writing."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        SnapshotError: when the file is absent, truncated or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SnapshotError(f"snapshot: cannot read {path.name} ({error.strerror}); make the snapshot again") from None
    except ValueError:
        raise SnapshotError(f"snapshot: {path.name} is damaged or truncated; make the snapshot again") from None
    if not isinstance(content, dict):
        raise SnapshotError(f"snapshot: {path.name} is not what this program wrote; make the snapshot again")
    return content
