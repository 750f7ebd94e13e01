"""Experiments, runs, capabilities and what is outside: everything once, on every version, while others write."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.proxy import Exchange, Fault, Proxy, page, proxying, status
from support.seed import EPOCH, KEY, LONG, UMLAUT, Seeder, seed_small
from support.servers import FreshServer, server_of

from mlflow_parity.core.errors import MalformedAnswer, RequestRefused, TransportError
from mlflow_parity.core.locations import parse_location
from mlflow_parity.core.records import Run
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.servers import Server

VERSIONS = ["newest", "server_2_16", "server_2_22", "server_3_4", "server_3_10"]
QUICK = Limits(first_wait=0.02, longest_wait=0.1)


def opened(uri: str, *, page_size: int = 1_000, limits: Limits = QUICK) -> ServerReader:
    """Return a reader of a server, with pages of a size of our own."""
    location = parse_location(uri, option="--source-uri")
    found = credentials(location, "source", {})
    return ServerReader(Session(location, found, limits=limits), found, page=page_size)


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Server:
    """Every version, one after another."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Server)
    return found


@pytest.fixture
def proxy(newest: Server) -> Iterator[Proxy]:
    """A proxy in front of the newest server."""
    with proxying(newest.uri) as running:
        yield running


def runs_of(reader: ServerReader, experiment: str) -> list[Run]:
    """Read all runs; each must come once."""
    runs = [run for found in reader.runs(experiment) for run in found]
    assert len({run.run_id for run in runs}) == len(runs)
    return runs


def test_every_field_is_read(server: Server) -> None:
    """Experiments and runs, deleted ones too, with all that hangs on them."""
    seeded = seed_small(server.uri, prefix="fields ", unicode_files=False)
    reader = opened(server.uri)
    assert reader.capabilities.version == server.version
    assert reader.capabilities.history_bulk
    assert reader.capabilities.artifact_proxy
    assert reader.capabilities.get_artifact
    assert reader.session.limiter.lowest == 8
    experiments = {experiment.experiment_id: experiment for experiment in reader.experiments()}
    assert set(seeded.experiments.values()) <= experiments.keys()
    main = experiments[seeded.experiments["main"]]
    assert main.name == "fields churn model"
    assert main.tags["mlflow.note.content"] == f"# Churn\n{UMLAUT}"
    assert main.tags[KEY] == "1"
    assert main.creation_time
    assert experiments[seeded.experiments["gone"]].lifecycle_stage == "deleted"
    ids = [int(key) for key in experiments]
    assert ids == sorted(ids)
    runs = {run.run_id: run for run in runs_of(reader, main.experiment_id)}
    assert runs.keys() == {run for name, run in seeded.runs.items() if name.startswith("sweep")}
    child, parent = runs[seeded.runs["sweep-1"]], runs[seeded.runs["sweep"]]
    assert (child.name, child.status, child.user_id) == ("sweep-1", "FINISHED", "ada")
    assert (child.start_time, child.end_time) == (EPOCH + 1_000, EPOCH + 1_500)
    assert child.params == {"lr": "0.11", "depth": "1", KEY: UMLAUT}
    assert child.tags["mlflow.parentRunId"] == parent.run_id
    assert child.metrics["loss"].step == 29
    assert {(one.name, one.digest, one.context) for one in child.inputs} == {
        ("customers", "d1", "training"),
        ("customers", "d1-eval", "validation"),
    }
    assert parent.params == {"long": LONG, "empty": ""}
    assert parent.metrics["unfinished"].step == 2**40
    others = {run.name: run for run in runs_of(reader, seeded.experiments["other"])}
    assert others["deleted"].lifecycle_stage == "deleted"
    assert others["running"].status == "RUNNING"
    assert others["running"].end_time is None
    # a run without anything: no params, tags of its own, metrics or inputs in the answer
    assert not others["running"].params
    assert not others["running"].metrics
    assert [run.name for run in runs_of(reader, seeded.experiments["gone"])] == ["in deleted experiment"]
    reader.close()


def test_runs_are_read_by_their_ids(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the list tells of them, deleted ones too; none for an id that is gone, odd or of another experiment."""
    monkeypatch.setattr("mlflow_parity.reading.runs._BY_ID", 2)
    seeded = seed_small(server.uri, prefix="by id ", unicode_files=False)
    reader = opened(server.uri)
    main, other = (seeded.experiments[name] for name in ("main", "other"))
    listed = {run.run_id: run for run in runs_of(reader, main)}
    elsewhere = [run.run_id for run in runs_of(reader, other)]
    gone = ["f" * 32, "no' OR run_id != '", "a/b"]
    for wanted in ([*listed, *elsewhere, *gone], sorted(listed)[:3], gone, []):
        found = [run for page in reader.runs_by_id(main, wanted) for run in page]
        assert {run.run_id: run for run in found} == {key: run for key, run in listed.items() if key in wanted}
        assert len(found) == len({run.run_id for run in found})
    deleted = next(run for run in runs_of(reader, other) if run.lifecycle_stage == "deleted")
    assert [run for page in reader.runs_by_id(other, [deleted.run_id]) for run in page] == [deleted]
    reader.close()


def test_a_run_that_a_search_by_ids_leaves_out_is_asked_for_alone(proxy: Proxy) -> None:
    """Else an answer that was cut would settle a suspect as gone, and its difference with it."""
    seeded = seed_small(proxy.uri, prefix="left out ", unicode_files=False)
    reader = opened(proxy.uri)
    main = seeded.experiments["main"]
    first, second, *_ = runs_of(reader, main)

    def without_one(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        runs = [run for run in json.loads(content)["runs"] if run["info"]["run_id"] != first.run_id]
        exchange.answer(code, headers, json.dumps({"runs": runs}).encode())

    proxy.faults.append(Fault("runs/search", without_one))
    found = {run.run_id: run for page in reader.runs_by_id(main, [first.run_id, second.run_id]) for run in page}
    assert found == {first.run_id: first, second.run_id: second}
    # a page that stands for the server's answer is none
    proxy.faults.append(Fault("runs/search", without_one))
    proxy.faults.append(Fault("runs/get", status(404)))
    with pytest.raises(RequestRefused):
        list(reader.runs_by_id(main, [first.run_id]))
    reader.close()


def test_a_server_that_answers_with_other_runs_than_were_named_is_not_believed(proxy: Proxy) -> None:
    """A server that does not know the filter would give all runs: no suspect is settled by another one's record."""
    seeded = seed_small(proxy.uri, prefix="other id ", unicode_files=False)
    reader = opened(proxy.uri)
    main = seeded.experiments["main"]
    first, second, *_ = runs_of(reader, main)

    def all_of_them(exchange: Exchange, code: int, headers: list[tuple[str, str]], content: bytes) -> None:
        runs = json.loads(content)["runs"]
        runs[0]["info"]["run_id"] = second.run_id
        exchange.answer(code, headers, json.dumps({"runs": runs}).encode())

    proxy.faults.append(Fault("runs/search", all_of_them))
    with pytest.raises(MalformedAnswer, match="got another one"):
        list(reader.runs_by_id(main, [first.run_id]))
    reader.close()


def test_writing_while_pages_are_read_loses_no_run(server: Server) -> None:
    """Pages go by offset. Soft deletion, restoring and new runs between them: each old run comes exactly once."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("paging")
    old = [seed.run(experiment, f"run {number}", start=EPOCH + 1_000 * number) for number in range(12)]
    reader = opened(server.uri, page_size=3)
    came: list[str] = []
    for number, found in enumerate(reader.runs(experiment)):
        came += [run.run_id for run in found]
        if number < 3:
            seed.delete_run(old[number])
            # a clock that is behind: the run comes before those that were read, and moves all that follow
            seed.run(experiment, f"late {number}", start=EPOCH - 1_000 - number)
            seed.run(experiment, f"new {number}", start=EPOCH + 10_000_000 + number)
    assert len(came) == len(set(came))
    assert set(old) <= set(came)
    now = {run.run_id for run in runs_of(opened(server.uri), experiment)}
    # what was written before the last pass began is there too, wherever it was put
    assert len(now) == 18
    assert set(came) == now
    reader.close()


def test_equal_start_times_do_not_shuffle_pages(server: Server) -> None:
    """Imported runs have one start time: the id decides, so that pages neither overlap nor leave gaps."""
    seed = Seeder(server.uri)
    experiment = seed.experiment("one time")
    runs = {seed.run(experiment, f"run {number}", start=EPOCH) for number in range(11)}
    reader = opened(server.uri, page_size=2)
    assert [run.run_id for run in runs_of(reader, experiment)] == sorted(runs)
    assert reader.session.counts["runs"] == 6
    reader.close()


def test_experiments_come_in_pages(server: Server) -> None:
    """More experiments than a page holds."""
    seed = Seeder(server.uri)
    made = {seed.experiment(f"in pages {number}") for number in range(7)}
    reader = opened(server.uri, page_size=2)
    found = [experiment.experiment_id for experiment in reader.experiments()]
    assert len(set(found)) == len(found)
    assert made <= set(found)
    assert "0" in found
    reader.close()


def _body(text: str) -> Fault:
    def spoil(exchange: Exchange, _: int, headers: list[tuple[str, str]], __: bytes) -> None:
        exchange.answer(200, headers, text.encode())

    return Fault("/search", spoil, times=99)


_RUN = '{"info": {"run_id": "a", "experiment_id": "%s", "status": "FINISHED"}, "data": {}}'


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (f'{{"runs": [{_RUN % 0}], "next_page_token": "x"}}', "repeats a page token"),
        ('{"runs": [], "next_page_token": "x"}', "empty page before the end"),
        (f'{{"runs": [{_RUN % 0}, {_RUN % 0}]}}', "moved"),
        (f'{{"runs": [{_RUN % 77}]}}', "got 77"),
        ('{"runs": {"a": 1}}', "not a list"),
        ('{"runs": [{"info": {}}]}', "cannot be read: KeyError"),
        ('{"runs": ["a"]}', "cannot be read"),
    ],
)
def test_lists_that_make_no_sense_are_errors(proxy: Proxy, body: str, says: str) -> None:
    """A list that cannot be whole must not pass for one."""
    reader = opened(proxy.uri)
    proxy.faults.append(_body(body))
    with pytest.raises(MalformedAnswer, match=says):
        list(reader.runs("0"))
    reader.close()


def test_numbers_may_be_texts(proxy: Proxy) -> None:
    """Protobuf's JSON writes 64-bit integers as texts, and doubles that JSON lacks as words."""
    info = '{"run_id": "a", "experiment_id": "0", "status": "FINISHED", "start_time": "1700000000001", "end_time": 2}'
    metric = '{"key": "m", "value": "NaN", "timestamp": "5", "step": "-9007199254740993"}'
    proxy.faults.append(_body(f'{{"runs": [{{"info": {info}, "data": {{"metrics": [{metric}]}}}}]}}'))
    reader = opened(proxy.uri)
    [run] = runs_of(reader, "0")
    assert (run.start_time, run.end_time) == (1700000000001, 2)
    assert (run.metrics["m"].timestamp, run.metrics["m"].step) == (5, -9007199254740993)
    assert run.metrics["m"].value != run.metrics["m"].value
    assert (run.name, run.user_id, run.artifact_uri, run.lifecycle_stage, run.inputs) == ("", "", "", "active", ())
    reader.close()


@pytest.mark.parametrize("version", ["2.16.2", "2.22.5", "newest"])
def test_prompts_and_models_that_clients_hide_are_counted(fresh_server: FreshServer, version: str) -> None:
    """Newer clients filter prompts out, which gives no model at all on 2.16; newer servers hide prompts themselves."""
    server = fresh_server(version)
    seed = Seeder(server.uri)
    for number in range(3):
        seed.call("POST", "registered-models/create", {"name": f"model {number}"})
    for number in range(2):
        seed.call("POST", "model-versions/create", {"name": f"model {number}", "source": "s3://a-bucket/x"})
    prompt = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    seed.call("POST", "registered-models/create", {"name": "a prompt", "tags": prompt})
    # the trap: what a client of 2.21 or later asks
    hiding: dict[str, str | int] = {"filter": "tags.`mlflow.prompt.is_prompt` != 'true'", "max_results": 100}
    naive = requests.get(f"{server.uri}/api/2.0/mlflow/registered-models/search", params=hiding, timeout=30).json()
    assert len(naive.get("registered_models", [])) == (0 if version == "2.16.2" else 3)
    reader = opened(server.uri)
    counts = reader.outside()
    # 2.16 knows no prompts, but the tag says what it is
    assert counts == {"registered models": 3, "prompts": 1}
    kinds = [entity.kind for batch in reader.registry() for entity in batch]
    assert sorted(kinds) == ["model_version"] * 2 + ["prompt"] + ["registered_model"] * 3
    reader.close()


def test_what_cannot_be_counted_is_not_none_at_all(proxy: Proxy) -> None:
    """A server that refuses a list may hold anything: unknown, never zero; and reading it is an error."""
    for path in ("registered-models", "/version"):
        proxy.faults.append(Fault(path, status(404, body=b"{}"), times=99))
    reader = opened(proxy.uri)
    assert reader.outside() == {"registered models": None, "prompts": None}
    assert reader.capabilities.version is None
    with pytest.raises(RequestRefused, match="404"):
        list(reader.registry())
    reader.close()


@pytest.mark.parametrize("version", ["newest", "2.16.2"])
def test_a_server_without_artifact_proxy_is_known_at_once(version: str, tmp_path: Path) -> None:
    """It answers 503 to the proxy's addresses, which is neither a failure to wait for nor a throttle."""
    with server_of(version, tmp_path / "server", artifacts=str(tmp_path / "elsewhere")) as running:
        reader = opened(running.uri, limits=Limits())
        began = time.monotonic()
        capabilities = reader.capabilities
        assert time.monotonic() - began < 5
        assert not capabilities.artifact_proxy
        assert capabilities.get_artifact
        assert capabilities.history_bulk
        assert reader.session.limiter.lowest == 8
        # and its artifacts, which only the server itself can reach, are read all the same
        seed = Seeder(running.uri)
        experiment = seed.experiment("unproxied")
        run = seed.run(experiment, "with a file")
        [found] = runs_of(reader, experiment)
        file = Path(found.artifact_uri.removeprefix("file://")) / "folder" / "größe 1.txt"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"content")
        [tree] = reader.artifacts([found], "digest")
        assert (tree.run_id, tree.error) == (run, None)
        assert [(one.path, one.size, one.error) for one in tree.files] == [("folder/größe 1.txt", 7, None)]
        assert tree.files[0].sha256
        assert reader.session.counts["artifacts"] == 2
        reader.close()


@pytest.mark.parametrize(
    "spoil", [status(404), status(405), status(403, body=b"{}"), page], ids=["404", "405", "403", "page"]
)
def test_an_endpoint_that_is_not_served_is_absent(proxy: Proxy, spoil: object) -> None:
    """Whatever stands in front of the server may say so in its own way."""
    assert callable(spoil)
    for path in ("/ajax-api", "/get-artifact", "/version"):
        proxy.faults.append(Fault(path, spoil, times=99))
    capabilities = opened(proxy.uri).capabilities
    assert (capabilities.version, capabilities.history_bulk, capabilities.get_artifact) == (None, False, False)
    assert capabilities.artifact_proxy


def test_a_failure_is_not_an_absence(proxy: Proxy) -> None:
    """A gateway that fails for a moment is asked again; one that keeps failing ends the audit."""
    proxy.faults.append(Fault("/ajax-api", status(503), times=2))
    assert opened(proxy.uri).capabilities.history_bulk
    proxy.faults.append(Fault("/ajax-api", status(503), times=99))
    with pytest.raises(TransportError, match="503"):
        _ = opened(proxy.uri).capabilities


def test_wrong_credentials_end_it_at_once(proxy: Proxy) -> None:
    """401 says nothing about what the server can do."""
    proxy.faults.append(Fault("", status(401), times=99))
    with pytest.raises(RequestRefused, match="401") as raised:
        opened(proxy.uri).experiments()
    assert raised.value.status == 401
    assert len(proxy.seen) == 1
