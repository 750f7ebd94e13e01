"""Exports a running server into a folder, as ``migrate.py export`` does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Experiment
from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.migrating.export.exporting import Exporter
from mlflow_parity.reading import open_reader
from mlflow_parity.snapshot.incomplete import Unread
from mlflow_parity.standin.servers import Server


def export(server: Server, root: Path, *, include_deleted: bool = True) -> ExportFolder:
    """Export everything; what cannot be read is an error."""
    folder, left = export_from(server.uri, root, include_deleted=include_deleted)
    assert left == []
    return folder


def export_from(
    uri: str, root: Path, *, include_deleted: bool = True, others: bool = True
) -> tuple[ExportFolder, list[Unread]]:
    """Export everything, or without ``others`` what experiments hold; return the folder and what could not be read."""
    folder = ExportFolder(root / "export")

    def in_scope(found: Iterable[Experiment]) -> list[Experiment]:
        return [one for one in found if include_deleted or one.lifecycle_stage != "deleted"]

    reader: Any = open_reader(parse_location(uri, option="--source-uri"), "source", 4)
    reader.others = others
    try:
        log = root / "export.log"
        exporter = Exporter(
            reader, folder, include_deleted=include_deleted, log=log, count=lambda **_: None, in_scope=in_scope
        )
        experiments = in_scope(reader.experiments())
        exporter.begin(experiments)
        exporter.batch(experiments)
        exporter.server()
        return folder, exporter.finish()
    finally:
        reader.close()
