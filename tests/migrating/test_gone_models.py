"""Versions that were promoted from a model that is gone: made from the files that they are loaded from."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.audits import audit
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer

REGISTERED, VERSIONS = "registered-models", "model-versions"


@pytest.mark.long
def test_a_version_outlives_the_model_that_it_was_copied_from(fresh_server: FreshServer, tmp_path: Path) -> None:
    """dev -> staging -> prod by copy_model_version, and dev is tidied away: prod must load on the target."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    run = seed.run(seed.experiment("train"), "trainer")
    for path, content in (
        ("net/MLmodel", f"artifact_path: net\nflavors: {{}}\nrun_id: {run}\n".encode()),
        ("net/w.bin", b"weights"),
    ):
        seed.artifact(run, path, content)
    seed.end(run)
    place = seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"]
    for name in ("dev", "staging", "prod", "kept"):
        seed.call("POST", f"{REGISTERED}/create", {"name": name})
    for name, made_of in (("dev", f"{place}/net"), ("staging", "models:/dev/1"), ("prod", "models:/staging/1"),
                          ("kept", f"{place}/net")):  # fmt: skip
        seed.call("POST", f"{VERSIONS}/create", {"name": name, "source": made_of, "run_id": run})
    seed.call("DELETE", f"{REGISTERED}/delete", {"name": "dev"})

    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path, "run", *ends, "--work-dir", "w", "--report-dir", "reports")
    assert done.status == 0, done.output
    there = Seeder(target.uri)

    def loaded(name: str) -> str:
        asked = there.call("GET", f"{VERSIONS}/get-download-uri", {"name": name, "version": "1"})
        return str(asked["artifact_uri"])

    assert loaded("staging") == loaded("prod") == loaded("kept")
    assert run not in loaded("staging")

    # a copy that is loaded from elsewhere is none, though its source names what is gone, too
    other = there.run("0", "other")
    there.artifact(other, "net/w.bin", b"other")
    wrong = f"mlflow-artifacts:/0/{other}/artifacts/net"
    with sqlite3.connect(target.database_path) as database:
        change = "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = 'staging'"
        database.execute(change, (wrong, wrong))
    found = audit(tmp_path / "again", source.uri, target.uri, "--parity-models", "staging")
    facets = {facet for facet, _, state, name in found.findings() if state == "mismatch" and "staging" in name}
    assert {"storage", "files"} & facets, found.output
