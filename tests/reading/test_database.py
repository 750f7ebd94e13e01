"""A server read with its database beside it: the same records bit for bit, of one instant, without a write."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import adbc_driver_postgresql.dbapi
import pyarrow as pa
import pymysql
import pytest
from support.audits import audit
from support.databases import differences, opened_beside, read, sql
from support.mariadb import mariadb
from support.postgres import Postgres, postgres
from support.seed import EPOCH, Seeder, seed_small
from support.seed_odd import seed_odd
from support.servers import FreshServer, copy_database, server_of

from mlflow_parity.audit.databases import told_of_databases
from mlflow_parity.audit.side import Side, uncounted
from mlflow_parity.core.errors import MalformedAnswer, ParityError, ReadError, UsageProblem
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.scope import EVIDENCE
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.database import reader as reader_module
from mlflow_parity.reading.database import sqlite as sqlite_module
from mlflow_parity.reading.database import trust
from mlflow_parity.reading.database.batches import cast
from mlflow_parity.reading.database.connection import Database
from mlflow_parity.reading.database.identity import refuse_one_database
from mlflow_parity.reading.database.trust import BothWays
from mlflow_parity.reading.database.urls import DatabaseUrl, parse_database
from mlflow_parity.snapshot.capture import RUN_PARTS
from mlflow_parity.snapshot.schema import Asked
from mlflow_parity.standin.servers import Server

#: What the API alters on its way, or may: blanks at the end, case, long texts, doubles at the edge, far steps.
PARAMS = {"a ": "b ", "A ": "x" * 6000, "a": " ", "ä": "line\nline\ttab"}
TAGS = {"t ": " v  ", "T ": "", "t": "y" * 7999, "mlflow.user": "someone else"}
POINTS = [
    ("Acc", 0.1, 5, 0),
    ("acc", 1e-320, 5, 0),
    ("acc ", 1.7976931348623157e308, 2, -(2**62)),
    ("n", float("nan"), 3, 1),
    ("n", float("nan"), 3, 2),
    ("back", 2.0, 9, 5),
    ("back", 1.0, 8, 5),
    ("back", 3.0, 7, 4),
]
#: What only SQL can leave: no value, no name but the tag, no end, no schema.
NULLS = (
    "UPDATE tags SET value = NULL WHERE key = 'reason'",
    "UPDATE runs SET name = NULL WHERE name = 'killed'",
    "UPDATE runs SET end_time = 0 WHERE name = 'failed'",
    "UPDATE runs SET name = '' WHERE name = 'sweep-2'",
)


def _seed(uri: str, *, collide: bool = False, odd: bool = True) -> str:
    """Write runs of every sort; return the id of the oddest. ``collide``: the database takes a, A and "a " for one."""
    seed_small(uri, unicode_files=False)
    if odd:
        seed_odd(uri)
    seed = Seeder(uri)
    run = seed.run("0", "  blanks ")
    params, tags, points = PARAMS, TAGS, POINTS
    if collide:
        params, tags = {"a": "b ", "long": "x" * 6000}, {"t": " v  ", "u": ""}
        points = [("n", float("nan"), 3, 1), ("acc", 1e-320, 5, 0), ("far", 1.7976931348623157e308, 2, -(2**62))]
    seed.log(run, params=params, tags=tags, metrics=points)
    return run


def test_it_is_what_the_api_tells_bit_for_bit(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Whoever reads the database gets the verdict of the API, and the file of the server stays as it is."""
    server = fresh_server()
    _seed(server.uri)
    with closing(sqlite3.connect(server.database_path)) as database, database:
        for statement in NULLS:
            database.execute(statement)
    before = hashlib.sha256(server.database_path.read_bytes()).hexdigest()
    beside = {one.name for one in server.database_path.parent.iterdir()}
    by_api, by_database = read(tmp_path, server.uri), read(tmp_path, server.uri, server.database_uri)
    assert differences(by_api, by_database) == []
    assert sum(one["counts"].get("runs", 0) for name, one in by_api.items() if name.endswith(" runs")) == 12
    assert hashlib.sha256(server.database_path.read_bytes()).hexdigest() == before
    assert {one.name for one in server.database_path.parent.iterdir()} == beside


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "3.4.0", "3.10.1", "3.18.0"])
def test_each_release_is_read_alike(fresh_server: FreshServer, tmp_path: Path, version: str) -> None:
    """The schema changed from release to release; a source is as old as it is."""
    server = fresh_server(version)
    _seed(server.uri, odd=False)
    by_api, by_database = read(tmp_path, server.uri), read(tmp_path, server.uri, server.database_uri)
    assert differences(by_api, by_database) == []
    assert not [name for name, one in by_api.items() if isinstance(one, dict) and one["error"]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Postgres]:
    """PostgreSQL with everything of a seeded server."""
    with postgres() as running:
        yield running


@pytest.fixture(scope="module")
def on_postgres(cluster: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A seeded server on it."""
    with server_of("newest", tmp_path_factory.mktemp("postgres"), database=cluster.uri()) as server:
        _seed(server.uri)
        yield server


@pytest.mark.long
def test_postgresql_is_read_alike_by_whoever_may_only_select(
    cluster: Postgres, on_postgres: Server, tmp_path: Path
) -> None:
    """A database administrator gives a role that cannot write; it is enough, and nothing more is tried."""
    sql(cluster, "CREATE ROLE auditor LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO auditor")
    database = f"postgresql://auditor@127.0.0.1:{cluster.port}/mlflow"
    with pytest.raises(Exception, match="permission denied"):
        adbc_driver_postgresql.dbapi.connect(database).cursor().execute("DELETE FROM runs")
    by_api, by_database = read(tmp_path, on_postgres.uri), read(tmp_path, on_postgres.uri, database)
    assert differences(by_api, by_database) == []
    assert sum(one["counts"].get("points", 0) for name, one in by_api.items() if name.endswith(" metrics")) > 100


@pytest.mark.long
def test_postgresql_without_a_right_to_read_says_which(cluster: Postgres, on_postgres: Server) -> None:
    """A role that may not read a table is told so, and nobody takes the table for an empty one."""
    sql(cluster, "CREATE ROLE blind LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO blind; "
        "REVOKE SELECT ON metrics FROM blind")  # fmt: skip
    reader = opened_beside(on_postgres.uri, f"postgresql://blind@127.0.0.1:{cluster.port}/mlflow")
    with closing(reader), pytest.raises(UsageProblem, match=r"no table metrics .*grant SELECT"):
        reader.experiments()


@pytest.mark.long
def test_mariadb_is_read_alike_and_not_written_to(tmp_path: Path) -> None:
    """The same of the other database that MLflow runs on."""
    with mariadb() as uri:
        parts = urlsplit(uri)
        with closing(
            pymysql.connect(
                host=str(parts.hostname),
                port=parts.port,
                user=parts.username,
                password=parts.password,
                database="mlflow",
            )
        ) as connection:
            connection.cursor().execute("ALTER DATABASE mlflow CHARACTER SET utf8mb4")
        with server_of("newest", tmp_path / "server", database=uri) as server:
            _seed(server.uri, collide=True)
            by_api, by_database = read(tmp_path, server.uri), read(tmp_path, server.uri, uri)
            assert differences(by_api, by_database) == []
            _refuses_to_write(uri, "READ ONLY transaction")


def test_what_files_rest_on_gets_to_who_reads_them(newest: Server) -> None:
    """Set on the reader around it alone, each file's bytes would be read while the report says otherwise."""
    with closing(opened_beside(newest.uri, f"sqlite:///{newest.database_path}")) as reader:
        for evidence in EVIDENCE:
            reader.evidence = evidence
            assert reader.evidence == reader._reader.evidence == evidence


@pytest.mark.long
def test_one_database_under_two_names_is_refused(cluster: Postgres, tmp_path: Path) -> None:
    """What it says of itself is asked: what one of two servers lost would be read from the other's database twice."""
    alias = f"postgresql://mlflow@database.example:{cluster.port}/mlflow?hostaddr=127.0.0.1"
    ours = parse_database(cluster.uri(), "source")
    with pytest.raises(UsageProblem, match=r"same database under two names .*database\.example"):
        refuse_one_database(ours, parse_database(alias, "target"))
    # before a server is asked
    uris = "http://127.0.0.1:9", "http://127.0.0.1:10"
    done = audit(tmp_path, *uris, "--source-db", cluster.uri(), "--target-db", alias)
    assert done.status == 4
    assert "same database under two names" in done.output
    other = alias.replace("/mlflow?", "/postgres?")
    refuse_one_database(ours, parse_database(other, "target"))
    with mariadb() as uri:
        host = str(urlsplit(uri).hostname)
        ours = parse_database(uri, "source")
        with pytest.raises(UsageProblem, match="same database under two names"):
            refuse_one_database(ours, parse_database(uri.replace(host, "127.1"), "target"))
        refuse_one_database(ours, parse_database(f"{uri.rpartition('/')[0]}/information_schema", "target"))


@pytest.mark.long
def test_a_write_through_our_own_connection_is_refused(cluster: Postgres, on_postgres: Server) -> None:
    """Even an owner's password cannot make an audit write: the transaction is read-only to the database itself."""
    _refuses_to_write(cluster.uri(), "read-only transaction")


def test_a_table_is_not_read_whole_for_some_runs(cluster: Postgres) -> None:
    """PostgreSQL guesses from a sample how many rows a run has; of a million runs it guesses far too many."""
    cluster.create_database("guessing")
    with closing(adbc_driver_postgresql.dbapi.connect(cluster.dsn("guessing"), autocommit=True)) as connection:
        with connection.cursor() as cursor:
            for statement in (
                "CREATE TABLE metrics AS SELECT md5((n / 5)::text) AS run_uuid, n AS step "
                "FROM generate_series(0, 99999) n",
                "CREATE INDEX ON metrics (run_uuid)",
                "ALTER TABLE metrics ALTER COLUMN run_uuid SET (n_distinct = 10)",
                "ANALYZE metrics",
            ):
                cursor.execute(statement)
        database = Database(parse_database(cluster.uri("guessing"), "--source-db"))
        ids = [hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest() for number in range(0, 20_000, 100)]
        query = f"SELECT step FROM metrics WHERE run_uuid IN ({', '.join(map(repr, ids))})"
        found = database.table(query, pa.schema([("step", pa.int64())]))
        database.close()
        assert found.num_rows == 5 * len(ids)
        with connection.cursor() as cursor:
            # what a backend has counted is told a moment after it has ended
            cursor.execute("SELECT pg_sleep(1.5)")
            cursor.fetchall()
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.fetchall()
            cursor.execute("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'metrics'")
            [(whole, by_index)] = cursor.fetchall()
    # one for the index to be made, one for the sample
    assert whole <= 2
    assert by_index > 0


def test_two_schemas_of_one_database_are_two(cluster: Postgres) -> None:
    """Two servers may keep their data in one database; with the same tables, whatever comes first, they are one."""
    cluster.create_database("schemas")
    tables = "; ".join(f"CREATE SCHEMA {name}; CREATE TABLE {name}.runs ()" for name in ("ours", "theirs"))
    sql(cluster, f"{tables}; CREATE SCHEMA nothing", "schemas")

    def of(side: str, path: str, user: str = "mlflow") -> DatabaseUrl:
        uri = cluster.dsn("schemas").replace("mlflow@", f"{user}@")
        return parse_database(f"{uri}?options=-csearch_path%3D{path}", side)

    refuse_one_database(of("source", "ours"), of("target", "theirs"))
    with pytest.raises(UsageProblem, match="same database under two names"):
        refuse_one_database(of("source", "ours"), of("target", "nothing,ours"))
    # where it does not say which it is, nobody knows that they are two
    sql(
        cluster,
        "CREATE ROLE untold LOGIN; REVOKE EXECUTE ON FUNCTION pg_postmaster_start_time() FROM PUBLIC",
        "schemas",
    )
    with pytest.raises(UsageProblem, match="same database under two names"):
        refuse_one_database(of("source", "ours", "untold"), of("target", "theirs", "untold"))


def test_text_in_another_encoding_is_read_as_what_it_is(cluster: Postgres) -> None:
    """A database that is not UTF-8 gives the same text; bytes in no encoding are one line, and no text."""
    text, schema = "SELECT v AS text FROM one", pa.schema([("text", pa.string())])
    for encoding, value in (("LATIN1", "chr(228)"), ("SQL_ASCII", r"E'\xe4'")):
        name = encoding.lower()
        command = [str(cluster.bin / "createdb"), "-h", "127.0.0.1", "-p", str(cluster.port), "-U", "mlflow"]
        subprocess.run([*command, "-E", encoding, "-T", "template0", name], check=True, timeout=60)
        sql(cluster, f"CREATE TABLE one AS SELECT {value}::text AS v", name)
        for options in ("", f"?client_encoding={encoding}"):
            url = parse_database(f"{cluster.dsn(name)}{options}", "source")
            with closing(Database(url)) as database:
                if encoding == "LATIN1":
                    assert database.rows(text, schema) == [("ä",)]
                    continue
                with pytest.raises(ReadError, match=r"cannot be read: .*invalid byte sequence"):
                    database.rows(text, schema)
    # a database may hold what it would not take today
    bytes_only = pa.array([b"\xe4"], pa.binary()).view(pa.string())
    with pytest.raises(MalformedAnswer, match="text in column text that is not UTF-8"):
        cast(pa.RecordBatch.from_arrays([bytes_only], schema=schema), schema)


def test_a_write_to_a_file_through_our_own_connection_is_refused(fresh_server: FreshServer) -> None:
    """The same of SQLite."""
    _refuses_to_write(fresh_server().database_uri, "readonly database")


def _refuses_to_write(uri: str, why: str) -> None:
    for statement in ("DELETE FROM runs", "UPDATE tags SET value = 'x'", "CREATE TABLE mine (one INTEGER)"):
        with closing(Database(parse_database(uri, "source"))) as database, pytest.raises(ReadError, match=why):
            database.table(statement, pa.schema([]))


@pytest.mark.parametrize("where", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def test_it_is_one_instant(fresh_server: FreshServer, request: pytest.FixtureRequest, where: str) -> None:
    """Runs that are written while a source is read are not half in the audit: they come with the second list."""
    if where == "sqlite":
        server = fresh_server()
        uri = server.database_uri
        seed_small(server.uri, unicode_files=False)
    else:
        server, uri = request.getfixturevalue("on_postgres"), request.getfixturevalue("cluster").uri()
    seed = Seeder(server.uri)
    before = seed.run("0", "before")
    seed.log(before, params={"p": "1"}, metrics=[("m", 1.0, EPOCH, 0)])
    with closing(opened_beside(server.uri, uri)) as reader:
        reader.experiments()
        after = seed.run("0", "after")
        seed.log(before, tags={"late": "yes"}, metrics=[("m", 2.0, EPOCH, 1)])
        found = {run.run_id: run for page in reader.runs("0") for run in page}
        assert after not in found
        assert "late" not in found[before].tags
        [[series]] = reader.histories([found[before]])
        assert series.values.tolist() == [1.0]
        # a server in use is no contradiction: its database says the same by now
        reader.end_of_first_reading()
        assert reader.contradictions({"0": [before, after]}) == {}
        now = {run.run_id: run for page in reader.runs("0") for run in page}
        assert now[before].tags["late"] == "yes"
        assert after in now


def test_an_experiment_that_came_since_is_read_by_the_api(fresh_server: FreshServer) -> None:
    """A source in use makes experiments: one that is too young for the transaction is not taken for a contradiction."""
    server = fresh_server()
    with closing(opened_beside(server.uri, server.database_uri)) as reader:
        seed = Seeder(server.uri)
        experiment = seed.experiment("young")
        run = seed.run(experiment, "first")
        assert experiment in {one.experiment_id for one in reader.experiments()}
        assert [one.run_id for page in reader.runs(experiment) for one in page] == [run]


def test_no_page_is_sure_to_be_believed(seeded: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in which runs of a later page have other points is found where one of them is read by the API too."""
    with closing(sqlite3.connect(seeded.database_path)) as database:
        [(other,), *_] = database.execute("SELECT run_uuid FROM latest_metrics WHERE key = 'loss'")
    change = f"UPDATE metrics SET value = 9 WHERE key = 'loss' AND step < 5 AND run_uuid = '{other}'"
    with closing(opened_beside(seeded.uri, _altered(_copied(seeded, tmp_path), change))) as reader:
        runs = [run for one in reader.experiments() for page in reader.runs(one.experiment_id) for run in page]
        [altered] = [run for run in runs if run.run_id == other]
        first = [run for run in runs if run.experiment_id == altered.experiment_id and run.metrics and run != altered]
        assert len(first) >= 2
        assert all(one.error is None for batch in reader.histories(first) for one in batch)
        assert "2 histories of 1 experiment were read by the API too" in reader.told
        monkeypatch.setattr(trust, "_OF_THOUSAND", 1000)
        monkeypatch.setattr(reader_module, "_CHANCE", _Prefers(frozenset({"loss"})))
        with pytest.raises(ReadError, match=f"disagree on the history of 'loss' of run {other}"):
            [*reader.histories([altered])]


def test_how_many_are_read_both_ways() -> None:
    """Two of what comes first of an experiment, and of pages of a thousand that come after three each."""
    both = BothWays()
    assert both.wanted("1", 1_000) == 2
    both.add("1")
    assert both.wanted("1", 1_000) == 1
    both.add("1")
    assert {both.wanted("1", 1_000) for _ in range(50)} == {3}
    assert 0 < sum(both.wanted("1", 10) for _ in range(1_000)) < 100
    assert both.wanted("1", 0) == 0
    for place in range(2, 201):
        both.add(str(place))
    # of more experiments than are read of in any case
    assert {both.wanted("one more", 1_000) for _ in range(50)} == {3}
    assert (both.count, both.places) == (201, 200)


def test_a_run_that_changed_meanwhile_is_not_called_the_same(fresh_server: FreshServer) -> None:
    """What the report counts was read both ways and is equal: a point that came since is neither that nor a fault."""
    server = fresh_server()
    seed = Seeder(server.uri)
    run = seed.run("0", "in use")
    seed.log(run, metrics=[("m", 1.0, EPOCH, 0)])
    with closing(opened_beside(server.uri, server.database_uri)) as reader:
        reader.experiments()
        runs = [one for page in reader.runs("0") for one in page]
        seed.log(run, metrics=[("m", 2.0, EPOCH, 1)])
        [[series]] = reader.histories(runs)
        assert series.values.tolist() == [1.0]
        assert "0 histories of 0 experiments were read by the API too" in reader.told


def _copied(server: Server, folder: Path) -> Path:
    """Return a copy of a server's database, to be altered."""
    copy = folder / "copy.db"
    shutil.copyfile(server.database_path, copy)
    return copy


def _altered(file: Path, *statements: str) -> str:
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        for statement in statements:
            database.executescript(statement)
    return f"sqlite:///{file}"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE experiments SET name = 'other' WHERE experiment_id = 1", "is 'other'"),
        ("UPDATE experiments SET creation_time = 1 WHERE experiment_id = 1", "made at 1,"),
        ("DELETE FROM experiments WHERE experiment_id = 1", "does not hold experiment 1"),
        ("UPDATE experiments SET experiment_id = 99 WHERE experiment_id = 1", "does not list: 'churn model'"),
        ("DROP TABLE metrics", "shows no table metrics"),
        ("ALTER TABLE runs DROP COLUMN user_id", r"shows no runs\.user_id"),
        ("UPDATE alembic_version SET version_num = '0123'; DROP TABLE inputs", "schema '0123'"),
        ("UPDATE runs SET experiment_id = 77 WHERE name = 'sweep'", "rows in runs without"),
        ("UPDATE runs SET experiment_id = NULL WHERE name = 'sweep'", "rows in runs without"),
        ("UPDATE metrics SET run_uuid = 'nobody' WHERE key = 'constant'", "rows in metrics of runs"),
        ("INSERT INTO params (run_uuid, key, value) VALUES ('nobody', 'a', 'b')", "rows in params of runs"),
        ("DELETE FROM runs WHERE name = 'sweep-1'", "rows in (params|tags) of runs"),
    ],
)  # fmt: skip
def test_a_database_that_is_not_the_servers_is_refused(
    seeded: Server, tmp_path: Path, statement: str, said: str
) -> None:
    """A wrong URL, an old copy or a broken database would be compared in the place of the server."""
    with closing(opened_beside(seeded.uri, _altered(_copied(seeded, tmp_path), statement))) as reader:
        with pytest.raises(UsageProblem, match=said) as refused:
            reader.experiments()
        assert "\n" not in str(refused.value)
        assert "--source-db" in str(refused.value)


@pytest.fixture(scope="module")
def seeded(module_server: FreshServer) -> Server:
    """A seeded server, which is only read."""
    server = module_server()
    seed_small(server.uri, unicode_files=False)
    # made long ago, and so in every transaction of today
    with closing(sqlite3.connect(server.database_path)) as database, database:
        database.execute("UPDATE experiments SET creation_time = creation_time - 86400000")
    return server


def _loose(table: str) -> str:
    """Return what takes all keys and checks off a table."""
    return f"CREATE TABLE new AS SELECT * FROM {table}; DROP TABLE {table}; ALTER TABLE new RENAME TO {table};"


class _Prefers(random.Random):
    """Chance that takes one of these names where there is one."""

    # until Python 3.10 what is given to the class is a seed too, and no set can be one
    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self.names = names

    def choice(self, seq: Any) -> Any:
        """Return the first of ``seq`` that is preferred, or its first."""
        every = [seq[place] for place in range(len(seq))]
        return next((one for one in every if one in self.names), every[0])


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        (_loose("runs") + "UPDATE runs SET run_uuid = NULL WHERE name = 'sweep'", "rows in (runs|params|tags)"),
        ("UPDATE runs SET run_uuid = 'a''b' WHERE name = 'sweep'", "of runs that are not there"),
        (_loose("runs") + "UPDATE runs SET status = 'ODD' WHERE name = 'sweep'", "status 'ODD'"),
        (_loose("runs") + "UPDATE runs SET lifecycle_stage = '' WHERE name = 'sweep'", "stage ''"),
        (_loose("runs") + "UPDATE runs SET start_time = 'x' WHERE name = 'sweep'", "start_time that is no"),
        (_loose("runs") + "INSERT INTO runs SELECT * FROM runs WHERE name = 'sweep'", "one id|twice"),
        (_loose("params") + "INSERT INTO params SELECT * FROM params WHERE key = 'long'", "two rows of params"),
        (_loose("params") + "UPDATE params SET key = NULL WHERE key = 'long'", "without a key"),
        (_loose("params") + "UPDATE params SET value = x'ff00' WHERE key = 'long'", "value that is no string"),
        (_loose("params") + "UPDATE params SET value = CAST(x'ff' AS TEXT) WHERE key = 'long'", "cannot be read"),
        (_loose("latest_metrics") + "UPDATE latest_metrics SET value = NULL WHERE key = 'odd'", "latest metric"),
        (_loose("metrics") + "UPDATE metrics SET value = NULL WHERE key = 'constant'", "without key, step"),
        (_loose("metrics") + "UPDATE metrics SET step = 'two' WHERE key = 'constant'", "step that is no int64"),
        (_loose("metrics") + "UPDATE metrics SET step = 1.5 WHERE key = 'constant'", "step that is no int64"),
        ("UPDATE metrics SET step = 9 WHERE key = 'constant'", "incomplete: 1 points"),
        ("DELETE FROM metrics WHERE key = 'constant'", "incomplete: 0 points"),
        ("UPDATE metrics SET value = 9 WHERE key IN ('odd', 'loss') AND step < 5", "disagree on the history"),
    ],
)  # fmt: skip
def test_rows_that_contradict_are_named_and_never_taken(
    seeded: Server, tmp_path: Path, statement: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged database ends in a line that says what is wrong, not in a green audit and not in a traceback."""
    # which histories are read both ways is chance: here those that are altered, or none
    both_ways = "disagree" in said
    monkeypatch.setattr(trust, "_BOTH_WAYS", 1000 if both_ways else 0)
    monkeypatch.setattr(trust, "_OF_THOUSAND", 0)
    monkeypatch.setattr(reader_module, "_CHANCE", _Prefers(frozenset({"odd", "loss"})))
    told: list[str] = []
    try:
        with closing(opened_beside(seeded.uri, _altered(_copied(seeded, tmp_path), statement))) as reader:
            for experiment in reader.experiments():
                for page in reader.runs(experiment.experiment_id):
                    told += [one.error for batch in reader.histories(page) for one in batch if one.error is not None]
    except ParityError as error:
        told.append(str(error))
    assert len(told) == 1
    assert re.search(said, told[0]), told
    assert "\n" not in told[0]


def test_a_file_that_is_being_written_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An audit beside a writer that never ends would hang, and hear no Ctrl-C."""
    file = tmp_path / "busy.db"
    opened = sqlite3.connect
    with closing(opened(file, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE one (two)")
        writer.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(
            "mlflow_parity.reading.database.sqlite.sqlite3.connect",
            lambda *given, **more: opened(*given, **{**more, "timeout": 0.2}),
        )
        with pytest.raises(UsageProblem, match=r"cannot be opened: .*locked"):
            Database(parse_database(f"sqlite:///{file}", "source"))


def test_beside_a_file_with_a_write_ahead_log_nothing_is_written(tmp_path: Path) -> None:
    """Files of the auditor's beside a server's database may keep that server from writing to it."""
    file = tmp_path / "log.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE one (two)")
    assert [*tmp_path.iterdir()] == [file]
    found = Database(parse_database(f"sqlite:///{file}", "source"))
    assert found.columns() == {"one": {"two"}}
    found.close()
    assert [*tmp_path.iterdir()] == [file]
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE three (four)")
        now = Database(parse_database(f"sqlite:///{file}", "source"))
        assert set(now.columns()) == {"one", "three"}
        now.close()


_NUMBERS = pa.schema([("two", pa.int64())])


def _numbers(file: Path) -> list[tuple[object, ...]]:
    with closing(Database(parse_database(f"sqlite:///{file}", "source"))) as database:
        return database.rows("SELECT two FROM one", _NUMBERS)


def _logged(file: Path) -> sqlite3.Connection:
    """Return a writer of a file in whose log is nothing."""
    writer = sqlite3.connect(file, isolation_level=None)
    for statement in ("PRAGMA journal_mode=WAL", "CREATE TABLE one (two)", "INSERT INTO one VALUES (1)"):
        writer.execute(statement)
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return writer


def test_a_log_beside_the_file_of_a_link_is_read(tmp_path: Path) -> None:
    """A server's file is on another disk and a link leads there: what was written last would be missing."""
    (tmp_path / "disk").mkdir()
    file, link = tmp_path / "disk" / "log.db", tmp_path / "link.db"
    link.symlink_to(file)
    with closing(_logged(file)) as writer:
        writer.execute("UPDATE one SET two = 2")
        assert _numbers(file) == _numbers(link) == [(2,)]


def test_a_file_that_no_longer_rests_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It had no log, so none was looked for; somebody has begun to write since."""
    file = tmp_path / "log.db"
    _logged(file).close()
    opened, stays = sqlite_module._opened, True

    with ExitStack() as writers:

        def opened_and_written(path: Path, rests: bool) -> sqlite3.Connection:
            found = opened(path, rests)
            if path == file and rests:
                writer = writers.enter_context(closing(sqlite3.connect(file, isolation_level=None)))
                writer.execute("UPDATE one SET two = two + 1")
                if not stays:
                    # with the last connection the log goes into the file
                    writer.close()
            return found

        monkeypatch.setattr(sqlite_module, "_opened", opened_and_written)
        assert _numbers(file) == [(2,)]
        assert file.with_name("log.db-wal").exists()
    stays = False
    with pytest.raises(UsageProblem, match=r"--source-db: cannot be opened: .* written to each time that it was read"):
        _numbers(file)


def test_what_a_database_told_is_not_taken_for_the_servers(seeded: Server, tmp_path: Path) -> None:
    """An audit that was cut off beside a copy, and goes on without it, beside another one or beside the same."""
    copies = tmp_path / "one.db", tmp_path / "other.db"
    for copy in copies:
        copy_database(seeded.database_path, copy)
    location = parse_location(seeded.uri, option="--source-uri")

    def goes_on(copy: Path | None, *, finish: bool = False) -> tuple[int, list[str]]:
        url = None if copy is None else parse_database(f"sqlite:///{copy}", "source")
        with closing(open_reader(location, "source", 4, database=url)) as reader:
            side = Side("source", location, reader)
            side.read(tmp_path / "kept", side.experiments(), RUN_PARTS, "listing", include_deleted=True,
                      count=uncounted, asked=Asked("listing", True), finish=finish)  # fmt: skip
            return side.resumed_parts, [*told_of_databases({"source": side})]

    one, other = copies
    assert goes_on(one)[0] == 0
    # an instant is told to the second
    time.sleep(1.1)
    taken, told = goes_on(one)
    assert taken > 0
    assert f"an interrupted audit left and that were taken over are from that database (sqlite:///{one})" in told[1]
    for beside in (other, None, one):
        assert goes_on(beside)[0] == 0
    assert goes_on(one, finish=True)[0] > 0
    kept = parse_location(str(tmp_path / "kept"), option="--source-uri")
    [line] = told_of_databases({"source": Side("source", kept, None)})
    assert f"of the source's snapshot were read from its server's database (sqlite:///{one})" in line


def test_no_file_is_no_database(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A file of another sort is refused in one line."""
    server = fresh_server()
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look at " * 20)
    with pytest.raises(UsageProblem, match=r"cannot be opened: .*not a database"):
        opened_beside(server.uri, f"sqlite:///{tmp_path / 'notes.txt'}")
