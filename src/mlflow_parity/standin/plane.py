"""What the stand-in's control plane knows, in memory, and how it behaves."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from mlflow_parity.core.locations import Location

Step = Literal["create", "start", "stop", "delete"]
#: Status on the way, at the good end and at the bad one.
_STEPS: dict[Step, tuple[str, str, str]] = {
    "create": ("Creating", "Created", "CreateFailed"),
    "start": ("Starting", "Started", "StartFailed"),
    "stop": ("Stopping", "Stopped", "StopFailed"),
    "delete": ("Deleting", "Deleted", "DeleteFailed"),
}
MOVING = frozenset(now for now, _, _ in _STEPS.values())


@dataclass(frozen=True, slots=True)
class Resource:
    """One App or tracking server as the control plane knows it at first; ``created`` in seconds since the epoch."""

    location: Location
    artifact_store: str
    mlflow_version: str
    created: float

    @property
    def name(self) -> str:
        """Last part of the ARN."""
        return self.location.uri.rsplit("/", 1)[-1]


@dataclass(slots=True)
class Held:
    """One App or tracking server; on its way to the status ``then`` for ``left`` describes or until ``ready``."""

    arn: str
    name: str
    artifact_store: str
    role: str
    mlflow_version: str
    created: float
    status: str = "Created"
    registration: str = "AutoModelRegistrationDisabled"
    tags: tuple[tuple[str, str], ...] = ()
    then: str = ""
    left: int = 0
    ready: float = 0.0


@dataclass(slots=True)
class Plane:
    """All that one control plane knows, and how it behaves.

    A change of status takes ``describes`` looks and ``seconds``; the changes in ``failing`` (``create``, ``start``,
    ``stop``, ``delete``) end in failure; ``denied`` operations are refused for want of a right; those in ``lost``
    are done once, but the answer is an internal error. ``next_arns`` are given to new Apps before any made-up one.
    ``calls`` are the operations with their bodies, in order.
    """

    region: str
    account: str
    apps: dict[str, Held] = field(default_factory=dict)
    """By ARN."""
    servers: dict[str, Held] = field(default_factory=dict)
    """By name."""
    describes: int = 0
    seconds: float = 0.0
    page: int = 100
    failing: set[Step] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    next_arns: list[str] = field(default_factory=list)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def around(cls, resource: Resource) -> Plane:
        """Return a plane of the resource's region and account that holds it."""
        account = resource.location.uri.split(":")[4]
        plane = cls(resource.location.region, account)
        role = f"arn:aws:iam::{account}:role/stand-in"
        held = Held(
            resource.location.uri,
            resource.name,
            resource.artifact_store,
            role,
            resource.mlflow_version,
            resource.created,
        )
        if resource.location.kind == "app":
            plane.apps[held.arn] = held
        else:
            plane.servers[held.name] = held
        return plane

    def begin(self, held: Held, step: Step) -> None:
        """Set a resource on its way."""
        now, good, bad = _STEPS[step]
        held.status, held.then = now, bad if step in self.failing else good
        held.left, held.ready = self.describes, time.monotonic() + self.seconds

    def look(self, held: Held) -> None:
        """One look at a resource: its change of status may have come to an end."""
        if not held.then:
            return
        if held.left > 0 or time.monotonic() < held.ready:
            held.left -= 1
            return
        held.status, held.then = held.then, ""
        if held.status == "Deleted" and held.name in self.servers and self.servers[held.name] is held:
            del self.servers[held.name]  # a deleted App is described for a while, a deleted server is not
