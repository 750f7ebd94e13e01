"""Copies that are asked for as boto3 asked for one before: the same requests, and boto3 itself where one fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from support.proxy import Fault, Proxy, Spoil, cut, proxying, reset, status

from mlflow_parity.migrating.write.copying import repeating
from mlflow_parity.migrating.write.copying.repeating import Repeating
from mlflow_parity.reading.transport.timed import time_boto
from mlflow_parity.standin.http import S3

FROM, TO = "repeat-from", "repeat-to"
KEYS = ("k", "a b/c+d/100%.txt", "a%20b/%2e%2e?versionId=1#x.txt", "ünï/日本.txt", "~tilde/-._", "x//y", "(a)&b='c'")
#: Headers that are another one for each request.
OWN = ("authorization", "x-amz-date", "amz-sdk-invocation-id", "amz-sdk-request")
ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>busy</Message></Error>'


@pytest.fixture
def way(s3: S3) -> Iterator[Proxy]:
    """A proxy in front of an S3 with two buckets, of which one has files."""
    client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=s3.endpoint)
    for bucket in (FROM, TO):
        client.create_bucket(Bucket=bucket)
    for key in KEYS:
        client.put_object(Bucket=FROM, Key=key, Body=key.encode())
    with proxying(s3.endpoint) as found:
        yield found
    for bucket in (FROM, TO):
        for key in etags(client, bucket):
            client.delete_object(Bucket=bucket, Key=key)
        client.delete_bucket(Bucket=bucket)


@pytest.fixture
def client(way: Proxy) -> Any:
    """A client of that S3."""
    found = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=way.uri)
    time_boto(found)
    return found


def etags(client: Any, bucket: str = FROM) -> dict[str, str]:
    """Return the ETag of each file."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {one["Key"]: one["ETag"].strip('"') for page in pages for one in page.get("Contents", [])}


def by_boto3(client: Any) -> list[str]:
    """Return a list that fills with the keys that boto3 itself is asked to copy."""
    asked: list[str] = []

    def see(params: Any, **_: Any) -> None:
        asked.append(params["Key"])

    client.meta.events.register_first("provide-client-params.s3.CopyObject", see)
    return asked


def sent(way: Proxy) -> list[tuple[Any, ...]]:
    """Return what was sent since this was asked last, but for what is another with each request."""
    with way.lock:
        seen = [one for one in way.seen if one.method == "PUT"]
        way.seen.clear()
    assert all(one.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/") for one in seen)
    return [
        (one.path, one.query, sorted((name, value) for name, value in one.headers.items() if name not in OWN))
        for one in seen
    ]


@pytest.mark.parametrize("more", [{}, {"ChecksumAlgorithm": "SHA256"}], ids=["plain", "checksum"])
def test_they_are_boto3s_requests(way: Proxy, client: Any, more: dict[str, str]) -> None:
    """Whatever is in a key: the same request, and the same answer."""
    listed = etags(client)
    one, asked = Repeating(client), by_boto3(client)
    sent(way)
    answers = [one.copy(TO, f"to/{key}", (FROM, key), listed[key], **more) for key in KEYS]
    ours = sent(way)
    assert asked == [f"to/{KEYS[0]}"]
    theirs = [
        client.copy_object(
            Bucket=TO,
            Key=f"to/{key}",
            CopySource={"Bucket": FROM, "Key": key},
            CopySourceIfMatch=f'"{listed[key]}"',
            TaggingDirective="REPLACE",
            **more,
        )
        for key in KEYS
    ]
    assert ours == sent(way)
    assert etags(client, TO) == {f"to/{key}": etag for key, etag in listed.items()}
    for answer, other in zip(answers, theirs, strict=True):
        assert {**answer["CopyObjectResult"], "LastModified": 0} == {**other["CopyObjectResult"], "LastModified": 0}
        assert answer["CopyObjectResult"]["ETag"].strip('"') in listed.values()


@pytest.mark.parametrize(
    "spoil",
    [status(503), status(200, body=ERROR), status(200, body=b"<CopyObjectResult"), cut, reset],
    ids=["503", "an error as 200", "half an answer", "cut", "reset"],
)
def test_what_is_no_copy_is_asked_for_by_boto3(
    way: Proxy, client: Any, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries again, and for some time it alone asks: it slows down where that is wanted."""
    listed = etags(client)
    one, asked = Repeating(client), by_boto3(client)
    one.copy(TO, KEYS[0], (FROM, KEYS[0]), listed[KEYS[0]])
    way.faults.append(Fault("", spoil))
    for key in KEYS[1:4]:
        answer = one.copy(TO, key, (FROM, key), listed[key])
        assert answer["CopyObjectResult"]["ETag"] == f'"{listed[key]}"'
    assert asked == list(KEYS[:4])
    monkeypatch.setattr(repeating, "_REST", 0.0)
    one._resting = 0.0
    for key in KEYS[4:]:
        one.copy(TO, key, (FROM, key), listed[key])
    assert asked == list(KEYS[:4])
    assert etags(client, TO) == listed


def test_one_that_changed(way: Proxy, client: Any) -> None:
    """A file that is another than was listed is not copied, and boto3's own error says so."""
    listed = etags(client)
    one = Repeating(client)
    one.copy(TO, KEYS[0], (FROM, KEYS[0]), listed[KEYS[0]])
    # this S3 copies it all the same
    refusal = ERROR.replace(b"InternalError", b"PreconditionFailed")
    way.faults.append(Fault(KEYS[4], status(412, body=refusal), times=2))
    with pytest.raises(ClientError, match="PreconditionFailed"):
        one.copy(TO, KEYS[4], (FROM, KEYS[4]), listed[KEYS[4]])
    assert [seen.headers["x-amz-copy-source-if-match"] for seen in way.seen if KEYS[4] in seen.path] == [
        f'"{listed[KEYS[4]]}"'
    ] * 2


def test_new_credentials_sign(way: Proxy, client: Any) -> None:
    """Those that are renewed while files are copied are used from then on."""
    listed = etags(client)
    one, asked = Repeating(client), by_boto3(client)
    one.copy(TO, KEYS[0], (FROM, KEYS[0]), listed[KEYS[0]])
    held = client._request_signer._credentials
    held.access_key, held.secret_key, held.token = "renewed", "other", "and-a-token"
    with way.lock:
        way.seen.clear()
    one.copy(TO, KEYS[1], (FROM, KEYS[1]), listed[KEYS[1]])
    assert asked == [KEYS[0]]
    (seen,) = way.seen
    assert "Credential=renewed/" in seen.headers["authorization"]
    assert seen.headers["x-amz-security-token"] == "and-a-token"
