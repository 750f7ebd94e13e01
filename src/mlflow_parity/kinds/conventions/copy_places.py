"""Where copies may keep their files: not in the source's store, not in another copy's place, on no other server."""

from __future__ import annotations

import ipaddress
import posixpath
import re
import socket
from collections.abc import Collection, Iterable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.records import Experiment

#: Path of a server's artifact proxy in an ``http`` URL.
_PROXY = "/api/2.0/mlflow-artifacts/artifacts"
#: In places that MLflow makes for an object, its id stands before the last part.
_OWNER = {
    "run": re.compile(r"/([0-9a-f]{32})/artifacts$"),
    "logged_model": re.compile(r"/(m-[0-9a-f]{32})/artifacts$"),
    "trace": re.compile(r"/(tr-[0-9a-zA-Z_-]+|[0-9a-f]{32})/artifacts$"),
}
_IN_SOURCE = "the copy's files are in the source's place: they go when the source goes"
_SAID = {"logged_model": "logged model", "model_version": "model version"}


def canonical(place: str) -> str:
    """Return one spelling for all spellings of a place."""
    parts = urlsplit(place)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        place = posixpath.normpath(unquote(parts.path))
    elif place.startswith("/"):
        place = posixpath.normpath(place)
    elif parts.scheme in ("http", "https") and (found := parts.path.partition(_PROXY))[1]:
        place = f"mlflow-artifacts://{_netloc(place)}{found[2]}"
    elif parts.scheme == "mlflow-artifacts":
        netloc = _netloc(place)
        place = f"mlflow-artifacts:{f'//{netloc}' if netloc else ''}/{unquote(parts.path).strip('/')}"
    return place.rstrip("/")


def same_place(one: str, other: str) -> bool:
    """Whether two URIs name one place on one server."""
    return one == other or canonical(one) == canonical(other)


def is_relative(place: str) -> bool:
    """Whether a place is another one on each server: below its proxy, or in its working directory."""
    if place.startswith("mlflow-artifacts:"):
        return not host_of(place)
    return not place.startswith("/") and not re.match("[a-z][a-z0-9+.-]*:", place)


def is_below(place: str, stores: Collection[str]) -> bool:
    """Whether a place is one of some places (canonical ones), or lies in one."""
    if is_relative(place):
        return False
    parts = canonical(place).split("/")
    return any("/".join(parts[:end]) in stores for end in range(len(parts), 0, -1))


# --- servers that a place may name


def _netloc(place: str) -> str:
    return urlsplit(place).netloc.rpartition("@")[2].lower()


def host_of(place: str) -> str:
    """Return host and port of the MLflow server that a place names; empty: none."""
    parts = urlsplit(place)
    proxied = parts.scheme == "mlflow-artifacts" or (parts.scheme in ("http", "https") and _PROXY in parts.path)
    return _netloc(place) if proxied else ""


def is_host(netloc: str, uri: str) -> bool:
    """Whether ``HOST:PORT`` is the server at a URI: the same by name, or by the addresses that the names have."""
    server = urlsplit(uri)
    if server.scheme not in ("http", "https") or not server.hostname:
        return False
    usual = 443 if server.scheme == "https" else 80
    with suppress(ValueError):
        named = urlsplit(f"//{netloc}")
        if (named.port or usual) != (server.port or usual) or not named.hostname:
            return False
        return named.hostname == server.hostname or bool(_addresses(named.hostname) & _addresses(server.hostname))
    return False


@lru_cache(256)
def _addresses(host: str) -> frozenset[str]:
    found = set()
    with suppress(OSError, UnicodeError):
        for *_, address in socket.getaddrinfo(host, None):
            text = str(address[0]).partition("%")[0]
            found.add("loopback" if ipaddress.ip_address(text).is_loopback else text)
    return frozenset(found)


# --- the source's store


def roots_of(experiments: Iterable[Experiment]) -> list[str]:
    """Return where a server keeps its artifacts, by the places of its experiments, that of the newest one last."""
    found: dict[str, None] = {}
    for one in sorted(experiments, key=lambda one: (not one.experiment_id.isdigit(), one.experiment_id.zfill(20))):
        root, slash, last = one.artifact_location.rstrip("/").rpartition("/")
        if slash and last == one.experiment_id and root.strip("/"):
            found.pop(root, None)
            found[root] = None
    return list(found)


def stores_of(source: Iterable[Experiment], target: Iterable[Experiment]) -> frozenset[str]:
    """Return the places in which the source, and not the same experiment on the target, keeps its files.

    Where the target holds an experiment of the source itself (a store that went on), the place is both sides'.
    """
    source = list(source)
    kept = {(one.experiment_id, one.name, one.creation_time, canonical(one.artifact_location)) for one in target}
    both = [
        one
        for one in source
        if one.creation_time is not None
        and (one.experiment_id, one.name, one.creation_time, canonical(one.artifact_location)) in kept
    ]
    shared = {*map(canonical, roots_of(both)), *(canonical(one.artifact_location) for one in both)}
    places = [*roots_of(source), *(one.artifact_location for one in source)]
    found = {canonical(place) for place in places if place and not is_relative(place)}
    return frozenset(found - shared)


@dataclass(slots=True)
class CopyPlaces:
    """What is known of the places of both sides, so that a copy's place can be judged.

    ``stores`` are the source's places (:func:`stores_of`), ``source`` and ``target`` the addresses of the servers;
    empty: not those of servers that a place could name.
    """

    stores: frozenset[str] = frozenset()
    source: str = ""
    target: str = ""
    _others: set[str] = field(default_factory=set)
    _taken: MutableMapping[tuple[str, bytes], tuple[str, str, str]] = field(default_factory=dict)

    def in_source(self, place: str) -> bool:
        """Whether a place lies in the source's store."""
        return is_below(place, self.stores)

    def another_server(self, place: str) -> str:
        """Return what a place's host is wrong for; empty: it names none, or the target."""
        host = host_of(place)
        if not host or not self.target or is_host(host, self.target):
            return ""
        if self.source and is_host(host, self.source):
            return f"it names the source's server {host}: the files go when the source goes"
        return (
            f"it names the server {host}, which is not {self.target}: MLflow's clients look for the files there; if it "
            f"is the target, pass the target by that address"
        )

    def shared(self, kind: str, source_id: str, target_id: str, ours: str, theirs: str) -> str:
        """Return which other copy keeps its files in a copy's place; empty: none that was seen so far."""
        owner = _OWNER[kind].search(canonical(theirs)) if kind in _OWNER else None
        if owner is not None:
            # one that names its own id is nobody else's, and one that names another id that other's
            return "" if owner[1] == target_id else f"it is the place of {_said(kind)} {owner[1]}"
        key = kind, digest(canonical(theirs))
        one, copy, place = self._taken.setdefault(key, (source_id, target_id, canonical(ours)))
        if copy == target_id or place == canonical(ours):
            return ""
        return f"it is also the place of {_said(kind)} {copy}, the copy of {one}"

    def kept(self, place: str, *, itself: bool) -> str:
        """Say what is wrong where source and copy have one place; ``itself``: the copy may be the object itself."""
        return "" if itself and not self.in_source(place) else _IN_SOURCE

    def learn(self, places: Iterable[str | None]) -> None:
        """Take in places of objects of the source that may lie outside of its experiments' places."""
        for place in places:
            named = not place or is_relative(place) or place.startswith(("models:", "runs:"))
            if place and not named and not self.in_source(place):
                self._others.add(canonical(place))

    def wrong(self, kind: str, ids: tuple[str, str], ours: str | None, theirs: str | None) -> str:
        """Say what is wrong with a copy's place; empty: nothing that its URI tells. ``ids``: its source's, its own."""
        if not theirs:
            return ""
        if self.in_source(theirs) or (is_below(theirs, self._others) and not same_place(ours or "", theirs)):
            return _IN_SOURCE
        return self.another_server(theirs) or self.shared(kind, *ids, ours or "", theirs)

    def apart(self) -> CopyPlaces:
        """Return the same knowledge without the copies that were seen."""
        return CopyPlaces(self.stores, self.source, self.target, self._others)


def _said(kind: str) -> str:
    return _SAID.get(kind, kind)
