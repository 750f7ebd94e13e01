"""``--parity-usable``: what people search for is found on the target; what is not is named as they would miss it."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from faults.searches import IMAGE, MIGRATED, RESTORED, plant, said
from support.audits import audit
from support.mariadb import mariadb
from support.migrations import migrate_py
from support.postgres import postgres
from support.seed import EPOCH, Seeder
from support.seed_objects import seed_objects
from support.seed_spans import EXPERIMENT, written
from support.servers import FreshServer, copy_database, server_of

from mlflow_parity.audit.result import Silent
from mlflow_parity.audit.running import Audit
from mlflow_parity.audit.settings import Settings
from mlflow_parity.audit.side import Side
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Entity, MetricPoint, Run
from mlflow_parity.core.verdict import Row
from mlflow_parity.kinds.rules.check_registry import select
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.asking import Question, quoted
from mlflow_parity.reading.questions import MOST, newest, of_name, of_runs, of_traces
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.standin.servers import PROXIED, Server

USABLE = ("--parity-usable", "-k", "is_usable")


def seeded(uri: str) -> None:
    """Write traces with searchable spans, and runs in the same experiment."""
    written(uri)
    seed = Seeder(uri)
    listed = seed.call("POST", "experiments/search", {"max_results": 100})["experiments"]
    [experiment] = [one["experiment_id"] for one in listed if one["name"] == EXPERIMENT]
    for number in range(4):
        run = seed.run(experiment, f"run {number}", start=EPOCH + number)
        seed.log(run, params={"lr": f"0.{number % 3}"}, tags={"team": f"t{number}"},
                 metrics=[("loss", 0.5 + number, EPOCH, 0)])  # fmt: skip
        seed.end(run)
    seed.call("POST", "datasets/create", {"name": "questions", "experiment_ids": [experiment]}, version="3.0")


@pytest.fixture
def migrated(fresh_server: FreshServer, tmp_path: Path) -> tuple[Server, Server]:
    """A source with runs and traces, and its migrated copy."""
    source, target = fresh_server(), fresh_server()
    seeded(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
    done = migrate_py(tmp_path, "run", *ends)
    assert done.status == 0, done.output[-3000:]
    return source, target


@pytest.mark.long
def test_what_is_not_found_any_more_is_named(migrated: tuple[Server, Server], tmp_path: Path) -> None:
    """A copy may hold everything and yet answer nothing: each search that fails is named, with what it misses."""
    source, target = migrated
    done = audit(tmp_path / "green", source.uri, target.uri, *USABLE)
    rows = [row for row in done.rows() if row.facet == "usable"]
    assert (done.status, {str(row.state) for row in rows}) == (0, {"match"}), done.output[-3000:]
    plant(MIGRATED, target)
    done = audit(tmp_path / "red", source.uri, target.uri, *USABLE)
    assert done.status == 1
    assert said(done.report["findings"]) == set().union(*(one.said() for one in MIGRATED))
    assert "3 traces not found by this search on the target" in done.output


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_another_database_answers_the_same(kind: str, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Case, accents, the last digit of a number and what is none are searched alike by all of MLflow's databases."""
    source = fresh_server()
    seed = Seeder(source.uri)
    # the tests' MariaDB holds Latin letters only
    experiment = _filled(source, "newest") if kind == "postgresql" else seed.experiment("words")
    seed.call("POST", "registered-models/create", {"name": "words", "tags": [{"key": "Team", "value": "Growth"}]})
    seed.call("POST", "model-versions/create", {"name": "words", "source": "s3://somewhere/model"})
    for number, word in enumerate(("résumé", "resume", "Resume", "x_y", "xzy")):
        run = seed.run(experiment, word, start=EPOCH + number)
        seed.log(run, params={"word": word}, tags={"word": word}, metrics=[("tiny", 1e-12 / (number + 3), EPOCH, 0)])
        seed.end(run)
    with ExitStack() as stack:
        if kind == "mariadb":
            database = stack.enter_context(mariadb())
        else:
            database = stack.enter_context(postgres()).create_database("target")
        target = stack.enter_context(server_of("newest", tmp_path / "target", database=database, artifacts=PROXIED))
        ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
        migrate_py(tmp_path, "run", *ends, "--no-verify")
        done = audit(tmp_path / "audit", source.uri, target.uri, *USABLE)
    assert done.status == 0, done.output[-3000:]
    assert {str(row.state) for row in done.rows() if row.facet == "usable"} == {"match"}


@pytest.mark.long
def test_renamed_models_are_asked_for_by_their_names(fresh_server: FreshServer, tmp_path: Path) -> None:
    """A model that the migration renamed on purpose is searched for under the name that people use now."""
    source, target = fresh_server(), fresh_server()
    _filled(source, "newest")
    _copied(source, target)
    seed = Seeder(target.uri)
    for old, new in (("churn", "it's churn"), ("greeting", "hello")):
        seed.call("POST", "registered-models/rename", {"name": old, "new_name": new})
    names = tmp_path / "names.toml"
    names.write_text('[models]\nchurn = "it\'s churn"\n[prompts]\ngreeting = "hello"\n', encoding="utf-8")
    done = audit(tmp_path / "audit", source.uri, target.uri, *USABLE, *SAME, "--parity-rename", str(names))
    rows = {row.name: str(row.state) for row in done.rows() if row.facet == "usable"}
    assert (done.status, {*rows.values()}) == (0, {"match"}), done.output[-3000:]
    assert {"churn", "greeting"} <= rows.keys()


@pytest.mark.long
def test_an_older_target_answers_less_and_says_so(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Searches that it cannot answer are expected by name, never silently green."""
    source, target = fresh_server(), fresh_server("3.4.0")
    seeded(source.uri)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
    migrate_py(tmp_path, "run", *ends)
    done = audit(tmp_path / "audit", source.uri, target.uri, *USABLE)
    [row] = [row for row in done.rows() if row.facet == "usable" and row.name == EXPERIMENT]
    assert (done.status, str(row.state)) == (0, "expected"), done.output[-3000:]
    assert set(row.rules) == {"experiment.usable.spans", "experiment.usable.release"}


@pytest.mark.long
def test_a_snapshot_cannot_be_asked(migrated: tuple[Server, Server], tmp_path: Path) -> None:
    """Nobody knows what the server behind it would answer: unverified, and not green."""
    source, target = migrated
    done = audit(tmp_path / "first", source.uri, target.uri, "--parity-snapshot-dir", str(tmp_path / "kept"))
    assert done.status == 0, done.output[-3000:]
    done = audit(tmp_path / "audit", str(tmp_path / "kept" / "source"), target.uri, *USABLE)
    assert done.status == 1
    assert {str(row.state) for row in done.rows() if row.facet == "usable"} == {"unverified"}


def _odd_runs(seed: Seeder, experiment: str) -> None:
    """Write runs with numbers and texts at the edges of what searches know, and images, of old and new clients."""
    values = (float("nan"), float("inf"), -0.25, 1e-9, -1e-9, 123456789.125)
    for number, value in enumerate(values):
        run = seed.run(experiment, f"odd {number}", start=EPOCH)
        low = float("nan") if number > 3 else -0.5 - number
        seed.log(run, params={"p": "1e999", "q": str(2**70 + number)}, tags={"größe": f"数据 {number % 2}", "n": "NaN"},
                 metrics=[("odd", value, EPOCH, 0), ("low", low, EPOCH, 0)])  # fmt: skip
        if number < 2:
            seed.artifact(run, IMAGE, b"image")
            seed.log(run, tags={"mlflow.loggedImages": "True"})
        seed.end(run)


def _filled(server: Server, version: str) -> str:
    """Write every kind of object that a release can hold; return the experiment."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("every kind")
    seed_objects(server.uri, experiment, version=version)
    _odd_runs(seed, experiment)
    return experiment


def _copied(source: Server, target: Server) -> None:
    copy_database(source.database_path, target.database_path)
    shutil.rmtree(target.artifacts_root, ignore_errors=True)
    shutil.copytree(source.artifacts_root, target.artifacts_root)


SAME = ("--parity-profile", "same-store", "--parity-two-servers")


@pytest.mark.long
def test_what_people_load_and_look_at_is_named(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Stages, aliases, versions by name, tag and run, a run's images, traces by run: each that leads elsewhere is red.

    And the self-test sees every class of such faults, planted in what the servers answered.
    """
    source, target = fresh_server(), fresh_server()
    _filled(source, "newest")
    _copied(source, target)
    # clients before 3.11 named an image so; its copy has the newer name
    image = next(Path(source.artifacts_root).rglob(Path(IMAGE).name))
    image.rename(image.with_name(image.name.replace("+", "%")))
    done = audit(tmp_path / "green", source.uri, target.uri, *USABLE, *SAME, "--parity-self-test")
    rows = [row for row in done.rows() if row.facet == "usable"]
    assert (done.status, {str(row.state) for row in rows}) == (0, {"match"}), done.output[-3000:]
    assert {row.kind for row in rows} == {"experiment", "registered_model", "prompt"}
    planted = [one for one in done.report["self_test"]["faults"] if one["facet"] == "usable"]
    assert {one["state"] for one in planted} == {"found"}, planted
    plant(RESTORED, target)
    done = audit(tmp_path / "red", source.uri, target.uri, *USABLE, *SAME)
    assert done.status == 1
    assert said(done.report["findings"]) == set().union(*(one.said() for one in RESTORED))
    assert "whoever loads by this stage gets another version" in done.output


@pytest.mark.long
@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "3.4.0", "3.10.1", "newest"])
def test_every_release_answers(version: str, fresh_server: FreshServer, tmp_path: Path) -> None:
    """Of one store behind two servers of a release, and moved to the newest one: green, by questions that it can read.

    A question that the release itself refused would be expected, and prove nothing.
    """
    source, target = fresh_server(version), fresh_server(version)
    experiment = _filled(source, version)
    _copied(source, target)
    done = audit(tmp_path / "same", source.uri, target.uri, *USABLE, *SAME)
    rows = [row for row in done.rows() if row.facet == "usable"]
    assert done.status == 0, done.output[-3000:]
    assert {str(row.state) for row in rows if row.kind != "experiment"} == {"match"}
    reader = open_reader(parse_location(source.uri, option="--source-uri"), "source", 2)
    try:
        runs = [run for page in reader.runs(experiment) for run in page]
        traces = [one for page in reader.experiment_objects(experiment, ["trace"]) for one in page]
        pairs = {run.run_id: run.run_id for run in runs}
        asked = [*of_runs(runs, pairs), *(one for one in of_traces(traces, pairs) if not one.of_spans)]
        refused = {one.text: answer for one in asked if (answer := reader.answer(experiment, one)) and answer.unknown}
        empty = [one.text for one in asked if not reader.answer(experiment, one).ids]
    finally:
        reader.close()
    assert (refused, empty) == ({}, [])
    assert {one.about for one in asked} == {"run", "trace", "image"}
    if version != "newest":
        target = fresh_server()
        ends = ("--source-uri", source.uri, "--target-uri", target.uri, "--work-dir", "work", "--report-dir", "reports")
        migrate_py(tmp_path, "run", *ends, "--no-verify")
        done = audit(tmp_path / "moved", source.uri, target.uri, *USABLE)
        assert done.status == 0, done.output[-3000:]
        assert {str(row.state) for row in done.rows() if row.facet == "usable" and row.kind != "experiment"} == {
            "match"
        }


def test_values_that_cannot_stand_in_a_search_are_left_out() -> None:
    """A quote in a value must not make a question that every server refuses; numbers that are none ask nothing."""
    point = MetricPoint(0, 0, float("nan"))
    run = Run("1" * 32, "1", "it's", "FINISHED", 5, 6, "u", "active", "", {"q'": "1", "a": "x'y"}, {"mlflow.x": "1"},
              {"m": point}, ())  # fmt: skip
    assert [one.text for one in of_runs([run], {})] == ["attributes.start_time >= 5", "attributes.start_time DESC"]
    facets = {"tags": {"a": "1%"}, "metadata": {}, "spans": []}
    assert list(of_traces([Entity("trace", "t", "", "1", 1, facets)], {})) == []
    named = replace(run, params={"lr": "1"}, name="plain", metrics={})
    assert [one.text for one in of_runs([named], {}, 5)][:2] == [
        "params.`lr` = '1' AND attributes.start_time >= 5",
        "attributes.run_name = 'plain' AND attributes.start_time >= 5",
    ]


def test_of_many_objects_the_newest_are_asked_for() -> None:
    """An answer is one page, however much there is; a sample of it makes the questions."""
    some, since = newest({str(number): number for number in range(1000)})
    assert (len(some), min(map(int, some)), since) == (200, 600, 600)
    assert newest({"1": 1, "2": None}) == (["2", "1"], None)


def test_huge_numbers_make_no_question_that_a_server_refuses() -> None:
    """A number of a file store that no database holds, or that is written with an exponent, would end in an error."""
    run = Run("1" * 32, "1", "", "FINISHED", 2**70, 6, "u", "active", "", {"p": "1e999"}, {}, {}, ())
    assert [one.text for one in of_runs([run], {}, 2**70)] == ["params.`p` = '1e999'"]
    assert list(of_runs([replace(run, start_time=-1, params={})], {})) == []
    points = [MetricPoint(0, 0, value) for value in (1e-300, -1e300, 3e-300, float("-inf"), float("nan"))]
    runs = [replace(run, run_id=str(number), metrics={"m": one}, params={}) for number, one in enumerate(points)]
    [text] = [one.text for one in of_runs(runs, {}) if one.text.startswith("metrics.`m` >")]
    assert float(text.rpartition(" ")[2]) == 2e-300
    assert "e" not in text.rpartition(" ")[2]
    # releases search what is no number as 0, or not at all: no question may find it
    runs = [replace(one, metrics={"m": MetricPoint(0, 0, -1.0 - number)}) for number, one in enumerate(runs[:3])]
    assert [one.text for one in of_runs(runs, {}) if not one.order] == ["metrics.`m` < -2.5"]
    assert (quoted("it's"), quoted('it\'s "so"'), quoted("a%b"), quoted(" a")) == ('"it\'s"', "", "'a%b'", "")


def test_the_number_of_requests_is_bounded() -> None:
    """The cost that docs/options.md names holds for any number of objects, keys and values."""
    point = MetricPoint(0, 0, 1.0)
    some = [str(number) for number in range(300)]
    pairs = {one: one for one in some}
    runs = [
        Run(one, "1", f"run {one}", "FINISHED", int(one), 6, "u", "active", "", {f"p{key}": one for key in range(9)},
            {"mlflow.loggedImages": "True", **{f"t{key}": one for key in range(9)}},
            {f"m{key}": replace(point, value=float(one)) for key in range(9)}, ())
        for one in some
    ]  # fmt: skip
    spans = [{"name": one, "type": one, "inputs": {"question": "words"}} for one in some]
    session = {"mlflow.trace.session": "s", "mlflow.trace.user": "u"}
    facets = {"metadata": session, "spans": spans, "run": "1"}
    traces = [
        Entity("trace", one, "", "1", 1,
               {**facets, "tags": {"mlflow.trace.spansLocation": "TRACKING_STORE", "a": one, "b": one, "c": one}})
        for one in some
    ]  # fmt: skip
    count = len([*of_runs(runs, pairs, 1), *of_traces(traces, pairs, 1), Question("evaluation_dataset", "")])
    assert count == MOST["experiment"] == 34
    tags = {f"t{key}": "x" for key in range(9)}
    for kind in ("registered_model", "prompt"):
        named = Entity(kind, "n", "n", "", 1, {"tags": tags, "aliases": dict.fromkeys(some, "1")})
        versions = [Entity("v", f"n/{one}", "", "n", 1, {"tags": tags, "run": "1"}) for one in some]
        versions = versions if kind == "registered_model" else [replace(one, facets={"tags": tags}) for one in versions]
        asked = list(of_name(named, versions, list(range(1000)), {"n/999": "n/7"}, pairs))
        assert len(asked) == MOST[kind]
        [text, *_] = [one.of_copy().text for one in asked if one.about.endswith("version")]
        assert text.startswith("name = 'n' AND version_number >= 7")


class _Rows(list[Row]):
    """Takes ledger rows."""

    def add(self, row: Row) -> None:
        """Append."""
        self.append(row)


@pytest.mark.long
def test_pairs_are_those_of_now(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Answers are judged by the pairs of now: by those of the first look a good copy would be red."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("pairs")
    for number in range(2):
        run = seed.run(experiment, f"run {number}")
        seed.log(run, params={"lr": f"0.{number}"})
        seed.end(run)
    copy_database(source.database_path, target.database_path)
    ends = [parse_location(one.uri, option="--source-uri") for one in (source, target)]
    settings = Settings(
        source=ends[0], target=ends[1], experiments=(), exclude_experiments=(), include_deleted=False,
        load_models=False, depth="digest", workers=2, snapshot_dir=None, report_dir=str(tmp_path), max_findings=9,
        profile="same-store", usable=True, self_test=True,
    )  # fmt: skip

    def open_side(name: SideName) -> Side:
        location = ends[name == "target"]
        return Side(name, location, open_reader(location, name, 2))

    running = Audit(settings, tmp_path / "scratch", open_side)
    try:
        items = running.inventory()
        chosen = select(["experiment_is_usable"], [item.key for item in items])
        assert running.run(chosen, _Rows(), Silent()).green
        assert running.objects is not None
        ask = running.objects.ask
        assert ask is not None
        [mine] = [one for one in running.sides["source"].experiments() if one.name == "pairs"]
        [copy] = [one for one in running.sides["target"].experiments() if one.name == "pairs"]
        assert ask(mine, copy) == []
        pairs = ask.links.runs.pairs
        (one, _), (other, _) = kept = list(pairs.items())
        pairs[one], pairs[other] = pairs[other], pairs[one]
        assert {str(found.state) for found in ask(mine, copy)} >= {"missing", "extra"}
        pairs.update(kept)
        assert ask(mine, copy) == []
    finally:
        running.close()
