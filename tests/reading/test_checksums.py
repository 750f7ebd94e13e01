"""What S3 states of files stands for their bytes: how it is told, and what makes it no statement."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from support.proxy import Exchange, Fault, Proxy, proxying

from mlflow_parity.core.errors import RequestRefused, UsageProblem
from mlflow_parity.core.identity.sums import prove, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.artifacts.s3_store import S3Store
from mlflow_parity.reading.artifacts.stated import held_etags
from mlflow_parity.reading.artifacts.stated.checksums import (
    EtagsOfPlaces,
    Hasher,
    Listed,
    Stated,
    is_plain,
    listed,
    of_head,
    stated,
)
from mlflow_parity.reading.artifacts.stated.etags import BOTO3, Held, digests_of, layouts
from mlflow_parity.reading.artifacts.stated.held_etags import HeldEtags
from mlflow_parity.reading.artifacts.stores import Place
from mlflow_parity.reading.artifacts.trees import Sure, read_trees
from mlflow_parity.reading.transport.slowing import Patience
from mlflow_parity.standin.http import S3

MIB = 1 << 20
MD5 = hashlib.md5(b"whole").hexdigest()
SHA256 = hashlib.sha256(b"whole").digest()


def b64(content: bytes) -> str:
    """As S3 tells checksums."""
    return base64.b64encode(content).decode()


@dataclass(slots=True)
class Bucket:
    """A bucket in S3, seen through a proxy that records each request."""

    client: Any
    proxy: Proxy
    etags: EtagsOfPlaces = field(default_factory=EtagsOfPlaces)

    def put(self, path: str, content: bytes, owner: str = "run", **more: Any) -> None:
        """Put a file of an owner as boto3 does."""
        self.client.put_object(Bucket="sums", Key=f"e/{owner}/artifacts/{path}", Body=content, **more)

    def put_in_parts(self, path: str, content: bytes, part: int, owner: str = "run", **more: Any) -> None:
        """Put a file in parts of a size."""
        key = {"Bucket": "sums", "Key": f"e/{owner}/artifacts/{path}"}
        upload = {**key, "UploadId": self.client.create_multipart_upload(**key, **more)["UploadId"]}
        parts = []
        for number, start in enumerate(range(0, len(content), part), 1):
            sent = self.client.upload_part(**upload, PartNumber=number, Body=content[start : start + part])
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def files(self, owner: str = "run", evidence: Evidence = "stores", sure: Sure | None = None) -> dict[str, Artifact]:
        """What is read of an owner."""
        self.proxy.seen.clear()
        store = S3Store(self.client, Place(owner, f"s3://sums/e/{owner}/artifacts"), Patience(5, 1), etags=self.etags)
        with ThreadPoolExecutor(2) as pool:
            [tree] = read_trees(
                [owner], str, lambda _: [store], "digest", str, pool=pool, at_once=1, evidence=evidence, sure=sure
            )
        assert tree.error is None
        return {file.path: file for file in tree.files}

    def asked(self) -> Counter[str]:
        """What was asked for since then: lists, heads and bytes."""
        kinds = {"HEAD": "head", "GET": "bytes"}
        return Counter("list" if "list-type" in one.query else kinds[one.method] for one in self.proxy.seen)


@pytest.fixture(autouse=True)
def _none_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_etags, "_EACH", 1 << 40)


@pytest.fixture(scope="module")
def module_bucket(s3: S3) -> Iterator[Bucket]:
    """One bucket for all tests here."""
    import boto3

    with proxying(s3.endpoint) as proxy:
        session = boto3.Session("key", "secret", region_name="us-east-1")
        client = session.client("s3", endpoint_url=proxy.uri)
        client.create_bucket(Bucket="sums")
        yield Bucket(client, proxy)


@pytest.fixture
def bucket(module_bucket: Bucket) -> Iterator[Bucket]:
    """The same, empty."""
    yield Bucket(module_bucket.client, module_bucket.proxy)
    client = module_bucket.client
    while found := client.list_objects_v2(Bucket="sums").get("Contents"):
        client.delete_objects(Bucket="sums", Delete={"Objects": [{"Key": one["Key"]} for one in found]})


def test_files_that_boto3_put_are_known_without_a_byte(bucket: Bucket) -> None:
    """Else every byte of every file passes the auditor's machine."""
    for number in range(8):
        bucket.put(f"{number}.bin", bytes([number]) * 100)
    found = bucket.files()
    # three of the bucket are read, and three of the place looked at, whether its ETags are digests
    assert bucket.asked()["bytes"] == 3
    assert bucket.asked()["head"] == 3
    for number in range(8):
        assert sums_of(found[f"{number}.bin"]).whole == {"md5": hashlib.md5(bytes([number]) * 100).hexdigest()}
    bucket.put("other.bin", b"of a second owner in the same place", owner="second")
    assert not sums_of(bucket.files("second")["other.bin"]).read
    assert bucket.asked() == {"list": 1}


def test_the_content_of_an_mlmodel_is_read(bucket: Bucket) -> None:
    """It names ids, which are compared through the pairing: an MD5 of a source's says nothing about its copy's."""
    bucket.put("model/MLmodel", b"flavors: {}\n")
    file = bucket.files()["model/MLmodel"]
    assert (file.content, sums_of(file).read) == (b"flavors: {}\n", True)


def test_sha256_reads_every_byte_that_no_sha256_stands_for(bucket: Bucket) -> None:
    """Whoever asks for SHA-256s gets them, of S3 where it has them."""
    bucket.put("plain.bin", b"plain")
    bucket.put("known.bin", b"known", ChecksumAlgorithm="SHA256")
    found = bucket.files(evidence="sha256")
    assert {path: file.sha256 for path, file in found.items()} == {
        f"{name}.bin": hashlib.sha256(name.encode()).hexdigest() for name in ("plain", "known")
    }
    assert {path: sums_of(file).read for path, file in found.items()} == {"plain.bin": True, "known.bin": False}
    assert bucket.asked() == {"list": 1, "head": 1, "bytes": 1}


def test_an_etag_is_no_digest_where_kms_encrypts(bucket: Bucket) -> None:
    """It is none of the bytes: files that are equal would have two, and one file's could stand for another's."""
    for number in range(5):
        bucket.put(f"{number}.bin", bytes([number]) * 100, ServerSideEncryption="aws:kms")
    found = bucket.files()
    assert all(sums_of(file).read and file.sha256 for file in found.values())
    assert bucket.asked()["bytes"] == 5
    # what S3 has beside it counts still
    bucket.put("sure.bin", b"sure", ServerSideEncryption="aws:kms", ChecksumAlgorithm="SHA256")
    assert bucket.files()["sure.bin"].sha256 == hashlib.sha256(b"sure").hexdigest()
    assert bucket.asked()["bytes"] == 5


def test_files_in_parts(bucket: Bucket) -> None:
    """Large files are the bytes that matter: as boto3 and MLflow send them, they are known by their parts."""
    content = bytes(range(256)) * (17 * MIB // 256)
    for name, part in (("8", 8 * MIB), ("10", 10 * MIB), ("6", 6 * MIB)):
        bucket.put_in_parts(f"{name}.bin", content, part)
    # three of the bucket were held against their ETags before
    for number in range(3):
        bucket.etags.held.seen("sums", f"before/{number}", "", agrees=True, in_parts=True)
    parts = {path: sums_of(file).parts for path, file in bucket.files().items()}
    assert bucket.asked()["bytes"] == 0
    assert len(set(map(frozenset, parts.values()))) == 3
    hasher = Hasher(len(content))
    for start in range(0, len(content), 3 * MIB + 7):
        hasher.update(content[start : start + 3 * MIB + 7])
    here = Artifact("8.bin", len(content), hasher.sha256, sums=hasher.sums)
    proved = {path: prove(here, file, "stores").equal for path, file in bucket.files().items()}
    assert proved == {"8.bin": True, "10.bin": True, "6.bin": None}
    assert hasher.sha256 == hashlib.sha256(content).hexdigest()
    assert sums_of(here).whole["md5"] == hashlib.md5(content).hexdigest()


def test_doubted_files_are_read_whatever_is_stated(bucket: Bucket) -> None:
    """A difference that a store states is told when the bytes say so too; other files of the tree are not read."""
    for name in ("one", "two", "three"):
        bucket.put(f"{name}.bin", name.encode(), ChecksumAlgorithm="SHA256")
    for evidence in ("stores", "sha256"):
        found = bucket.files(evidence=evidence, sure={"run": {"two.bin"}})
        assert {path for path, file in found.items() if sums_of(file).read} == {"two.bin"}
        # the first time each is, to hold its ETag against its bytes
        assert bucket.asked()["bytes"] == (4 if evidence == "stores" else 1)
        # one that has another name there, or was in a folder that could not be listed, may be any
        for doubted in ({"gone.bin"}, None):
            assert all(sums_of(file).read for file in bucket.files(sure={"run": doubted}).values())
        assert not any(sums_of(file).read for file in bucket.files(sure={"another": None}).values())


def test_weak_evidence(bucket: Bucket) -> None:
    """The CRC32 of boto3 stands for a file only where whoever asked takes it, and only of the whole file."""
    crc = f"{zlib.crc32(b'weak'):08x}"
    bucket.put("weak.bin", b"weak", ServerSideEncryption="aws:kms", ChecksumAlgorithm="CRC32")
    assert sums_of(bucket.files(evidence="weak")["weak.bin"]).whole == {"crc32": crc}
    assert bucket.asked()["bytes"] == 0
    assert sums_of(bucket.files()["weak.bin"]).read


# --- what a store may say


@pytest.mark.parametrize(
    ("etag", "told"),
    [
        (f'"{MD5}"', (MD5, "")),
        (f'"{MD5}-2"', ("", f"{MD5}-2")),
        *((etag, ("", "")) for etag in (
            MD5, f'"{MD5}', f"{MD5}\"", f'"{MD5.upper()}"', f'"{MD5[:-1]}"', f'"{MD5}0"', f'"{MD5}-"', f'"{MD5}-0"',
            f'"{MD5}-x"', f'"{MD5}-123456"', f'W/"{MD5}"', "", '""', f'"{MD5}"\n',
        )),
    ],
)  # fmt: skip
def test_etags(etag: str, told: tuple[str, str]) -> None:
    """A mark of another form is no digest of anything."""
    assert digests_of(etag) == digests_of(etag, 6 * MIB) == told


@pytest.mark.parametrize(
    ("etag", "size"),
    [
        ("0" * 32, 5),
        (f"{'0' * 32}-1", 5),
        (f"{'0' * 32}-1", None),
        (hashlib.md5(b"").hexdigest(), 5),
        (f"{hashlib.md5(hashlib.md5(b'').digest()).hexdigest()}-1", 5),
        (MD5, 0),
        (f"{MD5}-1", 0),
        # the second of them would be empty, and the first too small
        (f"{MD5}-2", 5 * MIB),
        (f"{MD5}-3", 9 * MIB),
    ],
)
def test_etags_that_such_a_file_cannot_have(etag: str, size: int | None) -> None:
    """Stores that have no digest of a file give all of them one mark, in the form of one."""
    assert digests_of(f'"{etag}"', size) == ("", "")


def test_etags_of_nothing() -> None:
    """Empty files have the one digest that they can have."""
    of_part = f"{hashlib.md5(hashlib.md5(b'').digest()).hexdigest()}-1"
    assert digests_of(f'"{hashlib.md5(b"").hexdigest()}"', 0) == (hashlib.md5(b"").hexdigest(), "")
    assert digests_of(f'"{of_part}"', 0) == ("", of_part)


# --- ETags that are held against bytes


def counted(
    held: HeldEtags, numbers: Iterable[int], *, agrees: bool | None = True, in_parts: bool = False
) -> Counter[str]:
    """Have the ETags of files looked at; count what is read for it, and which count."""
    found = Counter[str]()
    for number in numbers:
        etag = hashlib.md5(b"%d" % number).hexdigest()

        def read(etag: str = etag) -> bool | None:
            found["read"] += 1
            held.seen("b", "key", etag, agrees=agrees, in_parts=in_parts)
            return agrees

        if held.counts("b", etag, 10, in_parts=in_parts, read=read):
            found["counts"] += 1
    return found


def test_some_files_of_each_bucket_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three before any other counts, and one of a thousand."""
    monkeypatch.setattr(held_etags, "_EACH", 1_000)
    held = HeldEtags()
    assert counted(held, range(3)) == {"read": 3, "counts": 3}
    found = counted(held, range(20_000))
    assert found["counts"] == 20_000
    assert 2 <= found["read"] <= 80
    # an empty one shows nothing, and rests on nothing
    assert HeldEtags().counts("b", hashlib.md5(b"").hexdigest(), 0, in_parts=False, read=pytest.fail)
    # those that are read for their content show it too
    other = HeldEtags()
    for number in range(3):
        other.seen("b", f"{number}/MLmodel", "", agrees=True)
    assert counted(other, range(3))["counts"] == 3


def test_etags_that_are_not_what_they_seem_count_nowhere_in_the_bucket() -> None:
    """One is enough: which of the others are digests cannot be told."""
    held = HeldEtags()
    assert counted(held, range(50), agrees=False) == {"read": 1}
    assert counted(held, range(50)) == Counter()
    # nothing that can be computed shows that they are digests: no such file is read for it again and again
    assert counted(HeldEtags(), range(50), agrees=None) == {"read": 3}


@pytest.mark.parametrize(
    ("agrees", "found"), [(True, {"read": 3, "counts": 9}), (None, {"read": 3, "counts": 6}), (False, {"read": 1})]
)
def test_parts_are_held_against_their_etags_too(agrees: bool | None, found: dict[str, int]) -> None:
    """A mirror may keep the ETags of large files, and make those of small ones itself: the first are read, and told."""
    held = HeldEtags()
    for number in range(3):
        held.seen("b", f"{number}/MLmodel", "", agrees=True)
    assert counted(held, range(9), agrees=agrees, in_parts=True) == found


def test_parts_that_cannot_be_made_again() -> None:
    """They may be of any size, and count; but not where those that can be made again came to something else."""

    def believed(held: HeldEtags) -> int:
        etags = [hashlib.md5(b"%d" % number).hexdigest() for number in range(5)]
        return sum(held.counts("b", etag, 10, in_parts=True, read=None) for etag in etags)

    held = HeldEtags()
    assert believed(held) == 5
    assert counted(held, range(5, 6), agrees=None, in_parts=True) == {"read": 1}
    assert believed(held) == 0
    # as one, other files of the bucket have shown its ETags
    held.seen("b", "MLmodel", "", agrees=True)
    assert believed(held) == 5


def test_a_mirror_that_keeps_etags_of_parts_is_not_believed(bucket: Bucket) -> None:
    """As many files as there are, each with other bytes than its ETag says: all are read."""
    right, wrong = bytes(12 * MIB), b"x" * (12 * MIB)
    for number in range(4):
        bucket.put_in_parts(f"{number}.bin", wrong, 8 * MIB)
    kept = hashlib.md5(b"".join(hashlib.md5(right[at : at + 8 * MIB]).digest() for at in (0, 8 * MIB))).hexdigest()

    def old(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        made = hashlib.md5(b"".join(hashlib.md5(wrong[at : at + 8 * MIB]).digest() for at in (0, 8 * MIB))).hexdigest()
        told = [(name, value.replace(made, kept)) for name, value in headers]
        exchange.answer(code, told, content.replace(made.encode(), kept.encode()))

    bucket.proxy.faults.append(Fault("/sums", old, times=1_000))
    try:
        found = bucket.files()
    finally:
        bucket.proxy.faults.clear()
    assert {file.sha256 for file in found.values()} == {hashlib.sha256(wrong).hexdigest()}
    assert all(sums_of(file).read for file in found.values())


def test_what_one_reading_believed_another_may_have_shown_to_be_false() -> None:
    """Parts of an audit, and workers, see other files of a bucket: one process would have ended."""
    believing, knowing = HeldEtags(), HeldEtags()
    assert counted(believing, range(9))["counts"] == 9
    assert counted(knowing, range(9), agrees=False) == {"read": 1}
    assert believing.counted() == {"wrong": [], "rested": ["b"]}
    assert knowing.counted() == {"wrong": ["b"], "rested": []}
    for one, other in ((believing, knowing), (knowing, believing)):
        joined = HeldEtags()
        joined.take_in(one.counted())
        joined.take_in(one.counted())
        with pytest.raises(UsageProblem, match="some ETags of s3://b are not the MD5s of their files"):
            joined.take_in(other.counted())


def test_what_was_believed_before_does_not_stand() -> None:
    """An audit does not go on with it: it may have called files equal that are not."""
    held = HeldEtags()
    counted(held, range(10))
    with pytest.raises(UsageProblem, match=r"the ETag of s3://b/run/MLmodel, \"e\", is not the MD5 of its bytes"):
        held.seen("b", "run/MLmodel", '"e"', agrees=False)
    held.seen("b", "run/MLmodel", '"e"', agrees=False)
    assert counted(held, range(10)) == Counter()
    held = HeldEtags()
    counted(held, range(100_000))
    with pytest.raises(UsageProblem, match="s3://b has files of 10 and 11 bytes with one ETag"):
        held.counts("b", hashlib.md5(b"99999").hexdigest(), 11, in_parts=False, read=lambda: None)


def test_a_file_that_cannot_be_read_shows_nothing() -> None:
    """Its bytes are asked for again where they are judged, and that tells why they do not come."""

    def refused() -> bool | None:
        raise RequestRefused("no", status=403, code="AccessDenied")

    assert not HeldEtags().counts("b", MD5, 10, in_parts=True, read=refused)
    assert not HeldEtags().counts("b", MD5, 10, in_parts=False, read=refused)


@pytest.mark.parametrize("content", [b"", b"whole", bytes(17 * MIB)])
def test_bytes_that_pass_by_are_held_against_their_etag(content: bytes) -> None:
    """As one, as one part, and as parts of the sizes that clients cut."""
    md5 = hashlib.md5(content)
    cut = b"".join(hashlib.md5(content[at : at + 8 * MIB]).digest() for at in range(0, len(content), 8 * MIB))
    in_parts = f"{hashlib.md5(cut).hexdigest()}-{len(cut) // 16}" if len(content) > MIB else ""
    for etag in filter(None, (md5.hexdigest(), f"{hashlib.md5(md5.digest()).hexdigest()}-1", in_parts)):
        held = Held(f'"{etag}"', len(content))
        assert held.agrees is (None if content else True)
        assert b"".join(held.passing(iter([content[: 3 * MIB], content[3 * MIB :]]))) == content
        assert held.agrees is True
    # parts of another size are no contradiction
    for etag, agrees in ((MD5[::-1], False), (f"{MD5[::-1]}-1", False), (f"{MD5}-3", None), ("0" * 32, None)):
        held = Held(f'"{etag}"', len(content))
        assert [*held.passing(iter([content]))]
        assert held.agrees is (agrees if content else None)


@pytest.mark.parametrize(
    "head",
    [
        {"ChecksumSHA256": "not base64!"},
        {"ChecksumSHA256": b64(SHA256)[:-2]},
        {"ChecksumSHA256": b64(SHA256[:-1])},
        {"ChecksumSHA256": b64(SHA256 + b"x")},
        {"ChecksumSHA256": ""},
        {"ChecksumSHA256": None},
        {"ChecksumSHA256": 1},
        {"ChecksumSHA256": "ÿ"},
        # of parts, whatever is said of it
        {"ChecksumSHA256": f"{b64(SHA256)}-2"},
        {"ChecksumSHA256": f"{b64(SHA256)}-2", "ChecksumType": "FULL_OBJECT"},
        {"ChecksumSHA256": b64(SHA256), "ChecksumType": "COMPOSITE"},
        {"ChecksumSHA256": b64(SHA256), "ChecksumType": "full_object"},
        {"ChecksumSHA256": b64(SHA256), "ETag": f'"{MD5}-2"'},
        {"ChecksumCRC32": b64(b"1234")},
        {"ChecksumMD4": b64(SHA256)},
    ],
)
def test_heads_that_state_nothing(head: dict[str, Any]) -> None:
    """What is cut, longer, of parts or unknown is never a checksum of the file: not green by it, and no traceback."""
    assert of_head(head) == {}


def test_heads_that_state_something() -> None:
    """All kinds that S3 tells, each where it is of the whole file."""
    head = {
        "ChecksumSHA256": b64(SHA256), "ChecksumSHA1": b64(b"1" * 20), "ChecksumCRC64NVME": b64(b"12345678"),
        "ChecksumCRC32": b64(b"1234"), "ChecksumType": "FULL_OBJECT", "ETag": f'"{MD5}-2"',
    }  # fmt: skip
    strong = {"sha256": SHA256.hex(), "sha1": (b"1" * 20).hex(), "crc64nvme": b"12345678".hex()}
    assert of_head(head) == strong
    assert of_head(head, weak=True) == {**strong, "crc32": b"1234".hex()}
    assert of_head({"ChecksumSHA256": b64(SHA256)}) == {"sha256": SHA256.hex()}


@pytest.mark.parametrize(
    ("head", "plain"),
    [
        ({}, True),
        ({"ServerSideEncryption": "AES256"}, True),
        *(({"ServerSideEncryption": kind}, False) for kind in ("aws:kms", "aws:kms:dsse", "aws:new", "")),
        ({"SSECustomerAlgorithm": "AES256"}, False),
        ({"ServerSideEncryption": "AES256", "SSEKMSKeyId": "arn:aws:kms:…"}, False),
    ],
)
def test_encryption_that_makes_an_etag_none_of_the_bytes(head: dict[str, Any], plain: bool) -> None:
    """What is not known to leave the MD5 alone does not."""
    assert is_plain(head) is plain


def test_any_sign_of_kms_ends_the_trust_in_a_place() -> None:
    """Files of one place may be encrypted in several ways: one is enough not to rest on any ETag there."""
    etags = EtagsOfPlaces()
    told = [{"ETag": "e"}, {"ETag": "e", "ServerSideEncryption": "aws:kms"}, {"ETag": "e"}]
    assert [etags.are_digests("b", "p", partial(dict, one), "e") for one in told] == [True, False, False]
    assert etags.are_digests("b", "another", lambda: {"ETag": "e"}, "e")
    # a list that tells another ETag than the file itself
    assert not etags.are_digests("b", "third", lambda: {"ETag": "f"}, "e")
    assert not etags.are_digests("zone--x-s3", "p", lambda: {"ETag": "e"}, "e")

    def refused() -> dict[str, Any]:
        raise RequestRefused("a customer's key is asked for", status=400, code="InvalidRequest")

    assert not etags.are_digests("b", "fourth", refused, "e")
    asked: list[int] = []

    def head(number: int) -> dict[str, Any]:
        asked.append(number)
        return {"ETag": "e"}

    for number in range(2_001):
        etags.are_digests("b", "large", partial(head, number), "e")
    assert asked == [0, 1, 2, 999, 1_999]


def test_a_file_that_changed_since_the_list_states_nothing() -> None:
    """Its size is of the one, its checksum of the other."""
    entry = Listed(f'"{MD5}-2"', frozenset({"SHA256"}))
    head = {"ETag": entry.etag, "ContentLength": 5, "ChecksumSHA256": b64(SHA256), "ChecksumType": "FULL_OBJECT"}
    assert stated(entry, 5, lambda: head, lambda: True, weak=False).sha256 == SHA256.hex()
    for other in ({"ContentLength": 6}, {"ETag": f'"{MD5}-3"'}):
        assert stated(entry, 5, partial(dict, {**head, **other}), lambda: True, weak=False) == Stated()


@pytest.mark.parametrize("item", [{}, {"ETag": None, "ChecksumAlgorithm": None}, {"ChecksumAlgorithm": "SHA256"}])
def test_lists_that_tell_nothing(item: dict[str, Any]) -> None:
    """Stores that speak S3 leave much out."""
    assert listed(item) == Listed("", frozenset())


@pytest.mark.parametrize("etag", [MD5, f"{MD5}-2"])
def test_an_etag_that_is_listed_without_its_quotes(etag: str) -> None:
    """Some stores tell it with them everywhere else: it is the same one, and no other mark becomes one."""
    entry = listed({"ETag": etag, "ChecksumAlgorithm": ["SHA256"]})
    assert entry == listed({"ETag": f'"{etag}"', "ChecksumAlgorithm": ["SHA256"]})
    head = {"ETag": f'"{etag}"', "ContentLength": 6 * MIB, "ChecksumSHA256": b64(SHA256), "ChecksumType": "FULL_OBJECT"}
    assert stated(entry, 6 * MIB, lambda: head, lambda: True, weak=False) != Stated()
    assert listed({"ETag": f"{MD5.upper()}"}).etag == MD5.upper()


def test_sizes_of_parts() -> None:
    """boto3 doubles its parts where there would be more than ten thousand."""
    assert layouts(8 * MIB) == []
    assert layouts(9 * MIB) == [BOTO3]
    assert layouts(11 * MIB) == [8 * MIB, 10 * MIB]
    assert layouts(100_000 * MIB) == [16 * MIB, 10 * MIB]


@pytest.mark.skipif(importlib.util.find_spec("awscrt") is None, reason="awscrt is an extra")
def test_crc64nvme() -> None:
    """The checksum that S3 makes of a large file by itself is computed of the other side's bytes too."""
    hasher = Hasher(None)
    for piece in (b"1234", b"56789"):
        hasher.update(piece)
    # the check value of CRC-64/NVME
    assert sums_of(Artifact("a", 9, hasher.sha256, sums=hasher.sums)).whole["crc64nvme"] == "ae8b14860a799888"
