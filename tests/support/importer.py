"""Runs the import of experiments, runs and logged models from an export, in the order of a migration."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from mlflow_parity.audit.renames import Renames
from mlflow_parity.core.locations import parse_location
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.journal import Entry, Journal
from mlflow_parity.migrating.write.files import Uploads
from mlflow_parity.migrating.write.importing import Import
from mlflow_parity.migrating.write.linking import fix_version_tags, link_runs
from mlflow_parity.migrating.write.objects.experiments import import_experiment
from mlflow_parity.migrating.write.objects.logged_models import import_logged_models
from mlflow_parity.migrating.write.objects.registry import import_registry
from mlflow_parity.migrating.write.objects.runs import import_runs
from mlflow_parity.migrating.write.ordering import apply_lifecycle, import_batch, import_rest
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.reading import open_reader


class Migration:
    """One import of an export into one target; the journal may be that of an earlier one."""

    def __init__(
        self,
        export: ExportFolder,
        target: str,
        journal: Path,
        *,
        endpoint: str | None = None,
        include_deleted: bool = True,
        renames: Renames | None = None,
        only: Collection[str] | None = None,
    ) -> None:
        """``only``: the names of the experiments that are moved, and the registry with them."""
        location = parse_location(target, option="--target", custom_endpoint=endpoint)
        writer, found = open_writer(location, "target", 4)
        reader: Any = open_reader(location, "target", 4)
        self._registry = only is not None
        self.told: dict[str, int] = {}
        self.left: dict[str, str] = {}
        self.entries: list[Entry] = []
        self.context = Import(
            writer=writer,
            reader=reader,
            export=export,
            journal=Journal(journal),
            uploads=Uploads(writer, found, export.blobs, reader.trusted),
            renames=renames or Renames(),
            workers=4,
            include_deleted=include_deleted,
            told=self._tell,
            selected=lambda every: [one for one in every if only is None or one.name in only],
        )

    def _tell(self, **counts: int) -> None:
        for name, count in counts.items():
            self.told[name] = self.told.get(name, 0) + count

    def run(self) -> None:
        """Import everything, delete what is deleted on the source, and end the sessions."""
        for experiment in self.context.experiments:
            if import_experiment(self.context, experiment) is not None:
                import_runs(self.context, experiment)
                import_logged_models(self.context, experiment)
                link_runs(self.context, experiment)
        for experiment in self.context.experiments:
            import_logged_models(self.context, experiment, last=True)
        for experiment in self.context.experiments:
            link_runs(self.context, experiment, last=True)
        if self._registry:
            import_registry(self.context)
        fix_version_tags(self.context)
        apply_lifecycle(self.context)
        self._tell_left()

    def _tell_left(self) -> None:
        """Note what was not moved, by name, and why."""
        self.entries = [entry for entry in self.context.journal.entries() if entry.state != "done"]
        self.left = {entry.name: entry.reason or "begun" for entry in self.entries}

    def close(self) -> None:
        """Close sessions and journal."""
        self.context.writer.close()
        self.context.reader.close()
        self.context.journal.close()


class Whole(Migration):
    """An import of everything: registry, prompts, traces, evaluation datasets, scorers and webhooks too."""

    def run(self) -> None:
        """Import everything in the order of a migration."""
        experiments = list(self.context.export.snapshot.experiments)
        import_batch(self.context, experiments)
        import_rest(self.context, experiments)
        self._tell_left()
