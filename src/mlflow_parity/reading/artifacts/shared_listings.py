"""What lies below one place, listed once for the many owners in it, instead of once for each of them.

Nine runs in ten have no file, and an empty folder costs as much to list as a full one. An owner's files are in
``PLACE/ID/artifacts``: so one listing of ``PLACE`` tells which owners have any (a server's proxy lists one level), or
all their files (S3). It is only a shorter way: where it cannot be had, says too much or is contradicted, each owner is
listed by itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from mlflow_parity.core.errors import ReadError

T = TypeVar("T")

#: Fewer owners in one place are listed one by one.
FEWEST = 8
#: Owners without a folder that are listed all the same, of each listing of a place: to see whether it tells the truth.
_TRIED = 3
#: Seconds for which a listing serves, and how many times those that it took: it is as old as that at most, and of a
#: large place it takes no more of the time than that.
_YOUNG, _WORTH = 60.0, 20.0


class TooMany(ReadError):
    """More lies below a place than is worth listing for these owners."""


def place_of(uri: str, owner: str) -> str | None:
    """Return the place that an owner shares with others: ``PLACE`` of ``PLACE/ID/artifacts``; ``None``: it does not."""
    place, found, rest = uri.rstrip("/").rpartition(f"/{owner}/artifacts")
    return place if found and place and not rest else None


@dataclass(slots=True)
class _Listing:
    """One listing of a place; ``told`` is ``None`` where it is of no use."""

    told: Mapping[str, Sequence[Any] | None] | None
    good_until: float
    untried: int = _TRIED


@dataclass(slots=True)
class SharedListings:
    """Listings that the owners of one reading share; to be used from many threads, and not longer than that reading."""

    _many: set[str] = field(default_factory=set)
    _found: dict[str, _Listing] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def expect(self, owners: Iterable[tuple[str, str]]) -> None:
        """Say whose files will be asked for: the URI and the id of each owner."""
        counts = Counter(place for uri, owner in owners if (place := place_of(uri, owner)) is not None)
        with self._lock:
            self._many.update(place for place, count in counts.items() if count >= FEWEST)

    def files(
        self,
        uri: str,
        owner: str,
        listed: Callable[[str], Mapping[str, Sequence[T] | None]],
        alone: Callable[[], Iterable[T]],
    ) -> Iterable[T]:
        """Return an owner's files: ``listed`` lists a place by its URI, ``alone`` the owner by itself.

        ``listed`` gives the files of each owner that has any, ``None`` for files that it does not tell.

        Raises:
            ReadError: the owner's files cannot be listed.
        """
        place = place_of(uri, owner)
        if place is None or place not in self._many:
            return alone()
        with self._lock:
            lock = self._locks.setdefault(place, Lock())
        with lock:
            listing = self._found.get(place)
            if listing is None or time.monotonic() > listing.good_until:
                listing = self._found[place] = _listing(place, listed)
            told = listing.told
            if told is not None and owner not in told and listing.untried:
                # nobody takes its word before it is tried
                listing.untried -= 1
                if files := list(alone()):
                    # a front end of its own, or a right to list that ends here
                    listing.told = None
                return files
        known = None if told is None else told.get(owner, ())
        return alone() if known is None else known


def _listing(place: str, listed: Callable[[str], Mapping[str, Sequence[Any] | None]]) -> _Listing:
    begun = time.monotonic()
    try:
        told: Mapping[str, Sequence[Any] | None] | None = listed(place)
    except ReadError:
        # whether it can be listed at all shows with the owners
        return _Listing(None, float("inf"))
    now = time.monotonic()
    return _Listing(told, now + max(_YOUNG, _WORTH * (now - begun)))
