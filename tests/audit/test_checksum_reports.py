"""Audits of two servers whose files are in S3, with reports of their checksums: what they prove, and when they lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.copied import Outcome
from support.ends import FILES, MIB, MLMODEL, Ends, equal, findings, two_ends
from support.reported import inventory, listed, message, report, row

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.statements import checksum_reports
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports
from mlflow_parity.standin.sagemaker import StandIn

SIDES = ("source", "target")
#: What the result of each task states, by the bytes and the ETag of its file.
Result = Callable[[bytes, str], str]
BY_REPORT = "SHA-256 stated by a checksum report"


@pytest.fixture
def ends(sagemaker_app: StandIn, sagemaker_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Files of which no store states a checksum; none is read by chance."""
    monkeypatch.setattr(checksum_reports, "_EACH", 1 << 60)
    with two_ends(sagemaker_app, sagemaker_server) as ends:
        for path, content in FILES.items():
            ends.both(path, content, ServerSideEncryption="aws:kms")
        yield ends


def reported(
    ends: Ends, folder: Path, result: Result = message, sides: tuple[str, ...] = SIDES, *, quoted: bool = True
) -> ChecksumReports:
    """What a job would have computed of all files that are there now."""
    rows = []
    for side in sides:
        bucket, _, root = ends.roots[side].removeprefix("s3://").partition("/")
        for item in (
            ends.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=root).search("Contents[]")
        ):
            content = ends.client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
            rows.append(row(bucket, item["Key"], result(content, item["ETag"]), quoted=quoted))
    folder.mkdir(exist_ok=True)
    made = ChecksumReports([str(report(folder / "report.csv", rows))], folder, with_crc64nvme=True)
    made.open()
    return made


def audit(ends: Ends, reports: ChecksumReports, evidence: Evidence = "stores") -> Outcome:
    """Audit them with the reports."""
    try:
        return ends.audit(evidence, reports=reports)
    finally:
        reports.close()


def bytes_read(ends: Ends) -> list[str]:
    """Files whose bytes were asked for, without the ``MLmodel``s."""
    return [path for path in ends.read() if path != MLMODEL]


def proofs(outcome: Outcome) -> dict[str, int]:
    """By what files are equal, without the ``MLmodel``."""
    assert outcome.result is not None
    return {told: count for told, count in outcome.result.evidence.items() if "YAML" not in told}


def test_a_report_stands_for_bytes_once_some_are_read(ends: Ends, tmp_path: Path) -> None:
    """Three files of each place are read; the ledger names the others by the report, and each ``MLmodel`` is read."""
    # one request for files at a time: else more of them are begun before the first is shown
    reports = reported(ends, tmp_path)
    outcome = ends.audit(reports=reports, workers=1)
    equal(outcome)
    assert len(bytes_read(ends)) == 6
    assert ends.read().count(MLMODEL) == 2
    found = proofs(outcome)
    assert found.pop(BY_REPORT, 0) >= len(FILES) - 6
    assert all("of the bytes" in told or "of the other's bytes" in told for told in found)
    assert (reports.checked, reports.used) == (6, 2 * len(FILES) - 6)
    reports.close()


@pytest.mark.long
@pytest.mark.parametrize("algorithm", ["SHA256", "SHA1", "MD5"])
@pytest.mark.parametrize("quoted", [True, False])
def test_each_kind_counts_and_a_loss_is_found(ends: Ends, tmp_path: Path, algorithm: str, quoted: bool) -> None:
    """A file that was altered is another one in its report; it is told when the bytes of both were read."""

    def result(content: bytes, etag: str) -> str:
        return message(content, etag, algorithm)

    ends.put("target", "of 3.bin", b"x" * 1_000, ServerSideEncryption="aws:kms")
    outcome = audit(ends, reported(ends, tmp_path, result, quoted=quoted))
    assert findings(outcome) == {"of 3.bin": "mismatch"}
    assert outcome.result is not None
    assert not outcome.result.changes.found


@pytest.mark.long
def test_whoever_asks_for_sha256_gets_bytes(ends: Ends, tmp_path: Path) -> None:
    """``--parity-evidence sha256`` rests on no report."""
    outcome = audit(ends, reported(ends, tmp_path), "sha256")
    equal(outcome)
    assert bytes_read(ends) == sorted([*FILES, *FILES])
    assert proofs(outcome) == {"SHA-256 of the bytes": len(FILES)}


@pytest.mark.long
def test_what_changed_after_the_report_is_read(ends: Ends, tmp_path: Path) -> None:
    """An old report says nothing of a file that has another ETag now, whatever it says of the one before."""
    reports = reported(ends, tmp_path)
    ends.put("target", "of 3.bin", b"x" * 1_000, ServerSideEncryption="aws:kms")
    outcome = audit(ends, reports)
    assert findings(outcome) == {"of 3.bin": "mismatch"}
    assert "of 3.bin" in ends.read()


@pytest.mark.long
def test_a_forged_report_is_refused(ends: Ends, tmp_path: Path) -> None:
    """It says that all files of the target are those of the source, and hides a loss: the first that is read tells."""
    for path in FILES:
        ends.put("target", path, bytes(len(FILES[path])), ServerSideEncryption="aws:kms")
    wrong = {bytes(len(content)): content for content in FILES.values()}

    def forged(content: bytes, etag: str) -> str:
        return message(wrong.get(content, content), etag)

    with pytest.raises(UsageProblem, match="is not what the reports state: its SHA256 is") as raised:
        audit(ends, reported(ends, tmp_path, forged))
    assert "\n" not in str(raised.value)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.long
def test_a_report_that_contradicts_an_etag_is_refused(ends: Ends, tmp_path: Path) -> None:
    """The MD5 that S3 itself states is held against that of the report; no byte is needed to see it."""
    ends.both("plain.bin", b"plain")
    for path, content in FILES.items():
        ends.both(path, content)

    def forged(content: bytes, etag: str) -> str:
        return message(b"other" if content == b"plain" else content, etag, "MD5")

    with pytest.raises(UsageProblem, match=r"plain\.bin is not what the reports state: its MD5 is"):
        audit(ends, reported(ends, tmp_path, forged))
    outcome = audit(ends, reported(ends, tmp_path / "true", lambda content, etag: message(content, etag, "MD5")))
    equal(outcome)
    # its own statement comes first
    assert set(proofs(outcome)) == {"MD5 stated by both stores"}


@pytest.mark.long
def test_files_in_other_parts_and_a_side_without_a_report(ends: Ends, tmp_path: Path) -> None:
    """The case that it is for: large files whose ETags are of different parts; the other side's bytes meet it too."""
    for path, content in FILES.items():
        ends.both(path, content)
    content = bytes(range(256)) * (12 * MIB // 256)
    for name in ("a", "b", "c", "d", "e"):
        ends.put("source", f"{name}.bin", content, part=6 * MIB)
        ends.put("target", f"{name}.bin", content, part=7 * MIB)
    reports = reported(ends, tmp_path)
    outcome = ends.audit(reports=reports, workers=1)
    reports.close()
    equal(outcome)
    assert proofs(outcome)[BY_REPORT] == 2
    # three of each side for its report, and two beside the MLmodel for its ETags
    assert len(bytes_read(ends)) == 10
    only = reported(ends, tmp_path / "only", sides=("target",))
    outcome = ends.audit(reports=only, workers=1)
    only.close()
    equal(outcome)


def listing(ends: Ends, folder: Path, encryption: Callable[[str], str]) -> ChecksumReports:
    """An inventory of each side, which says of a file's name how it is encrypted."""
    manifests = []
    for side in SIDES:
        bucket, _, root = ends.roots[side].removeprefix("s3://").partition("/")
        found = ends.client.list_objects_v2(Bucket=bucket, Prefix=root)
        items = list(found["Contents"])
        while found.get("IsTruncated"):
            token = found["NextContinuationToken"]
            found = ends.client.list_objects_v2(Bucket=bucket, Prefix=root, ContinuationToken=token)
            items += found["Contents"]
        rows = [listed(bucket, one["Key"], one["Size"], one["ETag"], encryption(one["Key"])) for one in items]
        manifests.append(str(inventory(folder / side, rows, bucket=bucket)))
    made = ChecksumReports(manifests, folder, with_crc64nvme=True)
    made.open()
    return made


@pytest.mark.long
def test_an_inventory_tells_which_etags_count(ends: Ends, tmp_path: Path) -> None:
    """Where KMS encrypts some files of a place, the others need not be read; one that lies is refused."""
    for number in range(5):
        ends.both(f"plain {number}.bin", b"plain %d" % number)
    ends.audit()
    # one that is encrypted stands for all of its place
    assert "plain 3.bin" in ends.read()

    def true(key: str) -> str:
        return "SSE-S3" if "plain" in key else "SSE-KMS"

    outcome = audit(ends, listing(ends, tmp_path, true))
    equal(outcome)
    # those that are not encrypted are no more than looked at: two of them, and the MLmodel
    assert bytes_read(ends) == sorted([*FILES, "plain 0.bin", "plain 1.bin"] * 2)
    assert proofs(outcome) == {"MD5 stated by both stores": 5, "SHA-256 of the bytes": len(FILES)}
    ends.put("target", "plain 3.bin", b"PLAIN 3")
    assert findings(audit(ends, listing(ends, tmp_path / "lost", true))) == {"plain 3.bin": "mismatch"}
    with pytest.raises(UsageProblem, match="an inventory states another encryption than S3"):
        audit(ends, listing(ends, tmp_path / "lies", lambda _: "SSE-S3"))
