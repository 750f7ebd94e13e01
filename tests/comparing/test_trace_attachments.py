"""Attachments of traces: images, audio and PDF that MLflow keeps as files beside the spans, which name them."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.audits import audit
from support.entities import Store
from support.migrations import migrate_py
from support.object_audit import Known, compare_stores, red
from support.opened import QUICK, opened
from support.seed import Seeder
from support.seed_traces import Upload, reference, span, trace
from support.servers import FreshServer, emptied, server_of

from mlflow_parity.core.locations import parse_arn
from mlflow_parity.core.records import ArtifactTree, Entity
from mlflow_parity.kinds.conventions import attachments
from mlflow_parity.migrating.write.objects.trace_content import spans_file
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport.auth import credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.standin.sagemaker import StandIn

PNG = b"\x89PNG\r\n" + bytes(range(256))
#: Two that are there, and one that is named and was never written.
FIRST, SECOND, NEVER = (str(uuid.UUID(int=number, version=4)) for number in (1, 2, 3))


def _seeded(seed: Seeder, experiment: str, upload: Upload | None = None) -> str:
    """Write a trace that names three attachments and has two, one of them empty but for a byte."""
    trace_id = f"tr-{uuid.uuid4().hex}"
    content = [{"type": "image_url", "image_url": {"url": reference(FIRST, trace_id, len(PNG))}}]
    inputs = {"messages": [{"role": "user", "content": content}], "sound": reference(SECOND, trace_id, 1, "audio/wav")}
    inputs["lost"] = reference(NEVER, trace_id, 9)
    files = {FIRST: PNG, SECOND: b"x"}
    return trace(seed, experiment, "describe", inputs=inputs, trace_id=trace_id, files=files, upload=upload)


@pytest.mark.long
def test_attachments_are_migrated_and_compared(fresh_server: FreshServer, tmp_path: Path) -> None:
    """They are on the target under the ids that its spans name; lost, altered and made up ones are named."""
    source, target = fresh_server(), fresh_server()
    seed, there = Seeder(source.uri), Seeder(target.uri)
    experiment = seed.experiment("vision")
    trace_id = _seeded(seed, experiment)
    trace(seed, experiment, "without")
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path / "m", "run", *ends, "--work-dir", "work")
    assert (done.status, "GREEN" in done.output) == (0, True), done.output
    # as UI and clients ask for one
    asked = there.http.get(
        f"{target.uri}/ajax-api/3.0/mlflow/get-trace-artifact",
        params={"request_id": trace_id, "path": FIRST}, timeout=60,
    )  # fmt: skip
    assert (asked.status_code, asked.content) == (200, PNG)
    [folder] = Path(target.artifacts_root).glob(f"*/traces/{trace_id}/artifacts/attachments")
    (folder / FIRST).write_bytes(PNG[:-1] + b"!")
    (folder / SECOND).unlink()
    (folder / NEVER).write_bytes(b"new")
    broken = audit(tmp_path / "a", source.uri, target.uri)
    assert broken.findings() == {
        ("attachments", FIRST, "mismatch", "describe"),
        ("attachments", SECOND, "missing", "describe"),
        ("attachments", NEVER, "extra", "describe"),
    }
    assert broken.failed() == {"test_trace_attachments"}


@pytest.mark.long
def test_repair_brings_them_back(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Lost, altered and made up ones are as at the source again, and so is a link to a run that was lost."""
    source, target = fresh_server(), fresh_server()
    seed = Seeder(source.uri)
    experiment = seed.experiment("vision")
    trace_id = _seeded(seed, experiment)
    run = seed.run(experiment, "evaluation")
    seed.call("POST", "traces/link-to-run", {"trace_ids": [trace_id], "run_id": run})
    seed.end(run)
    ends = ("--source-uri", source.uri, "--target-uri", target.uri)
    done = migrate_py(tmp_path, "run", *ends, "--work-dir", "work", "--no-verify")
    assert done.status == 0, done.output
    [folder] = Path(target.artifacts_root).glob(f"*/traces/{trace_id}/artifacts/attachments")
    (folder / FIRST).write_bytes(PNG[:-1] + b"!")
    (folder / SECOND).unlink()
    (folder / NEVER).write_bytes(b"new")
    with closing(sqlite3.connect(target.database_path, timeout=30)) as database, database:
        gone = database.execute("DELETE FROM entity_associations WHERE destination_type = 'run'").rowcount
    assert gone == 1
    assert audit(tmp_path / "a", source.uri, target.uri).status == 1
    report = str(tmp_path / "a" / "reports" / "report.json")
    done = migrate_py(tmp_path, "repair", *ends, "--work-dir", "work", "--report", report)
    assert done.status == 0, done.output
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == {FIRST: PNG, SECOND: b"x"}


@contextmanager
def _reading(place: str, fresh_server: FreshServer, app: StandIn, folder: Path) -> Iterator[tuple[ServerReader, str]]:
    """Give a reader of a server that keeps files in a place, and the trace that was written to it."""
    if place in ("newest", "3.10.1"):
        server = fresh_server(place)
        reader = opened(server.uri)
        seed = Seeder(server.uri)
        yield reader, _seeded(seed, seed.experiment("vision"))
        reader.close()
        return
    if place.startswith("local"):

        def write(location: str, path: str, content: bytes) -> None:
            file = Path(location.removeprefix("file://"), path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

        version = place.partition(" ")[2] or "newest"
        with server_of(version, folder / "server", artifacts=str(folder / "elsewhere")) as running:
            reader = opened(running.uri)
            seed = Seeder(running.uri)
            yield reader, _seeded(seed, seed.experiment("vision"), write)
            reader.close()
        return
    client = app.s3.client(app.credentials, app.location.region)

    def upload(location: str, path: str, content: bytes) -> None:
        bucket, _, key = location.removeprefix("s3://").partition("/")
        client.put_object(Bucket=bucket, Key=f"{key}/{path}", Body=content)

    with emptied(app.server):
        seed = Seeder(app.server.uri)
        trace_id = _seeded(seed, seed.experiment("vision"), upload)
        if place == "S3":
            reader = opened(app.server.uri)
        else:
            where = parse_arn(app.arn, option="--source-arn", custom_endpoint=app.gateway.endpoint)
            found = credentials(where, "source", app.environment("SOURCE_"))
            reader = ServerReader(Session(where, found, limits=QUICK), found)
        yield reader, trace_id
        reader.close()


def _read(reader: ServerReader, trace_id: str) -> tuple[Entity, ArtifactTree]:
    for experiment in reader.experiments():
        for batch in reader.experiment_objects(experiment.experiment_id, ["trace"]):
            for found in batch:
                if found.entity_id == trace_id:
                    [tree] = reader.entity_files([found], "digest")
                    return found, tree
    raise AssertionError("the trace is not there")


@pytest.mark.long
@pytest.mark.parametrize("place", ["newest", "3.10.1", "local", "S3", "App"])
def test_they_are_read_wherever_they_are(
    fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path, place: str
) -> None:
    """Behind the proxy, on the server's own disk and in S3, by the server or by the App's own credentials."""
    with _reading(place, fresh_server, sagemaker_app, tmp_path) as (reader, trace_id):
        found, tree = _read(reader, trace_id)
    assert (found.error, tree.error) == (None, None)
    read = {one.path: (one.size, one.sha256) for one in tree.files if one.error is None}
    wanted = {FIRST: PNG, SECOND: b"x"}
    assert read == {one: (len(content), hashlib.sha256(content).hexdigest()) for one, content in wanted.items()}
    # one that was never written is not there; a server that keeps files in S3 cannot tell that from a failure
    assert [one.path for one in tree.files if one.error is not None] == ([NEVER] if place == "S3" else [])


@pytest.mark.long
def test_a_server_that_sends_spans_for_them_is_not_believed(
    fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path
) -> None:
    """3.10 answers with the spans whichever file it is asked for: what cannot be listed there is not known."""
    with _reading("local 3.10.1", fresh_server, sagemaker_app, tmp_path) as (reader, trace_id):
        found, tree = _read(reader, trace_id)
    assert found.error is None
    assert tree.files == ()
    assert tree.error is not None
    assert "sends no attachments" in tree.error
    copy = Store([found], {trace_id: tree})
    outcomes = compare_stores(copy, copy, Known({}, {found.container: found.container}))
    assert red(outcomes) == {("trace", "attachments", "unverified")}


@pytest.mark.long
def test_they_are_migrated_to_an_app(fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path) -> None:
    """From a proxied server to S3: green, byte by byte."""
    source = fresh_server()
    seed = Seeder(source.uri)
    trace_id = _seeded(seed, seed.experiment("vision"))
    with emptied(sagemaker_app.server):
        command = ["run", "--source-uri", source.uri, "--target-arn", sagemaker_app.arn, "--work-dir", "work"]
        done = migrate_py(tmp_path, *command, env=sagemaker_app.environment())
        assert (done.status, "GREEN" in done.output) == (0, True), done.output
        where = parse_arn(sagemaker_app.arn, option="--x", custom_endpoint=sagemaker_app.gateway.endpoint)
        found = credentials(where, "target", sagemaker_app.environment("TARGET_"))
        reader = ServerReader(Session(where, found, limits=QUICK), found)
        _, tree = _read(reader, trace_id)
        reader.close()
    assert {one.path for one in tree.files} == {FIRST, SECOND}


def _trace(trace_id: str, names: str, identity: str = FIRST) -> Entity:
    inputs = {"image": [f"see {reference(identity, names, 7)}, please"]}
    facets: dict[str, Any] = {
        "state": "OK", "times": {"request": 5, "duration": 1}, "client_request_id": None, "run_links": [], "tags": {},
        "previews": {"request": "", "response": ""}, "metadata": {}, "run": None, "logged_model": None, "prompts": [],
        "spans": [span("call", inputs, span_id="a" * 16)], "assessments": [],
    }  # fmt: skip
    return Entity("trace", trace_id, "call", "1", 5, facets)


@pytest.mark.parametrize(
    ("names", "identity", "state"),
    [
        ("tr-new", FIRST, None),
        ("tr-old", FIRST, "mismatch"),
        ("tr-other", FIRST, "mismatch"),
        ("tr-new", SECOND, "mismatch"),
    ],
)
def test_a_reference_names_the_trace_s_copy(names: str, identity: str, state: str | None) -> None:
    """By it clients ask for the file: the source's id, another trace's and another attachment are red."""
    outcomes = compare_stores(Store([_trace("tr-old", "tr-old")]), Store([_trace("tr-new", names, identity)]),
                              Known({}, {"1": "1"}))  # fmt: skip
    assert red(outcomes) == (set() if state is None else {("trace", "spans", state)})


def test_references_are_written_for_the_copy() -> None:
    """The spans that the migration writes name the trace under the id that it has on the target."""
    spans = _trace("tr-old", "tr-old").facets["spans"]
    [kept], [renamed] = (json.loads(spans_file(new, spans, "tr-old"))["spans"] for new in ("tr-old", "tr-new"))
    assert json.loads(kept["attributes"]["mlflow.spanInputs"]) == spans[0]["inputs"]
    told = json.loads(renamed["attributes"]["mlflow.spanInputs"])["image"][0]
    assert told == f"see {reference(FIRST, 'tr-new', 7)}, please"
    # what only looks like one is left
    for text in ("mlflow-attachment://x?trace_id=tr-old", f"mlflow-attachment://{FIRST}?my_trace_id=tr-old", "tr-old"):
        assert attachments.referring({"a": [text]}, lambda _: "tr-new") == {"a": [text]}
    assert attachments.named([f"mlflow-attachment://{FIRST}0?trace_id=t", "mlflow-attachment://x"]) == []
