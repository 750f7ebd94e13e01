"""Credentials: each side its own, contradictions in one line, and two ARNs and a plain server in one process."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.utils import parse_timestamp
from support.proxy import Exchange, Fault, proxying, status
from support.seed import EPOCH, Seeder, seed_small

from mlflow_parity.core.errors import RequestRefused, TransportError, UsageProblem
from mlflow_parity.core.locations import Location, parse_arn, parse_location
from mlflow_parity.reading.server import ServerReader
from mlflow_parity.reading.transport import endpoints
from mlflow_parity.reading.transport.auth import Aws, SideName, credentials
from mlflow_parity.reading.transport.session import Session
from mlflow_parity.reading.transport.timed import Limits
from mlflow_parity.standin.sagemaker import APP_ARN, StandIn
from mlflow_parity.standin.servers import Server

HTTP = parse_location("http://127.0.0.1:5000", option="--source-uri")
TLS = "https://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": "HERE"}, "exclude each other"),
        ({"SOURCE_MLFLOW_TRACKING_SERVER_CERT_PATH": "/none"}, "no such file"),
        ({"MLFLOW_TRACKING_CLIENT_CERT_PATH": "/none"}, "no such file"),
        ({"MLFLOW_TRACKING_USERNAME": "ada"}, "PASSWORD is not set"),
        ({"SOURCE_MLFLOW_TRACKING_PASSWORD": "secret-word"}, "USERNAME is not set"),
        ({"MLFLOW_TRACKING_TOKEN": "secret-word\nX-Other: 1"}, "no header can carry"),
        ({"MLFLOW_TRACKING_TOKEN": "secret-wörd"}, "no header can carry"),
    ],
)
def test_contradictions_are_one_line(env: dict[str, str], says: str, tmp_path: Path) -> None:
    """What is wrong and with which variable; never its value."""
    here = tmp_path / "ca.pem"
    here.touch()
    with pytest.raises(UsageProblem, match=says) as raised:
        credentials(HTTP, "source", {name: value.replace("HERE", str(here)) for name, value in env.items()})
    assert "secret-w" not in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "MLFLOW_TRACKING_" in str(raised.value)


def test_tls_settings_of_each_side(tmp_path: Path) -> None:
    """The side's own variables win; the other side's mean nothing."""
    ca, client = tmp_path / "ca.pem", tmp_path / "client.pem"
    ca.touch()
    client.touch()
    env = {
        "SOURCE_MLFLOW_TRACKING_SERVER_CERT_PATH": str(ca),
        "TARGET_MLFLOW_TRACKING_INSECURE_TLS": "true",
        "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(client),
    }
    location = parse_location(TLS, option="--source-uri")
    source, target = credentials(location, "source", env).tls, credentials(location, "target", env).tls
    assert (source.verify, source.cert) == (str(ca), str(client))
    assert (target.verify, target.cert) == (False, str(client))
    assert credentials(location, "source", {}).tls.verify is True


_USER, _PASSWORD, _TOKEN = (f"MLFLOW_TRACKING_{word}" for word in ("USERNAME", "PASSWORD", "TOKEN"))


@pytest.mark.parametrize(
    ("env", "header"),
    [
        ({}, None),
        ({_TOKEN: "both", _USER: "a", _PASSWORD: "b"}, "Basic YTpi"),
        ({f"SOURCE_{_TOKEN}": "own", _USER: "a", _PASSWORD: "b"}, "Bearer own"),
        ({f"SOURCE_{_USER}": "c", _USER: "a", _PASSWORD: "b"}, "Basic Yzpi"),
        ({f"SOURCE_{_USER}": "a", f"SOURCE_{_PASSWORD}": "b", _TOKEN: "t"}, "Basic YTpi"),
    ],
)
def test_which_credentials_win(env: dict[str, str], header: str | None) -> None:
    """The side's own before those for both; a user with a password before a token."""
    request = requests.Request("GET", HTTP.endpoint).prepare()
    credentials(HTTP, "source", env).auth(request)
    assert request.headers.get("Authorization") == header


def test_an_arn_without_credentials_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing in the environment, no profile, no instance role; and a profile that is not there."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(UsageProblem, match=r"--target-arn: no AWS credentials found.*TARGET_") as raised:
        credentials(parse_arn(APP_ARN), "target", {})
    assert "\n" not in str(raised.value)
    with pytest.raises(UsageProblem, match="a-profile-of-nobody"):
        credentials(parse_arn(APP_ARN), "target", {"TARGET_AWS_PROFILE": "a-profile-of-nobody"})


QUICK = Limits(first_wait=0.02, longest_wait=2.0)


def by_arn(running: StandIn, side: SideName, env: Mapping[str, str], endpoint: str | None = None) -> ServerReader:
    """Return a reader of a stand-in; its credentials stand under the side's prefix."""
    location = parse_arn(running.arn, custom_endpoint=endpoint or running.gateway.endpoint)
    return reader_of(location, side, env)


def reader_of(location: Location, side: SideName, env: Mapping[str, str]) -> ServerReader:
    """Return a reader."""
    found = credentials(location, side, env)
    return ServerReader(Session(location, found, limits=QUICK), found)


def write(running: StandIn, experiment: str) -> tuple[str, str]:
    """Write an experiment with a run, a history and a file behind a stand-in's back; return both ids."""
    seed = Seeder(running.server.uri)
    made = seed.experiment(experiment)
    run = seed.run(made, experiment)
    seed.log(run, params={"a": "1"}, metrics=[("loss", step / 3, EPOCH + step, step) for step in range(10)])
    uri = str(seed.call("GET", "runs/get", {"run_id": run})["run"]["info"]["artifact_uri"])
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client = running.s3.client(running.credentials, running.location.region)
    client.put_object(Bucket=bucket, Key=f"{key}/folder/größe %41.txt", Body=experiment.encode())
    return made, run


def _registered(server: Server) -> int:
    with closing(sqlite3.connect(server.database_path)) as database:
        prompts = "SELECT name FROM registered_model_tags WHERE key = 'mlflow.prompt.is_prompt'"
        models = database.execute(f"SELECT count(*) FROM registered_models WHERE name NOT IN ({prompts})")
        return int(models.fetchone()[0])


def test_two_arns_and_a_plain_server_in_one_process(
    sagemaker_app: StandIn, sagemaker_server: StandIn, newest: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same time, whatever MLflow's own tracking URI says: each with its region, service, header and identity."""
    import mlflow

    before = mlflow.get_tracking_uri()
    env = {**sagemaker_app.environment("SOURCE_"), **sagemaker_server.environment("TARGET_")}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    plain = seed_small(newest.uri, prefix="beside ARNs ", unicode_files=False)
    marks = [len(running.gateway.recorded) for running in (sagemaker_app, sagemaker_server)]
    models = {running.location.kind: _registered(running.server) for running in (sagemaker_app, sagemaker_server)}
    app, managed = by_arn(sagemaker_app, "source", env), by_arn(sagemaker_server, "target", env)
    http = reader_of(parse_location(newest.uri, option="--source-uri"), "source", env)
    try:
        mlflow.set_tracking_uri(newest.uri)
        for reader, running in ((app, sagemaker_app), (managed, sagemaker_server)):
            name = f"by {running.location.kind}"
            experiment, run_id = write(running, name)
            # the three take turns, request by request
            assert plain.experiments["main"] in {found.experiment_id for found in http.experiments()}
            assert experiment in {found.experiment_id for found in reader.experiments()}
            [run] = [run for page in reader.runs(experiment) for run in page]
            assert (run.run_id, run.params) == (run_id, {"a": "1"})
            [[series]] = reader.histories([run])
            assert series.error is None
            assert series.values.tolist() == [step / 3 for step in range(10)]
            [tree] = reader.artifacts([run], "digest")
            assert tree.error is None
            [file] = tree.files
            assert (file.path, file.sha256) == ("folder/größe %41.txt", hashlib.sha256(name.encode()).hexdigest())
            assert reader.outside()["registered models"] == models[running.location.kind]
            assert not reader.capabilities.artifact_proxy
            assert not reader.capabilities.get_artifact
    finally:
        mlflow.set_tracking_uri(before)
    for running, mark, reader in zip((sagemaker_app, sagemaker_server), marks, (app, managed), strict=True):
        calls = running.gateway.recorded[mark:]
        assert len(calls) == reader.requests > 6
        assert {call.arn for call in calls} == {running.arn}
        assert {call.refusal for call in calls} == {""}
        reader.close()
    assert http.requests > 2
    http.close()


def test_the_other_sides_credentials_are_refused_in_one_line(sagemaker_app: StandIn, sagemaker_server: StandIn) -> None:
    """A mix-up is an error and shows no secret."""
    reader = by_arn(sagemaker_app, "source", sagemaker_server.environment("SOURCE_"))
    with pytest.raises(RequestRefused, match="403") as raised:
        reader.experiments()
    identity = sagemaker_server.credentials
    assert identity.secret_key not in str(raised.value)
    assert "\n" not in str(raised.value)
    reader.close()


def test_an_app_without_ajax_api_is_read_key_by_key(sagemaker_app: StandIn) -> None:
    """The bulk endpoint is not under the public API: where it is not served, each history is asked for by itself."""
    experiment, run_id = write(sagemaker_app, "without ajax")
    with proxying(sagemaker_app.gateway.endpoint) as proxy:
        for path in ("/ajax-api", "/version"):
            proxy.faults.append(Fault(path, status(404, body=b'{"__type": "ResourceNotFoundException"}'), times=99))
        reader = by_arn(sagemaker_app, "source", sagemaker_app.environment("SOURCE_"), proxy.uri)
        assert not reader.capabilities.history_bulk
        assert reader.capabilities.version is None
        [run] = [run for page in reader.runs(experiment) for run in page]
        [[series]] = reader.histories([run])
        assert (series.run_id, series.error, len(series.values)) == (run_id, None, 10)
        assert reader.session.counts["history"] == 1
        reader.close()


def test_each_try_is_signed_anew(sagemaker_app: StandIn) -> None:
    """A signature is good for five minutes; a retry with an old one would be refused after that."""
    with proxying(sagemaker_app.gateway.endpoint) as proxy:
        reader = by_arn(sagemaker_app, "source", sagemaker_app.environment("SOURCE_"), proxy.uri)
        proxy.faults.append(Fault("experiments/search", status(429, {"Retry-After": "1"}), times=2))
        reader.session.post(endpoints.EXPERIMENTS, {"max_results": 5})
        first, second, third = proxy.seen
        dates = {seen.headers["x-amz-date"] for seen in (first, second, third)}
        assert len(dates) == 3
        assert len({seen.headers["authorization"] for seen in (first, second, third)}) == 3
        assert {seen.headers["x-sm-mlflow-app-arn"] for seen in proxy.seen} == {sagemaker_app.arn}
        reader.close()


def test_an_assumed_role_that_cannot_be_had_is_one_line(
    sagemaker_app: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signing asks STS, which says no: an error of reading, not a traceback of boto3."""
    role = "arn:aws:iam::000000000000:role/nobody"
    with proxying(sagemaker_app.gateway.endpoint) as proxy:
        refusal = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>"
        proxy.faults.append(Fault("/", status(403, body=refusal), times=99))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", proxy.uri)
        env = {**sagemaker_app.environment("SOURCE_"), "SOURCE_SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN": role}
        reader = by_arn(sagemaker_app, "source", env)
        began = time.monotonic()
        with pytest.raises(TransportError, match=r"could not be signed.*AccessDenied") as raised:
            reader.experiments()
        assert time.monotonic() - began < 20
        assert "\n" not in str(raised.value)
        assert len(proxy.seen) == 1
        reader.close()


def test_credentials_of_a_profile_are_hidden_too(
    sagemaker_app: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No variable holds them: what is signed with is what a server may print back."""
    token = "IQoJb3JpZ2luX2VjPROFILETOKEN0123456789"
    file = tmp_path / "credentials"
    file.write_text(
        f"[lent]\naws_access_key_id = AKIALENT\naws_secret_access_key = {'k' * 40}\naws_session_token = {token}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with proxying(sagemaker_app.gateway.endpoint) as proxy:

        def echo(exchange: Exchange, _: int, __: list[tuple[str, str]], ___: bytes) -> None:
            given = exchange.headers["x-amz-security-token"]
            body = {"error_code": "PERMISSION_DENIED", "message": f"the token {given} is not valid here"}
            exchange.answer(403, [], json.dumps(body).encode())

        proxy.faults.append(Fault("/", echo, times=99))
        reader = by_arn(sagemaker_app, "source", {"SOURCE_AWS_PROFILE": "lent"}, proxy.uri)
        with pytest.raises(RequestRefused, match=r"the token \[redacted\] is not valid here"):
            reader.experiments()
        assert {seen.headers["x-amz-security-token"] for seen in proxy.seen} == {token}
        reader.close()


@pytest.mark.parametrize(
    "told",
    [
        "2026-11-29T03:04:05.123Z", "2026-11-29T03:04:05Z", "2026-02-30T03:04:05Z", "2026-11-29T03:04:60.000Z",
        "2026-11-29T03:04:05+02:00", "Wed, 02 Oct 2002 13:00:00 GMT", "1700000000", 1700000000, "no time", "",
    ],
)  # fmt: skip
def test_times_of_s3_are_boto3s(told: Any) -> None:
    """Without boto3's guessing a list of files takes half; what no S3 writes is boto3's to read, or to refuse."""
    factory = Aws("source", {}, "eu-west-1").session._session.get_component("response_parser_factory")
    ours = factory.create_parser("rest-xml")._timestamp_parser
    assert ours is not parse_timestamp
    try:
        wanted = parse_timestamp(told)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            ours(told)
    else:
        assert ours(told) == wanted
