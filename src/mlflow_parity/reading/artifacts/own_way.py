"""The auditor's own way to what a server keeps behind its proxy: the storage itself, once it is shown to be the same.

The server still says which owners have files; which, and what is in them, is read in the place that the caller named. A
place of another server, an old copy of it or half of it would hide what was lost: so of each experiment the first
owners, and some of the others by chance, are listed both ways, and their smallest file is read both ways.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from mlflow_parity.core.errors import MalformedAnswer, ReadError, UsageProblem
from mlflow_parity.core.locations import Location, given_path
from mlflow_parity.core.records import Artifact
from mlflow_parity.core.scope import Evidence
from mlflow_parity.core.text import counted
from mlflow_parity.reading.artifacts.clouds import CloudStore, checked, reduced, scheme_of
from mlflow_parity.reading.artifacts.disk import from_disk
from mlflow_parity.reading.artifacts.shared_listings import place_of
from mlflow_parity.reading.artifacts.shown_s3 import Contradiction, same_both_ways
from mlflow_parity.reading.artifacts.stated.checksums import Mark, Stated
from mlflow_parity.reading.artifacts.stores import Place, ProxyStore, Store, Way, is_faithful
from mlflow_parity.reading.artifacts.trusted_places import given_places

T = TypeVar("T")
#: The first owners of each experiment are listed, and a file of theirs is read, both ways; of so many owners so far,
#: the next one is with the chance of these to them.
_SHOWN = 3
#: Folders in folders, more of which are a loop.
_DEEPEST = 64


def given_place(text: str, option: str) -> str:
    """Return the place that an option names: a URI in S3 or a cloud, or the absolute path of a folder.

    Raises:
        UsageProblem: it is neither.
    """
    if text.startswith("s3://"):
        places = given_places(text, option)
        if len(places) != 1:
            raise UsageProblem(f"{option}: {text!r} is more than one place; give the one of the server's artifacts")
        return places[0]
    if scheme_of(text):
        return checked(text, option)
    fix = "give the place that the server keeps its artifacts in (its --artifacts-destination), or leave the option out"
    named = _of_this_machine(text)
    folder = None if named is None else given_path(named, option, fix)
    if folder is None or not folder.is_absolute() or not folder.is_dir():
        what = "no folder of this machine, and no s3://, gs:// or az:// URI"
        raise UsageProblem(f"{option}: {text!r} is {what}; {fix}")
    return str(folder)


def _of_this_machine(text: str) -> str | None:
    """Return the path that a text is, or that a ``file://`` URI without another host has; ``None``: it is neither."""
    if "://" in text.removeprefix("file://"):
        return None
    if not text.startswith("file://"):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return unquote(parts.path) if parts.netloc.lower() in ("", "localhost") else None


def own_way(side: str, location: Location, text: str) -> OwnWay | None:
    """Return the caller's own way to the files of a side; ``None``: none was given.

    Raises:
        UsageProblem: it is no place, or that of a side without a proxy.
    """
    if not text:
        return None
    option = f"--parity-{side}-artifacts"
    place = given_place(text, option)
    if location.kind != "http":
        what = "a snapshot" if location.kind == "snapshot" else "an ARN, whose files are read in S3 as they are"
        raise UsageProblem(
            f"{option}: {place} stands for what a server keeps behind its proxy, and the {side} is {what}; leave it out"
        )
    return OwnWay(place, option)


def _is_one(source: str, target: str) -> bool:
    if scheme_of(source) and scheme_of(target):
        (ours, account), (theirs, other) = reduced(source), reduced(target)
        # an account that is not named is that of variables, which may be the other's
        return ours == theirs and (account == other or not account or not other)
    return source == target


def refuse_one_place(source: str, target: str, *, s3: Sequence[str | None] = ("", "")) -> None:
    """Refuse places of both sides that are one; empty: none was named.

    ``s3`` are the endpoints at which each side's buckets are; empty: AWS.

    Raises:
        UsageProblem: the files of a side would be compared with themselves.
    """
    with suppress(OSError, RuntimeError, ValueError):
        source, target = (
            str(Path(one).resolve()) if one.startswith("/") else one.rstrip("/") for one in (source, target)
        )
    if source.startswith("s3://") and len({_s3_at(one or "") for one in s3}) > 1:
        return
    if source and _is_one(source, target):
        raise UsageProblem(
            f"the files of both sides would be read at {source}, and comparing files with themselves proves nothing: "
            "give each of --parity-source-artifacts and --parity-target-artifacts its own server's place, or leave one "
            "out, so that its server sends them"
        )


def _s3_at(endpoint: str) -> str:
    """Return the host of an endpoint; empty: AWS, where a bucket's name is its own at every endpoint."""
    try:
        host = urlsplit(endpoint).netloc.rpartition("@")[2].lower()
    except ValueError:
        return endpoint
    return "" if host.partition(":")[0].endswith((".amazonaws.com", ".amazonaws.com.cn")) else host


@dataclass(slots=True)
class Shown:
    """What was read both ways and was the same, by experiment; safe to use from many threads."""

    listed: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    owners: Counter[str] = field(default_factory=Counter)
    """Those that have files, whether anything of them was shown or not."""
    by_server: int = 0
    """Owners that had to be read through the server all the same, and why the first of them had to."""
    why: str = ""
    lock: Lock = field(default_factory=Lock)
    alone: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))
    """Files of an experiment are shown one after another: the first one may be large, and is read twice."""

    def chosen(self, folder: str) -> bool:
        """Count an owner, and say whether chance has it shown: one that is wrong among many right ones is met by it."""
        with self.lock:
            self.owners[folder] += 1
            return _chance(self.owners[folder])

    def enough(self, what: Counter[str], folder: str) -> bool:
        """Whether so much of an experiment was shown that the rest is taken as it is."""
        with self.lock:
            return what[folder] >= _SHOWN

    def add(self, what: Counter[str], folder: str) -> None:
        """Count one more."""
        with self.lock:
            what[folder] += 1

    def could_not(self, why: str) -> None:
        """Count an owner that is read through the server."""
        with self.lock:
            self.by_server += 1
            self.why = self.why or why


def _chance(owners: int) -> bool:
    """Whether the last of so many owners is shown: of 1,000 about 20 are, and of a million 40."""
    return secrets.randbelow(owners) < _SHOWN


class OwnWay:
    """Where the caller says that a server's proxied artifacts are; ``option`` is what said so."""

    def __init__(self, place: str, option: str) -> None:
        self.place = place
        self.option = option
        self.shown = Shown()

    def below(self, uri: str) -> str | None:
        """Return where in the caller's place a proxied URI is; ``None``: in none that can be named safely."""
        path = unquote(urlsplit(uri).path).strip("/")
        return f"{self.place}/{path}" if is_faithful(path) else None

    def __str__(self) -> str:
        shown = self.shown
        files, experiments = counted(sum(shown.read.values()), "files"), counted(len(shown.read), "experiments")
        told = f"read at {self.place} ({self.option}); read both ways and equal: {files} of {experiments}"
        if shown.by_server:
            told += f"; through the server all the same: {counted(shown.by_server, 'folders')} ({shown.why})"
        return told


class DiskStore:
    """A folder of this machine below one that the caller named; a :class:`~…stores.Store`."""

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._folder = folder
        self._read: set[str] = set()

    def files(self) -> Iterator[Artifact]:
        """Every file; nothing where the folder is not there.

        Raises:
            ReadError: it cannot be read, or is a link or holds one: what a link means is the server's to say.
        """
        try:
            if self._folder.resolve() != self._root.resolve() / self._folder.relative_to(self._root):
                raise MalformedAnswer(f"{self._folder} is reached by a link")
            if not self._folder.exists():
                return
            yield from self._walked(self._folder, "", 0)
        except (OSError, RuntimeError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise MalformedAnswer(f"{self._folder} cannot be read: {why}") from None

    def _walked(self, folder: Path, before: str, deep: int) -> Iterator[Artifact]:
        if deep > _DEEPEST:
            raise MalformedAnswer(f"folders in {self._folder} are more than {_DEEPEST} deep")
        with os.scandir(folder) as entries:
            for entry in entries:
                found = entry.stat(follow_symlinks=False)
                path = before + os.fsencode(entry.name).decode("utf-8")
                if stat.S_ISDIR(found.st_mode):
                    yield from self._walked(folder / entry.name, f"{path}/", deep + 1)
                elif stat.S_ISREG(found.st_mode):
                    yield Artifact(path, found.st_size)
                else:
                    raise MalformedAnswer(f"{path!r} in {self._folder} is neither a file nor a folder")

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The disk's only one."""
        way = from_disk(self._folder, file)

        def noted(receive: Callable[[Iterator[bytes]], T]) -> T:
            self._read.discard(file.path)
            found = way(receive)
            self._read.add(file.path)
            return found

        return [noted]

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """A disk states nothing of a file's bytes; its times, one of which nobody can set, tell of what is written."""
        place = self._folder / file.path
        found = self._times(place)
        if found is None or found[0] != file.size:
            return Stated()

        def was_read() -> bool:
            return file.path in self._read and self._times(place) == found

        return Stated(mark=Mark(str(place), " ".join(map(str, found)), max(found[2:]) / 1e9, was_read))

    def _times(self, place: Path) -> tuple[int, ...] | None:
        """Return size, inode and times of a file that no link leads to; ``None``: it is none."""
        try:
            direct = place.resolve() == self._root.resolve() / place.relative_to(self._root)
            found = place.stat(follow_symlinks=False)
        except (OSError, RuntimeError, ValueError):
            return None
        if not direct or not stat.S_ISREG(found.st_mode):
            return None
        return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


class OwnStore:
    """One owner's files in the caller's place; through the server where that can tell more."""

    def __init__(self, own: Store, server: ProxyStore, place: Place, way: OwnWay, address: str) -> None:
        self._own = own
        self._server = server
        self._way = way
        self._uri = place.uri
        self._address = address
        self._is_own = True
        self._is_chosen = False
        self._around = _around(place)

    def files(self) -> Iterator[Artifact]:
        """Every file.

        Raises:
            ReadError: they cannot be listed, or the two ways do not show the same.
        """
        files = list(self._server.files(self._inside))
        if self._is_own:
            self._show(files)
        return iter(files)

    def _inside(self) -> Sequence[Artifact]:
        """List an owner that has a folder, as the server says."""
        try:
            files = list(self._own.files())
        except ReadError as error:
            # what is in the way of the caller need not be in that of the server
            self._is_own = False
            self._way.shown.could_not(str(error))
            return list(self._server.walked())
        shown = self._way.shown
        self._is_chosen = bool(files) and shown.chosen(self._around)
        if files and not self._is_chosen and shown.enough(shown.listed, self._around):
            return files
        told = list(self._server.walked())
        ours, theirs = ({(file.path, file.size or 0) for file in side} for side in (files, told))
        if ours != theirs and not any(file.error for file in told):
            path, size = min(ours ^ theirs)
            with_size = f"a file of {size:,} bytes", "no such file"
            raise self._contradicts(path, *(with_size if (path, size) in ours else with_size[::-1]))
        shown.add(shown.listed, self._around)
        return told

    def _show(self, files: Sequence[Artifact]) -> None:
        shown = self._way.shown
        with shown.lock:
            alone = shown.alone[self._around]
        with alone:
            if shown.enough(shown.read, self._around) and not self._is_chosen:
                return
            nothing = not shown.read[self._around]
            if same_both_ways(files, self._own, self._server, self._contradicts, any_size=nothing):
                shown.add(shown.read, self._around)
                return
        if nothing and any(file.size for file in files):
            raise MalformedAnswer(
                f"whether {self._way.place} is what the server {self._address} keeps behind its proxy cannot be shown: "
                f"the server sends no file of {self._uri}; leave {self._way.option} out"
            )

    def _contradicts(self, path: str, ours: str, theirs: str) -> Contradiction:
        return Contradiction(
            f"{self._way.place} is not what the server {self._address} keeps behind its proxy: {self._uri}/{path} is "
            f"{ours} in the first, and {theirs} to the server; give {self._way.option} the place of its "
            "--artifacts-destination, or leave it out"
        )

    def ways(self, file: Artifact) -> Sequence[Way]:
        """The caller's, then the server's."""
        return [*(self._own.ways(file) if self._is_own else ()), *self._server.ways(file)]

    def stated(self, file: Artifact, evidence: Evidence) -> Stated:
        """What the caller's own store states.

        Raises:
            ReadError: it could not be asked.
        """
        return self._own.stated(file, evidence) if self._is_own else Stated()


def _around(place: Place) -> str:
    """Return the folder of the experiment that an owner is in, below the server's root."""
    folder = place_of(place.uri, place.owner) or place.uri.rstrip("/").rpartition("/")[0]
    for below in ("/models", "/traces"):
        folder = folder.removesuffix(below)
    return unquote(urlsplit(folder).path).strip("/")


def own_store(
    way: OwnWay, place: Place, server: ProxyStore, address: str, in_s3: Callable[[Place], Any]
) -> Store | None:
    """Return the store of a place in the caller's own; ``None``: the server's alone can name it."""
    uri = way.below(place.uri)
    if uri is None:
        return None
    if uri.startswith("s3://"):
        own: Store = in_s3(Place(place.owner, uri, ended=place.ended))
    elif scheme_of(uri):
        own = CloudStore(way.place, uri.removeprefix(f"{way.place}/"))
    else:
        own = DiskStore(Path(way.place), Path(uri))
    return OwnStore(own, server, place, way, address)
