"""Versions of registered models and prompts: numbers, source tags, places, what resolves and what can be read."""

from __future__ import annotations

from typing import Any

import pytest
from support.records import (
    COPY,
    DEAD,
    MODEL,
    MODEL_COPY,
    OTHER,
    OTHER_COPY,
    RUN,
    SECOND,
    SECOND_COPY,
    an_entity,
    links,
    told,
)

from mlflow_parity.comparing import registry_fields
from mlflow_parity.core.records import Artifact, ArtifactTree, Entity, Resolved
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces

FIELD = "mlflow_exim.field."


def _version(number: Any = 1, identity: str = "churn/1", **facets: Any) -> Entity:
    return an_entity("model_version", identity, container="churn", number=number, **facets)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "tags", "found"),
    [
        ("model_version", 1, 1, None, None),
        ("model_version", 3, 2, {f"{FIELD}version": "3"},
         ("expected", "model_version.number.import", f"original kept in {FIELD}version")),
        ("model_version", 3, 2, {f"{FIELD}version": "2"},
         ("mismatch", "model_version.number", "source tag says 2")),
        ("model_version", 3, 2, {}, ("mismatch", "model_version.number",
                                     "renumbered, and no source tag keeps the original")),
        ("prompt_version", 3, 2, {f"{FIELD}version": "3"}, ("mismatch", "prompt_version.number", "source tag says 3")),
        ("prompt_version", 3, 2, None, ("mismatch", "prompt_version.number",
                                        "renumbered, and no source tag keeps the original")),
    ],
)  # fmt: skip
def test_what_is_said_of_a_number(
    kind: str, ours: int, theirs: int, tags: Any, found: tuple[str, str, str] | None
) -> None:
    """Programs ask for ``models:/churn/3``: another number under it is another model, unless a tag keeps the first."""
    mine, copy = an_entity(kind, number=ours), an_entity(kind, number=theirs, tags=tags)
    done = told(registry_fields.compare_number(mine, copy, links()))
    assert done == ([] if found is None else [("number", *found[:2], ours, theirs, found[2])])


ORIGINAL: dict[str, Any] = {
    "description": "d", "stage": "Staging", "source": "s3://x", "run": RUN, "logged_model": MODEL, "user": "ada",
    "status": {"status": "READY", "message": "m"}, "times": {"creation": 5, "update": 6},
}  # fmt: skip
TRUTH = {
    "name": "churn", "version": "1", "description": "d", "current_stage": "Staging", "source": "s3://x", "run_id": RUN,
    "model_id": MODEL, "user_id": "ada", "status": "READY", "status_message": "m", "creation_timestamp": "5",
    "last_updated_timestamp": "6",
}  # fmt: skip
TAGS = "model_version.source_tags"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, []),
        *(({name: "another"}, [(name, "mismatch", TRUTH[name], "another")]) for name in TRUTH),
        *(({name: None}, [(name, "missing", TRUTH[name], None)]) for name in ("name", "version", "run_id")),
        *(({name: None}, []) for name in TRUTH if name not in ("name", "version", "run_id")),
        # nothing is nothing, however it is spelled; and the server may name the model in the version's source alone
        ({"model_id": ""}, []),
        ({"model_id": "None"}, []),
        ({"user_id": ""}, [("user_id", "mismatch", "ada", "")]),
    ],
)
def test_what_is_said_of_the_source_tags_of_a_version(
    given: dict[str, str | None], found: list[tuple[str, str, Any, Any]]
) -> None:
    """They say which version it was: name, number and run must be there, and all that is there must be true."""
    tags = {f"{FIELD}{name}": text for name, text in {**TRUTH, **given}.items() if text is not None}
    done = told(registry_fields.compare_source_tags(_version(**ORIGINAL), _version(tags=tags), links()))
    assert done == [(f"{FIELD}{name}", state, TAGS, *values, "") for name, state, *values in found]


@pytest.mark.parametrize(
    ("nothing", "kept"), [("", "None"), (None, ""), (None, "None"), ("None", ""), (None, None), ("", None)]
)
def test_a_run_that_a_version_never_had_is_no_missing_tag(nothing: str | None, kept: str | None) -> None:
    """A version without a run, or with an empty description, has nothing to keep."""
    tags = {**{f"{FIELD}{name}": text for name, text in TRUTH.items() if name not in ("run_id", "description")},
            **({} if kept is None else {f"{FIELD}run_id": kept, f"{FIELD}description": kept})}  # fmt: skip
    original = {**ORIGINAL, "run": nothing, "description": nothing}
    assert registry_fields.compare_source_tags(_version(**original), _version(tags=tags), links()) == []


def test_source_tags_of_a_version_that_the_tool_did_not_make() -> None:
    """None on either side: it was not created there. Those of an earlier migration are equal, and hops are compared."""
    compare, known = registry_fields.compare_source_tags, links()
    assert told(compare(_version(tags={"a": "b"}), _version(), known)) == [
        ("", "expected", f"{TAGS}.not-created", None, None, "")
    ]
    assert compare(_version(), _version(2), known) == []
    kept = {f"{FIELD}name": "x"}
    assert compare(_version(tags=kept), _version(tags=kept), known) == []
    own = {f"{FIELD}{name}": text for name, text in TRUTH.items()}
    hop = {**own, "mlflow_exim.hop1.field.name": "y"}
    assert told(compare(_version(**ORIGINAL, tags=kept), _version(tags=hop), known)) == [
        ("mlflow_exim.hop1.field.name", "mismatch", TAGS, "x", "y", "")
    ]


def test_a_copy_of_a_copy_is_judged_by_the_hop_that_began_at_its_source() -> None:
    """After two migrations the first source is compared with the last target by the tags of the first."""
    tags = {f"{FIELD}name": "second", f"{FIELD}version": "7", "mlflow_exim.hop1.field.name": "churn",
            "mlflow_exim.hop1.field.version": "1", "team": "x"}  # fmt: skip
    copy = _version(2, tags=tags)
    judged = registry_fields.version_of_hop(_version(), copy)
    assert judged.facets == {"number": 2, "tags": {"team": "x", f"{FIELD}name": "churn", f"{FIELD}version": "1"}}
    for other in (_version(3), an_entity("model_version", "b/1", container="b", number=1)):
        assert registry_fields.version_of_hop(other, copy) is copy
    # the source was migrated itself: its own hop is not the one that began there
    own = _version(tags={f"{FIELD}name": "old", f"{FIELD}version": "9"})
    further = {**tags, "mlflow_exim.hop2.field.name": "old", "mlflow_exim.hop2.field.version": "9"}
    judged = registry_fields.version_of_hop(own, _version(2, tags=further))
    assert judged.facets["tags"][f"{FIELD}name"] == "churn"
    assert judged.facets["tags"]["mlflow_exim.hop1.field.name"] == "old"
    bare = _version()
    assert registry_fields.version_of_hop(bare, bare) is bare


# --- where a version's files are

GOES = "the copy's files are in the source's place: they go when the source goes"


def _known(**given: Any) -> Any:
    places = CopyPlaces(frozenset({"s3://old/1"}), "http://source.invalid:1", "http://target.invalid:2")
    return links(**{
        "copy_places": places, "pairs": {RUN: COPY, OTHER: OTHER_COPY}, "stages": dict.fromkeys([RUN, OTHER], "active"),
        "entities": {"logged_model": {MODEL: MODEL_COPY}, "model_version": {"churn/1": "churn/1",
         "churn/2": "churn/3"}},
        "known": {"logged_model": {MODEL, SECOND}, "model_version": {"churn/1", "churn/2", "churn/8"}},
        "places": {MODEL: ("s3://old/1/models", "s3://new/models"), SECOND: ("s3://old/1/m2", "s3://new/m2")}, **given,
    })  # fmt: skip


#: What passes under the rule that names it.
PASSES = "each in its own place"
SOURCE_CASES: list[tuple[str, str, str | None]] = [
    (f"s3://old/1/{RUN}/m", f"s3://new/7/{COPY}/m", PASSES),
    ("", "", None),
    ("", "s3://new/x", PASSES),
    ("s3://a", "", "the copy names no place"),
    # of the source: its runs, its models, its store, its server
    (f"s3://old/1/{RUN}/m", f"s3://new/7/{RUN}/m", "names the source's run: it goes when the source goes"),
    (f"s3://old/1/{RUN}/m", f"s3://new/7/{OTHER}/m", "names the source's run: it goes when the source goes"),
    ("x", f"runs:/{DEAD}/m", PASSES),
    (f"models:/{MODEL}", f"models:/{MODEL}", f"the copy of {MODEL} is {MODEL_COPY}"),
    ("x", f"s3://new/{MODEL}/m", "names the source's logged model: it goes when the source goes"),
    ("x", f"s3://new/{SECOND}/m", "names the source's logged model: it goes when the source goes"),
    ("x", "s3://old/1/elsewhere", "is in the source's store: it goes when the source goes"),
    (
        "x",
        "mlflow-artifacts://source.invalid:1/a",
        "it names the source's server source.invalid:1: the files go when the source goes",
    ),
    ("s3://third/m", "s3://third/m", GOES),
    ("/srv/m", "/srv/m", None),
    # another one's
    (f"s3://old/1/{RUN}/m", f"s3://new/7/{OTHER_COPY}/m", f"names another run: the copy of its own is {COPY}"),
    (
        f"s3://old/{MODEL}",
        f"s3://new/{SECOND_COPY}",
        f"names another logged model: the copy of its own is {MODEL_COPY}",
    ),
    # another folder of its own
    (f"s3://old/1/{RUN}/artifacts/m", f"s3://new/7/{COPY}/artifacts/m/", PASSES),
    (f"runs:/{RUN}/a b", f"s3://new/7/{COPY}/artifacts/a%20b", PASSES),
    (
        f"s3://old/1/{RUN}/artifacts/m",
        f"s3://new/7/{COPY}/artifacts/m2",
        "names m2 in the copy of its run, and the source m",
    ),
    (f"runs:/{RUN}/m", f"runs:/{COPY}", "names no folder in the copy of its run, and the source m"),
    (
        f"s3://old/1/models/{MODEL}/artifacts",
        f"s3://new/7/models/{MODEL_COPY}/artifacts/a",
        "names a in the copy of its logged model, and the source no folder",
    ),
    (f"models:/{MODEL}/a", f"models:/{MODEL_COPY}/b", "names b in the copy of its logged model, and the source a"),
    (f"models:/{MODEL}", f"models:/{MODEL_COPY}", None),
    (f"models:/{MODEL}", f"models:/{SECOND_COPY}", f"the copy of {MODEL} is {MODEL_COPY}"),
    (f"models:/{SECOND}", f"models:/{SECOND_COPY}", f"{SECOND} has no copy on the target"),
    (f"models:/m-{'7' * 32}", f"models:/m-{'8' * 32}", None),
    ("models:/churn/2", "models:/churn/3", None),
    ("models:/churn/2", "models:/churn/2", "the copy of churn/2 is churn/3"),
    ("models:/churn/8", "models:/churn/8", "churn/8 has no copy on the target"),
    ("models:/churn/2", f"models:/{MODEL_COPY}", PASSES),
    ("s3://a", "models:/churn/3", PASSES),
    ("models:/churn/2", "s3://a", PASSES),
    ("models:/churn/x", "models:/churn/y", PASSES),
]


@pytest.mark.parametrize(("ours", "theirs", "note"), SOURCE_CASES)
def test_what_is_said_of_the_source_of_a_version(ours: str, theirs: str, note: str | None) -> None:
    """A version whose source is on the old server is gone with it: each such place is named for what it is."""
    mine, copy = (_version(run=RUN, logged_model=MODEL, source=one) for one in (ours, theirs))
    done = told(registry_fields.compare_source(mine, copy, _known()))
    rule = "model_version.source"
    if note is None:
        assert done == []
    elif note == PASSES:
        assert done == [("source", "expected", f"{rule}.own-place", ours, theirs, "")]
    else:
        assert done == [("source", "mismatch", rule, ours, theirs, note)]


def test_a_further_copy_may_be_named_and_a_version_may_be_itself() -> None:
    """Duplicates are said where they are; in a store that went on, the same place is no loss."""
    further = _known(further={"logged_model": {MODEL: {SECOND_COPY}}, "run": {}}, copies={RUN: {OTHER_COPY}})
    for ours, theirs in (
        (f"models:/{MODEL}", f"models:/{SECOND_COPY}"), (f"s3://old/1/{RUN}/m", f"s3://new/7/{OTHER_COPY}/m"),
        (f"s3://old/{MODEL}", f"s3://new/{SECOND_COPY}"),
    ):  # fmt: skip
        mine, copy = (_version(run=RUN, logged_model=MODEL, source=one) for one in (ours, theirs))
        assert {one.state.green for one in registry_fields.compare_source(mine, copy, further)} <= {True}
    went_on = _known(pairs={RUN: RUN}, entities={"logged_model": {MODEL: MODEL}})
    place = "s3://third/m"
    itself = _version(run=RUN, logged_model=MODEL, source=place, storage=place)
    assert registry_fields.compare_source(itself, itself, went_on) == []
    assert registry_fields.compare_storage(itself, itself, went_on) == []
    assert registry_fields.compare_source(_version(source=place), _version(source=place), _known()) == []
    for known, one, other in (
        (_known(entities={"logged_model": {MODEL: MODEL}}), itself, itself),
        (_known(pairs={RUN: RUN}), itself, itself),
        (went_on, itself, _version(2, "churn/2", run=RUN, logged_model=MODEL, source=place, storage=place)),
    ):
        assert [found.note for found in registry_fields.compare_source(one, other, known)] == [GOES]
        loaded = "is loaded from there: the copy is loaded from the source's place: it goes when the source goes"
        [found] = registry_fields.compare_storage(one, other, known)
        assert found.note == f"models:/churn/{other.facets['number']} {loaded}"


LOADED = "models:/churn/1 is loaded from there: "


@pytest.mark.parametrize(
    ("sources", "ours", "theirs", "found"),
    [
        (("s3://a", "s3://b"), "s3://a", "s3://b", ("expected", "")),
        (("", ""), "s3://a", "s3://b", ("expected", "")),
        (("s3://a", "s3://b"), None, "s3://b", ("unverified",
         "where the version is loaded from was not read from the source")),
        (("s3://a", "s3://b"), "s3://a", "", ("unverified",
         "where the version is loaded from was not read from the target")),
        (("s3://a", "s3://b"), "s3://a", "s3://old/1/x",
         ("mismatch", f"{LOADED}is in the source's store: it goes when the source goes")),
        (("s3://a", "s3://b"), "s3://a", f"s3://new/{SECOND}",
         ("mismatch", f"{LOADED}names the source's logged model: it goes when the source goes")),
        (("", ""), f"s3://old/{RUN}", f"s3://new/{OTHER_COPY}",
         ("mismatch", f"{LOADED}names another run: the copy of its own is {COPY}")),
        (("", ""), "s3://a", "s3://a/",
         ("mismatch", f"{LOADED}the copy is loaded from the source's place: it goes when the source goes")),
        (("", ""), "mlflow-artifacts:/a", "mlflow-artifacts:/a", None),
        (("s3://a", "s3://b"), "s3://a", "s3://c", ("mismatch", f"{LOADED}the version's source is at s3://b")),
        (("s3://a", "s3://b"), "s3://a", "s3://new/m2",
         ("mismatch", f"{LOADED}the version's source is at s3://b; this is the place of the copy of {SECOND}")),
        (("s3://a", "s3://b"), "s3://z", "s3://c", ("expected", "")),
        (("", "s3://b"), "s3://z", "s3://c", ("mismatch", f"{LOADED}the version's source is at s3://b")),
        (("runs:/x/m", "runs:/y/m"), "s3://a", "s3://c", ("expected", "")),
        # a source that names a logged model is that one's place, or a folder of it
        ((f"models:/{MODEL}", f"models:/{MODEL_COPY}"), "s3://old/1/models", "s3://new/models", ("expected", "")),
        ((f"models:/{MODEL}/a", f"models:/{MODEL_COPY}/a"), "s3://old/1/models/a", "s3://new/models/a",
         ("expected", "")),
        ((f"models:/{MODEL}", f"models:/{MODEL_COPY}"), "s3://old/1/models", "s3://new/other",
         ("mismatch", f"{LOADED}the version's source is at s3://new/models")),
        ((f"models:/{MODEL}/aX", f"models:/{MODEL_COPY}/aX"), "s3://old/1/models/aX", "s3://new/models",
         ("mismatch",
          f"{LOADED}the version's source is at s3://new/models/aX; this is the place of the copy of {MODEL}")),
        (("", "runs:/y/m"), "s3://a", "s3://c", ("expected", "")),
        (("", "models:/churn/3"), "s3://a", "s3://c", ("expected", "")),
        ((f"models:/{MODEL}", f"models:/{SECOND_COPY}"), "s3://old/1/models", "s3://new/other", ("expected", "")),
        ((f"models:/{MODEL}", "models:/churn/3"), "s3://old/1/models", "s3://new/other", ("expected", "")),
        (("", ""), "s3://a", "mlflow-artifacts://source.invalid:1/a",
         ("mismatch",
          f"{LOADED}it names the source's server source.invalid:1: the files go when the source goes")),
    ],
)  # fmt: skip
def test_what_is_said_of_where_a_version_is_loaded_from(
    sources: tuple[str, str], ours: str | None, theirs: str | None, found: tuple[str, str] | None
) -> None:
    """The place behind ``models:/churn/1`` is its own and the one that its source names: else another model loads."""
    mine = _version(run=RUN, logged_model=MODEL, source=sources[0], storage=ours)
    copy = _version(1, "churn/9", run=COPY, logged_model=MODEL_COPY, source=sources[1], storage=theirs)
    done = told(registry_fields.compare_storage(mine, copy, _known()))
    rule = "model_version.storage"
    named = f"{rule}.own-place" if found and found[0] == "expected" else rule
    key = "storage_location"
    assert done == ([] if found is None else [(key, found[0], named, ours, theirs, found[1])])


def test_a_logged_model_whose_place_is_not_known() -> None:
    """Nothing is said of where a version should be loaded from; of its own run and model, it is known all the same."""
    mine = _version(source=f"models:/{MODEL}", storage="s3://a")
    copy = _version(1, "churn/9", source=f"models:/{MODEL_COPY}", storage="s3://b")
    assert [one.state.value for one in registry_fields.compare_storage(mine, copy, _known(places={}))] == ["expected"]
    named = f"s3://new/{SECOND}"
    assert [
        one.state.value for one in registry_fields.compare_source(mine, _version(source=named), _known(known={}))
    ] == ["mismatch"]
    # one that was not read is the version's own all the same
    for kind, one, said in (("run", DEAD, "run"), ("logged_model", f"m-{'5' * 32}", "logged model")):
        [found] = registry_fields.compare_source(
            _version(**{kind: one}), _version(source=f"s3://new/{one}/m"), _known()
        )
        assert found.note == f"names the source's {said}: it goes when the source goes"
    went_on = _known(pairs={RUN: RUN}, entities={"logged_model": {MODEL: MODEL}})
    itself = _version(run=RUN, logged_model=MODEL, source=f"s3://third/{RUN}/{MODEL}")
    assert registry_fields.compare_source(itself, itself, went_on) == []


def test_two_versions_in_one_place_are_told() -> None:
    """What is overwritten for one of them is overwritten for the other: each copy has a place of its own."""
    known = _known()
    for number, said in ((1, ""), (2, "it is also the place of model version churn/1, the copy of churn/1")):
        one = _version(number, f"churn/{number}", source="", storage=f"s3://a/{number}")
        copy = _version(number, f"churn/{number}", source="", storage="s3://b")
        [found] = registry_fields.compare_storage(one, copy, known)
        assert found.note == (f"models:/churn/2 is loaded from there: {said}" if said else "")


# --- what can be read, and what resolves

ACCESS = "model_version.access"


def _tree(*files: Artifact, error: str | None = None) -> ArtifactTree:
    return ArtifactTree("v", files, error)


def _mlmodel(content: bytes | None, error: str | None = None) -> Artifact:
    return Artifact("MLmodel", 1, "0", content, error)


GOOD, BAD = _mlmodel(b"a: 1"), _mlmodel(b"- a")


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (_tree(GOOD), _tree(GOOD), []),
        (_tree(), _tree(), []),
        (_tree(GOOD), _tree(error="denied"), [("", "unverified", "its files could not be listed: denied")]),
        (_tree(GOOD), _tree(GOOD, Artifact("a", 1, error="denied")), [("a", "unverified",
         "cannot be downloaded: denied")]),
        (_tree(GOOD), _tree(), [("MLmodel", "missing", "a version without it cannot be loaded")]),
        (_tree(GOOD), _tree(Artifact("sub/MLmodel", 1, "0", b"a: 1")),
         [("MLmodel", "missing", "a version without it cannot be loaded")]),
        (_tree(GOOD), _tree(_mlmodel(None)), [("MLmodel", "unverified", "too large to be parsed")]),
        (_tree(GOOD), _tree(_mlmodel(b"x", "gone")), [("MLmodel", "unverified", "cannot be downloaded: gone")]),
        (_tree(GOOD), _tree(BAD), [("MLmodel", "mismatch", "does not parse: it is not a mapping")]),
        (_tree(), _tree(BAD), [("MLmodel", "mismatch", "does not parse: it is not a mapping")]),
        (_tree(_mlmodel(None)), _tree(BAD), [("MLmodel", "mismatch", "does not parse: it is not a mapping")]),
        # it was so before
        (_tree(BAD), _tree(BAD), []),
        (_tree(), _tree(GOOD), []),
    ],
)  # fmt: skip
def test_what_is_said_of_the_files_that_a_version_is_loaded_from(
    ours: ArtifactTree, theirs: ArtifactTree, found: list[tuple[str, str, str]]
) -> None:
    """A version that nobody can load is lost, even where all its bytes are equal; what was broken before is no loss."""
    done = told(registry_fields.compare_access(ours, theirs))
    assert done == [(key, state, ACCESS, None, None, note) for key, state, note in found]


def _answer(alias: str, version: str | None, error: str | None = None) -> Resolved:
    return Resolved("churn", alias, version, error)


@pytest.mark.parametrize(
    ("listed", "before", "answers", "found"),
    [
        ({"a": "1"}, {"a": "1"}, [_answer("a", "1")], []),
        (None, None, [], []),
        ({"a": "1"}, {}, [_answer("a", "2")],
         [("a", "mismatch", "1", "2", "the server resolves it to another version than its list says")]),
        ({"a": "1"}, {}, [_answer("a", None)],
         [("a", "missing", "1", None, "the server lists it and does not resolve it")]),
        ({"a": "1"}, {}, [], [("a", "unverified", "1", None, "it was not asked for")]),
        ({"a": "1"}, {}, [_answer("a", None, "denied")],
         [("a", "unverified", "1", None, "it cannot be asked for: denied")]),
        ({}, {"b": "1"}, [_answer("b", None)], []),
        ({}, {"b": "1"}, [], [("b", "unverified", None, None, "it was not asked for")]),
        ({}, {"b": "1"}, [_answer("b", "1")],
         [("b", "mismatch", None, "1", "the server resolves it to another version than its list says")]),
        ({"b": "1"}, {"a": "1"}, [], [("a", "unverified", None, None, "it was not asked for"),
                                      ("b", "unverified", "1", None, "it was not asked for")]),
    ],
)  # fmt: skip
def test_what_is_said_of_what_an_alias_resolves_to(
    listed: Any, before: Any, answers: list[Resolved], found: list[tuple[Any, ...]]
) -> None:
    """What programs get is what the server resolves, not what it lists; an alias that was not asked for is no pass."""
    source, target = (an_entity("registered_model", "churn", aliases=one) for one in (before, listed))
    done = told(registry_fields.compare_resolved(source, target, answers))
    assert done == [(key, state, "registered_model.resolves", *values) for key, state, *values in found]
