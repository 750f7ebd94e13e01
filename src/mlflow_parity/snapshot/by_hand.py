"""What a server holds that no tool can move, counted from its snapshot: it has to be made by hand on the target.

Secrets are told by no server; users, roles and permissions belong to a server's own login; an archive of traces lies in
a store of its own, which the copies know nothing of (their spans are copied).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mlflow_parity.core.text import noun
from mlflow_parity.kinds import KINDS
from mlflow_parity.snapshot import SERVER
from mlflow_parity.snapshot.store import Snapshot

#: Secrets, by the kind that has them.
_SECRETS: Mapping[str, str] = {
    "webhook": "secrets of webhooks",
    "gateway_secret": "values of gateway secrets",
}
_ARCHIVES = "archived traces"
_TAG, _ARCHIVED = "mlflow.trace.spansLocation", "ARCHIVE_REPO"


def by_hand(snapshot: Snapshot, experiments: list[str] | None = None) -> dict[str, int | None]:
    """Return the counts that are not zero, by plural; ``None``: there may be some, and nobody could count them.

    ``experiments`` are the ids of those in scope; all of the snapshot where they are not named.
    """
    found: dict[str, int | None] = dict(snapshot.origin.accounts)
    server = snapshot.objects(SERVER)
    for kind, plural in _SECRETS.items():
        part = KINDS[kind].part
        if server.problem(part) is None:
            found[plural] = server.counts().get(KINDS[kind].plural, 0)
    ids = [one.experiment_id for one in snapshot.experiments] if experiments is None else experiments
    found[_ARCHIVES] = sum(_archived(snapshot, place) for place in ids)
    return {plural: count for plural, count in found.items() if count != 0}


def sentence(counts: Mapping[str, int | None]) -> str:
    """Return the counts in words: ``3 users, 1 role, permissions (not counted)``."""
    return ", ".join(
        f"{plural} (not counted)" if count is None else f"{count:,} {noun(count, plural)}"
        for plural, count in counts.items()
    )


def _archived(snapshot: Snapshot, place: str) -> int:
    """Count the traces of an experiment whose spans were in an archive, batch by batch."""
    path = snapshot.folder(place) / f"{KINDS['trace'].part}.parquet"
    if snapshot.objects(place).problem(KINDS["trace"].part) is not None:
        return 0
    return sum(_is_archived(tags) for tags in _tags(str(path)))


def _tags(path: str) -> Iterator[str]:
    """Yield the tags, as JSON, of the traces that may be archived."""
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(columns=["facets"]):
        column = batch.column("facets")
        tags = pc.map_lookup(column, "tags", "first")
        yield from tags.filter(pc.match_substring(tags, _ARCHIVED)).to_pylist()


def _is_archived(tags: str) -> bool:
    return bool(json.loads(tags).get(_TAG) == _ARCHIVED)
