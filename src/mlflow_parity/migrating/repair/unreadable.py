"""What must not be made again: the export lacks something of it, so that its copy may be the last whole one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mlflow_parity.kinds import KINDS
from mlflow_parity.migrating.repair.audit_findings import UNREAD, Key, container_of
from mlflow_parity.snapshot import FILES_PART

if TYPE_CHECKING:
    from mlflow_parity.snapshot.incomplete import Unread

#: What other objects name for good: before one is made again, everything that may name it must be known.
_NAMED = frozenset({"run", "logged_model"})


class Holes:
    """What the audit or the export could not read, by what it concerns."""

    def __init__(
        self, unread: Iterable[Unread] = (), unverified: Iterable[Key] = (), unknown: str | None = None
    ) -> None:
        """``unknown`` says why not everything that hangs on other objects is known (``None``: it is)."""
        self._objects = {container_of(*key): UNREAD for key in unverified}
        self._objects |= dict.fromkeys(unverified, UNREAD)
        self._places: dict[str, str] = {}
        self._parts: dict[str, str] = {}
        self._unknown = unknown
        for one in unread:
            why = f"the export has not all of it ({one.why}), and what is there would be lost"
            if one.kind == "server":
                self._parts[one.name] = why
            elif one.kind == "experiment":
                self._places[one.source_id] = why
            else:
                self._objects[one.kind, one.source_id] = why
                self._objects.setdefault(container_of(one.kind, one.source_id), why)

    def why(self, key: Key, place: str) -> str | None:
        """Return why an object must not be made again; ``place`` is the source id of its experiment."""
        kind, _ = key
        parts: list[str] = [KINDS[kind].part] if kind in KINDS else []
        # the files of versions are a list of their own
        parts += [FILES_PART[one] for one in FILES_PART if container_of(one, "")[0] == kind]
        found = (self._objects.get(key), self._places.get(place), *(self._parts.get(part) for part in parts))
        if kind in _NAMED:
            found = (*found, self._unknown)
        return next(filter(None, found), None)
