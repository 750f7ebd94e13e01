"""An import that is killed before or after any one of its requests, and gone on with, ends like one that was not.

``MLFLOW_PARITY_KILLS=all pytest tests/migrating/test_killed.py`` tries each request; else one in sixteen.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.copied import kept, seed_copied
from support.exported import export
from support.killed_everywhere import killed_everywhere
from support.seed import Seeder
from support.seed_later import seed_later, seed_secret
from support.servers import FreshServer

pytestmark = pytest.mark.long

EVERY = 1 if os.environ.get("MLFLOW_PARITY_KILLS") == "all" else 16


def test_killed_at_its_requests(fresh_server: FreshServer, tmp_path: Path) -> None:
    """One of every kind of object: each time all is moved by the second call, green, and nothing is there twice."""
    source, target = fresh_server(), fresh_server()
    # ids of experiments are numbers: those of the target must not happen to be the same
    Seeder(source.uri).experiment("first")
    seed_copied(source.uri)
    seed_later(source.uri, Seeder(source.uri).experiment("later"))
    seed_secret(target.uri)
    snapshot = kept(source.uri, tmp_path / "snapshot")
    exported = export(source, tmp_path / "export")
    undisturbed, *others = killed_everywhere(exported.root, snapshot, target, tmp_path, EVERY)
    assert (undisturbed["status"], undisturbed["green"]) == (0, True), undisturbed
    assert undisturbed["requests"] > 80
    assert len(others) >= undisturbed["requests"] // EVERY
    for one in others:
        assert one["killed"], one
        assert (one["status"], one["green"]) == (0, True), one
        assert one["rows"] == undisturbed["rows"], one
