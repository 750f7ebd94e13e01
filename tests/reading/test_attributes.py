"""What S3 tells of the parts of a file: it is used where it comes to the file, and never stands in the way."""

from __future__ import annotations

import base64
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from support.proxy import Exchange, Fault, Proxy, break_off, proxying
from support.told_parts import ToldParts

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.core.identity.parts import Split, even, guessed, split_text, splits_of
from mlflow_parity.core.identity.sums import prove, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.s3_store import S3Store
from mlflow_parity.reading.artifacts.stated.attributes import AttributesOfBuckets, told
from mlflow_parity.reading.artifacts.stated.checksums import EtagsOfPlaces, Hasher
from mlflow_parity.reading.artifacts.stated.crc32 import joined
from mlflow_parity.reading.artifacts.stores import Place
from mlflow_parity.reading.artifacts.trees import Sure, read_trees
from mlflow_parity.reading.transport.slowing import Patience
from mlflow_parity.standin.http import S3

MIB = 1 << 20
#: 17 MiB and a bit: 3 parts of 8 MiB, 2 of 10, 4 of 5.
CONTENT = os.urandom(1 << 20) * 17 + b"the end"
ODD = 5 * MIB + 1_000


@dataclass(slots=True)
class Bucket:
    """A bucket in S3, seen through a proxy that tells of parts as real S3 does."""

    client: Any
    proxy: Proxy
    parts: ToldParts
    attributes: AttributesOfBuckets = field(default_factory=AttributesOfBuckets)

    def put(self, path: str, content: bytes, part: int, algorithm: str = "", *, tell: bool = True, **more: Any) -> None:
        """Put a file in parts of a size."""
        made = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        key = {"Bucket": "parts", "Key": f"e/run/artifacts/{path}"}
        upload = {**key, "UploadId": self.client.create_multipart_upload(**key, **made, **more)["UploadId"]}
        done = []
        for number, start in enumerate(range(0, len(content), part), 1):
            sent = self.client.upload_part(**upload, PartNumber=number, Body=content[start : start + part], **made)
            known = {name: value for name, value in sent.items() if name.startswith("Checksum") and algorithm}
            done.append({"PartNumber": number, "ETag": sent["ETag"], **known})
        self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
        if tell:
            self.parts.learn(f"parts/{key['Key']}", content, part, algorithm)

    def files(self, evidence: Evidence = "stores", sure: Sure | None = None) -> dict[str, Artifact]:
        """What is read of them."""
        self.proxy.seen.clear()
        place = Place("run", "s3://parts/e/run/artifacts")
        store = S3Store(self.client, place, Patience(5, 1), etags=_shown(), attributes=self.attributes)
        with ThreadPoolExecutor(2) as pool:
            [tree] = read_trees(
                ["run"], str, lambda _: [store], "digest", str, pool=pool, at_once=1, evidence=evidence, sure=sure
            )
        assert tree.error is None
        return {file.path: file for file in tree.files}

    def read(self) -> int:
        """Files whose bytes were asked for."""
        return sum(one.method == "GET" and "=" not in one.query and "attributes" not in one.query
                   for one in self.proxy.seen)  # fmt: skip


def _shown() -> EtagsOfPlaces:
    """What is known of a bucket of which three files in parts were held against their ETags before."""
    found = EtagsOfPlaces()
    for number in range(3):
        found.held.seen("parts", f"before/{number}", "", agrees=True, in_parts=True)
    return found


@pytest.fixture(scope="module")
def module_bucket(s3: S3) -> Iterator[Bucket]:
    """One bucket for all tests here."""
    import boto3

    with proxying(s3.endpoint) as proxy:
        session = boto3.Session("key", "secret", region_name="us-east-1")
        client = session.client("s3", endpoint_url=proxy.uri)
        client.create_bucket(Bucket="parts")
        yield Bucket(client, proxy, ToldParts(proxy))


@pytest.fixture
def bucket(module_bucket: Bucket) -> Iterator[Bucket]:
    """The same, empty, in front of which nothing is spoilt."""
    module_bucket.proxy.heal()
    yield Bucket(module_bucket.client, module_bucket.proxy, ToldParts(module_bucket.proxy))
    module_bucket.proxy.heal()
    client = module_bucket.client
    while found := client.list_objects_v2(Bucket="parts").get("Contents"):
        client.delete_objects(Bucket="parts", Delete={"Objects": [{"Key": one["Key"]} for one in found]})


def md5_of_parts(content: bytes, part: int) -> str:
    """As S3 makes an ETag."""
    digests = [hashlib.md5(content[start : start + part]).digest() for start in range(0, len(content), part)]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


# --- what is asked for, and what comes of it


def test_sizes_of_parts_are_told_once_for_such_a_file(bucket: Bucket) -> None:
    """One call for a file in parts of no usual size, and none for all others."""
    bucket.put("odd.bin", CONTENT, ODD, "CRC32")
    bucket.put("usual.bin", CONTENT, 8 * MIB, "CRC32")
    bucket.put("without.bin", CONTENT, ODD)
    bucket.client.put_object(Bucket="parts", Key="e/run/artifacts/whole.bin", Body=b"whole")
    found = bucket.files()
    assert bucket.parts.asked() == ["odd.bin"]
    # the one that is of one part is held against its ETag
    assert bucket.read() == 1
    assert splits_of(found["odd.bin"]) == [Split(even(len(CONTENT), ODD))]
    assert sums_of(found["odd.bin"]).parts == {md5_of_parts(CONTENT, ODD)}
    assert bucket.attributes.note == ""


def test_bytes_of_the_other_side_come_to_what_is_told(bucket: Bucket) -> None:
    """Read once, cut as the other store has cut: equal is proved, and one byte more or less is not."""
    bucket.put("odd.bin", CONTENT, ODD, "CRC32")
    stated = bucket.files()["odd.bin"]

    def hashed(content: bytes) -> Artifact:
        hasher = Hasher(len(content), splits=splits_of(stated))
        for start in range(0, len(content), 777_777):
            hasher.update(content[start : start + 777_777])
        return Artifact("odd.bin", len(content), hasher.sha256, sums=hasher.sums)

    proof = prove(hashed(CONTENT), stated, "stores")
    assert (proof.equal, proof.told) == (True, "MD5 of parts stated by one store, of the other's bytes")
    for wrong in (b"x" + CONTENT[1:], CONTENT[:-1] + b"x"):
        assert prove(hashed(wrong), stated, "stores").equal is None


def test_a_tree_is_read_with_the_other_sides_parts(bucket: Bucket) -> None:
    """The whole way: a mapping of doubted files tells in which parts the other store has each."""
    bucket.put("one.bin", CONTENT, 8 * MIB)
    split = Split(even(len(CONTENT), ODD), frozenset({"md5", "sha256"}))
    found = bucket.files(sure={"run": {"one.bin": [split]}})["one.bin"]
    parts = sums_of(found).parts
    pieces = [CONTENT[start : start + ODD] for start in range(0, len(CONTENT), ODD)]
    both = hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()
    assert {md5_of_parts(CONTENT, part) for part in (8 * MIB, 10 * MIB, ODD)} <= parts
    assert f"sha256:{both}-{len(pieces)}" in parts


def test_checksums_of_parts_prove_where_etags_do_not(bucket: Bucket) -> None:
    """With KMS an ETag is no digest; the SHA-256 of the parts' SHA-256s is, and no byte is read."""
    bucket.put("mine.bin", CONTENT, ODD, "SHA256", ServerSideEncryption="aws:kms")
    bucket.put("copy.bin", CONTENT, ODD, "SHA256", ServerSideEncryption="aws:kms")
    bucket.put("other.bin", b"x" + CONTENT[1:], ODD, "SHA256", ServerSideEncryption="aws:kms")
    found = bucket.files()
    assert bucket.read() == 0
    proof = prove(found["mine.bin"], found["copy.bin"], "stores")
    assert (proof.equal, proof.told) == (True, "SHA-256 of parts stated by both stores")
    assert prove(found["mine.bin"], found["other.bin"], "stores").equal is None
    assert bucket.parts.asked() == ["copy.bin", "mine.bin", "other.bin"]


def test_a_checksum_of_the_whole_file_is_taken(bucket: Bucket) -> None:
    """CRC64NVME is always of the whole file: it is told with one call, and HeadObject is not asked for the same."""
    bucket.put("crc.bin", CONTENT, ODD, "CRC64NVME", tell=False)
    found = bucket.files()["crc.bin"]
    assert "crc64nvme" in sums_of(found).whole
    # whether its ETag is a digest was looked at
    assert [one.method for one in bucket.proxy.seen if "list-type" not in one.query] == ["HEAD", "GET"]


def test_crc32s_of_parts_are_joined_for_weak_evidence(bucket: Bucket) -> None:
    """boto3's default: those of the parts come to that of the file, whatever the parts are."""
    bucket.put("mine.bin", CONTENT, ODD, "CRC32", ServerSideEncryption="aws:kms")
    bucket.put("copy.bin", CONTENT, 8 * MIB, "CRC32", ServerSideEncryption="aws:kms")
    found = bucket.files("weak")
    assert bucket.read() == 0
    assert sums_of(found["mine.bin"]).whole == {"crc32": f"{zlib.crc32(CONTENT):08x}"}
    proof = prove(found["mine.bin"], found["copy.bin"], "weak")
    assert (proof.equal, proof.told) == (True, "CRC32 stated by both stores")
    assert prove(found["mine.bin"], found["copy.bin"], "stores").equal is None
    bucket.attributes = AttributesOfBuckets()
    found = bucket.files("stores")
    assert bucket.read() == 2
    assert all(sums_of(file).read for file in found.values())


def test_pages_of_parts(bucket: Bucket) -> None:
    """A list of parts that is cut goes on with its marker."""
    bucket.parts.page = 2
    bucket.put("odd.bin", CONTENT, 5 * MIB, "SHA256")
    found = bucket.files()["odd.bin"]
    assert splits_of(found)[0].runs == even(len(CONTENT), 5 * MIB)
    assert bucket.parts.asked() == ["odd.bin"] * 2


# --- what is not told, refused or wrong


@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_store_that_does_not_answer_is_asked_once(bucket: Bucket, status: int) -> None:
    """What is known without it stays; of a right that is missing is said which, once."""
    for number in range(4):
        bucket.put(f"{number}.bin", CONTENT + bytes([number]), ODD, "CRC32")
    code = {403: "AccessDenied", 501: "NotImplemented"}.get(status, "InvalidRequest")
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()

    def refuse(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(status, [], body)

    bucket.proxy.faults.insert(0, Fault("?attributes", refuse, times=10**9))
    found = bucket.files()
    assert bucket.parts.asked() == ["0.bin"]
    assert bucket.read() == 0
    for number in range(4):
        content = CONTENT + bytes([number])
        assert sums_of(found[f"{number}.bin"]).parts == {md5_of_parts(content, ODD)}
    expected = "s3:GetObjectAttributes is refused in s3://parts: " if status == 403 else ""
    assert bucket.attributes.note[: len(expected) or None] == expected


@pytest.mark.parametrize("body", [CONTENT, b"<a>", b"", b"<GetObjectAttributesOutput/>", b"\xff" * 100], ids=len)
def test_a_store_that_sends_something_else(bucket: Bucket, body: bytes) -> None:
    """Services that do not know the call send the file itself: no more of it is taken than of any answer."""
    for number in range(5):
        bucket.put(f"{number}.bin", CONTENT + bytes([number]), ODD, "CRC32")

    def other(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
        exchange.answer(200, [], body)

    bucket.proxy.faults.insert(0, Fault("?attributes", other, times=10**9))
    found = bucket.files()
    # botocore tried it 3 times, older ones 5
    assert 1 <= len(bucket.parts.asked()) <= 5
    assert {path: len(sums_of(file).parts) for path, file in found.items()} == dict.fromkeys(found, 1)
    assert bucket.attributes.note == ""


def test_a_connection_that_breaks_off(bucket: Bucket) -> None:
    """It is tried again, and then left: nothing depends on it."""
    bucket.put("odd.bin", CONTENT, ODD, "CRC32")
    bucket.proxy.faults.insert(0, Fault("?attributes", lambda exchange, *_: break_off(exchange), times=1))
    assert "split=" in bucket.files()["odd.bin"].sums
    bucket.proxy.faults.insert(0, Fault("?attributes", lambda exchange, *_: break_off(exchange), times=10**9))
    found = bucket.files()["odd.bin"]
    assert "split=" not in found.sums
    assert sums_of(found).parts == {md5_of_parts(CONTENT, ODD)}


def part(number: int, size: int, content: bytes = b"") -> dict[str, Any]:
    """A part as botocore gives it."""
    return {
        "PartNumber": number,
        "Size": size,
        "ChecksumSHA256": base64.b64encode(hashlib.sha256(content).digest()).decode(),
        "ChecksumCRC32": base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode(),
    }


def answer(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """An answer for a file of ten bytes in three parts."""
    return {
        "ETag": "abc-3",
        "ObjectSize": 10,
        "ObjectParts": {"TotalPartsCount": 3, "IsTruncated": False, "Parts": parts, **more.pop("listed", {})},
        **more,
    }


THREE = [part(1, 4, b"0123"), part(2, 4, b"4567"), part(3, 2, b"89")]


def test_what_comes_to_the_file_is_taken() -> None:
    """Sizes, the checksum of the parts' checksums, and the CRC32 of all."""
    found = told(lambda _: answer(THREE), '"abc-3"', 10, 3)
    pieces = b"".join(hashlib.sha256(piece).digest() for piece in (b"0123", b"4567", b"89"))
    assert found.parts == (f"sha256:{hashlib.sha256(pieces).hexdigest()}-3",)
    assert (found.split, found.crc32) == ("split=4*2,2", f"{zlib.crc32(b'0123456789'):08x}")
    # numbers of parts may have gaps
    gaps = [part(1, 4), part(7, 4), part(9, 2)]
    assert told(lambda _: answer(gaps), '"abc-3"', 10, 3).split == "split=4*2,2"
    # S3 tells the number alone of a file without an additional checksum
    assert told(lambda _: answer([]), '"abc-3"', 10, 3) == ({}, (), "", "")


WRONG: Mapping[str, Callable[[], dict[str, Any]]] = {
    "another size of the file": lambda: answer(THREE, ObjectSize=11),
    "no size of the file": lambda: answer(THREE, ObjectSize=None),
    "another ETag": lambda: answer(THREE, ETag="abd-3"),
    "no ETag": lambda: answer(THREE, ETag=None),
    "sizes that do not add up": lambda: answer([*THREE[:2], part(3, 3)]),
    "a part less": lambda: answer(THREE[:2]),
    "a part more": lambda: answer([*THREE, part(4, 1)]),
    "an empty part": lambda: answer([part(1, 0), part(2, 5), part(3, 5)]),
    "a negative part": lambda: answer([part(1, 14), part(2, -2), part(3, -2)]),
    "a huge part": lambda: answer([part(1, 10**30), part(2, 4), part(3, 2)]),
    "a size that is no number": lambda: answer([{"PartNumber": 1, "Size": "4"}, *THREE[1:]]),
    "a size that is true": lambda: answer([{"PartNumber": 1, "Size": True}, *THREE[1:]]),
    "no size": lambda: answer([{"PartNumber": 1}, *THREE[1:]]),
    "no number": lambda: answer([{"Size": 4}, *THREE[1:]]),
    "one part twice": lambda: answer([THREE[0], THREE[0], THREE[2]]),
    "another number of parts": lambda: answer(THREE, listed={"TotalPartsCount": 4}),
    "a negative number of parts": lambda: answer(THREE, listed={"TotalPartsCount": -3}),
    "cut without a next page": lambda: answer(THREE[:1], listed={"IsTruncated": True}),
    "cut with a wrong next page": lambda: answer(
        THREE[:1], listed={"IsTruncated": True, "NextPartNumberMarker": 2}
    ),
    "cut and empty": lambda: answer([], listed={"IsTruncated": True, "NextPartNumberMarker": 1}),
    "the same page without end": lambda: answer(
        THREE[:1], listed={"IsTruncated": True, "NextPartNumberMarker": 1}
    ),
    "a checksum that is not the parts'": lambda: answer(
        THREE, Checksum={"ChecksumType": "COMPOSITE", "ChecksumSHA256": THREE[0]["ChecksumSHA256"]}
    ),
    "a CRC32 that is not the parts'": lambda: answer(
        THREE, Checksum={"ChecksumType": "COMPOSITE", "ChecksumCRC32": THREE[0]["ChecksumCRC32"]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_contradicts_itself_is_not_told(wrong: str) -> None:
    """Nothing of such an answer is used: it would cut the other side's bytes wrongly, or prove what is not so."""
    with pytest.raises(MalformedAnswer):
        told(lambda _: WRONG[wrong](), '"abc-3"', 10, 3)


def test_pages_that_never_end() -> None:
    """Each with something new: the number of parts in the ETag is the end of it."""
    asked: list[int | None] = []

    def page(after: int | None) -> dict[str, Any]:
        asked.append(after)
        number = (after or 0) + 1
        listed = {"IsTruncated": True, "NextPartNumberMarker": number, "TotalPartsCount": 9_000}
        return {**answer([part(number, 1)], listed=listed), "ETag": "abc-9000"}

    with pytest.raises(MalformedAnswer, match="more than 12 pages"):
        told(page, '"abc-9000"', 10, 9_000)
    assert len(asked) == 12


def test_words_that_were_altered_are_not_told() -> None:
    """A snapshot may be edited: sizes that do not come to the file are none."""
    digest = "0" * 32
    good = Artifact("a", 10, sums=f"stated parts={digest}-3 split=4*2,2")
    assert splits_of(good) == [Split(((4, 2), (2, 1)))]
    # what is read needs none
    assert splits_of(Artifact("a", 10, "0" * 64, sums=f"read parts={digest}-3 split=4*2,2")) == []
    for word in ("4*2,3", "4*3", "4*2,2,", "", "-4", "4*0,10", "4*2,2" + ",1" * 20, "9" * 40, "4*99999", "a"):
        assert splits_of(Artifact("a", 10, sums=f"stated parts={digest}-3 split={word}")) == []


def test_sizes_in_whole_mib_are_guessed() -> None:
    """Where nothing is told: few sizes come to so many parts, and each that does is tried."""
    assert guessed(200 * MIB, 13) == [16 * MIB]
    assert guessed(17 * MIB, 3) == [6 * MIB, 7 * MIB, 8 * MIB]
    assert guessed(1 << 40, 3) == []
    assert guessed(10, 3) == guessed(10, 1) == guessed(10, 20_000) == []
    for part_size in (5, 6, 16, 64, 100):
        for size in (part_size * MIB * 40 + 1, part_size * MIB * 40, part_size * MIB * 90 - 1):
            assert part_size * MIB in guessed(size, -(-size // (part_size * MIB)))


def test_runs_of_sizes() -> None:
    """As a word and back; what changes too often is not written."""
    assert split_text([]) == split_text(range(1, 20)) == ""
    assert split_text([5, 5, 7, 1]) == "split=5*2,7,1"


def test_crc32s_are_joined() -> None:
    """As zlib does it."""
    for part_size in (1, 7, 1_000, 65_537):
        pieces = [CONTENT[start : start + part_size] for start in range(0, 100_000, part_size)]
        assert joined((zlib.crc32(one), len(one)) for one in pieces) == zlib.crc32(b"".join(pieces))
