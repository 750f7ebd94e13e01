"""Objects that share name, type and content: which is the copy of which is told by what they hold, then by order."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from support.entities import Store
from support.memory import Store as Server
from support.memory import run_audit
from support.object_audit import Known, compare_stores, red
from support.stores import imported

from mlflow_parity.comparing.difference import Outcome
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import Artifact, ArtifactTree, Entity, Experiment, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.pairing.by_kind import ObjectPairing, pair_objects

SEEDS = range(4)


def model(number: int, side: str = "", **facets: Any) -> Entity:
    """A logged model that nothing but what it holds tells from the next."""
    given: dict[str, Any] = {"type": "", "status": {"status": "READY", "message": ""}, "tags": {}, "params": {},
             "metrics": [], "run": None, "times": {}}  # fmt: skip
    made = 500 if side else number
    return Entity("logged_model", f"m-{side}{number}", "model", "77" if side else "1", made, {**given, **facets})


def tree(one: Entity, *files: Artifact) -> ArtifactTree:
    """Its files."""
    return ArtifactTree(one.entity_id, files)


def weights(letter: str) -> Artifact:
    """A file of a size that all have."""
    return Artifact("weights.bin", 3, letter * 64)


def mlmodel(one: Entity, when: int) -> Artifact:
    """An MLmodel that holds its own model's id, and says when it was made."""
    text = f"model_id: {one.entity_id}\nutc_time_created: '{when}'\nflavors: {{}}\n".encode()
    return Artifact("MLmodel", len(text), text.hex(), text)


def judged(source: Store, target: Store, seed: int = 0) -> list[Outcome]:
    """Compare both sides, the target's objects in any order."""
    random.Random(seed).shuffle(target.objects)
    return compare_stores(source, target, Known({}, {"1": "77"}))


def pairs(outcomes: list[Outcome]) -> dict[str | None, str | None]:
    """Source id to target id of what is paired."""
    return {one.row.source_id: one.row.target_id for one in outcomes if one.row.facet == "presence"}


@pytest.mark.parametrize("seed", SEEDS)
def test_models_that_differ_in_their_files_alone(seed: int) -> None:
    """Each finds its own copy, though names, params and tags say nothing."""
    ours, theirs = [model(n) for n in range(3)], [model(n, "copy-") for n in range(3)]
    source = Store(ours, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(ours)})
    target = Store(theirs, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(theirs)})
    outcomes = judged(source, target, seed)
    assert red(outcomes) == set()
    assert pairs(outcomes) == {f"m-{n}": f"m-copy-{n}" for n in range(3)}


@pytest.mark.parametrize("seed", SEEDS)
def test_models_that_differ_in_an_mlmodel_alone(seed: int) -> None:
    """The same model logged twice: the time in its MLmodel tells, though the ids in it are others."""
    ours, theirs = [model(n) for n in range(3)], [model(n, "copy-") for n in range(3)]
    source = Store(ours, {one.entity_id: tree(one, mlmodel(one, n)) for n, one in enumerate(ours)})
    target = Store(theirs, {one.entity_id: tree(one, mlmodel(one, n)) for n, one in enumerate(theirs)})
    assert red(judged(source, target, seed)) == set()


@pytest.mark.parametrize("seed", SEEDS)
def test_one_changed_file_blames_one_model(seed: int) -> None:
    """The one whose copy has other bytes, and no other; whatever else is like it."""
    ours, theirs = [model(n) for n in range(3)], [model(n, "copy-") for n in range(3)]
    source = Store(ours, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(ours)})
    target = Store(theirs, {one.entity_id: tree(one, weights("axc"[n])) for n, one in enumerate(theirs)})
    outcomes = judged(source, target, seed)
    assert [(one.row.source_id, one.row.facet) for one in outcomes if not one.row.state.green] == [("m-1", "files")]


@pytest.mark.parametrize("seed", SEEDS)
def test_two_changed_params_are_no_guess(seed: int) -> None:
    """Two of three have another param on the target: by their files it is known which, and nothing is ambiguous."""
    ours = [model(n, params={"n": str(n)}) for n in range(3)]
    theirs = [model(n, "copy-", params={"n": str(n and n + 7)}) for n in range(3)]
    source = Store(ours, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(ours)})
    target = Store(theirs, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(theirs)})
    outcomes = judged(source, target, seed)
    assert red(outcomes) == {("logged_model", "params", "mismatch")}
    assert pairs(outcomes) == {f"m-{n}": f"m-copy-{n}" for n in range(3)}


def test_without_evidence_it_is_ambiguous() -> None:
    """Two that differ from both originals alike: a guess would blame by chance."""
    source = Store([model(n, params={"n": str(n)}) for n in range(2)])
    target = Store([model(n, "copy-", params={"n": str(n + 7)}) for n in range(2)])
    assert ("logged_model", "presence", "ambiguous") in red(judged(source, target))


def test_identical_ones_are_paired_in_order_and_all_green() -> None:
    """Nothing tells them apart, so nothing is lost whichever is which: in the order in which they were made."""
    ours, theirs = [model(n) for n in range(4)], [replace(model(n, "copy-"), created=500 + n) for n in range(4)]
    outcomes = judged(Store(ours), Store(theirs), 3)
    assert red(outcomes) == set()
    assert pairs(outcomes) == {f"m-{n}": f"m-copy-{n}" for n in range(4)}


def test_a_doubled_one_does_not_stand_in_for_a_missing_one() -> None:
    """One copied twice, another not at all: a duplicate and a missing one, not a changed one."""
    ours = [model(n, params={"n": str(n)}) for n in range(2)]
    theirs = [model(n, "copy-", params={"n": "0"}) for n in range(2)]
    states = {(row.facet, row.state) for row in (one.row for one in judged(Store(ours), Store(theirs)))}
    assert ("presence", State.DUPLICATE) in states
    assert ("presence", State.MISSING) in states


def trace(number: int, side: str = "", **facets: Any) -> Entity:
    """A trace of the same name and time as the next one."""
    span: dict[str, Any] = {
        **{"span_id": f"{side}s{number}", "parent_id": None, "name": "root", "start_ns": 1, "end_ns": 2, "type": "LLM"},
        **{"inputs": {"n": number}, "outputs": None, "attributes": {}, "events": [], "status": {}},
    }
    given = {"state": "OK", "times": {"request": 5, "duration": 1}, "client_request_id": None, "tags": {},
             "previews": {"request": "", "response": ""}, "metadata": {}, "run": None, "run_links": [],
             "logged_model": None,
             "prompts": [], "spans": [span], "assessments": []}  # fmt: skip
    return Entity("trace", f"tr-{side}{number}", "ask", "77" if side else "1", 5, {**given, **facets})


@pytest.mark.parametrize("seed", SEEDS)
def test_traces_of_one_name_and_time(seed: int) -> None:
    """Their spans tell them apart, under new ids."""
    source, target = Store([trace(n) for n in range(5)]), Store([trace(n, "copy-") for n in range(5)])
    outcomes = judged(source, target, seed)
    assert red(outcomes) == set()
    assert pairs(outcomes) == {f"tr-{n}": f"tr-copy-{n}" for n in range(5)}


@pytest.mark.parametrize("seed", SEEDS)
def test_siblings_of_one_time_and_name(seed: int) -> None:
    """Spans that began at once under one parent: what they hold, and what is below them, tells them apart."""

    def spans(side: str, order: list[int]) -> list[dict[str, Any]]:
        [root] = trace(0).facets["spans"]
        found = [{**root, "span_id": f"{side}root"}]
        for number in order:
            found.append({**root, "span_id": f"{side}{number}", "parent_id": f"{side}root", "name": "call"})
            found.append(
                {**root, "span_id": f"{side}{9 - number}-x", "parent_id": f"{side}{number}", "outputs": number}
            )
        return found

    order = random.Random(seed).sample(range(4), 4)
    source, target = (
        Store([trace(0, side, spans=spans(f"{side}s", places))])
        for side, places in (("", [0, 1, 2, 3]), ("copy-", order))
    )
    # ids that sort otherwise than those of the source
    assert red(judged(source, target, seed)) == set()
    target.objects[0].facets["spans"][2]["outputs"] = "other"
    assert red(judged(source, target, seed)) == {("trace", "spans", "mismatch")}


@pytest.mark.parametrize("seed", SEEDS)
def test_traces_that_differ_in_their_links_alone(seed: int) -> None:
    """The logged model that each names, through the pairing of the models."""
    models = [model(n, params={"n": str(n)}) for n in range(3)]
    copies = [model(n, "copy-", params={"n": str(n)}) for n in range(3)]
    [span] = trace(0).facets["spans"]
    source = Store([*models, *(trace(n, spans=[span], logged_model=f"m-{n}") for n in range(3))])
    target = Store([*copies, *(trace(n, "copy-", spans=[span], logged_model=f"m-copy-{n}") for n in range(3))])
    assert red(judged(source, target, seed)) == set()


def version(number: int, **facets: Any) -> Entity:
    """A version that says nothing of itself."""
    given = {"number": number, "status": {}, "description": "", "tags": {}, "user": "", "stage": "None", "run": None,
             "logged_model": None, "source": "", "times": {}}  # fmt: skip
    return Entity("model_version", f"churn/{number}", f"churn version {number}", "churn", number, {**given, **facets})


@pytest.mark.parametrize("seed", SEEDS)
def test_versions_numbered_anew_without_source_tags(seed: int) -> None:
    """2, 4 and 5 became 1, 2 and 3: by their files each is found, and only the numbers are red."""
    ours, theirs = [version(n) for n in (2, 4, 5)], [version(n) for n in (1, 2, 3)]
    source = Store(ours, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(ours)})
    target = Store(theirs, {one.entity_id: tree(one, weights("abc"[n])) for n, one in enumerate(theirs)})
    outcomes = judged(source, target, seed)
    assert red(outcomes) == {("model_version", "number", "mismatch")}
    assert pairs(outcomes) == {"churn/2": "churn/1", "churn/4": "churn/2", "churn/5": "churn/3"}


def test_a_gap_that_was_filled_does_not_hide_other_bytes() -> None:
    """Version 3 has other files, and there is one too many: that one is said, and 3 is red for its files."""
    ours, theirs = [version(n) for n in (1, 3)], [version(n) for n in (1, 2, 3)]
    source = Store(ours, {"churn/1": tree(ours[0], weights("a")), "churn/3": tree(ours[1], weights("c"))})
    target = Store(theirs, {f"churn/{n}": tree(theirs[n - 1], weights("axy"[n - 1])) for n in (1, 2, 3)})
    outcomes = judged(source, target)
    assert ("model_version", "files", "mismatch") in red(outcomes)
    assert ("model_version", "presence", "duplicate") in red(outcomes)
    assert pairs(outcomes)["churn/3"] == "churn/3"


def test_evidence_is_read_only_where_it_is_needed() -> None:
    """Objects that their names tell apart cost no reading."""
    asked: list[str] = []

    def evidence(key: Any) -> tuple[bytes, ...]:
        asked.append(key.entity_id)
        return ()

    source = Store([replace(model(n), name=f"model {n}") for n in range(50)])
    target = Store([replace(model(n, "copy-"), name=f"model {n}") for n in range(50)])
    pairing: ObjectPairing = pair_objects(
        source.keys("logged_model"), target.keys("logged_model"), {}, (evidence, evidence)
    )
    assert len(pairing.pairs) == 50
    assert asked == []


def test_the_audit_uses_what_it_read() -> None:
    """From the reader by the snapshot to the verdict: two models of one name in one run, told apart by their bytes."""
    run = Run("1" * 32, "1", "r", "FINISHED", 1, 2, "ada", "active", f"mlflow-artifacts:/1/{'1' * 32}/artifacts",
              {}, {"mlflow.user": "ada"}, {}, ())  # fmt: skip
    source = Server([Experiment("1", "e", "active", "mlflow-artifacts:/1", 5, 6, {})], [run])
    target = imported(source)
    [copy_of_run], [copy_of_experiment] = target.runs, target.experiments
    for server, side, letters, owner in ((source, "", "ab", run), (target, "copy-", "ba", copy_of_run)):
        for number, letter in enumerate(letters):
            one = replace(
                model(number, side, run=owner.run_id), container=owner.experiment_id, artifact_uri=f"x:/{side}{number}"
            )
            server.objects.append(one)
            server.trees[one.entity_id] = tree(one, weights(letter))
    assert copy_of_experiment.experiment_id == copy_of_run.experiment_id
    audited = run_audit(source, target)
    assert audited.found == set()
    assert audited.result.green
    target.trees["m-copy-0"] = replace(target.trees["m-copy-0"], files=(weights("x"),))
    assert {(facet, state) for _, facet, _, state in run_audit(source, target).found} == {("files", "mismatch")}


# --- by their keys alone


def key(kind: str, identity: str, **given: Any) -> ObjectKey:
    """What pairing knows of an object; all are alike unless something is said."""
    fields: dict[str, Any] = {
        "created": 1,
        "run": None,
        "number": None,
        "origin": None,
        "natural": b"n",
        "content": b"c",
    }
    return ObjectKey(kind, identity, identity, "", **{**fields, **given})


def test_a_further_copy_is_a_duplicate_and_another_object_is_extra() -> None:
    """An import that ran twice is told from objects of the target's own: by name, content and the run's copy."""
    source = [key("issue", "i-1", run="r")]
    target = [
        key("issue", "i-1", run="copy"),
        key("issue", "i-2", run="copy"),
        key("issue", "i-3", run="copy", content=b"other"),
        key("issue", "i-4", run="another"),
        key("issue", "i-5", run="copy", natural=b"another"),
    ]
    found = pair_objects(source, target, {"r": "copy"})
    assert [(pair.source.entity_id, pair.target.entity_id, pair.by) for pair in found.pairs] == [
        ("i-1", "i-1", "same-id")
    ]
    assert [(one.source.entity_id, one.target.entity_id, one.by) for one in found.duplicates] == [
        ("i-1", "i-2", "content")
    ]
    why = "no source object has its id, its natural key or its content"
    assert sorted((item.entity_id, said) for item, said in found.extra) == [("i-3", why), ("i-4", why), ("i-5", why)]
    assert (found.missing, found.ambiguous) == ([], [])


def test_a_version_copied_again_under_another_number_is_a_duplicate() -> None:
    """Numbers are given again, so the natural key of a version, which holds one, says nothing of a further copy."""
    source = [key("model_version", "m/1", number=1, natural=b"1")]
    target = [
        key("model_version", "m/1", number=1, natural=b"1"),
        key("model_version", "m/2", number=2, natural=b"2"),
        key("model_version", "m/3", number=3, natural=b"3", content=b"other"),
    ]
    found = pair_objects(source, target)
    assert [(pair.source.entity_id, pair.target.entity_id) for pair in found.pairs] == [("m/1", "m/1")]
    assert [(one.target.entity_id, one.by) for one in found.duplicates] == [("m/2", "content")]
    assert [item.entity_id for item, _ in found.extra] == ["m/3"]


@pytest.mark.parametrize("backwards", [False, True])
def test_of_several_that_name_one_version_the_best_is_its_copy(backwards: bool) -> None:
    """Equal content first, then the same number, then the lowest one, then the oldest, in whatever order they come."""
    source = [key("model_version", f"m/{n}", number=n, content=f"c{n}".encode()) for n in (1, 2, 3, 4)]
    target = [
        key("model_version", "m/1", number=1, origin="m/1", content=b"other"),
        key("model_version", "m/5", number=5, origin="m/1", content=b"c1"),
        key("model_version", "m/6", number=6, origin="m/2", content=b"c2"),
        key("model_version", "m/2", number=2, origin="m/2", content=b"c2"),
        key("model_version", "m/8", number=8, origin="m/3", content=b"c3"),
        key("model_version", "m/7", number=7, origin="m/3", content=b"c3", created=9),
        key("model_version", "m/9", number=9, origin="m/4", content=b"c4", created=9),
        key("model_version", "m/10", number=9, origin="m/4", content=b"c4", created=8),
        key("model_version", "m/11", number=11, origin="m/77", content=b"c1"),
    ]
    found = pair_objects(source, target[::-1] if backwards else target)
    assert {pair.source.entity_id: pair.target.entity_id for pair in found.pairs} == {
        "m/1": "m/5", "m/2": "m/2", "m/3": "m/7", "m/4": "m/10",
    }  # fmt: skip
    assert {pair.by for pair in found.pairs} == {"source-tag"}
    assert sorted((one.source.entity_id, one.target.entity_id, one.by) for one in found.duplicates) == [
        ("m/1", "m/1", "source-tag"), ("m/2", "m/6", "source-tag"), ("m/3", "m/8", "source-tag"),
        ("m/4", "m/9", "source-tag"),
    ]  # fmt: skip
    [(foreign, why)] = found.extra
    assert (foreign.entity_id, why) == ("m/11", "its source tags name m/77, which is not on the source")


def test_the_type_of_a_model_may_be_altered_and_its_run_still_tells_it() -> None:
    """The natural key holds the type; what made a model, and its name, pair it where that differs."""
    source = [replace(key("logged_model", "a", run="r", natural=b"x", content=b"1"), name="model")]
    other = replace(key("logged_model", "c", run="another", natural=b"y", content=b"2"), name="model")
    copy = replace(key("logged_model", "b", run="copy", natural=b"y", content=b"2"), name="model")
    found = pair_objects(source, [other, copy], {"r": "copy"})
    assert [(pair.target.entity_id, pair.by) for pair in found.pairs] == [("b", "natural-key")]
    assert [item.entity_id for item, _ in found.extra] == ["c"]


def test_a_prompt_version_of_another_number_is_told_by_its_content() -> None:
    """A number that was altered is a difference, not one version lost and one more."""
    source = [
        key("prompt_version", f"p/{n}", number=n, natural=str(n).encode(), content=f"c{n}".encode()) for n in (1, 2)
    ]
    target = [
        key("prompt_version", "p/1", number=1, natural=b"1", content=b"c1"),
        key("prompt_version", "p/3", number=3, natural=b"3", content=b"c2"),
    ]
    found = pair_objects(source, target)
    assert {pair.source.entity_id: (pair.target.entity_id, pair.by) for pair in found.pairs} == {
        "p/1": ("p/1", "same-id"), "p/2": ("p/3", "content"),
    }  # fmt: skip


def test_the_same_store_is_paired_by_ids_alone() -> None:
    """However much another one is like it: what has another id is another object."""
    found = pair_objects([key("issue", "a")], [key("issue", "b")], same_store=True)
    assert [item.entity_id for item in found.missing] == ["a"]
    assert [(item.entity_id, why) for item, why in found.extra] == [("b", "no source object has its id")]
    assert found.pairs == []
