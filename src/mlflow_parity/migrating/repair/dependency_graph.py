"""What hangs on what, by the export: an object that is made again gets a new id, and some links cannot be changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mlflow_parity.core.records import PARENT_TAG, Entity
from mlflow_parity.migrating.export.exported import every
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.snapshot.store import Snapshot

#: Kind and id of a source object.
Key = tuple[str, str]


class Dependents:
    """The links of an export's objects, from what is named to what names it; only ids are kept."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._fixed: dict[Key, set[Key]] = defaultdict(set)
        self._loose: dict[Key, set[Key]] = defaultdict(set)
        #: Why not all links are known; ``None``: they are.
        self.unknown: str | None = None
        for experiment in snapshot.experiments:
            view, objects = snapshot.view(experiment), snapshot.objects(experiment.experiment_id)
            if self._is_read(f"runs of {experiment.name}", view.problem("runs")):
                for run in view.all_runs():
                    own = ("run", run.run_id)
                    self._is_read(
                        f"logged models of the run {run.run_id}", "unread" if run.model_inputs is None else None
                    )
                    for link, _ in (*(run.model_inputs or ()), *(run.model_outputs or ())):
                        self._fixed["logged_model", link].add(own)
                    if PARENT_TAG in run.tags:
                        self._loose["run", run.tags[PARENT_TAG]].add(own)
            for part in ("logged_models", "traces"):
                self._is_read(f"{part.replace('_', ' ')} of {experiment.name}", objects.problem(part))
            for model in every(objects, "logged_model"):
                own = ("logged_model", model.entity_id)
                points: Iterable[dict[str, Any]] = model.facets.get("metrics") or ()
                for run_id in {model.facets.get("run"), *(point["run"] for point in points)} - {None, ""}:
                    self._fixed["run", run_id].add(own)
            for trace in every(objects, "trace"):
                self._link(self._loose, trace, ("trace", trace.entity_id))
        self._is_read("registered models", snapshot.objects(SERVER).problem("registry"))
        for version in every(snapshot.objects(SERVER), "model_version"):
            # a version's number is never given twice: its registered model is made again
            self._link(self._fixed, version, ("registered_model", version.container))

    def _is_read(self, what: str, problem: str | None) -> bool:
        if problem is not None and self.unknown is None:
            self.unknown = f"what else hangs on it is not known: the {what} could not be read"
        return problem is None

    @staticmethod
    def _link(links: dict[Key, set[Key]], entity: Entity, own: Key) -> None:
        for kind in ("run", "logged_model"):
            if entity.facets.get(kind):
                links[kind, entity.facets[kind]].add(own)

    def fixed(self, replaced: Iterable[Key]) -> set[Key]:
        """Return what must be made again with these, themselves included: it names them for good."""
        found: set[Key] = set()
        left = list(replaced)
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += self._fixed.get(one, ())
        return found

    def loose(self, replaced: Iterable[Key]) -> set[Key]:
        """Return what names one of these in a way that can be written again."""
        return {own for one in replaced for own in self._loose.get(one, ())}
