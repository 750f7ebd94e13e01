"""One journal for many workers: who is heard, what is a note, and what is taken from a worker."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mlflow_parity.core.errors import NoSpace, ReadError, SnapshotError, UsageProblem
from mlflow_parity.core.local.files import file_sha256
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.workers.giving_out import Workers
from mlflow_parity.migrating.workers.job import Piece
from mlflow_parity.migrating.workers.journals import Answers, SharedJournal, lines_of_server, read_lines
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.writer import RunsWriter


class _One:
    """The one journal, and workers that reach it as by a scheduler: through JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = Journal(folder / "one.sqlite")
        self.answers = Answers(self.journal, self.share)
        self.answers.begin([["7"], ["8", "9"]])
        self.count = 0

    def share(self, lines: Iterable[str]) -> tuple[str, str]:
        self.count += 1
        file = self.folder / f"lines-{self.count}"
        file.write_text("".join(f"{line}\n" for line in lines))
        return file.name, file_sha256(file)

    def ask(self, question: Any) -> Any:
        return json.loads(json.dumps(self.answers(json.loads(json.dumps(question)))))

    def worker(self, name: str, piece: int) -> SharedJournal:
        journal = SharedJournal(self.folder / f"{name}.sqlite", self.ask)
        shared, _ = journal.take(piece)
        read_lines(self.folder / shared, journal)
        return journal

    def entries(self) -> list[tuple[str, str, str | None, str, str]]:
        return [(one.kind, one.source_id, one.target_id, one.state, one.origin) for one in self.journal.entries()]


@pytest.fixture
def one(tmp_path: Path) -> _One:
    """A journal, and two pieces of work."""
    return _One(tmp_path)


def _begun(worker: SharedJournal) -> None:
    worker.begin("experiment", "7", name="seven")
    worker.begin("run", "r", place="7", name="first")
    with worker.making("run", "r"):
        pass


def test_a_note_is_in_the_one_journal_before_the_worker_goes_on(one: _One) -> None:
    """What a worker that is killed has begun is known to whoever goes on with it."""
    worker = one.worker("a", 0)
    _begun(worker)
    begun = [("experiment", "7", None, "begun", ""), ("run", "r", None, "begun", "made")]
    assert one.entries() == begun
    worker.created("run", "r", "copy")
    worker.done("run", "r", "state")
    worker.doubt("run", "r")
    assert one.entries()[1] == ("run", "r", "copy", "done", "made")
    assert one.journal.in_doubt("run", "r")
    # the worker itself knows the same
    assert worker.entry("run", "r") is not None
    assert [e.target_id for e in worker.entries(kind="run")] == ["copy"]


def test_who_was_given_up_is_not_heard_any_more(one: _One) -> None:
    """A worker that was only slow stops before its next request: nothing is made twice."""
    slow = one.worker("slow", 0)
    _begun(slow)
    other = one.worker("other", 0)
    # it knows what the first one has begun
    assert other.ours("run", "r")
    assert other.entry("experiment", "7") is not None
    before = one.entries()
    with pytest.raises(ReadError, match="another worker moves these experiments now"):
        slow.created("run", "r", "copy of the slow one")
    assert one.entries() == before
    assert slow.target("run", "r") is None
    other.created("run", "r", "copy")
    one.answers.hear_nobody()
    with pytest.raises(ReadError, match="nobody does any more"):
        other.done("run", "r")
    # nor does anybody begin
    with pytest.raises(ReadError, match="nobody does any more"):
        one.worker("late", 0)
    assert one.entries()[1] == ("run", "r", "copy", "begun", "made")


@pytest.mark.parametrize(
    "note",
    [
        ["begin", "run", "r", None, "8", "of another piece"],
        ["begin", "experiment", "8", None, "", "another one"],
        ["drop", "run", "r", None, "7", ""],
        ["begin", "run", 7, None, "7", ""],
        ["begin", "run", "r", None, "7", None],
        ["failed", "run", "r", ["why"], "", ""],
        ["done", "run", "never begun", None, "", ""],
        [["begin"], "run", "r", None, "7", ""],
    ],
)
def test_what_is_no_note_is_refused(one: _One, note: list[Any]) -> None:
    """The one journal decides what is deleted and what is made: nobody writes anything else into it."""
    worker = one.worker("a", 0)
    told = one.ask({"token": worker._token, "note": note})
    assert set(told) == {"refused"}
    assert one.entries() == []
    # an unknown token is nobody
    assert set(one.ask({"token": "x", "note": ["begin", "run", "r", None, "7", ""]})) == {"refused"}


def test_a_full_disk_here_stops_the_worker(one: _One, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where this process writes: the worker ends with the reason, and has not noted it either."""
    worker = one.worker("a", 0)

    def full(*_: object, **__: object) -> None:
        raise NoSpace("the journal of the migration cannot be written")

    monkeypatch.setattr(one.journal, "note", full)
    with pytest.raises(NoSpace, match="cannot be written"):
        worker.begin("run", "r", place="7")
    assert worker.entry("run", "r") is None


def test_what_is_of_the_server_is_known_to_all(one: _One, tmp_path: Path) -> None:
    """Names that are taken, registered versions, what is in doubt; runs and traces of others are not."""
    one.journal.begin("experiment", "8", name="eight")
    one.journal.begin("model_version", "churn/1", place="churn")
    one.journal.doubt("model_version", "churn/1")
    for kind in ("run", "trace", "logged_model", "scorer"):
        one.journal.begin(kind, "x", place="8")
    name, _ = one.share(lines_of_server(one.journal))
    journal = Journal(tmp_path / "worker.sqlite")
    read_lines(tmp_path / name, journal)
    assert {entry.kind for entry in journal.entries()} == {"experiment", "model_version"}
    assert journal.in_doubt("model_version", "churn/1")
    for damage in ("{", "[1]", '["a", "b", "c"]', "7"):
        (tmp_path / "damaged").write_text(damage + "\n")
        with pytest.raises(UsageProblem, match="damaged"):
            read_lines(tmp_path / "damaged", journal)


# --- what a worker returns


def _export(tmp_path: Path, name: str) -> ExportFolder:
    folder = ExportFolder(tmp_path / name)
    experiments = [Experiment(one, one, "active", f"mlflow-artifacts:/{one}", 1, 2, {}) for one in ("7", "8")]
    folder.use(Snapshot.create(folder.snapshot_root, Origin("http://here", "http", "3.17.2", {}), experiments))
    return folder


def _told(**more: object) -> dict[str, object]:
    return {"counts": {"source": {}, "target": {}}, "copied": {}, "late": {}, "said": [], **more}


Damage = Callable[[dict[str, bytes]], object]
_DAMAGE: dict[str, Damage] = {
    "no account": lambda files: files.pop("told.json"),
    "an account that is none": lambda files: files.update({"told.json": b"[]"}),
    "counts that are none": lambda files: files.update({"told.json": json.dumps(_told(counts=7)).encode()}),
    "an account without traces": lambda files: files.update({"told.json": b'{"counts": {}}'}),
    "a table that was cut": lambda files: files.update({"snapshot/7/runs.parquet": b"PAR1"}),
    "a table that is gone": lambda files: files.pop("snapshot/7/runs.parquet"),
    "a note of it that was altered": lambda files: files.update(
        {"snapshot/7/runs.json": files["snapshot/7/runs.json"].replace(b"0", b"1", 1)}
    ),
    "that of another experiment": lambda files: files.update(
        {f"snapshot/7/{name}": files[f"snapshot/8/{name}"] for name in ("runs.json", "runs.parquet")}
    ),
    "bytes under another name": lambda files: files.update({f"files/ab/{'ab' * 32}": b"other"}),
    "an archive that was cut": lambda files: files.clear(),
    "a name that is none": lambda files: files.update({"files/ab/hello": b"other"}),
}


@pytest.mark.parametrize("damage", _DAMAGE.values(), ids=_DAMAGE.keys())
def test_what_a_worker_returns_is_checked(tmp_path: Path, damage: Damage) -> None:
    """What is cut, altered or of something else is one line, and never a part of the export."""
    whole = _export(tmp_path, "whole")
    for place in ("7", "8"):
        whole.snapshot.folder(place).mkdir(parents=True)
        RunsWriter(whole.snapshot.home(place), model_links=True).finish()
    files = {
        f"snapshot/{path.parent.name}/{path.name}": path.read_bytes()
        for place in ("7", "8")
        for path in whole.snapshot.folder(place).iterdir()
    }
    files["told.json"] = json.dumps(_told()).encode()
    damage(files)
    archive = tmp_path / "archive"
    with zipfile.ZipFile(archive, "w") as packing:
        for name, content in files.items():
            packing.writestr(name, content)
    if not files:
        archive.write_bytes(archive.read_bytes()[:10])
    ends: Any = SimpleNamespace(folder=whole, importing=None, copied=None, settings=None, mark=None, progress=None)
    with pytest.raises((UsageProblem, SnapshotError)) as refused:
        Workers(ends, leave=False)._take_in(Piece(0, ("7",)), archive, tmp_path / "moved")
    assert len(str(refused.value).splitlines()) == 1
