"""What a snapshot was asked for: a narrower one never stands for more."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlflow_parity.core.scope import DEPTHS, Depth, in_scope


@dataclass(frozen=True, slots=True)
class Asked:
    """What a snapshot was to hold of the experiments that are named in it."""

    depth: Depth
    include_deleted: bool
    experiments: tuple[str, ...] = ()
    exclude_experiments: tuple[str, ...] = ()
    renames: str = ""
    """SHA-256 (hex) of the file of ``--parity-rename`` under whose names it was read; empty: the server's own."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Asked:
        """Return what a manifest tells.

        Raises:
            TypeError: it makes no sense.
        """
        texts = (row["renames"], *row["experiments"], *row["exclude_experiments"])
        if (
            row["depth"] not in DEPTHS
            or not isinstance(row["include_deleted"], bool)
            or not all(isinstance(text, str) for text in texts)
        ):
            raise TypeError("options are texts")
        patterns = tuple(row["experiments"]), tuple(row["exclude_experiments"])
        return cls(row["depth"], row["include_deleted"], *patterns, row["renames"])

    def options(self) -> str:
        """Return the options by which it was asked for."""
        parts = [f"--parity-depth {self.depth}", *(["--parity-include-deleted"] if self.include_deleted else [])]
        for flag, names in (("experiments", self.experiments), ("exclude-experiments", self.exclude_experiments)):
            parts += [f"--parity-{flag} {shlex.quote(','.join(names))}"] if names else []
        parts += [f"--parity-rename (a file with SHA-256 {self.renames[:16]}…)"] if self.renames else []
        return " ".join(parts)

    def lacks(self, wanted: Asked, names: Iterable[str]) -> str:
        """Say in which options it is narrower than ``wanted``, for the experiments with ``names``; ``""``: in none."""
        if DEPTHS.index(self.depth) < DEPTHS.index(wanted.depth):
            return f"--parity-depth {self.depth}, not {wanted.depth}"
        if wanted.include_deleted and not self.include_deleted:
            return "without --parity-include-deleted"
        if not all(in_scope(name, self.experiments, self.exclude_experiments) for name in names):
            return self.options()
        return ""
