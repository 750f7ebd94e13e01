"""End to end from servers of four MLflow versions to the newest, migrated by the tool with each server's own client."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import audit
from support.seed import seed_small
from support.servers import FreshServer
from support.tool import migrate


@pytest.mark.long(but=("3.10.1",))
@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "3.4.0", "3.10.1"])
def test_from_an_old_server(fresh_server: FreshServer, tmp_path: Path, version: str) -> None:
    """The audit is green after a migration that lost nothing, and red after one param was altered."""
    source, target = fresh_server(version), fresh_server()
    # these servers cannot give back a file with a non-ASCII name, so the tool would drop its run
    seed_small(source.uri, unicode_files=False)
    migrate(source.uri, target.uri, tmp_path / "export", version=version)

    good = audit(tmp_path / "good", source.uri, target.uri)
    assert good.status == 0, good.output
    sides = good.report["sides"]
    assert (sides["source"]["server_version"], sides["target"]["server_version"]) == (version, target.version)
    assert good.report["paired_by"] == {"source-tag": 7}

    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        database.execute("UPDATE params SET value = '9' WHERE key = 'depth' AND value = '1'")
    bad = audit(tmp_path / "bad", source.uri, target.uri, "-k", "params")
    assert bad.status == 1, bad.output
    assert bad.findings() == {("params", "depth", "mismatch", "sweep-1")}
    assert bad.report["scope"]["partial"]
