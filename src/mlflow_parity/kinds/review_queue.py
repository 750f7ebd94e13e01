"""Review queues: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.base import Kind, definition, items, link, not_compared, presence

REVIEW_QUEUE = Kind(
    "review_queue",
    "review queues",
    "server",
    "review_queues",
    (
        presence("By id, else by name. The Export Import tool moves none."),
        definition(
            "type, users, label schemas",
            not_compared(
                "label_schemas",
                "label schemas of no review queue",
                "MLflow's only list of label schemas writes: it makes an experiment's default one. Those of a "
                "queue are read one by one, and compared with it.",
            ),
        ),
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
        items("items", "items with their status", "As a multiset; ids of traces through the pairing.", of="trace"),
    ),
    content=("definition",),
    first=(3, 11),
    named=False,
    surely=(3, 17),
)
