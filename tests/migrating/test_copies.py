"""Without an export that is kept S3 copies the files itself: no byte passes, and each copy is proved."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.s3_ends import S3Ends, place, s3_ends

from mlflow_parity.standin.sagemaker import StandIn

MIB = 1 << 20
LARGE = bytes(range(256)) * (MIB * 21 // 256) + b"the last part"
FILES = {
    "empty": b"",
    "small.txt": b"small",
    "a b/c+d/100%.txt": b"odd",
    "a%20b/%2e%2e?versionId=1#x.txt": b"odder",
    "ünï/日本.txt": "日本".encode(),
    "model/MLmodel": b"flavors: {}\n",
}


@pytest.fixture
def ends(sagemaker_server: StandIn, sagemaker_app: StandIn, tmp_path: Path) -> Iterator[S3Ends]:
    """A managed server and an App in one S3."""
    with s3_ends(sagemaker_server, sagemaker_app, tmp_path) as found:
        yield found


def in_parts(ends: S3Ends, root: str, path: str) -> None:
    """Upload a large file as boto3 does."""
    bucket, key = place(root, path)
    ends.client(ends.source).upload_fileobj(io.BytesIO(LARGE), bucket, key)


def test_no_byte_passes(ends: S3Ends) -> None:
    """Small files by one request each, a large one in its own parts; the whole audit is green, a damaged copy is not."""
    root = ends.run("files", FILES)
    in_parts(ends, root, "large.bin")
    done = ends.migrate()
    assert done.status == 0, done.output[-3000:]
    assert "S3 copied 6 files by itself, each proved by its checksums.\n" in done.output
    assert "pass through" not in done.output
    kept = ends.objects()
    assert {path: kept[path] for path in FILES if path != "model/MLmodel"} == {
        path: content for path, content in FILES.items() if path != "model/MLmodel"
    }
    assert hashlib.sha256(kept["large.bin"]).digest() == hashlib.sha256(LARGE).digest()
    # of what S3 copied nothing was read or sent
    copied = [one for one in ends.copies if "partNumber" not in one.query]
    assert len(copied) == 5
    assert len(ends.copies) - len(copied) == 3
    assert all(re.fullmatch('"[0-9a-f-]+"', one.headers["x-amz-copy-source-if-match"]) for one in ends.copies)
    read = [one.path for one in ends.calls("GET") if root.partition("//")[2].split("/", 1)[1] in one.path]
    assert {path.rpartition("/artifacts/")[2] for path in read} == {"model/MLmodel"}
    for path in ("small.txt", "large.bin", "empty"):
        assert not ends.sent(path)
    whole = ends.audit()
    assert whole.status == 0, whole.output[-3000:]
    # a second run does nothing, and a damaged copy is found
    ends.way.seen.clear()
    assert ends.migrate().status == 0
    assert ends.copies == []
    bucket, key = next(one for one in ends.keys() if one[1].endswith("small.txt"))
    ends.client(ends.target).put_object(Bucket=bucket, Key=key, Body=b"smalL")
    damaged = ends.audit("damaged")
    assert damaged.status == 1
    assert any("small.txt" in row.detail for row in damaged.red_rows()), damaged.red_rows()
