"""What is on the target beside the copies: further copies, told from the versions of other servers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING

from mlflow_parity.core.identity.keys import SOURCE_RUN_TAG
from mlflow_parity.kinds import content, is_copy, natural, origin
from mlflow_parity.migrating.write.exported import every
from mlflow_parity.snapshot import SERVER

if TYPE_CHECKING:
    from mlflow_parity.core.records import Entity
    from mlflow_parity.migrating.journal import Entry
    from mlflow_parity.migrating.write.importing import Import

Listing = Callable[[], Iterator[list["Entity"]]]
Key = Callable[["Entity"], Hashable]


def further_copies(context: Import) -> Iterator[tuple[Entry, str]]:
    """Yield each further copy on the target: the entry of its source object, whose copy is another, and its id.

    A run or model version names its source. A trace is known by its time, name, state and previews, a logged model by
    its content and by its run's source: what somebody else trained under the same name is no copy.

    Raises:
        ReadError: a list cannot be read.
    """
    journal, reader = context.journal, context.reader
    copies = {journal.target("experiment", one.experiment_id) for one in context.experiments}
    for experiment in sorted(one for one in copies if one is not None):
        runs: dict[str, str] = {}
        for entry, run_id in _runs(context, experiment):
            runs[run_id] = entry.source_id
            yield entry, run_id

        def key_of_model(model: Entity, runs: dict[str, str] = runs) -> Hashable:
            run = model.facets.get("run")
            ours = journal.of_target("run", run) if run is not None and run not in runs else None
            source = runs.get(str(run)) if ours is None else ours.source_id
            return None if source is None else (source, _told(model))

        if runs:
            yield from _further(context, "logged_model", _models(context, experiment), key_of_model)
        yield from _further(context, "trace", lambda one=experiment: reader.trace_infos(one), _told)  # type: ignore[misc]
    strange = [
        version
        for version, entry in _with_entries(context, "model_version", reader.registry)
        if entry is None and origin(version) is not None
    ]
    entries = journal.some("model_version", (str(origin(version)) for version in strange))
    for version in copies_among(context, strange):
        known = entries.get(str(origin(version)))
        if known is not None and known.target_id is not None:
            yield known, version.entity_id


def copies_among(context: Import, found: Sequence[Entity]) -> list[Entity]:
    """Return those of some model versions of the target that are no copies of another server's versions.

    Of what the export does not have any more, name and number have to do.
    """
    if not found:
        return []
    objects, named = context.export.snapshot.objects(SERVER), {str(origin(version)) for version in found}
    sources = {one.entity_id: one for one in every(objects, "model_version", only=named)}
    return [one for one in found if (source := sources.get(str(origin(one)))) is None or is_copy(one, source)]


def _runs(context: Import, experiment: str) -> Iterator[tuple[Entry, str]]:
    for page in context.reader.runs(experiment):
        named = {
            run.run_id: run.tags[SOURCE_RUN_TAG]
            for run in page
            if SOURCE_RUN_TAG in run.tags and (context.include_deleted or run.lifecycle_stage != "deleted")
        }
        entries = context.journal.some("run", named.values())
        for run_id, source_id in named.items():
            entry = entries.get(source_id)
            if entry is not None and entry.target_id not in (None, run_id):
                yield entry, run_id


def _models(context: Import, experiment: str) -> Listing:
    return lambda: context.reader.experiment_objects(experiment, ("logged_model",))


def _further(context: Import, kind: str, listing: Listing, key: Key) -> Iterator[tuple[Entry, str]]:
    """Yield what is like one of ours and is not ours; the list is read again only where something is not ours."""
    strange: dict[Hashable, list[str]] = defaultdict(list)
    for entity, entry in _with_entries(context, kind, listing):
        if entry is None and (told := key(entity)) is not None:
            strange[told].append(entity.entity_id)
    if not strange:
        return
    for entity, entry in _with_entries(context, kind, listing):
        if entry is not None:
            yield from ((entry, copy) for copy in strange.pop(key(entity), ()))


def _with_entries(context: Import, kind: str, listing: Listing) -> Iterator[tuple[Entity, Entry | None]]:
    for batch in listing():
        for entity in batch:
            if entity.kind == kind:
                yield entity, context.journal.of_target(kind, entity.entity_id)


def _told(entity: Entity) -> str:
    """Return what tells an object from its like."""
    return json.dumps([natural(entity), content(entity)], sort_keys=True)
