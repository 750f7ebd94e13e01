"""Files that a user gives: whatever they are, one line at once, in bounded memory; damaged ones are never believed."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.audits import audit
from support.contract_case import source as sample
from support.copied import audited, kept
from support.memory import run_audit
from support.memory_peak import peak_mb
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer
from support.stores import restored

from mlflow_parity.audit.renames import load_renames
from mlflow_parity.audit.side import Side
from mlflow_parity.audit.waivers.waivers import load_waivers
from mlflow_parity.core.errors import SnapshotError, UsageProblem
from mlflow_parity.core.local.files import file_sha256, folder_name, sealed, write_json
from mlflow_parity.core.locations import Location
from mlflow_parity.migrating.exim.tool import is_plain
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.workdir import noted
from mlflow_parity.reporting.kept.waiver_drafts import read_report
from mlflow_parity.snapshot import schema as schemas
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.snapshot.tables import MOST, check_table

GIB = 1 << 30


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(GIB + 1)


#: What a path may lead to that is no file to be read.
ODD: dict[str, tuple[Callable[[Path], object], str]] = {
    "folder": (Path.mkdir, "is a folder, not a file"),
    "pipe": (os.mkfifo, "is a pipe or a device"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is a pipe or a device"),
    "gigabyte": (_sparse, "has 1,073,741,825 bytes; at most"),
    "loop": (lambda path: path.symlink_to(path.name), "cannot be read: Too many levels"),
    "nested": (lambda path: path.write_text("a = " + "[" * 100_000), "nested too deeply|is not JSON"),
    "nested JSON": (lambda path: path.write_text("[" * 100_000), "nested too deeply|is not TOML"),
    "dotted": (lambda path: path.write_text("a." * 100_000 + "b = 1"), "more than 300 parts|is not JSON"),
    "digits": (lambda path: path.write_text("a = " + "9" * 100_000), "is not TOML|is not JSON"),
    "half a character": (lambda path: path.write_text('"\\ud800"'), "lone surrogate|is not TOML"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not TOML|is not JSON"),
}
READERS: dict[str, Callable[[str], object]] = {
    "waivers": load_waivers,
    "rename": load_renames,
    "report": lambda path: read_report(path, "--parity-recheck"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_such_file_is_one_line(tmp_path: Path, kind: str, reader: str) -> None:
    """At once, in little memory, with the name of the option and of the file."""
    make, says = ODD[kind]
    path = tmp_path / "given"
    make(path)
    before, began = peak_mb(), time.monotonic()
    with pytest.raises(UsageProblem, match=says) as caught:
        READERS[reader](str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 5
    assert peak_mb() - before < 100


def test_a_path_that_is_none() -> None:
    """A name with NUL in it, and one of 300 letters."""
    for path in ("a\0b", "x" * 300):
        for read in READERS.values():
            with pytest.raises(UsageProblem, match="cannot be read"):
                read(path)


@pytest.mark.long
def test_both_programs_say_it_in_one_line(tmp_path: Path) -> None:
    """pytest ends with 4 and migrate.py with 2, whatever the option."""
    os.mkfifo(tmp_path / "pipe")
    _sparse(tmp_path / "large")
    for number, (option, name) in enumerate(
        (("--parity-waivers", "pipe"), ("--parity-rename", "pipe"), ("--parity-recheck", "large"))
    ):
        both = "http://127.0.0.1:9", "http://127.0.0.1:10"
        done = audit(tmp_path / str(number), *both, option, str(tmp_path / name), timeout=60)
        assert done.status == 4, done.output
        [line] = [line for line in done.output.splitlines() if str(tmp_path / name) in line]
        assert line.startswith(f"ERROR: {option}: ")
        assert "Traceback" not in done.output
    sides = "--source-uri", "http://127.0.0.1:9", "--target-uri", "http://127.0.0.1:10"
    arguments = ("repair", *sides, "--work-dir", str(tmp_path / "work"), "--from", str(tmp_path / "large"))
    moved = migrate_py(tmp_path, *arguments, timeout=60)
    assert moved.status == 2, moved.output
    assert "Traceback" not in moved.output


# --- snapshots


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished snapshot."""
    folder = tmp_path_factory.mktemp("whole")
    run_audit(sample(), restored(sample()), snapshots=folder)
    return folder / "source"


def _opened(root: Path) -> Side:
    return Side("source", Location("snapshot", str(root)), None)


def _resealed(root: Path, place: str, part: str, name: str) -> None:
    """Seal a part whose file was exchanged, as whoever makes a snapshot can."""
    folder = root / "experiments" / place
    sidecar = json.loads((folder / f"{part}.json").read_text())
    sidecar["files"][name] = file_sha256(folder / name)
    write_json(folder / f"{part}.json", sealed(sidecar))
    manifest = json.loads((root / "manifest.json").read_text())
    manifest["parts"][place][part] = sealed(sidecar)
    write_json(root / "manifest.json", sealed(manifest))


def _texts(path: Path) -> None:
    """Write one text of a megabyte eight times in each of many row groups."""
    row: dict[str, Any] = dict.fromkeys(schemas.RUNS.names)
    row |= {"run_id": "r", "name": "x" * (1 << 20), "params": [], "tags": [], "metrics": [], "inputs": []}
    table = pa.Table.from_pylist([row] * 8, schema=schemas.RUNS)
    with pq.ParquetWriter(path, schemas.RUNS, compression="zstd") as writer:
        for _ in range(200):
            writer.write_table(table)


def _equal_rows(path: Path) -> None:
    """Write forty million rows that are all equal."""
    rows = 1 << 20
    columns = [pa.repeat(pa.scalar(b"\0" * 32 if field.name == "digest" else None, field.type), rows)
               for field in schemas.HISTORIES]  # fmt: skip
    table = pa.table(columns, schema=schemas.HISTORIES)
    with pq.ParquetWriter(path, schemas.HISTORIES, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(table, row_group_size=rows)


@pytest.mark.long(but=("one long text",))
@pytest.mark.parametrize(
    ("part", "make"), [("runs", _texts), ("metrics", _equal_rows)], ids=["one long text", "equal rows"]
)
def test_a_table_that_unpacks_to_gigabytes(
    whole: Path, tmp_path: Path, part: str, make: Callable[[Path], None]
) -> None:
    """A megabyte or less, sealed as it should be: refused in one line, before it is loaded."""
    shutil.copytree(whole, tmp_path / "bomb")
    name = f"{part}.parquet"
    path = tmp_path / "bomb" / "experiments" / "1" / name
    make(path)
    assert path.stat().st_size < MOST / 500
    _resealed(tmp_path / "bomb", "1", part, name)
    before = peak_mb()
    says = rf"{name} has [0-9,]+ bytes and unpacks to more than [0-9,]+ MiB"
    with pytest.raises(SnapshotError, match=says) as caught:
        _opened(tmp_path / "bomb")
    assert "\n" not in str(caught.value)
    # a migration opens its export so, and takes one part after the other
    kept_one = Snapshot.open(tmp_path / "bomb", finished=False)
    [experiment] = [one for one in kept_one.experiments if one.experiment_id == "1"]
    with pytest.raises(SnapshotError, match="unpacks to more than"):
        kept_one.view(experiment)
    assert peak_mb() - before < 400


def test_tables_of_other_columns_are_refused(whole: Path, tmp_path: Path) -> None:
    """Sealed as it should be, but not what this version writes; and what it writes itself is no bomb."""
    for path in whole.rglob("*.parquet"):
        check_table(path)
    shutil.copytree(whole, tmp_path / "other")
    path = tmp_path / "other" / "experiments" / "1" / "artifacts.parquet"
    pq.write_table(pa.table({"run_id": ["x"]}), path)
    _resealed(tmp_path / "other", "1", "artifacts", "artifacts.parquet")
    with pytest.raises(SnapshotError, match=r"artifacts\.parquet has columns of another version"):
        _opened(tmp_path / "other")


def test_a_snapshot_of_odd_files_is_one_line(whole: Path, tmp_path: Path) -> None:
    """Pipes, folders and gigabytes in the place of its files."""
    for number, (name, kind) in enumerate(
        (name, kind)
        for name in ("manifest.json", "experiments/1/runs.json", "experiments/1/runs.parquet")
        for kind in ("folder", "pipe", "device", "gigabyte", "nested JSON")
    ):
        root = tmp_path / str(number)
        shutil.copytree(whole, root)
        (root / name).unlink()
        ODD[kind][0](root / name)
        with pytest.raises(SnapshotError) as caught:
            _opened(root)
        assert "\n" not in str(caught.value), (name, kind)


# --- names


def test_an_id_of_300_characters_is_a_folder(tmp_path: Path) -> None:
    """Cut, with a digest that tells it from others; short ones stay as they were."""
    store = sample()
    for char in "aä.":
        long = char * 300
        assert len(folder_name(long)) < 200
        assert folder_name(long) != folder_name(long + char)
        assert not is_plain(long)
    assert folder_name("1") == "1"
    assert folder_name("a" * 200) == "a" * 200
    long = "a" * 300
    store.experiments[1] = replace(store.experiments[1], experiment_id=long)
    store.runs = [
        replace(run, experiment_id=long if run.experiment_id == "1" else run.experiment_id) for run in store.runs
    ]
    store.objects = [replace(one, container=long) if one.container == "1" else one for one in store.objects]
    assert run_audit(store, restored(store), snapshots=tmp_path).result.green
    assert long in [one.experiment_id for one in _opened(tmp_path / "source").experiments()]


def test_an_experiment_with_our_own_id_is_refused(tmp_path: Path) -> None:
    """What stands for the server in a snapshot is no experiment."""
    store = sample()
    store.experiments.append(replace(store.experiments[1], experiment_id="~server", name="mine"))
    with pytest.raises(SnapshotError, match="has the id ~server, by which this program calls") as caught:
        run_audit(store, restored(store), snapshots=tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_experiments_called_like_our_folders(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Names are never paths: the snapshot holds each, and an audit of it is green."""
    server = fresh_server()
    seed = Seeder(server.uri)
    names = ("server", "~server", "blobs", "files", "manifest.json", "experiments", "..", "snapshot")
    for name in names:
        seed.end(seed.run(seed.experiment(name), name))
    copy = kept(server.uri, tmp_path / "copy")
    outcome = audited(server.uri, copy)
    assert outcome.green, outcome.reasons
    assert {row.name for row in outcome.rows if row.kind == "run"} == set(names)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["experiments", "manifest.json", "server"]


# --- notes of a migration


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "nested JSON", "bytes"])
def test_odd_notes_of_a_migration(tmp_path: Path, kind: str) -> None:
    """Journal and note of a work folder: one line, and nobody waits."""
    for name, read in (
        ("mlflow-parity-migration.json", lambda: noted(tmp_path)),
        ("journal.sqlite", lambda: Journal(tmp_path / "journal.sqlite")),
    ):
        ODD[kind][0](tmp_path / name)
        with pytest.raises(UsageProblem) as caught:
            read()
        assert "\n" not in str(caught.value)
