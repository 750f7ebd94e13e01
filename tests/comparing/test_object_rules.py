"""Every rule of the contract that lets an object beside experiments and runs differ: where it holds, and where not.

One good migration shows most rules; the others start from a variation of it. Each case breaks the condition of one
rule, and the same facet is red then.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support.entities import Store
from support.object_audit import Known, compare_stores, links_of, red

from mlflow_parity.comparing.difference import Difference, Outcome, facet_state
from mlflow_parity.comparing.links import run_models
from mlflow_parity.comparing.same_store import refuse
from mlflow_parity.core.records import Artifact, ArtifactTree, Entity, Run
from mlflow_parity.core.scope import EXPORT_IMPORT, PROFILES, SAME_STORE, Profile
from mlflow_parity.core.verdict import Row, State
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules import contract
from mlflow_parity.kinds.trace import IN_STORE, SPANS_LOCATION
from mlflow_parity.pairing.relocation import Relocation

RUN, RUN_COPY, OTHER_RUN, OTHER_COPY, DEAD = "1" * 32, "a" * 32, "2" * 32, "b" * 32, "9" * 32
MODEL, MODEL_COPY, SECOND, SECOND_COPY = (f"m-{letter * 32}" for letter in "3c4d")
DEAD_MODEL = f"m-{'9' * 32}"
TRACE, TRACE_COPY = "tr-1", "tr-a"
STORE = "s3://old/1"
LARGEST = 1.7976931348623157e308
FINALIZED, COST = "mlflow.trace.infoFinalized", "mlflow.trace.cost"
ARCHIVE_TAG = "mlflow.trace.archiveLocation"
PLACE_TAG, EXPERIMENTS_TAG, VERSIONS_TAG = "mlflow.artifactLocation", "_mlflow_experiment_ids", "mlflow.modelVersions"
MLMODEL = (
    "run_id: {run}\nmodel_id: {model}\nartifact_path: {place}\nflavors:\n  python_function: {{loader_module: x}}\n"
)


@dataclass
class World:
    """A source, its copy, and what else an audit knows."""

    source: Store
    target: Store
    known: Known = field(
        default_factory=lambda: Known(
            {RUN: RUN_COPY, OTHER_RUN: OTHER_COPY}, {"1": "7", "2": "8"}, stores=frozenset({STORE, "s3://old/2"})
        )
    )

    def judge(self, profile: Profile = "export-import") -> list[Outcome]:
        """Compare both sides."""
        return compare_stores(self.source, self.target, self.known, profile)

    def change(self, entity_id: str, *, side: str = "target", **facets: Any) -> World:
        """Change facets of one object."""
        store = self.source if side == "source" else self.target
        place = next(n for n, item in enumerate(store.objects) if item.entity_id == entity_id)
        store.objects[place] = replace(store.objects[place], facets={**store.objects[place].facets, **facets})
        return self

    def get(self, entity_id: str, facet: str, *, side: str = "target") -> Any:
        """A facet of an object."""
        store = self.source if side == "source" else self.target
        return next(item for item in store.objects if item.entity_id == entity_id).facets[facet]

    def tag(self, entity_id: str, key: str, value: str | None, *, side: str = "target") -> World:
        """Set (``None``: remove) a tag of one object."""
        tags = {name: text for name, text in self.get(entity_id, "tags", side=side).items() if name != key}
        return self.change(entity_id, side=side, tags=tags if value is None else {**tags, key: value})

    def place(self, entity_id: str, uri: str) -> World:
        """Move the files of one object on the target."""
        place = next(n for n, item in enumerate(self.target.objects) if item.entity_id == entity_id)
        self.target.objects[place] = replace(self.target.objects[place], artifact_uri=uri)
        return self

    def mlmodel(self, entity_id: str, old: str, new: str) -> World:
        """Change the text of an MLmodel on the target."""
        tree = self.target.trees[entity_id]
        files = [
            _file(file.path, file.content.replace(old.encode(), new.encode())) if file.content else file
            for file in tree.files
        ]
        assert files != list(tree.files)
        self.target.trees[entity_id] = replace(tree, files=tuple(files))
        return self


def _file(path: str, content: bytes) -> Artifact:
    return Artifact(path, len(content), content.hex(), content)


def _tree(entity_id: str, run: str, model: str, place: str) -> ArtifactTree:
    text = MLMODEL.format(run=run, model=model, place=place)
    return ArtifactTree(entity_id, (Artifact("weights.bin", 3, "a" * 64), _file("model/MLmodel", text.encode())))


def _span(number: str, parent: str | None, trace: str) -> dict[str, Any]:
    name = "root" if parent is None else "child"
    return {"span_id": number, "parent_id": parent, "name": name, "type": "LLM", "inputs": {"q": 1}, "outputs": None,
            "attributes": {"trace": trace}, "events": [], "status": {"code": "OK", "message": ""},
            "start_ns": 1 if parent is None else 2, "end_ns": 3}  # fmt: skip


def _assessment(number: str, value: int, span: str, overrides: str | None, when: int) -> dict[str, Any]:
    return {"id": number, "name": "good", "kind": "feedback", "value": value, "error": None, "rationale": "r",
            "source": {"type": "HUMAN", "id": "ada"}, "metadata": {}, "span_id": span, "overrides": overrides,
            "valid": overrides is not None, "created": when, "updated": when}  # fmt: skip


def _side(ids: Callable[[str], str], place: str, when: int, spans: tuple[str, str], versions: dict[int, int]) -> Store:
    """One side: the same objects under its own ids, places, times and version numbers."""
    times = {"creation": when, "update": when + 1}
    run, model, trace, experiment = ids(RUN), ids(MODEL), ids(TRACE), ids("1")
    objects = [
        Entity("logged_model", model, "net", experiment, when,
               {"name": "net", "type": "",
                "status": {"status": "READY", "message": ""}, "params": {"lr": "1"}, "metrics": [],
                "tags": {"team": "x", VERSIONS_TAG: _versions(*versions.values())}, "run": run, "times": times},
               artifact_uri=f"{place}/models/{model}/artifacts"),
        Entity("trace", trace, "ask", experiment, 5,
               {"state": "OK", "times": {"request": 5, "duration": 2}, "client_request_id": None,
                "previews": {"request": "q", "response": "a"}, "metadata": {}, "run": run, "run_links": [],
                "logged_model": model,
                "tags": {"mlflow.artifactLocation": f"{place}/traces/{trace}/artifacts"}, "prompts": ["greet/1"],
                "spans": [_span(spans[0], None, trace), _span(spans[1], spans[0], trace)],
                "assessments": [_assessment(f"a-{when}", 0, spans[1], None, when),
                                _assessment(f"b-{when}", 1, spans[1], f"a-{when}", when)]}),
        Entity("registered_model", "churn", "churn", "", when,
               {"description": "d", "tags": {}, "aliases": {"best": str(versions[3])}, "times": times}),
        *(Entity("model_version", f"churn/{number}", f"churn version {number}", "churn", when,
                 {"number": number, "status": {"status": "READY", "message": ""}, "description": f"v{original}",
                  "tags": {} if place == STORE else {"mlflow_exim.field.name": "churn",
                                                     "mlflow_exim.field.version": str(original),
                                                     "mlflow_exim.field.run_id": RUN},
                  "user": "ada", "stage": "None", "run": run, "logged_model": model, "times": times,
                  "source": f"{place}/{run}/artifacts/model"}, artifact_uri=f"{place}/{run}/artifacts/model")
          for original, number in versions.items()),
        Entity("prompt", "greet", "greet", "", when,
               {"description": "", "tags": {"_mlflow_experiment_ids": f",{experiment},"}, "aliases": {"live": "1"},
                "times": times}),
        Entity("prompt_version", "greet/1", "greet version 1", "greet", when,
               {"number": 1, "template": "hi", "commit_message": "", "model_config": None, "response_format": None,
                "tags": {"_mlflow_experiment_ids": f",{experiment},{ids('2')},"}, "type": "text", "times": times}),
        Entity("scorer", f"{experiment}/tone/1", "tone", experiment, when,
               {"number": 1, "definition": {"a": 1}, "times": {"creation": when}}),
        Entity("evaluation_dataset", f"d-{when}", "questions", "", when,
               {"name": "questions", "tags": {}, "schema": "s", "profile": "p",
                "digest": f"made-at-{when}", "user": "ada",
                "experiments": [experiment], "records": [{"inputs": {"q": 1}}], "times": times}),
        Entity("webhook", f"w-{when}", "hook", "", when,
               {"name": "hook", "description": "", "url": "https://a", "events": ["x"], "status": "ACTIVE",
                "times": times}),
        Entity("issue", f"i-{when}", "slow", "", when,
               {"definition": {"severity": "high"}, "experiment": experiment, "run": run,
                "times": {"created_at": when}}),
        *(_defined(kind, experiment, when) for kind in contract.LATER if kind != "issue"),
    ]  # fmt: skip
    trees = {
        model: _tree(model, run, model, f"{place}/models/{model}/artifacts"),
        **{f"churn/{number}": _tree(f"churn/{number}", run, model, f"{place}/{run}/artifacts/model")
           for number in versions.values()},
    }  # fmt: skip
    return Store(objects, trees)


def _defined(kind: str, experiment: str, when: int) -> Entity:
    """One of a kind that is one definition, with a part."""
    facets: dict[str, Any] = {"definition": {"of": kind}, "times": {"created_at": when, "parts": {"a": {}}}}
    facets["times"]["parts"]["a"] = {"last_updated_by": f"user {when}"}
    for one in KINDS[kind].sides:
        facets |= {one.name: experiment} if one.strategy == "link" else {}
        facets |= {one.name: []} if one.strategy == "items" else {}
    return Entity(kind, f"{kind}-{when}", kind, "", when, facets)


_COPIES = {RUN: RUN_COPY, OTHER_RUN: OTHER_COPY, MODEL: MODEL_COPY, TRACE: TRACE_COPY, "1": "7", "2": "8"}


def imported() -> World:
    """A source and its copy by the tool: new ids, places and times; the numbers 1 and 3 became 1 and 2."""
    source = _side(lambda one: one, STORE, 100, ("s1", "s2"), {1: 1, 3: 3})
    return World(source, _side(_COPIES.__getitem__, "s3://new/7", 900, ("t1", "t2"), {1: 1, 3: 2}))


def restored(*, moved: bool = False) -> World:
    """The same store once more, or (``moved``) with every place below a new prefix."""
    one = _side(lambda one: one, STORE, 100, ("s1", "s2"), {1: 1, 3: 3})
    place = "s3://new/1" if moved else STORE
    two = _side(lambda one: one, place, 100, ("s1", "s2"), {1: 1, 3: 3})
    for number, item in enumerate(two.objects):
        if item.kind == "model_version":
            two.objects[number] = replace(item, facets={**item.facets, "tags": {}})
    two.trees = dict(one.trees)
    known = Known({RUN: RUN, OTHER_RUN: OTHER_RUN}, {"1": "1", "2": "2"})
    known.moved = Relocation("s3://old", "s3://new") if moved else Relocation()
    return World(one, two, known)


def _replaced(world: World, of: str = OTHER_RUN) -> World:
    """A deleted run of the target that a repair replaced is known as such."""
    world.known = replace(world.known, replaced={DEAD: of})
    return world


def _dangling(entity_id: str, copy: str, facet: str, gone: str) -> Callable[[], World]:
    """A link to what the source has no more: the copy keeps it."""

    def world() -> World:
        made = imported()
        made.change(entity_id, side="source", **{facet: gone}).change(copy, **{facet: gone})
        if entity_id == "churn/1" and facet == "run":
            made.tag(copy, "mlflow_exim.field.run_id", gone)
        return made

    return world


def _moved_before() -> World:
    """The source's version was moved before; the tool wrote its own source tags over those of that move."""
    made = imported()
    earlier = {f"{EXIM}name": "old", f"{EXIM}version": "9", "mlflow_exim.hop1.field.name": "first"}
    made.change("churn/1", side="source", tags=earlier)
    return made.change("churn/1", tags={**earlier, **made.get("churn/1", "tags")})


def _untagged() -> World:
    made = imported()
    return made.change("churn/1", tags={})


def _gone(kind: str) -> Callable[[World], World]:
    """Make what the dangling link names an object that the source has, without a copy."""

    def change(world: World) -> World:
        if kind == "run":
            world.known.stages = {RUN: "active", OTHER_RUN: "active", DEAD: "active"}
        else:
            world.known.unread = ("logged_model",)
        return world

    return change


def _unwritable(entity_id: str, ours: dict[str, str], theirs: dict[str, str]) -> World:
    made = imported().change(entity_id, side="source", status=ours)
    copy = MODEL_COPY if entity_id == MODEL else entity_id
    made.change(copy, status=theirs)
    return made if entity_id == MODEL else made.tag(copy, "mlflow_exim.field.status", ours["status"])


def _points(*runs: str) -> list[dict[str, Any]]:
    return [{"key": "loss", "value": 1.0, "timestamp": 5, "step": 0, "run": run} for run in runs]


def _valued(value: float, copy: float) -> Callable[[], World]:
    """A logged model with a point of this value, and its copy with that one."""

    def world() -> World:
        made = imported().change(MODEL, side="source", metrics=[{**_points(RUN)[0], "value": value}])
        return made.change(MODEL_COPY, metrics=[{**_points(RUN_COPY)[0], "value": copy}])

    return world


def _pointed(**changes: Any) -> Callable[[World], World]:
    """Change the one point of a logged model's copy."""
    return lambda world: world.change(MODEL_COPY, metrics=[{**world.get(MODEL_COPY, "metrics")[0], **changes}])


def _left_out(*, stage: str = "deleted", include_deleted: bool = False, copy: Sequence[str] = (RUN_COPY,)) -> World:
    """A logged model with a metric of its own run and one of a run that is deleted."""
    made = (
        imported().change(MODEL, side="source", metrics=_points(RUN, DEAD)).change(MODEL_COPY, metrics=_points(*copy))
    )
    made.known.stages = {RUN: "active", OTHER_RUN: "active", DEAD: stage}
    made.known.include_deleted = include_deleted
    return made


def _schemas(ours: Any, theirs: Any, world: World | None = None) -> World:
    return (world or imported()).change("d-100", side="source", schema=ours).change("d-900", schema=theirs)


def _trashed() -> World:
    """A dataset and a prompt that were used in an experiment which the source deleted."""
    made = imported().change("d-100", side="source", experiments=["1", "3"])
    made.tag("greet", EXPERIMENTS_TAG, ",1,3,", side="source")
    made.known.deleted_experiments = ("3",)
    return made


def _in_scope(world: World) -> World:
    world.known.source_experiments, world.known.deleted_experiments = ("3",), ()
    return world


def upgraded(
    facet: str,
    ours: Any,
    theirs: Any,
    *,
    releases: tuple[tuple[int, int], tuple[int, int]] = ((2, 22), (3, 17)),
    **more: Any,
) -> World:
    """The same store under two releases that tell one facet of a trace otherwise; ``more`` is equal on both sides."""
    made = restored()
    made.known.releases = releases
    made.change(TRACE, side="source", **{**more, facet: ours})
    return made.change(TRACE, **{**more, facet: theirs})


def _no_end(
    duration: int | None = None,
    *,
    told: int | None = 0,
    state: str = "IN_PROGRESS",
    releases: tuple[tuple[int, int], tuple[int, int]] = ((2, 22), (3, 17)),
) -> World:
    ours, theirs = ({"request": 5, "duration": one} for one in (told, duration))
    return upgraded("times", ours, theirs, state=state, releases=releases)


def _previews(
    request: str | None = None,
    *,
    kept: str = "q",
    releases: tuple[tuple[int, int], tuple[int, int]] = ((2, 22), (3, 17)),
) -> World:
    """A trace of MLflow 2, whose response never was in the metadata."""
    made = upgraded(
        "previews", {"request": "q", "response": None}, {"request": request, "response": None}, releases=releases
    )
    made.change(TRACE, side="source", metadata={"mlflow.traceInputs": "q"})
    return made.change(TRACE, metadata={"mlflow.traceInputs": kept})


def _schema(
    ours: str | None, theirs: str | None, releases: tuple[tuple[int, int], tuple[int, int]] = ((2, 22), (3, 4))
) -> World:
    told = [{} if one is None else {"mlflow.trace_schema.version": one} for one in (ours, theirs)]
    return upgraded("metadata", *told, releases=releases)


def _no_time(kind: str) -> Callable[[World], World]:
    """Put something else among the times of a part."""
    return lambda w: w.change(f"{kind}-900", times={"created_at": 900, "parts": {"a": {"status": "x"}}})


def _in_store(world: World, *, source: bool = True, target: bool = True) -> World:
    """Let servers say that they keep the trace's spans in their databases."""
    for side, trace, kept in (("source", TRACE, source), ("target", TRACE_COPY, target)):
        store = world.source if side == "source" else world.target
        tags = next(one.facets["tags"] for one in store.objects if one.entity_id == trace)
        rest = {key: value for key, value in tags.items() if key != SPANS_LOCATION}
        world.change(trace, side=side, tags=rest | ({SPANS_LOCATION: IN_STORE} if kept else {}))
    return world


#: What a span says in words of others, and what MLflow makes of it.
FOREIGN = {"openinference.span.kind": "CHAIN", "llm.model_name": "m", "llm.token_count.prompt": 3}
COSTS = {
    "mlflow.chat.tokenUsage": {"input_tokens": 3},
    "mlflow.llm.model": "m",
    "mlflow.llm.cost": {"input_cost": 0.01, "output_cost": 0.0, "total_cost": 0.01},
}


def _derived(attributes: dict[str, Any] | None = None, **fields: Any) -> World:
    """Spans that kept their ids, of which the target's database made something more."""
    made = {"type": "CHAIN", **fields, "attributes": {"trace": TRACE_COPY, **FOREIGN, **(attributes or {})}}
    plain = {**_span("s1", None, TRACE), "type": None, "attributes": {"trace": TRACE, **FOREIGN}}
    world = _in_store(imported()).change(TRACE, side="source", spans=[plain], assessments=[])
    return world.change(TRACE_COPY, spans=[{**_span("s1", None, TRACE_COPY), **made}], assessments=[])


def _able(world: World) -> World:
    world.known = replace(world.known, keeps_spans=True)
    return world


#: Rule → a migration in which it lets something differ; all of it is green.
HOLDS: dict[str, Callable[[], World]] = {
    "logged_model.id": imported,
    "logged_model.tags.versions": imported,
    "logged_model.status.message": lambda: _unwritable(
        MODEL, {"status": "FAILED", "message": "full"}, {"status": "FAILED", "message": ""}
    ),
    "logged_model.metrics.left-out": _left_out,
    "logged_model.metrics.infinity": _valued(-math.inf, -LARGEST),
    "logged_model.metrics.negative-zero": _valued(-0.0, 0.0),
    "logged_model.metrics.nan": _valued(math.nan, 0.0),
    "model_version.status.ready": lambda: _unwritable(
        "churn/1", {"status": "FAILED_REGISTRATION", "message": "lost"}, {"status": "READY", "message": ""}
    ),
    "logged_model.run.dangling": _dangling(MODEL, MODEL_COPY, "run", DEAD),
    "logged_model.times": imported,
    "logged_model.files.mlmodel": imported,
    "logged_model.files.moved": lambda: restored(moved=True),
    "trace.id": imported,
    "trace.tags.place": imported,
    "trace.tags.spans": lambda: _in_store(imported(), target=False),
    "trace.metadata.derived": lambda: _derived(COSTS).change(TRACE_COPY, metadata={COST: '{"total_cost": 0.01}'}),
    "trace.spans.derived": lambda: _derived(COSTS),
    "trace.metadata.finalized": lambda: imported().change(TRACE_COPY, metadata={FINALIZED: "true"}),
    "trace.run.dangling": _dangling(TRACE, TRACE_COPY, "run", DEAD),
    "trace.run_links.dangling": lambda: imported().change(TRACE, side="source", run_links=[DEAD]),
    "trace.run_links.replaced": lambda: _replaced(
        imported().change(TRACE, side="source", run_links=[OTHER_RUN]).change(TRACE_COPY, run_links=[OTHER_COPY, DEAD])
    ),
    "trace.logged_model.dangling": _dangling(TRACE, TRACE_COPY, "logged_model", DEAD_MODEL),
    "trace.spans.ids": imported,
    "trace.assessments.ids": imported,
    "trace.tags.moved": lambda: restored(moved=True),
    "trace.times.no-end": _no_end,
    "trace.previews.of-metadata": _previews,
    "trace.metadata.schema-version": lambda: _schema("2", "3"),
    "registered_model.times": imported,
    "model_version.number.import": imported,
    "model_version.source_tags.not-created": _untagged,
    "model_version.source_tags.hops": _moved_before,
    "model_version.run.dangling": _dangling("churn/1", "churn/1", "run", DEAD),
    "model_version.logged_model.dangling": _dangling("churn/1", "churn/1", "logged_model", DEAD_MODEL),
    "model_version.source.own-place": imported,
    "model_version.source.moved": lambda: restored(moved=True),
    "model_version.storage.own-place": imported,
    "model_version.storage.moved": lambda: restored(moved=True),
    "model_version.times": imported,
    "model_version.files.mlmodel": imported,
    "prompt.tags.experiments": imported,
    "prompt.times": imported,
    "prompt_version.tags.experiments": imported,
    "prompt_version.times": imported,
    "evaluation_dataset.schema.outputs": lambda: _schemas(
        {"inputs": {"q": "long"}}, {"inputs": {"q": "long"}, "outputs": {}}
    ),
    "evaluation_dataset.experiments.dangling": lambda: _trashed(),
    "issue.run.dangling": _dangling("i-100", "i-900", "run", DEAD),
    "review_queue.owner.unset": lambda: imported().change("review_queue-900", owner="the importer"),
    "evaluation_dataset.digest": imported,
    "evaluation_dataset.times": imported,
    "scorer.times": imported,
    "evaluation_dataset.last_updated_by": lambda: imported().change("d-900", last_updated_by="the importer"),
    "webhook.times": imported,
    **{f"{kind}.times": imported for kind in contract.LATER},
    "webhook.status.disabled": lambda: _statuses("ACTIVE", "DISABLED"),
}
#: Ids never show as a difference: the pairing replaces them before anything is compared.
SILENT = {"logged_model.id", "trace.id"}


def of_contract() -> set[str]:
    """Rules that let something of these kinds differ, and those by which ``MLmodel`` is compared as YAML."""
    # only live servers answer searches: test_usable.py
    own = [rule for rule in contract.RULES if rule.kind in KINDS and rule.facet != "usable"]
    return {rule.id for rule in own if rule.treatment == "expected" or rule.id.endswith(".mlmodel")}


def test_every_rule_has_its_cases() -> None:
    """A rule without a case in which it holds, or without one in which it does not, fails here."""
    assert set(HOLDS) == of_contract()
    assert {rule for rule, _, _, _ in BROKEN} == of_contract()
    links = {rule.id for rule in contract.RULES if rule.kind == "run" and "model_" in rule.facet}
    assert {f"run.{facet}.dangling" for facet in LINKS} == {one for one in links if one.endswith(".dangling")}


def profile_of(rule: str) -> Profile:
    """The profile under which a rule holds."""
    [profile] = contract.BY_ID[rule].profiles
    return profile


@pytest.mark.parametrize("rule", HOLDS)
def test_where_a_rule_holds_its_facet_is_expected(rule: str) -> None:
    """The row names the rule, and everything is green."""
    outcomes = HOLDS[rule]().judge(profile_of(rule))
    assert red(outcomes) == set()
    named = [one.row for one in outcomes if rule in one.row.rules]
    if rule in SILENT:
        assert not named
        return
    assert named
    assert {(row.kind, row.facet, row.state) for row in named} == {
        (contract.BY_ID[rule].kind, contract.BY_ID[rule].facet, State.EXPECTED)
    }


@pytest.mark.parametrize("rule", [rule for rule in HOLDS if profile_of(rule) == "export-import"])
def test_no_rule_of_an_import_holds_for_the_same_store(rule: str) -> None:
    """The same difference is red where the store itself went on, in the facet of the rule or as another object."""
    outcomes = HOLDS[rule]().judge("same-store")
    kind, facet = contract.BY_ID[rule].kind, contract.BY_ID[rule].facet
    assert {name for of, name, _ in red(outcomes) if of == kind} & {facet, "presence"}
    assert not any(rule in one.row.rules for one in outcomes)


@pytest.mark.parametrize("rule", [rule for rule in HOLDS if profile_of(rule) == "same-store"])
def test_no_rule_of_the_same_store_holds_for_an_import(rule: str) -> None:
    """A place of the same store is no place of a copy's own, and no rule excuses it."""
    outcomes = HOLDS[rule]().judge("export-import")
    assert not any(rule in one.row.rules for one in outcomes)


def _spans(world: World, **changes: Any) -> World:
    spans = world.get(TRACE_COPY, "spans")
    return world.change(TRACE_COPY, spans=[spans[0], {**spans[1], **changes}])


def _assessments(world: World, place: int, **changes: Any) -> World:
    found = list(world.get(TRACE_COPY, "assessments"))
    found[place] = {**found[place], **changes}
    return world.change(TRACE_COPY, assessments=found)


def _versions(*numbers: int) -> str:
    return json.dumps([{"name": "churn", "version": str(number)} for number in numbers])


def _without_second(world: World) -> World:
    """Take the copy of version 3 away, and let the tag name what has its number."""
    world.target.objects = [item for item in world.target.objects if item.entity_id != "churn/2"]
    return world.tag(MODEL_COPY, "mlflow.modelVersions", _versions(1, 3))


def _lost_experiment(world: World) -> World:
    """Let the source have an experiment without copy, which the prompt lists, under an id that the target has too."""
    world.known.source_experiments = ("3",)
    world.tag("greet", "_mlflow_experiment_ids", ",1,3,", side="source")
    return world.tag("greet", "_mlflow_experiment_ids", ",7,3,")


def _same(world: World, entity_id: str, copy: str, facet: str) -> World:
    return world.change(copy, **{facet: world.get(entity_id, facet, side="source")})


def _unread_model(world: World) -> World:
    world.known.unread = ("logged_model",)
    return world


EXIM = "mlflow_exim.field."
OWN = "s3://new/7"
Break = tuple[str, str, Callable[[World], World], str]
#: Rule, how its condition is broken, the change, and the state of the facet then.
BROKEN: list[Break] = [
    ("logged_model.status.message", "another status",
     lambda w: w.change(MODEL_COPY, status={"status": "READY", "message": ""}), "mismatch"),
    ("logged_model.status.message", "another message",
     lambda w: w.change(MODEL_COPY, status={"status": "FAILED", "message": "empty"}), "mismatch"),
    ("logged_model.metrics.left-out", "the run is there", lambda _: _left_out(stage="active"), "mismatch"),
    ("logged_model.metrics.left-out", "deleted runs are in scope", lambda _: _left_out(include_deleted=True),
     "mismatch"),
    ("logged_model.metrics.left-out", "a point of its own run less", lambda _: _left_out(copy=()), "mismatch"),
    ("logged_model.metrics.left-out", "a point more", lambda _: _left_out(copy=(RUN_COPY, OTHER_COPY)), "mismatch"),
    ("model_version.status.ready", "no tag", lambda w: w.tag("churn/1", f"{EXIM}status", None), "mismatch"),
    ("model_version.status.ready", "another status",
     lambda w: w.change("churn/1", status={"status": "PENDING_REGISTRATION", "message": ""}), "mismatch"),
    ("model_version.status.ready", "a message",
     lambda w: w.change("churn/1", status={"status": "READY", "message": "fine"}), "mismatch"),
    ("logged_model.metrics.infinity", "the other sign", _pointed(value=LARGEST), "mismatch"),
    ("logged_model.metrics.infinity", "at another step", _pointed(step=1), "mismatch"),
    ("logged_model.metrics.infinity", "of another run", _pointed(run=OTHER_COPY), "mismatch"),
    ("logged_model.metrics.infinity", "nought", _pointed(value=0.0), "mismatch"),
    ("logged_model.metrics.infinity", "once more", lambda w: w.change(
        MODEL_COPY, metrics=w.get(MODEL_COPY, "metrics") * 2), "mismatch"),
    ("logged_model.metrics.negative-zero", "a number", _pointed(value=5e-324), "mismatch"),
    ("logged_model.metrics.negative-zero", "the other way", lambda _: _valued(0.0, -0.0)(), "mismatch"),
    ("logged_model.metrics.nan", "the largest double", _pointed(value=LARGEST), "mismatch"),
    ("logged_model.metrics.nan", "at another time", _pointed(timestamp=6), "mismatch"),
    ("logged_model.metrics.nan", "the other way", lambda _: _valued(0.0, math.nan)(), "mismatch"),
    ("logged_model.id", "files in the source's place",
     lambda w: w.place(MODEL_COPY, f"{STORE}/models/{MODEL}/artifacts"), "mismatch"),
    ("logged_model.id", "files elsewhere in the source's store",
     lambda w: w.place(MODEL_COPY, f"{STORE}/elsewhere"), "mismatch"),
    ("logged_model.tags.versions", "the source's numbers",
     lambda w: w.tag(MODEL_COPY, VERSIONS_TAG, _versions(1, 3)), "mismatch"),
    ("logged_model.tags.versions", "one version less", lambda w: w.tag(MODEL_COPY, VERSIONS_TAG, _versions(1)),
     "mismatch"),
    ("logged_model.tags.versions", "one version more",
     lambda w: w.tag(MODEL_COPY, VERSIONS_TAG, _versions(1, 2, 4)), "mismatch"),
    ("logged_model.tags.versions", "no tag", lambda w: w.tag(MODEL_COPY, VERSIONS_TAG, None), "mismatch"),
    ("logged_model.tags.versions", "no JSON", lambda w: w.tag(MODEL_COPY, VERSIONS_TAG, "[" * 5_000), "mismatch"),
    ("logged_model.tags.versions", "a version without copy", _without_second, "mismatch"),
    ("logged_model.run.dangling", "another run", lambda w: w.change(MODEL_COPY, run=OTHER_COPY), "mismatch"),
    ("logged_model.run.dangling", "the run is on the source", _gone("run"), "mismatch"),
    ("logged_model.times", "a field of another kind",
     lambda w: w.change(MODEL_COPY, times={"creation": 900, "update": 901, "x": 1}), "mismatch"),
    ("logged_model.files.mlmodel", "the source's run", lambda w: w.mlmodel(MODEL_COPY, RUN_COPY, RUN), "mismatch"),
    ("logged_model.files.mlmodel", "another model", lambda w: w.mlmodel(MODEL_COPY, MODEL_COPY, MODEL), "mismatch"),
    ("logged_model.files.mlmodel", "another flavor",
     lambda w: w.mlmodel(MODEL_COPY, "loader_module: x", "loader_module: y"), "mismatch"),
    ("logged_model.files.mlmodel", "no YAML", lambda w: w.mlmodel(MODEL_COPY, "flavors:", "{{{"), "mismatch"),
    ("logged_model.files.moved", "stayed", lambda w: w.place(MODEL, f"{STORE}/models/{MODEL}/artifacts"), "mismatch"),
    ("logged_model.files.moved", "elsewhere below the new prefix",
     lambda w: w.place(MODEL, f"s3://new/2/models/{MODEL}/artifacts"), "mismatch"),
    ("trace.id", "a further copy", lambda w: _twin(w, TRACE_COPY), "duplicate"),
    ("trace.tags.place", "the source's place",
     lambda w: w.tag(TRACE_COPY, PLACE_TAG, f"{STORE}/traces/{TRACE}/artifacts"), "mismatch"),
    ("trace.tags.place", "the source's place, written otherwise",
     lambda w: w.tag(TRACE_COPY, PLACE_TAG, f"{STORE}/traces/{TRACE}/artifacts/"), "mismatch"),
    ("trace.tags.place", "elsewhere in the source's store",
     lambda w: w.tag(TRACE_COPY, PLACE_TAG, f"s3://old/2/traces/{TRACE}/artifacts"), "mismatch"),
    ("trace.tags.place", "the place of the source's archive",
     lambda w: w.tag(TRACE, ARCHIVE_TAG, f"{STORE}/archive/{TRACE}", side="source").tag(TRACE_COPY, ARCHIVE_TAG,
                                                                         f"{STORE}/archive/{TRACE}"), "mismatch"),
    ("trace.tags.place", "an archive in the source's store",
     lambda w: w.tag(TRACE_COPY, ARCHIVE_TAG, f"s3://old/2/archive/{TRACE}"), "mismatch"),
    ("trace.tags.spans", "the target can hold them", _able, "mismatch"),
    ("trace.metadata.derived", "the target has them in a file", lambda w: _in_store(w, target=False), "mismatch"),
    ("trace.metadata.derived", "the source has them in a file", lambda w: _in_store(w, source=False), "mismatch"),
    ("trace.metadata.derived", "the source has one, too",
     lambda w: w.change(TRACE, side="source", metadata={COST: "1"}), "mismatch"),
    ("trace.metadata.derived", "no span has what it is made of",
     lambda w: _in_store(w).change(TRACE_COPY, metadata={COST: "{}", "mlflow.trace.session": "s"}), "mismatch"),
    ("trace.metadata.derived", "another key", lambda w: w.change(TRACE_COPY, metadata={"mlflow.trace.x": "1"}),
     "mismatch"),
    ("trace.spans.derived", "the target has them in a file", lambda w: _in_store(w, target=False), "mismatch"),
    ("trace.spans.derived", "another attribute", lambda _: _derived({"mlflow.llm.x": 1}), "mismatch"),
    ("trace.spans.derived", "of nothing", lambda _: _derived(outputs="never said"), "mismatch"),
    ("trace.spans.derived", "not what the source's says", lambda _: _derived(type="AGENT"), "mismatch"),
    ("trace.spans.derived", "a cost of no usage",
     lambda _: _derived({"mlflow.llm.cost": COSTS["mlflow.llm.cost"]}), "mismatch"),
    ("trace.spans.derived", "of an attribute of which nothing known makes it", lambda _: _derived(outputs="m"),
     "unverified"),
    ("trace.spans.derived", "inputs that the source has", lambda _: _derived(inputs={"q": 2}), "mismatch"),
    ("trace.spans.derived", "less than the source has", lambda _: _derived(inputs=None), "mismatch"),
    ("trace.run.dangling", "another run", lambda w: w.change(TRACE_COPY, run=OTHER_COPY), "mismatch"),
    ("trace.run.dangling", "the run is on the source", _gone("run"), "mismatch"),
    ("trace.run_links.dangling", "another run", lambda w: w.change(TRACE_COPY, run_links=[OTHER_COPY]), "mismatch"),
    ("trace.run_links.dangling", "the run is on the source", _gone("run"), "mismatch"),
    ("trace.run_links.replaced", "a run that nobody replaced",
     lambda w: w.change(TRACE_COPY, run_links=[OTHER_COPY, "8" * 32]), "mismatch"),
    ("trace.run_links.replaced", "the copy of a run to which the source's trace has no link",
     lambda w: w.change(TRACE, side="source", run_links=[]).change(TRACE_COPY, run_links=[DEAD]), "mismatch"),
    ("trace.run_links.replaced", "no link to what replaced it", lambda w: w.change(TRACE_COPY, run_links=[DEAD]),
     "mismatch"),
    ("trace.logged_model.dangling", "another model", lambda w: w.change(TRACE_COPY, logged_model=MODEL_COPY),
     "mismatch"),
    ("trace.logged_model.dangling", "not every model was read", _unread_model, "unverified"),
    ("trace.spans.ids", "another name", lambda w: _spans(w, name="chilt"), "mismatch"),
    ("trace.spans.ids", "another parent", lambda w: _spans(w, parent_id=None), "mismatch"),
    ("trace.spans.ids", "a time one ns later", lambda w: _spans(w, end_ns=4), "mismatch"),
    ("trace.spans.ids", "the source's trace in attributes", lambda w: _spans(w, attributes={"trace": TRACE}),
     "mismatch"),
    ("trace.spans.ids", "its own parent", lambda w: _spans(w, parent_id="t2"), "mismatch"),
    ("trace.spans.ids", "one span less",
     lambda w: w.change(TRACE_COPY, spans=w.get(TRACE_COPY, "spans")[:1]), "mismatch"),
    ("trace.spans.ids", "one span twice",
     lambda w: w.change(TRACE_COPY, spans=[*w.get(TRACE_COPY, "spans"), {**w.get(TRACE_COPY, "spans")[1],
                                                                         "span_id": "t3"}]), "mismatch"),
    ("trace.assessments.ids", "another value", lambda w: _assessments(w, 1, value=2), "mismatch"),
    ("trace.assessments.ids", "another source", lambda w: _assessments(w, 0, source={"type": "CODE", "id": "ada"}),
     "mismatch"),
    ("trace.assessments.ids", "overrides nothing", lambda w: _assessments(w, 1, overrides=None), "mismatch"),
    ("trace.assessments.ids", "overrides what is not there", lambda w: _assessments(w, 1, overrides="x"), "mismatch"),
    ("trace.assessments.ids", "overrides itself", lambda w: _assessments(w, 1, overrides="b-900"), "mismatch"),
    ("trace.assessments.ids", "on another span", lambda w: _assessments(w, 0, span_id="t1"), "mismatch"),
    ("trace.assessments.ids", "valid again", lambda w: _assessments(w, 0, valid=True), "mismatch"),
    ("trace.tags.moved", "stayed", lambda w: w.tag(TRACE, PLACE_TAG, f"{STORE}/traces/{TRACE}/artifacts"), "mismatch"),
    ("trace.times.no-end", "the trace has ended", lambda _: _no_end(state="OK"), "mismatch"),
    ("trace.times.no-end", "a duration came", lambda _: _no_end(3), "mismatch"),
    ("trace.times.no-end", "a duration went", lambda _: _no_end(told=3), "mismatch"),
    ("trace.times.no-end", "another request time",
     lambda w: w.change(TRACE, times={"request": 6, "duration": None}), "mismatch"),
    ("trace.times.no-end", "between releases that tell the same", lambda _: _no_end(releases=((3, 4), (3, 17))),
     "mismatch"),
    ("trace.times.no-end", "backwards", lambda _: _no_end(0, told=None, releases=((3, 17), (2, 22))), "mismatch"),
    ("trace.times.no-end", "an unknown release", lambda _: _no_end(releases=((0, 0), (3, 17))), "mismatch"),
    ("trace.previews.of-metadata", "another text in the metadata", lambda _: _previews(kept="r"), "mismatch"),
    ("trace.previews.of-metadata", "another preview", lambda _: _previews("r"), "mismatch"),
    ("trace.previews.of-metadata", "a server that has previews", lambda _: _previews(releases=((3, 4), (3, 17))),
     "mismatch"),
    ("trace.metadata.schema-version", "another version", lambda _: _schema("4", "3"), "mismatch"),
    ("trace.metadata.schema-version", "servers that tell what is stored",
     lambda _: _schema("2", "3", ((2, 22), (3, 17))), "mismatch"),
    ("trace.metadata.schema-version", "lost", lambda _: _schema("3", None, ((3, 5), (3, 17))), "mismatch"),
    ("trace.tags.moved", "lost", lambda w: w.tag(TRACE, PLACE_TAG, None), "mismatch"),
    ("registered_model.times", "a field of another kind", lambda w: w.change("churn", times={"deletion": 1}),
     "mismatch"),
    ("model_version.number.import", "no tag", lambda w: w.change("churn/2", tags={}), "mismatch"),
    ("model_version.number.import", "paired by content, the tag says another",
     lambda w: w.tag("churn/2", f"{EXIM}name", None).tag("churn/2", f"{EXIM}version", "4"), "mismatch"),
    ("model_version.number.import", "written otherwise",
     lambda w: w.tag("churn/2", f"{EXIM}name", None).tag("churn/2", f"{EXIM}version", "03"), "mismatch"),
    ("model_version.source_tags.hops", "the tool's tag is wrong",
     lambda w: w.tag("churn/1", f"{EXIM}run_id", OTHER_RUN), "mismatch"),
    ("model_version.source_tags.hops", "one that the tool does not write is not there",
     lambda w: w.tag("churn/1", f"{EXIM}newer", "x", side="source"), "mismatch"),
    ("model_version.source_tags.hops", "the hop before is not there",
     lambda w: w.tag("churn/1", "mlflow_exim.hop1.field.name", None), "mismatch"),
    ("model_version.source_tags.hops", "the hop before is another",
     lambda w: w.tag("churn/1", "mlflow_exim.hop1.field.name", "second"), "mismatch"),
    ("model_version.source_tags.not-created", "one tag is there and wrong",
     lambda w: w.change("churn/1", tags={f"{EXIM}description": "v2"}), "mismatch"),
    ("model_version.source_tags.not-created", "one tag is there, those that name it are not",
     lambda w: w.change("churn/1", tags={f"{EXIM}description": "v1"}), "mismatch"),
    ("model_version.source_tags.not-created", "another user in a tag",
     lambda w: w.change("churn/1", tags={f"{EXIM}name": "churn", f"{EXIM}version": "1", f"{EXIM}run_id": RUN,
                                         f"{EXIM}user_id": "eve"}), "mismatch"),
    ("model_version.source_tags.not-created", "another time in a tag",
     lambda w: w.change("churn/1", tags={f"{EXIM}name": "churn", f"{EXIM}version": "1", f"{EXIM}run_id": RUN,
                                         f"{EXIM}last_updated_timestamp": "5"}), "mismatch"),
    ("review_queue.owner.unset", "the source's has one",
     lambda w: w.change("review_queue-100", side="source", owner="ada"), "mismatch"),
    ("issue.run.dangling", "another run", lambda w: w.change("i-900", run=OTHER_COPY), "mismatch"),
    ("issue.run.dangling", "the run is on the source", _gone("run"), "mismatch"),
    ("model_version.run.dangling", "another run", lambda w: w.change("churn/1", run=OTHER_COPY), "mismatch"),
    ("model_version.run.dangling", "the run is on the source", _gone("run"), "mismatch"),
    ("model_version.logged_model.dangling", "another model", lambda w: w.change("churn/1", logged_model=MODEL_COPY),
     "mismatch"),
    ("model_version.logged_model.dangling", "not every model was read", _unread_model, "unverified"),
    ("model_version.source.own-place", "the source's place", lambda w: _same(w, "churn/1", "churn/1", "source"),
     "mismatch"),
    ("model_version.source.own-place", "the source's run, in another store",
     lambda w: w.change("churn/1", source=f"{OWN}/{RUN}/artifacts/model"), "mismatch"),
    ("model_version.source.own-place", "the source's logged model",
     lambda w: w.change("churn/1", source=f"models:/{MODEL}"), "mismatch"),
    ("model_version.source.own-place", "another run of the source",
     lambda w: w.change("churn/1", source=f"{OWN}/{OTHER_RUN}/artifacts/model"), "mismatch"),
    ("model_version.source.own-place", "the copy of another run",
     lambda w: w.change("churn/1", source=f"{OWN}/{OTHER_COPY}/artifacts/model"), "mismatch"),
    ("model_version.source.own-place", "elsewhere in the source's store",
     lambda w: w.change("churn/1", source=f"{STORE}/x/artifacts/model"), "mismatch"),
    ("model_version.source.own-place", "no place", lambda w: w.change("churn/1", source=""), "mismatch"),
    ("model_version.source.moved", "stayed", lambda w: _same(w, "churn/1", "churn/1", "source"), "mismatch"),
    ("model_version.source.moved", "a name that only begins alike",
     lambda w: w.change("churn/1", source=f"s3://newer/1/{RUN}/artifacts/model"), "mismatch"),
    ("model_version.storage.own-place", "the source's place",
     lambda w: w.change("churn/1", storage=f"{STORE}/{RUN}/artifacts/model"), "mismatch"),
    ("model_version.storage.own-place", "elsewhere in the source's store",
     lambda w: w.change("churn/1", storage=f"{STORE}/x/artifacts/model"), "mismatch"),
    ("model_version.storage.own-place", "another place than its source's",
     lambda w: w.change("churn/1", storage=f"{OWN}/{RUN_COPY}/artifacts/model2"), "mismatch"),
    ("model_version.storage.own-place", "the copy of another run",
     lambda w: w.change("churn/1", storage=f"{OWN}/{OTHER_COPY}/artifacts/model"), "mismatch"),
    ("model_version.storage.own-place", "not read", lambda w: w.change("churn/1", storage=None), "unverified"),
    ("model_version.storage.moved", "stayed",
     lambda w: w.change("churn/1", storage=w.get("churn/1", "source", side="source")), "mismatch"),
    ("model_version.times", "a field of another kind", lambda w: w.change("churn/1", times={"deletion": 1}),
     "mismatch"),
    ("model_version.files.mlmodel", "the source's run", lambda w: w.mlmodel("churn/2", RUN_COPY, RUN), "mismatch"),
    ("model_version.files.mlmodel", "another model", lambda w: w.mlmodel("churn/2", MODEL_COPY, MODEL), "mismatch"),
    ("model_version.files.mlmodel", "another flavor",
     lambda w: w.mlmodel("churn/2", "loader_module: x", "loader_module: y"), "mismatch"),
    ("model_version.files.mlmodel", "no YAML", lambda w: w.mlmodel("churn/2", "flavors:", "{{{"), "mismatch"),
    ("prompt.tags.experiments", "the source's ids", lambda w: _same(w, "greet", "greet", "tags"), "mismatch"),
    ("prompt.tags.experiments", "one more", lambda w: w.tag("greet", EXPERIMENTS_TAG, ",7,8,"), "mismatch"),
    ("prompt.tags.experiments", "none", lambda w: w.tag("greet", EXPERIMENTS_TAG, None), "mismatch"),
    ("prompt.tags.experiments", "an experiment without copy", _lost_experiment, "mismatch"),
    ("prompt.tags.experiments", "a deleted one for another",
     lambda w: _trashed().tag("greet", EXPERIMENTS_TAG, ",7,8,"), "mismatch"),
    ("prompt.tags.experiments", "a deleted one that is in scope", lambda w: _in_scope(_trashed()), "mismatch"),
    ("prompt.times", "a field of another kind", lambda w: w.change("greet", times={"deletion": 1}), "mismatch"),
    ("prompt_version.tags.experiments", "the source's ids", lambda w: _same(w, "greet/1", "greet/1", "tags"),
     "mismatch"),
    ("prompt_version.tags.experiments", "one less", lambda w: w.tag("greet/1", EXPERIMENTS_TAG, ",7,"), "mismatch"),
    ("prompt_version.times", "a field of another kind", lambda w: w.change("greet/1", times={"deletion": 1}),
     "mismatch"),
    ("trace.metadata.finalized", "another value", lambda w: w.change(TRACE_COPY, metadata={FINALIZED: "false"}),
     "mismatch"),
    ("trace.metadata.finalized", "lost",
     lambda w: w.change(TRACE, side="source", metadata={FINALIZED: "true"}).change(TRACE_COPY, metadata={}),
     "mismatch"),
    ("trace.metadata.finalized", "another entry", lambda w: w.change(TRACE_COPY, metadata={"x": "true"}), "mismatch"),
    ("evaluation_dataset.schema.outputs", "outputs that say something",
     lambda w: _schemas({"inputs": {}}, {"inputs": {}, "outputs": {"a": "long"}}, w), "mismatch"),
    ("evaluation_dataset.schema.outputs", "inputs that differ",
     lambda w: _schemas({"inputs": {"q": "long"}}, {"inputs": {}, "outputs": {}}, w), "mismatch"),
    ("evaluation_dataset.schema.outputs", "no schema", lambda w: _schemas({"outputs": {}}, None, w), "mismatch"),
    ("evaluation_dataset.experiments.dangling", "another one", lambda w: w.change("d-900", experiments=["7", "8"]),
     "mismatch"),
    ("evaluation_dataset.experiments.dangling", "what has its id there",
     lambda w: w.change("d-900", experiments=["7", "3"]), "mismatch"),
    ("evaluation_dataset.experiments.dangling", "in scope", _in_scope, "mismatch"),
    ("evaluation_dataset.digest", "none", lambda w: w.change("d-900", digest=None), "mismatch"),
    ("evaluation_dataset.last_updated_by", "not created again", lambda w: _itself(w, "d-900", "d-100"), "mismatch"),
    ("scorer.times", "a field of another kind", lambda w: w.change("7/tone/1", times={"deletion": 1}), "mismatch"),
    ("webhook.times", "a field of another kind", lambda w: w.change("w-900", times={"deletion": 1}), "mismatch"),
    ("issue.times", "what is no time", lambda w: w.change("i-900", times={"severity": "low"}), "mismatch"),
    *((f"{kind}.times", "what is no time", _no_time(kind), "mismatch") for kind in contract.LATER if kind != "issue"),
    ("webhook.status.disabled", "the other way", lambda w: _statuses("DISABLED", "ACTIVE", w), "mismatch"),
    ("webhook.status.disabled", "another word", lambda w: _statuses("ACTIVE", "PAUSED", w), "mismatch"),
    ("webhook.status.disabled", "not created on the target", lambda w: _itself(w, "w-900", "w-100"), "mismatch"),
    ("evaluation_dataset.times", "a field of another kind", lambda w: w.change("d-900", times={"deletion": 1}),
     "mismatch"),
]  # fmt: skip


def test_a_deleted_experiment_in_a_prompt_s_tag() -> None:
    """Its id stays, goes, or is that of its copy, where it has one; the experiments in scope are there in any case."""
    for kept in (",7,", ",3,7,"):
        assert red(_trashed().tag("greet", EXPERIMENTS_TAG, kept).judge()) == set()
    assert ("prompt", "tags", "mismatch") in red(_trashed().tag("greet", EXPERIMENTS_TAG, ",3,").judge())
    copied = _trashed()
    copied.known.experiments = {**copied.known.experiments, "3": "9"}
    assert red(copied.tag("greet", EXPERIMENTS_TAG, ",7,9,").judge()) == set()
    assert ("prompt", "tags", "mismatch") in red(copied.tag("greet", EXPERIMENTS_TAG, ",3,7,").judge())


def _statuses(ours: str, theirs: str, world: World | None = None) -> World:
    """A webhook with these statuses on source and target."""
    made = imported() if world is None else world
    return made.change("w-100", side="source", status=ours).change("w-900", status=theirs)


def _itself(world: World, entity_id: str, own: str) -> World:
    """Give a copy the id that it has on the source."""
    world.target.objects = [
        replace(item, entity_id=own) if item.entity_id == entity_id else item for item in world.target.objects
    ]
    return world


def _twin(world: World, entity_id: str) -> World:
    one = next(item for item in world.target.objects if item.entity_id == entity_id)
    world.target.objects.append(replace(one, entity_id="tr-twin"))
    return world


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: f"{case[0]}: {case[1]}")
def test_where_its_condition_is_broken_the_facet_is_red(case: Break) -> None:
    """From the migration in which the rule holds, by one change."""
    rule, _, change, state = case
    outcomes = change(HOLDS[rule]()).judge(profile_of(rule))
    kind, facet = contract.BY_ID[rule].kind, contract.BY_ID[rule].facet
    if rule == "logged_model.id":
        facet = "files"
    assert (kind, facet, state) in red(outcomes), red(outcomes)


@pytest.mark.parametrize(("copied", "is_green"), [((1, 2), True), ((1, 2, 2), True), ((1, 2, 5), False), ((2,), False)])
def test_a_version_that_is_gone_may_stay_in_the_tag_or_go(copied: tuple[int, ...], is_green: bool) -> None:
    """The source's tag names version 2, which was deleted, between 1 and 3, whose copies have the numbers 1 and 2."""
    made = imported().tag(MODEL_COPY, VERSIONS_TAG, _versions(*copied))
    made.change(MODEL, side="source", tags={"team": "x", VERSIONS_TAG: _versions(1, 2, 3)})
    assert red(made.judge()) == (set() if is_green else {("logged_model", "tags", "mismatch")})


def test_a_version_that_is_gone_does_not_stand_for_another_models() -> None:
    """Its number was given again: to the copy of a version that another logged model is registered as."""
    made = imported().tag(MODEL_COPY, VERSIONS_TAG, _versions(1, 2))
    made.change(MODEL, side="source", tags={"team": "x", VERSIONS_TAG: _versions(1, 2)})
    assert red(made.judge()) == {("logged_model", "tags", "mismatch")}


def test_spans_of_one_id_are_as_many_as_there_are() -> None:
    """A file may hold an id twice: each of them has its copy, in any order; a lost one and one too many are red."""
    first = _span("a", None, TRACE)
    second = {**first, "name": "twin"}
    for theirs, is_green in (([second, first], True), ([first], False), ([second], False), ([first, first], False)):
        for ids in ("a", "b"):
            made = imported().change(TRACE, side="source", spans=[first, second], assessments=[])
            copies = [{**one, "span_id": ids, "attributes": {"trace": TRACE_COPY}} for one in theirs]
            made.change(TRACE_COPY, spans=copies, assessments=[])
            assert red(made.judge()) == (set() if is_green else {("trace", "spans", "mismatch")}), (theirs, ids)


@pytest.mark.parametrize("entity_id", [MODEL, "d-100", "w-100"])
def test_another_name_under_the_same_id_is_red(entity_id: str) -> None:
    """In a store that went on, and wherever ids happen to be kept, the id says which one it is, not the name."""
    judged = restored().change(entity_id, name="EVIL")
    [one] = [item for item in judged.target.objects if item.entity_id == entity_id]
    judged.target.objects[judged.target.objects.index(one)] = replace(one, name="EVIL")
    for profile in PROFILES:
        assert (one.kind, "name", "mismatch") in red(judged.judge(profile))


@pytest.mark.parametrize(
    ("ours", "theirs", "state"),
    [
        (["greet/1"], ["greet/1"], None),
        (["greet/1"], [], "mismatch"),
        ([], ["greet/1"], "mismatch"),
        (None, ["greet/1"], None),
        (None, ["greet/1", "greet/2"], "mismatch"),
        (["greet/1"], None, None),
        (["greet/1", "greet/2"], None, "unverified"),
    ],
)
def test_a_link_to_a_prompt_is_what_its_association_says(
    ours: list[str] | None, theirs: list[str] | None, state: str | None
) -> None:
    """The tag names version 1 on both sides; None is a server that cannot search for associations."""
    made = imported().change(TRACE, side="source", linked_prompts=ours).change(TRACE_COPY, linked_prompts=theirs)
    assert red(made.judge()) == (set() if state is None else {("trace", "prompts", state)})


@pytest.mark.parametrize(
    ("ours", "theirs", "state"),
    [
        ([OTHER_RUN], [OTHER_COPY], None),
        ([OTHER_RUN], [], "mismatch"),
        ([], [OTHER_COPY], "mismatch"),
        ([OTHER_RUN], [OTHER_RUN], "mismatch"),
        ([RUN], [], None),
        (["gone"], [], None),
        (["gone"], ["gone"], None),
        (["gone"], [OTHER_COPY], "mismatch"),
        (["gone", OTHER_RUN], [OTHER_COPY], None),
        (None, [OTHER_COPY], "unverified"),
        ([OTHER_RUN], None, "unverified"),
        (None, None, "unverified"),
    ],
)
def test_the_runs_that_a_trace_was_linked_to(
    ours: list[str] | None, theirs: list[str] | None, state: str | None
) -> None:
    """The copies of the runs, and no other; one that is gone may stay or go, and what was not read is no pass.

    With the run in which the copy was made, no search tells of a link beside.
    """
    made = imported().change(TRACE, side="source", run_links=ours).change(TRACE_COPY, run_links=theirs)
    assert red(made.judge()) == (set() if state is None else {("trace", "run_links", state)})


LINKS = ("model_inputs", "model_outputs")


def _run(run_id: str, *links: tuple[str, int]) -> Run:
    return Run(run_id, "1", "r", "FINISHED", 1, 2, "ada", "active", "s3://x", {}, {}, {}, (), links, links)


def _model_links(
    facet: str, theirs: tuple[tuple[str, int], ...], profile: Profile = "export-import", **known: Any
) -> Outcome:
    """Compare the links of a run that used a model that is gone, at step 3."""
    links = links_of(Known({RUN: RUN_COPY}, {"1": "7"}, **known))
    links.entities["logged_model"], links.known["logged_model"] = {MODEL: MODEL_COPY}, {MODEL, SECOND}
    found: list[Difference] = run_models(facet, _run(RUN, (DEAD_MODEL, 3)), _run(RUN_COPY, *theirs), links)
    row = Row("e", "run", "r", RUN, RUN_COPY, facet, facet_state(found))
    [outcome] = list[Outcome](refuse([Outcome(row, tuple(found))], profile))
    return outcome


@pytest.mark.parametrize("facet", LINKS)
def test_a_run_s_link_to_a_model_that_is_gone(facet: str) -> None:
    """The copy keeps the id or has none; another model, another step, or a model that may be there is red."""
    rule = f"run.{facet}.dangling"
    for kept in ((), ((DEAD_MODEL, 3),)):
        outcome = _model_links(facet, kept)
        assert outcome.row.state is State.EXPECTED
        assert {one.rule for one in outcome.differences} == {rule}
        assert _model_links(facet, kept, "same-store").row.state is State.MISMATCH
    for other in (((MODEL_COPY, 3),), ((DEAD_MODEL, 4),), ((DEAD_MODEL, 3), (MODEL_COPY, 3))):
        assert _model_links(facet, other).row.state is State.MISMATCH
    assert _model_links(facet, (), unread=("logged_model",)).row.state is State.UNVERIFIED
    assert contract.BY_ID[rule].profiles == EXPORT_IMPORT
    assert SAME_STORE != EXPORT_IMPORT


def of_model() -> World:
    """Version 1 is made of its logged model, as MLflow 3 makes them: its MLmodel names the logged model's place."""
    made = imported()
    for side, store, model, run, place in (
        ("source", made.source, MODEL, RUN, STORE),
        ("target", made.target, MODEL_COPY, RUN_COPY, OWN),
    ):
        made.change("churn/1", side=side, source=f"models:/{model}")
        store.objects = [
            replace(item, artifact_uri=f"models:/{model}") if item.entity_id == "churn/1" else item
            for item in store.objects
        ]
        store.trees["churn/1"] = _tree("churn/1", run, model, f"{place}/models/{model}/artifacts")
    return made


def test_a_version_made_of_a_logged_model() -> None:
    """The place in its MLmodel is the logged model's, and becomes that of the copy; any other is red."""
    assert red(of_model().judge()) == set()
    kept = of_model().mlmodel("churn/1", f"{OWN}/models/{MODEL_COPY}", f"{STORE}/models/{MODEL}")
    assert ("model_version", "files", "mismatch") in red(kept.judge())
    for other in (f"models:/{SECOND_COPY}", f"models:/{MODEL}"):
        assert ("model_version", "source", "mismatch") in red(of_model().change("churn/1", source=other).judge())
