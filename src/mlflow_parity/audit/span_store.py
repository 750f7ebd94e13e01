"""Whether a side's server can keep spans in its database, where searches by span find them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow_parity.reading.traces.traces import BATCHES
from mlflow_parity.reading.transport.capabilities import release

if TYPE_CHECKING:
    from mlflow_parity.audit.side import Side


def keeps_spans(side: Side) -> bool:
    """Whether it certainly can; of a snapshot's server the release tells it, of an ARN nothing does."""
    if side.reader is not None:
        return bool(side.reader.keeps_spans)
    origin = side.snapshot.origin
    return origin.kind == "http" and release(origin.version) >= BATCHES
