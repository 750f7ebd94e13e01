"""Real tracking servers and the tests' own tools: start, failure, end, seeding, emptying, PostgreSQL."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests
from support.postgres import postgres
from support.seed import Seeder, seed_small
from support.servers import ServerPool

from mlflow_parity.core.errors import UsageProblem
from mlflow_parity.standin.servers import VARIABLE, ServerFailed, cache_folder, serving


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


@pytest.mark.long
def test_server_on_postgresql_ends_with_all_its_processes(tmp_path: Path) -> None:
    """A server with two workers on PostgreSQL takes a seed; after it ended its process group is empty."""
    with postgres() as cluster, serving(tmp_path, database=cluster.uri(), workers=2) as server:
        assert len(seed_small(server.uri).runs) == 9
    assert _alive(server.pid) == []
    with pytest.raises(requests.ConnectionError):
        requests.get(server.uri, timeout=5)


def _alive(group: int) -> list[str]:
    """Return the processes of a group; those that ended and wait to be collected by init do not count."""
    found = []
    for process in psutil.process_iter(["pid", "name", "status"]):
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {process.info['name']}")
    return found


def test_a_cache_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the variable that names it."""
    monkeypatch.setenv(VARIABLE, "~nosuchuser/x")
    with pytest.raises(UsageProblem, match=f"^{VARIABLE}: '~nosuchuser/x' cannot be used"):
        cache_folder()


def test_failure_shows_the_log(tmp_path: Path) -> None:
    """A server that cannot start is told with the end of its log."""
    with (
        pytest.raises(ServerFailed, match=r"(?s)ended with exit code.*log ends:.*nowhere"),
        serving(tmp_path, database="nowhere://at/all"),
    ):
        pass
