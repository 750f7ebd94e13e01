"""Import of the registry, prompts, traces, evaluation datasets, scorers and webhooks: nothing lost, nothing twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.exported import export
from support.importer import Whole
from support.killed import import_killed
from support.seed import Seeder
from support.seed_many import seed_many
from support.seed_objects import seed_objects
from support.seed_odd import seed_odd
from support.servers import FreshServer

from mlflow_parity.migrating.export.export_folder import ExportFolder
from mlflow_parity.standin.servers import Server


class Source:
    """A server with every kind of object, in ordinary and in odd ways, and its export."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        # ids of experiments are numbers: those of the target must not happen to be the same
        Seeder(server.uri).experiment("first")
        seed_odd(server.uri)
        seed_objects(server.uri, Seeder(server.uri).experiment("every kind"))
        seed_many(server.uri)
        self.export = export(server, folder)


@pytest.fixture(scope="module")
def source(module_server: FreshServer, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The newest server as source, shared by this module; tests only read it."""
    return Source(module_server(), tmp_path_factory.mktemp("source") / "export")


def moved(folder: ExportFolder, target: str, journal: Path, **options: Any) -> Whole:
    """Import everything and return the closed import."""
    migration = Whole(folder, target, journal, **options)
    try:
        migration.run()
    finally:
        migration.close()
    return migration


def red(done: AuditRun) -> set[tuple[str, str, str, str]]:
    """Kind, name, facet and state of what is not green."""
    return {(row.kind, row.name, row.facet, row.state.value) for row in done.red_rows()}


def writes(migration: Whole) -> dict[str, int]:
    """Return the requests that an import sent to write, by method and path."""
    return dict(migration.context.writer.counts)


@pytest.mark.long
def test_everything_arrives_on_a_proxied_target(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Every kind in every way; the audit is green without a waiver; a second import writes nothing."""
    target = fresh_server()
    Seeder(target.uri).experiment("of the target's own")
    first = moved(source.export, target.uri, tmp_path / "journal")
    assert not first.left
    names = ",".join(one.name for one in source.export.snapshot.experiments)
    done = audit(
        tmp_path / "audit", source.server.uri, target.uri, "--parity-include-deleted", "--parity-experiments", names
    )
    assert (red(done), done.status) == (set(), 0), done.output[-3000:]
    again = moved(source.export, target.uri, tmp_path / "journal")
    assert (writes(again), again.left) == ({}, {})


@pytest.mark.long
def test_killed_imports_end_like_one(source: Source, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Killed before, during and after requests of every kind, and gone on with: nothing is lost or there twice."""
    target = fresh_server()
    assert import_killed(source.export.root, target.uri, tmp_path / "journal", whole=True) > 5
    again = moved(source.export, target.uri, tmp_path / "journal")
    assert (writes(again), again.left) == ({}, {})
    names = ",".join(one.name for one in source.export.snapshot.experiments)
    done = audit(
        tmp_path / "audit", source.server.uri, target.uri, "--parity-include-deleted", "--parity-experiments", names
    )
    assert (red(done), done.status) == (set(), 0), done.output[-3000:]
