"""Servers that send and take no file themselves (``--artifacts-presigned-only``, MLflow 3.18), with an S3 behind."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun
from support.environments import python_of
from support.migrations import migrate_py
from support.opened import opened
from support.seed import Seeder, seed_small
from support.servers import FreshServer

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.core.locations import parse_location
from mlflow_parity.migrating.write import signed_uploads
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading.transport.responses import Again
from mlflow_parity.reading.transport.signed import SignedPlace
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import new_credentials
from mlflow_parity.standin.servers import Server, serving

NEWEST = "3.18.0"
BUCKET = "signed-only"
LARGE = os.urandom(11 << 20)
FILES = {"a/b.txt": b"hello", "empty.txt": b"", "a b/\u00fc.bin": b"\0\1", "large.bin": LARGE}


@dataclass(frozen=True)
class Signing:
    """A server that signs addresses in its bucket and does nothing else with files."""

    server: Server
    bucket: Any
    experiment: str
    """Id of the only experiment beside its Default, called signed."""


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory, s3: S3) -> Iterator[Signing]:
    """The server, with a bucket of its own."""
    keys = new_credentials()
    s3.create_bucket(BUCKET, keys, "us-east-1")
    env = {
        "AWS_ACCESS_KEY_ID": keys.access_key,
        "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        "AWS_SESSION_TOKEN": keys.token or "",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
    }
    arguments = ["--artifacts-destination", f"s3://{BUCKET}/root", "--artifacts-presigned-only"]
    folder = tmp_path_factory.mktemp("signing")
    with serving(folder, python=python_of(NEWEST), env=env, arguments=arguments) as server:
        yield Signing(server, s3.client(keys, "us-east-1"), Seeder(server.uri).experiment("signed"))


def test_files_are_put_and_read_at_signed_addresses(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it every file of such a server would be unread, and none could be moved to it."""
    monkeypatch.setattr(signed_uploads, "PART", 5 << 20)
    run = Seeder(signing.server.uri).run(signing.experiment, "one")
    location = parse_location(signing.server.uri, option="--target-uri")
    writer, _ = open_writer(location)
    with closing(opened(signing.server.uri)) as reader, closing(writer):
        [found] = [one for page in reader.runs(signing.experiment) for one in page]
        assert found.run_id == run
        root = found.artifact_uri.removeprefix("mlflow-artifacts:/")
        for path, content in FILES.items():
            signed_uploads.put_proxied(writer, f"{root}/{path}", content, len(content), signed=True)
        [tree] = reader.artifacts([found], "digest")
        assert reader.capabilities.presigned_only
    assert {file.path: (file.size, file.sha256) for file in tree.files} == {
        path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in FILES.items()
    }


def test_a_part_that_fails_leaves_nothing(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was begun is taken back: parts of a file that nobody ends would be paid for, for ever."""
    location = parse_location(signing.server.uri, option="--target-uri")
    writer, _ = open_writer(location)

    def broken(*_: object) -> str:
        raise ReadError("the line is cut")

    monkeypatch.setattr(writer, "upload_signed", broken)
    with closing(writer), pytest.raises(ReadError, match="the line is cut"):
        signed_uploads.put_proxied(writer, "7/x/artifacts/file", b"x", 1, signed=True)
    left = signing.bucket.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    assert [one["Key"] for one in left if "/7/x/" in one["Key"]] == []


@pytest.mark.parametrize(
    "url",
    [None, "", "file:///etc/passwd", "s3://bucket/key", "http://169.254.169.254/latest/meta-data", "http:///x",
     "https://[bad/x", "http://host:99999/x"],
)  # fmt: skip
def test_an_address_that_is_no_stores_is_not_asked(url: object) -> None:
    """A server must not send its auditor to the machine's own secrets."""
    location = parse_location("http://127.0.0.1:5000", option="--source-uri")
    with pytest.raises(MalformedAnswer, match="signed"):
        SignedPlace.of({"url": url}, location)
    secure = parse_location("https://mlflow.example.com", option="--source-uri")
    with pytest.raises(MalformedAnswer, match="https"):
        SignedPlace.of({"url": "http://store.example.com/x"}, secure)


@pytest.mark.parametrize("headers", [{"x": "a\r\nb: c"}, {"x": "\u20ac"}, {"x": None}])
def test_headers_that_cannot_be_sent_are_an_answer_of_the_servers(headers: dict[str, Any]) -> None:
    """One line that names the file, and no traceback: they are data of a server like all else."""
    location = parse_location("http://127.0.0.1:9", option="--source-uri")
    place = SignedPlace.of({"url": "http://127.0.0.1:9/x", "headers": headers}, location)
    with pytest.raises((MalformedAnswer, Again)):
        place.open("GET", verify=True, timeout=(1.0, 1.0), late=time.monotonic() + 5)


@pytest.mark.long
def test_a_migration_to_it_is_whole(signing: Signing, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Files of runs, models and traces arrive in its store, and the audit reads every byte of them there."""
    source = fresh_server()
    seed_small(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", signing.server.uri)
    done = migrate_py(tmp_path, "run", *ends, "--work-dir", "work", "--report-dir", "reports")
    found = AuditRun(done.status, done.output, tmp_path / "reports")
    red = {(row.kind, row.facet) for row in found.red_rows()}
    # its own experiment is none of the source's; 3.18 is not known whole
    assert red == {("server", "release"), ("experiment", "presence")}, done.output[-3000:]
    assert [row.name for row in found.red_rows() if row.kind == "experiment"] == ["signed"]
    assert signing.bucket.list_objects_v2(Bucket=BUCKET)["KeyCount"] > 0
