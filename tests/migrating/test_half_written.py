"""A trace is written whole or stays to be done: no half of its spans and none of its id elsewhere is passed over."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from support.audits import AuditRun, audit
from support.exported import export
from support.importer import Whole
from support.migrations import Migrated, migrate_py
from support.proxy import Fault, proxying, status
from support.seed import Seeder
from support.seed_traces import span, trace
from support.servers import FreshServer

from mlflow_parity.migrating.write.otlp import requests_of
from mlflow_parity.standin.servers import Server

TRACE = "tr-" + "0a" * 16
#: Of one span; two do not go into one request.
_LARGE = 3 * 2**20


def _in_database(server: Server, experiment: str, size: int = 10) -> None:
    """Write a trace with two spans, which the server keeps in its database."""
    for number, body in enumerate(requests_of(TRACE, [span(f"span {number}", "x" * size) for number in range(2)])):
        headers = {"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment}
        answer = requests.post(f"{server.uri}/v1/traces", data=body, headers=headers, timeout=60)
        assert answer.ok, (number, answer.text)


def _moved(folder: Path, source: str, target: str) -> Migrated:
    ends = ("--source-uri", source, "--target-uri", target, "--work-dir", "work", "--report-dir", "reports")
    return migrate_py(folder, "run", *ends)


def _rows(server: Server) -> dict[str, list[Any]]:
    """Return the rows that make up traces."""
    tables = ("trace_info", "trace_tags", "trace_request_metadata", "spans")
    with closing(sqlite3.connect(server.database_path, timeout=30)) as database:
        return {table: sorted(map(str, database.execute(f"SELECT * FROM {table}"))) for table in tables}


def _imported(server: Server, address: str, folder: Path) -> tuple[str, str]:
    """Import everything in this process; return what the journal says of the one trace."""
    importing = Whole(export(server, folder), address, folder / "journal.sqlite")
    try:
        importing.run()
        [entry] = importing.context.journal.entries(kind="trace")
        return entry.state, entry.origin
    finally:
        importing.close()


def _states(folder: Path) -> set[str]:
    """Return what the journal says of traces."""
    with closing(sqlite3.connect(next((folder / "work").glob("journal-*.sqlite")))) as journal:
        return {str(state) for (state,) in journal.execute("SELECT state FROM objects WHERE kind = 'trace'")}


@pytest.mark.long
@pytest.mark.parametrize("stored", [True, False], ids=["spans in the database", "spans in a file"])
def test_a_trace_of_its_id_elsewhere_is_left_alone(stored: bool, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Written without asking, somebody's trace would be taken out of their experiment, and nobody would be told."""
    source, target = fresh_server(), fresh_server()
    ours, theirs = Seeder(source.uri), Seeder(target.uri)
    experiment = ours.experiment("agent")
    if stored:
        _in_database(source, experiment)
    else:
        trace(ours, experiment, "ours", trace_id=TRACE)
    # ids of experiments are numbers: that of the copy is another one
    trace(theirs, theirs.experiment("somebody's"), "theirs", trace_id=TRACE)
    before = _rows(target)
    done = _moved(tmp_path, source.uri, target.uri)
    assert done.status == 1, done.output[-3000:]
    assert "the target has a trace of this id in another experiment" in done.output
    assert _rows(target) == before
    again = _moved(tmp_path, source.uri, target.uri)
    assert (again.status, _rows(target)) == (1, before)


@pytest.mark.long
@pytest.mark.parametrize("code", [413, 403])
def test_half_of_the_spans_is_not_done(code: int, fresh_server: FreshServer, tmp_path: Path) -> None:
    """A refusal of the second part leaves half a trace: red, not done, and made good by the next run."""
    source, target = fresh_server(), fresh_server()
    _in_database(source, Seeder(source.uri).experiment("agent"), _LARGE)
    with proxying(target.uri) as front:
        front.faults.append(Fault("/v1/traces", status(code), times=10**6, after=1, early=True))
        done = _moved(tmp_path, source.uri, front.uri)
        assert sum(path == "/v1/traces" for path in front.paths()) == 2
        assert done.status == 1, done.output[-3000:]
        assert "Traceback" not in done.output
        assert f"{code}" in done.output
        red = AuditRun(done.status, done.output, tmp_path / "reports").red_rows()
        assert ("trace", "spans") in {(row.kind, row.facet) for row in red}
        assert _states(tmp_path) == {"failed"}
        front.heal()
        done = _moved(tmp_path, source.uri, front.uri)
        assert done.status == 0, done.output[-3000:]
    assert len(_rows(target)["spans"]) == 2
    checked = audit(tmp_path / "after", source.uri, target.uri, "--parity-usable", "-k", "trace or is_usable")
    assert (checked.status, checked.red_rows()) == (0, []), checked.output[-3000:]


@pytest.mark.long
def test_half_of_the_spans_has_made_the_trace(fresh_server: FreshServer, tmp_path: Path) -> None:
    """In an experiment of others, too, it is ours: what was taken off it at the source since goes on the target."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    _in_database(source, seed.experiment("agent"), _LARGE)
    seed.call("PATCH", f"traces/{TRACE}/tags", {"trace_id": TRACE, "key": "went", "value": "since"}, version="3.0")
    there.experiment("agent")
    with proxying(target.uri) as front:
        front.faults.append(Fault("/v1/traces", status(403), after=1, early=True))
        assert _imported(source, front.uri, tmp_path) == ("failed", "made")
    there.call("PATCH", f"traces/{TRACE}/tags", {"trace_id": TRACE, "key": "went", "value": "since"}, version="3.0")
    seed.call("DELETE", f"traces/{TRACE}/tags", {"trace_id": TRACE, "key": "went"}, version="3.0")
    assert _imported(source, target.uri, tmp_path) == ("done", "made")
    assert not [row for row in _rows(target)["trace_tags"] if "went" in row]


@pytest.mark.parametrize(("code", "state"), [(400, "unmovable"), (403, "failed"), (500, "failed")])
def test_an_assessment_that_is_refused_once(code: int, state: str, fresh_server: FreshServer, tmp_path: Path) -> None:
    """What the target refuses for what it says is given up; a right that lacks, or an error of its own, may pass."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    trace(seed, seed.experiment("agent"), "judged", trace_id=TRACE)
    path, judge = f"traces/{TRACE}/assessments", {"source_type": "HUMAN", "source_id": "ada"}
    body = {"assessment_name": "good", "trace_id": TRACE, "source": judge, "feedback": {"value": False}}
    first = seed.call("POST", path, {"assessment": body}, version="3.0")["assessment"]["assessment_id"]
    # one that overrides another is written after the trace
    seed.call("POST", path, {"assessment": {**body, "feedback": {"value": True}, "overrides": first}}, version="3.0")
    with proxying(target.uri) as front:
        refusal = status(code, body=b'{"error_code": "INTERNAL_ERROR", "message": "no"}')
        # what is overridden is deleted first, to be made before the other
        front.faults.append(Fault("/assessments", refusal, times=99, after=1, early=True))
        assert _imported(source, front.uri, tmp_path) == (state, "made")
    if state == "failed":
        assert _imported(source, target.uri, tmp_path) == ("done", "made")
        asked = Seeder(target.uri).call("GET", f"traces/{TRACE}", {}, version="3.0")["trace"]["trace_info"]
        assert len(asked["assessments"]) == 2
