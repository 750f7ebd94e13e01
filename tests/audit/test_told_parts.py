"""Whole audits of files in parts of other sizes: what S3 tells of the parts saves one side's bytes, and no fault."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.audits import audit
from support.copied import kept
from support.ends import FILES, MIB, MLMODEL, Ends, equal, findings, seeded, two_ends
from support.proxy import Exchange, Fault, proxying
from support.seed import Seeder
from support.servers import FreshServer
from support.told_parts import ToldParts

from mlflow_parity.core.scope import Evidence
from mlflow_parity.standin.sagemaker import StandIn

#: Sizes that nobody would guess, and that come to other numbers of parts than the usual ones.
MINE, COPY = 5 * MIB + 1_000, 6 * MIB + 77
LARGE = os.urandom(MIB) * 26 + b"the end"
BY_PARTS = "MD5 of parts stated by one store, of the other's bytes"


@dataclass(slots=True)
class Cut:
    """Both ends, and an S3 that tells of parts as real S3 does."""

    ends: Ends
    told: ToldParts

    def put(
        self, side: str, content: bytes, part: int, path: str = "large.bin", algorithm: str = "CRC32", **more: Any
    ) -> None:
        """Put a file in parts of a size, as boto3 does."""
        self.ends.put(side, path, content, part=part, ChecksumAlgorithm=algorithm, **more)
        self.told.learn(f"{self.ends.roots[side].removeprefix('s3://')}/{path}", content, part, algorithm)

    def read(self, path: str = "large.bin") -> int:
        """How often the bytes of a file came, of both sides."""
        return self.ends.read().count(path)


@pytest.fixture
def cut(sagemaker_app: StandIn, sagemaker_server: StandIn) -> Iterator[Cut]:
    """Both, with the same files as boto3 puts them, and an ``MLmodel``."""
    with two_ends(sagemaker_app, sagemaker_server) as ends:
        yield Cut(ends, ToldParts(ends.s3))


@pytest.mark.long
def test_one_sides_bytes_are_enough(cut: Cut) -> None:
    """Two stores that cut a file differently prove nothing to each other; the bytes of one of them do."""
    cut.put("source", LARGE, MINE)
    cut.put("target", LARGE, COPY)
    outcome = cut.ends.audit()
    equal(outcome)
    assert outcome.result is not None
    assert outcome.result.evidence[BY_PARTS] == 1
    # each end is asked at both looks; of the file itself one side's bytes came
    assert cut.read() == 1
    assert cut.ends.asked()["attributes"] <= 4
    assert (outcome.result.settled, outcome.result.changes.found) == (0, {})
    # another byte at the same place: whichever side has it, the bytes of both say so
    cut.put("target", LARGE[:-1] + b"x", COPY)
    outcome = cut.ends.audit()
    assert findings(outcome) == {"large.bin": "mismatch"}
    assert cut.read() == 2
    [finding] = [one for one in outcome.findings if one.facet == "artifacts"]
    digests = [hashlib.sha256(content).hexdigest() for content in (LARGE, LARGE[:-1] + b"x")]
    assert [finding.source, finding.target] == [f"{len(LARGE)} bytes, sha256 {one}" for one in digests]


@pytest.mark.long
@pytest.mark.parametrize("altered", ["source", "target"])
def test_one_altered_of_several(cut: Cut, altered: str) -> None:
    """The file that differs is named, and it alone; the others are read on one side."""
    for number in range(3):
        content = bytes([number]) + LARGE
        cut.put("source", content, MINE, f"{number}.large")
        cut.put("target", content, COPY, f"{number}.large")
    cut.put(altered, b"x" + LARGE, MINE if altered == "source" else COPY, "1.large")
    assert findings(cut.ends.audit()) == {"1.large": "mismatch"}
    read = Counter(one for one in cut.ends.read() if one.endswith(".large"))
    assert read == {"0.large": 1, "1.large": 2, "2.large": 1}


def _refuse(exchange: Exchange, *_: object) -> None:
    exchange.answer(403, [], b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")


@pytest.mark.long
def test_a_right_that_is_missing_costs_bytes_alone(cut: Cut, tmp_path: Path) -> None:
    """Without it both sides are read, the verdict is the same, and the report says which right it is."""
    cut.ends.s3.faults.insert(0, Fault("?attributes", _refuse, times=10**9))
    cut.put("source", LARGE, MINE)
    cut.put("target", LARGE, COPY)
    outcome = cut.ends.audit()
    equal(outcome)
    assert cut.read() == 2
    # once for each side
    assert cut.ends.asked()["attributes"] == 2
    cut.put("target", b"x" + LARGE[1:], COPY)
    assert findings(cut.ends.audit()) == {"large.bin": "mismatch"}
    done = audit(tmp_path, cut.ends.source, cut.ends.target, "--parity-profile=export-import", env=cut.ends.env)
    notes = [one for one in done.report["notes"] if "s3:GetObjectAttributes is refused in s3://" in one]
    assert [one.partition(":")[0] for one in notes] == ["source", "target"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"<Size>{COPY}</Size>", f"<Size>{COPY + 1}</Size>"),
        (f"<Size>{COPY}</Size>", "<Size>-1</Size>"),
        (f"<Size>{COPY}</Size>", f"<Size>{10**40}</Size>"),
        ("<PartsCount>5</PartsCount>", "<PartsCount>4</PartsCount>"),
        (
            "<NextPartNumberMarker>5</NextPartNumberMarker><MaxParts>1000</MaxParts><IsTruncated>false",
            "<NextPartNumberMarker>4</NextPartNumberMarker><MaxParts>1000</MaxParts><IsTruncated>true",
        ),
        ("<PartNumber>2</PartNumber>", "<PartNumber>1</PartNumber>"),
        ("<PartNumber>2</PartNumber>", "<PartNumber>two</PartNumber>"),
        ("<ObjectSize>", "<ObjectSize>9"),
        ("</GetObject", "<"),
    ],
)
def test_what_contradicts_itself_is_never_green(cut: Cut, old: str, new: str) -> None:
    """Of an answer that does not come to the file nothing is used: both sides are read."""
    cut.put("source", LARGE, 8 * MIB)
    cut.put("target", LARGE, COPY)
    # the source is cut as all bytes are anyway: only what is told of the target could save its bytes
    cut.told.spoil = lambda text: text.replace(old, new)
    outcome = cut.ends.audit()
    equal(outcome)
    assert cut.read() == 2
    assert set(cut.told.asked()) == {"large.bin"}


@pytest.mark.long
def test_a_fault_is_found_beside_what_contradicts_itself(cut: Cut) -> None:
    """As both sides are read then."""
    cut.put("source", LARGE, 8 * MIB)
    cut.put("target", b"x" + LARGE[1:], COPY)
    cut.told.spoil = lambda text: text.replace("<PartsCount>5</PartsCount>", "<PartsCount>4</PartsCount>")
    assert findings(cut.ends.audit()) == {"large.bin": "mismatch"}
    assert cut.read() == 2


@pytest.mark.long
def test_sizes_that_are_a_lie_but_add_up(cut: Cut) -> None:
    """The other side's bytes do not come to the ETag then, and both are read."""
    cut.put("source", LARGE, 8 * MIB)
    cut.put("target", LARGE, COPY)
    cut.told.spoil = lambda text: text.replace(f"<Size>{COPY}<", f"<Size>{COPY - 1}<", 1).replace(
        f"<Size>{COPY}<", f"<Size>{COPY + 1}<", 1
    )
    equal(cut.ends.audit())
    assert cut.read() == 2
    cut.put("target", LARGE[:-1] + b"x", COPY)
    assert findings(cut.ends.audit()) == {"large.bin": "mismatch"}


@pytest.mark.long
def test_checksums_of_parts_where_kms_encrypts(cut: Cut) -> None:
    """No byte is read where both stores state the SHA-256 of the same parts; one that differs is read and named."""
    for side in ("source", "target"):
        cut.put(side, LARGE, COPY, algorithm="SHA256", ServerSideEncryption="aws:kms")
    outcome = cut.ends.audit()
    equal(outcome)
    assert cut.read() == 0
    assert outcome.result is not None
    assert outcome.result.evidence["SHA-256 of parts stated by both stores"] == 1
    # the same bytes in other parts: those of one side are cut as the other's
    cut.put("source", LARGE, MINE, algorithm="SHA256", ServerSideEncryption="aws:kms")
    outcome = cut.ends.audit()
    equal(outcome)
    assert cut.read() == 1
    assert outcome.result is not None
    assert outcome.result.evidence["SHA-256 of parts stated by one store, of the other's bytes"] == 1
    cut.put("target", b"x" + LARGE[1:], COPY, algorithm="SHA256", ServerSideEncryption="aws:kms")
    assert findings(cut.ends.audit()) == {"large.bin": "mismatch"}
    assert cut.read() == 2


@pytest.mark.long
@pytest.mark.parametrize("evidence", ["stores", "weak", "sha256"])
def test_a_source_behind_a_proxy(cut: Cut, fresh_server: FreshServer, evidence: Evidence) -> None:
    """Its bytes are read as the target's store has cut them; the target's are not."""
    server = fresh_server()
    seed = Seeder(server.uri)
    run = seeded(server.uri).removesuffix("/artifacts").rpartition("/")[2]
    for path, content in {**FILES, MLMODEL: b"flavors: {}\n", "large.bin": LARGE}.items():
        seed.artifact(run, path, content)
    cut.put("target", LARGE, COPY)
    with proxying(server.uri) as rest:
        outcome = cut.ends.audit(evidence, source=rest.uri)
        equal(outcome)
        assert cut.read() == (1 if evidence == "sha256" else 0)
        cut.put("target", LARGE[:-1] + b"x", COPY)
        assert findings(cut.ends.audit(evidence, source=rest.uri)) == {"large.bin": "mismatch"}


@pytest.mark.long
def test_a_snapshot_of_what_a_store_told(cut: Cut, tmp_path: Path) -> None:
    """It keeps in which parts the source was: the target's bytes prove it when the source is gone."""
    cut.put("source", LARGE, MINE)
    cut.put("target", LARGE, 8 * MIB)
    folder = kept(cut.ends.source, tmp_path / "kept", cut.ends.env, evidence="stores")
    outcome = cut.ends.audit(source=folder)
    equal(outcome)
    assert cut.read() == 1
    cut.put("target", LARGE[:-1] + b"x", 8 * MIB)
    # what the source's bytes were nobody can say any more: not proved is red
    assert findings(cut.ends.audit(source=folder)) == {"large.bin": "unverified"}


@pytest.mark.long
def test_a_target_that_changes_between_the_looks(cut: Cut) -> None:
    """What its store has stated is asked for again: the source's bytes prove nothing of another file."""
    cut.put("source", LARGE, MINE)
    cut.put("target", LARGE, COPY)
    sent: list[str] = []

    def change(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if not sent and exchange.command == "GET" and "?" not in exchange.path:
            sent.append(exchange.path)
            cut.put("target", LARGE[:-1] + b"x", COPY)
        exchange.answer(status, headers, body)

    # when the source's bytes are asked for
    cut.ends.s3.faults.append(Fault("/large.bin", change, times=10**9))
    outcome = cut.ends.audit()
    assert sent
    assert not outcome.green
    assert set(findings(outcome)) == {"large.bin"}


@pytest.mark.long
def test_files_of_logged_models(cut: Cut, sagemaker_app: StandIn, sagemaker_server: StandIn) -> None:
    """Models are the largest files: those of a suspect that a store alone has called other are read, and no others."""
    for side, uri in (("source", sagemaker_server.server.uri), ("target", sagemaker_app.server.uri)):
        seed = Seeder(uri)
        found = seed.call("GET", "experiments/get-by-name", {"experiment_name": "evidence"})
        body = {"experiment_id": found["experiment"]["experiment_id"], "name": "forest"}
        info = seed.call("POST", "logged-models", body)["model"]["info"]
        done = {"model_id": info["model_id"], "status": "LOGGED_MODEL_READY"}
        seed.call("PATCH", f"logged-models/{info['model_id']}", done)
        cut.ends.roots[side] = info["artifact_uri"]
        cut.ends.put(side, "small.bin", b"small")
    cut.put("source", LARGE, MINE)
    cut.put("target", LARGE, COPY)
    outcome = cut.ends.audit()
    [row] = [row for row in outcome.rows if (row.kind, row.facet) == ("logged_model", "files")]
    assert row.state.value == "match", outcome.reasons
    assert dict(row.evidence) == {BY_PARTS: ("large.bin",), "MD5 stated by both stores": ("small.bin",)}
    assert (cut.read(), cut.read("small.bin")) == (1, 0)
    cut.put("target", LARGE[:-1] + b"x", COPY)
    outcome = cut.ends.audit()
    assert {one.key: one.state.value for one in outcome.findings if one.facet == "files"} == {"large.bin": "mismatch"}
    assert (cut.read(), cut.read("small.bin")) == (2, 0)
