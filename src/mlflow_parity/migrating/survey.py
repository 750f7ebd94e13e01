"""What a source holds: counts, names and sizes, told by listings or by an export; and how long it takes to move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds import KINDS
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.audit.renames import Renames
    from mlflow_parity.snapshot.store import Snapshot


#: Kinds that belong to no experiment and are known by their name.
NAMED_KINDS = tuple(
    kind.name for kind in KINDS.values() if kind.named and kind.family != "experiment" and "number" not in kind.facets
)


@dataclass(slots=True)
class Extent:
    """What an experiment holds; ``points`` is an estimate by the latest steps, ``size`` in bytes."""

    experiment: Experiment
    runs: int = 0
    running: int = 0
    series: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    in_s3: int = 0
    """Bytes of files that a migration may leave in S3, to be copied there: of runs and logged models."""
    objects: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Missed:
    """Something that could not be looked at; ``refused``: a right is missing."""

    what: str
    why: str
    refused: bool


@dataclass(slots=True)
class Survey:
    """What is in scope: experiments by id, objects by kind, and the names by which they may collide."""

    extents: dict[str, Extent] = field(default_factory=dict)
    objects: Counter[str] = field(default_factory=Counter)
    """Those that belong to no experiment."""
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    """Kind → source id → name, of experiments, registered models, prompts, evaluation datasets and webhooks."""
    loose: int = 0
    """Bytes of model versions' files that belong to no run and no logged model."""
    loose_in_s3: int = 0
    """Those of them that a migration may leave in S3."""
    leaves: bool = False
    """Whether it does: the target keeps its files in S3, and no export is kept."""
    missed: list[Missed] = field(default_factory=list)
    outside: Counter[str] = field(default_factory=Counter)
    """Links to what is not in scope, or not there any more, by what links to what."""

    def count(self, kind: str) -> int:
        """How many objects of a kind there are, ``experiment`` and ``run`` included."""
        if kind == "experiment":
            return len(self.extents)
        if kind == "run":
            return sum(one.runs for one in self.extents.values())
        return self.objects[kind] + sum(one.objects[kind] for one in self.extents.values())

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.loose + sum(one.size for one in self.extents.values())

    @property
    def left(self) -> int:
        """Bytes of all files that are left in S3, to be copied there."""
        return (self.loose_in_s3 + sum(one.in_s3 for one in self.extents.values())) * self.leaves


def planned_name(renames: Renames, kind: str, name: str) -> str:
    """Return the name that an object is to have on the target."""
    tables = {"experiment": renames.experiments, "registered_model": renames.models, "prompt": renames.prompts}
    return tables[kind].get(name, name) if kind in tables else name


def look_at_export(
    snapshot: Snapshot,
    *,
    experiments: Iterable[Experiment] | None = None,
    wanted: Callable[[str], bool] = lambda _: True,
    others: bool = True,
    include_deleted: bool = False,
) -> Survey:
    """Return the survey of an export, or of some experiments in it: counts, names and sizes as they were read."""
    survey = Survey(names={kind: {} for kind in ("experiment", *NAMED_KINDS)})
    for experiment in snapshot.experiments if experiments is None else experiments:
        place = experiment.experiment_id
        survey.names["experiment"][place] = experiment.name
        extent = survey.extents[place] = Extent(experiment)
        view, objects = snapshot.view(experiment), snapshot.objects(place)
        if view.problem("runs") is None:
            keys = [key for key in view.run_keys() if include_deleted or not key.deleted]
            extent.runs = len(keys)
            for key in keys if view.problem("metrics") is None else ():
                histories = view.histories(key.entity_id)
                extent.series += len(histories)
                extent.points += sum(history.points for history in histories.values())
            for key in keys if view.problem("artifacts") is None else ():
                files = view.artifacts(key.entity_id).files
                extent.files += len(files)
                extent.size += sum(file.size or 0 for file in files)
        for kind in KINDS.values():
            if kind.family == "experiment" and objects.problem(kind.part) is None:
                extent.objects[kind.name] = len(objects.keys(kind.name))
        if objects.problem("logged_models") is None and objects.problem("logged_model_files") is None:
            for model in objects.keys("logged_model"):
                files = objects.files("logged_model", model.entity_id).files
                extent.files += len(files)
                extent.size += sum(file.size or 0 for file in files)
    server = snapshot.objects(SERVER)
    for kind in KINDS.values():
        if kind.family == "experiment" or server.problem(kind.part) is not None:
            continue
        registry = kind.part == "registry"
        if not (registry or others):
            continue
        keys_of = [one for one in server.keys(kind.name) if not registry or wanted(one.container or one.entity_id)]
        survey.objects[kind.name] = len(keys_of)
        if kind.name in NAMED_KINDS:
            survey.names[kind.name] = {one.entity_id: one.name for one in keys_of}
    return survey


#: Seconds for one, reading and writing together: 2 cores that two servers of MLflow 3.17 (SQLite, artifacts by
#: proxy) shared with the migration; a real network and a real database make it slower or faster.
_RUN, _POINT, _FILE, _BYTE, _OBJECT = 0.055, 0.00025, 0.0065, 1 / 75e6, 0.05
#: Before and after: starting, preflight, the lists.
FIXED = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """An amount to move; ``size`` in bytes, ``objects`` all but experiments and runs."""

    runs: int = 0
    points: int = 0
    files: int = 0
    size: int = 0
    objects: int = 0

    @property
    def cost(self) -> float:
        """Seconds that it takes to read and write it, as measured."""
        return self.runs * _RUN + self.points * _POINT + self.files * _FILE + self.size * _BYTE + self.objects * _OBJECT


def work_of(survey: Survey) -> Work:
    """Return how much a survey found."""
    extents = survey.extents.values()
    return Work(
        runs=survey.count("run"),
        points=sum(one.points for one in extents),
        files=sum(one.files for one in extents),
        size=survey.size,
        objects=sum(survey.objects.values()) + sum(sum(one.objects.values()) for one in extents),
    )
