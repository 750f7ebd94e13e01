"""Import of experiments, runs and logged models: nothing lost, nothing twice, what cannot be moved is named."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from support.audits import audit
from support.exported import export
from support.importer import Migration
from support.killed import import_killed
from support.migrations import migrate_py
from support.seed import EPOCH, FILES, UMLAUT, Seeder, seed_small
from support.seed_models import MLMODEL, seed_models
from support.servers import FreshServer

from mlflow_parity.audit.renames import Renames
from mlflow_parity.comparing.trees import compare_mlmodel
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.journal import Journal
from mlflow_parity.migrating.known_losses import by_contract
from mlflow_parity.migrating.write.batches import entries, log
from mlflow_parity.migrating.write.files import Uploads, put_tree
from mlflow_parity.migrating.write.mlmodel import Place, model_ids, rewritten
from mlflow_parity.migrating.write.objects import experiments
from mlflow_parity.migrating.write.writing import Writer, open_writer
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server


class Source:
    """A server with every sort of run and logged model, and its export."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.seed = Seeder(server.uri)
        self.small = seed_small(server.uri, unicode_files=False)
        self.models = seed_models(server.uri)
        self._odd()
        self.export = export(server, folder)

    def _odd(self) -> None:
        """Add runs in ways that only old clients and people find."""
        seed = self.seed
        # longer than older servers take, where the experiment is there already
        seed.set_experiment_tag("0", "long", "x" * 6_000)
        seed.set_experiment_tag("0", "mlflow.note.content", "# The default")
        seed.end(seed.run("0", "in Default"))
        one = seed.experiment("odd runs", {"long": "x" * 4_000})
        # the child is older than its parent, and a run can be its own parent
        child = seed.run(one, "child", start=EPOCH)
        parent = seed.run(one, "parent", start=EPOCH + 9)
        seed.log(child, tags={"mlflow.parentRunId": parent})
        seed.log(parent, tags={"mlflow.parentRunId": parent})
        gone = seed.run(one, "gone", start=EPOCH + 10)
        seed.run(one, "child of a gone run", parent=gone)
        seed.run(one, "child of no run", parent="f" * 32)
        seed.delete_run(gone)
        full = seed.run(one, "full", tags={f"tag {n}": "t" * 100 for n in range(130)})
        seed.log(full, params={f"p{n:03}": "ü" * 3_000 for n in range(100)})
        seed.log(full, params={f"q{n:03}": str(n) for n in range(30)})
        points = [(f"m{n % 7}", n / 3, EPOCH + n, n) for n in range(2_500)]
        seed.log(full, metrics=points, tags={"note": UMLAUT})
        unnamed = seed.run(one, "unnamed")
        seed.call("POST", "runs/delete-tag", {"run_id": unnamed, "key": "mlflow.runName"})
        seed.call("POST", "runs/delete-tag", {"run_id": unnamed, "key": "mlflow.user"})
        ended = seed.run(one, "without an end")
        seed.call("POST", "runs/update", {"run_id": ended, "status": "KILLED"})
        seed.call("POST", "runs/update", {"run_id": seed.run(one, "scheduled"), "status": "SCHEDULED"})


@pytest.fixture(scope="module")
def source(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The newest server as source, shared by this module; tests only read it."""
    return Source(module_server(), tmp_path_factory.mktemp("source") / "export")


def moved(folder: ExportFolder, target: str, journal: Path, **options: Any) -> Migration:
    """Import everything and return the closed import."""
    migration = Migration(folder, target, journal, **options)
    try:
        migration.run()
    finally:
        migration.close()
    return migration


def written(migration: Migration) -> int:
    """Return how many requests an import sent to write."""
    return migration.context.writer.sent


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "3.4.0"])
def test_old_sources_arrive_whole(fresh_server: FreshServer, tmp_path: Path, version: str) -> None:
    """What an older server holds is on the newest one, times, user and status included; again: nothing is written."""
    server, target = fresh_server(version), fresh_server()
    seed_small(server.uri, unicode_files=False)
    if version.startswith("3."):
        seed_models(server.uri)
    folder = export(server, tmp_path / "export")
    assert not moved(folder, target.uri, tmp_path / "journal").left
    done = audit(tmp_path / "audit", server.uri, target.uri, "--parity-include-deleted")
    assert done.status == 0, done.output[-3000:]
    # not even what the contract would let pass
    facets = {(row.kind, row.facet) for row in done.rows() if row.rules}
    assert not facets & {("run", "times"), ("run", "user"), ("run", "tags"), ("run", "params")}
    again = moved(folder, target.uri, tmp_path / "journal")
    assert (written(again), again.left) == (0, {})


@pytest.mark.long
def test_everything_arrives_on_a_proxied_target(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every sort of run and logged model; a second import writes nothing, and reads no run."""
    target = fresh_server()
    first = moved(source.export, target.uri, tmp_path / "journal")
    assert not first.left
    done = audit(tmp_path / "audit", source.server.uri, target.uri, "--parity-include-deleted")
    assert done.status == 0, done.output[-3000:]
    again = moved(source.export, target.uri, tmp_path / "journal")
    assert written(again) == 0
    assert again.context.reader.session.counts["run"] == 0
    # points, params and tags of the full run come in four requests: 2,500 points and 130 params, tags with the run
    calls = first.context.writer.counts
    runs = len(list(source.export.root.glob("experiments/*/runs/*")))
    assert calls["/api/2.0/mlflow/runs/create"] == runs
    assert calls["/api/2.0/mlflow/runs/log-batch"] <= runs


@pytest.mark.long
def test_everything_arrives_on_an_app(
    source: Source, sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same by ARN, into an App that keeps its artifacts in S3."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    endpoint = sagemaker_app.gateway.endpoint
    renames = Renames(experiments={"Default": "Default of the runs' test"})
    first = moved(source.export, sagemaker_app.arn, tmp_path / "journal", endpoint=endpoint, renames=renames)
    assert not first.left
    rename = tmp_path / "rename.toml"
    rename.write_text('[experiments]\n"Default" = "Default of the runs\' test"\n')
    env = sagemaker_app.environment()
    selected = [
        "--parity-include-deleted",
        "--parity-rename",
        str(rename),
        "--parity-experiments",
        ",".join(one.name for one in source.export.snapshot.experiments),
    ]
    done = audit(tmp_path / "audit", source.server.uri, sagemaker_app.arn, *selected, env=env)
    assert done.status == 0, done.output[-3000:]
    again = moved(source.export, sagemaker_app.arn, tmp_path / "journal", endpoint=endpoint, renames=renames)
    assert written(again) == 0


@pytest.mark.long
def test_killed_imports_end_like_one(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Killed again and again, before, during and after requests, and gone on with: nothing is lost or there twice."""
    target = fresh_server()
    assert import_killed(source.export.root, target.uri, tmp_path / "journal") > 10
    again = moved(source.export, target.uri, tmp_path / "journal")
    assert (written(again), again.left) == (0, {})
    done = audit(tmp_path / "audit", source.server.uri, target.uri, "--parity-include-deleted")
    assert done.status == 0, done.output[-3000:]


class _Killed(BaseException):
    """The process ends here: nothing of the import sees it."""


def test_killed_twice_at_one_experiment(
    fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed right after its request, and again when the second one was refused: it is ours, and is deleted."""
    server, target = fresh_server(), fresh_server()
    seed = Seeder(server.uri)
    seed.call("POST", "experiments/delete", {"experiment_id": seed.experiment("abandoned")})
    folder = export(server, tmp_path / "export")
    create, killed = Writer.create, Mock(side_effect=_Killed)

    def killed_after(*parts: Any, **more: Any) -> None:
        create(*parts, **more)
        raise _Killed

    for owner, name, change in ((Writer, "create", killed_after), (experiments, "_find", killed)):
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, change)
            with pytest.raises(_Killed):
                moved(folder, target.uri, tmp_path / "journal")
    assert not moved(folder, target.uri, tmp_path / "journal").left
    found = Seeder(target.uri).call("GET", "experiments/get-by-name", {"experiment_name": "abandoned"})
    assert found["experiment"]["lifecycle_stage"] == "deleted"


@pytest.mark.long
def test_without_deleted_runs(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Deleted runs and experiments stay behind; what hangs on them keeps its dead links; a left out point is named."""
    target = fresh_server()
    folder = export(source.server, tmp_path / "export", include_deleted=False)
    done = moved(folder, target.uri, tmp_path / "journal", include_deleted=False)
    gone = source.models["deleted maker"]
    why = f"1 metric points of run {gone}, which is not on the target"
    assert done.left == {"left": by_contract("logged_model.metrics.left-out", why)}
    entry = next(iter(done.entries))
    assert (entry.kind, entry.state) == ("logged_model", "unmovable")
    found = audit(tmp_path / "audit", source.server.uri, target.uri)
    assert found.status == 0, found.output[-3000:]
    [row] = [row for row in found.rows() if (row.kind, row.name, row.facet) == ("logged_model", "left", "metrics")]
    assert (row.state.value, row.rules) == ("expected", ("logged_model.metrics.left-out",))


def test_incremental_import_moves_what_is_new(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What came and what changed since is moved; what was moved before is not touched."""
    server, target = fresh_server(), fresh_server()
    seed = Seeder(server.uri)
    one = seed.experiment("grows", {"stage": "early"})
    old, running = seed.run(one, "old"), seed.run(one, "running")
    for run in (old, running):
        seed.log(run, params={"a": "1"}, metrics=[("m", 0.5, EPOCH, 0)])
    seed.end(old)
    assert not moved(export(server, tmp_path / "first"), target.uri, tmp_path / "journal").left
    seed.log(running, params={"b": "2"}, tags={"new": "yes"}, metrics=[("m", 0.25, EPOCH + 1, 1)])
    seed.end(running)
    seed.artifact(running, "late.txt", b"late")
    seed.end(seed.run(one, "new", parent=running))
    seed.set_experiment_tag(one, "stage", "late")
    again = moved(export(server, tmp_path / "second"), target.uri, tmp_path / "journal")
    assert not again.left
    assert again.context.writer.counts["/api/2.0/mlflow/runs/create"] == 1
    assert again.told["runs"] == 2
    # of the old point nothing is sent again
    assert again.told["points"] == 1
    done = audit(tmp_path / "audit", server.uri, target.uri, "--parity-include-deleted")
    assert done.status == 0, done.output[-3000:]


@pytest.mark.long
def test_discarded_batches_keep_what_waits(fresh_server: FreshServer, tmp_path: Path) -> None:
    """With one experiment a batch, files of a logged model whose run comes later are there when they are needed."""
    server, target = fresh_server(), fresh_server()
    models = seed_models(server.uri)
    command = ["run", "--source-uri", server.uri, "--target-uri", target.uri, "--work-dir", str(tmp_path / "work")]
    done = migrate_py(tmp_path, *command, "--discard-export", "--batch-size", "1", "--include-deleted")
    assert done.status == 0, done.output[-3000:]
    journal = Journal(next((tmp_path / "work").rglob("journal*.sqlite")))
    assert journal.state("logged_model", models["of a stranger"]) == "done"
    journal.close()


@pytest.mark.long
def test_what_cannot_be_moved_is_named(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """A lost file, a tag that the target refuses, a deleted experiment in the way: named, and the rest moved."""
    target = fresh_server("3.4.0")
    seed = Seeder(target.uri)
    seed.delete_experiment(seed.experiment("abandoned"))
    folder = ExportFolder(tmp_path / "export")
    shutil.copytree(source.export.root, folder.root)
    # a file of a run, and one of a logged model whose run will be deleted before it can be completed
    lost = [folder.blobs.path(_sha256(content)) for content in (FILES["notes.txt"], b"left")]
    for number, blob in enumerate(lost):
        blob.rename(tmp_path / f"blob-{number}")
    left = moved(folder, target.uri, tmp_path / "journal").left
    assert left.keys() == {"sweep-0", "left", "Default", "abandoned", "user"}
    assert left["sweep-0"].startswith("file notes.txt: the export does not hold its bytes")
    assert left["left"].startswith("file data/weights.bin: the export does not hold its bytes")
    assert left["Default"].startswith("tag 'long': ")
    assert "5000" in left["Default"]
    assert left["abandoned"].startswith("the target has a deleted experiment of this name")
    # such a server finds a dataset by its name and digest in any experiment
    assert left["user"].startswith("dataset 'customers' with digest 'd1': the target's MLflow keeps one")
    # made good, both are completed and not made again
    for number, blob in enumerate(lost):
        (tmp_path / f"blob-{number}").rename(blob)
    again = moved(folder, target.uri, tmp_path / "journal")
    assert again.left.keys() == left.keys() - {"sweep-0", "left"}
    assert again.context.writer.counts["/api/2.0/mlflow/runs/create"] == 0
    done = audit(tmp_path / "audit", source.server.uri, target.uri, "--parity-include-deleted")
    red = {(row.experiment, row.kind, row.facet) for row in done.red_rows() if row.experiment != "abandoned"}
    assert red == {("Default", "experiment", "tags"), ("models", "run", "inputs")}


def test_refused_entries_do_not_keep_back_others(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What a server refuses of a batch is told entry by entry; all else is logged, in as few requests as can be."""
    server = fresh_server()
    seed = Seeder(server.uri)
    run = seed.run(seed.experiment("refused"), "run")
    writer, _ = open_writer(parse_location(server.uri, option="--target-uri"))
    params = {f"p{n}": "v" for n in range(40)} | {"bad|name": "v"}
    points = [("m", n / 7, EPOCH + n, n) for n in range(1_900)] + [("m", 1.0, -1, 0)]
    refused = log(writer, run, entries(params, points, {"bad|tag": "v", "good": "v"}))
    assert [line.partition(":")[0] for line in refused] == ["param 'bad|name'", "tag 'bad|tag'", "metric 'm'"]
    found = seed.call("GET", "runs/get", {"run_id": run})["run"]["data"]
    assert len(found["params"]) == 40
    assert {"key": "good", "value": "v"} in found["tags"]
    history = {"run_id": run, "metric_key": "m", "max_results": 25_000}
    assert len(seed.call("GET", "metrics/get-history", history)["metrics"]) == 1_900
    assert writer.sent < 60
    before = writer.sent
    assert log(writer, run, entries({}, [("n", 1.0, EPOCH, n) for n in range(1_900)], {"t": "v"})) == []
    assert writer.sent - before == 2
    writer.close()


def test_names_of_files(
    fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``#`` and ``%20`` arrive on S3 under their own names; a proxied target cannot hold them, which is named."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    blobs, files = Blobs(tmp_path), []
    for path in ("a#b.txt", "c%20d/e.txt", "größe 数据.txt", "plain/empty.bin"):
        content = b"" if path.endswith("bin") else path.encode()
        blob = blobs.open()
        blob.write(content)
        digest = _sha256(content)
        blob.keep(digest)
        files.append(Artifact(path, len(content), digest))
    tree = ArtifactTree("r", tuple(files))
    proxied = fresh_server().uri
    behind = sagemaker_app.server.uri
    endpoint = sagemaker_app.gateway.endpoint
    for target, place in ((proxied, proxied), (behind, behind), (sagemaker_app.arn, behind)):
        seed = Seeder(place)
        run = seed.run(seed.experiment(f"names of files, {target}"), "named")
        info = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]
        writer, found = open_writer(parse_location(target, option="--target", custom_endpoint=endpoint))
        uploads = Uploads(writer, found, blobs, TrustedPlaces([sagemaker_app.server.artifacts_root], list))
        done = put_tree(
            uploads, tree, Place("r", "s3://x/r"), Place(run, info["artifact_uri"]), lambda _: None, lambda _: None
        )
        writer.close()
        assert not done.failed
        names = {file["path"] for file in seed.call("GET", "artifacts/list", {"run_id": run})["files"]}
        if target == proxied:
            assert [line.partition(":")[0] for line in done.impossible] == ["file 'a#b.txt'", "file 'c%20d/e.txt'"]
            assert names == {"größe 数据.txt", "plain"}
        else:
            assert (done.impossible, done.files) == ([], 4)
            assert names == {"a#b.txt", "c%20d", "größe 数据.txt", "plain"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


SOURCE, TARGET = Place("a" * 32, "mlflow-artifacts:/1/models/m-1"), Place("b" * 32, "s3://bucket/2/models/m-2")
RUNS, MODELS = {"a" * 32: "b" * 32, "c" * 32: "d" * 32}, {"m-1": "m-2"}


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (MLMODEL.format(uri=SOURCE.artifact_uri, run=SOURCE.run_id, model="m-1"), True),
        ("run_id: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'\r\nflavors: {}  # kept\r\n", True),
        ("run_id: cccccccccccccccccccccccccccccccc\nparent: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", True),
        ('{"run_id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "x": {"run_id": "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}}', False),
        ("flavors: {python_function: {env: conda.yaml}}\n", True),
    ],
)
def test_mlmodel_is_rewritten_as_the_audit_wants_it(content: str, lines: bool) -> None:
    """Ids become the target's as the audit expects; where lines tell enough, every other byte stays."""
    from mlflow_parity.comparing.trees import ModelIds

    old = content.encode()
    new = rewritten(old, SOURCE, TARGET, RUNS.get, MODELS.get)
    found = compare_mlmodel("MLmodel", old, new, SOURCE, TARGET, RUNS, ModelIds(MODELS))
    assert all(one.state.green for one in found), found
    if lines:
        undone = new.replace(TARGET.artifact_uri.encode(), SOURCE.artifact_uri.encode())
        for mine, copy in ({**RUNS, **MODELS}).items():
            undone = undone.replace(copy.encode(), mine.encode())
        assert undone == old


@pytest.mark.parametrize("content", [b"{run_id: " + b"a" * 32, b"- " + b"a" * 32, b"\xff\xfe\x00", b""])
def test_mlmodel_that_is_none_stays(content: bytes) -> None:
    """What is no YAML mapping arrives byte by byte."""
    assert rewritten(content, SOURCE, TARGET, RUNS.get, MODELS.get) == content
    assert model_ids(content) == set()
