"""Stores of every kind of object in memory, and their migration: what a perfect copy looks like."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from mlflow_parity import kinds
from mlflow_parity.core.identity.keys import ObjectKey
from mlflow_parity.core.records import Artifact, ArtifactTree, Entity
from mlflow_parity.snapshot.objects import key_of
from support.no_objects import stored

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.text("abcdé 数-._", min_size=1, max_size=6)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True, width=32) | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
tags = st.dictionaries(names, texts, max_size=3)
times = st.fixed_dictionaries({"creation": st.integers(0, 99), "update": st.integers(0, 99)})
RUNS = ("run-a", "run-b")
#: Source run id → that of its copy.
RUN_COPIES = {run: f"copy-of-{run}" for run in RUNS}
runs = st.none() | st.sampled_from(RUNS)
status = st.fixed_dictionaries({"status": st.sampled_from(["READY", "FAILED"]), "message": texts})


def _span(number: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "span_id": st.just(f"s{number}"),
            "parent_id": st.none() if number == 0 else st.sampled_from([f"s{before}" for before in range(number)]),
            "name": names,
            "type": st.sampled_from(["LLM", "TOOL"]),
            "inputs": values,
            "outputs": values,
            "attributes": st.dictionaries(names, values, max_size=2),
            "events": st.lists(st.fixed_dictionaries({"name": names, "attributes": tags}), max_size=2),
            "status": st.fixed_dictionaries({"code": st.sampled_from(["OK", "ERROR"]), "message": texts}),
            "start_ns": st.just(1_000 + number),
            "end_ns": st.integers(2_000, 2_005),
        }
    )


def _assessment(number: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "id": st.just(f"a-{number}"),
            "name": names,
            "kind": st.sampled_from(["feedback", "expectation"]),
            "value": values,
            "error": st.none(),
            "rationale": texts,
            "source": st.fixed_dictionaries({"type": st.sampled_from(["HUMAN", "CODE"]), "id": texts}),
            "metadata": tags,
            "span_id": st.none() | st.just("s0"),
            "overrides": st.none() if number == 0 else st.none() | st.just(f"a-{number - 1}"),
            "valid": st.booleans(),
            "created": st.integers(0, 9),
            "updated": st.integers(0, 9),
        }
    )


spans = st.integers(1, 4).flatmap(lambda count: st.tuples(*map(_span, range(count))).map(list))
assessments = st.integers(0, 3).flatmap(lambda count: st.tuples(*map(_assessment, range(count))).map(list))
metrics = st.lists(
    st.fixed_dictionaries(
        {
            "key": names,
            "value": st.floats(allow_nan=True, width=32),
            "step": st.integers(0, 3),
            "timestamp": st.integers(0, 3),
            "dataset_name": st.none() | names,
            "dataset_digest": st.none() | names,
            "run": runs,
        }
    ),
    max_size=3,
)
record = st.fixed_dictionaries(
    {"inputs": st.dictionaries(names, values, max_size=2), "outputs": values, "expectations": tags, "tags": tags}
)
#: Strategy of the facets of each kind; links are filled in by :func:`store`.
FACETS: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "logged_model": {"type": names, "status": status, "tags": tags, "params": tags, "metrics": metrics, "run": runs,
                     "times": times},
    "trace": {"state": st.sampled_from(["OK", "ERROR"]), "client_request_id": st.none() | names,
              "times": st.fixed_dictionaries({"request": st.integers(0, 3), "duration": st.integers(0, 9)}),
              "previews": st.fixed_dictionaries({"request": texts, "response": texts}), "tags": tags, "metadata": tags,
              "run": runs, "run_links": st.lists(st.sampled_from(RUNS), unique=True), "spans": spans,
              "assessments": assessments},
    "scorer": {"definition": values, "times": st.fixed_dictionaries({"creation": st.integers(0, 99)})},
    "registered_model": {"description": texts, "tags": tags, "times": times},
    "model_version": {"status": status, "description": texts, "tags": tags, "user": texts,
                      "run_link": st.none() | texts, "stage": st.sampled_from(["None", "Production"]), "run": runs,
                      "times": times},
    "prompt": {"description": texts, "tags": tags, "times": times},
    "prompt_version": {"template": texts, "commit_message": texts, "tags": tags, "model_config": st.none() | tags,
                       "response_format": st.none() | tags, "type": st.just("text"), "times": times},
    "evaluation_dataset": {"tags": tags, "schema": texts, "profile": texts, "digest": texts, "user": texts,
                           "last_updated_by": st.none() | texts,
                           "experiments": st.just(["1"]), "times": times, "records": st.lists(record, max_size=3)},
    "webhook": {"description": texts, "url": names, "events": st.lists(names, max_size=2), "status": names,
                "times": times},
}  # fmt: skip
_definition = st.dictionaries(names, values, max_size=2)
_some = st.lists(_definition, max_size=2)
LATER: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "issue": {"definition": _definition, "experiment": st.just("1"), "run": runs},
    "review_queue": {
        "definition": _definition,
        "experiment": st.just("1"),
        "items": _some,
        "owner": st.just("ada"),
    },
    "gateway_secret": {"definition": _definition},
    "gateway_model": {"definition": _definition},
    "gateway_endpoint": {"definition": _definition, "experiment": st.none() | st.just("1"), "guardrails": st.just({})},
    "gateway_guardrail": {"definition": _definition, "experiment": st.none() | st.just("1")},
    "gateway_budget": {"definition": _definition},
    "mcp_server": {"definition": _definition, "versions": _some, "endpoints": _some},
    "skill": {"definition": _definition, "versions": _some},
}
FACETS = {**FACETS, **LATER}
EXPERIMENT = "1"
EXPERIMENT_COPY = "77"


@dataclass
class Store:
    """One side in memory; implements what comparing needs of a side."""

    objects: list[Entity]
    trees: dict[str, ArtifactTree] = field(default_factory=dict)

    def keys(self, kind: str, container: str | None = None) -> list[ObjectKey]:
        """Keys of a kind, of one container where it is given."""
        return [key_of(item) for item in self.objects if item.kind == kind and container in (None, item.container)]

    def entities(self, kind: str, entity_ids: Sequence[str]) -> list[Entity]:
        """Records by id."""
        by_id = {item.entity_id: stored(item) for item in self.objects if item.kind == kind}
        return [by_id[entity_id] for entity_id in entity_ids]

    def files(self, kind: str, entity_id: str) -> ArtifactTree:
        """Files of a logged model or model version."""
        return self.trees.get(entity_id, ArtifactTree(entity_id, ()))


@st.composite
def store(draw: st.DrawFn) -> Store:
    """A source with objects of every kind, linked among themselves."""
    objects: list[Entity] = []

    def make(kind: str, entity_id: str, name: str, container: str, **links: Any) -> Entity:
        facets = {facet: draw(strategy) for facet, strategy in FACETS[kind].items()}
        created = (facets.get("times") or {}).get("creation", (facets.get("times") or {}).get("request"))
        told = {"name": name} if kind in NAMED else {}
        item = Entity(kind, entity_id, name, container, created, {**facets, **links, **told})
        objects.append(item)
        return item

    models = [make("logged_model", f"m-{n}", draw(names), EXPERIMENT) for n in range(draw(st.integers(0, 3)))]
    numbers = sorted(draw(st.sets(st.integers(1, 6), min_size=1, max_size=3)))
    for number in numbers:
        make("prompt_version", f"greet/{number}", f"greet version {number}", "greet", number=number)
    make("prompt", "greet", "greet", "", aliases=draw(_aliases(numbers)))
    for number in range(draw(st.integers(0, 3))):
        make("trace", f"tr-{number}", draw(names), EXPERIMENT, logged_model=models[0].entity_id if models else None,
             prompts=draw(st.lists(st.sampled_from([f"greet/{n}" for n in numbers]), unique=True)))  # fmt: skip
    versions = sorted(draw(st.sets(st.integers(1, 6), max_size=4)))
    for number in versions:
        make("model_version", f"churn/{number}", f"churn version {number}", "churn", number=number,
             logged_model=draw(st.none() | st.sampled_from([m.entity_id for m in models])) if models else None,
             source=f"mlflow-artifacts:/1/models/{number}")  # fmt: skip
    make("registered_model", "churn", "churn", "", aliases=draw(_aliases(versions)))
    make("scorer", "1/tone/1", "tone", EXPERIMENT, number=1)
    make("evaluation_dataset", "d-1", "questions", "")
    make("webhook", "w-1", "hook", "")
    for kind in LATER:
        make(kind, f"{kind}-1", "one" if kind != "mcp_server" else f"{kind}-1", "")
    trees = {
        item.entity_id: ArtifactTree(item.entity_id, (Artifact("weights.bin", 3, draw(st.sampled_from("ab")) * 64),))
        for item in objects
        if item.kind in ("logged_model", "model_version")
    }
    return Store(objects, trees)


#: Kinds with ids of their own, whose name is a facet.
NAMED = ("logged_model", "evaluation_dataset", "webhook")


def _aliases(numbers: Sequence[int]) -> st.SearchStrategy[dict[str, str]]:
    if not numbers:
        return st.just({})
    return st.dictionaries(names, st.sampled_from([str(number) for number in numbers]), max_size=2)


def migrated(source: Store, *, same_ids: bool, shuffle: random.Random) -> Store:
    """A copy without loss: new ids unless ``same_ids``, links rewritten, everything in another order."""
    if same_ids:
        copies = Store(copy.deepcopy(source.objects), dict(source.trees))
        shuffle.shuffle(copies.objects)
        return copies

    def renamed(item: Entity) -> str:
        given_anew = item.kind in ("logged_model", "trace", "evaluation_dataset", "webhook", *LATER)
        given_anew &= item.kind != "mcp_server"
        if item.kind == "scorer":
            return f"{EXPERIMENT_COPY}/tone/1"
        return f"new-{item.entity_id}" if given_anew else item.entity_id

    links = {item.entity_id: renamed(item) for item in source.objects}
    objects, trees = [], {}
    for item in source.objects:
        facets = copy.deepcopy(dict(item.facets))
        for facet in ("run", "logged_model"):
            if facets.get(facet):
                facets[facet] = {**RUN_COPIES, **links}.get(facets[facet], facets[facet])
        if facets.get("run_links"):
            facets["run_links"] = [RUN_COPIES.get(one, one) for one in facets["run_links"]]
        for point in facets.get("metrics", []):
            point["run"] = RUN_COPIES.get(point["run"] or "", point["run"])
        if item.kind == "evaluation_dataset":
            facets["experiments"] = [EXPERIMENT_COPY]
            shuffle.shuffle(facets["records"])
        if facets.get("experiment"):
            facets["experiment"] = EXPERIMENT_COPY
        for facet in LATER.get(item.kind, {}).keys() & {"items", "versions", "endpoints"}:
            shuffle.shuffle(facets[facet])
        if item.kind == "trace":
            _renumber(facets, shuffle)
        if item.kind == "model_version":
            facets["source"] = f"mlflow-artifacts:/77/models/copy-{facets['number']}"
        if item.kind != "trace" and "times" in facets:
            facets["times"] = {"creation": 500, "update": 501}
        created = item.created if item.kind == "trace" else 500
        container = EXPERIMENT_COPY if item.container == EXPERIMENT else item.container
        made = replace(item, entity_id=renamed(item), container=container, facets=facets, created=created)
        objects.append(made)
        if item.entity_id in source.trees:
            trees[made.entity_id] = replace(source.trees[item.entity_id], run_id=made.entity_id)
    shuffle.shuffle(objects)
    return Store(objects, trees)


def _renumber(facets: dict[str, Any], shuffle: random.Random) -> None:
    """Give spans and assessments new ids, as a tool that makes them again does."""
    for span in facets["spans"]:
        span["span_id"] = f"new-{span['span_id']}"
        span["parent_id"] = span["parent_id"] and f"new-{span['parent_id']}"
    for one in facets["assessments"]:
        one["id"] = f"new-{one['id']}"
        one["overrides"] = one["overrides"] and f"new-{one['overrides']}"
        one["span_id"] = one["span_id"] and f"new-{one['span_id']}"
        one["created"] = one["updated"] = 500
    shuffle.shuffle(facets["assessments"])


def families() -> list[str]:
    """Kinds in the order in which links can be followed."""
    first = ["logged_model", "model_version", "prompt_version", "trace"]
    return [*first, *(name for name in kinds.KINDS if name not in first)]
