"""What lies below an experiment is listed once for its runs: the same files as one by one, with fewer requests."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository
from support.opened import QUICK, opened
from support.proxy import Exchange, Fault, Proxy, Spoil, proxying, status
from support.seed import Seeder

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.locations import parse_arn
from mlflow_parity.core.records import ArtifactTree, Entity, Run
from mlflow_parity.migrating.plan.limits import Oddities, limits_of
from mlflow_parity.migrating.plan.surveying import look
from mlflow_parity.reading.artifacts import s3_store, shared_listings
from mlflow_parity.reading.artifacts.shared_listings import FEWEST, SharedListings, Told, place_of
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

PROXY = "/api/2.0/mlflow-artifacts/artifacts"
FOREVER = 10**9
RUNS = 24
#: Files of the runs that have any, by the place of the run in the list.
FILES: Mapping[int, Mapping[str, bytes]] = {
    3: {"plain.txt": b"3", "deep/er/file": b"deep"},
    11: {"artifacts/artifacts": b"a name like the folder's own"},
    17: {"größe.txt": b"17", "empty": b""},
}


@dataclass(frozen=True, slots=True)
class Place:
    """A server behind a proxy, and the runs of an experiment on it, of which few have files."""

    proxy: Proxy
    experiment: str
    runs: list[Run]
    alone: dict[str, ArtifactTree]
    """The trees as one run after another gives them."""

    def reader(self) -> ServerReader:
        """Return a reader of the server behind the proxy."""
        return opened(self.proxy.uri)

    def one_by_one(self) -> ServerReader:
        """Return a reader that asks one after another: with threads, who waits too long for a listing lists alone."""
        return opened(self.proxy.uri, workers=1)

    def trees(self) -> dict[str, ArtifactTree]:
        """Read the files of all runs at once, by a new reader; the proxy has forgotten what it saw before."""
        self.proxy.seen.clear()
        return read(self.one_by_one(), self.runs)

    def listings(self) -> list[str]:
        """Return which folders were listed, in the order of the requests."""
        asked = [seen.query for seen in self.proxy.seen if seen.path == PROXY]
        # whether there is a proxy at all
        return [query for query in asked if query != "path=0"]


def read(reader: ServerReader, runs: list[Run], shared: SharedListings | None = None) -> dict[str, ArtifactTree]:
    """Read the files of runs."""
    return {tree.run_id: tree for tree in reader.artifacts(runs, "digest", shared)}


def seeded(uri: str, name: str = "of many") -> tuple[str, list[Run]]:
    """Make the runs, and return their experiment's id and them, in the order of their making."""
    seed = Seeder(uri)
    experiment = seed.experiment(name)
    made = [seed.run(experiment, f"run {number}") for number in range(RUNS)]
    for run_id in made:
        seed.end(run_id)
    runs = {run.run_id: run for page in opened(uri).runs(experiment) for run in page}
    return experiment, [runs[run_id] for run_id in made]


@pytest.fixture(scope="module", params=["newest", *(pytest.param(f"server_{one}", marks=pytest.mark.long)
                                                   for one in ("2_16", "2_22", "3_4", "3_10"))])  # fmt: skip
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Every version, one after another."""
    server = request.getfixturevalue(request.param)
    assert isinstance(server, Server)
    experiment, runs = seeded(server.uri)
    for number, files in FILES.items():
        for path, content in files.items():
            file = Path(server.artifacts_root) / experiment / runs[number].run_id / "artifacts" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    # a folder with nothing in it, and one that nobody has
    (Path(server.artifacts_root) / experiment / runs[20].run_id / "artifacts").mkdir(parents=True)
    (Path(server.artifacts_root) / experiment / "nobody" / "artifacts").mkdir(parents=True)
    with proxying(server.uri) as proxy:
        reader = opened(proxy.uri)
        alone = {run.run_id: tree for run in runs for tree in reader.artifacts([run], "digest")}
        found = {number: {file.path for file in alone[runs[number].run_id].files} for number in range(RUNS)}
        assert found == {number: set(FILES.get(number, ())) for number in range(RUNS)}
        assert not any(file.error for tree in alone.values() for file in tree.files)
        yield Place(proxy, experiment, runs, alone)
        proxy.heal()


@pytest.fixture(autouse=True)
def _healed(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "place" in request.fixturenames:
        request.getfixturevalue("place").proxy.heal()


def test_only_runs_with_a_folder_are_listed(place: Place) -> None:
    """An audit of a million runs would spend its time on empty folders."""
    assert place.trees() == place.alone
    asked = place.listings()
    assert asked.count(f"path={place.experiment}") == 1
    # the place, three runs without files to see that it tells the truth, four that have a folder, folders in these
    assert len(asked) == 1 + 3 + 4 + 3
    assert read(place.reader(), place.runs) == place.alone


def test_a_survey_lists_a_place_once(place: Place) -> None:
    """The plan of a large migration would list an experiment again for each page of its runs."""
    reader = opened(place.proxy.uri, page=10, workers=1)
    experiments = [one for one in reader.experiments() if one.experiment_id == place.experiment]
    place.proxy.seen.clear()
    found = look(reader, experiments, renames=Renames(), oddities=Oddities(limits_of((3, 17)), proxied=True))
    assert not found.missed
    assert found.extents[place.experiment].files == sum(len(files) for files in FILES.values())
    assert place.listings().count(f"path={place.experiment}") == 1


@pytest.mark.parametrize("fewer", [1, FEWEST - 1])
def test_few_runs_are_listed_by_themselves(place: Place, fewer: int) -> None:
    """A place of a million runs is not listed to read one again."""
    place.proxy.seen.clear()
    assert read(place.reader(), place.runs[:fewer]) == {
        run.run_id: place.alone[run.run_id] for run in place.runs[:fewer]
    }
    assert f"path={place.experiment}" not in place.listings()


def _answering(answer: Mapping[str, Any]) -> Spoil:
    def spoil(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [("Content-Type", "application/json")], json.dumps(answer).encode())

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        status(403, body=b'{"error_code": "PERMISSION_DENIED"}'),
        status(404, body=b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'),
        _answering({}),
        _answering({"files": [{"path": "other", "is_dir": True}]}),
        _answering({"files": [{"path": f"{0:032x}", "is_dir": True}]}),
        _answering({"files": 7}),
        _answering({"files": [{"path": None, "is_dir": True}]}),
    ],
    ids=["no right", "no such place", "nothing", "others", "other runs", "no list", "no names"],
)
def test_a_place_that_is_not_told_hides_no_file(place: Place, spoil: Spoil) -> None:
    """A front end that answers for the folder of an experiment in a way of its own would make the audit blind."""
    # those that have no files come first, and would be tried
    order = sorted(place.runs, key=lambda run: bool(place.alone[run.run_id].files))
    place.proxy.faults.append(Fault(PROXY, _only(f"path={place.experiment}", spoil), FOREVER))
    assert read(place.reader(), order) == place.alone
    assert place.proxy.spoilt


def _only(query: str, spoil: Spoil) -> Spoil:
    """Spoil the requests whose whole query it is."""

    def spoilt(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if exchange.path.partition("?")[2] == query:
            spoil(exchange, code, headers, body)
        else:
            exchange.answer(code, headers, body)

    return spoilt


def test_what_is_read_later_is_listed_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that grows old would hide what was logged since."""
    shared, reader = SharedListings(), place.one_by_one()
    place.proxy.seen.clear()
    for _ in range(2):
        assert read(reader, place.runs, shared) == place.alone
    assert place.listings().count(f"path={place.experiment}") == 1
    for name in ("_YOUNG", "_WORTH"):
        monkeypatch.setattr(shared_listings, name, 0.0)
    place.proxy.seen.clear()
    assert read(reader, place.runs, SharedListings()) == place.alone
    assert place.listings().count(f"path={place.experiment}") > 1


@pytest.mark.parametrize(
    "change",
    [{"status": "RUNNING", "end_time": None}, {"end_time": None}, {"status": "SCHEDULED"},
     {"end_time": -1}],
    ids=["running", "without an end", "not begun", "just ended"],
)  # fmt: skip
def test_a_run_that_may_get_more_is_listed_by_itself(place: Place, change: Mapping[str, Any]) -> None:
    """Its files came after the place was listed: they would be missing on this side, or on both."""
    # just now is not when the tests were collected
    change = {**change, **({"end_time": int(1000 * time.time())} if change.get("end_time") == -1 else {})}
    runs = [dataclasses.replace(run, **change) for run in place.runs]
    place.proxy.seen.clear()
    assert read(place.reader(), runs) == place.alone
    assert len({query for query in place.listings() if query.count("%2F") == 2}) == RUNS


class _Liar:
    """A place of many owners that a listing tells nothing of, or little, or that cannot be listed."""

    def __init__(
        self, has: Mapping[str, list[str]], told: Mapping[str, list[str]], broken: Collection[str] = ()
    ) -> None:
        self.has, self.told, self.broken = has, told, broken
        self.shared = SharedListings()
        self.shared.expect((self.uri(owner), owner) for owner in has)

    @staticmethod
    def uri(owner: str) -> str:
        """Where an owner's files are."""
        return f"x:/1/{owner}/artifacts"

    def files(self, owner: str, *, ended: float = 0.0, sure: bool = False) -> list[str]:
        """Ask for an owner's files."""

        def alone() -> list[str]:
            if owner in self.broken:
                raise MalformedAnswer("no list")
            return self.has[owner]

        return [*self.shared.files(self.uri(owner), owner, lambda _: Told(self.told, sure), alone, ended=ended)]


def test_runs_without_any_file_are_told_by_the_folder_around(place: Place) -> None:
    """Metrics alone: an experiment without any file has no folder, as the list of all experiments' folders says."""
    seed = Seeder(place.proxy.upstream)
    experiment = seed.experiment(f"of none {time.time()}")
    for number in range(RUNS):
        seed.end(seed.run(experiment, f"run {number}"))
    [runs] = place.reader().runs(experiment)
    place.proxy.seen.clear()
    assert [tree.files for tree in read(place.one_by_one(), runs).values()] == [()] * RUNS
    asked = [seen.query for seen in place.proxy.seen if seen.path == PROXY and seen.query != "path=0"]
    # the experiment, the folder around, and three runs to see that it tells the truth
    assert (len(asked), asked[:2]) == (5, [f"path={experiment}", ""])
    # a front end that hides the folder of an experiment does not hide it from the list of all
    place.proxy.faults.append(Fault(PROXY, _only(f"path={place.experiment}", _answering({})), FOREVER))
    place.proxy.seen.clear()
    order = sorted(place.runs, key=lambda run: bool(place.alone[run.run_id].files))
    assert read(place.one_by_one(), order) == place.alone
    assert place.listings()[:2] == [f"path={place.experiment}", ""]


def test_what_is_proved_wrong_is_never_believed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that was wrong once would be made again a minute later, and three empty runs would confirm it."""
    monkeypatch.setattr(shared_listings, "_YOUNG", 0.0)
    has = {f"r{number:02}": [] if 0 < number < 9 else ["file"] for number in range(12)}
    liar = _Liar(has, {"r11": ["file"]})
    assert [liar.files(owner) for owner in has] == [*has.values()]


def test_a_run_that_cannot_be_listed_vouches_for_nothing() -> None:
    """Three errors would be taken for three proofs that a listing is right."""
    has = {f"r{number:02}": ["file"] for number in range(12)}
    liar = _Liar(has, {"r11": ["file"]}, broken=("r00", "r01", "r02"))
    for owner in ("r00", "r01", "r02"):
        with pytest.raises(MalformedAnswer):
            liar.files(owner)
    assert [liar.files(owner) for owner in list(has)[3:]] == [["file"]] * 9


def test_a_listing_that_names_nobody_proves_nothing() -> None:
    """Nine runs in ten have no files: three empty ones say little of a place that may be another one."""
    has = {f"r{number:02}": [] if number < 9 else ["file"] for number in range(12)}
    for told in ({}, {"somebody": ["else"]}):
        liar = _Liar(has, told)
        assert [liar.files(owner) for owner in has] == [*has.values()]
    # S3 lists what begins with the very letters
    liar = _Liar({owner: [] for owner in has}, {})
    assert [liar.files(owner, sure=True) for owner in has] == [[]] * 12


def test_the_place_of_an_owner() -> None:
    """Only what is laid out as MLflow does is listed for others too."""
    assert place_of("mlflow-artifacts:/1/abc/artifacts", "abc") == "mlflow-artifacts:/1"
    assert place_of("s3://bucket/1/models/m-1/artifacts/", "m-1") == "s3://bucket/1/models"
    for uri, owner in (("mlflow-artifacts:/1/abc/artifacts", "abd"), ("s3://bucket/1/abc/artifacts/model", "abc"),
                       ("/abc/artifacts", "abc"), ("", "abc"), ("abc/artifacts", "abc"),
                       ("s3://b/reg/churn/3/artifacts", "churn/3")):  # fmt: skip
        assert place_of(uri, owner) is None


class _Counted:
    """Counts the calls of an S3 client."""

    def __init__(self, client: Any) -> None:
        self.calls: list[tuple[str, str]] = []
        client.meta.events.register("provide-client-params.s3", self._seen)

    def _seen(self, params: Mapping[str, Any], model: Any, **_: Any) -> None:
        # further pages are no lists of their own: an S3 may give a few keys a page
        if "ContinuationToken" not in params:
            self.calls.append((model.name, params.get("Prefix") or params.get("Key", "")))

    def of(self, name: str) -> list[str]:
        """Return what a call was made for."""
        return [asked for called, asked in self.calls if called == name]


def _model(model_id: str, uri: str) -> Entity:
    """Return a logged model that was made a day ago."""
    made = int(1000 * time.time()) - 86_400_000
    return Entity("logged_model", model_id, model_id, "1", made, {}, uri)


@pytest.mark.parametrize("much", [False, True], ids=["", "too much of others"])
def test_s3_is_walked_once(sagemaker_app: StandIn, monkeypatch: pytest.MonkeyPatch, much: bool) -> None:
    """A call for each of a million runs costs hours, and dollars."""
    experiment, runs = seeded(sagemaker_app.server.uri, f"of many {much}")
    root = runs[0].artifact_uri.removesuffix(f"/{runs[0].run_id}/artifacts")
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    location = parse_arn(sagemaker_app.arn, custom_endpoint=sagemaker_app.gateway.endpoint)
    found = credentials(location, "source", sagemaker_app.environment("SOURCE_"))
    client = found.aws.s3
    writer = sagemaker_app.s3.client(sagemaker_app.credentials, "us-east-1")
    for number, files in FILES.items():
        for path, content in files.items():
            key = f"{prefix}/{runs[number].run_id}/artifacts/{path}"
            writer.put_object(Bucket=bucket, Key=key, Body=content, ChecksumAlgorithm="SHA256")
    models = [_model(f"m-{number}", f"{root}/models/m-{number}/artifacts") for number in range(12)]
    for model in models[:9]:
        key = f"{prefix}/models/{model.entity_id}/artifacts/model/MLmodel"
        writer.put_object(Bucket=bucket, Key=key, Body=b"flavors: {}")
    for number in range(50 if much else 1):
        writer.put_object(Bucket=bucket, Key=f"{prefix}/of-nobody/{number}", Body=b"")
    if much:
        monkeypatch.setattr(s3_store, "_PASSED", 1)
    counted = _Counted(client)
    reader = ServerReader(Session(location, found, limits=QUICK), found, workers=1)
    # an experiment's own place is trusted once it is known
    assert experiment in {one.experiment_id for one in reader.experiments()}
    counted.calls.clear()
    shared = SharedListings()
    trees = read(reader, runs, shared)
    assert {number: {file.path for file in trees[runs[number].run_id].files} for number in range(RUNS)} == {
        number: set(FILES.get(number, ())) for number in range(RUNS)
    }
    # a part of them, as they come in batches
    of_models = [tree for part in (models[:6], models[6:]) for tree in reader.entity_files(part, "digest", shared)]
    assert {tree.run_id: [file.path for file in tree.files] for tree in of_models} == {
        model.entity_id: ["model/MLmodel"] * (number < 9) for number, model in enumerate(models)
    }
    assert not any(file.error for tree in (*trees.values(), *of_models) for file in tree.files)
    listed = counted.of("ListObjectsV2")
    if much:
        assert len(listed) == 1 + RUNS + len(models)
    else:
        # one walk for all of them, and one run without files to see that it tells the truth
        assert len(listed) == 2
    assert listed.count(f"{prefix}/") == 1
    # the hash that S3 has is taken from a shared listing too
    assert len(counted.of("GetObject")) == 9
    assert len(counted.of("HeadObject")) == sum(map(len, FILES.values()))


@pytest.mark.parametrize("whole", [False, True], ids=["each run's place", "the experiment's place"])
def test_no_more_is_listed_than_may_be(sagemaker_app: StandIn, whole: bool) -> None:
    """What data of the server names outside of its own root is touched where somebody allowed it, and not around it."""
    seed = Seeder(sagemaker_app.server.uri)
    bucket = f"elsewhere-{str(whole).lower()}"
    sagemaker_app.s3.client(sagemaker_app.credentials, "us-east-1").create_bucket(Bucket=bucket)
    wish = {"name": bucket, "artifact_location": f"s3://{bucket}/x"}
    experiment = str(seed.call("POST", "experiments/create", wish)["experiment_id"])
    made = [seed.run(experiment, f"run {number}") for number in range(FEWEST)]
    for run in made:
        seed.end(run)
    allowed = [f"s3://{bucket}/x"] if whole else [f"s3://{bucket}/x/{run}/artifacts" for run in made]
    location = parse_arn(sagemaker_app.arn, custom_endpoint=sagemaker_app.gateway.endpoint)
    found = credentials(location, "source", sagemaker_app.environment("SOURCE_"))
    reader = ServerReader(Session(location, found, limits=QUICK), found, allowed=allowed)
    assert experiment in {one.experiment_id for one in reader.experiments()}
    [runs] = reader.runs(experiment)
    counted = _Counted(found.aws.s3)
    assert [tree.error for tree in read(reader, runs).values()] == [None] * FEWEST
    assert ("x/" in counted.of("ListObjectsV2")) is whole


@pytest.mark.parametrize("root", ["", "/x", "x//", "//x", "x//y"])
def test_slashes_belong_to_the_place(sagemaker_app: StandIn, root: str) -> None:
    """A bucket of its own for an experiment, or a slash too many, is where every file would be overlooked."""
    seed = Seeder(sagemaker_app.server.uri)
    bucket = f"slashes-{root.replace('/', '-s')}-b"
    writer = sagemaker_app.s3.client(sagemaker_app.credentials, "us-east-1")
    writer.create_bucket(Bucket=bucket)
    wish = {"name": bucket, "artifact_location": f"s3://{bucket}" + (f"/{root}" if root else "")}
    experiment = str(seed.call("POST", "experiments/create", wish)["experiment_id"])
    for number in range(FEWEST):
        seed.end(seed.run(experiment, f"run {number}"))
    location = parse_arn(sagemaker_app.arn, custom_endpoint=sagemaker_app.gateway.endpoint)
    found = credentials(location, "source", sagemaker_app.environment("SOURCE_"))
    reader = ServerReader(Session(location, found, limits=QUICK), found, allowed=[f"s3://{bucket}"])
    assert experiment in {one.experiment_id for one in reader.experiments()}
    [runs] = reader.runs(experiment)
    # the first ones, which would be tried, have none; written where MLflow's own client writes it
    for run in runs[4:]:
        store = S3ArtifactRepository(run.artifact_uri)
        _, key = store.parse_s3_compliant_uri(run.artifact_uri)
        writer.put_object(Bucket=bucket, Key=f"{key}/file.txt", Body=run.run_id.encode())
    trees = read(reader, runs)
    assert [[file.path for file in trees[run.run_id].files] for run in runs] == [[]] * 4 + [["file.txt"]] * 4
