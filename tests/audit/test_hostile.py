"""Hostile data: nothing of it is run, loaded or written elsewhere, no report obeys it, and the terminal stays sane."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import tracemalloc
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import warm
from support.audits import audit
from support.browser import Page, assert_inert, listening, opened
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, Spoil, proxying
from support.seed import Seeder
from support.seed_hostile import alter, bombs, seed_hostile, texts
from support.servers import FreshServer, emptied

from mlflow_parity.comparing.trees import ModelIds, compare_mlmodel, parses, without_ids
from mlflow_parity.core.local.files import folder_name
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.text import visible
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.write.files import Uploads
from mlflow_parity.migrating.write.mlmodel import Place, rewritten
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server, clean_environment

#: Put before a program: writes down what it writes, starts, unpickles and compiles. ``exec`` itself is every import.
WATCH = """
import json, os, sys

def _watch(file=os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)):
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    places = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
              "sqlite3.connect", "shutil.copyfile", "shutil.move")
    starting = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.startfile", "pty.spawn",
                "pickle.find_class", "webbrowser.open")

    def hook(event, arguments):
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int) or not flags & writing:
                return
            found = ["write", os.path.abspath(os.fsdecode(path))]
        elif event in places:
            # the number of an open folder, where a path is meant from there on
            fd = arguments[-1] if event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename") else -1
            base = os.readlink(f"/proc/self/fd/{{fd}}") if fd >= 0 else os.getcwd()
            paths = [os.fsdecode(one) for one in arguments if isinstance(one, (str, bytes))]
            found = ["write", *(os.path.normpath(os.path.join(base, path)) for path in paths)]
        elif event in starting:
            found = ["start", event, repr(arguments)[:500]]
        elif event == "compile" and "owned" in str(arguments[0])[:100_000]:
            found = ["start", event, str(arguments[0])[:500]]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            found = ["connect", *map(str, arguments[1][:2])]
        else:
            return
        os.write(file, (json.dumps(found) + "\\n").encode())

    sys.addaudithook(hook)

_watch()
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a process did."""

    written: frozenset[str]
    started: tuple[str, ...]
    connected: frozenset[str]

    @classmethod
    def of(cls, log: Path) -> Watched:
        """Read the log of a watched process."""
        found = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        return cls(
            frozenset(path for kind, *paths in found if kind == "write" for path in paths),
            tuple(" ".join(what) for kind, *what in found if kind == "start"),
            frozenset(":".join(where) for kind, *where in found if kind == "connect"),
        )


def assert_sane(output: str, *, colour: bool = False) -> None:
    """No byte that a terminal obeys, but for the line's end and, with ``colour``, pytest's own colours."""
    text = re.sub("\x1b\\[[0-9;]*m", "", output) if colour else output
    odd = {letter for letter in text if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn")}
    assert odd <= {"\n"}, sorted(map(hex, map(ord, odd)))


def claiming(claimed: Mapping[str, Sequence[str]]) -> Spoil:
    """Name files of runs (by id) that no disk has, and the runs in the listing of each experiment's place."""

    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        names = next((names for run, names in claimed.items() if run in exchange.path), None)
        if names is not None and "path=" in exchange.path:
            files = [{"path": name, "is_dir": False, "file_size": 3} for name in names]
            content = json.dumps({"files": files}).encode()
        elif re.search(r"path=\d+$", exchange.path):
            # else a place that does not name them may be believed
            files = [*json.loads(content).get("files", []), *({"path": run, "is_dir": True} for run in claimed)]
            content = json.dumps({"files": files}).encode()
        exchange.answer(code, headers, content)

    return spoil


@dataclass(frozen=True, slots=True)
class World:
    """A hostile source that was migrated by a watched process, and what came of it."""

    source: Server
    target: Server
    runs: Mapping[str, str]
    web: str
    asked: list[str]
    folder: Path
    canary: Path
    output: str
    did: Watched


@pytest.fixture(scope="module")
def world(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The source, and a target to which ``migrate.py`` has moved all that can be moved."""
    source, target = module_server(), module_server()
    folder = tmp_path_factory.mktemp("hostile")
    canary, log, moving = folder / "owned", folder / "migrate.log", folder / "moving"
    moving.mkdir()
    with listening() as (web, asked):
        runs = seed_hostile(source, web, canary)
        program = WATCH.format(log=str(log))
        program += "from mlflow_parity.migrating.command import main\nsys.exit(main(sys.argv[1:]))\n"
        command = ["-c", program, "run", "--source-uri", source.uri, "--target-uri", target.uri, "--no-verify"]
        done = warm.run(command, kind="mlflow", cwd=moving, env=clean_environment())
        output = done.stdout + done.stderr
        # but for files of names that no proxy takes, all of it was moved
        assert done.returncode == 1, output
        assert "Not moved: 1\n" in output
        yield World(source, target, runs, web, asked, folder, canary, output, Watched.of(log))


def _outside(did: Watched, *places: Path) -> set[str]:
    """Return what was written elsewhere than in these places, the temporary folder and the compiled modules."""
    allowed = tuple(f"{place}/" for place in (*places, tempfile.gettempdir()))
    # whoever makes sure that a folder is there "makes" it
    there = {"/dev/null", *(str(place.parent) for place in places)}
    written = {path for path in did.written - there if "__pycache__" not in Path(path).parts}
    return {path for path in written if not f"{path}/".startswith(allowed)}


@pytest.mark.long
def test_a_migration_of_it_is_harmless(world: World) -> None:
    """It writes in its work folder, starts nothing, unpickles nothing, and talks to both ends only."""
    assert _outside(world.did, world.folder / "moving") == set()
    assert world.did.started == ()
    assert world.did.connected == {end.uri.removeprefix("http://") for end in (world.source, world.target)}
    assert sorted(path.name for path in world.folder.iterdir()) == ["migrate.log", "moving"]
    assert sorted(path.name for path in (world.folder / "moving").iterdir()) == ["migration"]
    assert not world.canary.exists()
    assert_sane(world.output)
    work = world.folder / "moving" / "migration"
    for file in (work / "outcome.json", *(work / "logs").iterdir()):
        assert_sane(file.read_text(encoding="utf-8"))
    # what came to the target is where its server puts files of runs and traces
    files = [path.relative_to(world.target.artifacts_root) for path in Path(world.target.artifacts_root).rglob("*")]
    places = [str(path) for path in files if (Path(world.target.artifacts_root) / path).is_file()]
    assert len(places) > 40
    assert all(re.match(r"\d+/([0-9a-f]{32}/artifacts|traces/tr-[0-9a-f]{32}/artifacts)/[^/]+$", one) for one in places)


#: Names that a server claims to have, each for another run.
_CLAIMED = (["../x"], ["/etc/passwd"], ["a/../../b"], [".."], ["x", "x"])


@pytest.mark.long
def test_an_audit_of_it_is_harmless(world: World, tmp_path: Path) -> None:
    """Every text differs on the target, so that the report shows it: text it stays, in a browser and on a terminal."""
    alter(world.target)
    log, folder = tmp_path / "audit.log", tmp_path / "audit"
    folder.mkdir()
    (folder / "watching.py").write_text(WATCH.format(log=str(log)))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    claimed = dict(zip([name for name in world.runs if name != "script"], _CLAIMED, strict=False))
    with proxying(world.source.uri) as front:
        claims = {world.runs[name]: names for name, names in claimed.items()}
        front.faults.append(Fault("mlflow-artifacts", claiming(claims), times=10**9))
        done = audit(
            folder, front.uri, world.target.uri, "-p", "watching", "--junitxml=junit.xml", "--color=yes",
            "--parity-include-deleted", "--parity-depth=full", "--parity-max-findings=100", "-v",
            env={"PYTHONPATH": path},
        )  # fmt: skip
        ends = {front.uri.removeprefix("http://"), world.target.uri.removeprefix("http://")}
    assert done.status == 1, done.output[-3000:]
    did = Watched.of(log)
    assert _outside(did, done.reports, folder / "junit.xml") == set()
    assert did.started == ()
    assert did.connected == ends
    made = {path.name for path in folder.iterdir()} - {"__pycache__"}
    assert made == {"junit.xml", "reports", "watching.py"}
    assert sorted(path.name for path in done.reports.iterdir()) == ["ledger.parquet", "report.html", "report.json"]
    assert not world.canary.exists()

    assert_sane(done.output, colour=True)
    assert_sane((done.reports / "report.json").read_text(encoding="utf-8"))
    cases = ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")
    assert len(list(cases)) > 100
    # a claim is an error of that run's listing; what an MLmodel hides moved byte by byte, or with its run's id
    rows = {(row.name, row.facet): row for row in done.rows() if row.kind == "run"}
    hostile = texts(world.web, world.canary)
    refused = {name: rows[visible(hostile[name]), "artifacts"].state.value for name in claimed}
    assert {*refused.values()} == {"unverified"}, refused
    assert len(refused) == len(_CLAIMED)
    bombed = [row.state.value for (name, facet), row in rows.items() if facet == "artifacts" and name[:5] == "bomb "]
    assert len(bombed) == len(bombs(world.canary))
    assert {*bombed} == {"match", "expected"}

    assert_inert(Page((done.reports / "report.html").read_text(encoding="utf-8")))
    page = opened(done.reports / "report.html", tmp_path)
    assert world.asked == []
    assert page.title == "RED: MLflow migration audit"
    assert_inert(page)
    for name in ("script", "image", "cursor", "link", "turned"):
        assert visible(hostile[name])[:40] in page.text, name


@pytest.mark.long
@pytest.mark.parametrize("name", bombs(Path("owned")))
def test_a_bomb_in_an_mlmodel_does_not_go_off(name: str, tmp_path: Path) -> None:
    """It is looked at, compared and rewritten in seconds, and nothing of it is run."""
    canary = tmp_path / "owned"
    content = bombs(canary)[name]
    copy = content.replace(b"RUN", b"COPY")
    places = Place("RUN", "s3://source/root"), Place("COPY", "s3://target/root")
    lookup = {"RUN": "COPY"}.get
    began = time.process_time()
    parses(content)
    for theirs in (content, copy):
        compare_mlmodel("MLmodel", content, theirs, *places, {"RUN": "COPY"}, ModelIds())
    for mine in (content, content.replace(b"run_id: RUN", b"{run_id: RUN}")):
        new = rewritten(mine, *places, lookup, lookup)
        # as it was, or what the audit takes for the copy
        same = compare_mlmodel("MLmodel", mine, new, *places, {"RUN": "COPY"}, ModelIds())
        assert all(found.state.green for found in same)
    without_ids(content, ["RUN"])
    took = time.process_time() - began
    assert not canary.exists()
    assert took < 15


@pytest.mark.long
def test_names_that_lead_elsewhere_are_not_written(
    sagemaker_app: StandIn, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """S3 takes any key: what a proxied target would put into another folder is left, and said; the rest is moved."""
    target = fresh_server()
    client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)
    with emptied(sagemaker_app.server):
        seed = Seeder(sagemaker_app.server.uri)
        run = seed.run(seed.experiment("keys"), "keys")
        seed.end(run)
        root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        bad = ("../up", "../../../../up", "/etc/owned", "a//b", "./c", "a/./d", "a/../e", "b\\..\\..\\f", "..")
        for name in ("good/file.txt", *bad):
            client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"here")
        done = migrate_py(
            tmp_path, "run", "--source-uri", sagemaker_app.server.uri, "--target-uri", target.uri, "--no-verify",
            env=sagemaker_app.environment(),
        )  # fmt: skip
    assert done.status == 1, done.output
    [left] = json.loads((tmp_path / "migration" / "outcome.json").read_text(encoding="utf-8"))["unmoved"]
    assert left["kind"] == "run"
    assert [name for name in bad if repr(name) not in left["reason"]] == []
    files = [path for path in Path(target.artifacts_root).rglob("*") if path.is_file()]
    assert [path.parts[-3:] for path in files] == [("artifacts", "good", "file.txt")]


def test_a_key_is_written_below_its_root(sagemaker_app: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that begins with a slash stays where it belongs in S3."""
    for name, value in sagemaker_app.environment().items():
        monkeypatch.setenv(name, value)
    client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)
    client.create_bucket(Bucket="hostile-keys", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    writer, found = open_writer(sagemaker_app.location)
    names = ["/etc/owned", "../up", "a//b", "dot.", "CON"]
    for name in names:
        uploads = Uploads(writer, found, Blobs(Path("nowhere")), TrustedPlaces(["s3://hostile-keys"], list))
        uploads.put("s3://hostile-keys/root/of/run", name, b"x")
    writer.close()
    listed = client.list_objects_v2(Bucket="hostile-keys", MaxKeys=1000)["Contents"]
    assert sorted(one["Key"] for one in listed) == sorted(f"root/of/run/{name}" for name in names)


@pytest.mark.parametrize("identity", ["../../x", "/etc", "..", ".", "", "a/b", "a\\b", "x\0y"])
def test_ids_that_lead_elsewhere_are_folders_of_the_export(identity: str, tmp_path: Path) -> None:
    """Ids come from a server: each has a folder of its own in the export, and in a snapshot."""
    export = ExportFolder(tmp_path)
    for place in (
        export.experiment_dir(identity),
        export.run_dir("1", identity),
        export.model_dir("1", identity),
        tmp_path / folder_name(identity),
    ):
        assert place.resolve().is_relative_to(tmp_path.resolve())
        assert ".." not in place.parts
    assert export.experiment_dir("1") == tmp_path / "experiments" / "1"


#: Bytes of a file that takes no room on disk.
_LARGE = 300_000_000


@pytest.mark.long
def test_a_large_file_is_hashed_in_little_memory(fresh_server: FreshServer) -> None:
    """300 MB through the server's proxy; the memory does not depend on the size (5 GB: benchmarks/RESULTS.md)."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("large")
    run = seed.run(experiment, "large")
    file = Path(server.artifacts_root) / experiment / run / "artifacts" / "large.bin"
    file.parent.mkdir(parents=True)
    with file.open("wb") as sparse:
        sparse.truncate(_LARGE)
    location = parse_location(server.uri, option="--source-uri")
    reader = open_reader(location, "source", 4)
    [found] = [run for page in reader.runs(experiment) for run in page]
    tracemalloc.start()
    [tree] = reader.artifacts([found], "digest")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    reader.close()
    whole = hashlib.sha256()
    for _ in range(_LARGE // 1_000_000):
        whole.update(bytes(1_000_000))
    assert [(one.path, one.size, one.sha256) for one in tree.files] == [("large.bin", _LARGE, whole.hexdigest())]
    assert peak < 16e6, f"{peak / 1e6:.0f} MB"
