"""Checksums of a file: what its store states of it, or what its bytes come to, and what those of a pair prove.

As text they are words: ``read md5=… parts=…-3 crc64nvme=…``. ``read`` says that the bytes were read and every checksum
is theirs, ``stated`` that a store says so. ``parts`` is the MD5 of the MD5s of so many parts, which S3 makes of a
file that was sent in parts: equal ones mean equal parts, different ones may mean other parts of the same bytes;
``parts=sha256:…-3`` is the SHA-256 of their SHA-256s. The SHA-256 of the file has a field of its own. ``said:md5=…``
is what the store states of bytes that were read all the same.
``known:2026-11-20`` says that an earlier audit has read the bytes, and that nothing about the file tells of a change;
``reported:sha256=…`` what a checksum report states of a file that is there as it was then.
``left=ETAG@BUCKET/KEY@SHA256`` says that nobody read the bytes: they are to be copied from there (:class:`Left`).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote

from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence

READ, _STATED, PARTS, _SAID, _KNOWN = "read", "stated", "parts", "said:", "known:"
REPORTED, _LEFT = "reported:", "left"
#: Checksums of the whole file, the strongest first, by the number of their bytes. The last ones are no proof by
#: themselves: one in four thousand millions is equal by chance, and equal ones are easily made.
LENGTHS: Mapping[str, int] = {"sha256": 32, "sha1": 20, "md5": 16, "crc64nvme": 8, "crc32": 4, "crc32c": 4}
WEAK = frozenset({"crc32", "crc32c"})
NAMES: Mapping[str, str] = {
    "sha256": "SHA-256",
    "sha1": "SHA-1",
    "md5": "MD5",
    "crc64nvme": "CRC64NVME",
    PARTS: "MD5 of parts",
    f"{PARTS}:sha256": "SHA-256 of parts",
    f"{PARTS}:sha1": "SHA-1 of parts",
    "crc32": "CRC32",
    "crc32c": "CRC32C",
}
_OF_PARTS = re.compile("([0-9a-f]{32}|sha1:[0-9a-f]{40}|sha256:[0-9a-f]{64})-[1-9][0-9]{0,4}")
_HEX = re.compile("[0-9a-f]+")
_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_SINCE = re.compile(_KNOWN + f"({_DAY})")
#: What is told to prove that files are equal, around the day on which an earlier audit has read them.
_KNOWN_SINCE = re.compile(f"(.* known since )({_DAY})", re.DOTALL)
#: More words than this are not written here.
_MOST = 40
#: Who says so of one side: its bytes, as they are read now or were by an earlier audit, its store, or a report of it.
Whose = Literal["known", "read", "reported", "stated"]
_REPORT = "checksum report"
_TOLD: Mapping[tuple[Whose, Whose], str] = {
    ("known", "known"): "of the bytes",
    ("known", "read"): "of the bytes, one side's",
    ("known", "reported"): f"stated by a {_REPORT}, of the other's bytes",
    ("known", "stated"): "stated by one store, of the other's bytes",
    ("read", "read"): "of the bytes",
    ("read", "reported"): f"stated by a {_REPORT}, of the other's bytes",
    ("read", "stated"): "stated by one store, of the other's bytes",
    ("reported", "reported"): f"stated by a {_REPORT}",
    ("reported", "stated"): f"stated by one store, and by a {_REPORT} of the other",
    ("stated", "stated"): "stated by both stores",
}
#: How files are said to be equal where no checksum says so.
BY_CONTENT, BY_SIZE = "their content as YAML", "their size alone"


@dataclass(frozen=True, slots=True)
class Sums:
    """What is known of the bytes of one file."""

    read: bool
    whole: Mapping[str, str]
    """Checksums of the whole file (hex), by kind."""
    parts: frozenset[str]
    """MD5s of MD5s of parts, each with the number of parts; those of others begin with their kind."""
    since: str = ""
    """The day on which an earlier audit has read the bytes; empty: none has, or they were read now."""
    reported: frozenset[str] = frozenset()
    """Those of the whole file that only a checksum report states."""

    def whose(self, kind: str) -> Whose:
        """Who says that a checksum is the file's."""
        return "reported" if kind in self.reported else "read" if self.read else "known" if self.since else "stated"

    def __str__(self) -> str:
        """Return which there are, for people."""
        kinds = [kind for kind in LENGTHS if kind in self.whole] + sorted({*map(_of_parts, self.parts)})
        whose = "" if self.read else f" (known since {self.since})" if self.since else " (stated)"
        return ", ".join(NAMES[kind] for kind in kinds) + whose if kinds else "none"


def _of_parts(one: str) -> str:
    of, colon, _ = one.rpartition(":")
    return f"{PARTS}{colon}{of}"


def text(whole: Mapping[str, str], parts: Collection[str] = (), *, read: bool) -> str:
    """Return checksums as text; ``""``: there are none."""
    if not (whole or parts or read):
        return ""
    words = [READ if read else _STATED]
    words += [f"{kind}={whole[kind]}" for kind in LENGTHS if kind in whole and kind != "sha256"]
    return " ".join([*words, *(f"{PARTS}={one}" for one in sorted(parts))])


def sums_of(file: Artifact) -> Sums:
    """Return what is known of a file's bytes; what makes no sense was never stated."""
    # before stores were asked, all bytes were read
    words = file.sums.split()[:_MOST]
    whole = {"sha256": file.sha256} if file.sha256 else {}
    parts: set[str] = set()
    reported: set[str] = set()
    # what a store itself states comes first
    for word in sorted(words, key=lambda word: word.startswith(REPORTED)):
        kind, _, value = word.removeprefix(REPORTED).partition("=")
        if word.startswith(REPORTED):
            if kind in LENGTHS and kind not in whole and len(value) == 2 * LENGTHS[kind] and _HEX.fullmatch(value):
                whole[kind] = value
                reported.add(kind)
            continue
        if kind == PARTS and _OF_PARTS.fullmatch(value):
            parts.add(value)
        elif kind in LENGTHS and kind != "sha256" and len(value) == 2 * LENGTHS[kind] and _HEX.fullmatch(value):
            whole[kind] = value
    if "md5" in whole:
        parts.add(_of_one_part(whole["md5"]))
    since = _SINCE.fullmatch(words[0]) if words else None
    return Sums(not words or READ in words, whole, frozenset(parts), since[1] if since else "", frozenset(reported))


def known_since(day: str, read: str) -> str:
    """Return the checksums of bytes that were read on a day in the past."""
    return " ".join([f"{_KNOWN}{day}", *read.split()[1:]])


def with_report(stated: str, reported: Mapping[str, str]) -> str:
    """Return what a store states of a file with what a checksum report does; the first keeps its name."""
    words = stated.split() or [_STATED]
    return " ".join([*words, *(f"{REPORTED}{kind}={reported[kind]}" for kind in LENGTHS if kind in reported)])


def stated_in(sha256: str | None, sums: str) -> Mapping[str, str]:
    """Return the checksums of a whole file that are told, by kind."""
    return sums_of(Artifact("", None, sha256, sums=sums or _STATED)).whole


def reported_in(sums: str) -> dict[str, str]:
    """Return what a checksum report states of a file."""
    words = [word.removeprefix(REPORTED).partition("=") for word in sums.split() if word.startswith(REPORTED)]
    return {kind: value for kind, _, value in words}


def is_whole(sha256: str | None, stated: str, evidence: Evidence) -> bool:
    """Whether what a store states is enough to prove that a file is equal to one that has the same."""
    if sha256 is not None or evidence == "sha256":
        return sha256 is not None
    kinds = {word.removeprefix(REPORTED).partition("=")[0] for word in stated.split()} & LENGTHS.keys()
    return bool(kinds if evidence == "weak" else kinds - WEAK)


@lru_cache(maxsize=1024)
def _of_one_part(md5: str) -> str:
    return hashlib.md5(bytes.fromhex(md5), usedforsecurity=False).hexdigest() + "-1"


def identity(file: Artifact) -> str | None:
    """Return the one checksum that stands for a file: its SHA-256, else the strongest that its store states."""
    if file.sha256 is not None or not file.sums:
        return file.sha256
    # what a store itself states stands before what a report does
    said = sorted(file.sums.split()[:_MOST], key=lambda word: not word.startswith(REPORTED))
    words = {word.removeprefix(REPORTED).partition("=")[0]: word for word in said}
    return next((words[kind] for kind in (*LENGTHS, PARTS, _LEFT) if kind in words), None)


class Left(NamedTuple):
    """Where the bytes of a file are that nobody read: an object in S3, with the ETag that it was listed with."""

    etag: str
    bucket: str
    key: str
    sha256: str | None = None
    """The SHA-256 that the store states; the file itself has none, for nothing of it is kept here."""

    def on(self, sums: str) -> str:
        """Return checksums that a store states, with this."""
        words = "@".join(quote(part, safe="/") for part in (self.etag, f"{self.bucket}/{self.key}", self.sha256 or ""))
        return f"{sums or _STATED} {_LEFT}={words}"


def left_at(file: Artifact) -> Left | None:
    """Return where the bytes of a file were left; ``None``: they were read, or could not be."""
    if file.sha256 is not None or file.error is not None or f" {_LEFT}=" not in file.sums:
        return None
    for word in file.sums.split()[:_MOST]:
        kind, _, told = word.partition("=")
        etag, _, rest = told.partition("@")
        place, _, sha256 = rest.partition("@")
        bucket, _, key = unquote(place).partition("/")
        if kind == _LEFT and etag and bucket and key:
            return Left(unquote(etag), bucket, key, sha256 if re.fullmatch("[0-9a-f]{64}", sha256) else None)
    return None


class Proof(NamedTuple):
    """What the checksums of a pair of files say: equal, not equal, or (``None``) nothing."""

    equal: bool | None
    kind: str = ""
    whose: tuple[Whose, Whose] = ("read", "read")
    """Who says so of either side, in the order of the alphabet."""
    since: str = ""
    """The day on which an earlier audit has read what was not read now; of two the first."""

    @property
    def told(self) -> str:
        """``MD5 stated by both stores``."""
        return f"{NAMES[self.kind]} {_TOLD[self.whose]}" + (f" known since {self.since}" if self.since else "")


def prove(mine: Artifact, copy: Artifact, evidence: Evidence) -> Proof:
    """Say whether two files of one size are equal, by the strongest checksum that both have.

    Whatever whole-file checksum differs tells that they are not, and be it that a stronger one is equal: one of the
    two is wrong then, and only the bytes can tell.
    """
    if evidence == "sha256" and None in (mine.sha256, copy.sha256):
        return Proof(None)
    ours, theirs = sums_of(mine), sums_of(copy)
    if evidence == "sha256":
        known = ours.since or theirs.since
        return Proof(None) if known else _proof(mine.sha256 == copy.sha256, "sha256", ours, theirs)
    both = [kind for kind in LENGTHS if kind in ours.whole and kind in theirs.whole]
    differing = next((kind for kind in both if ours.whole[kind] != theirs.whole[kind]), None)
    if differing is not None:
        return _proof(False, differing, ours, theirs)
    strong = next((kind for kind in both if kind not in WEAK), None)
    if strong is not None:
        return _proof(True, strong, ours, theirs)
    if common := ours.parts & theirs.parts:
        return _proof(True, min(map(_of_parts, common)), ours, theirs)
    if both and evidence == "weak":
        return _proof(True, both[0], ours, theirs)
    return Proof(None)


def _proof(equal: bool, kind: str, ours: Sums, theirs: Sums) -> Proof:
    one, other = sorted((ours.whose(kind), theirs.whose(kind)))
    days = [side.since for side in (ours, theirs) if side.whose(kind) == "known"]
    return Proof(equal, kind, (one, other), min(days, default=""))


def saying(read: str, sha256: str | None, stated: str) -> str:
    """Return the checksums of bytes that were read, with what their store states of them."""
    said = [f"{_SAID}{word}" for word in (*([f"sha256={sha256}"] if sha256 else []), *stated.split()[1:])]
    return " ".join([read, *said])


def alike(one: Artifact, other: Artifact) -> bool:
    """Whether no checksum that both have says that two files of one size are not the same; weak ones count too."""
    ours, theirs = sums_of(one), sums_of(other)
    both = ours.whole.keys() & theirs.whole.keys()
    if any(ours.whole[kind] != theirs.whole[kind] for kind in both):
        return False
    return bool(both) or not (ours.parts and theirs.parts) or not ours.parts.isdisjoint(theirs.parts)


def as_stated(sums: str) -> str:
    """Return checksums as if a store stated them of bytes that nobody read."""
    words = sums.split()[:_MOST]
    return " ".join([_STATED, *(word for word in words if word.partition("=")[0] in (*LENGTHS, PARTS))])


def of_other_bytes(words: str) -> str:
    """Return checksums as they could be of other bytes."""
    found = []
    for word in words.split():
        kind, equals, value = word.partition("=")
        whole, dash, parts = value.partition("-")
        other = hashlib.sha256(whole.encode()).hexdigest()[: len(whole)]
        found.append(f"{kind}{equals}{other if whole else ''}{dash}{parts}")
    return " ".join(found)


def is_weak(told: str) -> bool:
    """Whether what is told to prove that files are equal is a CRC32 alone."""
    return told.startswith(tuple(f"{NAMES[kind]} " for kind in WEAK))


def is_of_others(sums: str) -> bool:
    """Whether something about a file's bytes is told by an earlier audit, or by a report that somebody gave."""
    return any(word.startswith((_KNOWN, REPORTED)) for word in sums.split())


def is_borrowed(told: str) -> bool:
    """Whether what is told to prove that files are equal is of an earlier audit, or of a report that somebody gave."""
    return _KNOWN_SINCE.fullmatch(told) is not None or _REPORT in told


def differ(before: Artifact, now: Artifact) -> bool:
    """Whether a file is not what it was: two readings of it contradict each other."""
    if (before.size, before.error) != (now.size, now.error):
        return True
    ours, theirs = sums_of(before), sums_of(now)
    said = [word.removeprefix(_SAID) for word in now.sums.split() if word.startswith(_SAID)]
    if said and not ours.read:
        # a store that states what is not so has not changed for that
        told = {word.partition("=")[0]: word.partition("=")[2] for word in (one.removeprefix(REPORTED) for one in said)}
        theirs = Sums(False, told, frozenset(one.partition("=")[2] for one in said if one.startswith(f"{PARTS}=")))
        if PARTS in told and ours.parts and "md5" not in ours.whole and ours.parts.isdisjoint(theirs.parts):
            return True
    return any(ours.whole[kind] != theirs.whole[kind] for kind in ours.whole.keys() & theirs.whole.keys())


def counted_by(counts: Mapping[str, int]) -> str:
    """Return in words how many files are equal by what; empty: none is.

    >>> counted_by({"SHA-256 of the bytes": 1, "MD5 stated by both stores": 41_200})
    '41,200 files equal by MD5 stated by both stores, 1 by SHA-256 of the bytes'

    What is known of earlier audits is counted together, since the first of them; the ledger has the day of each.
    """
    days: dict[str, str] = {}
    for found in filter(None, map(_KNOWN_SINCE.fullmatch, counts)):
        days[found[1]] = min(found[2], days.get(found[1], found[2]))
    together = Counter[str]()
    for told, count in counts.items():
        since = _KNOWN_SINCE.fullmatch(told)
        together[f"{since[1]}{days[since[1]]}" if since else told] += count
    counts = together
    ordered = sorted((item for item in counts.items() if item[1]), key=lambda item: (-item[1], item[0]))
    first, *rest = [f"{count:,} {{}}by {told}" for told, count in ordered] or [""]
    noun = "file " if ordered and ordered[0][1] == 1 else "files "
    return ", ".join([first.format(f"{noun}equal "), *(one.format("") for one in rest)])
