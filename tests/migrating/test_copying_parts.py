"""The pieces of a copy from S3 to S3: which way a file takes, what proves it, and what is read on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.identity.sums import Left, identity, left_at, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.migrating.write.copying.copies import Copies, NotCopied
from mlflow_parity.migrating.write.copying.deciding import LARGEST_WHOLE, Refusals, part_size, way_of
from mlflow_parity.migrating.write.copying.proving import is_kept, is_proved
from mlflow_parity.migrating.write.copying.sending import Checksums, Reading, copy_in_parts
from mlflow_parity.migrating.write.s3_leftovers import Kept
from mlflow_parity.reading.artifacts.stated.checksums import Hasher
from mlflow_parity.standin.http import S3

MIB = 1 << 20
MD5 = "5d41402abc4b2a76b9719d911017c592"
SHA256 = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
LEFT = Left(MD5, "bucket", "a b/100%@x?#+ü.txt")


def left(stated: str = f"stated md5={MD5}", size: int = 5, sha256: str | None = None) -> tuple[Artifact, Left]:
    """A file that was left, of which its store states this."""
    place = LEFT._replace(sha256=sha256)
    return Artifact("f", size, sums=place.on(stated)), place


def test_a_left_file_tells_where_it_is() -> None:
    """Whatever is in its key; one that was read, or could not be, is none; what makes no sense is no place."""
    for sha256 in (None, SHA256):
        file, place = left(sha256=sha256)
        assert left_at(file) == place
        assert sums_of(file).whole == {"md5": MD5}
        assert not sums_of(file).read
    assert left_at(replace(file, sha256=SHA256)) is None
    assert left_at(replace(file, error="refused")) is None
    for word in ("left=", "left=@b/k", "left=e@b", "left=e@b/", "left=e"):
        assert left_at(Artifact("f", 5, sums=f"stated {word}")) is None
    # of a file that nothing is stated of the ETag tells whether it is another one now
    file, _ = left("")
    other = Artifact("f", 5, sums=LEFT._replace(etag="0" * 32).on(""))
    assert identity(file) != identity(other) != None  # noqa: E711


@pytest.mark.parametrize(
    ("stated", "size", "way"),
    [
        (f"stated md5={MD5}", 5, "whole"),
        ("stated crc64nvme=0123456789abcdef", LARGEST_WHOLE, "whole"),
        ("stated crc64nvme=0123456789abcdef", LARGEST_WHOLE + 1, "parts"),
        (f"stated parts={MD5}-3", 20 * MIB, "parts"),
        ("stated crc32=01234567", 5, "stream"),
        ("", 5, "stream"),
    ],
)
def test_the_way_of_a_file(stated: str, size: int, way: str) -> None:
    """That on which what both stores state proves it afterwards."""
    assert way_of(*left(stated, size)) == way


def test_the_size_of_parts() -> None:
    """Those of the source where S3 tells them or a known client makes them; never smaller than S3 takes."""
    assert part_size(21 * MIB, 3, {"ContentLength": 9 * MIB, "PartsCount": 3}) == 9 * MIB
    assert part_size(21 * MIB, 3, {}) == 8 * MIB
    assert part_size(21 * MIB, 3, {"ContentLength": 9 * MIB, "PartsCount": 2}) == 8 * MIB
    assert part_size(21 * MIB, 7, {"ContentLength": 3 * MIB, "PartsCount": 7}) == 0
    assert part_size(21 * MIB, 9, {}) == 0
    assert part_size(3, 1, {}) == 3
    huge = 5 << 40
    assert -(-huge // part_size(huge, 0, {})) <= 10_000


@pytest.mark.parametrize(
    ("answer", "proved"),
    [
        ({"CopyObjectResult": {"ETag": f'"{MD5}"'}}, True),
        ({"CopyObjectResult": {"ETag": f'"{"1" * 32}"'}}, False),
        # what stores give that have no digest
        ({"CopyObjectResult": {"ETag": f'"{"0" * 32}"'}}, None),
        ({"CopyObjectResult": {"ETag": f'"{MD5}"'}, "ServerSideEncryption": "aws:kms"}, None),
        ({"CopyObjectResult": {"ETag": f'"{MD5}-2"'}}, None),
        ({"CopyObjectResult": {"ETag": MD5}}, None),
        ({"CopyObjectResult": None}, None),
        ({}, None),
    ],
)
def test_what_an_answer_proves(answer: dict[str, Any], proved: bool | None) -> None:
    """An ETag that is a digest does; one of an encrypted copy, or no such thing, proves nothing."""
    assert is_proved(*left(), answer, "target") is proved
    assert is_proved(*left(), answer, "target--usw2-az1--x-s3") is None
    # a SHA-256 that both state proves it under KMS
    told = {"CopyObjectResult": {"ETag": '"abc"', "ChecksumSHA256": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}}
    assert is_proved(*left("", sha256=SHA256), told, "target") is True
    assert is_proved(*left("", sha256="0" * 64), told, "target") is False


def test_what_is_kept() -> None:
    """Only equal digests and sizes are the file."""
    assert is_kept(*left(), Kept(5, MD5))
    assert not is_kept(*left(), Kept(6, MD5))
    assert not is_kept(*left(), Kept(5, "0" * 32))
    assert not is_kept(*left(""), Kept(5, MD5))


def test_it_takes_some_refusals_in_a_row() -> None:
    """One object may be refused for itself; each pair of buckets by itself."""
    refusals, pair = Refusals(), ("a", "b")
    for _ in range(2):
        refusals.refused(pair)
    refusals.copied(pair)
    for _ in range(2):
        refusals.refused(pair)
    assert not refusals.given_up(pair)
    refusals.refused(pair)
    assert refusals.given_up(pair)
    assert not refusals.given_up(("a", "c"))


@pytest.mark.parametrize("content", [b"hell", b"hello!", b"hallo", b""])
def test_other_bytes_do_not_come_to_an_end(content: bytes) -> None:
    """What is sent on ends in an error, not at the end of a file, where it is not what was listed."""
    file, place = left()
    assert Reading(io.BytesIO(b"hello"), file, place).all() == b"hello"
    with pytest.raises(MalformedAnswer, match="listed 5 bytes"):
        Reading(io.BytesIO(content), file, place).all()


@pytest.fixture
def client(s3: S3) -> Iterator[Any]:
    """A client of two empty buckets."""
    import boto3

    client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=s3.endpoint)
    for bucket in ("copies-from", "copies-to"):
        client.create_bucket(Bucket=bucket)
    yield client
    for bucket in ("copies-from", "copies-to"):
        for one in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=one["Key"])
        client.delete_bucket(Bucket=bucket)


def put(client: Any, content: bytes) -> tuple[Artifact, Left]:
    """Put a file as boto3 does, and leave it."""
    client.upload_fileobj(io.BytesIO(content), "copies-from", "k")
    etag = client.head_object(Bucket="copies-from", Key="k")["ETag"].strip('"')
    place = Left(etag, "copies-from", "k")
    return Artifact("k", len(content), sums=place.on(f"stated {'parts' if '-' in etag else 'md5'}={etag}")), place


def test_parts_have_the_same_etag(client: Any) -> None:
    """A copy in the parts of the source; where one part fails nothing of it stays."""
    content = bytes(range(256)) * (9 * MIB // 256) + b"end"
    file, place = put(client, content)
    with ThreadPoolExecutor(2) as pool:
        answer = copy_in_parts(client, Checksums(client), file, place, "copies-to", "k", pool)
        assert is_proved(file, place, answer, "copies-to") is True
        assert client.get_object(Bucket="copies-to", Key="k")["Body"].read() == content
        gone = place._replace(key="gone")
        with pytest.raises(client.exceptions.ClientError):
            copy_in_parts(client, Checksums(client), file, gone, "copies-to", "other", pool)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="copies-to")


@pytest.mark.parametrize("size", [5, 9 * MIB])
def test_through_this_machine(client: Any, tmp_path: Path, size: int) -> None:
    """Other bytes than were listed leave nothing at the target; the right ones come without a file on the disk."""
    content = b"x" * size
    file, place = put(client, content)
    said: list[str] = []
    copies = Copies(lambda: client, lambda: client, tmp_path, said.append, workers=1)
    unproved = replace(file, sums=place.on(""))
    assert copies.to_s3(unproved, place, "copies-to", "k", None)
    assert client.get_object(Bucket="copies-to", Key="k")["Body"].read() == content
    hasher = Hasher(size)
    hasher.update(b"y" * size)
    wrong = replace(file, sums=place.on(hasher.sums.replace("read", "stated")))
    with pytest.raises(NotCopied, match="or others"):
        copies.to_s3(wrong, place, "copies-to", "wrong", None)
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="copies-to")["Contents"]]
    assert keys == ["k"]
    assert "Uploads" not in client.list_multipart_uploads(Bucket="copies-to")
    with pytest.raises(NotCopied, match="onto itself"):
        copies.to_s3(file, place, place.bucket, place.key, None)
    came: list[bytes] = []
    copies.spooled(file, place, lambda path, _: came.append(path.read_bytes()))
    assert came == [content]
    assert list(tmp_path.iterdir()) == []
    copies.close()
    assert len(said) == 1
