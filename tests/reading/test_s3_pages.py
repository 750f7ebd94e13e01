"""Lists of S3 that are none: a sign-in page with 200, an empty body, a list of something else are no empty folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from support.proxy import Exchange, Fault, Proxy, Spoil, proxying, status

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.records import ArtifactTree
from mlflow_parity.migrating.write.s3_leftovers import Leftovers
from mlflow_parity.reading.artifacts import s3_store
from mlflow_parity.reading.artifacts.s3_pages import objects_of
from mlflow_parity.reading.artifacts.s3_store import S3Store
from mlflow_parity.reading.artifacts.shared_listings import FEWEST, SharedListings
from mlflow_parity.reading.artifacts.stores import Place
from mlflow_parity.reading.artifacts.trees import read_trees
from mlflow_parity.reading.transport.slowing import Patience
from mlflow_parity.standin.http import s3_server

BUCKET = "pages"
OWNERS = [f"run{number}" for number in range(FEWEST)]
_XML = "<?xml version='1.0'?><ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>%s</ListBucketResult>"


def _client(endpoint: str) -> Any:
    return boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=endpoint)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A proxy before an S3 with two files for each owner; its lists come in pages of three keys."""
    with s3_server(tmp_path_factory.mktemp("s3"), page=3) as s3, proxying(s3.endpoint) as proxy:
        client = _client(s3.endpoint)
        client.create_bucket(Bucket=BUCKET)
        for owner in OWNERS:
            for name in ("a+b %20é", "model/b"):
                client.put_object(Bucket=BUCKET, Key=f"e/{owner}/artifacts/{name}", Body=b"x")
        yield proxy


@pytest.fixture(autouse=True)
def _healed(front: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(s3_store, "_WAIT", 0.0)
    front.heal()
    yield
    front.heal()


def _trees(
    client: Any, shared: SharedListings | None = None, owners: Collection[str] = OWNERS
) -> Mapping[str, ArtifactTree]:
    if shared is not None:
        shared.expect([(f"s3://{BUCKET}/e/{owner}/artifacts", owner) for owner in owners])

    def stores(owner: str) -> list[S3Store]:
        place = Place(owner, f"s3://{BUCKET}/e/{owner}/artifacts", ended=1.0)
        return [S3Store(client, place, Patience(5, 1), shared)]

    with ThreadPoolExecutor(1) as pool:
        trees = read_trees(list(owners), str, stores, "listing", str, pool=pool, at_once=1)
        return {tree.run_id: tree for tree in trees}


def _replaced(old: bytes, new: bytes) -> Spoil:
    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        exchange.answer(code, kept, body.replace(old, new))

    return spoil


@pytest.mark.parametrize("together", [False, True], ids=["alone", "shared"])
@pytest.mark.parametrize(
    "spoil",
    [
        status(200, {"Content-Type": "text/html"}, b"<html><title>Please sign in</title></html>"),
        status(200, body=b""),
        status(200, body=(_XML % "").encode()),
        status(200, body=(_XML % "<Name>other</Name><IsTruncated>false</IsTruncated>").encode()),
        status(200, body=(_XML % "<Prefix>f/</Prefix><IsTruncated>false</IsTruncated>").encode()),
        _replaced(b"<Key>e/run", b"<Key>f/run"),
        _replaced(b"<Key>e/run", b"<Key>"),
        _replaced(b"<Contents>", b"<Content>"),
    ],
    ids=["page", "empty body", "empty list", "other bucket", "other prefix", "other keys", "short keys", "lost keys"],
)
def test_what_is_no_list_is_no_empty_folder(front: Proxy, spoil: Spoil, together: bool) -> None:
    """A source behind a proxy's page would have no files: whatever the target lost, the audit was green."""
    front.faults.append(Fault("list-type", spoil, times=10**6))
    owners = OWNERS if together else OWNERS[:1]
    trees = _trees(_client(front.uri), SharedListings() if together else None, owners)
    assert [tree.files for tree in trees.values()] == [()] * len(owners)
    assert all((tree.error or "").startswith("S3: ") for tree in trees.values()), trees


@pytest.mark.parametrize("together", [False, True], ids=["alone", "shared"])
def test_real_lists_are_read(front: Proxy, together: bool) -> None:
    """Pages, names that are written as %xx in them, and owners without files: no audit of S3 is red for its lists."""
    owners = [*OWNERS, "nothing"]
    trees = _trees(_client(front.uri), SharedListings() if together else None, owners)
    files = {owner: [file.path for file in tree.files] for owner, tree in trees.items() if tree.error is None}
    assert files == {owner: [] if owner == "nothing" else ["a+b %20é", "model/b"] for owner in owners}


def test_what_services_leave_out_or_tell_otherwise_is_a_list() -> None:
    """A service without a count, one that gives the beginning of a prefix, and names that stand for a bucket."""
    whole: dict[str, Any] = {"IsTruncated": False, "Contents": [{"Key": "a/b"}]}
    for more in ({}, {"KeyCount": 1}, {"Prefix": ""}, {"Prefix": "a"}, {"Name": "b"}, {"Prefix": None}):
        assert len(objects_of({**whole, **more}, "b", "a/")) == 1, more
    assert objects_of({"IsTruncated": False, "KeyCount": 0}, "b", "a/") == ()
    assert objects_of({"IsTruncated": False, "KeyCount": 1, "CommonPrefixes": [{"Prefix": "a/c/"}]}, "b", "a/") == ()
    for bucket in ("point-x1-s3alias", "arn:aws:s3:us-east-1:1:accesspoint/point"):
        assert len(objects_of({**whole, "Name": "b"}, bucket, "a/")) == 1, bucket
    for more in ({"KeyCount": 2}, {"KeyCount": 0}, {"Prefix": "a/b"}, {"Name": "c"}, {"IsTruncated": None}):
        with pytest.raises(MalformedAnswer):
            objects_of({**whole, **more}, "b", "a/")


def test_a_migration_ends_no_upload_of_another_folder(front: Proxy) -> None:
    """A list that is not of its own folder is not believed: files would not be sent, and others' uploads be ended."""
    client = _client(front.uri)
    prefix = f"e/{OWNERS[0]}/artifacts/"
    assert set(Leftovers(client, BUCKET, prefix).kept()) == {"a+b %20é", "model/b"}
    key = f"f/{OWNERS[0]}/artifacts/large"
    assert len(key) == len(f"{prefix}large")
    client.create_multipart_upload(Bucket=BUCKET, Key=key)
    front.faults.append(Fault("list-type", _replaced(b"<Key>e/run", b"<Key>f/run"), times=99))
    left = Leftovers(client, BUCKET, prefix)
    assert left.kept() == {}

    class Foreign:
        """A store that lists all uploads, whatever prefix is asked for."""

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def list_multipart_uploads(self, **_: Any) -> Any:
            return client.list_multipart_uploads(Bucket=BUCKET)

    Leftovers(Foreign(), BUCKET, prefix).end_unfinished(["large"])
    assert [one["Key"] for one in client.list_multipart_uploads(Bucket=BUCKET)["Uploads"]] == [key]
