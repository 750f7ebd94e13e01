"""Properties over generated stores: equal ones are green in whatever order they come, any single change is red."""

from __future__ import annotations

import copy
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from support.memory import Points, Store, run_audit

from mlflow_parity.digests import encode
from mlflow_parity.model import EXIM_PREFIX, DatasetInput, Experiment, MetricPoint, Run

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=10)
KEY = st.sampled_from(["a", "b", "Loss", "loss", "größe", "x/y z"])
VALUE = st.floats(allow_nan=True, allow_infinity=True)
POINT = st.tuples(st.integers(-3, 9), st.integers(0, 2**41), VALUE)
INPUT = st.builds(
    DatasetInput,
    name=NAME,
    digest=NAME,
    source_type=st.just("local"),
    source=TEXT,
    schema=TEXT,
    profile=TEXT,
    tags=st.sampled_from([(), (("mlflow.data.context", "training"),), (("mlflow.data.context", "eval"), ("x", "y"))]),
)
SLOW = settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))


def _latest(points: Points) -> MetricPoint:
    step, timestamp, value = max(points, key=lambda p: (p[0], p[1], 0.0 if math.isnan(p[2]) else p[2]))
    return MetricPoint(step, timestamp, value)


@st.composite
def stores(draw: st.DrawFn, *, least: int = 1) -> Store:
    """A source: one or two experiments, runs that may hang on each other, everything filled at random."""
    store = Store()
    names = draw(st.lists(NAME, min_size=1, max_size=2, unique=True))
    for number, name in enumerate(names):
        tags = draw(st.dictionaries(KEY, TEXT, max_size=2))
        if draw(st.booleans()):
            tags["mlflow.note.content"] = "note"
        store.experiments.append(Experiment(str(number + 1), name, "active", f"mlflow-artifacts:/{number}", 5, 6, tags))
    for number in range(draw(st.integers(least, 4))):
        run_id = f"{number:032x}"
        experiment = draw(st.sampled_from(store.experiments)).experiment_id
        tags = draw(st.dictionaries(KEY, TEXT, max_size=2))
        tags["mlflow.user"] = draw(st.sampled_from(["ada", "béa"]))
        if number and draw(st.booleans()):
            tags["mlflow.parentRunId"] = f"{draw(st.integers(0, number - 1)):032x}"
        if draw(st.booleans()):
            tags["mlflow.note.content"] = draw(TEXT)
        metrics = {}
        for key in draw(st.lists(KEY, max_size=2, unique=True)):
            points: Points = tuple(draw(st.lists(POINT, min_size=1, max_size=5)))
            store.points[run_id, key] = points
            metrics[key] = _latest(points)
        for path in draw(st.lists(st.sampled_from(["a.txt", "d/e/b.bin", "größe"]), max_size=2, unique=True)):
            store.files[run_id, path] = draw(st.binary(max_size=8))
        ended = draw(st.booleans())
        store.runs.append(
            Run(
                run_id=run_id,
                experiment_id=experiment,
                # names differ, so that each finding can be told from the next
                name=f"{number}-{draw(NAME)}",
                status=draw(st.sampled_from(["FINISHED", "FAILED"])) if ended else "RUNNING",
                start_time=1_000 + number,
                end_time=2_000 + number if ended else None,
                user_id="ada",
                lifecycle_stage="active",
                artifact_uri=f"mlflow-artifacts:/{experiment}/{run_id}/artifacts",
                params=draw(st.dictionaries(KEY, TEXT, max_size=3)),
                tags=tags,
                metrics=metrics,
                inputs=tuple(draw(st.lists(INPUT, max_size=2))),
            )
        )
    return store


def imported(store: Store) -> Store:
    """A copy as the tool makes it: new ids and times, source tags, parents through the map of ids."""
    new = {run.run_id: f"f{run.run_id[1:]}" for run in store.runs}
    ids = {item.experiment_id: str(int(item.experiment_id) + 70) for item in store.experiments}
    copied = Store()
    for item in store.experiments:
        fields = ("experiment_id", "name", "artifact_location", "lifecycle_stage", "creation_time", "last_update_time")
        tags = {f"{EXIM_PREFIX}field.{name}": str(getattr(item, name)) for name in fields}
        tags |= {
            f"{EXIM_PREFIX}mlflow_tag.{k.removeprefix('mlflow.')}": v
            for k, v in item.tags.items()
            if k.startswith("mlflow.")
        }
        copied.experiments.append(
            replace(
                item,
                experiment_id=ids[item.experiment_id],
                tags={**item.tags, **tags},
                artifact_location=f"mlflow-artifacts:/{ids[item.experiment_id]}",
                creation_time=900_000,
                last_update_time=900_001,
            )
        )
    for run in store.runs:
        info = ("run_id", "experiment_id", "user_id", "status", "start_time", "end_time", "lifecycle_stage")
        tags = {f"{EXIM_PREFIX}run_info.{name}": str(getattr(run, name)) for name in (*info, "artifact_uri")}
        tags |= {
            f"{EXIM_PREFIX}mlflow_tag.{k.removeprefix('mlflow.')}": v
            for k, v in run.tags.items()
            if k.startswith("mlflow.")
        }
        tags = {**run.tags, **tags, "mlflow.user": "importer"}
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = new[run.tags["mlflow.parentRunId"]]
        experiment = ids[run.experiment_id]
        copied.runs.append(
            replace(
                run,
                run_id=new[run.run_id],
                experiment_id=experiment,
                start_time=900_100,
                end_time=900_200,
                user_id="unknown",
                tags=tags,
                artifact_uri=f"mlflow-artifacts:/{experiment}/{new[run.run_id]}/artifacts",
            )
        )
    copied.points = {(new[run], key): points for (run, key), points in store.points.items()}
    copied.files = {(new[run], path): content for (run, path), content in store.files.items()}
    return copied


def restored(store: Store) -> Store:
    """The same store elsewhere: a restored database."""
    return copy.deepcopy(store)


COPIES: dict[str, Callable[[Store], Store]] = {"imported": imported, "restored": restored}


@pytest.mark.parametrize("kind", COPIES)
@SLOW
@given(store=stores(), seed=st.integers(0, 1_000))
def test_equal_stores_are_green_in_any_order(kind: str, store: Store, seed: int) -> None:
    """Pages, rows, keys and points may come in any order: green, nothing explained, the digests always the same."""
    target = COPIES[kind](store)
    first, second = run_audit(store, target, seed=seed), run_audit(store, target, seed=seed + 17)
    assert first.found == set()
    assert first.result.green
    assert first.result.explained == 0
    assert first.digests == second.digests
    by = {"imported": "source-tag", "restored": "same-id"}[kind]
    assert first.result.paired_by == {by: len(store.runs)}


def _ulp(value: float) -> float:
    """The next bit pattern (never from one NaN to another)."""
    bits = struct.unpack("<q", struct.pack("<d", value))[0]
    return float(struct.unpack("<d", struct.pack("<q", bits ^ 1))[0])


def _change_run(store: Store, number: int, **changes: Any) -> None:
    store.runs[number] = replace(store.runs[number], **changes)


def _has(condition: object) -> None:
    assume(bool(condition))


def _status(store: Store, n: int) -> tuple[str, str]:
    _change_run(store, n, status="KILLED")
    return "status", "status"


def _renamed(store: Store, n: int) -> tuple[str, str]:
    _change_run(store, n, name=store.runs[n].name + "!")
    return "name", "run_name"


def _param_changed(store: Store, n: int) -> tuple[str, str]:
    _has(store.runs[n].params)
    key = next(iter(store.runs[n].params))
    _change_run(store, n, params={**store.runs[n].params, key: store.runs[n].params[key] + " "})
    return "params", key


def _param_lost(store: Store, n: int) -> tuple[str, str]:
    _has(store.runs[n].params)
    key = next(iter(store.runs[n].params))
    _change_run(store, n, params={k: v for k, v in store.runs[n].params.items() if k != key})
    return "params", key


def _tag_added(store: Store, n: int) -> tuple[str, str]:
    _change_run(store, n, tags={**store.runs[n].tags, "surplus": ""})
    return "tags", "surplus"


def _note_changed(store: Store, n: int) -> tuple[str, str]:
    tags = dict(store.runs[n].tags)
    tags["mlflow.note.content"] = tags.get("mlflow.note.content", "") + "!"
    _change_run(store, n, tags=tags)
    return "note", "mlflow.note.content"


def _parent_lost(store: Store, n: int) -> tuple[str, str]:
    _has("mlflow.parentRunId" in store.runs[n].tags)
    tags = {key: value for key, value in store.runs[n].tags.items() if key != "mlflow.parentRunId"}
    _change_run(store, n, tags=tags)
    return "parent", "mlflow.parentRunId"


def _input_lost(store: Store, n: int) -> tuple[str, str]:
    _has(store.runs[n].inputs)
    _change_run(store, n, inputs=store.runs[n].inputs[1:])
    return "inputs", ""


def _points_of(store: Store, n: int) -> tuple[str, list[tuple[int, int, float]]]:
    keys = sorted(store.runs[n].metrics)
    _has(keys)
    return keys[0], list(store.points[store.runs[n].run_id, keys[0]])


def _put_points(store: Store, n: int, key: str, points: list[tuple[int, int, float]]) -> tuple[str, str]:
    run = store.runs[n]
    store.points[run.run_id, key] = tuple(points)
    _change_run(store, n, metrics={**run.metrics, key: _latest(tuple(points))})
    return "metrics", key


def _one_bit(store: Store, n: int) -> tuple[str, str]:
    key, points = _points_of(store, n)
    step, timestamp, value = points[0]
    # a bit within NaN is no change, and ±inf and -0.0 have rules of their own
    _has(math.isfinite(value) and value != 0)
    points[0] = (step, timestamp, _ulp(value))
    return _put_points(store, n, key, points)


def _last_point_lost(store: Store, n: int) -> tuple[str, str]:
    key, points = _points_of(store, n)
    last = max(points, key=lambda p: (p[0], p[1]))
    _has(len(points) > 1 and sum(_same(last, other) for other in points) == 1)
    points.remove(last)
    return _put_points(store, n, key, points)


def _same(left: tuple[int, int, float], right: tuple[int, int, float]) -> bool:
    return encode(list(left)) == encode(list(right))


def _point_added(store: Store, n: int) -> tuple[str, str]:
    key, points = _points_of(store, n)
    return _put_points(store, n, key, [*points, (77, 77, 7.5)])


def _time_shifted(store: Store, n: int) -> tuple[str, str]:
    key, points = _points_of(store, n)
    step, timestamp, value = points[0]
    points[0] = (step, timestamp + 2**42, value)
    return _put_points(store, n, key, points)


def _byte_changed(store: Store, n: int) -> tuple[str, str]:
    mine = sorted(path for run, path in store.files if run == store.runs[n].run_id)
    _has(mine)
    content = store.files[store.runs[n].run_id, mine[0]]
    changed = bytes([content[0] ^ 1]) + content[1:] if content else b"\0"
    store.files[store.runs[n].run_id, mine[0]] = changed
    return "artifacts", mine[0]


def _file_added(store: Store, n: int) -> tuple[str, str]:
    store.files[store.runs[n].run_id, "surplus"] = b""
    return "artifacts", "surplus"


CHANGES = [
    _status, _renamed, _param_changed, _param_lost, _tag_added, _note_changed, _parent_lost, _input_lost, _one_bit,
    _last_point_lost, _point_added, _time_shifted, _byte_changed, _file_added,
]  # fmt: skip


@pytest.mark.parametrize("kind", COPIES)
@pytest.mark.parametrize("change", CHANGES)
@settings(SLOW, max_examples=4)
@given(store=stores(), data=st.data(), seed=st.integers(0, 1_000))
def test_any_single_change_is_red_and_named(
    kind: str, change: Callable[[Store, int], tuple[str, str]], store: Store, data: st.DataObject, seed: int
) -> None:
    """One change on the target: red, the finding names run, facet and key, and blames nothing else."""
    target = COPIES[kind](store)
    number = data.draw(st.integers(0, len(target.runs) - 1))
    facet, key = change(target, number)
    audited = run_audit(store, target, seed=seed)
    assert not audited.result.green
    # paired by id or tag, so it is known by the source's name
    assert {(name, found) for name, found, _, _ in audited.found} == {(store.runs[number].name, facet)}
    assert all(key in found for _, _, found, _ in audited.found)


@pytest.mark.parametrize("kind", COPIES)
@settings(SLOW, max_examples=10)
@given(store=stores(least=2), data=st.data())
def test_a_lost_run_and_an_added_one_are_found(kind: str, store: Store, data: st.DataObject) -> None:
    """A run gone is missing, a second copy is a duplicate, a foreign run is extra."""
    target = COPIES[kind](store)
    number = data.draw(st.integers(0, len(target.runs) - 1))
    gone = target.runs.pop(number)
    assert (store.runs[number].name, "presence", "", "missing") in run_audit(store, target).found

    target = COPIES[kind](store)
    foreign = replace(gone, run_id="e" * 32, name="foreign", tags={}, params={"only": "here"}, metrics={}, inputs=())
    target.runs.append(foreign)
    assert run_audit(store, target).found == {("foreign", "presence", "", "extra")}

    target = COPIES[kind](store)
    again = {**gone.tags, f"{EXIM_PREFIX}run_info.run_id": store.runs[number].run_id}
    target.runs.append(replace(gone, run_id="d" * 32, start_time=999_999, tags=again, metrics={}))
    assert run_audit(store, target).found == {(store.runs[number].name, "presence", "", "duplicate")}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def _canonical(value: Any) -> Any:
    """What must be told apart, as a value that Python compares as we mean it."""
    if isinstance(value, float):
        return ("float", "nan" if value != value else struct.pack("<d", value))
    if isinstance(value, dict):
        return ("dict", frozenset((key, _canonical(item)) for key, item in value.items()))
    if isinstance(value, list):
        return ("list", tuple(map(_canonical, value)))
    return (type(value).__name__, value)


@given(left=VALUES, right=VALUES)
def test_encoding_is_equal_just_for_equal_values(left: Any, right: Any) -> None:
    """Different values have different encodings, equal ones the same, whatever the order of keys."""
    assert (encode(left) == encode(right)) == (_canonical(left) == _canonical(right))


def test_encoding_tells_types_and_zeros_apart() -> None:
    """1, True, 1.0 and "1" differ; 0.0 and -0.0 differ; NaN equals NaN; unknown types are refused."""
    assert len({encode(value) for value in (1, True, 1.0, "1", b"1", [1], None)}) == 7
    assert encode(0.0) != encode(-0.0)
    assert encode(math.nan) == encode(-math.nan)
    with pytest.raises(TypeError, match="no canonical encoding for object"):
        encode(object())
