"""What a user's own checks see: read-only views of what the audit read, its pairs, and the ledger so far.

The main process reads and compares before the first test runs and writes :data:`FILE`; every process (it, or an
xdist worker) opens the snapshots and the ledger from there. No own check talks to a server. What was not read is an
error here, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlflow_parity.audit.test_items import Item
from mlflow_parity.core.errors import ParityError
from mlflow_parity.core.local.files import read_json, write_json
from mlflow_parity.core.records import MetricPoint
from mlflow_parity.reporting.ledger import read_rows
from mlflow_parity.snapshot.store import Snapshot

if TYPE_CHECKING:
    from mlflow_parity.audit.result import Result
    from mlflow_parity.audit.running import Audit
    from mlflow_parity.core.records import Artifact, Experiment, Run
    from mlflow_parity.core.verdict import Row
    from mlflow_parity.pytest_api.checking import Shared
    from mlflow_parity.snapshot import Part
    from mlflow_parity.snapshot.store import SnapshotView

FILE = "own-checks.json"
#: Id of the one test of a check that asks for no experiment: it needs all that is in scope.
WHOLE = "whole-audit"
_OF_EXPERIMENT = "experiment="


class NotRead(ParityError):
    """An own check asked for something that this audit did not read."""


def test_id(item: Item) -> str:
    """Return the id of an own check's test for an experiment."""
    return _OF_EXPERIMENT + item.id


def asked_for(node_id: str, items: Sequence[Item]) -> list[Item] | None:
    """Return the items that an own check needs, by its node id alone; ``None`` when it is no own check.

    Node ids are all that the main process knows of tests that xdist workers collected. A check with further
    parameters has them joined with ``-``; where that could mean two experiments, both are read.
    """
    _, bracket, inside = node_id.partition("[")
    text = inside.removesuffix("]")
    if not bracket:
        return None
    joined = f"-{text}-"
    if f"-{WHOLE}-" in joined:
        return list(items)
    if _OF_EXPERIMENT not in text:
        return None
    own = [item for item in items if item.family == "experiment"]
    found = [item for item in own if test_id(item) == text] or [item for item in own if f"-{test_id(item)}-" in joined]
    return found or None


def save(folder: Path, audit: Audit, result: Result, ledger: Path) -> None:
    """Write where snapshots and ledger are, and what the audit found."""
    write_json(
        folder / FILE,
        {
            "sides": {name: str(side.snapshot.root.resolve()) for name, side in audit.sides.items()},
            "ledger": str(ledger.resolve()),
            "green": result.green,
            "selected": list(result.selection.items),
            "totals": {str(state): count for state, count in result.totals.items()},
            "copies": {pair.source.experiment_id: pair.target.experiment_id for pair in audit.scope.pairing.pairs},
            "scope": {name: [one.experiment_id for one in found] for name, found in _in_scope(audit).items()},
        },
    )


def _in_scope(audit: Audit) -> dict[str, list[Experiment]]:
    """Return the experiments of each side that the audit is about."""
    pairing = audit.scope.pairing
    alike = [(sources, targets) for sources, targets, _ in pairing.ambiguous]
    ours = [*(pair.source for pair in pairing.pairs), *pairing.missing, *(one for some, _ in alike for one in some)]
    theirs = [pair.target for pair in (*pairing.pairs, *pairing.duplicates)]
    theirs += [*(one for one, _ in pairing.extra), *(one for _, some in alike for one in some)]
    return {"source": ours, "target": theirs}


@dataclass(frozen=True, slots=True)
class OwnFile:
    """One file of a run of one side; ``record`` has what its store states of its bytes."""

    record: Artifact
    _side: str

    @property
    def path(self) -> str:
        """Its path below the run's root."""
        return self.record.path

    @property
    def size(self) -> int | None:
        """Its size in bytes."""
        return self.record.size

    @property
    def content(self) -> bytes | None:
        """The bytes of an ``MLmodel``, and of small texts at depth ``full``."""
        return self.record.content

    @property
    def sha256(self) -> str | None:
        """The SHA-256 of its bytes, in hex; ``None`` at depth ``listing``.

        Raises:
            NotRead: its store stated another checksum, and the bytes were not read.
        """
        if self.record.sha256 is None and self.record.sums:
            raise NotRead(
                f"the {self._side}'s {self.path} was not read, as its store states another checksum than a SHA-256: "
                "add --parity-evidence sha256"
            )
        return self.record.sha256


@dataclass(frozen=True, slots=True)
class OwnRun:
    """One run of one side as it was read; ``record`` has its fields (ids, status, times, user, latest metrics)."""

    record: Run
    _view: SnapshotView
    side: str
    """``source`` or ``target``."""

    @property
    def experiment_id(self) -> str:
        """The id of its experiment on its own server."""
        return self._view.experiment.experiment_id

    @property
    def run_id(self) -> str:
        """Its id on its own server."""
        return self.record.run_id

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def params(self) -> Mapping[str, str]:
        """Its params."""
        return self.record.params

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags, source tags included."""
        return self.record.tags

    @property
    def metrics(self) -> Mapping[str, float]:
        """The latest value of each metric."""
        return {key: point.value for key, point in self.record.metrics.items()}

    def points(self, key: str) -> list[MetricPoint]:
        """Every point of a metric, by step and time.

        Raises:
            KeyError: the run has no such metric.
            NotRead: its history could not be read, or was not, as that of a run of another part.
        """
        _need(self._view, "metrics", self.side)
        if key in self.record.metrics and key not in self._view.histories(self.run_id):
            raise NotRead(
                f"the {self.side}'s history of {key} of run {self.name} was not read: the run is of another part "
                "(--parity-subset), or the audit stopped before"
            )
        series = self._view.points(self.run_id, key)
        if series.error is not None:
            raise NotRead(f"the {self.side}'s history of {key} of run {self.name} could not be read: {series.error}")
        columns = (column.tolist() for column in (series.steps, series.timestamps, series.values))
        return [MetricPoint(*point) for point in zip(*columns, strict=True)]

    @property
    def artifacts(self) -> Mapping[str, OwnFile]:
        """Its files by path, with size and SHA-256.

        Raises:
            NotRead: they could not be listed, or one of them could not be read.
        """
        _need(self._view, "artifacts", self.side)
        tree = self._view.artifacts(self.run_id)
        errors = [tree.error, *(file.error for file in tree.files)]
        problem = next((error for error in errors if error is not None), None)
        if problem is not None:
            raise NotRead(f"the {self.side}'s artifacts of run {self.name} could not be read: {problem}")
        return {file.path: OwnFile(file, self.side) for file in tree.files}


@dataclass(frozen=True, slots=True)
class OwnExperiment:
    """One experiment of one side; ``record`` has its fields."""

    record: Experiment
    _view: SnapshotView
    side: str
    """``source`` or ``target``."""
    _deleted: bool

    @property
    def name(self) -> str:
        """Its name."""
        return self.record.name

    @property
    def tags(self) -> Mapping[str, str]:
        """Its tags, source tags included."""
        return self.record.tags

    @property
    def runs(self) -> list[OwnRun]:
        """Its runs in scope (deleted ones only with ``--parity-include-deleted``), oldest first.

        Raises:
            NotRead: they could not be listed.
        """
        _need(self._view, "runs", self.side)
        runs = [run for run in self._view.all_runs() if self._deleted or run.lifecycle_stage != "deleted"]
        runs.sort(key=lambda run: (run.start_time or 0, run.run_id))
        return [OwnRun(run, self._view, self.side) for run in runs]

    def run(self, name: str) -> OwnRun:
        """Return the run with a name.

        Raises:
            KeyError: there is none, or more than one.
        """
        found = [run for run in self.runs if run.name == name]
        if len(found) != 1:
            raise KeyError(f"{len(found)} runs of {self.name} on the {self.side} are named {name}")
        return found[0]


@dataclass(frozen=True, slots=True)
class OwnPair:
    """A source run and its copy, and the key by which they were paired."""

    source: OwnRun
    target: OwnRun
    by: str


@dataclass(frozen=True, slots=True)
class OwnSide:
    """The value of the fixtures ``parity_source`` and ``parity_target``: what was read of one side."""

    name: str
    _snapshot: Snapshot
    _deleted: bool
    _scope: frozenset[str]
    """Ids of the experiments that the audit is about."""
    _open: dict[str, OwnExperiment] = field(default_factory=dict)

    @property
    def experiments(self) -> list[str]:
        """Names of its experiments in the scope of the audit (deleted ones with ``--parity-include-deleted``)."""
        return [item.name for item in self._snapshot.experiments if item.experiment_id in self._scope]

    def experiment(self, name: str) -> OwnExperiment:
        """Return an experiment by its name; of one out of scope nothing was read.

        Raises:
            KeyError: the side has none of that name.
        """
        named = [item for item in self._snapshot.experiments if item.name == name]
        # a deleted one may have the name of one that is there
        named.sort(key=lambda item: item.experiment_id not in self._scope)
        found = next(iter(named), None)
        if found is None:
            raise KeyError(f"the {self.name} has no experiment named {name}")
        return self._of(found)

    def _by_id(self, experiment_id: str) -> OwnExperiment:
        return self._of(next(item for item in self._snapshot.experiments if item.experiment_id == experiment_id))

    def _of(self, record: Experiment) -> OwnExperiment:
        if record.experiment_id not in self._open:
            view = self._snapshot.view(record)
            self._open[record.experiment_id] = OwnExperiment(record, view, self.name, self._deleted)
        return self._open[record.experiment_id]


@dataclass(frozen=True, slots=True)
class OwnComparison:
    """The value of the fixture ``parity_experiment``: a source experiment, and its copy (``None``: it is missing)."""

    name: str
    source: OwnExperiment
    target: OwnExperiment | None
    pairs: Sequence[OwnPair]


@dataclass(frozen=True, slots=True)
class OwnAudit:
    """The value of the fixture ``parity_audit``: what the audit found of everything that was selected."""

    green: bool
    totals: Mapping[str, int]
    """Objects × facets by state."""
    _ledger: Path
    _redact: Any

    @property
    def verdict(self) -> str:
        """``green`` or ``red``: that of the ledger; a failing test still makes the whole run red."""
        return "green" if self.green else "red"

    def rows(self, experiment: str | None = None) -> Iterator[Row]:
        """Yield the ledger's rows, only those of one experiment when it is named."""
        return read_rows(self._ledger, experiment, redact=self._redact)


class OwnChecks:
    """Opens for one process what the main process wrote; one per pytest session.

    Raises:
        NotRead: when no audit was made.
    """

    def __init__(self, shared: Shared) -> None:
        if not (shared.folder / FILE).exists():
            raise NotRead("nothing was read or compared; the audit ended before the tests")
        content = read_json(shared.folder / FILE)
        deleted = shared.settings.include_deleted
        self._copies: Mapping[str, str] = content["copies"]
        self._origins = {copy: source for source, copy in self._copies.items()}
        self._selected = frozenset(content["selected"])
        self._items = {
            "source": {
                one.experiment_id: one for one in shared.items if one.family == "experiment" and not one.surplus
            },
            "target": {one.experiment_id: one for one in shared.items if one.family == "experiment" and one.surplus},
        }
        self.source, self.target = (
            OwnSide(name, Snapshot.open(Path(content["sides"][name])), deleted, frozenset(content["scope"][name]))
            for name in ("source", "target")
        )
        self.audit = OwnAudit(content["green"], content["totals"], Path(content["ledger"]), shared.redactor)

    def comparison(self, item: Item) -> OwnComparison:
        """Return one experiment with its copy and the pairs of their runs."""
        source = self.source._by_id(item.experiment_id)
        copy = self._copies.get(item.experiment_id)
        target = None if copy is None else self.target._by_id(copy)
        return OwnComparison(item.name, source, target, () if target is None else self._pairs(item, source, target))

    def item_of(self, side: str, experiment_id: str) -> Item:
        """Return what ledger and tests know an experiment of one side by.

        Raises:
            NotRead: it is out of the audit's scope, or was not selected.
        """
        found = self._items[side].get(experiment_id)
        if found is None and side == "target":
            found = self._items["source"].get(self._origins.get(experiment_id, ""))
        if found is None or found.key not in self._selected:
            raise NotRead(
                f"experiment {found.name if found else experiment_id} of the {side} is no part of this audit, so no "
                "row can be of it: select it too (-k, --parity-experiments), or ask for no parity_experiment"
            )
        return found

    def _pairs(self, item: Item, source: OwnExperiment, target: OwnExperiment) -> list[OwnPair]:
        """Take the pairs from the ledger, so that they are those that were judged."""
        ours, theirs = ({run.run_id: run for run in side.runs} for side in (source, target))
        every = [{key.entity_id for key in side._view.run_keys()} for side in (source, target)]
        found = []
        for row in self.audit.rows(item.label):
            if row.kind != "run" or row.facet != "presence" or not row.state.green:
                continue
            if row.source_id in ours and row.target_id in theirs:
                found.append(OwnPair(ours[row.source_id], theirs[row.target_id], row.paired_by))
            elif row.source_id not in every[0] or row.target_id not in every[1]:
                raise NotRead(f"run {row.name} came while the audit was running; repeat it")
        return found


def _need(view: SnapshotView, part: Part, side: str) -> None:
    problem = view.problem(part)
    if problem is not None:
        raise NotRead(f"the {side}'s {part} of {view.experiment.name} were not read: {problem}")
