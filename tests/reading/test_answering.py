"""The report says what really answered: another endpoint than the ARN's own, an S3 of one's own, TLS not verified."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate
from support import certificates
from support.audits import audit
from support.proxy import proxying
from support.seed import Seeder
from support.servers import FreshServer, emptied

from mlflow_parity.audit.model_loading import environment
from mlflow_parity.cli import main
from mlflow_parity.core.locations import Location, parse_arn, parse_location
from mlflow_parity.reading.transport.answering import Answering, answering, shared_credentials
from mlflow_parity.reading.transport.auth import Aws
from mlflow_parity.reporting.json_report import schema
from mlflow_parity.snapshot.origin import Origin
from mlflow_parity.snapshot.store import Snapshot
from mlflow_parity.standin.sagemaker import APP_ARN, SERVER_ARN, StandIn

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secretsecret"}


def _http(uri: str) -> Location:
    return parse_location(uri, option="uri")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A key and a certificate for loopback, signed by nobody else."""
    return str(certificates.certificate(tmp_path_factory.mktemp("tls")))


def test_every_report_says_what_answered(
    fresh_server: FreshServer, sagemaker_app: StandIn, tmp_path: Path, certificate: str
) -> None:
    """A server without a certificate anybody signed, and a local gateway for an App: terminal, JSON, HTML, command."""
    source = fresh_server()
    seed = Seeder(source.uri)
    seed.end(seed.run(seed.experiment("shop"), "one"))
    with emptied(sagemaker_app.server), proxying(source.uri, certificate=certificate) as proxy:
        # unprefixed keys go to the source's S3 as well
        env = {
            **sagemaker_app.environment(),
            "SOURCE_MLFLOW_TRACKING_INSECURE_TLS": "TRUE",
            "SOURCE_MLFLOW_S3_ENDPOINT_URL": "https://user:hunter22@minio.example",
            "MLFLOW_S3_IGNORE_TLS": "Yes",
        }
        found = audit(tmp_path, proxy.uri, sagemaker_app.arn, "-k", "runs_arrived_once", env=env)
    assert found.status == 1, found.output
    report = found.report
    validate(report, schema())
    assert report["sides"]["source"]["tls_not_verified"] == ["server", "S3"]
    assert report["sides"]["source"]["s3_endpoint"] == "https://minio.example"
    target = report["sides"]["target"]
    assert (target["endpoint"], target["tls_not_verified"]) == (sagemaker_app.gateway.endpoint, ["server"])
    html = (found.reports / "report.html").read_text(encoding="utf-8")
    head = html.partition("<main>")[0]
    for words in (
        "S3 at https://minio.example; TLS not verified (server, S3)",
        f"answered by {sagemaker_app.gateway.endpoint}, which is not the ARN",
    ):
        assert words in found.output
        # in the first lines, and above the verdict's line again
        assert any(words in line for line in found.output.splitlines()[:12] if line.startswith("mlflow-parity: "))
        assert words in head
    command = shlex.join(report["command"])
    assert f"TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT={sagemaker_app.gateway.endpoint}" in command
    assert "SOURCE_MLFLOW_TRACKING_INSECURE_TLS=true" in command
    assert "SOURCE_MLFLOW_S3_IGNORE_TLS=true" in command
    assert "hunter22" not in json.dumps(report) + html + found.output
    [note] = [line for line in report["notes"] if "without SOURCE_ or TARGET_" in line]
    assert note.startswith(
        "AWS_ACCESS_KEY_ID without SOURCE_ or TARGET_ in front: sent to both sides, minio.example (s"
    )


def test_a_report_without_a_verdict_says_so_too(tmp_path: Path) -> None:
    """From its first moment, and where nothing came of it."""
    env = {**KEYS, "TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": "http://127.0.0.1:9", "AWS_EC2_METADATA_DISABLED": "true"}
    found = audit(tmp_path, "http://127.0.0.1:9", APP_ARN, env=env)
    assert (found.status, found.report["verdict"]) == (4, "none")
    assert found.report["sides"]["target"]["endpoint"] == "http://127.0.0.1:9"
    html = (found.reports / "report.html").read_text(encoding="utf-8")
    assert "answered by http://127.0.0.1:9, which is not the ARN" in html


@pytest.mark.long
def test_a_snapshot_keeps_who_answered(sagemaker_app: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands for the App later, in an environment that tells nothing of it."""
    for name, value in sagemaker_app.environment("SOURCE_").items():
        monkeypatch.setenv(name, value)
    with emptied(sagemaker_app.server):
        seed = Seeder(sagemaker_app.server.uri)
        seed.end(seed.run(seed.experiment("shop"), "one"))
        assert main(["snapshot", "--source-arn", sagemaker_app.arn, "--to", str(tmp_path)]) == 0
        folder = str(tmp_path / "source")
        found = audit(tmp_path / "audit", folder, sagemaker_app.server.uri, "--parity-profile", "same-store")
    side = found.report["sides"]["source"]
    assert (found.status, side["kind"], side["endpoint"]) == (0, "snapshot", sagemaker_app.gateway.endpoint), (
        found.output
    )
    assert f"answered by {sagemaker_app.gateway.endpoint}" in found.output


def test_a_snapshot_is_not_gone_on_with_by_another(tmp_path: Path) -> None:
    """What an endpoint of one's own gave, before a kill, is read again of the ARN's own; else it is taken over."""
    origin = Origin(APP_ARN, "app", "3.10.1", {})
    for now, stays in ((origin, True), (replace(origin, tls_not_verified=("S3",)), False)):
        Snapshot.create(tmp_path / "source", origin, [])
        part = tmp_path / "source" / "server" / "registry.json"
        part.parent.mkdir(exist_ok=True)
        part.write_text("{}")
        Snapshot.create(tmp_path / "source", now, [])
        assert part.exists() == stays


APP = "https://mlflow.sagemaker.eu-central-1.app.aws"
CASES: dict[str, tuple[str, str, Mapping[str, str], Answering]] = {
    "own": (APP_ARN, "", {}, Answering()),
    "own by another spelling": (APP_ARN, APP.upper().replace("HTTPS", "https") + ":443/", {}, Answering()),
    "own without TLS": (APP_ARN, APP.replace("https", "http"), {}, Answering(
        APP.replace("https", "http"), "", ("server",),
        (f"TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT={APP.replace('https', 'http')}",))),
    "VPC": (APP_ARN, "https://vpce-1.example", {}, Answering(
        "https://vpce-1.example", variables=("TARGET_SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT=https://vpce-1.example",))),
    "managed": (SERVER_ARN, "https://eu-west-1.experiments.sagemaker.aws", {}, Answering()),
    # the session verifies an ARN's certificate whatever this variable says
    "ARN verifies": (APP_ARN, "", {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, Answering()),
    "not the ARN's S3": (APP_ARN, "", {"MLFLOW_S3_IGNORE_TLS": "1", "MLFLOW_S3_ENDPOINT_URL": "http://m"}, Answering()),
    "S3 of this side": (APP_ARN, "", {"TARGET_MLFLOW_S3_IGNORE_TLS": "1"}, Answering(
        "", "", ("S3",), ("TARGET_MLFLOW_S3_IGNORE_TLS=true",))),
    "AWS's own variable": (APP_ARN, "", {"AWS_ENDPOINT_URL_S3": "https://s3.vpce"}, Answering(
        "", "https://s3.vpce", (), ("TARGET_MLFLOW_S3_ENDPOINT_URL=https://s3.vpce",))),
    "https": ("https://mlflow", "", {"MLFLOW_TRACKING_INSECURE_TLS": "True"}, Answering(
        "", "", ("server",), ("TARGET_MLFLOW_TRACKING_INSECURE_TLS=true",))),
    "https with a prefix": ("https://mlflow", "", {"TARGET_MLFLOW_TRACKING_INSECURE_TLS": "YES"}, Answering(
        "", "", ("server",), ("TARGET_MLFLOW_TRACKING_INSECURE_TLS=true",))),
    "of the other side": ("https://mlflow", "", {"SOURCE_MLFLOW_TRACKING_INSECURE_TLS": "1"}, Answering()),
    "no TLS at all": ("http://mlflow", "", {"MLFLOW_TRACKING_INSECURE_TLS": "1"}, Answering()),
    "not set": ("https://mlflow", "", {"MLFLOW_TRACKING_INSECURE_TLS": "false"}, Answering()),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_counts_as_another(case: str) -> None:
    """In any spelling, with the side's prefix or without; and nothing is said where AWS itself answers."""
    text, endpoint, environ, expected = CASES[case]
    assert (
        answering(parse_location(text, option="uri", custom_endpoint=endpoint or None), "target", environ) == expected
    )


def test_whom_the_variables_of_s3_are_for() -> None:
    """Without a prefix MLflow's reach a self-managed server's S3 and never the ARN's; with it they do."""

    def s3(environ: Mapping[str, str], *, arn: bool) -> Any:
        return Aws("target", {**KEYS, **environ}, "eu-central-1", arn=arn).s3

    plain = {"MLFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9", "MLFLOW_S3_IGNORE_TLS": "true"}
    mine = {f"TARGET_{name}": value for name, value in plain.items()}
    told = [(client.meta.endpoint_url, bool(client._endpoint.http_session._verify))
            for client in (s3(plain, arn=True), s3(mine, arn=True), s3(plain, arn=False))]  # fmt: skip
    assert told[0] == ("https://s3.eu-central-1.amazonaws.com", True)
    assert told[1] == told[2] == ("http://127.0.0.1:9", False)


def test_what_loads_a_model_gets_the_same() -> None:
    """The process that loads an App's models is a client of AWS's S3, unless the side's own variable says otherwise."""
    plain = {"MLFLOW_S3_ENDPOINT_URL": "http://m", "MLFLOW_S3_IGNORE_TLS": "true"}
    told = environment(parse_arn(APP_ARN), {**plain, "TARGET_MLFLOW_S3_ENDPOINT_URL": "http://t"}, aws=True)
    assert (told.get("MLFLOW_S3_ENDPOINT_URL"), told.get("MLFLOW_S3_IGNORE_TLS")) == ("http://t", None)
    assert environment(_http("http://new"), plain, aws=True).items() >= plain.items()


def test_credentials_for_two_hosts_are_named() -> None:
    """A login or key without a prefix that both sides get is named with the hosts; one that only one gets is not."""
    old, new, app = _http("http://old:5000"), _http("https://new"), parse_arn(APP_ARN)
    token = {"MLFLOW_TRACKING_TOKEN": "t"}
    [note] = shared_credentials(old, new, token)
    assert note.startswith("MLFLOW_TRACKING_TOKEN without SOURCE_ or TARGET_ in front: sent to both sides, old:5000 (s")
    login = {"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "p"}
    assert "MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_USERNAME" in shared_credentials(old, new, login)[0]
    assert "MLFLOW_TRACKING_PASSWORD without" in shared_credentials(
        old, new, {**login, "TARGET_MLFLOW_TRACKING_USERNAME": "bob"})[0]  # fmt: skip
    for nobody in ({}, {**token, "TARGET_MLFLOW_TRACKING_TOKEN": "u"}, {**login, "SOURCE_MLFLOW_TRACKING_TOKEN": "u"}):
        assert shared_credentials(old, new, nobody) == []
    assert shared_credentials(old, _http("http://old:5000/team"), token) == []
    assert shared_credentials(old, app, token) == []
    assert shared_credentials(_http("http://ada:p@old"), new, token) == []
    # two of AWS's own are one host as far as trust goes
    assert shared_credentials(parse_arn(SERVER_ARN), app, KEYS) == []
    assert "AWS (target)" in shared_credentials(old, app, {**KEYS, "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000"})[0]
    other = parse_arn(APP_ARN, custom_endpoint="https://vpce-1.example")
    assert "AWS (source) and AWS, vpce-1.example (target)" in shared_credentials(parse_arn(SERVER_ARN), other, KEYS)[0]
