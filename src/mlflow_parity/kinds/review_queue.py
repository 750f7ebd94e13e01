"""Review queues: what must be equal, and what may differ and why."""

from __future__ import annotations

from typing import Any

from mlflow_parity.core.json_text import text
from mlflow_parity.kinds.schema.base import (
    Kind,
    definition,
    equal,
    expected,
    items,
    link,
    not_compared,
    own,
    presence,
    stamps,
)
from mlflow_parity.kinds.schema.listing import Asking, Entry, Listing, in_order, plain, stamped


def _made(entry: Entry, asking: Asking) -> tuple[str, dict[str, Any]]:
    # one by one: MLflow's list of label schemas makes the default one, and an audit writes nothing
    schemas = [asking.one("label-schema", {"schema_id": one})["label_schema"] for one in entry.get("schema_ids", [])]
    items_of = asking.every("review-items", "items", {"queue_id": entry["queue_id"], "max_results": 100})
    return entry.get("name", ""), {
        "definition": {
            **plain(entry, "queue_id", "experiment_id", "schema_ids"),
            "label_schemas": in_order(plain(one, "schema_id", "experiment_id") for one in schemas),
        },
        "experiment": text(entry.get("experiment_id")),
        "items": in_order(plain(one, "queue_id") for one in items_of),
        "owner": entry.get("created_by") or None,
        "times": stamped(
            {key: value for key, value in entry.items() if key != "created_by"},
            label_schemas=((one["name"], one) for one in schemas),
            items=((one["item_id"], one) for one in items_of),
        ),
    }


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
        own(
            "owner",
            equal("owner", "created_by, its owner", "Who may change the queue; MLflow lets it be set (new_owner)."),
            expected(
                "owner.unset",
                "the owner of a queue that has none on the source",
                "A server with users makes whoever creates a queue its owner.",
                "the source tells no owner",
            ),
        ),
        link("experiment", "experiment", "experiment", "It belongs to the copy of its experiment."),
        items("items", "items with their status", "As a multiset; ids of traces through the pairing.", of="trace"),
        stamps("label schemas", "items"),
    ),
    content=("definition",),
    first=(3, 11),
    named=False,
    surely=(3, 17),
    listing=Listing("review-queues", "review_queues", "queue_id", _made, of_experiment=True),
)
