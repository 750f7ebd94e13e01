"""A few objects of one side in memory, in the shape in which the audit reads a side; the rest stays in its snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow_parity.audit.paired.usable import Told
from mlflow_parity.audit.side import Side
from mlflow_parity.core.identity.digests import series_digest
from mlflow_parity.core.identity.keys import ObjectKey, run_key
from mlflow_parity.core.records import ArtifactTree, Entity, Experiment, Resolved, Run, Series
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.base import Kind
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.snapshot import SERVER, HistoryKey, Part, RunKey
from mlflow_parity.snapshot.moved import Moved
from mlflow_parity.snapshot.objects import key_of
from mlflow_parity.snapshot.store import PlaceObjects, Snapshot, SnapshotView


def place_of(kind: Kind, container: str) -> str:
    """Return where the snapshot keeps an object."""
    return container if kind.family == "experiment" else SERVER


@dataclass(slots=True)
class Mirror:
    """Chosen objects of one side. Histories and files are read from ``views`` and ``objects`` until they are altered.

    ``stands_for`` maps the id of an object that was made up to that of the one whose content it has.
    """

    views: Mapping[str, SnapshotView] = field(default_factory=dict)
    objects: Mapping[str, PlaceObjects] = field(default_factory=dict)
    experiments: dict[str, Experiment] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    entities: dict[tuple[str, str], Entity] = field(default_factory=dict)
    series: dict[tuple[str, str], Series | None] = field(default_factory=dict)
    """By run and metric key, where altered; ``None``: taken away."""
    trees: dict[tuple[str, str], ArtifactTree] = field(default_factory=dict)
    """By kind and id, where altered."""
    stands_for: dict[str, str] = field(default_factory=dict)
    answers: dict[str, list[Resolved]] = field(default_factory=dict)
    """What the server said of the aliases of registered models and prompts, by name."""
    told: dict[tuple[str, str], Told] = field(default_factory=dict)
    """What both servers were asked as people's clients ask, by kind and the source's id."""

    def copy(self) -> Mirror:
        """Return a mirror to be altered; the records themselves are frozen."""
        return replace(
            self,
            experiments=dict(self.experiments),
            runs=dict(self.runs),
            entities=dict(self.entities),
            series=dict(self.series),
            trees=dict(self.trees),
            stands_for=dict(self.stands_for),
            answers=dict(self.answers),
            told=dict(self.told),
        )

    def histories(self, run_id: str) -> dict[str, HistoryKey]:
        """Size and digest of each history of a run."""
        view = self.views.get(self.runs[run_id].experiment_id)
        base: dict[str, HistoryKey] = {}
        if view is not None and view.problem("metrics") is None:
            base = dict(view.histories(self.stands_for.get(run_id, run_id)))
        for (owner, key), series in self.series.items():
            if owner == run_id and series is None:
                base.pop(key, None)
            elif owner == run_id and series is not None:
                base[key] = HistoryKey(len(series.values), series_digest(series), series.error)
        return base

    def points(self, run_id: str, key: str) -> Series:
        """One whole history."""
        altered = self.series.get((run_id, key))
        if altered is not None:
            return altered
        view = self.views[self.runs[run_id].experiment_id]
        return replace(view.points(self.stands_for.get(run_id, run_id), key), run_id=run_id)

    def tree(self, kind: str, identity: str) -> ArtifactTree:
        """The files of a run, logged model or model version."""
        altered = self.trees.get((kind, identity))
        if altered is not None:
            return altered
        original = self.stands_for.get(identity, identity)
        if kind == "run":
            view = self.views.get(self.runs[identity].experiment_id)
            found = ArtifactTree(identity, (), "not read") if view is None else view.artifacts(original)
        else:
            objects = self.objects[place_of(KINDS[kind], self.entities[kind, identity].container)]
            found = objects.files(kind, original)
        return replace(found, run_id=identity)


class MirrorSide(Side):
    """A side of which there is nothing but a mirror; ``original`` is the side that it is a mirror of."""

    def __init__(self, name: SideName, original: Side, mirror: Mirror) -> None:
        self.name = name
        self.location = original.location
        self._original = original.snapshot
        self.reader = None
        self.resumed_parts = 0
        self.resumed_from = None
        self.unlisted = set()
        self._mirror = mirror

    @property
    def snapshot(self) -> Snapshot:
        """The mirror, as a snapshot."""
        return _MirrorSnapshot(self._mirror, self._original)

    def experiments(self, *, again: bool = False) -> list[Experiment]:
        """The experiments of the mirror."""
        return list(self._mirror.experiments.values())

    def view(self, experiment: Experiment) -> SnapshotView:
        """One experiment of the mirror."""
        return _MirrorView(self._mirror, experiment)


class _MirrorSnapshot(Snapshot):
    def __init__(self, mirror: Mirror, original: Snapshot) -> None:
        self._mirror = mirror
        self.origin = original.origin
        self._original = original
        # what was read for the audit in hand covers it
        self.asked = None
        # that both sides were read at one time is no matter of a trial
        self.moved = Moved()

    def objects(self, place: str) -> PlaceObjects:
        return _MirrorObjects(self._mirror, place)

    def other_keys(self, kind: str) -> frozenset[str]:
        return self._original.other_keys(kind)


class _MirrorView(SnapshotView):
    def __init__(self, mirror: Mirror, experiment: Experiment) -> None:
        self._mirror = mirror
        self._experiment = experiment

    def problem(self, part: Part) -> str | None:
        view = self._mirror.views.get(self._experiment.experiment_id)
        return None if view is None else view.problem(part)

    def links_problem(self) -> str | None:
        view = self._mirror.views.get(self._experiment.experiment_id)
        return None if view is None else view.links_problem()

    def counts(self) -> dict[str, int]:
        return {}

    def run_keys(self) -> list[RunKey]:
        return [run_key(run) for run in self.all_runs()]

    def runs(self, run_ids: Sequence[str]) -> list[Run]:
        return [self._mirror.runs[run_id] for run_id in run_ids]

    def all_runs(self) -> Iterator[Run]:
        return (run for run in self._mirror.runs.values() if run.experiment_id == self._experiment.experiment_id)

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        return self._mirror.histories(run_id)

    def points(self, run_id: str, key: str) -> Series:
        return self._mirror.points(run_id, key)

    def artifacts(self, run_id: str) -> ArtifactTree:
        return self._mirror.tree("run", run_id)


class _MirrorObjects(PlaceObjects):
    def __init__(self, mirror: Mirror, place: str) -> None:
        self._mirror = mirror
        self._base = mirror.objects.get(place)
        self._known: dict[str, list[ObjectKey]] = {}
        for (kind, _), entity in mirror.entities.items():
            if place_of(KINDS[kind], entity.container) == place:
                self._known.setdefault(kind, []).append(key_of(entity))

    def renewed(self, parts: Mapping[Part, PlaceObjects]) -> PlaceObjects:
        return self

    def problem(self, part: Part) -> str | None:
        return None if self._base is None else self._base.problem(part)

    def unsupported(self, part: Part) -> frozenset[str]:
        return frozenset() if self._base is None else self._base.unsupported(part)

    def counts(self) -> dict[str, int]:
        return {}

    def keys(self, kind: str) -> list[ObjectKey]:
        return self._known.get(kind, [])

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        return [self._mirror.entities[kind, entity_id] for entity_id in entity_ids]

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        return self._mirror.tree(kind, entity_id)
