"""Where S3 does not copy: told once, the bytes pass through, nothing on the disk; killed and gone on with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import warm
from support.migrations import ROOT
from support.proxy import Exchange, Fault
from support.s3_ends import S3Ends, refusing, s3_ends

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

MANY = {f"{number:02}.txt": f"file {number}".encode() for number in range(40)}
LARGE = bytes(range(256)) * (40 << 10)


@pytest.fixture
def ends(sagemaker_server: StandIn, sagemaker_app: StandIn, tmp_path: Path) -> Iterator[S3Ends]:
    """A managed server and an App in one S3."""
    with s3_ends(sagemaker_server, sagemaker_app, tmp_path) as found:
        yield found


@pytest.mark.long
@pytest.mark.parametrize(
    ("code", "name"),
    [
        (403, "AccessDenied"),
        (501, "NotImplemented"),
    ],
)
def test_what_is_refused_passes_through(ends: S3Ends, code: int, name: str) -> None:
    """The rights, a key of KMS or of a customer, a store that knows no copies: not asked for each of many files."""
    root = ends.run("refused", MANY)
    ends.put(root, "large.bin", LARGE)
    ends.way.faults.append(Fault("/artifacts/", refusing(code, name), times=100_000))
    done = ends.migrate("--workers", "2")
    assert done.status == 0, done.output[-3000:]
    assert done.output.count("does not copy all files") == 1
    assert name in done.output
    assert ("allow the target's identity s3:GetObject" in done.output) is (code == 403)
    assert "S3 copied 0 files by itself, each proved by its checksums; 41 files passed through" in done.output
    # each of those under way when it was given up may have asked, with a checksum and without
    assert len(ends.copies) <= 2 * (3 + 8)
    assert ends.objects() == {**MANY, "large.bin": LARGE}
    assert list((ends.folder / "work/migration/export/files").rglob("*.*")) == []
    assert ends.audit().status == 0


@pytest.mark.long
def test_a_copy_that_is_not_proved_is_sent(ends: S3Ends) -> None:
    """A store that states other checksums than the source's has not copied it; it is sent byte by byte."""
    ends.run("lying", {"a.txt": b"aaaa", "b.txt": b"bbbb"})

    def other(exchange: Exchange, answered: int, headers: list[tuple[str, str]], content: bytes) -> None:
        if exchange.headers.get("x-amz-copy-source"):
            content = content.replace(b"<ETag>", b"<Was>").replace(b"</ETag>", b"</Was>")
            content = content.replace(b"</CopyObjectResult>", b'<ETag>"%s"</ETag></CopyObjectResult>' % (b"1" * 32))
        exchange.answer(answered, headers, content)

    ends.way.faults.append(Fault("/artifacts/", other, times=100_000))
    done = ends.migrate()
    assert done.status == 0, done.output[-3000:]
    assert "what the target states of some copies is another checksum than what the source states" in done.output
    assert len(ends.copies) == 2
    assert len(ends.sent("a.txt")) == 1
    assert ends.audit().status == 0


@pytest.mark.long
def test_kms_at_the_source(ends: S3Ends) -> None:
    """Its ETags are no digests: what nothing would prove is not copied, and what a SHA-256 proves is."""
    root = ends.run("encrypted", {})
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    client = ends.client(ends.source)
    for name, more in (("plain.txt", {}), ("summed.txt", {"ChecksumAlgorithm": "SHA256"})):
        client.put_object(Bucket=bucket, Key=f"{prefix}/{name}", Body=b"secret", ServerSideEncryption="aws:kms", **more)
    done = ends.migrate()
    assert done.status == 0, done.output[-3000:]
    assert "no checksum that the source states would prove some of the copies" in done.output
    assert ends.objects() == {"plain.txt": b"secret", "summed.txt": b"secret"}
    assert [one.path.rpartition("/")[2] for one in ends.copies] == ["summed.txt"]
    assert ends.audit().status == 0


@pytest.mark.long
def test_two_services(ends: S3Ends) -> None:
    """One cannot copy from another: its files pass through, and no copy is asked for."""
    ends.run("elsewhere", {"a.txt": b"a", "b.txt": b""})
    variables = {
        name: ends.source.s3.endpoint for name in ends.environment if name.startswith("SOURCE_") and "S3" in name
    }
    done = ends.migrate(env=variables)
    assert done.status == 0, done.output[-3000:]
    assert "their S3 are two services" in done.output
    assert ends.copies == []
    assert ends.objects() == {"a.txt": b"a", "b.txt": b""}
    assert ends.audit().status == 0


@pytest.mark.long
def test_killed_and_gone_on_with(ends: S3Ends) -> None:
    """What was copied and proved is not copied again; nothing is there twice, and no part of a file stays."""
    kills = 3
    ends.run("killed", MANY)
    command = ["run", *ends.arguments, "--discard-export", "--no-verify", "--workers", "1"]
    ends.folder.joinpath("work").mkdir()
    before = 0
    for number in range(1, kills + 1):
        process = warm.begin(
            [str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=ends.folder / "work",
            env=clean_environment(ends.environment),
        )  # fmt: skip
        while process.poll() is None and len(ends.copies) < number * 6:
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        assert len(ends.copies) >= before
        before = len(ends.copies)
    assert before < len(MANY)
    done = ends.migrate("--workers", "1")
    assert done.status == 0, done.output[-3000:]
    # those under way at a kill may have been copied, and not been heard of
    assert len(MANY) <= len(ends.copies) <= len(MANY) + 4 * kills
    assert ends.objects() == MANY
    bucket = ends.target.server.artifacts_root.removeprefix("s3://").partition("/")[0]
    assert "Uploads" not in ends.client(ends.target).list_multipart_uploads(Bucket=bucket)
    assert ends.audit().status == 0


@pytest.mark.long
def test_both_in_one_bucket(ends: S3Ends) -> None:
    """Both ends in one bucket: a file is copied beside its source, and the marker of a folder is no file."""
    ends.run("one bucket", {"a.txt": b"a", "folder/": b""})
    assert ends.migrate().status == 0
    assert ends.objects() == {"a.txt": b"a"}
