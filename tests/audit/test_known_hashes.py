"""Audits of two servers whose files are in S3, one after another: what is known is not read again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.copied import Outcome
from support.ends import FILES, HELD, MLMODEL, Ends, equal, findings, two_ends
from support.proxy import Exchange, Fault

from mlflow_parity.core.errors import SnapshotError
from mlflow_parity.core.identity.sums import counted_by
from mlflow_parity.reading.artifacts import known_hashes
from mlflow_parity.standin.sagemaker import StandIn

BOTH = sorted(FILES) * 2


@pytest.fixture
def ends(sagemaker_app: StandIn, sagemaker_server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Files of which no store states a checksum; none is checked at random, and those of this second are old enough."""
    monkeypatch.setattr(known_hashes, "SETTLED", 0.0)
    monkeypatch.setattr(known_hashes, "_FIRST", 0)
    monkeypatch.setattr(known_hashes, "_EACH", 1 << 60)
    with two_ends(sagemaker_app, sagemaker_server) as ends:
        for path, content in FILES.items():
            ends.both(path, content, ServerSideEncryption="aws:kms")
        yield ends


def proofs(outcome: Outcome) -> dict[str, int]:
    """By what files are equal, without the ``MLmodel``."""
    assert outcome.result is not None
    return {told: count for told, count in outcome.result.evidence.items() if "YAML" not in told}


def bytes_read(ends: Ends) -> list[str]:
    """Files whose bytes were asked for, without the ``MLmodel``s, which are compared by their content."""
    return [path for path in ends.read() if path != MLMODEL]


def test_nothing_is_read_twice(ends: Ends, tmp_path: Path) -> None:
    """The second audit asks for no byte but those of ``MLmodel`` files, and the ledger names the day."""
    equal(ends.audit(known=tmp_path))
    assert bytes_read(ends) == sorted(BOTH)
    outcome = ends.audit(known=tmp_path)
    equal(outcome)
    assert bytes_read(ends) == []
    [(told, count)] = proofs(outcome).items()
    assert told.startswith("SHA-256 of the bytes known since 20")
    assert count == len(FILES)
    assert outcome.result is not None
    assert counted_by(outcome.result.evidence).startswith("7 files equal by SHA-256 of the bytes known since 20")
    [row] = [row for row in outcome.rows if row.facet == "artifacts"]
    assert {path for told, paths in row.evidence for path in paths if "known" in told} == set(FILES)


@pytest.mark.long
def test_what_has_changed_is_read(ends: Ends, tmp_path: Path) -> None:
    """One of the same size and another time; and a loss is found, by the bytes of both."""
    ends.audit(known=tmp_path)
    ends.put("target", "of 3.bin", b"x" * 1_000, ServerSideEncryption="aws:kms")
    outcome = ends.audit(known=tmp_path)
    assert findings(outcome) == {"of 3.bin": "mismatch"}
    # the target's at once; a difference is told when both were read
    assert set(bytes_read(ends)) == {"of 3.bin"}
    assert outcome.result is not None
    assert not outcome.result.changes.found
    # an audit that ends with a loss is finished too, and its hashes are as good
    assert findings(ends.audit(known=tmp_path)) == {"of 3.bin": "mismatch"}
    ends.put("target", "of 3.bin", FILES["of 3.bin"], ServerSideEncryption="aws:kms")
    outcome = ends.audit(known=tmp_path)
    equal(outcome)
    assert bytes_read(ends) == ["of 3.bin"]
    assert any(told.startswith("SHA-256 of the bytes, one side's known since ") for told in proofs(outcome))


@pytest.mark.long
def test_whoever_asks_for_sha256_gets_bytes(ends: Ends, tmp_path: Path) -> None:
    """``--parity-evidence sha256`` rests on nothing that was read before."""
    ends.audit(known=tmp_path)
    outcome = ends.audit("sha256", known=tmp_path)
    equal(outcome)
    assert bytes_read(ends) == sorted(BOTH)
    assert proofs(outcome) == {"SHA-256 of the bytes": len(FILES)}


@pytest.mark.long
def test_what_stores_state_comes_first(ends: Ends, tmp_path: Path) -> None:
    """An MD5 that the target's S3 states now meets the one of the source's bytes that is known."""
    ends.audit(known=tmp_path)
    for path, content in FILES.items():
        ends.put("target", path, content)
    outcome = ends.audit(known=tmp_path)
    equal(outcome)
    # two beside the MLmodel, to hold their ETags against their bytes
    assert bytes_read(ends) == HELD[1:]
    [told] = proofs(outcome)
    assert told.startswith("MD5 stated by one store, of the other's bytes known since ")


@pytest.mark.long
def test_one_that_is_written_while_it_is_read_is_not_known(ends: Ends, tmp_path: Path) -> None:
    """What was sent is not what was listed: its hash would stand for the file that the list told of."""
    sent = False

    def replaced(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        nonlocal sent
        if exchange.command == "GET" and "of%203.bin" in exchange.path.replace("+", "%20") and not sent:
            sent = True
            headers = [(name, '"other"' if name.lower() == "etag" else value) for name, value in headers]
        exchange.answer(status, headers, body)

    ends.s3.faults.append(Fault("/", replaced, times=10**9))
    equal(ends.audit(known=tmp_path))
    ends.s3.faults.clear()
    equal(ends.audit(known=tmp_path))
    assert sent
    assert bytes_read(ends) == ["of 3.bin"]


@pytest.mark.long
def test_an_audit_that_breaks_off_leaves_nothing(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a finished audit has read is known; nor is anything half written left behind."""

    def breaks(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow_parity.audit.running.Audit._limits", breaks)
        with pytest.raises(KeyboardInterrupt):
            ends.audit(known=tmp_path)
    assert list((tmp_path / known_hashes.FOLDER).iterdir()) == []
    equal(ends.audit(known=tmp_path))
    assert bytes_read(ends) == sorted(BOTH)


@pytest.mark.long
def test_a_file_without_its_change_ends_the_audit(ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are not those that are known, where nothing tells of a change: what rests on it is void.

    So it is where a disk of S3's is damaged, or what is kept was forged: seen on those that are read all the same.
    """
    ends.audit(known=tmp_path)
    monkeypatch.setattr(known_hashes, "_FIRST", 3)

    def altered(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if exchange.command == "GET" and body in FILES.values():
            body = bytes(len(body))
            headers = [one for one in headers if not one[0].lower().startswith("x-amz-checksum")]
        exchange.answer(status, headers, body)

    ends.s3.faults.append(Fault("/", altered, times=10**9))
    with pytest.raises(SnapshotError, match="though nothing about the file tells of a change") as raised:
        ends.audit(known=tmp_path)
    assert "\n" not in str(raised.value)


@pytest.mark.long
def test_what_rests_on_known_hashes_is_not_gone_on_with(
    ends: Ends, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit that ended because they were wrong has left parts that rest on them: they are read again."""
    known, kept = tmp_path / "known", tmp_path / "kept"
    ends.audit(known=known)

    def breaks(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow_parity.audit.side.Side.finish", breaks)
        with pytest.raises(KeyboardInterrupt):
            ends.audit(known=known, snapshots=kept)
    assert bytes_read(ends) == []
    shutil.rmtree(known)
    outcome = ends.audit(snapshots=kept)
    equal(outcome)
    assert bytes_read(ends) == sorted(BOTH)
    assert proofs(outcome) == {"SHA-256 of the bytes": len(FILES)}


def _archived(exchange: Exchange, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    exchange.answer(status, headers, body.replace(b">STANDARD<", b">GLACIER<"))


@pytest.mark.long
def test_what_is_known_stands_for_no_archived_file(ends: Ends, tmp_path: Path) -> None:
    """A bucket's own rule archives a file long after it was read, and neither its ETag nor its time change."""
    equal(ends.audit(known=tmp_path))
    equal(ends.audit(known=tmp_path))
    assert bytes_read(ends) == []
    ends.s3.faults.append(Fault("list-type", _archived, times=10**9))
    equal(ends.audit(known=tmp_path))
    # those of the target
    assert bytes_read(ends) == sorted(FILES)
