"""A whole SageMaker MLflow App or tracking server on loopback: S3, tracking server, gateway, control plane."""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow_parity.core.locations import Location, parse_arn
from mlflow_parity.standin.control import control_plane
from mlflow_parity.standin.gateway import Gateway, Policy, Rules, gateway
from mlflow_parity.standin.http import S3, s3_server
from mlflow_parity.standin.plane import Plane, Resource
from mlflow_parity.standin.servers import Server, serving
from mlflow_parity.standin.sigv4 import Credentials

#: ARNs of stand-ins when none are asked for; account and names belong to nobody.
APP_ARN = "arn:aws:sagemaker:eu-central-1:000000000000:mlflow-app/app-STANDIN00001"
SERVER_ARN = "arn:aws:sagemaker:eu-west-1:000000000000:mlflow-tracking-server/stand-in"


@dataclass(frozen=True, slots=True)
class StandIn:
    """A running stand-in, reached by ``arn`` with :meth:`environment` set."""

    location: Location
    credentials: Credentials
    gateway: Gateway
    server: Server
    s3: S3
    control_endpoint: str
    plane: Plane
    """What the control plane knows; it can be looked at and told to misbehave."""

    @property
    def arn(self) -> str:
        """The ARN that clients use as their tracking URI."""
        return self.location.uri

    def environment(self, prefix: str = "") -> dict[str, str]:
        """Return what a client's environment needs.

        ``prefix`` is ``"SOURCE_"`` or ``"TARGET_"`` where one process talks to two of them. The credentials in
        it are this stand-in's own, made up at its start and good for nothing else.
        """
        values = {
            "SAGEMAKER_MLFLOW_CUSTOM_ENDPOINT": self.gateway.endpoint,
            # of MLflow's own clients; ours take it for an ARN only with a prefix
            "MLFLOW_S3_ENDPOINT_URL": self.s3.endpoint,
            "AWS_ENDPOINT_URL_S3": self.s3.endpoint,
            "AWS_ENDPOINT_URL_SAGEMAKER": self.control_endpoint,
            "AWS_ACCESS_KEY_ID": self.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": self.credentials.secret_key,
            "AWS_DEFAULT_REGION": self.location.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.credentials.token is not None:
            values["AWS_SESSION_TOKEN"] = self.credentials.token
        return {prefix + name: value for name, value in values.items()}


def new_credentials(*, temporary: bool = True) -> Credentials:
    """Make up credentials; temporary ones have a session token."""
    token = secrets.token_urlsafe(48) if temporary else None
    return Credentials(f"STANDIN{secrets.token_hex(6).upper()}", secrets.token_urlsafe(30), token)


@contextmanager
def stand_in(
    folder: Path,
    *,
    arn: str = APP_ARN,
    python: str = sys.executable,
    database: str | None = None,
    workers: int = 1,
    credentials: Credentials | None = None,
    s3: S3 | None = None,
    blocked: tuple[str, ...] = (),
    policy: Policy | None = None,
    prefix: str = "",
) -> Iterator[StandIn]:
    """Run a stand-in for the length of a ``with`` block.

    Args:
        folder: for database, logs and nothing else (artifacts are in S3).
        arn: ARN of an App or of a managed tracking server; decides region, service and routing header.
        python: interpreter whose MLflow serves.
        database: SQLAlchemy URI; ``None`` for an SQLite file in ``folder``.
        workers: server processes of the tracking server.
        credentials: the only ones that are let in; made up when ``None``.
        s3: a running S3 to share; one of its own when ``None``.
        blocked: path prefixes that are not served, for instance ``("/ajax-api", "/get-artifact")``.
        policy: ``policy(method, path)`` → whether the call is allowed.
        prefix: path prefix of the endpoint.
    """
    location = parse_arn(arn, option="arn")
    identity = credentials or new_credentials()
    with ExitStack() as stack:
        store = s3 or stack.enter_context(s3_server(folder))
        bucket = f"stand-in-{secrets.token_hex(4)}"
        store.create_bucket(bucket, identity, location.region)
        root = f"s3://{bucket}/mlflow"
        env = {
            "MLFLOW_S3_ENDPOINT_URL": store.endpoint,
            "AWS_ACCESS_KEY_ID": identity.access_key,
            "AWS_SECRET_ACCESS_KEY": identity.secret_key,
            "AWS_SESSION_TOKEN": identity.token or "",
            "AWS_DEFAULT_REGION": location.region,
        }
        server = stack.enter_context(
            serving(folder, python=python, database=database, artifacts=root, workers=workers, env=env)
        )
        rules = Rules(location, identity, blocked, policy, prefix)
        front = stack.enter_context(gateway(server.uri, rules))
        resource = Resource(location, root, server.version, time.time())
        plane = Plane.around(resource)
        control = stack.enter_context(control_plane(resource, identity, plane))
        yield StandIn(location, identity, front, server, store, control, plane)
