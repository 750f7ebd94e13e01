"""Links into the MLflow UI of both sides: the UI's own routes, of http(s) servers alone, never with a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote

import boto3
import mlflow
import pytest
from botocore import xform_name
from support.browser import Page as Parsed
from support.browser import assert_inert, visited
from support.report_samples import HOSTILE, report, side
from support.seed import Seeder
from support.seed_traces import trace
from support.servers import FreshServer

from mlflow_parity.core.verdict import Finding, Row, State
from mlflow_parity.reporting.ledger import LedgerWriter
from mlflow_parity.reporting.page.html_report import render
from mlflow_parity.reporting.page.ui_links import Ids, Pages, experiment_ids, how_reached
from mlflow_parity.reporting.report import Report

_PROMPT = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
_IDS: Ids = {"churn": {"source": "7", "target": "9"}}
_OBJECTS = {
    "experiment": ("7", "/experiments/:experimentId"),
    "run": ("a1" * 16, "/runs/:runUuid"),
    "logged_model": ("m-1", "/experiments/:experimentId/models/:loggedModelId"),
    "trace": ("tr-1", "/experiments/:experimentId/traces"),
    "registered_model": ("a b/ü#?", "/models/:modelName"),
    "model_version": ("a b/ü#?/3", "/models/:modelName/versions/:version"),
    "prompt": ("ask & tell", "/prompts/:promptName"),
    "prompt_version": ("ask & tell/2", "/prompts/:promptName"),
}


def finding(kind: str, source: str | None, target: str | None = None) -> Finding:
    """Return a finding about an object."""
    return Finding("churn", kind, "x", source, target, "tags", "k", State.MISMATCH, "r", "1", "2")


def between(source: str, target: str = "http://127.0.0.1:5000", version: str = "3.17.2") -> Report:
    """Return a report of two servers."""
    return report(
        sides={
            "source": side(location=source, server_version=version),
            "target": side(location=target, server_version=version),
        }
    )


@lru_cache
def routes() -> frozenset[str]:
    """Return what the UI of the installed MLflow calls its pages."""
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    return frozenset(route for file in folder.glob("*.js") for route in _routes(file.read_text(encoding="utf-8")))


def _routes(script: str) -> Iterator[str]:
    yield from re.findall(r'"(/(?:runs|experiments|models|prompts)[A-Za-z:/]*)"', script)


@pytest.mark.parametrize("kind", _OBJECTS)
def test_each_page_is_a_route_of_the_installed_ui(kind: str) -> None:
    """What is linked to is a page that the installed MLflow's own UI has, with the object's name in its place."""
    one, route = _OBJECTS[kind]
    assert route in routes()
    pages = dict(Pages(between("https://mlflow.example.com/ui"), _IDS).of(finding(kind, one, one)))
    assert set(pages) == {"source", "target"}
    href = pages["source"].href or ""
    assert href.startswith("https://mlflow.example.com/ui/#/")
    assert (pages["target"].href or "").startswith("http://127.0.0.1:5000/#/")
    path = href.partition("#")[2].partition("?")[0]
    assert re.fullmatch(re.sub(r":\w+", "[^/]+", route), path)
    last = unquote(path.split("/")[-1]) if kind != "trace" else unquote(href.partition("=")[2].partition("&")[0])
    assert last == {"model_version": "3", "prompt_version": "ask & tell"}.get(kind, one)


def test_each_side_has_the_ids_of_its_own() -> None:
    """A logged model's page is below its experiment, which has another id on either side."""
    pages = dict(Pages(between("http://a"), _IDS).of(finding("logged_model", "m-1", "m-2")))
    assert pages["source"].href == "http://a/#/experiments/7/models/m-1"
    assert pages["target"].href == "http://127.0.0.1:5000/#/experiments/9/models/m-2"
    assert dict(Pages(between("http://a"), {}).of(finding("logged_model", "m-1"))) == {}
    assert list(dict(Pages(between("http://a"), _IDS).of(finding("run", None, "r")))) == ["target"]
    assert [page.path for _, page in Pages(between("http://a"), _IDS).experiment("churn")] == [
        *("#/experiments/7", "#/experiments/9"),
    ]


def test_an_old_server_has_no_page_of_a_trace() -> None:
    """Before release 3 the UI has no page that a trace can be linked to."""
    assert Pages(between("http://a", version="2.22.5"), _IDS).of(finding("trace", "tr-1")) == ()
    assert Pages(between("http://a", version="3.4.0"), _IDS).of(finding("trace", "tr-1")) != ()


def test_a_workspace_is_part_of_the_address() -> None:
    """Where a workspace was compared, its pages are linked to."""
    pages = dict(Pages(between("https://a (workspace team-1)"), _IDS).of(finding("run", "r1")))
    assert pages["source"].href == "https://a/#/runs/r1?workspace=team-1"


@pytest.mark.parametrize(
    "location",
    [
        *("javascript:alert(1)", "javascript://a/%0aalert(1)", "data:text/html,x", "file:///etc/passwd", "ftp://a"),
        *(
            "https://user:secret@mlflow.example.com",
            "https://user@a",
            'https://a"onclick=x',
            "https://a/<b>",
            "http://",
        ),
        *(
            "https://a?x=1",
            "https://a#b",
            " https://a",
            "https://a\n",
            "HTTPS://a/\u202e",
            "//a",
            "sqlite:///x",
            *HOSTILE,
        ),
    ],
)
def test_whatever_else_a_location_is_becomes_no_link(location: str) -> None:
    """A hostile address, one with credentials and one that is none are never linked to."""
    made = between(location, location)
    assert Pages(made, _IDS).of(finding("run", "r1", "r1")) == ()
    page = Parsed(render(report(sides=made.sides, findings=(finding("run", "r1", "r1"),)), _IDS))
    assert_inert(page)
    assert all(link["href"].startswith("#") for link in page.links)


def test_ids_that_are_hostile_stay_in_their_place() -> None:
    """An id is a part of the address behind the hash, whatever it holds."""
    pages = Pages(between("http://a"), {text: {"source": text} for text in HOSTILE})
    for text in HOSTILE:
        for kind in _OBJECTS:
            for _, page in pages.of(Finding(text, kind, "x", text, None, "tags", "", State.MISSING, "r")):
                assert re.fullmatch(r"http://a/#/[A-Za-z0-9._~%/?=&-]+", page.href or ""), page
    assert_inert(Parsed(render(between("http://a"), _IDS)))


def test_a_snapshot_and_an_arn_are_not_linked_to() -> None:
    """Of a snapshot there is no page; of an ARN the path, and once the command that opens its UI."""
    arn = "arn:aws:sagemaker:eu-central-1:123456789012:mlflow-app/app-ABCDEFGHIJKL"
    sides = {"source": side(location="/data/snapshot", kind="snapshot"), "target": side(location=arn, kind="app")}
    made = report(sides=sides, findings=(finding("run", "r1", "r2"),))
    assert [(name, page.path, page.href) for name, page in Pages(made, _IDS).of(made.findings[0])] == [
        ("target", "#/runs/r2", None)
    ]
    page = Parsed(render(made, _IDS))
    assert page.words.count("aws sagemaker create-presigned-mlflow-app-url") == 1
    assert "target in MLflow: #/runs/r2" in page.words
    assert all(link["href"].startswith("#") for link in page.links)
    assert "presigned" not in render(between("http://a"))


@pytest.mark.parametrize(
    ("kind", "name"), [("app", "mlflow-app/app-ABCDEFGHIJKL"), ("tracking-server", "mlflow-tracking-server/team")]
)
def test_the_command_is_one_that_aws_has(kind: str, name: str) -> None:
    """The operation and its parameters are those of the installed botocore's model of SageMaker."""
    command = how_reached(side(location=f"arn:aws:sagemaker:us-east-1:123456789012:{name}", kind=kind))
    words = command.split()
    assert words[:2] == ["aws", "sagemaker"]
    model = boto3.client("sagemaker", region_name="us-east-1").meta.service_model
    operation = model.operation_model({xform_name(one, "-"): one for one in model.operation_names}[words[2]])
    given = {word.removeprefix("--") for word in words if word.startswith("--")} - {"region"}
    assert given == {xform_name(one, "-") for one in operation.input_shape.required_members}
    assert how_reached(side(location="https://a", kind="http")) == ""
    assert how_reached(side(location="arn:nonsense; rm -rf /", kind="app")) == ""


def test_ids_of_experiments_come_from_the_ledger(tmp_path: Path) -> None:
    """By name, each side's own; a name that two experiments of a side share names neither."""
    path = tmp_path / "ledger.parquet"
    with LedgerWriter(path) as ledger:
        for name, source, target in (("a", "1", "5"), ("gone", "2", None), ("twice", "3", "6"), ("twice", "3", "7")):
            ledger.add(Row(name, "experiment", name, source, target, "presence", State.MATCH))
            ledger.add(Row(name, "experiment", name, "no", "no", "tags", State.MATCH))
            ledger.add(Row(name, "run", name, "r", "r", "presence", State.MATCH))
    assert experiment_ids(path) == {
        "a": {"source": "1", "target": "5"},
        "gone": {"source": "2"},
        "twice": {"source": "3", "target": ""},
    }
    assert experiment_ids(None) == {}


@pytest.mark.long
def test_each_link_opens_the_object_s_page_on_a_live_ui(fresh_server: FreshServer, tmp_path: Path) -> None:
    """Chromium opens what the report links to, on a real server, and finds the object there by its name."""
    server = fresh_server()
    seed = Seeder(server.uri)
    experiment = seed.experiment("Links of a report")
    run = seed.run(experiment, "quiet-otter-77")
    seed.end(run)
    spans = trace(seed, experiment, "ask", run=run, inputs="what is the tallest mountain?")
    body = {"experiment_id": experiment, "name": "boosted-trees", "model_type": "m", "source_run_id": run}
    model = seed.call("POST", "logged-models", body)["model"]["info"]["model_id"]
    for name, tags in (("ranker of shop", []), ("greet warmly", _PROMPT)):
        seed.call("POST", "registered-models/create", {"name": name, "tags": tags})
        told: dict[str, object] = {"source": f"runs:/{run}/m", "run_id": run, "description": "first of its kind"}
        if tags:
            told = {"source": "dummy-source", "tags": [*tags, {"key": "mlflow.prompt.text", "value": "Say hello"}]}
        seed.call("POST", "model-versions/create", {"name": name, **told})
    found = {
        "experiment": (experiment, "Links of a report"),
        "run": (run, "quiet-otter-77"),
        "logged_model": (model, "boosted-trees"),
        "trace": (spans, "what is the tallest mountain?"),
        "registered_model": ("ranker of shop", "ranker of shop"),
        "model_version": ("ranker of shop/1", "first of its kind"),
        "prompt": ("greet warmly", "Say hello"),
        "prompt_version": ("greet warmly/1", "Say hello"),
    }
    pages = Pages(between(server.uri, server.uri), {"churn": {"source": experiment, "target": experiment}})
    shown = {}
    for kind, (identity, text) in found.items():
        [(_, page)] = pages.of(finding(kind, identity))
        assert page.href is not None
        shown[kind] = text in Parsed(visited(page.href, tmp_path, 20_000)).words
    assert shown == dict.fromkeys(found, True)
    # of one that is not there no page has the name
    [(_, page)] = pages.of(finding("run", "f" * 32))
    assert "quiet-otter-77" not in visited(page.href or "", tmp_path, 20_000)
