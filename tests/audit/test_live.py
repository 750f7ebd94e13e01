"""A source that is being written to while it is audited: an end, an honest one, without a traceback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from support.audits import audit
from support.pairs import Migration
from support.seed import EPOCH, Seeder
from support.servers import copy_database

from mlflow_parity.audit.looking.second_look import of_experiment
from mlflow_parity.core.records import Experiment
from mlflow_parity.standin.servers import Server

pytestmark = pytest.mark.long


@contextmanager
def meanwhile(step: Callable[[int], None]) -> Iterator[None]:
    """Repeat ``step(number)`` in a thread for the length of a ``with`` block; it must not fail."""
    over = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        number = 0
        try:
            while not over.is_set():
                step(number)
                number += 1
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(60)
    assert not failed, failed


def _run_of(server: Server, name: str) -> tuple[str, str]:
    """Experiment and run id of a run by its name."""
    seed = Seeder(server.uri)
    found = seed.call("POST", "experiments/search", {"max_results": 99})["experiments"]
    ids = [item["experiment_id"] for item in found]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids, "max_results": 99})["runs"]
    info = next(run["info"] for run in runs if run["info"]["run_name"] == name)
    return info["experiment_id"], info["run_id"]


@pytest.fixture
def pair(servers: tuple[Server, Server], migration: Migration) -> tuple[Server, Server]:
    """A source and its copy, which differ in nothing before each test."""
    for name, server in zip(("source", "target"), servers, strict=True):
        copy_database(migration.database(name), server.database_path)
    return servers


def test_a_run_that_is_being_logged_to(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Points and tags keep coming to the run that was RUNNING when it was copied: red for that run, or for nothing."""
    source, target = pair
    _, run = _run_of(source, "running")
    seed = Seeder(source.uri)

    def log(number: int) -> None:
        seed.log(run, tags={f"live {number % 7}": str(number)}, metrics=[("live", 0.5, EPOCH + number, number)])

    with meanwhile(log):
        done = audit(tmp_path, source.uri, target.uri)
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    assert {finding["name"] for finding in done.report["findings"]} == {"running"}
    assert {row.name for row in done.red_rows()} == {"running"}
    assert {row.facet for row in done.red_rows()} <= {"metrics", "tags"}
    assert {row.state.value for row in done.red_rows()} <= {"missing", "mismatch", "unverified"}
    # named in every format, each facet that moved
    [changed] = [line for line in done.report["changed"] if run in line]
    assert changed.startswith("source: ")
    assert f"run running ({run})" in changed
    assert {"metrics", "tags"} & set(changed.rpartition(": ")[2].split(", "))
    assert "Changed during the audit" in (page := (done.reports / "report.html").read_text(encoding="utf-8"))
    assert run in page
    assert "  changed during the audit: source: " in done.output


def test_runs_that_come_and_go(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """At every moment there is a run that is not on the target, another one each time: red, and for such runs alone."""
    source, target = pair
    experiment, _ = _run_of(source, "failed")
    seed = Seeder(source.uri)
    before: list[str] = []

    def come_and_go(number: int) -> None:
        run = seed.run(experiment, f"fleeting {number}", start=EPOCH + number)
        seed.log(run, params={"p": "1"}, metrics=[("m", 1.0, EPOCH, 0)])
        seed.artifact(run, "file.txt", b"here")
        seed.end(run)
        before.append(run)
        for old in before[:-1]:
            seed.delete_run(old)
            before.remove(old)

    come_and_go(0)
    with meanwhile(come_and_go):
        done = audit(tmp_path, source.uri, target.uri)
    assert "Traceback" not in done.output
    assert done.status == 1, done.output
    assert done.report["verdict"] == "red"
    red = done.red_rows()
    assert red
    assert all(row.kind == "run" and row.name.startswith("fleeting ") for row in red), red
    # one that was there all the while is missing; one that came or changed meanwhile is not blamed, but named
    assert {row.state.value for row in red} <= {"missing", "unverified"}
    changed = {line.partition(" / run ")[2]: line for line in done.report["changed"]}
    assert all(line.startswith("source: ") and name.startswith("fleeting ") for name, line in changed.items()), changed
    named = {name.rpartition(": ")[0] for name in changed}
    assert {f"{row.name} ({row.source_id})" for row in red if row.state.value == "unverified"} <= named


def test_experiments_that_come_and_go(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """An experiment is deleted and restored all the while: nothing of any other one is red.

    MLflow restores with it the run that was deleted before: from then on that run is on the source only, rightly red.
    """
    source, target = pair
    experiment, _ = _run_of(source, "failed")
    seed = Seeder(source.uri)
    listed = seed.call("GET", "experiments/get", {"experiment_id": experiment})["experiment"]

    def toggle(_: int) -> None:
        seed.delete_experiment(experiment)
        seed.call("POST", "experiments/restore", {"experiment_id": experiment})

    with meanwhile(toggle):
        done = audit(tmp_path, source.uri, target.uri)
    assert "Traceback" not in done.output
    # review queues are listed by experiment: one that is away just then leaves the whole list unread, and no pass
    unread = [row for row in done.red_rows() if row.kind == "review_queue"]
    assert {row.state.value for row in unread} <= {"unverified"}, unread
    red = [row for row in done.red_rows() if row not in unread]
    assert {row.experiment for row in red} <= {listed["name"]}, red
    back = [row for row in red if (row.kind, row.name, row.target_id) == ("run", "deleted", None)]
    assert {row.state.value for row in back} <= {"missing", "unverified"}, back
    rest = [row for row in red if row not in back]
    assert {row.facet for row in rest} <= {"lifecycle", "times", "source_tags"}, rest
    assert {row.state.value for row in rest} <= {"unverified", "mismatch"}, rest
    # by nature of it the experiment may be seen whole each time; the verdict is that of the ledger, and no other
    assert done.report["verdict"] == ("red" if red or unread else "green")
    assert done.status == (1 if red or unread else 0), done.output
    assert all(listed["name"] in line and line.startswith("source: ") for line in done.report["changed"])


def test_nothing_moves(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """The state before each of these: green, and nothing is said to have changed."""
    source, target = pair
    done = audit(tmp_path, source.uri, target.uri)
    assert done.status == 0, done.output
    assert done.report["changed"] == []


def test_a_change_of_an_experiment_itself_is_named() -> None:
    """Every field that a second list tells is looked at; what is asked of both servers is no field of either."""
    before = Experiment("1", "one", "active", "mlflow-artifacts:/1", 1, 2, {"team": "growth"})
    now = replace(before, tags={"team": "other"}, last_update_time=3)
    [change] = of_experiment("source", before, now)
    assert set(change.facets) == {"tags", "times"}
    assert list(of_experiment("source", before, before)) == []
