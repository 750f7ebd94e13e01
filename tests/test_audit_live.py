"""A source that is being written to while it is audited: an end, an honest one, without a traceback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.audits import audit
from support.seed import EPOCH, Seeder

from mlflow_parity.standin.servers import Server


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


def test_a_run_that_is_being_logged_to(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Points and tags keep coming to the run that was RUNNING when it was copied: red for that run, or for nothing."""
    source, target = servers
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
    assert "Changed since read" in (page := (done.reports / "report.html").read_text(encoding="utf-8"))
    assert run in page
    assert "  changed since read: source: " in done.output


def test_runs_that_come_and_go(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Runs made and deleted all the while: the audit ends, and blames nothing but such runs."""
    source, target = servers
    experiment, _ = _run_of(source, "failed")
    seed = Seeder(source.uri)

    def come_and_go(number: int) -> None:
        run = seed.run(experiment, f"fleeting {number}", start=EPOCH + number)
        seed.log(run, params={"p": "1"}, metrics=[("m", 1.0, EPOCH, 0)])
        seed.artifact(run, "file.txt", b"here")
        seed.delete_run(run)

    with meanwhile(come_and_go):
        done = audit(tmp_path, source.uri, target.uri)
    assert "Traceback" not in done.output
    assert done.status in (0, 1), done.output
    blamed = {finding["name"] for finding in done.report["findings"]} - {"running"}
    assert all(name.startswith(("fleeting", "(all runs)")) for name in blamed), blamed


def test_experiments_that_come_and_go(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """An experiment that is deleted and restored during the audit never makes it hang or break."""
    source, target = servers
    experiment, _ = _run_of(source, "failed")
    seed = Seeder(source.uri)

    def toggle(_: int) -> None:
        seed.delete_experiment(experiment)
        seed.call("POST", "experiments/restore", {"experiment_id": experiment})

    with meanwhile(toggle):
        done = audit(tmp_path, source.uri, target.uri)
    assert "Traceback" not in done.output
    assert done.status in (0, 1), done.output
    assert done.report["verdict"] in ("green", "red")
