"""What a server answers to people's questions is taken as it is; what makes no sense is one line, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from support.proxy import Exchange, Fault, Spoil, proxying
from support.seed import EPOCH, Seeder
from support.servers import FreshServer

from mlflow_parity.core.locations import parse_location
from mlflow_parity.reading import open_reader
from mlflow_parity.reading.asking import Answer, Question
from mlflow_parity.standin.servers import Server

HUGE = "9" * 400
RUNS = Question("run", "metrics.`loss` DESC", order="metric", key="loss")
STAGES = Question("stage", "latest version of each stage")
VERSIONS = Question("model_version", "name = 'churn'")


@pytest.fixture(scope="module")
def server(module_server: FreshServer) -> tuple[Server, str]:
    """A server with some runs and a registered model, and the experiment."""
    made = module_server()
    seed = Seeder(made.uri)
    experiment = seed.experiment("asked")
    for number, value in enumerate((0.5, float("nan"), float("inf"))):
        seed.log(seed.run(experiment, f"run {number}"), metrics=[("loss", value, EPOCH, 0)])
    seed.call("POST", "registered-models/create", {"name": "churn"})
    seed.call("POST", "model-versions/create", {"name": "churn", "source": "s3://somewhere/model"})
    return made, experiment


def _altered(change: Callable[[Any], Any]) -> Spoil:
    def spoil(exchange: Exchange, _: int, headers: list[tuple[str, str]], body: bytes) -> None:
        content = json.dumps(change(json.loads(body))).encode()
        kept = [(name, value) for name, value in headers if name.lower() not in ("content-length", "content-encoding")]
        exchange.answer(200, kept, content)

    return spoil


def _ask(uri: str, place: str, question: Question) -> Answer:
    reader = open_reader(parse_location(uri, option="--source-uri"), "source", 1)
    try:
        return reader.answer(place, question)
    finally:
        reader.close()


def test_what_is_no_number_equals_itself(server: tuple[Server, str]) -> None:
    """Runs sorted by a metric that is NaN for some: two servers that say the same must not be told to differ."""
    made, experiment = server
    first, second = (_ask(made.uri, experiment, RUNS) for _ in range(2))
    assert first.values == second.values
    assert len(first.ids) == 3
    assert "nan" in first.values


def _metric(value: object) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        answer["runs"][0]["data"]["metrics"][0]["value"] = value
        return answer

    return change


def _version(key: str, value: object) -> Callable[[Any], Any]:
    def change(answer: Any) -> Any:
        answer["model_versions"][0][key] = value
        return answer

    return change


@pytest.mark.parametrize(
    ("question", "path", "change"),
    [
        pytest.param(RUNS, "runs/search", _metric("a word"), id="a metric that is a word"),
        pytest.param(RUNS, "runs/search", _metric(int(HUGE)), id="a metric of 400 digits"),
        pytest.param(RUNS, "runs/search", lambda _: {"runs": "none"}, id="runs that are a text"),
        pytest.param(RUNS, "runs/search", lambda _: {"runs": [{}]}, id="a run without anything"),
        pytest.param(VERSIONS, "model-versions/search", _version("version", "x"), id="a version that is no number"),
        pytest.param(VERSIONS, "model-versions/search", _version("version", HUGE * 20), id="a version of 8,000 digits"),
        pytest.param(STAGES, "get-latest-versions", _version("version", None), id="a latest version without number"),
        pytest.param(STAGES, "get-latest-versions", lambda one: {"model_versions": one["model_versions"] * 2},
                     id="two latest versions of a stage"),
        pytest.param(Question("alias", "alias a", key="a"), "registered-models/alias", lambda _: {"model_version": 1},
                     id="an alias of nothing"),
        pytest.param(Question("image", "images", "1" * 32), "artifacts/list", lambda _: {"files": [1]},
                     id="an image that is a number"),
    ],
)  # fmt: skip
def test_an_answer_that_makes_no_sense_is_one_line(
    question: Question, path: str, change: Callable[[Any], Any], server: tuple[Server, str]
) -> None:
    """It is unverified with its reason: neither a traceback, nor taken for an answer."""
    made, experiment = server
    place = "churn" if question.about in ("model_version", "stage", "alias") else experiment
    with proxying(made.uri) as front:
        front.faults.append(Fault(path, _altered(change), times=10**6))
        answer = _ask(front.uri, place, question)
    assert (answer.ids, answer.versions, answer.unknown) == ((), {}, "")
    assert answer.error
    assert "\n" not in answer.error
    assert HUGE[:50] not in answer.error


def test_what_is_not_there_is_no_release(server: tuple[Server, str]) -> None:
    """A model that is gone is not "an older server does not know this search", which would be green."""
    made, _ = server
    answer = _ask(made.uri, "gone", STAGES)
    assert (answer.unknown, bool(answer.error)) == ("", True)
    assert _ask(made.uri, "churn", Question("alias", "alias x", key="x")) == Answer()
    assert _ask(made.uri, "churn", STAGES).versions == {"None": "churn/1"}
