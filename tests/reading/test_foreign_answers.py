"""Answers that are not MLflow's: a front end's 404, or an error with status 200, is never "it is not there"."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.opened import everything, opened
from support.proxy import Fault, Spoil, proxying, status
from support.seed import Seeder
from support.seed_later import seed_later
from support.seed_traces import reference, trace
from support.servers import FreshServer, server_of

from mlflow_parity.core.errors import MalformedAnswer, ReadError
from mlflow_parity.reading.asking import Question
from mlflow_parity.reading.transport.listing import list_in
from mlflow_parity.standin.servers import Server

_PAGE = b"<html><title>404 Not Found</title><center>nginx</center></html>"
_PAGES = [status(404, {"Content-Type": "text/html"}, _PAGE), status(404, body=b'{"detail": "Not Found"}')]


@pytest.fixture(scope="module")
def plain(module_server: FreshServer) -> tuple[Server, str]:
    """A server with an experiment, a run and a trace that never ended."""
    server = module_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("behind a front end")
    seed.end(seed.run(experiment, "run"))
    info = {
        "trace_id": "tr-going-on",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20Z",
        "state": "IN_PROGRESS",
    }
    seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
    return server, experiment


@pytest.mark.parametrize("page", _PAGES, ids=["page", "FastAPI"])
def test_an_attachment_that_a_front_end_hides_is_unread(page: Spoil, tmp_path: Path) -> None:
    """Taken for lost, it would equal one that was really lost on the target: green, and the image is gone."""

    def write(location: str, path: str, content: bytes) -> None:
        file = Path(location.removeprefix("file://"), path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    trace_id, there, lost = f"tr-{uuid.uuid4().hex}", str(uuid.uuid4()), str(uuid.uuid4())
    with server_of("newest", tmp_path / "server", artifacts=str(tmp_path / "files")) as server:
        seed = Seeder(server.uri)
        inputs = {"there": reference(there, trace_id, 1), "lost": reference(lost, trace_id, 1)}
        experiment = seed.experiment("vision")
        trace(seed, experiment, "see", inputs=inputs, trace_id=trace_id, files={there: b"x"}, upload=write)

        def read(uri: str) -> dict[str, bool]:
            reader = opened(uri)
            [found] = [one for one in everything(reader, experiment) if one.kind == "trace"]
            [tree] = reader.entity_files([found], "digest")
            reader.close()
            assert tree.error is None
            return {file.path: file.error is None for file in tree.files}

        # MLflow's own 404 is of a file that is not there
        assert read(server.uri) == {there: True}
        with proxying(server.uri) as front:
            front.faults.append(Fault("&path=", page, times=99))
            assert read(front.uri) == {there: False, lost: False}


@pytest.mark.parametrize("page", _PAGES, ids=["page", "FastAPI"])
def test_spans_that_a_front_end_hides_are_unread(page: Spoil, plain: tuple[Server, str]) -> None:
    """A trace in progress need have no spans yet: only MLflow can say so, or its spans are never compared."""
    server, experiment = plain

    def error(uri: str) -> str | None:
        reader = opened(uri)
        [found] = [one for one in everything(reader, experiment) if one.kind == "trace"]
        reader.close()
        return found.error

    assert error(server.uri) is None
    with proxying(server.uri) as front:
        front.faults.append(Fault("batchGet", status(200, body=b"{}"), times=99))
        front.faults.append(Fault("get-trace-artifact", page, times=99))
        assert "its spans cannot be read" in (error(front.uri) or "")


@pytest.mark.parametrize("code", [400, 404, 405, 501])
def test_a_question_that_a_front_end_refuses_is_not_unknown(code: int, plain: tuple[Server, str]) -> None:
    """That "the source does not know this search" excuses the target; every release knows the search of runs."""
    server, experiment = plain
    with proxying(server.uri) as front:
        front.faults.append(Fault("runs/search", status(code, {"Content-Type": "text/html"}, _PAGE), times=99))
        reader = opened(front.uri)
        answer = reader.answer(experiment, Question("run", "attributes.run_name = 'run'"))
        reader.close()
    assert (answer.unknown, bool(answer.error)) == ("", True)


def test_guardrails_that_a_front_end_hides_are_unread(fresh_server: FreshServer) -> None:
    """A release without guardrails has no list of them: where there is one, a 404 is not "this endpoint has none"."""
    server = fresh_server()
    seed_later(server.uri, Seeder(server.uri).experiment("gateway"))
    with proxying(server.uri) as front:
        reader = opened(front.uri)
        [[endpoint]] = reader.server_objects("gateway_endpoint")
        assert len(endpoint.facets["definition"]["guardrails"]) == 1
        front.faults.append(Fault("list-for-endpoint", status(404, body=_PAGE), times=99))
        with pytest.raises(ReadError, match="404"):
            list(reader.server_objects("gateway_endpoint"))
        # what a release answers that has neither
        front.faults.append(Fault("guardrails/list", status(404, body=_PAGE), times=99))
        [[endpoint]] = reader.server_objects("gateway_endpoint")
        assert "guardrails" not in endpoint.facets["definition"]
        reader.close()


_ERROR = b'{"error_code": "INTERNAL_ERROR", "message": "the database is away"}'
#: What is no answer of MLflow's, though it is JSON with status 200.
_NO_ANSWERS = [_ERROR, b'{"error": "busy"}', b'{"message": "Endpoint request timed out"}', b'{"Message": null}']


@pytest.mark.parametrize("answer", _NO_ANSWERS, ids=["MLflow's error", "error", "message", "Message"])
def test_an_error_with_status_200_is_no_empty_list(answer: bytes, plain: tuple[Server, str]) -> None:
    """Taken for "nothing is there", it hides whatever the target lost: of each list, and of each folder."""
    server, experiment = plain
    with proxying(server.uri) as front:
        reader = opened(front.uri)
        [run] = [run for page in reader.runs(experiment) for run in page]
        reads: dict[str, Callable[[], object]] = {
            "experiments/search": reader.experiments,
            "runs/search": lambda: list(reader.runs(experiment)),
            "registered-models/search": lambda: list(reader.registry()),
            "model-versions/search": lambda: list(reader.registry()),
            "traces/search": lambda: list(reader.experiment_objects(experiment, ["trace"])),
            "logged-models/search": lambda: list(reader.experiment_objects(experiment, ["logged_model"])),
            "scorers/list": lambda: list(reader.experiment_objects(experiment, ["scorer"])),
            "datasets/search": lambda: list(reader.server_objects("evaluation_dataset")),
            "/webhooks": lambda: list(reader.server_objects("webhook")),
            "gateway/endpoints/list": lambda: list(reader.server_objects("gateway_endpoint")),
        }
        for path, read in reads.items():
            front.heal()
            front.faults.append(Fault(path, status(200, body=answer), times=99))
            with pytest.raises(ReadError, match=r"(status 200, and an error in it|the answer holds)"):
                read()
            assert front.spoilt, path
        front.heal()
        front.faults.append(Fault("mlflow-artifacts/artifacts?path", status(200, body=answer), times=99))
        [tree] = reader.artifacts([run], "digest")
        assert (tree.files, bool(tree.error)) == ((), True)
        reader.close()


def test_a_list_that_mlflow_leaves_out_is_empty_and_new_keys_are_fine() -> None:
    """``{}`` is MLflow's empty list, and a later release may tell more beside one, an empty one too: no error."""
    assert list_in({}, "runs") == list_in({"next_page_token": ""}, "runs") == list_in({"new": 2}, "runs") == []
    assert list_in({"runs": [1], "new": 2}, "runs") == [1]
    assert list_in({"root_uri": "s3://x"}, "files") == []
    wrong: list[dict[str, Any]] = [{"detail": 2}, {"Error": 2}, {"runs": None}, {"runs": {}}, {"runs": "none"}]
    for answer in wrong:
        with pytest.raises(MalformedAnswer):
            list_in(answer, "runs")
