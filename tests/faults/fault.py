"""What a fault is: an object of its own, one change on the target, and the findings that the audit must name."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from support.seed import Seeder

from mlflow_parity.standin.servers import Server

#: Objects that several others hang on, and those that nothing hangs on.
MAKER, OTHER = "maker", "other"
#: The experiment in which all faults are but those of experiments.
EXPERIMENT = "battery"
#: Kind, name, facet, key and state of a finding.
Said = tuple[str, str, str, str, str]
#: The target on which a fault is planted: made by ``migrate``, the same with models that are loaded, a restored copy
#: of the source, or a copy of a file store.
Pair = Literal["migrated", "loaded", "restored", "file-store"]


@dataclass(frozen=True, slots=True)
class Found:
    """One finding. Without ``kind`` and ``name`` it is about the fault's own object."""

    facet: str
    key: str = ""
    state: str = "mismatch"
    kind: str = ""
    name: str = ""


@dataclass(slots=True)
class Target:
    """A target as faults see it: its database, its files, its API, and ids of objects by kind and name."""

    server: Server
    database: sqlite3.Connection
    ids: dict[tuple[str, str], str] = field(default_factory=dict)

    def sql(self, statement: str, **values: object) -> None:
        """Change exactly one row; anything else is no fault."""
        changed = self.database.execute(statement, values).rowcount
        assert changed == 1, f"{statement}: {changed} rows"

    def value(self, statement: str, **values: object) -> Any:
        """Return the one value that a query gives."""
        [(found,)] = self.database.execute(statement, values)
        return found

    def id(self, kind: str, name: str) -> str:
        """Return the id of an object on the target."""
        return self.ids[kind, name]

    @property
    def api(self) -> Seeder:
        """The target's REST API."""
        return Seeder(self.server.uri)

    def file(self, name: str, path: str, kind: str = "run") -> Path:
        """Return the place of a file of a run or logged model."""
        table, column, key = {
            "run": ("runs", "artifact_uri", "run_uuid"),
            "logged_model": ("logged_models", "artifact_location", "model_id"),
        }[kind]
        uri = str(self.value(f"SELECT {column} FROM {table} WHERE {key} = :id", id=self.id(kind, name)))
        assert uri.startswith("mlflow-artifacts:/"), uri
        return Path(self.server.artifacts_root) / uri.removeprefix("mlflow-artifacts:").strip("/") / path


#: ``plant(target, name)``: make the change on the object of that name.
Plant = Callable[[Target, str], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Its ``id`` is also the name of the object that it harms; ``what`` says what was done to it."""

    id: str
    kind: str
    what: str
    plant: Plant
    found: tuple[Found, ...]
    also: tuple[Found, ...] = ()
    """What follows from it on other objects or facets: a link to what is lost."""
    pair: Pair = "migrated"
    stock: bool = True
    """Whether the source has an object of the fault's name; else the fault makes it."""

    @property
    def name(self) -> str:
        """The name by which the audit calls the fault's own object."""
        return f"{self.id} version 1" if self.kind in ("model_version", "prompt_version") else self.id

    def said(self, found: tuple[Found, ...]) -> set[Said]:
        """Return findings with kind and name."""
        return {(one.kind or self.kind, one.name or self.name, one.facet, one.key, one.state) for one in found}

    @property
    def expected(self) -> set[Said]:
        """All that the audit must say because of it."""
        return self.said(self.found + self.also)


#: What a statement calls the id of an object of each kind that the target has under the fault's name.
IDS = {
    "experiment": "experiment",
    "run": "run",
    "logged_model": "model",
    "trace": "trace",
    "scorer": "scorer",
    "evaluation_dataset": "dataset",
    "webhook": "webhook",
}


def sql(*statements: str) -> Plant:
    """Change one row with each statement; ``:run``, ``:model``, … is the object's id (see ``IDS``), ``:name`` its name.

    ``:maker`` and ``:other`` are the runs of those names.
    """

    def plant(target: Target, name: str) -> None:
        given: dict[str, object] = {word: target.ids.get((kind, name)) for kind, word in IDS.items()}
        given |= {"name": name, **{one: target.id("run", one) for one in (MAKER, OTHER)}}
        for statement in statements:
            target.sql(statement, **given)

    return plant
