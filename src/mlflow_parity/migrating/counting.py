"""Counts copies on the target once all is written: what another migration made of the same source is there twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mlflow_parity.snapshot.keys import SOURCE_RUN_TAG

if TYPE_CHECKING:
    from mlflow_parity.migrating.importing import Import
    from mlflow_parity.migrating.journal import Entry


def further_copies(context: Import) -> Iterator[tuple[Entry, str]]:
    """Yield the runs of the target that name a source run whose copy, by the journal, is another run: entry and id.

    Raises:
        ReadError: the runs of an experiment cannot be listed.
    """
    journal = context.journal
    copies = {journal.target("experiment", one.experiment_id) for one in context.experiments}
    for experiment in sorted(one for one in copies if one is not None):
        for page in context.reader.runs(experiment):
            named = {
                run.run_id: run.tags[SOURCE_RUN_TAG]
                for run in page
                if SOURCE_RUN_TAG in run.tags and (context.include_deleted or run.lifecycle_stage != "deleted")
            }
            entries = journal.some("run", named.values())
            for run_id, source_id in named.items():
                entry = entries.get(source_id)
                if entry is not None and entry.target_id not in (None, run_id):
                    yield entry, run_id
