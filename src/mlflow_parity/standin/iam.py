"""What IAM says, as far as a stand-in needs it: a call is refused unless a statement of a policy allows its action."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow_parity.core.locations import Location
from mlflow_parity.reading.transport.endpoints import ALLOWED, APP_ACTION, SERVER_SERVICE
from mlflow_parity.standin.gateway import Policy

#: Paths of requests that a managed server has no action for: it does not serve them.
UNSERVED = tuple(
    sorted(
        {one.path.removesuffix("*") for one in ALLOWED} - {one.path.removesuffix("*") for one in ALLOWED if one.action}
    )
)


def actions_of(statements: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the actions that these statements allow; there is no other effect and no wildcard in them."""
    found: set[str] = set()
    for statement in statements:
        if statement["Effect"] != "Allow" or any("*" in action for action in statement["Action"]):
            raise ValueError(f"not a statement of plain permissions: {statement}")
        found.update(statement["Action"])
    return frozenset(found)


def action_of(location: Location, method: str, path: str) -> str:
    """Return the action of a call; empty when no reading is known by that address."""
    if location.kind == "app":
        return APP_ACTION
    named = [endpoint.action for endpoint in ALLOWED if endpoint.allows(method, path)]
    return f"{SERVER_SERVICE}:{named[0]}" if named and named[0] else ""


def policy_of(location: Location, statements: Sequence[Mapping[str, Any]]) -> Policy:
    """Return the gateway's policy: what the statements allow, and nothing else."""
    allowed = actions_of(statements)

    def policy(method: str, path: str) -> bool:
        if location.kind != "app" and path.startswith(UNSERVED):
            # not a question of rights: the gateway says that there is no such API
            return True
        return action_of(location, method, path) in allowed

    return policy


def s3_action_of(method: str, path: str) -> str:
    """Return the action of a call to S3 with the bucket in the path; empty for what is no reading."""
    key = path.strip("/").partition("/")[2]
    if method == "GET" and not key:
        return "s3:ListBucket"
    return "s3:GetObject" if method in ("GET", "HEAD") and key else ""
