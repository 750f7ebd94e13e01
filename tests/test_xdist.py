"""Under xdist: the same verdict, report and ledger, and each server is read once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.audits import AuditRun, audit
from support.seed import Seeder, seed_small
from support.servers import FreshServer
from support.tool import migrate


def _lasting(run: AuditRun) -> dict[str, Any]:
    """The report without what differs from run to run: times, and the command line."""
    report = run.report
    for key in ("created", "timings", "command"):
        del report[key]
    for side in report["sides"].values():
        del side["read_from"], side["read_to"]
    return report


@pytest.mark.parametrize("arguments", [(), ("-k", "params or metric")])
def test_two_workers_change_nothing(fresh_server: FreshServer, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Green and red, whole and in part: equal reports (requests counted), equal ledgers, equal failures."""
    source, target = fresh_server(), fresh_server()
    seed_small(source.uri)
    migrate(source.uri, target.uri, tmp_path / "export")
    for status in (0, 1):
        alone = audit(tmp_path / f"alone{status}", source.uri, target.uri, *arguments)
        both = audit(tmp_path / f"both{status}", source.uri, target.uri, "-n", "2", *arguments)
        assert (alone.status, both.status) == (status, status), both.output
        assert _lasting(alone) == _lasting(both)
        assert alone.report["sides"]["source"]["requests"] > 5
        assert alone.rows() == both.rows()
        assert alone.failed() == both.failed()
        if status:
            break
        seed = Seeder(target.uri)
        found = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
        runs = seed.call("POST", "runs/search", {"experiment_ids": [item["experiment_id"] for item in found]})["runs"]
        sweep = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "sweep-2")
        seed.log(sweep, params={"surplus": "1"}, metrics=[("surplus", 1.0, 5, 5)])
