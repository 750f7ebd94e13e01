"""A tracking server in memory: a store, its reader, and its copies, for tests of the core without servers.

The reader implements :class:`mlflow_parity.reading.Reader` and delivers pages, rows, keys and points in any order
and size; everything behind it (capture, snapshot, pairing, comparing, ledger) is the real thing.
"""

from __future__ import annotations

import copy
import hashlib
import posixpath
import random
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml

from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import Side
from mlflow_parity.core.identity.digests import encode
from mlflow_parity.core.locations import Location
from mlflow_parity.core.records import (
    Artifact,
    ArtifactTree,
    Beside,
    Capabilities,
    DatasetInput,
    Experiment,
    MetricPoint,
    Run,
    Series,
)
from mlflow_parity.core.scope import Depth, Evidence
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds.rules.check_registry import Selection, collected
from mlflow_parity.reading.artifacts.shared_listings import SharedListings
from mlflow_parity.reading.artifacts.trees import Sure
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.reading.histories import is_complete
from mlflow_parity.reading.transport.auth import SideName
from support.no_objects import NoObjects

EPOCH = 1_700_000_000_000
T = TypeVar("T")
Point = tuple[int, int, float]
"""Step, timestamp in ms, value."""


@dataclass(slots=True)
class RunData:
    """One run of a store, to be changed at will; ``latest`` overrides what follows from ``metrics``."""

    run_id: str
    experiment_id: str
    name: str
    status: str = "FINISHED"
    start_time: int | None = EPOCH
    end_time: int | None = EPOCH + 60_000
    user_id: str = "ada"
    lifecycle_stage: str = "active"
    artifact_uri: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    latest: dict[str, Point] = field(default_factory=dict)
    inputs: list[DatasetInput] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    def record(self, shuffled: Callable[[Iterable[Any]], list[Any]]) -> Run:
        """Return what ``runs/search`` tells of it; mappings in any order."""
        latest = {key: MetricPoint(*_latest(points)) for key, points in self.metrics.items() if points}
        latest.update({key: MetricPoint(*point) for key, point in self.latest.items()})
        inputs = [replace(item, tags=tuple(shuffled(item.tags))) for item in self.inputs]
        return Run(
            run_id=self.run_id,
            experiment_id=self.experiment_id,
            name=self.name,
            status=self.status,
            start_time=self.start_time,
            end_time=self.end_time,
            user_id=self.user_id,
            lifecycle_stage=self.lifecycle_stage,
            artifact_uri=self.artifact_uri,
            params=dict(shuffled(self.params.items())),
            tags=dict(shuffled(self.tags.items())),
            metrics=dict(shuffled(latest.items())),
            inputs=tuple(shuffled(inputs)),
        )


@dataclass(slots=True)
class Store:
    """What one server holds."""

    experiments: dict[str, Experiment] = field(default_factory=dict)
    runs: dict[str, RunData] = field(default_factory=dict)

    def runs_of(self, experiment_id: str) -> list[RunData]:
        """Return the runs of one experiment."""
        return [run for run in self.runs.values() if run.experiment_id == experiment_id]

    def add(self, *runs: RunData) -> None:
        """Add runs."""
        for run in runs:
            self.runs[run.run_id] = run

    def change(self, experiment_id: str, **changes: Any) -> None:
        """Change fields of an experiment."""
        self.experiments[experiment_id] = replace(self.experiments[experiment_id], **changes)


def _latest(points: Sequence[Point]) -> Point:
    """Return MLflow's notion of the latest point: by step, time, value; NaN before all."""
    return max(points, key=lambda point: (point[0], point[1], point[2] == point[2], point[2]))


def run_id(number: int, side: str = "source") -> str:
    """Return a run id as MLflow makes them."""
    return hashlib.md5(f"{side} {number}".encode(), usedforsecurity=False).hexdigest()


def experiment(number: int, name: str, **changes: Any) -> Experiment:
    """Return an experiment of a SQL store with proxied artifacts."""
    return replace(
        Experiment(str(number), name, "active", f"mlflow-artifacts:/{number}", EPOCH + number, EPOCH + 10 * number, {}),
        **changes,
    )


# --- copies


def same_ids(store: Store) -> Store:
    """Return a restored or upgraded database: everything as it was."""
    return copy.deepcopy(store)


def natural(store: Store) -> Store:
    """Return a copy with ids of its own, the same names and times, and no source tags."""
    target = Store()
    ids = _target_ids(store)
    experiments = {key: str(int(key) + 40) if key != "0" else "0" for key in store.experiments}
    for key, item in store.experiments.items():
        new = experiments[key]
        target.experiments[new] = replace(item, experiment_id=new, artifact_location=f"mlflow-artifacts:/{new}")
    for run in copy.deepcopy(list(store.runs.values())):
        target.add(_renamed(run, ids, experiments[run.experiment_id]))
    return target


def imported(store: Store, *, user: str = "importer", into: Store | None = None, generation: str = "target") -> Store:
    """Return what the Export Import tool makes of a store: its own functions write the source tags.

    As ``import_experiment.py`` and ``run/run_data_importer.py`` do: Default is not created again, times are those of
    the import, ``mlflow.user`` is the importer, parents are remapped, every ``MLmodel`` is written again.
    """
    # imports mlflow, which takes seconds; child processes of the tests do without it
    from mlflow_export_import.common.source_tags import (
        ExportTags,
        mk_source_tags,
        mk_source_tags_mlflow_tag,
        set_source_tags_for_field,
    )

    target = into or Store()
    ids = _target_ids(store, generation)
    experiments: dict[str, str] = {}
    for number, (key, item) in enumerate(store.experiments.items()):
        if item.name == "Default" and key == "0":
            experiments[key] = "0"
            target.experiments["0"] = experiment(0, "Default", creation_time=EPOCH + 86_400_000)
            continue
        new = str(100 + len(target.experiments) + number)
        fields = {
            name: getattr(item, name)
            for name in (
                "experiment_id",
                "name",
                "artifact_location",
                "lifecycle_stage",
                "creation_time",
                "last_update_time",
            )
        }
        tags = {**item.tags, **mk_source_tags_mlflow_tag(item.tags)}
        set_source_tags_for_field(fields, tags)
        experiments[key] = new
        made_at = EPOCH + 86_400_000 + zlib.crc32(f"{generation} {key}".encode())
        target.experiments[new] = Experiment(
            new, item.name, item.lifecycle_stage, f"s3://{generation}/{new}", made_at, made_at + 999, tags
        )
    for number, run in enumerate(copy.deepcopy(list(store.runs.values()))):
        info = {
            name: getattr(run, name)
            for name in (
                "run_id",
                "experiment_id",
                "user_id",
                "status",
                "start_time",
                "end_time",
                "lifecycle_stage",
                "artifact_uri",
            )
        }
        info.update(run_name=run.name, _start_time="2023-11-14 22:13:20", _end_time="2023-11-14 22:14:20")
        tags = {**run.tags, **mk_source_tags_mlflow_tag(run.tags), **mk_source_tags(info, ExportTags.PREFIX_RUN_INFO)}
        made = _renamed(run, ids, experiments[run.experiment_id])
        made.tags = {**made.tags, **{key: value for key, value in tags.items() if key not in made.tags}}
        # source tags of an earlier migration are overwritten by this one's
        made.tags.update({key: value for key, value in tags.items() if key.startswith("mlflow_exim.")})
        made.tags["mlflow.user"] = user
        if "mlflow.runName" not in made.tags:
            # the tool creates runs without a name; a server since 2.0 invents one
            made.name = made.tags["mlflow.runName"] = f"bold-fox-{number}"
        made.user_id = "unknown"
        made.start_time, made.end_time = EPOCH + 86_400_000 + number, EPOCH + 86_400_500 + number
        made.artifact_uri = f"s3://{generation}/{made.experiment_id}/{made.run_id}/artifacts"
        target.add(made)
    return target


def on_sql(store: Store) -> Store:
    """Rewrite metric values in place as SQL stores keep them: ±inf, -0.0 and repeated points."""
    largest = 1.7976931348623157e308
    for run in store.runs.values():
        for key, points in run.metrics.items():
            kept: dict[tuple[int, int, bytes], Point] = {}
            for step, timestamp, value in points:
                stored = max(-largest, min(largest, value)) + 0.0 if value == value else value
                kept[step, timestamp, encode(stored)] = (step, timestamp, stored)
            run.metrics[key] = list(kept.values())
    return store


def _target_ids(store: Store, generation: str = "target") -> dict[str, str]:
    return {key: hashlib.md5(f"{generation} {key}".encode(), usedforsecurity=False).hexdigest() for key in store.runs}


def _renamed(run: RunData, ids: Mapping[str, str], experiment_id: str) -> RunData:
    """Give a run, its parent link, its place and its MLmodel files the ids of the copy."""
    old, run.run_id = run.run_id, ids[run.run_id]
    run.experiment_id = experiment_id
    parent = run.tags.get("mlflow.parentRunId", "")
    if parent in ids:
        run.tags["mlflow.parentRunId"] = ids[parent]
    run.artifact_uri = f"mlflow-artifacts:/{experiment_id}/{run.run_id}/artifacts"
    for path, content in run.files.items():
        if posixpath.basename(path) == "MLmodel":
            document = yaml.safe_load(content)
            if isinstance(document, dict):
                document["run_id"] = run.run_id
                document = dict(sorted(document.items()))
            run.files[path] = yaml.safe_dump(document).replace(old, run.run_id).encode()
    return run


# --- reading


class MemoryReader(NoObjects):
    """Reads a store. ``order`` (or ``None``: as stored) shuffles pages, rows, keys, points; ``page`` runs a page.

    ``before(method, subject)`` is called before each answer: it may raise, change the store, or count.
    ``spoil(record)`` may replace a record that is about to be delivered.
    """

    def __init__(
        self,
        location: Location,
        store: Store,
        *,
        order: random.Random | None = None,
        page: int = 1_000,
        before: Callable[[str, str], None] | None = None,
        spoil: Callable[[Any], Any] | None = None,
    ) -> None:
        self.location = location
        self.store = store
        self.evidence: Evidence = "sha256"
        self.calls: Counter[str] = Counter()
        self._order = order
        self._page = page
        self._before = before
        self._spoil = spoil or (lambda record: record)
        self._lock = threading.Lock()

    def _called(self, method: str, subject: str = "") -> None:
        with self._lock:
            self.calls[method] += 1
            self.calls[f"{method} {subject}"] += 1
        if self._before is not None:
            self._before(method, subject)

    def _shuffled(self, values: Iterable[T]) -> list[T]:
        ordered = list(values)
        if self._order is not None:
            with self._lock:
                self._order.shuffle(ordered)
        return ordered

    @property
    def capabilities(self) -> Capabilities:
        """What the server can do."""
        return Capabilities("3.17.2", history_bulk=True, artifact_proxy=True, get_artifact=True)

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
        return sum(count for name, count in self.calls.items() if " " not in name)

    def experiments(self) -> list[Experiment]:
        """Every experiment, in any order."""
        self._called("experiments")
        return self._shuffled([self._spoil(item) for item in self.store.experiments.values()])

    def runs(self, experiment_id: str) -> Iterator[list[Run]]:
        """Every run of an experiment in pages."""
        self._called("runs", experiment_id)
        runs = self._shuffled(self.store.runs_of(experiment_id))
        for start in range(0, len(runs), self._page):
            self._called("page", experiment_id)
            yield [self._spoil(run.record(self._shuffled)) for run in runs[start : start + self._page]]

    def runs_of(self, experiment_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Every run of several experiments."""
        for experiment_id in experiment_ids:
            self._called("runs again", experiment_id)
            yield [self._spoil(run.record(self._shuffled)) for run in self.store.runs_of(experiment_id)]

    def runs_by_id(self, experiment_id: str, run_ids: Sequence[str]) -> Iterator[list[Run]]:
        """Those of some runs that are there."""
        self._called("runs by id", " ".join(run_ids))
        runs = [run.record(self._shuffled) for run in self.store.runs_of(experiment_id)]
        yield [self._spoil(run) for run in runs if run.run_id in run_ids]

    def histories(self, runs: Sequence[Run]) -> Iterator[list[Series]]:
        """Every history of every metric key that the run records name."""
        wanted = self._shuffled([(run, key) for run in runs for key in run.metrics])
        for start in range(0, len(wanted), 3):
            batch = []
            for run, key in wanted[start : start + 3]:
                self._called("history", f"{run.run_id} {key}")
                series = self._spoil(self._series(run, key))
                if series is not None and series.error is None and not is_complete(series, run.metrics[key]):
                    # as the real reader does: a history without the latest point is not complete
                    series = failed_series(run.run_id, key, "incomplete: the latest point is not there")
                if series is not None:
                    batch.append(series)
            yield batch

    def _series(self, run: Run, key: str) -> Series:
        points = self._shuffled(self.store.runs[run.run_id].metrics.get(key, []))
        return series_of(run.run_id, key, points)

    def artifacts(
        self, runs: Sequence[Run], depth: Depth, shared: SharedListings | None = None, sure: Sure | None = None
    ) -> Iterator[ArtifactTree]:
        """The artifact tree of each run."""
        for run in self._shuffled(runs):
            self._called("tree", run.run_id)
            files = [
                self._spoil(_file(path, content, depth))
                for path, content in sorted(self.store.runs[run.run_id].files.items())
            ]
            tree = self._spoil(ArtifactTree(run.run_id, tuple(files)))
            if tree is not None:
                yield tree

    def outside(self) -> Mapping[str, int | None]:
        """What is not compared."""
        return {"registered models": 0}

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
        """Count that it was closed."""
        self._called("close")


def series_of(run: str, key: str, points: Sequence[Point]) -> Series:
    """Return points as a history."""
    return Series(
        run,
        key,
        np.array([point[0] for point in points], np.int64),
        np.array([point[1] for point in points], np.int64),
        np.array([point[2] for point in points], np.float64),
    )


def failed_series(run: str, key: str, error: str) -> Series:
    """Return a history that could not be read."""
    nothing = np.empty(0, np.int64)
    return Series(run, key, nothing, nothing, np.empty(0, np.float64), error)


def _file(path: str, content: bytes, depth: Depth) -> Artifact:
    if depth == "listing":
        return Artifact(path, len(content))
    kept = posixpath.basename(path) == "MLmodel" or depth == "full"
    return Artifact(path, len(content), hashlib.sha256(content).hexdigest(), content if kept else None)


# --- auditing


class Rows:
    """Keeps ledger rows."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Append one row."""
        self.rows.append(row)

    @property
    def red(self) -> list[Row]:
        """Rows in a state that is not green."""
        return [row for row in self.rows if not row.state.green]


class Progress(Silent):
    """Sums what was read."""

    def __init__(self) -> None:
        self.counts: dict[SideName, Counter[str]] = {"source": Counter(), "target": Counter()}
        self._lock = threading.Lock()

    def add(self, side: SideName, **counts: int) -> None:
        """Add to what was read."""
        with self._lock:
            self.counts[side].update(counts)


LOCATIONS: dict[SideName, Location] = {
    side: Location("http", f"http://{side}.invalid", f"http://{side}.invalid") for side in ("source", "target")
}


def settings(**changes: Any) -> Settings:
    """Return settings that leave nothing out."""
    values: dict[str, Any] = {
        "source": LOCATIONS["source"],
        "target": LOCATIONS["target"],
        "experiments": (),
        "exclude_experiments": (),
        "include_deleted": True,
        "load_models": False,
        "depth": "digest",
        "workers": 4,
        "snapshot_dir": None,
        "report_dir": "reports",
        "max_findings": 10_000,
    }
    return Settings(**{**values, **changes})


@dataclass(slots=True)
class Audited:
    """A finished audit of two stores."""

    audit: Audit
    result: Result
    ledger: Rows
    progress: Progress

    @property
    def found(self) -> set[tuple[str, str, str, str]]:
        """``(facet, key, state, name of the run or experiment)`` of every finding."""
        return {(item.facet, item.key, str(item.state), item.name) for item in self.result.findings}

    @property
    def rules(self) -> set[str]:
        """Rules that let something differ."""
        return {rule for row in self.ledger.rows for rule in row.rules}

    def states(self, facet: str, kind: str = "run") -> Counter[State]:
        """Count the states of one facet."""
        return Counter(row.state for row in self.ledger.rows if (row.kind, row.facet) == (kind, facet))


def audited(
    scratch: Path,
    source: Store | MemoryReader | Location,
    target: Store | MemoryReader | Location,
    promises: Sequence[str] | None = None,
    **changes: Any,
) -> Audited:
    """Audit two stores (or readers, or snapshot locations) with the real audit; all promises unless told."""
    sides = {"source": source, "target": target}

    def open_side(name: SideName) -> Side:
        given = sides[name]
        if isinstance(given, Location):
            return Side(name, given, None)
        reader = given if isinstance(given, MemoryReader) else MemoryReader(LOCATIONS[name], given)
        return Side(name, reader.location, reader)

    audit = Audit(settings(**changes), scratch, open_side)
    items = audit.inventory()
    names = collected(snapshot=False, load_models=True) if promises is None else tuple(promises)
    ledger, progress = Rows(), Progress()
    result = audit.run(Selection(names, tuple(item.key for item in items)), ledger, progress)
    audit.close()
    return Audited(audit, result, ledger, progress)


# --- a store that has everything


def rich_store(draw: random.Random | None = None) -> Store:
    """Return a store with two experiments of three runs each that have something of everything.

    ``draw`` varies the values; every run has a param of its own, so no two have the same content.
    """
    draw = draw or random.Random(7)
    store = Store()
    for number, name in ((1, "fraud/gbm"), (2, "churn – Übung")):
        tags = {"mlflow.note.content": f"note of {name}", "team": f"t{draw.randrange(99)}", "mlflow.kind": "x"}
        store.experiments[str(number)] = experiment(number, name, tags=tags)
        for index in range(3):
            store.add(rich_run(number * 10 + index, str(number), draw))
        child = store.runs[run_id(number * 10 + 2)]
        child.tags["mlflow.parentRunId"] = run_id(number * 10)
    return store


def rich_run(number: int, experiment_id: str, draw: random.Random) -> RunData:
    """Return a run with something of everything; ``number`` makes its id, name, times and content its own."""
    identity = run_id(number)
    values = [float("nan"), 0.0, 1e-300, draw.uniform(-1, 1), draw.uniform(1, 1e9), 5e-324]
    points = [(step - 3, EPOCH + step, draw.choice(values)) for step in range(9)]
    mlmodel = {
        "run_id": identity,
        "artifact_path": "model",
        "flavors": {"python_function": {"loader_module": "mlflow.sklearn", "env": {"conda": "conda.yaml"}}},
        "model_uuid": f"uuid-{number}",
        "signature": {"inputs": '[{"type": "double"}]'},
    }
    return RunData(
        run_id=identity,
        experiment_id=experiment_id,
        name=f"run-{number}",
        start_time=EPOCH + 1_000 * number,
        end_time=EPOCH + 1_000 * number + 500,
        artifact_uri=f"mlflow-artifacts:/{experiment_id}/{identity}/artifacts",
        params={"lr": repr(draw.random()), "number": str(number), "empty": ""},
        tags={
            "mlflow.user": "ada",
            "mlflow.runName": f"run-{number}",
            "mlflow.note.content": f"note of run {number}",
            "mlflow.source.name": "train.py",
            "colour": draw.choice(["red", "green"]),
        },
        metrics={"loss": points, "acc": [(0, EPOCH, draw.random()), (1, EPOCH + 1, draw.random())]},
        inputs=[
            DatasetInput(
                "train", f"d{number}", "s3", '{"uri": "s3://a/b"}', "{}", "{}", (("mlflow.data.context", "training"),)
            ),
            DatasetInput("eval", "e", "local", "{}", "{}", "{}", (("mlflow.data.context", "evaluation"), ("k", "v"))),
        ],
        files={
            "notes.txt": f"notes {number}\n".encode(),
            "deep/er/weights.bin": draw.randbytes(64),
            "empty": b"",
            "model/MLmodel": yaml.safe_dump(mlmodel, sort_keys=False).encode(),
        },
    )


def came(store: Store) -> None:
    """A run of the first experiment of :func:`rich_store` comes."""
    store.add(replace(store.runs[run_id(11)], run_id=run_id(19), name="late"))


def went(store: Store) -> None:
    """One goes."""
    del store.runs[run_id(11)]


def got_a_param(store: Store) -> None:
    """One gets another param."""
    store.runs[run_id(11)].params = {**store.runs[run_id(11)].params, "more": "1"}
