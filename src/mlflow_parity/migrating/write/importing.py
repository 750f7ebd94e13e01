"""What every importer is handed, how it says what could not be written, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlflow_parity.core.errors import NotMoved

if TYPE_CHECKING:
    from mlflow_parity.audit.renames import Renames
    from mlflow_parity.core.records import Experiment
    from mlflow_parity.migrating.export.export_folder import ExportFolder
    from mlflow_parity.migrating.journal import Journal
    from mlflow_parity.migrating.write.files import Uploads
    from mlflow_parity.migrating.write.writing import Writer
    from mlflow_parity.reading.server import ServerReader


@dataclass(slots=True)
class Problems:
    """What could not be written of one object: what may be tried again, and what MLflow's API cannot write at all."""

    failed: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raise what was found.

        Raises:
            NotMoved: there is something.
        """
        if self.failed or self.impossible:
            raise NotMoved("; ".join([*self.failed, *self.impossible]), for_good=not self.failed)


class Told(Protocol):
    """Told what was written, for the progress line."""

    def __call__(self, *, runs: int = 0, points: int = 0, files: int = 0, size: int = 0, objects: int = 0) -> None:
        """Add to what was written."""
        ...


@dataclass(frozen=True, slots=True)
class Import:
    """Both ends of an import: the export's folder, and the target to write to and to look at.

    ``renames`` are the new names of experiments, models and prompts by the old ones; ``workers`` is how many requests
    may be under way at once. ``selected`` picks the experiments that are moved, ``wanted`` says which registered models
    and prompts are, by name, ``others`` whether evaluation datasets and webhooks are; ``enable_webhooks``: with
    the status that they have on the source, and not disabled. ``late_traces`` has, by
    experiment, the traces that name what was not on the target when they were written.
    """

    writer: Writer
    reader: ServerReader
    export: ExportFolder
    journal: Journal
    uploads: Uploads
    renames: Renames
    workers: int
    include_deleted: bool
    told: Told
    wanted: Callable[[str], bool] = lambda _: True
    others: bool = True
    enable_webhooks: bool = False
    selected: Callable[[Iterable[Experiment]], list[Experiment]] = list
    late_traces: dict[str, set[str]] = field(default_factory=dict)

    @property
    def experiments(self) -> list[Experiment]:
        """The experiments of the export that are in scope: it may hold more."""
        return self.selected(self.export.snapshot.experiments)
