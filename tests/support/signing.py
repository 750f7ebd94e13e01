"""Requests to a stand-in, signed by botocore: right ones, and ones that are wrong in one thing."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from mlflow_parity.standin.sagemaker import StandIn

SEARCH = "/api/2.0/mlflow/experiments/search"
BODY = b'{"max_results": 5}'


def sign(running: StandIn, method: str, url: str, body: bytes) -> dict[str, str]:
    """Return the headers of a genuine request."""
    headers = {
        "X-Amz-Content-SHA256": sha256(body).hexdigest(),
        running.location.routing_header: running.arn,
        "Content-Type": "application/json",
    }
    request = AWSRequest(method=method, url=url, data=body, headers=headers)
    identity = running.credentials
    boto = BotoCredentials(identity.access_key, identity.secret_key, identity.token)
    SigV4Auth(boto, running.location.service, running.location.region).add_auth(request)
    return {name: str(value) for name, value in request.headers.items()}


def signed_search(
    running: StandIn,
    *,
    secret: str | None = None,
    region: str | None = None,
    service: str | None = None,
    arn: str | None = None,
    routing: bool = True,
    token: bool = True,
    unsigned_routing: bool = False,
    at: datetime | None = None,
) -> dict[str, str]:
    """Return the headers of a search that botocore signed, wrong in what the arguments say."""
    location, identity = running.location, running.credentials
    url = running.gateway.endpoint + SEARCH
    headers = {"X-Amz-Content-SHA256": sha256(BODY).hexdigest(), "Content-Type": "application/json"}
    if routing and not unsigned_routing:
        headers[location.routing_header] = arn or running.arn
    request = AWSRequest(method="POST", url=url, data=BODY, headers=headers)
    boto = BotoCredentials(identity.access_key, secret or identity.secret_key, identity.token if token else None)
    signer = SigV4Auth(boto, service or location.service, region or location.region)
    with pytest.MonkeyPatch.context() as patch:
        if at is not None:
            patch.setattr("botocore.auth.get_current_datetime", lambda: at)
        signer.add_auth(request)
    signed = {name: str(value) for name, value in request.headers.items()}
    return {**signed, location.routing_header: running.arn} if unsigned_routing else signed


def send_search(running: StandIn, headers: dict[str, str], body: bytes = BODY) -> requests.Response:
    """Send a search with the given headers."""
    return requests.post(running.gateway.endpoint + SEARCH, data=body, headers=headers, timeout=30)


def assert_refused(running: StandIn, answer: requests.Response, code: str, says: str) -> None:
    """Assert a 403 with AWS's name for the reason, recorded and not passed on."""
    assert answer.status_code == 403, answer.text
    assert answer.json()["__type"] == code
    assert answer.headers["x-amzn-ErrorType"] == code
    assert says in answer.json()["message"]
    assert running.gateway.recorded[-1].refusal.startswith(code)
