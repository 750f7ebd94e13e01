"""Whether the bytes of a file and its copy are equal, and what says so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mlflow_parity.comparing.difference import Difference
from mlflow_parity.core.identity.sums import NAMES, prove, sums_of
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.core.verdict import Row, State

#: What the note of a difference begins with that no checksum of both sides' proves or refutes.
UNPROVED = "not proved by checksums: "


@dataclass(slots=True)
class FileEvidence:
    """What may prove that files are equal, and, by what proved it, the paths of those that are."""

    wanted: Evidence = "stores"
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, told: str, path: str) -> None:
        """Note by what a file is equal to its copy."""
        self.found.setdefault(told, []).append(path)

    def on(self, row: Row) -> Row:
        """Return a ledger row with the evidence of each of its files."""
        if not self.found:
            return row
        return replace(row, evidence=tuple((told, tuple(paths)) for told, paths in sorted(self.found.items())))

    def compare(self, mine: Artifact, copy: Artifact, rule: str) -> list[Difference]:
        """Compare two files by the strongest checksum that both have.

        What a store states proves no difference by itself: it is told when the bytes of both were read.
        """
        path = mine.path
        if None not in (mine.size, copy.size) and mine.size != copy.size:
            return [_mismatch(mine, copy, rule)]
        proof = prove(mine, copy, self.wanted)
        if proof.equal:
            self.add(proof.told, path)
            return []
        if proof.equal is None:
            return [Difference(path, State.UNVERIFIED, rule, note=_lacking(mine, copy, self.wanted))]
        if set(proof.whose) != {"read"} and self.wanted != "sha256":
            by = "an earlier audit has read it" if proof.since else "a store states it"
            by = "a checksum report states it" if "reported" in proof.whose else by
            note = f"{UNPROVED}{NAMES[proof.kind]} differs as {by}; the bytes of both were not compared"
            return [Difference(path, State.UNVERIFIED, rule, facts(mine), facts(copy), note)]
        return [_mismatch(mine, copy, rule)]


def facts(file: Artifact) -> str:
    """Return the size of a file and one checksum, in words."""
    whole = sums_of(file).whole
    kind = next((kind for kind in NAMES if kind in whole), None)
    return f"{file.size} bytes" + (f", {'sha256' if kind == 'sha256' else NAMES[kind]} {whole[kind]}" if kind else "")


def told_bytes(content: bytes) -> str:
    """Return the size and SHA-256 of bytes, in words."""
    return f"{len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()}"


def _mismatch(mine: Artifact, copy: Artifact, rule: str) -> Difference:
    note = "same size, other bytes" if mine.size == copy.size else ""
    ours, theirs = _texts(mine, copy)
    cut = ours is not None and (ours == theirs or not (_is_whole(ours, mine) and _is_whole(theirs, copy)))
    bound = (told_bytes(mine.content or b""), told_bytes(copy.content or b"")) if cut else None
    return Difference(mine.path, State.MISMATCH, rule, ours or facts(mine), theirs or facts(copy), note, bound)


def _is_whole(lines: Sequence[str] | None, file: Artifact) -> bool:
    """Whether lines are all of a file's, and nothing but line feeds was between them."""
    content = (file.content or b"").removesuffix(b"\n")
    return lines is not None and "\n".join(lines).encode() == content


def _lacking(mine: Artifact, copy: Artifact, wanted: Evidence) -> str:
    ours, theirs = sums_of(mine), sums_of(copy)
    if wanted == "sha256" or "none" in (str(ours), str(theirs)):
        return "one side was read without hashes"
    return f"{UNPROVED}the source's are {ours}, the target's {theirs}; the bytes of both were not compared"


def _texts(mine: Artifact, copy: Artifact) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return both contents as lines where both are small texts (kept at depth ``full`` only)."""
    if mine.content is None or copy.content is None:
        return None, None
    try:
        return mine.content.decode().splitlines()[:200], copy.content.decode().splitlines()[:200]
    except UnicodeDecodeError:
        return None, None
