"""What of a server is looked at: how deep, and which experiments by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

Depth = Literal["listing", "digest", "full"]
DEPTHS: tuple[Depth, ...] = ("listing", "digest", "full")


def in_scope(name: str, wanted: Sequence[str], unwanted: Sequence[str]) -> bool:
    """Whether an experiment's name fits a pattern of those ``wanted`` (none: all) and none of those ``unwanted``."""

    def fits(pattern: str) -> bool:
        return name == pattern or fnmatchcase(name, pattern)

    return (not wanted or any(map(fits, wanted))) and not any(map(fits, unwanted))
