"""Files that a copy has and its source has not: removed in place, so that the copy need not be made again."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.records import ArtifactTree
from mlflow_parity.migrating.repair.audit_findings import Damage
from mlflow_parity.migrating.write.objects.runs import tree_of
from mlflow_parity.reading import records
from mlflow_parity.reading.artifacts.artifact_locations import attachments_uri
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.snapshot import FILES_PART

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Entry
    from mlflow_parity.migrating.write.importing import Import

_FACETS = {"run": "artifacts", "logged_model": "files", "trace": "attachments"}


def remove_extra_files(context: Import, damage: Iterable[Damage]) -> None:
    """Remove from copies of ours the files that the export does not have; what MLflow cannot remove stays."""
    for one in damage:
        entry = context.journal.entry(one.kind, one.source_id)
        if _FACETS.get(one.kind) not in one.facets or entry is None or entry.target_id is None or not entry.ours:
            continue
        wanted = _exported(context, entry)
        if wanted is None or wanted.error is not None:
            # what could not be listed at the source may all be right
            continue
        # what stays is red in the next audit
        with suppress(ReadError):
            uri, there = _present(context, entry)
            for path in sorted({file.path for file in there.files} - {file.path for file in wanted.files}):
                context.uploads.remove(uri, path)


def _exported(context: Import, entry: Entry) -> ArtifactTree | None:
    snapshot = context.export.snapshot
    if entry.kind in FILES_PART:
        return snapshot.objects(entry.place).files(entry.kind, entry.source_id)
    experiment = next((one for one in snapshot.experiments if one.experiment_id == entry.place), None)
    return None if experiment is None else tree_of(snapshot.view(experiment), entry.source_id)


def _present(context: Import, entry: Entry) -> tuple[str, ArtifactTree]:
    """Return where a copy's files are, and their list."""
    reader = context.reader
    if entry.kind == "run":
        run = records.run(reader.session.get(endpoints.RUN, {"run_id": str(entry.target_id)})["run"])
        [tree] = reader.artifacts([run], "listing")
        return run.artifact_uri, tree
    experiment = str(context.journal.target("experiment", entry.place))
    for batch in reader.experiment_objects(experiment, [entry.kind]):
        for one in batch:
            if one.entity_id == entry.target_id:
                [tree] = reader.entity_files([one], "listing")
                place = one.artifact_uri if entry.kind != "trace" else attachments_uri(one)
                return place or "", tree
    return "", ArtifactTree(entry.source_id, (), None)
