"""Files of a pair: what is said of each, at every depth; MLmodel as YAML, word for word."""

from __future__ import annotations

from typing import Any

import pytest
from support.records import COPY, MODEL, MODEL_COPY, RUN, a_run, told

from mlflow_parity.comparing import trees
from mlflow_parity.comparing.trees import ModelIds, compare_mlmodel, compare_trees, parses, without_ids
from mlflow_parity.core.records import Artifact, ArtifactTree

RULE, MLMODEL, IMAGES = "run.artifacts", "run.artifacts.mlmodel", "run.artifacts.images"
SOURCE, TARGET = a_run(), a_run(run_id=COPY, artifact_uri=f"s3://new/7/{COPY}/artifacts")


def _file(path: str = "a", size: int | None = 3, sha: str | None = "x", content: bytes | None = None,
          error: str | None = None) -> Artifact:  # fmt: skip
    return Artifact(path, size, sha, content, error)


def _tree(*files: Artifact, error: str | None = None) -> ArtifactTree:
    return ArtifactTree("r", files, error)


def _compared(ours: ArtifactTree, theirs: ArtifactTree, *, hashed: bool = True, **given: Any) -> list[tuple[Any, ...]]:
    found = compare_trees(ours, theirs, SOURCE, TARGET, {RUN: COPY}, ModelIds(), hashed=hashed, **given)
    return told(found)


FACTS = "3 bytes, sha256 {}".format
ERROR = "the {}'s file could not be read: denied".format


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (_tree(_file()), _tree(_file()), []),
        (_tree(_file()), _tree(_file(sha="y")), [("a", "mismatch", RULE, FACTS("x"), FACTS("y"),
         "same size, other bytes")]),
        (_tree(_file()), _tree(_file(size=4, sha="y")),
         [("a", "mismatch", RULE, FACTS("x"), "4 bytes, sha256 y", "")]),
        (_tree(_file()), _tree(_file(size=4)), [("a", "mismatch", RULE, FACTS("x"), "4 bytes, sha256 x", "")]),
        (_tree(_file("b"), _file("c")), _tree(_file("a"), _file("c")),
         [("a", "extra", RULE, None, FACTS("x"), ""), ("b", "missing", RULE, FACTS("x"), None, "")]),
        (_tree(_file(sha=None)), _tree(), [("a", "missing", RULE, "3 bytes", None, "")]),
        (_tree(_file(sha=None)), _tree(_file()),
         [("a", "unverified", RULE, None, None, "one side was read without hashes")]),
        (_tree(_file()), _tree(_file(sha=None)),
         [("a", "unverified", RULE, None, None, "one side was read without hashes")]),
        (_tree(_file(error="denied")), _tree(_file()), [("a", "unverified", RULE, None, None, ERROR("source"))]),
        (_tree(_file(error="denied")), _tree(_file(error="denied")),
         [("a", "unverified", RULE, None, None, ERROR("source")), ("a", "unverified", RULE, None, None,
          ERROR("target"))]),
        (_tree(_file()), _tree(error="gone"),
         [("", "unverified", RULE, None, None, "the target's artifacts could not be listed: gone")]),
        (_tree(error="down"), _tree(error="gone"),
         [("", "unverified", RULE, None, None, "the source's artifacts could not be listed: down"),
          ("", "unverified", RULE, None, None, "the target's artifacts could not be listed: gone")]),
        # nothing is known of what is in a folder that could not be listed; the others are compared all the same
        (_tree(_file("d/", error="denied"), _file("e")), _tree(_file("d/x"), _file("da"), _file("e", sha="y")),
         [("d/", "unverified", RULE, None, None, "on the source: denied"),
          ("da", "extra", RULE, None, FACTS("x"), ""),
          ("e", "mismatch", RULE, FACTS("x"), FACTS("y"), "same size, other bytes")]),
        (_tree(_file("d/x"), _file("z/y")), _tree(_file("d/", error="denied"), _file("z/", error="gone")),
         [("d/", "unverified", RULE, None, None, "on the target: denied"),
          ("z/", "unverified", RULE, None, None, "on the target: gone")]),
        # small texts are shown as lines
        (_tree(_file(content=b"1\n2")), _tree(_file(sha="y", content=b"1\n3")),
         [("a", "mismatch", RULE, ["1", "2"], ["1", "3"], "same size, other bytes")]),
        (_tree(_file(content=b"1\n2")), _tree(_file(sha="y")),
         [("a", "mismatch", RULE, FACTS("x"), FACTS("y"), "same size, other bytes")]),
        (_tree(_file()), _tree(_file(sha="y", content=b"1")),
         [("a", "mismatch", RULE, FACTS("x"), FACTS("y"), "same size, other bytes")]),
        (_tree(_file(content=b"\xff")), _tree(_file(sha="y", content=b"1")),
         [("a", "mismatch", RULE, FACTS("x"), FACTS("y"), "same size, other bytes")]),
        (_tree(_file(content=b"1\n" * 201)), _tree(_file(sha="y", content=b"2\n" * 201)),
         [("a", "mismatch", RULE, ["1"] * 200, ["2"] * 200, "same size, other bytes")]),
        (_tree(_file(content=b"")), _tree(_file(sha="y", content=b"2")),
         [("a", "mismatch", RULE, FACTS("x"), ["2"], "same size, other bytes")]),
    ],
)  # fmt: skip
def test_what_is_said_of_a_file(ours: ArtifactTree, theirs: ArtifactTree, found: list[tuple[Any, ...]]) -> None:
    """Lost, added, changed, or not read: each file by its path, with what is known of it on both sides."""
    assert _compared(ours, theirs) == found


LISTED = "a size is not known; use --parity-depth digest"
AGAIN = "MLmodel is written again by the tool; only --parity-depth digest can compare it"


@pytest.mark.parametrize(
    ("path", "ours", "theirs", "found"),
    [
        ("a", 3, 3, None),
        ("a", 3, 4, ("mismatch", RULE, "3 bytes", "4 bytes", "")),
        ("a", None, 4, ("unverified", RULE, None, None, LISTED)),
        ("a", 3, None, ("unverified", RULE, None, None, LISTED)),
        ("a", None, None, ("unverified", RULE, None, None, LISTED)),
        ("m/MLmodel", 3, 3, None),
        ("m/MLmodel", 3, 4, ("unverified", MLMODEL, None, None, AGAIN)),
        ("m/MLmodel.txt", 3, 4, ("mismatch", RULE, "3 bytes", "4 bytes", "")),
    ],
)
def test_what_is_said_of_a_file_that_was_only_listed(
    path: str, ours: int | None, theirs: int | None, found: tuple[Any, ...] | None
) -> None:
    """Sizes are all that there is at this depth: what they cannot tell is unverified, not equal."""
    done = _compared(_tree(_file(path, ours, None)), _tree(_file(path, theirs, None)), hashed=False)
    assert done == ([] if found is None else [(path, *found)])


def test_files_of_other_objects_break_their_own_rules() -> None:
    """A logged model's files stand under the rules of logged models."""
    one, other = _mlmodel(b"a: 1"), _mlmodel(b"a: 2")
    rule = "logged_model.files"
    assert [found[:3] for found in _compared(_tree(one, _file()), _tree(other), rule=rule)] == [
        ("MLmodel: a", "mismatch", f"{rule}.mlmodel"), ("a", "missing", rule),
    ]  # fmt: skip


def _mlmodel(content: bytes, sha: str = "x") -> Artifact:
    return Artifact("MLmodel", len(content), sha, content)


OLD = "images/loss%step%20%timestamp%1712345678901%0a9d6313-188b-4c74-b0eb-578967659d2a.png"
NEW = OLD.replace("%", "+")


def test_an_image_under_its_newer_name() -> None:
    """Of runs, where images may be renamed: the same bytes pass under the rule that names it, others do not."""
    ours, theirs = _tree(_file(OLD), _file("b")), _tree(_file("b"), _file(NEW))
    assert _compared(ours, theirs, images=True) == [(OLD, "expected", IMAGES, OLD, NEW, "")]
    apart = [(NEW, "extra"), (OLD, "missing")]
    others: list[dict[str, Any]] = [{}, {"images": True, "rule": "logged_model.files"}]
    for given in others:
        assert sorted(one[:2] for one in _compared(ours, theirs, **given)) == sorted(apart)
    assert [one[:3] for one in _compared(ours, _tree(_file("b"), _file(NEW, sha="y")), images=True)] == [
        (OLD, "mismatch", RULE)
    ]
    assert _compared(_tree(_file(OLD)), _tree(_file(OLD)), images=True) == []
    # both names there: the newer one is an image more
    assert [one[:2] for one in _compared(_tree(_file(OLD)), _tree(_file(OLD), _file(NEW)), images=True)] == [
        (NEW, "extra")
    ]


def test_an_mlmodel_among_the_files_is_compared_through_the_pairing() -> None:
    """Runs, models and places by what is known of them; the same bytes name the source's run, which is wrong there."""
    text = "run_id: {}\nmodel_id: {}\nat: {}/x\n".format
    one, other = _mlmodel(text("q", MODEL, "s3://p").encode()), _mlmodel(text("q copy", MODEL_COPY, "s3://r").encode())
    known = SOURCE, TARGET, {"q": "q copy"}
    given: dict[str, Any] = {"hashed": True, "places": [("s3://p", "s3://r")]}
    found = compare_trees(_tree(one), _tree(other), *known, ModelIds({MODEL: MODEL_COPY}), **given)
    assert told(found) == [("MLmodel", "expected", MLMODEL, None, None, "equal as YAML through the pairing")]
    found = compare_trees(_tree(one), _tree(one), *known, ModelIds({MODEL: MODEL_COPY}), **given)
    assert [found.key for found in found] == ["MLmodel: run_id", "MLmodel: model_id", "MLmodel: at"]


# --- MLmodel

PAIRS = {RUN: COPY, "other": "other copy"}


def _yaml(ours: str, theirs: str, source: Any = SOURCE, target: Any = TARGET, places: Any = (),
          models: ModelIds | None = None) -> list[tuple[Any, ...]]:  # fmt: skip
    found = compare_mlmodel("m", ours.encode(), theirs.encode(), source, target, PAIRS, models or ModelIds(), places)
    return told(found)


SAME = ("m", "expected", MLMODEL, None, None, "equal as YAML through the pairing")
NOT_COPY = "not the copy of its run"
ONE_TO_ONE = "ids do not map one to one within the experiment"
NO_RUN = a_run(run_id="")


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ("a: 1", "a: 1", []),
        ("a: 1", "a:  1", [SAME]),
        (f"run_id: {RUN}", f"run_id: {COPY}", [SAME]),
        (f"run_id: '{RUN}'", f"run_id: '{RUN}'", [("m: run_id", "mismatch", MLMODEL, COPY, RUN, NOT_COPY)]),
        (f"run_id: {RUN}", "{}", [("m: run_id", "missing", MLMODEL, COPY, None, NOT_COPY)]),
        ("run_id: other", "run_id: other copy", [SAME]),
        ("run_id: other", "run_id: other", [("m: run_id", "mismatch", MLMODEL, "other copy", "other", NOT_COPY)]),
        ("run_id: gone", "run_id:  gone", [SAME]),
        ("run_id: gone", f"run_id: {COPY}", [("m: run_id", "mismatch", MLMODEL, "gone", COPY, NOT_COPY)]),
        ("{}", f"run_id: {COPY}", [SAME]),
        ("{}", "run_id: other copy", [("m: run_id", "mismatch", MLMODEL, COPY, "other copy", NOT_COPY)]),
        ("a: 1\nb: 2\nd: 4", "b: 3\nc: 4\nd: 4",
         [("m: a", "missing", MLMODEL, 1, None, ""), ("m: b", "mismatch", MLMODEL, 2, 3, ""),
          ("m: c", "extra", MLMODEL, None, 4, "")]),
        (f"model_id: {MODEL}", f"model_id: {MODEL_COPY}", [SAME]),
        (f"model_id: {MODEL}", f"model_id: {MODEL}", [("m: model_id", "mismatch", MLMODEL, MODEL, MODEL, ONE_TO_ONE)]),
        ("model_uuid: a", "{}", [("m: model_uuid", "missing", MLMODEL, "a", None, "")]),
        ("{}", "model_uuid: a", [("m: model_uuid", "extra", MLMODEL, None, "a", "")]),
        ("model_uuid: 1\nmodel_id: 1", "model_uuid: 2\nmodel_id: 3", [SAME]),
        # places and the run's id below the top level follow; a nested run_id is compared as it is
        (f"a: [s3://old/1/{RUN}/artifacts/m]", f"a: [s3://new/7/{COPY}/artifacts/m]", [SAME]),
        (f"a: {{b: x/{RUN}/y}}", f"a: {{b: x/{COPY}/y}}", [SAME]),
        (f"a: {{run_id: {RUN}}}", f"a: {{run_id:  {RUN}}}", [SAME]),
        (f"a: {{run_id: '{RUN}'}}", f"a: {{run_id: {COPY}}}",
         [("m: a", "mismatch", MLMODEL, {"run_id": RUN}, {"run_id": COPY}, "")]),
        ("a: {run_id: [x]}", "a: {run_id:  [x]}", [SAME]),
        ("a: [p/q]", "a: [r/q]", [SAME]),
        # no mapping
        ("- a", "- a", []),
        ("- a", "- b", [("m", "mismatch", RULE, ["a"], ["b"], "")]),
        ("- a", "a: 1", [("m", "mismatch", RULE, ["a"], {"a": 1}, "")]),
        ("a: 1", "- a", [("m", "mismatch", RULE, {"a": 1}, ["a"], "")]),
        # keys of several types
        ("1: a", "1:  a", [SAME]),
        ("1: a", "true: a", [("m: !!bool True", "extra", MLMODEL, None, "a", ""),
                             ("m: !!int 1", "missing", MLMODEL, "a", None, "")]),
        ("a: .nan", "a:  .nan", [SAME]),
        ("a: {b: .nan}", "a: {b: 1.5}", None),
        ("a: 1.5", "a: 2.5", [("m: a", "mismatch", MLMODEL, 1.5, 2.5, "")]),
        ("a: [1]", "a: [1, 1]", [("m: a", "mismatch", MLMODEL, [1], [1, 1], "")]),
        ("a: {b: 1}", "a: {b: 1.0}", [("m: a", "mismatch", MLMODEL, {"b": 1}, {"b": 1.0}, "")]),
        ("a: {b: 1}", "a: {c: 1}", [("m: a", "mismatch", MLMODEL, {"b": 1}, {"c": 1}, "")]),
    ],
)  # fmt: skip
def test_what_is_said_of_an_mlmodel(ours: str, theirs: str, found: list[tuple[Any, ...]] | None) -> None:
    """By its keys: ids and places are those of the copy, and all else is equal, or a model loads otherwise."""
    models = ModelIds({MODEL: MODEL_COPY})
    if found is None:
        # what is not a number is equal to nothing, also in this test
        assert [one[:3] for one in _yaml(ours, theirs, models=models)] == [("m: a", "mismatch", MLMODEL)]
        return
    assert _yaml(ours, theirs, places=[("p/", "r/"), ("", "never")], models=models) == found


def test_the_run_in_an_mlmodel_is_the_copy_of_its_run_whatever_the_owner_says() -> None:
    """A copy that hangs on another run names that one in its MLmodel as well: both are wrong."""
    other = a_run(run_id="other copy")
    assert _yaml(f"run_id: {RUN}", "run_id: other copy", target=other) == [
        ("m: run_id", "mismatch", MLMODEL, COPY, "other copy", NOT_COPY)
    ]
    lone = a_run(run_id="lone")
    assert _yaml("run_id: lone", f"run_id: {COPY}", source=lone) == [SAME]


def test_an_mlmodel_of_what_has_no_run_and_no_place() -> None:
    """Nothing is put for nothing."""
    bare = a_run(run_id="", artifact_uri="")
    assert _yaml("a: b", "a:  b", bare, bare) == [SAME]
    assert _yaml("{}", " {}", bare, bare) == [SAME]


def test_an_mlmodel_that_is_no_yaml() -> None:
    """Other bytes are a mismatch, whatever they would mean; and the reason is one line."""
    found = _yaml("{", "{ ")
    assert [one[:5] for one in found] == [("m", "mismatch", RULE, "1 bytes", "2 bytes")]
    reason = "bytes differ and it cannot be compared as YAML: while parsing a flow node"
    assert found[0][5] == reason
    assert _yaml("{", "{") == []
    deep = "[" * 201
    assert _yaml(deep, deep + " ")[0][5].endswith("as YAML: nested deeper than 200 levels")
    assert _yaml("a: " + "9" * 1_002, "a: 1")[0][5].endswith("as YAML: a number of more than 1,000 digits")
    alike = _yaml("a: {1: x, '!!int 1': y}", "a: 1")
    assert alike[0][5].endswith("as YAML: keys of several types that look alike")


def test_a_reason_is_one_line() -> None:
    """An error without words is called by its name."""
    assert trees._reason(ValueError("one\ntwo")) == "one"
    assert trees._reason(RecursionError()) == "RecursionError"


def test_an_mlmodel_of_too_many_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand there, and written out: a document of a few lines may stand for a billion."""
    monkeypatch.setattr(trees, "_MAX_NODES", 5)
    assert parses(b"[a, b, c, d]") == "it is not a mapping"
    assert parses(b"[a, b, c, d, e]") == "more than 5 nodes"
    with pytest.raises(ValueError, match="more than 5 nodes"):
        trees.load_mlmodel(b"[a, b, c, d, e]")
    aliases = b"- &a [x, y]\n- *a\n- *a\n- *a\n"
    monkeypatch.setattr(trees, "_MAX_NODES", 13)
    assert parses(aliases) == "it is not a mapping"
    monkeypatch.setattr(trees, "_MAX_NODES", 12)
    assert parses(aliases) == "more than 12 nodes"


def test_model_ids_stand_for_one_another() -> None:
    """Both ways, each kind of id for itself, and the known pairs first."""
    assert not ModelIds({"a": "b"}).agree("model_id", "a", "c")
    assert not ModelIds({"a": "b"}).agree("model_id", "d", "b")
    models = ModelIds({"a": "b"})
    assert models.agree("model_id", "a", "b")
    assert models.agree("model_uuid", "a", "c")
    assert models.agree("model_id", "x", "y")
    assert not models.agree("model_id", "x", "z")
    assert not models.agree("model_id", "z", "y")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: 1", None),
        (b"- a", "it is not a mapping"),
        (b"", "it is not a mapping"),
        (b"{", "while parsing a flow node"),
        (b"a: " + b"[" * 199 + b"]" * 199, None),
        (b"a: " + b"[" * 200 + b"]" * 200, "nested deeper than 200 levels"),
        (b"a: '" + b"9" * 1_001 + b"'", None),
        (b"a: " + b"9" * 1_000, None),
        (b"a: " + b"9" * 1_001, "a number of more than 1,000 digits"),
        (b"a: -" + b"9" * 1_001, "a number of more than 1,000 digits"),
        (b"a: !!int '" + b"9" * 1_001 + b"'", "a number of more than 1,000 digits"),
        (b"a: !!str " + b"x" * 1_001, None),
    ],
    ids=range(12),
)
def test_why_an_mlmodel_cannot_be_loaded(content: bytes, reason: str | None) -> None:
    """In one line, which the facet ``access`` shows; nothing in it can hang or kill the audit."""
    assert parses(content) == reason


def test_what_is_the_same_in_the_mlmodel_of_a_copy() -> None:
    """All but its own ids and places: by that, models that are alike are told apart."""
    ids = "run_id: {0}\nartifact_path: {1}/m\nmodel_id: {2}\nmodel_uuid: {2}\n"
    text = (ids + "flavors: {{a: {1}/data}}\nname: {3}\n").format
    one = text(RUN, "s3://old", MODEL, "x").encode()
    assert without_ids(one, ["s3://old"]) == without_ids(text(COPY, "s3://new", MODEL_COPY, "x").encode(), ["s3://new"])
    assert without_ids(one, ["s3://old"]) == "flavors:\n  a: /data\nname: x\n"
    assert without_ids(one, ["s3://old"]) != without_ids(text(RUN, "s3://old", MODEL, "y").encode(), ["s3://old"])
    assert without_ids(b"- a", []) == "b'- a'"
    assert without_ids(b"{", []) == "b'{'"
    long = "w " * 200
    assert without_ids(f"a: {long}".encode(), []) == f"a: {long.strip()}\n"
