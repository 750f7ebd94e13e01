"""The allow-list: every request that an audit can send, as data. Nothing else leaves the session.

The README's IAM policy is generated from this table (source of the action names: the AWS service reference for
``sagemaker-mlflow``, one action per REST call; an App has the one action ``sagemaker:CallMlflowAppApi``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

APP_ACTION = "sagemaker:CallMlflowAppApi"
#: What an audit needs of S3 where artifacts are ``s3://`` URIs.
S3_ACTIONS = ("s3:GetObject", "s3:ListBucket")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One read endpoint. ``path`` may end in ``*``: a path below it, never one with ``..`` in it."""

    name: str
    method: str
    path: str
    action: str = ""
    """IAM action on a managed tracking server (``sagemaker-mlflow:…``); empty: none is known."""

    def allows(self, method: str, path: str) -> bool:
        """Whether a request is this endpoint."""
        if method != self.method:
            return False
        if not self.path.endswith("*"):
            return path == self.path
        rest = path.removeprefix(self.path[:-1])
        parts = re.split(r"/|%2[fF]|\\|%5[cC]", rest)
        return path.startswith(self.path[:-1]) and not any(part.replace("%2e", ".") == ".." for part in parts)


_API = "/api/2.0/mlflow"
VERSION = Endpoint("version", "GET", "/version")
EXPERIMENTS = Endpoint("experiments", "POST", f"{_API}/experiments/search", "SearchExperiments")
RUNS = Endpoint("runs", "POST", f"{_API}/runs/search", "SearchRuns")
HISTORY = Endpoint("history", "GET", f"{_API}/metrics/get-history", "GetMetricHistory")
HISTORY_BULK = Endpoint("history-bulk", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk", "GetMetricHistoryBulk")
ARTIFACTS = Endpoint("artifacts", "GET", f"{_API}/artifacts/list", "ListArtifacts")
GET_ARTIFACT = Endpoint("get-artifact", "GET", "/get-artifact")
PROXY_LIST = Endpoint("proxy-list", "GET", "/api/2.0/mlflow-artifacts/artifacts")
PROXY_GET = Endpoint("proxy-get", "GET", "/api/2.0/mlflow-artifacts/artifacts/*")
REGISTERED_MODELS = Endpoint("registered-models", "GET", f"{_API}/registered-models/search", "SearchRegisteredModels")
MODEL_VERSIONS = Endpoint("model-versions", "GET", f"{_API}/model-versions/search", "SearchModelVersions")
LOGGED_MODELS = Endpoint("logged-models", "POST", f"{_API}/logged-models/search", "SearchLoggedModels")
TRACES = Endpoint("traces", "POST", "/api/3.0/mlflow/traces/search", "SearchTraces")

ALLOWED: tuple[Endpoint, ...] = (
    VERSION,
    EXPERIMENTS,
    RUNS,
    HISTORY,
    HISTORY_BULK,
    ARTIFACTS,
    GET_ARTIFACT,
    PROXY_LIST,
    PROXY_GET,
    REGISTERED_MODELS,
    MODEL_VERSIONS,
    LOGGED_MODELS,
    TRACES,
)


def is_allowed(method: str, path: str) -> bool:
    """Whether a request may be sent at all."""
    return any(endpoint.allows(method, path) for endpoint in ALLOWED)


def actions() -> list[str]:
    """Return the IAM actions for auditing a managed tracking server."""
    return sorted({f"sagemaker-mlflow:{endpoint.action}" for endpoint in ALLOWED if endpoint.action})
