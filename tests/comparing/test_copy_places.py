"""Where copies keep their files: in no place of the source, in no other copy's, on no other server."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from support.copied import audited
from support.looking import between, codes, look, text
from support.migrations import migrate_py
from support.seed import Seeder
from support.servers import FreshServer, server_of

from mlflow_parity.core.records import Experiment
from mlflow_parity.kinds.conventions.copy_places import (
    CopyPlaces,
    canonical,
    host_of,
    is_host,
    is_relative,
    roots_of,
    stores_of,
)
from mlflow_parity.standin.servers import Server


def _experiment(number: str, place: str, created: int | None = 1) -> Experiment:
    return Experiment(number, f"e{number}", "active", place, created, created, {})


# --- places, spelled in many ways


@pytest.mark.parametrize(("place", "one"), [
    ("file:///a/b%20c/", "/a/b c"), ("file://localhost/a/../b", "/b"), ("/a//b/", "/a/b"), ("s3://b/x%20y/", "s3://b/x%20y"),
    ("mlflow-artifacts:///1/x", "mlflow-artifacts:/1/x"), ("mlflow-artifacts://User@HOST:1/x", "mlflow-artifacts://host:1/x"),
    ("http://HOST:1/api/2.0/mlflow-artifacts/artifacts/1/x", "mlflow-artifacts://host:1/1/x"),
])  # fmt: skip
def test_one_spelling_for_each_place(place: str, one: str) -> None:
    """All spellings of a place compare as one."""
    assert canonical(place) == canonical(one) == one


def test_places_that_each_server_has_for_itself() -> None:
    """Below its proxy, and in its working directory; a host, a scheme or a path from the root on make it one place."""
    for place in ("mlflow-artifacts:/1", "mlflow-artifacts:///1", "./mlruns/1", "mlruns/1"):
        assert is_relative(place), place
    for place in ("mlflow-artifacts://h/1", "/srv/1", "file:///srv/1", "s3://b/1", "dbfs:/1"):
        assert not is_relative(place), place


def test_a_host_is_the_server_by_name_or_by_address() -> None:
    """Names of the loopback are one; another port, another host and an ARN are others."""
    for host in ("localhost:5000", "127.0.0.1:5000", "LOCALHOST:5000".lower()):
        assert is_host(host, "http://127.0.0.1:5000")
    assert is_host("example.invalid", "http://example.invalid:80")
    assert is_host("example.invalid:443", "https://example.invalid")
    for host in ("127.0.0.1:5001", "localhost", "other.invalid:5000", "127.0.0.1:x"):
        assert not is_host(host, "http://127.0.0.1:5000")
    assert not is_host("localhost:5000", "arn:aws:sagemaker:eu-central-1:000000000000:mlflow-app/app-X")
    assert host_of("s3://bucket/1") == host_of("mlflow-artifacts:/1") == ""


def test_the_sources_store_is_its_roots_and_places() -> None:
    """Roots included, but for what is one store on both sides: the same experiment, made at the same time."""
    source = [_experiment("0", "s3://b/old/0"), _experiment("1", "s3://b/old/1"), _experiment("2", "/srv/own")]
    assert stores_of(source, ()) == {"s3://b/old", "s3://b/old/0", "s3://b/old/1", "/srv/own"}
    assert stores_of(source, [_experiment("0", "s3://b/old/0", 2)]) == stores_of(source, ())
    assert stores_of(source, source) == frozenset()
    assert roots_of([*source, _experiment("10", "s3://new/10"), _experiment("9", "s3://b/9")])[-1] == "s3://new"
    places = CopyPlaces(stores_of(source, ()))
    assert places.wrong("run", ("a", "b"), "s3://b/old/1/a/artifacts", "s3://b/old/new/7/b/artifacts")
    assert places.wrong("run", ("a", "b"), "s3://b/old/1/a/artifacts", "s3://b/older/7/b/artifacts") == ""


def test_a_place_has_one_owner() -> None:
    """Two copies in one place are told, by the id in it or by the first; where the source shares it, it is no loss."""
    places = CopyPlaces()
    one, two = "1" * 32, "2" * 32
    assert not places.wrong("run", ("a", one), "", f"mlflow-artifacts:/7/{one}/artifacts")
    assert one in places.wrong("run", ("b", two), "", f"mlflow-artifacts:/7/{one}/artifacts")
    assert not places.wrong("experiment", ("1", "7"), "mlflow-artifacts:/1", "s3://b/x")
    assert not places.wrong("experiment", ("1", "7"), "mlflow-artifacts:/1", "s3://b/x"), "the same one, read again"
    assert "7" in places.wrong("experiment", ("2", "8"), "mlflow-artifacts:/2", "s3://b/x/")
    assert not places.wrong("experiment", ("3", "9"), "mlflow-artifacts:/1", "s3://b/x")


# --- an audit


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a root of its own on the disk; runs, logged models and traces without files there."""
    folder = tmp_path_factory.mktemp("places")
    with server_of("newest", folder, artifacts=f"file://{folder}/art") as server:
        yield server


def _update(server: Server, *statements: str) -> None:
    with closing(sqlite3.connect(server.database_path, timeout=30)) as opened, opened:
        for statement in statements:
            assert opened.execute(statement).rowcount == 1, statement


@pytest.mark.long
def test_every_place_that_is_not_a_copys_own_is_red(source: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Below the source's folders, another copy's, another server's: of experiments, runs, logged models and traces."""
    seed = Seeder(source.uri)
    for name in ("one", "two", "three"):
        experiment = seed.experiment(name)
        for run in ("a", "b", "c"):
            seed.end(seed.run(experiment, f"{name} {run}"))
    body = {"experiment_id": experiment, "model_type": "x"}
    for name in ("model a", "model b", "model c"):
        seed.call("POST", "logged-models", {**body, "name": name})
    target = fresh_server()
    options = ["--work-dir", str(tmp_path / "work"), "--report-dir", str(tmp_path / "reports")]
    done = migrate_py(tmp_path, "run", *between(source.uri, target.uri), *options)
    assert done.status == 0, done.output
    clean = audited(source.uri, target.uri, profile="export-import", include_deleted=False)
    assert clean.green, clean.reasons
    root = source.artifacts_root
    run = "UPDATE runs SET artifact_uri = {} WHERE name = '{}'"
    model = "UPDATE logged_models SET artifact_location = {} WHERE name = '{}'"
    place = "UPDATE experiments SET artifact_location = {} WHERE name = '{}'"
    away = "mlflow-artifacts://elsewhere.invalid:5000/x"
    _update(
        target,
        place.format(f"'{root}/1/copied'", "one"),
        place.format(f"'{away}'", "two"),
        run.format(f"'{root}/copied/run'", "one a"),
        run.format("(SELECT artifact_uri FROM runs WHERE name = 'two a')", "two b"),
        run.format(f"'{away}'", "two c"),
        model.format(f"'{root}/copied'", "model a"),
        model.format("(SELECT artifact_location FROM logged_models WHERE name = 'model c')", "model b"),
        model.format(f"'{away}'", "model c"),
    )
    found = audited(source.uri, target.uri, profile="export-import", include_deleted=False)
    red = {(row.kind, row.name, row.facet) for row in found.rows if row.state.value == "mismatch"}
    assert red >= {
        ("experiment", "one", "artifact_location"), ("experiment", "two", "artifact_location"),
        ("run", "one a", "artifact_uri"), ("run", "two b", "artifact_uri"), ("run", "two c", "artifact_uri"),
        *(("logged_model", f"model {letter}", "files") for letter in "abc"),
    }  # fmt: skip
    assert not [one for one in red if one[1] in ("three", "one b", "two a", "three a")]


# --- before a migration


@pytest.mark.parametrize(("root", "said"), [
    ("mlflow-artifacts://elsewhere.invalid:5000/newapp", "elsewhere.invalid:5000"),
    ("{source}", "in the source's store"), ("{source}/below", "in the source's store"),
])  # fmt: skip
def test_a_target_whose_new_experiments_get_such_a_place_is_refused(
    source: Server, fresh_server: FreshServer, tmp_path: Path, root: str, said: str
) -> None:
    """By the root that its newest experiment shows: nothing is written to such a target."""
    target = fresh_server()
    place = root.format(source=source.artifacts_root)
    _update(target, f"UPDATE experiments SET artifact_location = '{place}/0' WHERE experiment_id = 0")
    found = look(tmp_path, *between(source.uri, target.uri), write=False)
    assert ("error", "target.place") in codes(found)
    assert said in text(found, "target.place")


def test_a_target_that_names_itself_is_not_refused(source: Server, fresh_server: FreshServer, tmp_path: Path) -> None:
    """``mlflow-artifacts://HOST:PORT`` of the target, by another name of the same host."""
    target = fresh_server()
    host = target.uri.removeprefix("http://").replace("127.0.0.1", "localhost")
    _update(target, f"UPDATE experiments SET artifact_location = 'mlflow-artifacts://{host}/0' WHERE experiment_id = 0")
    assert not codes(look(tmp_path, *between(source.uri, target.uri), write=False))


def test_two_proxies_with_one_store_are_told(fresh_server: FreshServer, tmp_path: Path) -> None:
    """What is put through the target's proxy is seen through the source's: the places are one, whatever their URIs."""
    source = fresh_server()
    with server_of("newest", tmp_path / "b", arguments=["--artifacts-destination", source.artifacts_root]) as target:
        found = look(tmp_path, *between(source.uri, target.uri))
    assert codes(found) == {("error", "target.place")}
    assert "seen through the source's artifact proxy" in text(found, "target.place")
