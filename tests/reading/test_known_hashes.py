"""What is kept of files that were read: what it stands for, and what is made of one that was tampered with."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.opened import opened
from support.proxy import Proxy, proxying
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.identity.sums import sums_of
from mlflow_parity.core.local.files import file_sha256, read_json, sealed, write_json
from mlflow_parity.core.records import Artifact, Run
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts import known_hashes
from mlflow_parity.reading.artifacts.known_hashes import FOLDER, KnownHashes
from mlflow_parity.reading.artifacts.own_way import DiskStore, OwnWay
from mlflow_parity.reading.artifacts.stated.checksums import Mark

SHA, OTHER = "1" * 64, "2" * 64
SUMS = f"read md5={'a' * 32} parts={'b' * 32}-3 crc64nvme={'c' * 16}"
FILE = Artifact("a.bin", 3)


def mark(
    place: str = "s3://bucket/a.bin", version: str = '"etag" 1.0', written: float = 1.0, read: bool = True
) -> Mark:
    """The state of a place."""
    return Mark(place, version, written, lambda: read)


def opened_in(folder: Path, side: str = "source", server: str = "http://one") -> KnownHashes:
    """What was kept there, each of it used."""
    known = KnownHashes(str(folder), side, server)
    known.open()
    known._checked = known_hashes._FIRST
    return known


def told(known: KnownHashes, one: Mark | None = None, file: Artifact = FILE, evidence: Evidence = "stores") -> str:
    """The SHA-256 that is known of a file; empty: none is."""
    found = known.instead(one or mark(), file, evidence)
    return "" if found is None else found.sha256 or ""


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a finished audit has left one file of the source."""
    monkeypatch.setattr(known_hashes, "_EACH", 1 << 60)
    known = opened_in(tmp_path)
    known.add(mark(), 3, SHA, SUMS, time.time())
    known.finish()
    known.close()
    return tmp_path


def test_what_is_kept_is_known_the_next_time(kept: Path) -> None:
    """With all its checksums, so that it meets what a store states of the other side's."""
    known = opened_in(kept)
    found = known.instead(mark(), FILE, "stores")
    assert found is not None
    sums = sums_of(found)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert (found.sha256, found.size, sums.read, sums.since) == (SHA, 3, False, day)
    assert sums.whole == {"sha256": SHA, "md5": "a" * 32, "crc64nvme": "c" * 16}
    assert f"{'b' * 32}-3" in sums.parts
    [line] = known.notes()
    assert line.startswith("1 file of the source")
    assert f"since {day}" in line
    known.close()


def test_another_state_or_place_or_server_is_not_known(kept: Path) -> None:
    """Each alone makes it another file: ETag, time and size, the name, the side, and whose it is."""
    known = opened_in(kept)
    assert told(known) == SHA
    assert told(known, mark(version='"other" 1.0')) == ""
    assert told(known, mark(version='"etag" 2.0')) == ""
    assert told(known, mark(place="s3://bucket/b.bin")) == ""
    assert told(known, file=Artifact("a.bin", 4)) == ""
    assert told(known, file=Artifact("a.bin", None)) == ""
    assert told(known, evidence="sha256") == ""
    assert known.instead(None, FILE, "stores") is None
    known.close()
    assert told(opened_in(kept, "target")) == ""
    other = opened_in(kept, server="http://another")
    assert told(other) == ""
    [line] = other.notes()
    assert "they are of another server" in line
    assert "all its files were read" in line


def test_what_was_just_written_or_has_moved_on_is_not_kept(tmp_path: Path) -> None:
    """A clock does not tell a change within its own resolution; a time in the future tells nothing."""
    known = opened_in(tmp_path)
    now = time.time()
    for one in (mark(written=now - 1), mark(written=now + 1_000), mark(read=False)):
        known.add(one, 3, SHA, SUMS, now)
    known.add(None, 3, SHA, SUMS, now)
    known.finish()
    known = opened_in(tmp_path)
    assert told(known) == ""
    assert known.notes() == []
    known.close()


def test_an_audit_that_breaks_off_keeps_nothing(kept: Path) -> None:
    """What is not finished is not known, and what was is still."""
    known = opened_in(kept)
    known.add(mark("s3://bucket/new.bin"), 3, SHA, SUMS, time.time())
    assert told(known, mark("s3://bucket/new.bin")) == SHA
    known.close()
    assert sorted(one.name for one in (kept / FOLDER).iterdir()) == ["source.json", "source.sqlite"]
    again = opened_in(kept)
    assert told(again, mark("s3://bucket/new.bin")) == ""
    assert told(again) == SHA
    again.close()


_HOW = (
    "cut|a bit|empty|no database, sealed|cut, sealed|no seal|no data|seal cut|seal is a list|another version|"
    "another format|another table|a view|a trigger"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The two files of it, to be tampered with."""

    data: Path
    seal: Path

    def seal_again(self, **more: object) -> None:
        """Make the seal that of what is there now, with something else in it."""
        write_json(self.seal, sealed({**read_json(self.seal), "sha256": file_sha256(self.data), **more}))

    def alter(self, *queries: str) -> None:
        """Change the database, and make the seal fit."""
        rows = sqlite3.connect(self.data, isolation_level=None)
        for query in queries:
            rows.execute(query)
        rows.close()
        self.seal_again()

    def spoil(self, how: str) -> None:
        """Do one thing to it."""
        raw = self.data.read_bytes()
        if how == "cut":
            self.data.write_bytes(raw[:-100])
        elif how == "a bit":
            self.data.write_bytes(raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:])
        elif how == "empty":
            self.data.write_bytes(b"")
        elif how == "no database, sealed":
            self.data.write_bytes(b"no database at all" * 1_000)
            self.seal_again()
        elif how == "cut, sealed":
            self.data.write_bytes(raw[:4096] + b"\xff" * 4096)
            self.seal_again()
        elif how == "no seal":
            self.seal.unlink()
        elif how == "no data":
            self.data.unlink()
        elif how == "seal cut":
            self.seal.write_bytes(self.seal.read_bytes()[:-20])
        elif how == "seal is a list":
            self.seal.write_text("[]")
        elif how == "another version":
            self.seal_again(version=2)
        elif how == "another format":
            self.seal_again(format="mlflow-parity-snapshot")
        elif how == "another table":
            self.alter("ALTER TABLE known ADD COLUMN more TEXT")
        elif how == "a view":
            self.alter("ALTER TABLE known RENAME TO old", "CREATE VIEW known AS SELECT * FROM old")
        elif how == "a trigger":
            self.alter("CREATE TRIGGER t AFTER UPDATE ON known BEGIN DELETE FROM known; END")


@pytest.mark.parametrize("how", _HOW.split("|"))
def test_what_is_damaged_or_foreign_is_left_aside_and_said(kept: Path, how: str) -> None:
    """All is read then, the report says why, and the next audit has a whole one again."""
    files = Kept(kept / FOLDER / "source.sqlite", kept / FOLDER / "source.json")
    files.spoil(how)
    known = opened_in(kept)
    assert told(known) == ""
    [line] = known.notes()
    assert line.startswith("known hashes of the source were not used (")
    assert "\n" not in line
    known.add(mark(), 3, SHA, SUMS, time.time())
    known.finish()
    known.close()
    again = opened_in(kept)
    assert (told(again), again.problem) == (SHA, "")
    again.close()


@pytest.mark.parametrize(
    "values",
    [
        "sha256 = x'11'",
        f"sha256 = '{SHA}'",
        "sums = x'00'",
        "sums = 'stated md5=1'",
        "sums = ''",
        "sums = 'read ' || hex(zeroblob(4000))",
        "read = 'then'",
        "read = 9e18",
        "read = -1",
        "read = 1e999",
        "met = 'now'",
        "state = 'text'",
    ],
)
def test_a_row_that_makes_no_sense_is_not_known(kept: Path, values: str) -> None:
    """Sealed by whoever altered it: it is looked at as if it lied, and the file is read."""
    Kept(kept / FOLDER / "source.sqlite", kept / FOLDER / "source.json").alter(f"UPDATE known SET {values}")
    known = opened_in(kept)
    assert told(known) == ""
    # and takes another's place, which is no contradiction
    known.add(mark(), 3, OTHER, SUMS, time.time())
    assert told(known) == OTHER
    known.close()


def test_what_is_contradicted_by_bytes_ends_the_audit_in_one_line(kept: Path) -> None:
    """A forged hash is told by the files that are read all the same, and by a change of one that nothing tells of."""
    known = opened_in(kept)
    with pytest.raises(UsageProblem, match="has other bytes than") as raised:
        known.add(mark(), 3, OTHER, SUMS, time.time())
    assert "\n" not in str(raised.value)
    known.close()


def test_some_that_are_known_are_read_all_the_same(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first small ones, and by chance one of many: who forges cannot know which."""
    known = KnownHashes(str(kept), "source", "http://one")
    known.open()
    assert [bool(told(known)) for _ in range(5)] == [False, False, False, True, True]
    monkeypatch.setattr(known_hashes, "_EACH", 1)
    assert told(known) == ""
    known.close()


def test_a_folder_in_which_nothing_can_be_kept_is_one_line(tmp_path: Path) -> None:
    """Before anything is read."""
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(UsageProblem, match="nothing can be kept in") as raised:
        opened_in(tmp_path)
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageProblem, match=r"^--parity-snapshot-dir: '~nosuchuser/x' cannot be used \(.+\); .+$"):
        opened_in(Path("~nosuchuser/x"))


def test_what_no_audit_meets_any_more_is_forgotten(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place whose files are removed and made again for years would make it grow without end."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + known_hashes._FORGOTTEN + 10)
    known = opened_in(kept)
    known.finish()
    known = opened_in(kept)
    assert told(known) == ""
    known.close()


# --- a disk


@dataclass(frozen=True, slots=True)
class World:
    """A server behind a proxy, runs with files, and where it keeps them; what was kept of them."""

    proxy: Proxy
    runs: list[Run]
    root: Path
    folder: Path

    def read(self, place: Path | None = None, evidence: Evidence = "stores") -> tuple[list[str], int]:
        """Read all files; return what is known of each (``read`` or the day) and how many were known."""
        known = opened_in(self.folder, server=self.proxy.uri)
        way = OwnWay(str(place or self.root), "--parity-source-artifacts")
        reader = opened(self.proxy.uri, own_way=way, known=known)
        reader.evidence = evidence
        trees = list(reader.artifacts(self.runs, "digest"))
        known.finish()
        known.close()
        reader.close()
        assert not [tree.error for tree in trees if tree.error]
        return [file.sums.split()[0] for tree in trees for file in tree.files], known.used


@pytest.fixture
def world(module_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Five runs with a file each."""
    monkeypatch.setattr(known_hashes, "_EACH", 1 << 60)
    monkeypatch.setattr(known_hashes, "SETTLED", 0.0)
    server = module_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment(tmp_path.name)
    root = tmp_path / "root"
    for number in range(5):
        run = seed.run(experiment, f"run {number}")
        for base in (Path(server.artifacts_root), root):
            folder = base / experiment / run / "artifacts"
            folder.mkdir(parents=True)
            (folder / "a.txt").write_text(f"file {number}")
        seed.end(run)
    with proxying(server.uri) as proxy:
        reader = opened(proxy.uri)
        runs = [run for page in reader.runs(experiment) for run in page]
        yield World(proxy, runs, root, tmp_path / "kept")
        reader.close()


def test_a_disk_is_known_by_its_times_and_inodes(world: World) -> None:
    """What is written, replaced or set back is read; the rest is not."""
    assert world.read() == (["read"] * 5, 0)
    assert world.read()[1] == 5
    one, two, three = sorted(world.root.rglob("a.txt"))[:3]
    for file in (one, two, three):
        before = file.stat()
        if file == one:
            file.write_bytes(file.read_bytes())
        elif file == two:
            shutil.copy2(file, file.with_suffix(".new"))
            file.with_suffix(".new").replace(file)
        # the time of a change that nobody can set tells of it
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_mtime_ns == before.st_mtime_ns
    kinds, used = world.read()
    assert (kinds.count("read"), used) == (3, 2)
    assert world.read()[1] == 5
    assert world.read(evidence="sha256") == (["read"] * 5, 0)


def test_a_file_that_is_too_young_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have changed after it was read, in the same tick of its disk's clock."""
    monkeypatch.setattr(known_hashes, "SETTLED", 10.0)
    world.read()
    assert world.read() == (["read"] * 5, 0)


def test_a_copy_of_the_place_is_another_place(world: World, tmp_path: Path) -> None:
    """With times kept: a mount of another server may be anywhere, but inodes and changes are its own."""
    world.read()
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    assert world.read(copy) == (["read"] * 5, 0)
    world.root.rename(tmp_path / "old")
    copy.rename(world.root)
    assert world.read() == (["read"] * 5, 0)


def test_what_is_changed_while_it_is_read_is_not_kept(tmp_path: Path) -> None:
    """The list told of another file than the one that was read."""
    (tmp_path / "a.txt").write_text("before")
    store = DiskStore(tmp_path, tmp_path)
    [file] = store.files()
    listed = store.stated(file, "stores").mark
    assert listed is not None
    assert not listed.was_read()
    [way] = store.ways(file)
    assert way(b"".join) == b"before"
    assert listed.was_read()
    (tmp_path / "a.txt").write_text("behind")
    assert not listed.was_read()
