"""Contents of servers that hypothesis makes: strategies for stories, and who plays one to a real server by REST."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from hypothesis import strategies as st

from mlflow_parity.migrating.write.objects.trace_content import spans_file
from support.seed import EPOCH, Seeder, pairs
from support.seed_later import seed_secret
from support.seed_objects import HOOK, SCORER

_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
texts = st.text(_characters, max_size=20) | st.sampled_from(
    ["", " ", "0", "None", "é", "e\u0301", "x" * 4_900, "\r\n", "🚀" * 50]
)
#: What servers take as a key of params, metrics and tags.
keys = st.text("abZ09é数_-. :", min_size=1, max_size=12).filter(
    lambda key: key not in (".", "..") and not key.startswith("..")
) | st.sampled_from(["k" * 250, "a/b/c", "größe/数据 1"])
names = st.text("abcé 数-_", min_size=1, max_size=10)
words = st.text("abé", min_size=1, max_size=5)
short = st.text(_characters, max_size=9)
tags = st.dictionaries(keys, texts, max_size=3)
doubles = st.floats() | st.sampled_from(
    [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2]
)
points = st.tuples(doubles, st.integers(0, 2**41), st.integers(-(2**31), 2**53))
paths = st.sampled_from(["a.txt", "d/e/f.bin", "größe.txt", "a b%20c", "x&y=z;+,", "emptyfolder/empty"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_characters, max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
runs = st.fixed_dictionaries(
    {
        "name": names,
        "user": st.sampled_from(["ada", "béa", "someone@example.org"]),
        "params": st.dictionaries(keys, texts, max_size=3),
        "tags": tags,
        "note": st.none() | texts,
        "metrics": st.dictionaries(keys, st.lists(points, min_size=1, max_size=4), max_size=2),
        "files": st.dictionaries(paths, st.binary(max_size=20), max_size=2),
        "inputs": st.lists(st.tuples(names, names, st.none() | st.sampled_from(["training", "ü"])), max_size=2),
        "parent": st.booleans(),
        "ended": st.none() | st.sampled_from(["FINISHED", "FAILED", "KILLED"]),
        "deleted": st.sampled_from([False, False, False, True]),
    }
)
models = st.fixed_dictionaries(
    {
        "name": st.text("abé_-", min_size=1, max_size=8),
        "type": texts.filter(lambda text: len(text) < 400),
        "params": st.dictionaries(keys, texts.filter(lambda text: len(text) < 400), max_size=2),
        "tags": tags,
        "of_run": st.booleans(),
        "used": st.booleans(),
        "ready": st.booleans(),
        "metrics": st.lists(st.tuples(keys, points), max_size=2),
        "content": st.binary(max_size=9),
    }
)
versions = st.fixed_dictionaries(
    {"of_model": st.booleans(), "tags": tags, "description": texts, "deleted": st.sampled_from([False, False, True])}
)
registered = st.fixed_dictionaries(
    {
        "tags": tags,
        "description": texts,
        "versions": st.lists(versions, max_size=3),
        "aliases": st.lists(st.sampled_from(["champion", "prod-é", "x_1"]), max_size=2, unique=True),
    }
)
prompts = st.fixed_dictionaries(
    {
        "tags": tags,
        "texts": st.lists(texts.filter(bool), min_size=1, max_size=11),
        "commit": texts,
        "alias": st.booleans(),
    }
)


@st.composite
def _spans(draw: st.DrawFn) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    # the latter begins with 0x in base64
    first = draw(st.sampled_from([1, 0xD31 << 52]))
    for number in range(draw(st.integers(1, 4))):
        made.append(
            {
                "span_id": f"{first + number:016x}",
                "parent_id": f"{first + draw(st.integers(0, number - 1)):016x}" if number else None,
                "name": draw(names),
                "type": draw(st.sampled_from(["LLM", "TOOL", "UNKNOWN"])),
                "inputs": draw(values),
                "outputs": draw(values),
                "attributes": draw(st.dictionaries(st.text("abé.", min_size=1, max_size=4), values, max_size=2)),
                "events": [],
                "links": [],
                "status": {
                    "code": draw(st.sampled_from(["OK", "ERROR", "UNSET"])),
                    "message": draw(st.text("abé", max_size=5)),
                },
                "start_ns": (EPOCH + number) * 10**6,
                "end_ns": (EPOCH + number) * 10**6 + draw(st.integers(0, 10**9)),
            }
        )
    return made


traces = st.fixed_dictionaries(
    {
        "state": st.sampled_from(["OK", "ERROR", "IN_PROGRESS"]),
        "duration": st.integers(0, 10**6),
        "tags": st.dictionaries(words, short, max_size=2),
        "metadata": st.dictionaries(words, short, max_size=2),
        "request": st.text(_characters, max_size=20),
        "response": st.text(_characters, max_size=20),
        "of_run": st.booleans(),
        "spans": _spans(),
        "feedback": st.lists(st.tuples(words, values.filter(lambda v: v is not None)), max_size=2),
    }
)
records = st.fixed_dictionaries(
    {
        "inputs": st.dictionaries(st.text("abé", min_size=1, max_size=4), values, min_size=1, max_size=2),
        "expectations": st.dictionaries(st.text("abé", min_size=1, max_size=4), values, max_size=2),
        "tags": st.dictionaries(st.text("abé", min_size=1, max_size=4), st.text(_characters, max_size=5), max_size=2),
    }
)
issues = st.fixed_dictionaries(
    {
        "name": names,
        "description": texts.filter(bool),
        "status": st.sampled_from(["pending", "rejected", "resolved"]),
        "severity": st.none() | st.sampled_from(["low", "high"]),
        "categories": st.lists(words, max_size=2),
        "root_causes": st.lists(texts, max_size=2),
        "of_run": st.booleans(),
    }
)
queues = st.fixed_dictionaries(
    {
        "name": words,
        "users": st.lists(st.sampled_from(["ada", "béa", "Eve"]), max_size=2, unique=True),
        "options": st.lists(words, min_size=2, max_size=3, unique=True),
        "reviewed": st.none() | st.sampled_from(["COMPLETE", "DECLINED"]),
    }
)
registries = st.fixed_dictionaries(
    {
        "description": st.none() | texts,
        "tags": st.dictionaries(words, short, max_size=2),
        "versions": st.lists(st.sampled_from(["draft", "active", "deprecated"]), max_size=3),
        "open": st.booleans(),
    }
)
gateways = st.fixed_dictionaries(
    {
        "tags": st.dictionaries(words, short, max_size=2),
        "weight": st.sampled_from([1.0, 0.25]),
        "amount": st.floats(0.01, 1e6),
    }
)
#: What one example puts on a server.
stories = st.fixed_dictionaries(
    {
        "name": names,
        "tags": tags,
        "note": st.none() | texts,
        "runs": st.lists(runs, max_size=4),
        "models": st.lists(models, max_size=2),
        "registered": st.none() | registered,
        "prompt": st.none() | prompts,
        "traces": st.lists(traces, max_size=2),
        "dataset": st.none() | st.lists(records, max_size=3),
        "scorers": st.integers(0, 2),
        "webhook": st.sampled_from([False, False, False, True]),
        "deleted": st.sampled_from([False] * 5 + [True]),
        "issues": st.lists(issues, max_size=2),
        "queue": st.none() | queues,
        "mcp": st.none() | registries,
        "gateway": st.none() | gateways,
    }
)
Story = Mapping[str, Any]


@dataclass(slots=True)
class Writer:
    """Plays stories to a server; names get a number, so that none is there twice."""

    uri: str
    stories: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """What the server did not take, by the request and its first words."""
    written: Counter[str] = field(default_factory=Counter)
    """Objects by kind."""
    secret: str = ""
    """The id of the gateway's secret, once there is one."""

    def write(self, story: Story) -> None:
        """Write everything that the server takes."""
        seed, number = Seeder(self.uri), self.stories
        self.stories += 1
        wanted = {**story["tags"], **({} if story["note"] is None else {"mlflow.note.content": story["note"]})}
        experiment = seed.experiment(f"{number} {story['name']}")
        self.written["experiment"] += 1
        for key, value in wanted.items():
            body = {"experiment_id": experiment, "key": key, "value": value}
            self._try("POST", "experiments/set-experiment-tag", body)
        ids = self._runs(seed, experiment, story)
        loggeds = self._models(seed, experiment, story, ids)
        self._registered(number, story, ids, loggeds)
        self._prompt(number, story)
        self._traces(experiment, number, story, ids)
        if story["dataset"] is not None:
            self._dataset(experiment, number, story["dataset"])
        for version in range(story["scorers"]):
            text = json.dumps({**SCORER, "aggregations": ["max" if version else "mean"]})
            body = {"experiment_id": experiment, "name": "short", "serialized_scorer": text}
            made = self._try("POST", "scorers/register", body, version="3.0") is not None
            # no server lists those of a deleted experiment
            self.written["scorer"] += made and not story["deleted"]
        self._later(experiment, number, story, ids)
        if story["webhook"]:
            event = {"entity": "MODEL_VERSION", "action": "CREATED"}
            body = {"name": f"hook {number}", "url": HOOK, "events": [event], "status": "DISABLED"}
            self.written["webhook"] += self._try("POST", "webhooks", body) is not None
        for run, told in zip(ids, story["runs"], strict=True):
            if told["deleted"]:
                seed.delete_run(run)
        if story["deleted"]:
            seed.delete_experiment(experiment)

    def _runs(self, seed: Seeder, experiment: str, story: Story) -> list[str]:
        ids: list[str] = []
        for place, told in enumerate(story["runs"]):
            parent = ids[0] if told["parent"] and ids else None
            run = seed.run(experiment, told["name"], start=EPOCH + place, parent=parent, user=told["user"])
            note = {} if told["note"] is None else {"mlflow.note.content": told["note"]}
            for key, value in told["params"].items():
                self._try("POST", "runs/log-parameter", {"run_id": run, "key": key, "value": value})
            for key, value in {**told["tags"], **note}.items():
                self._try("POST", "runs/set-tag", {"run_id": run, "key": key, "value": value})
            for key, series in told["metrics"].items():
                metrics = [_point(key, point) for point in dict.fromkeys(series)]
                self._try("POST", "runs/log-batch", {"run_id": run, "metrics": metrics})
            for path, content in told["files"].items():
                seed.artifact(run, path, content)
            for name, digest, context in told["inputs"]:
                seed.dataset(run, name, digest, context)
            if told["ended"]:
                seed.end(run, told["ended"], EPOCH + 60_000 + place)
            ids.append(run)
        self.written["run"] += len(ids)
        return ids

    def _models(self, seed: Seeder, experiment: str, story: Story, ids: list[str]) -> list[str]:
        made = []
        for told in story["models"]:
            body = {"experiment_id": experiment, "name": told["name"], "model_type": told["type"]}
            body |= {"tags": pairs(told["tags"]), "params": pairs(told["params"])}
            body |= {"source_run_id": ids[0]} if told["of_run"] and ids else {}
            answer = self._try("POST", "logged-models", body)
            if answer is None:
                continue
            info = answer["model"]["info"]
            model = str(info["model_id"])
            self._put(info["artifact_uri"], "MLmodel", f"flavors: {{}}\nmodel_id: {model}\n".encode())
            self._put(info["artifact_uri"], "data.bin", told["content"])
            status = "READY" if told["ready"] else "UPLOAD_FAILED"
            seed.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": f"LOGGED_MODEL_{status}"})
            if told["of_run"] and ids:
                seed.call("POST", "runs/outputs", {"run_id": ids[0], "models": [{"model_id": model, "step": 3}]})
            if told["used"] and ids:
                seed.call("POST", "runs/log-inputs", {"run_id": ids[-1], "models": [{"model_id": model}]})
            for key, point in told["metrics"] if ids else ():
                body = {"run_id": ids[-1], "metrics": [{**_point(key, point), "model_id": model}]}
                self._try("POST", "runs/log-batch", body)
            made.append(model)
        self.written["logged_model"] += len(made)
        return made

    def _registered(self, number: int, story: Story, ids: list[str], models: list[str]) -> None:
        told = story["registered"]
        if told is None:
            return
        name = f"model {number}"
        body = {"name": name, "tags": pairs(told["tags"]), "description": told["description"]}
        if self._try("POST", "registered-models/create", body) is None:
            return
        self.written["registered_model"] += 1
        kept = []
        for version in told["versions"]:
            body = {"name": name, "tags": pairs(version["tags"]), "description": version["description"]}
            if version["of_model"] and models:
                body |= {"source": f"models:/{models[0]}", "model_id": models[0]}
            elif ids:
                run = Seeder(self.uri).call("GET", "runs/get", {"run_id": ids[0]})["run"]
                self._put(run["info"]["artifact_uri"], "model/MLmodel", b"flavors: {}\n")
                body |= {"source": f"{run['info']['artifact_uri']}/model", "run_id": ids[0]}
            else:
                continue
            answer = self._try("POST", "model-versions/create", body)
            if answer is None:
                continue
            made = answer["model_version"]["version"]
            if version["deleted"]:
                self._try("DELETE", "model-versions/delete", {"name": name, "version": made})
            else:
                kept.append(made)
                self.written["model_version"] += 1
        for alias in told["aliases"] if kept else ():
            self._try("POST", "registered-models/alias", {"name": name, "alias": alias, "version": kept[-1]})

    def _prompt(self, number: int, story: Story) -> None:
        told = story["prompt"]
        if told is None:
            return
        marker, name = {"mlflow.prompt.is_prompt": "true"}, f"prompt-{number}"
        body = {"name": name, "tags": pairs({**told["tags"], **marker})}
        if self._try("POST", "registered-models/create", body) is None:
            return
        self.written["prompt"] += 1
        for text in told["texts"]:
            tags = pairs({**marker, "mlflow.prompt.text": text})
            body = {"name": name, "source": "dummy-source", "description": told["commit"], "tags": tags}
            self.written["prompt_version"] += self._try("POST", "model-versions/create", body) is not None
        if told["alias"]:
            self._try("POST", "registered-models/alias", {"name": name, "alias": "live", "version": "1"})

    def _traces(self, experiment: str, number: int, story: Story, ids: list[str]) -> None:
        for place, told in enumerate(story["traces"]):
            trace = f"tr-{number:08x}{place:024x}"
            metadata = {**told["metadata"], **({"mlflow.sourceRun": ids[0]} if told["of_run"] and ids else {})}
            info = {
                "trace_id": trace,
                "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
                "request_time": f"2025-01-01T00:00:{place:02}.{number % 1000:03}Z",
                "execution_duration": f"{told['duration'] / 1000}s",
                "state": told["state"],
                "request_preview": told["request"],
                "response_preview": told["response"],
                "tags": told["tags"],
                "trace_metadata": metadata,
            }
            answer = self._try("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
            if answer is None:
                continue
            self.written["trace"] += 1
            tags = answer["trace"]["trace_info"]["tags"]
            self._put(tags["mlflow.artifactLocation"], "traces.json", spans_file(trace, told["spans"]))
            for name, value in told["feedback"]:
                body = {"assessment_name": name, "feedback": {"value": value}, "trace_id": trace,
                        "source": {"source_type": "HUMAN", "source_id": "ada"}}  # fmt: skip
                self._try("POST", f"traces/{trace}/assessments", {"assessment": body}, version="3.0")

    def _dataset(self, experiment: str, number: int, told: list[dict[str, Any]]) -> None:
        body = {"name": f"questions {number}", "experiment_ids": [experiment], "tags": json.dumps({"a": "b"})}
        answer = self._try("POST", "datasets/create", body, version="3.0")
        if answer is None:
            return
        self.written["evaluation_dataset"] += 1
        dataset = answer["dataset"]["dataset_id"]
        source = {"source_type": "HUMAN", "source_data": {"user_name": "ada"}}
        body = {"dataset_id": dataset, "records": json.dumps([{**one, "source": source} for one in told])}
        if told:
            self._try("POST", f"datasets/{dataset}/records", body, version="3.0")

    def _later(self, experiment: str, number: int, story: Story, ids: list[str]) -> None:
        for told in story["issues"]:
            body = {**told, "experiment_id": experiment, "created_by": "ada"}
            body |= {"source_run_id": ids[0]} if body.pop("of_run") and ids else {}
            body = {key: value for key, value in body.items() if value is not None}
            self.written["issue"] += self._three("issues", body) is not None
        if story["queue"] is not None and not story["deleted"]:
            # no server lists those of a deleted experiment
            self._queue(experiment, number, story["queue"], len(story["traces"]))
        if story["mcp"] is not None:
            self._mcp(f"example/server-{number}", story["mcp"])
        if story["gateway"] is not None:
            self._gateway(number, story["gateway"])

    def _queue(self, experiment: str, number: int, told: Mapping[str, Any], traces: int) -> None:
        body: dict[str, Any] = {"experiment_id": experiment, "name": "tone", "type": "FEEDBACK"}
        answer = self._three("label-schemas/create", {**body, "input": {"categorical": {"options": told["options"]}}})
        schemas = [] if answer is None else [answer["label_schema"]["schema_id"]]
        body = {"experiment_id": experiment, "name": told["name"], "queue_type": "CUSTOM", "users": told["users"]}
        answer = self._three("review-queues/create", {**body, "schema_ids": schemas})
        if answer is None:
            return
        self.written["review_queue"] += 1
        queue = answer["review_queue"]["queue_id"]
        for place in range(traces):
            item = f"tr-{number:08x}{place:024x}"
            body = {"queue_id": queue, "item_type": "TRACE", "item_ids": [item]}
            if self._three("review-queues/items/add", body) is not None and told["reviewed"]:
                body = {"queue_id": queue, "item_id": item, "status": told["reviewed"], "completed_by": "ada"}
                self._three("review-queues/items/set-status", body)

    def _mcp(self, name: str, told: Mapping[str, Any]) -> None:
        if self._three("mcp-servers", {"name": name, "description": told["description"]}) is None:
            return
        self.written["mcp_server"] += 1
        path = f"mcp-servers/{name}"
        for key, value in told["tags"].items():
            self._three(f"{path}/tags", {"key": key, "value": value})
        for place, status in enumerate(told["versions"]):
            number = f"{place}.1.0"
            first = status if status == "draft" else "active"
            self._three(f"{path}/versions", {"server_json": {"name": name, "version": number}, "status": first})
            if first != status:
                self._try("PATCH", f"{path}/versions/{number}", {"status": status}, version="3.0")
            self._three(f"{path}/aliases", {"alias": "last", "version": number})
        if told["open"] and told["versions"]:
            self._three(f"{path}/endpoints", {"url": "https://mcp.example/x", "server_alias": "last"})

    def _gateway(self, number: int, told: Mapping[str, Any]) -> None:
        if not self.secret:
            self.secret = seed_secret(self.uri)
            self.written["gateway_secret"] += 1
        body: dict[str, Any] = {
            "name": f"model-{number}",
            "secret_id": self.secret,
            "provider": "openai",
            "model_name": "gpt-5",
        }
        model = self._three("gateway/model-definitions/create", body)["model_definition"]["model_definition_id"]
        models = [{"model_definition_id": model, "linkage_type": "PRIMARY", "weight": told["weight"]}]
        body = {"name": f"endpoint-{number}", "model_configs": models, "usage_tracking": False}
        endpoint = self._three("gateway/endpoints/create", body)["endpoint"]["endpoint_id"]
        for key, value in told["tags"].items():
            self._three("gateway/endpoints/set-tag", {"endpoint_id": endpoint, "key": key, "value": value})
        body = {"budget_unit": "USD", "budget_amount": told["amount"], "duration": {"unit": "DAYS", "value": 1},
                "target_scope": "ENDPOINT", "target_value": endpoint, "budget_action": "ALERT"}  # fmt: skip
        self.written["gateway_budget"] += self._three("gateway/budgets/create", body) is not None
        self.written.update(("gateway_model", "gateway_endpoint"))

    def _three(self, path: str, body: Mapping[str, Any]) -> Any:
        return self._try("POST", path, body, version="3.0")

    def _put(self, root: str, path: str, content: bytes) -> None:
        stored = quote(f"{root.removeprefix('mlflow-artifacts:').lstrip('/')}/{path}")
        url = f"{self.uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        requests.put(url, data=content, timeout=60).raise_for_status()

    def _try(self, verb: str, path: str, body: Mapping[str, Any], *, version: str = "2.0") -> Any:
        url = f"{self.uri}/api/{version}/mlflow/{path}"
        answer = requests.request(verb, url, json=body, timeout=60)
        if answer.status_code in (400, 409):
            self.refused[f"{path.partition('/tr-')[0]}: {answer.json().get('message', '')[:60]}"] += 1
            return None
        assert answer.ok, f"{verb} {path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()


def _point(key: str, point: tuple[float, int, int]) -> dict[str, Any]:
    value, timestamp, step = point
    told: Any = (
        value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    )
    return {"key": key, "value": told, "timestamp": timestamp, "step": step}
