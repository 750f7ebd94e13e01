"""Evaluation datasets: what must be equal, and what may differ and why."""

from __future__ import annotations

from mlflow_parity.kinds.schema.base import (
    Kind,
    equal,
    expected,
    items,
    not_compared,
    other,
    own,
    paired,
    presence,
    tags,
    times,
    value,
)

EVALUATION_DATASET = Kind(
    "evaluation_dataset",
    "evaluation datasets",
    "server",
    "evaluation_datasets",
    (
        presence("By id, else by name."),
        value("name", "name", "Code loads datasets by it."),
        tags("every tag", "Verbatim."),
        own(
            "schema",
            equal("schema", "schema", "Derived from the records."),
            expected(
                "schema.outputs",
                "outputs of records without outputs",
                "The server derives the schema: newer ones name outputs also where no record has any, older ones "
                "never.",
                "it is empty on one side, absent on the other, and all else is equal",
            ),
        ),
        value("profile", "profile", "Derived from the records."),
        own(
            "digest",
            expected(
                "digest",
                "digest",
                "The server makes it of its own ids and times; the records themselves are compared.",
                "the target has one",
            ),
        ),
        value("user", "created_by", "Who made it."),
        own(
            "last_updated_by",
            expected(
                "last_updated_by",
                "last_updated_by",
                "The server names who wrote to it last: whoever imported its records. No request sets it alone.",
                "the dataset was created on the target: its id is another",
            ),
        ),
        own(
            "experiments",
            paired("experiments", "linked experiments", "It must hang on the copies of its experiments."),
            expected(
                "experiments.dangling",
                "link to an experiment that is gone",
                "The source itself has no such experiment (any more) in scope, so there is no copy to hang on.",
                "the experiment is not on the source, or deleted there and not in scope, and the copy hangs on "
                "no other instead",
            ),
        ),
        items(
            "records",
            "every record: inputs, outputs, expectations, tags, source",
            "As a multiset; ids of traces in them through the pairing.",
            of="trace",
            what="record",
        ),
        times(),
        other(
            not_compared(
                "other.records",
                "records: dataset_record_id, dataset_id, source_id, created_time, last_update_time, last_updated_by",
                "Ids, times and the last writer of a record are given by the server that it is written to.",
            ),
            entry="a record",
        ),
    ),
    content=("tags", "records"),
    first=(3, 4),
)
