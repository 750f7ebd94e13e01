"""Properties of the core: equal stores are green in whatever order they are read; any single change is red."""

from __future__ import annotations

import copy
import math
import random
import struct
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_store import (
    EPOCH,
    LOCATIONS,
    Audited,
    MemoryReader,
    Point,
    RunData,
    Store,
    audited,
    experiment,
    imported,
    natural,
    on_sql,
    rich_run,
    rich_store,
    run_id,
    same_ids,
    series_of,
)

from mlflow_parity.core.identity import digests
from mlflow_parity.core.records import Artifact, ArtifactTree, DatasetInput, Series
from mlflow_parity.core.verdict import State

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
COPIES: dict[str, Callable[[Store], Store]] = {"same-id": same_ids, "source-tag": imported, "natural-key": natural}

# --- stores

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
_keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
_values = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0, 1.7976931348623157e308, 5e-324])
_points = st.lists(
    st.tuples(st.integers(-3, 9), st.integers(EPOCH, EPOCH + 3), _values), min_size=1, max_size=8
).flatmap(lambda points: st.lists(st.sampled_from(points), max_size=3).map(lambda again: points + again))
_inputs = st.builds(
    DatasetInput,
    *(_texts for _ in range(6)),
    tags=st.dictionaries(st.sampled_from(["mlflow.data.context", "k", "l"]), _texts, max_size=2).map(
        lambda tags: tuple(tags.items())
    ),
)
_paths = st.sampled_from(["a", "b/c", "b/d.txt", "ü/e e", "x" * 40])


@st.composite
def stores(draw: st.DrawFn) -> Store:
    """Draw a store: experiments, runs with parents, histories, inputs and artifacts of any kind."""
    store = Store()
    names = draw(st.lists(_texts, min_size=1, max_size=3, unique=True))
    for number, name in enumerate(names, 1):
        tags = draw(st.dictionaries(_keys, _texts, max_size=2))
        stage = draw(st.sampled_from(["active", "active", "deleted"]))
        store.experiments[str(number)] = experiment(number, name, tags=tags, lifecycle_stage=stage)
    if draw(st.booleans()):
        store.experiments["0"] = experiment(0, "Default")
    for number in range(draw(st.integers(1, 5))):
        owner = draw(st.sampled_from(sorted(store.experiments)))
        name = draw(_texts)
        identity = run_id(number)
        run = RunData(
            identity,
            owner,
            name,
            draw(st.sampled_from(["FINISHED", "FAILED", "RUNNING"])),
            draw(st.integers(EPOCH, EPOCH + 2)),
            draw(st.none() | st.just(EPOCH + 9)),
            draw(st.sampled_from(["", "ada"])),
            draw(st.sampled_from(["active", "deleted"])),
            f"mlflow-artifacts:/{owner}/{identity}/artifacts",
            # a param of its own: runs without any difference are the matter of test_core_pairing
            {**draw(st.dictionaries(_keys, _texts, max_size=3)), "number": str(number)},
            draw(st.dictionaries(_keys, _texts, max_size=3)),
            draw(st.dictionaries(_keys, _points, max_size=3)),
            {},
            draw(st.lists(_inputs, max_size=3)),
            draw(st.dictionaries(_paths, st.binary(max_size=9), max_size=3)),
        )
        if name:
            run.tags["mlflow.runName"] = name
        if draw(st.booleans()):
            run.tags["mlflow.user"] = draw(_texts)
        if draw(st.booleans()):
            run.tags["mlflow.note.content"] = draw(_texts)
        if draw(st.booleans()):
            run.tags["mlflow.parentRunId"] = draw(st.sampled_from([*store.runs, "0" * 32]))
        store.add(run)
    return store


def read_and_compare(source: Store, target: Store, seed: int = 0, page: int = 2) -> Audited:
    """Audit two stores that deliver everything in an order of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return audited(
            Path(folder),
            MemoryReader(LOCATIONS["source"], source, order=random.Random(seed), page=page),
            MemoryReader(LOCATIONS["target"], target, order=random.Random(seed + 1), page=page % 3 + 1),
            depth="full",
        )


@pytest.mark.long
@pytest.mark.parametrize("kind", COPIES)
@settings(unhurried, max_examples=40)
@given(store=stores(), seed=st.integers(0, 99), page=st.integers(1, 4))
def test_equal_stores_are_green(kind: str, store: Store, seed: int, page: int) -> None:
    """Whatever the order of pages, rows, keys and points: every object is match or expected, by the right key."""
    done = read_and_compare(store, COPIES[kind](store), seed, page)
    assert done.result.green, done.found
    assert set(done.result.totals) <= {State.MATCH, State.EXPECTED}
    assert done.result.findings_total == 0
    assert done.result.explained == 0
    assert done.result.settled == 0
    # every run of the source stands in the ledger, facet by facet
    assert done.states("presence") == {State.MATCH: len(store.runs)}
    assert done.states("metrics").total() == done.states("artifacts").total() == len(store.runs)
    assert set(done.result.paired_by) <= ({kind, "content"} if kind == "natural-key" else {kind})


@pytest.mark.long
@settings(unhurried, max_examples=40)
@given(store=stores())
def test_what_a_sql_store_rewrites_is_expected_and_named(store: Store) -> None:
    """An import into a SQL store is green: ±inf, -0.0 and repeated points pass by their rules, alone and together."""
    target = on_sql(imported(store))
    done = read_and_compare(store, target)
    assert done.result.green, done.found
    wanted = set()
    for run in store.runs.values():
        for points in run.metrics.values():
            wanted |= {"run.metrics.infinity"} if any(math.isinf(point[2]) for point in points) else set()
            wanted |= (
                {"run.metrics.negative-zero"}
                if any(point[2] == 0 and math.copysign(1, point[2]) < 0 for point in points)
                else set()
            )
    assert {rule for rule in done.rules if rule.startswith("run.metrics")} - {"run.metrics.repeated"} == wanted


# --- single changes


@dataclass(slots=True)
class World:
    """A source, its copy, and the run of the copy that a change hits (``child`` hangs on ``parent``)."""

    source: Store
    target: Store
    kind: str
    draw: random.Random

    def run(self, number: int = 11) -> RunData:
        """Return the copy of a source run by its number."""
        return next(run for run in self.target.runs.values() if run.params.get("number") == str(number))

    @property
    def experiment_id(self) -> str:
        """The id of the copy of experiment 1."""
        return next(key for key, item in self.target.experiments.items() if item.name == "fraud/gbm")


#: ``(facet, key)`` of the finding that a change must bring; further facets that follow from it.
Expected = tuple[str, str, frozenset[str]]


def one(facet: str, key: str, *also: str) -> Expected:
    """Say what a change must bring."""
    return facet, key, frozenset({facet, *also})


RUN_CHANGES: dict[str, Callable[[World], Expected | None]] = {}
EXPERIMENT_CHANGES: dict[str, Callable[[World], Expected | None]] = {}
Change = Callable[[World], "Expected | None"]


def changes_run(change: Change) -> Change:
    """Register a change of run 11 (or of the child 12)."""
    RUN_CHANGES[change.__name__] = change
    return change


def changes_experiment(change: Change) -> Change:
    """Register a change of experiment 1."""
    EXPERIMENT_CHANGES[change.__name__] = change
    return change


@changes_run
def param_altered(world: World) -> Expected:
    """One character of a param."""
    world.run().params["lr"] += "0"
    return one("params", "lr")


@changes_run
def param_emptied(world: World) -> Expected:
    """An empty param is not an absent one."""
    del world.run().params["empty"]
    return one("params", "empty")


@changes_run
def param_added(world: World) -> Expected:
    """A param that the source has not."""
    world.run().params["LR"] = world.run().params["lr"]
    return one("params", "LR")


def _nudged(value: float) -> float:
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    nudged: float = struct.unpack("<d", struct.pack("<q", bits + 1))[0]
    return nudged


def _replace_point(world: World, change: Callable[[Point], Point], at: int = 0) -> Expected:
    points = world.run().metrics["acc"]
    points[at] = change(points[at])
    return one("metrics", "acc")


@changes_run
def point_by_one_ulp(world: World) -> Expected:
    """The last bit of one value."""
    return _replace_point(world, lambda point: (point[0], point[1], _nudged(point[2])))


@changes_run
def last_point_by_one_ulp(world: World) -> Expected:
    """The last bit of the last value."""
    return _replace_point(world, lambda point: (point[0], point[1], _nudged(point[2])), at=-1)


@changes_run
def point_became_nan(world: World) -> Expected:
    """A number became NaN."""
    return _replace_point(world, lambda point: (point[0], point[1], math.nan))


@changes_run
def point_moved_in_step(world: World) -> Expected:
    """One step."""
    return _replace_point(world, lambda point: (point[0] - 1, point[1], point[2]))


@changes_run
def point_moved_in_time(world: World) -> Expected:
    """One millisecond."""
    return _replace_point(world, lambda point: (point[0], point[1] - 1, point[2]))


@changes_run
def point_lost(world: World) -> Expected:
    """One point in the middle of a history."""
    del world.run().metrics["loss"][world.draw.randrange(8)]
    return one("metrics", "loss")


@changes_run
def point_added(world: World) -> Expected:
    """One point too many."""
    world.run().metrics["loss"].insert(3, (0, EPOCH, 77.0))
    return one("metrics", "loss")


@changes_run
def point_repeated_on_the_target(world: World) -> Expected:
    """A repeat that only the target has: the rule is for repeats that the target swallowed."""
    world.run().metrics["acc"].append(world.run().metrics["acc"][0])
    return one("metrics", "acc")


@changes_run
def last_point_lost(world: World) -> Expected:
    """The last point, in the history and as the latest."""
    world.run().metrics["loss"].pop()
    return one("metrics", "loss")


@changes_run
def last_point_lost_in_the_history(world: World) -> Expected:
    """The last point in the history, while the latest still tells of it: the history is incomplete."""
    run = world.run()
    run.latest["loss"] = run.metrics["loss"].pop()
    return one("metrics", "loss")


@changes_run
def latest_point_is_another(world: World) -> Expected:
    """The histories are equal, but the server tells another latest point."""
    run = world.run()
    run.latest["acc"] = run.metrics["acc"][0]
    return one("metrics", "acc")


@changes_run
def latest_value_is_another(world: World) -> Expected:
    """Of two points of one step and time the server tells the other as the latest."""
    run = world.run()
    step, moment, value = run.metrics["acc"][-1]
    run.latest["acc"] = (step, moment, value - 1)
    return one("metrics", "acc")


@changes_run
def metric_lost(world: World) -> Expected:
    """A whole metric."""
    del world.run().metrics["acc"]
    return one("metrics", "acc")


@changes_run
def metric_added(world: World) -> Expected:
    """A metric that the source has not."""
    world.run().metrics["Acc"] = [(0, EPOCH, 0.5)]
    return one("metrics", "Acc")


@changes_run
def tag_altered(world: World) -> Expected:
    """A user's tag."""
    world.run().tags["colour"] = "Red"
    return one("tags", "colour")


@changes_run
def mlflow_tag_altered(world: World) -> Expected:
    """A tag of MLflow's own."""
    world.run().tags["mlflow.source.name"] = "train_.py"
    return one("tags", "mlflow.source.name")


@changes_run
def tag_lost(world: World) -> Expected:
    """A user's tag."""
    del world.run().tags["colour"]
    return one("tags", "colour")


@changes_run
def tag_added(world: World) -> Expected:
    """A tag that the source has not."""
    world.run().tags["mlflow"] = ""
    return one("tags", "mlflow")


@changes_run
def note_altered(world: World) -> Expected:
    """The note."""
    world.run().tags["mlflow.note.content"] += " "
    return one("note", "mlflow.note.content")


@changes_run
def note_lost(world: World) -> Expected:
    """The note."""
    del world.run().tags["mlflow.note.content"]
    return one("note", "mlflow.note.content")


@changes_run
def status_altered(world: World) -> Expected:
    """The status."""
    world.run().status = "FAILED"
    return one("status", "status")


@changes_run
def name_altered(world: World) -> Expected:
    """The name; it is part of the natural key, so without ids and tags the run itself is not found again."""
    world.run().name += "x"
    return one("presence", "") if world.kind == "natural-key" else one("name", "run_name")


@changes_run
def deleted_by_the_import(world: World) -> Expected:
    """The copy is in the trash."""
    world.run().lifecycle_stage = "deleted"
    return one("lifecycle", "lifecycle_stage")


@changes_run
def start_time_altered(world: World) -> Expected | None:
    """The start time, where it is not the import's."""
    world.run().start_time = EPOCH - 5
    if world.kind == "source-tag":
        return None
    return one("times", "start_time", *(["source_tags"] if world.kind == "natural-key" else []))


@changes_run
def end_time_altered(world: World) -> Expected | None:
    """The end time, where it is not the import's."""
    world.run().end_time = None
    if world.kind == "source-tag":
        return None
    return one("times", "end_time", *(["source_tags"] if world.kind == "natural-key" else []))


@changes_run
def user_tag_altered(world: World) -> Expected | None:
    """The user, where it is not the importer."""
    world.run().tags["mlflow.user"] = "eve"
    return None if world.kind == "source-tag" else one("user", "mlflow.user")


@changes_run
def user_id_altered(world: World) -> Expected | None:
    """The user id, where the source tags do not keep the original."""
    world.run().user_id = "eve"
    return None if world.kind == "source-tag" else one("user", "user_id")


@changes_run
def source_tag_lost(world: World) -> Expected | None:
    """One of the source tags."""
    if world.kind != "source-tag":
        return None
    del world.run().tags["mlflow_exim.run_info.status"]
    return one("source_tags", "mlflow_exim.run_info.status")


@changes_run
def source_tag_of_the_run_lost(world: World) -> Expected | None:
    """The one that names the source run: the run is found by its content, and what rests on the tag is not proved."""
    if world.kind != "source-tag":
        return None
    del world.run().tags["mlflow_exim.run_info.run_id"]
    return one("source_tags", "mlflow_exim.run_info.run_id", "times", "user")


@changes_run
def source_tag_of_the_start_forged(world: World) -> Expected | None:
    """A source tag that does not tell what the source does."""
    if world.kind != "source-tag":
        return None
    world.run().tags["mlflow_exim.run_info.start_time"] += "0"
    return one("source_tags", "mlflow_exim.run_info.start_time", "times")


@changes_run
def source_tag_of_the_user_forged(world: World) -> Expected | None:
    """The original user is not the one of the source."""
    if world.kind != "source-tag":
        return None
    world.run().tags["mlflow_exim.mlflow_tag.user"] = "eve"
    return one("source_tags", "mlflow_exim.mlflow_tag.user", "user")


@changes_run
def source_tag_added(world: World) -> Expected | None:
    """A source tag for a tag that the source has not."""
    world.run().tags["mlflow_exim.mlflow_tag.source.type"] = "LOCAL"
    # where the tool made nothing, a source tag makes the run one that claims to be imported
    return one("source_tags", "mlflow_exim.mlflow_tag.source.type")


@changes_run
def parent_lost(world: World) -> Expected:
    """A child without its parent; the world's run is the child then."""
    del world.run(12).tags["mlflow.parentRunId"]
    return one("parent", "mlflow.parentRunId")


@changes_run
def parent_is_another(world: World) -> Expected:
    """A child on another run of the same experiment."""
    world.run(12).tags["mlflow.parentRunId"] = world.run(11).run_id
    return one("parent", "mlflow.parentRunId")


@changes_run
def parent_is_the_sources(world: World) -> Expected | None:
    """A child that still names the source's run."""
    if world.kind == "same-id":
        return None
    world.run(12).tags["mlflow.parentRunId"] = run_id(10)
    return one("parent", "mlflow.parentRunId")


@changes_run
def parent_added(world: World) -> Expected:
    """A run that became a child."""
    world.run().tags["mlflow.parentRunId"] = world.run(10).run_id
    return one("parent", "mlflow.parentRunId")


def _replace_input(world: World, **changes: str) -> Expected:
    run = world.run()
    run.inputs[0] = replace(run.inputs[0], **changes)  # type: ignore[arg-type]  # tags are changed elsewhere
    return one("inputs", f"train (training): {next(iter(changes))}")


@changes_run
def input_digest(world: World) -> Expected:
    """A dataset's digest."""
    return _replace_input(world, digest="other")


@changes_run
def input_schema(world: World) -> Expected:
    """A dataset's schema."""
    return _replace_input(world, schema="{ }")


@changes_run
def input_source(world: World) -> Expected:
    """A dataset's source."""
    return _replace_input(world, source="{}")


@changes_run
def input_profile(world: World) -> Expected:
    """A dataset's profile."""
    return _replace_input(world, profile="")


@changes_run
def input_source_type(world: World) -> Expected:
    """A dataset's source type."""
    return _replace_input(world, source_type="gs")


@changes_run
def input_context(world: World) -> Expected:
    """A dataset's context in this run."""
    run = world.run()
    run.inputs[0] = replace(run.inputs[0], tags=(("mlflow.data.context", "validation"),))
    return one("inputs", "train (training): tags")


@changes_run
def input_renamed(world: World) -> Expected:
    """A dataset of another name is another dataset."""
    run = world.run()
    run.inputs[0] = replace(run.inputs[0], name="Train")
    return one("inputs", "train (training)")


@changes_run
def input_lost(world: World) -> Expected:
    """A dataset."""
    world.run().inputs.pop()
    return one("inputs", "eval (evaluation)")


@changes_run
def input_doubled(world: World) -> Expected:
    """A dataset that stands twice."""
    world.run().inputs.append(world.run().inputs[0])
    return one("inputs", "train (training)")


@changes_run
def artifact_byte(world: World) -> Expected:
    """One byte, with the same size."""
    content = bytearray(world.run().files["deep/er/weights.bin"])
    content[world.draw.randrange(64)] ^= 1 << world.draw.randrange(8)
    world.run().files["deep/er/weights.bin"] = bytes(content)
    return one("artifacts", "deep/er/weights.bin")


@changes_run
def artifact_size(world: World) -> Expected:
    """One byte more."""
    world.run().files["empty"] += b"\n"
    return one("artifacts", "empty")


@changes_run
def artifact_moved(world: World) -> Expected:
    """Another path."""
    world.run().files["Notes.txt"] = world.run().files.pop("notes.txt")
    return one("artifacts", "notes.txt")


@changes_run
def artifact_lost(world: World) -> Expected:
    """A file without bytes is a file."""
    del world.run().files["empty"]
    return one("artifacts", "empty")


@changes_run
def artifact_added(world: World) -> Expected:
    """A file that the source has not."""
    world.run().files["deep/new"] = b""
    return one("artifacts", "deep/new")


@changes_run
def mlmodel_flavor(world: World) -> Expected:
    """Something in an MLmodel that no rule lets differ."""
    files = world.run().files
    files["model/MLmodel"] = files["model/MLmodel"].replace(b"mlflow.sklearn", b"mlflow.xgboost")
    return one("artifacts", "model/MLmodel: flavors")


@changes_run
def mlmodel_of_another_run(world: World) -> Expected:
    """An MLmodel with the id of another run."""
    run = world.run()
    wrong = run_id(11) if world.kind != "same-id" else run_id(10)
    run.files["model/MLmodel"] = run.files["model/MLmodel"].replace(run.run_id.encode(), wrong.encode())
    return one("artifacts", "model/MLmodel: run_id")


@changes_run
def artifact_uri_of_the_source(world: World) -> Expected:
    """The copy's files are in another run's place."""
    other = run_id(11) if world.kind != "same-id" else run_id(10)
    world.run().artifact_uri = f"mlflow-artifacts:/1/{other}/artifacts"
    return one("artifact_uri", "artifact_uri")


@changes_run
def run_lost(world: World) -> Expected:
    """A whole run."""
    del world.target.runs[world.run().run_id]
    return one("presence", "")


@changes_run
def run_doubled(world: World) -> Expected:
    """The same run once more."""
    world.target.add(replace(copy.deepcopy(world.run()), run_id=run_id(11, "again")))
    return one("presence", "")


@changes_run
def run_added(world: World) -> Expected:
    """A run that nobody knows."""
    world.target.add(replace(rich_run(99, world.experiment_id, world.draw), run_id=run_id(11, "again")))
    return one("presence", "")


@pytest.mark.long(but=("*-source-tag",))
@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("change", RUN_CHANGES)
def test_any_single_change_of_a_run_is_red(change: str, kind: str) -> None:
    """The finding names that run, facet and key; nothing else is found, whatever the order of reading."""
    seed = len(change)
    draw = random.Random(f"{change} {kind}")
    source = rich_store(draw)
    world = World(source, COPIES[kind](source), kind, draw)
    number = 12 if change in ("parent_lost", "parent_is_another", "parent_is_the_sources") else 11
    hit = {run_id(number), run_id(11, "again"), world.run(number).run_id}
    expected = RUN_CHANGES[change](world)
    done = read_and_compare(source, world.target, seed)
    if expected is None:
        # by the contract that is no loss for this kind of copy
        assert done.result.green, done.found
        return
    facet, key, facets = expected
    found = done.result.findings
    assert not done.result.green
    assert (facet, key) in {(item.facet, item.key) for item in found}, done.found
    assert {item.facet for item in found} <= facets | _follows(change), done.found
    objects = {identity for item in found for identity in (item.source_id, item.target_id) if identity}
    assert objects <= hit, done.found
    assert {item.experiment for item in found} == {"fraud/gbm"}
    # the ledger says the same: every other object is green
    red = {identity for row in done.ledger.red for identity in (row.source_id, row.target_id) if identity}
    assert red == objects
    assert all(item.path.startswith(f"fraud/gbm / {item.name} / {item.facet}") for item in found)


def _follows(change: str) -> set[str]:
    """Return the facets that cannot be judged any more after a change."""
    return {"metrics", "artifacts"} if change == "deleted_by_the_import" else set()


@changes_experiment
def experiment_tag_altered(world: World) -> Expected:
    """A tag."""
    _experiment_tags(world)["team"] += "x"
    return one("tags", "team")


@changes_experiment
def experiment_tag_lost(world: World) -> Expected:
    """A tag of MLflow's own."""
    del _experiment_tags(world)["mlflow.kind"]
    return one("tags", "mlflow.kind")


@changes_experiment
def experiment_tag_added(world: World) -> Expected:
    """A tag that the source has not."""
    _experiment_tags(world)["Team"] = ""
    return one("tags", "Team")


@changes_experiment
def experiment_note_lost(world: World) -> Expected:
    """The note."""
    del _experiment_tags(world)["mlflow.note.content"]
    return one("note", "mlflow.note.content")


@changes_experiment
def experiment_note_altered(world: World) -> Expected:
    """The note."""
    _experiment_tags(world)["mlflow.note.content"] = ""
    return one("note", "mlflow.note.content")


@changes_experiment
def experiment_deleted(world: World) -> Expected:
    """The copy is in the trash."""
    world.target.change(world.experiment_id, lifecycle_stage="deleted")
    return one("lifecycle", "lifecycle_stage")


@changes_experiment
def experiment_renamed(world: World) -> Expected:
    """Another name; without ids and tags it is not found again."""
    world.target.change(world.experiment_id, name="Fraud/gbm")
    return one("presence", "") if world.kind == "natural-key" else one("name", "name")


@changes_experiment
def experiment_source_tag_lost(world: World) -> Expected | None:
    """One of the source tags."""
    if world.kind != "source-tag":
        return None
    del _experiment_tags(world)["mlflow_exim.field.artifact_location"]
    return one("source_tags", "mlflow_exim.field.artifact_location")


@changes_experiment
def experiment_source_tag_forged(world: World) -> Expected | None:
    """A source tag that does not tell what the source does."""
    if world.kind != "source-tag":
        return None
    _experiment_tags(world)["mlflow_exim.field.creation_time"] = "1"
    return one("source_tags", "mlflow_exim.field.creation_time", "times")


@changes_experiment
def experiment_source_tag_added(world: World) -> Expected:
    """A source tag for a tag that the source has not."""
    _experiment_tags(world)["mlflow_exim.mlflow_tag.x"] = ""
    return one("source_tags", "mlflow_exim.mlflow_tag.x")


@changes_experiment
def experiment_lost(world: World) -> Expected:
    """The experiment with all its runs."""
    key = world.experiment_id
    del world.target.experiments[key]
    for run in world.target.runs_of(key):
        del world.target.runs[run.run_id]
    return one("presence", "")


def _experiment_tags(world: World) -> dict[str, str]:
    item = world.target.experiments[world.experiment_id]
    tags = dict(item.tags)
    world.target.change(world.experiment_id, tags=tags)
    return tags


@pytest.mark.long(but=("*-source-tag",))
@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("change", EXPERIMENT_CHANGES)
def test_any_single_change_of_an_experiment_is_red(change: str, kind: str) -> None:
    """The finding names that experiment, facet and key, and nothing of the other experiment."""
    source = rich_store()
    world = World(source, COPIES[kind](source), kind, random.Random(1))
    expected = EXPERIMENT_CHANGES[change](world)
    done = read_and_compare(source, world.target)
    if expected is None:
        assert done.result.green, done.found
        return
    facet, key, facets = expected
    found = [item for item in done.result.findings if item.kind == "experiment"]
    assert not done.result.green
    assert (facet, key) in {(item.facet, item.key) for item in found}, done.found
    assert {item.facet for item in found} <= facets, done.found
    assert {item.name for item in done.result.findings if item.kind == "experiment"} <= {"fraud/gbm", "Fraud/gbm"}
    runs = [item for item in done.result.findings if item.kind == "run"]
    # the runs of an experiment without a copy are missing as well, and named one by one
    gone = key == "" and change in ("experiment_lost", "experiment_renamed")
    assert {(item.facet, item.state) for item in runs} == ({("presence", State.MISSING)} if gone else set())
    assert {row.experiment for row in done.ledger.red} <= {"fraud/gbm", "Fraud/gbm"}


@pytest.mark.parametrize("kind", COPIES)
def test_an_experiment_too_many_is_red(kind: str) -> None:
    """An experiment that only the target has is named, with its number of runs."""
    source = rich_store()
    target = COPIES[kind](source)
    target.experiments["900"] = experiment(900, "surplus")
    target.add(rich_run(99, "900", random.Random(1)))
    done = read_and_compare(source, target)
    [finding] = done.result.findings
    assert (finding.name, finding.facet, finding.state, finding.target_id) == (
        "surplus",
        "presence",
        State.EXTRA,
        "900",
    )
    assert "1 run" in finding.explanation


@pytest.mark.long
@settings(unhurried, max_examples=30)
@given(store=stores(), data=st.data())
def test_a_lost_object_of_any_store_is_red(store: Store, data: st.DataObject) -> None:
    """Dropping any run of any store, or any point of any history, is never green, for every kind of copy."""
    kind = data.draw(st.sampled_from(sorted(COPIES)))
    target = COPIES[kind](store)
    run = target.runs[data.draw(st.sampled_from(sorted(target.runs)))]
    in_history: bool = data.draw(st.booleans())
    if run.metrics and in_history:
        points = run.metrics[data.draw(st.sampled_from(sorted(run.metrics)))]
        lost = points[data.draw(st.integers(0, len(points) - 1))]
        # every repeat of it, because a swallowed repeat is no loss
        points[:] = [point for point in points if digests.encode(point) != digests.encode(lost)]
        wanted = ("metrics", run.params["number"])
    else:
        del target.runs[run.run_id]
        wanted = ("presence", run.params["number"])
    done = read_and_compare(store, target)
    assert not done.result.green
    number = {str(n): run_id(n) for n in range(9)}
    assert (wanted[0], number[wanted[1]]) in {(row.facet, row.source_id) for row in done.ledger.red}


# --- digests

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
_nested = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4)
)


def _same(left: object, right: object) -> bool:
    """Equality as the digests mean it: types count, NaN is NaN, -0.0 is not 0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        return (left != left and right != right) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return left == right


@pytest.mark.long
@settings(unhurried, max_examples=400)
@given(left=_nested, right=_nested)
def test_different_values_have_different_bytes(left: object, right: object) -> None:
    """``encode`` is injective: equal bytes mean equal values, and the other way round."""
    assert (digests.encode(left) == digests.encode(right)) == _same(left, right)
    assert (digests.encode([left, right]) == digests.encode([right, left])) == _same(left, right)


@pytest.mark.long
@settings(unhurried, max_examples=200)
@given(value=_nested, around=_nested)
def test_where_a_value_stands_makes_a_difference(value: object, around: object) -> None:
    """Nesting and position are part of the bytes; no concatenation of parts looks like another one."""
    assert digests.encode([value, [around]]) != digests.encode([[value], around])
    assert digests.encode({"a": value, "b": around}) != digests.encode({"ab": value, "": around})
    assert digests.encode([value]) != digests.encode(value)


@pytest.mark.long
@given(entries=st.dictionaries(st.text(max_size=3), _nested, min_size=2, max_size=6), data=st.data())
def test_the_order_of_keys_makes_no_difference(entries: dict[str, object], data: st.DataObject) -> None:
    """A mapping has one digest, however it was filled."""
    order = data.draw(st.permutations(list(entries)))
    assert digests.digest({key: entries[key] for key in order}) == digests.digest(entries)


def test_what_looks_alike_is_told_apart() -> None:
    """1, 1.0, True, "1" and b"1" differ; so do 0.0 and -0.0; every NaN is the same."""
    alike = [1, 1.0, True, "1", b"1", [1], {"1": 1}, None, "None", "", b"", [], {}, 0, 0.0, -0.0, False, "0"]
    assert len({digests.encode(value) for value in alike}) == len(alike)
    other_nan = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    assert digests.encode(math.nan) == digests.encode(other_nan)


def test_a_value_without_encoding_is_refused() -> None:
    """No silent text form: a set or an object could look equal to something that it is not."""
    for value in ({1, 2}, object(), 1j):
        with pytest.raises(TypeError, match="no canonical encoding"):
            digests.encode(value)


@given(parts=st.lists(st.binary(max_size=4), max_size=5), data=st.data())
def test_a_multiset_has_no_order_but_a_number(parts: list[bytes], data: st.DataObject) -> None:
    """``combine`` depends on what there is and how often, never on the order or on where parts are cut."""
    assert digests.combine(data.draw(st.permutations(parts))) == digests.combine(parts)
    assert digests.combine([*parts, b"x"]) != digests.combine(parts)
    assert digests.combine([*parts, b"x", b"x"]) != digests.combine([*parts, b"x"])
    assert digests.combine([b"ab", b"c"]) != digests.combine([b"a", b"bc"])


def _multiset(points: Iterable[Point]) -> list[bytes]:
    return sorted(digests.encode(list(point)) for point in points)


@pytest.mark.long
@settings(unhurried, max_examples=300)
@given(left=_points, right=_points, data=st.data())
def test_a_history_is_a_multiset_of_points(left: list[Point], right: list[Point], data: st.DataObject) -> None:
    """Its digest does not depend on the order, and tells every two different multisets apart."""
    shuffled = data.draw(st.permutations(left))
    assert _digest(shuffled) == _digest(left)
    assert (_digest(left) == _digest(right)) == (_multiset(left) == _multiset(right))


def _digest(points: list[Point]) -> bytes:
    return digests.series_digest(series_of("r", "k", points))


def test_every_nan_of_a_history_is_the_same_and_negative_zero_is_not_zero() -> None:
    """Bits are compared, but for the payload of NaN."""
    payload = np.array([0x7FF8000000000001, -1], np.int64).view(np.float64)
    steps = np.array([0, 1], np.int64)
    assert digests.series_digest(Series("r", "k", steps, steps, payload)) == _digest(
        [(0, 0, math.nan), (1, 1, math.nan)]
    )
    assert _digest([(0, 0, 0.0)]) != _digest([(0, 0, -0.0)])
    assert _digest([(0, 0, 1.0)]) != _digest([(0, 0, _nudged(1.0))])


@given(store=stores(), seed=st.integers(0, 99))
@settings(unhurried, max_examples=30)
def test_the_digest_of_a_run_depends_on_all_of_it_and_on_no_order(store: Store, seed: int) -> None:
    """The same run read twice in other orders has one digest; another field is another digest."""
    draw = random.Random(seed)

    def shuffled(values: Iterable[object]) -> list[object]:
        mixed = list(values)
        draw.shuffle(mixed)
        return mixed

    for run in store.runs.values():
        record = run.record(shuffled)
        whole = digests.run_digest(record)
        assert digests.run_digest(run.record(shuffled)) == whole
        changed = [
            replace(record, name=record.name + "x"),
            replace(record, status="KILLED"),
            replace(record, start_time=None),
            replace(record, end_time=1),
            replace(record, user_id="eve"),
            replace(record, params={**record.params, "new": ""}),
            replace(record, tags={**record.tags, "new-tag": ""}),
            replace(record, artifact_uri=""),
            replace(record, inputs=(*record.inputs, DatasetInput("n", "", "", "", "", "", ()))),
        ]
        assert len({digests.run_digest(item) for item in changed} | {whole}) == len(changed) + 1


def test_the_digest_of_a_tree_tells_unread_from_empty() -> None:
    """Paths, sizes, hashes and errors all count; the order of files does not."""
    one, two = Artifact("a", 1, "00"), Artifact("b", 1, "00")
    trees = [
        (one, two),
        (one,),
        (replace(one, size=2),),
        (replace(one, sha256="01"),),
        (replace(one, sha256=None),),
        (replace(one, error="gone"),),
        (),
    ]
    assert len({digests.artifacts_digest(ArtifactTree("r", files)) for files in trees}) == len(trees)
    assert digests.artifacts_digest(ArtifactTree("r", (two, one))) == digests.artifacts_digest(
        ArtifactTree("r", (one, two))
    )
