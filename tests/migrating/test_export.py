"""The export: every byte and every value of the source, of every version, and killed at any moment."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sqlite3
import stat
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.exported import export, export_from
from support.killed_export import export_killed
from support.seed import EPOCH, UMLAUT, Seeder, seed_small
from support.seed_models import seed_models
from support.seed_objects import seed_objects
from support.servers import FreshServer

from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.migrating.export.backup import named
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.export.exporting import discard
from mlflow_parity.migrating.export.tool_files import write_tool_files
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.snapshot import PARTS, SERVER
from mlflow_parity.standin.servers import Server

_SECRET = "tracking-passw0rd"


@dataclass(frozen=True, slots=True)
class Exported:
    """A source, what it was exported to, and the root logger's level and handlers before and after."""

    source: Server
    folder: ExportFolder
    log: Path
    loggers: tuple[list[object], list[object]]


def _root_logger() -> list[object]:
    root = logging.getLogger()
    return [root.level, *root.handlers]


@pytest.fixture(scope="module", params=["2.16.2", "2.22.5", "3.4.0", "newest"])
def exported(
    request: pytest.FixtureRequest, module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exported]:
    """A source of each version with every kind of object that it can hold, and its export."""
    version: str = request.param
    server, root = module_server(version), tmp_path_factory.mktemp("export")
    seed_small(server.uri)
    if version in ("3.4.0", "newest"):
        seed_models(server.uri)
    seed_objects(server.uri, Seeder(server.uri).experiment("objects"), version=version, traces=version == "newest")
    with pytest.MonkeyPatch.context() as patch:
        # another server's, of the user's other work
        patch.setenv("MLFLOW_TRACKING_URI", f"http://ada:{_SECRET}@elsewhere.example")
        before = _root_logger()
        folder, left = export_from(server.uri, root)
        # on old servers one version's files are in a bucket that is not there
        assert [one.name for one in left] == (["churn version 4"] if version < "3" else [])
        yield Exported(server, folder, root / "export.log", (before, _root_logger()))


def _on_disk(server: Server) -> dict[str, bytes]:
    """Return the bytes of every file of runs, models and versions, by its path below the server's artifact root."""
    root = Path(server.artifacts_root)
    files = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    return {path: content for path, content in files.items() if "/traces/" not in path}


def _kept(folder: ExportFolder) -> dict[str, bytes]:
    """Return the same of an export."""
    found: dict[str, bytes] = {}

    def add(uri: str | None, files: Any) -> None:
        assert files.error is None
        for file in files.files:
            assert (file.error, file.sha256 is None) == (None, False)
            content = folder.blobs.path(file.sha256).read_bytes()
            assert len(content) == file.size
            found[f"{str(uri).removeprefix('mlflow-artifacts:').lstrip('/')}/{file.path}"] = content

    snapshot = folder.snapshot
    for experiment in snapshot.experiments:
        view, objects = snapshot.view(experiment), snapshot.objects(experiment.experiment_id)
        for run in view.all_runs():
            add(run.artifact_uri, view.artifacts(run.run_id))
        for key in objects.keys("logged_model"):
            [model] = objects.entities("logged_model", [key.entity_id])
            add(model.artifact_uri, objects.files("logged_model", key.entity_id))
    return found


@pytest.mark.long(but=("newest",))
def test_every_file_is_kept_byte_for_byte(exported: Exported) -> None:
    """The server's own disk and the export hold the same files, non-ASCII names on old servers and empty ones too."""
    disk = _on_disk(exported.source)
    assert _kept(exported.folder) == disk
    assert any(not path.isascii() for path in disk)
    assert b"" in disk.values()
    # equal bytes once, and nothing else
    names = {path.name for path in exported.folder.blobs.all()}
    assert names >= {hashlib.sha256(content).hexdigest() for content in disk.values()}
    assert not list(exported.folder.root.rglob("part-*"))
    assert [one for one in exported.folder.verify() if one.kind != "export"] == []


def _bits(value: float, is_nan: bool = False) -> bytes:
    return b"NaN" if is_nan or math.isnan(value) else struct.pack("<d", value)


def _json(path: Path) -> dict[str, Any]:
    # as the tool's own importer reads it
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["mlflow"]
    return found


@pytest.mark.long(
    but=(
        "2.16.2",
        "2.22.5",
        "newest",
    )
)
def test_the_tools_files_hold_every_value(exported: Exported) -> None:
    """Fields, params, tags and every point bit for bit, of deleted runs too: as the server's database has them."""
    with closing(sqlite3.connect(exported.source.database_path)) as database:
        runs = database.execute(
            "SELECT run_uuid, experiment_id, name, status, start_time, end_time, lifecycle_stage, user_id FROM runs"
        ).fetchall()
        seen: Counter[str] = Counter()
        for run_id, experiment, name, status, start, end, stage, user in runs:
            told = _json(exported.folder.run_dir(str(experiment), run_id) / "run.json")
            info = told["info"]
            assert (info["run_id"], info["experiment_id"], info["run_name"]) == (run_id, str(experiment), name)
            assert (info["status"], info["lifecycle_stage"], info["user_id"]) == (status, stage, user)
            assert (info["start_time"], info["end_time"]) == (start, end)
            for table in ("params", "tags"):
                rows = database.execute(f"SELECT key, value FROM {table} WHERE run_uuid = ?", (run_id,))
                assert told[table] == dict(rows), table
            points = database.execute(
                "SELECT key, value, is_nan, timestamp, step FROM metrics WHERE run_uuid = ?", (run_id,)
            )
            wanted = Counter((key, _bits(value, nan), at, step) for key, value, nan, at, step in points)
            given = Counter(
                (key, _bits(point["value"]), point["timestamp"], point["step"])
                for key, history in told["metrics"].items()
                for point in history
            )
            assert given == wanted
            linked = told["inputs"]["model_inputs"], told.get("outputs", {}).get("model_outputs", [])
            inputs = database.execute("SELECT source_type, destination_id FROM inputs WHERE source_id = ?", (run_id,))
            ends = Counter(inputs.fetchall())
            for kind, models in zip(("RUN_INPUT", "RUN_OUTPUT"), linked, strict=True):
                assert Counter((kind, model["model_id"]) for model in models) == Counter(
                    {end: count for end, count in ends.items() if end[0] == kind}
                )
                assert all(isinstance(model["step"], int) for model in models)
            [datasets] = database.execute(
                "SELECT count(*) FROM inputs WHERE destination_type = 'RUN' AND destination_id = ?", (run_id,)
            ).fetchone()
            assert len(told["inputs"]["dataset_inputs"]) == datasets
            seen.update({"runs": 1, "nan": (given[("odd", b"NaN", EPOCH, 0)]), "deleted": stage == "deleted"})
            seen.update({"unicode": UMLAUT in told["params"].values(), "linked": sum(map(len, linked))})
    assert min(seen["nan"], seen["deleted"], seen["unicode"]) > 0
    assert (seen["linked"] > 0) == (exported.source.version >= "3")
    told_runs = list((exported.folder.root / "experiments").glob("*/runs/*/run.json"))
    assert len(told_runs) == seen["runs"]


def test_logged_models_are_told_with_their_values(exported: Exported) -> None:
    """The tool's file of a logged model: its params, tags, points and the run that made it."""
    folder, found = exported.folder, 0
    for experiment in folder.snapshot.experiments:
        objects = folder.snapshot.objects(experiment.experiment_id)
        for key in objects.keys("logged_model"):
            [model] = objects.entities("logged_model", [key.entity_id])
            told = _json(folder.model_dir(experiment.experiment_id, key.entity_id) / "logged_model.json")
            assert (told["name"], told["source_run_id"] or None) == (model.name, model.facets["run"])
            assert (told["params"], told["tags"]) == (model.facets["params"], model.facets["tags"])
            assert [point["value"] for point in told["metrics"]] == pytest.approx(
                [point["value"] for point in model.facets["metrics"]], rel=0, abs=0, nan_ok=True
            )
            found += 1
    with closing(sqlite3.connect(exported.source.database_path)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        expected = (
            database.execute("SELECT count(*) FROM logged_models").fetchone()[0] if "logged_models" in tables else 0
        )
    assert found == expected


def test_the_tool_leaves_nothing_of_its_own_behind(exported: Exported) -> None:
    """The root logger is as before, the log is the owner's, and no file names the environment's server."""
    before, after = exported.loggers
    assert after == before
    assert stat.S_IMODE(exported.log.stat().st_mode) == 0o600
    assert "Exported run in" in exported.log.read_text(encoding="utf-8")
    for path in [exported.log, *exported.folder.root.rglob("*.json")]:
        text = path.read_text(encoding="utf-8")
        assert _SECRET not in text
        assert "elsewhere.example" not in text


def test_damaged_files_of_the_tool_are_written_again(exported: Exported, tmp_path: Path) -> None:
    """One altered, one cut, one gone: each is as before after the next look, from the snapshot alone."""
    folder = exported.folder
    [experiment] = [one for one in folder.snapshot.experiments if one.name == "churn model"]
    place = folder.experiment_dir(experiment.experiment_id)
    altered, cut, gone = sorted(place.glob("runs/*/run.json"))[:3]
    before = {path: _json(path) for path in (altered, cut, gone)}
    altered.write_text(altered.read_text().replace("0.", "1."))
    cut.write_bytes(cut.read_bytes()[:100])
    gone.unlink()
    write_tool_files(folder, experiment, tmp_path / "log")
    for path, told in before.items():
        assert json.dumps(_json(path)) == json.dumps(told)
    stamp = (place / "parity.json").stat().st_mtime_ns
    write_tool_files(folder, experiment, tmp_path / "log")
    assert (place / "parity.json").stat().st_mtime_ns == stamp


def _told(folder: ExportFolder) -> dict[str, str]:
    """Return what the tool's files say of the source, by path; when they were written is left out."""
    found = {}
    for path in (folder.root / "experiments").rglob("*.json"):
        if path.name in ("run.json", "logged_model.json", "experiment.json"):
            found[str(path.relative_to(folder.root))] = json.dumps(_json(path), sort_keys=True)
    return found


@pytest.fixture(scope="module")
def small(module_server: FreshServer) -> Server:
    """A small source of the newest version."""
    server = module_server()
    seed_small(server.uri)
    seed_models(server.uri)
    return server


@pytest.mark.long
def test_killed_and_taken_up_again_it_is_the_same(small: Server, tmp_path: Path) -> None:
    """Killed at many moments and begun again: the same digest, the same bytes, the same files; nothing half is left."""
    whole = export(small, tmp_path / "whole")
    killed = export_killed(small.uri, tmp_path / "killed")
    assert killed >= 5, killed
    again = ExportFolder(tmp_path / "killed" / "export")
    assert again.snapshot.is_finished
    assert again.snapshot.digest == whole.snapshot.digest
    assert {path.name for path in again.blobs.all()} == {path.name for path in whole.blobs.all()}
    assert again.verify() == []
    assert _told(again) == _told(whole)
    left = [path for path in again.root.rglob("*") if path.name.startswith("part-") or path.name.endswith(".tmp")]
    assert left == []


def test_a_file_that_cannot_be_read_is_named(fresh_server: FreshServer, tmp_path: Path) -> None:
    """It alone is missing: all else is there, but the export is not complete; read later, it is."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("one")
    run = seed.run(experiment, "trainer")
    seed.log(run, params={"lr": "1"}, metrics=[("loss", 0.5, EPOCH, 0)])
    seed.artifact(run, "good.txt", b"good")
    odd = Path(server.artifacts_root) / experiment / run / "artifacts" / "50%25.txt"
    # the server decodes the name, and looks for another file
    odd.write_bytes(b"odd")
    folder, left = export_from(server.uri, tmp_path)
    [one] = left
    assert (one.kind, one.source_id, one.name) == ("run", run, "trainer")
    assert "'50%25.txt'" in one.why
    assert not folder.snapshot.is_finished
    assert [problem.kind for problem in folder.verify()] == ["export"]
    assert _json(folder.run_dir(experiment, run) / "run.json")["params"] == {"lr": "1"}
    assert folder.blobs.has(hashlib.sha256(b"good").hexdigest())
    # what came to an end is not an interrupted export: the source is read again, and may have changed
    odd.rename(odd.with_name("50.txt"))
    seed.run(experiment, "later")
    folder = export(server, tmp_path)
    view = folder.snapshot.view(next(one for one in folder.snapshot.experiments if one.name == "one"))
    assert sorted(run.name for run in view.all_runs()) == ["later", "trainer"]
    assert folder.verify() == []


def test_an_earlier_export_stands_until_the_new_one_is_whole(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is new comes, what is gone goes, equal bytes are kept once; an attempt that fails leaves the backup."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("one")
    run, gone = seed.run(experiment, "stays"), seed.run(experiment, "goes")
    seed.artifact(run, "kept.txt", b"kept")
    seed.artifact(run, "dropped.txt", b"dropped")
    first = export(server, tmp_path)
    digest = first.snapshot.digest
    (Path(server.artifacts_root) / experiment / run / "artifacts" / "dropped.txt").unlink()
    seed.artifact(run, "copy.txt", b"kept")
    with closing(sqlite3.connect(server.database_path)) as database, database:
        for table in ("tags", "latest_metrics", "runs"):
            database.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (gone,))
    new = seed.run(experiment, "new")

    def fails(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow_parity.snapshot.store.Snapshot.create", fails)
        with pytest.raises(KeyboardInterrupt):
            export(server, tmp_path)
    backup = ExportFolder(tmp_path / "export")
    assert not backup.exists
    backup.take_back()
    assert backup.snapshot.digest == digest
    assert backup.verify() == []

    folder = export(server, tmp_path)
    assert folder.snapshot.digest != digest
    assert [path.name for path in (folder.root / "snapshot").iterdir()] == ["source"]
    assert {path.read_bytes() for path in folder.blobs.all()} == {b"kept"}
    assert sorted(path.name for path in (folder.experiment_dir(experiment) / "runs").iterdir()) == sorted([run, new])


@pytest.mark.long
def test_a_batch_is_discarded_but_for_what_is_needed(small: Server, tmp_path: Path) -> None:
    """What failed, and what another batch holds as well, stays; an export that lost its bytes reads them again."""
    folder = export(small, tmp_path)
    places = {one.name: one.experiment_id for one in folder.snapshot.experiments}
    journal = Journal(tmp_path / "journal.sqlite")
    sums = {
        (place, owner): sha256
        for place in places.values()
        for part in PARTS
        for owner, _, sha256 in named(folder.snapshot, place, part)
    }
    run = next(owner for place, owner in sums if place == places["churn model"])
    journal.begin("run", run, place=places["churn model"])
    journal.failed("run", run, "the target is full")
    # "models elsewhere" shares the bytes of its model's weights with "models"
    done = set(places.values()) - {places["models elsewhere"]}
    freed = discard(folder, journal, {*done, SERVER})
    left = {path.name for path in folder.blobs.all()}
    assert freed > 0
    assert sums[places["churn model"], run] in left
    shared = hashlib.sha256(b"w").hexdigest()
    assert shared in left
    damage = folder.verify(contents=False)
    assert {one.why for one in damage} == {"its bytes are gone"}
    assert not {one.source_id for one in damage} & {run, *(o for p, o in sums if p == places["models elsewhere"])}
    journal.done("run", run)
    discard(folder, journal, {*places.values(), SERVER})
    assert list(folder.blobs.all()) == []
    journal.close()
    # as if it had been interrupted: what was read stays, but for the files
    manifest = folder.snapshot_root / "manifest.json"
    content = json.loads(manifest.read_text())
    write_json(manifest, sealed({**content, "finished": None, "digest": None, "parts": {}}))
    again = export(small, tmp_path)
    assert again.verify() == []
    assert again.snapshot.digest == content["digest"]
