"""What checksums of a pair of files prove, and what a store may say without proving anything."""

from __future__ import annotations

import hashlib

import pytest

from mlflow_parity.core.identity.sums import (
    alike,
    counted_by,
    differ,
    identity,
    is_borrowed,
    is_weak,
    is_whole,
    known_since,
    of_other_bytes,
    prove,
    saying,
    sums_of,
    text,
)
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence

ONE, TWO = (hashlib.md5(content).hexdigest() for content in (b"one", b"two"))
SHA, OTHER = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))


def stated(words: str, sha256: str | None = None) -> Artifact:
    """A file of which its store states this."""
    return Artifact("a", 3, sha256, sums=f"stated {words}".strip())


def read(words: str = f"md5={ONE}", sha256: str = SHA) -> Artifact:
    """A file whose bytes come to this."""
    return Artifact("a", 3, sha256, sums=f"read {words}")


@pytest.mark.parametrize(
    ("mine", "copy", "told"),
    [
        (read(), read(), "SHA-256 of the bytes"),
        (Artifact("a", 3, SHA), Artifact("a", 3, SHA), "SHA-256 of the bytes"),
        (stated("", SHA), stated("", SHA), "SHA-256 stated by both stores"),
        (stated("", SHA), read(), "SHA-256 stated by one store, of the other's bytes"),
        (stated(f"md5={ONE}"), stated(f"md5={ONE}"), "MD5 stated by both stores"),
        (stated(f"md5={ONE}"), read(), "MD5 stated by one store, of the other's bytes"),
        (stated(f"md5={ONE} sha1={'1' * 40}"), stated(f"md5={ONE} sha1={'1' * 40}"), "SHA-1 stated by both stores"),
        (stated(f"crc64nvme={'1' * 16}"), stated(f"crc64nvme={'1' * 16}"), "CRC64NVME stated by both stores"),
        (stated(f"parts={ONE}-3"), stated(f"parts={ONE}-3"), "MD5 of parts stated by both stores"),
        (
            stated(f"parts={ONE}-3"),
            read(f"md5={TWO} parts={ONE}-3 parts={TWO}-4"),
            "MD5 of parts stated by one store, of the other's bytes",
        ),
        # a file in one part: its checksum follows from that of the whole
        (
            stated(f"parts={hashlib.md5(bytes.fromhex(ONE)).hexdigest()}-1"),
            stated(f"md5={ONE}"),
            "MD5 of parts stated by both stores",
        ),
    ],
)
def test_the_strongest_that_both_have_proves_it(mine: Artifact, copy: Artifact, told: str) -> None:
    """Else terabytes are read for what two stores say already, or a weaker word stands for a stronger one."""
    for pair in ((mine, copy), (copy, mine)):
        proof = prove(*pair, "stores")
        assert (proof.equal, proof.told) == (True, told)


@pytest.mark.parametrize(
    ("mine", "copy"),
    [
        (stated(f"md5={ONE}"), stated(f"md5={TWO}")),
        (stated("", SHA), stated("", OTHER)),
        # one of the two lies
        (stated(f"md5={ONE} crc32=00000001"), stated(f"md5={ONE} crc32=00000002")),
        (stated(f"md5={TWO}", SHA), stated(f"md5={ONE}", SHA)),
        (read(sha256=OTHER), read()),
    ],
)
def test_any_whole_checksum_that_differs_says_so(mine: Artifact, copy: Artifact) -> None:
    """Else a store that contradicts itself is believed in the word that suits, and the loss is green."""
    for evidence in ("stores", "weak"):
        assert prove(mine, copy, evidence).equal is False


@pytest.mark.parametrize(
    ("mine", "copy"),
    [
        (stated(f"md5={ONE}"), stated(f"crc64nvme={'1' * 16}")),
        (stated(f"parts={ONE}-3"), stated(f"parts={TWO}-2")),
        (stated(f"parts={ONE}-3"), stated(f"parts={ONE}-4")),
        (stated(f"md5={ONE}"), stated(f"parts={ONE}-3")),
        (stated("crc32=00000001"), stated("crc32=00000001")),
        (stated(f"md5={ONE}"), Artifact("a", 3, SHA)),
        # what has another form was never said
        *((stated(words), stated(words)) for words in (
            "", f"md5={ONE[1:]}", f"md5={ONE.upper()}", "md5=", "md5", f"parts={ONE}", f"parts={ONE}-0",
            f"parts={ONE}-x", "crc64nvme=0x11111111111111", f"sha256={SHA}", f"md4={ONE}", f"said:md5={ONE}",
        )),
    ],
)  # fmt: skip
def test_no_common_checksum_proves_nothing(mine: Artifact, copy: Artifact) -> None:
    """Else files that nobody compared are green."""
    assert prove(mine, copy, "stores").equal is None


@pytest.mark.parametrize("kind", ["crc32", "crc32c"])
def test_a_crc32_counts_only_where_it_is_asked_for(kind: str) -> None:
    """One file in four thousand millions has it by chance, and anybody can make another: only whoever asks takes it."""
    pair = stated(f"{kind}=00000001"), stated(f"{kind}=00000001")
    assert prove(*pair, "stores").equal is None
    proof = prove(*pair, "weak")
    assert proof.equal
    assert is_weak(proof.told)
    assert not is_weak("CRC64NVME stated by both stores")


@pytest.mark.parametrize("evidence", ["stores", "sha256", "weak"])
def test_sha256_asks_for_nothing_else(evidence: Evidence) -> None:
    """An auditor who wants SHA-256s gets no other word."""
    md5 = stated(f"md5={ONE}"), stated(f"md5={ONE}")
    assert prove(*md5, evidence).equal is (None if evidence == "sha256" else True)
    assert prove(read(), read(), evidence).equal is True


def test_a_change_is_told_from_another_kind_of_checksum() -> None:
    """Else each file that is read again to be sure would be said to have changed during the audit."""
    assert not differ(stated(f"md5={ONE}"), read())
    assert differ(stated(f"md5={TWO}"), read())
    assert differ(stated(f"md5={ONE}"), stated(f"md5={TWO}"))
    assert differ(Artifact("a", 3, SHA), Artifact("a", 4, SHA))
    # its store said the same as before: an ETag that is no digest
    again = Artifact("a", 3, SHA, sums=saying(f"read md5={ONE}", None, f"stated md5={TWO}"))
    assert not differ(stated(f"md5={TWO}"), again)
    assert differ(stated(f"md5={ONE}"), again)
    in_parts = Artifact("a", 3, SHA, sums=saying(f"read md5={ONE}", None, f"stated parts={TWO}-2"))
    assert not differ(stated(f"parts={TWO}-2"), in_parts)
    assert differ(stated(f"parts={TWO}-3"), in_parts)
    assert sums_of(again).whole["md5"] == ONE


def test_what_stands_for_a_file_in_digests() -> None:
    """A snapshot's digest must be the same whichever further checksums were computed, and differ for other bytes."""
    assert identity(read()) == identity(Artifact("a", 3, SHA)) == SHA
    assert identity(stated(f"crc64nvme={'1' * 16} md5={ONE}")) == f"md5={ONE}"
    assert identity(stated(f"parts={ONE}-3")) == f"parts={ONE}-3"
    assert identity(Artifact("a", 3)) is None


def test_alike_for_pairing() -> None:
    """Two models of one name are told apart by their files, whoever states what of them."""
    assert alike(stated(f"md5={ONE}"), read())
    assert not alike(stated(f"md5={TWO}"), read())
    assert not alike(stated(f"parts={ONE}-3"), read(f"md5={ONE} parts={TWO}-3"))
    assert alike(Artifact("a", 3), Artifact("a", 3))


def test_as_text_and_counted() -> None:
    """The words of a snapshot and of a report."""
    assert text({"md5": ONE, "sha256": SHA}, [f"{TWO}-2"], read=True) == f"read md5={ONE} parts={TWO}-2"
    assert text({}, read=False) == ""
    assert text({"sha256": SHA}, read=False) == "stated"
    assert counted_by({}) == ""
    assert counted_by({"MD5 stated by both stores": 1}) == "1 file equal by MD5 stated by both stores"
    many = {"SHA-256 of the bytes": 312, "MD5 stated by both stores": 41_200}
    assert counted_by(many) == "41,200 files equal by MD5 stated by both stores, 312 by SHA-256 of the bytes"


@pytest.mark.parametrize(
    "words", [f"stated md5={ONE}", f"stated parts={ONE}-3", f"read md5={ONE} crc64nvme={'1' * 16}"]
)
def test_the_self_test_alters_whatever_is_known(words: str) -> None:
    """A fault that the self-test plants in a file's bytes must show in each checksum, or the audit seems blind."""
    before = Artifact("a", 3, sums=words)
    after = Artifact("a", 3, sums=of_other_bytes(words))
    assert prove(before, before, "stores").equal
    assert not prove(before, after, "stores").equal
    assert str(sums_of(after)) == str(sums_of(before))


def known(day: str = "2026-11-20", words: str = f"md5={ONE}", sha256: str = SHA) -> Artifact:
    """A file whose bytes an earlier audit has read."""
    return Artifact("a", 3, sha256, sums=known_since(day, f"read {words}"))


@pytest.mark.parametrize(
    ("mine", "copy", "proof"),
    [
        (known(), known("2026-10-01"), "SHA-256 of the bytes known since 2026-10-01"),
        (known(), read(), "SHA-256 of the bytes, one side's known since 2026-11-20"),
        (stated(f"md5={ONE}"), known(), "MD5 stated by one store, of the other's bytes known since 2026-11-20"),
    ],
)
def test_what_is_known_has_a_name_of_its_own(mine: Artifact, copy: Artifact, proof: str) -> None:
    """Bytes of last month are not bytes of today: whoever reads the ledger sees which they are."""
    for pair in ((mine, copy), (copy, mine)):
        assert (prove(*pair, "stores").equal, prove(*pair, "stores").told) == (True, proof)
        assert prove(*pair, "sha256").equal is None
    assert not is_weak(proof)
    assert is_borrowed(proof)
    assert prove(known(sha256=OTHER), copy, "stores").equal is not True


def test_what_is_known_is_counted_together_since_the_first_day() -> None:
    """Else an audit after a year of weekly ones has a line for each."""
    told = {
        "SHA-256 of the bytes": 312,
        "SHA-256 of the bytes known since 2026-11-20": 40_000,
        "SHA-256 of the bytes known since 2026-12-01": 888,
    }
    assert counted_by(told) == (
        "40,888 files equal by SHA-256 of the bytes known since 2026-11-20, 312 by SHA-256 of the bytes"
    )


def test_whether_a_statement_is_enough() -> None:
    """Where it is, what is known of earlier audits is not needed."""
    for words, evidence, enough in (
        (f"stated md5={ONE}", "stores", True),
        (f"stated parts={ONE}-3", "stores", False),
        ("stated crc32=00000000", "stores", False),
        ("stated crc32=00000000", "weak", True),
        (f"stated md5={ONE}", "sha256", False),
        ("", "stores", False),
    ):
        assert is_whole(None, words, evidence) is enough  # type: ignore[arg-type]  # the literals of a tuple
        assert is_whole(SHA, words, evidence)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mine", "copy", "proof"),
    [
        (stated(f"reported:sha256={SHA}"), stated(f"reported:sha256={SHA}"), "SHA-256 stated by a checksum report"),
        (
            stated(f"parts={ONE}-3 reported:sha256={SHA}"),
            read(),
            "SHA-256 stated by a checksum report, of the other's bytes",
        ),
        (
            stated(f"parts={ONE}-3 reported:md5={ONE}"),
            stated(f"md5={ONE}"),
            "MD5 stated by one store, and by a checksum report of the other",
        ),
        (
            stated(f"reported:sha1={'1' * 40} reported:md5={ONE}"),
            known(),
            "MD5 stated by a checksum report, of the other's bytes known since 2026-11-20",
        ),
        # what the stores themselves state has their name
        (
            stated(f"parts={ONE}-3 reported:crc32={'1' * 8}"),
            stated(f"parts={ONE}-3"),
            "MD5 of parts stated by both stores",
        ),
        (stated(f"reported:md5={ONE} md5={ONE}"), stated(f"md5={ONE}"), "MD5 stated by both stores"),
    ],
)
def test_what_a_report_states_has_a_name_of_its_own(mine: Artifact, copy: Artifact, proof: str) -> None:
    """It is no statement of the store itself, and whoever asks for SHA-256s gets none of it."""
    for pair in ((mine, copy), (copy, mine)):
        assert (prove(*pair, "stores").equal, prove(*pair, "stores").told) == (True, proof)
        assert prove(*pair, "sha256").equal is None
    assert is_borrowed(proof) is ("report" in proof)


def test_what_a_report_states_and_bytes_refute() -> None:
    """A report that lies has not shown that the file has changed; another length is no checksum."""
    before = stated(f"reported:sha256={OTHER}")
    assert prove(before, read(), "stores").equal is False
    assert not differ(before, Artifact("a", 3, SHA, sums=saying(f"read md5={ONE}", None, before.sums)))
    assert differ(before, read())
    assert sums_of(stated("reported:sha256=11 reported:none=1 reported:md5=")).whole == {}
    assert identity(before) == f"reported:sha256={OTHER}"
    assert identity(stated(f"md5={ONE} reported:md5={TWO}")) == f"md5={ONE}"
    assert of_other_bytes(before.sums) != before.sums
    assert not alike(before, read())
