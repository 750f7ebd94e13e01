"""What is deleted at the source after it was moved, and then on the target: the rest goes on being moved."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.audits import AuditRun
from support.migrations import Migrated, migrate_py
from support.seed import Seeder
from support.servers import FreshServer


@pytest.mark.long
def test_a_model_that_is_deleted_on_both_sides(fresh_server: FreshServer, tmp_path: Path) -> None:
    """The migration into this target would be over; a model of that name that comes later is made again by repair."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    shop = seed.experiment("shop")
    seed.end(seed.run(shop, "first"))
    for name in ("kept", "old"):
        seed.call("POST", "registered-models/create", {"name": name})

    def migrate(step: str, *more: str) -> Migrated:
        ends = ["--source-uri", source.uri, "--target-uri", target.uri, *more]
        return migrate_py(tmp_path, step, *ends, "--work-dir", "work", "--report-dir", "reports")

    done = migrate("run")
    assert done.status == 0, done.output[-3000:]
    seed.call("DELETE", "registered-models/delete", {"name": "old"})
    red = migrate("run")
    assert red.status == 1, red.output[-3000:]
    rows = AuditRun(1, "", tmp_path / "reports").red_rows()
    assert {(row.kind, row.name, row.state.value) for row in rows} == {("registered_model", "old", "extra")}
    left = migrate("repair", "--report", "reports/report.json")
    assert (
        "left alone: registered_model old (old): this migration made it of old, which the source does not"
        in left.output
    )
    there.call("DELETE", "registered-models/delete", {"name": "old"})
    seed.end(seed.run(shop, "second"))
    again = migrate("run")
    assert again.status == 0, again.output[-3000:]
    assert "this migration made 1 registered model that neither the target has any more" in again.output
    assert "2 runs" in again.output
    # it comes back
    seed.call("POST", "registered-models/create", {"name": "old"})
    refused = migrate("run")
    assert refused.status == 2, refused.output[-3000:]
    assert "verify` and then `repair`" in refused.output
    assert migrate("verify").status == 1
    mended = migrate("repair", "--report", "reports/report.json")
    assert mended.status == 0, mended.output[-3000:]
    assert migrate("run").status == 0
