"""The control plane: what boto3's ``sagemaker`` client is told of Apps and managed tracking servers.

What there is lives in a :class:`~mlflow_parity.standin.plane.Plane`, in memory, so that a test sees what became of it
and can decide what goes wrong. Nothing behind it starts or stops: a stopped server's gateway goes on answering.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mlflow_parity.standin.http import Handler, serving_http
from mlflow_parity.standin.plane import MOVING, Held, Plane, Resource, Step
from mlflow_parity.standin.sigv4 import Credentials, Refused, Verifier

_TARGET = "SageMaker."
_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,255}")
_STORE = re.compile(r"(https|s3)://([^/]+)/?(.*)")
_ROLE = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
#: MLflow of Apps that are created here: there is no version to ask for.
NEW_APP_VERSION = "3.10.1"


class Fault(Exception):
    """An answer that is an error; ``code`` is the service's name for it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


@contextmanager
def control_plane(resource: Resource, credentials: Credentials, plane: Plane | None = None) -> Iterator[str]:
    """Run the control plane for the length of a ``with`` block; gives its endpoint URL.

    ``plane``: what it knows; without one, ``resource`` and nothing else.
    """
    required = ("host", "x-amz-date", "x-amz-target")
    verifier = Verifier(credentials, resource.location.region, "sagemaker", required)
    members = {"plane": plane or Plane.around(resource), "verifier": verifier}
    with serving_http(type("BoundControl", (_Control,), members)) as endpoint:
        yield endpoint


class _Control(Handler):
    """Answers the operations that it knows, refuses the rest by name."""

    plane: Plane
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
            try:
                found = self._answer(operation, json.loads(body.read() or b"{}"))
            except Fault as fault:
                self.answer_json(fault.status, {"__type": fault.code, "message": str(fault)})
                return
            self.answer_json(200, found)

    def _answer(self, operation: str, body: dict[str, Any]) -> dict[str, Any]:
        plane, answer = self.plane, _OPERATIONS.get(operation)
        with plane.lock:
            plane.calls.append((operation, body))
            if answer is None:
                raise Fault("UnknownOperationException", f"No operation {operation}")
            if operation in plane.denied:
                raise Fault("AccessDeniedException", f"User is not authorized to perform: sagemaker:{operation}")
            found = answer(plane, body)
            if operation in plane.lost:
                plane.lost.discard(operation)
                raise Fault("InternalFailure", "We encountered an internal error. Please try again.", 500)
            return found


def _checked(body: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        where = key[:1].lower() + key[1:]
        raise Fault(
            "ValidationException",
            f"1 validation error detected: Value '{value}' at '{where}' failed to satisfy constraint: Member must "
            f"satisfy regular expression pattern: {pattern.pattern}",
        )
    return value


def _create_app(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    name, store = _checked(body, "Name", _NAME), _checked(body, "ArtifactStoreUri", _STORE)
    role = _checked(body, "RoleArn", _ROLE)
    if role.split(":")[4] != plane.account:
        raise Fault("ValidationException", f"Cross-account pass role is not allowed for {role}.")
    fresh = f"arn:aws:sagemaker:{plane.region}:{plane.account}:mlflow-app/app-{secrets.token_hex(6).upper()}"
    arn = plane.next_arns.pop(0) if plane.next_arns else fresh
    held = Held(arn, name, store, role, NEW_APP_VERSION, time.time())
    held.registration = body.get("ModelRegistrationMode", "AutoModelRegistrationDisabled")
    held.tags = tuple((tag["Key"], tag["Value"]) for tag in body.get("Tags", ()))
    plane.apps[arn] = held
    plane.begin(held, "create")
    return {"Arn": arn}


def _app(plane: Plane, body: dict[str, Any]) -> Held:
    held = plane.apps.get(str(body.get("Arn")))
    if held is None:
        raise Fault("ResourceNotFound", "The resource does not exist.")
    return held


def _server(plane: Plane, body: dict[str, Any]) -> Held:
    held = plane.servers.get(str(body.get("TrackingServerName")))
    if held is None:
        raise Fault("ResourceNotFound", "The resource does not exist.")
    return held


def _describe_app(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    held = _app(plane, body)
    plane.look(held)
    return {
        **_app_summary(held),
        "ArtifactStoreUri": held.artifact_store,
        "RoleArn": held.role,
        "ModelRegistrationMode": held.registration,
    }


def _describe_server(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    held = _server(plane, body)
    plane.look(held)
    # the last look at one that is being deleted finds nothing
    _server(plane, body)
    return {**_server_summary(held), "ArtifactStoreUri": held.artifact_store, "RoleArn": held.role}


def _app_summary(held: Held) -> dict[str, Any]:
    return {
        "Arn": held.arn,
        "Name": held.name,
        "Status": held.status,
        "MlflowVersion": held.mlflow_version,
        "CreationTime": held.created,
        "LastModifiedTime": held.created,
    }


def _server_summary(held: Held) -> dict[str, Any]:
    return {
        "TrackingServerArn": held.arn,
        "TrackingServerName": held.name,
        "MlflowVersion": held.mlflow_version,
        "TrackingServerStatus": held.status,
        "IsActive": "Active" if held.status in ("Created", "Started") else "Inactive",
        "CreationTime": held.created,
        "LastModifiedTime": held.created,
    }


def _page(plane: Plane, body: dict[str, Any], key: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    try:
        start = int(body.get("NextToken") or 0)
    except ValueError:
        raise Fault("ValidationException", "Invalid pagination token") from None
    end = start + min(plane.page, int(body.get("MaxResults") or plane.page))
    return {key: rows[start:end], **({"NextToken": str(end)} if end < len(rows) else {})}


def _list_apps(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    return _page(plane, body, "Summaries", [_app_summary(held) for held in plane.apps.values()])


def _list_servers(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    return _page(plane, body, "TrackingServerSummaries", [_server_summary(held) for held in plane.servers.values()])


def _delete_app(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
    held = _app(plane, body)
    if held.status in MOVING or held.status == "Deleted":
        raise Fault("ConflictException", f"The MLflow App is in status {held.status}.")
    plane.begin(held, "delete")
    return {"Arn": held.arn}


def _change_server(step: Step, refused: frozenset[str]) -> _Operation:
    def change(plane: Plane, body: dict[str, Any]) -> dict[str, Any]:
        held = _server(plane, body)
        if held.status in refused:
            raise Fault("ConflictException", f"Cannot {step} a tracking server in status {held.status}.")
        plane.begin(held, step)
        return {"TrackingServerArn": held.arn}

    return change


_Operation = Callable[[Plane, dict[str, Any]], dict[str, Any]]
_OPERATIONS: Mapping[str, _Operation] = {
    "CreateMlflowApp": _create_app,
    "DescribeMlflowApp": _describe_app,
    "ListMlflowApps": _list_apps,
    "DeleteMlflowApp": _delete_app,
    "DescribeMlflowTrackingServer": _describe_server,
    "ListMlflowTrackingServers": _list_servers,
    "StartMlflowTrackingServer": _change_server("start", MOVING | {"Created", "Started"}),
    "StopMlflowTrackingServer": _change_server("stop", MOVING | {"Stopped", "CreateFailed"}),
    "DeleteMlflowTrackingServer": _change_server("delete", MOVING),
}
