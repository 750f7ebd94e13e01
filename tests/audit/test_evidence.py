"""Whole audits of two servers whose files are in S3: what their stores state stands for bytes, and never for a loss."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from support.copied import kept
from support.ends import FILES, HELD, MIB, MLMODEL, Ends, equal, findings, seeded, two_ends
from support.proxy import Exchange, Fault, Spoil, proxying
from support.seed import Seeder
from support.servers import FreshServer

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.identity.sums import counted_by
from mlflow_parity.core.scope import Evidence
from mlflow_parity.standin.sagemaker import StandIn


@pytest.fixture
def ends(sagemaker_app: StandIn, sagemaker_server: StandIn) -> Iterator[Ends]:
    """Both, with the same files as boto3 puts them, and an ``MLmodel``."""
    with two_ends(sagemaker_app, sagemaker_server) as ends:
        yield ends


def test_no_byte_where_both_stores_state_the_same(ends: Ends) -> None:
    """Else terabytes pass the auditor's machine, twice, for what two stores say already."""
    outcome = ends.audit()
    equal(outcome)
    # the content of an MLmodel names ids, which are compared through the pairing
    assert ends.read() == sorted(HELD * 2)
    assert ends.asked()["heads"] == 6
    [row] = [row for row in outcome.rows if row.facet == "artifacts"]
    told = {told: set(paths) for told, paths in row.evidence}
    assert told == {"MD5 stated by both stores": set(FILES), "their content as YAML": {MLMODEL}}
    assert outcome.result is not None
    assert counted_by(outcome.result.evidence) == (
        "7 files equal by MD5 stated by both stores, 1 by their content as YAML"
    )


@pytest.mark.long
def test_altered_bytes_are_found_and_proved_by_them(ends: Ends) -> None:
    """Same size, other bytes: the stores say so, and it is told when the bytes of both were read, and only theirs."""
    ends.put("target", "of 3.bin", b"x" * 1_000)
    outcome = ends.audit()
    assert not outcome.green
    assert findings(outcome) == {"of 3.bin": "mismatch"}
    assert ends.read() == sorted([*HELD * 2, MLMODEL, MLMODEL, "of 3.bin", "of 3.bin"])
    [finding] = [one for one in outcome.findings if one.facet == "artifacts"]
    for told, content in ((finding.source, FILES["of 3.bin"]), (finding.target, b"x" * 1_000)):
        assert told == f"1000 bytes, sha256 {hashlib.sha256(content).hexdigest()}"
    assert outcome.result is not None
    assert not outcome.result.changes.found
    assert ends.audit("sha256").ledger == outcome.ledger


@pytest.mark.long
def test_files_lost_made_up_and_cut(ends: Ends) -> None:
    """Whatever the evidence is of those that are there, the others are named."""
    ends.put("source", "lost.bin", b"lost")
    ends.put("target", "made up.bin", b"made up")
    ends.put("target", "notes.txt", b"first line")
    outcome = ends.audit()
    expected = {"lost.bin": "missing", "made up.bin": "extra", "notes.txt": "mismatch"}
    assert findings(outcome) == expected
    assert findings(ends.audit("sha256")) == expected


@pytest.mark.long
def test_where_kms_encrypts_the_bytes_are_read(ends: Ends) -> None:
    """The ETag of such a file is no digest: equal files have two, and nothing may rest on it."""
    for path, content in FILES.items():
        ends.put("target", path, content, ServerSideEncryption="aws:kms")
    outcome = ends.audit()
    equal(outcome)
    # of the target's alone: the source states its MD5s
    assert ends.read() == sorted([*FILES, MLMODEL, *HELD])
    ends.put("target", "notes.txt", b"other line\n", ServerSideEncryption="aws:kms")
    outcome = ends.audit()
    assert findings(outcome) == {"notes.txt": "mismatch"}


@pytest.mark.long
def test_files_in_parts(ends: Ends) -> None:
    """Large files are the bytes that matter: read where the parts differ, and there only."""
    content = bytes(range(256)) * (17 * MIB // 256)
    ends.both("alike.bin", content, part=8 * MIB)
    outcome = ends.audit()
    equal(outcome)
    assert ends.read() == sorted(HELD * 2)
    ends.put("source", "other parts.bin", content, part=8 * MIB)
    ends.put("target", "other parts.bin", content, part=6 * MIB)
    ends.put("source", "whole and parts.bin", content)
    ends.put("target", "whole and parts.bin", content, part=8 * MIB)
    outcome = ends.audit()
    equal(outcome)
    # nothing changed during the audit: what was read twice was only made sure of
    assert outcome.result is not None
    assert (outcome.result.settled, outcome.result.changes.found) == (0, {})
    # parts of a size in whole MiB are tried on the source's bytes, and nobody has to tell it
    read = Counter(ends.read())
    assert set(read) == {*HELD, "other parts.bin", "whole and parts.bin"}
    assert read["other parts.bin"] == 1
    ends.put("target", "other parts.bin", b"x" + content[1:], part=6 * MIB)
    assert findings(ends.audit()) == {"other parts.bin": "mismatch"}


@pytest.mark.long
def test_weak_evidence_counts_where_it_is_asked_for(ends: Ends) -> None:
    """A CRC32 proves equality only for whoever says so, and the report is partial then."""
    for path, content in FILES.items():
        ends.both(path, content, ServerSideEncryption="aws:kms", ChecksumAlgorithm="CRC32")
    outcome = ends.audit("weak")
    equal(outcome)
    assert ends.read() == [MLMODEL, MLMODEL]
    assert outcome.result is not None
    assert outcome.result.evidence == {"CRC32 stated by both stores": 7, "their content as YAML": 1}
    ends.put("target", "notes.txt", b"other line\n", ServerSideEncryption="aws:kms", ChecksumAlgorithm="CRC32")
    assert findings(ends.audit("weak")) == {"notes.txt": "mismatch"}
    assert ends.audit().result is not None
    assert len(ends.read()) > 2 * len(FILES)


@pytest.mark.long
def test_each_byte_once_where_one_side_is_behind_a_proxy(ends: Ends, fresh_server: FreshServer) -> None:
    """What the target's S3 states is computed of the source's bytes while they are read: the target's are not."""
    server = fresh_server()
    root = seeded(server.uri)
    seed = Seeder(server.uri)
    run = root.removesuffix("/artifacts").rpartition("/")[2]
    for path, content in {**FILES, MLMODEL: b"flavors: {}\n"}.items():
        seed.artifact(run, path, content)
    large = bytes(range(256)) * (17 * MIB // 256)
    seed.artifact(run, "large.bin", large)
    ends.put("target", "large.bin", large, part=8 * MIB)
    with proxying(server.uri) as rest:
        outcome = ends.audit(source=rest.uri)
        equal(outcome)
        sent = Counter(one.path for one in rest.seen if "/mlflow-artifacts/artifacts/" in one.path)
        assert set(sent.values()) == {1}
        assert len(sent) == len(FILES) + 2
        assert ends.read() == HELD
        assert outcome.result is not None
        assert outcome.result.evidence == {
            "MD5 stated by one store, of the other's bytes": len(FILES),
            "MD5 of parts stated by one store, of the other's bytes": 1,
            "their content as YAML": 1,
        }
        ends.put("target", "large.bin", large[:-1] + b"x", part=8 * MIB)
        assert findings(ends.audit(source=rest.uri)) == {"large.bin": "mismatch"}


@pytest.mark.long
def test_snapshots_stand_for_a_side(ends: Ends, tmp_path: Path) -> None:
    """One that holds bytes' checksums meets what a store states; one with statements alone is red where none meets."""
    kinds: tuple[Evidence, ...] = ("sha256", "stores")
    for number, evidence in enumerate(kinds):
        folder = kept(ends.source, tmp_path / str(number), ends.env, evidence=evidence)
        outcome = ends.audit(source=folder)
        equal(outcome)
        assert ends.read() == HELD
    # the source's is there no more: what differs by what was stated of it cannot be proved, and is red
    ends.put("target", "notes.txt", b"other line\n")
    assert findings(ends.audit(source=folder)) == {"notes.txt": "unverified"}
    assert findings(ends.audit(source=str(tmp_path / "0"))) == {"notes.txt": "mismatch"}


@pytest.mark.long
def test_thousands_of_files_are_known_by_their_lists(ends: Ends) -> None:
    """1,000 files a list, and no request for each: to reach are 100,000 files in at most 250 lists a side."""
    # the lists of this S3 come in pages of four
    for number in range(60):
        ends.both(f"many/{number}.bin", b"%d" % number)
    outcome = ends.audit()
    equal(outcome)
    # three of each side, and its MLmodel
    assert ends.asked()["bytes"] == 8
    assert ends.asked()["heads"] == 6
    assert ends.asked()["lists"] <= 2 * (68 / 4 + 3)


def one_etag(etag: str, *paths: str) -> Spoil:
    """Make a store give one ETag to all files, or to those of some paths; it states no other checksum."""

    def spoil(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        def entry(found: re.Match[bytes]) -> bytes:
            if paths and not any(found[0].find(path.encode() + b"</Key>") >= 0 for path in paths):
                return found[0]
            return re.sub(b"<ETag>.*?</ETag>", f"<ETag>&quot;{etag}&quot;</ETag>".encode(), found[0])

        if "list-type" in exchange.path:
            body = re.sub(rb"<Contents>.*?</Contents>", entry, body, flags=re.DOTALL)
            body = re.sub(rb"<ChecksumAlgorithm>.*?</ChecksumAlgorithm>", b"", body)
        elif not paths or unquote(exchange.path.partition("?")[0]).endswith(paths):
            headers = [(name, f'"{etag}"' if name.lower() == "etag" else value) for name, value in headers]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        exchange.answer(status, headers, body, length=length if exchange.command == "HEAD" else None)

    return spoil


@pytest.mark.parametrize("etag", [f"{0:032x}-1", "d41d8cd98f00b204e9800998ecf8427e", "1" * 32, f"{'1' * 32}-1"])
def test_a_store_that_gives_all_files_one_etag(ends: Ends, etag: str) -> None:
    """Files of one size and other bytes are equal by it: MinIO gives zeros to what was put on its disk beside it."""
    ends.s3.faults.append(Fault("/", one_etag(etag), times=10**9))
    equal(ends.audit())
    assert set(ends.read()) == {*FILES, MLMODEL}
    ends.put("target", "of 3.bin", b"x" * 1_000)
    assert findings(ends.audit()) == {"of 3.bin": "mismatch"}


@pytest.mark.long
def test_zeros_beside_etags_that_are_digests(ends: Ends) -> None:
    """Files that MinIO itself has written have true ones: those rest on them, the others are read."""
    for name in ("put-a.bin", "put-b.bin"):
        ends.both(name, name.encode())
    ends.s3.faults.append(Fault("/", one_etag(f"{0:032x}-1", "put-a.bin", "put-b.bin"), times=10**9))
    equal(ends.audit())
    assert ends.read() == sorted([*HELD, "put-a.bin", "put-b.bin"] * 2)
    ends.put("target", "put-b.bin", b"PUT-B.BIN")
    assert findings(ends.audit()) == {"put-b.bin": "mismatch"}


@pytest.mark.long
def test_one_etag_of_two_sizes_is_found_when_others_were_believed(ends: Ends) -> None:
    """What was judged by such ETags is not green: the audit ends, and names the bucket."""
    for name in ("put-a.bin", "put-bc.bin"):
        ends.both(name, name.encode())
    ends.s3.faults.append(Fault("/", one_etag("1" * 32, "put-a.bin", "put-bc.bin"), times=10**9))
    bucket = ends.roots["source"].split("/")[2]
    with pytest.raises(
        UsageProblem, match=rf"s3://{bucket} has files of 9 and 10 bytes with one ETag, .1{{32}}.,.*sha256"
    ):
        ends.audit(workers=1)
    equal(ends.audit("sha256"))


@pytest.mark.long
@pytest.mark.parametrize("code", [403, 404, 501])
def test_a_store_that_refuses_heads(ends: Ends, code: int) -> None:
    """Whether an ETag is a digest cannot be asked: the bytes are read, and losses are found all the same."""

    def refuse(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if exchange.command == "HEAD":
            exchange.answer(code, [], b"")
        else:
            exchange.answer(status, headers, body)

    ends.s3.faults.append(Fault("/", refuse, times=10**9))
    equal(ends.audit())
    assert len(ends.read()) == 2 * (len(FILES) + 1)
    ends.put("target", "notes.txt", b"other line\n")
    assert findings(ends.audit()) == {"notes.txt": "mismatch"}
