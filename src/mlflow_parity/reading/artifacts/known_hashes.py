"""What earlier audits have read of files, for those about which nothing tells of a change since.

A file is known by its place, and by all that a list tells of the state of it: in S3 its size, ETag and time, on a disk
its size, both times (one of which nobody can set) and inode. A proxy tells none of these: nothing behind it is known.
What was written within seconds of being read is not trusted, as the clock may not tell a later change from it.

All of it is in a file of its own, as a snapshot holds neither places nor ETags, and names of files many times. Nobody
can see whether it was forged: so of what it says some is read all the same, and the report names the rest.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from mlflow_parity.core.errors import SnapshotError, UsageProblem, no_space
from mlflow_parity.core.identity.sums import known_since
from mlflow_parity.core.local.files import drop_temporary, file_sha256, make_folder, put, read_sealed, sealed, temporary
from mlflow_parity.core.local.files import write_json as write
from mlflow_parity.core.locations import given_path
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.core.text import counted
from mlflow_parity.reading.artifacts.stated.checksums import Mark

OPTION = "--parity-known-hashes"
FOLDER = "known-hashes"
_FORMAT, _VERSION = "mlflow-parity-known-hashes", 1
_TABLE = (
    "CREATE TABLE known (place BLOB PRIMARY KEY, state BLOB NOT NULL, sha256 BLOB NOT NULL, sums TEXT NOT NULL, "
    "read REAL NOT NULL, met REAL NOT NULL) WITHOUT ROWID"
)
#: Seconds between the last change of a file and its reading, below which a later change might not be told.
SETTLED = 10.0
#: Seconds after which what no audit has met any more is forgotten, and before it is noted again that one has.
_FORGOTTEN, _NOTED = 180 * 86_400.0, 86_400.0
#: Known files that are read all the same: the first small ones of each audit and side, and one of so many others.
_FIRST, _SMALL, _EACH = 3, 1 << 20, 1_000
#: What is kept beside the SHA-256, and how long it may be.
_SUMS, _LONGEST = re.compile("read( (md5|crc64nvme|parts)=(sha1:|sha256:)?[0-9a-f-]+)*"), 1_000


class KnownHashes:
    """What earlier audits have read of the files of one side; safe to use from many threads.

    ``server`` is the address of the side: what another one keeps under the same name is another file. Nothing is known
    before :meth:`open`, and nothing is kept without :meth:`finish`: an audit that breaks off adds nothing.
    """

    def __init__(self, kept: str, side: str, server: str) -> None:
        self._folder = given_path(kept, "--parity-snapshot-dir", "pass a different folder") / FOLDER
        self._side = side
        self._server = server
        self._file, self._seal = (self._folder / f"{side}.{kind}" for kind in ("sqlite", "json"))
        self._lock = Lock()
        self._rows: sqlite3.Connection | None = None
        self._working: Path | None = None
        self._checked = 0
        self.used = 0
        """Files that were not read."""
        self.since = ""
        """The first day on which any of them was."""
        self.problem = ""
        """Why what was kept is not used; empty: it is, or there was nothing."""

    # --- the file

    def open(self) -> None:
        """Take up what earlier audits have left; what is damaged, or of another server or version, is left aside.

        Raises:
            UsageProblem: nothing can be kept in the folder.
        """
        try:
            make_folder(self._folder)
            drop_temporary(self._folder)
            self._working = temporary(self._file)
            if not self._taken_up(self._working):
                self._working.unlink()
                self._working = temporary(self._file)
                self._rows = _connected(self._working)
                self._rows.execute(_TABLE)
            assert self._rows is not None
            self._rows.execute("BEGIN")
        except (OSError, sqlite3.Error) as error:
            self.close()
            why = getattr(error, "strerror", None) or str(error)
            raise no_space(error) or UsageProblem(
                f"{OPTION}: nothing can be kept in {self._folder} ({why}); pass a different --parity-snapshot-dir"
            ) from None

    def _taken_up(self, working: Path) -> bool:
        if not self._seal.exists() and not self._file.exists():
            return False
        try:
            told = read_sealed(self._seal)
            if (told.get("format"), told.get("version")) != (_FORMAT, _VERSION):
                raise SnapshotError("they are of another version of mlflow-parity")
            if told.get("server") != self._server:
                raise SnapshotError("they are of another server")
            # the copy, not what might be put in its place meanwhile
            shutil.copyfile(self._file, working)
            if file_sha256(working) != told.get("sha256"):
                raise SnapshotError(f"{self._file.name} is damaged: it does not match its seal")
            self._rows = _connected(working)
            if self._rows.execute("SELECT type, name, sql FROM sqlite_master").fetchall() != [
                ("table", "known", _TABLE)
            ] or self._rows.execute("PRAGMA quick_check(1)").fetchall() != [("ok",)]:
                raise SnapshotError(f"{self._file.name} is damaged")
        except (SnapshotError, OSError, sqlite3.Error) as error:
            if self._rows is not None:
                self._rows.close()
                self._rows = None
            why = getattr(error, "strerror", None) or str(error)
            self.problem = why.removeprefix("snapshot: ").partition("; make the snapshot")[0]
            return False
        return True

    def finish(self) -> None:
        """Keep what this audit has read for the next one.

        Raises:
            UsageProblem: it cannot be written.
        """
        with self._lock:
            rows, working = self._rows, self._working
            if rows is None or working is None:
                return
            try:
                rows.execute("DELETE FROM known WHERE met < ?", (time.time() - _FORGOTTEN,))
                rows.execute("COMMIT")
                rows.close()
                told = {"format": _FORMAT, "version": _VERSION, "server": self._server, "sha256": file_sha256(working)}
                put(working, self._file)
                write(self._seal, sealed(told))
            except (OSError, sqlite3.Error) as error:
                raise no_space(error) or UsageProblem(
                    f"{OPTION}: what was read cannot be kept in {self._folder}: {error}; pass a different folder"
                ) from None
            finally:
                self._rows = None

    def close(self) -> None:
        """Drop what was not kept."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
                self._rows = None
            if self._working is not None:
                self._working.unlink(missing_ok=True)

    # --- what is in it

    def instead(self, mark: Mark | None, file: Artifact, evidence: Evidence) -> Artifact | None:
        """Return what is known of a file's bytes; ``None``: they are to be read."""
        if mark is None or file.size is None or evidence == "sha256":
            return None
        with self._lock:
            found = self._of(mark, file.size)
            if found is None or self._is_checked(file.size):
                return None
            sha256, sums, read = found
            day = time.strftime("%Y-%m-%d", time.gmtime(read))
            self.used += 1
            self.since = min(filter(None, (day, self.since)))
        return Artifact(file.path, file.size, sha256, sums=known_since(day, sums))

    def _of(self, mark: Mark, size: int) -> tuple[str, str, float] | None:
        place, state = self._keys(mark, size)
        row = self._asked("SELECT state, sha256, sums, read, met FROM known WHERE place = ?", place)
        now = time.time()
        match row:
            case (bytes(known), bytes(sha256), str(sums), float(read), float(met)):
                well = known == state and len(sha256) == 32 and len(sums) <= _LONGEST and 0 < read <= now
                if not well or not _SUMS.fullmatch(sums):
                    return None
            case _:
                return None
        if met < now - _NOTED:
            self._asked("UPDATE known SET met = ? WHERE place = ?", now, place)
        return sha256.hex(), sums, read

    def _is_checked(self, size: int) -> bool:
        if self._checked < _FIRST and size <= _SMALL:
            self._checked += 1
            return True
        return secrets.randbelow(_EACH) == 0

    def add(self, mark: Mark | None, size: int, sha256: str, sums: str, began: float) -> None:
        """Keep what the bytes of a file came to, whose reading ``began`` then.

        Raises:
            SnapshotError: it is another thing than is known of them, and nothing tells that they have changed.
        """
        if mark is None or mark.written > began - SETTLED or not mark.was_read():
            return
        with self._lock:
            if self._rows is None:
                return
            found = self._of(mark, size)
            if found is not None and found[0] != sha256:
                raise SnapshotError(
                    f"{OPTION}: {mark.place} has other bytes than {self._file} says of it (SHA-256 {sha256[:16]}…, not "
                    f"{found[0][:16]}…), though nothing about the file tells of a change; remove {self._folder}, and "
                    "everything is read again"
                )
            place, state = self._keys(mark, size)
            query = "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?, ?)"
            self._asked(query, place, state, bytes.fromhex(sha256), sums, began, began)

    def _asked(self, query: str, *values: object) -> tuple[object, ...] | None:
        if self._rows is None:
            return None
        try:
            found: tuple[object, ...] | None = self._rows.execute(query, values).fetchone()
        except sqlite3.Error as error:
            raise no_space(error) or SnapshotError(
                f"{OPTION}: {self._file} cannot be used: {error}; remove {self._folder}, and everything is read again"
            ) from None
        return found

    def _keys(self, mark: Mark, size: int) -> tuple[bytes, bytes]:
        return _digest(self._server, mark.place), _digest(str(size), mark.version)

    def notes(self, redact: Callable[[str], str] = str) -> list[str]:
        """Return what a report has to say of it."""
        found = []
        if self.problem:
            found.append(
                f"known hashes of the {self._side} were not used ({redact(self.problem)}): all its files were read"
            )
        if self.used:
            found.append(
                f"{counted(self.used, 'files')} of the {self._side} were not read again, as nothing tells of a change: "
                f"their SHA-256s are known of earlier audits, since {self.since} ({OPTION})"
            )
        return found


def _digest(*texts: str) -> bytes:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).digest()[:20]


def _connected(path: Path) -> sqlite3.Connection:
    """Open a file of this process's own, which is gone with it: nothing in it need survive a crash."""
    rows = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    rows.execute("PRAGMA trusted_schema = OFF")
    rows.execute("PRAGMA cell_size_check = ON")
    rows.execute("PRAGMA journal_mode = OFF")
    rows.execute("PRAGMA synchronous = OFF")
    return rows
