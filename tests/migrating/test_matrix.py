"""``migrate.py run`` from every server version into every sort of target: nothing is lost, the audit is green."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.audits import AuditRun
from support.migrations import migrate_py
from support.seed import Seeder, seed_small
from support.seed_objects import seed_objects
from support.seed_traps import seed_traps
from support.servers import FreshServer, emptied

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

VERSIONS = ("2.16.2", "2.22.5", "3.4.0", "newest")
TARGETS = ("proxied", "s3", "app")
#: A version without a run, whose files are in a run: old servers take it, newer ones not on proxied artifacts.
LOOSE = "churn/4"

Source = Callable[[str], Server]


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Source:
    """``source(version)`` → a server of that version with every kind of object that it can hold; only read."""
    made: dict[str, Server] = {}

    def give(version: str) -> Server:
        if version not in made:
            server = made[version] = module_server(version)
            # with names that the artifact proxy of 2.16 to 3.4 cannot give back: they are read in another way
            seed_small(server.uri)
            prefix = "all-" if version == "newest" else ""
            one = Seeder(server.uri).experiment("objects of all kinds")
            seed_objects(server.uri, one, version=version, prefix=prefix, reachable=True)
            if version == "newest":
                seed_traps(server.uri)
        return made[version]

    return give


@contextmanager
def _target(sort: str, fresh_server: FreshServer, app: StandIn) -> Iterator[tuple[list[str], Mapping[str, str]]]:
    """An empty target as it is named to migrate.py, and the environment that goes with it."""
    if sort == "proxied":
        yield ["--target-uri", fresh_server().uri], {}
        return
    with emptied(app.server):
        named = ["--target-arn", app.arn] if sort == "app" else ["--target-uri", app.server.uri]
        yield named, app.environment()


@pytest.mark.long(but=("2.16.2-s3", "newest-app"))
@pytest.mark.parametrize("sort", TARGETS)
@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_is_lost(
    source: Source, fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path, version: str, sort: str
) -> None:
    """Green without a waiver, and everything compared; what the target cannot hold is the one thing named."""
    server = source(version)
    with _target(sort, fresh_server, sagemaker_app) as (target, env):
        command = ["run", "--source-uri", server.uri, *target, "--include-deleted"]
        done = migrate_py(tmp_path, *command, "--work-dir", "work", "--report-dir", "reports", env=env)
    found = AuditRun(done.status, done.output, tmp_path / "reports")
    red = {(row.kind, row.name) for row in found.red_rows()}
    kinds = {row.kind for row in found.rows()}
    assert kinds >= {"experiment", "run", "registered_model", "model_version", "trace"}
    if version != "2.16.2":
        assert kinds >= {"prompt", "prompt_version"}
    if version.startswith("2.") and sort == "proxied":
        assert done.status == 1
        assert red == {("model_version", "churn version 4"), ("registered_model", "churn")}, done.output[-3000:]
        assert f"({LOOSE}): its files belong to no run" in done.output
        assert "To try again" not in done.output
        return
    assert (red, done.status) == (set(), 0), done.output[-3000:]
    if version in ("3.4.0", "newest"):
        assert kinds >= {"logged_model", "trace", "prompt", "prompt_version", "evaluation_dataset", "scorer", "webhook"}
