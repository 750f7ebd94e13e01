"""Metric histories point by point, and what must be equal where the store itself went on: word for word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from support.records import COPY, MODEL, RUN, Told, a_run, an_entity, an_experiment, told

from mlflow_parity.comparing import same_store
from mlflow_parity.comparing.difference import Difference, Outcome
from mlflow_parity.comparing.histories import compare_histories
from mlflow_parity.core.identity.digests import series_digest
from mlflow_parity.core.identity.keys import HistoryKey
from mlflow_parity.core.records import Artifact, ArtifactTree, DatasetInput, Entity, MetricPoint, Run, Series
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.pairing.relocation import Relocation

LARGEST = 1.7976931348623157e308
NAN = float("nan")
RULE = "run.metrics"
Point = tuple[int, int, float]


@dataclass
class _View:
    """The histories of one run."""

    run_id: str
    points_of: Mapping[str, list[Point]]
    errors: Mapping[str, str] = field(default_factory=dict)

    def points(self, run_id: str, key: str) -> Series:
        """One history."""
        assert run_id == self.run_id
        rows = sorted(self.points_of[key], key=lambda point: point[:2])
        steps, times, values = zip(*rows, strict=True) if rows else ((), (), ())
        return Series(run_id, key, np.array(steps, "int64"), np.array(times, "int64"), np.array(values, "float64"))

    def histories(self, run_id: str) -> Mapping[str, HistoryKey]:
        """Size and digest of each."""
        assert run_id == self.run_id
        return {
            key: HistoryKey(len(rows), series_digest(self.points(run_id, key)), self.errors.get(key))
            for key, rows in self.points_of.items()
        }


def _compared(
    ours: Mapping[str, list[Point]], theirs: Mapping[str, list[Point]], mine: Run | None = None,
     copy: Run | None = None,
    errors: tuple[dict[str, str], dict[str, str]] = ({}, {}),
) -> list[Told]:  # fmt: skip
    views = _View(RUN, ours, errors[0]), _View(COPY, theirs, errors[1])
    return told(compare_histories(*views, mine or a_run(), copy or a_run(run_id=COPY)))


def test_a_metric_on_one_side_alone() -> None:
    """All of its points are lost, or too many; the others are compared all the same."""
    assert _compared({"a": [(0, 1, 1.0)]}, {"a": [(0, 1, 1.0)]}) == []
    assert _compared(
        {"a": [(0, 1, 1.0), (1, 1, 1.0)], "c": [(0, 1, 1.0)]}, {"b": [(0, 1, 1.0)], "c": [(0, 1, 1.0)]}
    ) == [
        ("a", "missing", RULE, "2 points", None, "the whole metric is not on the target (2 points)"),
        ("b", "extra", RULE, None, "1 points", ""),
    ]


def test_a_history_that_was_not_read_is_no_empty_one() -> None:
    """An error, or a metric whose history nobody asked for, is unverified, and nothing else is said of it."""
    point = MetricPoint(0, 1, 1.0)
    same = {"a": [(0, 1, 1.0)], "b": [(0, 1, 1.0)]}
    assert _compared(same, {**same, "a": [(0, 1, 2.0)]}, errors=({"a": "gone"}, {"b": "denied"})) == [
        ("a", "unverified", RULE, None, None, "the source's history could not be read: gone"),
        ("b", "unverified", RULE, None, None, "the target's history could not be read: denied"),
    ]
    assert _compared(same, same, a_run(metrics={"x": point, "a": point}), a_run(run_id=COPY, metrics={"y": point})) == [
        ("x", "unverified", RULE, None, None, "the source's history was not read"),
        ("y", "unverified", RULE, None, None, "the target's history was not read"),
    ]


def _counts(ours: int, theirs: int, missing: int, extra: int, places: int) -> str:
    return (
        f"{ours} points on the source, {theirs} on the target; {missing} only on the source, "
        f"{extra} only on the target, at {places} (step, time)"
    )


def test_points_that_differ_are_counted_and_shown() -> None:
    """At which step and time, with both values; all are counted, the first twenty places are shown."""
    assert _compared({"a": [(0, 1, 1.0), (1, 2, 5.0), (1, 2, 6.0)]}, {"a": [(0, 1, 1.0), (1, 2, 7.0), (3, 4,
     8.0)]}) == [
        ("a", "mismatch", RULE, {"step 1 at 2 ms": 5.0, "step 1 at 2 ms #2": 6.0},
         {"step 1 at 2 ms": 7.0, "step 3 at 4 ms": 8.0}, _counts(3, 3, 2, 2, 2)),
    ]  # fmt: skip
    many = [(n, 1, 1.0) for n in range(25)]
    [found] = _compared({"a": many}, {"a": [(n, 1, 2.0) for n in range(25)]})
    assert list(found[3]) == list(found[4]) == [f"step {n} at 1 ms" for n in range(20)]  # type: ignore[call-overload]
    assert found[5] == _counts(25, 25, 25, 25, 25)
    [found] = _compared({"a": [(0, 1, 1.0)] * 30}, {"a": [(0, 1, 2.0)]})
    assert len(found[3]) == 20  # type: ignore[arg-type]
    assert found[5] == _counts(30, 1, 30, 1, 1)
    # one more of a point that is there: the difference alone is shown
    assert _compared({"a": [(0, 1, 1.0)]}, {"a": [(0, 1, 1.0)] * 3})[0][3:] == (
        {}, {"step 0 at 1 ms": 1.0, "step 0 at 1 ms #2": 1.0}, _counts(1, 3, 0, 2, 1),
    )  # fmt: skip


INFINITY, ZERO, REPEATED = (f"{RULE}.{name}" for name in ("infinity", "negative-zero", "repeated"))
INF = math.inf


@pytest.mark.parametrize(
    ("ours", "theirs", "passes", "red"),
    [
        ([INF], [LARGEST], {INFINITY: 1}, None),
        ([-INF], [-LARGEST], {INFINITY: 1}, None),
        ([INF, INF], [LARGEST, LARGEST], {INFINITY: 2}, None),
        ([-0.0], [0.0], {ZERO: 1}, None),
        ([1.0, 1.0, 1.0], [1.0], {REPEATED: 2}, None),
        ([INF, INF, INF], [LARGEST], {INFINITY: 3, REPEATED: 2}, None),
        ([INF, LARGEST], [LARGEST], {INFINITY: 1, REPEATED: 1}, None),
        ([-0.0, 0.0, 0.0], [0.0], {ZERO: 1, REPEATED: 2}, None),
        ([INF, LARGEST, 5.0], [LARGEST, 6.0], {INFINITY: 1, REPEATED: 1}, (1, 1)),
        ([INF, 2.0], [2.0], {}, (1, 0)),
        ([INF], [INF, LARGEST], {}, (0, 1)),
        ([INF, -INF], [LARGEST, LARGEST], {INFINITY: 1}, (1, 1)),
        ([INF], [-LARGEST], {}, (1, 1)),
        ([LARGEST], [INF], {}, (1, 1)),
        ([0.0], [-0.0], {}, (1, 1)),
        ([1.0, 1.0, 1.0], [1.0, 1.0], {}, (1, 0)),
        ([INF], [LARGEST, LARGEST], {INFINITY: 1}, (0, 1)),
        ([INF, LARGEST], [LARGEST, LARGEST], {INFINITY: 1}, None),
        ([INF, LARGEST, LARGEST], [LARGEST, LARGEST], {}, (1, 0)),
        ([INF, INF], [LARGEST] * 3, {INFINITY: 2}, (0, 1)),
    ],
)
def test_what_a_sql_store_makes_of_points(
    ours: list[float], theirs: list[float], passes: dict[str, int], red: tuple[int, int] | None
) -> None:
    """Each rule covers exactly the points that such a store cannot hold, and says how many; the rest is red."""
    done = _compared({"a": [(0, 1, one) for one in ours]}, {"a": [(0, 1, one) for one in theirs]})
    expected = [("a", "expected", rule, None, None, f"{count} point{'s' if count > 1 else ''}")
                for rule, count in sorted(passes.items())]  # fmt: skip
    assert done[: len(expected)] == expected
    rest = done[len(expected) :]
    assert [one[5] for one in rest] == ([] if red is None else [_counts(len(ours), len(theirs), *red, 1)])


def test_what_a_sql_store_makes_of_several_points() -> None:
    """At several steps and of several metrics: all are counted, and none hides another."""
    ours = {"a": [(0, 1, INF), (1, 1, INF), (2, 1, 1.0), (2, 1, 1.0), (3, 1, 1.0), (3, 1, 1.0)], "b": [(0, 1, 1.0)],
            "c": [(0, 1, 1.0)]}  # fmt: skip
    theirs = {"a": [(0, 1, LARGEST), (1, 1, LARGEST), (2, 1, 1.0), (3, 1, 1.0)], "b": [(0, 1, 2.0)], "c": [(0, 1, 2.0)]}
    assert [(key, state, rule, note) for key, state, rule, _, _, note in _compared(ours, theirs)] == [
        ("a", "expected", INFINITY, "2 points"), ("a", "expected", REPEATED, "2 points"),
        ("b", "mismatch", RULE, _counts(1, 1, 1, 1, 1)), ("c", "mismatch", RULE, _counts(1, 1, 1, 1, 1)),
    ]  # fmt: skip


def test_repeats_that_a_sql_store_makes_are_all_counted() -> None:
    """At each step, a rewritten point repeats the one that is there."""
    ours = {"a": [(step, 1, value) for step in (0, 1, 2) for value in (INF, LARGEST)]}
    theirs = {"a": [(step, 1, LARGEST) for step in (0, 1, 2)]}
    assert [(rule, note) for _, _, rule, _, _, note in _compared(ours, theirs)] == [
        (INFINITY, "3 points"),
        (REPEATED, "3 points"),
    ]


def test_the_latest_point_is_what_pages_show() -> None:
    """A server keeps it beside the history: the histories may be equal, and the page shows another step."""
    same = {"a": [(0, 1, 1.0), (1, 2, 5.0)]}
    runs = [
        a_run(run_id=COPY if number else RUN, metrics={"a": MetricPoint(*point)})
        for number, point in enumerate(((1, 2, 5.0), (0, 1, 1.0), (1, 2, 5.0), (1, 3, 5.0)))
    ]
    note = "the histories are equal, but not what stands as the latest point"
    assert _compared(same, same, runs[0], runs[1]) == [
        ("a", "mismatch", RULE, "step 1 at 2 ms: 5.0", "step 0 at 1 ms: 1.0", note)
    ]
    assert _compared(same, same, runs[0], runs[3])[0][3:5] == ("step 1 at 2 ms: 5.0", "step 1 at 3 ms: 5.0")
    assert _compared(same, same, runs[0], runs[2]) == []
    for one, other in ((runs[0], a_run(run_id=COPY)), (a_run(), runs[1])):
        assert _compared(same, same, one, other) == []


@pytest.mark.parametrize(
    ("tied", "ours", "theirs", "excused"),
    [
        ([NAN, 1.0], NAN, 1.0, True),
        ([NAN, -1.0], -1.0, NAN, True),
        ([NAN, 0.0], NAN, 0.0, True),
        ([NAN, 0.0], 0.0, NAN, True),
        ([NAN, -0.0], NAN, -0.0, True),
        ([NAN, LARGEST], NAN, LARGEST, True),
        ([NAN, -LARGEST], -INF, NAN, True),
        ([NAN, -1.0, 1.0], -1.0, 1.0, True),
        # not what a database takes
        ([NAN, 1.0], 1.0, NAN, False),
        ([NAN, -1.0], NAN, -1.0, False),
        ([NAN, 1.0, 2.0], NAN, 1.0, False),
        # a value that no point has
        ([NAN, -1.0], -1.0, 0.0, False),
        ([NAN, 1.0], NAN, 2.0, False),
        ([NAN, 1.0], 3.0, 1.0, False),
        # without NaN there is one order
        ([1.0, 2.0], 1.0, 2.0, False),
        ([0.0, -1.0], -1.0, 0.0, False),
    ],
)
def test_the_latest_of_points_one_of_which_is_nan(tied: list[float], ours: float, theirs: float, excused: bool) -> None:
    """NaN has no order: where a database takes it for 0, another one is told than by a file store."""
    history = {"a": [(0, 9, 5.0), *((1, 2, value) for value in tied)]}
    runs = [a_run(run_id=one, metrics={"a": MetricPoint(1, 2, value)}) for one, value in ((RUN, ours), (COPY, theirs))]
    found = _compared(history, history, runs[0], runs[1])
    if excused:
        assert found == [("a", "expected", f"{RULE}.latest", ours, theirs, "")]
    else:
        assert [one[:3] for one in found] == [("a", "mismatch", RULE)]
    # at another step or time it is another point
    for step, moment in ((0, 2), (1, 9)):
        other = a_run(run_id=COPY, metrics={"a": MetricPoint(step, moment, theirs)})
        assert [one[1] for one in _compared(history, history, runs[0], other)] == ["mismatch"]


@pytest.mark.parametrize(
    ("ours", "theirs", "same"),
    [
        (2.0, 1.0, False),
        (2.0, 9.0, False),
        (2.0, NAN, False),
        (NAN, NAN, True),
        (INF, LARGEST, True),
        (INF, -LARGEST, False),
        (LARGEST, INF, False),
        (-0.0, 0.0, True),
        (0.0, -0.0, False),
    ],
)
def test_the_latest_of_points_of_one_step_and_time(ours: float, theirs: float, same: bool) -> None:
    """Where several have the same step and time, another of them on the page is another number."""
    history = {"a": [(0, 1, 1.0), (0, 1, 2.0)]}
    runs = [
        a_run(run_id=run_id, metrics={"a": MetricPoint(0, 1, value)}) for run_id, value in ((RUN, ours), (COPY, theirs))
    ]
    found = _compared(history, history, runs[0], runs[1])
    assert [(key, state) for key, state, *_ in found] == ([] if same else [("a", "mismatch")])
    # also where the histories differ as a SQL store makes them
    written = ({"a": [(0, 1, INF)]}, {"a": [(0, 1, LARGEST)]})
    assert [one[1] for one in _compared(written[0], written[1], runs[0], runs[1])] == [
        "expected",
        *([] if same else ["mismatch"]),
    ]


# --- the store itself went on

MOVED = Relocation("s3://old", "s3://new")


def _strict(facet: str, source: Any, target: Any, **given: Any) -> list[Told] | None:
    found = same_store.compare_facet(facet, source, target, given.get("moved", Relocation()),
                                     given.get("releases", same_store.UNKNOWN))  # fmt: skip
    return None if found is None else told(found)


NOTE, USER, EXIM = "mlflow.note.content", "mlflow.user", "mlflow_exim.field.x"
TAGS = {NOTE: "n", USER: "u", EXIM: "x", "mlflow.parentRunId": "p", "team": "t"}
OTHERS = {key: f"other {value}" for key, value in TAGS.items()}


@pytest.mark.parametrize(
    ("facet", "change", "rule", "found"),
    [
        ("name", {"name": "s"}, "run.name", [("run_name", "r", "s")]),
        ("status", {"status": "FAILED"}, "run.status", [("status", "FINISHED", "FAILED")]),
        ("lifecycle", {"lifecycle_stage": "deleted"}, "run.lifecycle", [("lifecycle_stage", "active", "deleted")]),
        ("times", {"start_time": 11, "end_time": None}, "run.times", [("end_time", 20, None), ("start_time", 10, 11)]),
        ("user", {"user_id": "eve", "tags": OTHERS}, "run.user", [(USER, "u", "other u"), ("user_id", "ada", "eve")]),
        ("params", {"params": {"a": "2"}}, "run.params", [("a", "1", "2")]),
        ("tags", {"tags": OTHERS}, "run.tags", [("team", "t", "other t")]),
        ("note", {"tags": OTHERS}, "run.note", [(NOTE, "n", "other n")]),
        ("source_tags", {"tags": OTHERS}, "run.same-store", [(EXIM, "x", "other x")]),
        ("parent", {"tags": OTHERS}, "run.same-store", [("mlflow.parentRunId", "p", "other p")]),
        ("model_inputs", {"model_inputs": ((MODEL, 2),)}, "run.same-store",
         [("model_inputs", [(MODEL, 1)], [(MODEL, 2)])]),
        ("model_outputs", {"model_outputs": ()}, "run.same-store", [("model_outputs", [(MODEL, 1)], [])]),
    ],
)  # fmt: skip
def test_a_run_that_went_on_is_the_same_in_each_field(
    facet: str, change: dict[str, Any], rule: str, found: list[tuple[str, Any, Any]]
) -> None:
    """Nothing is excused as the work of an import: each field that changed is named."""
    run = a_run(params={"a": "1"}, tags=TAGS, model_inputs=((MODEL, 1),), model_outputs=((MODEL, 1),))
    other = a_run(**{"params": {"a": "1"}, "tags": TAGS, "model_inputs": ((MODEL, 1),),
                     "model_outputs": ((MODEL, 1),), **change})  # fmt: skip
    assert _strict(facet, run, other) == [(key, "mismatch", rule, *values, "") for key, *values in found]
    assert _strict(facet, run, run) == []


@pytest.mark.parametrize(
    ("facet", "change", "rule", "found"),
    [
        ("name", {"name": "f"}, "experiment.name", [("name", "e", "f")]),
        ("lifecycle", {"lifecycle_stage": "deleted"}, "experiment.lifecycle",
         [("lifecycle_stage", "active", "deleted")]),
        ("times", {"creation_time": 1, "last_update_time": 2}, "experiment.same-store",
         [("creation_time", 5, 1), ("last_update_time", 6, 2)]),
        ("tags", {"tags": {key: OTHERS[key] for key in (NOTE, EXIM, "team")}}, "experiment.tags",
         [("team", "t", "other t")]),
        ("note", {"tags": {**TAGS, NOTE: "o"}}, "experiment.note", [(NOTE, "n", "o")]),
        ("source_tags", {"tags": {**TAGS, EXIM: "o"}}, "experiment.same-store", [(EXIM, "x", "o")]),
    ],
)  # fmt: skip
def test_an_experiment_that_went_on_is_the_same_in_each_field(
    facet: str, change: dict[str, Any], rule: str, found: list[tuple[str, Any, Any]]
) -> None:
    """Its times, too, which an import could not keep."""
    tags = {key: TAGS[key] for key in (NOTE, EXIM, "team")}
    one = an_experiment(tags=tags)
    done = _strict(facet, one, an_experiment(**{"tags": tags, **change}))
    assert done == [(key, "mismatch", rule, *values, "") for key, *values in found]


def test_links_that_were_not_read_are_unverified() -> None:
    """``None`` is not none."""
    read, unread = a_run(model_inputs=()), a_run()
    for one, other, side in ((unread, read, "source"), (read, unread, "target"), (unread, unread, "source")):
        assert _strict("model_inputs", one, other) == [
            ("", "unverified", "run.same-store", None, None, f"the {side}'s were not read")
        ]


@pytest.mark.parametrize(
    ("ours", "theirs", "moved", "found"),
    [
        ("s3://old/1", "s3://old/1", Relocation(), []),
        ("s3://old/1", "s3://new/1", MOVED,
         [("expected", "{kind}.{facet}.moved", "everything below s3://old stands below s3://new")]),
        ("s3://old/1", "s3://new/1", Relocation(), [("mismatch", "{rule}", "")]),
        ("s3://old/1", "s3://old/1", MOVED,
         [("mismatch", "{rule}", "by the move of the whole store it would be s3://new/1")]),
        ("s3://other/1", "s3://new/1", MOVED, [("mismatch", "{rule}", "")]),
        ("s3://other/1", "s3://other/1", MOVED, []),
    ],
)  # fmt: skip
def test_a_place_is_the_same_or_where_the_whole_store_went(
    ours: str, theirs: str, moved: Relocation, found: list[tuple[str, str, str]]
) -> None:
    """One prefix for the whole server: what stands elsewhere was not moved with it."""
    version = [an_entity("model_version", source=one, storage=one) for one in (ours, theirs)]
    for kind, facet, key, sides in (
        ("run", "artifact_uri", "artifact_uri", [a_run(artifact_uri=x) for x in (ours, theirs)]),
        ("experiment", "artifact_location", "artifact_location",
         [an_experiment(artifact_location=x) for x in (ours, theirs)]),
        ("model_version", "source", "source", version),
        ("model_version", "storage", "storage_location", version),
    ):  # fmt: skip
        broken = f"{kind}.same-store"
        assert _strict(facet, *sides, moved=moved) == [
            (key, state, text.format(kind=kind, facet=facet, rule=broken), ours, theirs, note)
            for state, text, note in found
        ]


def test_which_rule_a_change_breaks_where_the_store_went_on() -> None:
    """The facet's own where that asks for equality under this profile, else that of the profile as a whole."""
    assert same_store.rule_of("run", "params") == "run.params"
    assert same_store.rule_of("run", "parent") == "run.same-store"
    assert same_store.rule_of("scorer", "times") == "scorer.same-store"
    assert same_store.rule_of("run", "nothing") == "run.same-store"


def _version(**facets: Any) -> Entity:
    return an_entity("model_version", **facets)


@pytest.mark.parametrize(
    ("facet", "ours", "theirs", "found"),
    [
        ("tags", _version(tags={"a": "1", EXIM: "1"}), _version(tags={"a": "2", EXIM: "2"}),
         [("a", "mismatch", "model_version.tags", "1", "2", "")]),
        ("source_tags", _version(tags={"a": "1", EXIM: "1"}), _version(tags={"a": "2", EXIM: "2"}),
         [(EXIM, "mismatch", "model_version.same-store", "1", "2", "")]),
        ("tags", _version(), _version(tags=None), []),
        ("number", _version(number=1), _version(number=2), [("", "mismatch", "model_version.number", 1, 2, "")]),
        ("times", an_entity("webhook", times={"creation": 1}), an_entity("webhook", times={"creation": 2}),
         [("creation", "mismatch", "webhook.same-store", 1, 2, "")]),
        ("tags", an_entity("webhook", tags={EXIM: "1"}), an_entity("webhook", tags={EXIM: "2"}),
         [(EXIM, "mismatch", "webhook.same-store", "1", "2", "")]),
        ("tags", an_entity("webhook", tags={"mlflow.artifactLocation": "s3://a"}),
         an_entity("webhook", tags={"mlflow.artifactLocation": "s3://b"}),
         [("mlflow.artifactLocation", "mismatch", "webhook.same-store", "s3://a", "s3://b", "")]),
        ("state", an_entity("trace", state="OK"), an_entity("trace", state="ERROR"),
         [("", "mismatch", "trace.state", "OK", "ERROR", "")]),
        ("times", an_entity("webhook", times=None), an_entity("webhook", times={}),
         [("", "mismatch", "webhook.same-store", None, {}, "")]),
        ("source", _version(source=None), _version(source="s3://x"),
         [("source", "mismatch", "model_version.same-store", "", "s3://x", "")]),
        ("source", _version(source="s3://x"), _version(),
         [("source", "mismatch", "model_version.same-store", "s3://x", "", "")]),
        ("storage", _version(storage="s3://x"), _version(storage=None), None),
        ("storage", _version(), _version(storage="s3://x"), None),
        *((facet, an_entity("trace"), an_entity("trace"), None) for facet in ("spans", "assessments", "prompts",
         "records")),
    ],
)  # fmt: skip
def test_an_object_that_went_on_is_the_same_in_each_facet(
    facet: str, ours: Entity, theirs: Entity, found: list[Told] | None
) -> None:
    """Times and source tags as well; ``None``: it is compared as after an import."""
    assert _strict(facet, ours, theirs) == found


PLACES = {"mlflow.artifactLocation": "s3://old/a", "mlflow.trace.archiveLocation": "s3://old/b", "k": "1"}


def test_the_places_in_a_traces_tags_move_with_the_store() -> None:
    """One that stands on one side alone, or elsewhere, is a difference; all other tags are equal."""
    moved = {**PLACES, "mlflow.artifactLocation": "s3://new/a", "mlflow.trace.archiveLocation": "s3://else/b", "k": "2"}
    note = "by the move of the whole store it would be s3://new/b"
    assert _strict("tags", an_entity("trace", tags=PLACES), an_entity("trace", tags=moved), moved=MOVED) == [
        ("mlflow.artifactLocation", "expected", "trace.tags.moved", "s3://old/a", "s3://new/a",
         "everything below s3://old stands below s3://new"),
        ("mlflow.trace.archiveLocation", "mismatch", "trace.tags", "s3://old/b", "s3://else/b", note),
        ("k", "mismatch", "trace.tags", "1", "2", ""),
    ]  # fmt: skip
    one, none = an_entity("trace", tags=PLACES), an_entity("trace", tags={"k": "1"})
    assert [told_[:2] for told_ in _strict("tags", one, none) or []] == [
        ("mlflow.artifactLocation", "missing"), ("mlflow.trace.archiveLocation", "missing"),
    ]  # fmt: skip
    assert [told_[:2] for told_ in _strict("tags", none, one) or []] == [
        ("mlflow.artifactLocation", "extra"), ("mlflow.trace.archiveLocation", "extra"),
    ]  # fmt: skip


UPGRADE = ((2, 22), (3, 0))
END = ("duration", "expected", "trace.times.no-end", 0, None, "the trace has no end")


@pytest.mark.parametrize(
    ("releases", "passes"),
    [(UPGRADE, True), (((2, 99), (3, 17)), True), (((0, 1), (3, 0)), True), (((0, 0), (3, 0)), False),
     (((3, 0), (3, 1)), False), (((2, 22), (2, 99)), False), (((2, 22), (0, 0)), False)],
)  # fmt: skip
def test_what_a_newer_release_tells_otherwise_of_a_trace(releases: Any, passes: bool) -> None:
    """An end that was never there, and previews that stand in the metadata: only from MLflow 2 to 3."""
    running = [an_entity("trace", state="IN_PROGRESS", times={"request": 5, "duration": one}) for one in (0, None)]
    changed = ("duration", "mismatch", "trace.times", 0, None, "")
    assert _strict("times", *running, releases=releases) == [END if passes else changed]
    names = {"mlflow.traceInputs": "q", "mlflow.traceOutputs": "a"}
    told_of = [an_entity("trace", metadata=names, previews=one) for one in ({"request": "q", "response": "a"}, {})]
    found = _strict("previews", *told_of, releases=releases)
    assert found == [
        ("request", "expected", "trace.previews.of-metadata", "q", None,
         "it stands in the metadata, mlflow.traceInputs, on both sides"),
        ("response", "expected", "trace.previews.of-metadata", "a", None,
         "it stands in the metadata, mlflow.traceOutputs, on both sides"),
    ] if passes else [("request", "missing", "trace.previews", "q", None, ""),
                      ("response", "missing", "trace.previews", "a", None, "")]  # fmt: skip


@pytest.mark.parametrize(
    ("facet", "ours", "theirs"),
    [
        ("times", {"state": "OK", "times": {"duration": 0}}, {"state": "OK", "times": {}}),
        ("times", {"state": "OK", "times": {"duration": 0}}, {"state": "IN_PROGRESS", "times": {}}),
        ("times", {"state": "IN_PROGRESS", "times": {"duration": 1}}, {"state": "IN_PROGRESS", "times": {}}),
        ("times", {"state": "IN_PROGRESS", "times": {"duration": 0}}, {"state": "IN_PROGRESS",
         "times": {"duration": 2}}),
        ("previews", {"previews": {"request": "q"}, "metadata": {"mlflow.traceInputs": "q"}}, {"metadata": {}}),
        ("previews", {"previews": {"request": "q"}, "metadata": {"mlflow.traceInputs": "p"}},
         {"metadata": {"mlflow.traceInputs": "p"}}),
        ("previews", {"previews": {"request": "q"}, "metadata": {"mlflow.traceInputs": "q"}},
         {"previews": {"request": "r"}, "metadata": {"mlflow.traceInputs": "q"}}),
        ("previews", {"metadata": {}}, {"previews": {"request": "r"}, "metadata": {}}),
        ("previews", {"previews": {"request": "q"}}, {}),
    ],
)  # fmt: skip
def test_what_no_newer_release_explains(facet: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """A trace that did end, and a preview that stands nowhere else, are lost."""
    found = _strict(facet, an_entity("trace", **ours), an_entity("trace", **theirs), releases=UPGRADE)
    assert found is not None
    assert {one[1] for one in found} <= {"mismatch", "missing", "extra"}
    assert found


SCHEMA = "mlflow.trace_schema.version"


@pytest.mark.parametrize(
    ("ours", "theirs", "releases", "passes"),
    [
        ("2", "3", ((2, 22), (3, 0)), True),
        ("1", "3", ((2, 22), (3, 4)), True),
        (None, "3", ((2, 22), (3, 4)), True),
        ("3", "2", ((3, 4), (3, 17)), True),
        ("3", None, ((3, 4), (3, 17)), True),
        ("2", "3", ((2, 22), (3, 5)), False),
        ("2", "3", ((2, 22), (2, 23)), False),
        ("2", "4", ((2, 22), (3, 4)), False),
        ("4", "3", ((2, 22), (3, 4)), False),
        ("3", "3", ((2, 22), (3, 4)), None),
    ],
)
def test_which_schema_a_server_says_of_every_trace(
    ours: str | None, theirs: str | None, releases: Any, passes: bool | None
) -> None:
    """Servers of MLflow 3.0 to 3.4 say 3 whatever is stored; any other change is one."""
    sides = [
        an_entity("trace", metadata={"k": "v"} if one is None else {"k": "v", SCHEMA: one}) for one in (ours, theirs)
    ]
    found = _strict("metadata", *sides, releases=releases)
    if passes is None:
        assert found == []
    elif passes:
        note = "a server of MLflow 3.0 to 3.4 says 3 of every trace"
        assert found == [(SCHEMA, "expected", "trace.metadata.schema-version", ours, theirs, note)]
    else:
        assert [one[:3] for one in found or []] == [(SCHEMA, "mismatch", "trace.metadata")]


def test_files_that_went_on_are_compared_byte_by_byte() -> None:
    """An MLmodel as well: as YAML it would pass with other bytes."""
    files = (Artifact("m/MLmodel", 1, "a", b"x"), Artifact("MLmodel", 1, "a", b"x"), Artifact("a.txt", 1, "b", b"y"))
    bare = same_store.bare(ArtifactTree("r", files, "error"))
    assert [one.content for one in bare.files] == [None, None, b"y"]
    assert (bare.run_id, bare.error, [one.sha256 for one in bare.files]) == ("r", "error", ["a", "a", "b"])


def test_inputs_and_unknown_fields_of_what_went_on() -> None:
    """They are compared as ever, in both directions."""
    assert _strict("other", a_run(other={"a": 1}), a_run(other={"a": 2})) == [("a", "mismatch", "run.other", 1, 2, "")]
    one = DatasetInput("d", "1", "local", "s", "", "", ())
    assert _strict("inputs", a_run(), a_run()) == []
    found = _strict("inputs", a_run(inputs=(one,)), a_run(inputs=(replace(one, digest="2"),)))
    assert found == [("d (no context): digest", "mismatch", "run.inputs", "1", "2", "")]


# --- a rule holds for its kind of move only


def _outcome(state: State, *found: Difference) -> Outcome:
    return Outcome(Row("e", "run", "r", RUN, COPY, "times", state), found)


def test_what_an_import_may_change_is_no_excuse_for_a_store_that_went_on() -> None:
    """The difference becomes a mismatch, keeps what was said of it, and says why it does not pass."""
    first = Difference("a", State.EXPECTED, "run.times.start", 1, 2, "said")
    second = Difference("b", State.EXPECTED, "run.artifact_uri.moved", 1, 2)
    third = Difference("c", State.EXPECTED, "run.times.end", 1, 2)
    passed = _outcome(State.EXPECTED, first, second, third)
    assert next(iter(same_store.refuse([passed], "export-import"))).row.state is State.MISMATCH
    [one] = same_store.refuse([passed], "same-store")
    assert [(found.key, found.state.value, found.note) for found in one.differences] == [
        ("a", "mismatch", "said; not under same-store"), ("b", "expected", ""), ("c", "mismatch",
         "not under same-store"),
    ]  # fmt: skip
    assert (one.row.state, one.row.findings, one.row.rules) == (State.MISMATCH, 2, ("run.artifact_uri.moved",))
    for untouched in (_outcome(State.EXPECTED, second), _outcome(State.MISMATCH, Difference("a", State.MISMATCH, "x"))):
        assert list(same_store.refuse([untouched], "same-store")) == [untouched]


def test_a_row_keeps_its_own_kind_of_red() -> None:
    """A missing run stays missing, whatever else is refused."""
    refused = Difference("a", State.EXPECTED, "run.times.start", 1, 2)
    for before, after in (
        (State.MISSING, State.MISSING), (State.EXTRA, State.EXTRA), (State.UNVERIFIED, State.UNVERIFIED),
        (State.MATCH, State.MISMATCH), (State.EXPECTED, State.MISMATCH), (State.MISMATCH, State.MISMATCH),
    ):  # fmt: skip
        [one] = same_store.refuse([_outcome(before, refused)], "same-store")
        assert one.row.state is after
