"""The life cycle of MLflow Apps and managed tracking servers, through boto3's ``sagemaker`` client."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from mlflow_parity.core.errors import ReadError, RequestRefused, TransportError, UsageProblem
from mlflow_parity.core.locations import Location
from mlflow_parity.core.notice import migrate_command
from mlflow_parity.reading.transport.auth import SideName
from mlflow_parity.sagemaker.aws_calls import Calls, open_calls

#: Statuses of an App in which it takes requests.
APP_READY = frozenset({"Created", "Updated"})
#: Statuses of a managed server in which it takes requests.
SERVER_READY = frozenset({"Created", "Started", "Updated", "UpdateFailed", "StopFailed", "MaintenanceComplete"})
_GONE = frozenset({"Deleting", "Deleted"})
#: Seconds for which a new App may not be found yet.
_UNSEEN = 60.0
_LONGEST_PAUSE = 15.0
_SAID_EVERY = 30.0
Told = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class App:
    """A serverless MLflow App. Of a list, ``artifact_store``, ``role`` and ``registration`` are empty."""

    arn: str
    name: str
    status: str
    mlflow_version: str
    artifact_store: str = ""
    role: str = ""
    registration: str = ""
    maintenance: str = ""
    created: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.status in APP_READY


@dataclass(frozen=True, slots=True)
class TrackingServer:
    """A managed tracking server. Of a list, ``artifact_store``, ``role`` and ``size`` are empty."""

    arn: str
    name: str
    status: str
    mlflow_version: str
    artifact_store: str = ""
    role: str = ""
    size: str = ""
    created: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether it takes requests."""
        return self.status in SERVER_READY


_T = TypeVar("_T", App, TrackingServer)


@dataclass(frozen=True, slots=True)
class NewApp:
    """What an App is made of; ``artifact_store`` is ``s3://BUCKET[/PATH]``."""

    name: str
    artifact_store: str
    role_arn: str
    tags: Mapping[str, str] = field(default_factory=dict)
    kms_key: str | None = None


class ControlPlane:
    """One region of one account, as one identity sees it; errors are those of :class:`Calls`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.region = calls.region

    def app(self, arn: str) -> App | None:
        """Return an App; ``None`` when there is none of that ARN."""
        found = self._calls.found("describe_mlflow_app", Arn=arn)
        return None if found is None else _app(found)

    def apps(self) -> list[App]:
        """Return every App of the region."""
        return [_app(row) for row in self._calls.pages("list_mlflow_apps", "Summaries")]

    def server(self, name: str) -> TrackingServer | None:
        """Return a managed tracking server; ``None`` when there is none of that name."""
        found = self._calls.found("describe_mlflow_tracking_server", TrackingServerName=name)
        return None if found is None else _server(found)

    def servers(self) -> list[TrackingServer]:
        """Return every managed tracking server of the region."""
        return [_server(row) for row in self._calls.pages("list_mlflow_tracking_servers", "TrackingServerSummaries")]

    def create_app(self, new: NewApp) -> str:
        """Order an App and return its ARN; it is not usable yet. Automatic model registration is disabled.

        SageMaker would take two Apps of one name. When an order ends in doubt, it is not given again: the App is
        looked for instead.

        Raises:
            UsageProblem: there is an App of that name.
        """
        if (old := self.app_named(new.name)) is not None:
            raise UsageProblem(
                f"there is an App named {new.name} already ({old.arn}, {old.status}): migrate to it with "
                f"--target-arn {old.arn}, or give another name"
            )
        arguments: dict[str, Any] = {
            "Name": new.name,
            "ArtifactStoreUri": new.artifact_store,
            "RoleArn": new.role_arn,
            # registration adds tags of its own to versions while they are compared
            "ModelRegistrationMode": "AutoModelRegistrationDisabled",
        }
        if new.tags:
            arguments["Tags"] = [{"Key": key, "Value": value} for key, value in new.tags.items()]
        if new.kms_key:
            arguments["KmsKeyId"] = new.kms_key
        try:
            return str(self._calls.call("create_mlflow_app", again=False, **arguments)["Arn"])
        except (TransportError, RequestRefused) as error:
            if isinstance(error, RequestRefused) and error.status < 500:
                raise
            made = self.app_named(new.name)
            if made is None:
                raise TransportError(
                    f"{error}; `{migrate_command()} app list` shows whether the App was made all the same"
                ) from None
            return made.arn

    def app_named(self, name: str) -> App | None:
        """Return the App of a name; not one that failed, is deleted or about to be."""
        useless = {*_GONE, "CreateFailed"}
        return next((app for app in self.apps() if app.name == name and app.status not in useless), None)

    def stop_server(self, name: str) -> None:
        """Order a stop; the server keeps all its data."""
        self._order("stop_mlflow_tracking_server", name, {"Stopping", "Stopped"})

    def delete_server(self, name: str) -> None:
        """Order the deletion; what the server holds is lost for good, but for its files in S3."""
        self._order("delete_mlflow_tracking_server", name, {"Deleting", "Deleted", ""})

    def _order(self, operation: str, name: str, under_way: set[str]) -> None:
        """Give an order once; one that ended in doubt was given when the server is on its way."""
        try:
            self._calls.call(operation, again=False, TrackingServerName=name)
        except ReadError:
            found = self.server(name)
            if ("" if found is None else found.status) not in under_way:
                raise

    def wait_for_app(self, arn: str, *, limit: float, told: Told) -> App:
        """Wait until an App takes requests, for at most ``limit`` seconds.

        Raises:
            UsageProblem: it failed, is not there, or the time is up.
        """
        look = f"{migrate_command()} app describe {arn}"
        for app in _watch(lambda: self.app(arn), f"App {arn}", limit, told, look, unseen=_UNSEEN):
            if app.ready:
                return app
            if app.status.endswith("Failed"):
                raise UsageProblem(
                    f"the App {arn} ended as {app.status}: SageMaker could not use its role or bucket. The role must "
                    "trust sagemaker.amazonaws.com and may read and write the bucket, and the bucket must be in the "
                    "App's region: fix that, delete this App, and create another"
                )
            if app.status in _GONE:
                raise UsageProblem(f"the App {arn} is {app.status}: it cannot be used; give another")
        raise UsageProblem(f"there is no App {arn}; `{migrate_command()} app list` shows those that are")

    def wait_for_server(self, name: str, *, gone: bool, limit: float, told: Told) -> None:
        """Wait until a server is stopped (or ``gone``), for at most ``limit`` seconds.

        Raises:
            UsageProblem: it could not be, or the time is up.
        """
        look = f"{migrate_command()} app list --servers --region {self.region}"
        for server in _watch(lambda: self.server(name), f"tracking server {name}", limit, told, look):
            if server.status == ("Deleted" if gone else "Stopped"):
                return
            if server.status == ("DeleteFailed" if gone else "StopFailed"):
                raise UsageProblem(
                    f"the tracking server {name} ended as {server.status}; the SageMaker console says why"
                )
        if not gone:
            raise UsageProblem(f"the tracking server {name} is not there any more; somebody else deleted it")


def _watch(
    look: Callable[[], _T | None], what: str, limit: float, told: Told, fix: str, *, unseen: float = 0.0
) -> Iterator[_T]:
    """Yield a resource at growing intervals; ends when it is not there (any more, or still not after ``unseen`` s).

    Raises:
        UsageProblem: the time is up.
    """
    began = said = time.monotonic()
    pause, last, seen = 0.25, "", False
    while True:
        found = look()
        now = time.monotonic()
        if found is None and (seen or now - began >= min(unseen, limit)):
            return
        seen = seen or found is not None
        status = "not to be seen yet" if found is None else found.status
        if status != last or now - said >= _SAID_EVERY:
            told(f"{what}: {status}, {now - began:.0f} s")
            last, said = status, now
        if found is not None:
            yield found
        if now - began >= limit:
            raise UsageProblem(
                f"{what} is still {status} after {limit / 60:.3g} min; SageMaker goes on with it: look with `{fix}`, "
                "or wait longer with --timeout"
            )
        time.sleep(min(pause, max(limit - (now - began), 0.01)))
        pause = min(pause * 2, _LONGEST_PAUSE)


def open_control(
    side: SideName,
    environ: Mapping[str, str] | None = None,
    *,
    region: str | None = None,
    location: Location | None = None,
) -> ControlPlane:
    """Open the control plane with a side's credentials, in the region that :func:`open_calls` finds.

    Raises:
        UsageProblem: no credentials or no region, or the option contradicts the ARN.
    """
    return ControlPlane(open_calls(side, environ, region=region, location=location))


def _app(row: Mapping[str, Any]) -> App:
    return App(
        arn=str(row.get("Arn", "")),
        name=str(row.get("Name", "")),
        status=str(row.get("Status", "")),
        mlflow_version=str(row.get("MlflowVersion") or ""),
        artifact_store=str(row.get("ArtifactStoreUri", "")),
        role=str(row.get("RoleArn", "")),
        registration=str(row.get("ModelRegistrationMode", "")),
        maintenance=str(row.get("MaintenanceStatus", "")),
        created=row.get("CreationTime"),
    )


def _server(row: Mapping[str, Any]) -> TrackingServer:
    return TrackingServer(
        arn=str(row.get("TrackingServerArn", "")),
        name=str(row.get("TrackingServerName", "")),
        status=str(row.get("TrackingServerStatus", "")),
        mlflow_version=str(row.get("MlflowVersion") or ""),
        artifact_store=str(row.get("ArtifactStoreUri", "")),
        role=str(row.get("RoleArn", "")),
        size=str(row.get("TrackingServerSize", "")),
        created=row.get("CreationTime"),
    )
