"""Snapshots that are resumed with other wishes, tampered with, or hold parts that could not be read."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.memory_store import (
    LOCATIONS,
    MemoryReader,
    Store,
    audited,
    came,
    failed_series,
    got_a_param,
    rich_store,
    run_id,
    same_ids,
    went,
)

from mlflow_parity.core.errors import SnapshotError, TransportError
from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import ArtifactTree, Series
from mlflow_parity.core.scope import Depth
from mlflow_parity.kinds import KINDS
from mlflow_parity.snapshot import FORMAT_VERSION, PARTS
from mlflow_parity.snapshot.capture import RUN_PARTS, capture
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot

ORIGIN = Origin("http://source.invalid", "http", "3.17.2", {})


def ignore(
    *, experiments: int = 0, runs: int = 0, points: int = 0, artifacts: int = 0, size: int = 0, objects: int = 0
) -> None:
    """Take no notice of progress."""


def read(
    root: Path,
    reader: MemoryReader,
    *,
    depth: Depth = "digest",
    deleted: bool = True,
    finish: bool = False,
    origin: Origin = ORIGIN,
) -> tuple[Snapshot, int]:
    """Read everything into a snapshot that stays unfinished unless told; return it and the number of resumed parts."""
    experiments = sorted(reader.store.experiments.values(), key=lambda item: item.experiment_id)
    snapshot = Snapshot.create(root, origin, experiments)
    resumed = capture(reader, snapshot, experiments, PARTS, depth, include_deleted=deleted, count=ignore)
    if finish:
        snapshot.finish()
    return snapshot, resumed


def reader(store: Store, **options: Any) -> MemoryReader:
    """Return a reader of the source."""
    return MemoryReader(LOCATIONS["source"], store, **options)


def asked(reader: MemoryReader) -> dict[str, int]:
    """What a reader was asked for, and how often."""
    return {name: count for name, count in reader.calls.items() if " " not in name}


def test_a_second_reading_of_what_is_there_reads_nothing(tmp_path: Path) -> None:
    """Every part is resumed; runs are listed, to see that they are the same, and no history or tree is read."""
    read(tmp_path / "s", reader(rich_store()))
    again = reader(rich_store())
    _, resumed = read(tmp_path / "s", again)
    assert resumed == 2 * len(PARTS)
    assert asked(again) == {"runs": 2, "page": 2}


def _was_deleted(store: Store) -> None:
    store.runs[run_id(11)].lifecycle_stage = "deleted"


@pytest.mark.parametrize("change", [came, went, got_a_param, _was_deleted])
def test_parts_whose_list_is_another_now_are_read_anew(tmp_path: Path, change: Callable[[Store], None]) -> None:
    """Of the changed experiment nothing is taken over, of the other everything; the times tell which."""
    store = rich_store()
    began = time.time()
    first, _ = read(tmp_path / "s", reader(store))
    cut = time.time()
    change(store)
    again = reader(store)
    snapshot, resumed = read(tmp_path / "s", again, finish=True)
    # the change is in a run: what does not hang on runs is as it was
    assert resumed == 2 * len(PARTS) - len(RUN_PARTS)
    assert all(again.calls[f"tree {one.run_id}"] == 1 for one in store.runs_of("1"))
    assert not any(again.calls[f"tree {one.run_id}"] for one in store.runs_of("2"))
    assert snapshot.digest == read(tmp_path / "whole", reader(store), finish=True)[0].digest
    assert snapshot.created == first.created
    assert all(began < taken < cut for taken in snapshot.taken_over)
    assert len(snapshot.taken_over) == resumed
    assert (snapshot.sidecar("1", "runs") or {})["read"] > cut > (snapshot.sidecar("2", "runs") or {})["read"]


def test_another_version_of_the_server_takes_nothing_over(tmp_path: Path) -> None:
    """Another server, or an upgraded one, stands behind the address: it is read from the beginning."""
    read(tmp_path / "s", reader(rich_store()))
    cut = time.time()
    _, resumed = read(tmp_path / "s", reader(rich_store()), origin=replace(ORIGIN, version="3.18.0"))
    assert resumed == 0
    assert Snapshot.open(tmp_path / "s", finished=False).created > cut


def test_deleted_runs_asked_for_later_are_read(tmp_path: Path) -> None:
    """A part that was read without the deleted runs' values does not do for an audit that includes them."""
    store = rich_store()
    store.runs[run_id(11)].lifecycle_stage = "deleted"
    first = reader(store)
    read(tmp_path / "s", first, deleted=False)
    assert first.calls[f"history {run_id(11)} loss"] == 0
    second = reader(store)
    snapshot, resumed = read(tmp_path / "s", second, deleted=True)
    assert second.calls[f"history {run_id(11)} loss"] == 1
    assert second.calls["runs"] == 2
    # of each experiment all parts but metrics and artifacts
    assert resumed == 2 * (len(PARTS) - 2)
    # more than was asked for does no harm
    third = reader(store)
    assert read(tmp_path / "s", third, deleted=False)[1] == 2 * len(PARTS)
    whole, _ = read(tmp_path / "whole", reader(store), deleted=True)
    for each in (snapshot, whole):
        each.finish()
    assert snapshot.digest == whole.digest


def test_a_shallow_part_is_deepened(tmp_path: Path) -> None:
    """Sizes alone do not do for hashes; hashes do for sizes."""
    read(tmp_path / "s", reader(rich_store()), depth="listing")
    deeper = reader(rich_store())
    snapshot, _ = read(tmp_path / "s", deeper, depth="digest")
    assert deeper.calls["tree"] == 6
    assert deeper.calls["history"] == 0
    [file, *_] = snapshot.view(snapshot.experiments[0]).artifacts(run_id(10)).files
    assert file.sha256
    assert read(tmp_path / "s", reader(rich_store()), depth="listing")[1] == 2 * len(PARTS)


def _history_fails(record: object) -> object:
    if isinstance(record, Series) and record.run_id == run_id(11):
        return failed_series(record.run_id, record.key, "HTTP 500")
    return record


def _tree_fails(record: object) -> object:
    failed = isinstance(record, ArtifactTree) and record.run_id == run_id(11)
    return ArtifactTree(run_id(11), (), "HTTP 500") if failed else record


def _raises(method: str) -> Callable[[str, str], None]:
    def before(called: str, subject: str) -> None:
        if called == method and subject.startswith((run_id(11), "1")):
            raise TransportError("reset")

    return before


@pytest.mark.parametrize(
    ("trouble", "parts"),
    [
        ({"spoil": _history_fails}, {"metrics"}),
        ({"spoil": _tree_fails}, {"artifacts"}),
        ({"before": _raises("history")}, {"metrics"}),
        ({"before": _raises("tree")}, {"artifacts"}),
        ({"before": _raises("runs")}, {"runs", "metrics", "artifacts"}),
        ({"before": _raises("page")}, {"runs", "metrics", "artifacts"}),
    ],
)
def test_only_parts_with_read_errors_are_tried_again(tmp_path: Path, trouble: Any, parts: set[str]) -> None:
    """A resumed reading fixes what failed, and the digest is that of an undisturbed one."""
    store = rich_store()
    broken, _ = read(tmp_path / "s", reader(store, **trouble))
    bad = {part for part in PARTS if (broken.sidecar("1", part) or {}).get("counts", {}).get("errors")}
    assert bad == parts
    assert not any((broken.sidecar("2", part) or {})["counts"].get("errors") for part in PARTS)
    again = reader(store)
    fixed, resumed = read(tmp_path / "s", again, finish=True)
    assert resumed == 2 * len(PARTS) - len(parts)
    assert {subject for subject in again.calls if subject.endswith(" 2") or run_id(21) in subject} == {
        "runs 2",
        "page 2",
    }
    whole, _ = read(tmp_path / "whole", reader(store), finish=True)
    assert fixed.digest == whole.digest
    assert not list((tmp_path / "s").rglob("*.tmp"))


@pytest.mark.parametrize("key", ["counts", "depth", "deleted", "files", "digest", "part"])
def test_an_altered_sidecar_is_refused(tmp_path: Path, key: str) -> None:
    """Everything that a sidecar says is in the manifest of a finished snapshot."""
    read(tmp_path / "s", reader(rich_store()), finish=True)
    path = tmp_path / "s" / "experiments" / "1" / "artifacts.json"
    content = json.loads(path.read_text())
    content[key] = {} if isinstance(content[key], dict) else "other"
    write_json(path, sealed(content))
    snapshot = Snapshot.open(tmp_path / "s")
    with pytest.raises(SnapshotError):
        snapshot.view(snapshot.experiments[0])


def test_a_read_error_cannot_be_taken_out_of_a_snapshot(tmp_path: Path) -> None:
    """Neither by dropping the error from the sidecar nor by putting another snapshot's part there."""
    store = rich_store()
    read(tmp_path / "bad", reader(store, before=_raises("history")), finish=True)
    read(tmp_path / "good", reader(store), finish=True)
    path = tmp_path / "bad" / "experiments" / "1" / "metrics.json"
    content = json.loads(path.read_text())
    assert content.pop("error")
    write_json(path, sealed(content))
    snapshot = Snapshot.open(tmp_path / "bad")
    with pytest.raises(SnapshotError, match="not the one in the manifest"):
        snapshot.view(snapshot.experiments[0])
    for name in ("metrics.json", "metrics.parquet", "points.parquet"):
        shutil.copy(tmp_path / "good" / "experiments" / "1" / name, path.parent / name)
    with pytest.raises(SnapshotError, match="not the one in the manifest"):
        snapshot.view(snapshot.experiments[0])


@pytest.mark.parametrize("finished", [True, False])
def test_a_part_of_another_snapshot_or_experiment_is_refused(tmp_path: Path, finished: bool) -> None:
    """Whole in itself, it would make an unfinished snapshot smaller; nobody is asked before it is refused."""
    smaller = rich_store()
    del smaller.runs[run_id(11)]
    read(tmp_path / "older", reader(smaller), finish=finished)
    read(tmp_path / "s", reader(rich_store()))
    place = tmp_path / "s" / "experiments" / "1"
    shutil.copytree(place, tmp_path / "kept")
    for other in (tmp_path / "older" / "experiments" / "1", tmp_path / "s" / "experiments" / "2"):
        shutil.rmtree(place)
        shutil.copytree(other, place)
        again = reader(rich_store())
        with pytest.raises(SnapshotError, match="is that of another snapshot or experiment") as refused:
            read(tmp_path / "s", again)
        assert "\n" not in str(refused.value)
        assert again.calls == {}
    shutil.rmtree(place)
    shutil.copytree(tmp_path / "kept", place)
    assert read(tmp_path / "s", reader(rich_store()))[1] == 2 * len(PARTS)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": 1}', "{", '{"files": {}}', "\x00"])
def test_a_damaged_sidecar_of_an_unfinished_snapshot_is_one_line(tmp_path: Path, content: str) -> None:
    """Nothing but a :class:`SnapshotError` comes of it, also when it is resumed."""
    read(tmp_path / "s", reader(rich_store()))
    (tmp_path / "s" / "experiments" / "1" / "metrics.json").write_text(content)
    with pytest.raises(SnapshotError) as raised:
        read(tmp_path / "s", reader(rich_store()))
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("parts", {"1": {"runs": {"digest": "not hexadecimal"}}}),
        ("parts", {"1": []}),
        ("experiments", [{"name": "lacks the rest"}]),
        ("experiments", 3),
        ("origin", {}),
        ("finished", None),
        ("version", None),
        ("id", None),
        ("version", FORMAT_VERSION - 1),
        ("version", FORMAT_VERSION + 1),
    ],
)
def test_a_damaged_manifest_is_one_line(tmp_path: Path, key: str, value: object) -> None:
    """Of whatever kind the damage is."""
    read(tmp_path / "s", reader(rich_store()), finish=True)
    path = tmp_path / "s" / "manifest.json"
    write_json(path, sealed({**json.loads(path.read_text()), key: value}))
    with pytest.raises(SnapshotError) as raised:
        Snapshot.open(tmp_path / "s")
    assert len(str(raised.value).splitlines()) == 1


def test_a_part_that_the_manifest_does_not_know_is_refused(tmp_path: Path) -> None:
    """A finished snapshot is what its manifest says, no more and no less."""
    store = rich_store()
    experiments = sorted(store.experiments.values(), key=lambda item: item.experiment_id)
    snapshot = Snapshot.create(tmp_path / "s", ORIGIN, experiments)
    capture(reader(store), snapshot, experiments, ["runs"], "digest", include_deleted=True, count=ignore)
    snapshot.finish()
    assert "not in this snapshot" in str(snapshot.view(experiments[0]).problem("metrics"))
    read(tmp_path / "other", reader(store), finish=True)
    for name in ("metrics.json", "metrics.parquet", "points.parquet"):
        shutil.copy(tmp_path / "other" / "experiments" / "1" / name, tmp_path / "s" / "experiments" / "1" / name)
    with pytest.raises(SnapshotError, match="not the one in the manifest"):
        Snapshot.open(tmp_path / "s").view(experiments[0])


def test_a_part_that_a_snapshot_lacks_is_unverified(tmp_path: Path) -> None:
    """A snapshot of runs alone stands for the server's runs; histories and artifacts are not judged, and red."""
    store = rich_store()
    experiments = sorted(store.experiments.values(), key=lambda item: item.experiment_id)
    snapshot = Snapshot.create(tmp_path / "s", ORIGIN, experiments)
    capture(reader(store), snapshot, experiments, ["runs"], "digest", include_deleted=True, count=ignore)
    snapshot.finish()
    done = audited(tmp_path / "scratch", Location("snapshot", str(tmp_path / "s")), same_ids(store))
    assert {str(item.state) for item in done.result.findings} == {"unverified"}
    unread = {"metrics", "artifacts", "model_inputs", "model_outputs"}
    assert {row.facet for row in done.ledger.red if row.kind in ("experiment", "run")} == unread
    # of every other kind it is not known whether there is any
    assert {row.kind for row in done.ledger.red} == {"run", *KINDS}
    whole = [item for item in done.result.findings if item.facet not in ("model_inputs", "model_outputs")]
    assert all("not in this snapshot" in item.explanation for item in whole)
