"""Artifact trees: every file once, with the hash of its own bytes, by the way that the server's version allows."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from support.proxy import Exchange, Fault, cut, proxying, status
from support.seed import Seeder

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import ArtifactTree
from mlflow_parity.core.scope import Depth
from mlflow_parity.reading.artifacts.stores import is_faithful, walk
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.http import S3
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server
from mlflow_parity.standin.sigv4 import Credentials

QUICK = Limits(first_wait=0.02, longest_wait=0.1)
PROXY = "/api/2.0/mlflow-artifacts/artifacts"
NAMES = (
    "plain.txt",
    "with space.txt",
    "plus+sign.txt",
    "50% off.txt",
    "question?mark.txt",
    "am&persand=;.txt",
    "größe.txt",
    "数据/本.txt",
    "archive.gz",
    "deep/er/and/deeper/file",
    ".hidden",
    "..dots",
    "quote'\".txt",
)


def opened(uri: str, env: Mapping[str, str] | None = None, *allowed: str) -> ServerReader:
    """Return a reader of a server."""
    location = parse_location(uri, option="--source-uri")
    found = credentials(location, "source", env or {})
    return ServerReader(Session(location, found, limits=QUICK), found, allowed=allowed)


@pytest.fixture(params=["newest", "server_2_16", "server_2_22", "server_3_4", "server_3_10"])
def server(request: pytest.FixtureRequest) -> Server:
    """Every version, one after another."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


def planted(server: Server, name: str, files: Mapping[str, bytes]) -> str:
    """Make an experiment with one run, put files into its place in the store, and return the experiment's id."""
    seed = Seeder(server.uri)
    experiment = seed.experiment(name)
    run = seed.run(experiment, name)
    for path, content in files.items():
        file = Path(server.artifacts_root) / experiment / run / "artifacts" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return experiment


def tree_of(reader: ServerReader, experiment: str, depth: Depth = "digest") -> ArtifactTree:
    """Read the tree of an experiment's only run."""
    [run] = [run for page in reader.runs(experiment) for run in page]
    [tree] = reader.artifacts([run], depth)
    assert tree.run_id == run.run_id
    assert [file.path for file in tree.files] == sorted(file.path for file in tree.files)
    return tree


def sha256(content: bytes) -> str:
    """Return the hex digest."""
    return hashlib.sha256(content).hexdigest()


def test_every_name_comes_back_with_its_own_bytes(server: Server) -> None:
    """Spaces, plus, per cent, question mark, non-ASCII, as deep as it goes, on every version."""
    files = {name: f"content of {name}".encode() for name in NAMES}
    experiment = planted(server, "names", files)
    reader = opened(server.uri)
    tree = tree_of(reader, experiment)
    assert tree.error is None
    assert {file.path: (file.size, file.sha256, file.error) for file in tree.files} == {
        name: (len(content), sha256(content), None) for name, content in files.items()
    }
    reader.close()


def test_names_that_the_server_decodes_are_errors_and_not_another_files_bytes(server: Server) -> None:
    """Asked for ``a%20b.txt`` a server sends ``a b.txt``, status 200; of the same size nobody would notice."""
    files = {"a b.txt": b"of the space", "a%20b.txt": b"of per cent.", "a#b.txt": b"x", "tab\there": b"y"}
    experiment = planted(server, "decoded names", files)
    [run] = Seeder(server.uri).call("POST", "runs/search", {"experiment_ids": [experiment]})["runs"]
    stored = f"{experiment}/{run['info']['run_id']}/artifacts/a%2520b.txt"
    assert requests.get(f"{server.uri}{PROXY}/{stored}", timeout=30).content == b"of the space"
    reader = opened(server.uri)
    tree = tree_of(reader, experiment)
    assert {file.path: file.sha256 for file in tree.files} == {
        **dict.fromkeys(files),
        "a b.txt": sha256(b"of the space"),
    }
    for file in tree.files:
        assert (file.error is None) is (file.path == "a b.txt")
    # sizes come with the listing, which names them all right
    listed = tree_of(reader, experiment, "listing")
    assert {file.path: file.size for file in listed.files} == {name: len(content) for name, content in files.items()}
    reader.close()


def test_a_folder_that_the_server_decodes_is_an_error(newest: Server) -> None:
    """It would list another folder, or none; what is beside it is read all the same."""
    experiment = planted(newest, "decoded folder", {"a%20b/file": b"1", "a b/other": b"2"})
    reader = opened(newest.uri)
    tree = tree_of(reader, experiment)
    assert tree.error is None
    other, odd = tree.files
    assert other.path == "a b/other"
    assert odd.path == "a%20b/"
    assert odd.is_folder
    assert "would list another" in (odd.error or "")
    reader.close()


@pytest.mark.parametrize(
    ("path", "faithful"),
    [
        ("a/b c.txt", True),
        ("100%", True),
        ("a%zz", True),
        ("a?b", True),
        ("größe", True),
        ("a%41", False),
        ("a%2541", False),
        ("a?", False),
        ("a;", False),
        ("a#b", False),
        ("a\tb", False),
        (" a", False),
        ("Scheme:x", False),
        ("", False),
    ],
)
def test_faithful_names(path: str, faithful: bool) -> None:
    """What decoding and MLflow's URL parser leave alone."""
    assert is_faithful(path) is faithful


def test_no_artifacts_is_an_empty_tree(server: Server) -> None:
    """The run's folder is made with its first file; before that there is nothing, which is no error."""
    reader = opened(server.uri)
    tree = tree_of(reader, planted(server, "nothing", {}))
    assert (tree.files, tree.error) == ((), None)
    reader.close()


def test_the_slow_handler_is_avoided(server_3_4: Server) -> None:
    """Proxies of 3.3 to 3.7 send files line by line, at 1.5 MB/s: there ``/get-artifact`` is asked."""
    content = random.Random(5).randbytes(3_000_000)
    experiment = planted(server_3_4, "large", {"large.bin": content})
    with proxying(server_3_4.uri) as proxy:
        reader = opened(proxy.uri)
        [file] = tree_of(reader, experiment).files
        assert (file.size, file.sha256) == (len(content), sha256(content))
        assert "/get-artifact" in proxy.paths()
        assert not any(path.startswith(f"{PROXY}/") for path in proxy.paths())
        reader.close()


@pytest.mark.parametrize("name", ["server_2_22", "newest"])
def test_the_fast_handler_is_used(request: pytest.FixtureRequest, name: str) -> None:
    """Where the proxy is the faster one, it is asked, and ``/get-artifact`` only to see whether it is there."""
    server = request.getfixturevalue(name)
    assert isinstance(server, Server)
    content = random.Random(6).randbytes(3_000_000)
    experiment = planted(server, "large", {"large.bin": content})
    reader = opened(server.uri)
    [file] = tree_of(reader, experiment).files
    assert (file.size, file.sha256) == (len(content), sha256(content))
    assert reader.session.counts["proxy-get"] == 1
    assert reader.session.counts["get-artifact"] == 1
    reader.close()


def test_the_other_way_is_taken_when_one_fails(newest: Server) -> None:
    """A handler that fails for a file does not end it while there is another."""
    experiment = planted(newest, "other way", {"file.txt": b"content"})
    with proxying(newest.uri) as proxy:
        proxy.faults.append(Fault(f"{PROXY}/", status(500), times=99))
        reader = opened(proxy.uri)
        [file] = tree_of(reader, experiment).files
        assert (file.sha256, file.error) == (sha256(b"content"), None)
        reader.close()


def test_a_file_that_cannot_be_read_is_an_error_of_its_own(newest: Server) -> None:
    """The others are hashed all the same."""
    experiment = planted(newest, "one fails", {"bad.txt": b"content", "good.txt": b"other"})
    with proxying(newest.uri) as proxy:
        reader = opened(proxy.uri)
        assert reader.capabilities.get_artifact
        proxy.faults.append(Fault("bad.txt", cut, times=99))
        proxy.faults.append(Fault("/get-artifact", cut, times=99))
        bad, good = tree_of(reader, experiment).files
        assert bad.sha256 is None
        assert "no usable answer" in (bad.error or "")
        assert (good.sha256, good.error) == (sha256(b"other"), None)
        reader.close()


def test_a_listing_that_fails_is_an_error_and_not_an_empty_tree(newest: Server) -> None:
    """No rights, or a store that is away: not the same as no files."""
    experiment = planted(newest, "listing fails", {"file.txt": b"content"})
    with proxying(newest.uri) as proxy:
        reader = opened(proxy.uri)
        assert reader.capabilities.artifact_proxy
        proxy.faults.append(Fault("artifacts", status(403, body=b'{"message": "no"}'), times=99))
        tree = tree_of(reader, experiment)
        assert "403" in (tree.error or "")
        reader.close()


def test_a_size_that_is_not_the_files_is_an_error(newest: Server) -> None:
    """The listing and the bytes contradict each other."""
    experiment = planted(newest, "sizes", {"file.txt": b"content"})

    def lying(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        exchange.answer(code, headers, body.replace(b"7", b"8"))

    with proxying(newest.uri) as proxy:
        reader = opened(proxy.uri)
        assert reader.capabilities.artifact_proxy
        proxy.faults.append(Fault(PROXY, lying))
        [file] = tree_of(reader, experiment).files
        assert "listed with 8 bytes, 7 were read" in (file.error or "")
        assert file.sha256 is None
        reader.close()


def test_depths(newest: Server) -> None:
    """Sizes only, without one download; hashes and MLmodel; and small texts, to be explained."""
    files = {
        "model/MLmodel": b"run_id: x\n",
        "notes.txt": "Größe\n".encode(),
        "weights.bin": bytes(range(256)),
        "large.txt": b"a" * 70_000,
        "empty": b"",
    }
    experiment = planted(newest, "depths", files)
    reader = opened(newest.uri)
    listing = tree_of(reader, experiment, "listing")
    assert {file.path: (file.size, file.sha256, file.content) for file in listing.files} == {
        name: (len(content), None, None) for name, content in files.items()
    }
    assert reader.session.counts["proxy-get"] == 0
    for depth, kept in (("digest", {"model/MLmodel"}), ("full", {"model/MLmodel", "notes.txt", "empty"})):
        tree = tree_of(reader, experiment, "digest" if depth == "digest" else "full")
        assert {file.path: (file.size, file.sha256, file.content) for file in tree.files} == {
            name: (len(content), sha256(content), content if name in kept else None) for name, content in files.items()
        }
    reader.close()


def test_listings_that_make_no_sense_end() -> None:
    """A folder in itself, a path outside of the run, a file twice: an error, not a walk for ever."""

    def endless(folder: str) -> list[dict[str, Any]]:
        return [{"path": f"{folder}/again".lstrip("/"), "is_dir": True}]

    with pytest.raises(MalformedAnswer, match="deep"):
        list(walk(endless))
    for path in ("../x", "a/../../x", "/etc", "", "."):
        with pytest.raises(MalformedAnswer, match="outside"):
            list(walk(lambda _, path=path: [{"path": path, "file_size": 1}]))  # type: ignore[misc]
    with pytest.raises(MalformedAnswer, match="twice"):
        list(walk(lambda _: [{"path": "a"}, {"path": "a"}]))
    with pytest.raises(MalformedAnswer, match="outside"):
        list(walk(lambda folder: [{"path": "a", "is_dir": True}] if folder in ("", "a") else []))


OWNER = Credentials("STANDINREADER", "a-secret-of-the-tests", None)


@pytest.fixture
def bucket(s3: S3) -> Iterator[tuple[Any, str]]:
    """An S3 client and the name of a bucket."""
    s3.create_bucket("reading-artifacts", OWNER, "eu-central-1")
    client = s3.client(OWNER, "eu-central-1")
    yield client, "reading-artifacts"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="reading-artifacts"):
        for item in page.get("Contents", []):
            client.delete_object(Bucket="reading-artifacts", Key=item["Key"])
    client.delete_bucket(Bucket="reading-artifacts")


def test_s3_is_read_with_the_auditors_own_rights(sagemaker_app: StandIn, s3: S3, bucket: tuple[Any, str]) -> None:
    """Any name, a listing call a page; S3's own SHA-256 where it has one; nothing of a neighbour named alike."""
    client, name = bucket
    # by its own address it is any server with a store in S3
    uri = sagemaker_app.server.uri
    seed = Seeder(uri)
    answer = seed.call("POST", "experiments/create", {"name": "on S3", "artifact_location": f"s3://{name}/root+1"})
    experiment = str(answer["experiment_id"])
    run = seed.run(experiment, "on S3")
    prefix = f"root+1/{run}/artifacts/"
    files = {path: f"content of {path}".encode() for path in (*NAMES, "a%20b", "a#b", "tab\tx", "sub/MLmodel")}
    for path, content in files.items():
        client.put_object(Bucket=name, Key=prefix + path, Body=content)
    client.put_object(Bucket=name, Key=prefix + "folder/", Body=b"")
    client.put_object(Bucket=name, Key=prefix + "vouched.bin", Body=b"vouched" * 9, ChecksumAlgorithm="SHA256")
    client.put_object(Bucket=name, Key=f"root+1/{run}/artifacts-of-another/x", Body=b"not ours")
    files["vouched.bin"] = b"vouched" * 9
    env = {
        "SOURCE_MLFLOW_S3_ENDPOINT_URL": s3.endpoint,
        "SOURCE_AWS_ACCESS_KEY_ID": OWNER.access_key,
        "SOURCE_AWS_SECRET_ACCESS_KEY": OWNER.secret_key,
        "SOURCE_AWS_DEFAULT_REGION": "eu-central-1",
    }
    reader = opened(uri, env, "s3://reading-artifacts")
    [found] = [run for page in reader.runs(experiment) for run in page]
    calls: list[str] = []
    events = reader._credentials.aws.s3.meta.events
    events.register("before-send.s3", lambda request, **_: calls.append(f"{request.method} {request.url}"))
    [tree] = reader.artifacts([found], "digest")
    assert tree.error is None
    assert {file.path: (file.size, file.sha256, file.error) for file in tree.files} == {
        path: (len(content), sha256(content), None) for path, content in files.items()
    }
    assert {file.path for file in tree.files if file.content is not None} == {"sub/MLmodel"}
    vouched = [call.split()[0] for call in calls if "vouched" in call]
    assert vouched == ["HEAD"]
    # the tests' S3 gives four keys a call; one of them is the folder's own
    assert sum("list-type=2" in call for call in calls) == -(-(len(files) + 1) // 4)
    # one file is read both ways, to show that both S3 are one
    assert reader.session.counts["get-artifact"] <= 2
    [listing] = reader.artifacts([found], "listing")
    assert {file.path: file.size for file in listing.files} == {path: len(content) for path, content in files.items()}
    reader.close()


def test_s3_without_rights_is_read_through_the_server(newest: Server) -> None:
    """An ``http`` server may reach what the auditor may not; when neither does, that is an error."""
    seed = Seeder(newest.uri)
    answer = seed.call("POST", "experiments/create", {"name": "no S3", "artifact_location": "s3://nowhere/root"})
    experiment = str(answer["experiment_id"])
    seed.run(experiment, "no S3")

    def reachable(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [], b'{"files": [{"path": "a.txt", "is_dir": false, "file_size": 3}]}')

    def content(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [], b"abc")

    nobody = {"AWS_EC2_METADATA_DISABLED": "true", "SOURCE_AWS_PROFILE": "a-profile-that-is-not-there"}
    with proxying(newest.uri) as proxy:
        reader = opened(proxy.uri, nobody)
        assert reader.capabilities.get_artifact
        proxy.faults += [Fault("artifacts/list", reachable), Fault("/get-artifact", content)]
        [file] = tree_of(reader, experiment).files
        assert (file.path, file.sha256) == ("a.txt", sha256(b"abc"))
        proxy.faults.append(Fault("artifacts/list", status(403, body=b"{}"), times=9))
        assert "403" in (tree_of(reader, experiment).error or "")
        reader.close()
