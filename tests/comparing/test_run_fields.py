"""Fields of experiments and runs one by one: what is said of each difference, word for word."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.records import COPY, OTHER, RUN, Told, a_copy, a_run, an_experiment, told

from mlflow_parity.comparing import fields
from mlflow_parity.core.records import DatasetInput, Experiment, Run
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces

INFO, FIELD, TAG = "mlflow_exim.run_info.", "mlflow_exim.field.", "mlflow_exim.mlflow_tag."
NAME, NOTE, USER = "mlflow.runName", "mlflow.note.content", "mlflow.user"


@pytest.mark.parametrize(
    ("facet", "ours", "theirs", "found"),
    [
        ("name", a_run(name=""), a_copy(name="fox"), [("run_name", "expected", "run.name.generated", "", "fox", "")]),
        ("name", a_run(name="r"), a_copy(name="s"), [("run_name", "mismatch", "run.name", "r", "s", "")]),
        ("name", a_run(name="r"), a_copy(name=""), [("run_name", "mismatch", "run.name", "r", "", "")]),
        ("name", a_run(name=""), a_copy(name=""), []),
        ("name", a_run(), a_copy(), []),
        ("status", a_run(), a_copy(status="FAILED"),
         [("status", "mismatch", "run.status", "FINISHED", "FAILED", "")]),
        ("lifecycle", a_run(), a_copy(lifecycle_stage="deleted"),
         [("lifecycle_stage", "mismatch", "run.lifecycle", "active", "deleted", "")]),
        ("params", a_run(params={"a": "1", "b": "2", "d": "4"}), a_copy(params={"a": "1", "b": "3", "c": "5"}),
         [("b", "mismatch", "run.params", "2", "3", ""), ("c", "extra", "run.params", None, "5", ""),
          ("d", "missing", "run.params", "4", None, "")]),
        ("note", a_run(tags={NOTE: "n"}), a_copy(tags={NOTE: "o"}), [(NOTE, "mismatch", "run.note", "n", "o", "")]),
        ("note", a_run(tags={NOTE: "n"}), a_copy(), [(NOTE, "missing", "run.note", "n", None, "")]),
        ("note", a_run(), a_copy(tags={NOTE: "o"}), [(NOTE, "extra", "run.note", None, "o", "")]),
        ("note", a_run(tags={"a": "b"}), a_copy(), []),
        # times: by the word of the source tag, and only where the tool made the copy
        ("times", a_run(), a_copy(start_time=11, end_time=21,
                                  tags={f"{INFO}start_time": "10", f"{INFO}end_time": "20"}),
         [("start_time", "expected", "run.times.start", 10, 11, f"original kept in {INFO}start_time"),
          ("end_time", "expected", "run.times.end", 20, 21, f"original kept in {INFO}end_time")]),
        ("times", a_run(), a_copy(start_time=11, end_time=21, tags={f"{INFO}start_time": "9"}),
         [("start_time", "mismatch", "run.times", 10, 11, "source tag says 9"),
          ("end_time", "mismatch", "run.times", 20, 21, "no source tag keeps the original")]),
        ("times", a_run(), a_run(run_id=COPY, end_time=21, tags={f"{INFO}end_time": "20"}),
         [("end_time", "mismatch", "run.times", 20, 21, "source tag says 20")]),
        ("times", a_run(), a_run(end_time=21, tags={f"{INFO}run_id": RUN, f"{INFO}end_time": "20"}),
         [("end_time", "mismatch", "run.times", 20, 21, "source tag says 20")]),
        ("times", a_run(), a_copy(), []),
        # users
        ("user", a_run(tags={USER: "ada"}), a_copy(user_id="ci", tags={USER: "ci", f"{INFO}user_id": "ada",
                                                                      f"{TAG}user": "ada"}),
         [("user_id", "expected", "run.user.import", "ada", "ci", f"original kept in {INFO}user_id"),
          (USER, "expected", "run.user.import", "ada", "ci", f"original kept in {TAG}user")]),
        ("user", a_run(user_id=""), a_copy(user_id="ci", tags={USER: "ci"}),
         [("user_id", "expected", "run.user.import", None, "ci", "the source has none"),
          (USER, "expected", "run.user.import", None, "ci", "the source has none")]),
        ("user", a_run(tags={USER: "ada"}), a_copy(user_id="", tags={f"{INFO}user_id": "eve"}),
         [("user_id", "mismatch", "run.user", "ada", None, ""), (USER, "mismatch", "run.user", "ada", None, "")]),
        ("user", a_run(user_id=""), a_run(run_id=COPY, user_id="ci"),
         [("user_id", "mismatch", "run.user", None, "ci", "")]),
        ("user", a_run(user_id=""), a_copy(user_id=""), []),
        ("user", a_run(tags={USER: "ada"}), a_copy(tags={USER: "ci"}), [(USER, "mismatch", "run.user", "ada", "ci",
         "")]),
        # tags
        ("tags", a_run(tags={"a": "1", NOTE: "n", USER: "u", "mlflow.parentRunId": "p"}), a_copy(tags={"a": "2"}),
         [("a", "mismatch", "run.tags", "1", "2", "")]),
        ("tags", a_run(tags={f"{FIELD}x": "1", f"{FIELD}y": "1"}),
         a_run(run_id=COPY, tags={f"{FIELD}x": "2", f"{FIELD}z": "3"}),
         [(f"{FIELD}x", "mismatch", "run.tags", "1", "2", ""), (f"{FIELD}y", "missing", "run.tags", "1", None, "")]),
        ("tags", a_run(tags={f"{FIELD}x": "1"}), a_copy(tags={f"{FIELD}x": "2"}), []),
        ("tags", a_run(name=""), a_copy(name="fox", tags={NAME: "fox"}),
         [(NAME, "expected", "run.name.generated", None, "fox", "")]),
        ("tags", a_run(name=""), a_copy(name="fox", tags={NAME: "ox"}), [(NAME, "extra", "run.tags", None, "ox", "")]),
        ("tags", a_run(name=""), a_copy(name=""), []),
        ("tags", a_run(name="r"), a_copy(name="r", tags={NAME: "r"}), [(NAME, "extra", "run.tags", None, "r", "")]),
        ("tags", a_run(name="", tags={NAME: "x"}), a_copy(name="fox", tags={NAME: "fox"}),
         [(NAME, "mismatch", "run.tags", "x", "fox", "")]),
        ("tags", a_run(tags={NAME: "old", "a": "1"}), a_copy(tags={NAME: "r", f"{TAG}runName": "old", "a": "1"}),
         [(NAME, "expected", "run.name.tag", "old", "r", f"original kept in {TAG}runName")]),
        ("tags", a_run(tags={NAME: "r"}), a_copy(name="s", tags={NAME: "s", f"{TAG}runName": "r"}),
         [(NAME, "mismatch", "run.tags", "r", "s", "")]),
        ("tags", a_run(tags={NAME: "r"}), a_copy(tags={NAME: "r", f"{TAG}runName": "r"}), []),
        ("tags", a_run(tags={NAME: "old"}), a_copy(name="s", tags={NAME: "r", f"{TAG}runName": "old"}),
         [(NAME, "mismatch", "run.tags", "old", "r", "")]),
        ("tags", a_run(tags={NAME: "old"}), a_run(run_id=COPY, tags={NAME: "r", f"{TAG}runName": "old"}),
         [(NAME, "mismatch", "run.tags", "old", "r", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_field_of_a_run(facet: str, ours: Run, theirs: Run, found: list[Told]) -> None:
    """Which field, both values, under which rule it passes or does not, and why: what a user acts upon."""
    assert told(getattr(fields, f"run_{facet}")(ours, theirs)) == found


KEPT = {
    f"{INFO}run_id": RUN, f"{INFO}experiment_id": "1", f"{INFO}status": "FINISHED", f"{INFO}start_time": "10",
    f"{INFO}end_time": "20", f"{INFO}lifecycle_stage": "active", f"{INFO}artifact_uri": f"s3://old/1/{RUN}/artifacts",
}  # fmt: skip
RULE = "run.source_tags"


@pytest.mark.parametrize(
    ("ours", "tags", "found"),
    [
        (a_run(), KEPT, []),
        *((a_run(), {key: value for key, value in KEPT.items() if key != gone},
           [(gone, "missing", RULE, KEPT[gone], None, "")]) for gone in KEPT if gone != f"{INFO}run_id"),
        *((a_run(), {**KEPT, key: "another"}, [(key, "mismatch", RULE, KEPT[key], "another", "")])
          for key in KEPT if key != f"{INFO}run_id"),
        # what the tool may write besides must be true
        (a_run(), {**KEPT, f"{INFO}user_id": "ada", f"{INFO}run_name": "r"}, []),
        (a_run(), {**KEPT, f"{INFO}user_id": "eve", f"{INFO}run_name": "s"},
         [(f"{INFO}run_name", "mismatch", RULE, "r", "s", ""), (f"{INFO}user_id", "mismatch", RULE, "ada", "eve", "")]),
        # tags of MLflow are kept under their names without the prefix, all of its occurrences
        (a_run(tags={"mlflow.a.mlflow.b": "1", "team": "x"}), {**KEPT, f"{TAG}a.b": "1"}, []),
        (a_run(tags={"mlflow.a": "1"}), KEPT, [(f"{TAG}a", "missing", RULE, "1", None, "")]),
        (a_run(tags={"mlflow.a": "1"}), {**KEPT, f"{TAG}a": "2"}, [(f"{TAG}a", "mismatch", RULE, "1", "2", "")]),
        # an own tag of the source's first migration stays
        (a_run(tags={f"{TAG}a": "1"}), {**KEPT, f"{TAG}a": "1"}, []),
        (a_run(tags={f"{TAG}a": "1"}), {**KEPT, f"{TAG}a": "2"}, [(f"{TAG}a", "extra", RULE, None, "2", "")]),
        (a_run(), {**KEPT, f"{TAG}a": "2", f"{INFO}newer": "x"}, [(f"{TAG}a", "extra", RULE, None, "2", "")]),
        # hops before this one
        (a_run(tags={f"{FIELD}k": "v"}), {**KEPT, "mlflow_exim.hop1.field.k": "v"}, []),
        (a_run(tags={f"{FIELD}k": "v"}), {**KEPT, "mlflow_exim.hop1.field.k": "w"},
         [("mlflow_exim.hop1.field.k", "mismatch", RULE, "v", "w", "")]),
        (a_run(tags={"mlflow_exim.hop1.field.k": "v"}), {**KEPT, "mlflow_exim.hop1.field.k": "v"}, []),
        (a_run(tags={"mlflow_exim.hop1.field.k": "v"}), {**KEPT, "mlflow_exim.hop2.field.k": "v"}, []),
        (a_run(tags={"mlflow_exim.hop1.field.k": "v"}), KEPT,
         [("mlflow_exim.hop1.field.k", "missing", RULE, "v", None, "")]),
        # the tool writes its own over the source's, but for formatted times that is a loss with a name
        (a_run(tags={f"{INFO}end_time": "5", f"{INFO}_end_time": "noon", f"{INFO}status": "FINISHED"}),
         {**KEPT, f"{INFO}_end_time": "midnight"}, [(f"{INFO}end_time", "expected", f"{RULE}.hops", "5", "20", "")]),
        (a_run(tags={f"{FIELD}k": "v"}), KEPT, [(f"{FIELD}k", "missing", RULE, "v", None, "")]),
        # what is said of a tag is said once
        (a_run(tags={f"{INFO}end_time": "5"}), {**KEPT, f"{INFO}end_time": "21"},
         [(f"{INFO}end_time", "mismatch", RULE, "20", "21", "")]),
    ],
)  # fmt: skip
def test_the_source_tags_of_a_run_are_complete_and_true(ours: Run, tags: dict[str, str], found: list[Told]) -> None:
    """They are what is left of the original's times, users and places: each that lacks or lies is named."""
    copy = replace(a_copy(start_time=11), tags=tags)
    assert told(fields.run_source_tags(ours, copy)) == found


def test_source_tags_of_what_the_tool_did_not_make_are_plain_content() -> None:
    """A run under its own id, or one with the same times and tags, was not created by the tool: nothing is required."""
    expected: list[Told] = [("", "expected", "run.source_tags.not-created", None, None, "")]
    assert told(fields.run_source_tags(a_run(), a_run(start_time=11))) == expected
    assert told(fields.run_source_tags(a_run(), a_run(run_id=COPY, experiment_id="7"))) == expected
    kept = {f"{FIELD}k": "v"}
    assert told(fields.run_source_tags(a_run(tags=kept), a_run(tags={f"{FIELD}k": "w"}))) == [
        (f"{FIELD}k", "mismatch", RULE, "v", "w", "")
    ]
    for other in (a_run(run_id=COPY, start_time=11), a_run(run_id=COPY, end_time=11), a_run(run_id=COPY, tags=kept)):
        assert {one.state.value for one in fields.run_source_tags(a_run(), other)} == {"missing"}


def _input(name: str = "d", digest: str = "1", context: str = "", **given: Any) -> DatasetInput:
    tags = (("mlflow.data.context", context),) if context else ()
    return replace(DatasetInput(name, digest, "local", "src", "sch", "pro", tags), **given)


def _told(one: DatasetInput) -> dict[str, object]:
    return {"name": one.name, "digest": one.digest, "source_type": one.source_type, "source": one.source,
            "schema": one.schema, "profile": one.profile, "tags": dict(one.tags)}  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ([_input()], [_input()], []),
        ([_input(), _input("e")], [_input("e"), _input()], []),
        ([_input()], [], [("d (no context)", "missing", "run.inputs", _told(_input()), None, "")]),
        ([], [_input(context="eval")],
         [("d (eval)", "extra", "run.inputs", None, _told(_input(context="eval")), "")]),
        ([_input(), _input()], [_input()],
         [("d (no context)", "expected", "run.inputs.repeated", _told(_input()), None, "")]),
        ([_input("c"), _input("c"), _input("d")], [_input("c"), _input("d", "2")],
         [("c (no context)", "expected", "run.inputs.repeated", _told(_input("c")), None, ""),
          ("d (no context): digest", "mismatch", "run.inputs", "1", "2", "")]),
        ([_input(context="train")], [_input("d", "2", "train", schema="x")],
         [("d (train): digest", "mismatch", "run.inputs", "1", "2", ""),
          ("d (train): schema", "mismatch", "run.inputs", "sch", "x", "")]),
        ([_input("d", "1")], [_input("x", "1"), _input("d", "2")],
         [("d (no context): digest", "mismatch", "run.inputs", "1", "2", ""),
          ("x (no context)", "extra", "run.inputs", None, _told(_input("x", "1")), "")]),
        ([_input(source_type="s", source="a", profile="p")], [_input(source_type="t", source="b", profile="q")],
         [("d (no context): source_type", "mismatch", "run.inputs", "s", "t", ""),
          ("d (no context): source", "mismatch", "run.inputs", "a", "b", ""),
          ("d (no context): profile", "mismatch", "run.inputs", "p", "q", "")]),
        ([_input(context="a")], [_input(context="b")],
         [("d (a): tags", "mismatch", "run.inputs", {"mlflow.data.context": "a"}, {"mlflow.data.context": "b"}, "")]),
        # a key twice is more than a mapping holds
        ([replace(_input(), tags=(("k", "2"), ("k", "1")))], [replace(_input(), tags=(("k", "1"),))],
         [("d (no context): tags", "mismatch", "run.inputs", [("k", "1"), ("k", "2")], {"k": "1"}, "")]),
        # an evaluation dataset keeps the id that was logged, and passes with its rule's name
        ([_input(source_type="mlflow_evaluation_dataset"), _input("e", source_type="mlflow_evaluation_dataset")],
         [_input(source_type="mlflow_evaluation_dataset"), _input("e", "2", source_type="mlflow_evaluation_dataset")],
         [("d (no context)", "expected", "run.inputs.evaluation-dataset", "src", "src", ""),
          ("e (no context): digest", "mismatch", "run.inputs", "1", "2", "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_dataset_input(
    ours: list[DatasetInput], theirs: list[DatasetInput], found: list[Told]
) -> None:
    """Which input, and which field of it; what is there once more on the source is named, too."""
    assert told(fields.run_inputs(a_run(inputs=tuple(ours)), a_run(run_id=COPY, inputs=tuple(theirs)))) == found


SOURCES = "the copy keeps its files in the source's place: they go when the source goes"
IN_STORE = "the copy's files are in the source's place: they go when the source goes"
NAMES = "the copy's location names the source's run"
OWN = f"s3://old/1/{RUN}/artifacts"


@pytest.mark.parametrize(
    ("ours", "theirs", "copy", "note"),
    [
        (OWN, f"s3://new/7/{COPY}/artifacts", COPY, None),
        (OWN, f"s3://new/7/{RUN}/artifacts", COPY, NAMES),
        ("s3://x/y", "s3://x/y/", COPY, SOURCES),
        ("s3://x/y", "s3://x/y", COPY, SOURCES),
        ("mlflow-artifacts:/1/a", "mlflow-artifacts:/1/a", COPY, None),
        (OWN, f"s3://store/1/{COPY}/artifacts", COPY, IN_STORE),
        (OWN, f"s3://new/7/{OTHER}/artifacts", COPY, f"it is the place of run {OTHER}"),
        # the same run once more: its own place, or the same tail behind another root
        (OWN, OWN, RUN, None),
        (OWN, f"s3://new/1/{RUN}/artifacts", RUN, None),
        (OWN, f"s3://new/1/{RUN}/other", RUN, ""),
        (OWN, "s3://new/1/artifacts", RUN, ""),
        ("s3://x/artifacts", f"s3://new/1/{RUN}/artifacts", RUN, ""),
        (f"s3://a/{RUN}/b/{RUN}/c", f"s3://z/{RUN}/b/{RUN}/c", RUN, None),
        (f"s3://a/{RUN}/x/{RUN}/c", f"s3://z/{RUN}/b/{RUN}/c", RUN, ""),
        (OWN, f"s3://store/1/{RUN}/artifacts", RUN, IN_STORE),
    ],
)
def test_where_the_copy_of_a_run_keeps_its_files(ours: str, theirs: str, copy: str, note: str | None) -> None:
    """A copy in the source's place, or in another run's, loses its files with it; a restored one may move."""
    places = CopyPlaces(frozenset({"s3://store/1"}))
    found = fields.run_artifact_uri(a_run(artifact_uri=ours), a_run(run_id=copy, artifact_uri=theirs), places)
    wanted = [] if note is None else [("artifact_uri", "mismatch", "run.artifact_uri", ours, theirs, note)]
    assert told(found) == wanted


def test_two_runs_in_one_place_are_told_unless_they_shared_one_before() -> None:
    """What is written for one of them is written for the other."""
    places = CopyPlaces()

    def judged(run: str, copy: str, ours: str) -> list[str]:
        sides = a_run(run_id=run, artifact_uri=ours), a_run(run_id=copy, artifact_uri="/NEW/0")
        return [one.note for one in fields.run_artifact_uri(*sides, places)]

    assert judged(RUN, COPY, "s3://old/a") == []
    assert judged("p", "q" * 32, "s3://old/a") == []
    assert judged("y", "z" * 32, "s3://old/b") == [f"it is also the place of run {COPY}, the copy of {RUN}"]


# --- experiments

_E = an_experiment
MADE = {
    f"{FIELD}experiment_id": "1", f"{FIELD}name": "e", f"{FIELD}artifact_location": "s3://old/1",
    f"{FIELD}lifecycle_stage": "active", f"{FIELD}creation_time": "5",
}  # fmt: skip
DEFAULT = _E(experiment_id="0", name="Default")


def _new(**given: object) -> Experiment:
    """The copy of the experiment by the tool."""
    return _E(**{"experiment_id": "7", "creation_time": 50, "artifact_location": "s3://new/7", "tags": MADE, **given})


@pytest.mark.parametrize(
    ("facet", "ours", "theirs", "found"),
    [
        ("name", _E(), _E(name="f"), [("name", "mismatch", "experiment.name", "e", "f", "")]),
        ("lifecycle", _E(), _E(lifecycle_stage="deleted"),
         [("lifecycle_stage", "mismatch", "experiment.lifecycle", "active", "deleted", "")]),
        ("tags", _E(tags={"a": "1", NOTE: "n", f"{FIELD}x": "1"}), _E(tags={"a": "2", NOTE: "m", f"{FIELD}x": "2"}),
         [("a", "mismatch", "experiment.tags", "1", "2", "")]),
        ("note", _E(tags={NOTE: "n", "a": "1"}), _E(tags={NOTE: "m", "a": "2"}),
         [(NOTE, "mismatch", "experiment.note", "n", "m", "")]),
        ("source_tags", _E(), _new(), []),
        *(("source_tags", _E(), _new(tags={**MADE, key: "z"}), [(key, "mismatch", "experiment.source_tags",
                                                                 MADE[key], "z", "")]) for key in MADE),
        *(("source_tags", _E(), _new(tags={one: value for one, value in MADE.items() if one != key}),
           [(key, "missing", "experiment.source_tags", MADE[key], None, "")]) for key in MADE),
        ("source_tags", _E(), _new(tags={**MADE, f"{FIELD}last_update_time": "6"}), []),
        ("source_tags", _E(), _new(tags={**MADE, f"{FIELD}last_update_time": "7"}),
         [(f"{FIELD}last_update_time", "mismatch", "experiment.source_tags", "6", "7", "")]),
        ("source_tags", DEFAULT, replace(DEFAULT, creation_time=9),
         [("", "expected", "experiment.source_tags.default", None, None, "")]),
        ("source_tags", _E(), _E(), [("", "expected", "experiment.source_tags.not-created", None, None, "")]),
        ("source_tags", _E(tags=MADE), _E(tags={**MADE, f"{FIELD}name": "f"}),
         [(f"{FIELD}name", "mismatch", "experiment.source_tags", "e", "f", "")]),
        ("source_tags", DEFAULT, replace(DEFAULT, tags={f"{FIELD}name": "f"}),
         [(f"{FIELD}name", "extra", "experiment.source_tags", None, "f", "")]),
        ("times", _E(), _new(), [("creation_time", "expected", "experiment.times.creation", 5, 50,
         "source tag says 5")]),
        ("times", _E(), _new(tags={**MADE, f"{FIELD}creation_time": "4"}),
         [("creation_time", "mismatch", "experiment.times.creation", 5, 50, "source tag says 4")]),
        ("times", _E(), _new(tags={**MADE, f"{FIELD}experiment_id": "2"}),
         [("creation_time", "mismatch", "experiment.times.creation", 5, 50,
          "its source tags do not keep the original")]),
        ("times", DEFAULT, replace(DEFAULT, creation_time=9, last_update_time=9),
         [("creation_time", "expected", "experiment.times.default", 5, 9, ""),
          ("last_update_time", "expected", "experiment.times.update", 6, 9, "")]),
        ("times", _E(), _new(tags={}), [("creation_time", "expected", "experiment.times.untagged", 5, 50, "")]),
        ("times", _E(), _E(last_update_time=7), [("last_update_time", "expected", "experiment.times.update", 6, 7,
         "")]),
        ("times", _E(), _E(), []),
    ],
)  # fmt: skip
def test_what_is_said_of_a_field_of_an_experiment(
    facet: str, ours: Experiment, theirs: Experiment, found: list[Told]
) -> None:
    """Which field, both values, under which rule it passes or does not, and why."""
    assert told(getattr(fields, f"experiment_{facet}")(ours, theirs)) == found


@pytest.mark.parametrize(
    ("ours", "theirs", "default", "original"),
    [
        (DEFAULT, DEFAULT, True, True),
        (DEFAULT, replace(DEFAULT, creation_time=9), True, False),
        (DEFAULT, replace(DEFAULT, experiment_id="1"), False, True),
        (replace(DEFAULT, name="x"), DEFAULT, False, True),
        (_E(), _E(experiment_id="7"), False, True),
        (_E(), _E(name="f"), False, True),
        (_E(), _E(experiment_id="7", name="f"), False, False),
        (_E(creation_time=None), _E(creation_time=None), False, False),
    ],
)
def test_which_experiment_is_every_servers_own_and_which_went_on(
    ours: Experiment, theirs: Experiment, default: bool, original: bool
) -> None:
    """Only of these nothing is asked that the tool writes: by id and name, and by a time that no API can set."""
    assert (fields.is_default(ours, theirs), fields.is_original(ours, theirs)) == (default, original)


@pytest.mark.parametrize(
    ("ours", "theirs", "note"),
    [
        (_E(), _new(), None),
        (_E(), _new(artifact_location="s3://old/1/"), SOURCES),
        (_E(), _E(), None),
        (_E(), _E(creation_time=6), SOURCES),
        (_E(), _E(experiment_id="7"), SOURCES),
        (_E(artifact_location="mlflow-artifacts:/1"), _new(artifact_location="mlflow-artifacts:/1"), None),
        (_E(), _new(artifact_location="s3://store/1/x"), IN_STORE),
    ],
)
def test_where_the_copy_of_an_experiment_keeps_its_files(
    ours: Experiment, theirs: Experiment, note: str | None
) -> None:
    """New runs are written there: in the source's place they go when the source goes."""
    found = told(fields.experiment_location(ours, theirs, CopyPlaces(frozenset({"s3://store/1"}))))
    sides = ours.artifact_location, theirs.artifact_location
    rule = "experiment.artifact_location"
    assert found == ([] if note is None else [("artifact_location", "mismatch", rule, *sides, note)])


def test_two_experiments_in_one_place_are_told_unless_they_shared_one_before() -> None:
    """Their runs would lie beside each other, and go together."""
    places = CopyPlaces()

    def judged(number: str, ours: str) -> list[str]:
        copy = _new(experiment_id=f"{number}0", artifact_location="s3://new/x")
        sides = _E(experiment_id=number, artifact_location=ours), copy
        return [one.note for one in fields.experiment_location(*sides, places)]

    assert judged("1", "s3://old/a") == judged("2", "s3://old/a") == []
    assert judged("3", "s3://old/b") == ["it is also the place of experiment 10, the copy of 1"]
