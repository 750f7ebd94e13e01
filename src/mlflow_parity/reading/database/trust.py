"""Whether a database is that of a server, before anything of it is believed, and whether it is whole."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import pyarrow as pa

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.core.locations import DEFAULT_WORKSPACE, Location
from mlflow_parity.core.records import Experiment
from mlflow_parity.reading.database.connection import Database

#: What the clocks of a server and of its database may differ by, milliseconds.
_CLOCKS = 300_000
_SHOWN = 3
#: What is read both ways of the first batch of each experiment, experiments of which any is, and of later batches so
#: many of a thousand.
_BOTH_WAYS, _PLACES, _OF_THOUSAND = 2, 200, 3
_CHANCE = random.SystemRandom()
_EXPERIMENTS = pa.schema(
    [
        ("experiment_id", pa.int64()),
        ("name", pa.string()),
        ("lifecycle_stage", pa.string()),
        ("creation_time", pa.int64()),
    ]
)
#: Tables whose rows belong to a run.
_OF_RUNS = ("params", "tags", "latest_metrics", "metrics")


class BothWays:
    """Counts what was read by the API too and is the same, by experiment; safe to use from many threads."""

    def __init__(self) -> None:
        self._same: Counter[str] = Counter()
        self._lock = Lock()

    def wanted(self, place: str, batch: int) -> int:
        """Return how many are to be read of a batch of an experiment: no batch is sure to have none."""
        with self._lock:
            known = place in self._same
            left = _BOTH_WAYS - self._same.get(place, 0) if known or len(self._same) < _PLACES else 0
        return left if left > 0 else min(int(batch * _OF_THOUSAND / 1_000 + _CHANCE.random()), batch)

    def add(self, place: str) -> None:
        """Count one of an experiment."""
        with self._lock:
            self._same[place] += 1

    def of(self, place: str) -> int:
        """Return how many there were of an experiment."""
        return self._same[place]

    @property
    def count(self) -> int:
        """How many there were in all."""
        return self._same.total()

    @property
    def places(self) -> int:
        """Of how many experiments."""
        return len(self._same)


@dataclass(frozen=True, slots=True)
class Known:
    """An experiment as the database has it."""

    name: str | None
    lifecycle_stage: str | None
    creation_time: int | None


def known_experiments(
    database: Database, columns: Mapping[str, Collection[str]], location: Location
) -> dict[str, Known]:
    """Return the experiments of the workspace that is read, by id.

    Raises:
        ReadError: they cannot be read.
    """
    more, schema = "", _EXPERIMENTS
    if "workspace" in columns["experiments"]:
        more, schema = ", e.workspace", _EXPERIMENTS.append(pa.field("workspace", pa.string()))
    query = f"SELECT e.experiment_id, e.name, e.lifecycle_stage, e.creation_time{more} FROM experiments e"
    found: dict[str, Known] = {}
    for experiment_id, name, stage, created, *workspace in database.rows(query, schema):
        if workspace and (workspace[0] or DEFAULT_WORKSPACE) != (location.workspace or DEFAULT_WORKSPACE):
            continue
        found[str(experiment_id)] = Known(
            name if isinstance(name, str) else None,
            stage if isinstance(stage, str) else None,
            created if isinstance(created, int) else None,
        )
    return found


def contradiction(known: Mapping[str, Known], listed: Sequence[Experiment], began: float) -> str:
    """Return what says that a database is not that of the server which lists these experiments; empty: nothing.

    ``began`` is when the database's transaction did, seconds: what came since is not in it.
    """
    listed_ids = {one.experiment_id for one in listed}
    if hidden := [one for one in known if one not in listed_ids]:
        names = _some([known[one].name or one for one in hidden])
        return f"it holds experiments that the server does not list: {names}"
    for one in listed:
        there = known.get(one.experiment_id)
        if there is None:
            if (one.creation_time or 0) < began * 1_000 - _CLOCKS:
                return f"it does not hold experiment {one.experiment_id} ({one.name!r}), which the server lists"
        elif there.name != one.name or there.creation_time != one.creation_time:
            return (
                f"its experiment {one.experiment_id} is {there.name!r}, made at {there.creation_time}, and the "
                f"server's is {one.name!r}, made at {one.creation_time}"
            )
    return ""


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def check_whole(database: Database) -> None:
    """Refuse a database with rows that belong to nothing.

    Where the database itself holds the keys together there are none; of SQLite and of dropped keys that is not known.

    Raises:
        UsageProblem: it has such rows.
        ReadError: they cannot be asked for.
    """
    none = pa.schema([("found", pa.int64())])
    lost = [
        (
            "runs",
            "SELECT 1 FROM runs x LEFT JOIN experiments e ON e.experiment_id = x.experiment_id "
            "WHERE e.experiment_id IS NULL OR x.run_uuid IS NULL LIMIT 1",
            "without an id or an experiment",
        )
    ]
    for table in _OF_RUNS:
        # PostgreSQL and MySQL hold points and runs together, and a walk over all points would take as long as to read
        if table != "metrics" or database.url.dialect == "sqlite":
            query = (
                f"SELECT 1 FROM {table} x WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.run_uuid = x.run_uuid) LIMIT 1"
            )
            lost.append((table, query, "of runs that are not there"))
    for table, query, what in lost:
        if database.rows(query, none):
            raise UsageProblem(
                f"{database.url.option}: {database.url.display} holds rows in {table} {what}, so it contradicts "
                "itself; leave the option out, or remove those rows"
            )
