"""The work folder of a migration: one process at a time, and how far the latest one came."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.local.files import drop_dead, make_folder, write
from mlflow_parity.core.local.input_files import NOTE, Unusable, content_of, json_of

_MARKER = "mlflow-parity-migration.json"
#: Locked while a migration works in the folder; it holds the folder's id.
_LOCK = ".lock"


@dataclass(slots=True)
class Progressed:
    """How far a migration came, kept in the work folder.

    ``exported`` says that the export is whole; ``batches`` are the ids of source experiments whose batch is on the
    target (only with ``--discard-export``, where their files are gone); ``target`` is the one they went to. ``backup``:
    what is there was made by ``export``, to be kept, and not on the way of a ``run``. ``scope`` tells by which options:
    what was done for others says nothing of these.
    """

    exported: bool = False
    batches: list[str] = field(default_factory=list)
    target: str = ""
    backup: bool = False
    scope: str = ""

    def of(self, target: str, scope: str) -> Progressed:
        """Return how far a migration to this target, with this scope, came."""
        if (self.target, self.scope) == (target, scope):
            return self
        return Progressed(target=target, scope=scope, backup=self.backup)


def noted(root: Path) -> Progressed:
    """Return how far the migration in a folder came, which is not locked for it; a folder that is none came nowhere.

    Raises:
        UsageProblem: the note is damaged.
    """
    return _load(root / _MARKER) if (root / _MARKER).exists() else Progressed()


def identity_of(root: Path) -> str:
    """Return the id of a work folder, by which a migration knows its own mark on a target; empty: it has none yet."""
    try:
        return content_of(root / _LOCK, NOTE).decode("ascii")
    except (Unusable, ValueError):
        return ""


def _load(file: Path) -> Progressed:
    try:
        found: dict[str, Any] = json_of(file, NOTE)
        # an older note does not tell: no run has come as far as the target
        found.setdefault("backup", not found["target"])
        progressed = Progressed(**found)
        # untrusted: anybody may have edited it
        kinds = {name: type(value) for name, value in asdict(Progressed()).items()}
        if {name: type(value) for name, value in asdict(progressed).items()} != kinds or not all(
            isinstance(one, str) for one in progressed.batches
        ):
            raise TypeError("a value of another type")
        return progressed
    except (Unusable, TypeError, KeyError, AttributeError):
        raise UsageProblem(f"--work-dir: {file.name} is damaged; pass a different folder, or remove it") from None


class WorkDir:
    """The folder, locked for as long as the object is open."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._file = root / _MARKER
        try:
            make_folder(root)
            foreign = [item.name for item in root.iterdir() if item.name != _LOCK] if not self._file.exists() else []
            if foreign:
                raise UsageProblem(
                    f"--work-dir: {root} holds other files and no migration ({foreign[0]}); give an empty folder"
                )
            self._lock = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"--work-dir: cannot write to {root} ({error.strerror})"
            raise UsageProblem(f"{what}; pass a different folder") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise UsageProblem(f"--work-dir: another migration works in {root}; wait for its end") from None
        drop_dead(root.glob(".*.tmp"))
        if not identity_of(root):
            os.write(self._lock, secrets.token_hex(16).encode())
        self.identity = identity_of(root)
        if not self._file.exists():
            self.save(Progressed())

    def load(self) -> Progressed:
        """Return how far it came.

        Raises:
            UsageProblem: the note is damaged.
        """
        return _load(self._file)

    def save(self, progressed: Progressed) -> None:
        """Note how far it came; a kill leaves the old note or the new one."""
        write(self._file, json.dumps(asdict(progressed)).encode())

    def close(self) -> None:
        """Let others in."""
        os.close(self._lock)
