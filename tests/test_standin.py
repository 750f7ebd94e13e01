"""The stand-in SageMaker: everything through the unmodified plugin works, everything not genuine is refused."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import ClientError

from mlflow_parity.standin.gateway import Rules, gateway
from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment, free_port

_SEARCH = "/api/2.0/mlflow/experiments/search"
_BODY = b'{"max_results": 5}'

#: What a client does, with nothing but its tracking URI and the environment; prints what it saw as JSON.
_CLIENT = """
import json, os, tempfile, pathlib
import mlflow
from mlflow import MlflowClient

name = "größe " + os.environ["EXPERIMENT"]
mlflow.set_experiment(name)
with mlflow.start_run(run_name="through the plugin") as run:
    mlflow.log_params({"lr": "0.1", "name with space/ü": "a+b &=/ü"})
    for step in range(5):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "größe + 1.bin")
        file.write_bytes(bytes(range(256)) * 4096)
        mlflow.log_artifact(str(file), "nested/folder")
    class Model(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input: list[str]) -> list[str]:
            return model_input
    info = mlflow.pyfunc.log_model(name="model", python_model=Model(), pip_requirements=[])
client = MlflowClient()
history = client.get_metric_history(run.info.run_id, "loss")
listed = [file.path for file in client.list_artifacts(run.info.run_id, "nested/folder")]
back = pathlib.Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=listed[0]))
found = mlflow.search_runs(experiment_names=[name], output_format="list")
print("RESULT" + json.dumps({
    "artifact_uri": run.info.artifact_uri,
    "params": found[0].data.params,
    "history": [point.value for point in history],
    "listed": listed,
    "bytes": back.stat().st_size,
    "model": mlflow.pyfunc.load_model(info.model_uri).predict(["x"]),
}))
"""


def _app_or_server(request: pytest.FixtureRequest, name: str) -> StandIn:
    running = request.getfixturevalue(name)
    assert isinstance(running, StandIn)
    return running


@pytest.mark.parametrize("name", ["sagemaker_app", "sagemaker_server"])
def test_real_work_through_the_unmodified_plugin(request: pytest.FixtureRequest, tmp_path: Path, name: str) -> None:
    """Runs, histories, artifacts and log_model work by ARN; every request was signed and carried that ARN."""
    running = _app_or_server(request, name)
    before = len(running.gateway.recorded)
    extra = {**running.environment(), "MLFLOW_TRACKING_URI": running.arn, "EXPERIMENT": name}
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT],
        env=clean_environment(extra),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout.split("RESULT")[-1])
    assert seen["artifact_uri"].startswith("s3://")
    assert seen["params"] == {"lr": "0.1", "name with space/ü": "a+b &=/ü"}
    assert seen["history"] == [1 / (step + 1) for step in range(5)]
    assert seen["listed"] == ["nested/folder/größe + 1.bin"]
    assert seen["bytes"] == 256 * 4096
    assert seen["model"] == ["x"]
    calls = running.gateway.recorded[before:]
    assert len(calls) > 10
    assert {call.arn for call in calls} == {running.arn}
    assert not [call for call in calls if call.status in (401, 403, 411, 502)]


def _signed(
    running: StandIn,
    *,
    secret: str | None = None,
    region: str | None = None,
    service: str | None = None,
    arn: str | None = None,
    routing: bool = True,
    token: bool = True,
    unsigned_routing: bool = False,
    at: datetime | None = None,
) -> dict[str, str]:
    """Return the headers of a search that botocore signed, wrong in what the arguments say."""
    location, identity = running.location, running.credentials
    url = running.gateway.endpoint + _SEARCH
    headers = {"X-Amz-Content-SHA256": sha256(_BODY).hexdigest(), "Content-Type": "application/json"}
    if routing and not unsigned_routing:
        headers[location.routing_header] = arn or running.arn
    request = AWSRequest(method="POST", url=url, data=_BODY, headers=headers)
    boto = BotoCredentials(identity.access_key, secret or identity.secret_key, identity.token if token else None)
    signer = SigV4Auth(boto, service or location.service, region or location.region)
    with pytest.MonkeyPatch.context() as patch:
        if at is not None:
            patch.setattr("botocore.auth.get_current_datetime", lambda: at)
        signer.add_auth(request)
    signed = {name: str(value) for name, value in request.headers.items()}
    return {**signed, location.routing_header: running.arn} if unsigned_routing else signed


def _send(running: StandIn, headers: dict[str, str], body: bytes = _BODY) -> requests.Response:
    return requests.post(running.gateway.endpoint + _SEARCH, data=body, headers=headers, timeout=30)


def _assert_refused(running: StandIn, answer: requests.Response, code: str, says: str) -> None:
    """Assert a 403 with AWS's name for the reason, recorded and not passed on."""
    assert answer.status_code == 403, answer.text
    assert answer.json()["__type"] == code
    assert answer.headers["x-amzn-ErrorType"] == code
    assert says in answer.json()["message"]
    assert running.gateway.recorded[-1].refusal.startswith(code)


def test_genuine_request_is_let_through(sagemaker_app: StandIn) -> None:
    """The request that the following tests spoil is good when it is not spoilt."""
    answer = _send(sagemaker_app, _signed(sagemaker_app))
    assert answer.status_code == 200, answer.text
    assert answer.json()["experiments"]


def test_wrong_secret_is_refused(sagemaker_app: StandIn) -> None:
    """A signature made with another secret."""
    answer = _send(sagemaker_app, _signed(sagemaker_app, secret="not-the-secret"))
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "does not match the signature")


def test_wrong_region_is_refused(sagemaker_app: StandIn) -> None:
    """A signature for another region than the ARN's."""
    answer = _send(sagemaker_app, _signed(sagemaker_app, region="us-east-1"))
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "us-east-1")


@pytest.mark.parametrize(
    ("name", "service"), [("sagemaker_app", "sagemaker-mlflow"), ("sagemaker_server", "sagemaker")]
)
def test_wrong_service_is_refused(request: pytest.FixtureRequest, name: str, service: str) -> None:
    """A signature for the service of the other kind of ARN."""
    running = _app_or_server(request, name)
    answer = _send(running, _signed(running, service=service))
    _assert_refused(running, answer, "InvalidSignatureException", f"{service!r}")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_date_far_away_is_refused(sagemaker_app: StandIn, minutes: int) -> None:
    """A genuine signature that is more than five minutes old, or from the future."""
    at = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=minutes)
    answer = _send(sagemaker_app, _signed(sagemaker_app, at=at))
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "Signature expired")


def test_date_within_the_skew_is_let_through(sagemaker_app: StandIn) -> None:
    """A clock four minutes off is tolerated, as by AWS."""
    at = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(minutes=4)
    assert _send(sagemaker_app, _signed(sagemaker_app, at=at)).status_code == 200


def test_tampered_body_is_refused(sagemaker_app: StandIn) -> None:
    """Another body than the signed one, under the hash of the signed one."""
    answer = _send(sagemaker_app, _signed(sagemaker_app), body=_BODY.replace(b"5", b"6"))
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "body does not match")


def test_tampered_body_and_hash_are_refused(sagemaker_app: StandIn) -> None:
    """Another body with its own right hash: the hash was signed too."""
    body = _BODY.replace(b"5", b"6")
    headers = {**_signed(sagemaker_app), "X-Amz-Content-SHA256": sha256(body).hexdigest()}
    answer = _send(sagemaker_app, headers, body=body)
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "does not match the signature")


def test_missing_routing_header_is_refused(sagemaker_app: StandIn) -> None:
    """A signed request that names no App."""
    answer = _send(sagemaker_app, _signed(sagemaker_app, routing=False))
    _assert_refused(sagemaker_app, answer, "IncompleteSignatureException", "x-sm-mlflow-app-arn is missing")


def test_unsigned_routing_header_is_refused(sagemaker_app: StandIn) -> None:
    """A routing header put on after signing."""
    answer = _send(sagemaker_app, _signed(sagemaker_app, unsigned_routing=True))
    _assert_refused(sagemaker_app, answer, "InvalidSignatureException", "must be signed")


def test_wrong_arn_is_refused(sagemaker_app: StandIn) -> None:
    """A genuine request for another App: the real service would answer for that one."""
    other = sagemaker_app.arn.replace("STANDIN", "ANOTHER")
    answer = _send(sagemaker_app, _signed(sagemaker_app, arn=other))
    _assert_refused(sagemaker_app, answer, "AccessDeniedException", "names another resource")


def test_missing_token_is_refused(sagemaker_app: StandIn) -> None:
    """Temporary credentials without their session token."""
    answer = _send(sagemaker_app, _signed(sagemaker_app, token=False))
    _assert_refused(sagemaker_app, answer, "UnrecognizedClientException", "security token")


def test_unsigned_request_is_refused(sagemaker_app: StandIn) -> None:
    """No signature at all, though the App is named."""
    answer = _send(sagemaker_app, {"x-sm-mlflow-app-arn": sagemaker_app.arn})
    _assert_refused(sagemaker_app, answer, "MissingAuthenticationTokenException", "Missing Authentication Token")


def test_credentials_of_the_other_server_are_refused(sagemaker_app: StandIn, sagemaker_server: StandIn) -> None:
    """Two stand-ins know only their own credentials."""
    mixed = replace(sagemaker_app, credentials=sagemaker_server.credentials)
    answer = _send(sagemaker_app, _signed(mixed))
    _assert_refused(sagemaker_app, answer, "UnrecognizedClientException", "security token")


def test_body_of_unknown_length_is_refused(sagemaker_app: StandIn) -> None:
    """A chunked body cannot be verified before it is read: 411, and nothing is passed on."""
    before = len(sagemaker_app.gateway.recorded)
    url = sagemaker_app.gateway.endpoint + _SEARCH
    answer = requests.post(url, data=iter([_BODY]), headers=_signed(sagemaker_app), timeout=30)
    assert answer.status_code == 411
    assert len(sagemaker_app.gateway.recorded) == before


def test_blocked_paths_policy_and_prefix(sagemaker_app: StandIn) -> None:
    """An App may lack endpoints, an identity may lack rights, an endpoint may have a path."""
    rules = Rules(
        sagemaker_app.location,
        sagemaker_app.credentials,
        blocked=("/ajax-api",),
        policy=lambda method, path: not path.endswith("/delete"),
        prefix="/some/where",
    )
    with gateway(sagemaker_app.server.uri, rules) as front:
        running = replace(sagemaker_app, gateway=front)

        def call(path: str) -> requests.Response:
            headers = _signed_for(running, "POST", front.endpoint + path, _BODY)
            return requests.post(front.endpoint + path, data=_BODY, headers=headers, timeout=30)

        assert front.endpoint.endswith("/some/where")
        assert call(_SEARCH).json()["experiments"]
        assert call("/ajax-api/2.0/mlflow/experiments/search").status_code == 404
        denied = call("/api/2.0/mlflow/runs/delete")
        assert (denied.status_code, denied.json()["message"]) == (403, "Request is not authorized")


def test_path_and_query_are_verified_as_sent(sagemaker_app: StandIn) -> None:
    """Escapes in path and query belong to what is signed; another query than the signed one is refused."""
    url = sagemaker_app.gateway.endpoint + "/api/2.0/mlflow/experiments/get-by-name?experiment_name=a%20b%26%C3%BC"
    headers = _signed_for(sagemaker_app, "GET", url, b"")
    answer = requests.get(url, headers=headers, timeout=30)
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "a b&ü" in answer.json()["message"]
    other = requests.get(url + "x", headers=headers, timeout=30)
    _assert_refused(sagemaker_app, other, "InvalidSignatureException", "does not match the signature")


def test_gone_tracking_server_is_an_error(sagemaker_app: StandIn) -> None:
    """A gateway whose tracking server is gone answers 502."""
    rules = Rules(sagemaker_app.location, sagemaker_app.credentials)
    with gateway(f"http://127.0.0.1:{free_port()}", rules) as front:
        running = replace(sagemaker_app, gateway=front)
        assert _send(running, _signed(running)).status_code == 502


def _signed_for(running: StandIn, method: str, url: str, body: bytes) -> dict[str, str]:
    headers = {
        "X-Amz-Content-SHA256": sha256(body).hexdigest(),
        running.location.routing_header: running.arn,
        "Content-Type": "application/json",
    }
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    identity = running.credentials
    boto = BotoCredentials(identity.access_key, identity.secret_key, identity.token)
    SigV4Auth(boto, running.location.service, running.location.region).add_auth(request)
    return {name: str(value) for name, value in request.headers.items()}


def test_control_plane_describes_app(sagemaker_app: StandIn, sagemaker_server: StandIn) -> None:
    """boto3 finds the App and its MLflow version; an unknown ARN and foreign credentials are refused."""
    ours = _boto3(sagemaker_app, sagemaker_app)
    described = ours.describe_mlflow_app(Arn=sagemaker_app.arn)
    assert described["MlflowVersion"] == sagemaker_app.server.version
    assert described["Status"] == "Created"
    assert [app["Arn"] for app in ours.list_mlflow_apps()["Summaries"]] == [sagemaker_app.arn]
    with pytest.raises(ClientError, match="does not exist"):
        ours.describe_mlflow_app(Arn=sagemaker_app.arn + "X")
    with pytest.raises(ClientError, match="security token"):
        _boto3(sagemaker_app, sagemaker_server).list_mlflow_apps()


def test_control_plane_describes_tracking_server(sagemaker_server: StandIn) -> None:
    """boto3 finds the managed tracking server by name."""
    name = sagemaker_server.arn.rsplit("/", 1)[-1]
    described = _boto3(sagemaker_server, sagemaker_server).describe_mlflow_tracking_server(TrackingServerName=name)
    assert described["TrackingServerArn"] == sagemaker_server.arn
    assert described["MlflowVersion"] == sagemaker_server.server.version


def _boto3(running: StandIn, identity: StandIn) -> Any:
    return boto3.client(
        "sagemaker",
        endpoint_url=running.control_endpoint,
        region_name=running.location.region,
        aws_access_key_id=identity.credentials.access_key,
        aws_secret_access_key=identity.credentials.secret_key,
        aws_session_token=identity.credentials.token,
    )


def test_command_runs_until_interrupted(tmp_path: Path) -> None:
    """``python -m mlflow_parity.standin`` prints an environment that works, and ends with everything it started."""
    command = [sys.executable, "-m", "mlflow_parity.standin", "--folder", str(tmp_path)]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        exported: dict[str, str] = {}
        for line in process.stdout:
            if line.startswith("export "):
                name, _, value = shlex.split(line)[1].partition("=")
                exported[name] = value
            if "Ctrl-C" in line:
                break
        program = "import mlflow; print(mlflow.MlflowClient().search_experiments()[0].artifact_location)"
        env = clean_environment(exported)
        done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert done.stdout.startswith("s3://"), done.stderr[-2000:]
    with pytest.raises(requests.ConnectionError):
        requests.get(exported["SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT"], timeout=5)
