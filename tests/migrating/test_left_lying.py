"""Nothing is left lying about: the next run clears what a kill leaves, and what is written is its owner's alone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.audits import PYTEST, audit
from support.looking import between
from support.migrations import migrate_py
from support.proxy import Fault, proxying
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.local.files import create, drop_dead, make_folder, make_inside, maker_of, temporary, write
from mlflow_parity.core.local.scratch import Scratch, clear_dead
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.migrating.write.files import Uploads, put_tree
from mlflow_parity.migrating.write.mlmodel import Place
from mlflow_parity.migrating.write.s3_leftovers import PART, Kept
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading.artifacts.blob_store import Blobs
from mlflow_parity.reading.artifacts.trusted_places import TrustedPlaces
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

# --- the target's bucket


def _kept(blobs: Blobs, path: str, content: bytes) -> Artifact:
    blob = blobs.open()
    blob.write(content)
    digest = hashlib.sha256(content).hexdigest()
    blob.keep(digest)
    return Artifact(path, len(content), digest)


@contextmanager
def _sent(client: Any) -> Iterator[list[str]]:
    """Collect the operations of a client that send bytes."""
    found: list[str] = []

    def note(model: Any, **_: Any) -> None:
        if model.name in ("PutObject", "UploadPart", "CreateMultipartUpload"):
            found.append(model.name)

    client.meta.events.register("before-call.s3", note)
    yield found
    client.meta.events.unregister("before-call.s3", note)


def _content(client: Any, bucket: str, key: str) -> bytes:
    """Return a file of the bucket in parts, as no answer of AWS may be larger than a part."""
    size = client.head_object(Bucket=bucket, Key=key)["ContentLength"]
    parts = [f"bytes={at}-{at + PART - 1}" for at in range(0, size, PART)]
    return b"".join(client.get_object(Bucket=bucket, Key=key, Range=part)["Body"].read() for part in parts)


def test_a_resumed_run_ends_half_sent_files_and_sends_none_twice(
    sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that a kill left go, those of others stay; whole files are known by their bytes, in one part or many."""
    app = sagemaker_app
    for name, value in app.environment().items():
        monkeypatch.setenv(name, value)
    root = f"{app.server.artifacts_root}/7/run/artifacts"
    bucket, _, prefix = root.removeprefix("s3://").partition("/")
    blobs = Blobs(tmp_path / "blobs")
    large = b"0123456789abcdef" * (PART // 16 * 2) + b"end"
    files = (_kept(blobs, "large.bin", large), _kept(blobs, "a/small.txt", b"small"), _kept(blobs, "empty", b""))
    tree = ArtifactTree("run", files)
    location = parse_location(app.arn, option="--target-arn", custom_endpoint=app.gateway.endpoint)
    writer, found = open_writer(location)
    client = found.aws.s3
    begun = {}
    for key in (f"{prefix}/large.bin", f"{prefix}/large.bin.other", f"{prefix}2/large.bin"):
        begun[key] = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=begun[key], PartNumber=1, Body=large[:PART])
    with closing(writer), _sent(client) as sent:
        uploads = Uploads(writer, found, blobs, TrustedPlaces([app.server.artifacts_root], list))

        def put() -> tuple[int, list[str]]:
            sent.clear()
            done = put_tree(uploads, tree, Place("run", "s3://x/r"), Place("run", root), lambda _: None, lambda _: None)
            assert (done.failed, done.impossible, done.files) == ([], [], 3)
            return done.size, sorted(sent)

        assert put() == (len(large) + 5, ["CreateMultipartUpload", "PutObject", "PutObject", *["UploadPart"] * 3])
        left = {one["Key"] for one in client.list_multipart_uploads(Bucket=bucket)["Uploads"]}
        assert left == {f"{prefix}/large.bin.other", f"{prefix}2/large.bin"}
        assert put() == (0, [])
        # of the same size, and others: of one piece and of the last of many
        client.put_object(Bucket=bucket, Key=f"{prefix}/a/small.txt", Body=b"smalL")
        client.put_object(Bucket=bucket, Key=f"{prefix}/large.bin", Body=large[:-1] + b"x")
        assert put() == (len(large) + 5, ["CreateMultipartUpload", "PutObject", *["UploadPart"] * 3])
        assert _content(client, bucket, f"{prefix}/large.bin") == large
    for key, upload in begun.items():
        if key in left:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)


def test_an_etag_that_is_no_md5_proves_nothing(tmp_path: Path) -> None:
    """With a key of KMS, of parts of another size, or of another number of them the file is sent again."""
    file = tmp_path / "file"
    file.write_bytes(b"x" * (PART + 1))
    md5 = hashlib.md5(b"small", usedforsecurity=False).hexdigest()
    assert Kept(5, md5).holds(b"small", 5)
    for kept in (Kept(4, md5), Kept(5, "0" * 32), Kept(5, f"{md5}-1"), Kept(5, ""), Kept(5, "-")):
        assert not kept.holds(b"small", 5), kept
    for etag in (f"{'0' * 32}-2", f"{'0' * 32}-3", "0" * 32):
        assert not Kept(PART + 1, etag).holds(file, PART + 1), etag


# --- folders of runs that were killed


_HOLD = """
import sys
from mlflow_parity.core.local.scratch import Scratch
print(Scratch().folder, flush=True)
sys.stdin.read()
"""


def test_folders_of_dead_runs_are_cleared_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the lock that their process held: one that lives keeps its own, and what has no lock is nobody's."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def begin() -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        (folder / "snapshots").mkdir()
        return process, folder

    dead, killed = begin()
    dead.kill()
    dead.communicate()
    elsewhere, stranger, link = tmp_path / "elsewhere", tmp_path / "mlflow-parity-x", tmp_path / "mlflow-parity-link"
    for folder in (elsewhere, stranger):
        folder.mkdir()
    (elsewhere / ".lock").touch()
    link.symlink_to(elsewhere)
    assert killed.is_dir()
    living, held = begin()
    try:
        assert not killed.exists()
        with Scratch() as mine:
            assert stat.S_IMODE(mine.stat().st_mode) == 0o700
            clear_dead()
            assert {*tmp_path.iterdir()} == {held, mine, elsewhere, stranger, link}
        assert not mine.exists()
    finally:
        living.communicate("")


@pytest.mark.long
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_an_audit_that_is_ended_leaves_no_folder(fresh_server: FreshServer, tmp_path: Path, sent: int) -> None:
    """SIGTERM is like Ctrl-C: it cleans up and says so; what kill -9 leaves is cleared when the next one begins."""
    source, temporary_files = fresh_server(), tmp_path / "tmp"
    temporary_files.mkdir()
    seed = Seeder(source.uri)
    seed.end(seed.run(seed.experiment("exp"), "r"))
    env = clean_environment({"TMPDIR": str(temporary_files)})
    with proxying(source.uri) as proxy:
        proxy.faults.append(Fault("/runs/search", lambda *_: time.sleep(2), times=10_000))
        command = [sys.executable, *PYTEST, "--source-uri", proxy.uri, "--target-uri", fresh_server().uri]
        with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
            limit = time.monotonic() + 120
            while not any("/runs/search" in seen.path for seen in proxy.seen) and time.monotonic() < limit:
                assert run.poll() is None
                time.sleep(0.05)
            [held] = temporary_files.glob("mlflow-parity-*")
            run.send_signal(sent)
            output = run.communicate(timeout=120)[0].decode()
        proxy.faults.clear()
    if sent == signal.SIGTERM:
        assert run.returncode == 2, output
        report = json.loads((tmp_path / "reports" / "report.json").read_text(encoding="utf-8"))
        assert "interrupted" in report["reasons"][0]
    else:
        assert held.is_dir()
        assert audit(tmp_path, source.uri, "http://127.0.0.1:9", env={"TMPDIR": str(temporary_files)}).status == 4
    assert list(temporary_files.glob("mlflow-parity-*")) == []


# --- rights


def test_a_folder_of_ours_is_its_owners_and_one_that_is_there_is_not_touched(tmp_path: Path) -> None:
    """New ones are 0700 with files of 0600; one of the user's keeps its rights, and its readers read what comes."""
    before = os.umask(0o022)
    try:
        make_folder(tmp_path / "a" / "b")
        make_inside(tmp_path / "a" / "b" / "c" / "d")
        write(tmp_path / "a" / "b" / "c" / "d" / "file", b"x")
        shared = tmp_path / "shared"
        shared.mkdir()
        for mode, inside, file in ((0o755, 0o755, 0o644), (0o750, 0o750, 0o640), (0o777, 0o755, 0o644)):
            shared.chmod(mode)
            make_folder(shared)
            make_inside(shared / f"{mode}" / "in")
            write(shared / f"{mode}" / "file", b"x")
            assert _mode(shared) == mode
            assert {_mode(shared / f"{mode}"), _mode(shared / f"{mode}" / "in")} == {inside}
            assert _mode(shared / f"{mode}" / "file") == file
        for path in ("a", "a/b", "a/b/c", "a/b/c/d"):
            assert _mode(tmp_path / path) == 0o700
        assert _mode(tmp_path / "a/b/c/d/file") == 0o600
    finally:
        os.umask(before)


def test_a_temporary_file_is_new(tmp_path: Path) -> None:
    """Its name cannot be guessed, what stands there is not written to, and after a failure nothing is left."""
    target, victim = tmp_path / "report.json", tmp_path / "victim"
    one, other = temporary(target), temporary(target)
    assert one != other
    assert (maker_of(one), maker_of(tmp_path / ".runs.parquet.42.tmp")) == (os.getpid(), 42)
    victim.write_bytes(b"keep")
    (tmp_path / "link").symlink_to(victim)
    with pytest.raises(FileExistsError):
        create(tmp_path / "link")
    for made in (one, other):
        made.unlink()
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name in (f".report.json.{process.pid}.abc123def456.tmp", f".report.json.{os.getpid()}.abc123def456.tmp"):
        (tmp_path / name).touch()
    drop_dead(tmp_path.glob(".report.json.*.tmp"))
    [alive] = tmp_path.glob(".*.tmp")
    assert maker_of(alive) == os.getpid()
    alive.unlink()
    target.mkdir()
    with pytest.raises(OSError):
        write(target, b"x")
    assert victim.read_bytes() == b"keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "report.json", "victim"]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _open_to_others(root: Path) -> list[str]:
    return [f"{path} {_mode(path):o}" for path in (root, *root.rglob("*")) if _mode(path) & 0o077]


@pytest.mark.long
def test_work_folder_snapshots_and_reports_are_the_owners(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every file of a migration and its audit, the tool's and the databases' too; a folder of the user's as it was."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    run = seed.run(seed.experiment("exp"), "r")
    seed.artifact(run, "a.txt", b"text")
    seed.end(run)
    ends = [*between(source.uri, target.uri), "--work-dir", "deep/work", "--report-dir", "deep/reports"]
    done = migrate_py(tmp_path, "run", *ends)
    assert done.status == 0, done.output
    assert len(list((tmp_path / "deep" / "work").rglob("*"))) > 20
    assert _open_to_others(tmp_path / "deep") == []
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    options = ("--parity-snapshot-dir", "kept", "--parity-report-dir", str(shared))
    assert audit(tmp_path, source.uri, target.uri, *options).status == 0
    assert _open_to_others(tmp_path / "kept") == []
    assert {path.name: _mode(path) for path in (shared, *shared.iterdir())} == {
        "shared": 0o755, "report.json": 0o644, "report.html": 0o644, "ledger.parquet": 0o644,
    }  # fmt: skip


def test_what_was_started_ends_with_us(tmp_path: Path) -> None:
    """SIGTERM to a process that waits for another: both end, and the other has cleaned up before."""
    child = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('cleaned').touch(), sys.exit(3)))\n"
        "pathlib.Path('ready').touch()\ntime.sleep(60)"
    )
    parent = (
        "import os, pathlib, sys\nfrom mlflow_parity.core.ending import Terminated, on_sigterm, run\non_sigterm()\n"
        "try:\n    run([sys.executable, '-c', sys.argv[1]], os.environ, pathlib.Path.cwd())\n"
        "except Terminated:\n    sys.exit(143)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child], cwd=tmp_path)
    limit = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(60) == 143
    assert (tmp_path / "cleaned").exists()
