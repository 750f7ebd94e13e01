"""Two migrations into one target: the second is refused while the first is at work, and further copies are counted."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import warm
from support.audits import audit
from support.looking import state
from support.migrations import ROOT, migrate_py
from support.proxy import Fault, proxying, status
from support.seed import Seeder, pairs
from support.seed_traces import trace
from support.servers import FreshServer

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import MIGRATION_MARK
from mlflow_parity.migrating.write.target_mark import TargetMark
from mlflow_parity.migrating.write.writing import open_writer
from mlflow_parity.standin.servers import Server, clean_environment

NAMES = ("first", "second", "third")


@pytest.fixture(scope="module")
def source(module_server: FreshServer) -> Server:
    """Three runs in one experiment."""
    server = module_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("churn")
    for name in NAMES:
        seed.end(seed.run(experiment, name))
    return server


def _runs(server: Server) -> list[str]:
    """Return the names of all runs of a server."""
    seed = Seeder(server.uri)
    found = seed.call("POST", "experiments/search", {"max_results": 100, "view_type": "ALL"})["experiments"]
    ids = [one["experiment_id"] for one in found]
    runs = seed.call("POST", "runs/search", {"experiment_ids": ids, "run_view_type": "ALL"}).get("runs", [])
    return sorted(run["info"]["run_name"] for run in runs)


def _is_marked(server: Server) -> bool:
    found = Seeder(server.uri).call("GET", "registered-models/search", {}).get("registered_models", [])
    return [one["name"] for one in found] == [MIGRATION_MARK]


@contextmanager
def _marks(uri: str, *works: str) -> Iterator[list[TargetMark]]:
    writers = [open_writer(parse_location(uri, option="uri"))[0] for _ in works]
    try:
        yield [TargetMark(writer, work) for writer, work in zip(writers, works, strict=True)]
    finally:
        for writer in writers:
            writer.close()


def _until(true: Any) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
def test_a_second_one_is_refused_while_the_first_is_at_work(
    source: Server, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """Another work folder, by another address, with --into-existing: exit status 2; the first ends green, all once."""
    target = fresh_server()
    arrived, go_on = threading.Event(), threading.Event()

    def hold(exchange: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        arrived.set()
        go_on.wait(300)
        exchange.answer(status, headers, body)

    with proxying(target.uri) as proxy:
        proxy.faults.append(Fault("runs/create", hold))
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "one"]
        first = warm.begin(
            [str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=tmp_path, env=clean_environment(),
            child_python=warm.stand_in_python("audit"),
        )  # fmt: skip
        assert arrived.wait(200)
        second = ["--source-uri", source.uri, "--target-uri", target.uri, "--into-existing", "--work-dir", "two"]
        done = migrate_py(tmp_path, "run", *second)
        plan = migrate_py(tmp_path, "plan", *second)
        go_on.set()
        assert first.wait(300) == 0
    for refused in (done, plan):
        assert refused.status == 2, refused.output
        assert "another migration is at work on the target" in refused.output
        assert f"process {first.pid}, since " in refused.output
        assert "--take-over" in refused.output
    assert "Nothing was written." in done.output
    assert _runs(target) == sorted(NAMES)
    assert not _is_marked(target)
    assert json.loads((tmp_path / "reports" / "report.json").read_text())["verdict"] == "green"


@pytest.mark.long
def test_one_that_was_killed_goes_on_and_can_be_taken_over(
    source: Server, fresh_server: FreshServer, tmp_path: Path
) -> None:
    """SIGKILL leaves the mark: others are told that its process is gone, its own folder goes on without ado."""
    target = fresh_server()
    with proxying(target.uri) as proxy:
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "one"]
        begun = warm.begin([str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=tmp_path, env=clean_environment())
        proxy.faults.append(Fault("runs/create", lambda *_: os.kill(begun.pid, signal.SIGKILL)))
        assert begun.wait(200) != 0
        proxy.heal()
        assert _is_marked(target)
        other = ["run", "--source-uri", source.uri, "--target-uri", target.uri, "--into-existing", "--work-dir", "two"]
        refused = migrate_py(tmp_path, *other)
        assert refused.status == 2, refused.output
        assert "that process is not running any more" in refused.output
        done = migrate_py(tmp_path, *command)
        assert done.status == 0, done.output
        assert _runs(target) == sorted(NAMES)
        assert not _is_marked(target)
        # a mark whose work folder is lost
        with _marks(target.uri, "lost") as [lost]:
            assert lost.hold() == []
        assert migrate_py(tmp_path, *command, "--no-verify").status == 2
        taken = migrate_py(tmp_path, *command, "--no-verify", "--take-over")
    assert taken.status == 0, taken.output
    assert "the mark of another migration is taken over" in taken.output
    assert not _is_marked(target)


def test_one_that_is_ended_takes_its_mark_along(source: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """SIGTERM in the middle of it: exit status 143, and the target is free."""
    target = fresh_server()
    with proxying(target.uri) as proxy:
        command = ["run", "--source-uri", source.uri, "--target-uri", proxy.uri, "--work-dir", "work"]
        begun = warm.begin([str(ROOT / "migrate.py"), *command], kind="mlflow", cwd=tmp_path, env=clean_environment())

        def end(exchange: Any, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            assert _is_marked(target)
            os.kill(begun.pid, signal.SIGTERM)
            exchange.answer(status, headers, body)

        proxy.faults.append(Fault("runs/create", end))
        assert begun.wait(200) == 143
        assert sum(proxy.spoilt.values()) == 1
    assert not _is_marked(target)


def _model(seed: Seeder, experiment: str, run: str) -> None:
    seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "a model", "source_run_id": run})


@pytest.mark.long
def test_copies_of_somebody_else_are_counted(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A target that another work folder has filled: exit status 1, and each object that is there twice is named."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("churn")
    runs = [seed.run(experiment, name) for name in NAMES]
    _model(seed, experiment, runs[0])
    trace(seed, experiment, "asked")
    seed.call("POST", "registered-models/create", {"name": "registered"})
    version = {"name": "registered", "source": f"mlflow-artifacts:/{experiment}/{runs[0]}/artifacts", "run_id": runs[0]}
    seed.call("POST", "model-versions/create", version)
    for run in runs:
        seed.end(run)
    ends = ["--source-uri", source.uri, "--target-uri", target.uri, "--no-verify"]
    first = migrate_py(tmp_path, "run", *ends, "--work-dir", "one")
    assert first.status == 0, first.output
    assert "more than once" not in first.output
    second = migrate_py(tmp_path, "run", *ends, "--work-dir", "two", "--into-existing")
    assert second.status == 1, second.output
    assert "On the target more than once: 4" in second.output
    assert "Nothing is left over" not in second.output
    for name in NAMES:
        assert f"double: run {name!r}" in second.output
    outcome = json.loads((tmp_path / "two" / "outcome.json").read_text())
    assert outcome["status"] == 1
    doubled = sorted((one["kind"], one["name"]) for one in outcome["doubled"])
    assert doubled == sorted([("logged_model", "a model"), *(("run", name) for name in NAMES)])
    assert outcome["unmoved"] == []
    # what others copied with other tools, and what is no copy: somebody else's model of that name, and trace
    theirs = Seeder(target.uri)
    found = theirs.call("POST", "experiments/search", {"max_results": 9})["experiments"]
    [place] = [one["experiment_id"] for one in found if one["name"] == "churn"]
    tags = pairs({"mlflow_exim.field.name": "registered", "mlflow_exim.field.version": "1"})
    run = theirs.run(place, "theirs")
    files = f"mlflow-artifacts:/{place}/{run}/artifacts"
    body = {"name": "registered", "source": files, "run_id": run, "tags": tags}
    theirs.call("POST", "model-versions/create", body)
    trace(theirs, place, "asked")
    _model(theirs, place, run)
    trace(theirs, place, "asked by others")
    again = migrate_py(tmp_path, "run", *ends, "--work-dir", "two", "--into-existing")
    assert "double: trace " in again.output
    assert "double: model version 'registered version 1' (registered/1)" in again.output
    assert "On the target more than once: 6" in again.output


@pytest.mark.long
def test_an_audit_leaves_the_mark_out_and_names_it(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """The mark on the target is no object that is one too many; the report says that a migration is at work there."""
    source, target = servers
    with _marks(target.uri, "work") as [mark]:
        assert mark.hold() == []
        run = audit(tmp_path, source.uri, target.uri)
        assert mark.release() == ""
    assert run.status == 0, run.output
    [note] = [one for one in run.report["notes"] if "mark" in one]
    assert note.startswith("the target has the mark of a migration that is at work, or was killed")
    # a model of that name that nobody's migration made is a model like any other
    Seeder(target.uri).call("POST", "registered-models/create", {"name": MIGRATION_MARK})
    run = audit(tmp_path / "model", source.uri, target.uri)
    Seeder(target.uri).call("DELETE", "registered-models/delete", {"name": MIGRATION_MARK})
    assert ("presence", "", "extra", MIGRATION_MARK) in run.findings()


@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "newest"])
def test_of_many_that_begin_at_once_one_may_go_on(fresh_server: FreshServer, version: str) -> None:
    """The server decides; a mark that is taken over is lost; nothing of it stays."""
    target = fresh_server(version)
    before = state(target)
    with _marks(target.uri, *(f"work {number}" for number in range(8))) as marks:
        with ThreadPoolExecutor(len(marks)) as pool:
            found = list(pool.map(lambda mark: mark.hold(), marks))
        [winner] = [mark for mark, problems in zip(marks, found, strict=True) if not problems]
        assert {one.code for problems in found for one in problems} == {"target.at-work"}
        winner.confirm()
        # the same work folder goes on
        with _marks(target.uri, winner.work) as [again]:
            assert again.hold() == []
        other = next(mark for mark in marks if mark is not winner)
        assert other.hold(take_over=True) == []
        other.confirm()
        with pytest.raises(ReadError, match="another migration took over the target"):
            winner.confirm()
        assert winner.release() == ""
        assert [one.code for one in marks[0].hold() + marks[1].hold()] != []
        # one that somebody removed by hand is made again
        Seeder(target.uri).call("DELETE", "registered-models/delete", {"name": MIGRATION_MARK})
        other.confirm()
        assert _is_marked(target)
        assert other.release() == ""
        assert state(target) == before
        # a model of somebody's that has the name is not taken for a mark, and never deleted
        Seeder(target.uri).call("POST", "registered-models/create", {"name": MIGRATION_MARK})
        assert [one.code for one in winner.hold(take_over=True)] == ["target.at-work"]
        assert _is_marked(target)


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"run": 7}', b'{"run": {"info": {}}}'])
def test_an_answer_that_does_not_tell_what_was_made(source: Server, fresh_server: FreshServer, answer: bytes) -> None:
    """The run was made all the same: it is looked for, and not made a second time."""
    target = fresh_server()
    with proxying(target.uri) as proxy:
        proxy.faults.append(Fault("runs/create", status(200, body=answer)))
        writer, _ = open_writer(parse_location(proxy.uri, option="--target-uri"))
        body = {"experiment_id": "0", "run_name": "once", "start_time": 1}

        def made(told: dict[str, Any]) -> str:
            return str(told["run"]["info"]["run_id"])

        def find() -> str | None:
            found = Seeder(target.uri).call("POST", "runs/search", {"experiment_ids": ["0"]}).get("runs", [])
            return None if not found else str(found[0]["info"]["run_id"])

        with closing(writer):
            assert writer.create("/api/2.0/mlflow/runs/create", body, find=find, made=made) == find()
        assert sum(proxy.spoilt.values()) == 1
    assert _runs(target) == ["once"]
