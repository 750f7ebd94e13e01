"""What ``repair`` replaces and what it leaves; the import, the audit and the repair run in this process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.copied import audited
from support.exported import export_from
from support.importer import Migration
from support.seed import Seeder
from support.seed_objects import Objects, seed_objects
from support.servers import FreshServer

from mlflow_parity.migrating.damage import UNREAD, Damaged, Left, gather
from mlflow_parity.migrating.exporting import Unread
from mlflow_parity.migrating.ordering import import_batch, import_rest
from mlflow_parity.migrating.repairing import repair
from mlflow_parity.standin.servers import Server


class Moved:
    """A source with runs, logged models and a registry, moved to a target."""

    def __init__(self, source: Server, target: Server, folder: Path) -> None:
        self.source, self.target, self.folder = source, target, folder
        self.seed, self.there = Seeder(source.uri), Seeder(target.uri)
        # ids of the two servers must not happen to be the same
        self.there.call("POST", "experiments/delete", {"experiment_id": self.there.experiment("of the target's own")})
        self.experiment = self.seed.experiment("every kind")
        self.made: Objects = seed_objects(source.uri, self.experiment, traces=False)
        self.alone = self.seed.run(self.experiment, "alone")
        self.seed.artifact(self.alone, "notes.txt", b"alone\n")
        self.seed.end(self.alone)

    def bring(self) -> list[Unread]:
        """Export and import everything; return what could not be read."""
        self.export, unread = export_from(self.source.uri, self.folder)
        importing = Migration(self.export, self.target.uri, self.folder / "journal.sqlite")
        try:
            self._import(importing)
        finally:
            importing.close()
        return unread

    def _import(self, importing: Migration) -> None:
        experiments = list(self.export.snapshot.experiments)
        import_batch(importing.context, experiments)
        import_rest(importing.context, experiments)

    def judged(self) -> tuple[int, Damaged | None]:
        """Audit; what is deleted on the target from the start is not ours, and left out."""
        found = audited(self.source.uri, self.target.uri, profile="export-import", include_deleted=False)
        assert not found.failed, found.failed
        return (0, None) if found.green else (1, gather(found.rows))

    def repair(self) -> tuple[int, list[Left]]:
        """Repair what an audit finds; return the status and what was left."""
        status, damaged = self.judged()
        assert (status, damaged is None) == (1, False)
        assert damaged is not None
        self.export, unread = export_from(self.source.uri, self.folder)
        importing = Migration(self.export, self.target.uri, self.folder / "journal.sqlite")

        def bring() -> list[Unread]:
            self._import(importing)
            return unread

        try:
            status, left, _ = repair(importing.context, damaged, bring, self.judged, print)
        finally:
            importing.close()
        return status, left

    def ids(self, kind: str) -> dict[str, str]:
        """Target ids by source ids, from the journal."""
        importing = Migration(self.export, self.target.uri, self.folder / "journal.sqlite")
        try:
            return importing.context.journal.ids(kind)
        finally:
            importing.close()

    def sql(self, server: Server, statement: str, *values: object) -> None:
        """Change a server's database."""
        with closing(sqlite3.connect(server.database_path, timeout=30)) as database, database:
            assert database.execute(statement, values).rowcount

    def stage(self, run: str) -> str:
        """Lifecycle stage of a run of the target."""
        return str(self.there.call("GET", "runs/get", {"run_id": run})["run"]["info"]["lifecycle_stage"])

    def version(self, name: str, number: int) -> Any:
        """A version of the target."""
        body = {"name": name, "version": str(number)}
        return self.there.call("GET", "model-versions/get", body)["model_version"]


@pytest.fixture
def moved(fresh_server: FreshServer, tmp_path: Path) -> Moved:
    """A source that is still to be moved."""
    return Moved(fresh_server(), fresh_server(), tmp_path)


def test_what_the_source_cannot_give_again_is_not_replaced(moved: Moved) -> None:
    """Files of one run cannot be listed any more: neither it nor what would be made anew with it is touched."""
    assert moved.bring() == []
    before = {kind: moved.ids(kind) for kind in ("run", "logged_model", "registered_model")}
    version = moved.version("churn", 2)
    train, use = moved.made.runs["train"], moved.made.runs["use"]
    moved.sql(moved.source, "UPDATE runs SET artifact_uri = 'nowhere://files' WHERE run_uuid = ?", train)
    for run in (use, moved.alone):
        # no request removes a param: the run has to be made anew
        moved.sql(moved.target, "INSERT INTO params VALUES ('new', 'extra', ?)", before["run"][run])
    status, left = moved.repair()
    assert status == 1
    after = {kind: moved.ids(kind) for kind in before}
    assert after["run"].pop(moved.alone) != before["run"].pop(moved.alone)
    assert after == before
    assert {moved.stage(run) for run in after["run"].values()} == {"active"}
    assert moved.version("churn", 2) == version
    why = {(one.kind, one.identity): one.why for one in left}
    assert why["run", train] == UNREAD
    assert "would have to be made anew with it, and cannot be" in why["run", before["run"][use]]
