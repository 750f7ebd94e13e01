"""The allow-list: every request that an audit can send, as data. Nothing else leaves the session.

The README's IAM policy is generated from this table (source of the action names: the AWS service reference for
``sagemaker-mlflow``, one action per REST call; an App has the one action ``sagemaker:CallMlflowAppApi``).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

APP_ACTION = "sagemaker:CallMlflowAppApi"
#: The option that asks both servers what people's clients ask.
USABLE = "--parity-usable"
#: Prefix of the actions of a managed server.
SERVER_SERVICE = "sagemaker-mlflow"
#: What an audit needs of S3 where artifacts are ``s3://`` URIs.
S3_ACTIONS = ("s3:GetObject", "s3:ListBucket")
#: What saves reading there: without it the audit is as complete, and may read more.
S3_OPTIONAL = ("s3:GetObjectAttributes",)
#: S3's own operations (``error.operation_name`` of botocore), with the action that allows each.
_S3_OPERATIONS = {
    "ListObjectsV2": "s3:ListBucket",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "GetObjectAttributes": S3_OPTIONAL[0],
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One read endpoint. ``path`` may end in ``*``: a path below it, never one with ``..`` in it."""

    name: str
    method: str
    path: str
    action: str = ""
    """IAM action on a managed tracking server (``sagemaker-mlflow:…``); empty: none is known, or none is needed."""
    only: str = ""
    """The option without which no managed server is asked this; empty: every audit may ask."""

    def allows(self, method: str, path: str) -> bool:
        """Whether a request is this endpoint."""
        if method != self.method:
            return False
        if not self.path.endswith("*"):
            return path == self.path
        rest = path.removeprefix(self.path[:-1])
        parts = re.split(r"/|%2[fF]|\\|%5[cC]", rest)
        return path.startswith(self.path[:-1]) and not any(part.lower().replace("%2e", ".") == ".." for part in parts)


_API = "/api/2.0/mlflow"
VERSION = Endpoint("version", "GET", "/version")
EXPERIMENTS = Endpoint("experiments", "POST", f"{_API}/experiments/search", "SearchExperiments")
RUNS = Endpoint("runs", "POST", f"{_API}/runs/search", "SearchRuns")
#: The only one that tells which logged models a run used.
RUN = Endpoint("run", "GET", f"{_API}/runs/get", "GetRun")
HISTORY = Endpoint("history", "GET", f"{_API}/metrics/get-history", "GetMetricHistory")
HISTORY_BULK = Endpoint("history-bulk", "GET", "/ajax-api/2.0/mlflow/metrics/get-history-bulk")
#: An ARN's files are read from S3: it is asked for this list where --parity-usable wants it as people see it.
ARTIFACTS = Endpoint("artifacts", "GET", f"{_API}/artifacts/list", "ListArtifacts", only=USABLE)
GET_ARTIFACT = Endpoint("get-artifact", "GET", "/get-artifact")
PROXY_LIST = Endpoint("proxy-list", "GET", "/api/2.0/mlflow-artifacts/artifacts")
PROXY_GET = Endpoint("proxy-get", "GET", "/api/2.0/mlflow-artifacts/artifacts/*")
#: A server that sends no file itself signs an address in its store for each.
PROXY_SIGNED = Endpoint("proxy-signed", "GET", "/api/2.0/mlflow-artifacts/presigned/*")
REGISTERED_MODELS = Endpoint("registered-models", "GET", f"{_API}/registered-models/search", "SearchRegisteredModels")
MODEL_VERSIONS = Endpoint("model-versions", "GET", f"{_API}/model-versions/search", "SearchModelVersions")
ALIAS = Endpoint("alias", "GET", f"{_API}/registered-models/alias", "GetModelVersionByAlias")
#: The latest version of each stage.
LATEST_VERSIONS = Endpoint(
    "latest-versions", "GET", f"{_API}/registered-models/get-latest-versions", "GetLatestModelVersions", only=USABLE
)
VERSION_URI = Endpoint(
    "version-uri", "GET", f"{_API}/model-versions/get-download-uri", "GetDownloadURIForModelVersionArtifacts"
)
LOGGED_MODELS = Endpoint("logged-models", "POST", f"{_API}/logged-models/search", "SearchLoggedModels")
#: A logged model itself, and the list of its files.
LOGGED_MODEL = Endpoint("logged-model", "GET", f"{_API}/logged-models/*", "GetLoggedModel")
MODEL_FILES = Endpoint("model-files", "GET", f"{_API}/logged-models/*")
MODEL_FILE = Endpoint("model-file", "GET", "/ajax-api/2.0/mlflow/logged-models/*")
VERSION_FILE = Endpoint("version-file", "GET", "/model-versions/get-artifact")
TRACES = Endpoint("traces", "POST", "/api/3.0/mlflow/traces/search", "SearchTraces")
TRACES_V2 = Endpoint("traces-v2", "GET", f"{_API}/traces", "SearchTraces")
TRACE_BATCH = Endpoint("trace-batch", "GET", "/api/3.0/mlflow/traces/batchGet")
TRACE_GET = Endpoint("trace-get", "GET", "/api/3.0/mlflow/traces/get")
TRACE_FILE = Endpoint("trace-file", "GET", "/ajax-api/2.0/mlflow/get-trace-artifact")
#: Figures of traces and spans, which charts are drawn of; it only reads.
TRACE_METRICS = Endpoint("trace-metrics", "POST", "/api/3.0/mlflow/traces/metrics")
DATASETS = Endpoint("datasets", "POST", "/api/3.0/mlflow/datasets/search")
#: ``<id>/records`` and ``<id>/experiment-ids``; every GET below it only reads.
DATASET = Endpoint("dataset", "GET", "/api/3.0/mlflow/datasets/*")
SCORERS = Endpoint("scorers", "GET", "/api/3.0/mlflow/scorers/list")
SCORER_VERSIONS = Endpoint("scorer-versions", "GET", "/api/3.0/mlflow/scorers/versions")
WEBHOOKS = Endpoint("webhooks", "GET", f"{_API}/webhooks")
_API_3 = "/api/3.0/mlflow"
SERVER_INFO = Endpoint("server-info", "GET", f"{_API_3}/server-info")
WORKSPACES = Endpoint("workspaces", "GET", f"{_API_3}/workspaces")
ISSUES = Endpoint("issues", "POST", f"{_API_3}/issues/search")
REVIEW_QUEUES = Endpoint("review-queues", "GET", f"{_API_3}/review-queues/list")
REVIEW_ITEMS = Endpoint("review-items", "GET", f"{_API_3}/review-queues/items/list")
#: One by its id; the list is not here, because MLflow makes an experiment's default one when it is asked for.
LABEL_SCHEMA = Endpoint("label-schema", "GET", f"{_API_3}/label-schemas/get")
GATEWAY_SECRETS = Endpoint("gateway-secrets", "GET", f"{_API_3}/gateway/secrets/list")
GATEWAY_MODELS = Endpoint("gateway-models", "GET", f"{_API_3}/gateway/model-definitions/list")
GATEWAY_ENDPOINTS = Endpoint("gateway-endpoints", "GET", f"{_API_3}/gateway/endpoints/list")
GATEWAY_BINDINGS = Endpoint("gateway-bindings", "GET", f"{_API_3}/gateway/endpoints/bindings/list")
GATEWAY_GUARDRAILS = Endpoint("gateway-guardrails", "GET", f"{_API_3}/gateway/guardrails/list")
GATEWAY_GUARDED = Endpoint("gateway-guarded", "GET", f"{_API_3}/gateway/guardrails/list-for-endpoint")
GATEWAY_BUDGETS = Endpoint("gateway-budgets", "GET", f"{_API_3}/gateway/budgets/list")
MCP_SERVERS = Endpoint("mcp-servers", "GET", f"{_API_3}/mcp-servers")
#: ``<name>/versions``; every GET below it only reads.
MCP_SERVER = Endpoint("mcp-server", "GET", f"{_API_3}/mcp-servers/*")
SKILLS = Endpoint("skills", "GET", f"{_API_3}/skills")
#: ``<name>/versions`` and ``@<organization>/<name>/versions``; every GET below it only reads.
SKILL = Endpoint("skill", "GET", f"{_API_3}/skills/*")
#: MLflow's own login (``--app-name basic-auth``): whether the user is an administrator, and how many accounts there are.
CURRENT_USER = Endpoint("current-user", "GET", f"{_API}/users/current")
USER = Endpoint("user", "GET", f"{_API}/users/get")
USERS = Endpoint("users", "GET", f"{_API}/users/list")
ROLES = Endpoint("roles", "GET", f"{_API_3}/roles/list")

ALLOWED: tuple[Endpoint, ...] = (
    VERSION,
    EXPERIMENTS,
    RUNS,
    RUN,
    HISTORY,
    HISTORY_BULK,
    ARTIFACTS,
    GET_ARTIFACT,
    PROXY_LIST,
    PROXY_GET,
    PROXY_SIGNED,
    REGISTERED_MODELS,
    MODEL_VERSIONS,
    ALIAS,
    LATEST_VERSIONS,
    VERSION_URI,
    VERSION_FILE,
    LOGGED_MODELS,
    LOGGED_MODEL,
    MODEL_FILES,
    MODEL_FILE,
    TRACES,
    TRACES_V2,
    TRACE_BATCH,
    TRACE_GET,
    TRACE_FILE,
    TRACE_METRICS,
    DATASETS,
    DATASET,
    SCORERS,
    SCORER_VERSIONS,
    WEBHOOKS,
    SERVER_INFO,
    WORKSPACES,
    ISSUES,
    REVIEW_QUEUES,
    REVIEW_ITEMS,
    LABEL_SCHEMA,
    GATEWAY_SECRETS,
    GATEWAY_MODELS,
    GATEWAY_ENDPOINTS,
    GATEWAY_BINDINGS,
    GATEWAY_GUARDRAILS,
    GATEWAY_GUARDED,
    GATEWAY_BUDGETS,
    MCP_SERVERS,
    MCP_SERVER,
    SKILLS,
    SKILL,
    CURRENT_USER,
    USER,
    USERS,
    ROLES,
)
#: By what the kinds of object call them.
BY_NAME = {endpoint.name: endpoint for endpoint in ALLOWED}


def is_allowed(method: str, path: str) -> bool:
    """Whether a request may be sent at all."""
    return any(endpoint.allows(method, path) for endpoint in ALLOWED)


def right_to(endpoint: Endpoint, kind: str) -> str:
    """Return what a refused call of a location of a kind (``app``, ``tracking-server``) wants; empty: not known."""
    if kind == "app":
        return APP_ACTION
    return f"{SERVER_SERVICE}:{endpoint.action}" if kind == "tracking-server" and endpoint.action else ""


def s3_right_to(operation: str) -> str:
    """Return what a refused operation of S3 wants; empty: not known."""
    return _S3_OPERATIONS.get(operation, "")


def actions(only: str = "") -> list[str]:
    """Return the IAM actions for auditing a managed tracking server; with ``only``, those that an option adds."""
    wanted = [endpoint for endpoint in ALLOWED if endpoint.action and endpoint.only == only]
    return sorted({f"{SERVER_SERVICE}:{endpoint.action}" for endpoint in wanted})


def policies() -> dict[str, list[dict[str, object]]]:
    """Return the IAM statements that an audit needs, for an App and for a managed server."""
    s3: dict[str, object] = {
        "Effect": "Allow",
        "Action": list(S3_ACTIONS),
        "Resource": ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"],
    }
    app = "arn:aws:sagemaker:REGION:ACCOUNT:mlflow-app/APP-ID"
    server = "arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME"
    return {
        "MLflow App": [{"Effect": "Allow", "Action": [APP_ACTION], "Resource": app}, s3],
        "Managed tracking server": [{"Effect": "Allow", "Action": actions(), "Resource": server}, s3],
    }


def policies_markdown(level: str) -> list[str]:
    """Return the policies, each below a heading of that level, as lines of Markdown; the README holds them too."""
    lines = []
    for title, statements in policies().items():
        document = json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
        lines += ["", f"{level} {title}", "", "```json", document, "```"]
    return lines


#: What a migration does in the target's bucket.
_MIGRATES: dict[str, object] = {
    "Effect": "Allow",
    "Action": [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:AbortMultipartUpload",
    ],
    "Resource": ["arn:aws:s3:::BUCKET", "arn:aws:s3:::BUCKET/*"],
}
#: What S3 needs to copy files of the source's bucket: both of the same identity.
_COPIES: list[dict[str, object]] = [
    {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::SOURCE-BUCKET/*"},
    {
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:AbortMultipartUpload"],
        "Resource": "arn:aws:s3:::BUCKET/*",
    },
]
_LIFECYCLE: dict[str, object] = {
    "ID": "end-unfinished-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}


def markdown() -> str:
    """Return ``docs/aws.md``."""
    lines = [
        "# The audit in an AWS account",
        "",
        "<!-- Generated by `python -m mlflow_parity.reading.transport.endpoints`; edit src/mlflow_parity/reading/transport/endpoints.py. -->",
        "",
        "The audit signs each request for the ARN in hand (its region and service) with boto3's usual credentials, and",
        "reads artifacts from the store's S3 bucket with the same ones. Where source and target need different ones, put",
        "`SOURCE_` or `TARGET_` in front of `AWS_PROFILE`, `AWS_ACCESS_KEY_ID`, … or `SAGEMAKER_MLFLOW_ASSUME_ROLE_ARN`.",
        "Replace the words in capitals. Nothing of this was run against AWS itself: the tests use a loopback stand-in that",
        "verifies signatures, regions, services and routing headers, and enforces the policies below: with them the audit",
        "is green, and without any one of their actions it is red and says which (`is … allowed?`).",
        "",
        "An App has one IAM action for its whole API, reading and writing alike, so the only guard against writing is the",
        "session's own allow-list of requests (below). A managed server has an action per call.",
    ]
    lines += [
        *policies_markdown("##"),
        "",
        f"With `{USABLE}` a managed server needs {' and '.join(f'`{one}`' for one in actions(USABLE))} beside these.",
        "",
        f"`{S3_OPTIONAL[0]}` on `arn:aws:s3:::BUCKET/*` is optional, with `s3:GetObject`. With it S3 tells in which parts large files",
        "were sent, and the checksums of the parts: fewer of them are read (`GetObjectAttributes`, once for such a file whose",
        "parts are of no usual size, or have checksums that prove something). Without it the audit finds the same, may read",
        "more, and says once that the right is missing; services that do not know the call are not asked again.",
        "",
        "Where the table has no action, none is documented, or an ARN is never asked for it (its files are read from S3). A",
        "server that does not have such an API (404) is read without it, histories key by key; one that refuses it (403) may",
        "hold what cannot be seen, and that is `unverified`. With SSE-KMS on the bucket add `kms:Decrypt` on its key.",
        "",
        "## Buckets that are not the server's",
        "",
        "Each run, experiment, logged model, model version and trace names the place of its files, and whoever may write to the",
        "server chooses it: an experiment's `artifact_location`, a version's source, a trace's tag. Read with your rights, which",
        "may reach buckets that those people may not, such a place would be copied to where they can read it. So S3 is read and",
        "written below the server's own artifact root alone: that of its experiment `Default`, which nobody created. All other",
        "places are named with the option that accepts each: `--parity-allow-place s3://BUCKET/FOLDER` in an audit (without it",
        "what is there is `unverified`), `--allow-place s3://BUCKET/FOLDER` in a migration and in `retire` (without it `plan` and",
        "the preflight list them, exit status 2). Experiments with a bucket of their own need it, and so does a server whose",
        "artifact root was changed after its first start. Give the identity itself no more than `BUCKET` all the same.",
        "",
        "## What a migration needs of the target's bucket",
        "",
        "```json",
        json.dumps({"Version": "2012-10-17", "Statement": [_MIGRATES]}, indent=2),
        "```",
        "",
        "`s3:DeleteObject` is for the preflight's marker alone, the last two are for what a kill leaves: the parts of a large",
        "file whose upload was not finished. They are in no list of files, and are paid for. A run that goes on ends those under",
        "the keys that it writes itself, and no others; without these rights the preflight warns. What nobody goes on with, a",
        "lifecycle rule of the bucket ends:",
        "",
        "```json",
        json.dumps({"Rules": [_LIFECYCLE]}, indent=2),
        "```",
        "",
        "## What S3 to S3 needs",
        "",
        "With `mlflow-parity migrate run --discard-export` S3 copies files from the source's bucket to the target's. The identity of the",
        "*target* asks for it (`TARGET_AWS_PROFILE`, …), and needs both rights; a source of another account names that identity",
        "in its bucket's policy, too. `s3:GetObjectTagging` is not needed: tags of objects are not copied. With SSE-KMS add",
        "`kms:Decrypt` on the source's key, `kms:GenerateDataKey` and `kms:Decrypt` on the target's. Without these rights the",
        "files pass through the migrating machine, and one line says so.",
        "",
        "```json",
        json.dumps({"Version": "2012-10-17", "Statement": _COPIES}, indent=2),
        "```",
        "",
        "## Servers with MLflow's own login",
        "",
        "A self-managed server with `--app-name basic-auth` leaves out of its lists, without a word, what a user may not read.",
        "The audit's user must be an *administrator* there (`is_admin`), on both sides; an App and a managed server have IAM",
        "instead, and are not asked. Any other user makes the whole audit `unverified`, in one row, and a migration refuses it.",
        "",
        "## Every request that an audit can send",
        "",
        "| request | action on a managed server |",
        "|---|---|",
        *(
            f"| `{endpoint.method} {endpoint.path}` | {f'`{SERVER_SERVICE}:{endpoint.action}`' if endpoint.action else '—'} |"
            for endpoint in ALLOWED
        ),
        "",
        "And from S3: `ListObjectsV2`, `HeadObject`, `GetObject`, `GetObjectAttributes`.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
