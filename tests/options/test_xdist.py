"""``-n 2`` changes nothing but who runs the checks: verdict, report, ledger, and every request to either server."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.proxy import Proxy, proxying
from support.seed import Seeder

from mlflow_parity.standin.servers import Server


@pytest.fixture(scope="module", name="servers")
def spoilt(servers: tuple[Server, Server]) -> tuple[Server, Server]:
    """A source, and a copy with differences in both experiments and a run that is there twice."""
    source, target = servers
    seed = Seeder(target.uri)
    experiments = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    body = {"experiment_ids": [item["experiment_id"] for item in experiments]}
    runs = {run["info"]["run_name"]: run for run in seed.call("POST", "runs/search", body)["runs"]}
    seed.log(runs["sweep-2"]["info"]["run_id"], params={"surplus": "1"}, metrics=[("surplus", 1.0, 5, 5)])
    seed.log(runs["failed"]["info"]["run_id"], tags={"reason": "none"})
    origin = {tag["key"]: tag["value"] for tag in runs["killed"]["data"]["tags"]}["mlflow_exim.run_info.run_id"]
    again = {"mlflow_exim.run_info.run_id": origin}
    seed.end(seed.run(runs["killed"]["info"]["experiment_id"], "killed", tags=again), "KILLED")
    return source, target


def _lasting(run: AuditRun) -> dict[str, Any]:
    report = run.report
    for key in ("created", "timings", "command", "exit_status", "page_digest"):
        del report[key]
    for side in report["sides"].values():
        del side["read_from"], side["read_to"], side["location"]
    return report


def _requests(proxy: Proxy) -> Counter[tuple[str, str]]:
    """Requests by method and path; queries hold ids and tokens, paths of files hold ids."""
    return Counter((seen.method, seen.path) for seen in proxy.seen)


@pytest.mark.long
@pytest.mark.parametrize(
    ("arguments", "statuses"),
    [
        ((), (1, 1)),
        (("-k", "params or metric"), (1, 1)),
        (("-k", "links"), (0, 0)),
        # pytest-xdist calls a run that it stopped early interrupted
        (("--maxfail", "2"), (1, 2)),
    ],
)
def test_two_workers_change_nothing(
    servers: tuple[Server, Server], tmp_path: Path, arguments: tuple[str, ...], statuses: tuple[int, int]
) -> None:
    """Equal reports, ledgers and requests; also for a part, and when pytest stops at the first failures."""
    done: list[AuditRun] = []
    asked = []
    for name, workers in (("alone", ()), ("both", ("-n", "2"))):
        with proxying(servers[0].uri) as source, proxying(servers[1].uri) as target:
            run = audit(tmp_path / name, source.uri, target.uri, *arguments, *workers)
            asked.append((_requests(source), _requests(target)))
            for side, proxy in (("source", source), ("target", target)):
                assert run.report["sides"][side]["requests"] == len(proxy.seen)
        assert "Traceback" not in run.output
        done.append(run)
    alone, both = done
    assert (alone.status, both.status) == statuses, both.output
    assert _lasting(alone) == _lasting(both)
    assert alone.rows() == both.rows()
    assert asked[0] == asked[1]
    assert alone.report["verdict"] == ("red" if statuses[0] else "green")
    if "--maxfail" not in arguments:
        assert alone.failed() == both.failed()
        assert bool(alone.failed()) == bool(statuses[0])
