"""Places in S3 that data names outside of a server's own root: touched by no right of ours unless an option says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.looking import between, codes, look
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer, emptied

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import Location, parse_location
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.write.files import NotUploaded, Uploads
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.trusted_places import PlaceNotAllowed, TrustedPlaces, given_places, own_root
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.sagemaker import StandIn

VICTIM = "somebody-elses"
SECRET = b"not of this server"


def _experiment(number: str, place: str, name: str = "") -> Experiment:
    return Experiment(number, name or f"e{number}", "active", place, 1, 1, {})


# --- the names of places


def test_a_place_is_inside_by_whole_names_of_folders() -> None:
    """A longer name, another bucket, capital letters and ways out, however they are written, are not inside."""
    trusted = TrustedPlaces(["s3://other/team"], lambda: [_experiment("0", "s3://bucket/mlflow/0")])
    for place in ("s3://bucket/mlflow", "s3://bucket/mlflow/7/x", "s3://other/team/x/",
                  "s3://bucket/mlflow/7/%20x/..."):  # fmt: skip
        assert trusted.refusal(place) == "", place
    for place in ("s3://bucket/mlflow-2/x", "s3://bucket", "s3://bucket/", "s3://BUCKET/mlflow/x", "s3://bucket2/mlflow/x",
                  "s3://bucket//mlflow/7", "s3://bucket/mlflow/../x", "s3://bucket/mlflow/%2e%2E/x", "s3://bucket/mlflow/%252e./x",
                  "s3://bucket/mlflow/..%2fx", "s3://bucket/mlflow/..\\x", "s3://user@bucket/mlflow/x", "s3:///mlflow/x",
                  "S3://bucket/mlflow/x", "s3://other/tea", "s3://other/teams/x", ""):  # fmt: skip
        assert trusted.refusal(place), place
    assert trusted.used == ("s3://other/team",)
    assert "--parity-allow-place s3://other/tea " in trusted.refusal("s3://other/tea")


def test_the_own_root_is_that_of_the_experiment_that_nobody_created() -> None:
    """An id can be guessed: an experiment elsewhere that is called like its id makes no root."""
    mine, theirs = _experiment("0", "s3://bucket/mlflow/0"), _experiment("5", f"s3://{VICTIM}/5", "Default")
    assert own_root([mine, theirs]) == own_root([theirs, mine]) == "s3://bucket/mlflow"
    assert own_root([theirs]) == ""
    assert own_root([theirs], workspace=True) == f"s3://{VICTIM}"
    assert own_root([_experiment("0", "mlflow-artifacts:/0")]) == "mlflow-artifacts:"
    alone = TrustedPlaces((), lambda: [theirs])
    assert "which it does not show" in alone.refusal(f"s3://{VICTIM}/5/run")
    assert alone.refused == (f"s3://{VICTIM}/5",), "one place for all of an experiment"


@pytest.mark.parametrize("text", ["bucket/x", "s3://", "s3://b", "s3://bucket/*", "s3://bucket/a/../b", "/etc",
                                  "s3://bucket/a//b", "s3://a:b@bucket/x"])  # fmt: skip
def test_an_option_that_names_no_place_is_one_line(text: str) -> None:
    """Wildcards, ways out, and what is no bucket."""
    with pytest.raises(UsageProblem, match=r"--allow-place: .* names no place in S3; pass s3://BUCKET"):
        given_places(text, "--allow-place")
    assert given_places("s3://one/a,b/,s3://two\ns3://one/a,b", "x") == ("s3://one/a,b", "s3://two")


# --- a server with a store in S3, whose data names another bucket


@dataclass(frozen=True, slots=True)
class Deputy:
    """A server, and what its data names: an experiment and a version elsewhere, and one beside the root."""

    running: StandIn
    experiment: str
    own: str
    """Run in the server's own root."""
    other: str
    """Run of the experiment elsewhere."""

    @property
    def places(self) -> tuple[str, ...]:
        """All places that are not the server's own, as they are to be named."""
        beside = self.running.server.artifacts_root
        return tuple(sorted((f"s3://{VICTIM}/art", f"s3://{VICTIM}/model", f"{beside}-evil/model")))

    def environment(self, side: str = "SOURCE_") -> dict[str, str]:
        """The variables of a caller who may read every bucket of that S3."""
        told = {**self.running.environment(), "MLFLOW_S3_ENDPOINT_URL": self.running.s3.endpoint}
        return {f"{side}{name}": value for name, value in told.items() if "SAGEMAKER" not in name}

    def reader(self, location: Location, *allowed: str) -> ServerReader:
        """A reader with the rights of that caller."""
        found = credentials(location, "source", {**self.environment(), **self.running.environment("SOURCE_")})
        return ServerReader(Session(location, found), found, allowed=allowed)

    def errors(self, location: Location, *allowed: str) -> tuple[dict[str, str | None], list[tuple[str, str]]]:
        """Read everything; return the error of each tree, and bucket and key (or prefix) of all that S3 was asked."""
        found = credentials(location, "source", {**self.environment(), **self.running.environment("SOURCE_")})
        asked: list[tuple[str, str]] = []

        def note(params: dict[str, Any], **_: Any) -> None:
            asked.append((params["Bucket"], params.get("Key") or params.get("Prefix") or ""))

        found.aws.s3.meta.events.register("provide-client-params.s3", note)
        with closing(ServerReader(Session(location, found), found, allowed=allowed)) as reader:
            runs = [run for one in reader.experiments() for page in reader.runs(one.experiment_id) for run in page]
            versions = [one for page in reader.registry() for one in page if one.kind == "model_version"]
            trees = [*reader.artifacts(runs, "digest"), *reader.entity_files(versions, "digest")]
            if allowed:
                assert reader.trusted.refused == ()
                assert set(reader.trusted.used) == set(allowed)
            else:
                assert reader.trusted.refused == self.places
            return {tree.run_id: tree.error for tree in trees}, asked


@pytest.fixture
def deputy(sagemaker_app: StandIn) -> Iterator[Deputy]:
    """What anybody could write who may write to the server at all."""
    client = sagemaker_app.s3.client(sagemaker_app.credentials, sagemaker_app.location.region)
    client.create_bucket(Bucket=VICTIM, CreateBucketConfiguration={"LocationConstraint": sagemaker_app.location.region})
    server = sagemaker_app.server
    bucket, _, prefix = server.artifacts_root.removeprefix("s3://").partition("/")
    put: list[tuple[str, str]] = []

    def file(place: str, path: str) -> None:
        where, _, key = f"{place}/{path}".removeprefix("s3://").partition("/")
        client.put_object(Bucket=where, Key=key, Body=SECRET)
        put.append((where, key))

    with emptied(server):
        seed = Seeder(server.uri)

        def run(experiment: str, name: str) -> str:
            identity = seed.run(experiment, name)
            seed.end(identity)
            file(str(seed.call("GET", "runs/get", {"run_id": identity})["run"]["info"]["artifact_uri"]), "a.txt")
            return identity

        own = run(seed.experiment("own"), "own")
        body = {"name": "elsewhere", "artifact_location": f"s3://{VICTIM}/art"}
        experiment = str(seed.call("POST", "experiments/create", body)["experiment_id"])
        other = run(experiment, "elsewhere")
        for name, place in (("stolen", f"s3://{VICTIM}/model"), ("beside", f"s3://{bucket}/{prefix}-evil/model")):
            file(place, "MLmodel")
            seed.call("POST", "registered-models/create", {"name": name})
            seed.call("POST", "model-versions/create", {"name": name, "source": place})
        # its files are said to be another version's: one request tells where they are
        seed.call("POST", "registered-models/create", {"name": "copied"})
        seed.call("POST", "model-versions/create", {"name": "copied", "source": "models:/stolen/1"})
        yield Deputy(sagemaker_app, experiment, own, other)
    for where, key in put:
        client.delete_object(Bucket=where, Key=key)
    client.delete_bucket(Bucket=VICTIM)


def test_what_data_names_elsewhere_is_not_read(deputy: Deputy) -> None:
    """Of an ARN and of a plain server: no call to the other bucket, an error with the option; with it all is read."""
    app = deputy.running
    root = app.server.artifacts_root.removeprefix("s3://").partition("/")
    arn = parse_location(app.arn, option="--source-arn", custom_endpoint=app.gateway.endpoint)
    for location in (arn, parse_location(app.server.uri, option="--source-uri")):
        errors, asked = deputy.errors(location)
        wrong = {name: text for name, text in errors.items() if text is not None}
        assert set(wrong) == {deputy.other, "stolen/1", "beside/1", "copied/1"}
        for text in wrong.values():
            assert "is not read with your AWS rights; if it may be, add --parity-allow-place s3://" in text
        assert f"--parity-allow-place s3://{VICTIM}/art (" in wrong[deputy.other]
        assert asked
        assert {(bucket, key.startswith(f"{root[2]}/")) for bucket, key in asked} == {(root[0], True)}
        errors, asked = deputy.errors(location, *deputy.places)
        assert set(errors.values()) == {None}
        assert VICTIM in {bucket for bucket, _ in asked}
    # a trace names the folder of its files in a tag, which anybody may set
    with closing(deputy.reader(arn)) as reader:
        with pytest.raises(PlaceNotAllowed):
            reader.places.of_trace("tr-1", f"s3://{VICTIM}/trace")
        # MLflow's own client would go there when it loads a model: to S3, to its own disk, to another host
        assert "is not loaded with your AWS rights" in reader.load_refusal("stolen", 1)
        for place in ("file:///etc", "/etc", "mlflow-artifacts://elsewhere.invalid:5000/x", "https://elsewhere.invalid/x",
                      "ftp://elsewhere.invalid/x"):  # fmt: skip
            assert "is not loaded" in reader.places.load_refusal(place), place
        for place in ("mlflow-artifacts:/1/x", f"{app.server.artifacts_root}/1/x"):
            assert reader.places.load_refusal(place) == "", place


def test_a_migration_lists_each_place_with_its_option(
    deputy: Deputy, fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preflight refuses, one finding a place; with the options it only notes them. So it does for a target."""
    for name, value in {**deputy.environment(), **deputy.environment("TARGET_")}.items():
        monkeypatch.setenv(name, value)
    server, other = deputy.running.server, fresh_server()
    found = look(tmp_path, *between(server.uri, other.uri), write=False)
    fixes = [one.fix for one in found.found if one.code == "source.outside"]
    assert fixes == [
        f"add --allow-place {place} if that may be; else correct it at the source" for place in deputy.places
    ]
    options = [word for place in deputy.places for word in ("--allow-place", place)]
    allowed = look(tmp_path, *between(server.uri, other.uri), *options, write=False)
    assert not allowed.blocked, allowed.found
    assert ("note", "source.outside") in codes(allowed)
    # an experiment of the name is there, and its files would go elsewhere
    Seeder(other.uri).experiment("elsewhere")
    found = look(tmp_path, *between(other.uri, server.uri), "--into-existing", write=False)
    assert ("error", "target.outside") in codes(found), found.found


def test_nothing_is_written_where_the_target_only_says_so(deputy: Deputy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The URI of a run comes from the target's server: another bucket gets no file."""
    app = deputy.running
    for name, value in app.environment().items():
        monkeypatch.setenv(name, value)
    location = parse_location(app.arn, option="--target-arn", custom_endpoint=app.gateway.endpoint)
    writer, found = open_writer(location)
    with closing(writer), closing(deputy.reader(location)) as reader:
        uploads = Uploads(writer, found, Blobs(Path("nowhere")), reader.trusted)
        for uri in (f"s3://{VICTIM}/x", f"S3://{VICTIM}/x", f"{app.server.artifacts_root}/../x"):
            with pytest.raises(NotUploaded, match="not written to with your AWS rights"):
                uploads.put(uri, "a.txt", b"x")
        uploads.put(f"{app.server.artifacts_root}/9/x", "a.txt", b"x")
    client = app.s3.client(app.credentials, app.location.region)
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=VICTIM, MaxKeys=1000)["Contents"]]
    assert sorted(key.partition("/")[0] for key in keys) == ["art", "model"]


@pytest.mark.long
def test_a_run_stops_before_it_and_goes_on_with_the_options(
    deputy: Deputy, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Exit status 2 with nothing written; with the options all is moved, and the audit and its report know them."""
    target, env, art = fresh_server(), deputy.environment(), f"s3://{VICTIM}/art"
    ends = [*between(deputy.running.server.uri, target.uri), "--work-dir", "work", "--report-dir", "reports"]
    planned = migrate_py(tmp_path, "plan", *ends, env=env)
    assert planned.status == 2, planned.output
    for place in deputy.places:
        assert planned.output.count(f"add --allow-place {place} if") == 1, planned.output
    # of the versions a proxied target has no place for the files
    ends += ["--experiments", "own,elsewhere"]
    refused = migrate_py(tmp_path, "run", *ends, env=env)
    assert refused.status == 2, refused.output
    assert refused.output.count("add --allow-place") == refused.output.count(f"add --allow-place {art} if") == 1
    assert "Nothing was written." in refused.output
    names = Seeder(target.uri).call("POST", "experiments/search", {"max_results": 10, "view_type": "ALL"})
    assert [one["name"] for one in names["experiments"]] == ["Default"]
    done = migrate_py(tmp_path, "run", *ends, "--allow-place", art, env=env)
    report = json.loads((tmp_path / "reports" / "report.json").read_text(encoding="utf-8"))
    assert done.status == 0, (done.output, report["reasons"])
    [note] = [note for note in report["notes"] if "outside of the source's own artifact root" in note]
    assert note.endswith(f"as allowed: {art}")
    assert f"--parity-allow-place {art}" in " ".join(report["command"])
    red = migrate_py(tmp_path, "verify", *ends, env=env)
    report = json.loads((tmp_path / "reports" / "report.json").read_text(encoding="utf-8"))
    assert (red.status, report["verdict"]) == (1, "red"), red.output
    [reason] = [reason for reason in report["reasons"] if "names it outside" in reason]
    assert f"--parity-allow-place {art}" in reason
