"""A server's ``s3://`` files are those of the server's own S3: the caller's variables may mean another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import audit
from support.looking import between, codes, look, text
from support.migrations import migrate_py
from support.seed import Seeder
from support.seed_models import MLMODEL
from support.servers import FreshServer, emptied

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import ArtifactTree
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.http import S3, s3_server
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

REGION = "eu-central-1"
FILES = {"a.txt": b"1234", "deep/er/b.bin": bytes(300), "deep/c.txt": b"twelve bytes"}


@dataclass(frozen=True, slots=True)
class Held:
    """A self-managed server, its S3, another S3, and what it holds: a run with files, one without, a version."""

    server: Server
    here: S3
    there: S3
    environment: Mapping[str, str]
    bucket: str
    prefix: str
    """Key of the run's files."""
    outside: str
    """Key of the version's files, which are no run's."""

    def client(self, s3: S3) -> Any:
        """A client of one of the two."""
        import boto3

        session = boto3.Session(
            self.environment["AWS_ACCESS_KEY_ID"], self.environment["AWS_SECRET_ACCESS_KEY"], region_name=REGION
        )
        return session.client("s3", endpoint_url=s3.endpoint)

    def variables(self, s3: S3, side: str = "SOURCE_") -> dict[str, str]:
        """The variables of a caller whose S3 this is."""
        told = {**self.environment, "MLFLOW_S3_ENDPOINT_URL": s3.endpoint}
        return {f"{side}{name}": value for name, value in told.items()}

    def trees(self, s3: S3) -> dict[str, ArtifactTree]:
        """What is read of the server by such a caller, by the name of the run or version."""
        location = parse_location(self.server.uri, option="--source-uri")
        found = credentials(location, "source", self.variables(s3))
        allowed = [f"s3://{self.bucket}/outside"]
        with closing(ServerReader(Session(location, found), found, allowed=allowed)) as reader:
            runs = [run for one in reader.experiments() for page in reader.runs(one.experiment_id) for run in page]
            names = {run.run_id: run.name for run in runs}
            versions = [one for page in reader.registry() for one in page if one.kind == "model_version"]
            trees = [*reader.artifacts(runs, "digest"), *reader.entity_files(versions, "digest")]
            return {names.get(tree.run_id, tree.run_id): tree for tree in trees}

    def objects(self, s3: S3) -> dict[str, bytes]:
        """Everything in the bucket."""
        client = self.client(s3)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return {key: client.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture
def held(sagemaker_app: StandIn, tmp_path: Path) -> Iterator[Held]:
    """By its own address the App's server is any server with a store in S3."""
    server = sagemaker_app.server
    with emptied(server), s3_server(tmp_path / "other") as there:
        environment = {
            "AWS_ACCESS_KEY_ID": sagemaker_app.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": sagemaker_app.credentials.secret_key,
            "AWS_SESSION_TOKEN": sagemaker_app.credentials.token or "",
            "AWS_DEFAULT_REGION": REGION,
        }
        seed = Seeder(server.uri)
        experiment = seed.experiment("on S3")
        run = seed.run(experiment, "with files")
        seed.end(run)
        seed.end(seed.run(experiment, "without"))
        uri = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        outside = f"outside/{run}"
        seed.call("POST", "registered-models/create", {"name": "prod"})
        seed.call("POST", "model-versions/create", {"name": "prod", "source": f"s3://{bucket}/{outside}"})
        found = Held(server, sagemaker_app.s3, there, environment, bucket, prefix, outside)
        client = found.client(found.here)
        for path, content in FILES.items():
            client.put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=content)
        model = MLMODEL.format(uri="model", run=run, model="m").encode()
        client.put_object(Bucket=bucket, Key=f"{outside}/MLmodel", Body=model)
        there.create_bucket(bucket, sagemaker_app.credentials, REGION)
        yield found
        for key in (*(f"{prefix}/{path}" for path in FILES), f"{outside}/MLmodel"):
            client.delete_object(Bucket=bucket, Key=key)


def mirrored(held: Held) -> None:
    """Copy all that is in the server's bucket into the other S3's of the same name."""
    for key, content in held.objects(held.here).items():
        held.client(held.there).put_object(Bucket=held.bucket, Key=key, Body=content)


@pytest.mark.long
def test_the_servers_own_s3_is_read_directly_and_another_is_not_believed(held: Held) -> None:
    """Empty, a mirror of what the server lost, and one with other bytes: each is an error that names both places."""
    trees = held.trees(held.here)
    assert {name: tree.error for name, tree in trees.items()} == dict.fromkeys(("with files", "without", "prod/1"))
    assert [file.path for file in trees["with files"].files] == sorted(FILES)
    # a bucket of the same name, with nothing in it
    empty = held.trees(held.there)
    for name in ("with files", "prod/1"):
        assert empty[name].files == ()
        for place in (held.there.endpoint, held.server.uri, f"s3://{held.bucket}/"):
            assert place in (empty[name].error or ""), empty[name].error
    assert empty["without"].error is None
    # a mirror: as good as the server's own, until the server has lost something
    mirrored(held)
    assert {tree.error for tree in held.trees(held.there).values()} == {None}
    client = held.client(held.here)
    for path, missed in (("a.txt", "a.txt is a file of 4 bytes"), ("deep/er/b.bin", "deep/er is a folder")):
        client.delete_object(Bucket=held.bucket, Key=f"{held.prefix}/{path}")
        lost = held.trees(held.there)["with files"]
        assert f"/{missed} in the first, and nothing to the server" in (lost.error or ""), lost.error
        client.put_object(Bucket=held.bucket, Key=f"{held.prefix}/{path}", Body=FILES[path])
    # the same names and sizes
    held.client(held.there).put_object(Bucket=held.bucket, Key=f"{held.prefix}/a.txt", Body=b"4321")
    assert "a.txt is SHA-256" in (held.trees(held.there)["with files"].error or "")


def test_a_mirror_of_large_files_alone_is_not_believed(held: Held) -> None:
    """The same names and sizes say nothing of the bytes, and no small file tells that they are others."""
    large = (16 << 20) + 1
    for path in FILES:
        held.client(held.here).delete_object(Bucket=held.bucket, Key=f"{held.prefix}/{path}")
    held.client(held.here).delete_object(Bucket=held.bucket, Key=f"{held.outside}/MLmodel")
    key = {"Bucket": held.bucket, "Key": f"{held.prefix}/a.txt"}
    held.client(held.here).put_object(**key, Body=b"n" * large)
    held.client(held.there).put_object(**key, Body=b"o" * large)
    assert "a.txt is SHA-256" in (held.trees(held.there)["with files"].error or "")
    assert held.trees(held.here)["with files"].error is None


def test_a_server_that_cannot_list_its_own_store_shows_nothing(newest: Server, held: Held) -> None:
    """The bucket that the caller reaches may be any: it is not read, and the message says what to do."""
    seed = Seeder(newest.uri)
    body = {"name": "of another S3", "artifact_location": f"s3://{held.bucket}/{held.prefix}"}
    experiment = str(seed.call("POST", "experiments/create", body)["experiment_id"])
    seed.end(seed.run(experiment, "run"))
    location = parse_location(newest.uri, option="--source-uri")
    found = credentials(location, "source", held.variables(held.here))
    with closing(ServerReader(Session(location, found), found, allowed=[f"s3://{held.bucket}"])) as reader:
        [tree] = reader.artifacts([run for page in reader.runs(experiment) for run in page], "digest")
    assert "cannot be shown" in (tree.error or "")
    assert "give the server itself access to its S3" in (tree.error or "")


@pytest.mark.long
def test_a_migration_into_another_s3_than_the_servers_is_refused(
    held: Held, fresh_server: FreshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The marker is read back through the target's server; both buckets are as they were."""
    source = fresh_server()
    Seeder(source.uri).experiment("exp")
    before = held.objects(held.here)
    for s3, said in ((held.there, {("error", "target.store.other")}), (held.here, set())):
        for name, value in held.variables(s3, "TARGET_").items():
            monkeypatch.setenv(name, value)
        found = look(tmp_path, *between(source.uri, held.server.uri), "--into-existing")
        assert {one for one in codes(found) if one[0] == "error"} == said
        if said:
            for place in (held.there.endpoint, held.server.uri):
                assert place in text(found, "target.store.other")
    assert held.objects(held.here) == before
    assert held.objects(held.there) == {}


@pytest.mark.long
def test_an_audit_that_means_another_s3_is_no_pass(held: Held, fresh_server: FreshServer, tmp_path: Path) -> None:
    """After a migration: with the server's own S3 the run's files are green, with an empty one they are unverified."""
    target = fresh_server()
    ends = between(held.server.uri, target.uri)
    place = f"s3://{held.bucket}/outside"
    # the version's files lie below no run, and a proxy takes no others
    done = migrate_py(
        tmp_path / "m",
        "run",
        *ends,
        "--work-dir",
        "work",
        "--allow-place",
        place,
        env=held.variables(held.here),
        timeout=400,
    )
    assert "Not moved: 1\n" in done.output, done.output
    sides = (held.server.uri, target.uri, "--parity-allow-place", place)
    green = audit(tmp_path / "here", *sides, env=held.variables(held.here))
    assert {row.name for row in green.red_rows()} == {"prod version 1"}
    red = audit(tmp_path / "there", *sides, env=held.variables(held.there))
    assert red.status == 1, red.output
    rows = {(row.name, str(row.state)) for row in red.red_rows() if row.kind != "model_version"}
    assert rows == {("with files", "unverified")}
    for named in (held.there.endpoint, held.server.uri):
        assert named in red.output
