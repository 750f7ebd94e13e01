"""Whether a server still says what an interrupted audit has read of it: only then is a part taken over.

What is cheap to ask for again is asked for: lists. Histories, files and spans are not; they hang on what is listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.identity.digests import combine, digest, listed_digest
from mlflow_parity.core.records import Entity
from mlflow_parity.reading import Reader
from mlflow_parity.snapshot import Part
from mlflow_parity.snapshot.objects import ObjectsTable, entity_digest
from mlflow_parity.snapshot.schema import Listed
from mlflow_parity.snapshot.store import Snapshot

#: Facets of a trace that no list tells, or not under the name that was read.
_NOT_LISTED = frozenset({"spans", "prompts", "run_links"})


def runs_agree(reader: Reader, snapshot: Snapshot, experiment_id: str) -> bool:
    """Whether an experiment's list of runs is the one that was read; false where it cannot be told."""
    known = snapshot.listed(experiment_id)
    if known is None:
        return False
    seen = 0
    try:
        for page in reader.runs(experiment_id):
            if any(Listed(run.lifecycle_stage, listed_digest(run)) != known.get(run.run_id) for run in page):
                return False
            seen += len(page)
    except ReadError:
        return False
    return seen == len(known)


def objects_agree(
    reader: Reader, snapshot: Snapshot, place: str, part: Part, listed: Iterable[Sequence[Entity]]
) -> bool:
    """Whether the objects of a part are those that were read; ``listed`` lists them again, traces apart."""
    sidecar: dict[str, Any] = snapshot.sidecar(place, part) or {}
    try:
        if part == "traces":
            path = snapshot.folder(place) / f"{part}.parquet"
            before = (_trace_digest(trace) for trace in ObjectsTable(path).everything())
            with closing(reader.trace_infos(place)) as infos:
                return combine(before) == combine(_trace_digest(trace) for page in infos for trace in page)
        return combine(entity_digest(entity) for batch in listed for entity in batch).hex() == sidecar.get("digest")
    except ReadError:
        return False


def _trace_digest(trace: Entity) -> bytes:
    facets = {
        name: json.dumps(value, sort_keys=True) for name, value in trace.facets.items() if name not in _NOT_LISTED
    }
    return digest([trace.entity_id, trace.name, trace.container, facets])
