"""What an audit was asked for: how deep it looks, at which experiments by name, and what kind of move it judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Literal, TypeVar

from mlflow_parity.core.errors import UsageProblem

_T = TypeVar("_T", bound=str)

Depth = Literal["listing", "digest", "full"]
DEPTHS: tuple[Depth, ...] = ("listing", "digest", "full")
#: What may prove that two files are equal: checksums that stores state too, the SHA-256 of the bytes alone, or a CRC32.
Evidence = Literal["stores", "sha256", "weak"]
EVIDENCE: tuple[Evidence, ...] = ("stores", "sha256", "weak")
#: What reads and compares: threads of one process, or workers of a Dask cluster.
Engine = Literal["threads", "dask"]
ENGINES: tuple[Engine, ...] = ("threads", "dask")
#: Kinds of move: :mod:`mlflow_parity.kinds.conventions.profiles` says what each is.
Profile = Literal["export-import", "same-store"]
PROFILES: tuple[Profile, ...] = ("export-import", "same-store")
EXPORT_IMPORT: tuple[Profile, ...] = ("export-import",)
SAME_STORE: tuple[Profile, ...] = ("same-store",)


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name is one of some names, or fits one of some globs: a name may hold a glob's ``[``."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def in_scope(name: str, wanted: Sequence[str], unwanted: Sequence[str] = ()) -> bool:
    """Whether an experiment's name fits a pattern of those ``wanted`` (none: all) and none of those ``unwanted``."""
    return (not wanted or fits(name, wanted)) and not fits(name, unwanted)


def one_of(known: Sequence[_T], option: str, usual: _T, values: Mapping[str, str]) -> _T:
    """Return which of some words an option (without its prefix) is.

    Raises:
        UsageProblem: none of them.
    """
    given = values.get(option, usual)
    for one in known:
        if one == given:
            return one
    raise UsageProblem(f"--parity-{option}: {given!r} is not one of {', '.join(map(str, known))}")
