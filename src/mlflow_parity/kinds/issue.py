"""Issues: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, definition, expected, link, presence

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
    ),
    content=("definition",),
    first=(3, 11),
    named=False,
    surely=(3, 17),
)
