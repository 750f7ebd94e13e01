"""Scopes that change from call to call: each moves what it names, and links are written once both ends are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer


def _runs(seed: Seeder) -> dict[str, dict[str, Any]]:
    found = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    body = {"experiment_ids": [one["experiment_id"] for one in found], "max_results": 100}
    return {one["info"]["run_name"]: one for one in seed.call("POST", "runs/search", body).get("runs", [])}


def test_an_interrupted_run_of_another_scope_is_not_gone_on_with(fresh_server: FreshServer, tmp_path: Path) -> None:
    """``run --experiments alpha``, killed when its export was whole; then all of it: the rest is moved, too."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    for name in ("alpha", "beta"):
        seed.end(seed.run(seed.experiment(name), f"in {name}"))
    ends = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--no-verify"]
    assert migrate_py(tmp_path, *ends, "--experiments", "alpha").status == 0
    note = tmp_path / "work" / "mlflow-parity-migration.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "exported": True}))
    done = migrate_py(tmp_path, *ends)
    assert (done.status, "Whole: 3 experiments" in done.output) == (0, True), done.output
    assert _runs(Seeder(target.uri)).keys() == {"in alpha", "in beta"}
