"""The stand-in's other sides: what a gateway may lack, the control plane, and the command."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.exceptions import ClientError
from support.signing import BODY, SEARCH, assert_refused, send_search, sign, signed_search

from mlflow_parity.core.locations import parse_arn
from mlflow_parity.standin.control import control_plane
from mlflow_parity.standin.gateway import Rules, gateway
from mlflow_parity.standin.plane import Held, Plane, Resource
from mlflow_parity.standin.sagemaker import SERVER_ARN, StandIn, new_credentials
from mlflow_parity.standin.servers import clean_environment, free_port


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
            headers = sign(running, "POST", front.endpoint + path, BODY)
            return requests.post(front.endpoint + path, data=BODY, headers=headers, timeout=30)

        assert front.endpoint.endswith("/some/where")
        assert call(SEARCH).json()["experiments"]
        assert call("/ajax-api/2.0/mlflow/experiments/search").status_code == 404
        denied = call("/api/2.0/mlflow/runs/delete")
        assert (denied.status_code, denied.json()["message"]) == (403, "Request is not authorized")


def test_path_and_query_are_verified_as_sent(sagemaker_app: StandIn) -> None:
    """Escapes in path and query belong to what is signed; another query than the signed one is refused."""
    url = sagemaker_app.gateway.endpoint + "/api/2.0/mlflow/experiments/get-by-name?experiment_name=a%20b%26%C3%BC"
    headers = sign(sagemaker_app, "GET", url, b"")
    answer = requests.get(url, headers=headers, timeout=30)
    assert answer.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
    assert "a b&ü" in answer.json()["message"]
    other = requests.get(url + "x", headers=headers, timeout=30)
    assert_refused(sagemaker_app, other, "InvalidSignatureException", "does not match the signature")


def test_gone_tracking_server_is_an_error(sagemaker_app: StandIn) -> None:
    """A gateway whose tracking server is gone answers 502."""
    rules = Rules(sagemaker_app.location, sagemaker_app.credentials)
    with gateway(f"http://127.0.0.1:{free_port()}", rules) as front:
        running = replace(sagemaker_app, gateway=front)
        assert send_search(running, signed_search(running)).status_code == 502


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


def test_control_plane_moves_from_status_to_status() -> None:
    """What is on its way cannot be ordered about; a deleted App is described for a while; operations have names."""
    location = parse_arn(SERVER_ARN, option="arn")
    identity = new_credentials()
    plane = Plane.around(Resource(location, "s3://bucket", "3.0.0", 1.0))
    app = Held("arn:aws:sagemaker:eu-west-1:000000000000:mlflow-app/app-1", "app", "s3://bucket", "", "3.10.1", 1.0)
    plane.apps[app.arn] = app
    plane.describes = 1
    with control_plane(Resource(location, "s3://bucket", "3.0.0", 1.0), identity, plane) as endpoint:
        client = boto3.client(
            "sagemaker",
            endpoint_url=endpoint,
            region_name=location.region,
            aws_access_key_id=identity.access_key,
            aws_secret_access_key=identity.secret_key,
            aws_session_token=identity.token,
        )
        name = {"TrackingServerName": "stand-in"}

        def status() -> str:
            return str(client.describe_mlflow_tracking_server(**name)["TrackingServerStatus"])

        with pytest.raises(client.exceptions.ConflictException):
            client.start_mlflow_tracking_server(**name)
        client.stop_mlflow_tracking_server(**name)
        with pytest.raises(client.exceptions.ConflictException):
            client.delete_mlflow_tracking_server(**name)
        assert [status(), status()] == ["Stopping", "Stopped"]
        client.start_mlflow_tracking_server(**name)
        assert [status(), status()] == ["Starting", "Started"]
        client.delete_mlflow_app(Arn=app.arn)
        seen = [client.describe_mlflow_app(Arn=app.arn)["Status"] for _ in range(3)]
        assert seen == ["Deleting", "Deleted", "Deleted"]
        client.delete_mlflow_tracking_server(**name)
        assert status() == "Deleting"
        with pytest.raises(client.exceptions.ResourceNotFound):
            status()
        with pytest.raises(ClientError, match=r"UnknownOperationException.*No operation UpdateMlflowApp"):
            client.update_mlflow_app(Arn=app.arn)
        with pytest.raises(ClientError, match=r"ValidationException.*'roleArn' failed to satisfy constraint"):
            client.create_mlflow_app(Name="a", ArtifactStoreUri="s3://bucket", RoleArn="arn:aws:iam::0:role/x")


def _boto3(running: StandIn, identity: StandIn) -> Any:
    return boto3.client(
        "sagemaker",
        endpoint_url=running.control_endpoint,
        region_name=running.location.region,
        aws_access_key_id=identity.credentials.access_key,
        aws_secret_access_key=identity.credentials.secret_key,
        aws_session_token=identity.credentials.token,
    )


@pytest.mark.long
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
