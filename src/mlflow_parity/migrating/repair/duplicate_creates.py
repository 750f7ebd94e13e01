"""Second copies of ours: a request to make something got no answer, was sent again, and came true twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_parity.core.errors import RequestRefused
from mlflow_parity.core.keys import SOURCE_RUN_TAG
from mlflow_parity.core.records import Run
from mlflow_parity.kinds import origin
from mlflow_parity.migrating.repair.audit_findings import Damaged
from mlflow_parity.migrating.repair.deleting import delete, mark
from mlflow_parity.migrating.write.objects.logged_models import MARK
from mlflow_parity.reading import records
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import pairs

if TYPE_CHECKING:
    from mlflow_parity.migrating.write.importing import Import


def remove_twins(context: Import, damaged: Damaged) -> None:
    """Delete the copies that nobody but this migration can have made beside the one that the journal knows.

    Raises:
        ReadError: the target does not answer.
    """
    journal = context.journal
    for one in damaged.found:
        ours = journal.target(one.kind, one.source_id)
        if one.kind != "run" or ours is None or not journal.in_doubt(one.kind, one.source_id):
            continue
        known = _run(context, ours)
        for copy in sorted(one.targets - {ours}):
            if _is_as_made(_run(context, copy), known):
                mark(context.writer, copy, one.source_id)
                delete(context.writer, one.kind, copy, "")
    for copy in sorted(_strange(context, damaged, "logged_model")):
        # our mark is taken off each model that the journal knows
        source = _tags_of_model(context, copy).get(MARK)
        if source is not None and journal.target("logged_model", source) is not None:
            delete(context.writer, "logged_model", copy, "")
    strange = _strange(context, damaged, "model_version")
    for batch in context.reader.registry() if strange else ():
        for version in batch:
            source = origin(version) if version.entity_id in strange else None
            if source is not None and journal.in_doubt(version.kind, source):
                delete(context.writer, version.kind, version.entity_id, "")


def _strange(context: Import, damaged: Damaged, kind: str) -> set[str]:
    """Return the copies of a kind that the audit names and the journal does not know."""
    found = {one.identity for one in damaged.unpaired if one.kind == kind}
    found |= {copy for one in damaged.found if one.kind == kind for copy in one.targets}
    return found - set(context.journal.ids(kind).values())


def _run(context: Import, run_id: str) -> Run:
    return records.run(context.reader.session.get(endpoints.RUN, {"run_id": run_id})["run"])


def _is_as_made(copy: Run, known: Run) -> bool:
    """Whether a run is as the request that makes ours left it: nobody has written to it since."""
    same = copy.tags.get(SOURCE_RUN_TAG) == known.tags.get(SOURCE_RUN_TAG) and copy.start_time == known.start_time
    return same and copy.status == "RUNNING" and not (copy.params or copy.metrics or copy.inputs or copy.end_time)


def _tags_of_model(context: Import, model_id: str) -> dict[str, str]:
    try:
        answer = context.reader.session.get(endpoints.LOGGED_MODEL, below=model_id)
    except RequestRefused as error:
        if error.status != 404:
            raise
        return {}
    return pairs(answer["model"]["info"].get("tags"))
