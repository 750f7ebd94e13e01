"""The auditor's own way to files behind a proxy: what is read there is what the server has, or it is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.clouds import azure, google
from support.opened import opened
from support.proxy import Proxy, proxying
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.records import ArtifactTree, Run
from mlflow_parity.reading.artifacts import clouds, own_way, shared_listings
from mlflow_parity.reading.artifacts.own_way import OwnWay, given_place
from mlflow_parity.reading.artifacts.stores import Place
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import new_credentials

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
RUNS, WITH_FILES = 20, 10


@dataclass(frozen=True, slots=True)
class World:
    """A server behind a proxy, an experiment of it of whose runs half have files, and where the server keeps them."""

    proxy: Proxy
    experiment: str
    runs: list[Run]
    root: Path
    alone: dict[str, ArtifactTree]

    def read(self, place: Path | str, environ: Mapping[str, str] | None = None) -> dict[str, ArtifactTree]:
        """Read the files by the caller's own way; the proxy has forgotten what it saw before."""
        self.proxy.seen.clear()
        reader = opened(self.proxy.uri, own_way=OwnWay(str(place), "--parity-source-artifacts"), environ=environ)
        return {tree.run_id: tree for tree in reader.artifacts(self.runs, "digest")}

    def asked(self) -> tuple[int, int]:
        """Return how often the server was asked for a list of files, and for a file."""
        paths = [seen.path for seen in self.proxy.seen if seen.path.startswith(PROXY)]
        return paths.count(PROXY), len(paths) - paths.count(PROXY)


@pytest.fixture(scope="module")
def world(module_server: FreshServer) -> Iterator[World]:
    """The server; each test that changes the files does so in a copy of them."""
    server = module_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("own way")
    made = [seed.run(experiment, f"run {number}") for number in range(RUNS)]
    for run_id in made:
        seed.end(run_id)
    root = Path(server.artifacts_root)
    for number, run_id in enumerate(made[:WITH_FILES]):
        folder = root / experiment / run_id / "artifacts"
        (folder / "deep" / "größe").mkdir(parents=True)
        (folder / "deep" / "größe" / "a.txt").write_text(f"the file of run {number}", encoding="utf-8")
        (folder / "empty").write_bytes(b"")
        (folder / "large").write_bytes(bytes([number]) * 5_000)
    # a folder in which nothing is
    (root / experiment / made[-1] / "artifacts").mkdir(parents=True)
    with proxying(server.uri) as proxy:
        found = {run.run_id: run for page in opened(proxy.uri).runs(experiment) for run in page}
        runs = [found[run_id] for run_id in made]
        alone = {tree.run_id: tree for tree in opened(proxy.uri).artifacts(runs, "digest")}
        assert sum(len(tree.files) for tree in alone.values()) == 3 * WITH_FILES
        yield World(proxy, experiment, runs, root, alone)


@pytest.fixture(autouse=True)
def _ended_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_listings, "_ENDED", -60.0)


def test_only_the_first_files_pass_the_server(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 TB through one proxy take five days."""
    monkeypatch.setattr(own_way, "_chance", lambda owners: owners <= own_way._SHOWN)
    assert world.read(world.root) == world.alone
    lists, files = world.asked()
    # several are shown at once, by as many threads
    assert lists <= 4 * (8 + 2)
    assert 0 < files <= 8 + 2
    reader = opened(world.proxy.uri, own_way=(way := OwnWay(str(world.root), "--option")), workers=1)
    world.proxy.seen.clear()
    assert {tree.run_id: tree for tree in reader.artifacts(world.runs, "digest")} == world.alone
    assert world.asked()[1] == own_way._SHOWN
    assert str(way) == f"read at {world.root} (--option); read both ways and equal: 3 files of 1 experiment"


def test_some_of_the_others_are_shown_by_chance(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first runs may be right and the others old: whichever are chosen are read both ways."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    order = [run for run in world.runs if world.alone[run.run_id].files]
    for run in order[own_way._SHOWN :]:
        (copy / world.experiment / run.run_id / "artifacts/deep/größe/a.txt").write_text("an old file's text")
    monkeypatch.setattr(own_way, "_chance", lambda owners: owners in (1, 2, 3, 8))
    reader = opened(world.proxy.uri, own_way=OwnWay(str(copy), "--option"), workers=1)
    trees = {tree.run_id: tree for tree in reader.artifacts(order, "digest")}
    assert {run_id for run_id, tree in trees.items() if tree.error} == {order[7].run_id}
    monkeypatch.undo()
    assert all(own_way._chance(owners) for owners in (1, 2, 3))
    assert 1 <= sum(own_way._chance(owners) for owners in range(1, 2_001)) <= 100


@pytest.mark.parametrize("root", ["", "mlruns/", "workspaces/default/"])
def test_each_experiment_is_shown_for_itself(root: str) -> None:
    """One that is right says nothing of another, wherever below the server's root experiments are."""
    around = own_way._around
    for below in ("", "models/", "traces/"):
        for experiment in ("1", "2"):
            place = Place("ID", f"mlflow-artifacts:/{root}{experiment}/{below}ID/artifacts")
            assert around(place) == f"{root}{experiment}"
    assert around(Place("m-1", "mlflow-artifacts:/1/models/other/artifacts/")) == "1/models/other"


def test_files_that_are_large_are_shown_too(world: World, tmp_path: Path) -> None:
    """Of an experiment with checkpoints alone none would be read both ways, and an old copy be taken for it."""
    seed = Seeder(world.proxy.uri)
    experiment = seed.experiment("large alone")
    run = seed.run(experiment, "one")
    seed.end(run)
    for root, letter in ((world.root, b"n"), (tmp_path, b"o")):
        (root / experiment / run / "artifacts").mkdir(parents=True)
        (root / experiment / run / "artifacts" / "large").write_bytes(letter * ((16 << 20) + 1))
    [runs] = opened(world.proxy.uri).runs(experiment)
    reader = opened(world.proxy.uri, own_way=OwnWay(str(tmp_path), "--option"))
    [tree] = reader.artifacts(runs, "digest")
    assert f"{tmp_path} is not what the server" in str(tree.error)
    way = OwnWay(str(world.root), "--option")
    [tree] = opened(world.proxy.uri, own_way=way).artifacts(runs, "digest")
    assert tree.error is None
    assert "1 file of 1 experiment" in str(way)


@pytest.mark.parametrize("folder", ["run", "artifacts", "experiment", "everything"])
def test_half_a_copy_is_told(world: World, tmp_path: Path, folder: str) -> None:
    """Of what is not mounted, a target that lost it too would be equal."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    for run in world.runs if folder != "everything" else ():
        place = copy / world.experiment / run.run_id
        if folder == "experiment":
            place = place.parent
        shutil.rmtree(place / "artifacts" if folder == "artifacts" else place, ignore_errors=True)
    if folder == "everything":
        shutil.rmtree(copy)
        copy.mkdir()
    trees = world.read(copy)
    told = [trees[run.run_id] for run in world.runs[:WITH_FILES]]
    assert all(tree.error is not None and "is not what the server" in tree.error for tree in told), told
    assert all("--parity-source-artifacts" in str(tree.error) for tree in told)


def test_one_run_that_is_not_there_is_told(world: World, tmp_path: Path) -> None:
    """However many were shown before: the server says that it has a folder."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    lost = world.runs[WITH_FILES - 1].run_id
    shutil.rmtree(copy / world.experiment / lost)
    trees = world.read(copy)
    assert {run_id for run_id, tree in trees.items() if tree.error} == {lost}


@pytest.mark.parametrize("change", ["other bytes", "another size", "one more", "one fewer"])
def test_another_copy_is_told(world: World, tmp_path: Path, change: str) -> None:
    """A copy of last week holds other files under the same names."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    for file in copy.rglob("a.txt"):
        if change == "one more":
            (file.parent / "b.txt").write_text("more")
        elif change == "one fewer":
            file.unlink()
        else:
            file.write_text("x" * (len(file.read_bytes()) + (change == "another size")))
    trees = world.read(copy)
    assert all("is not what the server" in str(trees[run.run_id].error) for run in world.runs[:WITH_FILES])


def test_a_file_of_another_size_than_listed_comes_from_the_server(world: World, tmp_path: Path) -> None:
    """What is read must be what was listed: the disk is not believed, and the server's way is next."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    file = copy / world.experiment / world.runs[0].run_id / "artifacts" / "large"
    found = list(own_way.DiskStore(copy, file.parent).files())
    file.write_bytes(b"shorter")
    store = own_way.DiskStore(copy, file.parent)
    [listed] = [one for one in found if one.path == "large"]
    with pytest.raises(Exception, match="not the file that the server lists"):
        store.ways(listed)[0](list)


@pytest.mark.parametrize("link", ["file", "folder", "run", "pipe"])
def test_links_are_the_server_s_to_follow(world: World, tmp_path: Path, link: str) -> None:
    """A link means another place on another machine: such an owner is read through the server."""
    copy = tmp_path / "copy"
    shutil.copytree(world.root, copy)
    run = copy / world.experiment / world.runs[0].run_id
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "a.txt").write_text("of this machine")
    if link == "file":
        (run / "artifacts" / "large").unlink()
        (run / "artifacts" / "large").symlink_to(secret / "a.txt")
    elif link == "folder":
        shutil.rmtree(run / "artifacts" / "deep" / "größe")
        (run / "artifacts" / "deep" / "größe").symlink_to(secret)
    elif link == "run":
        shutil.rmtree(run)
        run.symlink_to(secret)
    else:
        (run / "artifacts" / "large").unlink()
        os.mkfifo(run / "artifacts" / "large")
    assert world.read(copy) == world.alone


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/../../etc/x/artifacts", "mlflow-artifacts:/1/%2e%2e/x/artifacts"])
def test_no_name_leads_out_of_the_place(uri: str) -> None:
    """Data of a server names the places: whoever may write to it must not read the auditor's disk."""
    assert OwnWay("/srv/mlflow", "--option").below(uri) is None


def test_s3_behind_the_proxy(world: World, s3: S3, tmp_path: Path) -> None:
    """The same, with the server's bucket: it is walked once, and the server sends three files."""
    someone = new_credentials(temporary=False)
    s3.create_bucket("own-way", someone, "us-east-1")
    client = s3.client(someone, "us-east-1")
    for file in world.root.rglob("*"):
        if file.is_file():
            key = f"behind/{file.relative_to(world.root).as_posix()}"
            client.put_object(Bucket="own-way", Key=key, Body=file.read_bytes())
    environ = {
        "SOURCE_AWS_ACCESS_KEY_ID": someone.access_key,
        "SOURCE_AWS_SECRET_ACCESS_KEY": someone.secret_key,
        "SOURCE_AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
    }
    assert world.read("s3://own-way/behind", environ) == world.alone
    assert 0 < world.asked()[1] <= 8 + 2
    for run in world.runs[:WITH_FILES]:
        client.put_object(
            Bucket="own-way",
            Key=f"behind/{world.experiment}/{run.run_id}/artifacts/deep/größe/a.txt",
            Body=b"x" * len(b"the file of run 0"),
        )
    trees = world.read("s3://own-way/behind", environ)
    assert all("is not what the server" in str(trees[run.run_id].error) for run in world.runs[:WITH_FILES])


@pytest.mark.long
@pytest.mark.parametrize("cloud", ["gs://bucket", "az://bucket"])
def test_other_clouds_behind_the_proxy(
    world: World, cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where the server keeps its files in Google's or Azure's storage: read by the emulator of each."""
    with google() if cloud.startswith("gs") else azure(tmp_path / "azure") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        place = given_place(f"{cloud}/behind/", "--option")
        assert place == f"{cloud}/behind"
        system, root = clouds._file_system(cloud)
        if cloud.startswith("az"):
            system.mkdir(root)
        for file in world.root.rglob("*"):
            if file.is_file():
                system.pipe_file(f"{root}/behind/{file.relative_to(world.root).as_posix()}", file.read_bytes())
        assert world.read(place) == world.alone
        assert 0 < world.asked()[1] <= 8 + 2
        for run in world.runs[:WITH_FILES]:
            name = f"{root}/behind/{world.experiment}/{run.run_id}/artifacts/deep/größe/a.txt"
            system.pipe_file(name, b"x" * len(b"the file of run 0"))
        trees = world.read(place)
        assert all("is not what the server" in str(trees[run.run_id].error) for run in world.runs[:WITH_FILES])
        # a bucket that is not there: the server's files, and the report says why
        way = OwnWay(f"{cloud}-of-nobody/behind", "--option")
        reader = opened(world.proxy.uri, own_way=way)
        assert {tree.run_id: tree for tree in reader.artifacts(world.runs, "digest")}.keys() == world.alone.keys()
        assert "read both ways and equal: 0 files" in str(way)


@pytest.mark.parametrize(
    "uri", ["gs://", "gs:///x", "az://bucket/../x", "gs://bucket/*", "abfss://bucket//x", "gs://[x", "az://@x"]
)
def test_a_cloud_s_place_is_plain(uri: str) -> None:
    """What is no place is said before anything is read."""
    with pytest.raises(UsageProblem, match="names no place"):
        given_place(uri, "--option")


def test_a_cloud_without_its_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries are an extra: who lacks them is told its name."""
    monkeypatch.setitem(clouds.SCHEMES, "gs", "no_such_library")
    with pytest.raises(UsageProblem, match=r'pip install "mlflow-parity\[clouds\]"'):
        given_place("gs://bucket/x", "--option")
