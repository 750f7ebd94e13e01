"""A store in memory behind the ``Reader`` protocol: the real audit, snapshots and comparing run on it.

For properties over many generated stores, where a server per example would be out of reach. Servers are tested
elsewhere; what is tested with this is everything behind the reader.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mlflow_parity.audit.renames import RenamedReader, Renames
from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import Side
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import (
    Artifact,
    ArtifactTree,
    Beside,
    Capabilities,
    Entity,
    Experiment,
    Resolved,
    Run,
    Series,
)
from mlflow_parity.core.scope import Depth, Evidence, Profile
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules.check_registry import collected, select
from mlflow_parity.reading import Reader
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.self_test import run as canary
from support.no_objects import NoObjects

Points = tuple[tuple[int, int, float], ...]


@dataclass(slots=True)
class Store:
    """One server's content. ``points`` is keyed by run id and metric key, ``files`` by run id and path.

    ``objects`` are of any kind; ``trees`` holds the files of logged models and model versions by their ids;
    ``resolved`` what is answered for aliases where it is not what the lists say.
    """

    experiments: list[Experiment] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    points: dict[tuple[str, str], Points] = field(default_factory=dict)
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    objects: list[Entity] = field(default_factory=list)
    trees: dict[str, ArtifactTree] = field(default_factory=dict)
    resolved: dict[tuple[str, str], Resolved] = field(default_factory=dict)


class MemoryReader(NoObjects):
    """Delivers a store in an order and page size drawn from ``seed``."""

    def __init__(self, store: Store, location: Location, seed: int) -> None:
        self.location = location
        self.store = store
        self.calls: list[str] = []
        self._draw = random.Random(seed)
        self.evidence: Evidence = "sha256"
        self.capabilities = Capabilities("3.17.2", True, True, True)

    def answer(self, experiment_id: str, question: Question) -> Answer:
        """No search finds anything here, on either side."""
        return Answer()

    @property
    def keeps_spans(self) -> bool | None:
        """No server tells."""
        return None

    @property
    def requests(self) -> int:
        """Calls so far."""
        return len(self.calls)

    def experiments(self) -> list[Experiment]:
        """Every experiment."""
        self.calls.append("experiments")
        return self._shuffled(self.store.experiments)

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment in pages."""
        self.calls.append(f"runs {experiment_id}")
        rest = self._shuffled([run for run in self.store.runs if run.experiment_id == experiment_id])
        while rest:
            size = self._draw.randint(1, 4)
            yield rest[:size]
            rest = rest[size:]

    def runs_of(self, experiment_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Every run of several experiments."""
        self.calls.append(f"runs again {' '.join(experiment_ids)}")
        yield self._shuffled([run for run in self.store.runs if run.experiment_id in experiment_ids])

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that are there."""
        self.calls.append(f"runs by id {' '.join(run_ids)}")
        found = [run for run in self.store.runs if run.experiment_id == experiment_id and run.run_id in run_ids]
        yield self._shuffled(found)

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """Every history, points in any order."""
        for run in self._shuffled(runs):
            self.calls.append(f"histories {run.run_id}")
            batch = []
            for key in self._shuffled(list(run.metrics)):
                points = self._shuffled(list(self.store.points[run.run_id, key]))
                batch.append(
                    Series(
                        run.run_id,
                        key,
                        np.array([point[0] for point in points], np.int64),
                        np.array([point[1] for point in points], np.int64),
                        np.array([point[2] for point in points], np.float64),
                    )
                )
            yield batch

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """Every tree."""
        for run in self._shuffled(runs):
            self.calls.append(f"artifacts {run.run_id}")
            files = [
                Artifact(
                    path,
                    len(content),
                    None if depth == "listing" else hashlib.sha256(content).hexdigest(),
                    content if path.rpartition("/")[2] == "MLmodel" and depth != "listing" else None,
                )
                for (run_id, path), content in self.store.files.items()
                if run_id == run.run_id
            ]
            yield ArtifactTree(run.run_id, tuple(self._shuffled(files)))

    def names(self, kind: str) -> list[str]:
        """Names of registered models or prompts."""
        return [one.entity_id for one in self.store.objects if one.kind == kind]

    def registry(self) -> Iterator[list[Entity]]:
        """Every registered model and prompt with its versions."""
        yield self._of("registry")

    def resolve(self, aliases: Iterable[tuple[str, str]]) -> Iterator[Resolved]:
        """Each as the list names it, or as ``store.resolved`` says."""
        listed = {one.entity_id: one.facets.get("aliases", {}) for one in self.store.objects}
        for name, alias in aliases:
            self.calls.append(f"resolve {name} {alias}")
            version = listed.get(name, {}).get(alias)
            yield self.store.resolved.get((name, alias), Resolved(name, alias, version))

    def server_objects(self, kind: str) -> Iterator[list[Entity]]:
        """Every evaluation dataset or webhook."""
        yield self._of(KINDS[kind].part)

    def experiment_objects(
        self,
        experiment_id: str,
        kinds: Collection[str],
        run_ids: Collection[str] | None = None,
        wanted: Callable[[str], bool] | None = None,
    ) -> Iterator[list[Entity]]:
        """What hangs on an experiment."""
        yield self._shuffled(
            [one for one in self.store.objects if one.kind in kinds and one.container == experiment_id]
        )

    def entity_files(
        self,
        entities: Sequence[Entity],
        depth: Depth,
        shared: SharedListings | None = None,
        sure: Sure | None = None,
    ) -> Iterator[ArtifactTree]:
        """The files of logged models and model versions."""
        for one in entities:
            yield self.store.trees.get(one.entity_id, ArtifactTree(one.entity_id, ()))

    def _of(self, part: str) -> list[Entity]:
        return self._shuffled([one for one in self.store.objects if KINDS[one.kind].part == part])

    def outside(self) -> Mapping[str, int | None]:
        """Nothing else."""
        return {}

    @property
    def beside(self) -> Beside:
        """None."""
        return Beside()

    @property
    def told(self) -> str:
        """Nothing."""
        return ""

    def end_of_first_reading(self) -> None:
        """Nothing: there is no transaction to end."""

    def contradictions(self, runs: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Nothing: there is no database beside it."""
        return {}

    def close(self) -> None:
        """Nothing to release."""

    def _shuffled(self, things: Sequence) -> list:  # type: ignore[type-arg]
        return self._draw.sample(list(things), len(things))


@dataclass(slots=True)
class Sink:
    """Keeps the ledger rows."""

    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Append one row."""
        self.rows.append(row)


@dataclass(slots=True)
class Audited:
    """Outcome of an audit of two stores."""

    result: Result
    rows: list[Row]
    digests: dict[str, str]
    readers: dict[str, MemoryReader]

    @property
    def found(self) -> set[tuple[str, str, str, str]]:
        """``(name, facet, key, state)`` of every finding."""
        return {(found.name, found.facet, found.key, str(found.state)) for found in self.result.findings}


def run_audit(
    source: Store,
    target: Store,
    *,
    seed: int = 0,
    depth: Depth = "digest",
    include_deleted: bool = True,
    snapshots: Path | None = None,
    readers: Mapping[str, MemoryReader] | None = None,
    waivers: Path | None = None,
    checks: Sequence[str] | None = None,
    experiments: tuple[str, ...] = (),
    profile: Profile = "export-import",
    self_test: bool = False,
    renames: Renames | None = None,
) -> Audited:
    """Audit two stores with every check, or with ``checks``; ``renames`` are those of the target."""
    settings = Settings(
        source=Location("http", "http://source", "http://source"),
        target=Location("http", "http://target", "http://target"),
        experiments=experiments,
        exclude_experiments=(),
        include_deleted=include_deleted,
        load_models=False,
        depth=depth,
        workers=2,
        snapshot_dir=None if snapshots is None else str(snapshots),
        report_dir="reports",
        max_findings=10_000,
        waivers=None if waivers is None else str(waivers),
        profile=profile,
        self_test=self_test,
    )
    made = {
        "source": MemoryReader(source, settings.source, seed),
        "target": MemoryReader(target, settings.target, seed + 1),
        **(readers or {}),
    }
    with tempfile.TemporaryDirectory() as scratch:

        def open_side(name: SideName) -> Side:
            reader: Reader = made[name]
            if name == "target" and renames is not None:
                reader = RenamedReader(reader, renames)
            return Side(name, made[name].location, reader)

        audit = Audit(settings, Path(scratch), open_side)
        items = audit.inventory()
        sink = Sink()
        names = collected(snapshot=False) if checks is None else checks
        result = audit.run(select(names, [item.key for item in items]), sink, Silent())
        if self_test:
            result.self_test = canary.self_test(audit, result)
        digests = {str(name): side.snapshot.digest for name, side in audit.sides.items()}
        return Audited(result, sink.rows, digests, made)
