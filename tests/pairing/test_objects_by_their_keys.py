"""Objects by their keys alone: which is the copy of which, by what, and what is said of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.records import paired

from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.pairing import matching
from mlflow_parity.pairing.by_kind import pair_objects
from mlflow_parity.pairing.matching import Matcher, Pair, Pairing, by_id, grouped

NOBODY = "no source object has its id, its natural key or its content"


def _key(kind: str, identity: str, **given: Any) -> ObjectKey:
    fields: dict[str, Any] = {"name": identity, "container": "", "created": 1, "run": None, "number": None,
                              "origin": None, "natural": b"n", "content": b"c"}  # fmt: skip
    return ObjectKey(kind, identity, **{**fields, **given})


def _told(found: Pairing[Any]) -> dict[str, Any]:
    """What a pairing holds, by ids, without what is empty."""
    return {name: value for name, value in paired(found).items() if value}


def _versions(*given: tuple[int, str] | tuple[int, str, str], side: str = "") -> list[ObjectKey]:
    """Versions by number, content and run."""
    return [
        _key("model_version", f"m/{number}", number=number, natural=str(number).encode(), content=content.encode(),
             run=run[0] if run else None)
        for number, content, *run in given
    ]  # fmt: skip


RUNS = {"r": "copy of r", "s": "copy of s"}


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        # the same numbers on both sides: those whose content is equal, then by content, then what is left by number
        ([(1, "a"), (2, "b")], [(2, "b"), (1, "a")], {"pairs": [("m/1", "m/1", "same-id"), ("m/2", "m/2", "same-id")]}),
        ([(1, "a"), (2, "b")], [(1, "b"), (2, "a")], {"pairs": [("m/1", "m/2", "content"), ("m/2", "m/1", "content")]}),
        ([(1, "a"), (2, "b")], [(1, "x"), (2, "b")],
         {"pairs": [("m/2", "m/2", "same-id"), ("m/1", "m/1", "natural-key")]}),
        ([(1, "a"), (2, "b")], [(1, "x"), (2, "y")],
         {"pairs": [("m/1", "m/1", "natural-key"), ("m/2", "m/2", "natural-key")]}),
        ([(1, "a"), (2, "a")], [(1, "a"), (2, "a")], {"pairs": [("m/1", "m/1", "same-id"), ("m/2", "m/2", "same-id")]}),
        # numbers were given again
        ([(1, "a"), (3, "b")], [(1, "a"), (2, "b")], {"pairs": [("m/1", "m/1", "same-id"), ("m/3", "m/2", "content")]}),
        ([(2, "a"), (3, "b")], [(1, "a"), (2, "b")], {"pairs": [("m/2", "m/1", "content"), ("m/3", "m/2", "content")]}),
        ([(1, "a"), (3, "b")], [(1, "x"), (2, "y")],
         {"pairs": [("m/1", "m/1", "natural-key")], "missing": ["m/3"], "extra": [("m/2", NOBODY)]}),
        # of one content, by their runs, then in order
        ([(3, "a", "r"), (4, "a", "s")], [(1, "a", "copy of s"), (2, "a", "copy of r")],
         {"pairs": [("m/3", "m/2", "content"), ("m/4", "m/1", "content")]}),
        ([(3, "a", "r"), (4, "a", "s")], [(1, "a", "copy of s"), (2, "a", "x")],
         {"pairs": [("m/4", "m/1", "content"), ("m/3", "m/2", "content")]}),
        ([(3, "a", "r")], [(1, "a")], {"pairs": [("m/3", "m/1", "content")]}),
        ([(3, "a"), (4, "a")], [(1, "a"), (2, "a")], {"pairs": [("m/3", "m/1", "content"), ("m/4", "m/2", "content")]}),
        ([(3, "a")], [(1, "a"), (2, "a")],
         {"pairs": [("m/3", "m/1", "content")], "duplicates": [("m/3", "m/2", "content")]}),
        ([(3, "a"), (4, "a")], [(1, "a")], {"pairs": [("m/3", "m/1", "content")], "missing": ["m/4"]}),
    ],
)  # fmt: skip
def test_which_version_is_which_without_source_tags(ours: Any, theirs: Any, found: dict[str, Any]) -> None:
    """A number is weak evidence, for the tool gives them again: what it holds tells a version, then where it stands."""
    assert _told(pair_objects(_versions(*ours), _versions(*theirs), RUNS)) == found


def test_versions_that_name_others_are_told_one_by_one() -> None:
    """By source tags first; a copy that names what the source has not is extra, and each of them is named."""
    source = [_key("model_version", f"m/{n}", number=n, content=b"%d" % n) for n in (1, 2, 3)]
    target = [
        _key("model_version", "m/7", number=7, origin="m/2", content=b"2"),
        _key("model_version", "m/8", number=8, origin="q/1"), _key("model_version", "m/9", number=9, origin="q/2\nm/3"),
        _key("model_version", "m/1", number=1, content=b"1"), _key("model_version", "m/5", number=5, origin="q/3"),
    ]  # fmt: skip
    named = "its source tags name {}, which is not on the source".format
    assert _told(pair_objects(source, target)) == {
        "pairs": [("m/2", "m/7", "source-tag"), ("m/3", "m/9", "source-tag"), ("m/1", "m/1", "same-id")],
        "extra": [("m/8", named("q/1")), ("m/5", named("q/3"))],
    }


@pytest.mark.parametrize(
    ("copy", "origin", "named"),
    [
        ("m/7", "m/1", "m/1"),
        ("m/7", "x/1\nm/1", "m/1"),
        # the hop that fits whole: the source's own tags must be those that follow
        ("m/7", "m/1\nm/2\nz/9", "m/2"),
        ("m/7", "m/1\nq/5", "m/1"),
        ("m/7", "x/1\nm/2", None),
        ("m/7", "x/1", None),
    ],
)
def test_which_hop_of_a_copy_began_at_the_source(copy: str, origin: str, named: str | None) -> None:
    """After several migrations a copy names several versions, and numbers are given again."""
    source = [_key("model_version", "m/1", number=1, content=b"1"),
              _key("model_version", "m/2", number=2, content=b"2", origin="z/9")]  # fmt: skip
    told = _told(pair_objects(source, [_key("model_version", copy, number=7, origin=origin, content=b"x")]))
    assert told.get("pairs", []) == ([] if named is None else [(named, copy, "source-tag")])


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "found"),
    [
        ("issue", {}, {"identity": "a"}, ("same-id", [])),
        ("issue", {"run": "r"}, {"run": "copy of r"}, ("natural-key", [])),
        ("issue", {"run": "r"}, {"run": "r"}, ("content", [])),
        ("issue", {"run": "x"}, {"run": "x", "content": b"d"}, ("natural-key", [])),
        ("issue", {"run": "r"}, {"run": "r", "content": b"d"}, ("natural-key", [])),
        ("issue", {"natural": b"m"}, {}, None),
        ("scorer", {"natural": b"m", "name": "s"}, {"name": "s"}, ("content", [])),
        ("scorer", {"natural": b"m", "name": "s"}, {"name": "t"}, None),
        ("scorer", {"natural": b"m", "name": "s"}, {"name": "s", "content": b"d"}, None),
        ("prompt_version", {"natural": b"m", "name": "s"}, {"name": "t"}, ("content", [])),
        ("prompt_version", {"natural": b"m"}, {"content": b"d"}, None),
        ("logged_model", {"natural": b"m", "name": "s", "run": "r"},
         {"name": "s", "run": "copy of r", "content": b"d"}, ("natural-key", [])),
        ("logged_model", {"natural": b"m", "name": "s", "run": "r"}, {"name": "s", "run": "r", "content": b"d"}, None),
        ("logged_model", {"natural": b"m", "name": "s", "run": "r"}, {"name": "t", "run": "copy of r"}, None),
        ("issue", {"natural": b"m", "name": "s", "run": "r"}, {"name": "s", "run": "copy of r"}, None),
    ],
)  # fmt: skip
def test_by_what_an_object_is_found(
    kind: str, ours: dict[str, Any], theirs: dict[str, Any], found: tuple[str, list[Any]] | None
) -> None:
    """The keys from the strongest to the weakest; what none of them fits is missing, and the other one extra."""
    source, target = _key(kind, **{"identity": "a", **ours}), _key(kind, **{"identity": "b", **theirs})
    told = _told(pair_objects([source], [target], RUNS))
    if found is None:
        assert told == {"missing": ["a"], "extra": [("b", NOBODY)]}
    else:
        assert told == {"pairs": [("a", target.entity_id, found[0])]}


def test_a_stronger_key_is_not_overruled() -> None:
    """Of two that could be the copy, the one of the stronger key is; the other is a further copy, or extra."""
    source = [_key("issue", "a", run="r"), _key("issue", "b", run="s", content=b"d")]
    target = [_key("issue", "x", run="copy of s"), _key("issue", "y", run="copy of r", content=b"d"),
              _key("issue", "z", run="copy of s", content=b"d")]  # fmt: skip
    # the natural key with the run: a is y, though x has its content; b has two copies of which one is equal
    assert _told(pair_objects(source, target, RUNS)) == {
        "pairs": [("a", "y", "natural-key"), ("b", "z", "natural-key")],
        "extra": [("x", NOBODY)],
    }
    told = _told(pair_objects([source[0]], [_key("issue", n, run="copy of r") for n in "xy"], RUNS))
    assert told == {"pairs": [("a", "x", "natural-key")], "duplicates": [("a", "y", "natural-key")]}


def test_objects_of_runs_that_have_no_copy_are_told_by_those_runs() -> None:
    """One that is not in scope keeps its id on both sides."""
    source = [_key("issue", "a", run="x", content=b"1"), _key("issue", "b", run="y", content=b"2")]
    target = [_key("issue", "p", run="y", content=b"3"), _key("issue", "q", run="x", content=b"4")]
    assert _told(pair_objects(source, target, RUNS)) == {
        "pairs": [("a", "q", "natural-key"), ("b", "p", "natural-key")]
    }


def test_what_has_no_source_and_no_target() -> None:
    """One side may be empty."""
    assert _told(pair_objects([_key("issue", "a"), _key("issue", "b")], [])) == {"missing": ["a", "b"]}
    assert _told(pair_objects([], [_key("issue", "a")])) == {"extra": [("a", NOBODY)]}
    assert _told(pair_objects([_key("model_version", "m/1")], [])) == {"missing": ["m/1"]}
    assert _told(pair_objects([], [_key("model_version", "m/1")])) == {"extra": [("m/1", NOBODY)]}


def test_the_same_objects_are_paired_by_their_ids() -> None:
    """In the source's order; of two with one id, the first stands."""

    def name(one: ObjectKey) -> str:
        return one.entity_id

    source, target = [_key("issue", one) for one in "abc"], [_key("issue", one) for one in "dcb"]
    assert _told(by_id(source, target, name, "why")) == {
        "pairs": [("b", "b", "same-id"), ("c", "c", "same-id")], "missing": ["a"], "extra": [("d", "why")],
    }  # fmt: skip
    late, early = _key("issue", "late", created=9), _key("issue", "early")
    assert grouped([late, early, source[0]], lambda one: one.entity_id[-1]) == {
        "y": [early],
        "e": [late],
        "a": [source[0]],
    }
    assert grouped([late, early], lambda one: 1) == {1: [early, late]}
    pairing = by_id(source, target, name)
    assert [why for _, why in pairing.extra] == [""]


# --- several of one key

Evidence = dict[str, tuple[str, ...]]


def _matched(
    ours: dict[str, str], theirs: dict[str, str], evidence: tuple[Evidence, Evidence] | None = None, **given: Any
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Match objects by id and content that share a key; return what was paired, and what is left of both."""
    sides = [[_key("issue", one, content=content.encode(), number=given.get("numbers", {}).get(one))
              for one, content in side.items()] for side in (ours, theirs)]  # fmt: skip
    result: Pairing[ObjectKey] = Pairing()

    def asked(side: Evidence) -> Callable[[ObjectKey], tuple[bytes, ...]]:
        return lambda key: tuple(one.encode() for one in side[key.entity_id])

    both = None if evidence is None else (asked(evidence[0]), asked(evidence[1]))
    match = Matcher(result, both, apart=given.get("apart"), ordered=given.get("ordered", False))
    left = match(sides[0], sides[1], "key", lambda key, _: given.get("keys", {}).get(key.entity_id, "k"))
    return _told(result), [one.entity_id for one in left[0]], [one.entity_id for one in left[1]]


@pytest.mark.parametrize(
    ("ours", "theirs", "given", "found", "left"),
    [
        ({"a": "1"}, {"x": "2"}, {}, {"pairs": [("a", "x", "key")]}, ("", "")),
        ({"a": "1"}, {"x": "1"}, {"keys": {"a": "l"}}, {}, ("a", "x")),
        ({"a": "1", "b": "2"}, {"x": "2", "y": "1"}, {},
         {"pairs": [("a", "y", "key"), ("b", "x", "key")]}, ("", "")),
        ({"a": "1", "b": "2"}, {"x": "2", "y": "1"}, {"apart": "content"},
         {"pairs": [("a", "y", "content"), ("b", "x", "content")]}, ("", "")),
        # one of one key left on both sides: it is that one
        ({"a": "1", "b": "2"}, {"x": "2", "y": "3"}, {"apart": "content"},
         {"pairs": [("b", "x", "content"), ("a", "y", "key")]}, ("", "")),
        ({"a": "1", "b": "2"}, {"x": "3", "y": "4"}, {}, {"ambiguous": [(["a", "b"], ["x", "y"], "key")]}, ("", "")),
        ({"a": "1", "b": "2"}, {"x": "3"}, {}, {"ambiguous": [(["a", "b"], ["x"], "key")]}, ("", "")),
        ({"a": "1"}, {"x": "2", "y": "3"}, {}, {"ambiguous": [(["a"], ["x", "y"], "key")]}, ("", "")),
        ({"a": "1", "b": "2"}, {"x": "3", "y": "4"}, {"ordered": True}, {}, ("ab", "xy")),
        ({"a": "1", "b": "2"}, {"x": "1", "y": "1"}, {},
         {"pairs": [("a", "x", "key")], "duplicates": [("a", "y", "key")]}, ("b", "")),
        ({"a": "1"}, {"x": "1", "y": "1", "z": "1"}, {"apart": "content"},
         {"pairs": [("a", "x", "content")], "duplicates": [("a", "y", "content"), ("a", "z", "content")]}, ("", "")),
        ({"a": "1", "b": "1", "c": "1"}, {"x": "1", "y": "1"}, {},
         {"pairs": [("a", "x", "key"), ("b", "y", "key")]}, ("c", "")),
        # groups are apart
        ({"a": "1", "b": "1"}, {"x": "2", "y": "2"}, {"keys": {"a": "l", "y": "l"}},
         {"pairs": [("a", "y", "key"), ("b", "x", "key")]}, ("", "")),
    ],
)  # fmt: skip
def test_several_of_one_key_without_evidence(
    ours: dict[str, str], theirs: dict[str, str], given: dict[str, Any], found: dict[str, Any], left: tuple[str, str]
) -> None:
    """By content, one to one; what differs on both sides alike is ambiguous, and surplus twins are duplicates."""
    told, *rest = _matched(ours, theirs, **given)
    assert (told, tuple("".join(one) for one in rest)) == (found, left)


def _held(**sides: str) -> Evidence:
    """What each holds, a letter per facet."""
    return {name: tuple(letters) for name, letters in sides.items()}


@pytest.mark.parametrize(
    ("ours", "theirs", "held", "given", "pairs"),
    [
        # of one content: the identical, then the closest, then the rest in order
        ("aa", "aa", (_held(a="12", b="34"), _held(x="34", y="12")), {}, {"a": "y", "b": "x"}),
        ("aa", "aa", (_held(a="12", b="34"), _held(x="35", y="12")), {}, {"a": "y", "b": "x"}),
        ("aa", "aa", (_held(a="12", b="34"), _held(x="39", y="19")), {}, {"a": "y", "b": "x"}),
        ("aa", "aa", (_held(a="12", b="12"), _held(x="12", y="12")), {}, {"a": "x", "b": "y"}),
        ("aa", "aa", (_held(a="1", b="2"), _held(x="8", y="9")), {}, {"a": "x", "b": "y"}),
        ("aa", "a", (_held(a="12", b="34"), _held(x="34")), {}, {"b": "x"}),
        # of other contents: those that have more in common with each other than with any other
        ("ab", "cd", (_held(a="12", b="34"), _held(x="39", y="19")), {}, {"a": "y", "b": "x"}),
        ("ab", "cd", (_held(a="123", b="124"), _held(x="124", y="129")), {}, {"b": "x", "a": "y"}),
        ("ab", "cd", (_held(a="1", b="2"), _held(x="8", y="9")), {}, None),
        ("ab", "cd", (_held(a="1", b="1"), _held(x="1", y="1")), {}, None),
        ("ab", "c", (_held(a="12", b="34"), _held(x="39")), {}, {"b": "x"}),
        ("a", "cd", (_held(a="12"), _held(x="39", y="19")), {}, {"a": "y"}),
        # a number that is the same decides between those that are alike
        ("ab", "cd", (_held(a="1", b="1"), _held(x="1", y="1")), {"numbers": {"a": 1, "b": 2, "x": 2, "y": 1}},
         {"a": "y", "b": "x"}),
        ("ab", "cd", (_held(a="12", b="13"), _held(x="13", y="12")), {"numbers": {"a": 1, "b": 2, "x": 1, "y": 2}},
         {"a": "y", "b": "x"}),
        ("ab", "cd", (_held(a="1", b="2"), _held(x="8", y="9")), {"numbers": {"a": 1, "b": 2, "x": 2, "y": 1}}, None),
        # what is tied has nothing closer further down
        ("abc", "def", (_held(a="12", b="12", c="39"), _held(x="12", y="17", z="38")), {}, {"c": "z"}),
    ],
)  # fmt: skip
def test_several_of_one_key_by_what_they_hold(
    ours: str, theirs: str, held: tuple[Evidence, Evidence], given: dict[str, Any], pairs: dict[str, str] | None
) -> None:
    """A guess would blame one for what another lost: what is tied is paired by nothing."""
    sides = dict(zip("abc", ours, strict=False)), dict(zip("xyz", theirs, strict=False))
    told, *_ = _matched(*sides, held, **given)
    found = {source: target for source, target, _ in told.get("pairs", [])}
    assert found == (pairs or {})
    if pairs is None:
        [(one, other, by)] = told["ambiguous"]
        assert (sorted(one), sorted(other), by) == (list(sides[0]), list(sides[1]), "key")


def test_identical_ones_are_found_however_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weighing each against each costs their product; to find the equal ones does not."""
    monkeypatch.setattr(matching, "_WEIGHED", 1)
    told, *_ = _matched({"a": "1", "b": "1"}, {"x": "1", "y": "1"}, (_held(a="12", b="34"), _held(x="34", y="12")))
    assert sorted(told["pairs"]) == [("a", "y", "key"), ("b", "x", "key")]


def test_one_that_is_left_on_both_sides_is_paired_by_the_key() -> None:
    """Whatever they hold: nothing else could be its copy."""
    told, *_ = _matched(
        {"a": "1", "b": "2"}, {"x": "2", "y": "3"}, (_held(a="1", b="2"), _held(x="2", y="1")), apart="content"
    )
    assert told == {"pairs": [("b", "x", "content"), ("a", "y", "key")]}


def test_evidence_is_not_asked_for_thousands_of_each_other() -> None:
    """Weighing them costs their product: above a limit they are ambiguous, which is never green."""
    ours = {f"a{n}": f"o{n}" for n in range(320)}
    theirs = {f"x{n}": f"t{n}" for n in range(320)}
    asked: list[str] = []

    class Held(dict[str, tuple[str, ...]]):
        def __getitem__(self, key: str) -> tuple[str, ...]:
            asked.append(key)
            return ("1",)

    told, *_ = _matched(ours, theirs, (Held(), Held()))
    assert list(told) == ["ambiguous"]
    assert asked == []


def test_a_pair_in_the_result_stays() -> None:
    """What was paired by a stronger key is there before."""
    before = Pair(_key("issue", "p"), _key("issue", "q"), "before")
    result: Pairing[ObjectKey] = Pairing(pairs=[before])
    match = Matcher(result)
    assert match([_key("issue", "a")], [_key("issue", "x")], "key", lambda key, ours: ours) == (
        [_key("issue", "a")], [_key("issue", "x")],
    )  # fmt: skip
    assert match([_key("issue", "a")], [_key("issue", "x")], "key", lambda *_: 1) == ([], [])
    assert [pair.by for pair in result.pairs] == ["before", "key"]
