"""A server read by its API alone and with its database beside it; both must come out the same."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.locations import parse_location
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.database.reader import DatabaseReader
from mlflow_parity.reading.database.urls import parse_database
from mlflow_parity.snapshot.schema import Asked
from support.opened import opened
from support.postgres import Postgres

#: Files of a snapshot that are compared row by row.
_FILES = ("runs.parquet", "metrics.parquet")


def read(folder: Path, uri: str, database: str | None = None) -> dict[str, Any]:
    """Read all runs and histories of a server; return digests, counts and rows by experiment and file."""
    location = parse_location(uri, option="--source-uri")
    url = None if database is None else parse_database(database, "source")
    reader = open_reader(location, "source", 4, database=url)
    assert isinstance(reader, DatabaseReader) == (database is not None)
    try:
        side = Side("source", location, reader)
        experiments = side.experiments()
        root = folder / ("api" if database is None else "database")
        side.read(
            root,
            experiments,
            ("runs", "metrics"),
            "listing",
            include_deleted=True,
            count=uncounted,
            asked=Asked("listing", True),
        )
        found: dict[str, Any] = {}
        for experiment in experiments:
            place = side.snapshot.folder(experiment.experiment_id)
            for part in ("runs", "metrics"):
                sidecar = json.loads((place / f"{part}.json").read_text(encoding="utf-8"))
                told = {name: sidecar.get(name) for name in ("counts", "digest", "error", "other")}
                found[f"{experiment.experiment_id} {part}"] = told
            for name in _FILES:
                table = pq.read_table(place / name) if (place / name).exists() else None
                rows = [] if table is None else table.drop_columns(["row"] if name == _FILES[1] else []).to_pylist()
                found[f"{experiment.experiment_id} {name}"] = sorted(
                    rows, key=lambda row: (row["run_id"], str(row.get("key")))
                )
        return found
    finally:
        reader.close()


def opened_beside(uri: str, database: str) -> DatabaseReader:
    """Return a reader of a server with its database beside it."""
    return DatabaseReader(opened(uri), parse_database(database, "source"))


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return what two readings do not share, in a line each."""
    return [
        f"{name}: {first.get(name)!r:.1500} / {second.get(name)!r:.1500}"
        for name in sorted({*first, *second})
        if repr(first.get(name)) != repr(second.get(name))
    ]


def sql(cluster: Postgres, statements: str, database: str = "mlflow") -> str:
    """Run statements in PostgreSQL as the owner of everything."""
    command = [str(cluster.bin / "psql"), "-v", "ON_ERROR_STOP=1", "-qAt", cluster.dsn(database), "-c", statements]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
