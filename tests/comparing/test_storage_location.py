"""What ``models:/NAME/VERSION`` and aliases load: ``storage_location`` of every version, on real servers."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.copied import Outcome, audited
from support.seed import Seeder
from support.seed_models import MLMODEL
from support.servers import FreshServer, copy_database, server_of

from mlflow_parity.core.scope import PROFILES, Profile
from mlflow_parity.standin.servers import Server


def _seed(uri: str, put: Any) -> None:
    """Register two versions, made of two folders of one run."""
    seed = Seeder(uri)
    run = seed.run(seed.experiment("exp"), "r")
    root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
    seed.call("POST", "registered-models/create", {"name": "prod"})
    for number in (1, 2):
        put(run, f"model{number}/MLmodel", MLMODEL.format(uri="model", run=run, model="m").encode())
        put(run, f"model{number}/weights.bin", b"same bytes")
        source = f"{root}/model{number}"
        seed.call("POST", "model-versions/create", {"name": "prod", "source": source, "run_id": run})
    seed.call("POST", "registered-models/alias", {"name": "prod", "alias": "champion", "version": "1"})
    seed.end(run)


def _execute(database: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(database, timeout=30)) as opened, opened:
        opened.execute(statement, values)


def _red(outcome: Outcome, facet: str) -> dict[str, str]:
    """Names of the versions whose facet is red, with the state."""
    rows = [row for row in outcome.rows if row.kind == "model_version" and row.facet == facet]
    return {row.name: row.state.value for row in rows if not row.state.green}


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.16.2", "newest"])
def test_a_version_that_is_loaded_from_elsewhere_is_red(fresh_server: FreshServer, version: str) -> None:
    """Another version's place, with the same bytes in it, and a bucket that does not exist: both are named."""
    source, target = fresh_server(version), fresh_server(version)
    _seed(source.uri, lambda run, path, content: Seeder(source.uri).artifact(run, path, content))
    copy_database(source.database_path, target.database_path)
    shutil.copytree(source.artifacts_root, target.artifacts_root)
    for profile in PROFILES:
        clean = audited(source.uri, target.uri, profile=profile)
        assert clean.green, clean.reasons
    change = "UPDATE model_versions SET storage_location = ? WHERE version = 1"
    elsewhere = "SELECT storage_location FROM model_versions WHERE version = 2"
    with closing(sqlite3.connect(target.database_path)) as opened:
        [(place,)] = opened.execute(elsewhere)
    _execute(target.database_path, change, place)
    _execute(target.database_path, change.replace("1", "2"), "s3://no-such-bucket/x")
    for profile in PROFILES:
        found = audited(source.uri, target.uri, profile=profile)
        assert _red(found, "storage") == {"prod version 1": "mismatch", "prod version 2": "mismatch"}
        assert _red(found, "files") == {"prod version 2": "unverified"}
        assert _red(found, "source") == {}


@pytest.mark.long
def test_a_restored_store_whose_versions_are_loaded_from_the_old_place_is_red(tmp_path: Path) -> None:
    """The usual UPDATEs moved all places but that one; with it moved too, the restored store is green."""

    def on(folder: Path) -> Any:
        return server_of("newest", folder, artifacts=f"file://{folder}/art")

    old, new = tmp_path / "old", tmp_path / "new"
    profile: Profile = "same-store"
    with on(old) as source:
        _seed(source.uri, lambda run, path, content: _write(old / "art" / "1" / run / "artifacts" / path, content))
        shutil.copytree(old, new)
        moves = [("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source")]
        for table, column in moves:
            _execute(new / "mlflow.db", f"UPDATE {table} SET {column} = replace({column}, ?, ?)", str(old), str(new))
        with on(new) as target:
            found = audited(source.uri, target.uri, profile=profile)
            assert _red(found, "storage") == {"prod version 1": "mismatch", "prod version 2": "mismatch"}
            assert {row.facet for row in found.rows if not row.state.green} == {"storage"}, found.reasons
            change = "UPDATE model_versions SET storage_location = replace(storage_location, ?, ?)"
            _execute(_database(target), change, str(old), str(new))
            assert audited(source.uri, target.uri, profile=profile).green


def _database(server: Server) -> Path:
    return server.database_path


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
