"""Which files are read on one side only in the second look: what the other side's store states of parts is computed.

Two stores that state checksums of other parts prove nothing to each other. One side's bytes, cut as the other's store
has cut them, do; and where they do not come to what that store states, the bytes of both are read as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mlflow_parity.audit.side import SIDES
from mlflow_parity.core.identity.parts import Split, splits_of
from mlflow_parity.core.identity.sums import prove
from mlflow_parity.core.records import Artifact, ArtifactTree
from mlflow_parity.core.scope import Evidence
from mlflow_parity.reading.transport.auth import SideName

#: Files of one owner whose bytes decide, each with the parts that the other side's store has; ``None``: all files.
Doubted = dict[str, Collection[Split]] | None


@dataclass(slots=True)
class BytesOfOne:
    """The files in doubt of one place, by owner; the side that is read first may make it needless to read the other."""

    evidence: Evidence
    doubted: dict[SideName, dict[str, Doubted]] = field(default_factory=lambda: {side: {} for side in SIDES})
    _pairs: list[tuple[dict[SideName, str], dict[SideName, dict[str, Artifact]]]] = field(default_factory=list)

    def add(self, ids: Mapping[SideName, str], trees: Mapping[SideName, ArtifactTree], paths: Collection[str]) -> None:
        """Take in a pair of owners, as far as each is there, with their files as they were first read."""
        files = {side: {file.path: file for file in tree.files if file.path in paths} for side, tree in trees.items()}
        for side, owner in ids.items():
            [other] = [one for one in SIDES if one != side]
            theirs = files.get(other, {})
            found = {path: splits_of(theirs[path]) if path in theirs else [] for path in paths}
            known = self.doubted[side].setdefault(owner, {})
            if known is not None:
                known.update(found)
        if len(ids) == len(files) == len(SIDES):
            self._pairs.append((dict(ids), files))

    def all_of(self, side: SideName, owner: str) -> None:
        """Take in an owner of which all files are read."""
        self.doubted[side][owner] = None

    @property
    def order(self) -> tuple[SideName, SideName]:
        """The side that is read first: that of which the other's store states more."""
        told = {
            side: sum(bool(splits) for paths in self.doubted[side].values() for splits in (paths or {}).values())
            for side in SIDES
        }
        return SIDES if told["source"] >= told["target"] else (SIDES[1], SIDES[0])

    def read(self, side: SideName, now: Callable[[str], ArtifactTree | None]) -> None:
        """Take in what a side's files were read as; those that prove the other's need not be read there."""
        [other] = [one for one in SIDES if one != side]
        for ids, files in self._pairs:
            tree, left = now(ids[side]), self.doubted[other].get(ids[other])
            if tree is None or tree.error is not None or left is None:
                continue
            for file in tree.files:
                stated = files[other].get(file.path)
                if stated is None or file.path not in left or file.sha256 is None or file.error or stated.error:
                    continue
                proof = prove(file, stated, self.evidence)
                if file.size == stated.size and proof.equal and set(proof.whose) == {"read", "stated"}:
                    del left[file.path]
