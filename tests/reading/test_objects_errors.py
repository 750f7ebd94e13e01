"""Objects of every kind: what is refused, absent, cut or moving is never an empty list; and all of it by ARN."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from support.opened import QUICK, everything, opened
from support.proxy import Exchange, Fault, Proxy, Spoil, half_json, proxying, status
from support.seed import EPOCH, Seeder
from support.seed_objects import Objects, seed_objects
from support.servers import FreshServer, emptied

from mlflow_parity.core.errors import MalformedAnswer, ReadError, RequestRefused
from mlflow_parity.core.locations import parse_arn
from mlflow_parity.core.records import Entity
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.traces import traces
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import Server

#: Path of a list → kinds that are not told without it.
LISTS = {
    "registered-models/search": "registered_model",
    "model-versions/search": "model_version",
    "datasets/search": "evaluation_dataset",
    "/webhooks": "webhook",
    "logged-models/search": "logged_model",
    "traces/search": "trace",
    "scorers/list": "scorer",
}


@dataclass(frozen=True, slots=True)
class Seeded:
    """The newest server with one set of everything."""

    server: Server
    made: Objects


@pytest.fixture(scope="module")
def seeded(module_server: FreshServer) -> Seeded:
    """One set of everything on the newest version."""
    server = module_server()
    experiment = Seeder(server.uri).experiment("everything")
    return Seeded(server, seed_objects(server.uri, experiment))


@pytest.fixture
def proxy(seeded: Seeded) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with proxying(seeded.server.uri) as running:
        yield running


def traces_of(uri: str, experiment: str) -> dict[str, Entity]:
    """Read the traces of an experiment."""
    reader = opened(uri)
    found = {trace.entity_id: trace for page in reader.experiment_objects(experiment, ["trace"]) for trace in page}
    reader.close()
    return found


@pytest.mark.parametrize("path", [*LISTS, "traces/batchGet", "/records", "experiment-ids", "scorers/versions"])
def test_a_refused_endpoint_is_an_error(seeded: Seeded, proxy: Proxy, path: str) -> None:
    """No rights is not the same as none there, whichever of the requests it concerns."""
    reader = opened(proxy.uri)
    proxy.faults.append(Fault(path, status(403, body=b'{"error_code": "PERMISSION_DENIED", "message": "no"}'), times=9))
    with pytest.raises(RequestRefused, match="403"):
        everything(reader, seeded.made.experiment)
    reader.close()


@pytest.mark.parametrize("path", LISTS)
def test_a_failing_or_cut_list_is_an_error(seeded: Seeded, proxy: Proxy, path: str) -> None:
    """A server error that stays, and an answer that is half there."""
    for spoil in (status(500), half_json):
        reader = opened(proxy.uri)
        proxy.faults[:] = [Fault(path, spoil, times=99)]
        with pytest.raises(ReadError):
            everything(reader, seeded.made.experiment)
        reader.close()


@pytest.mark.parametrize("path", [path for path in LISTS if "models" not in path and "model-" not in path])
def test_a_list_that_is_not_served_is_absent(seeded: Seeded, proxy: Proxy, path: str) -> None:
    """Where no version says otherwise the server cannot hold the kind then; all else is read.

    A server of a version that has it hides it: that is an error, and no empty list.
    """
    kind = LISTS[path]
    proxy.faults.append(Fault(path, status(404, body=b"<html>Not Found</html>"), times=99))
    hiding = opened(proxy.uri)
    assert hiding.supports(kind) is True
    with pytest.raises(RequestRefused, match="404"):
        everything(hiding, seeded.made.experiment)
    hiding.close()
    if kind == "trace":
        return  # without a version the second API is asked, which the server has as well
    reader = opened(proxy.uri)
    reader.capabilities = dataclasses.replace(reader.capabilities, version=None)
    assert reader.supports(kind) is None
    found = {entity.kind for entity in everything(reader, seeded.made.experiment)}
    assert reader.supports(kind) is False
    assert kind not in found
    assert len(found) == 8
    reader.close()


def test_half_a_kind_is_not_absent(seeded: Seeded, proxy: Proxy) -> None:
    """Models are there while their versions are not, scorers likewise: that contradicts itself."""
    reader = opened(proxy.uri)
    proxy.faults.append(Fault("model-versions", status(404, body=b"<html>Not Found</html>"), times=99))
    with pytest.raises(RequestRefused, match="404"):
        list(reader.registry())
    proxy.faults.append(Fault("scorers/versions", status(404, body=b"<html>Not Found</html>"), times=99))
    with pytest.raises(MalformedAnswer, match="not their versions"):
        list(reader.experiment_objects(seeded.made.experiment, ["scorer"]))
    reader.close()


def test_an_unknown_version_is_asked(seeded: Seeded, proxy: Proxy) -> None:
    """A server that does not tell its version may hold everything; the answers tell."""
    proxy.faults.append(Fault("/version", status(404, body=b""), times=99))
    proxy.faults.append(Fault("scorers/list", status(404, body=b""), times=99))
    reader = opened(proxy.uri)
    assert reader.supports("trace") is reader.supports("scorer") is None
    found = {entity.kind for entity in everything(reader, seeded.made.experiment)}
    assert len(found) == 8
    assert reader.supports("trace") is True
    assert reader.supports("scorer") is False
    reader.close()


def _body(text: str) -> Callable[[Exchange, int, list[tuple[str, str]], bytes], None]:
    def spoil(exchange: Exchange, _: int, headers: list[tuple[str, str]], __: bytes) -> None:
        exchange.answer(200, headers, text.encode())

    return spoil


_TRACE = '{"trace_id": "tr-1", "trace_location": {"mlflow_experiment": {"experiment_id": "77"}}}'


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("registered-models", '{"registered_models": [{"name": "a"}], "next_page_token": "x"}', "repeats a page token"),
        ("registered-models", '{"registered_models": [], "next_page_token": "x"}', "empty page before the end"),
        ("registered-models", '{"registered_models": [{"name": "a"}, {"name": "a"}]}', "moved"),
        ("registered-models", '{"registered_models": [{}]}', "cannot be read: KeyError"),
        ("model-versions", '{"model_versions": [{"name": "a", "version": "x"}]}', "cannot be read: ValueError"),
        ("logged-models", '{"models": [{"info": {"model_id": "m-1", "experiment_id": "77"}}]}', "got 77"),
        ("traces/search", f'{{"traces": [{_TRACE}]}}', "got 77"),
        ("/records", '{"records": "[{}]"}', "cannot be read: KeyError"),
        ("/records", '{"records": "[]", "next_page_token": "x"}', "empty page"),
        ("scorers/versions", '{"scorers": []}', "not those of the list"),
        ("webhooks", '{"webhooks": {}}', "not a list"),
    ],
)
def test_lists_that_make_no_sense_are_errors(seeded: Seeded, proxy: Proxy, path: str, body: str, says: str) -> None:
    """A list that cannot be whole must not pass for one; of a dataset's records it is that dataset's error."""
    reader = opened(proxy.uri)
    proxy.faults.append(Fault(path, _body(body), times=99))
    if path == "/records":
        datasets = [entity for page in reader.server_objects("evaluation_dataset") for entity in page]
        assert [says in (dataset.error or "") for dataset in datasets] == [True]
    else:
        with pytest.raises(MalformedAnswer, match=says):
            everything(reader, seeded.made.experiment)
    reader.close()


def test_one_bad_trace_does_not_take_its_batch_along(seeded: Seeded, proxy: Proxy) -> None:
    """A batch that fails is halved; what fails alone, and what a batch leaves out, comes from the trace's file."""
    whole = traces_of(seeded.server.uri, seeded.made.experiment)
    assert len(whole) == 3
    for spoil in (status(400, body=b"{}"), _body('{"traces": []}')):
        proxy.seen.clear()
        proxy.faults.append(Fault("batchGet", spoil, times=1))
        assert traces_of(proxy.uri, seeded.made.experiment) == whole
        batches = [path for path in proxy.paths() if path.endswith("batchGet")]
        files = [path for path in proxy.paths() if path.endswith("get-trace-artifact")]
        assert (len(batches), len(files)) == ((3, 0) if proxy.faults[0].spoil is spoil else (1, 3))
    # a server without batches: files tell the same
    proxy.faults.append(Fault("batchGet", status(404, body=b"not found"), times=99))
    assert traces_of(proxy.uri, seeded.made.experiment) == whole


def test_spans_that_are_missing_are_an_error(seeded: Seeded, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer spans than the trace tells, while more may come, or none to be had: not a trace without spans."""
    answer = seeded.made.traces["answer"]

    def fewer(left: int) -> Spoil:
        def spoil(exchange: Exchange, code: int, headers: list[tuple[str, str]], body: bytes) -> None:
            found = json.loads(body)
            for trace in found["traces"]:
                del trace["spans"][left:]
            exchange.answer(code, headers, json.dumps(found).encode())

        return spoil

    proxy.faults.append(Fault("batchGet", fewer(0)))
    assert traces_of(proxy.uri, seeded.made.experiment)[answer].error == "0 of its 3 spans are there"
    # long ago: what is lost then is for comparing to tell
    proxy.faults.append(Fault("batchGet", fewer(1)))
    found = traces_of(proxy.uri, seeded.made.experiment)[answer]
    assert (found.error, len(found.facets["spans"])) == (None, 1)
    ended = (found.facets["times"]["request"] + found.facets["times"]["duration"]) / 1000
    for later, error in ((3500, "1 of its 3 spans are there"), (3700, None), (-60, "1 of its 3 spans are there")):
        proxy.faults.append(Fault("batchGet", fewer(1)))
        with monkeypatch.context() as patched:
            patched.setattr(traces, "time", SimpleNamespace(time=lambda later=later: ended + later))
            assert traces_of(proxy.uri, seeded.made.experiment)[answer].error == error
    proxy.faults += [Fault("batchGet", _body("{}")), Fault("get-trace-artifact", status(500), times=99)]
    found = traces_of(proxy.uri, seeded.made.experiment)[answer]
    assert "its spans cannot be read" in (found.error or "")
    assert found.facets["tags"]["team"] == "growth"


def test_traces_without_a_file(seeded: Seeded) -> None:
    """One that is in progress has no spans yet; one that has ended and has none is an error."""
    seed = Seeder(seeded.server.uri)
    experiment = seed.experiment("no files")
    for state in ("IN_PROGRESS", "OK"):
        info = {
            "trace_id": f"tr-{state}",
            "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
            "request_time": "2023-11-14T22:13:20.123Z",
            "execution_duration": "1.5s",
            "state": state,
        }
        seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")
    found = traces_of(seeded.server.uri, experiment)
    assert found["tr-IN_PROGRESS"].error is None
    assert "its spans cannot be read" in (found["tr-OK"].error or "")
    assert found["tr-OK"].facets["times"] == {"request": EPOCH + 123, "duration": 1_500}


def test_objects_of_a_deleted_experiment(fresh_server: FreshServer) -> None:
    """Its logged models and traces are listed; its scorers the server does not give, which is no failure."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("deleted")
    made = seed_objects(server.uri, experiment)
    seed.delete_experiment(experiment)
    reader = opened(server.uri)
    found = [
        entity for page in reader.experiment_objects(experiment, ("logged_model", "trace", "scorer")) for entity in page
    ]
    assert {entity.entity_id for entity in found if entity.kind == "logged_model"} == set(made.models.values())
    assert {entity.entity_id for entity in found if entity.kind == "trace"} >= {made.traces["answer"]}
    assert not [entity for entity in found if entity.kind == "scorer"]
    assert all(entity.error is None for entity in found)
    with pytest.raises(ValueError, match="no objects of experiments"):
        list(reader.experiment_objects(experiment, ["webhook"]))
    reader.close()


def test_versions_that_come_while_pages_are_read(fresh_server: FreshServer) -> None:
    """New models move the pages behind them: each old version comes exactly once."""
    seed = Seeder(fresh_server().uri)
    for name in "bdfh":
        seed.call("POST", "registered-models/create", {"name": name})
        seed.call("POST", "model-versions/create", {"name": name, "source": "s3://bucket/model"})
    reader = opened(seed.uri, page=2)
    came: list[str] = []
    for page in reader.registry():
        came += [entity.entity_id for entity in page]
        if "b/1" in came and "a" not in came:
            seed.call("POST", "registered-models/create", {"name": "a"})
            seed.call("POST", "model-versions/create", {"name": "a", "source": "s3://bucket/model"})
            came.append("a")
    assert len(came) == len(set(came))
    assert {f"{name}/1" for name in "bdfh"} <= set(came)
    reader.close()


@pytest.mark.long
def test_many_traces_take_few_requests(fresh_server: FreshServer) -> None:
    """Pages of 500, batches of 60: 150 traces are one search and three batches; links take one a prompt version."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("many")
    seed_objects(server.uri, experiment, more_traces=147)
    reader = opened(server.uri)
    found = [trace for page in reader.experiment_objects(experiment, ["trace"]) for trace in page]
    assert len({trace.entity_id for trace in found}) == len(found) == 150
    assert all(trace.error is None and trace.facets["spans"] for trace in found)
    versions = [one for page in reader.registry() for one in page if one.kind == "prompt_version"]
    runs = [run for page in reader.runs(experiment) for run in page]
    # and one that asks whether the server can; links to runs take one a run
    searches = 1 + 1 + len(versions) + len(runs)
    assert (reader.session.counts["traces"], reader.session.counts["trace-batch"]) == (searches, 3)
    reader.close()


@pytest.fixture
def empty_app(sagemaker_app: StandIn) -> Iterator[StandIn]:
    """The App that all tests share, with nothing of theirs on it."""
    with emptied(sagemaker_app.server):
        yield sagemaker_app


def test_everything_by_arn(empty_app: StandIn) -> None:
    """Signed, through the gateway, files from S3: what REST wrote without a signature comes back by ARN."""
    client = empty_app.s3.client(empty_app.credentials, empty_app.location.region)

    def upload(root: str, path: str, content: bytes) -> None:
        bucket, _, key = root.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=content)

    uri = empty_app.server.uri
    seed = Seeder(uri)
    experiment = seed.experiment("objects by ARN")
    made = seed_objects(uri, experiment, prefix="arn-", upload=upload, environment=empty_app.environment())
    # a trace as clients write it to an App: its spans in a file in S3
    info: dict[str, Any] = {
        "trace_id": "tr-00000000000000000000000000000001",
        "trace_location": {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        "request_time": "2023-11-14T22:13:20Z",
        "state": "OK",
    }
    location = seed.call("POST", "traces", {"trace": {"trace_info": info}}, version="3.0")["trace"]["trace_info"][
        "tags"
    ]["mlflow.artifactLocation"]
    span: dict[str, Any] = {
        "trace_id": "AA==",
        "span_id": "AAAAAAAAAAE=",
        "parent_span_id": "",
        "name": "s",
        "attributes": {},
    }
    span |= {"start_time_unix_nano": 1, "end_time_unix_nano": 2, "status": {"code": "STATUS_CODE_OK"}, "events": []}
    upload(location, "traces.json", json.dumps({"spans": [span]}).encode())
    environ = empty_app.environment("SOURCE_")
    where = parse_arn(empty_app.arn, option="--source-arn", custom_endpoint=empty_app.gateway.endpoint)
    found = credentials(where, "source", environ)
    reader = ServerReader(Session(where, found, limits=QUICK), found)
    before = len(empty_app.gateway.recorded)
    entities = {(entity.kind, entity.entity_id): entity for entity in everything(reader, experiment)}
    assert {kind for kind, _ in entities} == {
        "registered_model", "model_version", "prompt", "prompt_version", "evaluation_dataset", "webhook",
        "logged_model", "trace", "scorer",
    }  # fmt: skip
    assert all(entity.error is None for entity in entities.values())
    [only] = entities["trace", info["trace_id"]].facets["spans"]
    assert (only["span_id"], only["name"], only["end_ns"]) == ("0000000000000001", "s", 2)
    assert len(entities["trace", made.traces["answer"]].facets["spans"]) == 3
    owners = [entity for (kind, _), entity in entities.items() if kind in ("logged_model", "model_version")]
    trees = {tree.run_id: tree for tree in reader.entity_files(owners, "digest")}
    assert len(trees) == 6
    assert all(tree.error is None and len(tree.files) == 3 for tree in trees.values())
    calls = empty_app.gateway.recorded[before:]
    assert {call.arn for call in calls} == {empty_app.arn}
    # what is probed may answer 400; nothing was refused
    assert {call.status for call in calls} <= {200, 400, 404}
    reader.close()
