"""Which ``s3://`` places are read and written with the caller's own AWS rights: data of a server may name any.

A run, an experiment, a logged model, a model version and a trace each name the place of their files, and whoever may
write to a server chooses it. What lies in the server's own artifact root, or where ``--allow-place`` says, is touched;
every other place is refused, and remembered so that it can be listed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING
from urllib.parse import unquote

from mlflow_parity.core.errors import ReadError, UsageProblem

if TYPE_CHECKING:
    from mlflow_parity.core.records import Experiment

#: The option of an audit, and that of a migration.
AUDIT_OPTION, MIGRATE_OPTION = "--parity-allow-place", "--allow-place"
#: Places that are remembered; a server whose data names more is counted no further.
MOST = 1_000
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_BETWEEN = re.compile(r",(?=\s*s3://)|\n")
#: Rounds of ``%xx`` in ``%xx``; more of them are no name that anybody gave.
_ROUNDS = 8


class PlaceNotAllowed(ReadError):
    """Data of a server names a place that is neither the server's own nor allowed."""


def parts_of(uri: str) -> tuple[str, ...] | None:
    """Return bucket and folders of an ``s3://`` URI; ``None``: it is no plain one.

    Names of buckets are compared as they are: a capital letter makes another bucket. A dot segment, however it is
    written, is a name like others to S3, and the way out of a folder to what may stand before it.

    >>> parts_of("s3://bucket/a/b/")
    ('bucket', 'a', 'b')
    >>> parts_of("s3://bucket//a")
    ('bucket', '', 'a')
    >>> parts_of("s3://bucket/a/%252e%252e/b") is None
    True
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        return None
    # of two slashes at the start the second belongs to the name: another place than with one
    parts = key.rstrip("/").split("/") if key.strip("/") else []
    if any(_leads_out(part) for part in parts):
        return None
    return bucket, *parts


def _leads_out(part: str) -> bool:
    for _ in range(_ROUNDS):
        plain = unquote(part)
        if plain == part:
            return any(name in (".", "..") for name in re.split(r"[/\\]", part))
        part = plain
    return True


def given_places(text: str, option: str) -> tuple[str, ...]:
    """Return the places that an option names, each without a slash at its end.

    Raises:
        UsageProblem: one is no bucket, and no folder of a bucket.
    """
    found = []
    for one in filter(None, (part.strip() for part in _BETWEEN.split(text))):
        place = one.rstrip("/")
        parts = parts_of(place)
        if parts is None or not _BUCKET.fullmatch(parts[0]) or "" in parts or any("*" in part for part in parts):
            raise UsageProblem(
                f"{option}: {one!r} names no place in S3; pass s3://BUCKET or s3://BUCKET/FOLDER, without wildcards "
                "and without . or .. in it"
            )
        found.append(place)
    return tuple(dict.fromkeys(found))


def own_root(experiments: Iterable[Experiment], *, workspace: bool = False) -> str:
    """Return where a server itself puts artifacts; empty: it does not show.

    It is told by the experiment that the server made at its first start. Every other experiment may have been created
    by anybody, with any place, its id included. ``workspace``: each workspace has such a one, under another id.
    """
    for one in experiments:
        first = one.experiment_id == "0" or (workspace and one.name == "Default")
        root, _, last = one.artifact_location.rstrip("/").rpartition("/")
        if first and last == one.experiment_id:
            return root
        if one.experiment_id == "0":
            return one.artifact_location.rstrip("/")
    return ""


class TrustedPlaces:
    """What one server's data may name; safe to use from many threads.

    ``allowed`` are the places that the caller named, ``ask`` lists the server's experiments where nobody has yet.
    """

    def __init__(
        self, allowed: Sequence[str], ask: Callable[[], Iterable[Experiment]], *, workspace: bool = False
    ) -> None:
        self._allowed = [parts for place in allowed if (parts := parts_of(place)) is not None]
        self._names = dict(zip(self._allowed, allowed, strict=False))
        self._ask = ask
        self._workspace = workspace
        self._lock = RLock()
        self._root: str | None = None
        self._locations: dict[tuple[str, ...], str] = {}
        self._refused: dict[str, None] = {}
        self._used: dict[str, None] = {}
        self._others: dict[str, None] = {}

    def learn(self, experiments: Iterable[Experiment]) -> None:
        """Take in the server's experiments."""
        known = list(experiments)
        with self._lock:
            self._root = own_root(known, workspace=self._workspace)
            self._locations = {
                parts: one.artifact_location.rstrip("/")
                for one in known
                if (parts := parts_of(one.artifact_location)) is not None
            }

    @property
    def root(self) -> str:
        """Where the server itself puts artifacts; empty: it does not show."""
        with self._lock:
            if self._root is None:
                self.learn(self._ask())
            return self._root or ""

    @property
    def refused(self) -> tuple[str, ...]:
        """Places that were named and not touched, those of whole experiments where they lie in one."""
        return self._told(self._refused)

    @property
    def used(self) -> tuple[str, ...]:
        """Places outside of the server's own root that were touched, as the caller allowed them."""
        return self._told(self._used)

    @property
    def others(self) -> tuple[str, ...]:
        """Places outside of the server's own root that the server read with its own rights."""
        return self._told(self._others)

    def counted(self) -> dict[str, list[str]]:
        """Return what :meth:`take_in` takes."""
        return {"refused": [*self.refused], "used": [*self.used], "others": [*self.others]}

    def take_in(self, places: Mapping[str, Sequence[str]]) -> None:
        """Add what was noticed by another process that reads the same server."""
        for name, noted in (("refused", self._refused), ("used", self._used), ("others", self._others)):
            with self._lock:
                noted.update(dict.fromkeys(places[name]))

    def _told(self, places: dict[str, None]) -> tuple[str, ...]:
        with self._lock:
            return tuple(sorted(places))

    def through_server(self, uri: str) -> None:
        """Remember a place that the server itself reads, where it lies outside of its root."""
        if not self._in_root(parts_of(uri)):
            self._note(self._others, self._whole(uri))

    def refusal(self, uri: str, verb: str = "read") -> str:
        """Return why a place is not touched; empty: it may be."""
        parts = parts_of(uri)
        if self._in_root(parts):
            return ""
        allowed = self._allowing(parts)
        if allowed is not None:
            self._note(self._used, self._names[allowed])
            return ""
        place = self._whole(uri)
        self._note(self._refused, place)
        root = f"({self.root})" if self.root else "(which it does not show)"
        if parts is None:
            return (
                f"{place} is not a plain s3:// URI: it is not {verb} with your AWS rights; correct it where it is named"
            )
        return (
            f"{place} lies outside of the server's own artifact root {root} and is not {verb} with your AWS rights; "
            f"if it may be, add {AUDIT_OPTION} {place} ({MIGRATE_OPTION} in a migration)"
        )

    def covers(self, uri: str) -> bool:
        """Whether a place may be touched, for those who can do without it: nothing is noted of it."""
        parts = parts_of(uri)
        return self._in_root(parts) or self._allowing(parts) is not None

    def _allowing(self, parts: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return next((one for one in self._allowed if parts is not None and parts[: len(one)] == one), None)

    def _in_root(self, parts: tuple[str, ...] | None) -> bool:
        root = parts_of(self.root)
        return root is not None and parts is not None and parts[: len(root)] == root

    def _whole(self, uri: str) -> str:
        """Return the place of the experiment that a place lies in, else the place itself."""
        parts = parts_of(uri)
        with self._lock:
            if parts is not None:
                for end in range(len(parts), 0, -1):
                    if parts[:end] in self._locations:
                        return self._locations[parts[:end]]
        return uri.rstrip("/")

    def _note(self, places: dict[str, None], place: str) -> None:
        with self._lock:
            if len(places) < MOST:
                places[place] = None
