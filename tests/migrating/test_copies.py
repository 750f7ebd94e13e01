"""Without an export that is kept S3 copies the files itself: no byte passes, and each copy is proved."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.migrations import migrate_py
from support.proxy import Exchange, Fault, status
from support.s3_ends import S3Ends, place, s3_ends

from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.standin.sagemaker import StandIn

LEFT = "its bytes were never here: S3 was to copy them"
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


@pytest.mark.long
def test_one_that_changed_in_between_is_refused(ends: S3Ends) -> None:
    """Another file than was listed is no copy: the run fails and says so, and the next one brings it."""
    root = ends.run("changing", {"a.txt": b"before", "b.txt": b"b"})

    def changed(exchange: Exchange, answered: int, headers: list[tuple[str, str]], content: bytes) -> None:
        exchange.answer(answered, headers, content)
        ends.put(root, "a.txt", b"after!")

    # once listed for the export: the lists before are the preflight's
    ends.way.faults.append(Fault("k/MLmodel", changed))
    ends.put(root, "k/MLmodel", b"flavors: {}\n")
    done = ends.migrate()
    assert done.status == 1, done.output[-3000:]
    assert "a.txt: it changed at the source while it was moved; run it again" in done.output
    assert ends.objects() == {"b.txt": b"b", "k/MLmodel": ends.objects()["k/MLmodel"]}
    assert ends.migrate().status == 0
    assert ends.objects()["a.txt"] == b"after!"
    assert ends.audit().status == 0


@pytest.mark.long
def test_models_versions_and_what_is_nobodys(ends: S3Ends) -> None:
    """Files of logged models, and of versions that belong to no run, are copied; each MLmodel names the copies."""
    seed = ends.seed
    experiment = seed.experiment("models")
    ends.run("with a file", {"x.bin": b"x"}, experiment)
    info = seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "m"})["model"]["info"]
    ends.put(info["artifact_uri"], "MLmodel", f"model_id: {info['model_id']}\n".encode())
    ends.put(info["artifact_uri"], "weights.bin", b"weights")
    body = {"model_id": info["model_id"], "status": "LOGGED_MODEL_READY"}
    seed.call("PATCH", f"logged-models/{info['model_id']}", body)
    shared = f"{ends.source.server.artifacts_root}/shared/model"
    for path, content in (("MLmodel", b"flavors: {}\n"), ("loose.bin", b"loose")):
        ends.put(shared, path, content)
    seed.call("POST", "registered-models/create", {"name": "prod"})
    seed.call("POST", "model-versions/create", {"name": "prod", "source": shared})
    done = ends.migrate()
    assert done.status == 0, done.output[-3000:]
    assert "S3 copied 3 files by itself" in done.output
    assert ends.audit().status == 0


@pytest.mark.long
def test_the_plan_counts_no_disk_for_them(ends: S3Ends) -> None:
    """With an export that is kept they take it."""
    ends.run("large", {"large.bin": bytes(9 * MIB)})
    told = []
    for more in ((), ("--discard-export",)):
        done = migrate_py(ends.folder / "plan", "plan", *ends.arguments, *more, env=ends.environment)
        assert done.status == 0, done.output[-3000:]
        told.append([line for line in done.output.splitlines() if line.startswith(("Disk:", "S3:"))])
    assert "about 9.4 MB" in told[0][0]
    assert len(told[0]) == 1
    assert "kB" in told[1][0]
    assert told[1][1] == "S3: files of 9.4 MB stay there, and are copied by S3 itself where it does"


@pytest.mark.long
def test_a_self_managed_source(ends: S3Ends) -> None:
    """Its S3 is shown to be the server's own first; then its files are copied as those of an ARN."""
    ends.run("self-managed", {"a.txt": b"aa", "b.txt": b"bbb"})
    uri = ends.source.server.uri
    env = {name: value for name, value in ends.environment.items() if "CUSTOM_ENDPOINT" not in name or "TARGET" in name}
    arguments = ["run", "--source-uri", uri, "--target-arn", ends.target.arn, "--discard-export", "--no-verify"]
    done = migrate_py(ends.folder / "work", *arguments, env=env)
    assert done.status == 0, done.output[-3000:]
    assert "S3 copied 2 files by itself" in done.output
    assert ends.objects() == {"a.txt": b"aa", "b.txt": b"bbb"}
    assert ends.audit().status == 0


@pytest.mark.long
def test_kept_exports_hold_every_byte(ends: S3Ends) -> None:
    """Without ``--discard-export`` nothing is left in S3, also where a run that leaves was interrupted before."""
    ends.run("kept", {"a.txt": b"a", "b.txt": b"bb"})
    ends.way.faults.append(Fault("b.txt", status(403), times=100))
    assert ends.migrate().status == 1
    ends.way.heal()
    arguments = ["run", *ends.arguments, "--no-verify"]
    done = migrate_py(ends.folder / "work", *arguments, env=ends.environment)
    assert done.status == 0, done.output[-3000:]
    assert ends.copies == []
    kept = [path.read_bytes() for path in (ends.folder / "work/migration/export/files").glob("??/*")]
    assert sorted(kept) == [b"a", b"bb"]
    # and a folder whose bytes were left is no backup
    assert ends.audit().status == 0


def in_parts(ends: S3Ends, root: str, path: str) -> None:
    """Upload a large file as boto3 does."""
    bucket, key = place(root, path)
    ends.client(ends.source).upload_fileobj(io.BytesIO(LARGE), bucket, key)


@pytest.mark.long
def test_no_byte_passes(ends: S3Ends) -> None:
    """Small files by a request each, a large one in its own parts; the audit is green, and red for a damaged copy."""
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
    # the preflight reads the beginning of the smallest file: who may list need not be allowed to read; three of the
    # bucket are held against their ETags
    held = {"model/MLmodel", "a b/c+d/100%.txt", "a%20b/%2e%2e?versionId=1#x.txt"}
    found = {unquote(path.rpartition("/artifacts/")[2]) for path in read}
    assert found >= held
    # and one of a thousand by chance
    assert len(found - held) <= 1
    for path in ("small.txt", "large.bin", "empty"):
        assert not ends.sent(path)
    whole = ends.audit()
    assert whole.status == 0, whole.output[-3000:]
    # a folder that does not hold their bytes is no backup
    damages = {(one.path, one.why) for one in ExportFolder(ends.folder / "work/migration/export").verify()}
    assert {("small.txt", LEFT), ("large.bin", LEFT)} <= damages
    # a second run does nothing, and a damaged copy is found
    ends.way.seen.clear()
    assert ends.migrate().status == 0
    assert ends.copies == []
    bucket, key = next(one for one in ends.places() if one[1].endswith("small.txt"))
    ends.client(ends.target).put_object(Bucket=bucket, Key=key, Body=b"smalL")
    damaged = ends.audit("damaged")
    assert damaged.status == 1
    assert any("small.txt" in " ".join(finding) for finding in damaged.findings()), damaged.findings()
