"""The control plane: what boto3's ``sagemaker`` client is told of the stand-in's App or tracking server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mlflow_parity.locations import Location
from mlflow_parity.standin.http import Handler, serving_http
from mlflow_parity.standin.sigv4 import Credentials, Refused, Verifier

_TARGET = "SageMaker."


@dataclass(frozen=True, slots=True)
class Resource:
    """One App or tracking server as the control plane knows it; ``created`` in seconds since the epoch."""

    location: Location
    artifact_store: str
    mlflow_version: str
    created: float

    @property
    def name(self) -> str:
        """Last part of the ARN."""
        return self.location.uri.rsplit("/", 1)[-1]


@contextmanager
def control_plane(resource: Resource, credentials: Credentials) -> Iterator[str]:
    """Run the control plane for the length of a ``with`` block; gives its endpoint URL."""
    required = ("host", "x-amz-date", "x-amz-target")
    verifier = Verifier(credentials, resource.location.region, "sagemaker", required)
    members = {"resource": resource, "verifier": verifier}
    with serving_http(type("BoundControl", (_Control,), members)) as endpoint:
        yield endpoint


class _Control(Handler):
    """Answers the operations that it knows, refuses the rest by name."""

    resource: Resource
    verifier: Verifier

    def do_POST(self) -> None:
        """Answer one operation of the JSON protocol."""
        with self.received() as (request, body):
            try:
                self.verifier.verify(request)
            except Refused as refusal:
                self.answer_json(403, {"__type": refusal.code, "message": str(refusal)})
                return
            operation = request.header("x-amz-target").removeprefix(_TARGET)
            answer = _OPERATIONS.get((self.resource.location.kind, operation))
            if answer is None:
                self.answer_json(400, {"__type": "UnknownOperationException", "message": f"No operation {operation}"})
                return
            found = answer(self.resource, json.loads(body.read() or b"{}"))
            if found is None:
                self.answer_json(400, {"__type": "ResourceNotFound", "message": "The resource does not exist."})
                return
            self.answer_json(200, found)


def _describe_app(resource: Resource, body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("Arn") != resource.location.uri:
        return None
    return {
        **_app(resource),
        "ArtifactStoreUri": resource.artifact_store,
        "RoleArn": f"arn:aws:iam::{resource.location.uri.split(':')[4]}:role/stand-in",
        "ModelRegistrationMode": "AutoModelRegistrationDisabled",
    }


def _list_apps(resource: Resource, body: dict[str, Any]) -> dict[str, Any]:
    return {"Summaries": [_app(resource)]}


def _app(resource: Resource) -> dict[str, Any]:
    return {
        "Arn": resource.location.uri,
        "Name": resource.name,
        "Status": "Created",
        "MlflowVersion": resource.mlflow_version,
        "CreationTime": resource.created,
        "LastModifiedTime": resource.created,
    }


def _describe_server(resource: Resource, body: dict[str, Any]) -> dict[str, Any] | None:
    if body.get("TrackingServerName") != resource.name:
        return None
    return {
        "TrackingServerArn": resource.location.uri,
        "TrackingServerName": resource.name,
        "ArtifactStoreUri": resource.artifact_store,
        "MlflowVersion": resource.mlflow_version,
        "TrackingServerStatus": "Created",
        "IsActive": "Active",
        "CreationTime": resource.created,
    }


_Operation = Callable[[Resource, dict[str, Any]], "dict[str, Any] | None"]
_OPERATIONS: dict[tuple[str, str], _Operation] = {
    ("app", "DescribeMlflowApp"): _describe_app,
    ("app", "ListMlflowApps"): _list_apps,
    ("tracking-server", "DescribeMlflowTrackingServer"): _describe_server,
}
