"""One realistic set of every kind of object that a server's version can hold, written by REST."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from mlflow_parity.reading.transport.capabilities import release
from mlflow_parity.standin.servers import AT_ONCE, clean_environment
from support import warm
from support.environments import python_of
from support.seed import EPOCH, UMLAUT, Seeder, pairs

#: Text and files of every seeded model; ``MLmodel`` names its run.
MLMODEL = "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\nrun_id: {run}\n"
FILES: Mapping[str, bytes] = {"data/weights.bin": bytes(range(256)), "größe.txt": UMLAUT.encode()}
CHAT = [{"role": "system", "content": "You are {{ who }}"}, {"role": "user", "content": "{{ question }}"}]
SCORER = {
    "name": "short",
    "aggregations": ["mean"],
    "builtin_scorer_class": "Safety",
    "builtin_scorer_pydantic_data": {},
}
#: Newer servers resolve the host and want a public address; nothing answers at this one, and the hook is disabled.
HOOK = "https://192.88.99.1/hook"
_WRITER = Path(__file__).with_name("write_traces.py")
#: ``upload(artifact_uri, path, content)``.
Upload = Callable[[str, str, bytes], None]


@dataclass(slots=True)
class Objects:
    """What was written: ids by the names that the seed gave."""

    experiment: str
    runs: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)
    traces: dict[str, str] = field(default_factory=dict)
    datasets: dict[str, str] = field(default_factory=dict)
    webhooks: dict[str, str] = field(default_factory=dict)


def seed_objects(
    uri: str,
    experiment: str,
    *,
    version: str = "newest",
    prefix: str = "",
    upload: Upload | None = None,
    environment: Mapping[str, str] | None = None,
    traces: bool = True,
    more_traces: int = 0,
    reachable: bool = False,
) -> Objects:
    """Write everything that the server can hold into an experiment and the registry.

    Args:
        uri: tracking server, unsigned.
        experiment: id of an experiment that exists.
        version: the server's, as the fixtures name it; its own client writes the traces.
        prefix: put before each registered name.
        upload: puts a file below an artifact URI; the server's proxy when not given.
        environment: further variables for that client.
        traces: write traces, which takes a process of its own and some seconds.
        more_traces: as many small ones beside them, all of one time.
        reachable: servers without logged models get a version without a run whose source can be read.
    """
    seed, made = Seeder(uri), Objects(experiment)
    put = upload or _proxied(uri)
    found = release(requests.get(f"{uri}/version", timeout=30).text)
    for name in ("train", "use"):
        run = made.runs[name] = seed.run(experiment, name)
        root = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
        for path, content in _files(run).items():
            put(f"{root}/model", path, content)
    if found >= (3, 0):
        _logged_models(seed, made, put)
    _registry(seed, made, prefix, stages=found < (3, 99), reachable=reachable)
    if found >= (2, 21):
        _prompts(seed, prefix, chat=found >= (3, 0))
    if traces:
        _traces(seed, made, version, environment or {}, more_traces, link=found >= (3, 4))
    if found >= (3, 4):
        _dataset(seed, made, prefix)
        for text in (SCORER, {**SCORER, "aggregations": ["max"]}):
            body = {"experiment_id": experiment, "name": "short", "serialized_scorer": json.dumps(text)}
            seed.call("POST", "scorers/register", body, version="3.0")
        event = {"entity": "MODEL_VERSION", "action": "CREATED"}
        hook = {"name": f"{prefix}hook", "url": HOOK, "events": [event], "secret": "not readable"}
        answer = seed.call("POST", "webhooks", {**hook, "description": UMLAUT, "status": "DISABLED"})
        made.webhooks["hook"] = answer["webhook"]["webhook_id"]
    return made


def _files(run: str) -> dict[str, bytes]:
    return {"MLmodel": MLMODEL.format(run=run).encode(), **FILES}


def _proxied(uri: str) -> Upload:
    def put(root: str, path: str, content: bytes) -> None:
        assert root.startswith("mlflow-artifacts:"), f"not proxied: {root}"
        stored = quote(f"{root.removeprefix('mlflow-artifacts:').lstrip('/')}/{path}")
        url = f"{uri}/api/2.0/mlflow-artifacts/artifacts/{stored}"
        requests.put(url, data=content, timeout=60).raise_for_status()

    return put


def _logged_models(seed: Seeder, made: Objects, put: Upload) -> None:
    for name, run in (("forest", made.runs["train"]), ("orphan", None)):
        body: dict[str, Any] = {"experiment_id": made.experiment, "name": name, "model_type": "pyfunc"}
        body |= {"tags": pairs({"of": name, "größe": UMLAUT}), "params": pairs({"depth": "7", "empty": ""})}
        info = seed.call("POST", "logged-models", {**body, **({"source_run_id": run} if run else {})})["model"]["info"]
        model = made.models[name] = info["model_id"]
        for path, content in _files(run or "").items():
            put(info["artifact_uri"], path, content)
        status = "LOGGED_MODEL_READY" if run else "LOGGED_MODEL_UPLOAD_FAILED"
        seed.call("PATCH", f"logged-models/{model}", {"model_id": model, "status": status})
    train, use, model = made.runs["train"], made.runs["use"], made.models["forest"]
    seed.call("POST", "runs/outputs", {"run_id": train, "models": [{"model_id": model, "step": 3}]})
    seed.dataset(use, "customers", "d1", "evaluation")
    seed.call("POST", "runs/log-inputs", {"run_id": use, "models": [{"model_id": model}]})
    point = {"key": "auc", "timestamp": EPOCH, "model_id": model}
    linked = {"dataset_name": "customers", "dataset_digest": "d1"}
    points = [{**point, "value": 0.5, "step": 0}, {**point, "value": 0.75, "step": 1, **linked}]
    seed.call("POST", "runs/log-batch", {"run_id": use, "metrics": points})


def _registry(seed: Seeder, made: Objects, prefix: str, *, stages: bool, reachable: bool) -> None:
    train = made.runs["train"]
    root = str(seed.call("GET", "runs/get", {"run_id": train})["run"]["info"]["artifact_uri"])
    churn, price = f"{prefix}churn", f"{prefix}price"
    tags = pairs({"team": "growth", "größe": UMLAUT})
    seed.call("POST", "registered-models/create", {"name": churn, "tags": tags, "description": f"# Churn\n{UMLAUT}"})
    seed.call("POST", "registered-models/create", {"name": price})
    of_model = f"models:/{made.models['forest']}" if made.models else f"{root}/model"
    more: dict[str, Any] = {"model_id": made.models["forest"]} if made.models else {}
    # four are made and the third deleted: the numbers have a gap
    for number in range(1, 5):
        body = {"name": churn, "source": f"{root}/model", "run_id": train, "tags": pairs({"number": str(number)})}
        if number == 2:
            body |= {"source": of_model, "description": "the *second*", **more}
        if number == 4:
            # newer servers take a file of a run only together with the run
            loose = f"{root}/model" if reachable else "s3://elsewhere/model"
            body = {**body, "source": f"models:/{made.models['orphan']}" if made.models else loose}
            body.pop("run_id")
            body |= {"model_id": made.models["orphan"]} if made.models else {}
        seed.call("POST", "model-versions/create", body)
    seed.call("DELETE", "model-versions/delete", {"name": churn, "version": "3"})
    seed.call("POST", "model-versions/create", {"name": price, "source": f"{root}/model", "run_id": train})
    for alias, version in (("champion", "2"), ("challenger", "4"), ("newest", "4")):
        seed.call("POST", "registered-models/alias", {"name": churn, "alias": alias, "version": version})
    if stages:
        move = {"name": churn, "version": "1", "stage": "Production", "archive_existing_versions": False}
        seed.call("POST", "model-versions/transition-stage", move)


def _prompts(seed: Seeder, prefix: str, *, chat: bool) -> None:
    """Write what ``register_prompt`` writes: a text and a chat prompt, the first with three versions."""
    marker = {"mlflow.prompt.is_prompt": "true"}
    for name in ("greeting", "support"):
        body = {"name": f"{prefix}{name}", "tags": pairs({**marker, "team": "growth"}), "description": "of prompts"}
        seed.call("POST", "registered-models/create", body)
    versions: list[tuple[str, dict[str, str]]] = [
        ("greeting", {"mlflow.prompt.text": f"Hello {{{{ name }}}} {number}", "number": str(number)})
        for number in range(1, 4)
    ]
    if chat:
        config = {"model_name": "m-1", "temperature": 0.5, "stop_sequences": ["END"]}
        told = {"_mlflow_prompt_type": "chat", "_mlflow_prompt_model_config": json.dumps(config)}
        told |= {"_mlflow_prompt_response_format": json.dumps({"type": "object", "properties": {}})}
        versions.append(("support", {"mlflow.prompt.text": json.dumps(CHAT), **told}))
    for name, tags in versions:
        body = {"name": f"{prefix}{name}", "source": "dummy-source", "description": f"commit of {name}"}
        seed.call("POST", "model-versions/create", {**body, "tags": pairs({**marker, **tags})})
    body = {"name": f"{prefix}greeting", "alias": "production", "version": "2"}
    seed.call("POST", "registered-models/alias", body)


def _traces(
    seed: Seeder, made: Objects, version: str, environment: Mapping[str, str], more: int, *, link: bool
) -> None:
    model = made.models.get("forest", "")
    told = {"uri": seed.uri, "experiment": made.experiment, "run": made.runs["train"], "model": model, "more": more}
    env = clean_environment({**AT_ONCE, **environment})
    arguments = [str(_WRITER), json.dumps(told)]
    done = warm.run(arguments, kind="mlflow", cwd=_WRITER.parent, env=env, python=python_of(version))
    assert done.returncode == 0, done.stderr[-3000:]
    made.traces = json.loads(done.stdout.split("RESULT")[-1])
    if link:
        body = {"trace_ids": [made.traces["fails"]], "run_id": made.runs["use"]}
        seed.call("POST", "traces/link-to-run", body)


def _dataset(seed: Seeder, made: Objects, prefix: str) -> None:
    body = {"name": f"{prefix}questions", "experiment_ids": [made.experiment], "tags": json.dumps({"team": "growth"})}
    answer = seed.call("POST", "datasets/create", body, version="3.0")["dataset"]
    dataset = made.datasets["questions"] = answer["dataset_id"]
    records = [
        {
            "inputs": {"question": f"Wie groß? {number}", "number": number},
            "expectations": {"answer": [number, 0.5]},
            "tags": {"round": "1"},
            "source": {"source_type": "HUMAN", "source_data": {"user_name": "ada"}},
        }
        for number in range(5)
    ]
    body = {"records": json.dumps(records)}
    seed.call("POST", f"datasets/{dataset}/records", {"dataset_id": dataset, **body}, version="3.0")
