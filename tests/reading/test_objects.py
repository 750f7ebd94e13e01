"""Registry, logged models, traces, prompts, datasets, scorers, webhooks: every seeded value, on every version."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.opened import everything, opened
from support.seed import EPOCH, UMLAUT, Seeder
from support.seed_objects import CHAT, FILES, HOOK, MLMODEL, SCORER, Objects, seed_objects
from support.servers import FreshServer

from mlflow_parity.core.records import Entity, Run
from mlflow_parity.kinds import KINDS
from mlflow_parity.kinds.rules import contract
from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.standin.servers import Server

VERSIONS = ["newest", "2.16.2", "2.22.5", "3.4.0", "3.10.1", pytest.param("3.18.0", marks=pytest.mark.long)]


@dataclass(frozen=True, slots=True)
class Seeded:
    """A server with one set of everything, and what is read of it."""

    server: Server
    made: Objects
    version: tuple[int, int]
    found: dict[tuple[str, str], Entity]
    runs: dict[str, Run]


@pytest.fixture(scope="module", params=VERSIONS)
def seeded(request: pytest.FixtureRequest, module_server: FreshServer) -> Iterator[Seeded]:
    """One set of everything on each version; read once, in pages of the usual size."""
    server = module_server(request.param)
    experiment = Seeder(server.uri).experiment("everything")
    made = seed_objects(server.uri, experiment, version=request.param)
    reader = opened(server.uri)
    runs = {run.name: run for page in reader.runs(experiment) for run in reader.with_model_links(page)}
    found = everything(reader, experiment)
    keyed = {(entity.kind, entity.entity_id): entity for entity in found}
    assert len(keyed) == len(found)
    yield Seeded(server, made, release(server.version), keyed, runs)
    reader.close()


def ids(seeded: Seeded, kind: str) -> set[str]:
    """Return the ids of a kind that were read."""
    return {entity_id for of, entity_id in seeded.found if of == kind}


def test_kinds_are_those_that_the_version_can_hold(seeded: Seeded) -> None:
    """``supports`` tells by version, and a kind that is supported was found: the seed writes every one."""
    reader = opened(seeded.server.uri)
    # those that the seed does not write are in test_later_kinds
    told = {kind: reader.supports(kind) for kind in KINDS if kind not in {*contract.LATER, "workspace"}}
    assert told == {kind: bool(ids(seeded, kind)) for kind in told}
    assert told["trace"]
    assert told["logged_model"] is (seeded.version >= (3, 0))
    assert told["scorer"] is told["webhook"] is told["evaluation_dataset"] is (seeded.version >= (3, 4))
    assert told["prompt"] is (seeded.version >= (2, 21))
    with pytest.raises(ValueError, match="no such kind"):
        reader.supports("model")
    reader.close()


def test_registered_models(seeded: Seeded) -> None:
    """Description, tags, several aliases of one version; prompts are not among them."""
    assert ids(seeded, "registered_model") == {"churn", "price"}
    churn, price = (seeded.found["registered_model", name] for name in ("churn", "price"))
    assert churn.facets["description"] == f"# Churn\n{UMLAUT}"
    assert churn.facets["tags"] == {"team": "growth", "größe": UMLAUT}
    assert churn.facets["aliases"] == {"champion": "2", "challenger": "4", "newest": "4"}
    assert churn.created == churn.facets["times"]["creation"]
    assert churn.facets["times"]["update"] >= churn.facets["times"]["creation"] > EPOCH
    assert {name: price.facets[name] for name in ("description", "tags", "aliases")} == {
        "description": "",
        "tags": {},
        "aliases": {},
    }


def test_model_versions(seeded: Seeded) -> None:
    """Numbers with a gap, run, logged model, source, stage, tags, description; one without a run."""
    assert ids(seeded, "model_version") == {"churn/1", "churn/2", "churn/4", "price/1"}
    first, second, fourth = (seeded.found["model_version", f"churn/{number}"] for number in (1, 2, 4))
    train = seeded.made.runs["train"]
    root = seeded.runs["train"].artifact_uri
    assert (first.container, first.name) == ("churn", "churn version 1")
    assert first.facets["number"] == 1
    assert first.facets["status"] == {"status": "READY", "message": None}
    assert (first.facets["stage"], second.facets["stage"]) == ("Production", "None")
    assert first.facets["tags"] == {"number": "1"}
    assert first.facets["source"] == first.artifact_uri == f"{root}/model"
    assert first.facets["run"] == second.facets["run"] == train
    assert fourth.facets["run"] is None
    assert second.facets["description"] == "the *second*"
    assert first.facets["times"]["update"] >= first.facets["times"]["creation"] == first.created
    if seeded.version >= (3, 0):
        assert second.facets["logged_model"] == seeded.made.models["forest"]
        assert second.facets["source"] == f"models:/{seeded.made.models['forest']}"
        assert fourth.facets["logged_model"] == seeded.made.models["orphan"]
    assert first.facets["logged_model"] is None


def test_prompts_are_found_though_servers_hide_them(seeded: Seeded) -> None:
    """Template, commit message, tags, aliases, type, model configuration, response format."""
    if seeded.version < (2, 21):
        assert not ids(seeded, "prompt") | ids(seeded, "prompt_version")
        return
    assert ids(seeded, "prompt") == {"greeting", "support"}
    greeting = seeded.found["prompt", "greeting"]
    assert {name: greeting.facets[name] for name in ("description", "tags", "aliases")} == {
        "description": "of prompts",
        "tags": {"team": "growth"},
        "aliases": {"production": "2"},
    }
    numbers = {f"greeting/{number}" for number in (1, 2, 3)}
    assert ids(seeded, "prompt_version") == numbers | ({"support/1"} if seeded.version >= (3, 0) else set())
    second = seeded.found["prompt_version", "greeting/2"]
    assert (second.container, second.facets["number"], second.facets["type"]) == ("greeting", 2, "text")
    assert second.facets["template"] == "Hello {{ name }} 2"
    assert second.facets["commit_message"] == "commit of greeting"
    assert second.facets["tags"] == {"number": "2"}
    assert second.facets["model_config"] is second.facets["response_format"] is None
    if seeded.version >= (3, 0):
        chat = seeded.found["prompt_version", "support/1"].facets
        assert (chat["type"], chat["template"], chat["tags"]) == ("chat", CHAT, {})
        assert chat["model_config"] == {"model_name": "m-1", "temperature": 0.5, "stop_sequences": ["END"]}
        assert chat["response_format"] == {"type": "object", "properties": {}}


def test_logged_models(seeded: Seeded) -> None:
    """Type, status, tags, params, metrics with dataset and run; one without a source run."""
    assert ids(seeded, "logged_model") == set(seeded.made.models.values())
    if not seeded.made.models:
        return
    forest, orphan = (seeded.found["logged_model", seeded.made.models[name]] for name in ("forest", "orphan"))
    assert (forest.name, forest.container, forest.facets["type"]) == ("forest", seeded.made.experiment, "pyfunc")
    assert forest.facets["status"] == {"status": "LOGGED_MODEL_READY", "message": None}
    assert orphan.facets["status"]["status"] == "LOGGED_MODEL_UPLOAD_FAILED"
    assert forest.facets["tags"].items() >= {"of": "forest", "größe": UMLAUT}.items()
    assert forest.facets["params"] == {"depth": "7", "empty": ""}
    assert (forest.facets["run"], orphan.facets["run"]) == (seeded.made.runs["train"], None)
    point = {"key": "auc", "timestamp": EPOCH, "run": seeded.made.runs["use"]}
    assert forest.facets["metrics"] == [
        {**point, "value": 0.5, "step": 0, "dataset_name": None, "dataset_digest": None},
        {**point, "value": 0.75, "step": 1, "dataset_name": "customers", "dataset_digest": "d1"},
    ]
    assert orphan.facets["metrics"] == []
    assert forest.created == forest.facets["times"]["creation"] <= forest.facets["times"]["update"]


def test_runs_know_the_models_that_they_made_and_used(seeded: Seeded) -> None:
    """The search tells of no used model on any version: each run is asked for, where there are models at all."""
    train, use = seeded.runs["train"], seeded.runs["use"]
    model = seeded.made.models.get("forest")
    # steps of outputs are kept, inputs have none
    assert train.model_outputs == (((model, 3),) if model else ())
    assert use.model_inputs == (((model, 0),) if model else ())
    assert train.model_inputs == use.model_outputs == ()
    reader = opened(seeded.server.uri)
    [page] = reader.runs(seeded.made.experiment)
    assert {run.model_inputs for run in page} == {None}
    reader.with_model_links(page)
    assert reader.session.counts["run"] == (2 if model else 0)
    reader.close()


def test_traces(seeded: Seeded) -> None:
    """State, times, previews, name, tags, run and model, whatever API the version has."""
    assert ids(seeded, "trace") == {
        seeded.made.traces[name] for name in ("answer", "fails", "preview") if name in seeded.made.traces
    }
    answer, fails = (seeded.found["trace", seeded.made.traces[name]] for name in ("answer", "fails"))
    assert answer.error is fails.error is None
    assert (answer.name, answer.container, answer.created) == ("answer", seeded.made.experiment, EPOCH)
    assert (answer.facets["state"], fails.facets["state"]) == ("OK", "ERROR")
    assert answer.facets["times"] == {"request": EPOCH, "duration": 20}
    assert fails.facets["times"] == {"request": EPOCH + 1_000, "duration": 4}
    assert answer.facets["previews"] == {"request": '{"question": "Wie groß? 数据"}', "response": '"1,80 m"'}
    assert fails.facets["previews"] == {"request": "1", "response": None}
    assert answer.facets["tags"]["team"] == "growth"
    assert (answer.facets["run"], fails.facets["run"]) == (seeded.made.runs["train"], None)
    assert not answer.facets["metadata"].keys() & {"mlflow.sourceRun", "mlflow.modelId"}
    if seeded.version >= (3, 0):
        preview = seeded.found["trace", seeded.made.traces["preview"]]
        assert preview.facets["client_request_id"] == "request-1"
        assert preview.facets["previews"] == {"request": "asked", "response": "answered"}
        assert preview.facets["metadata"]["mlflow.trace.session"] == "session-1"
        assert preview.facets["logged_model"] == seeded.made.models["forest"]
        assert preview.facets["tags"]["stage"] == "test"


def test_spans_are_the_same_in_every_form(seeded: Seeded) -> None:
    """Files of 2.x and of 3.x, and OpenTelemetry's JSON: names, parents, values, events, status, times."""
    root, child, grandchild = seeded.found["trace", seeded.made.traces["answer"]].facets["spans"]
    start = EPOCH * 1_000_000
    assert [(span["name"], span["type"]) for span in (root, child, grandchild)] == [
        ("answer", "CHAIN"),
        ("retrieve", "RETRIEVER"),
        ("embed", "UNKNOWN"),
    ]
    assert [span["parent_id"] for span in (root, child, grandchild)] == [None, root["span_id"], child["span_id"]]
    assert all(len(span["span_id"]) == 16 and int(span["span_id"], 16) for span in (root, child, grandchild))
    assert (root["inputs"], root["outputs"]) == ({"question": "Wie groß? 数据"}, "1,80 m")
    assert (child["inputs"], child["outputs"]) == (["k", 3], {"documents": []})
    assert (grandchild["inputs"], grandchild["outputs"]) == ({}, [0.1, 0.25])
    written = {"temperature": 0.5, "labels": ["a", "b"], "nested": {"deep": [1, 2.5, True]}, "tokens": 12}
    assert {name: root["attributes"][name] for name in written} == written
    assert root["attributes"]["nothing"] is None
    assert not root["attributes"].keys() & {"mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"}
    assert child["events"] == [
        {"name": "cache miss", "time_ns": start + 6_000_000, "attributes": {"shard": 7, "why": "größe"}}
    ]
    assert (root["start_ns"], root["end_ns"]) == (start, start + 20_000_000)
    assert {span["status"]["code"] for span in (root, child, grandchild)} == {"OK"}
    failed = seeded.found["trace", seeded.made.traces["fails"]].facets["spans"]
    assert [(span["name"], span["status"]["code"], span["outputs"]) for span in failed] == [
        ("fails", "ERROR", None),
        ("divide", "ERROR", None),
    ]
    [event] = failed[1]["events"]
    assert (event["name"], event["attributes"]["exception.type"]) == ("exception", "ZeroDivisionError")


def test_assessments(seeded: Seeded) -> None:
    """Feedback that was overridden, the one that overrides it, an error, an expectation."""
    found = seeded.found["trace", seeded.made.traces["answer"]].facets["assessments"]
    if seeded.version < (3, 0):
        assert found == []
        return
    assert [(one["name"], one["kind"]) for one in found] == [
        ("correct", "feedback"),
        ("correct", "feedback"),
        ("facts", "expectation"),
        ("score", "feedback"),
    ]
    by_id = {one["id"]: one for one in found}
    old, new = by_id[seeded.made.traces["feedback"]], by_id[seeded.made.traces["overriding"]]
    assert (old["value"], old["rationale"], old["valid"]) == (False, "too short", False)
    assert (old["source"], old["metadata"]) == ({"type": "LLM_JUDGE", "id": "judge-1"}, {"round": "1"})
    assert (new["value"], new["overrides"], new["valid"]) == (True, old["id"], True)
    assert new["source"] == {"type": "HUMAN", "id": "ada"}
    assert new["created"] >= old["created"] > EPOCH
    assert old["updated"] >= old["created"]
    facts, score = found[2:]
    assert facts["value"] == {"height": [1, 80]}
    assert score["value"] is None
    assert score["error"]["error_code"] == "TIMEOUT"
    assert score["error"]["error_message"] == "no answer"


def test_evaluation_datasets(seeded: Seeded) -> None:
    """Tags, links to experiments, schema, and records in an order of their own."""
    assert ids(seeded, "evaluation_dataset") == set(seeded.made.datasets.values())
    for key in seeded.made.datasets.values():
        dataset = seeded.found["evaluation_dataset", key]
        assert (dataset.name, dataset.error) == ("questions", None)
        assert dataset.facets["tags"] == {"team": "growth"}
        assert dataset.facets["experiments"] == [seeded.made.experiment]
        assert dataset.facets["schema"]["inputs"] == {"question": "string", "number": "integer"}
        assert dataset.facets["profile"] == {"num_records": 5}
        assert dataset.facets["digest"]
        assert dataset.facets["records"] == [
            {
                "inputs": {"question": f"Wie groß? {number}", "number": number},
                "outputs": None,
                "expectations": {"answer": [number, 0.5]},
                "tags": {"round": "1"},
                "source": {"type": "HUMAN", "data": {"user_name": "ada"}},
                "user": None,
            }
            for number in range(5)
        ]


def test_scorers_and_webhooks(seeded: Seeded) -> None:
    """All versions of a scorer with their definitions; a webhook's all but the secret."""
    experiment = seeded.made.experiment
    if seeded.version < (3, 4):
        assert not ids(seeded, "scorer") | ids(seeded, "webhook")
        return
    assert ids(seeded, "scorer") == {f"{experiment}/short/1", f"{experiment}/short/2"}
    first, second = (seeded.found["scorer", f"{experiment}/short/{number}"] for number in (1, 2))
    assert (first.name, first.container, first.facets["number"], second.facets["number"]) == ("short", experiment, 1, 2)
    assert first.facets["definition"] == SCORER
    assert second.facets["definition"] == {**SCORER, "aggregations": ["max"]}
    hook = seeded.found["webhook", seeded.made.webhooks["hook"]]
    assert hook.name == "hook"
    assert hook.facets["times"]["creation"] > EPOCH
    assert {name: value for name, value in hook.facets.items() if name != "times"} == {
        "name": "hook",
        "description": UMLAUT,
        "url": HOOK,
        "events": ["model_version.created"],
        "status": "DISABLED",
    }


def test_files_of_models_and_versions(seeded: Seeded) -> None:
    """A version's files are those of its source, a run's or a logged model's; a place out of reach is an error."""
    reader = opened(seeded.server.uri)
    entities = [entity for (kind, _), entity in seeded.found.items() if kind in ("logged_model", "model_version")]
    trees = {tree.run_id: tree for tree in reader.entity_files(entities, "digest")}
    assert trees.keys() == {entity.entity_id for entity in entities}
    if seeded.version < (3, 0):
        assert trees["churn/4"].error
        del trees["churn/4"]
    orphans = {"churn/4", seeded.made.models.get("orphan")}
    for name, tree in trees.items():
        run = "" if name in orphans else seeded.made.runs["train"]
        wanted = {"MLmodel": MLMODEL.format(run=run).encode(), **FILES}
        assert tree.error is None
        assert {file.path: (file.size, file.sha256, file.error) for file in tree.files} == {
            path: (len(content), hashlib.sha256(content).hexdigest(), None) for path, content in wanted.items()
        }
        assert [file.content for file in tree.files if file.path == "MLmodel"] == [wanted["MLmodel"]]
    with pytest.raises(ValueError, match="without files"):
        reader.entity_files([next(iter(seeded.found.values()))], "digest")
    reader.close()


def test_small_pages_give_the_same(seeded: Seeded) -> None:
    """Two to a page: everything once, equal to what large pages gave."""
    reader = opened(seeded.server.uri, page=2)
    again = everything(reader, seeded.made.experiment)
    assert {(entity.kind, entity.entity_id): _plain(entity) for entity in again} == {
        key: _plain(entity) for key, entity in seeded.found.items()
    }
    assert len(again) == len(seeded.found)
    assert reader.session.counts["model-versions"] >= 3
    reader.close()


def _plain(entity: Entity) -> dict[str, Any]:
    return {name: getattr(entity, name) for name in Entity.__dataclass_fields__}


def test_requests_go_in_batches(seeded: Seeded) -> None:
    """Two searches each for models and versions; spans of database traces in one request."""
    reader = opened(seeded.server.uri)
    everything(reader, seeded.made.experiment)
    counts = reader.session.counts
    # where links of traces to prompts can be searched for, the prompts' versions are listed for that, once
    searched = seeded.version >= (3, 10)
    assert (counts["registered-models"], counts["model-versions"]) == (2, 2 + searched)
    assert counts["version-uri"] == counts["logged-model"] == 0
    links = 1 + len(ids(seeded, "prompt_version")) if searched else 0
    # and each run of the experiment is searched for traces that were linked to it
    linked = len(seeded.made.runs) if seeded.version >= (3, 0) else 0
    assert counts["traces"] + counts["traces-v2"] == 1 + links + linked
    if seeded.version >= (3, 6):
        assert (counts["trace-batch"], counts["trace-file"]) == (1, 0)
    else:
        # no batch is offered there
        assert counts["trace-file"] == len(ids(seeded, "trace"))
    reader.close()


def test_what_is_falsy_is_told_from_what_is_absent(fresh_server: FreshServer) -> None:
    """Outputs that are false, 0 or empty are outputs; run links and last writers are told."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("falsy")
    body: dict[str, Any] = {"name": "falsy", "experiment_ids": [experiment], "tags": '{"mlflow.user": "ada"}'}
    dataset = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]["dataset_id"]
    reader = opened(server.uri)
    [before] = [one for page in reader.server_objects("evaluation_dataset") for one in page]
    assert (before.name, before.facets["name"]) == ("falsy", "falsy")
    assert before.facets["last_updated_by"] == "ada"
    outputs: tuple[Any, ...] = (False, 0, "", [], None, {}, 0.5)
    for number, value in enumerate(outputs):
        body = {"dataset_id": dataset, "records": json.dumps([{"inputs": {"n": number}, "outputs": value}])}
        seed.call("POST", f"datasets/{dataset}/records", body, version="3.0")
    [found] = [one for page in reader.server_objects("evaluation_dataset") for one in page]
    told = {record["inputs"]["n"]: record["outputs"] for record in found.facets["records"]}
    wanted = [False, 0, "", [], None, None, 0.5]
    assert [json.dumps(told[number]) for number in range(len(outputs))] == [json.dumps(value) for value in wanted]
    model = seed.call("POST", "logged-models", {"experiment_id": experiment, "name": "m"})["model"]["info"]["model_id"]
    seed.call("POST", "registered-models/create", {"name": "linked"})
    body = {"name": "linked", "source": f"models:/{model}", "model_id": model, "run_link": "https://elsewhere/run"}
    seed.call("POST", "model-versions/create", body)
    [version] = [one for page in reader.registry() for one in page if one.kind == "model_version"]
    assert version.facets["run_link"] == "https://elsewhere/run"
    reader.close()


@pytest.mark.parametrize("version", ["newest", "3.10.1", "3.4.0"])
def test_links_to_prompts_that_only_an_association_tells(fresh_server: FreshServer, version: str) -> None:
    """One search per prompt version finds them, and none for each trace; a server without that search says so."""
    server = fresh_server(version)
    seed = Seeder(server.uri)
    marker = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    seed.call("POST", "registered-models/create", {"name": "greet", "tags": marker})
    tags = [*marker, {"key": "mlflow.prompt.text", "value": "hi"}]
    for _ in range(2):
        seed.call("POST", "model-versions/create", {"name": "greet", "source": "dummy-source", "tags": tags})
    experiments = [seed.experiment(name) for name in ("one", "two")]
    for number, experiment in enumerate((*experiments, experiments[0])):
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}}
        info = {"trace_id": f"tr-{number:032x}", "trace_location": place, "request_time": "2023-11-14T22:13:20Z"}
        body = {"trace": {"trace_info": {**info, "state": "IN_PROGRESS"}}}
        seed.call("POST", "traces", body, version="3.0")
    linked = release(server.version) >= (3, 10)
    for trace, prompt in ((0, "1"), (0, "2"), (1, "2")) if linked else ():
        versions = [{"name": "greet", "version": prompt}]
        seed.call("POST", "traces/link-prompts", {"trace_id": f"tr-{trace:032x}", "prompt_versions": versions})
    # read two to a page
    reader = opened(server.uri, page=2)
    found = {
        int(one.entity_id[3:], 16): one
        for experiment in experiments
        for batch in reader.experiment_objects(experiment, ["trace"])
        for one in batch
    }
    reader.close()
    wanted = {0: ["greet/1", "greet/2"], 1: ["greet/2"], 2: []} if linked else dict.fromkeys(range(3))
    assert {number: one.facets["linked_prompts"] for number, one in found.items()} == wanted
    assert {one.facets["prompts"] for one in found.values()} == {None}


def test_nothing_that_a_server_tells_is_unknown(seeded: Seeded) -> None:
    """Every field of every version's answers is claimed: else each audit across releases would be unverified."""
    assert {key: found for key, entity in seeded.found.items() if (found := _unknown(entity.facets))} == {}
    assert {name: run.other for name, run in seeded.runs.items() if run.other} == {}
    reader = opened(seeded.server.uri)
    assert [dict(one.other) for one in reader.experiments() if one.other] == []
    reader.close()


def _unknown(value: Any) -> list[Any]:
    """Return every ``other`` within a facet."""
    if isinstance(value, list):
        return [one for item in value for one in _unknown(item)]
    if not isinstance(value, dict):
        return []
    return [value[key] for key in ("other",) if key in value] + [
        one for item in value.values() for one in _unknown(item)
    ]
