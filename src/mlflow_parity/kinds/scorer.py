"""Scorers: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.schema.base import Kind, not_compared, number, other, presence, times, value

SCORER = Kind(
    "scorer",
    "scorers",
    "experiment",
    "scorers",
    (
        presence(
            "The Export Import tool moves none: migrate them by hand or waive them. Those of a deleted "
            "experiment cannot be listed.",
            field="the scorer version itself",
        ),
        number("version number", "Callers name it."),
        value(
            "definition",
            "the serialized scorer",
            "What is run.",
            not_compared(
                "online",
                "online scoring configuration, jobs of the server",
                "How a server runs a scorer, and the jobs that its executor ran (scoring, prompt optimization), "
                "are states of that server; what the jobs made (runs, prompts, assessments) is compared.",
            ),
        ),
        times("creation time", "The server sets it; no API can."),
        other(not_compared("other.id", "scorer_id", "The server gives it; version and definition are compared.")),
    ),
    content=("definition",),
    first=(3, 4),
)
