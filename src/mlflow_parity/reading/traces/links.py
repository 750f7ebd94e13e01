"""Which traces are linked to which prompt versions and runs, where associations alone say so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused
from mlflow_parity.reading.registry import read_prompt_versions
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.reading.transport.listing import Entry, made, pages
from mlflow_parity.reading.transport.session import Session

#: First release that keeps the links in a table of their own, and not only in a tag.
LINKS = (3, 6)
#: Experiments of one search.
_PLACES = 100


def read_prompt_links(session: Session, experiment_ids: Sequence[str], page: int) -> Mapping[str, list[str]] | None:
    """Return, by trace id, the prompt versions that a trace is associated with; ``None`` where no search tells.

    A prompt version that is gone cannot be asked for.

    Raises:
        ReadError: a search that the server can make failed.
    """
    try:
        versions = read_prompt_versions(session)
        if not versions:
            return {}
        # a server without this filter says so
        _linked(session, experiment_ids[:1], "none/0", page)
    except RequestRefused as error:
        if error.status == 400 or is_absent(error):
            return None
        raise
    found: dict[str, list[str]] = defaultdict(list)
    for version in versions:
        for first in range(0, len(experiment_ids), _PLACES):
            for trace in _linked(session, experiment_ids[first : first + _PLACES], version, page):
                found[trace].append(version)
    return {trace: sorted(set(linked)) for trace, linked in found.items()}


def _linked(session: Session, experiment_ids: Sequence[str], version: str, page: int) -> list[str]:
    """Return the ids of the traces of some experiments that are associated with a prompt version."""
    quote = next((mark for mark in "\"'" if mark not in version), None)
    if quote is None:
        raise MalformedAnswer("the traces of a prompt cannot be asked for: both kinds of quotes are in its name")
    body: dict[str, Any] = {
        "locations": [
            {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": one}} for one in experiment_ids
        ],
        "filter": f"prompt = {quote}{version}{quote}",
        "max_results": page,
        "order_by": ["timestamp_ms ASC"],
    }
    # rows that move bring a trace twice, which is one link
    return [made(_trace_id, entry) for entries in pages(session, endpoints.TRACES, body, "traces") for entry in entries]


def _trace_id(entry: Entry) -> str:
    return str(entry["trace_id"])


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
