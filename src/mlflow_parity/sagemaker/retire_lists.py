"""What both servers list now, held against the ledger: each object that the audit found must still be there."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow_parity.core.text import encodable, visible
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import KINDS
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.audit.side import Side
    from mlflow_parity.core.records import Experiment

_SHOWN = 5
_TABLE = (
    "create table listed (side text, kind text, id text, deleted int, seen int default 0, "
    "primary key (side, kind, id)) without rowid"
)


@dataclass(slots=True)
class Gone:
    """Objects of the ledger, by kind: those that are not listed any more, and those that are in another trash state."""

    absent: Counter[str] = field(default_factory=Counter)
    deleted: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)
    """The first of them."""
    looked_up: Counter[str] = field(default_factory=Counter)
    """All objects that the ledger has on the target, by kind."""
    unnamed: Counter[str] = field(default_factory=Counter)
    """Objects of the source of which the ledger names no copy, though nothing says that there need be none."""

    def __bool__(self) -> bool:
        return bool(self.absent or self.deleted or self.unnamed)


class Lists:
    """The ids of all that source and target list, on disk: servers may be large. Close it."""

    def __init__(self, file: Path, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._database = sqlite3.connect(file)
        self._database.execute(_TABLE)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def add(self, name: str, side: Side, experiments: Iterable[Experiment]) -> None:
        """Take down what was read of a side: all experiments, and what is in those given."""
        everything = side.experiments()
        self._add(name, "experiment", ((one.experiment_id, _deleted(one)) for one in everything))
        for experiment in experiments:
            view = side.view(experiment)
            if view.problem("runs") is None:
                self._add(name, "run", ((key.entity_id, key.deleted) for key in view.run_keys()))
            self._objects(name, side, experiment.experiment_id)
        self._objects(name, side, SERVER)
        self._database.commit()

    def _objects(self, name: str, side: Side, place: str) -> None:
        objects = side.snapshot.objects(place)
        for kind in KINDS.values():
            if (kind.family == "experiment") == (place != SERVER) and objects.problem(kind.part) is None:
                self._add(name, kind.name, ((key.entity_id, False) for key in objects.keys(kind.name)))

    def _add(self, side: str, kind: str, found: Iterable[tuple[str, bool]]) -> None:
        # as the ledger has them
        rows = ((side, kind, encodable(self._redact(identity)), deleted) for identity, deleted in found)
        self._database.executemany("insert or replace into listed (side, kind, id, deleted) values (?, ?, ?, ?)", rows)

    def gone(self, ledger: Path, *, include_deleted: bool) -> Gone:
        """Look up each object that the ledger says is on the target, one after the other, and each of the source."""
        found = Gone()
        for row in read_rows(ledger, facets=["presence"]):
            # without a copy only by a rule or a waiver
            if row.source_id is not None and (row.target_id is not None or row.state is not State.MATCH):
                self._see(row.kind, row.source_id)
            if row.target_id is None:
                continue
            found.looked_up[row.kind] += 1
            there = self._of("target", row.kind, row.target_id)
            here = None if row.source_id is None else self._of("source", row.kind, row.source_id)
            if there is None:
                found.absent[row.kind] += 1
            elif here is not None and here != there:
                found.deleted[row.kind] += 1
            else:
                continue
            if len(found.named) < _SHOWN:
                found.named.append(visible(f"{row.kind.replace('_', ' ')} {row.name!r} ({row.target_id})"))
        query = "select kind, count(*) from listed where side = 'source' and seen = 0 and deleted <= ? group by kind"
        found.unnamed.update(dict(self._database.execute(query, [include_deleted]).fetchall()))
        return found

    def _see(self, kind: str, identity: str) -> None:
        query = "update listed set seen = 1 where side = 'source' and kind = ? and id = ?"
        self._database.execute(query, [kind, identity])

    def _of(self, side: str, kind: str, identity: str) -> int | None:
        """Return whether an object is in the trash; ``None``: it is not listed."""
        query = "select deleted from listed where side = ? and kind = ? and id = ?"
        row = self._database.execute(query, [side, kind, identity]).fetchone()
        return None if row is None else int(row[0])


def _deleted(experiment: Experiment) -> bool:
    return experiment.lifecycle_stage == "deleted"
