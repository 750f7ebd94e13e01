"""The stand-in SageMaker: everything through the unmodified plugin works, everything not genuine is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path

import pytest
import requests
from support.signing import BODY, SEARCH, assert_refused, send_search, signed_search

from mlflow_parity.standin.sagemaker import StandIn
from mlflow_parity.standin.servers import clean_environment

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


@pytest.mark.long(but=("sagemaker_server",))
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


def test_genuine_request_is_let_through(sagemaker_app: StandIn) -> None:
    """The request that the following tests spoil is good when it is not spoilt."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app))
    assert answer.status_code == 200, answer.text
    assert answer.json()["experiments"]


def test_wrong_secret_is_refused(sagemaker_app: StandIn) -> None:
    """A signature made with another secret."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, secret="not-the-secret"))
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "does not match the signature")


def test_wrong_region_is_refused(sagemaker_app: StandIn) -> None:
    """A signature for another region than the ARN's."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, region="us-east-1"))
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "us-east-1")


@pytest.mark.parametrize(
    ("name", "service"), [("sagemaker_app", "sagemaker-mlflow"), ("sagemaker_server", "sagemaker")]
)
def test_wrong_service_is_refused(request: pytest.FixtureRequest, name: str, service: str) -> None:
    """A signature for the service of the other kind of ARN."""
    running = _app_or_server(request, name)
    answer = send_search(running, signed_search(running, service=service))
    assert_refused(running, answer, "InvalidSignatureException", f"{service!r}")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_date_far_away_is_refused(sagemaker_app: StandIn, minutes: int) -> None:
    """A genuine signature that is more than five minutes old, or from the future."""
    at = datetime.now(timezone.utc).replace(tzinfo=None) + timedelta(minutes=minutes)
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, at=at))
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "Signature expired")


def test_date_within_the_skew_is_let_through(sagemaker_app: StandIn) -> None:
    """A clock four minutes off is tolerated, as by AWS."""
    at = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(minutes=4)
    assert send_search(sagemaker_app, signed_search(sagemaker_app, at=at)).status_code == 200


def test_tampered_body_is_refused(sagemaker_app: StandIn) -> None:
    """Another body than the signed one, under the hash of the signed one."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app), body=BODY.replace(b"5", b"6"))
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "body does not match")


def test_tampered_body_and_hash_are_refused(sagemaker_app: StandIn) -> None:
    """Another body with its own right hash: the hash was signed too."""
    body = BODY.replace(b"5", b"6")
    headers = {**signed_search(sagemaker_app), "X-Amz-Content-SHA256": sha256(body).hexdigest()}
    answer = send_search(sagemaker_app, headers, body=body)
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "does not match the signature")


def test_missing_routing_header_is_refused(sagemaker_app: StandIn) -> None:
    """A signed request that names no App."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, routing=False))
    assert_refused(sagemaker_app, answer, "IncompleteSignatureException", "x-sm-mlflow-app-arn is missing")


def test_unsigned_routing_header_is_refused(sagemaker_app: StandIn) -> None:
    """A routing header put on after signing."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, unsigned_routing=True))
    assert_refused(sagemaker_app, answer, "InvalidSignatureException", "must be signed")


def test_wrong_arn_is_refused(sagemaker_app: StandIn) -> None:
    """A genuine request for another App: the real service would answer for that one."""
    other = sagemaker_app.arn.replace("STANDIN", "ANOTHER")
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, arn=other))
    assert_refused(sagemaker_app, answer, "AccessDeniedException", "names another resource")


def test_missing_token_is_refused(sagemaker_app: StandIn) -> None:
    """Temporary credentials without their session token."""
    answer = send_search(sagemaker_app, signed_search(sagemaker_app, token=False))
    assert_refused(sagemaker_app, answer, "UnrecognizedClientException", "security token")


def test_unsigned_request_is_refused(sagemaker_app: StandIn) -> None:
    """No signature at all, though the App is named."""
    answer = send_search(sagemaker_app, {"x-sm-mlflow-app-arn": sagemaker_app.arn})
    assert_refused(sagemaker_app, answer, "MissingAuthenticationTokenException", "Missing Authentication Token")


def test_credentials_of_the_other_server_are_refused(sagemaker_app: StandIn, sagemaker_server: StandIn) -> None:
    """Two stand-ins know only their own credentials."""
    mixed = replace(sagemaker_app, credentials=sagemaker_server.credentials)
    answer = send_search(sagemaker_app, signed_search(mixed))
    assert_refused(sagemaker_app, answer, "UnrecognizedClientException", "security token")


def test_body_of_unknown_length_is_refused(sagemaker_app: StandIn) -> None:
    """A chunked body cannot be verified before it is read: 411, and nothing is passed on."""
    before = len(sagemaker_app.gateway.recorded)
    url = sagemaker_app.gateway.endpoint + SEARCH
    answer = requests.post(url, data=iter([BODY]), headers=signed_search(sagemaker_app), timeout=30)
    assert answer.status_code == 411
    assert len(sagemaker_app.gateway.recorded) == before
