"""How the objects of a kind are listed, as data: where, under which keys, and what is made of an entry of the list.

An object's ``definition`` is all that the list tells of it but ids, times and who touched it on that server: what a
later version adds is compared without being named here. What it names by the server's own ids is named by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mlflow_parity.core.identity.digests import digest

Entry = Mapping[str, Any]
#: Times and users that each server sets itself.
STAMPS = frozenset({
    "completed_time_ms", "created_at", "created_by", "created_timestamp", "creation_time_ms", "creation_timestamp",
    "last_seen_timestamp", "last_update_time_ms", "last_updated_at", "last_updated_by", "last_updated_timestamp",
})  # fmt: skip
#: All that is each server's own.
_OWN = STAMPS | {"workspace"}


class Asking(Protocol):
    """What an entry of a list may need beside itself; endpoints are named as in the allow-list."""

    def one(self, endpoint: str, query: Entry) -> Entry:
        """Return one answer.

        Raises:
            ReadError: there is none.
        """
        ...

    def every(self, endpoint: str, entries: str, query: Entry, below: str = "") -> list[Entry]:
        """Return a whole list that belongs to one object; ``entries`` is its key in the answers.

        Raises:
            ReadError: it cannot be read.
        """
        ...

    def name_of(self, kind: str, identity: str) -> str:
        """Return the name of an object by its id; the id where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """How the objects of a kind are listed; ``endpoint`` is the name of a row of the allow-list.

    ``entries`` is the key of the list in an answer, ``identity`` that of the id in an entry, or what
    makes it of one; ``made`` gives an object's
    name and facets. ``of_experiment``: there is one list for each experiment that is not deleted.
    """

    endpoint: str
    entries: str
    identity: str | Callable[[Entry], str]
    made: Callable[[Entry, Asking], tuple[str, dict[str, Any]]]
    page: int = 100
    """Entries of a page; 0: the list comes whole."""
    of_experiment: bool = False

    def id_of(self, entry: Entry) -> str:
        """Return the id of an entry."""
        return str(entry[self.identity]) if isinstance(self.identity, str) else self.identity(entry)


def plain(entry: Entry, *less: str) -> dict[str, Any]:
    """Return what an entry tells, without what is each server's own and ``less``; what is empty says nothing."""
    return {
        key: value
        for key, value in entry.items()
        if key not in _OWN and key not in less and value not in (None, "", [], {})
    }


def named(entries: Iterable[Entry], key: str, value: str, otherwise: Any = None) -> dict[str, Any]:
    """Return values by the keys of a list of both; an entry that tells more stands whole under its key."""
    return {
        str(one[key]): {**one} if one.keys() - {key, value} else one.get(value, otherwise) for one in map(dict, entries)
    }


def stamped(entry: Entry, **parts: Iterable[tuple[str, Entry]]) -> dict[str, Any]:
    """Return the times and users that the server set of an entry, and of its parts by what each is called."""
    found = {key: entry[key] for key in sorted(STAMPS & entry.keys()) if entry[key] not in (None, "")}
    return found | {what: {name: stamped(one) for name, one in named} for what, named in parts.items()}


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries in an order that is the same on every server."""
    return sorted(entries, key=lambda one: digest(dict(one)))
