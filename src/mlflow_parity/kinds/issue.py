"""Issues: what must be equal, and what may differ and why."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.json_text import text
from mlflow_parity.kinds.schema.base import Kind, definition, expected, link, presence, stamps
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing, plain, stamped

_SEEN, _CREATED = "last_seen_timestamp", "created_timestamp"


def _made(entry: Entry, _: Asking) -> tuple[str, dict[str, Any]]:
    times = stamped(entry)
    if times.get(_SEEN) == times.get(_CREATED):
        # what MLflow 3.18 tells of an issue that it has not seen again, and 3.17 does not
        times.pop(_SEEN, None)
    less = ("issue_id", "experiment_id", "source_run_id", "trace_count")
    return entry.get("name", ""), {
        "definition": {**plain(entry, *less), **plain({"author": entry.get("created_by")})},
        "experiment": text(entry.get("experiment_id")),
        "run": text(entry.get("source_run_id")),
        "times": times,
    }


ISSUE = Kind(
    "issue",
    "issues",
    "server",
    "issues",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition("description, status, severity, root causes, categories, author"),
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
        link(
            "run",
            "run",
            "source_run_id",
            "It names the copy of the run that found it.",
            expected(
                "run.dangling",
                "source_run_id of a run that is gone",
                "The source itself has no such run (any more).",
                "the copy names the same id, or none",
            ),
        ),
        stamps(),
    ),
    content=("definition",),
    first=(3, 11),
    named=False,
    surely=(3, 17),
    listing=Listing("issues", "issues", "issue_id", _made),
)
