"""One trial: the audit's own code judges two mirrors, with its scope, depth, profile, waivers and links."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow_parity.audit.experiments import Experiments
from mlflow_parity.audit.paired.objects import Objects
from mlflow_parity.audit.result import Result, Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.scope import Selected
from mlflow_parity.audit.waivers.waivers import Used
from mlflow_parity.comparing.links import Links, ObjectLinks
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds.rules.check_registry import Selection
from mlflow_parity.kinds.schema.base import Family
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.self_test.mirror import Mirror, MirrorSide


@dataclass(slots=True)
class Verdicts:
    """The ledger rows of one trial, and what became of the waivers in it."""

    rows: list[Row] = field(default_factory=list)
    waivers: tuple[Used, ...] = ()

    def add(self, row: Row) -> None:
        """Append one row."""
        self.rows.append(row)


class Trial(Audit):
    """The audit in hand, on mirrors. What it knew of links between objects, it knows here."""

    def __init__(self, audit: Audit, known: ObjectLinks, source: Mirror, target: Mirror) -> None:
        mirrors: Mapping[SideName, Mirror] = {"source": source, "target": target}
        super().__init__(
            # what is found is not shown, so nothing is explained
            replace(audit.settings, max_findings=0, self_test=False),
            Path("nothing-is-read"),
            lambda name: MirrorSide(name, audit.sides[name], mirrors[name]),
            waivers=audit.waiver_file,
        )
        self._known = known
        self._moved = audit.scope.moved
        self._answers, self._told = target.answers, target.told

    def judge(self, family: Family, promises: Sequence[str]) -> Verdicts:
        """Compare everything of a family that the mirrors hold."""
        # patterns were checked against all there is
        items = self.scope.take(check_patterns=False)
        self.scope.moved = self._moved
        chosen = tuple(item.key for item in items if item.family == family)
        verdicts = Verdicts()
        verdicts.waivers = self.run(Selection(tuple(promises), chosen), verdicts, Silent()).waivers
        return verdicts

    def _limits(self, *_: object) -> None:
        """Say nothing of what limits the audit in hand as a whole: no object could be planted for it."""

    def _links(self, experiments: Experiments, selected: object) -> Links:
        experiments.result.source_runs = 1
        return self._known.runs

    def _objects(self, experiments: Experiments, selected: Selected, links: Links, result: Result) -> Objects:
        objects = self._opened(experiments.looks, result, selected, self._known)
        objects.aliases.answers = self._answers
        if objects.ask is not None:
            objects.ask.told, objects.ask.repeats = self._told, True
        return objects


def apart(known: ObjectLinks, mentioned: Collection[str]) -> ObjectLinks:
    """Return links that a trial may add to; what is copied or gone through is that of the ids ``mentioned`` alone."""
    runs = known.runs
    pairs = known.of("logged_model")
    return ObjectLinks(
        Links(ChainMap({}, runs.pairs), runs.known, _some(runs.copies, mentioned), runs.complete, runs.replaced),
        experiments=known.experiments,
        entities={
            **{kind: ChainMap({}, entities) for kind, entities in known.entities.items()},
            "logged_model": {model: pairs[model] for model in mentioned if model in pairs},
        },
        known=known.known,
        deleted=known.deleted,
        copies={kind: _some(copies, mentioned) for kind, copies in known.copies.items()},
        whole=known.whole,
        copy_places=known.copy_places.apart(),
        places=ChainMap({}, known.places),
        is_wanted=known.is_wanted,
        include_deleted=known.include_deleted,
        keeps_spans=known.keeps_spans,
    )


def _some(copies: Mapping[str, set[str]], mentioned: Collection[str]) -> dict[str, set[str]]:
    return {one: set(copies[one]) for one in mentioned if one in copies}
