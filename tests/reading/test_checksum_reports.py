"""Reports of S3 Batch Operations: what they state is found by name and ETag, and whatever is none is one line."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
from pathlib import Path
from typing import Any

import pytest
from support.reported import message, report, row

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reading.statements import checksum_reports
from mlflow_parity.reading.statements.checksum_reports import COLUMNS, ChecksumReports

ETAG = "d41d8cd98f00b204e9800998ecf8427e-3"
SHA = hashlib.sha256(b"one").hexdigest()
GOOD = row("bucket", "a/b.bin", message(b"one", ETAG))


def opened(folder: Path, *files: Path | str, crc64nvme: bool = True) -> ChecksumReports:
    """Reports that were read."""
    reports = ChecksumReports([str(file) for file in files], folder, with_crc64nvme=crc64nvme)
    reports.open()
    return reports


def of(reports: ChecksumReports, key: str = "a/b.bin", bucket: str = "bucket", etag: str = f'"{ETAG}"') -> str:
    """The SHA-256 that is stated; empty: none is."""
    return reports.of(bucket, key, etag, weak=False).get("sha256", "")


def test_a_file_is_known_by_its_bucket_name_and_etag(tmp_path: Path) -> None:
    """What is there now under another ETag is another file; so is one of another bucket."""
    reports = opened(tmp_path, report(tmp_path / "r.csv", [GOOD]))
    assert of(reports) == SHA
    assert of(reports, etag='"other"') == ""
    assert of(reports, etag="") == ""
    assert of(reports, bucket="another") == ""
    assert of(reports, "a/B.bin") == ""
    reports.close()
    assert of(reports) == ""


@pytest.mark.parametrize("quoted", [True, False])
@pytest.mark.parametrize(
    "key", ["a b+c.bin", "größe/100%.bin", "a%20b.bin", 'quo"te,d.bin', "a\nb.bin", "x=1&y?z#.bin"]
)
def test_names_are_found_however_they_are_written(tmp_path: Path, key: str, quoted: bool) -> None:
    """They are as in the list that the job was given: quoted, or not."""
    reports = opened(tmp_path, report(tmp_path / "r.csv", [row("bucket", key, message(b"one", ETAG), quoted=quoted)]))
    assert of(reports, key) == SHA


def test_the_list_of_a_jobs_reports_is_none(tmp_path: Path) -> None:
    """It names the files that are wanted, and says so."""
    (tmp_path / "manifest.json").write_text('{"Format": "Report_CSV_20180820", "Results": []}')
    with pytest.raises(UsageProblem, match="give the CSV files that it names"):
        opened(tmp_path, tmp_path / "manifest.json")


def test_packed_ones_headers_and_several(tmp_path: Path) -> None:
    """A report comes in parts; a part may be packed, and a header is none of its lines."""
    first = report(tmp_path / "1.csv", [COLUMNS, GOOD])
    packed = tmp_path / "2.csv.gz"
    packed.write_bytes(
        gzip.compress(report(tmp_path / "2.csv", [row("bucket", "c", message(b"one", ETAG))]).read_bytes())
    )
    reports = opened(tmp_path, first, packed)
    assert of(reports) == of(reports, "c") == SHA
    assert "2 lines of 2 reports" in reports.notes()[0]


def test_reports_are_told_apart_by_their_contents(tmp_path: Path) -> None:
    """Parts of one audit are those that the same reports stand for, however they are named and in whatever order."""
    one = report(tmp_path / "1.csv", [GOOD])
    other = report(tmp_path / "2.csv", [row("bucket", "c", message(b"one", ETAG))])
    told = []
    for number, files in enumerate([(one, other), (other, one), (one,), (other,), ()]):
        (tmp_path / str(number)).mkdir()
        told.append(opened(tmp_path / str(number), *files).digest)
    assert told[0] == told[1]
    assert len(set(told)) == 4
    assert told[-1] == ""


def test_what_is_not_of_the_whole_file_is_left_out_and_counted(tmp_path: Path) -> None:
    """Tasks that failed, checksums of parts, and those that nothing here can compute: they could not be checked."""
    rows = [
        ("bucket", "failed", "", "failed", "404", "NoSuchKey", "not found"),
        row("bucket", "parts", message(b"one", ETAG, checksumType="COMPOSITE")),
        row(
            "bucket",
            "crc",
            message(b"one", ETAG, checksumAlgorithm="CRC32C", checksum_hex="0" * 8, checksum_base64=None),
        ),
        row("bucket", "weak", message(b"one", ETAG, "CRC32")),
        row(
            "bucket",
            "nvme",
            message(b"", ETAG, checksumAlgorithm="CRC64NVME", checksum_hex="0" * 16, checksum_base64=None),
        ),
    ]
    reports = opened(tmp_path, report(tmp_path / "r.csv", rows), crc64nvme=False)
    for key in ("failed", "parts", "crc", "weak", "nvme"):
        assert reports.of("bucket", key, ETAG, weak=False) == {}
    assert reports.of("bucket", "weak", ETAG, weak=True).keys() == {"crc32"}
    [line] = reports.notes()
    for what in ("CRC32Cs, which cannot be computed here: 1", "CRC64NVMEs", "of parts: 1", "tasks that failed: 1"):
        assert what in line


def test_two_of_one_state_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    """Within a report and between two; the same said twice, and of two versions, is none."""
    other = row("bucket", "a/b.bin", message(b"two", ETAG))
    version = row("bucket", "a/b.bin", message(b"two", "e" * 32))
    reports = opened(tmp_path, report(tmp_path / "1.csv", [GOOD, GOOD, version]))
    assert of(reports) == SHA
    reports.close()
    for files in ([[GOOD, other]], [[GOOD], [other]]):
        with pytest.raises(UsageProblem, match=r"states two SHA256s of one state of s3://bucket/a/b\.bin") as raised:
            opened(tmp_path, *[report(tmp_path / f"{number}.csv", rows) for number, rows in enumerate(files)])
        assert "\n" not in str(raised.value)
        (tmp_path / "checksums.sqlite").unlink()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"\x00" * 100, "."),
        (b"\xff\xfe\x00", "."),
        (b"Bucket,Key\nb,k\n", "columns, not 7"),
        (b"b,k,,succeeded,200,,{}\n", "no checksum"),
        (b"b,k,,succeeded,200,,[]\n", "no checksum"),
        (b"b,k,,succeeded,200,,Successful\n", "is not JSON"),
        (b"b,k,,succeeded,200,,\n", "is not JSON"),
        (b"b,k,,perhaps,200,,{}\n", "none of a report"),
        (b",k,,failed,200,,{}\n", "none of a report"),
        (b"b,k,,succeeded,200\n", "has a line of 5 columns"),
        (b'b,k,,succeeded,200,,"{""etag"": ""e""', "."),
        (b'b,k,,succeeded,200,,"' + b"x" * 300_000, "."),
        (b"b," + b"k" * 100_000 + b",,failed,,,\n", "a line of more than"),
        (b"b,k,,succeeded,200,," + b"[" * 50_000 + b"\n", "."),
        (b"\x1f\x8b" + b"\0" * 20, "."),
        (gzip.compress(b"b,k,,failed,404,,x\n" * 1_000)[:-30], "is cut"),
        (gzip.compress(b"b,k,,failed,404,,x\n" * 1_000)[:30], "."),
        (gzip.compress(b"b,k,,failed,404,,x\n")[:-8] + b"\0" * 8, "CRC"),
    ],
    ids=range(19),
)
def test_what_is_no_report_is_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    """Malformed, cut, of another job: said before a server is asked, with the fix."""
    file = tmp_path / "r.csv"
    file.write_bytes(content)
    with pytest.raises(UsageProblem, match=why) as raised:
        opened(tmp_path, file)
    told = str(raised.value)
    assert told.startswith(f"--parity-checksums: {file}")
    assert told.endswith("give the CSV of a Compute checksum job's completion report")
    assert "\n" not in told
    assert len(told) < 1_000


@pytest.mark.parametrize(
    "more",
    [
        {"checksum_hex": "00"},
        {"checksum_hex": None, "checksum_base64": None},
        {"checksum_hex": None, "checksum_base64": "###"},
        {"checksum_base64": None, "checksum_hex": "zz" * 32},
        {"checksum_base64": None, "checksum_hex": "00" * 20},
        {"checksum_hex": "0" * 64},
        {"checksum_hex": 5},
        {"etag": None},
        {"etag": ""},
        {"etag": 'a"b'},
        {"etag": "e" * 1_000},
        {"checksumAlgorithm": "SHA512"},
        {"checksumAlgorithm": None},
        {"checksumAlgorithm": ["SHA256"]},
    ],
)
def test_a_result_that_contradicts_itself_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    """A checksum of another length, or written in two ways that are not the same."""
    file = report(tmp_path / "r.csv", [GOOD, row("bucket", "k", message(b"one", ETAG, **more))])
    with pytest.raises(UsageProblem, match=r"\(line 2\)"):
        opened(tmp_path, file)


def test_what_is_no_file_is_one_line(tmp_path: Path) -> None:
    """A folder, a pipe that nobody writes to, one that is not there: at once."""
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "pipe", tmp_path / "none", "/dev/zero", "a\0b", "~nosuchuser/x", "a" * 300):
        with pytest.raises(UsageProblem, match="--parity-checksums") as raised:
            opened(tmp_path, place)
        assert "\n" not in str(raised.value)
        (tmp_path / "checksums.sqlite").unlink()


def test_some_files_of_each_place_are_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No place is trusted before a file of it was read and is what the report says; three are, if they are small."""
    monkeypatch.setattr(checksum_reports, "_EACH", 1 << 60)
    reports = opened(tmp_path, report(tmp_path / "r.csv", [GOOD]))
    # nothing was shown yet, however many are begun
    assert [reports.is_checked("one", 10) for _ in range(5)] == [True] * 5
    reports.check("a", {"sha256": SHA}, {"sha256": SHA, "md5": "x"}, "one")
    assert reports.is_checked("one", 10) is False
    assert reports.is_checked("another", 1 << 40) is True
    reports.check("b", {"sha256": SHA}, {"sha256": SHA}, "another")
    assert reports.is_checked("another", 1 << 40) is False
    assert reports.is_checked("another", 10) is True
    assert (reports.used, reports.checked) == (2, 2)
    with pytest.raises(UsageProblem, match="a is not what the reports state: its SHA256 is 0000") as raised:
        reports.check("a", {"sha256": SHA}, {"sha256": "0" * 64}, "one")
    assert str(tmp_path / "r.csv") in str(raised.value)


def test_memory_does_not_grow_with_a_report(tmp_path: Path) -> None:
    """Half a million names are some 100 MB; what is kept of them is on disk."""
    file = tmp_path / "r.csv"
    told = message(b"one", ETAG).replace('"', '""')
    with file.open("w", encoding="utf-8") as out:
        for number in range(100_000):
            out.write(f'bucket,{number:0100},,succeeded,200,,"{told}"\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    reports = opened(tmp_path, file)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert of(reports, f"{99_999:0100}") == SHA
    assert grown < 48 << 10
    reports.close()
    assert not (tmp_path / "checksums.sqlite").exists()
