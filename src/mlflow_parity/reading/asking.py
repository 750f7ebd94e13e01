"""What people's clients ask of a server: searches and look-ups, each one request, and what comes back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.reading.registry import resolved
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.kind_support import is_absent
from mlflow_parity.reading.transport.listing import list_in, made
from mlflow_parity.reading.transport.session import Session

#: What is asked for: objects of a kind, or something else that clients show.
About = Literal[
    "run", "trace", "evaluation_dataset", "registered_model", "prompt", "model_version", "prompt_version",
    "figure", "image", "stage", "alias",
]  # fmt: skip
#: What is asked of a registered model or prompt, by its name.
OF_NAMES = frozenset({"registered_model", "prompt", "model_version", "prompt_version", "stage", "alias"})
#: Answers of a server that does not know such a search.
_UNKNOWN = (400, 404, 405, 501)
#: Every release has the search of runs, and the list of images.
_EVERYWHERE = ("run", "image")
_RUNS, _TRACES, _DATASETS, _MODELS, _VERSIONS, _SORTED = 1000, 500, 50, 10, 1000, 10


@dataclass(frozen=True, slots=True)
class Question:
    """One search or look-up, ``text`` as a user writes it.

    ``here`` is what stands in the text for an object of the source (its id, a number), ``there`` what stands for its
    copy. ``of_spans``: the answer is made of spans. ``order``: by what runs are sorted, of which the first are asked
    for: ``metric`` (``key`` is its key) or ``start_time``. ``key``: of an alias, its name.
    """

    about: About
    text: str
    here: str = ""
    there: str = ""
    order: Literal["", "metric", "start_time"] = ""
    key: str = ""
    of_spans: bool = False

    def of_copy(self) -> Question:
        """Return the same question as it is asked of the target."""
        return replace(self, text=self.text.replace(self.here, self.there), here=self.there) if self.here else self

    def called(self, name: str, own: str) -> Question:
        """Return the same question of a registered model or prompt that its server calls by its ``own`` name."""
        # it stands first; a value further on may be the same word
        return replace(self, text=self.text.replace(quoted(name) or name, quoted(own) or own, 1))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: ids in its order, figures by name, versions by stage or alias.

    ``values`` are those by which runs were sorted. ``unknown``: the server does not know such a question, and says so;
    ``error``: it could not be asked. ``whole``: this is all.
    """

    ids: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    unknown: str = ""
    error: str = ""
    whole: bool = True


def quoted(text: str) -> str:
    """Return a text as it stands in a search; empty: it can stand in none."""
    fits = text.isprintable() and text == text.strip() and not {*text} & {*'"`\\'}
    if not fits or not text:
        return ""
    return f'"{text}"' if "'" in text else f"'{text}'"


def ask(session: Session, redact: Callable[[str], str], place: str, question: Question) -> Answer:
    """Ask one question of one experiment (by id), registered model or prompt (by name)."""
    try:
        return _READERS[question.about](session, place, question)
    except RequestRefused as error:
        told = redact(str(error))
        if is_absent(error):
            unknown = question.about not in _EVERYWHERE
        else:
            # names are asked for in the same words of every release: a refusal may say that there is no such model;
            # one without MLflow's code is a front end's
            same = question.about in OF_NAMES or question.about == "image"
            unknown = not same and error.status in _UNKNOWN and bool(error.code)
        return Answer(unknown=told) if unknown else Answer(error=told)
    except ReadError as error:
        return Answer(error=redact(str(error)))


def _whole(answer: Mapping[str, Any]) -> bool:
    return not answer.get("next_page_token")


def _runs(session: Session, experiment_id: str, question: Question) -> Answer:
    body: dict[str, Any] = {"experiment_ids": [experiment_id], "run_view_type": "ACTIVE_ONLY", "max_results": _RUNS}
    if question.order:
        body |= {"order_by": [question.text], "max_results": _SORTED}
    else:
        body["filter"] = question.text

    def value(run: Mapping[str, Any]) -> str:
        if question.order == "start_time":
            return str(run["info"].get("start_time"))
        found = (one["value"] for one in run["data"].get("metrics", ()) if one["key"] == question.key)
        # as text: what is no number equals itself
        return next((repr(float(one)) for one in found), "")

    def read(answer: Mapping[str, Any]) -> Answer:
        runs = list_in(answer, "runs")
        values = tuple(value(run) for run in runs) if question.order else ()
        ids = tuple(str(run["info"]["run_id"]) for run in runs)
        return Answer(ids, values=values, whole=bool(question.order) or _whole(answer))

    return made(read, session.post(endpoints.RUNS, body))


def _traces(session: Session, experiment_id: str, question: Question) -> Answer:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment_id}}
    body = {"locations": [place], "filter": question.text, "max_results": _TRACES}
    key = "trace_id"
    try:
        found = session.post(endpoints.TRACES, body)
    except RequestRefused as error:
        if question.of_spans or not is_absent(error):
            raise
        # servers before 3.0, as their clients ask them
        query = {"experiment_ids": [experiment_id], "filter": question.text, "max_results": _TRACES}
        found, key = session.get(endpoints.TRACES_V2, query), "request_id"
    return made(
        lambda answer: Answer(tuple(str(one[key]) for one in list_in(answer, "traces")), whole=_whole(answer)), found
    )


def _datasets(session: Session, experiment_id: str, question: Question) -> Answer:
    found = session.post(endpoints.DATASETS, {"experiment_ids": [experiment_id], "max_results": _DATASETS})
    return made(
        lambda answer: Answer(
            tuple(str(one["dataset_id"]) for one in list_in(answer, "datasets")), whole=_whole(answer)
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
        points = list_in(answer, "data_points")
        figures = {str(one["dimensions"]["span_name"]): float(one["values"]["COUNT"]) for one in points}
        if not all(map(math.isfinite, figures.values())):
            raise MalformedAnswer("a figure that is no number")
        if len(figures) != len(points):
            raise MalformedAnswer("two figures of one span name")
        return Answer(figures=figures, whole=_whole(answer))

    return made(read, found)


def _images(session: Session, _: str, question: Question) -> Answer:
    """List the images of a run as MLflow's web page does."""
    found = session.get(endpoints.ARTIFACTS, {"run_id": question.here, "path": "images"})

    def read(answer: Mapping[str, Any]) -> Answer:
        files = [one for one in list_in(answer, "files") if not one.get("is_dir")]
        return Answer(tuple(str(one["path"]) for one in files), whole=_whole(answer))

    return made(read, found)


def _names(session: Session, _: str, question: Question) -> Answer:
    found = session.get(endpoints.REGISTERED_MODELS, {"filter": question.text, "max_results": _MODELS})
    return made(
        lambda answer: Answer(
            tuple(str(one["name"]) for one in list_in(answer, "registered_models")), whole=_whole(answer)
        ),
        found,
    )


def _version_id(entry: Mapping[str, Any]) -> str:
    return f"{entry['name']}/{int(entry['version'])}"


def _versions(session: Session, _: str, question: Question) -> Answer:
    found = session.get(endpoints.MODEL_VERSIONS, {"filter": question.text, "max_results": _VERSIONS})
    return made(
        lambda answer: Answer(
            tuple(_version_id(one) for one in list_in(answer, "model_versions")), whole=_whole(answer)
        ),
        found,
    )


def _stages(session: Session, name: str, _: Question) -> Answer:
    found = session.get(endpoints.LATEST_VERSIONS, {"name": name})

    def read(answer: Mapping[str, Any]) -> Answer:
        versions = list_in(answer, "model_versions")
        by_stage = {str(one.get("current_stage") or "None"): _version_id(one) for one in versions}
        if len(by_stage) != len(versions):
            raise MalformedAnswer("two latest versions of one stage")
        return Answer(versions=by_stage)

    return made(read, found)


def _aliases(session: Session, name: str, question: Question) -> Answer:
    version = resolved(session, name, question.key)
    return Answer(versions={} if version is None else {question.key: f"{name}/{version}"})


_READERS: Mapping[About, Callable[[Session, str, Question], Answer]] = {
    "run": _runs,
    "trace": _traces,
    "evaluation_dataset": _datasets,
    "figure": _figures,
    "image": _images,
    "registered_model": _names,
    "prompt": _names,
    "model_version": _versions,
    "prompt_version": _versions,
    "stage": _stages,
    "alias": _aliases,
}
