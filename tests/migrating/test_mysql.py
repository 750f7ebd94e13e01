"""MySQL and MariaDB take names for one that differ by case, accents or a blank at the end: told before, and after."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.mariadb import mariadb
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer, server_of

from mlflow_parity.core.text import taken_for_one


def test_names_that_are_taken_for_one() -> None:
    """A name that collides and is not found is lost on such a target; one that does not collide is no warning."""
    names = ["Épreuve", "epreuve ", "épreuves", "LOSS", "loss", "x", "x_", " x", "naïve", "naive"]
    assert taken_for_one(names) == [("Épreuve", "epreuve "), ("LOSS", "loss"), ("naïve", "naive")]
    assert taken_for_one(["one", "two"]) == []


def _seeded(seed: Seeder) -> str:
    seed.experiment("Résumé", {"Team": "a", "team": "b"})
    seed.experiment("resume")
    run = seed.run(seed.experiment("sweeps"), "sweep", tags={"Owner": "ada", "owner": "grace", "note": "kept"})
    points = [("Acc", 1.0, 1, 0), ("acc", 2.0, 2, 0), ("other", 3.0, 3, 0)]
    seed.call("POST", "runs/log-batch", {
        "run_id": run,
        "params": [{"key": key, "value": key} for key in ("lr", "LR", "depth")],
        "metrics": [{"key": key, "value": value, "timestamp": at, "step": step} for key, value, at, step in points],
    })  # fmt: skip
    seed.end(run)
    for name in ("Net", "net"):
        seed.call("POST", "registered-models/create", {"name": name})
    return run


@pytest.mark.long
def test_what_collides_is_named_and_all_else_arrives(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A real MariaDB: the plan names each collision, no value overwrites another, and a second run changes nothing."""
    source = fresh_server()
    _seeded(Seeder(source.uri))
    with mariadb() as database, server_of("newest", tmp_path / "target", database=database) as target:
        ends = ("--source-uri", source.uri, "--target-uri", target.uri)
        plan = migrate_py(tmp_path, "plan", *ends, "--work-dir", "p")
        for named in ("'Résumé', 'resume'", "'Net', 'net'", "tag Team = team", "tag Owner = owner", "param lr = LR",
                      "metric Acc = acc"):  # fmt: skip
            assert named in plan.output, named
        for _ in range(2):
            done = migrate_py(tmp_path, "run", *ends, "--work-dir", "w", "--no-verify")
            assert done.status == 1, done.output
            assert "takes it for one that it has" in done.output
            there = Seeder(target.uri)
            found = there.call("POST", "runs/search", {"experiment_ids": [str(n) for n in range(9)]}).get("runs", [])
            names = {one["name"] for one in there.call("GET", "registered-models/search", {})["registered_models"]}
            assert len(names) == 1
            [one] = found
            kept = {what: {item["key"]: item["value"] for item in one["data"][what]} for what in one["data"]}
            assert kept["params"] in ({"lr": "lr", "depth": "depth"}, {"LR": "LR", "depth": "depth"})
            tags = {key: value for key, value in kept["tags"].items() if key.lower() in ("owner", "note")}
            assert tags in ({"Owner": "ada", "note": "kept"}, {"owner": "grace", "note": "kept"})
            assert kept["metrics"] in ({"Acc": 1.0, "other": 3.0}, {"acc": 2.0, "other": 3.0})
