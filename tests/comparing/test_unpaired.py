"""Rows of what has no pair: what each says, why it is missing or too many, and what is excused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.memory import Store, run_audit
from support.records import COPY, OTHER, RUN, a_run, an_experiment, links

from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.comparing.unpaired import Held, in_scope, is_default, row, surplus_experiment, unpaired, unread_rows
from mlflow_parity.core.identity.keys import ObjectKey, RunKey
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds import BY_NAME
from mlflow_parity.pairing.matching import Pair, Pairing


def _run(identity: str = RUN, name: str = "r", **given: Any) -> RunKey:
    fields = {"status": "FINISHED", "created": 1_000, "lifecycle_stage": "active", "origin": None, "tagged": False,
              "empty": False, "content": b"c"}  # fmt: skip
    return RunKey(identity, name, **{**fields, **given})


def _object(kind: str, identity: str = "x", **given: Any) -> ObjectKey:
    fields: dict[str, Any] = {"name": identity, "container": "", "created": None, "run": None, "number": None,
                              "origin": None, "natural": b"", "content": b""}  # fmt: skip
    return ObjectKey(kind, identity, **{**fields, **given})


def _rows(kind: str, pairing: Pairing[Any], *facets: str, **given: Any) -> list[tuple[Any, ...]]:
    """Return facet, state, both ids, key, note of each row, and what is said of it."""
    known = given.pop("links", links())
    options: dict[str, Any] = {"cannot": False, "same_store": False, "replaced": lambda run: None}
    done = list(unpaired("here", kind, pairing, facets or ("presence",), known, **{**options, **given}))
    for one in done:
        assert (one.row.experiment, one.row.kind) == ("here", kind)
    return [_plain(one) for one in done]


def _plain(one: Outcome) -> tuple[Any, ...]:
    said = [(found.key, found.state.value, found.rule, found.source, found.target, found.note)
            for found in one.differences]  # fmt: skip
    found = one.row
    return (
        found.facet,
        found.state.value,
        found.name,
        found.source_id,
        found.target_id,
        found.paired_by,
        found.note,
        said,
    )


FINISHED = "FINISHED run, active, started 1970-01-01T00:00:01.000+00:00"


def test_a_missing_run_says_which_and_fails_all_that_hangs_on_it() -> None:
    """One finding says what the run was; each further facet is missing with it, so that no check of it is green."""
    why = "no target run has its source tag, its id, its name and start time, or its content"
    gone = "the run is missing"
    assert _rows("run", Pairing(missing=[_run("2"), _run("1")]), "presence", "params") == [
        ("presence", "missing", "r", "1", None, "", "", [("", "missing", "run.presence", FINISHED, None, why)]),
        ("params", "missing", "r", "1", None, "", gone, []),
        ("presence", "missing", "r", "2", None, "", "", [("", "missing", "run.presence", FINISHED, None, why)]),
        ("params", "missing", "r", "2", None, "", gone, []),
    ]
    assert _rows("run", Pairing(missing=[_run("1")]), "params") == [("params", "missing", "r", "1", None, "", gone, [])]


@pytest.mark.parametrize(
    ("item", "known", "why"),
    [
        (an_experiment(), {}, "no experiment on the target has its source tag or its name"),
        (an_experiment(), {"same_store": True}, "no experiment on the target has its id"),
        (_run(), {"same_store": True}, "no run of this experiment on the target has its id"),
        (_object("workspace"), {},
         "nothing of it was read; audit each workspace by itself: set SOURCE_MLFLOW_WORKSPACE "
                                   "and TARGET_MLFLOW_WORKSPACE"),
        (_object("scorer"), {"cannot": True}, "the target's MLflow cannot hold scorers (they came with {since})"),
        (_object("scorer"), {}, "{none}"),
        (_object("model_version"), {}, "{none}; it has no run"),
        (_object("logged_model"), {}, "{none}; it has no run"),
        (_object("trace", run=RUN), {}, "{none}"),
        (_object("trace", run="d"), {"links": links(stages={"d": "deleted"})},
         "{none}; its run d is deleted at the source"),
        (_object("trace", run="d"), {}, "{none}; its run d is not on the source any more"),
        (_object("trace", run="d"), {"links": links(complete=False)}, "{none}"),
        (_object("trace", run="d"), {"links": links(stages={"d": "active"})}, "{none}; its run d has no copy either"),
    ],
)  # fmt: skip
def test_why_an_object_is_missing(item: Any, known: dict[str, Any], why: str) -> None:
    """What nothing on the target has in common with it, or what it hung on: where a user begins to search."""
    [(*_, said)] = _rows(item.kind, Pairing(missing=[item]), **known)
    none = "no target object has its id, its source tags, its natural key or its content"
    assert said[0][-1] == why.format(none=none, since=BY_NAME[item.kind].since)


def test_ambiguous_ones_are_named_on_both_sides() -> None:
    """Nothing is guessed: all that could be the copy are named, on both sides."""
    pairing: Pairing[Any] = Pairing(
        ambiguous=[
            ((_object("trace", "a"), _object("trace", "b")), (_object("trace", "c"), _object("trace", "d")), "name")
        ]
    )
    note = "2 source and 2 target traces have the same name and other contents: c, d"
    alike = "one of 2 alike by name"
    rows = [(facet, state, source, target, [one[-1] for one in said], by, told)
            for facet, state, _, source, target, by, told, said in _rows("trace", pairing, "presence",
             "state")]  # fmt: skip
    unclear = "the trace is ambiguous"
    assert rows == [
        ("presence", "ambiguous", "a", None, [note], "", ""), ("state", "ambiguous", "a", None, [], "", unclear),
        ("presence", "ambiguous", "b", None, [note], "", ""), ("state", "ambiguous", "b", None, [], "", unclear),
        ("presence", "ambiguous", None, "c", [alike], "", ""), ("presence", "ambiguous", None, "d", [alike], "", ""),
    ]  # fmt: skip
    assert [row[:2] for row in _rows("trace", pairing, "state")] == [("state", "ambiguous")] * 2


def test_duplicates_and_extra_ones_are_told_apart() -> None:
    """A further copy names the pair that stands; what nothing explains says why, and a filled gap is one."""
    pairing: Pairing[Any] = Pairing(
        pairs=[Pair(_object("model_version", "m/3", number=3), _object("model_version", "m/9", number=9), "content")],
        duplicates=[Pair(_object("model_version", "m/3"), _object("model_version", "m/8"), "content"),
                    Pair(_object("model_version", "m/4"), _object("model_version", "m/7"), "name")],
        missing=[_object("model_version", "m/5", number=5)],
        extra=[(_object("model_version", f"m/{n}", number=n, created=n), "nobody knows it") for n in (6, 5, 4, 3, 2)],
    )  # fmt: skip
    rows = _rows("model_version", pairing)[1:]
    copy = "a further copy (content); the model version is paired with m/9"
    rule = "model_version.presence"
    assert rows[0] == (
        "presence", "duplicate", "m/3", "m/3", "m/8", "content", "",
        [("", "duplicate", rule, "model version m/3", "model version m/8", copy)],
    )  # fmt: skip
    assert rows[1][-1][0][-1] == "a further copy (name); the model version is paired with none"
    gap = "nobody knows it; the source has a gap at number {}: that version was deleted there".format
    made = "model version m/{0}, made 1970-01-01T00:00:00.00{0}+00:00".format
    assert [(one[4], one[-1][0][4], one[-1][0][-1]) for one in rows[2:]] == [
        (f"m/{number}", made(number), gap(number) if number in (2, 4) else "nobody knows it") for number in range(2, 7)
    ]
    alone: Pairing[Any] = Pairing(extra=[(_object("model_version", "m/2", number=2), "why")])
    assert _rows("model_version", alone)[0][-1][0][-1] == "why"
    assert rows[2][:4] == ("presence", "extra", "m/2", None)
    assert rows[2][-1][0][1:4] == ("extra", rule, None)
    assert _rows("model_version", pairing, "number") == [
        ("number", "missing", "m/5", "m/5", None, "", "the model version is missing", [])
    ]


def test_only_a_deleted_copy_that_a_repair_replaced_is_excused() -> None:
    """MLflow removes no run for good: the former copy may lie in the trash, and nothing else may."""
    pairs = [Pair(_run(RUN), _run(COPY), "source-tag")]
    former = _run(OTHER, lifecycle_stage="deleted")

    def judged(run: RunKey, of: str | None = RUN, **given: Any) -> tuple[Any, ...]:
        [one] = _rows(
            "run",
            Pairing(pairs=pairs, extra=[(run, "why")]),
            replaced=lambda asked: of if asked == run else None,
            **given,
        )
        return one[1], one[-1][0][2], one[-1][0][-1]

    assert judged(former) == ("expected", "run.presence.replaced", f"it was replaced by {COPY}")
    extra = ("extra", "run.presence", "why")
    assert judged(former, "another") == judged(former, None) == judged(former, same_store=True) == extra
    assert judged(_run(OTHER)) == extra


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (_run(created=None), "FINISHED run, active, started unknown"),
        (_run(created=1_700_000_000_123, status="FAILED", lifecycle_stage="deleted"),
         "FAILED run, deleted, started 2023-11-14T22:13:20.123+00:00"),
        (_run(created=10**18), f"FINISHED run, active, started at {10**18} ms"),
        (_object("trace", "t"), "trace t"),
        (_object("trace", "t", name="", created=5), "trace (unnamed), made 1970-01-01T00:00:00.005+00:00"),
    ],
)  # fmt: skip
def test_which_object_it_was(item: Any, said: str) -> None:
    """Beside name and id: what lets somebody recognize it."""
    [(*_, found)] = _rows(item.kind, Pairing(missing=[item]))
    assert found[0][3] == said


def test_an_experiment_is_described_too() -> None:
    """By name, stage and time: two experiments of one name are told apart by these."""
    [(*_, found)] = _rows("experiment", Pairing(missing=[an_experiment(creation_time=5)]))
    assert found[0][3] == "experiment e, active, made 1970-01-01T00:00:00.005+00:00"
    [(*_, found)] = _rows("experiment", Pairing(missing=[an_experiment(creation_time=None)]))
    assert found[0][3] == "experiment e, active"


def test_rows_name_runs_and_objects_by_what_people_call_them() -> None:
    """A run without a name has none; an object without one is called by its id."""
    one = row("here", "trace", _object("trace", "t", name=""), _object("trace", "u"), "state", State.MATCH, "name", "n")
    assert (one.name, one.source_id, one.target_id, one.paired_by, one.note) == ("t", "t", "u", "name", "n")
    assert row("here", "run", _run(name=""), None, "tags", State.MISSING).name == ""
    assert row("here", "trace", None, _object("trace", "u"), "state", State.EXTRA).name == "u"


def test_a_kind_that_could_not_be_listed_is_unverified_in_each_facet() -> None:
    """Nothing of it was seen, so nothing of it is green."""
    done = list(unread_rows("here", "scorer", {"definition", "presence"}, "denied", note="by the server"))
    assert [_plain(one) for one in done] == [
        (facet, "unverified", "(all scorers)", None, None, "", "by the server",
         [("", "unverified", f"scorer.{facet}", None, None, "denied")])
        for facet in ("presence", "definition")
    ]  # fmt: skip
    assert {(one.row.experiment, one.row.kind) for one in done} == {("here", "scorer")}
    assert [one.row.note for one in unread_rows("here", "scorer", {"presence"}, "denied")] == [""]


def test_deleted_runs_are_out_of_scope_only_where_both_are() -> None:
    """A deleted copy of a run that is there is a loss at the next clean-up; one that is alone is no matter."""
    here, trash = _run("a"), _run("b", lifecycle_stage="deleted")
    pairing = Pairing(
        [Pair(here, trash, "x"), Pair(trash, here, "x"), Pair(trash, trash, "x"), Pair(here, here, "x")],
        [here, trash], [(here, "w"), (trash, "w")], [Pair(trash, here, "x"), Pair(here, trash, "x")], [((here,),
         (trash,), "x")],
    )  # fmt: skip
    left = in_scope(pairing)
    assert left.pairs == [pairing.pairs[0], pairing.pairs[1], pairing.pairs[3]]
    assert (left.missing, left.extra, left.duplicates) == ([here], [(here, "w")], [Pair(trash, here, "x")])
    assert left.ambiguous == pairing.ambiguous
    # nothing of it can be a copy of what is there, or have one that is
    assert in_scope(Pairing(ambiguous=[((trash, trash), (trash,), "x")])).ambiguous == []
    mixed = [((trash, here), (trash,), "x"), ((trash,), (trash, here), "x")]
    assert in_scope(Pairing(ambiguous=mixed)).ambiguous == mixed


def _alike(stage: str, params: str) -> Store:
    """Two runs of one name and start with different params, that no source tag tells apart, and a third one."""
    store = Store([an_experiment()], [a_run(run_id=OTHER, name="third")])
    for number, value in enumerate(params):
        given = {"params": {"lr": value}, "lifecycle_stage": stage}
        store.runs.append(a_run(run_id=f"{value}{number}" * 16, **given))
    return store


@pytest.mark.parametrize(
    ("stage", "include", "red"), [("deleted", False, 0), ("deleted", True, 4), ("active", False, 4)]
)
def test_runs_in_the_trash_that_cannot_be_told_apart_are_out_of_scope(stage: str, include: bool, red: int) -> None:
    """Without --parity-include-deleted they were four findings of an audit in which they are not."""
    done = run_audit(_alike(stage, "12"), _alike(stage, "34"), include_deleted=include, checks=["runs_arrived_once"])
    states = [row.state for row in done.rows if (row.kind, row.facet) == ("run", "presence")]
    assert sorted(states) == sorted([State.MATCH, *[State.AMBIGUOUS] * red])
    assert done.result.green is (red == 0)


# --- experiments that the target has beside

DEFAULT = an_experiment(experiment_id="0", name="Default")


def _tagged(key: str) -> Any:
    return replace(DEFAULT, tags={key: "x"})


@pytest.mark.parametrize(
    ("held", "nothing", "said"),
    [
        (Held({"runs": 0, "traces": 0}), True, "0 runs"),
        (Held({"runs": 1, "traces": 2}), False, "1 run, 2 traces"),
        (Held({"runs": 0, "logged models": 1}), False, "0 runs, 1 logged model"),
        (Held({"runs": 3, "traces": 4}, {"runs"}), False, "at least 3 runs, 4 traces"),
        (Held({"runs": 0}, (), {"traces": "denied", "scorers": "gone"}), True,
         "0 runs, unknown traces: denied, unknown scorers: gone"),
    ],
)  # fmt: skip
def test_what_an_experiment_holds(held: Held, nothing: bool, said: str) -> None:
    """Whether anything of an extra experiment matters is seen by what is in it."""
    assert (held.nothing, str(held)) == (nothing, said)


@pytest.mark.parametrize(
    ("experiment", "held", "found"),
    [
        (DEFAULT, Held({"runs": 0}), ("expected", "experiment.presence.default", "every server makes it")),
        (DEFAULT, Held({"runs": 1}), ("extra", "experiment.presence", "why; 1 run")),
        (DEFAULT, Held({"runs": 0}, (), {"traces": "denied"}),
         ("unverified", "experiment.presence", "why; 0 runs, unknown traces: denied")),
        (DEFAULT, Held({"runs": 1}, (), {"traces": "denied"}),
         ("extra", "experiment.presence", "why; 1 run, unknown traces: denied")),
        (_tagged("mlflow.x"), Held({"runs": 0}), ("expected", "experiment.presence.default", "every server makes it")),
        (_tagged("team"), Held({"runs": 0}), ("extra", "experiment.presence", "why; 0 runs")),
        (_tagged("mlflow.note.content"), Held({"runs": 0}, (), {"traces": "denied"}),
         ("extra", "experiment.presence", "why; 0 runs, unknown traces: denied")),
        (an_experiment(), Held({"runs": 0}), ("extra", "experiment.presence", "why; 0 runs")),
        (an_experiment(name="Default"), Held({"runs": 0}), ("extra", "experiment.presence", "why; 0 runs")),
        (an_experiment(experiment_id="0"), Held({"runs": 0}), ("extra", "experiment.presence", "why; 0 runs")),
    ],
)  # fmt: skip
def test_only_an_empty_default_is_every_servers_own(experiment: Any, held: Held, found: tuple[str, str, str]) -> None:
    """Every other experiment that the target has beside is one too many; one that was not read is no pass."""
    [one] = surplus_experiment(experiment, held, "why", State.EXTRA)
    said = f"experiment {experiment.name}, active, made 1970-01-01T00:00:00.005+00:00"
    assert _plain(one) == (
        "presence", found[0], experiment.name, None, experiment.experiment_id, "", "",
        [("", found[0], found[1], None, None if found[0] == "expected" else said, found[2])],
    )  # fmt: skip
    assert one.row.experiment == experiment.name
    assert (one.row.kind, one.row.findings) == ("experiment", int(found[0] != "expected"))
    assert is_default(experiment) == (replace(experiment, tags=DEFAULT.tags) == DEFAULT)
