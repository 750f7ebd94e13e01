"""Checksums of files in S3 that a job of S3 Batch Operations (*Compute checksum*) has computed, from its report.

Whoever gives a report may have forged it, or let it grow old, and nothing in it can show that. So it says something of
a file only while the file's ETag is the one in the report; some files of each place are read all the same, and one that
is another thing than the report says refuses it. What it holds is kept on disk: it may have 100 million lines.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from mlflow_parity.core.errors import UsageProblem, no_space
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.identity.sums import LENGTHS, WEAK
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.local.input_files import Unusable, parsed_json
from mlflow_parity.core.locations import given_path
from mlflow_parity.core.text import counted
from mlflow_parity.reading.statements.given_files import csv_rows, names, opened
from mlflow_parity.reading.statements.inventories import entries

OPTION = "--parity-checksums"
#: Columns of a report, ``Report_CSV_20180820``; the two in the middle come in either order.
COLUMNS = ("Bucket", "Key", "VersionId", "TaskStatus", "ErrorCode", "HTTPStatusCode", "ResultMessage")
_ETAG = re.compile('"?([0-9a-zA-Z-]{1,128})"?')
#: Files of each place that are read all the same, where they are not large, and one of so many others.
_FIRST, _LARGE, _EACH = 3, 64 << 20, 1_000
#: Checksums that are computed of bytes here, beside those of every file that is read.
ALSO = ("sha1", "crc32")
_CHECKED = frozenset({"sha256", "md5", *ALSO})


class _Row(NamedTuple):
    bucket: str
    keys: frozenset[str]
    """Names that it may mean: whether they are quoted, and how, depends on the list that the job was given."""
    etag: str
    kind: str
    value: bytes


class ChecksumReports:
    """What reports state of files in S3; safe to use from many threads.

    ``computed`` are the kinds of checksums that can be computed of bytes here: no other can be checked, nor counts.
    """

    def __init__(self, files: Sequence[str], folder: Path, *, with_crc64nvme: bool) -> None:
        self._files = tuple(files)
        self.digest = ""
        """Of the contents of all reports, in whatever order they were given; empty: none was."""
        self._kinds = _CHECKED | ({"crc64nvme"} if with_crc64nvme else set())
        self._path = folder / "checksums.sqlite"
        self._lock = Lock()
        self._rows: sqlite3.Connection | None = None
        self._begun: Counter[str] = Counter()
        self._shown: set[str] = set()
        """Places of which a file was read, and is what the reports state."""
        self._left: Counter[str] = Counter()
        self._read = self._lists = self._listed = 0
        self.used = 0
        """Files that were not read."""
        self.checked = 0
        """Files that were read all the same, and are what the reports say."""

    def __bool__(self) -> bool:
        return bool(self._files)

    # --- reading them

    def open(self) -> None:
        """Read all reports.

        Raises:
            UsageProblem: one of them cannot be read, is none, or contradicts itself or another.
        """
        if not self._files:
            return
        try:
            rows = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768"):
                rows.execute(f"PRAGMA {pragma}")
            rows.execute(
                "CREATE TABLE said (place BLOB, etag TEXT, kind TEXT, value BLOB, file INTEGER, "
                "PRIMARY KEY (place, etag, kind)) WITHOUT ROWID"
            )
            rows.execute(
                "CREATE TABLE listed (place BLOB, etag TEXT, size INTEGER, plain INTEGER, "
                "PRIMARY KEY (place, etag, size)) WITHOUT ROWID"
            )
            rows.execute("BEGIN")
            self._rows = rows
            paths = [given_path(file, OPTION, "give a file that this user may read") for file in self._files]
            for number, (file, path) in enumerate(zip(self._files, paths, strict=True)):
                if file.lower().endswith(".json"):
                    self._list(file, path)
                    continue
                for row in self._in(file, path):
                    self._keep(row, number)
            rows.execute("COMMIT")
            self.digest = digest(sorted(map(file_sha256, paths))).hex()
        except (OSError, sqlite3.Error) as error:
            raise no_space(error) or UsageProblem(
                f"{OPTION}: what the reports state cannot be kept in {self._path.parent}: {error}; set TMPDIR"
            ) from None

    def _in(self, file: str, path: Path) -> Iterator[_Row]:
        """Yield what a report states of whole files."""
        count = 0
        try:
            with opened(path) as content:
                for number, columns in csv_rows(content):
                    if count == 0 and tuple(column.strip() for column in columns) == COLUMNS:
                        continue
                    count += 1
                    try:
                        row = self._row(columns)
                    except Unusable as error:
                        raise Unusable(f"{error} (line {number:,})") from None
                    if row is not None:
                        yield row
            if not count:
                raise Unusable("is empty")
        except Unusable as error:
            raise _refused(file, str(error)) from None

    def _row(self, columns: Sequence[str]) -> _Row | None:
        """Return what a line states; ``None``: nothing of a whole file that counts.

        Raises:
            Unusable: it is none of such a report.
        """
        if len(columns) != len(COLUMNS):
            raise Unusable(f"has a line of {len(columns)} columns, not {len(COLUMNS)}: {', '.join(COLUMNS)}")
        bucket, key, _, status, *_, message = columns
        if not bucket or not key or status not in ("succeeded", "failed"):
            raise Unusable("has a line that is none of a report of S3 Batch Operations")
        self._read += 1
        if status != "succeeded":
            self._left["tasks that failed"] += 1
            return None
        told = parsed_json(message.encode("utf-8", "surrogatepass"))
        parts = ("etag", "checksumAlgorithm", "checksumType", "checksum_base64", "checksum_hex")
        if not isinstance(told, dict) or not all(isinstance(told.get(name), (str, type(None))) for name in parts):
            raise Unusable("has a result that is no checksum: give the report of a Compute checksum job")
        etag, kind = _ETAG.fullmatch(told.get("etag") or ""), str(told.get("checksumAlgorithm") or "").lower()
        if etag is None or kind not in LENGTHS:
            raise Unusable("has a result that is no checksum: give the report of a Compute checksum job")
        value = _value(told.get("checksum_base64"), told.get("checksum_hex"))
        if told.get("checksumType") != "FULL_OBJECT":
            self._left["checksums of parts"] += 1
            return None
        if len(value) != LENGTHS[kind]:
            raise Unusable(f"has a checksum that is no {kind.upper()}")
        if kind not in self._kinds:
            self._left[f"{kind.upper()}s, which cannot be computed here"] += 1
            return None
        return _Row(bucket, names(key), etag[1], kind, value)

    def _keep(self, row: _Row, number: int) -> None:
        assert self._rows is not None
        for key in row.keys:
            place = _place(row.bucket, key)
            added = self._rows.execute(
                "INSERT OR IGNORE INTO said VALUES (?, ?, ?, ?, ?)", (place, row.etag, row.kind, row.value, number)
            )
            if added.rowcount:
                continue
            query = "SELECT value, file FROM said WHERE place = ? AND etag = ? AND kind = ?"
            value, first = self._rows.execute(query, (place, row.etag, row.kind)).fetchone()
            if value != row.value:
                where = "" if first == number else f" and {self._files[first]}"
                raise UsageProblem(
                    f"{OPTION}: {self._files[number]}{where} states two {row.kind.upper()}s of one state of "
                    f"s3://{row.bucket}/{key[:200]}; make the report again, or leave it out"
                )

    def _list(self, file: str, path: Path) -> None:
        """Keep what an inventory states.

        Raises:
            UsageProblem: it is none, or contradicts itself or another one.
        """
        assert self._rows is not None
        self._lists += 1
        try:
            for entry in entries(path):
                self._listed += 1
                for key in entry.keys:
                    place = _place(entry.bucket, key)
                    added = self._rows.execute(
                        "INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?)",
                        (place, entry.etag, entry.size, entry.plain),
                    )
                    if not added.rowcount and self._is_plain(place, entry.etag, entry.size) != entry.plain:
                        raise Unusable(f"states two encryptions of one state of s3://{entry.bucket}/{key[:200]}")
        except Unusable as error:
            raise UsageProblem(
                f"{OPTION}: {file} {error}; give the manifest.json of an S3 Inventory beside its files"
            ) from None

    def _is_plain(self, place: bytes, etag: str, size: int) -> bool | None:
        if self._rows is None:
            return None
        query = "SELECT plain FROM listed WHERE place = ? AND etag = ? AND size = ?"
        row = self._rows.execute(query, (place, etag, size)).fetchone()
        return None if row is None else bool(row[0])

    # --- what they state

    def is_plain(self, bucket: str, key: str, etag: str, size: int) -> bool | None:
        """Whether the ETag of a file is of its bytes, as an inventory states its encryption; ``None``: none does."""
        with self._lock:
            return self._is_plain(_place(bucket, key), etag.strip('"'), size)

    def of(self, bucket: str, key: str, etag: str, *, weak: bool) -> dict[str, str]:
        """Return the checksums (hex) of a file that has an ETag now, by kind."""
        rows = self._asked("SELECT kind, value FROM said WHERE place = ? AND etag = ?", bucket, key, etag)
        return {kind: value.hex() for kind, value in rows if weak or kind not in WEAK}

    def _asked(self, query: str, bucket: str, key: str, etag: str) -> list[tuple[str, bytes]]:
        with self._lock:
            if self._rows is None:
                return []
            return list(self._rows.execute(query, (_place(bucket, key), etag.strip('"'))))

    def is_checked(self, place: str, size: int) -> bool:
        """Whether a file of a place is read although a report tells of it: some are, before any other is not."""
        with self._lock:
            few = self._begun[place] < _FIRST and size <= _LARGE
            if few or place not in self._shown or secrets.randbelow(_EACH) == 0:
                self._begun[place] += 1
                return True
            self.used += 1
            return False

    def check(self, name: str, reported: Mapping[str, str], found: Mapping[str, str], place: str = "") -> None:
        """Compare what reports state of a file with what its bytes come to, or S3 itself states.

        Raises:
            UsageProblem: they contradict each other.
        """
        wrong = next((kind for kind in reported if kind in found and reported[kind] != found[kind]), None)
        if wrong is not None:
            raise UsageProblem(
                f"{OPTION}: {name} is not what the reports state: its {wrong.upper()} is {found[wrong][:16]}…, not "
                f"{reported[wrong][:16]}…, and its ETag is the same; leave out {' and '.join(self._files)}"
            )
        if place:
            with self._lock:
                self.checked += 1
                self._shown.add(place)

    def notes(self) -> list[str]:
        """Return what a report of the audit has to say of it."""
        found = []
        if reports := len(self._files) - self._lists:
            left = [f"{what}: {count:,}" for what, count in sorted(self._left.items())]
            found.append(
                f"{OPTION}: {counted(self._read, 'lines')} of {counted(reports, 'reports')}; "
                f"{counted(self.used, 'files')} were not read for them, {self.checked:,} were, and are what they state"
                + (f"; without use: {', '.join(left)}" if left else "")
            )
        if self._lists:
            found.append(f"{OPTION}: S3 Inventory states how {counted(self._listed, 'files')} are encrypted")
        return found

    def close(self) -> None:
        """Drop what was kept."""
        with self._lock:
            if self._rows is not None:
                self._rows.close()
                self._rows = None
            self._path.unlink(missing_ok=True)


def _refused(file: str, why: str) -> UsageProblem:
    return UsageProblem(f"{OPTION}: {file} {why}; give the CSV of a Compute checksum job's completion report")


def _place(bucket: str, key: str) -> bytes:
    return hashlib.sha256(f"{bucket}\0{key}".encode("utf-8", "surrogatepass")).digest()[:16]


def _value(text: str | None, hexadecimal: str | None) -> bytes:
    """Return a checksum that is written in one way or both.

    Raises:
        Unusable: it is not, or the two are not the same.
    """
    try:
        found = [base64.b64decode(text, validate=True)] if text else []
        found += [bytes.fromhex(hexadecimal)] if hexadecimal else []
    except (binascii.Error, ValueError):
        found = []
    if not found or found[0] != found[-1]:
        raise Unusable("has a checksum that is none, or two that are not the same")
    return found[0]
