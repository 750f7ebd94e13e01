"""Objects of an export, one after the other: no more of them are loaded than a chunk holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from mlflow_parity.kinds import KINDS

if TYPE_CHECKING:
    from mlflow_parity.core.records import Entity
    from mlflow_parity.snapshot.store import PlaceObjects

_CHUNK = 500


def every(
    objects: PlaceObjects, kind: str, *, only: Collection[str] | None = None, chunk: int = _CHUNK
) -> Iterator[Entity]:
    """Yield every object of a kind, or ``only`` those of these ids; nothing where their list was not read."""
    if objects.problem(KINDS[kind].part) is not None:
        return
    ids = [key.entity_id for key in objects.keys(kind) if only is None or key.entity_id in only]
    for first in range(0, len(ids), chunk):
        yield from objects.entities(kind, ids[first : first + chunk])
