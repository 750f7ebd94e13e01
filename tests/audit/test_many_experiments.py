"""A server with more experiments than a check may have test items: some share one, and nothing is lost in it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audits import AuditRun, audit
from support.seed import Seeder
from support.servers import FreshServer, copy_database

from mlflow_parity.audit.test_items import MOST, Item, bundles
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long

COUNT = MOST + 10
SAME = ("--parity-profile", "same-store", "--parity-two-servers")


def test_every_item_is_in_one_bundle() -> None:
    """Whatever their number: at most so many test items, each item once and in order, surplus ones by themselves."""
    for count in (0, 1, MOST, MOST + 1, 2 * MOST, 5 * MOST + 1):
        for extra in (0, 1, MOST + 3):
            items = [Item(f"i{number:04}", f"name {number}", "1", number >= count) for number in range(count + extra)]
            found = bundles(items)
            assert [item for bundle in found for item in bundle.items] == items
            assert sum(not bundle.items[0].surplus for bundle in found) <= MOST
            assert sum(bundle.items[0].surplus for bundle in found) <= MOST
            assert all(len({item.surplus for item in bundle.items}) == 1 for bundle in found)
            assert len({bundle.id for bundle in found}) == len(found)
            if count <= MOST and not extra:
                assert [bundle.id for bundle in found] == [item.id for item in items]


@pytest.fixture(scope="module")
def many(module_server: FreshServer) -> tuple[Server, Server]:
    """Two servers with the same experiments, each with a tag; the second is changed in three of them."""
    source, target = module_server(), module_server()
    Seeder(source.uri).run(Seeder(source.uri).experiment("with a run"), "only")
    with closing(sqlite3.connect(source.database_path)) as database, database:
        database.executemany(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, creation_time,"
            " last_update_time) VALUES (?, ?, ?, 'active', 5, 6)",
            [(1000 + number, f"many {number:03}", f"mlflow-artifacts:/{1000 + number}") for number in range(COUNT)],
        )
        database.executemany(
            "INSERT INTO experiment_tags (key, value, experiment_id) VALUES ('team', 'x', ?)",
            [(1000 + number,) for number in range(COUNT)],
        )
    copy_database(source.database_path, target.database_path)
    with closing(sqlite3.connect(target.database_path)) as database, database:
        for number in (5, 6):
            database.execute("UPDATE experiment_tags SET value = 'y' WHERE experiment_id = ?", (1000 + number,))
        database.execute("UPDATE experiments SET lifecycle_stage = 'deleted' WHERE experiment_id = 1100")
    return source, target


@pytest.fixture(scope="module")
def red(many: tuple[Server, Server], tmp_path_factory: pytest.TempPathFactory) -> AuditRun:
    """The audit of both."""
    return audit(tmp_path_factory.mktemp("red"), many[0].uri, many[1].uri, *SAME)


def test_each_fault_is_named(red: AuditRun) -> None:
    """In the findings, in the ledger, and in the message of the test item that its experiment shares with others."""
    assert red.status == 1
    assert {(one["name"], one["facet"], one["state"]) for one in red.report["findings"]} == {
        ("many 005", "tags", "mismatch"),
        ("many 006", "tags", "mismatch"),
        ("many 100", "lifecycle", "mismatch"),
    }
    assert {row.name for row in red.rows() if row.kind == "experiment" and row.facet == "tags"} >= {
        f"many {number:03}" for number in range(COUNT)
    }
    counted = re.search(r"(\d+) failed, (\d+) passed", red.output)
    assert counted
    assert sum(map(int, counted.groups())) < 5_000
    assert 'experiment "many 005, many 006": 2 mismatch, 4 match; 2 differences' in red.output
    assert {check for check in red.report["not_green"] if check.startswith("experiment_tags")} == {
        "experiment_tags_and_note[many 005]",
        "experiment_tags_and_note[many 006]",
    }


def test_its_recheck_judges_the_red_ones(many: tuple[Server, Server], red: AuditRun, tmp_path: Path) -> None:
    """The test items that red experiments share are run again, and only those."""
    report = str(red.reports / "report.json")
    again = audit(tmp_path, many[0].uri, many[1].uri, *SAME, "--parity-recheck", report, "-n", "2")
    assert again.status == 1
    assert again.findings() == red.findings()
    assert again.failed() == red.failed()
    # three test items of experiments share the four or five neighbours of the red ones
    assert {row.experiment for row in again.rows()} < {row.experiment for row in red.rows()}
