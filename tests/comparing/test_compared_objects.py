"""Every facet of a pair, as the ledger has it: which comparer is asked, what was not read, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support.records import COPY, MODEL, MODEL_COPY, OTHER, RUN, a_copy, a_run, an_entity, an_experiment, links

from mlflow_parity.comparing import Comparison, compare_objects
from mlflow_parity.comparing.difference import Difference
from mlflow_parity.comparing.tie_breakers import Likeness
from mlflow_parity.comparing.unknown import Told
from mlflow_parity.core.identity.keys import run_key
from mlflow_parity.core.records import Artifact, ArtifactTree, Experiment, Resolved, Run
from mlflow_parity.core.verdict import State
from mlflow_parity.kinds.conventions.copy_places import CopyPlaces
from mlflow_parity.pairing.matching import Pair, Pairing
from mlflow_parity.pairing.relocation import Relocation
from mlflow_parity.snapshot.objects import key_of


@dataclass
class _View:
    """One side, and what of it could not be read."""

    records: Sequence[Any]
    trees: dict[str, ArtifactTree] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    asked: list[list[str]] = field(default_factory=list)

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Any]:
        """Records by id."""
        self.asked.append(list(entity_ids))
        found = {one.entity_id: one for one in self.records if one.kind == kind}
        return [found[one] for one in entity_ids]

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """A tree."""
        assert kind
        return self.trees.get(entity_id, ArtifactTree(entity_id, ()))

    def problem(self, part: str) -> str | None:
        """Why a part could not be read."""
        return self.problems.get(part)

    def links_problem(self) -> str | None:
        """Why links of runs could not be read."""
        return self.problems.get("links")

    def histories(self, run_id: str) -> dict[str, Any]:
        """None."""
        assert run_id
        return {}


def _keys(one: Any) -> Any:
    return one if isinstance(one, Experiment) else run_key(one) if isinstance(one, Run) else key_of(one)


def _rows(
    ours: Any, theirs: Any, *facets: str, views: tuple[_View, _View] | None = None, **given: Any
) -> list[tuple[Any, ...]]:
    """Compare one pair; return facet, state, findings and what is said of each difference."""
    kind = ours.kind
    source, target = views or (_View([ours]), _View([theirs]))
    given.setdefault("links", links())
    given.setdefault("hashed", True)
    comparison = Comparison({kind: frozenset(facets)}, **given)
    pairing: Pairing[Any] = Pairing(pairs=[Pair(_keys(ours), _keys(theirs), "how")])
    done = list(compare_objects("here", kind, pairing, source, target, comparison))
    for one in done:
        assert (one.row.experiment, one.row.kind, one.row.paired_by) == ("here", kind, "how")
        assert (one.row.source_id, one.row.target_id) == (ours.entity_id, theirs.entity_id)
    return [(one.row.facet, one.row.state.value,
             [(found.key, found.state.value, found.rule, found.note) for found in one.differences])
            for one in done]  # fmt: skip


def test_rows_are_those_of_the_facets_in_scope_in_their_order() -> None:
    """A facet that nobody asked for has no row; all others have theirs, green ones too."""
    assert _rows(a_run(), a_copy(name="s", params={"a": "1"}), "params", "name", "presence") == [
        ("presence", "match", []), ("name", "mismatch", [("run_name", "mismatch", "run.name", "")]),
        ("params", "mismatch", [("a", "extra", "run.params", "")]),
    ]  # fmt: skip
    assert _rows(a_run(), a_copy()) == []
    assert list(compare_objects("here", "run", Pairing(missing=[run_key(a_run())]), _View([]), _View([]),
                                Comparison({}, links(), hashed=True))) == []  # fmt: skip


def test_a_target_that_has_no_such_kind_has_rows_for_what_is_missing_only() -> None:
    """There is nothing to be compared."""
    pairing: Pairing[Any] = Pairing(missing=[run_key(a_run())], pairs=[Pair(run_key(a_run()), run_key(a_copy()), "x")])
    comparison = Comparison({"run": frozenset({"presence"})}, links(), hashed=True)
    done = list(compare_objects("here", "run", pairing, _View([]), None, comparison, cannot=True))
    assert [(one.row.experiment, one.row.kind, one.row.state) for one in done] == [("here", "run", State.MISSING)]
    extra: Pairing[Any] = Pairing(extra=[(run_key(a_run(lifecycle_stage="deleted")), "why")])
    done = list(compare_objects("here", "run", extra, _View([]), None, comparison))
    assert [one.row.state for one in done] == [State.EXTRA]


def test_a_deleted_run_is_compared_where_deleted_ones_are_in_scope() -> None:
    """Without them, both being deleted, there is no row."""
    sides = a_run(lifecycle_stage="deleted"), a_copy(lifecycle_stage="deleted")
    assert len(_rows(*sides, "name")) == 1
    assert _rows(*sides, "name", include_deleted=False) == []
    trace = an_entity("trace", "t", state="OK")
    assert len(_rows(trace, trace, "state", include_deleted=False)) == 1


def test_a_copy_that_a_repair_replaced_is_known_by_its_tag() -> None:
    """The target's record says of which source run it was the copy."""
    former = a_run(run_id=OTHER, lifecycle_stage="deleted", tags={"mlflow_parity.replaced": RUN})
    pairing: Pairing[Any] = Pairing(
        pairs=[Pair(run_key(a_run()), run_key(a_copy()), "x")], extra=[(run_key(former), "why")]
    )
    comparison = Comparison({"run": frozenset({"presence"})}, links(), hashed=True)
    views = _View([a_run()]), _View([a_copy(), former])
    states = [one.row.state.value for one in compare_objects("here", "run", pairing, *views, comparison)]
    assert states == ["expected", "match"]
    same = replace(comparison, profile="same-store")
    assert [one.row.state.value for one in compare_objects("here", "run", pairing, *views, same)] == ["extra", "match"]


def test_pairs_are_read_two_hundred_at_once_in_one_order() -> None:
    """Memory does not grow with them, and ids that must map one to one blame the later run."""
    runs = [a_run(run_id=f"{n:032x}", start_time=1_000 - n) for n in range(401)]
    copies = [replace(one, run_id="f" + one.run_id[1:]) for one in runs]
    pairing: Pairing[Any] = Pairing(
        pairs=[Pair(run_key(a), run_key(b), "x") for a, b in zip(runs, copies, strict=True)]
    )
    views = _View(runs), _View(copies)
    comparison = Comparison({"run": frozenset({"name"})}, links(), hashed=True)
    done = list(compare_objects("here", "run", pairing, *views, comparison))
    assert [one.row.source_id for one in done] == [one.run_id for one in runs[::-1]]
    assert [len(one) for one in views[0].asked] == [len(one) for one in views[1].asked] == [200, 200, 1]


def test_what_of_a_run_was_not_read_is_unverified() -> None:
    """Metrics, files and links of either side, with the reason; where all was read they are compared."""
    sides = a_run(model_inputs=(), model_outputs=None), a_copy(model_inputs=None, model_outputs=())
    parts = {"metrics": "metrics", "artifacts": "artifacts"}
    for side in (0, 1):
        views = _View([sides[0]]), _View([sides[1]])
        views[side].problems.update(metrics="denied", artifacts="gone")
        name = ("source", "target")[side]
        found = {facet: said for facet, _, said in _rows(*sides, *parts, views=views)}
        assert found == {
            "metrics": [("", "unverified", "run.metrics", f"the {name}'s metrics could not be read: denied")],
            "artifacts": [("", "unverified", "run.artifacts", f"the {name}'s artifacts could not be read: gone")],
        }
    assert [one[1] for one in _rows(*sides, *parts)] == ["match", "match"]
    views = _View(sides[:1], problems={"links": "old"}), _View(sides[1:], problems={"links": "older"})
    rows = _rows(*sides, "model_inputs", "model_outputs", views=views)
    assert [one[2] for one in rows] == [
        [("", "unverified", "run.model_inputs", "the target's could not be read: older")],
        [("", "unverified", "run.model_outputs", "the source's could not be read: old")],
    ]  # fmt: skip
    assert [one[2] for one in _rows(*sides, "model_inputs", "model_outputs")] == [
        [("", "unverified", "run.model_inputs", "the target's were not read")],
        [("", "unverified", "run.model_outputs", "the source's were not read")],
    ]


def test_a_copy_of_a_copy_is_compared_by_the_tags_of_its_source() -> None:
    """Older source tags are those of another hop; of a store that went on, all tags are as they are."""
    tags = {"mlflow_exim.run_info.run_id": "second", "mlflow_exim.run_info.start_time": "5",
            "mlflow_exim.hop1.run_info.run_id": RUN, "mlflow_exim.hop1.run_info.start_time": "10"}  # fmt: skip
    copy = a_run(run_id=COPY, start_time=99, tags=tags)
    assert _rows(a_run(), copy, "times")[0][1] == "expected"
    assert _rows(a_run(), copy, "times", profile="same-store")[0][1] == "mismatch"
    went_on = _rows(a_run(), copy, "source_tags", profile="same-store")[0][2]
    assert {key for key, *_ in went_on} == set(tags)
    field_ = "mlflow_exim.{}field.{}".format
    named = {field_("", "experiment_id"): "2", field_("", "name"): "f", field_("", "creation_time"): "3",
             field_("hop1.", "experiment_id"): "1", field_("hop1.", "name"): "e",
             field_("hop1.", "creation_time"): "5"}  # fmt: skip
    experiment = an_experiment(experiment_id="9", creation_time=50, tags=named)
    assert _rows(an_experiment(), experiment, "times")[0][1] == "expected"
    other = an_experiment(experiment_id="9", creation_time=50, tags={**named, field_("hop1.", "name"): "g"})
    assert _rows(an_experiment(), other, "times")[0][1] == "mismatch"
    other = an_experiment(experiment_id="9", creation_time=50, tags={**named, field_("hop1.", "experiment_id"): "8"})
    assert _rows(an_experiment(), other, "times")[0][1] == "mismatch"
    version = {field_("", "name"): "x", field_("", "version"): "8", field_("hop1.", "name"): "churn",
               field_("hop1.", "version"): "1"}  # fmt: skip
    ours = an_entity("model_version", "churn/1", container="churn", number=1)
    theirs = an_entity("model_version", "churn/2", container="churn", number=2, tags=version)
    assert _rows(ours, theirs, "number")[0][1] == "expected"


def _version(number: int, **facets: Any) -> Any:
    return an_entity("model_version", f"churn/{number}", container="churn", number=number, **facets)


def test_a_version_that_comes_too_early_is_out_of_order() -> None:
    """``models:/churn/latest`` is another model then: each version behind a later one's copy is named."""
    ours, theirs = [_version(n) for n in (1, 2, 3, 4)], [_version(n) for n in (5, 3, 6, 4)]
    pairing: Pairing[Any] = Pairing(
        pairs=[Pair(key_of(a), key_of(b), "x") for a, b in zip(ours, theirs, strict=True)][::-1]
    )
    comparison = Comparison({"model_version": frozenset({"order"})}, links(), hashed=True)
    done = list(compare_objects("here", "model_version", pairing, _View(ours), _View(theirs), comparison))
    note = "its copy comes before the copy of an earlier version"
    assert [(one.row.source_id, [(found.key, found.state.value, found.rule, found.source, found.target, found.note)
                                 for found in one.differences]) for one in done] == [
        ("churn/1", []), ("churn/2", [("order", "mismatch", "model_version.order", 2, 3, note)]),
        ("churn/3", []), ("churn/4", [("order", "mismatch", "model_version.order", 4, 4, note)]),
    ]  # fmt: skip


def test_what_only_a_server_can_tell_is_asked_for_or_unverified() -> None:
    """Whether a version loads, whether an experiment can be used, what an alias resolves to."""
    ours, theirs = _version(1), _version(2)
    asked: list[Any] = []

    def load(name: str, number: int) -> list[Difference]:
        asked.append((name, number))
        return [Difference("", State.MISMATCH, "model_version.loads", note="broken")]

    def ask(source: Experiment, target: Experiment) -> list[Difference]:
        asked.append((source.experiment_id, target.experiment_id))
        return []

    def resolve(name: str, aliases: Iterable[str]) -> list[Resolved]:
        asked.append((name, set(aliases)))
        return [Resolved(name, one, "1") for one in aliases]

    assert _rows(ours, theirs, "loads", load=load)[0][2] == [("", "mismatch", "model_version.loads", "broken")]
    assert _rows(ours, theirs, "loads")[0][2] == [("", "unverified", "model_version.loads", "not asked for")]
    experiments = an_experiment(), an_experiment(experiment_id="7")
    assert _rows(*experiments, "usable", ask=ask) == [("usable", "match", [])]
    assert _rows(*experiments, "usable")[0][2] == [("", "unverified", "experiment.usable", "not asked for")]
    models = (
        an_entity("registered_model", "churn", aliases={"a": "1"}),
        an_entity("registered_model", "churn", aliases={"b": "1"}),
    )
    found = _rows(*models, "resolves", resolve=resolve)[0][2]
    assert [one[:2] for one in found] == [("a", "mismatch")]
    assert {one[3] for one in _rows(*models, "resolves")[0][2]} == {"it was not asked for"}
    assert asked == [("churn", 2), ("1", "7"), ("churn", {"a", "b"})]
    bare = an_entity("registered_model", "churn", aliases=None)
    assert _rows(bare, bare, "resolves", resolve=resolve) == [("resolves", "match", [])]


def test_what_nothing_here_knows_is_compared_with_what_the_releases_tell() -> None:
    """Of experiments, runs and all other objects."""
    told = Told(("3.1", "3.2"))
    assert _rows(a_run(other={"a": 1}), a_copy(other={"a": 1}), "other") == [("other", "match", [])]
    for ours, theirs in (
        (a_run(other={"a": 1}), a_copy()), (an_experiment(other={"a": 1}), an_experiment()),
        (an_entity("trace", other={"a": 1}), an_entity("trace")),
    ):  # fmt: skip
        assert [one[:3] for one in _rows(ours, theirs, "other")[0][2]] == [("a", "missing", f"{ours.kind}.other")]
        assert [one[:2] for one in _rows(ours, theirs, "other", told=told)[0][2]] == [("a", "unverified")]


def _tree(*files: Artifact, error: str | None = None) -> ArtifactTree:
    return ArtifactTree("x", files, error)


def _mlmodel(text: str) -> Artifact:
    return Artifact("MLmodel", len(text), text, text.encode())


OLD_IMAGE = "images/a%step%1%timestamp%1712345678901%0a9d6313-188b-4c74-b0eb-578967659d2a.png"


def test_files_of_a_run_of_a_model_and_of_a_version() -> None:
    """Each under its own rule, ids through the pairing, places through the logged model's; without hashes, by size."""
    image = Artifact(OLD_IMAGE, 1, "a"), Artifact(OLD_IMAGE.replace("%", "+"), 1, "a")
    views = _View([a_run()], {RUN: _tree(image[0])}), _View([a_copy()], {COPY: _tree(image[1])})
    assert _rows(a_run(), a_copy(), "artifacts", views=views)[0][1] == "expected"
    same = _rows(a_run(), a_copy(), "artifacts", views=views, profile="same-store")[0]
    assert (same[1], {one[1] for one in same[2]}) == ("mismatch", {"missing", "extra"})
    plain = (
        _View([a_run()], {RUN: _tree(Artifact("a", 1, "x"))}),
        _View([a_copy()], {COPY: _tree(Artifact("a", 1, "y"))}),
    )
    assert _rows(a_run(), a_copy(), "artifacts", views=plain)[0][1] == "mismatch"
    assert _rows(a_run(), a_copy(), "artifacts", views=plain, hashed=False)[0][1] == "match"
    # an MLmodel of a store that went on is compared byte by byte
    yaml = (
        _View([a_run()], {RUN: _tree(_mlmodel(f"run_id: '{RUN}'"))}),
        _View([a_run()], {RUN: _tree(_mlmodel(f"run_id:  '{RUN}'"))}),
    )
    assert _rows(a_run(), a_run(), "artifacts", views=yaml, links=links(pairs={RUN: RUN}))[0][1] == "expected"
    assert _rows(a_run(), a_run(), "artifacts", views=yaml, profile="same-store")[0][1] == "mismatch"
    # a version's may name the place of the logged model that it was made of
    known = links(places={MODEL: ("s3://old/m", "s3://new/m")})
    ours, theirs = _version(1, logged_model=MODEL, run=RUN), _version(1, logged_model=MODEL_COPY, run=COPY)
    texts = (
        f"run_id: '{RUN}'\nmodel_id: {MODEL}\nat: s3://old/m/x",
        f"run_id: {COPY}\nmodel_id: {MODEL_COPY}\nat: s3://new/m/x",
    )
    views = tuple(
        _View([one], {"churn/1": _tree(_mlmodel(text))}) for one, text in zip((ours, theirs), texts, strict=True)
    )  # type: ignore[assignment]
    rule = "model_version.files.mlmodel"
    assert _rows(ours, theirs, "files", views=views, links=known)[0][2][0][:3] == ("MLmodel", "expected", rule)
    found = _rows(ours, theirs, "files", views=views, links=links())[0][2]
    assert [one[:3] for one in found] == [("MLmodel: at", "mismatch", rule)]
    found = _rows(
        ours, theirs, "files", views=views, links=links(places=known.places, entities={"logged_model": {MODEL: "z"}})
    )
    assert [one[:3] for one in found[0][2]] == [("MLmodel: model_id", "mismatch", rule)]


@pytest.mark.parametrize("kind", ["run", "model_version", "logged_model"])
def test_an_mlmodel_is_compared_by_the_run_and_the_place_of_its_owner(kind: str) -> None:
    """Whose files they are tells which ids and places in them must be those of the copy."""
    text = "run_id: {}\nat: [{}/m, {}]\n".format
    old, new = "s3://old/m", "s3://new/m"
    ours: Any = a_run(artifact_uri=old) if kind == "run" else replace(_of_kind(kind, RUN), artifact_uri=old)
    theirs: Any = a_copy(artifact_uri=new) if kind == "run" else replace(_of_kind(kind, COPY), artifact_uri=new)

    def judged(mine: str, copy: str) -> list[Any]:
        views = (_View([ours], {ours.entity_id: _tree(_mlmodel(mine))}),
                 _View([theirs], {theirs.entity_id: _tree(_mlmodel(copy))}))  # fmt: skip
        given: dict[str, Any] = {"views": views, "links": links(pairs={RUN: COPY, OTHER: "f" * 32})}
        [(_, _, said)] = _rows(ours, theirs, "artifacts" if kind == "run" else "files", **given)
        return [one[:2] for one in said]

    passes = [("MLmodel", "expected")]
    assert judged(text(RUN, old, RUN), text(COPY, new, COPY)) == passes
    assert judged(text(OTHER, old, "x"), text("f" * 32, new, "x")) == passes
    assert judged(text(OTHER, old, "x"), text(OTHER, new, "x")) == [("MLmodel: run_id", "mismatch")]
    assert judged(text(RUN, old, RUN), text(COPY, old, COPY)) == [("MLmodel: at", "mismatch")]
    assert judged(text(RUN, old, RUN), text(COPY, new, RUN)) == [("MLmodel: at", "mismatch")]


def _of_kind(kind: str, run: str) -> Any:
    return an_entity(kind, "churn/1", container="churn", number=1, run=run)


def test_an_mlmodel_of_an_owner_without_run_and_place() -> None:
    """Nothing in it stands for nothing."""
    ours, theirs = _version(1), _version(2)
    views = (
        _View([ours], {"churn/1": _tree(_mlmodel("a: b"))}),
        _View([theirs], {"churn/2": _tree(_mlmodel("a:  b"))}),
    )
    assert [one[:2] for one in _rows(ours, theirs, "files", views=views)[0][2]] == [("MLmodel", "expected")]


def test_a_place_that_is_wrong_is_shown_on_both_sides() -> None:
    """With the links of this comparison."""
    models = [replace(an_entity("logged_model", one), artifact_uri=f"s3://old/{one}") for one in "ab"]
    pairing: Pairing[Any] = Pairing(pairs=[Pair(key_of(models[0]), key_of(models[1]), "x")])
    known = links(copy_places=CopyPlaces(frozenset({"s3://old"})))
    comparison = Comparison({"logged_model": frozenset({"files"})}, known, hashed=True)
    [one] = compare_objects("here", "logged_model", pairing, _View(models[:1]), _View(models[1:]), comparison)
    assert [(found.source, found.target) for found in one.differences] == [("s3://old/a", "s3://old/b")]
    bare = replace(models[1], artifact_uri=None)
    same = replace(comparison, profile="same-store")
    [one] = compare_objects("here", "logged_model", pairing, _View(models[:1]), _View([bare]), same)
    assert [(found.source, found.target) for found in one.differences] == [("s3://old/a", "")]
    trace = an_entity("trace", "t", run=RUN), an_entity("trace", "u", run=COPY)
    assert _rows(*trace, "run") == [("run", "match", [])]


def test_where_a_logged_models_files_stand() -> None:
    """In a place of its own; a restored one, where the store put it."""
    goes = "the copy's files are in the source's place: they go when the source goes"

    def model(identity: str, place: str | None) -> Any:
        return replace(an_entity("logged_model", identity), artifact_uri=place)

    def judged(ours: str | None, theirs: str | None, **given: Any) -> list[Any]:
        given.setdefault("links", links(copy_places=CopyPlaces(frozenset({"s3://old"}))))
        return list(_rows(model("a", ours), model("b", theirs), "files", **given)[0][2])

    assert judged("s3://old/a", "s3://new/b") == judged(None, None) == []
    assert judged("s3://old/a", "s3://old/b") == [("artifact_uri", "mismatch", "logged_model.id", goes)]
    assert judged("s3://x/a", "s3://x/a") == [("artifact_uri", "mismatch", "logged_model.id", goes)]
    moved = Relocation("s3://old", "s3://new")
    assert [one[1:3] for one in judged("s3://old/a", "s3://new/a", profile="same-store", moved=moved)] == [
        ("expected", "logged_model.files.moved")
    ]
    assert [one[:2] for one in judged(None, "s3://new/a", profile="same-store")] == [("artifact_uri", "mismatch")]
    assert [one[:2] for one in judged("s3://new/a", None, profile="same-store")] == [("artifact_uri", "mismatch")]
    version = _rows(replace(_version(1), artifact_uri="s3://x"), replace(_version(1), artifact_uri="s3://x"), "files")
    assert version == [("files", "match", [])]


def test_facets_of_a_store_that_went_on_are_strict() -> None:
    """By the releases and the move of this comparison."""
    ours, theirs = a_run(artifact_uri="s3://old/1"), a_run(artifact_uri="s3://new/1")
    moved = Relocation("s3://old", "s3://new")
    assert _rows(ours, theirs, "artifact_uri", profile="same-store", moved=moved)[0][1] == "expected"
    assert _rows(ours, theirs, "artifact_uri", profile="same-store")[0][1] == "mismatch"
    source, target = (
        an_entity("trace", metadata={} if one is None else {"mlflow.trace_schema.version": one}) for one in (None, "3")
    )
    assert _rows(source, target, "metadata", profile="same-store", releases=((2, 22), (3, 4)))[0][1] == "expected"
    assert _rows(source, target, "metadata", profile="same-store")[0][1] == "mismatch"
    assert _rows(source, target, "metadata", releases=((2, 22), (3, 4)))[0][1] == "mismatch"
    spans = an_entity("trace", spans=[{"span_id": "a"}]), an_entity("trace", spans=[{"span_id": "b"}])
    assert _rows(*spans, "spans", profile="same-store")[0][1] == "mismatch"


ERROR = "could not be read from the {}: denied".format


@pytest.mark.parametrize(
    ("kind", "facet", "ours", "theirs", "found"),
    [
        ("trace", "presence", (None, {}), ("denied", {}), []),
        ("trace", "other", (None, {}), ("denied", {}), []),
        # what the error left incomplete is unverified, what was read before it is compared
        ("trace", "spans", (None, {"spans": [1]}), ("denied", {"spans": []}), [("unverified", ERROR("target"))]),
        ("trace", "state", (None, {"state": "OK"}), ("denied", {"state": "OK"}), []),
        ("trace", "state", (None, {"state": "OK"}), ("denied", {"state": "ERROR"}), [("mismatch", "")]),
        ("trace", "state", (None, {"state": "OK"}), ("denied", {}), [("unverified", ERROR("target"))]),
        ("trace", "state", ("denied", {}), (None, {"state": "OK"}), [("unverified", ERROR("source"))]),
        ("trace", "state", ("denied", {}), ("denied", {}),
         [("unverified", ERROR("source")), ("unverified", ERROR("target"))]),
        ("evaluation_dataset", "records", (None, {"records": [1]}), ("denied", {"records": [1]}),
         [("unverified", ERROR("target"))]),
        ("evaluation_dataset", "records", (None, {"records": [1]}), ("denied", {"records": [2]}),
         [("missing", ""), ("extra", "")]),
        ("evaluation_dataset", "records", (None, {"records": [1]}), ("denied", {"records": []}),
         [("unverified", ERROR("target"))]),
        ("evaluation_dataset", "experiments", (None, {"experiments": ["1"]}), ("denied", {"experiments": ["7"]}),
         [("unverified", ERROR("target"))]),
        ("evaluation_dataset", "tags", (None, {"tags": {}}), ("denied", {"tags": {}}), []),
        ("model_version", "storage", ("denied", {"storage": "s3://a"}), (None, {"storage": "s3://b"}),
         [("unverified", ERROR("source"))]),
        ("model_version", "user", ("denied", {"user": "a"}), (None, {"user": "a"}), []),
        # of other kinds nothing is known to be complete
        ("webhook", "url", ("denied", {"url": "a"}), (None, {"url": "a"}), [("unverified", ERROR("source"))]),
        ("webhook", "url", ("denied", {"url": "a"}), (None, {"url": "b"}), [("mismatch", "")]),
    ],
)  # fmt: skip
def test_an_object_that_was_read_in_part(
    kind: str, facet: str, ours: Any, theirs: Any, found: list[tuple[str, str]]
) -> None:
    """What differs all the same says more; what is equal as far as it was read is no pass."""
    source, target = (replace(an_entity(kind, "a", **facets), error=error) for error, facets in (ours, theirs))
    [(name, _, said)] = _rows(source, target, facet)
    assert (name, [(one[1], one[3]) for one in said]) == (facet, found)
    assert {one[0] for one in said if one[1] == "unverified"} <= {""}
    if found and found[0][0] == "unverified":
        assert {one[2] for one in said} == {f"{kind}.{facet}"}


def test_access_is_judged_by_the_targets_files() -> None:
    """Of the version itself, on both sides."""
    ours, theirs = _version(1), _version(2)
    views = _View([ours], {"churn/1": _tree(_mlmodel("a: 1"))}), _View([theirs], {"churn/2": _tree()})
    assert _rows(ours, theirs, "access", views=views)[0][2] == [
        ("MLmodel", "missing", "model_version.access", "a version without it cannot be loaded")
    ]
    assert (
        _rows(ours, theirs, "access", views=(views[0], _View([theirs], {"churn/2": _tree(_mlmodel("a: 1"))})))[0][1]
        == "match"
    )


# --- what tells objects of one name and content apart


def _like(ours: Any, theirs: Any, trees: tuple[ArtifactTree, ArtifactTree] | None = None, **known: Any) -> list[bool]:
    """Compare the evidence of two objects facet by facet."""
    files = trees or (_tree(), _tree())
    views = (_View([one], {one.entity_id: tree}) for one, tree in zip((ours, theirs), files, strict=True))
    mine, copy = Likeness(next(views), links(**known)), Likeness(next(views))
    left, right = mine(key_of(ours)), copy(key_of(theirs))
    assert mine(key_of(ours)) is left
    return [one == other for one, other in zip(left, right, strict=True)]


def _apart(kind: str, ours: dict[str, Any], theirs: dict[str, Any], **known: Any) -> int:
    """Return how many facets tell the two apart."""
    return _like(an_entity(kind, "a", **ours), an_entity(kind, "b", **theirs), **known).count(False)


@pytest.mark.parametrize(
    ("kind", "ours", "theirs", "apart"),
    [
        ("trace", {}, {}, 0),
        ("trace", {"run": RUN}, {"run": COPY}, 0),
        ("trace", {"run": RUN}, {"run": RUN}, 1),
        ("trace", {"run": None}, {"run": None}, 0),
        ("trace", {"run": "gone"}, {"run": "gone"}, 0),
        ("trace", {"logged_model": MODEL}, {"logged_model": MODEL_COPY}, 0),
        ("trace", {"times": {"request": 1}}, {"times": {"request": 2}}, 1),
        ("webhook", {"times": {"creation": 1}}, {"times": {"creation": 2}}, 0),
        ("webhook", {"url": "a"}, {"url": "b"}, 1),
        ("issue", {"experiment": "1"}, {"experiment": "7"}, 0),
        ("issue", {"experiment": "1"}, {"experiment": "1"}, 1),
        # what the server sets, the copy's own place, and what is given again is no evidence
        ("model_version", {"number": 1, "source": "a", "storage": "a"}, {"number": 2, "source": "b", "storage": "b"},
         0),
        ("evaluation_dataset", {"digest": 1, "last_updated_by": "a"}, {"digest": 2, "last_updated_by": "b"}, 0),
        ("registered_model", {"aliases": {"a": "1"}}, {"aliases": {"a": "2"}}, 0),
        # tags but for those of the server and of the import
        ("trace", {"tags": {"k": "v", "mlflow.artifactLocation": "a"}},
         {"tags": {"k": "v", "mlflow.artifactLocation": "b", "mlflow_exim.field.x": "y"}}, 0),
        ("logged_model", {"tags": {"mlflow.modelVersions": "a"}}, {"tags": None}, 0),
        ("prompt", {"tags": {"_mlflow_experiment_ids": "a"}}, {"tags": {}}, 0),
        ("trace", {"tags": {"k": "v"}}, {"tags": {"k": "w"}}, 1),
        # lists, whatever their order, with ids through the pairing
        ("logged_model", {"metrics": [{"run": RUN, "v": 1}, {"run": None, "v": 2}]},
         {"metrics": [{"run": None, "v": 2}, {"run": COPY, "v": 1}]}, 0),
        ("logged_model", {"metrics": [{"run": RUN, "v": 1}]}, {"metrics": [{"run": RUN, "v": 1}]}, 1),
        ("logged_model", {"metrics": [{"run": "", "v": 1}]}, {"metrics": [{"run": "", "v": 1}]}, 0),
        ("logged_model", {"metrics": []}, {"metrics": None}, 1),
        ("evaluation_dataset", {"experiments": ["1", "x"]}, {"experiments": ["x", "7"]}, 0),
        ("evaluation_dataset", {"experiments": ["1"]}, {"experiments": ["1"]}, 1),
        ("evaluation_dataset", {"records": [{"t": "tr"}, 2]}, {"records": [2, {"t": "tr copy"}]}, 0),
        ("evaluation_dataset", {"records": [{"t": "tr"}]}, {"records": [{"t": "tr"}]}, 1),
        ("review_queue", {"items": [{"t": "tr"}, 2]}, {"items": [2, {"t": "tr copy"}]}, 0),
        ("trace", {"run_links": [RUN, "x"]}, {"run_links": ["x", COPY]}, 0),
        ("trace", {"run_links": [RUN]}, {"run_links": [RUN]}, 1),
        ("trace", {"prompts": ["p/1", "x"]}, {"prompts": ["x", "p/9"]}, 0),
        ("trace", {"prompts": ["p/1"]}, {"prompts": ["p/1"]}, 1),
    ],
)  # fmt: skip
def test_what_tells_an_object_from_its_like(
    kind: str, ours: dict[str, Any], theirs: dict[str, Any], apart: int
) -> None:
    """Only what a copy keeps: by anything else, a copy would be taken for another object's."""
    known = {"logged_model": {MODEL: MODEL_COPY}, "trace": {"tr": "tr copy"}, "prompt_version": {"p/1": "p/9"}}
    assert _apart(kind, ours, theirs, entities=known) == apart


def test_spans_and_assessments_tell_traces_apart_under_new_ids() -> None:
    """By their place, whatever ids and the trace's own id in them."""

    def span(identity: str, trace: str, **given: Any) -> dict[str, Any]:
        return {
            "span_id": identity,
            "parent_id": None,
            "name": "s",
            "attributes": {"id": trace},
            "start_ns": 1,
            **given,
        }

    def said(identity: str, of: str, run: str, value: int = 1) -> dict[str, Any]:
        return {
            "id": identity,
            "name": "n",
            "value": value,
            "span_id": of,
            "metadata": {"run": run},
            "created": len(identity),
        }

    ours = {
        "spans": [span("1", "a"), span("2", "a", n=1)],
        "assessments": [said("1", "2", RUN), said("2", "1", RUN, 2)],
    }
    theirs = {
        "spans": [span("x", "b", n=1), span("y", "b")],
        "assessments": [said("zz", "y", COPY, 2), said("x", "x", COPY)],
    }
    assert _apart("trace", ours, theirs) == 0
    assert _apart("trace", ours, {**theirs, "spans": [span("x", "b", n=2), span("y", "b")]}) == 1
    assert _apart("trace", ours, {**theirs, "assessments": [said("zz", "y", COPY, 3), said("x", "x", COPY)]}) == 1
    assert _apart("trace", ours, {**theirs, "assessments": [said("zz", "y", RUN, 2), said("x", "x", COPY)]}) == 1


def test_an_attachments_reference_does_not_tell_a_trace_from_its_copy() -> None:
    """It names the trace by its own id, which is another one there."""

    def trace(own: str, identity: str) -> dict[str, Any]:
        reference = f"mlflow-attachment://12345678-1234-1234-1234-123456789012?trace_id={own}"
        return {"spans": [{"span_id": identity, "parent_id": None, "name": "s", "attributes": {}, "inputs": reference}]}

    assert _apart("trace", trace("a", "1"), trace("b", "2")) == 0


def test_files_tell_models_apart() -> None:
    """Paths, sizes and bytes; of an MLmodel all but its own ids and place; what was not listed is like nothing else."""
    ours = replace(an_entity("logged_model", "m-a", run=RUN, logged_model=MODEL), artifact_uri="s3://old")
    theirs = replace(an_entity("logged_model", "m-b", run=COPY, logged_model=MODEL_COPY), artifact_uri="s3://new")

    def alike(mine: ArtifactTree, copy: ArtifactTree) -> bool:
        return _like(ours, theirs, (mine, copy))[-1]

    a, b = Artifact("a", 1, "x"), Artifact("b", 1, "x")
    assert alike(_tree(a, b), _tree(b, a))
    for other in (replace(a, path="c"), replace(a, size=2), replace(a, sha256="y")):
        assert not alike(_tree(a), _tree(other))
    text = "run_id: {}\nflavors: {{at: {}/x, of: {}, made: {}, by: {}}}\n".format
    mine = replace(_mlmodel(text(RUN, "s3://old", "m-a", MODEL, RUN)), path="sub/MLmodel")
    copy = replace(_mlmodel(text(COPY, "s3://new", "m-b", MODEL_COPY, COPY)), path="sub/MLmodel")
    assert alike(_tree(mine), _tree(copy))
    assert not alike(_tree(mine), _tree(replace(copy, path="MLmodel")))
    assert not alike(_tree(mine), _tree(replace(_mlmodel("flavors: {}"), path="sub/MLmodel")))
    assert alike(_tree(replace(mine, content=None)), _tree(replace(copy, content=None, sha256="z")))
    assert not alike(_tree(a), _tree(a, error="denied"))
    assert alike(_tree(a, error="gone"), _tree(error="denied"))


def test_evidence_of_a_kind_without_files() -> None:
    """None is asked for."""

    class NoFiles(_View):
        def files(self, kind: str, entity_id: str) -> ArtifactTree:
            raise AssertionError(kind)

    hook = an_entity("webhook", "a", url="u")
    assert len(Likeness(NoFiles([hook]))(key_of(hook))) > 3
