"""Reads every kind that states how it is listed (:class:`~mlflow_parity.kinds.schema.listing.Listing`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.core.json_text import whole
from mlflow_parity.core.records import Entity, Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.listing import Listing
from mlflow_parity.reading.histories import drained
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import Entry, each_once, made, pages
from mlflow_parity.reading.transport.session import Session

LISTINGS: Mapping[str, Listing] = {kind.name: kind.listing for kind in KINDS.values() if kind.listing is not None}
_CREATED = ("created_at", "created_timestamp", "creation_time_ms", "creation_timestamp")


@dataclass(frozen=True, slots=True)
class Listed:
    """Reads these kinds of one server; ``experiments`` are asked for only where a list is one of an experiment."""

    session: Session
    pool: ThreadPoolExecutor
    at_once: int
    experiments: Callable[[], Iterable[Experiment]]
    page: int | None = None
    _names: dict[str, dict[str, str]] = field(default_factory=dict)

    def read(self, kind: str) -> Iterator[list[Entity]]:
        """Yield every object of a kind, each once.

        Raises:
            ReadError: a list cannot be read in full.
        """
        self._names.clear()
        listing = LISTINGS[kind]
        if listing.of_experiment:
            active = [one.experiment_id for one in self.experiments() if one.lifecycle_stage != "deleted"]
            yield from drained(self.pool, lambda one: self._of_experiment(kind, one), active, self.at_once)
            return
        query = {"max_results": self.page or listing.page} if listing.page else {}
        found = each_once(
            lambda: pages(self.session, endpoints.BY_NAME[listing.endpoint], query, listing.entries),
            lambda entry: (listing.id_of(entry), entry),
            lambda one: one[0],
            f"the {listing.entries.replace('_', ' ')}",
        )
        for batch in found:
            # an object may have lists of its own, which are asked for out of the pool
            yield [self._entity(kind, entry) for _, entry in batch]

    def _of_experiment(self, kind: str, experiment: str) -> list[Entity]:
        listing = LISTINGS[kind]
        query = {"experiment_id": experiment, "max_results": listing.page}
        return [self._entity(kind, entry) for entry in self.every(listing.endpoint, listing.entries, query)]

    def _entity(self, kind: str, entry: Entry) -> Entity:
        listing = LISTINGS[kind]

        def make(entry: Entry) -> Entity:
            name, facets = listing.made(entry, self)
            created = next((whole(entry[one]) for one in _CREATED if entry.get(one) is not None), None)
            return Entity(kind, listing.id_of(entry), name, "", created, facets)

        return made(make, entry)

    # --- what an entry may need beside itself

    def one(self, endpoint: str, query: Mapping[str, Any]) -> Entry:
        """Return one answer."""
        return self.session.get(endpoints.BY_NAME[endpoint], query)

    def every(self, endpoint: str, entries: str, query: Mapping[str, Any], below: str = "") -> list[Entry]:
        """Return a whole list that belongs to one object."""
        asked = {**query, "max_results": self.page} if self.page and "max_results" in query else query
        found = pages(self.session, endpoints.BY_NAME[endpoint], asked, entries, below=below)
        return [entry for page in found for entry in page]

    def name_of(self, kind: str, identity: str) -> str:
        """Return the name of an object by its id; some versions give the name at once."""
        if kind not in self._names:
            listing = LISTINGS[kind]
            listed = self.every(listing.endpoint, listing.entries, {})
            self._names[kind] = {listing.id_of(one): one["name"] for one in listed}
        return self._names[kind].get(identity, identity)
