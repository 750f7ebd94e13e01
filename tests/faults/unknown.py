"""Fields that a newer MLflow might add: put into the answers of a real server by a proxy, kind by kind.

``tests/reading/test_unknown.py`` plants them; the tables of the battery and of ``docs/detection.md`` hold them too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from support.proxy import Exchange, Fault, Proxy

FIELD = "color"
_PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where the objects of a kind stand in an answer; ``path`` is the request's, ``key`` leads to the field."""

    path: str
    entries: Callable[[Any], Iterable[dict[str, Any]]]
    key: str = FIELD


def _listed(name: str) -> Callable[[Any], Iterable[dict[str, Any]]]:
    return lambda answer: answer.get(name, [])


def _registered(*, prompts: bool) -> Callable[[Any], Iterable[dict[str, Any]]]:
    return lambda answer: [
        one for one in answer.get("registered_models", []) if (_PROMPT in one.get("tags", [])) is prompts
    ]


def _versions(*, prompts: bool) -> Callable[[Any], Iterable[dict[str, Any]]]:
    return lambda answer: [
        one for one in answer.get("model_versions", []) if (_PROMPT in one.get("tags", [])) is prompts
    ]


#: Where a field is put, by kind.
UNKNOWN: Mapping[str, Place] = {
    "experiment": Place("/experiments/search", _listed("experiments")),
    "run": Place("/runs/search", lambda answer: [run["info"] for run in answer.get("runs", [])], f"info: {FIELD}"),
    "logged_model": Place("/logged-models/search", lambda answer: [one["info"] for one in answer.get("models", [])],
                          f"info: {FIELD}"),
    "trace": Place("/3.0/mlflow/traces/search", _listed("traces")),
    "scorer": Place("/scorers/versions", _listed("scorers")),
    "registered_model": Place("/registered-models/search", _registered(prompts=False)),
    "model_version": Place("/model-versions/search", _versions(prompts=False)),
    "prompt": Place("/registered-models/search", _registered(prompts=True)),
    "prompt_version": Place("/model-versions/search", _versions(prompts=True)),
    "evaluation_dataset": Place("/datasets/search", _listed("datasets")),
    "webhook": Place("/mlflow/webhooks", _listed("webhooks")),
}  # fmt: skip
#: Entries of lists within an object: what is told beside of one is compared with it, or stands under its name.
WITHIN: Mapping[tuple[str, str, str], Place] = {
    ("run", "other", f"data: tags: {FIELD}"): Place(
        "/runs/search", lambda answer: [one for run in answer.get("runs", []) for one in run["data"].get("tags", [])]),
    ("run", "other", f"links: outputs: model_outputs: {FIELD}"): Place(
        "/runs/get", lambda answer: answer["run"].get("outputs", {}).get("model_outputs", [])),
    ("logged_model", "metrics", f": other: {FIELD}"): Place(
        "/logged-models/search", lambda answer: [one for model in answer.get("models", [])
                                                 for one in model.get("data", {}).get("metrics", [])]),
    ("trace", "assessments", f": other: {FIELD}"): Place(
        "/3.0/mlflow/traces/search", lambda answer: [one for trace in answer.get("traces", [])
                                                     for one in trace.get("assessments", [])]),
    ("trace", "spans", f": other: {FIELD}"): Place(
        "/traces/batchGet", lambda answer: [one for trace in answer.get("traces", []) for one in trace["spans"]]),
    ("trace", "spans", f"attributes: temperature: {FIELD}"): Place(
        "/traces/batchGet", lambda answer: [one for trace in answer.get("traces", []) for span in trace["spans"]
                                            for one in span["attributes"]]),
}  # fmt: skip


def plant(proxy: Proxy, places: Iterable[Place], value: object) -> None:
    """Let a proxy put a field into every object of some kinds."""
    by_path: dict[str, list[Place]] = {}
    for place in places:
        by_path.setdefault(place.path, []).append(place)
    for path, there in by_path.items():
        proxy.faults.append(Fault(path, _spoil(there, value), times=1 << 30))


def _spoil(places: list[Place], value: object) -> Callable[[Exchange, int, list[tuple[str, str]], bytes], None]:
    def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
        if code == 200:
            answer = json.loads(body)
            for place in places:
                for entry in place.entries(answer):
                    entry[FIELD] = value
            body = json.dumps(answer).encode()
        exchange.answer(code, headers, body)

    return spoil
