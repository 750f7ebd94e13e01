"""The journal of a migration: which source object became which target object, and how far it came.

One SQLite file in the work folder. It is written before and after each step on the target, so that a migration that
was killed goes on where it stopped, and never creates duplicates.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal, get_args

from mlflow_parity.core.errors import NoSpace, ParityError, UsageProblem, may_be_done
from mlflow_parity.core.local.files import create, make_inside

#: ``begun``: may be on the target, in part; ``done``: whole; ``failed``: to be tried again; ``unmovable``: MLflow's
#: API cannot write it.
State = Literal["begun", "done", "failed", "unmovable"]
#: Entries that are in memory at once.
_CHUNK = 1_000
#: Where a target object comes from: this migration ``made`` it, or it was there before and was ``adopted``; empty: not
#: known yet.
Origin = Literal["", "made", "adopted"]
_FORMAT = 2
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, source_id TEXT NOT NULL, target_id TEXT, state TEXT NOT NULL,
    place TEXT NOT NULL, name TEXT NOT NULL, reason TEXT, digest TEXT, changed REAL NOT NULL,
    origin TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (kind, source_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS targets ON objects (kind, target_id);
CREATE INDEX IF NOT EXISTS places ON objects (place);
CREATE TABLE IF NOT EXISTS doubts (
    kind TEXT NOT NULL, source_id TEXT NOT NULL, PRIMARY KEY (kind, source_id)
) WITHOUT ROWID;
"""
#: Format 1 did not say what was found by its name: of these kinds nothing counts as ours any more. Copies of the others
#: are made, or carry a source tag.
_FOUND_BY_NAME = (
    "experiment", "registered_model", "prompt", "prompt_version", "evaluation_dataset", "webhook", "scorer"
)  # fmt: skip


_CHANGE = "UPDATE objects SET"


def _change(what: str) -> str:
    return f"{_CHANGE} {what}, changed = :now WHERE kind = :kind AND source_id = :id"


#: All that can be noted of an object, each as a statement.
NOTES = {
    "begin": (
        "INSERT INTO objects VALUES (:kind, :id, NULL, 'begun', :place, :name, NULL, NULL, :now, '') "
        "ON CONFLICT (kind, source_id) DO UPDATE SET state = 'begun', reason = NULL, place = excluded.place, "
        "name = excluded.name, changed = excluded.changed"
    ),
    "making": _change("origin = 'made'"),
    "not-made": _change("origin = ''"),
    "doubt": "INSERT OR IGNORE INTO doubts VALUES (:kind, :id)",
    "created": _change("origin = CASE origin WHEN '' THEN 'made' ELSE origin END, target_id = :value"),
    "found": _change(
        "origin = CASE WHEN target_id = :value THEN origin WHEN target_id IS NULL AND origin = 'made' THEN 'made' "
        "ELSE 'adopted' END, target_id = :value"
    ),
    "adopted": _change("origin = 'adopted', target_id = :value"),
    "done": _change("state = 'done', reason = NULL, digest = :value"),
    "digested": _change("digest = :value"),
    "failed": _change("state = 'failed', reason = :value"),
    "unmovable": _change("state = 'unmovable', reason = :value"),
    "again": _change("state = 'begun', reason = NULL, digest = NULL"),
    "forget": "DELETE FROM objects WHERE kind = :kind AND source_id = :id",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One object: ``place`` is the source id of its experiment (empty at server level), ``changed`` in seconds."""

    kind: str
    source_id: str
    target_id: str | None
    state: State
    place: str
    name: str
    reason: str | None
    digest: str | None
    changed: float
    origin: Origin

    @property
    def ours(self) -> bool:
        """Whether this migration made the target's object: only then may it be deleted, or lose what it has."""
        return self.origin == "made"


class Journal:
    """The journal in ``path``; safe to use from many threads, and after a kill at any moment."""

    def __init__(self, path: Path) -> None:
        if path.exists() and not path.is_file():
            # a pipe would be waited for
            raise UsageProblem(f"{path} is no file, and so no journal; move it away, or pass a different --work-dir")
        make_inside(path.parent)
        with suppress(FileExistsError):
            create(path)
        self._lock = threading.Lock()
        try:
            # autocommit: each note is on disk before the next request is sent
            self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = NORMAL")
            self._file.executescript(_SCHEMA)
            self._upgrade()
            self._check()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # sqlite quotes damaged bytes in its messages
            if (opened := getattr(self, "_file", None)) is not None:
                opened.close()
            with suppress(sqlite3.DatabaseError, UnicodeDecodeError), _on_disk():
                raise
            raise UsageProblem(
                f"{path} is no journal of a migration ({' '.join(str(error).split())}); move it away, or give "
                "another --work-dir"
            ) from None

    def _check(self) -> None:
        """Look at all of it once: a damaged page would show only when the migration comes to it.

        Raises:
            sqlite3.DatabaseError: it is damaged.
        """
        [(said,)] = self._file.execute("PRAGMA quick_check(1)").fetchall()
        if said != "ok":
            raise sqlite3.DatabaseError(f"it is damaged: {' '.join(str(said).split())[:200]}")
        # its head may say that it is not to be written
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute("INSERT OR REPLACE INTO about VALUES ('checked', '')")
        self._file.execute("ROLLBACK")
        for row in self._file.execute("SELECT * FROM objects"):
            entry = Entry(*row)
            texts = (entry.kind, entry.source_id, entry.place, entry.name)
            rest = (entry.target_id, entry.reason, entry.digest)
            if (
                entry.state not in get_args(State)
                or entry.origin not in get_args(Origin)
                or not all(isinstance(text, str) for text in texts)
                or not all(text is None or isinstance(text, str) for text in rest)
            ):
                raise sqlite3.DatabaseError("it is damaged: an entry makes no sense")

    def _upgrade(self) -> None:
        """Bring the journal of an earlier version to this format."""
        if any(column[1] == "origin" for column in self._file.execute("PRAGMA table_info(objects)")):
            return
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute("ALTER TABLE objects ADD COLUMN origin TEXT NOT NULL DEFAULT ''")
        self._file.execute("UPDATE objects SET origin = 'made' WHERE target_id IS NOT NULL")
        self._file.executemany(
            "UPDATE objects SET origin = 'adopted' WHERE target_id IS NOT NULL AND kind = ?",
            [(kind,) for kind in _FOUND_BY_NAME],
        )
        self._file.execute("UPDATE about SET value = ? WHERE key = 'format' AND value = '1'", (str(_FORMAT),))
        self._file.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def bind(self, **about: str) -> None:
        """Say whose journal this is (``source``, ``target``); another one's is refused.

        Raises:
            UsageProblem: the journal belongs to a migration between other servers.
        """
        about["format"] = str(_FORMAT)
        with self._lock:
            known = dict(self._file.execute("SELECT key, value FROM about"))
            for key, value in about.items():
                if known.setdefault(key, value) != value:
                    raise UsageProblem(
                        f"the work folder's journal is of another migration: its {key} is {known[key]}, not {value}; "
                        "pass a different --work-dir"
                    )
            with _on_disk():
                self._file.executemany("INSERT OR IGNORE INTO about VALUES (?, ?)", list(about.items()))

    def about(self, key: str) -> str | None:
        """Return what :meth:`bind` or :meth:`keep` was told."""
        with self._lock:
            row = self._file.execute("SELECT value FROM about WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def keep(self, key: str, value: str) -> None:
        """Note what the next attempt has to know of the migration as a whole, in place of what was noted of it."""
        with self._lock, _on_disk():
            self._file.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (key, value))

    # --- what happened

    def begin(self, kind: str, source_id: str, *, place: str = "", name: str = "") -> None:
        """Note that an object is about to be made, or gone on with; its target id stays."""
        self.note("begin", kind, source_id, place=place, name=name)

    @contextmanager
    def making(self, kind: str, source_id: str) -> Iterator[None]:
        """Note that it is not on the target and a request is about to make it: what is found after a kill is ours.

        A refusal says nothing of an earlier request whose end is not known: that may have made what is in the way now.
        """
        earlier = self.ours(kind, source_id)
        self.note("making", kind, source_id)
        try:
            yield
        except ParityError as error:
            if not may_be_done(error) and not earlier:
                self.note("not-made", kind, source_id)
            raise

    def doubt(self, kind: str, source_id: str) -> None:
        """Note that a request to make it ended without an answer of the server: a second one may come to be, late."""
        self.note("doubt", kind, source_id)

    def created(self, kind: str, source_id: str, target_id: str) -> None:
        """Note what it became on the target, right after it was made, or found by what only we write.

        What was adopted stays adopted.
        """
        self.note("created", kind, source_id, target_id)

    def found(self, kind: str, source_id: str, target_id: str) -> None:
        """Note a target object of its name: ours, if the journal knows it or it was about to be made, else adopted."""
        self.note("found", kind, source_id, target_id)

    def adopted(self, kind: str, source_id: str, target_id: str) -> None:
        """Note a target object that somebody else made."""
        self.note("adopted", kind, source_id, target_id)

    def done(self, kind: str, source_id: str, digest: str | None = None) -> None:
        """Note that it is whole; ``digest`` of the source object tells a later run whether it changed since."""
        self.note("done", kind, source_id, digest)

    def digested(self, kind: str, source_id: str, digest: str) -> None:
        """Note which state of the source object was written, whatever else is to be said of it."""
        self.note("digested", kind, source_id, digest)

    def failed(self, kind: str, source_id: str, reason: str) -> None:
        """Note why it could not be moved this time."""
        self.note("failed", kind, source_id, reason)

    def unmovable(self, kind: str, source_id: str, reason: str) -> None:
        """Note that MLflow's API cannot write it."""
        self.note("unmovable", kind, source_id, reason)

    def again(self, kind: str, source_id: str) -> None:
        """Say that an object is to be gone on with, as if it had not been done; its target id stays."""
        self.note("again", kind, source_id)

    def forget(self, kind: str, source_id: str) -> None:
        """Drop an object, so that it is moved again."""
        self.note("forget", kind, source_id)

    def note(
        self, what: str, kind: str, source_id: str, value: str | None = None, *, place: str = "", name: str = ""
    ) -> None:
        """Write one of :data:`NOTES` of an object; ``value`` is what it says beside.

        Raises:
            KeyError: it changes an object that was not begun.
            NoSpace: the disk takes nothing any more.
        """
        values = {"kind": kind, "id": source_id, "value": value, "place": place, "name": name, "now": time.time()}
        with self._lock, _on_disk(), closing(self._file.execute(NOTES[what], values)) as cursor:
            if cursor.rowcount != 1 and NOTES[what].startswith(_CHANGE):
                raise KeyError(f"{kind} {source_id} was not begun")

    def take_in(self, entries: Iterable[Entry], doubts: Iterable[tuple[str, str]]) -> None:
        """Take in what another journal says; it stands for what is known of the same objects here."""
        with self._lock, _on_disk():
            self._file.execute("BEGIN IMMEDIATE")
            self._file.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(astuple, entries)
            )
            self._file.executemany("INSERT OR IGNORE INTO doubts VALUES (?, ?)", doubts)
            self._file.execute("COMMIT")

    # --- what is known

    def entry(self, kind: str, source_id: str) -> Entry | None:
        """Return an object's entry."""
        with self._lock:
            row = self._file.execute(
                "SELECT * FROM objects WHERE kind = ? AND source_id = ?", (kind, source_id)
            ).fetchone()
        return None if row is None else Entry(*row)

    def target(self, kind: str, source_id: str) -> str | None:
        """Return the target id of a source object, where it is known."""
        entry = self.entry(kind, source_id)
        return None if entry is None else entry.target_id

    def of_target(self, kind: str, target_id: str) -> Entry | None:
        """Return the entry of a target object; there may be none."""
        with self._lock:
            row = self._file.execute(
                "SELECT * FROM objects WHERE kind = ? AND target_id = ?", (kind, target_id)
            ).fetchone()
        return None if row is None else Entry(*row)

    def ours(self, kind: str, source_id: str) -> bool:
        """Whether this migration made the copy of a source object."""
        entry = self.entry(kind, source_id)
        return entry is not None and entry.ours

    def in_doubt(self, kind: str, source_id: str) -> bool:
        """Whether a second copy of a source object may be ours, by :meth:`doubt`."""
        query = "SELECT 1 FROM doubts WHERE kind = ? AND source_id = ?"
        with self._lock:
            return self._file.execute(query, (kind, source_id)).fetchone() is not None

    def state(self, kind: str, source_id: str) -> State | None:
        """Return how far an object came; ``None``: not begun."""
        entry = self.entry(kind, source_id)
        return None if entry is None else entry.state

    def ids(self, kind: str) -> dict[str, str]:
        """Return source id → target id of every object of a kind that is on the target, whole or in part."""
        with self._lock:
            rows = self._file.execute(
                "SELECT source_id, target_id FROM objects WHERE kind = ? AND target_id IS NOT NULL", (kind,)
            ).fetchall()
        return dict(rows)

    def some(self, kind: str, source_ids: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of some objects of a kind by their ids; of what is not known, none."""
        with self._lock:
            rows = self._file.execute(
                "SELECT * FROM objects WHERE kind = ? AND source_id IN (SELECT value FROM json_each(?))",
                (kind, json.dumps(list(source_ids))),
            ).fetchall()
        return {entry.source_id: entry for entry in (Entry(*row) for row in rows)}

    def entries(
        self, *, kind: str | None = None, state: State | None = None, place: str | None = None
    ) -> Iterator[Entry]:
        """Yield entries, all or those of a kind, in a state and of an experiment, in order of kind and id.

        They are read piece by piece, and may be changed meanwhile.
        """
        after = kind or "", ""
        where = "(kind, source_id) > (?, ?)"
        values = [(name, value) for name, value in (("kind", kind), ("state", state), ("place", place)) if value]
        where += "".join(f" AND {name} = ?" for name, _ in values)
        while True:
            with self._lock:
                rows = self._file.execute(
                    f"SELECT * FROM objects WHERE {where} ORDER BY kind, source_id LIMIT {_CHUNK}",  # noqa: S608 - our own text
                    (*after, *(value for _, value in values)),
                ).fetchall()
            for row in rows:
                yield Entry(*row)
            if len(rows) < _CHUNK:
                return
            after = rows[-1][:2]

    def doubts(self) -> list[tuple[str, str]]:
        """Return kind and source id of every object of which :meth:`doubt` was told."""
        with self._lock:
            return [(kind, one) for kind, one in self._file.execute("SELECT kind, source_id FROM doubts").fetchall()]

    def counts(self) -> dict[tuple[str, State], int]:
        """Return how many objects there are by kind and state."""
        with self._lock:
            rows = self._file.execute("SELECT kind, state, count(*) FROM objects GROUP BY kind, state").fetchall()
        return {(kind, state): count for kind, state, count in rows}


@contextmanager
def _on_disk() -> Iterator[None]:
    """Tell a disk that takes nothing any more from a defect."""
    try:
        yield
    except sqlite3.OperationalError as error:
        # SQLITE_FULL, and SQLITE_IOERR in all its forms
        if not any(words in str(error) for words in ("disk is full", "disk I/O error")):
            raise
        raise NoSpace(
            f"the journal of the migration cannot be written: no space left on the disk, or it fails ({error}); make "
            "room and run the same command again"
        ) from None
