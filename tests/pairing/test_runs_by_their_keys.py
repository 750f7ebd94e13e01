"""Experiments and runs by their keys alone: which is the copy of which, by what, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest
from support.records import an_experiment, paired

from mlflow_parity.core.identity.keys import RunKey
from mlflow_parity.core.records import Experiment
from mlflow_parity.pairing.by_kind import RunPairing, pair_experiments, pair_objects, pair_runs, same_experiments

ID, NAME = "mlflow_exim.field.experiment_id", "mlflow_exim.field.name"
OF_ITS_NAME = "no source run has its id, its source tag, its name and start time, or its content"


def _of(
    number: str, name: str, *, made: int | None = 1, of: tuple[str, str] | None = None, tags: Any = None
) -> Experiment:
    named = {} if of is None else {ID: of[0], NAME: of[1]}
    return an_experiment(experiment_id=number, name=name, creation_time=made, tags={**named, **(tags or {})})


def _whole(**given: Any) -> dict[str, Any]:
    return {"pairs": [], "duplicates": [], "missing": [], "extra": [], "ambiguous": [], **given}


def test_experiments_by_id_tag_and_name() -> None:
    """The same one first, then what its source tags name, then its namesake; in the source's order."""
    source = [_of("1", "a"), _of("2", "b"), _of("3", "c"), _of("4", "d"), _of("5", "e", made=None)]
    target = [
        _of("9", "c"), _of("7", "b", made=2, of=("2", "b")), _of("1", "x"), _of("8", "z", made=2, of=("2", "b")),
        _of("4", "q", made=2), _of("5", "y", made=None), _of("6", "w", of=("2", "other")),
        # source tags of the copy of a copy: the last hop that the source has
        _of("11", "v", of=("77", "no"), tags={"mlflow_exim.hop1.field.experiment_id": "4",
                                           "mlflow_exim.hop1.field.name": "d"}),
        _of("12", "u", tags={ID: "4"}), _of("13", "t", tags={NAME: "d"}),
    ]  # fmt: skip
    assert paired(pair_experiments(source, target)) == _whole(
        pairs=[("1", "1", "same-id"), ("2", "7", "source-tag"), ("3", "9", "name"), ("4", "11", "source-tag")],
        duplicates=[("2", "8", "source-tag")],
        missing=["5"],
        extra=[(one, "") for one in ("4", "5", "6", "12", "13")],
    )


def test_of_several_copies_of_an_experiment_the_namesake_stands() -> None:
    """Then that of the lowest id; the others are duplicates, also beside the experiment itself."""
    copies = [
        _of(number, name, made=2, of=("1", "a")) for number, name in (("9", "z"), ("8", "y"), ("7", "a"), ("6", "b"))
    ]
    source = [_of("1", "a"), _of("2", "b"), _of("3", "y")]
    assert paired(pair_experiments(source, copies)) == _whole(
        pairs=[("1", "7", "source-tag")], missing=["2", "3"],
        duplicates=[("1", one, "source-tag") for one in ("6", "8", "9")],
    )  # fmt: skip
    beside = pair_experiments(
        [_of("1", "a"), _of("2", "b")], [_of("1", "a"), copies[0], _of("5", "b", of=("2", "b"), made=3)]
    )
    assert paired(beside) == _whole(
        pairs=[("1", "1", "same-id"), ("2", "5", "source-tag")], duplicates=[("1", "9", "source-tag")]
    )
    # a restored database holds copies of its own: what is itself is nobody's copy
    itself = _of("2", "b", of=("1", "a"))
    assert paired(pair_experiments([_of("1", "a"), itself], [_of("1", "a"), itself])) == _whole(
        pairs=[("1", "1", "same-id"), ("2", "2", "same-id")]
    )
    nameless = _of("", "", made=None)
    assert paired(pair_experiments([nameless], [_of("6", "w")])) == _whole(missing=[""], extra=[("6", "")])


def test_experiments_of_a_store_that_went_on_are_paired_by_id() -> None:
    """By that alone, whatever their names."""
    found = same_experiments([_of("1", "a"), _of("2", "b")], [_of("3", "a"), _of("2", "c")])
    told = paired(found)
    assert (told["pairs"], told["missing"], [one for one, _ in told["extra"]]) == (
        [("2", "2", "same-id")],
        ["1"],
        ["3"],
    )


def _run(identity: str, name: str = "r", **given: Any) -> RunKey:
    fields = {"status": "FINISHED", "created": 1, "lifecycle_stage": "active", "origin": None, "tagged": True,
              "empty": False, "content": b"c"}  # fmt: skip
    return RunKey(identity, name, **{**fields, **given})


def _paired(source: list[RunKey], target: list[RunKey], **given: Any) -> dict[str, Any]:
    found: RunPairing = pair_runs(source, target, **given)
    return paired(found)


def test_runs_of_a_store_that_went_on_are_paired_by_id() -> None:
    """By that alone, whatever else is alike."""
    assert _paired([_run("a"), _run("b")], [_run("b"), _run("c", origin="a")], same_store=True) == _whole(
        pairs=[("b", "b", "same-id")], missing=["a"], extra=[("c", "no run of this source experiment has its id")]
    )


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"identity": "a", "content": b"x", "created": 9}, {}),
        ({"status": "FAILED", "created": 9}, {"content": b"x"}),
        ({"lifecycle_stage": "deleted", "created": 9}, {"status": "FAILED"}),
        ({"created": 9}, {"lifecycle_stage": "deleted"}),
        ({"created": 2, "identity": "z"}, {"created": 3}),
        ({"created": None, "identity": "z"}, {"created": 1}),
        ({"created": 0, "identity": "y"}, {"created": None, "identity": "z"}),
        ({"created": 5, "identity": "y"}, {"created": 5, "identity": "z"}),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_which_of_two_copies_of_a_run_stands(better: dict[str, Any], worse: dict[str, Any], backwards: bool) -> None:
    """Its id, then its content, its status, whether it is deleted, the oldest: the other one is the duplicate."""
    one, other = (_run(**{"identity": name, "origin": "a", **given}) for name, given in (("p", better), ("q", worse)))
    target = [other, one] if backwards else [one, other]
    found = _paired([_run("a")], target)
    assert [pair[1] for pair in found["pairs"]] == [one.entity_id]
    assert [(pair[0], pair[1], pair[2]) for pair in found["duplicates"]] == [("a", other.entity_id, "source-tag")]


def test_duplicates_of_several_runs_are_all_named() -> None:
    """None is lost beside the next."""
    target = [_run(f"{one}{number}", origin=one, created=number) for one in "ab" for number in (1, 2)]
    assert _paired([_run("a"), _run("b")], target) == _whole(
        pairs=[("a", "a1", "source-tag"), ("b", "b1", "source-tag")],
        duplicates=[("a", "a2", "source-tag"), ("b", "b2", "source-tag")],
    )


def test_a_run_whose_tags_name_another_source_is_nobodys_copy() -> None:
    """However alike: unless the source's own runs carry such tags as well, which a second migration keeps."""
    foreign = "its source tag names run elsewhere, which is not in this source experiment"
    assert _paired([_run("a")], [_run("x", origin="elsewhere\nfurther")]) == _whole(
        missing=["a"], extra=[("x", foreign)]
    )
    assert _paired([_run("a", origin="elsewhere\nfurther")], [_run("x", origin="elsewhere\nother")]) == _whole(
        pairs=[("a", "x", "natural-key")]
    )
    # of several hops, the first that names a run of the source
    assert _paired([_run("a"), _run("b", "s")], [_run("x", origin="elsewhere\na\nb")]) == _whole(
        pairs=[("a", "x", "source-tag")], missing=["b"]
    )


GHOST = (
    "a ghost run: it has no param, metric, dataset, note or tag of a user, and no source tags; look at its files "
    "before you delete it"
)
HALF = "half a run left by an interrupted import: RUNNING and without source tags, which are written last"


@pytest.mark.parametrize(
    ("copy", "found"),
    [
        (_run("x"), {"pairs": [("a", "x", "natural-key")]}),
        (_run("x", created=2), {"pairs": [("a", "x", "content")]}),
        (_run("x", "other"), {"pairs": [("a", "x", "content")]}),
        (_run("x", created=2, content=b"d"), {"pairs": [("a", "x", "name")]}),
        (_run("x", "other", content=b"d"),
         {"missing": ["a"], "extra": [("x",
          "it has source tags, but none that names a run of this source experiment")]}),
        (_run("x", "other", content=b"d", tagged=False), {"missing": ["a"], "extra": [("x", OF_ITS_NAME)]}),
        (_run("x", "other", content=b"d", empty=True),
         {"missing": ["a"], "extra": [("x",
          "it has source tags, but none that names a run of this source experiment")]}),
        (_run("x", "other", content=b"d", tagged=False, empty=True),
         {"missing": ["a"], "extra": [("x", GHOST)]}),
        # half an import is no copy by content or name
        (_run("x", created=2, status="RUNNING", tagged=False), {"missing": ["a"], "extra": [("x", HALF)]}),
        (_run("x", created=2, status="RUNNING", tagged=False, content=b"d"), {"missing": ["a"], "extra": [("x",
         HALF)]}),
        (_run("x", created=2, status="RUNNING"), {"pairs": [("a", "x", "content")]}),
        (_run("x", created=2, tagged=False), {"pairs": [("a", "x", "content")]}),
    ],
)  # fmt: skip
def test_what_pairs_a_run_without_source_tag(copy: RunKey, found: dict[str, Any]) -> None:
    """Name and time, then content, then a unique name; what is left says what it is."""
    assert _paired([_run("a")], [copy]) == _whole(**found)


def test_a_name_pairs_only_where_it_is_unique_on_both_sides() -> None:
    """A guess would blame one run for what another lost."""

    def other(identity: str, name: str) -> RunKey:
        return _run(identity, name, created=ord(identity), content=identity.encode())

    found = _paired(
        [other("a", "one"), other("b", "two"), other("c", "two"), other("d", "three"), other("e", "")],
        [other("u", "one"), other("v", "two"), other("w", "three"), other("x", "three"), other("y", "")],
    )
    assert found["pairs"] == [("a", "u", "name")]
    several = _paired(
        [other(one, one) for one in "abc"], [other(one, name) for one, name in zip("xyz", "abc", strict=True)]
    )
    assert several == _whole(pairs=[("a", "x", "name"), ("b", "y", "name"), ("c", "z", "name")])
    assert found["missing"] == ["b", "c", "d", "e"]
    assert [one for one, _ in found["extra"]] == ["v", "w", "x", "y"]


def test_runs_of_one_name_and_time_are_told_apart_by_their_content() -> None:
    """One copied twice and the other not at all: a duplicate and a missing one."""
    ours, theirs = (
        [_run("a", content=b"1"), _run("b", content=b"2")],
        [_run("x", content=b"2"), _run("y", content=b"1")],
    )
    assert _paired(ours, theirs)["pairs"] == [("a", "y", "content"), ("b", "x", "content")]
    doubled = _paired(ours, [*theirs, _run("z", content=b"2")])
    assert doubled["duplicates"] == [("b", "z", "content")]
    assert _paired(ours, [_run("x", content=b"3"), _run("y", content=b"4")])["ambiguous"] == [
        (["a", "b"], ["x", "y"], "natural-key")
    ]
    assert paired(pair_objects([], [])) == _whole()
