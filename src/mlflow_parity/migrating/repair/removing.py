"""What a repair removes from the target: copies to be made again, files that are too many, what a late request made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from mlflow_parity.core.errors import ReadError, RequestRefused
from mlflow_parity.core.identity.keys import SOURCE_RUN_TAG
from mlflow_parity.core.records import REPLACED_TAG, ArtifactTree, Run
from mlflow_parity.kinds import origin
from mlflow_parity.migrating.repair.audit_findings import Damage, Damaged
from mlflow_parity.migrating.repair.further_copies import copies_among
from mlflow_parity.migrating.write.objects.logged_models import MARK
from mlflow_parity.migrating.write.objects.runs import tree_of
from mlflow_parity.reading import records
from mlflow_parity.reading.artifacts.artifact_locations import attachments_uri
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import pairs
from mlflow_parity.snapshot import FILES_PART

if TYPE_CHECKING:
    from mlflow_parity.migrating.journal import Entry
    from mlflow_parity.migrating.write.importing import Import
    from mlflow_parity.migrating.write.writing import Writer


def mark(writer: Writer, run_id: str, source_id: str) -> None:
    """Say of a run that it is replaced: in the trash it stays visible, and must not pass for a second copy."""
    runs = "/api/2.0/mlflow/runs"
    with _gone():
        writer.call("POST", f"{runs}/set-tag", {"run_id": run_id, "key": REPLACED_TAG, "value": source_id})
        writer.call("POST", f"{runs}/delete-tag", {"run_id": run_id, "key": SOURCE_RUN_TAG})


@contextmanager
def _gone() -> Iterator[None]:
    """Pass over what somebody deleted already, or what was done before a kill."""
    try:
        yield
    except RequestRefused as error:
        if error.status != 404 and error.code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise


def delete(writer: Writer, kind: str, identity: str, experiment: str) -> None:
    """Delete an object of the target; ``experiment`` is the target id of its experiment."""
    container, _, number = identity.rpartition("/")
    api, three = "/api/2.0/mlflow", "/api/3.0/mlflow"
    calls: dict[str, tuple[str, str, dict[str, object] | None]] = {
        "run": ("POST", f"{api}/runs/delete", {"run_id": identity}),
        "logged_model": ("DELETE", f"{api}/logged-models/{quote(identity, safe='')}", None),
        "trace": (
            "POST",
            f"{api}/traces/delete-traces",
            {"experiment_id": experiment, "request_ids": [identity]},
        ),
        "registered_model": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "model_version": ("DELETE", f"{api}/model-versions/delete", {"name": container, "version": number}),
        "prompt": ("DELETE", f"{api}/registered-models/delete", {"name": identity}),
        "evaluation_dataset": ("DELETE", f"{three}/datasets/{quote(identity, safe='')}", None),
        "webhook": ("DELETE", f"{api}/webhooks/{quote(identity, safe='')}", None),
        "scorer": (
            "DELETE",
            f"{three}/scorers/delete",
            {"experiment_id": experiment, "name": identity.rpartition("/")[0]},
        ),
    }
    method, path, body = calls[kind]
    with _gone():
        writer.call(method, path, body)


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
    for copy in _half_removed(context, damaged):
        delete(context.writer, "run", copy, "")
    for copy in sorted(_strange(context, damaged, "logged_model")):
        # our mark is taken off each model that the journal knows
        source = _tags_of_model(context, copy).get(MARK)
        if source is not None and journal.target("logged_model", source) is not None:
            delete(context.writer, "logged_model", copy, "")
    strange = _strange(context, damaged, "model_version")
    versions = (
        [one for batch in context.reader.registry() for one in batch if one.entity_id in strange] if strange else []
    )
    for version in copies_among(context, [one for one in versions if journal.in_doubt(one.kind, origin(one) or "")]):
        delete(context.writer, version.kind, version.entity_id, "")


def _half_removed(context: Import, damaged: Damaged) -> Iterator[str]:
    """Yield the copies that were marked as replaced, and not deleted because a kill came: nothing pairs them now."""
    journal, unpaired = context.journal, {one.identity for one in damaged.unpaired if one.kind == "run"}
    for kind, source_id in journal.doubts() if unpaired else ():
        entry = journal.entry(kind, source_id)
        if kind != "run" or entry is None or entry.target_id is None:
            continue
        query = {
            "experiment_ids": [journal.target("experiment", entry.place)],
            "filter": f"tags.`{REPLACED_TAG}` = '{source_id}'",
            "run_view_type": "ACTIVE_ONLY",
            "max_results": 100,
        }
        found = [records.run(one) for one in context.reader.session.post(endpoints.RUNS, query).get("runs", [])]
        known = _run(context, entry.target_id) if found else None
        yield from (one.run_id for one in found if known and one.run_id in unpaired and _is_as_made(one, known))


def _strange(context: Import, damaged: Damaged, kind: str) -> set[str]:
    """Return the copies of a kind that the audit names and the journal does not know."""
    found = {one.identity for one in damaged.unpaired if one.kind == kind}
    found |= {copy for one in damaged.found if one.kind == kind for copy in one.targets}
    return found - set(context.journal.ids(kind).values())


def _run(context: Import, run_id: str) -> Run:
    return records.run(context.reader.session.get(endpoints.RUN, {"run_id": run_id})["run"])


def _is_as_made(copy: Run, known: Run) -> bool:
    """Whether a run is as the request that makes ours left it: nobody has written to it since."""
    # one that is marked as replaced has lost its source tag
    source = copy.tags.get(SOURCE_RUN_TAG) or copy.tags.get(REPLACED_TAG)
    same = source == known.tags.get(SOURCE_RUN_TAG) and copy.start_time == known.start_time
    return same and copy.status == "RUNNING" and not (copy.params or copy.metrics or copy.inputs or copy.end_time)


def _tags_of_model(context: Import, model_id: str) -> dict[str, str]:
    try:
        answer = context.reader.session.get(endpoints.LOGGED_MODEL, below=model_id)
    except RequestRefused as error:
        if error.status != 404:
            raise
        return {}
    return pairs(answer["model"]["info"].get("tags"))
