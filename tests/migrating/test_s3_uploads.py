"""Files that a migration puts into S3 have a checksum of the whole file there."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mlflow_parity.migrating.write import s3_uploads
from mlflow_parity.migrating.write.s3_leftovers import IN_PARTS
from mlflow_parity.migrating.write.s3_uploads import put_with_checksum
from mlflow_parity.reading.artifacts.stated.checksums import Hasher, of_head
from mlflow_parity.standin.http import S3


@pytest.fixture
def client(s3: S3) -> Any:
    """A client of an empty bucket."""
    import boto3

    client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=s3.endpoint)
    client.create_bucket(Bucket="uploads")
    return client


def told(client: Any) -> dict[str, str]:
    """What S3 states of the file."""
    return of_head(client.head_object(Bucket="uploads", Key="k", ChecksumMode="ENABLED"))


def test_one_part_has_its_sha256(client: Any, tmp_path: Path) -> None:
    """Later audits rest on it, also where KMS makes the ETag worthless."""
    (tmp_path / "file").write_bytes(b"content")
    for content in (b"content", tmp_path / "file"):
        put_with_checksum(client, "uploads", "k", content, 7)
        assert told(client) == {"sha256": hashlib.sha256(b"content").hexdigest()}


@pytest.mark.parametrize("crt", [False, True])
def test_a_large_file(client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crt: bool) -> None:
    """In parts it has a CRC64NVME of the whole; without ``awscrt`` it is sent as a whole, with its SHA-256."""
    if crt and importlib.util.find_spec("awscrt") is None:
        pytest.skip("awscrt is an extra")
    monkeypatch.setattr(s3_uploads, "with_crc64nvme", lambda: crt)
    content = bytes(range(256)) * ((IN_PARTS + 1024) // 256)
    (tmp_path / "file").write_bytes(content)
    put_with_checksum(client, "uploads", "k", tmp_path / "file", len(content))
    assert client.get_object(Bucket="uploads", Key="k")["Body"].read() == content
    head = client.head_object(Bucket="uploads", Key="k")
    hasher = Hasher(len(content))
    hasher.update(content)
    etag = head["ETag"].strip('"')
    assert f"={etag}" in hasher.sums
    assert ("-" in etag) is crt
    if not crt:
        assert told(client) == {"sha256": hasher.sha256}
