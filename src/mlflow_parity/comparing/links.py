"""What is known of objects all over the server, so that links between them can be followed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Set
from dataclasses import dataclass, field
from typing import Any

from mlflow_parity.kinds.copy_places import CopyPlaces
from mlflow_parity.pairing.matching import Pairing


@dataclass(frozen=True, slots=True)
class Links:
    """What is known of runs all over the server: which target run each source run became."""

    pairs: MutableMapping[str, str]
    """Source run id → target run id; a confirming reading may fix it."""
    known: Mapping[str, str]
    """Source run id → lifecycle stage, for every source run that was read."""
    copies: MutableMapping[str, set[str]]
    """Source run id → further target runs that claim to be its copy."""
    complete: bool
    """Whether every source experiment that is not deleted was read, so that an unknown run is gone or deleted."""
    replaced: Set[str] = frozenset()
    """Deleted target runs that were copies of a paired source run before a repair replaced them."""


@dataclass(slots=True)
class ObjectLinks:
    """What is known of objects all over the server, so that links between them can be followed.

    ``entities`` maps, for each kind, source ids to those of their copies; ``known`` holds the source ids that were
    read, and ``whole`` the kinds of which every object of the source was read, but for those of deleted experiments.
    ``deleted`` are the source's experiments that were not read because they are deleted and out of scope.
    ``copy_places`` judges where copies keep their files; ``places`` maps the ids of the source's logged models to where
    their files and those of their copies are. ``is_wanted`` says which
    registered models and prompts are in scope, by name, ``include_deleted`` whether deleted runs are.
    """

    runs: Links
    experiments: Mapping[str, str] = field(default_factory=dict)
    entities: dict[str, MutableMapping[str, str]] = field(default_factory=dict)
    known: dict[str, set[str]] = field(default_factory=dict)
    deleted: Collection[str] = ()
    copies: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    copy_places: CopyPlaces = field(default_factory=CopyPlaces)
    places: MutableMapping[str, tuple[str, str]] = field(default_factory=dict)
    is_wanted: Callable[[str], bool] = lambda _: True
    include_deleted: bool = True
    keeps_spans: Callable[[], bool] = lambda: False
    """Whether the target can hold spans in its database, where searches find them; false where it is not known."""

    def remember(self, kind: str, pairing: Pairing[Any]) -> None:
        """Take in the pairs of a kind."""
        if kind == "experiment":
            return  # paired by their lists, before anything was read
        if kind == "run":
            pairs, copies = self.runs.pairs, self.runs.copies
        else:
            pairs, copies = self.entities.setdefault(kind, {}), self.copies.setdefault(kind, {})
        for pair in pairing.pairs:
            pairs[pair.source.entity_id] = pair.target.entity_id
            if kind == "logged_model" and pair.source.artifact_uri and pair.target.artifact_uri:
                self.places[pair.source.entity_id] = (pair.source.artifact_uri, pair.target.artifact_uri)
        for pair in pairing.duplicates:
            copies.setdefault(pair.source.entity_id, set()).add(pair.target.entity_id)

    def of(self, kind: str) -> Mapping[str, str]:
        """Return the pairs of a kind, runs and experiments included."""
        if kind == "run":
            return self.runs.pairs
        return self.experiments if kind == "experiment" else self.entities.get(kind, {})

    def stage(self, kind: str, source_id: str) -> str:
        """Say what became of a source object: ``active``, ``deleted``, ``gone``, or ``unknown`` (not in scope)."""
        if kind == "run":
            found = self.runs.known.get(source_id)
            return found or ("gone" if self.runs.complete else "unknown")
        if source_id in self.known.get(kind, ()):
            return "active"
        if kind == "experiment" and source_id in self.deleted:
            return "deleted"
        return "gone" if kind in self.whole else "unknown"
