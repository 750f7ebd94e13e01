"""Which traces were linked to a run after they were made, as ``mlflow.genai.evaluate`` does: one search a run."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.errors import MalformedAnswer
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import Entry, made, pages
from mlflow_parity.reading.transport.session import Session

_RUN = "mlflow.sourceRun"


def traces_of_run(session: Session, experiment_id: str, run_id: str, page: int) -> set[str]:
    """Return the ids of an experiment's traces that are linked to a run and were not made in it.

    Raises:
        ReadError: the search failed.
    """
    quote = next((mark for mark in "'\"" if mark not in run_id), None)
    if quote is None:
        raise MalformedAnswer("the traces of a run cannot be asked for: both kinds of quotes are in its id")
    body: dict[str, Any] = {
        "locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}],
        "filter": f"attribute.run_id = {quote}{run_id}{quote}",
        "max_results": page,
        "order_by": ["timestamp_ms ASC"],
    }
    found = [made(_trace, entry) for entries in pages(session, endpoints.TRACES, body, "traces") for entry in entries]
    return {trace for trace, source in found if source != run_id}


def _trace(entry: Entry) -> tuple[str, str | None]:
    return str(entry["trace_id"]), (entry.get("trace_metadata") or {}).get(_RUN)
