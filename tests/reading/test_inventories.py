"""Lists of S3 Inventory: what they say of a file's encryption is found; what is none, or damaged, is one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.closed import closed
from support.reported import FIELDS, inventory, listed, md5

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.reading.statements import inventories
from mlflow_parity.reading.statements.checksum_reports import ChecksumReports

ETAG = "d41d8cd98f00b204e9800998ecf8427e"
KINDS = ("CSV", "Parquet")
GOOD = listed("bucket", "a b/größe+.bin", 5, ETAG, "SSE-S3")


def opened(folder: Path, manifest: Path) -> ChecksumReports:
    """An inventory that was read."""
    reports = ChecksumReports([str(manifest)], folder, with_crc64nvme=True)
    reports.open()
    return reports


@pytest.mark.parametrize("kind", KINDS)
def test_how_a_file_is_encrypted_is_found_by_all_that_it_is(tmp_path: Path, kind: str) -> None:
    """By bucket, name, ETag and size; old versions, deleted ones and unknown states say nothing."""
    rows = [
        GOOD,
        listed("bucket", "none", 5, ETAG, "NOT-SSE"),
        listed("bucket", "kms", 5, ETAG, "SSE-KMS"),
        listed("bucket", "dsse", 5, ETAG, "DSSE-KMS"),
        listed("bucket", "own", 5, ETAG, "SSE-C"),
        listed("bucket", "new", 5, ETAG, "SSE-NEXT"),
        listed("bucket", "unsaid", 5, ETAG, ""),
        listed("bucket", "old", 5, ETAG, "SSE-S3", IsLatest="false"),
        listed("bucket", "gone", 0, ETAG, "SSE-S3", IsDeleteMarker="true"),
    ]
    reports = opened(tmp_path, inventory(tmp_path, rows, kind))
    told = {row["Key"]: reports.is_plain("bucket", row["Key"], f'"{ETAG}"', 5) for row in rows}
    expected = {GOOD["Key"]: True, "none": True, "kms": False, "dsse": False, "own": False}
    assert told == {**dict.fromkeys(told), **expected}
    for other in (("other", GOOD["Key"], ETAG, 5), ("bucket", "a b", ETAG, 5), ("bucket", GOOD["Key"], "x", 5)):
        assert reports.is_plain(*other) is None
    assert reports.is_plain("bucket", GOOD["Key"], ETAG, 6) is None
    assert reports.notes() == ["--parity-checksums: S3 Inventory states how 5 files are encrypted"]


def _manifest(**more: Any) -> Callable[[Path], None]:
    def change(manifest: Path) -> None:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **more}))

    return change


def _data(change: Callable[[bytes], bytes], *, sealed: bool = True) -> Callable[[Path], None]:
    def changed(manifest: Path) -> None:
        told = json.loads(manifest.read_text())
        [data] = (manifest.parent.parent / "data").iterdir()
        data.write_bytes(change(data.read_bytes()))
        told["files"][0]["MD5checksum"] = md5(data) if sealed else told["files"][0]["MD5checksum"]
        manifest.write_text(json.dumps(told))

    return changed


def _without(manifest: Path) -> None:
    for data in (manifest.parent.parent / "data").iterdir():
        data.unlink()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda manifest: manifest.write_text("{"), "is not JSON"),
        (lambda manifest: manifest.write_text("[]"), "is no manifest"),
        (lambda manifest: manifest.write_text("[" * 100_000), "nested too deeply"),
        (lambda manifest: manifest.unlink(), "cannot be read"),
        (_manifest(files=None), "is no manifest"),
        (_manifest(files=[{}]), "is no manifest"),
        (_manifest(files=["x"]), "is no manifest"),
        (_manifest(fileSchema=5), "is no manifest"),
        (_manifest(sourceBucket=None), "is no manifest"),
        (_manifest(sourceBucket="another"), "lists a file of the bucket 'bucket', not of 'another'"),
        (_manifest(fileFormat="ORC"), "as CSV or Parquet"),
        (_manifest(fileFormat=["CSV"]), "as CSV or Parquet"),
        (_manifest(Results=[]), "give the CSV files"),
        (_manifest(files=[{"key": "a/..", "MD5checksum": "x"}]), "names a file '..'"),
        (_manifest(files=[{"key": "a/b\0", "MD5checksum": "x"}]), "names a file"),
        (_manifest(files=[{"key": "../../etc/passwd", "MD5checksum": "x"}]), "neither beside it nor in data"),
        (_without, "neither beside it nor in data"),
        (_data(lambda raw: raw[:-9], sealed=False), "its MD5 is not that of the manifest"),
        (_data(lambda raw: raw[:-9]), "one"),
        (_data(lambda raw: raw[: len(raw) // 2]), "one"),
        (_data(lambda _: b"nothing of the kind"), "one"),
    ],
    ids=range(21),
)
def test_what_is_no_inventory_is_one_line(tmp_path: Path, kind: str, change: Callable[[Path], None], why: str) -> None:
    """Cut, altered, of another kind, a path that leads elsewhere: one line with the fix."""
    manifest = inventory(tmp_path, [GOOD] * 3, kind)
    change(manifest)
    with pytest.raises(UsageProblem, match=why) as raised:
        opened(tmp_path, manifest)
    told = str(raised.value)
    assert told.startswith(f"--parity-checksums: {manifest}")
    assert "\n" not in told
    assert len(told) < 1_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["Bucket", "Key", "Size", "ETag", "EncryptionStatus"])
def test_a_column_that_is_not_there_is_named(tmp_path: Path, kind: str, field: str) -> None:
    """It is a box to be ticked in the inventory's configuration."""
    row = {name: value for name, value in GOOD.items() if name != field}
    with pytest.raises(UsageProblem, match=r"has no column .*: add the field to the inventory's configuration"):
        opened(tmp_path, inventory(tmp_path, [row], kind))


@pytest.mark.parametrize(
    "more",
    [
        {"Size": "five"},
        {"Size": "-1"},
        {"Size": "9" * 30},
        {"Size": ""},
        {"Size": "٣"},
        {"Size": "3.9"},
        {"Key": ""},
        {"IsLatest": ""},
        {"IsLatest": "0"},
        {"IsDeleteMarker": "yes"},
    ],
)
def test_a_line_that_makes_no_sense_is_refused(tmp_path: Path, more: dict[str, str]) -> None:
    """Whoever wrote it wrote no inventory."""
    with pytest.raises(UsageProblem, match="--parity-checksums"):
        opened(tmp_path, inventory(tmp_path, [{**GOOD, **more}]))


def test_two_states_of_one_file_are_refused(tmp_path: Path) -> None:
    """One of the two is wrong, and nobody can tell which."""
    other = listed("bucket", GOOD["Key"], 5, ETAG, "SSE-KMS")
    with pytest.raises(UsageProblem, match="states two encryptions of one state of s3://bucket/a"):
        opened(tmp_path, inventory(tmp_path, [GOOD, other]))
    (tmp_path / "checksums.sqlite").unlink()
    assert opened(tmp_path, inventory(tmp_path, [GOOD, GOOD])).is_plain("bucket", GOOD["Key"], ETAG, 5)


def test_parquet_that_is_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of many megabytes, a million times; columns of other types."""
    columns = {"bucket": "bucket", "key": "k" * 10_000, "e_tag": ETAG, "encryption_status": "SSE-S3"}
    manifest = inventory(tmp_path, [GOOD], "Parquet")
    [data] = (tmp_path / "data").iterdir()

    def written(table: pa.Table, why: str) -> None:
        pq.write_table(table, data)
        _manifest(files=[{"key": data.name, "MD5checksum": md5(data)}])(manifest)
        with pytest.raises(UsageProblem, match=why):
            opened(tmp_path, manifest)
        (tmp_path / "checksums.sqlite").unlink()

    long = {name: [value] * 5_000 for name, value in columns.items()}
    written(pa.table({**long, "size": [1] * 5_000}), "has a text in key that is longer than any can be")
    written(
        pa.table({**long, "key": [5] * 5_000, "size": [1] * 5_000}), "has other values than texts in key|is damaged"
    )
    monkeypatch.setattr(inventories, "_GROUP", 1_000)
    written(pa.table({**long, "size": [1] * 5_000}), "unpacks to more than an inventory does")


@pytest.mark.parametrize(
    "sizes",
    [
        pa.array([float("inf")]),
        pa.array([float("nan")]),
        pa.array([3.9]),
        pa.array([3.0]),
        pa.array([True]),
        pa.array(["3"]),
        pa.array([2**62], pa.timestamp("ms")),
        pa.array([2**53]).view(pa.duration("s")),
        pa.array([None], pa.null()),
        pa.array([None], pa.int64()),
        pa.array([-1]),
        pa.array([2**63], pa.uint64()),
        pa.array([[3]]),
    ],
    ids=str,
)
def test_sizes_are_whole_numbers(tmp_path: Path, sizes: pa.Array) -> None:
    """None is made of what is something else; a column that cannot be told is no traceback."""
    for column in ("size", "is_latest"):
        manifest = inventory(tmp_path, [GOOD], "Parquet")
        [data] = (tmp_path / "data").iterdir()
        table = pq.read_table(data)
        pq.write_table(table.set_column(table.schema.names.index(column), column, sizes), data)
        _manifest(files=[{"key": data.name, "MD5checksum": md5(data)}])(manifest)
        if column == "size":
            with pytest.raises(UsageProblem, match=rf"^--parity-checksums: {manifest} names one.parquet, which .+$"):
                opened(tmp_path, manifest)
        elif pa.types.is_temporal(sizes.type):
            with pytest.raises(UsageProblem, match=r"names one\.parquet, which is damaged"):
                opened(tmp_path, manifest)
        elif pa.types.is_boolean(sizes.type):
            opened(tmp_path, manifest)
        else:
            with pytest.raises(UsageProblem, match="which has an IsLatest that is neither true nor false"):
                opened(tmp_path, manifest)
        (tmp_path / "checksums.sqlite").unlink()


def test_a_name_that_no_file_has_is_not_blamed_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too long a name, or a folder that may not be entered: what is wrong is the manifest, or its place."""
    manifest = inventory(tmp_path, [GOOD])
    _manifest(files=[{"key": "a" * 300, "MD5checksum": "x"}])(manifest)
    with pytest.raises(UsageProblem, match=rf"^--parity-checksums: {manifest} names a{{200}}, which cannot be read: "):
        opened(tmp_path, manifest)
    (tmp_path / "checksums.sqlite").unlink()
    _manifest(files=[{"key": "x", "MD5checksum": "x"}])(manifest)
    closed(monkeypatch, tmp_path / "data")
    with pytest.raises(UsageProblem, match="names x, which cannot be read: Permission denied"):
        opened(tmp_path, manifest)


def test_fields_are_those_of_the_table_in_the_docs() -> None:
    """What is read of it is among what S3 writes."""
    assert set(inventories._COLUMNS) | set(inventories._VERSIONS) <= set(FIELDS)
