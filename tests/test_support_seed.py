"""The tests' own tools: seeding servers of every version, and emptying a used server."""

from __future__ import annotations

import pytest
from support.seed import Seeder, seed_small
from support.servers import ServerPool


@pytest.mark.parametrize("version", ["newest", "2.16.2", "2.22.5", "3.4.0", "3.10.1"])
def test_seed_and_empty(server_pool: ServerPool, version: str) -> None:
    """A server lent a second time is empty again, and takes the same seed as the first time."""
    for _ in range(2):
        server = server_pool.take(version)
        call = Seeder(server.uri).call
        listed = call("POST", "experiments/search", {"max_results": 100, "view_type": "ALL"})["experiments"]
        assert [experiment["name"] for experiment in listed] == ["Default"]
        seeded = seed_small(server.uri)
        ids = list(seeded.experiments.values())
        found = call("POST", "runs/search", {"experiment_ids": ids, "run_view_type": "ALL"})["runs"]
        assert {run["info"]["run_id"] for run in found} == set(seeded.runs.values())
        server_pool.give_back(version, server)
