"""The skill registry of MLflow 3.18: moved with its versions, numbers, tags and aliases, and nothing else is red."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import AuditRun
from support.migrations import migrate_py
from support.seed import Seeder, seed_small
from support.seed_skills import SKILLS, seed_skills
from support.servers import FreshServer

NEWEST = "3.18.0"


@pytest.mark.long
def test_skills_are_migrated(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Without it a team's skills would stay behind; a second run finds them there, and an uploaded one is named."""
    source, target = fresh_server(NEWEST), fresh_server(NEWEST)
    seed_small(source.uri)
    seed_skills(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
    for _ in range(2):
        done = migrate_py(tmp_path, "run", *ends)
        found = AuditRun(done.status, done.output, tmp_path / "reports")
        rows = [row for row in found.rows() if row.kind == "skill"]
        assert {row.name for row in rows} == set(SKILLS)
        others = {row.facet: str(row.state) for row in rows if str(row.state) != "match"}
        assert others == {"times": "expected"}, done.output[-3000:]
        # the release is newer than the newest of which everything is known: an audit of it is green by a waiver only
        assert {(row.kind, row.facet) for row in found.red_rows()} == {("server", "release")}
        assert done.status == 1
    _upload(source.database_path, source.uri)
    done = migrate_py(tmp_path, "run", *ends)
    assert "the content of its version 1 was uploaded to the source" in done.output
    found = AuditRun(done.status, done.output, tmp_path / "reports")
    assert ("skill", "uploaded") in {(row.kind, row.name) for row in found.red_rows()}


def _upload(database: Path | str, uri: str) -> None:
    """Make a skill whose content is on the server, as far as its record says so."""
    body = {"source_type": "git", "source": "https://example.com/skills.git", "ref": "v1"}
    seed = Seeder(uri)
    seed.call("POST", "skills", {"name": "uploaded"}, version="3.0")
    seed.call("POST", "skills/uploaded/versions", body, version="3.0")
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        change = (
            "UPDATE skill_versions SET source_type = 'mlflow', source = 'skills/x', ref = NULL WHERE name = 'uploaded'"
        )
        connection.execute(change)
