"""Spans that come from the table of a server's database: those of the API, also where it tells them oddly."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import seed_spans
from support.databases import opened_beside, sql
from support.environments import python_of
from support.opened import opened
from support.postgres import postgres
from support.servers import FreshServer, server_of

from mlflow_parity.core.errors import ReadError
from mlflow_parity.core.identity.digests import digest
from mlflow_parity.core.records import Entity
from mlflow_parity.reading import Reader
from mlflow_parity.reading.database import trust
from mlflow_parity.reading.database.reader import DatabaseReader
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.standin.servers import Server


def _written(server: Server, version: str = "newest") -> None:
    """Write traces by the client of a release."""
    given = json.dumps({"uri": server.uri})
    command = [python_of(version), str(Path(seed_spans.__file__)), given]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=240)


def _read(reader: Reader) -> dict[str, Entity]:
    """Read all traces of the seeded experiment, by id."""
    [place] = [one.experiment_id for one in reader.experiments() if one.name == seed_spans.EXPERIMENT]
    found: dict[str, Entity] = {}
    for batch in reader.experiment_objects(place, ["trace"], run_ids=[]):
        found |= {one.entity_id: one for one in batch}
    return found


def _facets(trace: Entity) -> tuple[bytes, str | None]:
    # NaN is no other NaN to ==
    return digest(dict(trace.facets)), trace.error


def _alike(uri: str, database: str) -> tuple[int, dict[str, Entity]]:
    """Read the traces both ways; return of how many the spans came from the database, and all of them."""
    with closing(opened(uri)) as reader:
        by_api = _read(reader)
    with closing(opened_beside(uri, database)) as beside:
        by_database = _read(beside)
        assert list(by_database) == list(by_api)
        for trace_id, trace in by_database.items():
            assert _facets(trace) == _facets(by_api[trace_id]), (trace, by_api[trace_id])
        return _count(beside), by_database


def _count(reader: DatabaseReader) -> int:
    return 0 if reader._spans is None else reader._spans.read


@pytest.fixture(scope="module")
def spans(module_server: FreshServer) -> Server:
    """A server with traces whose spans are in its database."""
    server = module_server()
    _written(server)
    return server


def test_spans_are_those_of_the_api(spans: Server) -> None:
    """Whoever reads the database gets the verdict of the API, and the report says how many were read so."""
    count, traces = _alike(spans.uri, spans.database_uri)
    assert count == len(traces) == 4
    assert {len(trace.facets["spans"]) for trace in traces.values()} == {1, 3}
    with closing(opened_beside(spans.uri, spans.database_uri)) as beside:
        _read(beside)
        assert "so were the spans of 4 traces, those of 2 traces by the API too" in beside.told


def test_few_are_asked_of_the_server(spans: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are the heaviest that a server is asked for: beside its database it is asked for two traces of them."""
    with closing(opened_beside(spans.uri, spans.database_uri)) as beside:
        asked: list[int] = []
        session = beside._reader.session
        get = session.get

        def counted(endpoint: endpoints.Endpoint, query: Any = (), *given: Any, **more: Any) -> Any:
            if endpoint is endpoints.TRACE_BATCH:
                asked.append(len(query))
            return get(endpoint, query, *given, **more)

        monkeypatch.setattr(session, "get", counted)
        _read(beside)
        assert asked == [2]
        # what is read again comes by the API
        beside.end_of_first_reading()
        _read(beside)
        assert asked == [2, 4]


@pytest.mark.long
@pytest.mark.parametrize("version", ["3.4.0", "3.10.1", "3.17.2", "3.18.0"])
def test_each_release_tells_the_same(fresh_server: FreshServer, version: str) -> None:
    """What is kept of a span changed from release to release; one that has no such table is read by its API."""
    server = fresh_server(version)
    _written(server, version)
    count, traces = _alike(server.uri, server.database_uri)
    assert len(traces) == 4
    in_table = [one for one in traces.values() if one.facets["tags"].get("mlflow.trace.spansLocation")]
    assert count == len(in_table)
    assert bool(in_table) == (version != "3.4.0")


@pytest.mark.long
def test_postgresql_tells_the_same_and_so_does_a_role_without_the_right(tmp_path: Path) -> None:
    """A role that may not read the table of spans is no obstacle: they come by the API."""
    with postgres() as cluster, server_of("newest", tmp_path, database=cluster.uri()) as server:
        _written(server)
        assert _alike(server.uri, cluster.uri())[0] == 4
        sql(cluster, "CREATE ROLE partly LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO partly; "
            "REVOKE SELECT ON spans FROM partly")  # fmt: skip
        assert _alike(server.uri, f"postgresql://partly@127.0.0.1:{cluster.port}/mlflow")[0] == 0


def _content(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def changed(content: str) -> str:
        entry = json.loads(content)
        change(entry)
        return json.dumps(entry)

    return changed


def _attribute(value: str) -> Callable[[str], str]:
    return _content(lambda entry: entry["attributes"].update(odd=value))


_WIDE = {"trace_id": "tr-" + "f" * 40, "span_id": "f" * 40, "attributes": {}}


@pytest.mark.parametrize(
    ("change", "from_table"),
    [
        pytest.param(_attribute("NaN"), True, id="nan"),
        pytest.param(_attribute("[1e400, -1e400]"), True, id="infinite"),
        pytest.param(_attribute("5.0"), True, id="whole"),
        pytest.param(_attribute('"\U0001f600"'), True, id="emoji"),
        pytest.param(_attribute(json.dumps("\U0001f600")), True, id="emoji in json"),
        pytest.param(_attribute('{"a": [{"b": null}], "": true}'), True, id="nested"),
        pytest.param(_attribute('"\\ud800"'), False, id="half a letter"),
        pytest.param(_attribute(str(2**70)), None, id="huge"),
        pytest.param(_attribute("x" * 300_000), True, id="long"),
        pytest.param(_attribute("[" * 90 + "]" * 90), None, id="deep"),
        pytest.param(_content(lambda entry: entry.update(links=[_WIDE])), False, id="wide link"),
        pytest.param(_content(lambda entry: entry.pop("name")), None, id="no name"),
        pytest.param(_content(lambda entry: entry.update(end_time_unix_nano=None)), True, id="no end"),
        pytest.param(_content(lambda entry: entry.pop("start_time_unix_nano")), False, id="no start"),
        pytest.param(lambda content: content[:-1], False, id="cut"),
        pytest.param(lambda content: "[]", False, id="a list"),
        pytest.param(lambda content: "", False, id="cleared"),
    ],
)
def test_odd_spans_are_told_as_the_api_tells_them(
    spans: Server, change: Callable[[str], str], from_table: bool | None
) -> None:
    """What the API tells otherwise than its table, or not at all, is never made better by reading the table."""
    with closing(sqlite3.connect(spans.database_path, timeout=30)) as database:
        [(trace, span, content)] = database.execute(
            "SELECT trace_id, span_id, content FROM spans WHERE name = 'lookup weather' ORDER BY trace_id LIMIT 1"
        ).fetchall()

        def put(text: str) -> None:
            with database:
                database.execute("UPDATE spans SET content = ? WHERE trace_id = ? AND span_id = ?", (text, trace, span))

        put(change(content))
        try:
            count, _ = _alike(spans.uri, spans.database_uri)
        finally:
            put(content)
    assert from_table is None or count == 3 + from_table


@pytest.mark.parametrize(
    ("statement", "count"),
    [
        ("DELETE FROM spans WHERE name = 'llm'", 1),
        ("DELETE FROM spans", 0),
        ("DROP TABLE spans", 0),
    ],
)
def test_what_a_copy_lacks_is_told_by_the_server(spans: Server, tmp_path: Path, statement: str, count: int) -> None:
    """A trace of which the database lacks spans is asked of the server, whole."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(spans.database_path, copy)
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute(statement)
    assert _alike(spans.uri, f"sqlite:///{copy}")[0] == count


def test_a_copy_with_other_spans_is_never_believed(spans: Server, tmp_path: Path) -> None:
    """An altered copy of the database ends in a line that names the trace, not in a green audit."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(spans.database_path, copy)
    with closing(sqlite3.connect(copy)) as database, database:
        database.execute("UPDATE spans SET content = replace(content, 'agent call', 'another') ")
        database.execute("UPDATE spans SET content = replace(content, 'fails', 'another') ")
    beside = opened_beside(spans.uri, f"sqlite:///{copy}")
    with closing(beside), pytest.raises(ReadError, match="disagree on the spans of trace tr-"):
        _read(beside)


def test_no_page_is_sure_to_be_believed(spans: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read both ways of the first traces says nothing of those of a later page: some of them are, too."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(spans.database_path, copy)
    with closing(opened(spans.uri)) as reader:
        *first, last = _read(reader).values()
    with closing(sqlite3.connect(copy)) as database, database:
        change = 'UPDATE spans SET content = replace(content, \'"name"\', \'"name": "x", "was"\') WHERE trace_id = ?'
        assert database.execute(change, [last.entity_id]).rowcount
    with closing(opened_beside(spans.uri, f"sqlite:///{copy}")) as beside:
        beside.experiments()
        assert len(beside._spans_of(first)) == len(first)
        monkeypatch.setattr(trust, "_OF_THOUSAND", 1000)
        with pytest.raises(ReadError, match=f"disagree on the spans of trace {last.entity_id}"):
            beside._spans_of([last])
