"""Killed at any moment an audit goes on where it was; what is left of it is never taken for more than it is."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.audits import audit
from support.copied import audited, copied_pair, kept
from support.killed_audit import audit_killed
from support.servers import FreshServer, ServerPool

from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.core.locations import parse_location
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot import FORMAT_VERSION, PARTS, SERVER_PARTS
from mlflow_parity.snapshot.capture import capture
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.standin.servers import Server

NEWER = FORMAT_VERSION + 1


@pytest.fixture(scope="module")
def pair(server_pool: ServerPool, module_server: FreshServer) -> tuple[Server, Server]:
    """A source with every kind of object and its copy."""
    return copied_pair(server_pool, module_server)


@pytest.mark.long
def test_killed_again_and_again(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Twenty-four kills, one folder: both digests are those of an undisturbed audit, nothing is left half written."""
    source, target = (server.uri for server in pair)
    whole = audited(source, target, snapshots=tmp_path / "whole")
    assert whole.green, whole.reasons
    found = audit_killed(source, target, tmp_path / "cut", kills=24)
    assert found["killed"] == 24
    # most of them left something to go on with
    assert found["midway"] >= 8
    # and it was gone on with, rather than read again from the beginning each time
    assert found["taken over"] >= 8
    assert found["green"], found["why"]
    assert found["digests"] == whole.digests
    for name in ("source", "target"):
        kept = Snapshot.open(tmp_path / "cut" / name)
        kept.verify()
        assert kept.digest == whole.digests[name]
        assert not [*kept.root.rglob(".*.tmp")]
    # every audit that had come to the end of a side kept it; each is whole, and the same
    for older in (tmp_path / "cut").glob("*-*"):
        assert Snapshot.open(older).digest == whole.digests[older.name.partition("-")[0]]


def damages(content: bytes, chance: random.Random) -> Iterator[tuple[str, bytes | None]]:
    """Yield what may become of a file: one bit, cut off, empty, gone, and more than it was."""
    for _ in range(3):
        at = chance.randrange(len(content))
        yield f"bit at {at}", content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
    yield "last byte cut off", content[:-1]
    yield "half", content[: len(content) // 2]
    yield "empty", b""
    yield "gone", None
    yield "longer", content + b"\n"


@pytest.fixture(scope="module")
def snapshot(pair: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The target, read whole."""
    return Path(kept(pair[1].uri, tmp_path_factory.mktemp("snapshot") / "target"))


def opened(snapshot: Path) -> Side:
    """Open a snapshot as an audit does."""
    return Side("target", parse_location(str(snapshot), option="--target-uri"), None)


@pytest.mark.long
def test_any_damage_of_any_file_is_refused(snapshot: Path) -> None:
    """In one line, before anything of it is used; the whole snapshot is good again afterwards."""
    chance = random.Random(5)
    files = sorted(path for path in snapshot.rglob("*") if path.is_file())
    assert {path.suffix for path in files} == {".json", ".parquet"}
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        for what, damaged in damages(content, chance):
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            with pytest.raises(SnapshotError) as refused:
                opened(snapshot)
            assert "\n" not in str(refused.value), what
            path.write_bytes(content)
    assert opened(snapshot).snapshot.is_finished


@pytest.mark.parametrize("name", ["manifest.json", "experiments/1/runs.json"])
@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_no_byte_of_what_is_written_of_it_can_change(snapshot: Path, name: str, data: st.DataObject) -> None:
    """Whatever byte becomes whatever other byte in what tells the size, depth and scope of a snapshot."""
    path = snapshot / name
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != content[at]))
    _refused_with(path, content, at, byte)


@pytest.mark.parametrize("name", ["manifest.json", "experiments/1/runs.json"])
def test_no_line_end_and_no_space_of_it_can_change(snapshot: Path, name: str) -> None:
    """Nor what JSON, or a file that is read as text, takes for the same."""
    path = snapshot / name
    content = path.read_bytes()
    for blank in (b"\n", b" "):
        at = content.index(blank)
        for other in b"\n\r\t ":
            if other != blank[0]:
                _refused_with(path, content, at, other)
    assert Snapshot.open(snapshot).check("1", "runs")


def _refused_with(path: Path, content: bytes, at: int, byte: int) -> None:
    snapshot = path.parents[2] if path.parent.name == "1" else path.parent
    path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
    try:
        with pytest.raises(SnapshotError) as refused:
            Snapshot.open(snapshot).check("1", "runs")
        assert "\n" not in str(refused.value)
    finally:
        path.write_bytes(content)


@pytest.fixture(scope="module")
def unfinished(pair: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unfinished snapshot of the source, all of its parts there."""
    folder = tmp_path_factory.mktemp("unfinished")
    audited(pair[0].uri, pair[1].uri, snapshots=folder)
    manifest = folder / "source" / "manifest.json"
    content = json.loads(manifest.read_text())
    write_json(manifest, sealed({**content, "finished": None, "digest": None, "parts": {}}))
    return folder


@pytest.mark.long
def test_damage_of_an_unfinished_snapshot_is_refused(
    pair: tuple[Server, Server], unfinished: Path, snapshot: Path
) -> None:
    """A damaged part is neither resumed nor silently read again: the folder is not what it was."""
    chance = random.Random(6)
    root = unfinished / "source"
    origin, experiments = Snapshot.open(root, finished=False).origin, Snapshot.open(root, finished=False).experiments

    # nobody is asked before the damage is seen
    reader = cast(Reader, object())

    def resume() -> None:
        resumed = Snapshot.create(root, origin, experiments)
        parts = [*PARTS, *SERVER_PARTS]
        capture(reader, resumed, experiments, parts, "digest", include_deleted=True, count=uncounted)

    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        for _, damaged in damages(content, chance):
            if damaged is None and path.suffix == ".json":
                # without its sidecar a part is not there, and is read; without a manifest there is no snapshot
                continue
            path.unlink()
            if damaged is not None:
                path.write_bytes(damaged)
            before = (root / "manifest.json").read_bytes()
            with pytest.raises(SnapshotError) as refused:
                resume()
            assert "\n" not in str(refused.value)
            (root / "manifest.json").write_bytes(before)
            path.write_bytes(content)


@pytest.mark.long
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"depth": "listing"},
            "--parity-depth digest --parity-include-deleted, not --parity-depth listing --parity-include-deleted",
        ),
        ({"include_deleted": False}, "not --parity-depth digest;"),
        ({"experiments": ("churn",)}, "--parity-experiments churn"),
        ({"exclude_experiments": ("Default",)}, "--parity-exclude-experiments Default"),
    ],
)
def test_an_unfinished_snapshot_of_other_wishes_is_refused(
    pair: tuple[Server, Server], unfinished: Path, change: dict[str, Any], says: str
) -> None:
    """Another depth or scope would make a snapshot of two minds."""
    with pytest.raises(SnapshotError, match=re.escape(says)) as refused:
        audited(pair[0].uri, pair[1].uri, snapshots=unfinished, **change)
    assert "\n" not in str(refused.value)


def test_an_unfinished_snapshot_of_another_server_is_refused(pair: tuple[Server, Server], unfinished: Path) -> None:
    """The same content under another address is another server."""
    with pytest.raises(SnapshotError, match="holds an unfinished snapshot of"):
        audited(pair[1].uri, pair[0].uri, snapshots=unfinished)


@pytest.mark.long
@pytest.mark.parametrize(
    ("narrow", "says"),
    [
        ({"depth": "listing"}, "--parity-depth listing, not digest"),
        ({"include_deleted": False}, "without --parity-include-deleted"),
        ({"experiments": ("Def*",)}, "--parity-experiments 'Def*'"),
        ({"exclude_experiments": ("churn",)}, "--parity-exclude-experiments churn"),
    ],
)
def test_a_narrower_snapshot_does_not_stand_for_the_server(
    pair: tuple[Server, Server], tmp_path: Path, narrow: dict[str, Any], says: str
) -> None:
    """One line and exit status 4, also through pytest; for what it was read it does stand."""
    asked = {"depth": "digest", "include_deleted": True, "experiments": (), "exclude_experiments": (), **narrow}
    narrow_copy = kept(pair[1].uri, tmp_path / "narrow", asked=Asked(**asked))
    with pytest.raises(SnapshotError, match=re.escape(says)):
        audited(pair[0].uri, narrow_copy)
    if not narrow.keys() & {"experiments", "exclude_experiments"}:
        outcome = audited(pair[0].uri, narrow_copy, **narrow)
        assert outcome.green, outcome.reasons
    if "depth" in narrow:
        done = audit(tmp_path, pair[0].uri, narrow_copy, "--parity-include-deleted", "--parity-profile", "same-store")
        assert done.status == 4, done.output
        [line] = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
        assert says in line
        assert "Traceback" not in done.output
        assert done.report["verdict"] == "none"


def test_exit_status_of_damage_and_of_a_newer_format(
    pair: tuple[Server, Server], snapshot: Path, tmp_path: Path
) -> None:
    """Through pytest: one line, exit status 4, no report."""
    for number, (name, says) in enumerate(
        {"server/registry.parquet": "damaged", "manifest.json": f"format {NEWER}"}.items()
    ):
        copy = tmp_path / str(number)
        shutil.copytree(snapshot, copy)
        content = bytearray((copy / name).read_bytes())
        content[40] ^= 1
        (copy / name).write_bytes(content)
        if name == "manifest.json":
            write_json(copy / name, sealed({**json.loads((snapshot / name).read_text()), "version": NEWER}))
        done = audit(tmp_path / f"audit {number}", pair[0].uri, str(copy))
        assert done.status == 4, done.output
        [line] = [line for line in done.output.splitlines() if line.startswith("ERROR: ")]
        assert says in line
        assert done.report["verdict"] == "none"
