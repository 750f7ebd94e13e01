"""What a class of faults is, and the scene in which one is planted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlflow_parity.comparing.links import ObjectLinks
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.scope import PROFILES, Depth, Profile
from mlflow_parity.self_test.mirror import Mirror

#: Ids of what is made up: 32 hexadecimal digits, as run ids are, and no server's.
MADE_UP = "c0ffee" + "0" * 20 + "c0ffee"
MADE_UP_MODEL = f"m-{MADE_UP}"


@dataclass(slots=True)
class Scene:
    """One object with its copy, and perhaps another pair beside it; ``target`` is altered when a fault is planted."""

    kind: str
    source: Mirror
    target: Mirror
    one: str
    copy: str
    links: ObjectLinks
    depth: Depth
    profile: Profile
    in_scope: Callable[[str], bool]
    """Whether the audit's scope names an experiment; for faults in registered models and prompts, one of those."""
    waived: Callable[[str, str], bool]
    """Whether a waiver speaks of a key of a facet of this object."""
    other: tuple[str, str] | None = None
    """Ids of the other pair."""
    cache: dict[str, Any] = field(default_factory=dict)

    def stage(self) -> Scene:
        """Return the scene with a target of its own, for one fault."""
        return replace(self, target=self.target.copy())

    def keys(self, facet: str, keys: Iterable[str]) -> list[str]:
        """Return keys of a facet, those first of which no waiver speaks."""
        return sorted(keys, key=lambda key: self.waived(facet, key))

    # --- experiments

    @property
    def experiment(self) -> tuple[Experiment, Experiment]:
        """The experiment and its copy."""
        return self.source.experiments[self.one], self.target.experiments[self.copy]

    # --- runs

    @property
    def run(self) -> tuple[Run, Run]:
        """The run and its copy."""
        return self.source.runs[self.one], self.target.runs[self.copy]

    # --- all others

    @property
    def entity(self) -> tuple[Entity, Entity]:
        """The object and its copy."""
        return self.source.entities[self.kind, self.one], self.target.entities[self.kind, self.copy]

    def facet(self, name: str) -> tuple[Any, Any]:
        """One facet on both sides."""
        ours, theirs = self.entity
        return ours.facets.get(name), theirs.facets.get(name)

    def set_facet(self, name: str, value: Any, **more: Any) -> bool:
        """Give the copy another facet; false when that is what the source has."""
        ours, theirs = self.entity
        self.target.entities[self.kind, self.copy] = replace(theirs, facets={**theirs.facets, name: value}, **more)
        return bool(ours.facets.get(name) != value or name not in ours.facets)

    # --- whatever it is

    @property
    def record(self) -> tuple[Any, Any]:
        """The object and its copy, of any kind."""
        if self.kind == "experiment":
            return self.experiment
        return self.run if self.kind == "run" else self.entity

    def change(self, **fields: Any) -> bool:
        """Give the copy other fields; false when they are the source's."""
        ours, theirs = self.record
        new = replace(theirs, **fields)
        if self.kind == "experiment":
            self.target.experiments[self.copy] = new
        elif self.kind == "run":
            self.target.runs[self.copy] = new
        else:
            self.target.entities[self.kind, self.copy] = new
        return any(getattr(ours, name) != value for name, value in fields.items())

    @property
    def tags(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Tags on both sides."""
        if self.kind in ("experiment", "run"):
            ours, theirs = self.record
            return ours.tags, theirs.tags
        mine, copy = self.facet("tags")
        return mine or {}, copy or {}

    def set_tags(self, tags: Mapping[str, str]) -> bool:
        """Give the copy other tags."""
        return self.change(tags=tags) if self.kind in ("experiment", "run") else self.set_facet("tags", dict(tags))

    def gone(self) -> None:
        """Take the copy away."""
        if self.kind == "experiment":
            del self.target.experiments[self.copy]
        elif self.kind == "run":
            del self.target.runs[self.copy]
        else:
            del self.target.entities[self.kind, self.copy]


@dataclass(frozen=True, slots=True)
class Fault:
    """One class of faults.

    ``plant`` alters the target of a scene and says whether it could; ``needs`` is what it needs. ``depth`` is the least
    that can see it, ``profiles`` those whose contract lets it not pass.
    """

    kind: str
    facet: str
    name: str
    plant: Callable[[Scene], bool]
    needs: str = ""
    depth: Depth = "listing"
    profiles: tuple[Profile, ...] = PROFILES
