"""The tables and columns that are read, which every release from 2.16 on has, and whether they are there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

import pyarrow as pa

from mlflow_parity.core.errors import MalformedAnswer, ReadError, UsageProblem
from mlflow_parity.reading.database.connection import Database

NEEDED: Mapping[str, str] = {
    "experiments": "experiment_id name lifecycle_stage creation_time",
    "runs": "run_uuid name user_id status start_time end_time lifecycle_stage artifact_uri experiment_id",
    "params": "run_uuid key value",
    "tags": "run_uuid key value",
    "latest_metrics": "run_uuid key value timestamp step is_nan",
    "metrics": "run_uuid key value timestamp step is_nan",
    "inputs": "input_uuid source_id destination_type destination_id",
    "input_tags": "input_uuid name value",
    "datasets": "dataset_uuid name digest dataset_source_type dataset_source dataset_schema dataset_profile",
}
#: Ids that MLflow gives to runs. Nothing else is put into a query.
_RUN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def columns_of(database: Database) -> dict[str, set[str]]:
    """Return the columns of each table, of which those that are read are there.

    Raises:
        UsageProblem: one is not there, or the user may not see it.
        ReadError: the database does not tell.
    """
    found = database.columns()
    lacking = [
        f"{table}.{column}"
        for table, columns in NEEDED.items()
        for column in columns.split()
        if column not in found.get(table, ())
    ]
    if not lacking:
        return found
    whole = [table for table in NEEDED if table not in found]
    what = f"no table {', '.join(whole)}" if whole else f"no {', '.join(lacking[:5])}"
    raise UsageProblem(
        f"{database.url.option}: {database.url.display} shows {what}{_version(database)}: it is no database of MLflow "
        "2.16 or later, or this user has no right to read it; grant SELECT on its tables, or leave the option out"
    )


def _version(database: Database) -> str:
    """Return which schema it is, where that is told."""
    query = "SELECT a.version_num FROM alembic_version a"
    with suppress(ReadError):
        for (version,) in database.rows(query, pa.schema([("version_num", pa.string())])):
            return f" (schema {str(version)[:32]!r})"
    return ""


def among(run_ids: Iterable[str]) -> str:
    """Return run ids as SQL has them in a list.

    Raises:
        MalformedAnswer: one is no id that MLflow gives.
    """
    return ", ".join(f"'{checked(one)}'" for one in run_ids)


def checked(run_id: object) -> str:
    """Return a run's id.

    Raises:
        MalformedAnswer: it is none that MLflow gives.
    """
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise MalformedAnswer(f"the database holds a run whose id is {run_id!r:.60}, which MLflow gives to none")
    return run_id
