"""Finds objects in which faults can be planted: pairs of the audit, a bounded number of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, TypeVar

from mlflow_parity.audit.paired.objects import Objects
from mlflow_parity.audit.result import Result
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.waivers.waivers import Waiver
from mlflow_parity.core.records import Entity, Experiment, Run
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.pairing.by_kind import ExperimentPair
from mlflow_parity.self_test.fault import Scene
from mlflow_parity.self_test.mirror import Mirror
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import SnapshotView

#: Objects of one kind that are looked at for one in which every class can be planted, and experiments of which.
MOST, PLACES = 2_000, 50
_CHUNK = 100
_MODEL_IDS = re.compile("m-[0-9a-f]{32}")
_T = TypeVar("_T")


@dataclass(slots=True)
class Scout:
    """Walks through the pairs of one audit. ``looked_at`` counts objects by kind."""

    audit: Audit
    result: Result
    objects: Objects
    waivers: tuple[Waiver, ...] = ()
    """Those that have not expired."""
    looked_at: dict[str, int] = field(default_factory=dict)
    _views: dict[tuple[str, str], SnapshotView] = field(default_factory=dict)
    _labels: dict[tuple[Family, str], str] = field(default_factory=dict)
    _containers: dict[str, tuple[Entity, Entity]] = field(default_factory=dict)

    def scenes(self, kind: str) -> Iterator[Scene]:
        """Yield a scene for each pair of a kind, spread over the experiments."""
        self.looked_at[kind] = 0
        if not self.audit.scope.pairing.pairs:
            return
        if kind == "experiment":
            found = self._experiments()
        elif kind == "run":
            found = self._runs()
        else:
            found = self._entities(kind)
        for scene in islice(found, MOST):
            self.looked_at[kind] += 1
            yield scene

    def family(self, kind: str) -> Family:
        """Return the family of a kind."""
        return KINDS[kind].family if kind in KINDS else "experiment"

    def label(self, scene: Scene) -> str:
        """Return what the ledger calls the item that a scene belongs to."""
        family = self.family(scene.kind)
        if family == "experiment":
            return next(iter(scene.source.experiments.values())).name
        if not self._labels:
            items = [state.item for state in self.result.states.values()]
            self._labels = {(item.family, item.name): item.label for item in items if item.family != "experiment"}
        return self._labels[family, "" if family == "server" else scene.entity[0].container or scene.one]

    # --- scenes

    def _pairs(self) -> list[ExperimentPair]:
        """Pairs of experiments that were selected, some of them, from all over the list."""
        chosen = {
            state.item.experiment_id
            for state in self.result.states.values()
            if state.item.family == "experiment" and not state.item.surplus
        }
        pairs = [pair for pair in self.audit.scope.pairing.pairs if pair.source.experiment_id in chosen]
        return _spread(pairs, PLACES)

    def _experiments(self) -> Iterator[Scene]:
        for pair in self._pairs():
            yield self._scene("experiment", pair, pair.source.experiment_id, pair.target.experiment_id)

    def _runs(self) -> Iterator[Scene]:
        pairs = self._pairs()
        known = self.objects.links.runs.pairs
        for pair in pairs:
            ours, theirs = self._view("source", pair.source), self._view("target", pair.target)
            if ours.problem("runs") is not None or theirs.problem("runs") is not None:
                continue
            left = iter(run for run in islice(ours.all_runs(), max(MOST // len(pairs), _CHUNK)) if run.run_id in known)
            while chunk := list(islice(left, _CHUNK)):
                copies = theirs.find_runs([known[run.run_id] for run in chunk])
                fit = [(run, copies[known[run.run_id]]) for run in chunk if known[run.run_id] in copies]
                for (run, copy), other in zip(fit, [*fit[1:], *fit[:1]], strict=True):
                    if self.audit.settings.include_deleted or "deleted" not in (
                        run.lifecycle_stage, copy.lifecycle_stage
                    ):  # fmt: skip
                        yield self._run_scene(pair, run, copy, other if other[0] is not run else None)

    def _run_scene(self, pair: ExperimentPair, run: Run, copy: Run, other: tuple[Run, Run] | None) -> Scene:
        scene = self._scene("run", pair, run.run_id, copy.run_id)
        for ours, theirs in ((run, copy), *([other] if other else [])):
            scene.source.runs[ours.run_id], scene.target.runs[theirs.run_id] = ours, theirs
        scene.other = (other[0].run_id, other[1].run_id) if other else None
        return scene

    def _entities(self, name: str) -> Iterator[Scene]:
        kind, known = KINDS[name], self.objects.links.of(name)
        chosen = {state.item.name for state in self.result.states.values() if state.item.family == kind.family}
        pairs = self._pairs() if kind.family == "experiment" else []
        places = [(pair.source.experiment_id, pair.target.experiment_id, pair) for pair in pairs]
        for place, there, pair in places if pairs else [(SERVER, SERVER, None)]:
            ours, theirs = self.objects.view("source", place), self.objects.view("target", there)
            if ours.problem(kind.part) is not None or theirs.problem(kind.part) is not None:
                continue
            copies = {key.entity_id for key in theirs.keys(name)}
            keys = [key for key in ours.keys(name) if known.get(key.entity_id) in copies]
            if kind.family in ("model", "prompt"):
                keys = [key for key in keys if (key.container or key.entity_id) in chosen]
            ids = [key.entity_id for key in keys[: max(MOST // max(len(places), 1), _CHUNK)]]
            for start in range(0, len(ids), _CHUNK):
                some = ids[start : start + _CHUNK]
                fit = list(
                    zip(ours.entities(name, some), theirs.entities(name, [known[one] for one in some]), strict=True)
                )
                for (mine, copy), other in zip(fit, [*fit[1:], *fit[:1]], strict=True):
                    yield self._entity_scene(pair, mine, copy, other if other[0] is not mine else None)

    def _entity_scene(
        self, pair: ExperimentPair | None, mine: Entity, copy: Entity, other: tuple[Entity, Entity] | None
    ) -> Scene:
        scene = self._scene(mine.kind, pair or self.audit.scope.pairing.pairs[0], mine.entity_id, copy.entity_id)
        if other is not None and other[0].container != mine.container:
            other = None
        for ours, theirs in ((mine, copy), *([other] if other else []), *self._container(mine)):
            scene.source.entities[ours.kind, ours.entity_id] = ours
            scene.target.entities[theirs.kind, theirs.entity_id] = theirs
        name = copy.container or copy.entity_id
        if self.objects.aliases.answers and name in self.objects.aliases.answers:
            scene.target.answers[name] = self.objects.aliases.answers[name]
        scene.other = (other[0].entity_id, other[1].entity_id) if other else None
        return scene

    def _container(self, entity: Entity) -> list[tuple[Entity, Entity]]:
        """The registered model or prompt of a version: without it nobody would look for the version."""
        if KINDS[entity.kind].family not in ("model", "prompt") or not entity.container:
            return []
        if entity.container not in self._containers:
            kind = "prompt" if entity.kind == "prompt_version" else "registered_model"
            ours, theirs = self.objects.view("source", SERVER), self.objects.view("target", SERVER)
            [mine], [copy] = (view.entities(kind, [entity.container]) for view in (ours, theirs))
            self._containers[entity.container] = (mine, copy)
        return [self._containers[entity.container]]

    def _scene(self, kind: str, pair: ExperimentPair, one: str, copy: str) -> Scene:
        family = self.family(kind)
        where = (pair.source.experiment_id, pair.target.experiment_id) if family == "experiment" else (SERVER, SERVER)
        runs = family == "experiment"
        source = Mirror(
            {pair.source.experiment_id: self._view("source", pair.source)} if runs else {},
            {where[0]: self.objects.view("source", where[0])},
            {pair.source.experiment_id: pair.source},
        )
        target = Mirror(
            {pair.target.experiment_id: self._view("target", pair.target)} if runs else {},
            {where[1]: self.objects.view("target", where[1])},
            {pair.target.experiment_id: pair.target},
        )
        settings = self.audit.settings
        scene = Scene(
            kind, source, target, one, copy, self.objects.links, settings.depth, settings.profile,
            self.audit.scope.is_wanted if family in ("model", "prompt") else self.audit.scope.names,
            lambda facet, key: any(fnmatchcase(key, waiver.key) for waiver in self.about(scene, facet)),
        )  # fmt: skip
        asked = {} if self.objects.ask is None else self.objects.ask.told
        if (kind, one) in asked:
            target.told[kind, one] = asked[kind, one]
        return scene

    def about(self, scene: Scene, facet: str) -> list[Waiver]:
        """Return the waivers that speak of a facet of the object of a scene."""
        about = [waiver for waiver in self.waivers if waiver.facet == facet]
        if not about:
            return []
        name = scene.record[0].name
        if scene.kind not in ("experiment", "run"):
            name = name or scene.one
        row = Row(self.label(scene), scene.kind, name, scene.one, scene.copy, facet, State.MATCH)
        return [waiver for waiver in about if waiver.names(row)]

    def _view(self, side: str, experiment: Experiment) -> SnapshotView:
        key = (side, experiment.experiment_id)
        if key not in self._views:
            # the tables of one experiment at a time: that is what the audit itself holds
            self._views = {known: view for known, view in self._views.items() if known[0] != side}
            self._views[key] = self.audit.sides["source" if side == "source" else "target"].view(experiment)
        return self._views[key]


def mentioned(scene: Scene) -> set[str]:
    """Return every id that the objects of a scene may name."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.add(value)
            found.update(_MODEL_IDS.findall(value))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                walk(key)
                walk(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                walk(item)

    for side in (scene.source, scene.target):
        for run in side.runs.values():
            walk([run.run_id, run.model_inputs or (), run.model_outputs or (), run.tags])
        for entity in side.entities.values():
            walk([entity.entity_id, entity.artifact_uri, entity.facets])
    return found


def _spread(items: Sequence[_T], most: int) -> list[_T]:
    """Return at most so many, evenly from first to last."""
    if len(items) <= most:
        return list(items)
    return [items[number * (len(items) - 1) // (most - 1)] for number in range(most)]
