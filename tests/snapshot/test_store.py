"""Snapshots: nothing is lost in writing, damage is refused, an interrupted one is resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from support.contract_case import source as sample
from support.contract_case import target
from support.memory import MemoryReader, Store, run_audit
from support.stores import restored, stores

from mlflow_parity.audit.side import Side
from mlflow_parity.core.errors import ReadError, SnapshotError, TransportError
from mlflow_parity.core.local.files import sealed, write_json
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import ArtifactTree, Run, Series
from mlflow_parity.core.scope import Depth
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot

PLACE = Location("http", "http://source", "http://source")


class Failing(MemoryReader):
    """Breaks at a chosen run, ``times`` times, with ``error``."""

    error: BaseException = TransportError("no usable answer after 7 tries: reset")
    at = ""
    part = ""
    times = 10**9

    def _break(self, part: str, run: Run) -> None:
        if self.part == part and run.run_id == self.at and self.times:
            self.times -= 1
            raise self.error

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """Break in the middle of the histories."""
        for run in runs:
            self._break("metrics", run)
            yield from super().histories([run])

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """Break in the middle of the artifacts."""
        for run in runs:
            self._break("artifacts", run)
            yield from super().artifacts([run], depth, shared)

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Break between two pages."""
        for page in super().runs(experiment_id):
            for run in page:
                self._break("runs", run)
            yield page


def failing(store: Store, part: str, error: BaseException | None = None, times: int = 10**9) -> Failing:
    """A reader that breaks at the second run."""
    reader = Failing(store, PLACE, 1)
    reader.part, reader.at, reader.times = part, store.runs[1].run_id, times
    if error is not None:
        reader.error = error
    return reader


@pytest.mark.long
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(store=stores())
def test_what_is_read_back_is_what_was_written(store: Store, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every run, point and file comes back as it was, NaN and -0.0 bit for bit."""
    import numpy as np

    from mlflow_parity.core.identity.digests import run_digest, series_digest

    folder = tmp_path_factory.mktemp("snapshot")
    run_audit(store, restored(store), snapshots=folder)
    snapshot = Snapshot.open(folder / "source")
    for experiment in store.experiments:
        view = snapshot.view(next(e for e in snapshot.experiments if e.experiment_id == experiment.experiment_id))
        assert view.experiment == experiment
        linked = [replace(run, model_inputs=(), model_outputs=()) for run in store.runs]
        wanted = {run.run_id: run for run in linked if run.experiment_id == experiment.experiment_id}
        assert {run.run_id: run_digest(run) for run in view.all_runs()} == {
            run_id: run_digest(run) for run_id, run in wanted.items()
        }
        for run_id, run in wanted.items():
            assert set(view.histories(run_id)) == set(run.metrics)
            for key in run.metrics:
                points = store.points[run_id, key]
                given_points = Series(
                    run_id,
                    key,
                    np.array([p[0] for p in points], np.int64),
                    np.array([p[1] for p in points], np.int64),
                    np.array([p[2] for p in points], np.float64),
                )
                assert series_digest(view.points(run_id, key)) == series_digest(given_points)
            files = {path: len(content) for (owner, path), content in store.files.items() if owner == run_id}
            assert {file.path: file.size for file in view.artifacts(run_id).files} == files


def test_a_snapshot_stands_for_the_server(tmp_path: Path) -> None:
    """With the source gone its snapshot gives the same verdict, green or red."""
    run_audit(sample(), restored(sample()), snapshots=tmp_path)
    kept = Side("source", Location("snapshot", str(tmp_path / "source")), None)
    assert not kept.live
    assert kept.snapshot.digest == Snapshot.open(tmp_path / "source").digest
    assert [item.name for item in kept.experiments()] == [item.name for item in kept.snapshot.experiments]


@pytest.mark.parametrize("name", ["runs.parquet", "metrics.parquet", "points.parquet", "artifacts.parquet"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "gone"])
def test_damage_is_refused_in_one_line(tmp_path: Path, name: str, damage: str) -> None:
    """A part that is not the one that was written is refused, never read as smaller."""
    run_audit(sample(), restored(sample()), snapshots=tmp_path)
    file = tmp_path / "source" / "experiments" / "1" / name
    content = file.read_bytes()
    if damage == "truncated":
        file.write_bytes(content[:-1])
    elif damage == "altered":
        file.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    else:
        file.unlink()
    _refused(tmp_path / "source", "damaged or truncated")


def test_a_lost_or_foreign_part_is_refused(tmp_path: Path) -> None:
    """A sidecar that is gone, or that of another snapshot, does not match the manifest."""
    run_audit(sample(), restored(sample()), snapshots=tmp_path / "one")
    other = sample()
    other.runs[0] = replace(other.runs[0], status="KILLED")
    run_audit(other, restored(other), snapshots=tmp_path / "two")
    part = Path("source") / "experiments" / "1"
    shutil.copytree(tmp_path / "two" / part, tmp_path / "one" / part, dirs_exist_ok=True)
    _refused(tmp_path / "one" / "source", "not the one in the manifest")
    (tmp_path / "two" / part / "metrics.json").unlink()
    _refused(tmp_path / "two" / "source", "is missing")


def _refused(root: Path, text: str) -> None:
    snapshot = Snapshot.open(root)
    with pytest.raises(SnapshotError, match=text) as caught:
        _ = [snapshot.view(experiment) for experiment in snapshot.experiments]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "other"}, "not a snapshot of mlflow-parity"),
        ({"version": 99}, "snapshot format 99"),
        ({"finished": None}, "unfinished"),
        ({"digest": "00"}, "does not match its digest"),
        ({"experiments": []}, "does not match its digest"),
        ({"parts": None}, "is damaged"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, change: dict[str, object], text: str) -> None:
    """Foreign, newer, unfinished and altered manifests are each refused for what they are."""
    run_audit(sample(), restored(sample()), snapshots=tmp_path)
    manifest = tmp_path / "source" / "manifest.json"
    write_json(manifest, sealed({**json.loads(manifest.read_text()), **change}))
    with pytest.raises(SnapshotError, match=text):
        Snapshot.open(tmp_path / "source")
    manifest.write_text("{")
    with pytest.raises(SnapshotError, match=r"manifest\.json is damaged or truncated"):
        Snapshot.open(tmp_path / "source")
    manifest.unlink()
    with pytest.raises(SnapshotError, match="not a snapshot"):
        Snapshot.open(tmp_path / "source")


@pytest.mark.parametrize("part", ["runs", "metrics", "artifacts"])
def test_an_interrupted_audit_resumes(tmp_path: Path, part: str) -> None:
    """Stopped midway and started again: the same digest as undisturbed, and what was finished is not read again."""
    store = sample()
    whole = run_audit(store, restored(store), snapshots=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run_audit(
            store,
            restored(store),
            snapshots=tmp_path / "cut",
            readers={"source": failing(store, part, KeyboardInterrupt())},
        )
    with pytest.raises(SnapshotError, match="unfinished"):
        Snapshot.open(tmp_path / "cut" / "source")
    # the Default experiment was finished the first time
    before = _seals(tmp_path / "cut" / "source")
    again = run_audit(store, restored(store), snapshots=tmp_path / "cut")
    assert again.result.green
    assert again.digests == whole.digests
    assert before.items() <= _seals(tmp_path / "cut" / "source").items()
    assert before or part == "runs"


def _seals(folder: Path) -> dict[Path, str]:
    """Every part's seal, which tells when it was read."""
    return {path: path.read_text() for path in folder.glob("*/*/*.json")}


def test_a_killed_audit_resumes(tmp_path: Path) -> None:
    """A process that dies without a word leaves nothing that is taken for finished."""
    store = sample()
    whole = run_audit(store, restored(store), snapshots=tmp_path / "whole")
    child = os.fork()
    if not child:
        reader = failing(store, "metrics")

        def die(part: str, run: Run) -> None:
            if part == "metrics" and run.run_id == store.runs[1].run_id:
                os._exit(9)

        reader._break = die  # type: ignore[method-assign]
        run_audit(store, restored(store), snapshots=tmp_path / "cut", readers={"source": reader})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    again = run_audit(store, restored(store), snapshots=tmp_path / "cut")
    assert again.result.green
    assert again.digests == whole.digests


def test_files_of_another_place_are_not_taken_over(tmp_path: Path) -> None:
    """An audit that was cut off, and goes on with another place for the same server's files, reads them there."""
    server = Origin("http://a", "http", "", {})
    Snapshot.create(tmp_path / "kept", replace(server, artifacts="s3://one"), [])
    part = tmp_path / "kept" / "experiments" / "1" / "artifacts.json"
    for place, stays in (("s3://one", True), ("s3://other", False)):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("{}")
        Snapshot.create(tmp_path / "kept", replace(server, artifacts=place), [])
        assert part.exists() is stays


def test_what_another_database_told_is_not_taken_over(tmp_path: Path) -> None:
    """An audit that goes on without the database, or beside another one, reads all again; else it does not."""
    server = Origin("http://a", "http", "", {})
    one = replace(server, database="postgresql://h/d", database_digest="1", database_at=("then",))
    part = tmp_path / "kept" / "experiments" / "1" / "metrics.json"

    def goes_on(origin: Origin) -> bool:
        Snapshot.create(tmp_path / "kept", origin, [])
        stays = part.exists()
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("{}")
        return stays

    goes_on(one)
    assert goes_on(replace(one, database_at=("now",)))
    assert Snapshot.open(tmp_path / "kept", finished=False).origin.database_at == ("then", "now")
    others = (replace(one, database_digest="2"), server, replace(one, database="postgresql://i/d"), server)
    assert [goes_on(other) for other in others] == [False] * len(others)
    assert Snapshot.open(tmp_path / "kept", finished=False).origin.database_at == ()
    # as it was written before it told: whether a database was read is not known
    manifest = json.loads((tmp_path / "kept" / "manifest.json").read_text())
    for name in ("database", "database_digest", "database_at"):
        del manifest["origin"][name]
    write_json(tmp_path / "kept" / "manifest.json", sealed(manifest))
    assert Snapshot.open(tmp_path / "kept", finished=False).origin.database is None
    assert not goes_on(server)


def test_a_finished_snapshot_is_kept_aside(tmp_path: Path) -> None:
    """A new audit reads again: the old snapshot is not taken for the server, and not lost."""
    store = sample()
    run_audit(store, restored(store), snapshots=tmp_path)
    changed = restored(store)
    changed.runs[0] = replace(changed.runs[0], status="KILLED")
    audited = run_audit(store, changed, snapshots=tmp_path)
    assert {facet for _, facet, _, _ in audited.found} == {"status"}
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == 4
    assert all(Snapshot.open(tmp_path / name).is_finished for name in kept)
    assert any("kept as source-" in note for note in audited.result.notes)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """Nothing of the user's is overwritten, and another server's unfinished snapshot is not continued."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "thesis.tex").write_text("x")
    with pytest.raises(SnapshotError, match="holds other files"):
        run_audit(sample(), restored(sample()), snapshots=tmp_path)
    assert (tmp_path / "source" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("part", ["runs", "metrics", "artifacts"])
def test_what_cannot_be_read_is_unverified(tmp_path: Path, part: str) -> None:
    """A read error makes the facets that rest on it unverified, with the reason; it is never a match."""
    store = sample()
    audited = run_audit(store, target(), readers={"source": failing(store, part)}, snapshots=tmp_path)
    assert not audited.result.green
    red = {row.facet for row in audited.rows if not row.state.green and row.experiment == "main"}
    from mlflow_parity.kinds.rules import contract

    assert red == (set(contract.RUN_FACETS) if part == "runs" else {part})
    assert {state for _, _, _, state in audited.found} == {"unverified"}
    assert all("reset" in finding.explanation for finding in audited.result.findings)


@pytest.mark.parametrize("part", ["metrics", "artifacts"])
def test_a_part_that_failed_is_read_again_when_resumed(tmp_path: Path, part: str) -> None:
    """An error that has passed when the suspects are read once more leaves no finding, but a note."""
    store = sample()
    audited = run_audit(store, restored(store), readers={"source": failing(store, part, times=1)}, snapshots=tmp_path)
    # the part as a whole is not there, so it cannot be confirmed piece by piece: honest, not green
    assert not audited.result.green
    again = run_audit(store, restored(store), snapshots=tmp_path / "again")
    assert again.result.green


class Forgetful(MemoryReader):
    """Leaves a run out of the histories and trees that it delivers."""

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """All but the last run's."""
        yield from super().histories([run for run in runs if run.run_id != self.store.runs[-1].run_id])

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """All but the last run's."""
        yield from super().artifacts([run for run in runs if run.run_id != self.store.runs[-1].run_id], depth, shared)


def test_what_was_left_out_is_unverified() -> None:
    """A history or tree that nobody delivered is not an empty one, not even when both sides lack it."""
    store, copied = sample(), target()
    audited = run_audit(
        store, copied, readers={"source": Forgetful(store, PLACE, 1), "target": Forgetful(copied, PLACE, 1)}
    )
    found = {(name, facet, state) for name, facet, _, state in audited.found}
    assert found == {("run-1", "metrics", "unverified"), ("run-1", "artifacts", "unverified")}


class Wavering(MemoryReader):
    """Answers wrongly the first time it is asked for a run's status."""

    first = True

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """The truth from the second time on."""
        lie, self.first = self.first and experiment_id != "0", self.first and experiment_id == "0"
        for page in super().runs(experiment_id):
            yield [replace(run, status="RUNNING") for run in page] if lie else page


def test_suspects_are_read_once_more() -> None:
    """What is gone at the second look is no finding; the report says that something moved."""
    store = sample()
    audited = run_audit(store, restored(store), readers={"target": Wavering(restored(store), PLACE, 1)})
    assert audited.found == set()
    assert audited.result.green
    assert audited.result.settled == 2


def test_a_server_that_is_gone_at_the_second_look_leaves_the_finding() -> None:
    """When the suspects cannot be read again the first reading stands, and the report says so."""
    store, copied = sample(), restored(sample())
    copied.runs[0] = replace(copied.runs[0], status="KILLED")

    class Gone(MemoryReader):
        def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
            raise ReadError("the server is gone")

    audited = run_audit(store, copied, readers={"target": Gone(copied, PLACE, 1)})
    assert {(facet, state) for _, facet, _, state in audited.found} == {("status", "mismatch")}
    assert any("could not be read again" in note for note in audited.result.notes)


def test_killed_while_the_manifest_was_written(tmp_path: Path) -> None:
    """A manifest that was never finished is nobody's file: the next audit begins there, and not where others are."""
    (tmp_path / ".manifest.json.123.tmp").write_text("{")
    origin = Origin("http://127.0.0.1:1", "http", None, {})
    assert not Snapshot.create(tmp_path, origin, []).is_finished
    other = tmp_path / "other"
    other.mkdir()
    (other / "precious").touch()
    with pytest.raises(SnapshotError, match="other files"):
        Snapshot.create(other, origin, [])
