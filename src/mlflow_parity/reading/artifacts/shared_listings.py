"""What lies below one place, listed once for the many owners in it, instead of once for each of them.

Nine runs in ten have no file, and an empty folder costs as much to list as a full one. An owner's files are in
``PLACE/ID/artifacts``: so one listing of ``PLACE`` tells which owners have any (a server's proxy lists one level), or
all their files (S3), and those of the owners in the places below it: an experiment's logged models are in
``PLACE/models``. It is only a shorter way: an owner is listed by itself where no such listing can be had, where it says
too much or is contradicted, where nothing shows that it tells the truth, and where files may still be coming.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from mlflow_parity.core.errors import ReadError

T = TypeVar("T")

#: Fewer owners in one place are listed one by one.
FEWEST = 8
#: Owners without a folder that are listed all the same, of each listing of a place: to see whether it tells the truth;
#: and of one that is deep, which is one statement of its store on all of them.
_TRIED, _TRIED_OF_DEEP = 3, 1
#: Seconds for which others wait for a listing that one of them has begun.
_WAIT = 2.0
#: A listing is used for 60 seconds, or for 20 times the seconds that it took where that is longer: so listing a large
#: place again takes a twentieth of the time at most.
_YOUNG, _WORTH = 60.0, 20.0
#: Seconds before a listing at which an owner must have ended for the listing to hold all its files: clocks differ.
_ENDED = 300.0


def place_of(uri: str, owner: str) -> str | None:
    """Return the place that an owner shares with others: ``PLACE`` of ``PLACE/ID/artifacts``; ``None``: it does not."""
    if "/" in owner:
        return None
    place, found, rest = uri.rstrip("/").rpartition(f"/{owner}/artifacts")
    return place if found and place and not rest else None


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """What a listing of a place tells: the files of each owner that has any, ``None`` for files that it does not tell.

    ``sure``: one that names no owner that is expected is of a place without files, and not of another place.
    ``deep``: it tells those in the places below, too, as ``NAME/ID``.
    """

    files: Mapping[str, Sequence[T] | None]
    sure: bool
    deep: bool = False


@dataclass(slots=True)
class _Listing:
    """One listing of a place; ``told`` is ``None`` where it is of no use.

    ``since`` is the time (seconds since 1970) at which it was begun, ``good_until`` that of the clock that no one sets;
    ``shown``: it is of this very place, as it names an owner that is known, or as its store says.
    """

    told: Mapping[str, Sequence[Any] | None] | None
    since: float
    good_until: float
    shown: bool = False
    deep: bool = False
    untried: int = _TRIED

    def drop(self) -> None:
        """It is not believed any more, nor is the place listed again."""
        self.told, self.deep, self.good_until = None, False, math.inf


@dataclass(slots=True)
class SharedListings:
    """Listings that the owners of one reading share; to be used from many threads, and not longer than that reading."""

    _expected: dict[str, set[str]] = field(default_factory=dict)
    _found: dict[str, _Listing] = field(default_factory=dict)
    _locks: dict[str, Lock] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def expect(self, owners: Iterable[tuple[str, str]]) -> None:
        """Say whose files will be asked for next: the URI and the id of each owner."""
        found: dict[str, set[str]] = defaultdict(set)
        for uri, owner in owners:
            if (place := place_of(uri, owner)) is not None:
                found[place].add(owner)
        with self._lock:
            self._expected.update((place, ids) for place, ids in found.items() if len(ids) >= FEWEST)

    def files(
        self,
        uri: str,
        owner: str,
        listed: Callable[[str], Told[T]],
        alone: Callable[[], Iterable[T]],
        *,
        ended: float | None,
        inside: Callable[[], Iterable[T]] | None = None,
    ) -> Iterable[T]:
        """Return an owner's files: ``listed`` lists a place by its URI, ``alone`` the owner by itself.

        ``inside`` lists, in the place of ``alone``, an owner of which the place tells that it has files, and not which.
        ``ended`` is when the owner got its last files, in seconds since 1970; ``None``: it may get more.

        Raises:
            ReadError: the owner's files cannot be listed.
        """
        place = place_of(uri, owner)
        if place is None or ended is None:
            return alone()
        above, _, name = place.rpartition("/")
        if self._is_told_above(above):
            place, owner = above, f"{name}/{owner}"
        elif place not in self._expected:
            return alone()
        with self._lock:
            lock = self._locks.setdefault(place, Lock())
        # what takes longer is not waited for
        if not lock.acquire(timeout=_WAIT):
            return alone()
        try:
            listing = self._found.get(place)
            if listing is None or time.monotonic() > listing.good_until:
                if "/" in owner:
                    return alone()
                listing = self._found[place] = _listing(place, listed)
            listing.shown = listing.shown or not self._expected[place].isdisjoint(listing.told or ())
            if listing.told is None or not listing.shown or ended > listing.since - _ENDED:
                told: Sequence[T] | None = None
            elif owner in listing.told:
                told = listing.told[owner]
                alone = inside or alone
            elif listing.untried:
                return self._tried(listing, alone)
            else:
                told = ()
        finally:
            lock.release()
        return alone() if told is None else told

    def _is_told_above(self, place: str) -> bool:
        """Whether a listing of this place tells what is in the places below it."""
        listing = self._found.get(place)
        return listing is not None and listing.deep and time.monotonic() <= listing.good_until

    @staticmethod
    def _tried(listing: _Listing, alone: Callable[[], Iterable[T]]) -> Iterable[T]:
        """List an owner that has nothing, as the listing says: nobody takes its word before."""
        try:
            files = list(alone())
        except ReadError:
            listing.drop()
            raise
        listing.untried -= 1
        if files:
            # a front end of its own, or a right to list that ends here
            listing.drop()
        return files


def _listing(place: str, listed: Callable[[str], Told[Any]]) -> _Listing:
    since, begun = time.time(), time.monotonic()
    try:
        told = listed(place)
    except ReadError:
        # whether it can be listed at all shows with the owners
        return _Listing(None, since, math.inf)
    now = time.monotonic()
    good_until = now + max(_YOUNG, _WORTH * (now - begun))
    untried = _TRIED_OF_DEEP if told.deep else _TRIED
    return _Listing(told.files, since, good_until, told.sure, told.deep, untried)
