"""What people's clients ask of a server: searches of one experiment, each one request, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.listing import made
from mlflow_parity.reading.transport.session import Session

#: What is asked for.
About = Literal["run", "trace", "evaluation_dataset", "figure"]
#: Answers of a server that does not know such a question.
_UNKNOWN = (400, 404, 405, 501)
_RUNS, _TRACES, _DATASETS = 1000, 500, 50


@dataclass(frozen=True, slots=True)
class Question:
    """One search, ``text`` as a user writes it; ``order`` by what its answer is sorted, of which the first are asked.

    ``of_spans``: the answer is made of spans. ``metric``: the key by whose value runs are sorted.
    """

    about: About
    text: str
    metric: str = ""
    of_spans: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: ids in its order, or figures by name; ``values`` are those by which runs were sorted.

    ``unknown``: the server does not know such a question, and says so; ``error``: it could not be asked. ``whole``:
    this is all.
    """

    ids: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    unknown: str = ""
    error: str = ""
    whole: bool = True


def ask(session: Session, redact: Callable[[str], str], experiment_id: str, question: Question) -> Answer:
    """Ask one question of one experiment."""
    try:
        return _READERS[question.about](session, experiment_id, question)
    except RequestRefused as error:
        told = redact(str(error))
        return Answer(unknown=told) if error.status in _UNKNOWN else Answer(error=told)
    except ReadError as error:
        return Answer(error=redact(str(error)))


def _runs(session: Session, experiment_id: str, question: Question) -> Answer:
    body: dict[str, Any] = {"experiment_ids": [experiment_id], "run_view_type": "ACTIVE_ONLY", "max_results": _RUNS}
    if question.metric:
        body |= {"order_by": [question.text], "max_results": 10}
    else:
        body["filter"] = question.text
    found = session.post(endpoints.RUNS, body)

    def read(answer: Mapping[str, Any]) -> Answer:
        runs = answer.get("runs") or []
        values = [
            next((float(one["value"]) for one in run["data"].get("metrics", ()) if one["key"] == question.metric), 0.0)
            for run in runs
            if question.metric
        ]
        ids = tuple(run["info"]["run_id"] for run in runs)
        return Answer(ids, values=tuple(values), whole=bool(question.metric) or not answer.get("next_page_token"))

    return made(read, found)


def _traces(session: Session, experiment_id: str, question: Question) -> Answer:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
    body = {"locations": [place], "filter": question.text, "max_results": _TRACES}
    found = session.post(endpoints.TRACES, body)
    return made(
        lambda answer: Answer(
            tuple(one["trace_id"] for one in answer.get("traces") or ()), whole=not answer.get("next_page_token")
        ),
        found,
    )


def _datasets(session: Session, experiment_id: str, question: Question) -> Answer:
    found = session.post(endpoints.DATASETS, {"experiment_ids": [experiment_id], "max_results": _DATASETS})
    return made(
        lambda answer: Answer(
            tuple(one["dataset_id"] for one in answer.get("datasets") or ()), whole=not answer.get("next_page_token")
        ),
        found,
    )


def _figures(session: Session, experiment_id: str, question: Question) -> Answer:
    body = {
        "experiment_ids": [experiment_id],
        "view_type": "SPANS",
        "metric_name": "span_count",
        "aggregations": [{"aggregation_type": "COUNT"}],
        "dimensions": ["span_name"],
        "max_results": 1000,
    }
    found = session.post(endpoints.TRACE_METRICS, body)

    def read(answer: Mapping[str, Any]) -> Answer:
        points = answer.get("data_points") or []
        figures = {str(one["dimensions"]["span_name"]): float(one["values"]["COUNT"]) for one in points}
        if not all(map(math.isfinite, figures.values())):
            raise MalformedAnswer("a figure that is no number")
        if len(figures) != len(points):
            raise MalformedAnswer("two figures of one span name")
        return Answer(figures=figures, whole=not answer.get("next_page_token"))

    return made(read, found)


_READERS: Mapping[About, Callable[[Session, str, Question], Answer]] = {
    "run": _runs,
    "trace": _traces,
    "evaluation_dataset": _datasets,
    "figure": _figures,
}
