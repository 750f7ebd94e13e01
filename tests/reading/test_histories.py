"""Metric histories: complete on every version, whatever its endpoints cut, leave out or write strangely."""

from __future__ import annotations

import math
import random
import sqlite3
import struct
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
import pytest
import requests
from support.proxy import Exchange, Fault, Proxy, proxying, status
from support.seed import EPOCH, Seeder

from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import MetricPoint, Run, Series
from mlflow_parity.reading import Reader, open_reader
from mlflow_parity.reading.histories import CAP, Lengths
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.servers import Server, free_port

BULK = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
HISTORY = "/api/2.0/mlflow/metrics/get-history"
Points = list[tuple[int, int, float]]


def opened(uri: str) -> ServerReader:
    """Return a reader of a server."""
    reader: Reader = open_reader(parse_location(uri, option="--source-uri"), "source", 8)
    assert isinstance(reader, ServerReader)
    return reader


@pytest.fixture(params=["newest", "server_2_16", "server_2_22", "server_3_4", "server_3_10"])
def server(request: pytest.FixtureRequest) -> Server:
    """Every version, one after another."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture
def proxy(newest: Server) -> Iterator[Proxy]:
    """A proxy in front of the newest server."""
    with proxying(newest.uri) as running:
        yield running


def fill(server: Server, histories: Mapping[tuple[str, str], Sequence[tuple[int, int, float]]]) -> None:
    """Write histories, by run and key, into the database: a hundred thousand points in a second."""
    columns = "(run_uuid, key, step, timestamp, value, is_nan) VALUES (?, ?, ?, ?, ?, 0)"
    with closing(sqlite3.connect(server.database_path, timeout=30)) as connection, connection:
        for (run, key), points in histories.items():
            connection.executemany(f"INSERT INTO metrics {columns}", [(run, key, *point) for point in points])
            connection.execute(f"INSERT INTO latest_metrics {columns}", (run, key, *max(points)))


def plant_runs(server: Server, experiment: str, count: int) -> list[str]:
    """Write finished runs into the database and return their ids."""
    runs = [uuid.uuid4().hex for _ in range(count)]
    with closing(sqlite3.connect(server.database_path, timeout=30)) as connection, connection:
        connection.executemany(
            "INSERT INTO runs (run_uuid, name, source_type, user_id, status, start_time, end_time, lifecycle_stage,"
            " artifact_uri, experiment_id) VALUES (?, '', 'LOCAL', 'ada', 'FINISHED', ?, ?, 'active', ?, ?)",
            [(run, EPOCH, EPOCH + 9, f"mlflow-artifacts:/{experiment}/{run}", int(experiment)) for run in runs],
        )
    return runs


def read(reader: ServerReader, experiment: str) -> dict[tuple[str, str], Series]:
    """Read all histories of an experiment; each must come once."""
    runs = [run for page in reader.runs(experiment) for run in page]
    found: dict[tuple[str, str], Series] = {}
    for batch in reader.histories(runs):
        for series in batch:
            assert (series.run_id, series.key) not in found
            found[series.run_id, series.key] = series
    assert set(found) == {(run.run_id, key) for run in runs for key in run.metrics}
    return found


def points_of(series: Series) -> Points:
    """Return a history as tuples."""
    assert series.error is None
    return list(zip(series.steps.tolist(), series.timestamps.tolist(), series.values.tolist(), strict=True))


@pytest.mark.long(but=("newest",))
def test_beyond_25000_points_nothing_is_lost(server: Server) -> None:
    """The bulk endpoint cuts at 25,000 rows in all and says nothing; ours returns every point."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("silent cap")
    long = [(step, EPOCH + step, step / 7) for step in range(CAP + 5_003)]
    # two runs that fit one by one and not together, all their points at step 0: no step tells their length
    flat = [(0, EPOCH + number, number / 3) for number in range(14_000)]
    expected: dict[tuple[str, str], Points] = {}
    for name, key, points in (("long", "a", long), ("flat 1", "b", flat), ("flat 2", "b", flat)):
        run = seed.run(experiment, name)
        expected[run, key] = points
    fill(server, expected)
    reader = opened(server.uri)
    # the trap itself: what the endpoint gives when it is simply asked
    both = [run for run, key in expected if key == "b"]
    query = [*[("run_id", run) for run in both], ("metric_key", "b"), ("max_results", str(CAP))]
    naive = requests.get(server.uri + BULK, params=query, timeout=60).json()
    assert len(naive["metrics"]) == CAP < 28_000
    assert "next_page_token" not in naive
    found = read(reader, experiment)
    assert {name: points_of(series) for name, series in found.items()} == expected
    reader.close()


@pytest.mark.parametrize("name", ["server_3_4", "server_3_10"])
def test_max_results_is_always_sent(request: pytest.FixtureRequest, name: str) -> None:
    """Without it servers 3.2 to 3.13 answer with no point and a token, so that two of them would look equal."""
    server = request.getfixturevalue(name)
    assert isinstance(server, Server)
    seed = Seeder(server.uri)
    experiment = seed.experiment("max results")
    run = seed.run(experiment, "one")
    points = [(step, EPOCH + step, float(step)) for step in range(50)]
    seed.log(run, metrics=[("loss", v, t, s) for s, t, v in points])
    naive = requests.get(server.uri + HISTORY, params={"run_id": run, "metric_key": "loss"}, timeout=60).json()
    assert naive.get("metrics", []) == []
    assert naive["next_page_token"]
    with proxying(server.uri) as proxy:
        proxy.faults.append(Fault(BULK, status(404), times=99))
        reader = opened(proxy.uri)
        assert not reader.capabilities.history_bulk
        assert points_of(read(reader, experiment)[run, "loss"]) == points
        histories = [seen.query for seen in proxy.seen if seen.path == HISTORY]
        assert histories
        assert all(f"max_results={CAP}" in query for query in histories)
        reader.close()


def test_values_are_exact_by_both_endpoints(server: Server) -> None:
    """NaN (bare in one endpoint, a string in the other), huge, tiny, negative steps: bit for bit what was written."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("exact values")
    run = seed.run(experiment, "odd")
    draw = random.Random(3)
    doubles = [struct.unpack("<d", struct.pack("<Q", draw.getrandbits(64)))[0] for _ in range(300)]
    values = [v for v in doubles if math.isfinite(v)] + [0.1 + 0.2, 5e-324, 1.7976931348623157e308, 7.0, math.nan]
    points = [(step - 5, EPOCH + step, value) for step, value in enumerate(values)]
    points += [(1, EPOCH, 1.0), (1, EPOCH, 2.0), (2**40, 0, -1.5)]
    seed.log(run, metrics=[("odd", v, t, s) for s, t, v in points])
    seed.log(run, metrics=[("ends in nan", 1.0, EPOCH, 0), ("ends in nan", math.nan, EPOCH, 3)])
    raw = requests.get(server.uri + BULK, params={"run_id": run, "metric_key": "odd"}, timeout=60).text
    assert ": NaN" in raw or ":NaN" in raw
    query = {"run_id": run, "metric_key": "odd", "max_results": "25000"}
    assert '"NaN"' in requests.get(server.uri + HISTORY, params=query, timeout=60).text
    wanted = sorted((s, t, struct.pack("<d", v)) for s, t, v in points)
    with proxying(server.uri) as proxy:
        for bulk in (True, False):
            proxy.faults.clear()
            if not bulk:
                proxy.faults.append(Fault(BULK, status(404), times=99))
            reader = opened(proxy.uri)
            assert reader.capabilities.history_bulk is bulk
            found = read(reader, experiment)
            assert sorted((s, t, struct.pack("<d", v)) for s, t, v in points_of(found[run, "odd"])) == wanted
            [(_, _, first), (_, _, last)] = points_of(found[run, "ends in nan"])
            assert first == 1.0
            assert math.isnan(last)
            reader.close()


@pytest.mark.parametrize("name", ["server_2_16", "server_2_22", "newest"])
def test_ninety_runs_with_the_longest_key_fit_into_a_request_line(request: pytest.FixtureRequest, name: str) -> None:
    """gunicorn refuses a request line beyond 4,094 bytes: 100 ids overflow it, 90 with a long key would too."""
    server = request.getfixturevalue(name)
    assert isinstance(server, Server)
    seed = Seeder(server.uri)
    experiment = seed.experiment("request line")
    # nearly the longest key that MLflow takes, and quoted twice as long
    keys = ["loss", "überprüfungsgröße " * 13 + "accuracy"]
    runs = plant_runs(server, experiment, 91)
    expected = {(run, key): [(0, EPOCH, number + 0.5)] for number, run in enumerate(runs) for key in keys}
    fill(server, expected)
    if name != "newest":
        for ids, key in (([*runs, *runs[:9]], "training loss"), (runs[:90], keys[1])):
            query = [*[("run_id", run) for run in ids], ("metric_key", key), ("max_results", str(CAP))]
            overflow = requests.get(server.uri + BULK, params=query, timeout=60)
            assert overflow.status_code == 400
            assert "Request Line is too large" in overflow.text
    with proxying(server.uri) as proxy:
        reader = opened(proxy.uri)
        found = read(reader, experiment)
        assert {name: points_of(series) for name, series in found.items()} == expected
        asked = [seen for seen in proxy.seen if seen.path == BULK and "run_id" in seen.query]
        assert HISTORY not in proxy.paths()
        ids_of = Counter(seen.query.count("run_id=") for seen in asked)
        assert max(ids_of) == 90
        assert all(len(f"GET {seen.path}?{seen.query} HTTP/1.1") <= 4_000 for seen in asked)
        # two requests for the short key, a few more for the long one
        assert len(asked) <= 6
        reader.close()


def test_a_run_that_the_bulk_answer_leaves_out_is_read_by_itself(proxy: Proxy, newest: Server) -> None:
    """Left out, cut, or without its latest point: the endpoint that pages is asked instead."""
    seed = Seeder(newest.uri)
    experiment = seed.experiment("left out")
    runs = [seed.run(experiment, f"run {number}") for number in range(3)]
    points = [(step, EPOCH + step, step / 3) for step in range(20)]
    for run in runs:
        seed.log(run, metrics=[("loss", v, t, s) for s, t, v in points])

    def spoilt(exchange: Exchange, code: int, headers: list[tuple[str, str]], _: bytes) -> None:
        rows = [
            f'{{"run_id": "{run}", "key": "loss", "step": {s}, "timestamp": {t}, "value": {v!r}}}'
            for run, upto in ((runs[1], 20), (runs[2], 19))
            for s, t, v in points[:upto]
        ]
        exchange.answer(code, headers, f'{{"metrics": [{", ".join(rows)}]}}'.encode())

    reader = opened(proxy.uri)
    assert reader.capabilities.history_bulk
    proxy.faults.append(Fault(BULK, spoilt))
    found = read(reader, experiment)
    assert {run: points_of(found[run, "loss"]) for run in runs} == dict.fromkeys(runs, points)
    alone = [seen.query for seen in proxy.seen if seen.path == HISTORY]
    assert sorted(run for run in runs for query in alone if run in query) == sorted([runs[0], runs[2]])
    reader.close()


def test_a_history_without_its_latest_point_is_an_error(newest: Server) -> None:
    """The server contradicts itself: nothing, or not all, must never pass for the whole history."""
    seed = Seeder(newest.uri)
    experiment = seed.experiment("contradiction")
    cut, gone, whole = (seed.run(experiment, name) for name in ("cut", "gone", "whole"))
    for run in (cut, gone, whole):
        seed.log(run, metrics=[("loss", step / 3, EPOCH + step, step) for step in range(10)])
    with closing(sqlite3.connect(newest.database_path, timeout=30)) as connection, connection:
        connection.execute("DELETE FROM metrics WHERE run_uuid = ? AND step = 9", (cut,))
        connection.execute("DELETE FROM metrics WHERE run_uuid = ?", (gone,))
    reader = opened(newest.uri)
    found = read(reader, experiment)
    assert found[whole, "loss"].error is None
    for run in (cut, gone):
        assert "incomplete" in (found[run, "loss"].error or "")
        assert len(found[run, "loss"].values) == 0
    reader.close()


def _answer(body: str) -> Fault:
    def spoil(exchange: Exchange, _: int, headers: list[tuple[str, str]], __: bytes) -> None:
        exchange.answer(200, headers, body.encode())

    return Fault("metrics/get-history", spoil, times=99)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('{"metrics": [], "next_page_token": "again"}', "empty page"),
        ('{"metrics": [{"key": "loss", "value": 1, "timestamp": 1, "step": 1}], "next_page_token": "x"}', "repeats"),
        ('{"metrics": {}}', "not a list"),
        ('{"metrics": [{"key": "loss", "value": null, "timestamp": 1, "step": 1}]}', "no value"),
        ('{"metrics": [{"key": "loss", "value": "x", "timestamp": 1, "step": 1}]}', "cannot be read"),
        ('{"metrics": [{"key": "loss", "value": 1, "timestamp": 1, "step": 1e30}]}', "cannot be read"),
        ('{"metrics": [{"key": "Loss", "value": 1, "timestamp": 1, "step": 1}]}', "got 'Loss'"),
        ("{}", "incomplete"),
    ],
)
def test_answers_that_make_no_sense_are_errors(proxy: Proxy, newest: Server, body: str, says: str) -> None:
    """A token that goes round in circles, an empty page, a null for a value: an error each, never a short history."""
    seed = Seeder(newest.uri)
    experiment = seed.experiment(f"nonsense {says} {len(body)}")
    run = seed.run(experiment, "one")
    seed.log(run, metrics=[("loss", 0.5, EPOCH, 0)])
    reader = opened(proxy.uri)
    assert reader.capabilities.version
    proxy.faults.append(_answer(body))
    series = read(reader, experiment)[run, "loss"]
    assert says in (series.error or ""), series.error
    assert len(series.values) == 0
    reader.close()


def test_a_dead_server_ends_soon_and_every_history_says_so(proxy: Proxy) -> None:
    """Each history carries its error; once nothing answers any more, nothing is tried as often as before."""
    reader = opened(proxy.uri)
    assert reader.capabilities.history_bulk
    reader.session.limits = Limits(connect=1, first_wait=0.02, longest_wait=0.1)
    before = len(proxy.seen)
    proxy.upstream = f"http://127.0.0.1:{free_port()}"
    point = MetricPoint(5, EPOCH, 1.0)
    keys = [f"m{number}" for number in range(10)]
    runs = [
        Run(f"{number:032x}", "0", "", "FINISHED", 0, 0, "", "active", "", {}, {}, dict.fromkeys(keys, point), ())
        for number in range(100)
    ]
    found = [series for batch in reader.histories(runs) for series in batch]
    assert len(found) == 1_000
    assert all("no usable answer" in (series.error or "") for series in found)
    # twenty groups, four at once: the first four are tried eight times, the others three times
    assert len(proxy.seen) - before <= 4 * 8 + 16 * 3
    reader.close()


def test_sparse_steps_are_learned(proxy: Proxy, newest: Server) -> None:
    """Steps that count batches say ten thousand where there are ten points; groups grow as soon as that shows."""
    seed = Seeder(newest.uri)
    experiment = seed.experiment("sparse")
    runs = plant_runs(newest, experiment, 60)
    points = [(1_000 * step, EPOCH + step, step / 3) for step in range(10)]
    fill(newest, {(run, "loss"): points for run in runs})
    reader = opened(proxy.uri)
    found = read(reader, experiment)
    assert {run: points_of(series) for (run, _), series in found.items()} == dict.fromkeys(runs, points)
    asked = [seen.query.count("run_id=") for seen in proxy.seen if seen.path == BULK]
    assert sum(asked) == 60
    assert max(asked) > 40
    assert len(asked) < 12
    reader.close()


def test_lengths_guess_from_what_came() -> None:
    """Before anything came the latest step is the guess; then the points per step of that key, with a reserve."""
    lengths = Lengths()
    latest = {("r", "k"): MetricPoint(999, 0, 0.0)}
    assert lengths.guess("k", latest["r", "k"]) == 1_000
    assert lengths.guess("k", MetricPoint(-7, 0, 0.0)) == 1
    assert lengths.guess("k", MetricPoint(2**60, 0, 0.0)) == CAP
    column = np.arange(100)
    lengths.learn("k", [Series("r", "k", column, column, column.astype(np.float64))], latest)
    assert lengths.guess("k", latest["r", "k"]) == 120
    assert lengths.guess("another", latest["r", "k"]) == 1_000
